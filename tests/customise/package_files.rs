//! Packages that are files, `recommends`, `debconf` and `hold`: packages of the test's own, which need
//! each other and packages of the archive.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kuth_test_support::base::{PIPELINE, SYSTEM, system};
use kuth_test_support::judge::{tool, tool_in};
use kuth_test_support::project::Project;
use kuth_test_support::run::Run;

use crate::built::tree;

/// Asks a question, and notes the answer when it is configured.
const TEMPLATES: &str =
    "Template: asking/colour\nType: string\nDefault: grey\nDescription: Colour?\n";
const POSTINST: &str = "#!/bin/sh\nset -e\n. /usr/share/debconf/confmodule\ndb_get asking/colour\n\
    echo \"$RET\" >/srv/colour\ndb_stop\n";

/// Makes `directory/NAME.deb`, with these lines in its control file and these control files besides.
pub fn deb(directory: &Path, name: &str, lines: &str, control: &[(&str, &str)]) -> PathBuf {
    deb_of(directory, (name, "1:1.0-1"), lines, control)
}

/// The same with a name and a version.
fn deb_of(
    directory: &Path,
    (name, version): (&str, &str),
    lines: &str,
    control: &[(&str, &str)],
) -> PathBuf {
    let (files, package) = (directory.join(name), directory.join(format!("{name}.deb")));
    std::fs::create_dir_all(files.join("DEBIAN")).unwrap();
    let head = format!("Package: {name}\nVersion: {version}\nMaintainer: a <a@example.org>\n");
    let text = format!("{head}{lines}\nDescription: a test\n");
    for (name, text) in [("control", text.as_str())].iter().chain(control) {
        let path = files.join("DEBIAN").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    std::fs::create_dir_all(files.join("srv/own")).unwrap();
    std::fs::write(files.join("srv/own").join(name), format!("{name}\n")).unwrap();
    let paths = [&files, &package].map(|path| path.to_str().unwrap());
    tool("dpkg-deb", &["--root-owner-group", "--build", paths[0], paths[1]]).unwrap();
    std::fs::remove_dir_all(&files).unwrap();
    package
}

/// The packages of the stages: the one that a stage downloads, and the tar of the one that a stage
/// unpacks.
pub fn make(directory: &Path) -> [PathBuf; 2] {
    let control = [("templates", TEMPLATES), ("postinst", POSTINST)];
    deb(directory, "asking", "Architecture: amd64\nDepends: debconf, jq", &control);
    let staged =
        deb(directory, "staged", "Architecture: all\nDepends: needed (>= 1:1.0), debconf", &[]);
    let debs = directory.join("debs");
    std::fs::create_dir_all(&debs).unwrap();
    deb(&debs, "needed", "Architecture: all\nRecommends: nano", &[]);
    tool_in(directory, "tar", &["-cf", "packed.tar", "debs"]).unwrap();
    [staged, directory.join("packed.tar")]
}

fn automatic(tree: &kuth_test_support::tree::Tree, name: &str) -> bool {
    let states = tree.text("/var/lib/apt/extended_states");
    let first = format!("Package: {name}\n");
    states.split("\n\n").any(|it| it.contains(&first) && it.contains("Auto-Installed: 1"))
}

#[test]
fn package_files_are_installed_with_what_they_need_from_the_archive() {
    let tree = tree("files");
    for package in ["asking", "staged", "needed"] {
        let stanza = tree.package(package).unwrap_or_else(|| panic!("{package} is not there"));
        assert!(stanza.contains(" ok installed\n"), "{stanza}");
        assert!(stanza.contains("\nVersion: 1:1.0-1\n"), "{stanza}");
        assert_eq!(tree.text(&format!("/srv/own/{package}")), format!("{package}\n"));
        assert!(!automatic(&tree, package), "{package}");
    }
    for package in ["jq", "libjq1"] {
        assert!(tree.package(package).unwrap().contains(" ok installed\n"));
        assert!(automatic(&tree, package), "{package}");
    }
    // Nothing asks for what is only recommended.
    assert_eq!(tree.package("nano"), None);
}

#[test]
fn the_lock_records_them_as_files() {
    let lock = crate::built::built().project.read("p.lock");
    let of_file = |name: &str, path: &str| {
        let line = lock.lines().find(|line| line.contains(&format!("name = \"{name}\"")));
        let line = line.unwrap_or_else(|| panic!("no {name} in {lock}"));
        assert!(
            line.contains("file = true") && line.contains(&format!("path = \"{path}\"")),
            "{line}"
        );
    };
    of_file("asking", "data/asking.deb");
    of_file("staged", "the output of the stage package");
    of_file("needed", "debs/needed.deb of the stage unpacked");
    assert!(!lock.lines().any(|line| line.contains("name = \"jq\"") && line.contains("file")));
}

#[test]
fn recommended_packages_come_where_they_are_asked_for() {
    let tree = tree("recommended");
    assert!(tree.package("nano").unwrap().contains("\nStatus: install ok installed\n"));
    assert!(automatic(&tree, "nano") && !automatic(&tree, "needed"));
}

/// dpkg and debconf rewrite their databases.
#[test]
fn another_run_gives_the_same_bytes() {
    let project = &crate::built::built().project;
    let before = std::fs::read(project.artifact(PIPELINE, "files")).unwrap();
    let again = project.build(&[PIPELINE, "files", "--rebuild", "files"]).ok();
    assert_eq!(again.count("run"), 1);
    assert!(before == std::fs::read(project.artifact(PIPELINE, "files")).unwrap());
}

#[test]
fn a_package_finds_the_answers_that_debconf_was_given() {
    let tree = tree("files");
    assert_eq!(tree.text("/srv/colour"), "light blue\n");
}

#[test]
fn packages_are_held_as_dpkg_says() {
    let tree = tree("files");
    for (package, expected) in [("less", "hold"), ("asking", "hold"), ("needed", "install")] {
        let stanza = tree.package(package).unwrap();
        assert!(stanza.contains(&format!("\nStatus: {expected} ok installed\n")), "{stanza}");
    }
    // By the judgement of dpkg itself.
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("status"), tree.text("/var/lib/dpkg/status")).unwrap();
    let admin = format!("--admindir={}", directory.path().display());
    let said = tool("dpkg", &[&admin, "--get-selections"]).unwrap();
    let held = said.lines().filter(|line| line.ends_with("\thold"));
    let held: Vec<&str> = held.filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(held, ["asking", "less"]);
}

