//! What a system has that programs expect, in a sandbox without the network.

use crate::place::{Place, as_root_and_as_user};
use kuth_test_support::base::PIPELINE;

const SCRIPT: &str = include_str!("data/rooms.sh");

/// 64 characters, the longest name that Linux takes.
const HOSTNAME: &str = "a-host-name-of-sixty-four-letters.in-all-its-parts.of.example.or";

#[test]
fn a_script_finds_loopback_terminals_and_directories_of_its_own() {
    as_root_and_as_user(|caller| {
        let place = Place::new(caller, "");
        let script = place.script("rooms", SCRIPT);
        assert_eq!(HOSTNAME.len(), 64);
        place.add(&format!(
            "\n[stage.rooms]\nkind = \"customise\"\nfrom = \"rootfs\"\nhostname = \"{HOSTNAME}\"\n\
             run = {{ source = \"{script}\" }}\n\n[stage.next]\nkind = \"customise\"\n\
             from = \"rooms\"\nrun = 'find /tmp /run /dev/shm -mindepth 1 >/srv/seen/left'\n"
        ));
        let tree = place.build("rooms");
        let rooms = tree.text("/srv/seen/rooms");
        let expected = "loopback-4 loopback-6 terminal terminal-of-perl sudo-at-terminal \
            sudo-to-another shm standard-streams tmp run var-tmp null";
        let expected: String = expected.split(' ').map(|name| format!("{name} works\n")).collect();
        assert_eq!(rooms, expected, "{caller:?}");
        assert_eq!(tree.text("/srv/seen/hostname"), format!("{HOSTNAME}\n"));
        // Nothing of them is in the tree, and nothing is there for the next stage.
        for directory in ["/tmp", "/run", "/dev", "/proc", "/sys"] {
            assert_eq!(tree.below(directory), Vec::<&str>::new());
        }
        assert_eq!(tree.listed("/tmp"), "d 1777 0:0");
        assert_eq!(tree.listed("/run"), "d 755 0:0");
        // This one is the system's.
        assert_eq!(tree.text("/var/tmp/file"), "text\n");
        assert_eq!(place.build("next").text("/srv/seen/left"), "");
    });
}

#[test]
fn the_terminal_that_kuth_was_started_at_is_not_there() {
    as_root_and_as_user(|caller| {
        let place = Place::new(caller, "");
        place.add(
            "\n[stage.terminal]\nkind = \"customise\"\nfrom = \"rootfs\"\nrun = [\n\
             { script = 'if ( : </dev/tty ) 2>/dev/null; then echo open; else echo none; fi \
             >/srv/with', network = true },\n\
             'if ( : </dev/tty ) 2>/dev/null; then echo open; else echo none; fi >/srv/without',\n\
             'if script -qec \": </dev/tty\" /dev/null; then echo own >/srv/own; fi',\n]\n",
        );
        place.at_terminal().build(&[PIPELINE, "terminal"]).ok();
        let tree = place.built("terminal");
        assert_eq!(tree.text("/srv/with"), "none\n", "{caller:?}");
        assert_eq!(tree.text("/srv/without"), "none\n", "{caller:?}");
        assert_eq!(tree.text("/srv/own"), "own\n", "{caller:?}");
    });
}
