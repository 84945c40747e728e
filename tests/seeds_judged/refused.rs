//! Seeds that are refused before anything runs: by `check`, and by `build`, which then has made
//! nothing.

use std::path::Path;

use kuth_test_support::project::Project;

use crate::write;

/// Without `role.a`'s other keys.
const PIPELINE: &str = r#"
[pipeline]
name = "p"

[stage.rootfs]
kind = "bootstrap"
suite = "trixie"

[stage.disk]
kind = "disk"
from = "rootfs"
size = "4 GiB"
partition = [{ name = "root", size = "rest", filesystem = "ext4", mount = "/" }]

[stage.machine]
kind = "register"
from = "disk"
name = "b"

[stage.golden]
kind = "snapshot"
from = "machine"
name = "golden"

[stage.nodes]
kind = "clone"
from = "golden"

[stage.nodes.role.a]
instances = ["a1", "a2"]
nics = ["nat"]
"#;

/// What `kuth check` and `kuth build` say of a role with these lines and this file `seed`.
fn refused(lines: &str, seed: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    write(&root.join("pipelines/p.toml"), &format!("{PIPELINE}{lines}\n"));
    write(&root.join("data/seed"), seed);
    let run = |arguments: &[&str], root: &Path| Project::rooted(root).kuth(arguments).ended(2).err;
    let said = run(&["check", "pipelines/p.toml"], root);
    assert_eq!(run(&["build", "pipelines/p.toml"], root), said);
    for made in ["cache/records", "out", "machines", "pipelines/p.lock"] {
        assert!(!root.join(made).exists(), "{made} was made");
    }
    said
}

#[test]
fn a_faulty_user_data_is_told_with_its_file_and_line() {
    let large = format!("#cloud-config\n#{}\n", "x".repeat(64 << 10));
    for (seed, place, message, hint) in [
        (
            "hostname: a\n",
            "data/seed:1:1",
            "the first line says not what this is, so cloud-init would skip it",
            "begin with the line `#cloud-config`",
        ),
        (
            "#cloud-config\nusers:\n\t- name: a\n",
            "data/seed:3:2",
            "a tab in the indentation, which YAML does not take",
            "indent with spaces",
        ),
        (
            "#cloud-config\nhostnam: a\n",
            "data/seed:2:1",
            "cloud-init knows no key `hostnam`",
            "did you mean `hostname`?",
        ),
        (
            "#cloud-config\nruncmd: [a]\nhostname: a\nruncmd: [b]\n",
            "data/seed:4:1",
            "`runcmd` is there twice; the second wins",
            "",
        ),
        ("#cloud-config\nruncmd: [a\nhostname: a\n", "data/seed:3:9", "this is not YAML: ", ""),
        (
            "#cloud-config\n\npackages: htop\n",
            "data/seed:3:11",
            "`packages` is text, not a list",
            "write `[htop]`",
        ),
        (large.as_str(), "pipelines/p.toml:32:13", "is larger than 64 KiB", "move files into"),
        (
            "#cloud-config\nssh_authorized_keys:\n  - #SSH-PUBKEY#\n",
            "data/seed:3:3",
            "`#SSH-PUBKEY#` is not a placeholder",
            "did you mean `#SSH-PUB-KEY#`?",
        ),
    ] {
        let said = refused("user-data = \"data/seed\"", seed);
        for part in [place, message, hint] {
            assert!(said.contains(part), "{part} is missing in:\n{said}");
        }
    }
}

#[test]
fn other_files_and_another_label_are_told_too() {
    for (lines, seed, parts) in [
        (
            "meta-data = \"data/seed\"",
            "local-hostname: #HOSTNAME#\n",
            ["there is no `instance-id`", "data/seed:1:1", "write `instance-id: #UUID#`"],
        ),
        (
            "network-config = \"data/seed\"",
            "version: 2\nethernets:\n  a: {match: {macaddress: '#MAC2#'}}\n",
            ["`#MAC2#` names a card, but `a1` has 1", "data/seed:3:3", "is named here"],
        ),
        (
            "network-config = \"data/seed\"",
            "version: 1\nconfig:\n- type: physical\n  mac_address: '52:54:00:00:00:01'\n",
            ["is the address of no card of this machine", "data/seed:4:16", "#MAC1#"],
        ),
        (
            "network-config = \"data/seed\"",
            "version: 2\nethernets:\n  a: {macaddress: 52:54:00:12:34:56}\n",
            ["`52:54:00:12:34:56` is read as a number", "data/seed:3:19", "in quotes"],
        ),
        (
            "label = \"seed\"",
            "",
            ["`seed` is not a valid `label`", "pipelines/p.toml:32:9", "cidata"],
        ),
    ] {
        let said = refused(lines, seed);
        for part in parts {
            assert!(said.contains(part), "{part} is missing in:\n{said}");
        }
    }
}