/// A project with a tree, in which one more stage is built.
fn project(name: &str, files: impl Fn(&Path)) -> Project {
    let project = system(name, "");
    files(&project.path("data"));
    project
}

fn build(project: &Project, keys: &str, options: &[&str]) -> Run {
    let stage = format!("[stage.more]\nkind = \"customise\"\nfrom = \"rootfs\"\n{keys}\n");
    project.write(PIPELINE, format!("{SYSTEM}\n{stage}"));
    project.build(&[&[PIPELINE, "more"], options].concat())
}

#[test]
fn each_faulty_package_file_is_one_error_with_a_hint() {
    let project = project("customise-faulty-files", |data| {
        deb(data, "foreign", "Architecture: arm64", &[]);
        deb(data, "wanting", "Architecture: all\nDepends: no-such-package", &[]);
        let whole = std::fs::read(deb(data, "short", "Architecture: all", &[])).unwrap();
        std::fs::write(data.join("short.deb"), &whole[..whole.len() - 40]).unwrap();
        std::fs::copy(data.join("foreign.deb"), data.join("again.deb")).unwrap();
        deb(data, "twice", "Architecture: all", &[]);
        std::fs::copy(data.join("twice.deb"), data.join("copy.deb")).unwrap();
        std::fs::write(data.join("page.deb"), "<html>404</html>").unwrap();
        std::fs::create_dir_all(data.join("debs")).unwrap();
        std::fs::copy(data.join("twice.deb"), data.join("debs/twice.deb")).unwrap();
        tool_in(data, "tar", &["-cf", "packed.tar", "debs"]).unwrap();
    });
    let unpacked = format!(
        "packages = [{{ from = \"unpacked\", path = \"debs/other.deb\" }}]\n\n\
         [stage.packed]\nkind = \"download\"\nurl = \"file://{}\"\n\n\
         [stage.unpacked]\nkind = \"unpack\"\nfrom = \"packed\"",
        project.path("data/packed.tar").display()
    );
    for (keys, said, hint) in [
        (
            "packages = [\"data/foreign.deb\"]",
            "data/foreign.deb is a package for arm64, not for amd64",
            "give the one for amd64",
        ),
        (
            "packages = [\"data/short.deb\"]",
            "reading data/short.deb\n  because: deb: it is cut short: `data.tar",
            "give a whole package",
        ),
        (
            "packages = [\"data/page.deb\"]",
            "reading data/page.deb\n  because: deb: it is not a Debian package",
            "dpkg-deb --info",
        ),
        (
            "packages = [\"data/twice.deb\", \"data/copy.deb\"]",
            "data/twice.deb and data/copy.deb are both the package twice",
            "leave one of them out",
        ),
        (
            unpacked.as_str(),
            "there is no file debs/other.deb of the stage unpacked",
            "the packages in debs are twice.deb",
        ),
        (
            "packages = [\"data/wanting.deb\"]",
            "unmet dependencies: wanting : Depends: no-such-package",
            "these packages do not go together in trixie",
        ),
    ] {
        let run = build(&project, keys, &[]).ended(1);
        assert_eq!(run.err.matches("error:").count(), 1, "{keys}: {}", run.err);
        assert!(run.err.contains(said) && run.err.contains(hint), "{keys}: {}", run.err);
    }
}

