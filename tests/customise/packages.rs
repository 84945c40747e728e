//! `packages` and `remove`.

use crate::built::tree;

#[test]
fn packages_are_installed_with_what_they_need_and_nothing_is_left_of_the_installing() {
    let tree = tree("with");
    for package in ["jq", "libjq1", "less", "nano"] {
        let stanza = tree.package(package).unwrap_or_else(|| panic!("{package} is not there"));
        assert!(stanza.contains("\nStatus: install ok installed\n"), "{stanza}");
    }
    // It works: the script used it.
    assert_eq!(tree.text("/srv/jq"), "2\n");
    // apt knows which of them nobody asked for.
    let states = tree.text("/var/lib/apt/extended_states");
    let automatic = |name: &str| {
        let first = format!("Package: {name}\n");
        states.split("\n\n").any(|s| s.contains(&first) && s.contains("Auto-Installed: 1"))
    };
    assert!(automatic("libjq1") && !automatic("jq") && !automatic("less"), "{states}");
    for directory in ["/var/cache/apt/archives", "/var/lib/apt/lists", "/var/log/apt"] {
        assert_eq!(tree.below(directory), Vec::<&str>::new());
    }
    for file in ["/usr/sbin/policy-rc.d", "/var/log/dpkg.log", "/var/lib/dpkg/lock", "/.kuth"] {
        assert!(!tree.has(file), "{file}");
    }
}

#[test]
fn what_is_removed_goes_with_its_settings_and_with_what_only_it_needed() {
    let (with, without) = (tree("with"), tree("without"));
    for package in ["jq", "libjq1", "libonig5", "nano"] {
        assert!(with.package(package).is_some(), "{package} was never there");
        assert_eq!(without.package(package), None);
    }
    for file in ["/usr/bin/jq", "/bin/nano", "/usr/bin/nano", "/etc/nanorc"] {
        assert!(!without.has(file), "{file}");
    }
    assert!(with.has("/etc/nanorc"));
    // Nobody asked for this one to go.
    assert!(without.package("less").unwrap().contains("install ok installed"));
    assert!(without.has("/usr/bin/less"));
}
