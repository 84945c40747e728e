//! The file for GitLab, run for real: by gitlab-ci-local with its shell executor, each job in a
//! copy of the project of its own, with an empty cache; what they share is S3.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use kuth_test_support::home::Home;
use kuth_test_support::servers::{Server, program};

/// A system, what makes it look as if it could start, a disk, an image.
const PIPELINE: &str = r#"[pipeline]
name = "small"
default = ["image"]

[stage.rootfs]
kind = "bootstrap"
suite = "trixie"

[stage.base]
kind = "customise"
from = "rootfs"

[stage.base.file."/boot/vmlinuz-1"]
content = "no kernel"

[stage.base.file."/boot/initrd.img-1"]
content = "no initrd"

[stage.disk]
kind = "disk"
from = "base"
size = "1 GiB"
firmware = "bios"

[[stage.disk.partition]]
name = "root"
size = "rest"
filesystem = "ext4"
mount = "/"

[stage.image]
kind = "export"
from = "disk"
format = "qcow2"
"#;

const STAGES: [&str; 4] = ["rootfs", "base", "disk", "image"];

fn git(home: &Home, words: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=x", "-c", "user.email=x@example.org"]).args(words);
    let output = command.current_dir(home.path(".")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Makes `home` the repository of a project.
pub fn commit(home: &Home) {
    git(home, &["init", "-q", "-b", "main"]);
    git(home, &["remote", "add", "origin", "git@gitlab.example:group/project.git"]);
    git(home, &["add", "-A"]);
    git(home, &["commit", "-q", "-m", "all"]);
}

/// Runs every job; its state, and so the directories of the jobs, are in a directory of this run's
/// own.
pub fn run(home: &Home, program: &Path, name: &str, variables: &[(&str, String)]) -> Output {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci/bin");
    let path = format!("{}:{}", own.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(program);
    command.args(["--shell-isolation", "--shell-executor-no-image", "--timestamps"]);
    command.args(["--state-dir", name, "--concurrency", "2"]);
    for (name, value) in variables {
        command.arg("--variable").arg(format!("{name}={value}"));
    }
    command.env("PATH", path).env("HOME", home.path("home")).env("NO_COLOR", "1");
    command.current_dir(home.path(".")).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn the_second_run_executes_no_stage() {
    let Some(program) = program("gitlab-ci-local") else { return };
    let Some(s3) = Server::s3() else { return };
    let home = Home::with(PIPELINE);
    let kuth = kuth_test_support::program();
    let setup = format!("export PATH=\"{}:$PATH\"", kuth.parent().unwrap().display());
    let file = "pipelines/small.toml";
    let said = home.kuth(&["ci", "gitlab", file, "--setup", &setup, "-o", ".gitlab-ci.yml"]);
    assert_eq!((said.status, said.out.as_str()), (0, ".gitlab-ci.yml\n"), "{}", said.err);
    home.write(".gitignore", "cache\nout\nhome\nkey\none\ntwo\n");
    home.write("home/x", "");
    commit(&home);
    let key = home.path("key").display().to_string();
    assert_eq!(home.kuth(&["cache", "keygen", &key]).status, 0);
    let mut variables = s3.s3_variables().map(|(name, value)| (name, value.to_string())).to_vec();
    variables.push(("KUTH_CACHE_REMOTE", "s3://bucket/kuth".to_string()));
    variables.push(("KUTH_CACHE_KEY", std::fs::read_to_string(&key).unwrap().trim().to_string()));
    if let Ok(mirror) = std::env::var("KUTH_DEBIAN_MIRROR") {
        variables.push(("KUTH_DEBIAN_MIRROR", mirror));
    }
    let mut runs = Vec::new();
    for name in ["one", "two"] {
        let start = Instant::now();
        let output = run(&home, &program, name, &variables);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        eprintln!("run {name}: {:.1} s\n{text}", start.elapsed().as_secs_f32());
        assert!(output.status.success(), "run {name}");
        runs.push(text);
    }
    for stage in STAGES {
        // Once, in the job of its own: what eats it fetches it.
        assert_eq!(runs[0].matches(&format!("{stage}: done in")).count(), 1, "{stage}");
    }
    assert!(!runs[1].contains(": started"), "a stage ran");
    assert!(!runs[1].contains(": done in"), "a stage ran");
    for (at, stage) in STAGES.iter().enumerate() {
        let stages = if at == 0 { "1 stage, ".to_string() } else { format!("{} stages, ", at + 1) };
        assert!(runs[1].contains(&format!("{stages}{} cached", at + 1)), "{stage}");
    }
}
