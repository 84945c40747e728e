//! What every driver keeps, whatever its machines are: the same cases against each row. The real
//! VirtualBox is one of them where `KUTH_TEST_VIRTUALBOX` names a directory that
//! scripts/virtualbox made.

use std::path::PathBuf;

use super::*;
use crate::digest::Digest;
use crate::error::hints;
use crate::format::iso9660::{File, Volume};
use crate::units::Bytes;

/// A driver under test.
struct Case {
    row: &'static Row,
    host: Host,
    /// Uses a machine that is off, so that it holds state.
    use_it: fn(&Host, &str),
    /// Takes a file away that a machine cannot do without.
    damage: fn(&Host, &str),
    /// Whether it can start machines here.
    starts: bool,
    _directory: tempfile::TempDir,
}

static ROWS: &[Row] = &[
    Row { name: "virtualbox", driver: &VirtualBox },
    Row { name: "qemu", driver: &Qemu },
    Row { name: "memory", driver: &memory::Memory },
];

fn host(machines: PathBuf, commands: BTreeMap<String, String>) -> Host {
    let journal = Some(machines.join("../journal"));
    let host = host_at(&machines, commands, Cancel::default());
    Host { drivers: ROWS, journal, pipeline: "demo".into(), ..host }
}

/// Every driver, with a place of its own.
fn cases() -> Vec<Case> {
    let embedded = {
        let directory = tempfile::tempdir().unwrap();
        Case {
            row: &ROWS[1],
            host: host(directory.path().join("machines"), BTreeMap::new()),
            use_it: |host, name| {
                std::fs::write(host.machines.join(name).join("started"), "").unwrap();
            },
            damage: |host, name| {
                std::fs::remove_file(host.machines.join(name).join("run")).unwrap();
            },
            starts: false,
            _directory: directory,
        }
    };
    let in_memory = {
        let directory = tempfile::tempdir().unwrap();
        Case {
            row: &ROWS[2],
            host: host(directory.path().join("machines"), BTreeMap::new()),
            use_it: memory::use_it,
            damage: memory::damage,
            starts: true,
            _directory: directory,
        }
    };
    let fake = {
        let directory = super::virtualbox::fake("7.2.22_Debianr175245");
        let command = directory.path().join("VBoxManage").display().to_string();
        let machines = directory.path().join("machines");
        virtualbox_case(host(machines, [("virtualbox".into(), command)].into()), true, directory)
    };
    [embedded, in_memory, fake].into_iter().chain(real()).collect()
}

fn virtualbox_case(host: Host, starts: bool, directory: tempfile::TempDir) -> Case {
    Case {
        row: &ROWS[0],
        host,
        use_it: |host, name| {
            let logs = host.machines.join("virtualbox").join(name).join("Logs");
            std::fs::create_dir_all(&logs).unwrap();
            std::fs::write(logs.join("VBox.log"), "").unwrap();
        },
        damage: |host, name| {
            std::fs::remove_file(host.machines.join("virtualbox").join(name).join("seed.iso"))
                .unwrap();
        },
        starts,
        _directory: directory,
    }
}

/// The real VirtualBox, in a configuration of its own. Machines cannot be started there without its
/// kernel module.
fn real() -> Option<Case> {
    let virtualbox = PathBuf::from(std::env::var_os("KUTH_TEST_VIRTUALBOX")?);
    let directory = tempfile::tempdir_in(virtualbox.join("work")).unwrap();
    let home = directory.path();
    let id = home.file_name().unwrap().to_string_lossy().into_owned();
    let command = format!(
        "env VBOX_USER_HOME={} VBOX_IPC_SOCKETID=kuth{id} {}",
        home.join("home").display(),
        virtualbox.join("VBoxManage").display()
    );
    let host = host(home.join("machines"), [("virtualbox".into(), command)].into());
    Some(virtualbox_case(host, false, directory))
}

