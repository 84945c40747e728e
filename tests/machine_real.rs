//! The real QEMU. A machine with nothing on its disk, whose QEMU is killed or hangs; and, by hand,
//! a clone of pipelines/debian.toml's disk that is started in the background, logged in to, asked
//! for updates, and stopped, one to six minutes:
//! `KUTH_TEST_DISK=disk.img cargo test --test machine_real -- --ignored --nocapture`

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use kuth::cancel::Cancel;
use kuth::debian::{Archive, DEBIAN, PackageSource, mirror};
use kuth::digest::Digest;
use kuth::embedded::Qemu;
use kuth::files::sparse;
use kuth::machine::{
    CloneSpec, CopyMode, Disk, Driver, Firmware, Hardware, Host, Identity, Location, MachineSpec,
    Nic, Replace, Source, State, Stopped, host_at,
};
use kuth::process::Command;
use kuth::seed::{Secrets, Template};
use kuth::stage_context::Settings;
use kuth::units::Bytes;

use kuth_test_support::judge;

/// However the test ends, its machine does not go on running.
struct Running<'a>(&'a Host, &'static str);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("stopped: {:?}", Qemu.stop(self.0, self.1));
        }
    }
}

#[test]
#[ignore = "boots a machine; see the top of this file"]
fn a_clone_starts_takes_a_login_and_stops() {
    let file = PathBuf::from(std::env::var("KUTH_TEST_DISK").expect("KUTH_TEST_DISK"));
    let disk = Source::from(Disk {
        digest: sparse::tree_hash(&File::open(&file).unwrap()).unwrap(),
        size: Bytes(file.metadata().unwrap().len()),
        file,
    });
    // In the disk's file system, so that the base is a link; and with a long name, as the paths
    // of sockets are short.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let machines = directory.path().join("m".repeat(100));
    let cancel = Cancel::default();
    let mut host = host_at(&machines, Default::default(), cancel.clone());
    host.pipeline = "test".into();
    let log = directory.path().join("log");
    let key = directory.path().join("key");
    let keygen = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
    keygen.run(&log, &cancel).unwrap();
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();

    let networks = ["nat", "internal:dmz", "host-only"].map(|network| network.parse().unwrap());
    let spec = |name: &str| MachineSpec {
        name: name.into(),
        origin: Digest::of(name),
        hardware: Hardware {
            architecture: "amd64".into(),
            cpus: 2,
            memory: 768,
            firmware: Firmware::Bios,
            vram: 33,
            disks: vec![1 << 30],
            nics: Nic::all(name, &networks),
            forwards: vec![],
        },
        user: Some("debian".into()),
    };
    let template = Template {
        hostname: "web".into(),
        nics: Nic::all("web", &networks),
        user: "debian".into(),
        ssh_keys: vec![public.trim().into()],
        ..Template::default()
    };
    let seed = template.render(Secrets::Withheld).unwrap().iso(1_767_225_600).unwrap();
    let start = Instant::now();
    let base = Qemu.register(&host, &spec("base"), &disk).unwrap();
    let golden = Qemu.snapshot(&host, &base, "golden").unwrap();
    let from = CloneSpec { snapshot: &golden, copy: CopyMode::Linked, size: None, seed: &seed };
    Qemu.clone_snapshot(&host, &spec("web"), &from).unwrap();
    eprintln!("registered, snapshotted, cloned: {:?}", start.elapsed());

    let start = Instant::now();
    let _running = Running(&host, "web");
    let listed = Qemu.start(&host, "web").unwrap_or_else(|error| panic!("{error:#}"));
    assert!(matches!(listed.state, State::Running), "{listed:?}");
    eprintln!("started: {:?}, port {:?}", start.elapsed(), listed.ssh_port);
    assert!(Qemu.remove(&host, "web").is_err());
    let arguments = Qemu.ssh(&host, "web").unwrap();
    let ssh = |script: &str| {
        Command::new("ssh")
            .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-i"])
            .arg(&key)
            .args(&arguments)
            .arg(script)
            .time_limit(Duration::from_secs(600))
            .run(&log, &cancel)
    };
    let asks = "hostname; ip -brief address; lsblk --noheadings --nodeps --output NAME,SIZE";
    let output = loop {
        match ssh(asks) {
            Ok(output) => break output,
            Err(error) if start.elapsed() > Duration::from_secs(400) => panic!("{error:#}"),
            Err(_) => std::thread::sleep(Duration::from_secs(5)),
        }
    };
    let output = String::from_utf8(output).unwrap();
    eprintln!("logged in: {:?}\n{output}", start.elapsed());
    assert!(output.starts_with("web\n") && output.contains("nic2"), "{output}");

    // Its own apt, with the archives that this host takes packages from: nothing newer is there.
    let settings = Settings::default();
    let root = |archive| mirror::root(&settings, &DEBIAN, &PackageSource::Mirror(None), archive);
    let [main, security] = [Archive::Main, Archive::Security].map(|archive| root(archive).unwrap());
    let script = format!(
        "sudo sh -c \"sed -i -e 's|^URIs: .*/debian$|URIs: {main}|' \
         -e 's|^URIs: .*-security$|URIs: {security}|' /etc/apt/sources.list.d/debian.sources && \
         apt-get -qq -oAcquire::Check-Valid-Until=false update 2>&1\" && echo == && \
         apt-get -s dist-upgrade"
    );
    let start = Instant::now();
    let output = ssh(&script).unwrap_or_else(|error| panic!("{error:#}"));
    let output = String::from_utf8(output).unwrap();
    eprintln!("asked its apt: {:?}", start.elapsed());
    let (warnings, upgrade) = output.split_once("==\n").unwrap();
    assert_eq!(warnings, "", "a key or an index is not right");
    assert!(upgrade.contains("\n0 upgraded, 0 newly installed"), "{upgrade}");

    let start = Instant::now();
    assert_eq!(Qemu.stop(&host, "web").unwrap(), Stopped::PoweredOff);
    eprintln!("stopped: {:?}", start.elapsed());
    let listed = Qemu.list(&host).unwrap();
    assert_eq!(listed[1].state, State::Used);
    let console = std::fs::read_to_string(Qemu.console(&host, "web").unwrap());
    assert!(console.unwrap().contains("Linux version"));
    assert_eq!(Qemu.stop(&host, "web").unwrap(), Stopped::Already);
    Qemu.remove(&host, "web").unwrap();
}

