//! The VirtualBox driver against the real VBoxManage, each test with a registry of its own.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kuth::cancel::Cancel;
use kuth::digest::Digest;
use kuth::files::sparse;
use kuth::machine::{
    CloneSpec, CopyMode, Disk, Driver, Firmware, Hardware, Host, Hypervisor, Identity, Location,
    MachineSpec, Nic, Owner, Replace, Source, State, journal,
};
use kuth::seed::{Secrets, Template};
use kuth::units::Bytes;
use kuth::virtualbox::VirtualBox;

use kuth_test_support::virtualbox::{self, VirtualBoxHome};

/// A registry of VirtualBox's and a directory of machines.
struct World {
    host: Host,
    registry: VirtualBoxHome,
}

impl World {
    /// `None`, said aloud, where there is no VirtualBox.
    fn new(name: &str) -> Option<World> {
        let registry = VirtualBoxHome::new(name)?;
        Some(World { host: host(&registry.command, &registry.directory), registry })
    }

    fn vbm(&self, words: &[&str]) -> String {
        self.registry.ask(words)
    }

    fn disk(&self, content: &str) -> Source {
        disk(&self.registry.directory, content)
    }

    fn base(&self, content: &str) -> (Identity, Identity) {
        let spec = spec("base", content, 512, &[]);
        let base = VirtualBox.register(&self.host, &spec, &self.disk(content)).unwrap();
        let golden = VirtualBox.snapshot(&self.host, &base, "golden").unwrap();
        (base, golden)
    }

    fn clone(&self, name: &str, golden: &Identity, memory: u64) -> Identity {
        clone(&self.host, name, golden, memory, self.host.replace)
    }

    /// As many at once as a build makes.
    fn clones(&self, names: &[String], golden: &Identity) -> Vec<Identity> {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let made = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some(name) = names.get(next.fetch_add(1, Ordering::SeqCst)) {
                        let clone = self.clone(name, golden, 640);
                        assert!(is_here(VirtualBox.find(&self.host, &clone).unwrap()), "{name}");
                        made.lock().unwrap().push(clone);
                    }
                });
            }
        });
        let mut made = made.into_inner().unwrap();
        made.sort_by(|a, b| a.machine.cmp(&b.machine));
        made
    }

    fn uuid(&self, name: &str) -> String {
        let vms = self.vbm(&["list", "vms"]);
        let line = vms.lines().find(|line| line.starts_with(&format!("\"{name}\" ")));
        line.unwrap_or_else(|| panic!("{name} in {vms}")).rsplit_once(' ').unwrap().1.to_string()
    }

    /// What VirtualBox knows and what lies in the directories, by name.
    fn state(&self) -> Vec<String> {
        let mut state: Vec<String> = self.vbm(&["list", "vms"]).lines().map(String::from).collect();
        let hdds = self.vbm(&["list", "hdds"]);
        state.extend(hdds.lines().filter(|line| line.starts_with("Location:")).map(hide_uuid));
        let find =
            Command::new("find").arg(self.host.machines.join("virtualbox")).output().unwrap();
        let found = String::from_utf8(find.stdout).unwrap();
        // VirtualBox keeps the settings before the last change.
        state.extend(found.lines().filter(|line| !line.ends_with("-prev")).map(hide_uuid));
        state.sort();
        state
    }
}

/// Disks of clones are called by random UUIDs.
fn hide_uuid(line: &str) -> String {
    match (line.find('{'), line.find('}')) {
        (Some(from), Some(to)) => format!("{}{{}}{}", &line[..from], &line[to + 1..]),
        _ => line.to_string(),
    }
}

fn host(command: &str, directory: &Path) -> Host {
    Host {
        machines: directory.join("machines"),
        drivers: kuth::machine::DRIVERS,
        commands: [("virtualbox".to_string(), command.to_string())].into(),
        run_state: Default::default(),
        journal: Some(directory.join("journal")),
        log: directory.join("log"),
        pipeline: "debian".into(),
        epoch: 1_767_225_600,
        replace: Replace::Never,
        cancel: Cancel::default(),
    }
}

fn disk(directory: &Path, content: &str) -> Source {
    let file = directory.join(format!("{content}.img"));
    let image = File::create(&file).unwrap();
    image.set_len(64 << 20).unwrap();
    image.write_all_at(content.as_bytes(), 1 << 20).unwrap();
    let digest = sparse::tree_hash(&File::open(&file).unwrap()).unwrap();
    Source::from(Disk { file, digest, size: Bytes::mib(64) })
}

