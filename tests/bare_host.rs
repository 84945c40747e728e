//! A host that has no apt, dpkg and gpgv, and no keyrings: kuth resolves the same packages there, and builds
//! the same tree of them.

use std::path::Path;
use std::process::Command;

use kuth_test_support::base::{self, MINIMAL, PIPELINE};
use kuth_test_support::project::Project;
use kuth_test_support::{judge, target_tmp};
use rustix::process::geteuid;

/// A tree that nobody has asked for before, resolved as of the day of [`MINIMAL`].
const STAGE: &str =
    "\n[stage.other]\nkind = \"bootstrap\"\nsuite = \"trixie\"\npackages = [\"htop\"]\n";

/// Hides the programs and the keyrings of the host, whose place is the first argument's empty directory, and
/// runs the rest.
const HIDE: &str = "mount --make-rprivate / && mount --bind \"$1\" /usr/share/keyrings && shift &&
    for program in apt apt-get dpkg dpkg-deb gpg gpgv sqv; do
        [ ! -e /usr/bin/$program ] || mount --bind /dev/null /usr/bin/$program || exit
    done && exec \"$@\"";

fn project(directory: &Path, name: &str) -> Project {
    let project = Project::at(&directory.join(name));
    base::minimal(&project, "p.lock");
    project.write(PIPELINE, format!("{MINIMAL}{STAGE}"));
    project
}

/// Whether apt itself was resolved and unpacked.
fn got_apt(project: &Project) -> bool {
    let words = ["--recursive", "--quiet", "package = libapt-pkg7.0"];
    let records = project.cache.join("records");
    Command::new("grep").args(words).arg(records).status().unwrap().success()
}

#[test]
fn a_host_without_apt_resolves_and_builds_the_same() {
    if !geteuid().is_root() {
        return judge::skip("only root can hide programs of the host");
    }
    let directory = tempfile::tempdir_in(target_tmp()).unwrap();
    let empty = directory.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let usual = project(directory.path(), "usual");
    let words = ["unshare", "--mount", "sh", "-c", HIDE, "sh", empty.to_str().unwrap()];
    let bare = project(directory.path(), "bare").through(&words);
    let [usual_run, bare_run] = [&usual, &bare].map(|it| it.build(&[PIPELINE, "other"]).ok());
    base::collect_packages(&bare.cache);
    assert!(got_apt(&bare) && !got_apt(&usual));
    assert_eq!(usual.read("p.lock"), bare.read("p.lock"));
    assert!(bare.read("p.lock").contains("name = \"htop\""));
    assert_eq!(usual_run.digest("other"), bare_run.digest("other"));
    bare.assert_clean();
}
