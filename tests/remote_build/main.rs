//! `kuth remote-build` through a real sshd on this machine, which the test starts as its own user,
//! with keys, a home and a cache of its own.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use kuth_test_support::base::{collect_packages, lend_packages};
use kuth_test_support::run::Run;
use kuth_test_support::servers::{Server, free_port, program};

/// A system whose kernel is none, on a disk; and one that takes its time.
const PIPELINE: &str = r#"[pipeline]
name = "small"
default = ["image"]

[vars]
word = "none"
secret = "${env:SOME_SECRET}"

[stage.rootfs]
kind = "bootstrap"
suite = "trixie"

[stage.base]
kind = "customise"
from = "rootfs"
run = "test -e /etc/word && test \"$(cat /etc/secret)\" = hunter2"

[stage.base.file."/boot/vmlinuz-1"]
content = "no kernel"

[stage.base.file."/boot/initrd.img-1"]
content = "no initrd"

[stage.base.file."/etc/word"]
source = "data/word"

[stage.base.file."/etc/secret"]
content = "${secret}"

[stage.disk]
kind = "disk"
from = "base"
size = "2 GiB"
firmware = "bios"

[[stage.disk.partition]]
name = "root"
size = "rest"
filesystem = "ext4"
mount = "/"

[stage.image]
kind = "export"
from = "disk"
format = "raw"

[stage.slow]
kind = "customise"
from = "rootfs"
run = "sleep ${word}"

[stage.wrong]
kind = "customise"
from = "rootfs"
run = "echo this went wrong >&2; exit 3"
"#;

/// A host, and a project on another machine; both are directories here.
struct World {
    directory: tempfile::TempDir,
    port: u16,
    _sshd: Server,
}

impl World {
    fn new() -> Option<World> {
        let (sshd, keygen) = (program("sshd")?, program("ssh-keygen")?);
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        for name in ["home", "project/pipelines", "project/data"] {
            std::fs::create_dir_all(at.join(name)).unwrap();
        }
        for key in ["host-key", "key"] {
            let mut command = Command::new(&keygen);
            command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at.join(key));
            assert!(command.status().unwrap().success());
        }
        // Where root starts it, it wants this directory, which the package's service makes.
        let _ = std::fs::create_dir("/run/sshd");
        let (port, here) = (free_port(), at.display());
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {here}/host-key\nPidFile none\nUsePAM no\n\
             AuthorizedKeysFile {here}/key.pub\nStrictModes no\nPasswordAuthentication no\n\
             PermitRootLogin yes\nSetEnv HOME={here}/home\n"
        );
        std::fs::write(at.join("sshd_config"), config).unwrap();
        let mut command = Command::new(sshd);
        command.args(["-D", "-f"]).arg(at.join("sshd_config")).arg("-E").arg(at.join("sshd.log"));
        command.stdin(Stdio::null());
        let world = World { directory, port, _sshd: Server::start(command, port) };
        world.write("pipelines/small.toml", PIPELINE);
        world.write("data/word", "hello\n");
        lend_packages(&world.path("home/.cache/kuth/cache"));
        Some(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path("project").join(name), text).unwrap();
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let key = self.path("key");
        let ssh = format!(
            "ssh -F none -i {} -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no",
            key.display()
        );
        let mut command = Command::new(kuth_test_support::program());
        command.args(["remote-build", &format!("ssh://127.0.0.1:{}", self.port)]);
        command.arg("pipelines/small.toml").args(arguments).env_clear();
        let variables =
            ["PATH", "KUTH_DEBIAN_MIRROR", "KUTH_DEBIAN_SECURITY_MIRROR", "KUTH_ALLOW_EXPIRED"];
        command.envs(variables.iter().filter_map(|name| Some((name, std::env::var(name).ok()?))));
        command.env("KUTH_SSH", ssh).env("SOME_SECRET", "hunter2");
        command.current_dir(self.path("project"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn build(&self, arguments: &[&str]) -> Run {
        Run::of_child(self.start(arguments))
    }

    /// What is left of builds on the host.
    fn left(&self) -> usize {
        let work = self.path("home/.cache/kuth/cache/work");
        std::fs::read_dir(work).unwrap().count()
    }
}

/// The processes that have this word among theirs.
fn with_word(word: &str) -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let has = |path: &PathBuf| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|it| it == word.as_bytes())
    };
    processes.filter(has).collect()
}