/// A machine whose disk is empty, so that its QEMU comes no further than the firmware.
struct Idle {
    directory: tempfile::TempDir,
    host: Host,
}

impl Idle {
    /// `None`, said aloud, where there is no QEMU.
    fn new() -> Option<Idle> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_there = |directory: PathBuf| directory.join("qemu-system-x86_64").is_file();
        if !std::env::split_paths(&path).any(is_there) {
            judge::missing("qemu-system-x86_64");
            return None;
        }
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut host =
            host_at(&directory.path().join("machines"), Default::default(), Cancel::default());
        host.pipeline = "test".into();
        let idle = Idle { directory, host };
        File::create(idle.directory.path().join("disk")).unwrap().set_len(1 << 20).unwrap();
        idle.register("web", Replace::Never).unwrap();
        Some(idle)
    }

    /// Registers `web` as a recipe says that differs from others in `origin`.
    fn register(&self, origin: &str, replace: Replace) -> Result<Identity, String> {
        let file = self.directory.path().join("disk");
        let digest = sparse::tree_hash(&File::open(&file).unwrap()).unwrap();
        let disk = Source::from(Disk { file, digest, size: Bytes::mib(1) });
        let networks = ["nat", "internal:dmz"].map(|network| network.parse().unwrap());
        let spec = MachineSpec {
            name: "web".into(),
            origin: Digest::of(origin),
            hardware: Hardware {
                architecture: "amd64".into(),
                cpus: 1,
                memory: 64,
                firmware: Firmware::Bios,
                vram: 33,
                disks: vec![],
                nics: Nic::all("web", &networks),
                forwards: vec![],
            },
            user: None,
        };
        let host = Host { replace, ..self.host.clone() };
        Qemu.register(&host, &spec, &disk).map_err(|error| format!("{error:#}"))
    }

    fn place(&self) -> PathBuf {
        self.directory.path().join("machines/web")
    }

    /// `kuth machine ...`: whether it succeeded, and all it said.
    fn kuth(&self, words: &[&str]) -> (bool, String) {
        let output = std::process::Command::new(kuth_test_support::program())
            .arg("machine")
            .args(words)
            .env("KUTH_MACHINES", self.directory.path().join("machines"))
            .env("KUTH_CACHE", self.directory.path().join("cache"))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let (ok, said) = self.kuth(words);
        assert!(ok, "{words:?}: {said}");
        said
    }

    /// The process that `start` left.
    fn pid(&self) -> Pid {
        let text = fs::read_to_string(self.place().join("qemu.pid")).unwrap();
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }

    /// The switch of the machine's network, which the machine's script started in its directory.
    fn switch(&self) -> Pid {
        let place = self.place().canonicalize().unwrap();
        let is_switch = |process: &Path| {
            let cmdline = fs::read(process.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&cmdline).contains("\0__network\0")
                && fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == place)
        };
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
            if let Some(process) = processes.into_iter().find(|path| is_switch(path)) {
                let number = process.file_name().unwrap().to_str().unwrap();
                return Pid::from_raw(number.parse().unwrap()).unwrap();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("there is no switch");
    }

    fn kill(&self) {
        kill(self.pid());
    }
}

fn kill(pid: Pid) {
    kill_process(pid, Signal::KILL).unwrap();
    let process = format!("/proc/{}/exe", pid.as_raw_nonzero());
    while fs::read_link(&process).is_ok() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        if self.kuth(&["list"]).1.contains("running") {
            self.kill();
        }
    }
}

