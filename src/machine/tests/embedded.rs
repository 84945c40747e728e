//! The driver on real directories, with small disks and without QEMU.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use std::path::{Path, PathBuf};

use super::*;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::embedded::directory::{self, Record};
use crate::files::sparse;
use crate::units::Bytes;

const NAME: &str = "qemu";

struct World {
    directory: tempfile::TempDir,
    host: Host,
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let host = Host {
            journal: Some(directory.path().join("journal")),
            log: directory.path().join("log"),
            pipeline: "debian".into(),
            epoch: 1_767_225_600,
            ..host_at(&directory.path().join("machines"), BTreeMap::new(), Cancel::default())
        };
        World { directory, host }
    }

    fn image(&self, content: &str) -> PathBuf {
        let file = self.directory.path().join(format!("{content}.img"));
        if !file.exists() {
            let image = File::create(&file).unwrap();
            image.set_len(8 << 20).unwrap();
            image.write_all_at(content.as_bytes(), 4096).unwrap();
        }
        file
    }

    fn disk(&self, content: &str) -> Source {
        let file = self.image(content);
        let digest = sparse::tree_hash(&File::open(&file).unwrap()).unwrap();
        Source::from(Disk { file, digest, size: Bytes::mib(8) })
    }

    fn place(&self, name: &str) -> PathBuf {
        self.host.machines.join(name)
    }

    /// Registers, snapshots, and clones one machine; their identities.
    fn build(&self, content: &str, seed: &[u8]) -> Result<[Identity; 3]> {
        let base = spec("base", content);
        let base = Qemu.register(&self.host, &base, &self.disk(content))?;
        let golden = Qemu.snapshot(&self.host, &base, "golden")?;
        let clone = self.clone(&golden, seed, CopyMode::Linked)?;
        Ok([base, golden, clone])
    }

    fn clone(&self, golden: &Identity, seed: &[u8], copy: CopyMode) -> Result<Identity> {
        let mut origin = golden.to_text()?.into_bytes();
        origin.extend(seed);
        let mut spec = spec("web", "");
        spec.origin = Digest::of(origin);
        spec.hardware.disks = vec![64 << 20];
        Qemu.clone_snapshot(
            &self.host,
            &spec,
            &CloneSpec { snapshot: golden, copy, size: None, seed },
        )
    }

    /// Makes the clone with a first disk of this size.
    fn clone_of_size(&self, golden: &Identity, size: Bytes, copy: CopyMode) -> Result<Identity> {
        let from = CloneSpec { snapshot: golden, copy, size: Some(size), seed: b"seed" };
        Qemu.clone_snapshot(&self.host, &spec("web", &format!("{size} {copy:?}")), &from)
    }

    fn find(&self, identity: &Identity) -> Location {
        Qemu.find(&self.host, identity).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let paths = directory::entries(&self.host.machines).unwrap();
        let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        paths.into_iter().map(name).collect()
    }
}

fn spec(name: &str, origin: &str) -> MachineSpec {
    MachineSpec {
        name: name.into(),
        origin: Digest::of(origin),
        hardware: Hardware {
            architecture: "amd64".into(),
            cpus: 1,
            memory: 512,
            firmware: Firmware::Bios,
            vram: 33,
            disks: vec![],
            nics: Nic::all(name, &[Network::Nat]),
            forwards: vec![],
        },
        user: Some("debian".into()),
    }
}

#[test]
fn the_first_disk_of_a_clone_is_as_large_as_asked_for() {
    let world = World::new();
    let [_, golden, _] = world.build("one", b"seed").unwrap();
    let large = Bytes::gib(60);
    world.clone_of_size(&golden, large, CopyMode::Linked).unwrap();
    let disk = File::open(world.place("web/disk.qcow2")).unwrap();
    let mut size = [0; 8];
    disk.read_exact_at(&mut size, 24).unwrap();
    assert_eq!(u64::from_be_bytes(size), large.0);
    world.clone_of_size(&golden, large, CopyMode::Full).unwrap();
    let copy = world.place("web/disk.raw").metadata().unwrap();
    assert_eq!(copy.len(), large.0);
    assert!(copy.blocks() * 512 < 16 << 20, "what is beyond the base is a hole");
    for copy in [CopyMode::Linked, CopyMode::Full] {
        let error = world.clone_of_size(&golden, Bytes::mib(7), copy).unwrap_err();
        let said = "the disk of `web` is to have 7 MiB, less than the 8 MiB of its base";
        assert_eq!(error.root_cause().to_string(), said);
    }
    // The machine that was there stays.
    assert_eq!(world.place("web/disk.raw").metadata().unwrap().len(), large.0);
}