fn wait_until(what: &str, seconds: u64, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(seconds), "not {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_build_on_another_machine() {
    let Some(world) = World::new() else { return };
    builds_and_brings_back(&world);
    tells_what_went_wrong(&world);
    for (signal, seconds) in [(Signal::INT, 5), (Signal::KILL, 5)] {
        ends_with_who_asked(&world, signal, seconds);
    }
    // What an end like that leaves goes with the next build.
    assert_eq!(world.build(&["rootfs"]).status, 0);
    assert_eq!(world.left(), 0);
}

fn builds_and_brings_back(world: &World) {
    let run = world.build(&[]);
    assert_eq!(run.status, 0, "{run:?}");
    collect_packages(&world.path("home/.cache/kuth/cache"));
    for stage in ["rootfs", "base", "disk", "image"] {
        assert!(run.err.contains(&format!("{stage}: done in")), "{}", run.err);
    }
    assert!(run.err.contains("4 stages: 4 run"), "{}", run.err);
    let image = world.path("project/out/small/small.raw");
    assert_eq!(run.out, format!("{}\n", image.canonicalize().unwrap().display()));
    let metadata = image.metadata().unwrap();
    assert_eq!(metadata.size(), 2 << 30);
    assert!(metadata.blocks() * 512 < 1 << 30, "its holes are gone");
    assert!(world.path("project/pipelines/small.lock").is_file());
    // Nothing but logs was kept here, and nothing but results there.
    assert_eq!(std::fs::read_dir(world.path("project/cache/records")).unwrap().count(), 0);
    assert_eq!(world.left(), 0);
    let programs = std::fs::read_dir(world.path("home/.cache/kuth/bin")).unwrap().count();
    assert_eq!(programs, 1);

    // Again: all is there, and is told to programs as by a build here.
    let before = Instant::now();
    let run = world.build(&["--message-format", "json", "--locked"]);
    eprintln!("again: {:?}", before.elapsed());
    assert_eq!(run.status, 0, "{run:?}");
    let lines: Vec<Value> = run.out.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let states: Vec<&str> = lines.iter().filter_map(|line| line["state"].as_str()).collect();
    assert_eq!(states, ["cached"; 4]);
    let path = lines.iter().find(|line| line["stage"] == "image").unwrap()["path"].as_str();
    assert!(path.unwrap().ends_with("/project/out/small/small.raw"), "{path:?}");
    assert_eq!(lines.last().unwrap()["event"], "summary");

    // Local files go there as they are.
    world.write("data/word", "another\n");
    let run = world.build(&["base"]);
    assert!(run.status == 0 && run.err.contains("base: done in"), "{run:?}");
    assert!(!run.err.contains("hunter2") && !run.out.contains("hunter2"));
}

fn tells_what_went_wrong(world: &World) {
    let run = world.build(&["wrong"]);
    assert_eq!(run.status, 1, "{run:?}");
    assert!(run.err.contains("this went wrong"), "{}", run.err);
    let run = world.build(&["nothing"]);
    assert_eq!(run.status, 2, "{run:?}");
    let run = world.build(&["--kuth", "/nowhere/kuth"]);
    assert!(run.status == 1 && run.err.contains("/nowhere/kuth"), "{run:?}");
    // What only the other end can find.
    std::fs::remove_file(world.path("project/pipelines/small.lock")).unwrap();
    let run = world.build(&["base", "--locked", "--rebuild", "rootfs"]);
    assert!(run.status == 1 && run.err.contains("lock"), "{run:?}");
}

fn ends_with_who_asked(world: &World, signal: Signal, seconds: u64) {
    let word = format!("{}.{}", 86000 + signal.as_raw(), std::process::id());
    let var = format!("word={word}");
    let child = world.start(&["slow", "--var", &var]);
    wait_until("asleep there", 120, || !with_word(&word).is_empty());
    kill_process(Pid::from_child(&child), signal).unwrap();
    let run = Run::of_child(child);
    if signal == Signal::INT {
        assert_eq!(run.status, 130, "{run:?}");
    }
    wait_until("awake there", seconds, || with_word(&word).is_empty());
    let there = Path::new("remote-build-there").to_str().unwrap();
    wait_until("gone there", seconds, || with_word(there).is_empty());
}
