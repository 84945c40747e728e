//! Where a secret of the environment is while a stage uses it, and where it stays: in what it was
//! asked for, and in no command line, environment, log, record, report or file of a crash.

use std::fs;
use std::path::{Path, PathBuf};

use kuth_test_support::base::{self, MINIMAL};
use kuth_test_support::processes;
use kuth_test_support::project::Project;

/// No other text has this in it.
const SECRET: &str = "c0rrect-h0rse-battery-staple";

/// The stages into which the secret goes to stay, and one that uses it and leaves nothing of it.
const STAGES: &str = r#"
[stage.file]
kind = "customise"
from = "rootfs"
file."/etc/token".content = "${env:SECRET}"
[[stage.file.user]]
name = "ann"
password-hash = "${env:HASH}"

[stage.used]
kind = "customise"
from = "rootfs"
run = '''
token="${env:SECRET}"
printf %s "$token" | sha256sum >/srv/sum
sleep 2
'''

[stage.failed]
kind = "customise"
from = "used"
run = ["true ${env:SECRET}", "false ${env:SECRET}"]
"#;

fn has_secret(path: &Path) -> bool {
    let bytes = fs::read(path).unwrap_or_default();
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

/// The files below `directory` with the secret in them.
fn with_secret(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.symlink_metadata().unwrap() {
            of if of.is_dir() => found.extend(with_secret(&path)),
            of if of.is_file() && has_secret(&path) => found.push(path),
            _ => {}
        }
    }
    found
}

#[test]
fn a_secret_is_where_it_was_asked_for_and_nowhere_else() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let hash = format!("$6$salt${SECRET}");
    let project = Project::at(directory.path()).with("SECRET", SECRET).with("HASH", &hash);
    base::minimal(&project, "p.lock");
    project.write("p.toml", format!("{MINIMAL}{STAGES}"));

    let mut live = project.begin(&["p.toml", "file", "used"]);
    let kuth = live.pid();
    live.wait_until("the script", || processes::run_below(kuth, "sleep"));
    let mut seen = 0;
    for (pid, _) in processes::below(kuth) {
        for name in ["cmdline", "environ"] {
            let path = PathBuf::from(format!("/proc/{pid}/{name}"));
            assert!(!has_secret(&path), "{}", path.display());
            seen += usize::from(fs::read(&path).is_ok_and(|bytes| !bytes.is_empty()));
        }
    }
    assert!(seen > 2, "no process was looked at");
    let limits = fs::read_to_string(format!("/proc/{kuth}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().rev().nth(1), Some("0"), "{core}");
    let built = live.finish();
    assert_eq!(built.status, 0, "{}", built.err);

    let failed = project.build(&["p.toml", "failed", "--report", "report.html"]);
    assert_eq!(failed.status, 1, "{}", failed.err);
    let mut said = vec![built, failed];
    for words in [
        &["explain", "p.toml", "file"][..],
        &["explain", "p.toml", "used"],
        &["plan", "p.toml"],
        &["graph", "p.toml"],
        &["report", "p.toml"],
    ] {
        said.push(project.kuth(words).ok());
    }
    for run in said {
        assert!(!run.out.contains(SECRET) && !run.err.contains(SECRET), "{} {}", run.out, run.err);
    }

    // The tree with the file, and the layers that it was made of.
    let (objects, layers) = (project.cache.join("objects"), project.cache.join("layers"));
    let found = with_secret(directory.path());
    let (in_layers, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|path| path.starts_with(&layers));
    assert_eq!(others, [project.artifact("p.toml", "file")]);
    assert!(others[0].starts_with(objects));
    for path in in_layers {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(["token", "shadow"].contains(&name), "{}", path.display());
    }
}
