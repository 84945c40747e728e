//! What grows a file system at boot when its disk has grown: a systemd unit and a shell script, made
//! for one layout, that go into the tree. They use what the image has: sfdisk of the package fdisk,
//! partx and findfs of util-linux, systemd-growfs of systemd, and LVM2 where there are volumes. No
//! cloud-init takes part; with one in the image, its growpart finds nothing left to do.
//!
//! The script acts when the size of the disk is not the one that it last left, which it keeps in
//! [`STATE`]. Each of its steps does nothing where it is done already, so what a reset interrupts is
//! finished at the next boot. A volume takes what its physical volume has beyond the layout: space
//! that the layout leaves free in the group stays free.

use crate::error::{Context, Result};
use crate::format::lvm2;
use crate::process::quote;

use super::config::EXTENT;
use super::layout::{Filesystem, Layout};

/// Where the script keeps the size of the disk that it has last grown to, in sectors.
pub const STATE: &str = "/var/lib/kuth/grown";

/// The script.
pub const SCRIPT: &str = "/usr/lib/kuth/grow";

/// The unit.
pub const UNIT: &str = "/usr/lib/systemd/system/kuth-grow.service";

/// The link that has the unit started; `systemctl disable` removes it.
pub const WANTED: &str = "/etc/systemd/system/sysinit.target.wants/kuth-grow.service";

/// The text of the unit. It runs as soon as all file systems are mounted, before services use them.
pub const UNIT_TEXT: &str = "\
# written by kuth from the layout of the disk
[Unit]
Description=Grow a file system with its disk
DefaultDependencies=no
Conflicts=shutdown.target
After=local-fs.target
Before=sysinit.target shutdown.target cloud-init.service cloud-init-network.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /usr/lib/kuth/grow
StandardOutput=journal+console
StandardError=journal+console

[Install]
WantedBy=sysinit.target
";

/// The text of the script; `None` where nothing grows.
pub fn script(layout: &Layout) -> Result<Option<String>> {
    let Some(mount) = &layout.grow else { return Ok(None) };
    let filesystem = layout.mounted(mount).context("finding the file system that grows")?;
    let number = layout.partitions.len();
    let mut script = format!(
        "\
#!/bin/sh
# written by kuth from the layout of the disk: {mount} takes what the disk has gained
set -eu
state={STATE}
device=$(findfs PARTUUID={id})
partition=/sys/class/block/${{device##*/}}
disk=$(readlink -f \"$partition/..\")
size=$(cat \"$disk/size\")
if [ \"$(cat \"$state\" 2>/dev/null)\" = \"$size\" ]; then exit 0; fi

# Sectors of 512 bytes. The copy of a GPT is behind the last partition; less than 2 MiB stay free.
end=$(($(cat \"$partition/start\") + $(cat \"$partition/size\")))
if [ $((size - end)) -ge 4096 ]; then
    echo ', +' | sfdisk --quiet --no-reread --no-tell-kernel --wipe never \\
        --wipe-partitions never -N {number} \"/dev/${{disk##*/}}\"
    partx --update --nr {number} \"/dev/${{disk##*/}}\"
fi
",
        id = layout.partition_id(number),
    );
    if let Some(volume) = volume(layout, filesystem) {
        script += &volume;
    }
    script += &format!(
        "
/lib/systemd/systemd-growfs {}
mkdir -p \"${{state%/*}}\"
echo \"$size\" >\"$state\"
",
        quote(mount)
    );
    Ok(Some(script))
}

/// The steps between the partition and the file system of a volume.
fn volume(layout: &Layout, filesystem: &Filesystem) -> Option<String> {
    let group = layout.group.as_ref()?;
    filesystem.group.as_ref()?;
    let (name, extents) = group.volumes.iter().find(|(name, _)| *name == filesystem.name)?;
    let others = lvm2::extents_in(group.size, EXTENT).0.saturating_sub(extents.0);
    Some(format!(
        "
pvresize \"$device\"
# Extents of {EXTENT}: those of the physical volume, without the {others} that are not for this volume.
count() {{ pvs --noheadings --options \"$1\" \"$device\"; }}
all=$(($(count pv_pe_count)))
free=$((all - $(count pv_pe_alloc_count)))
has=$(($(lvs --noheadings --nosuffix --units b --options lv_size {group}/{name}) / {extent}))
more=$((all - {others} - has))
if [ \"$more\" -gt \"$free\" ]; then more=$free; fi
if [ \"$more\" -gt 0 ]; then lvextend --extents \"+$more\" {group}/{name} \"$device\"; fi
",
        group = group.name,
        extent = EXTENT.0,
    ))
}
