//! Answers as a preseed file of debian-installer, and the archive that puts it into the initrd:
//! what lies in the root of an initrd as `preseed.cfg` is read before anything is asked, without a
//! boot parameter and without a network.
//!
//! Source: the installation guide's appendix on preseeding; the scripts of the installer itself.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::disk::config::Firmware;
use crate::error::{Context, Hint, Result, anyhow};
use crate::format::cpio::{self, Entry};

use super::answers::{Answers, FAILED, INSTALLED, say};
use super::{recipe, serial_lines};

/// In the root of the initrd: what runs at the end, and what that runs in the installed system.
const LATE: &str = "kuth-late";
const INSIDE: &str = "kuth-inside";

/// What is the same for everybody: nothing may be asked for, and nothing may come from elsewhere.
const ALWAYS: &str = "\
d-i keyboard-configuration/xkb-keymap select us
d-i hw-detect/load_firmware boolean false
d-i cdrom-detect/eject boolean false
d-i clock-setup/utc boolean true
d-i clock-setup/ntp boolean false
d-i netcfg/choose_interface select auto
d-i netcfg/dhcp_timeout string 30
d-i netcfg/get_nameservers string
d-i passwd/make-user boolean false
d-i passwd/root-login boolean true
d-i passwd/root-password-crypted password *
d-i user-setup/encrypt-home boolean false
d-i apt-setup/cdrom/set-first boolean false
d-i apt-setup/cdrom/set-next boolean false
d-i apt-setup/cdrom/set-failed boolean false
d-i apt-setup/disable-cdrom-entries boolean true
d-i base-installer/install-recommends boolean false
tasksel tasksel/first multiselect
d-i pkgsel/run_tasksel boolean false
d-i pkgsel/upgrade select none
d-i pkgsel/update-policy select none
d-i pkgsel/install-language-support boolean false
popularity-contest popularity-contest/participate boolean false
d-i grub-installer/only_debian boolean true
d-i grub-installer/with_other_os boolean true
d-i grub-installer/bootdev string default
d-i finish-install/keep-consoles boolean true
";

/// The same for every disk.
const PARTMAN: &str = "\
d-i partman-lvm/device_remove_lvm boolean true
d-i partman-md/device_remove_md boolean true
d-i partman-lvm/confirm boolean true
d-i partman-lvm/confirm_nooverwrite boolean true
d-i partman-partitioning/confirm_write_new_label boolean true
d-i partman-basicfilesystems/no_swap boolean false
d-i partman-basicfilesystems/no_mount_point boolean false
d-i partman-efi/non_efi_system boolean true
d-i partman/choose_partition select finish
d-i partman/confirm boolean true
d-i partman/confirm_nooverwrite boolean true
";

/// Questions that only kuth may answer: by them it knows how an installation ended.
const OURS: [&str; 4] = [
    "preseed/early_command",
    "preseed/late_command",
    "debian-installer/exit/",
    "finish-install/reboot_in_progress",
];

/// The preseed file.
pub fn text(answers: &Answers) -> Result<String> {
    let own = match &answers.instead {
        Some(text) => text.clone(),
        None => own(answers),
    };
    let given = [answers.instead.as_deref().unwrap_or(""), &answers.more].join("\n");
    let lines = given.lines().filter(|line| !line.trim_start().starts_with('#'));
    for line in lines {
        if let Some(question) = OURS.iter().find(|question| line.contains(**question)) {
            let question = question.trim_end_matches('/');
            return Err(anyhow!("the answers have `{question}`, by which kuth sees how it ended"))
                .hint("give the installed system users and packages by the keys of the stage");
        }
    }
    let mut text = own;
    for part in [&answers.more, &last(&answers.architecture)] {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text += part;
    }
    Ok(text)
}

fn own(answers: &Answers) -> String {
    let (host, domain) = answers.names();
    let mut text = String::from(ALWAYS);
    let mut add = |line: String| text += &format!("{line}\n");
    add(format!("d-i debian-installer/locale string {}", answers.locale));
    add(format!("d-i time/zone string {}", answers.timezone));
    add(format!("d-i netcfg/get_hostname string {host}"));
    add(format!("d-i netcfg/hostname string {host}"));
    add(format!("d-i netcfg/get_domain string {domain}"));
    match &answers.mirror {
        None => {
            add("d-i apt-setup/use_mirror boolean false".into());
            add("d-i apt-setup/no_mirror boolean true".into());
            add("d-i apt-setup/services-select multiselect".into());
        }
        Some(mirror) => {
            let protocol = &mirror.protocol;
            add("d-i apt-setup/use_mirror boolean true".into());
            add("d-i mirror/country string manual".into());
            add(format!("d-i mirror/protocol string {protocol}"));
            add(format!("d-i mirror/{protocol}/hostname string {}", mirror.host));
            add(format!("d-i mirror/{protocol}/directory string {}", mirror.directory));
            add(format!("d-i mirror/{protocol}/proxy string"));
        }
    }
    add(format!("d-i pkgsel/include string {}", answers.packages.join(" ")));
    add(format!("d-i debian-installer/add-kernel-opts string {}", answers.layout.cmdline));
    if answers.layout.firmware.contains(&Firmware::Uefi) {
        // The machine that installs is gone afterwards, and its list of boot entries with it.
        add("d-i grub-installer/force-efi-extra-removable boolean true".into());
    }
    text + &partman(answers)
}

