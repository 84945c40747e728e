//! A run is watched as it should be: scripts in QEMU's place say what installers say. The recorded
//! texts are what debian-installer of Debian 13 wrote to its serial line when it had no answer.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kuth::cancel::Cancel;
use kuth::disk::config::Firmware;
use kuth::error::{Result, hints};
use kuth::installer::Run;
use kuth::installer::run::{Network, TimeLimits};

const NAMESERVERS: &str = include_str!("recorded/question-nameservers.txt");
const PASSWORD: &str = include_str!("recorded/question-password.txt");

pub struct World {
    directory: tempfile::TempDir,
    program: Option<PathBuf>,
    limits: TimeLimits,
}

impl World {
    /// A directory with a medium, a disk, and a script in QEMU's place.
    fn new(script: &str) -> World {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("qemu");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let limits = TimeLimits {
            question: Duration::from_secs(1),
            standstill: Duration::from_secs(3),
            farewell: Duration::from_secs(1),
        };
        let world = World { directory, program: Some(program), limits };
        for name in ["medium.iso", "kernel", "initrd", "disk.raw"] {
            std::fs::write(world.at(name), name).unwrap();
        }
        world
    }

    /// The same with the real QEMU, which starts `kernel`, and time enough for it to do so.
    pub fn real(kernel: &[u8]) -> World {
        let mut world = World::new("");
        (world.program, world.limits) = (None, TimeLimits::default());
        std::fs::write(world.at("kernel"), kernel).unwrap();
        for name in ["medium.iso", "disk.raw"] {
            std::fs::write(world.at(name), vec![0; 1 << 20]).unwrap();
        }
        world
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs it; gives the steps that were seen, or the error.
    pub fn run(&self, cancel: &Cancel, limit: Duration) -> (Result<Vec<String>>, Vec<String>) {
        let (iso, kernel, initrd) = (self.at("medium.iso"), self.at("kernel"), self.at("initrd"));
        let (disk, log) = (self.at("disk.raw"), self.at("log"));
        let run = Run {
            iso: &iso,
            kernel: &kernel,
            initrd: &initrd,
            arguments: "a b".into(),
            seed: None,
            disk: &disk,
            firmware: Firmware::Bios,
            architecture: "amd64",
            cpus: 1,
            memory: 64,
            network: Network::None,
            limit,
            limits: self.limits,
            work: self.directory.path(),
            log: &log,
            console: self.at("install.console"),
            program: self.program.clone(),
        };
        let told = Mutex::new(Vec::new());
        let result = run.run(cancel, &|step| {
            told.lock().unwrap().push(format!("{} {:?}", step.title, step.percent));
        });
        (result, told.into_inner().unwrap())
    }

    /// Why it failed, with the hints.
    pub fn failure(&self) -> String {
        let limit = self.limits.question * 60;
        let (result, _) = self.run(&Cancel::default(), limit);
        let error = result.expect_err("it ended well");
        let hints: String = hints(&error).iter().map(|hint| format!("\nhint: {hint}")).collect();
        format!("{error}{hints}").replace(self.directory.path().to_str().unwrap(), "WORK")
    }
}

/// A script that says `text`, which has no single quotes but those that are escaped here.
fn say(text: &str) -> String {
    format!("printf %s '{}'", text.replace('\'', r"'\''"))
}

#[test]
fn a_run_that_ends_well() {
    let world = World::new(
        "echo 'Installing the base system  ... 0%... 50%'; sleep 0.3\n\
         echo 'Finishing  ... 10%'; printf 'KUTH-%s\\n' INSTALLED; sleep 0.3",
    );
    let (result, told) = world.run(&Cancel::default(), Duration::from_secs(60));
    assert_eq!(result.unwrap(), ["Installing the base system", "Finishing"]);
    assert_eq!(told, ["Installing the base system Some(50)", "Finishing Some(10)"]);
    let console = std::fs::read_to_string(world.at("install.console")).unwrap();
    assert!(console.contains("Installing") && console.ends_with("KUTH-INSTALLED\n"), "{console}");
}

/// Recorded: the network gave no name server, and the installer wanted one.
#[test]
fn a_question_ends_a_run_at_once() {
    let script = "echo 'main-menu: Menu item netcfg selected' >install.syslog\n";
    let world = World::new(&format!("{script}{}; sleep 100", say(NAMESERVERS)));
    let start = Instant::now();
    let failure = world.failure();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    for part in [
        "the installer asks something (at \"Configuring the network with DHCP\")",
        "  | Name server addresses:\n  | Prompt: '?' for help, default=>\n",
        "  | main-menu: Menu item netcfg selected\n",
        "console log: WORK/install.console",
        "hint: answer it in `answers`",
    ] {
        assert!(failure.contains(part), "{part}\nin\n{failure}");
    }
}

/// Recorded: a password is asked for without the prompt that all other questions have.
#[test]
fn a_question_without_a_prompt_is_one_when_nothing_follows() {
    let failure = World::new(&format!("{}; sleep 100", say(PASSWORD))).failure();
    assert!(failure.starts_with("the installer asks something"), "{failure}");
    assert!(failure.contains("  | Root password:"), "{failure}");
}

#[test]
fn what_does_nothing_is_ended() {
    let failure = World::new("echo 'Retrieving  ... 3%'; sleep 100").failure();
    let expected = "the installer has said and written nothing for 3 s (at \"Retrieving\")";
    assert!(failure.starts_with(expected), "{failure}");
    // What writes to its disk is at work.
    let world = World::new(
        "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.5; echo $i >>disk.raw; done; \
         printf 'KUTH-%s\\n' INSTALLED",
    );
    world.run(&Cancel::default(), Duration::from_secs(60)).0.unwrap();
}

#[test]
fn other_ends_are_failures() {
    for (script, expected) in [
        (
            "echo 'Formatting  ... 3%'",
            "the machine powered off before the installer was done (at \"Formatting\")",
        ),
        (
            "printf 'KUTH-%s\\n' INSTALLED; sleep 100",
            "the installer is done, and does not power off",
        ),
        ("printf 'KUTH-%s\\n' FAILED", "what was to be done in the installed system failed"),
        (
            "echo '[ 1.0] Kernel panic - not syncing: x'; sleep 100",
            "the installer does not come up: [ 1.0] Kernel panic - not syncing: x",
        ),
        ("echo broken >&2; exit 3", "running qemu-system-x86_64"),
    ] {
        let failure = World::new(script).failure();
        assert!(failure.starts_with(expected), "{expected}\nis not\n{failure}");
    }
    let world = World::new("while sleep 0.1; do echo x; done");
    let (result, _) = world.run(&Cancel::default(), Duration::from_secs(2));
    assert!(result.unwrap_err().to_string().starts_with("no end after 2 s"));
}

#[test]
fn nothing_outlives_a_run_that_is_stopped() {
    let world = World::new("echo $$ >pid; while sleep 0.1; do echo x; done");
    let cancel = Cancel::default();
    let result = std::thread::scope(|scope| {
        let run = scope.spawn(|| world.run(&cancel, Duration::from_secs(60)).0);
        while !Path::new(&world.at("pid")).exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(200));
        cancel.cancel();
        run.join().unwrap()
    });
    assert_eq!(result.unwrap_err().to_string(), "interrupted");
    let pid = std::fs::read_to_string(world.at("pid")).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}