#[test]
fn from_a_disk_to_a_clone_and_again_nothing_changes() {
    let world = World::new();
    let [base, golden, clone] = world.build("one", b"seed").unwrap();
    assert_eq!(world.find(&base), Location::Present(world.place("base")));
    assert_eq!(world.find(&golden), Location::Present(world.place("base/snapshots/golden.toml")));
    assert_eq!(world.find(&clone), Location::Present(world.place("web")));
    assert_eq!(world.names(), [".lock", "base", "bases", "web"]);
    let disk = world.host.machines.join(base.disk.as_ref().unwrap());
    let object = world.image("one");
    assert!(disk.metadata().unwrap().len() == object.metadata().unwrap().len());
    assert_eq!(std::fs::read(world.place("web/seed.iso")).unwrap(), b"seed");
    assert_eq!(world.place("web/disk1.raw").metadata().unwrap().len(), 64 << 20);
    assert_eq!(world.place("web/run").metadata().unwrap().mode() & 0o777, 0o755);
    let inode = world.place("web").metadata().unwrap().ino();
    assert_eq!(world.build("one", b"seed").unwrap(), [base, golden, clone]);
    assert_eq!(world.place("web").metadata().unwrap().ino(), inode);
    assert_eq!(std::fs::read_dir(world.directory.path().join("journal")).unwrap().count(), 0);
}

#[test]
fn a_clone_without_state_is_replaced_and_one_with_state_is_kept() {
    let mut world = World::new();
    let [_, golden, first] = world.build("one", b"a").unwrap();
    let second = world.clone(&golden, b"b", CopyMode::Linked).unwrap();
    assert_eq!(world.find(&first), Location::Replaced("it was made from another recipe".into()));
    assert_eq!(world.find(&second), Location::Present(world.place("web")));

    // A byte in the overlay counts, whatever the times say.
    let disk = world.place("web/disk.qcow2");
    let times = disk.metadata().unwrap().modified().unwrap();
    let overlay = File::options().write(true).open(&disk).unwrap();
    overlay.write_all_at(b"x", 300).unwrap();
    overlay.set_modified(times).unwrap();
    let third = world.clone(&golden, b"c", CopyMode::Linked).unwrap();
    let Location::Retained(place, why) = world.find(&third) else { panic!("replaced") };
    assert_eq!(place, world.place("web"));
    assert!(why.contains("its disk has been written to"), "{why}");
    assert_eq!(std::fs::read(world.place("web/seed.iso")).unwrap(), b"b");
    assert_eq!(world.find(&second), Location::Present(world.place("web")));

    world.host.replace = Replace::Always;
    assert!(matches!(world.find(&third), Location::Missing(_)));
    world.clone(&golden, b"c", CopyMode::Linked).unwrap();
    assert_eq!(std::fs::read(world.place("web/seed.iso")).unwrap(), b"c");
}

#[test]
fn the_started_marker_and_files_of_others_are_state() {
    for file in ["started", "notes.txt"] {
        let world = World::new();
        let [_, golden, _] = world.build("one", b"a").unwrap();
        std::fs::write(world.place("web").join(file), "").unwrap();
        let second = world.clone(&golden, b"b", CopyMode::Linked).unwrap();
        assert!(matches!(world.find(&second), Location::Retained(..)), "{file}");
        assert!(world.place("web").join(file).exists());
    }
}

#[test]
fn what_others_made_is_refused_and_stays() {
    let mut world = World::new();
    std::fs::create_dir_all(world.place("web")).unwrap();
    std::fs::write(world.place("web/mine"), "").unwrap();
    for replace in [Replace::Always, Replace::Never] {
        world.host.replace = replace;
        let error = world.build("one", b"a").unwrap_err();
        assert!(error.to_string().ends_with("kuth did not make it"), "{error}");
        assert!(world.place("web/mine").exists());
    }
    std::fs::remove_dir_all(world.place("web")).unwrap();
    let [_, golden, clone] = world.build("one", b"a").unwrap();

    world.host.pipeline = "other".into();
    world.host.replace = Replace::Always;
    assert_eq!(world.clone(&golden, b"a", CopyMode::Linked).unwrap(), clone, "the same machine");
    let error = world.clone(&golden, b"b", CopyMode::Linked).unwrap_err();
    assert!(error.to_string().contains("made by the pipeline `debian`"), "{error}");
    assert_eq!(std::fs::read(world.place("web/seed.iso")).unwrap(), b"a");
}

/// Every file below `directory`, by its path there.
fn content(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for path in directory::entries(directory).unwrap() {
        let name = PathBuf::from(path.file_name().unwrap());
        match path.is_dir() {
            true => all.extend(content(&path).into_iter().map(|(it, text)| (name.join(it), text))),
            false => drop(all.insert(name, std::fs::read(&path).unwrap())),
        }
    }
    all
}

