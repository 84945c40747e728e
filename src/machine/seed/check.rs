//! What is wrong with a user-data file, as far as that shows before a boot: cloud-init skips a
//! file with a wrong first line, and a key it does not know, without a word on the console.
//!
//! It reads lines, not YAML: the first line, indentation, and the keys at the left margin. A
//! fault in a module's own values is found by `cloud-init schema` alone.
//!
//! Source of the keys: `schema-cloud-config-v1.json` of cloud-init 25.1.

use super::fill::card;
use super::{Template, secret};
use crate::pipeline::suggest;

/// cloud-init refuses what is larger over most transports, and so do we.
const LARGEST: usize = 64 << 10;

/// First lines (or their beginnings) that cloud-init takes.
const HEADERS: &[&str] = &[
    "#cloud-config",
    "#!",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "## template: jinja",
    "Content-Type:",
    "MIME-Version:",
];

/// Every key at the top of a `#cloud-config`, sorted.
const KEYS: &[&str] = &[
    "allow_public_ssh_keys",
    "ansible",
    "apk_repos",
    "apt",
    "apt_pipelining",
    "apt_reboot_if_required",
    "apt_update",
    "apt_upgrade",
    "authkey_hash",
    "autoinstall",
    "bootcmd",
    "byobu_by_default",
    "ca-certs",
    "ca_certs",
    "chef",
    "chpasswd",
    "cloud_config_modules",
    "cloud_final_modules",
    "cloud_init_modules",
    "create_hostname_file",
    "device_aliases",
    "disable_ec2_metadata",
    "disable_root",
    "disable_root_opts",
    "disk_setup",
    "drivers",
    "fan",
    "final_message",
    "fqdn",
    "fs_setup",
    "groups",
    "growpart",
    "grub-dpkg",
    "grub_dpkg",
    "hostname",
    "keyboard",
    "landscape",
    "launch-index",
    "locale",
    "locale_configfile",
    "lxd",
    "manage_etc_hosts",
    "manage_resolv_conf",
    "mcollective",
    "merge_how",
    "merge_type",
    "migrate",
    "mount_default_fields",
    "mounts",
    "no_ssh_fingerprints",
    "ntp",
    "output",
    "package_reboot_if_required",
    "package_update",
    "package_upgrade",
    "packages",
    "password",
    "phone_home",
    "power_state",
    "prefer_fqdn_over_hostname",
    "preserve_hostname",
    "puppet",
    "random_seed",
    "reporting",
    "resize_rootfs",
    "resolv_conf",
    "rh_subscription",
    "rsyslog",
    "runcmd",
    "salt_minion",
    "snap",
    "spacewalk",
    "ssh",
    "ssh_authorized_keys",
    "ssh_deletekeys",
    "ssh_fp_console_blacklist",
    "ssh_genkeytypes",
    "ssh_import_id",
    "ssh_key_console_blacklist",
    "ssh_keys",
    "ssh_publish_hostkeys",
    "ssh_pwauth",
    "ssh_quiet_keygen",
    "swap",
    "system_info",
    "timezone",
    "ubuntu_advantage",
    "ubuntu_pro",
    "updates",
    "user",
    "users",
    "vendor_data",
    "version",
    "wireguard",
    "write_files",
    "yum_repo_dir",
    "yum_repos",
    "zypper",
];

/// A fault in a seed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedFault {
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What to try.
    pub hint: Option<String>,
}

impl SeedFault {
    pub(super) fn new(line: usize, message: impl Into<String>, hint: Option<String>) -> SeedFault {
        SeedFault { line, message: message.into(), hint }
    }
}

