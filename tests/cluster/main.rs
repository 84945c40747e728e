//! The gate, a load balancer and a storage server of data/debian, as they are, booted together by
//! the QEMU driver on internal networks: what they are to each other, asked inside of them, by
//! `kuth machine ssh` as a person would.
//!
//! Two boots of each, all at once: fifteen minutes without KVM, so they are run by hand or where CI
//! has the time: `make test-boots`. Console logs and what the machines answered are kept in
//! target/tmp/cluster/logs, the packages and the image in target/tmp/cluster/cache. What needs a tool
//! that is missing is skipped, and fails where KUTH_REQUIRE_TOOLS=1.

mod answers;
mod cluster;
mod tools;

use std::panic::{AssertUnwindSafe, catch_unwind};

use answers::Answers;
use cluster::{ALL, Cluster, GATE, GLUS, HAPX};
use kuth::hardware::Mac;

#[test]
#[ignore = "boots three machines, a quarter of an hour without KVM; `make test-boots`"]
fn machines_started_together_set_themselves_up_and_find_each_other() {
    if !tools::are_there(&["qemu-system-x86_64", "ssh", "ssh-agent", "ssh-add", "ssh-keygen"]) {
        return;
    }
    let cluster = Cluster::build();
    cluster.start(&ALL);
    cluster.wait_until_set_up(&ALL);
    let answers = Asked {
        gate: cluster.ask(GATE, concat!(include_str!("each.sh"), include_str!("gate.sh"))),
        hapx: cluster.ask(HAPX, concat!(include_str!("each.sh"), include_str!("hapx.sh"))),
        glus: cluster.ask(GLUS, concat!(include_str!("each.sh"), include_str!("glus.sh"))),
        hosts: Answers::parse("kuth machine hosts", &cluster.kuth(&["machine", "hosts"])),
        archive: cluster.archive.clone(),
    };
    let failed: Vec<&str> = CHECKS
        .iter()
        .filter(|(_, check)| catch_unwind(AssertUnwindSafe(|| check(&answers))).is_err())
        .map(|(what, _)| *what)
        .collect();
    assert!(failed.is_empty(), "not so: {failed:#?}; see {}", cluster.logs().display());
    let said = cluster.stop(&ALL);
    assert_eq!(said.matches(": powered off").count(), ALL.len(), "{said}");
}

/// What each machine answered.
struct Asked {
    gate: Answers,
    hapx: Answers,
    glus: Answers,
    hosts: Answers,
    archive: String,
}

type Check = fn(&Asked);

/// What has to be so; all are looked at, whichever fails.
const CHECKS: &[(&str, Check)] = &[
    ("every machine is set up without a fault", |asked| {
        for answers in [&asked.gate, &asked.hapx, &asked.glus] {
            answers.has("cloud-init", "status: done");
            answers.has("cloud-init", "errors: []");
            assert_eq!(answers.of("faults"), "");
            assert_eq!(answers.of("failed units"), "");
        }
    }),
    ("the gate's cards have their names and addresses", |asked| {
        for (card, address) in [
            ("mast", "192.168.1.254/24 192.168.1.1/24"),
            ("node", "192.168.2.254/24 192.168.2.1/24"),
            ("glus", "192.168.3.254/24 192.168.3.1/24"),
            ("dmz", "192.168.4.254/24 192.168.4.1/24"),
            ("host", "192.168.63.254/24"),
        ] {
            let line = asked.gate.line("addresses", &format!("{card} "));
            assert!(line.split_once("UP").unwrap().1.trim().starts_with(address), "{line}");
        }
    }),
    ("each has the address that the gate gave to the card kuth made", |asked| {
        for (name, answers, network) in
            [(HAPX, &asked.hapx, [192, 168, 4, 130]), (GLUS, &asked.glus, [192, 168, 3, 2])]
        {
            let lease = asked.gate.line("leases", &format!("{} ", Mac::derived(name, 0)));
            let words: Vec<&str> = lease.split_whitespace().collect();
            assert_eq!(words[3], name, "{lease}");
            let address: std::net::Ipv4Addr = words[2].parse().unwrap();
            let [a, b, c, last] = address.octets();
            assert_eq!([a, b, c], network[..3], "{lease}");
            assert!((network[3]..=253).contains(&last), "{lease}");
            answers.has("addresses", &format!("{address}/24"));
        }
    }),
    ("names lead to the machines", |asked| {
        asked.hapx.has("gate", "192.168.63.254");
        asked.glus.has("gate", "192.168.63.254");
        asked.hapx.has("glus", "192.168.3.");
        asked.glus.has("hapx", "192.168.4.");
        assert_eq!(asked.hapx.of("full name"), "hapx-node01.kube.local");
    }),
    ("the way out leads through the gate", |asked| {
        asked.hapx.has("route", "default via 192.168.4.254 ");
        asked.glus.has("route", "default via 192.168.3.254 ");
        if let Err(why) = tools::reach(&asked.archive) {
            let what = "a guest on its way out";
            return kuth_test_support::judge::skip(&format!(
                "{what}: {} is not reached: {why}",
                asked.archive
            ));
        }
        asked.hapx.has("outside", "Suite: ");
        asked.glus.has("outside", "Suite: ");
    }),
    ("HAProxy listens, started by the cluster alone", |asked| {
        for port in [":6443 ", ":32700 "] {
            asked.hapx.has("listening", port);
        }
        assert_eq!(asked.hapx.of("haproxy at boot"), "disabled");
    }),
    ("pacemaker runs both resources with this node alone", |asked| {
        asked.hapx.has("configuration", "primitive address IPaddr2");
        asked.hapx.has("configuration", "primitive haproxy systemd:haproxy");
        asked.hapx.has("configuration", "colocation haproxy-at-address inf: haproxy address");
        asked.hapx.has("configuration", "cluster-name=hapx");
        for resource in ["* address", "* haproxy"] {
            let line = asked.hapx.line("resources", resource);
            assert!(line.ends_with("Started hapx-node01"), "{line}");
        }
        asked.hapx.has("floating", "192.168.4.20/32");
        asked.hapx.has("corosync", "crypto_cipher: aes256");
        // Another machine reaches it, from another network.
        assert_eq!(asked.glus.of("floating address"), "open");
    }),
    ("the brick is XFS on a thin volume, and mounted", |asked| {
        let brick = asked.glus.of("brick");
        assert_eq!(brick, "/dev/mapper/bricks-brick1 xfs /srv/bricks/brick1");
        asked.glus.has("volumes", "brick1 pool");
        asked.glus.has("glusterd", "active");
        asked.glus.has("pool", "localhost");
    }),
    ("kuth tells their addresses, which it asked the gate for", |asked| {
        asked.hosts.has("", "192.168.4.131\thapx-node01.kube.local");
        asked.hosts.has("", "glus-node01.kube.local");
    }),
];
