//! A kuth that is killed while it makes machines: afterwards there is no half machine, nothing in
//! the journal, and the next run goes on.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use kuth::cancel::Cancel;
use kuth::digest::Digest;
use kuth::embedded::Qemu;
use kuth::files::sparse;
use kuth::machine::{
    CloneSpec, CopyMode, Disk, Driver, Firmware, Hardware, Host, Hypervisor, Identity, Location,
    MachineSpec, Nic, Replace, Source, journal,
};
use kuth::units::Bytes;

/// Tells the child where to work.
const DIRECTORY: &str = "KUTH_TEST_KILL_FOLDER";
const SEEDS: [&[u8]; 2] = [b"one", b"two"];

fn host(directory: &Path) -> Host {
    Host {
        drivers: kuth::machine::DRIVERS,
        machines: directory.join("machines"),
        commands: Default::default(),
        run_state: Default::default(),
        journal: Some(directory.join("journal")),
        log: directory.join("log"),
        pipeline: "debian".into(),
        epoch: 1_767_225_600,
        replace: Replace::Never,
        cancel: Cancel::default(),
    }
}

fn spec(name: &str, origin: &[u8]) -> MachineSpec {
    MachineSpec {
        name: name.into(),
        origin: Digest::of(origin),
        hardware: Hardware {
            architecture: "amd64".into(),
            cpus: 1,
            memory: 512,
            firmware: Firmware::Bios,
            vram: 33,
            disks: vec![1 << 30],
            nics: Nic::all(name, &[]),
            forwards: vec![],
        },
        user: None,
    }
}

/// Registers a machine, takes a snapshot, and clones it with `seed`.
fn build(directory: &Path, seed: &[u8]) -> [Identity; 3] {
    let host = host(directory);
    let file = directory.join("disk.raw");
    let digest = sparse::tree_hash(&File::open(&file).unwrap()).unwrap();
    let disk = Source::from(Disk { file, digest, size: Bytes::mib(64) });
    let base = Qemu.register(&host, &spec("base", seed), &disk).unwrap();
    let golden = Qemu.snapshot(&host, &base, "golden").unwrap();
    let from = CloneSpec { snapshot: &golden, copy: CopyMode::Linked, size: None, seed };
    let clone = Qemu.clone_snapshot(&host, &spec("web", seed), &from).unwrap();
    [base, golden, clone]
}

/// The other half of the test below, which starts it as a process of its own and kills it.
#[test]
#[ignore = "the child of `a_kill_leaves_no_half_machine`, which starts it"]
fn child() {
    let directory = std::env::var_os(DIRECTORY).expect("it is started by another test");
    for seed in SEEDS.iter().cycle() {
        build(Path::new(&directory), seed);
    }
}

/// Where a build may be when it is killed: the names in the journal and among the machines.
type Point = (&'static str, fn(&[String], &[String]) -> bool);

const POINTS: [Point; 4] = [
    ("the base is noted", |journal, _| has(journal, "qemu-base-")),
    ("the base is being made", |_, machines| has(machines, ".making-base-")),
    ("the clone is noted, and no more", |journal, machines| {
        has(journal, "qemu-web-") && !has(machines, ".making-web-")
    }),
    ("the clone is being made", |_, machines| has(machines, ".making-web-")),
];

fn has(names: &[String], beginning: &str) -> bool {
    names.iter().any(|name| name.starts_with(beginning))
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = entries.map(|entry| name(entry).into_string().unwrap()).collect();
    names.sort();
    names
}

/// Stops a process; comes back when none of its threads runs.
fn stop(pid: Pid) {
    kill_process(pid, Signal::STOP).unwrap();
    let tasks = PathBuf::from(format!("/proc/{}/task", pid.as_raw_nonzero()));
    let is_stopped = |task: &String| {
        let stat = std::fs::read_to_string(tasks.join(task).join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
        // One that is ending does nothing more either.
        matches!(state, None | Some(Some('T' | 'Z' | 'X')))
    };
    while !names(&tasks).iter().all(is_stopped) {
        std::thread::yield_now();
    }
}

/// Kills a child that builds again and again just where `is_there` says, whenever that is.
fn kill_where(child: &mut Child, directory: &Path, (what, is_there): Point) {
    let pid = Pid::from_child(child);
    let start = Instant::now();
    loop {
        stop(pid);
        let (journal, machines) =
            (names(&directory.join("journal")), names(&directory.join("machines")));
        if is_there(&journal, &machines) {
            break;
        }
        kill_process(pid, Signal::CONT).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        assert!(start.elapsed() < Duration::from_secs(300), "never seen: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_kill_leaves_no_half_machine() {
    let directory = tempfile::tempdir().unwrap();
    let image = File::create(directory.path().join("disk.raw")).unwrap();
    image.set_len(64 << 20).unwrap();
    image.write_all_at(b"data", 1 << 20).unwrap();
    let expected = SEEDS.map(|seed| build(directory.path(), seed));
    for round in 0..24 {
        let point = POINTS[round % POINTS.len()];
        let round = format!("round {round}, where {}", point.0);
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "child"])
            .env(DIRECTORY, directory.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        kill_where(&mut child, directory.path(), point);

        let host = host(directory.path());
        let of = |machine| journal::recover(&host, "qemu", machine).unwrap();
        assert_eq!(of("base") + of("web"), 1, "{round}");
        assert_eq!(names(&directory.path().join("journal")), [""; 0], "{round}");
        let machines = directory.path().join("machines");
        assert_eq!(names(&machines), [".lock", "base", "bases", "web"], "{round}");
        for kind in [0, 2] {
            let here = expected.iter().filter(|identities| {
                matches!(Qemu.find(&host, &identities[kind]).unwrap(), Location::Present(_))
            });
            assert_eq!(here.count(), 1, "{round}");
        }
    }
    let again = build(directory.path(), SEEDS[0]);
    assert_eq!(again, expected[0]);
    assert_eq!(Qemu.clean(&host(directory.path())).unwrap(), []);
}
