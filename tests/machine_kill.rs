//! A kuth that is killed while it makes machines: afterwards there is no half machine, nothing in
//! the journal, and the next run goes on.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kuth::cache::sparse;
use kuth::digest::Digest;
use kuth::machine::qemu::Qemu;
use kuth::machine::{
    Cloning, Copying, Disk, Driver, Firmware, Found, Hardware, Host, Identity, Nic, Replace,
    Source, Wanted, journal,
};
use kuth::process::Cancel;
use kuth::units::Bytes;

/// Tells the child where to work; without it, it is no child.
const FOLDER: &str = "KUTH_TEST_KILL_FOLDER";
const SEEDS: [&[u8]; 2] = [b"one", b"two"];

fn host(folder: &Path) -> Host {
    Host {
        machines: folder.join("machines"),
        vboxmanage: None,
        journal: Some(folder.join("journal")),
        log: folder.join("log"),
        pipeline: "debian".into(),
        epoch: 1_767_225_600,
        replace: Replace::Never,
        cancel: Cancel::default(),
    }
}

fn wanted(name: &str, origin: &[u8]) -> Wanted {
    Wanted {
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
fn build(folder: &Path, seed: &[u8]) -> [Identity; 3] {
    let host = host(folder);
    let file = folder.join("disk.raw");
    let digest = sparse::tree_hash(&File::open(&file).unwrap()).unwrap();
    let disk = Source::Disk(Disk { file, digest, size: Bytes::mib(64) });
    let base = Qemu.register(&host, &wanted("base", seed), &disk).unwrap();
    let golden = Qemu.snapshot(&host, &base, "golden").unwrap();
    let cloning = Cloning { snapshot: &golden, copy: Copying::Linked, seed };
    let clone = Qemu.clone_snapshot(&host, &wanted("web", seed), &cloning).unwrap();
    [base, golden, clone]
}

/// The other half of the test below, which starts it again as a process of its own; alone it has
/// nothing to do.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    for seed in SEEDS.iter().cycle() {
        build(Path::new(&folder), seed);
    }
}

#[test]
fn a_kill_leaves_no_half_machine() {
    let folder = tempfile::tempdir().unwrap();
    let image = File::create(folder.path().join("disk.raw")).unwrap();
    image.set_len(64 << 20).unwrap();
    image.write_all_at(b"data", 1 << 20).unwrap();
    let expected = SEEDS.map(|seed| build(folder.path(), seed));
    let mut journaled = 0;
    for round in 0..30u64 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child"])
            .env(FOLDER, folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(20 + round * 7 % 61));
        child.kill().unwrap();
        child.wait().unwrap();

        let host = host(folder.path());
        journaled += journal::recover(&host).unwrap();
        assert_eq!(std::fs::read_dir(folder.path().join("journal")).unwrap().count(), 0);
        let machines = folder.path().join("machines");
        let mut names: Vec<PathBuf> =
            std::fs::read_dir(&machines).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        let whole = [".lock", "base", "bases", "web"].map(|name| machines.join(name));
        assert_eq!(names, whole, "round {round}");
        for kind in [0, 2] {
            let here = expected.iter().filter(|identities| {
                matches!(Qemu.find(&host, &identities[kind]).unwrap(), Found::Here(_))
            });
            assert_eq!(here.count(), 1, "round {round}");
        }
    }
    assert!(journaled > 0, "no kill came in the middle");
    let again = build(folder.path(), SEEDS[0]);
    assert_eq!(again, expected[0]);
    assert_eq!(Qemu.clean(&host(folder.path())).unwrap(), []);
}