#[test]
fn a_killed_qemu_is_no_running_machine_and_stands_in_nobodys_way() {
    let Some(idle) = Idle::new() else { return };
    assert!(idle.ok(&["list"]).contains(" ready "));
    idle.ok(&["start", "web"]);
    assert!(idle.ok(&["list"]).contains(" running "));
    let first = idle.pid();
    idle.kill();

    for file in ["qemu.pid", "qmp.sock", "console.sock"] {
        assert!(idle.place().join(file).symlink_metadata().is_ok(), "{file} is left");
    }
    assert!(idle.ok(&["list"]).contains(" used "));
    assert!(idle.ok(&["stop", "web"]).contains("did not run"));
    let (ok, said) = idle.kuth(&["ssh", "web"]);
    assert!(!ok && said.contains("the machine `web` is not running"), "{said}");
    assert!(idle.kuth(&["doctor"]).1.contains("qemu.pid"));

    // Numbers come around: this one is a process of somebody else's now.
    fs::write(idle.place().join("qemu.pid"), std::process::id().to_string()).unwrap();
    assert!(idle.ok(&["list"]).contains(" used "));
    assert!(idle.ok(&["stop", "web"]).contains("did not run"));

    idle.ok(&["start", "web"]);
    assert!(idle.ok(&["list"]).contains(" running "));
    assert_ne!(idle.pid(), first);
    idle.kill();
    idle.ok(&["doctor", "--clean"]);
    for file in ["qemu.pid", "qmp.sock", "console.sock"] {
        assert!(idle.place().join(file).symlink_metadata().is_err(), "{file} is left");
    }
    idle.ok(&["remove", "web"]);
    assert!(!idle.place().exists());
}

#[test]
fn a_running_machine_is_never_replaced() {
    let Some(idle) = Idle::new() else { return };
    idle.ok(&["start", "web"]);
    let disk = || fs::metadata(idle.place().join("disk.qcow2")).unwrap().ino();
    let (machine, before) = (idle.pid(), disk());
    let refused = "the machine `web` is running, so it is not replaced";
    let stays = |what: &str| {
        assert_eq!((idle.pid(), disk()), (machine, before), "{what}");
        assert!(idle.ok(&["list"]).contains(" running "), "{what}");
        let names = fs::read_dir(idle.directory.path().join("machines")).unwrap();
        let names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
        let aside: Vec<_> =
            names.filter(|it| it.contains(".making") || it.contains(".old")).collect();
        assert_eq!(aside, [""; 0], "{what}");
    };
    let made = idle.register("other", Replace::Never).unwrap();
    let found = Qemu.find(&idle.host, &made).unwrap();
    assert!(
        matches!(&found, Location::Retained(_, why) if why.contains("once it is stopped")),
        "{found:?}"
    );
    stays("without --replace");
    let always = Host { replace: Replace::Always, ..idle.host.clone() };
    assert_eq!(idle.register("other", Replace::Always).unwrap_err(), refused);
    assert!(matches!(Qemu.find(&always, &made).unwrap(), Location::Missing(why) if why == refused));
    stays("with --replace");

    // It runs, whatever its directory says of a start.
    fs::rename(idle.place().join("started"), idle.directory.path().join("started")).unwrap();
    idle.register("other", Replace::Never).unwrap();
    stays("without a sign of its start");
    assert_eq!(idle.register("other", Replace::Always).unwrap_err(), refused);
    stays("with --replace and without a sign of its start");

    // Nor is it made anew because it lost a file.
    fs::rename(idle.place().join("run"), idle.directory.path().join("run")).unwrap();
    for replace in [Replace::Never, Replace::Always] {
        let error = idle.register("web", replace).unwrap_err();
        assert!(error.ends_with(refused), "{error}");
        stays("although it is not whole");
    }
    assert!(idle.kuth(&["remove", "web"]).1.contains("the machine `web` is running"));
    stays("although removed");
    idle.kill();
    idle.register("other", Replace::Always).unwrap();
    assert_ne!(disk(), before);
}

#[test]
fn a_qemu_that_hangs_is_ended() {
    let Some(idle) = Idle::new() else { return };
    idle.ok(&["start", "web"]);
    kill_process(idle.pid(), Signal::STOP).unwrap();
    assert!(idle.ok(&["list"]).contains(" running "));
    let start = Instant::now();
    let said = idle.ok(&["stop", "web"]);
    assert!(!said.contains("powered off"), "{said}");
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert!(idle.ok(&["list"]).contains(" used "));
}

#[test]
fn a_killed_switch_comes_back_with_the_next_start() {
    let Some(idle) = Idle::new() else { return };
    idle.ok(&["start", "web"]);
    let (machine, switch) = (idle.pid(), idle.switch());
    kill(switch);
    idle.ok(&["start", "web"]);
    assert_ne!(idle.switch(), switch);
    assert_eq!(idle.pid(), machine);
}