fn spec(name: &str, seed: &str, memory: u64, disks: &[u64]) -> MachineSpec {
    let networks = ["nat", "internal:dmz", "host-only"].map(|it| it.parse().unwrap());
    let is_base = name.starts_with("base");
    MachineSpec {
        name: name.into(),
        origin: Digest::of(format!("{name} {seed} {memory}")),
        hardware: Hardware {
            architecture: "amd64".into(),
            cpus: 2,
            memory,
            firmware: Firmware::Bios,
            vram: 33,
            disks: disks.to_vec(),
            nics: if is_base { vec![] } else { Nic::all(name, &networks) },
            forwards: vec![],
        },
        user: Some("debian".into()),
    }
}

fn clone(host: &Host, name: &str, golden: &Identity, memory: u64, replace: Replace) -> Identity {
    let host = Host { replace, ..host.clone() };
    make_clone(&host, name, golden, memory, CopyMode::Linked)
}

fn make_clone(host: &Host, name: &str, golden: &Identity, memory: u64, copy: CopyMode) -> Identity {
    try_clone(host, name, golden, memory, copy).unwrap()
}

fn try_clone(
    host: &Host,
    name: &str,
    golden: &Identity,
    memory: u64,
    copy: CopyMode,
) -> kuth::error::Result<Identity> {
    let spec = spec(name, &golden.origin.to_string(), memory, &[500 << 30]);
    let template = Template { hostname: name.into(), user: "debian".into(), ..Template::default() };
    let seed = template.render(Secrets::Withheld).unwrap().iso(host.epoch).unwrap();
    let from = CloneSpec { snapshot: golden, copy, size: None, seed: &seed };
    VirtualBox.clone_snapshot(host, &spec, &from)
}

fn is_here(found: Location) -> bool {
    matches!(found, Location::Present(_))
}