impl Case {
    fn driver(&self) -> &'static dyn Hypervisor {
        self.row.driver
    }

    fn register(&self, host: &Host, origin: &str) -> Result<Identity> {
        let file = self._directory.path().join("disk.img");
        std::fs::write(&file, vec![1; 1 << 20]).unwrap();
        let disk = Disk { file, digest: Digest([1; 32]), size: Bytes::mib(1) };
        self.driver().register(host, &spec("base", origin), &Source::from(disk))
    }

    fn clone(&self, host: &Host, origin: &str) -> Result<Identity> {
        self.clone_of_size(host, origin, CopyMode::Linked, None)
    }

    /// The same as a copy of this kind, with another size of its first disk.
    fn clone_of_size(
        &self,
        host: &Host,
        origin: &str,
        copy: CopyMode,
        size: Option<Bytes>,
    ) -> Result<Identity> {
        let base = self.register(&self.host, "base")?;
        let golden = self.driver().snapshot(&self.host, &base, "golden")?;
        // VirtualBox attaches nothing but a real ISO image.
        let file = File { path: "user-data".to_string(), bytes: b"#cloud-config\n".to_vec() };
        let volume = Volume { label: "cidata".to_string(), time: 0, files: vec![file] };
        let seed = volume.write().unwrap();
        let from = CloneSpec { snapshot: &golden, copy, size, seed: &seed };
        self.driver().clone_snapshot(host, &spec("web", origin), &from)
    }

    fn find(&self, host: &Host, identity: &Identity) -> Location {
        self.driver().find(host, identity).unwrap()
    }

    fn names(&self) -> Vec<String> {
        self.driver().list(&self.host).unwrap().into_iter().map(|it| it.name).collect()
    }

    fn left_in_journal(&self) -> usize {
        journal::files(self.host.journal.as_ref().unwrap()).unwrap().len()
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
            nics: Nic::all(name, &["nat".parse().unwrap()]),
            forwards: vec![],
        },
        user: Some("debian".into()),
    }
}

fn is_present(location: &Location) -> bool {
    matches!(location, Location::Present(_))
}

#[test]
fn machines_are_made_found_and_removed() {
    for case in cases() {
        let (driver, host) = (case.driver(), &case.host);
        assert_eq!(driver.name(), case.row.name);
        assert_eq!(driver.unavailable(host), None, "{:?}", case.row);
        assert_eq!(choose(case.row.name, host).unwrap().name, case.row.name);
        let web = case.clone(host, "one").unwrap();
        assert_eq!(web.driver, case.row.name);
        assert_eq!(case.names(), ["base", "web"], "{:?}", case.row);
        let base = driver.base(host, "base").unwrap().unwrap();
        assert_eq!(base.owner, Owner::Kuth);
        assert_eq!(driver.base(host, "none").unwrap(), None);
        let golden = driver.snapshot(host, &base.identity, "golden").unwrap();
        for made in [&web, &golden] {
            assert!(is_present(&case.find(host, made)), "{:?} {made:?}", case.row);
        }
        // Made twice, the second time changes nothing.
        assert_eq!(case.clone(host, "one").unwrap(), web);
        let other = Identity { snapshot: Some("other".into()), ..golden.clone() };
        let missing = Location::Missing("the snapshot is not there".into());
        assert_eq!(case.find(host, &other), missing, "{:?}", case.row);
        let listed = driver.list(host).unwrap();
        assert_eq!(listed[0].snapshots, ["golden"]);
        assert_eq!(listed[1].cloned_from.as_deref(), Some("base"));
        assert_eq!(listed[1].state, State::Ready, "{:?}", listed[1]);

        let error = driver.remove(host, "base").unwrap_err();
        assert_eq!(error.to_string(), "the machine `base` has clones: web");
        assert_eq!(hints(&error), ["remove them first: `kuth machine remove web`"]);
        driver.remove(host, "web").unwrap();
        driver.remove(host, "base").unwrap();
        assert!(driver.remove(host, "base").is_err());
        let missing = Location::Missing("the machine is not there".into());
        assert_eq!(case.find(host, &web), missing, "{:?}", case.row);
        assert_eq!(case.names(), [""; 0]);
        let error = driver.snapshot(host, &base.identity, "golden").unwrap_err();
        assert_eq!(error.to_string(), "the machine `base` is no longer there", "{:?}", case.row);
    }
}