fn partman(answers: &Answers) -> String {
    let mut text = String::from(PARTMAN);
    let mut add = |line: String| text += &format!("{line}\n");
    match recipe::group(answers) {
        Some(group) => {
            add("d-i partman-auto/method string lvm".into());
            add(format!("d-i partman-auto-lvm/new_vg_name string {group}"));
            let size = recipe::guided_size(answers);
            let size = size.map_or("max".to_string(), |size| format!("{size}MB"));
            add(format!("d-i partman-auto-lvm/guided_size string {size}"));
        }
        None => add("d-i partman-auto/method string regular".into()),
    }
    let label = match answers.layout.table {
        crate::disk::config::Table::Gpt => "gpt",
        crate::disk::config::Table::Mbr => "msdos",
    };
    // The question's owner changed over the years.
    for owner in ["partman-partitioning", "partman-basicfilesystems", "partman"] {
        add(format!("d-i {owner}/choose_label select {label}"));
        add(format!("d-i {owner}/default_label string {label}"));
    }
    add(format!("d-i partman-auto/choose_recipe select {}", recipe::NAME));
    add(format!(
        "d-i partman-auto/expert_recipe string {}",
        recipe::lines(answers).join(" \\\n  ")
    ));
    text
}

/// How it begins and ends, whatever else was answered.
fn last(architecture: &str) -> String {
    let (_, log) = serial_lines(architecture);
    // Who started this talks to debconf by its descriptors from 3 on, and waits for all of them: a
    // process in the background that kept one open would make the installer wait for ever.
    let closed: String = (3..10).map(|number| format!(" {number}>&-")).collect();
    // debconf takes a backslash in an answer for the beginning of something else, so what runs at
    // the end is a file.
    format!(
        "d-i preseed/early_command string {{ tail -n +1 -f /var/log/syslog </dev/null \
         >/dev/{log} 2>/dev/null{closed} & }}\n\
         d-i preseed/late_command string sh /{LATE}\n\
         d-i finish-install/reboot_in_progress note\n\
         d-i debian-installer/exit/halt boolean false\n\
         d-i debian-installer/exit/poweroff boolean true\n"
    )
}

/// The script that runs at the end, outside the installed system. A failure of the command itself
/// would make the installer ask what to do.
fn late(architecture: &str) -> String {
    let (serial, _) = serial_lines(architecture);
    format!(
        "if cp /{INSIDE} /target/{INSIDE} && log-output -t kuth in-target sh /{INSIDE}; then\n\
         \x20 rm /target/{INSIDE}\n\
         \x20 sync\n\
         \x20 {}\n\
         else\n\
         \x20 {}\n\
         \x20 sleep 5\n\
         \x20 poweroff -f\n\
         fi\n",
        say(INSTALLED, serial),
        say(FAILED, serial)
    )
}

/// What the installer leaves behind that only fits the machine it ran on: a boot menu that talks to
/// a serial line alone.
const INSIDE_FIRST: &str = "set -e\n\
    if grep -q '^GRUB_TERMINAL=serial' /etc/default/grub 2>/dev/null; then\n\
    \x20 sed -i '/^GRUB_TERMINAL=serial/d; /^GRUB_SERIAL_COMMAND=/d' /etc/default/grub\n\
    \x20 update-grub\n\
    fi\n";

/// The archive to append to an initrd.
pub fn archive(answers: &Answers) -> Result<Vec<u8>> {
    let inside = format!("{INSIDE_FIRST}{}", answers.script);
    let entries = [
        Entry::file("preseed.cfg", 0o600, text(answers)?),
        Entry::file(LATE, 0o700, late(&answers.architecture)),
        Entry::file(INSIDE, 0o700, inside),
    ];
    let archive = cpio::write(&entries)?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&archive).context("compressing the answers")?;
    gzip.finish().context("compressing the answers")
}

/// The kernel's arguments. What is before `---` is for the installer alone.
pub fn arguments(architecture: &str) -> String {
    let (serial, _) = serial_lines(architecture);
    format!(
        "auto=true priority=critical DEBIAN_FRONTEND=text TERM=dumb console={serial},115200n8 ---"
    )
}