/// `LINE: what is wrong (what to try)`
impl std::fmt::Display for SeedFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line > 0 {
            write!(f, "{}: ", self.line)?;
        }
        write!(f, "{}", self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// The words of placeholders besides `MAC1` and `SECRET:name`.
const PLACEHOLDERS: &[&str] = &["HOSTNAME", "UUID", "SSH-PUB-KEY"];

/// The placeholders of `text`, the file called `file`, that `template` cannot fill in.
pub fn placeholders(file: &str, text: &str, template: &Template) -> Vec<SeedFault> {
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for name in secret::asked(line).filter(|name| !secret::is_legal(name)) {
            let hint = "write `#SECRET:name#`, in lower-case letters, digits, `-`, `_` and `.`";
            let message = format!("`{name}` cannot be the name of a secret");
            faults.push(SeedFault::new(index + 1, message, Some(hint.into())));
        }
        for word in line.split('#').skip(1) {
            let capitals =
                |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "-_".contains(c);
            if !line.contains(&format!("#{word}#")) || !word.chars().all(capitals) {
                continue;
            }
            let cards = template.nics.len();
            let (message, hint) = match card(word) {
                Some(number) if (1..=cards).contains(&number) => continue,
                Some(_) => (
                    format!("`#{word}#` names a card, but `{}` has {cards}", template.hostname),
                    None,
                ),
                None if word == "UUID" && file == "network-config" => {
                    (format!("`#{word}#` is not known in {file}"), None)
                }
                None if PLACEHOLDERS.contains(&word) => continue,
                None => match suggest::nearest(word, PLACEHOLDERS.iter().copied()) {
                    Some(near) => (
                        format!("`#{word}#` is no placeholder"),
                        Some(format!("did you mean `#{near}#`?")),
                    ),
                    None => continue,
                },
            };
            faults.push(SeedFault::new(index + 1, message, hint));
        }
    }
    faults
}

/// Every fault of a user-data file.
pub fn user_data(text: &str) -> Vec<SeedFault> {
    let mut faults = Vec::new();
    if text.len() > LARGEST {
        let message = format!("user-data of {} bytes is larger than 64 KiB", text.len());
        faults.push(SeedFault::new(0, message, Some("move files into the image".into())));
    }
    let first = text.lines().next().unwrap_or_default();
    if !HEADERS.iter().any(|header| first.starts_with(header)) {
        let message = "the first line says not what this is, so cloud-init would skip it";
        let hint = match text.lines().any(|line| line.trim_end() == "#cloud-config") {
            true => "`#cloud-config` must be the very first line, without a space before it",
            false => "begin with the line `#cloud-config`, or with `#!` for a script",
        };
        faults.push(SeedFault::new(1, message, Some(hint.into())));
    }
    if first.trim_end() == "#cloud-config" || first.starts_with("## template: jinja") {
        cloud_config(text, &mut faults);
    }
    faults
}

/// Faults of a `#cloud-config`, line by line.
fn cloud_config(text: &str, faults: &mut Vec<SeedFault>) {
    let mut keys: Vec<&str> = Vec::new();
    // The indentation of the key whose value is a block of literal text, while that lasts.
    let mut block: Option<usize> = None;
    for (index, line) in text.lines().enumerate() {
        let (at, bare) = (index + 1, line.trim());
        let indent = line.len() - line.trim_start_matches(' ').len();
        if bare.is_empty() {
            continue;
        }
        match block {
            Some(parent) if indent > parent => continue,
            _ => block = None,
        }
        if line[indent..].starts_with('\t') {
            let message = "a tab in the indentation, which YAML does not take";
            faults.push(SeedFault::new(at, message, Some("indent with spaces".into())));
            continue;
        }
        if bare.starts_with('#') || bare == "---" || bare == "..." {
            continue;
        }
        if indent == 0 && !line.starts_with(['-', '{', '}', '[', ']', '%']) {
            top_level(at, line, &mut keys, faults);
        }
        if opens_block(bare) {
            block = Some(indent);
        }
    }
}

