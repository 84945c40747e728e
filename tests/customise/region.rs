//! `locale` and `timezone` that the tree does not have fail the build, which names near ones. Without
//! this `locale-gen` ends well, and the system has a default locale or a time zone that is not there.

use kuth_test_support::base::{PIPELINE, SYSTEM, system};
use kuth_test_support::project::Project;
use kuth_test_support::tree::Tree;

/// A tree that has a file among its time zones that is none.
const ODD: &str = "\n[stage.odd]\nkind = \"customise\"\nfrom = \"rootfs\"\n\
                   file.\"/usr/share/zoneinfo/Mars\".content = \"TZ\\n\"\n";

/// The stage `set` with these keys, as the only one behind [`ODD`].
fn write(project: &Project, keys: &str) {
    let set = format!("\n[stage.set]\nkind = \"customise\"\nfrom = \"odd\"\n{keys}\n");
    project.write(PIPELINE, format!("{SYSTEM}{ODD}{set}"));
}

#[test]
fn what_the_tree_does_not_have_fails_and_near_names_are_given() {
    let project = system("region", "");
    for (keys, said) in [
        ("locale = \"en_UK.UTF-8\"", "locales has no en_UK.UTF-8: near ones are en_AG.UTF-8, "),
        ("locale = \"en_US.utf8\"", "locales has no en_US.utf8: near ones are en_US.UTF-8"),
        ("locale = \"de_DE.iso88591\"", "near ones are de_DE.ISO-8859-1"),
        ("locale = \"de_DE@EURO\"", "near ones are de_DE.ISO-8859-15@euro"),
        ("locale = \"sr_RS@latin.UTF-8\"", "near ones are sr_RS.UTF-8, sr_RS.UTF-8@latin"),
        ("locale = \"jp_JP.UTF-8\"", "near ones are ja_JP.UTF-8"),
        ("locale = \"C.ISO-8859-1\"", "near ones are C.UTF-8"),
        ("locale = \"xx_YY.UTF-8\"", "/usr/share/i18n/SUPPORTED lists those that it has"),
        ("timezone = \"Europe\"", "Europe is a directory of time zones: name one in it, such as "),
        ("timezone = \"US/Eastern\"", "add the package tzdata-legacy"),
        ("timezone = \"GB\"", "tzdata-legacy"),
        ("timezone = \"Europe/Berln\"", "near ones are Europe/Berlin"),
        ("timezone = \"Berlin\"", "near ones are Europe/Berlin"),
        ("timezone = \"Mars\"", "/usr/share/zoneinfo/Mars is not a time zone"),
        ("timezone = \"localtime\"", "localtime is not a time zone"),
    ] {
        write(&project, keys);
        let run = project.build(&[PIPELINE, "set"]);
        assert_eq!(run.status, 1, "{keys}: {}", run.err);
        assert!(run.err.contains(said), "{keys}: wanted {said} in {}", run.err);
    }
}

#[test]
fn locales_with_a_modifier_have_the_charset_of_the_package() {
    let project = system("region-made", "");
    for (locale, charset, zone) in [
        ("sr_RS.UTF-8@latin", "UTF-8", "America/Argentina/Buenos_Aires"),
        ("de_DE@euro", "ISO-8859-15", "Etc/GMT+5"),
        ("en_IN.UTF-8", "UTF-8", "UTC"),
    ] {
        let script = format!("LC_ALL={locale} locale charmap >/srv/charset 2>&1");
        write(
            &project,
            &format!("locale = \"{locale}\"\ntimezone = \"{zone}\"\nrun = \"{script}\""),
        );
        project.build(&[PIPELINE, "set"]).ok();
        let tree = Tree::read(&project.artifact(PIPELINE, "set"));
        assert_eq!(tree.text("/etc/locale.gen"), format!("{locale} {charset}\n"));
        assert_eq!(tree.listed("/etc/locale.gen"), "- 644 0:0");
        assert_eq!(tree.text("/srv/charset"), format!("{charset}\n"));
        assert_eq!(tree.entry("/etc/localtime").link, format!("/usr/share/zoneinfo/{zone}"));
    }
}
