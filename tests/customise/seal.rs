//! `seal`: what must differ between copies of an image goes, what is the system's own stays.

use crate::built::tree;

/// Made by the script of the stage `traces`, removed by sealing.
const GONE: [&str; 17] = [
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/ssh/ssh_host_ed25519_key.pub",
    "/var/lib/systemd/random-seed",
    "/var/lib/urandom/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/cloud/data/instance-id",
    "/root/.bash_history",
    "/root/.ssh/known_hosts",
    "/etc/udev/rules.d/70-persistent-net.rules",
    "/etc/resolv.conf.dpkg-old",
    "/etc/netplan/00-installer-config.yaml",
    "/etc/netplan/50-cloud-init.yaml",
    "/etc/cloud/cloud.cfg.d/50-curtin-networking.cfg",
    "/var/lib/dhcp/dhclient.leases",
    "/var/lib/dhcpcd/eth0.lease",
    "/var/lib/NetworkManager/secret_key",
    "/var/crash/core",
];

/// Made by it too, and the system's own.
const KEPT: [&str; 5] = [
    "/etc/ssh/sshd_config",
    "/root/.ssh/authorized_keys",
    "/etc/udev/rules.d/80-own.rules",
    "/etc/netplan/60-own.yaml",
    "/etc/cloud/cloud.cfg.d/90-own.cfg",
];

const LOGS: [&str; 2] = ["/var/log/syslog", "/var/log/nginx/access.log"];

const HOST_KEYS: &str = "/etc/systemd/system/ssh.service.d/host-keys.conf";

#[test]
fn without_sealing_everything_stays() {
    let tree = tree("traces");
    for path in GONE.iter().chain(&KEPT).chain(&LOGS).chain(&["/var/lib/dbus/machine-id"]) {
        assert_eq!(tree.text(path), "trace\n", "{path}");
    }
    assert!(!tree.has(HOST_KEYS));
}

#[test]
fn sealing_removes_what_tells_a_machine_and_keeps_the_rest() {
    for stage in ["sealed", "sealed-cloud"] {
        let tree = tree(stage);
        let left: Vec<_> = GONE.iter().filter(|path| tree.has(path)).collect();
        assert_eq!(left, Vec::<&&str>::new(), "{stage}");
        for path in KEPT {
            assert_eq!(tree.text(path), "trace\n", "{stage}: {path}");
        }
    }
}

#[test]
fn sealing_leaves_the_machine_id_empty_so_that_the_first_boot_makes_one() {
    let (traces, sealed) = (tree("traces"), tree("sealed"));
    assert!(!traces.has("/etc/machine-id"));
    assert_eq!(sealed.text("/etc/machine-id"), "");
    assert_eq!(sealed.listed("/etc/machine-id"), "- 444 0:0");
    assert_eq!(sealed.text("/var/lib/dbus/machine-id"), "");
}

#[test]
fn sealing_empties_the_directories_of_logs_and_keeps_them() {
    let tree = tree("sealed");
    for path in LOGS {
        assert!(!tree.has(path), "{path}");
    }
    assert_eq!(tree.listed("/var/log/nginx"), "d 2750 33:4");
    for directory in ["/var/lib/dhcp", "/var/lib/dhcpcd", "/var/lib/NetworkManager", "/var/crash"] {
        assert_eq!(tree.listed(directory), "d 755 0:0");
    }
}

#[test]
fn without_cloud_init_the_ssh_server_makes_the_host_keys_that_sealing_removed() {
    let unit = tree("sealed").text(HOST_KEYS);
    assert!(unit.contains("\nExecStartPre=/usr/bin/ssh-keygen -A\n"), "{unit}");
    assert!(!tree("sealed-cloud").has(HOST_KEYS));
}
