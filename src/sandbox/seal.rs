//! What sealing removes of a tree: what makes a copy of a machine recognisable as one (its id, its
//! keys, its random seed, its logs), and what a later first boot would take for answers already given.
//! The rules alone; [`super::inside`] acts on them.

/// Files that stay, empty: systemd makes a new id at the first boot.
pub const TRUNCATED: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// Files and directories that go.
pub const REMOVED: [&str; 8] = [
    "/var/lib/systemd/random-seed",
    "/var/lib/urandom/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/cloud",
    "/root/.bash_history",
    "/root/.ssh/known_hosts",
    "/etc/udev/rules.d/70-persistent-net.rules",
    "/etc/resolv.conf.dpkg-old",
];

/// Directories, and how the names of the files begin that go. What installers leave would make
/// cloud-init keep their network or ignore its seed.
pub const MATCHING: [(&str, &[&str]); 3] = [
    ("/etc/ssh", &["ssh_host_"]),
    ("/etc/netplan", &["00-installer-config", "50-curtin", "50-cloud-init"]),
    ("/etc/cloud/cloud.cfg.d", &["50-curtin", "99-installer", "curtin", "subiquity"]),
];

/// Directories that stay, empty.
pub const EMPTIED: [&str; 4] =
    ["/var/lib/dhcp", "/var/lib/dhcpcd", "/var/lib/NetworkManager", "/var/crash"];

/// The directory whose files go and whose directories stay: services expect theirs with its owner.
pub const LOGS: &str = "/var/log";

/// Whether sealing removes the file at the absolute `path`, or what is in it.
pub fn clears(path: &str) -> bool {
    let is_below = |directory: &str| is_inside(path, directory) && path != directory;
    TRUNCATED.contains(&path)
        || REMOVED.iter().any(|removed| is_inside(path, removed))
        || EMPTIED.iter().any(|emptied| is_inside(path, emptied))
        || MATCHING.iter().any(|(directory, names)| {
            let name = path.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/'));
            name.is_some_and(|name| names.iter().any(|prefix| name.starts_with(prefix)))
        })
        || is_below(LOGS)
}

/// Whether `path` is `directory` or in it.
pub fn is_inside(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sealing_clears_is_known_by_its_path() {
        for (path, expected) in [
            ("/etc/machine-id", true),
            ("/etc/machine-info", false),
            ("/etc/ssh/ssh_host_rsa_key", true),
            ("/etc/ssh/sshd_config", false),
            ("/etc/netplan/50-cloud-init.yaml", true),
            ("/etc/netplan/60-own.yaml", false),
            ("/var/lib/cloud/seed/nocloud/user-data", true),
            ("/var/lib/clouds", false),
            ("/var/lib/dhcp", true),
            ("/var/log/app/x", true),
            ("/var/log", false),
        ] {
            assert_eq!(clears(path), expected, "{path}");
        }
    }
}