#[test]
fn twelve_linked_clones_are_what_was_asked_for_and_nothing_is_done_twice() {
    let Some(world) = World::new("twelve") else { return };
    let (base, golden) = world.base("one");
    let names: Vec<String> = (1..=12).map(|n| format!("node{n:02}")).collect();
    std::fs::remove_file(&world.host.log).unwrap();
    let start = Instant::now();
    let clones = world.clones(&names, &golden);
    let took = start.elapsed();
    let log = std::fs::read_to_string(&world.host.log).unwrap();
    let commands = log.lines().filter(|line| line.starts_with("$ ")).count();
    // A measurement, not a test: how long this takes says as much of the machine.
    eprintln!("twelve linked clones: {:.1} s, {commands} commands", took.as_secs_f64());
    for name in &names {
        let info = world.vbm(&["showvminfo", &world.uuid(name), "--machinereadable"]);
        let mac = Nic::all(name, &["nat".parse().unwrap()])[0].mac.to_string().replace(':', "");
        for line in [
            "memory=640",
            "cpus=2",
            "vram=33",
            "nic1=\"nat\"",
            "nic2=\"intnet\"",
            "intnet2=\"dmz\"",
            "nic3=\"hostonly\"",
            "nic4=\"none\"",
            &format!("macaddress1=\"{}\"", mac.to_uppercase()),
        ] {
            assert!(info.lines().any(|it| it == line), "{line} of {name} in\n{info}");
        }
        assert!(info.contains(&format!("{name}/seed.iso")), "{info}");
        assert!(info.contains(&format!("{name}/disk1.vdi")), "{info}");
        assert!(info.contains("Forwarding(0)=\"ssh,tcp,127.0.0.1,"), "{info}");
    }

    // Again: only looks.
    std::fs::remove_file(&world.host.log).unwrap();
    for identity in clones.iter().chain([&base, &golden]) {
        assert!(is_here(VirtualBox.find(&world.host, identity).unwrap()), "{identity:?}");
    }
    let log = std::fs::read_to_string(&world.host.log).unwrap_or_default();
    let asked: Vec<&str> = log.lines().filter(|line| line.starts_with("$ ")).collect();
    assert!(asked.iter().all(|line| line.ends_with("list vms")), "{asked:?}");
    assert!(asked.len() <= 3, "{asked:?}");

    // One machine of another memory: only that one changes.
    let before = world.state();
    let changed = world.clone("node03", &golden, 768);
    assert_ne!(changed, clones[2]);
    let info = world.vbm(&["showvminfo", &world.uuid("node03"), "--machinereadable"]);
    assert!(info.contains("memory=768"));
    let others = |state: Vec<String>| -> Vec<String> {
        state.into_iter().filter(|line| !line.contains("node03")).collect()
    };
    assert_eq!(others(before), others(world.state()));
    assert!(matches!(VirtualBox.find(&world.host, &clones[2]).unwrap(), Location::Replaced(_)));

    // One that somebody deleted is noticed and made again.
    world.vbm(&["unregistervm", &world.uuid("node05"), "--delete"]);
    // The list of machines may be a moment old.
    let start = Instant::now();
    while is_here(VirtualBox.find(&world.host, &clones[4]).unwrap()) {
        assert!(start.elapsed() < Duration::from_secs(60), "it is not noticed");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(matches!(VirtualBox.find(&world.host, &clones[4]).unwrap(), Location::Missing(_)));
    world.clone("node05", &golden, 640);
    assert!(is_here(VirtualBox.find(&world.host, &clones[4]).unwrap()));

    // One that somebody changed too.
    world.vbm(&["modifyvm", &world.uuid("node06"), "--memory", "100"]);
    let Location::Missing(why) = VirtualBox.find(&world.host, &clones[5]).unwrap() else {
        panic!()
    };
    assert_eq!(why, "it was changed: memory is 100, not 640");
    world.clone("node06", &golden, 640);
    assert!(is_here(VirtualBox.find(&world.host, &clones[5]).unwrap()));

    // A disk that went is noticed without asking VirtualBox.
    let disk = world.host.machines.join("virtualbox/node07/disk1.vdi");
    std::fs::remove_file(&disk).unwrap();
    let Location::Missing(why) = VirtualBox.find(&world.host, &clones[6]).unwrap() else {
        panic!()
    };
    assert_eq!(why, format!("{} is gone", disk.display()));
    world.clone("node07", &golden, 640);
    assert!(is_here(VirtualBox.find(&world.host, &clones[6]).unwrap()));

    // What others rest on stays.
    let error = VirtualBox.remove(&world.host, "base").unwrap_err().to_string();
    assert!(error.starts_with("the machine `base` has clones: node01, node02"), "{error}");
    for name in &names {
        VirtualBox.remove(&world.host, name).unwrap();
    }
    VirtualBox.remove(&world.host, "base").unwrap();
    assert_eq!(world.vbm(&["list", "vms"]) + &world.vbm(&["list", "hdds"]), "");
}

#[test]
fn a_changed_base_leaves_old_clones_working_until_they_are_gone() {
    let Some(world) = World::new("generations") else { return };
    let (_, golden) = world.base("one");
    world.clone("old", &golden, 640);
    let (_, newer) = world.base("two");
    world.clone("new", &newer, 640);
    let listed = VirtualBox.list(&world.host).unwrap();
    let names: Vec<&str> = listed.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.iter().any(|name| name.starts_with("base-")), "{names:?}");
    let info = world.vbm(&["showvminfo", &world.uuid("old"), "--machinereadable"]);
    // `aborted` is what VirtualBox says of a machine whose settings were open when its server ended.
    let states = ["poweroff", "aborted"].map(|state| format!("VMState=\"{state}\""));
    assert!(states.iter().any(|state| info.contains(state)), "{info}");
    assert!(!world.vbm(&["list", "hdds"]).contains("inaccessible"));
    assert_eq!(VirtualBox.clean(&world.host).unwrap(), []);
    VirtualBox.remove(&world.host, "old").unwrap();
    assert_eq!(VirtualBox.clean(&world.host).unwrap().len(), 1);
    let listed = VirtualBox.list(&world.host).unwrap();
    assert_eq!(listed.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["base", "new"]);
}