#[test]
fn files_that_kuth_did_not_make_outlast_every_way_to_lose_a_machine() {
    for (file, found) in [
        ("notes.txt", "notes.txt"),
        // It has one further disk, and one over a base.
        ("disk2.raw", "disk2.raw"),
        ("disk.raw", "disk.raw"),
        (".mine.new", ".mine.new"),
        ("mine/deep", "mine"),
        ("console.log/mine", "console.log"),
        ("snapshots/mine.toml", "snapshots/mine.toml"),
        ("snapshots/mine.raw", "snapshots/mine.raw"),
    ] {
        let mut world = World::new();
        let [_, golden, _] = world.build("one", b"a").unwrap();
        let place = world.place("web").join(file);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(&place, "mine").unwrap();
        let before = content(&world.place("web"));
        let other = world.clone(&golden, b"b", CopyMode::Linked).unwrap();
        assert!(matches!(world.find(&other), Location::Retained(..)), "{file}");
        world.host.replace = Replace::Always;
        let refused =
            format!("{} has files kuth did not make: {found}", world.place("web").display());
        let error = world.clone(&golden, b"b", CopyMode::Linked).unwrap_err();
        assert_eq!(format!("{error:#}"), refused);
        let error = Qemu.remove(&world.host, "web").unwrap_err();
        assert_eq!(format!("{error:#}"), refused);
        assert_eq!(content(&world.place("web")), before, "{file}");

        // One that lost a file of its own is made anew, but not in spite of this one.
        let run = world.place("web/run");
        std::fs::rename(&run, world.directory.path().join("run")).unwrap();
        for replace in [Replace::Never, Replace::Always] {
            world.host.replace = replace;
            let error = world.clone(&golden, b"a", CopyMode::Linked).unwrap_err();
            assert!(format!("{error:#}").ends_with(&refused), "{error:#}");
        }
        std::fs::rename(world.directory.path().join("run"), &run).unwrap();
        assert_eq!(content(&world.place("web")), before, "{file}");
        assert_eq!(world.names(), [".lock", "base", "bases", "web"], "{file}");
    }
}

#[test]
fn what_is_deleted_by_hand_is_noticed_and_made_again() {
    let world = World::new();
    let [base, golden, clone] = world.build("one", b"a").unwrap();
    for file in ["web/disk.qcow2", "web/run"] {
        std::fs::remove_file(world.place(file)).unwrap();
        assert!(matches!(world.find(&clone), Location::Missing(_)), "{file}");
        world.clone(&golden, b"a", CopyMode::Linked).unwrap();
        assert_eq!(world.find(&clone), Location::Present(world.place("web")));
    }
    std::fs::remove_dir_all(world.place("web")).unwrap();
    assert_eq!(world.find(&clone), Location::Missing("the machine is not there".into()));
    std::fs::remove_file(world.place("base/snapshots/golden.toml")).unwrap();
    assert_eq!(world.find(&golden), Location::Missing("the snapshot is not there".into()));
    let disk = world.host.machines.join(base.disk.as_ref().unwrap());
    std::fs::remove_file(&disk).unwrap();
    assert!(matches!(world.find(&base), Location::Missing(_)));
    assert!(world.clone(&golden, b"a", CopyMode::Linked).is_err());
    world.build("one", b"a").unwrap();
    assert_eq!(world.find(&base), Location::Present(world.place("base")));
    assert!(disk.exists());
}

#[test]
fn a_started_clone_that_lost_its_script_is_not_made_anew() {
    let world = World::new();
    let [_, golden, _] = world.build("one", b"a").unwrap();
    std::fs::write(world.place("web/started"), "").unwrap();
    std::fs::remove_file(world.place("web/run")).unwrap();
    let error = world.clone(&golden, b"a", CopyMode::Linked).unwrap_err();
    assert!(error.to_string().contains("is not whole"), "{error}");
    assert!(world.place("web/disk.qcow2").exists());
}

#[test]
fn a_changed_disk_leaves_living_clones_their_base() {
    let world = World::new();
    let [old, ..] = world.build("one", b"a").unwrap();
    std::fs::write(world.place("web/started"), "").unwrap();
    let [new, _, clone] = world.build("two", b"a").unwrap();
    assert!(matches!(world.find(&clone), Location::Retained(..)));
    assert_eq!(Qemu.clean(&world.host).unwrap(), []);
    Qemu.remove(&world.host, "web").unwrap();
    let cleaned = Qemu.clean(&world.host).unwrap();
    let gone = world.host.machines.join(old.disk.unwrap());
    assert_eq!(cleaned.iter().map(|(path, _)| path).collect::<Vec<_>>(), [&gone]);
    assert!(world.host.machines.join(new.disk.unwrap()).exists());
}

