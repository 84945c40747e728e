//! Attempts to get out of the sandbox, one stage for all of them, with and without the network.

use std::collections::BTreeMap;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::sync::OnceLock;

use crate::host::Host;
use crate::place::{Caller, Place, as_root_and_as_user};
use kuth_test_support::processes::assert_gone;

const SCRIPT: &str = include_str!("data/attempts.sh");

/// What came of the attempts.
struct Outcome {
    /// By network and name: `refused`, or how it was possible.
    results: BTreeMap<(&'static str, String), String>,
    /// The names in /dev.
    devices: BTreeMap<&'static str, String>,
    /// What the observer saw.
    changes: Vec<String>,
}

/// The two ways in which scripts run.
const NETWORKS: [&str; 2] = ["with", "without"];

fn outcome(caller: Caller) -> &'static Outcome {
    static ROOT: OnceLock<Outcome> = OnceLock::new();
    static USER: OnceLock<Outcome> = OnceLock::new();
    let cell = if caller == Caller::Root { &ROOT } else { &USER };
    cell.get_or_init(|| Outcome::new(caller))
}

/// The numbers of a block device of this machine: that of the root, if it is on one.
fn block_device() -> String {
    let root = Path::new("/").metadata().unwrap().dev();
    if rustix::fs::major(root) != 0 {
        return format!("{} {}", rustix::fs::major(root), rustix::fs::minor(root));
    }
    let table = std::fs::read_to_string("/proc/partitions").unwrap();
    let row = table.lines().nth(2).map(|row| row.split_whitespace().take(2).collect::<Vec<_>>());
    row.map_or("7 0".to_string(), |numbers| numbers.join(" "))
}

impl Outcome {
    fn new(caller: Caller) -> Outcome {
        let stages = r#"
[stage.quiet]
kind = "customise"
from = "rootfs"
run = { script = "true", network = true }

[stage.attempts]
kind = "customise"
from = "rootfs"
run = [{ source = "data/with", network = true }, { source = "data/without" }]
"#;
        let place = Place::new(caller, stages);
        let socket = format!("kuth-test-{}-{caller:?}", std::process::id());
        let address = SocketAddr::from_abstract_name(&socket).unwrap();
        let _listener = UnixListener::bind_addr(&address).unwrap();
        let (marker, device) = (place.marker.display(), block_device());
        for network in NETWORKS {
            let (first, rest) = SCRIPT.split_once('\n').unwrap();
            let variables =
                format!("where={network} marker={marker} device='{device}' socket={socket}\n");
            place.script(network, &format!("{first}\n{variables}{rest}"));
        }
        let before = Host::look(&place.etc);
        place.build("quiet");
        let quiet = Host::look(&place.etc);
        let tree = place.build("attempts");
        let after = Host::look(&place.etc);
        assert_gone(&Default::default(), place.top());
        for noted in ["file /etc/passwd", "setting vm/swappiness", "device null"] {
            assert!(before.has(noted), "the observer did not look at {noted}");
        }
        let mut results = BTreeMap::new();
        for network in NETWORKS {
            for line in tree.text(&format!("/srv/seen/{network}")).lines() {
                let (name, result) = line.split_once(' ').unwrap();
                results.insert((network, name.to_string()), result.to_string());
            }
        }
        let devices = NETWORKS.map(|n| (n, tree.text(&format!("/srv/seen/dev-{n}")))).into();
        Outcome { results, devices, changes: before.changes(&quiet, &after) }
    }
}

/// All these attempts were made, by both callers, and refused.
fn assert_refused(networks: &[&'static str], names: &str) {
    let mut faults = Vec::new();
    as_root_and_as_user(|caller| {
        for network in networks {
            for name in names.split_whitespace() {
                let result = outcome(caller).results.get(&(*network, name.to_string()));
                if result.map(String::as_str) != Some("refused") {
                    let result = result.map_or("not tried", String::as_str);
                    faults.push(format!("as {caller:?}, {network} network: {name}: {result}"));
                }
            }
        }
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn settings_of_the_kernel_cannot_be_written() {
    assert_refused(
        &NETWORKS,
        "set-vm/swappiness set-vm/overcommit_memory set-kernel/core_pattern set-kernel/hostname \
         set-fs/file-max set-net/ipv4/ip_forward proc-sys proc-kernel sys",
    );
}

#[test]
fn what_the_kernel_tells_of_the_whole_machine_is_covered() {
    assert_refused(&NETWORKS, "proc-kcore proc-kmsg");
}

#[test]
fn what_is_covered_or_read_only_stays_so() {
    assert_refused(
        &NETWORKS,
        "uncover-proc-sys uncover-proc-sysrq uncover-sys bound-proc-sys bound-proc",
    );
}

#[test]
fn file_systems_of_the_kernel_mounted_anew_give_nothing_of_the_host() {
    assert_refused(
        &NETWORKS,
        "fresh-proc fresh-sysfs fresh-cgroup2 below-proc below-sysfs below-cgroup2 mount-devtmpfs mount-debugfs \
         mount-tracefs mount-securityfs mount-configfs",
    );
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    if groups.contains(":devices:") {
        assert_refused(&NETWORKS, "fresh-cgroup");
    }
}

#[test]
fn devices_of_the_host_cannot_be_made_and_opened() {
    assert_refused(
        &NETWORKS,
        "node-disk node-memory node-kmsg node-loop-control node-in-dev node-on-tmpfs mount-disk",
    );
}

#[test]
fn kuth_itself_cannot_be_looked_into_or_traced() {
    assert_refused(
        &NETWORKS,
        "process-files process-root process-directory process-environment process-memory process-maps \
         process-trace process-namespaces process-descriptor",
    );
}

#[test]
fn no_file_of_the_host_is_reached() {
    assert_refused(&NETWORKS, "inherited-file host-by-processes host-by-chroot host-by-handle");
}

#[test]
fn keyrings_modules_and_swap_are_not_for_scripts() {
    assert_refused(&NETWORKS, "key-add key-request key-session module swap");
}

#[test]
fn the_network_of_the_host_is_used_and_not_changed() {
    assert_refused(
        &["with"],
        "network-device network-address network-route network-setting network-packets",
    );
}

#[test]
fn abstract_sockets_of_the_host_are_not_reached() {
    assert_refused(&NETWORKS, "abstract-socket");
}

#[test]
fn every_attempt_is_judged_by_a_test() {
    // All others are in the lists above.
    let judged = include_str!("attempts.rs");
    as_root_and_as_user(|caller| {
        let outcome = outcome(caller);
        assert!(outcome.results.len() > 100, "{:?}", outcome.results);
        let exceptions = ["set-kernel/sysrq", "set-kernel/modprobe"];
        for (network, name) in outcome.results.keys() {
            if exceptions.contains(&name.as_str()) {
                // Not every kernel has them.
                assert_refused(&[*network], name);
            } else {
                let is_there = judged.split(|c: char| c.is_whitespace() || c == '"');
                assert!(is_there.into_iter().any(|word| word == name), "nobody looks at {name}");
            }
        }
    });
}

#[test]
fn there_are_no_devices_but_the_harmless_ones() {
    let expected =
        "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
    as_root_and_as_user(|caller| {
        for network in NETWORKS {
            assert_eq!(outcome(caller).devices[network], expected, "{caller:?}, {network}");
        }
    });
}

#[test]
fn an_observer_of_the_host_sees_no_change() {
    as_root_and_as_user(|caller| {
        assert_eq!(outcome(caller).changes, Vec::<String>::new(), "{caller:?}");
    });
}
