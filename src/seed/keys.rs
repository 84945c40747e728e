//! The keys at the top of a `#cloud-config`, and what their values are.
//!
//! Source: `schema-cloud-config-v1.json` of cloud-init 25.1, whose types these are.

/// What a value may be: words as [`Node::describe`](crate::format::yaml::Node::describe) has them.
pub type Shapes = &'static [&'static str];

/// A word of [`Shapes`].
pub const LIST: &str = "a list";
/// A word of [`Shapes`].
pub const MAPPING: &str = "a mapping";
/// A word of [`Shapes`].
pub const TEXT: &str = "text";
/// A word of [`Shapes`].
pub const TRUTH: &str = "a truth value";
/// A word of [`Shapes`].
pub const NUMBER: &str = "a number";
/// A word of [`Shapes`].
pub const NOTHING: &str = "nothing";

/// Every key, sorted; no shapes where anything goes.
pub const KEYS: &[(&str, Shapes)] = &[
    ("allow_public_ssh_keys", &[TRUTH]),
    ("ansible", &[MAPPING]),
    ("apk_repos", &[MAPPING]),
    ("apt", &[MAPPING]),
    ("apt_pipelining", &[NUMBER, TEXT, TRUTH]),
    ("apt_reboot_if_required", &[TRUTH]),
    ("apt_update", &[TRUTH]),
    ("apt_upgrade", &[TRUTH]),
    ("authkey_hash", &[TEXT]),
    ("autoinstall", &[MAPPING]),
    ("bootcmd", &[LIST]),
    ("byobu_by_default", &[TEXT]),
    ("ca-certs", &[MAPPING]),
    ("ca_certs", &[MAPPING]),
    ("chef", &[MAPPING]),
    ("chpasswd", &[MAPPING]),
    ("cloud_config_modules", &[LIST]),
    ("cloud_final_modules", &[LIST]),
    ("cloud_init_modules", &[LIST]),
    ("create_hostname_file", &[TRUTH]),
    ("device_aliases", &[MAPPING]),
    ("disable_ec2_metadata", &[TRUTH]),
    ("disable_root", &[TRUTH]),
    ("disable_root_opts", &[TEXT]),
    ("disk_setup", &[MAPPING]),
    ("drivers", &[MAPPING]),
    ("fan", &[MAPPING]),
    ("final_message", &[TEXT]),
    ("fqdn", &[TEXT]),
    ("fs_setup", &[LIST]),
    ("groups", &[]),
    ("growpart", &[MAPPING]),
    ("grub-dpkg", &[MAPPING]),
    ("grub_dpkg", &[MAPPING]),
    ("hostname", &[TEXT]),
    ("keyboard", &[MAPPING]),
    ("landscape", &[MAPPING]),
    ("launch-index", &[NUMBER]),
    ("locale", &[TEXT, TRUTH]),
    ("locale_configfile", &[TEXT]),
    ("lxd", &[MAPPING]),
    ("manage_etc_hosts", &[TEXT, TRUTH]),
    ("manage_resolv_conf", &[TRUTH]),
    ("mcollective", &[MAPPING]),
    ("merge_how", &[LIST, TEXT]),
    ("merge_type", &[LIST, TEXT]),
    ("migrate", &[]),
    ("mount_default_fields", &[LIST]),
    ("mounts", &[LIST]),
    ("no_ssh_fingerprints", &[TRUTH]),
    ("ntp", &[MAPPING, NOTHING]),
    ("output", &[MAPPING]),
    ("package_reboot_if_required", &[TRUTH]),
    ("package_update", &[TRUTH]),
    ("package_upgrade", &[TRUTH]),
    ("packages", &[LIST]),
    ("password", &[TEXT]),
    ("phone_home", &[MAPPING]),
    ("power_state", &[MAPPING]),
    ("prefer_fqdn_over_hostname", &[TRUTH]),
    ("preserve_hostname", &[TRUTH]),
    ("puppet", &[MAPPING]),
    ("random_seed", &[MAPPING]),
    ("reporting", &[MAPPING]),
    ("resize_rootfs", &[TEXT, TRUTH]),
    ("resolv_conf", &[MAPPING]),
    ("rh_subscription", &[MAPPING]),
    ("rsyslog", &[MAPPING]),
    ("runcmd", &[LIST]),
    ("salt_minion", &[MAPPING]),
    ("snap", &[MAPPING]),
    ("spacewalk", &[MAPPING]),
    ("ssh", &[MAPPING]),
    ("ssh_authorized_keys", &[LIST]),
    ("ssh_deletekeys", &[TRUTH]),
    ("ssh_fp_console_blacklist", &[LIST]),
    ("ssh_genkeytypes", &[LIST]),
    ("ssh_import_id", &[LIST]),
    ("ssh_key_console_blacklist", &[LIST]),
    ("ssh_keys", &[MAPPING]),
    ("ssh_publish_hostkeys", &[MAPPING]),
    ("ssh_pwauth", &[TEXT, TRUTH]),
    ("ssh_quiet_keygen", &[TRUTH]),
    ("swap", &[MAPPING]),
    ("system_info", &[MAPPING]),
    ("timezone", &[TEXT]),
    ("ubuntu_advantage", &[MAPPING]),
    ("ubuntu_pro", &[MAPPING]),
    ("updates", &[MAPPING]),
    ("user", &[MAPPING, TEXT]),
    ("users", &[LIST, MAPPING, TEXT]),
    ("vendor_data", &[MAPPING]),
    ("version", &[]),
    ("wireguard", &[MAPPING, NOTHING]),
    ("write_files", &[LIST]),
    ("yum_repo_dir", &[TEXT]),
    ("yum_repos", &[MAPPING]),
    ("zypper", &[MAPPING]),
];

/// The shapes of the value of `key`; `None` for a key that cloud-init does not know.
pub fn shapes(key: &str) -> Option<Shapes> {
    let at = KEYS.binary_search_by_key(&key, |(name, _)| name).ok()?;
    Some(KEYS[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_found() {
        assert!(KEYS.is_sorted_by_key(|(name, _)| name));
        assert_eq!(shapes("users"), Some(&[LIST, MAPPING, TEXT][..]));
        assert_eq!(shapes("hostnam"), None);
    }
}