#[test]
fn a_used_machine_is_frozen_by_a_snapshot_and_goes_on() {
    let world = World::new();
    let base = spec("base", "one");
    let base = Qemu.register(&world.host, &base, &world.disk("one")).unwrap();
    let disk = world.place("base/disk.qcow2");
    let mut written = std::fs::read(&disk).unwrap();
    written.extend([7; 65536]);
    std::fs::write(&disk, &written).unwrap();
    let golden = Qemu.snapshot(&world.host, &base, "golden").unwrap();
    let frozen = golden.disk.clone().unwrap();
    assert!(frozen.starts_with("bases/frozen-"), "{frozen}");
    let below = world.host.machines.join(&frozen);
    assert_eq!(std::fs::read(&below).unwrap(), written);
    assert_eq!(below.metadata().unwrap().mode() & 0o777, 0o444);
    assert_ne!(below.metadata().unwrap().ino(), disk.metadata().unwrap().ino());
    // Taken once, it stays what it was; another one of the same state is the same disk.
    assert_eq!(Qemu.snapshot(&world.host, &base, "golden").unwrap(), golden);
    assert_eq!(Qemu.snapshot(&world.host, &base, "more").unwrap().disk, Some(frozen.clone()));
    assert_eq!(world.find(&golden), Location::Present(world.place("base/snapshots/golden.toml")));
    world.clone(&golden, b"a", CopyMode::Linked).unwrap();
    let record = Record::read(&world.place("web")).unwrap().unwrap();
    assert_eq!(record.bases, [base.disk.unwrap(), frozen]);
    assert_eq!(Qemu.clean(&world.host).unwrap(), []);
}

#[test]
fn a_full_clone_rests_on_nothing() {
    let world = World::new();
    let [_, golden, _] = world.build("one", b"a").unwrap();
    let full = world.clone(&golden, b"b", CopyMode::Full).unwrap();
    let disk = world.place("web/disk.raw");
    let content = |path: &Path| sparse::tree_hash(&File::open(path).unwrap()).unwrap();
    assert_eq!(content(&disk), content(&world.image("one")));
    assert!(disk.metadata().unwrap().blocks() * 512 < 1 << 20);
    assert_eq!(Record::read(&world.place("web")).unwrap().unwrap().bases, [] as [String; 0]);
    assert_eq!(world.find(&full), Location::Present(world.place("web")));
}

#[test]
fn what_a_killed_run_left_is_taken_away_or_finished() {
    let world = World::new();
    let [_, golden, clone] = world.build("one", b"a").unwrap();
    let making = world.place(".making-web-0123456789ab");
    std::fs::create_dir(&making).unwrap();
    std::fs::write(making.join(directory::MARKER), "").unwrap();
    std::fs::write(making.join("disk.qcow2"), "half").unwrap();
    std::fs::create_dir(world.place(".making-empty-0123456789ab")).unwrap();
    let foreign = world.place(".making-mine");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("x"), "").unwrap();
    std::fs::write(world.place("bases/.making-abc"), "half").unwrap();
    // A swap in two steps that was cut between them.
    std::fs::rename(world.place("web"), world.place(".old-web")).unwrap();
    drop(journal::Entry::begin(&world.host, NAME, "clone", "web", clone.origin).unwrap());

    assert_eq!(crate::machine::journal::recover(&world.host, NAME, "web").unwrap(), 1);
    assert_eq!(world.names(), [".lock", ".making-mine", "base", "bases", "web"]);
    assert!(!world.place("bases/.making-abc").exists());
    assert_eq!(world.find(&clone), Location::Present(world.place("web")));
    assert_eq!(crate::machine::journal::recover(&world.host, NAME, "web").unwrap(), 0);
    world.clone(&golden, b"b", CopyMode::Linked).unwrap();
}

#[test]
fn the_base_stays_while_it_has_clones() {
    let world = World::new();
    world.build("one", b"a").unwrap();
    let error = Qemu.remove(&world.host, "base").unwrap_err();
    assert_eq!(error.to_string(), "the machine `base` has clones: web");
    let listed = Qemu.list(&world.host).unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].snapshots, ["golden"]);
    assert_eq!(listed[1].cloned_from.as_deref(), Some("base"));
    assert!(listed.iter().all(|machine| machine.state == State::Ready));
    Qemu.remove(&world.host, "web").unwrap();
    Qemu.remove(&world.host, "base").unwrap();
    assert_eq!(world.names(), [".lock", "bases"]);
    assert!(Qemu.remove(&world.host, "base").is_err());
    assert!(Qemu.remove(&world.host, "../x").is_err());
}
