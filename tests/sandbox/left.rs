//! What scripts leave behind: processes, mounts and flags end with the step.

use std::path::Path;

use crate::place::{Caller, Place, as_root_and_as_user};
use kuth_test_support::judge::{tool, verdict};
use kuth_test_support::processes::assert_gone;

/// Leaves processes in every way: as a child, in a session of its own with and without the script's
/// outputs, as an orphan, and one that does not heed what it is asked.
const LEAVES: &str = r#"#!/bin/sh
set -eu
sleep infinity &
setsid sleep infinity >/dev/null 2>&1 </dev/null &
( setsid sleep infinity & )
sh -c 'trap "" TERM HUP INT; touch /tmp/ready; while :; do sleep 3600 & wait; done' &
while [ ! -e /tmp/ready ]; do sleep 0.1; done
echo this was all
"#;

/// Names everything that runs besides itself.
const LISTS: &str = r#"#!/bin/sh
for process in /proc/[0-9]*; do
    name=$(cat "$process/comm" 2>/dev/null) || continue
    case $name in sleep | setsid) echo "$name" ;; esac
done >/srv/running
"#;

#[test]
fn processes_that_a_script_leaves_end_with_it_and_the_log_names_them() {
    as_root_and_as_user(|caller| {
        let place = Place::new(caller, "");
        let (leaves, lists) = (place.script("leaves", LEAVES), place.script("lists", LISTS));
        let failing = place.script("failing", &LEAVES.replace("echo this was all", "exit 7"));
        place.add(&format!(
            "\n[stage.leaves]\nkind = \"customise\"\nfrom = \"rootfs\"\n\
             run = [{{ source = \"{leaves}\" }}, {{ source = \"{lists}\" }}]\n\n\
             [stage.host]\nkind = \"customise\"\nfrom = \"rootfs\"\n\
             run = {{ source = \"{leaves}\", network = true }}\n\n\
             [stage.failing]\nkind = \"customise\"\nfrom = \"rootfs\"\n\
             run = {{ source = \"{failing}\" }}\n"
        ));
        // Where nobody killed them the build would wait for ever.
        let tree = place.build("leaves");
        assert_eq!(tree.text("/srv/running"), "", "they outlived their script");
        place.build("host");
        let run = place.attempt("failing").ended(1);
        assert!(run.err.contains("exit status 7"), "{}", run.err);
        assert_gone(&Default::default(), place.top());
        for stage in ["leaves", "host", "failing"] {
            let log = place.log(stage);
            assert!(log.contains("sleep"), "the log of {stage} does not name them: {log}");
        }
        place.project.assert_clean();
    });
}

#[test]
fn a_daemon_that_a_script_ends_is_gone_for_the_script_too() {
    let script = r#"#!/bin/sh
set -eu
# Its parent ends at once, so somebody else has to wait for it.
( setsid sh -c 'echo $$ >/tmp/new; mv /tmp/new /tmp/daemon; exec sleep infinity' & )
while [ ! -e /tmp/daemon ]; do sleep 0.1; done
daemon=$(cat /tmp/daemon)
kill "$daemon"
while kill -0 "$daemon" 2>/dev/null; do sleep 0.1; done
echo ended >/srv/daemon
"#;
    as_root_and_as_user(|caller| {
        let place = Place::new(caller, "");
        let script = place.script("daemon", script);
        place.add(&format!(
            "\n[stage.daemon]\nkind = \"customise\"\nfrom = \"rootfs\"\n\
             run = {{ source = \"{script}\" }}\n"
        ));
        assert_eq!(place.build("daemon").text("/srv/daemon"), "ended\n");
    });
}

#[test]
fn mounts_that_a_script_leaves_are_not_packed_and_what_is_below_is() {
    as_root_and_as_user(|caller| {
        let place = Place::new(caller, "");
        place.add(
            r#"
[stage.mounts]
kind = "customise"
from = "rootfs"
run = """
mkdir /srv/mounted /srv/bound
echo below >/srv/mounted/below
chown 7:8 /srv/mounted
chmod 2750 /srv/mounted
echo file >/srv/file
mount -t tmpfs kuth /srv/mounted
echo inside >/srv/mounted/inside
mount --bind /etc /srv/bound
mount --bind /etc/passwd /srv/file
"""
"#,
        );
        let tree = place.build("mounts");
        assert_eq!(tree.below("/srv/mounted"), ["/srv/mounted/below"], "{caller:?}");
        assert_eq!(tree.text("/srv/mounted/below"), "below\n");
        assert_eq!(tree.listed("/srv/mounted"), "d 2750 7:8");
        assert_eq!(tree.below("/srv/bound"), Vec::<&str>::new());
        assert_eq!(tree.text("/srv/file"), "file\n");
        assert_gone(&Default::default(), place.top());
        place.project.assert_clean();
    });
}

