//! `file`: contents, modes, owners, and what was there before.

use crate::built::tree;

#[test]
fn files_have_the_contents_modes_and_owners_that_the_pipeline_names() {
    let tree = tree("settings");
    let listed = [
        ("/etc/motd", "- 644 0:0"),
        // www-data and adm of Debian.
        ("/srv/new/directory/file", "- 750 33:4"),
        ("/srv/new/directory", "d 755 0:0"),
        ("/srv/new", "d 755 0:0"),
        ("/srv/numbers", "- 4711 1234:5678"),
        // An owner without a group leaves root's.
        ("/srv/user", "- 644 5:0"),
        ("/srv/plain", "- 644 0:0"),
        ("/srv/program", "- 755 0:0"),
        ("/srv/closed", "- 400 0:0"),
    ];
    for (path, expected) in listed {
        assert_eq!(tree.listed(path), expected, "{path}");
    }
    assert_eq!(tree.text("/etc/motd"), "hello\n");
    assert_eq!(tree.text("/srv/new/directory/file"), "");
    assert_eq!(tree.text("/srv/plain"), "plain\n");
    assert_eq!(tree.text("/srv/program"), "#!/bin/sh\necho program\n");
    assert_eq!(tree.text("/srv/closed"), tree.text("/srv/program"));
}

#[test]
fn what_is_in_the_way_is_replaced_and_a_link_is_not_followed() {
    let (before, tree) = (tree("before"), tree("settings"));
    assert_eq!(before.listed("/srv/link").split(' ').next(), Some("l"));
    assert_eq!(tree.text("/srv/link"), "no link\n");
    assert_eq!(tree.text("/srv/real"), "real\n");
    // Nothing of the old one's mode and owner stays.
    assert_eq!(before.listed("/srv/old"), "- 4711 7:7");
    assert_eq!(tree.listed("/srv/old"), "- 644 0:0");
    assert_eq!(tree.text("/srv/old"), "new\n");
}

#[test]
fn a_directory_is_copied_whole_and_keeps_which_files_are_programs() {
    let tree = tree("settings");
    let expected = ["/srv/copied/a", "/srv/copied/below", "/srv/copied/below/b"];
    assert_eq!(tree.below("/srv/copied"), expected);
    assert_eq!(tree.listed("/srv/copied"), "d 755 0:0");
    assert_eq!(tree.listed("/srv/copied/a"), "- 644 0:0");
    assert_eq!(tree.listed("/srv/copied/below"), "d 755 0:0");
    assert_eq!(tree.listed("/srv/copied/below/b"), "- 755 0:0");
    assert_eq!(tree.text("/srv/copied/a"), "a\n");
    assert_eq!(tree.text("/srv/copied/below/b"), "#!/bin/sh\n");
}

#[test]
fn a_mode_is_for_the_files_of_a_directory_and_an_owner_for_all_that_is_then_in_it() {
    let (before, tree) = (tree("before"), tree("settings"));
    assert_eq!(before.listed("/srv/directory/kept"), "- 644 7:7");
    let listed = [
        // The directory was there: it keeps its mode.
        ("/srv/directory", "d 750 33:33"),
        ("/srv/directory/kept", "- 644 33:33"),
        ("/srv/directory/a", "- 4604 33:33"),
        ("/srv/directory/below", "d 755 33:33"),
        ("/srv/directory/below/b", "- 4604 33:33"),
    ];
    for (path, expected) in listed {
        assert_eq!(tree.listed(path), expected, "{path}");
    }
    assert_eq!(tree.text("/srv/directory/kept"), "kept\n");
}
