//! Every place gives a tree the same bytes, and a container's root may do no more than its commands
//! need.

use rustix::process::geteuid;

use crate::place::{Caller, Place};
use kuth_test_support::base::{PIPELINE, system};
use kuth_test_support::judge::tool;
use kuth_test_support::processes::assert_gone;

/// Packages whose scripts make users, files with modes and owners of their own, and what systemd makes
/// through /proc; then a script with the rest.
const STAGES: &str = r#"
[stage.owned]
kind = "customise"
from = "rootfs"
hostname = "owned"
packages = ["cron", "libcap2-bin", "systemd"]
run = [{ script = """
mkdir /srv/seen
mknod /srv/seen/fifo p
useradd --create-home --shell /bin/bash somebody
install -d -o somebody -g daemon -m 2775 /srv/seen/shared
install -m 4755 /bin/true /srv/seen/set-id
install -o www-data -g mail /bin/true /srv/seen/capable
setcap cap_net_raw+ep /srv/seen/capable
getcap /srv/seen/capable
su somebody -c 'id > ~/who'
uname -n > /srv/seen/host
bash -c 'cat <(echo one) <(echo two)' > /srv/seen/substituted
readlink -f /proc/self/exe > /srv/seen/program
perl -e 'print "$^X\n"' > /srv/seen/perl
echo piped | sh -c 'cat < /dev/stdin' > /srv/seen/stdin
test "$(sed -n 's/^Name:.//p' /proc/self/status)" = sed
! mknod /srv/seen/node c 1 3
! chown 70000 /srv/seen/fifo
! perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 0) && connect(S, pack_sockaddr_in(80, inet_aton("192.0.2.1"))) or exit 1'
sh -c 'sleep 1000 &' < /dev/null > /dev/null 2>&1
""" }]
"#;

/// What a container's root must not be able to do from a command; each line fails there.
const REFUSED: &str = r#"
[stage.refused]
kind = "customise"
from = "rootfs"
run = [{ script = """
mkdir /srv/seen
try() { if "$@" 2> /dev/null; then echo "possible: $*"; fi; }
{
    try mount -t tmpfs none /mnt
    try chroot / /bin/true
    try unshare --mount true
    try cat /proc/1/environ
    try ls /proc/1/root/
    try sh -c 'cat /proc/sys/vm/swappiness > /proc/sys/vm/swappiness'
    try ls /proc/self/fd/1000/../etc/
} > /srv/seen/refused
""" }]
"#;

#[test]
fn root_a_user_and_a_container_build_the_same_tree() {
    if !geteuid().is_root() {
        return kuth_test_support::judge::skip("making a copy of /etc to mount needs root");
    }
    // The places below have no network, so the packages come from here.
    let here = system("sandbox-container", STAGES);
    let expected = here.build(&[PIPELINE, "owned"]).ok().digest("owned").to_string();
    for caller in [Caller::Root, Caller::User, Caller::Container] {
        let place = Place::new(caller, STAGES);
        let packages = place.project.cache.join("packages");
        let (from, to) = (here.cache.join("packages/."), packages.to_str().unwrap());
        tool("cp", &["--recursive", from.to_str().unwrap(), to]);
        let owner = format!("--reference={}", place.project.cache.display());
        tool("chown", &["--recursive", &owner, to]);
        place.project.write("p.lock", here.read("p.lock"));
        let run = place.attempt("owned").ok();
        assert_eq!(run.digest("owned"), expected, "{caller:?}");
        let tree = place.built("owned");
        assert_eq!(tree.text("/srv/seen/host"), "owned\n", "{caller:?}");
        assert_eq!(tree.text("/srv/seen/substituted"), "one\ntwo\n", "{caller:?}");
        assert_eq!(tree.below("/dev"), Vec::<&str>::new(), "{caller:?}");
        let log = place.log("owned");
        assert!(log.contains("# killed sleep"), "{caller:?}: {log}");
        let in_place = log.contains("on a tree in one directory: nothing can be mounted here");
        assert_eq!(in_place, caller == Caller::Container, "{log}");
        assert_gone(&Default::default(), place.top());
    }
}

#[test]
fn commands_of_a_container_do_not_get_what_root_has_there() {
    if !geteuid().is_root() {
        return kuth_test_support::judge::skip("making a copy of /etc to mount needs root");
    }
    let place = Place::new(Caller::Container, REFUSED);
    let tree = place.build("refused");
    assert_eq!(tree.text("/srv/seen/refused"), "");
}

#[test]
fn the_doctor_names_the_place_and_what_would_be_better() {
    if !geteuid().is_root() {
        return kuth_test_support::judge::skip("making a copy of /etc to mount needs root");
    }
    for (caller, expected) in [
        (Caller::Root, "namespaces of root"),
        (Caller::User, "a user namespace with ranges of ids"),
        (Caller::Container, "a change of root (chroot) in a container"),
    ] {
        let said = Place::new(caller, "").project.kuth(&["doctor", "--mirror", "http://[::1]:9/"]);
        let line = said.out.lines().find(|line| line.contains(" sandbox ")).unwrap_or_default();
        assert!(line.starts_with("ok ") && line.contains(expected), "{caller:?}: {said:?}");
        let better = line.contains("--security-opt seccomp=unconfined");
        assert_eq!(better, caller == Caller::Container, "{line}");
        assert!(said.out.contains("packages must be in the cache already"), "{said:?}");
    }
}

#[test]
fn a_user_without_privileged_helpers_hears_it_before_anything_is_done() {
    if !geteuid().is_root() {
        return kuth_test_support::judge::skip("making a copy of /etc to mount needs root");
    }
    let place = Place::new(Caller::User, STAGES);
    let words: Vec<&str> = place.words.iter().map(String::as_str).collect();
    let project = place.project.through(&[&words[..], &["setpriv", "--no-new-privs"]].concat());
    let run = project.build(&[PIPELINE, "owned", "--rebuild", "owned"]);
    run.refused(&["no sandbox can be made", "no_new_privs", "allowPrivilegeEscalation: true"]);
}
