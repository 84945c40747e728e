//! Names inside, whatever /etc/resolv.conf the tree has, and what becomes of that file and of
//! /etc/hosts: the host's are copies for the time of a script with the network.

use ::kuth::digest::Digest;

use crate::place::{Place, as_root_and_as_user};
use crate::resolver::{HOSTS, SERVED};
use kuth_test_support::tree::Tree;

const STATE: &str = include_str!("data/state.sh");
const NAMES: &str = include_str!("data/names.sh");

/// What the tree has for /etc/hosts, byte by byte.
const OWN_HOSTS: &str = "127.0.0.1 localhost\n# of the tree\n192.0.2.3\town.example";

/// A stage whose scripts, by the network that they have, are these.
fn stage(place: &Place, scripts: &[(bool, &str)]) -> String {
    place.script("state", STATE);
    place.script("names", NAMES);
    let begin = format!("printf '{OWN_HOSTS}' >/etc/hosts; chmod 640 /etc/hosts");
    let mut text = format!(
        "\n[stage.names]\nkind = \"customise\"\nfrom = \"rootfs\"\n\
         file.\"/srv/state\" = {{ source = \"data/state\", mode = \"0755\" }}\n\
         file.\"/srv/names\" = {{ source = \"data/names\", mode = \"0755\" }}\nrun = [\n\
         '''{begin}''',\n"
    );
    for (network, script) in scripts {
        text += &format!("{{ script = '''{script}''', network = {network} }},\n");
    }
    text + "]\n"
}

/// Both names are known to a script with the network.
fn assert_known(tree: &Tree, seen: &str) {
    let expected = format!("{} {}\n{} {}\n", SERVED.1, SERVED.0, HOSTS.1, HOSTS.0);
    assert_eq!(tree.text(&format!("/srv/seen/{seen}")), expected, "{seen}");
}

/// A digest of the host's files.
fn host(place: &Place) -> [Digest; 2] {
    ["resolv.conf", "hosts"].map(|name| Digest::of(std::fs::read(place.etc.join(name)).unwrap()))
}

/// What [`STATE`] says when resolv.conf is this and the hosts are the tree's own.
fn state(resolver: &str) -> String {
    format!("{resolver}\nregular file 640 0:0\n{OWN_HOSTS}")
}

#[test]
fn names_are_known_with_any_resolver_of_the_tree_which_stays_as_it_is() {
    as_root_and_as_user(|caller| {
        let place = Place::new(caller, "");
        let text = stage(
            &place,
            &[
                (
                    false,
                    "printf 'nameserver 192.0.2.1' >/etc/resolv.conf; chmod 604 /etc/resolv.conf
                    chown 7:8 /etc/resolv.conf; /srv/names without",
                ),
                (true, "/srv/names file"),
                (
                    false,
                    "/srv/state file; echo 'nameserver 192.0.2.2' >/srv/resolver
                    ln -sf ../srv/resolver /etc/resolv.conf",
                ),
                (true, "/srv/names link"),
                (false, "/srv/state link; ln -sf /srv/resolver /etc/resolv.conf"),
                (true, "/srv/names absolute"),
                (
                    false,
                    "/srv/state absolute
                    ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf",
                ),
                (true, "/srv/names dangling"),
                (false, "/srv/state dangling; rm /etc/resolv.conf"),
                (true, "/srv/names absent"),
                (false, "/srv/state absent"),
            ],
        );
        place.add(&text);
        let before = host(&place);
        let tree = place.build("names");
        let unknown = format!("no {}\nno {}\n", SERVED.0, HOSTS.0);
        assert_eq!(tree.text("/srv/seen/without"), unknown);
        for (seen, resolver) in [
            ("file", "regular file 604 7:8\nnameserver 192.0.2.1regular file 640 0:0"),
            ("link", "link ../srv/resolver"),
            ("absolute", "link /srv/resolver"),
            ("dangling", "link ../run/systemd/resolve/stub-resolv.conf"),
            ("absent", "absent"),
        ] {
            assert_known(&tree, seen);
            let noted = tree.text(&format!("/srv/seen/{seen}.state"));
            let expected = match seen {
                "file" => format!("{resolver}\n{OWN_HOSTS}"),
                _ => state(resolver),
            };
            assert_eq!(noted, expected, "{seen}");
        }
        // Behind the link nothing was written.
        assert_eq!(tree.text("/srv/resolver"), "nameserver 192.0.2.2\n");
        assert!(!tree.has("/etc/resolv.conf"));
        assert_eq!(host(&place), before, "a file of the host was changed");
    });
}

#[test]
fn what_a_script_makes_of_the_resolver_is_in_the_tree_and_not_on_the_host() {
    as_root_and_as_user(|caller| {
        let place = Place::new(caller, "");
        let text = stage(
            &place,
            &[
                (false, "echo 'nameserver 192.0.2.1' >/etc/resolv.conf"),
                (true, "echo 'nameserver 192.0.2.77' >/etc/resolv.conf"),
                (false, "/srv/state written"),
                (true, "ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf"),
                (false, "/srv/state linked"),
                (true, "/srv/names linked; rm /etc/resolv.conf"),
                (false, "/srv/state removed"),
                (true, "echo 'nameserver 192.0.2.78' >/etc/new; mv /etc/new /etc/resolv.conf"),
                (false, "/srv/state moved"),
                (true, "chmod 600 /etc/resolv.conf; echo 'options rotate' >>/etc/resolv.conf"),
                (false, "/srv/state appended"),
                (
                    true,
                    "printf '192.0.2.4 new.example\\n' >/etc/hosts.new
                    mv /etc/hosts.new /etc/hosts",
                ),
                (false, "/srv/state hosts"),
            ],
        );
        place.add(&text);
        let before = host(&place);
        let tree = place.build("names");
        for (seen, resolver) in [
            ("written", "regular file 644 0:0\nnameserver 192.0.2.77"),
            ("linked", "link /run/systemd/resolve/stub-resolv.conf"),
            ("removed", "absent"),
            ("moved", "regular file 644 0:0\nnameserver 192.0.2.78"),
        ] {
            assert_eq!(tree.text(&format!("/srv/seen/{seen}.state")), state(resolver), "{seen}");
        }
        assert_known(&tree, "linked");
        // What was there to be appended to is another question.
        let appended = tree.text("/srv/seen/appended.state");
        assert!(appended.starts_with("regular file 600 0:0\n"), "{appended}");
        assert!(appended.contains("\noptions rotate\n"), "{appended}");
        let hosts = tree.text("/srv/seen/hosts.state");
        assert!(hosts.ends_with("regular file 644 0:0\n192.0.2.4 new.example\n"), "{hosts}");
        assert!(!tree.has("/etc/new") && !tree.has("/etc/hosts.new"));
        assert_eq!(host(&place), before, "a file of the host was changed");
    });
}