/// Checks the key of a line at the left margin.
fn top_level<'a>(at: usize, line: &'a str, keys: &mut Vec<&'a str>, faults: &mut Vec<SeedFault>) {
    let Some((key, rest)) = line.split_once(':') else {
        let message = format!("`{}` is not `key: value`", line.trim_end());
        return faults.push(SeedFault::new(at, message, None));
    };
    let key = key.trim().trim_matches(['"', '\'']);
    if !rest.is_empty() && !rest.starts_with([' ', '\t', '\r']) {
        let hint = format!("write `{key}: {}`", rest.trim());
        let message = format!("no space after `{key}:`");
        return faults.push(SeedFault::new(at, message, Some(hint)));
    }
    if keys.contains(&key) {
        let message = format!("`{key}` is there twice; the second wins");
        faults.push(SeedFault::new(at, message, None));
    }
    keys.push(key);
    if KEYS.binary_search(&key).is_err() {
        let near = suggest::nearest(key, KEYS.iter().copied());
        let hint = near.map(|near| format!("did you mean `{near}`?"));
        let message = format!("cloud-init knows no key `{key}`");
        faults.push(SeedFault::new(at, message, hint));
    }
}

/// Whether the line ends with `|` or `>`, perhaps with `-`, `+` and a digit behind it.
fn opens_block(bare: &str) -> bool {
    let code = bare.split(" #").next().unwrap_or_default().trim_end();
    let head = code.trim_end_matches(|c: char| c == '-' || c == '+' || c.is_ascii_digit());
    let Some(before) = head.strip_suffix(['|', '>']) else { return false };
    before.is_empty() || before.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<String> {
        let line = |fault: SeedFault| match fault.hint {
            Some(hint) => format!("{}: {} ({hint})", fault.line, fault.message),
            None => format!("{}: {}", fault.line, fault.message),
        };
        user_data(text).into_iter().map(line).collect()
    }

    #[test]
    fn keys_are_sorted() {
        assert!(KEYS.is_sorted());
    }

    #[test]
    fn sound_files_have_no_faults() {
        let sound = "#cloud-config\n# comment\n---\npackages: [a]\nwrite_files:\n- path: /x\n  \
                     content: |\n    hostnam: x\n    \tindented by a tab\n\n    more\nruncmd:\n  - x\n";
        for text in [sound, "#!/bin/sh\nx\n", "#include\nx:y\n", "#cloud-config\r\npackages:\r\n"] {
            assert_eq!(said(text), [] as [String; 0], "{text}");
        }
    }

    #[test]
    fn what_cloud_init_skips_in_silence_is_told() {
        let begin = "(begin with the line `#cloud-config`, or with `#!` for a script)";
        let skip = "1: the first line says not what this is, so cloud-init would skip it";
        for (text, expected) in [
            ("packages: [a]\n", vec![format!("{skip} {begin}")]),
            ("", vec![format!("{skip} {begin}")]),
            (
                "\n#cloud-config\n",
                vec![format!(
                    "{skip} (`#cloud-config` must be the very first line, without a space before it)"
                )],
            ),
            (
                "#cloud-config\nhostnam: a\n",
                vec!["2: cloud-init knows no key `hostnam` (did you mean `hostname`?)".into()],
            ),
            (
                "#cloud-config\nusers:\n\t- name: a\n",
                vec![
                    "3: a tab in the indentation, which YAML does not take (indent with spaces)"
                        .into(),
                ],
            ),
            ("#cloud-config\nzzz\n", vec!["2: `zzz` is not `key: value`".into()]),
            ("#cloud-config\nfqdn:a\n", vec!["2: no space after `fqdn:` (write `fqdn: a`)".into()]),
            (
                "#cloud-config\nruncmd: [a]\nruncmd: [b]\n",
                vec!["3: `runcmd` is there twice; the second wins".into()],
            ),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
    }

    #[test]
    fn too_large_is_told() {
        let text = format!("#cloud-config\n#{}\n", "x".repeat(LARGEST));
        assert!(said(&text)[0].contains("larger than 64 KiB"));
    }
}