/// The disk of the base has 1 MiB.
#[test]
fn the_first_disk_of_a_clone_is_never_smaller_than_its_base() {
    for case in cases().into_iter().filter(|case| case.row.name != "memory") {
        let clone =
            |origin: &str, copy, size| case.clone_of_size(&case.host, origin, copy, Some(size));
        let (linked, full) = (CopyMode::Linked, CopyMode::Full);
        for (origin, copy, size) in [("one", full, Bytes::mib(3)), ("two", linked, Bytes::mib(1))] {
            let web = clone(origin, copy, size).unwrap();
            assert!(is_present(&case.find(&case.host, &web)), "{:?} {size}", case.row);
        }
        for copy in [linked, full] {
            let error = clone("three", copy, Bytes(1 << 19)).unwrap_err();
            let said = "the disk of `web` is to have 512 KiB, less than the 1 MiB of its base";
            assert_eq!(error.root_cause().to_string(), said, "{:?}", case.row);
            let hint = "write at least \"1 MiB\", or make the disk of the base smaller";
            assert_eq!(hints(&error), [hint], "{:?}", case.row);
        }
        match (case.row.name, clone("four", linked, Bytes::mib(3))) {
            ("virtualbox", Err(error)) => {
                let said =
                    "VirtualBox gives the linked clone `web` no larger disk than its base has";
                assert_eq!(error.root_cause().to_string(), said);
                assert!(hints(&error)[0].contains("`linked = false`"), "{error:?}");
                assert_eq!(case.names(), ["base", "web"], "what was there stays");
            }
            ("qemu", Ok(_)) => {}
            (driver, made) => panic!("{driver}: {made:?}"),
        }
    }
}

#[test]
fn a_machine_of_another_recipe_is_replaced_unless_it_holds_state() {
    for case in cases() {
        let (driver, host) = (case.driver(), &case.host);
        let one = case.clone(host, "one").unwrap();
        // Without state: replaced.
        let two = Identity { origin: Digest::of("two"), ..one.clone() };
        let replaced = Location::Replaced("it was made from another recipe".into());
        assert_eq!(case.find(host, &two), replaced, "{:?}", case.row);
        assert_eq!(case.clone(host, "two").unwrap(), two);
        assert!(is_present(&case.find(host, &two)));
        // With state: it stays, and says why.
        (case.use_it)(host, "web");
        assert_eq!(driver.list(host).unwrap()[1].state, State::Used, "{:?}", case.row);
        assert_eq!(case.clone(host, "one").unwrap(), one);
        let Location::Retained(_, why) = case.find(host, &one) else {
            panic!("{:?}: {:?}", case.row, case.find(host, &one))
        };
        let expected = "made from another recipe, but it has been started, so it stays; \
                        `--replace` would replace it";
        assert_eq!(why, expected, "{:?}", case.row);
        assert!(is_present(&case.find(host, &two)));
        // Unless that is asked for.
        let always = Host { replace: Replace::Always, ..host.clone() };
        let asked = "it was made from another recipe, and replacing was asked for";
        assert_eq!(case.find(&always, &one), Location::Missing(asked.into()), "{:?}", case.row);
        assert_eq!(case.clone(&always, "one").unwrap(), one);
        assert!(is_present(&case.find(host, &one)), "{:?}", case.row);
        // Another pipeline's is not replaced at all.
        let stranger = Host { pipeline: "other".into(), ..always.clone() };
        let error = case.clone(&stranger, "three").unwrap_err();
        let text = "the machine `web` is there already, made by the pipeline `demo`";
        assert_eq!(error.to_string(), text, "{:?}", case.row);
        assert!(is_present(&case.find(host, &one)));
    }
}

