//! `hostname`, `locale` and `timezone`.

use crate::built::tree;

const HOSTS: &str = "127.0.0.1\tlocalhost\n127.0.1.1\tNAMES\n\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

#[test]
fn a_host_name_is_in_both_files_and_a_full_one_is_known_by_its_short_one() {
    for (stage, name, names) in
        [("settings", "web.example.org", "web.example.org web"), ("other", "short", "short")]
    {
        let tree = tree(stage);
        assert_eq!(tree.text("/etc/hostname"), format!("{name}\n"));
        assert_eq!(tree.text("/etc/hosts"), HOSTS.replace("NAMES", names));
        assert_eq!(tree.listed("/etc/hostname"), "- 644 0:0");
        assert_eq!(tree.listed("/etc/hosts"), "- 644 0:0");
    }
}

#[test]
fn a_locale_is_made_in_its_charset_and_is_the_default() {
    for (stage, locale, charset, listed) in [
        ("settings", "en_US.UTF-8", "UTF-8", "en_US.utf8"),
        ("other", "de_DE.ISO-8859-1", "ISO-8859-1", "de_DE.iso88591"),
    ] {
        let tree = tree(stage);
        assert_eq!(tree.text("/etc/default/locale"), format!("LANG={locale}\n"));
        assert_eq!(tree.text("/etc/locale.gen"), format!("{locale} {charset}\n"));
        // What programs inside find; the charset would be ANSI_X3.4-1968 were it not there.
        assert_eq!(tree.text("/srv/seen/charset"), format!("{charset}\n"));
        let locales = tree.text("/srv/seen/locales");
        assert!(locales.lines().any(|line| line == listed), "{locales}");
    }
}

#[test]
fn the_locale_that_is_always_there_is_not_made() {
    let tree = tree("posix");
    assert_eq!(tree.text("/etc/default/locale"), "LANG=C.UTF-8\n");
    assert_eq!(tree.text("/srv/seen/charset"), "UTF-8\n");
    assert_eq!(tree.text("/srv/seen/locales"), "C\nC.utf8\nPOSIX\n");
    let archive = "/usr/lib/locale/locale-archive";
    assert!(!tree.has(archive) && crate::built::tree("settings").has(archive));
}

#[test]
fn a_time_zone_is_linked_named_and_in_force() {
    for (stage, zone, noon) in
        [("settings", "Europe/Berlin", "CET+0100"), ("other", "Asia/Kathmandu", "+0545+0545")]
    {
        let tree = tree(stage);
        let link = tree.entry("/etc/localtime");
        assert_eq!(link.link, format!("/usr/share/zoneinfo/{zone}"));
        assert_eq!(tree.text("/etc/timezone"), format!("{zone}\n"));
        assert_eq!(tree.text("/srv/seen/zone"), format!("{noon}\n"));
    }
}
