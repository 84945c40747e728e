//! A swap file on the root file system: a systemd unit and a shell script that make it at the first
//! boot, and its line in fstab. In an image it would be its size of zeros, as a swap file may have no
//! holes, and of the same UUID on every machine. They use what the image has: fallocate and mkswap of
//! util-linux.

use crate::error::{Context, Result, anyhow, with_hint};
use crate::units::{Bytes, Human};

use super::layout::Layout;
use super::part::Part;

/// The file.
pub const PATH: &str = "/swapfile";

/// The script.
pub const SCRIPT: &str = "/usr/lib/kuth/swap-file";

/// The unit.
pub const UNIT: &str = "/usr/lib/systemd/system/kuth-swap-file.service";

/// The link that has the unit started before the swap file is used. systemd reads
/// `x-systemd.requires` in fstab for mounts alone.
pub const REQUIRED: &str = "/etc/systemd/system/swapfile.swap.requires/kuth-swap-file.service";

/// The line of the swap file in fstab.
pub const FSTAB_LINE: &str = "/swapfile\tnone\tswap\tsw,nofail\t0\t0\n";

/// The text of the unit. It cannot wait for local-fs.target: /tmp in memory is part of that, and waits
/// for swap.
pub const UNIT_TEXT: &str = "\
# written by kuth from the layout of the disk
[Unit]
Description=Make the swap file
DefaultDependencies=no
Conflicts=shutdown.target
Before=swapfile.swap shutdown.target
RequiresMountsFor=/swapfile /usr
After=systemd-remount-fs.service
ConditionPathExists=!/swapfile

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /usr/lib/kuth/swap-file
StandardOutput=journal+console
StandardError=journal+console
";

/// The text of the script; `None` where there is no swap file.
pub fn script(layout: &Layout) -> Option<String> {
    let size = layout.swap_file?.0;
    Some(format!(
        "\
#!/bin/sh
# written by kuth from the layout of the disk
set -eu
# It has its name once it is whole.
umask 077
rm -f {PATH}.new
fallocate --length {size} {PATH}.new
mkswap {PATH}.new
mv {PATH}.new {PATH}
"
    ))
}

/// Refuses a swap file that has no room beside the files of the root file system; `parts` are in the
/// order of the layout's file systems. A sixteenth is left to the file system itself.
pub fn check_room(layout: &Layout, parts: &[Option<Part>]) -> Result<()> {
    let Some(swap) = layout.swap_file else { return Ok(()) };
    let mut filesystems = layout.filesystems.iter().zip(parts);
    let is_root = |mount: &Option<String>| mount.as_deref() == Some("/");
    let root = filesystems.find(|(filesystem, _)| is_root(&filesystem.mount));
    let (filesystem, part) = root.context("finding the root file system")?;
    let files = part.as_ref().map_or(0, |part| part.files);
    let (size, own) = (filesystem.size, filesystem.size.0 / 16);
    if files.saturating_add(swap.0).saturating_add(own) <= size.0 {
        return Ok(());
    }
    Err(with_hint(
        anyhow!(
            "the swap file of {swap} has no room: `{}` has {size}, and the files in it {}",
            filesystem.name,
            Human(Bytes(files))
        ),
        format!("make `{}` larger, or `swap-file` smaller", filesystem.name),
    ))
}