#[test]
fn a_damaged_machine_is_made_again_unless_it_holds_state() {
    for case in cases() {
        let host = &case.host;
        let one = case.clone(host, "one").unwrap();
        (case.damage)(host, "web");
        assert!(matches!(case.find(host, &one), Location::Missing(_)), "{:?}", case.row);
        assert_eq!(case.clone(host, "one").unwrap(), one);
        assert!(is_present(&case.find(host, &one)), "{:?}", case.row);

        (case.use_it)(host, "web");
        (case.damage)(host, "web");
        let error = case.clone(host, "one").unwrap_err();
        let (text, why) = (format!("{error:#}"), "is gone; and it has been started");
        assert!(text.starts_with("the machine `web` is not whole: "), "{text}");
        assert!(text.ends_with(why), "{text}");
        let hint = "put the file back, or give its state up with `--replace`";
        assert_eq!(hints(&error), [hint], "{:?}", case.row);
        let always = Host { replace: Replace::Always, ..host.clone() };
        assert_eq!(case.clone(&always, "one").unwrap(), one);
        assert!(is_present(&case.find(host, &one)), "{:?}", case.row);
    }
}

#[test]
fn a_running_machine_is_neither_replaced_nor_removed() {
    for case in cases().into_iter().filter(|case| case.starts) {
        let (driver, host) = (case.driver(), &case.host);
        let one = case.clone(host, "one").unwrap();
        assert_eq!(driver.stop(host, "web").unwrap(), Stopped::Already);
        assert_eq!(driver.start(host, "web").unwrap().state, State::Running);
        let always = Host { replace: Replace::Always, ..host.clone() };
        let error = case.clone(&always, "two").unwrap_err();
        let text = "the machine `web` is running, so it is not replaced";
        assert_eq!(error.to_string(), text, "{:?}", case.row);
        let two = Identity { origin: Digest::of("two"), ..one.clone() };
        let Location::Retained(_, why) = case.find(host, &two) else { panic!("{:?}", case.row) };
        assert!(why.ends_with("`--replace` would replace it once it is stopped"), "{why}");
        let error = driver.remove(host, "web").unwrap_err();
        assert_eq!(error.to_string(), "the machine `web` is running");
        assert_eq!(hints(&error), ["stop it first: `kuth machine stop web`"]);
        assert_eq!(driver.stop(host, "web").unwrap(), Stopped::PoweredOff);
        driver.remove(host, "web").unwrap();
        assert_eq!(case.names(), ["base"]);
    }
}

#[test]
fn what_is_begun_is_journalled_until_it_is_done() {
    for case in cases() {
        let host = &case.host;
        let one = case.clone(host, "one").unwrap();
        assert_eq!(case.left_in_journal(), 0, "{:?}", case.row);
        // Refused after it was begun, it stays in the journal until somebody attends to it.
        let stranger = Host { pipeline: "other".into(), ..host.clone() };
        case.clone(&stranger, "two").unwrap_err();
        assert_eq!(case.left_in_journal(), 1, "{:?}", case.row);
        assert_eq!(journal::recover(host, case.row.name, "other").unwrap(), 0);
        assert_eq!(journal::recover(host, case.row.name, "web").unwrap(), 1);
        assert_eq!(case.left_in_journal(), 0);
        assert!(is_present(&case.find(host, &one)), "{:?}", case.row);
        assert_eq!(case.names(), ["base", "web"]);
    }
}

#[test]
fn a_driver_is_found_by_name_or_chosen() {
    let commands = BTreeMap::from([("virtualbox".to_string(), "/none/VBoxManage".to_string())]);
    let host = host_at("/m".as_ref(), commands, Cancel::default());
    let name = |word| choose(word, &host).map(|row| row.name);
    assert_eq!(name("auto").unwrap(), "qemu");
    assert_eq!(name("qemu").unwrap(), "qemu");
    let error = name("virtualbox").unwrap_err();
    let why = "the driver `virtualbox` cannot be used here: starting /none/VBoxManage --version: ";
    assert!(error.to_string().starts_with(why), "{error}");
    assert_eq!(name("memory").unwrap_err().to_string(), "this kuth has no driver `memory`");
    assert!(DRIVERS.iter().map(|row| row.name).eq(DRIVER_WORDS[1..].iter().copied()));
}
