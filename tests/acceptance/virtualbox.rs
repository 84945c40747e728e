//! The whole pipeline with VirtualBox, and a machine by `create-image`: the real VBoxManage, with a
//! registry of the test's own.

use crate::world::{DEBIAN, world};
use kuth_test_support::project::Project;
use kuth_test_support::virtualbox::VirtualBoxHome;

#[test]
fn the_whole_cluster_is_made_in_virtualbox_once() {
    let world = world();
    let Some(virtualbox) = VirtualBoxHome::new("cluster") else { return };
    let mut project: Project = world.fork("virtualbox");
    project.machines = virtualbox.directory.join("machines");
    let driver = ["--driver", "virtualbox", "--vboxmanage", &virtualbox.command];
    let build = || project.build(&[&[DEBIAN, "--jobs", "8"], &driver[..]].concat()).ok();

    let first = build();
    let states = first.states();
    let nodes: Vec<&str> = states.keys().filter_map(|it| it.strip_prefix("nodes/")).collect();
    assert!(nodes.len() > 2, "{states:?}");
    for (stage, state) in &states {
        let made = stage.starts_with("nodes/") || ["machine", "golden"].contains(stage);
        assert_eq!(*state, if made { "done" } else { "cached" }, "{stage}");
    }
    let vms = virtualbox.ask(&["list", "vms"]);
    for name in &nodes {
        assert!(vms.contains(&format!("\"{name}\" {{")), "{vms}");
        let info = virtualbox.info(name);
        assert!(info.lines().any(|it| it.ends_with("/seed.iso\"")), "{info:?}");
    }
    let gate = virtualbox.info("gate-node01");
    for line in ["memory=512", "cpus=1", "nic1=\"nat\"", "intnet5=\"dmz\"", "nic6=\"hostonly\""] {
        assert!(gate.lines().any(|it| it == line), "{line} in {gate:?}");
    }

    build().assert_all("cached");
    assert_eq!(virtualbox.ask(&["list", "vms"]), vms);

    // All of them deleted by hand: they come back, and nothing else runs.
    for name in &nodes {
        virtualbox.ask(&["unregistervm", name, "--delete"]);
    }
    let again = build();
    let seconds = again.wall.as_secs_f64();
    eprintln!("{} linked clones in VirtualBox: {seconds:.1} s of `kuth build`", nodes.len());
    assert_eq!(again.those("done"), first.those("done").replacen("golden machine ", "", 1));
    assert_eq!(virtualbox.ask(&["list", "vms"]).lines().count(), vms.lines().count());

    // One role's memory: that machine alone.
    let text = std::fs::read_to_string(project.root.join(DEBIAN)).unwrap();
    let (before, gate) = text.split_at(text.find("[stage.nodes.role.gate]").unwrap());
    let gate = gate.replacen("memory = \"512 MiB\"", "memory = \"640 MiB\"", 1);
    project.write(DEBIAN, format!("{before}{gate}"));
    assert_eq!(build().those("done"), "nodes/gate-node01");
    assert!(virtualbox.info("gate-node01").lines().any(|it| it == "memory=640"));
    assert_eq!(virtualbox.ask(&["list", "vms"]).lines().count(), vms.lines().count());

    // The other way to a machine, with a key that sed would choke on.
    let remove = ["machine", "remove", "hapx-node01", "--vboxmanage", &virtualbox.command];
    project.kuth(&remove).ok();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJNtVbV8kIEDYVsTg5bGZ1jJ0zjvKx4NGxHkUuIS0f7y \
               a&b|c/d";
    project.write("key.pub", key);
    let files = ["-k", "key.pub", "-u", "hapx/user-data", "-i", "hapx/post-config-interfaces"];
    let rest = ["-r", "hapx/post-config-resources", "-o", "HAPX-Node01", "-l", "debian"];
    let base = text.split_once("name = \"debian-base").unwrap().1.split('"').next().unwrap();
    let base = format!("debian-base{base}");
    let words = ["create-image", "-b", &base, "-a", "false"];
    project.kuth(&[&words[..], &files, &rest, &driver].concat()).ok();
    let info = virtualbox.info("hapx-node01");
    for line in ["memory=512", "nic1=\"intnet\"", "intnet1=\"dmz\"", "nic2=\"none\""] {
        assert!(info.lines().any(|it| it == line), "{line} in {info:?}");
    }
    let seed = project.machines.join("virtualbox/hapx-node01/seed.iso");
    let seed = std::fs::read(seed).unwrap();
    assert!(String::from_utf8_lossy(&seed).contains(key), "the key is in the seed as it was given");
}