/// Takes the flags away again, whatever a test finds.
struct Flags<'a>(&'a Path);

impl Drop for Flags<'_> {
    fn drop(&mut self) {
        verdict("chattr", &["-f", "-R", "-i", "-a", self.0.to_str().unwrap()]);
    }
}

/// Whether files here can have flags, which not every file system keeps.
fn keeps_flags(directory: &Path) -> bool {
    let file = directory.join("flags");
    std::fs::write(&file, "").unwrap();
    let _flags = Flags(directory);
    let kept = verdict("chattr", &["+i", file.to_str().unwrap()]).is_some_and(|kept| kept.0);
    if !kept {
        kuth_test_support::judge::skip("this file system keeps no flags");
    }
    kept
}

#[test]
fn flags_that_forbid_changes_do_not_keep_a_tree_from_being_packed_and_removed() {
    as_root_and_as_user(|caller| {
        let place = Place::new(caller, "");
        let _flags = Flags(&place.project.cache);
        if !keeps_flags(place.top()) {
            return;
        }
        // The kernel refuses them to an ordinary user.
        let end = if caller == Caller::Root { "" } else { " || :" };
        place.add(&format!(
            "\n[stage.flags]\nkind = \"customise\"\nfrom = \"rootfs\"\nrun = '''\n\
             mkdir /srv/closed /srv/open\necho text >/srv/closed/file\necho text >/srv/open/log\n\
             chattr +i /srv/closed/file{end}\nchattr +i /srv/closed{end}\n\
             chattr +a /srv/open/log{end}\nchattr +a /srv/open{end}\n'''\n"
        ));
        let tree = place.build("flags");
        assert_eq!(tree.text("/srv/closed/file"), "text\n");
        assert_eq!(tree.text("/srv/open/log"), "text\n");
        place.project.assert_clean();
        place.project.kuth(&["cache", "clean"]).ok();
    });
}

#[test]
fn a_tree_with_flags_that_an_earlier_kuth_left_is_cleaned_up() {
    as_root_and_as_user(|caller| {
        let place = Place::new(caller, "");
        let work = place.project.cache.join("work");
        let _flags = Flags(&work);
        if caller == Caller::User || !keeps_flags(place.top()) {
            return;
        }
        // A build that was killed leaves its lock too, one that was asked to keep the tree does
        // not.
        let trees = ["run-killed", "run-kept"].map(|name| work.join(name));
        std::fs::write(work.join("run-killed.lock"), "").unwrap();
        for tree in &trees {
            let root = tree.join("root");
            std::fs::create_dir_all(root.join("etc")).unwrap();
            std::fs::create_dir_all(root.join("var/log")).unwrap();
            std::fs::write(root.join("etc/resolv.conf"), "").unwrap();
            std::fs::write(root.join("var/log/messages"), "").unwrap();
            for (flag, path) in [
                ("+i", "etc/resolv.conf"),
                ("+a", "var/log/messages"),
                ("+a", "var/log"),
                ("+i", "etc"),
            ] {
                tool("chattr", &[flag, root.join(path).to_str().unwrap()]);
            }
        }
        place.project.kuth(&["cache", "clean"]).ok();
        assert_eq!(trees.each_ref().map(|tree| tree.exists()), [false, true]);
        place.project.kuth(&["cache", "clean", "--all"]).ok();
        assert_eq!(trees.each_ref().map(|tree| tree.exists()), [false, false]);
    });
}

#[test]
fn nobody_else_reaches_a_tree_that_is_being_made() {
    as_root_and_as_user(|caller| {
        let place = Place::new(caller, "");
        place.add(
            "\n[stage.kept]\nkind = \"customise\"\nfrom = \"rootfs\"\n\
             run = 'chmod 4755 /usr/bin/env; exit 1'\n",
        );
        place.project.build(&["--on-error", "keep", "p.toml", "kept"]).ended(1);
        let left = place.project.scratch();
        assert_eq!(left.len(), 1, "{left:?}");
        let work = place.project.cache.join("work").join(&left[0]);
        let program = work.join("root/usr/bin/env");
        assert!(program.exists(), "nothing was kept");
        let by_nobody = |command: &str, path: &Path| {
            let words = ["--reuid=65534", "--regid=65534", "--clear-groups", command];
            let path = path.to_str().unwrap();
            verdict("setpriv", &[&words[..], &["-e", path]].concat()).unwrap().0
        };
        // Up to the project anybody comes.
        assert!(by_nobody("test", &place.marker));
        assert!(!by_nobody("test", &program), "{caller:?}: nobody reaches {}", program.display());
        assert!(!by_nobody("test", &work.join("exchange/input.tar")));
    });
}