#[test]
fn a_changed_file_is_another_request_and_an_update_takes_it() {
    let project = project("customise-changed-file", |data| {
        deb(data, "app", "Architecture: all", &[]);
    });
    let keys = "packages = [\"data/app.deb\"]";
    build(&project, keys, &[]).ok();
    // The same file under another name is the same package.
    std::fs::rename(project.path("data/app.deb"), project.path("data/other.deb")).unwrap();
    let again = build(&project, "packages = [\"data/other.deb\"]", &["--locked"]).ok();
    assert_eq!(again.count("run"), 0);
    deb(&project.path("data"), "app", "Architecture: all\nRecommends: nano", &[]);
    let run = build(&project, keys, &["--locked"]).ended(1);
    assert!(run.err.contains("data/app.deb is another file"), "{}", run.err);
    let updated = project.kuth(&["update", PIPELINE, "more"]).ok();
    assert!(updated.out.contains("app") && updated.out.contains("1:1.0-1 ("), "{}", updated.out);
    let built = build(&project, keys, &["--locked"]).ok();
    assert_eq!(built.count("run"), 1);
}

/// The lock is compared with what a stage makes once it is made.
#[test]
fn a_changed_output_of_a_stage_is_another_request() {
    let project = project("customise-changed-output", |data| {
        deb(data, "app", "Architecture: all", &[]);
    });
    let keys = || {
        let file = project.path("data/app.deb");
        let digest = kuth_test_support::sha256(std::fs::read(&file).unwrap());
        format!(
            "packages = [{{ from = \"app\" }}]\n\n[stage.app]\nkind = \"download\"\nurl = \
             \"file://{}\"\nsha256 = \"{digest}\"",
            file.display()
        )
    };
    build(&project, &keys(), &[]).ok();
    let again = build(&project, &keys(), &["--locked", "--rebuild", "app"]).ok();
    assert_eq!(again.count("run"), 1, "the same bytes");
    deb(&project.path("data"), "app", "Architecture: all\nRecommends: nano", &[]);
    let run = build(&project, &keys(), &["--locked"]).ended(1);
    assert!(run.err.contains("the output of the stage app is another file"), "{}", run.err);
    assert_eq!(build(&project, &keys(), &[]).ok().count("run"), 1);
}

#[test]
fn an_older_file_and_one_that_is_held_are_errors() {
    let project = project("customise-older-file", |data| {
        for (name, version) in [("older", "0.1"), ("newer", "99:1")] {
            let path = deb_of(data, ("less", version), "Architecture: all", &[]);
            std::fs::rename(path, data.join(format!("{name}.deb"))).unwrap();
        }
    });
    let first = "packages = [\"less\"]\nhold = [\"less\"]\n\n[stage.last]\nkind = \"customise\"\n\
                 from = \"more\"\npackages = [\"data/NAME.deb\"]";
    for (name, said, hint) in [
        ("older", "the tree has a newer version of a package", "take it out with `remove`"),
        ("newer", "a package that the tree holds would be changed", "hold it in the last stage"),
    ] {
        build(&project, &first.replace("NAME", name), &[]).ok();
        let run = project.build(&[PIPELINE, "last"]).ended(1);
        assert!(run.err.contains(said) && run.err.contains(hint), "{}", run.err);
    }
}

#[test]
fn an_answer_without_debconf_and_a_hold_of_nothing_are_errors() {
    let project = project("customise-faulty-answers", |_| {});
    for (keys, said) in [
        (
            "hold = [\"nano\"]",
            "nano is not installed, so it cannot be held: check its name, or add it to packages",
        ),
        (
            "debconf = \"a a/b string x\"\n\n[stage.bare]\nkind = \"customise\"\nfrom = \"rootfs\"\n\
             run = \"rm /usr/bin/debconf-set-selections\"\n\n[stage.faulty]\nkind = \"customise\"\n\
             from = \"bare\"\ndebconf = \"a a/b string x\"",
            "the tree has no debconf: install the package debconf in a stage before this one",
        ),
    ] {
        let stage = format!("[stage.more]\nkind = \"customise\"\nfrom = \"rootfs\"\n{keys}\n");
        project.write(PIPELINE, format!("{SYSTEM}\n{stage}"));
        let run = project.build(&[PIPELINE]).ended(1);
        assert!(run.err.contains(said), "{keys}: {}", run.err);
    }
}