#[test]
fn a_machine_with_state_stays_until_replacing_is_asked_for() {
    let Some(world) = World::new("state") else { return };
    let (_, golden) = world.base("one");
    let first = world.clone("web", &golden, 640);
    // Without VirtualBox's kernel driver nothing starts here; a start leaves this log.
    let logs = world.host.machines.join("virtualbox/web/Logs");
    std::fs::create_dir_all(&logs).unwrap();
    std::fs::write(logs.join("VBox.log"), "started").unwrap();
    assert!(is_here(VirtualBox.find(&world.host, &first).unwrap()));
    assert_eq!(VirtualBox.list(&world.host).unwrap()[1].state, State::Used);
    let second = world.clone("web", &golden, 768);
    let Location::Retained(_, why) = VirtualBox.find(&world.host, &second).unwrap() else {
        panic!()
    };
    assert!(why.contains("it has been started") && why.contains("--replace"), "{why}");
    let info = |world: &World| world.vbm(&["showvminfo", &world.uuid("web"), "--machinereadable"]);
    assert!(info(&world).contains("memory=640"));
    let always = Host { replace: Replace::Always, ..world.host.clone() };
    let Location::Missing(why) = VirtualBox.find(&always, &second).unwrap() else { panic!() };
    assert!(why.contains("replacing was asked for"), "{why}");
    let third = clone(&world.host, "web", &golden, 768, Replace::Always);
    assert_eq!(third, second);
    assert!(info(&world).contains("memory=768"));
    assert!(is_here(VirtualBox.find(&world.host, &third).unwrap()));
}

#[test]
fn what_kuth_did_not_make_is_never_touched() {
    let Some(world) = World::new("foreign") else { return };
    let directory = world.registry.directory.join("theirs");
    let directory = directory.to_str().unwrap();
    world.vbm(&["createvm", "--name", "base", "--basefolder", directory, "--register"]);
    world.vbm(&["storagectl", "base", "--name", "Disks of mine", "--add", "sata"]);
    let disk = format!("{directory}/base/mine.vdi");
    world.vbm(&["createmedium", "disk", "--filename", &disk, "--size", "64"]);
    let place = ["--storagectl", "Disks of mine", "--port", "0", "--device", "0"];
    let medium = ["--type", "hdd", "--medium", &disk];
    world.vbm(&[&["storageattach", "base"], &place[..], &medium[..]].concat());
    let spec = spec("base", "one", 512, &[]);
    let error = VirtualBox.register(&world.host, &spec, &world.disk("one")).unwrap_err();
    let text = "VirtualBox has a machine `base` already, and kuth did not make it";
    assert_eq!(error.to_string(), text);
    assert!(VirtualBox.remove(&world.host, "base").is_err());
    let theirs = VirtualBox.base(&world.host, "base").unwrap().unwrap();
    assert_eq!(theirs.owner, Owner::Other);
    let copied = make_clone(&world.host, "copy", &theirs.identity, 640, CopyMode::Full);
    assert!(is_here(VirtualBox.find(&world.host, &copied).unwrap()));
    VirtualBox.remove(&world.host, "copy").unwrap();
    assert_eq!(VirtualBox.list(&world.host).unwrap(), []);
    assert!(Path::new(directory).join("base/base.vbox").exists());
}

