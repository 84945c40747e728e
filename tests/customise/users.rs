//! `user`: numbers, groups, shells, passwords, keys, and who may become root.

use crate::built::{built, tree};
use kuth_test_support::tree::Tree;

/// The hash of the pipeline.
const HASH: &str = "$6$saltsalt$thehash";

/// The fields of a line of /etc/passwd and its like.
fn fields(tree: &Tree, file: &str, name: &str) -> Vec<String> {
    let text = tree.text(file);
    let line = text.lines().find(|line| line.split(':').next() == Some(name));
    let line = line.unwrap_or_else(|| panic!("{file} has no {name}: {text}"));
    line.split(':').map(str::to_string).collect()
}

/// Who is in a group besides those whose own it is.
fn members(tree: &Tree, group: &str) -> Vec<String> {
    let list = fields(tree, "/etc/group", group).swap_remove(3);
    list.split(',').filter(|name| !name.is_empty()).map(str::to_string).collect()
}

#[test]
fn a_user_has_the_number_shell_and_groups_that_the_pipeline_names() {
    let tree = tree("settings");
    let ops = fields(&tree, "/etc/passwd", "ops");
    assert_eq!([&*ops[2], &ops[5], &ops[6]], ["1500", "/home/ops", "/bin/sh"]);
    for group in ["adm", "video", "sudo"] {
        assert_eq!(members(&tree, group), ["ops"], "{group}");
    }
    let own = &fields(&tree, "/etc/group", "ops")[2];
    assert_eq!(&ops[3], own);
    assert_eq!(tree.entry("/home/ops").owner, (1500, own.parse().unwrap()));
    // What the system says, too.
    let id = tree.text("/srv/seen/id");
    assert!(id.starts_with(&format!("uid=1500(ops) gid={own}(ops) groups={own}(ops),")), "{id}");
    for group in ["(adm)", "(video)", "(sudo)"] {
        assert!(id.contains(group), "{id}");
    }
}

#[test]
fn a_user_with_a_name_alone_has_the_next_number_and_no_privileges() {
    let tree = tree("settings");
    let plain = fields(&tree, "/etc/passwd", "plain");
    assert_eq!(plain[2..], ["1000", "1000", "", "/home/plain", "/bin/bash"]);
    assert_eq!(fields(&tree, "/etc/shadow", "plain")[1], "!", "the password is not locked");
    assert_eq!(tree.entry("/home/plain").owner, (1000, 1000));
    assert!(!tree.has("/home/plain/.ssh") && !tree.has("/etc/sudoers.d/90-plain"));
    assert!(!tree.text("/etc/group").contains(",plain"));
    let sudo = tree.text("/srv/seen/plain");
    assert!(sudo.contains("plain is not allowed to run sudo"), "{sudo}");
}

#[test]
fn a_user_with_sudo_becomes_root_without_a_password() {
    let tree = tree("settings");
    assert_eq!(tree.listed("/etc/sudoers.d/90-ops"), "- 440 0:0");
    assert_eq!(tree.text("/etc/sudoers.d/90-ops"), "ops ALL=(ALL:ALL) NOPASSWD: ALL\n");
    // sudo reads it so.
    let sudo = tree.text("/srv/seen/ops");
    assert!(sudo.contains("(ALL : ALL) NOPASSWD: ALL"), "{sudo}");
}

#[test]
fn ssh_keys_are_the_users_and_nobody_else_reads_them() {
    let tree = tree("settings");
    let group = &fields(&tree, "/etc/group", "ops")[2];
    assert_eq!(tree.listed("/home/ops/.ssh"), format!("d 700 1500:{group}"));
    let keys = "/home/ops/.ssh/authorized_keys";
    assert_eq!(tree.listed(keys), format!("- 600 1500:{group}"));
    let expected = "ssh-ed25519 AAAAone one@example.org\nssh-ed25519 AAAAtwo two\n";
    assert_eq!(tree.text(keys), expected);
}

#[test]
fn a_password_is_set_and_nobody_sees_its_hash_on_the_way() {
    let tree = tree("settings");
    assert_eq!(fields(&tree, "/etc/shadow", "ops")[1], HASH);
    let arguments = tree.text("/srv/seen/arguments");
    assert!(arguments.contains("chpasswd"), "nothing was noted: {arguments}");
    assert!(!arguments.contains("thehash"), "{arguments}");
    let log = built().project.log("t", "settings");
    assert!(log.contains("chpasswd"), "{log}");
    assert!(!log.contains("thehash"), "{log}");
}