#[test]
fn replacing_gives_up_no_files_of_others() {
    let Some(world) = World::new("strangers") else { return };
    let (_, golden) = world.base("one");
    let always = Host { replace: Replace::Always, ..world.host.clone() };
    let directory = world.host.machines.join("virtualbox");
    let memory = |name: &str| {
        let info = world.vbm(&["showvminfo", &world.uuid(name), "--machinereadable"]);
        info.lines().find(|line| line.starts_with("memory=")).unwrap().to_string()
    };
    // A disk of somebody's: at `port` of the machine, if it is to be in it.
    let disk = |file: &Path, name: &str| {
        let file = file.to_str().unwrap();
        world.vbm(&["createmedium", "disk", "--filename", file, "--size", "8"]);
        let place = ["--storagectl", "SATA", "--port", "3", "--device", "0"];
        let medium = ["--type", "hdd", "--medium", file];
        world.vbm(&[&["storageattach", name], &place[..], &medium[..]].concat());
    };
    let refuses = |name: &str, why: &str| {
        let error = try_clone(&always, name, &golden, 768, CopyMode::Linked).unwrap_err();
        assert!(format!("{error:#}").contains(why), "{error:#}");
        let error = VirtualBox.remove(&always, name).unwrap_err();
        assert!(format!("{error:#}").contains(why), "{error:#}");
        assert_eq!(memory(name), "memory=640");
    };

    // Files in the machine's directory, and below.
    world.clone("files", &golden, 640);
    for (file, told) in [
        ("notes.txt", "notes.txt"),
        ("Snapshots/mine.vdi", "Snapshots/mine.vdi"),
        ("Logs/notes.txt", "Logs/notes.txt"),
    ] {
        let path = directory.join("files").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "mine").unwrap();
        refuses("files", &format!("files kuth did not make: {told}"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        std::fs::remove_file(&path).unwrap();
    }
    let _ = std::fs::remove_dir(directory.join("files/Logs"));

    // A disk in the directory, in use by the machine.
    world.clone("inside", &golden, 640);
    let inside = directory.join("inside/mine.vdi");
    disk(&inside, "inside");
    refuses("inside", "files kuth did not make: mine.vdi");
    assert!(inside.exists());

    // A disk elsewhere, that a snapshot of somebody's holds: VirtualBox would delete it.
    world.clone("held", &golden, 640);
    let held = world.registry.directory.join("held.vdi");
    disk(&held, "held");
    world.vbm(&["snapshot", "held", "take", "mine"]);
    refuses("held", &format!("holds a disk kuth did not make: {}", held.display()));
    assert!(held.exists());

    // One elsewhere that is only attached stays when the machine goes.
    world.clone("beside", &golden, 640);
    let beside = world.registry.directory.join("beside.vdi");
    disk(&beside, "beside");
    std::fs::create_dir_all(directory.join("beside/Logs")).unwrap();
    std::fs::write(directory.join("beside/Logs/VBox.log"), "started").unwrap();
    try_clone(&always, "beside", &golden, 768, CopyMode::Linked).unwrap();
    assert_eq!(memory("beside"), "memory=768");
    assert!(beside.exists());
    assert!(world.vbm(&["list", "hdds"]).contains(beside.to_str().unwrap()));

    // A directory under the name of a machine that VirtualBox does not know.
    for file in ["theirs/theirs.vdi", "theirs/Snapshots/old.vdi"] {
        let path = directory.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "mine").unwrap();
        let error = try_clone(&always, "theirs", &golden, 768, CopyMode::Linked).unwrap_err();
        assert!(error.to_string().ends_with("theirs is there already, and kuth did not make it"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    // A base with such files gives its name away.
    std::fs::write(directory.join("base/notes.txt"), "mine").unwrap();
    let newer = spec("base", "two", 512, &[]);
    VirtualBox.register(&always, &newer, &world.disk("two")).unwrap();
    let find = Command::new("find").arg(&directory).args(["-name", "notes.txt"]).output().unwrap();
    assert_eq!(String::from_utf8(find.stdout).unwrap().lines().count(), 1);
}

const CHILD: &str = "KUTH_TEST_VIRTUALBOX_CHILD";

/// Runs in a process of its own, which the next test starts and kills.
#[test]
#[ignore = "the child of `a_kill_at_any_point_is_mended_by_the_next_build`, which starts it"]
fn child() {
    let name = std::env::var(CHILD).expect("it is started by another test");
    let (command, directory) = virtualbox::named(&name).unwrap();
    build(&host(&command, &directory), &directory);
}

/// Recovers, registers, takes a snapshot and makes two clones at once.
fn build(host: &Host, directory: &Path) -> [Identity; 4] {
    for name in ["base", "web", "app"] {
        journal::recover(host, "virtualbox", name).unwrap();
    }
    let spec = spec("base", "one", 512, &[]);
    let base = VirtualBox.register(host, &spec, &disk(directory, "one")).unwrap();
    let golden = VirtualBox.snapshot(host, &base, "golden").unwrap();
    let make = |name| clone(host, name, &golden, 640, Replace::Never);
    let (web, app) = std::thread::scope(|scope| {
        let web = scope.spawn(|| make("web"));
        (make("app"), web.join().unwrap())
    });
    [base, golden, web, app]
}

#[test]
fn a_kill_at_any_point_is_mended_by_the_next_build() {
    let Some(world) = World::new("kill") else { return };
    build(&world.host, &world.registry.directory);
    let commands = || {
        let log = std::fs::read_to_string(&world.host.log).unwrap_or_default();
        log.lines().filter(|line| line.starts_with("$ ")).count()
    };
    let whole = commands();
    assert!(whole > 20, "{whole} commands");
    let clean = world.state();
    for round in 0..20 {
        for name in ["web", "app", "base"] {
            VirtualBox.remove(&world.host, name).unwrap();
        }
        let _ = std::fs::remove_file(&world.host.log);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "child"])
            .env(CHILD, "kill")
            .env(virtualbox::RUN, std::process::id().to_string())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Somewhere in the command of this number.
        while commands() < whole * (round + 1) / 20 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let identities = build(&world.host, &world.registry.directory);
        for identity in &identities {
            assert!(is_here(VirtualBox.find(&world.host, identity).unwrap()), "round {round}");
        }
        assert_eq!(world.state(), clean, "round {round}");
    }
}
