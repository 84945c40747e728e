//! Tests of the journal: what it keeps, whom an entry concerns, and what is never lost by it.

use super::*;
use crate::cancel::Cancel;
use crate::machine::{Replace, host_at};

struct World {
    directory: tempfile::TempDir,
    host: Host,
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let host = Host {
            journal: Some(path.join("journal")),
            replace: Replace::Never,
            ..host_at(
                &path.join("machines"),
                [("virtualbox".into(), path.join("no/VBoxManage").display().to_string())].into(),
                Cancel::default(),
            )
        };
        std::fs::create_dir(path.join("journal")).unwrap();
        World { directory, host }
    }

    fn entry(&self, driver: &str, machine: &str) -> Entry {
        Entry {
            driver: driver.into(),
            action: "clone".into(),
            machine: machine.into(),
            origin: Digest([1; 32]),
            machines: self.host.machines.clone(),
        }
    }

    /// Writes the entry down as a killed run would leave it.
    fn leave(&self, entry: &Entry) -> PathBuf {
        entry.open(self.host.journal.as_deref()).unwrap().path.unwrap()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.directory.path().join("journal").join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn files(&self) -> Vec<JournalFile> {
        files(self.host.journal.as_deref().unwrap()).unwrap()
    }
}

#[test]
fn an_entry_stands_until_it_is_done() {
    let world = World::new();
    let entry = world.entry("qemu", "a");
    let open = entry.open(world.host.journal.as_deref()).unwrap();
    let left = world.files();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].content, Content::Entry(entry));
    open.done().unwrap();
    assert_eq!(world.files(), []);
    assert_eq!(files(&world.directory.path().join("none")).unwrap(), []);
}

#[test]
fn an_entry_concerns_one_machine_of_one_driver_in_one_directory() {
    let world = World::new();
    let path = world.leave(&world.entry("virtualbox", "web"));
    let elsewhere = Host { machines: world.directory.path().join("others"), ..world.host.clone() };
    for (host, driver, machine) in [
        (&world.host, "qemu", "web"),
        (&world.host, "virtualbox", "web-1"),
        (&world.host, "virtualbox", "we"),
        (&elsewhere, "virtualbox", "web"),
    ] {
        assert_eq!(recover(host, driver, machine).unwrap(), 0, "{driver} {machine}");
        let plain = explain(anyhow!("no"), host, driver, machine);
        assert_eq!(format!("{plain:#}"), "no");
    }
    let error = recover(&world.host, "virtualbox", "web").unwrap_err();
    let reported = format!("{error:#}");
    for part in ["finishing the `clone` of the machine `web` (virtualbox", "no/VBoxManage"] {
        assert!(reported.contains(part), "{part}: {reported}");
    }
    let hint = "give it up: `kuth machine doctor --drop web`";
    assert!(crate::error::hints(&error).concat().contains(hint), "{error:?}");
    let why = explain(anyhow!("it is gone"), &world.host, "virtualbox", "web");
    assert!(format!("{why:#}").contains("`clone` of the machine `web`"), "{why:#}");
    assert!(crate::error::hints(&why).concat().contains(hint), "{why:?}");
    assert!(path.exists());
    // The same directory by another way.
    std::fs::create_dir_all(&world.host.machines).unwrap();
    std::os::unix::fs::symlink(&world.host.machines, world.directory.path().join("link")).unwrap();
    let link = Host { machines: world.directory.path().join("link"), ..world.host.clone() };
    assert!(recover(&link, "virtualbox", "web").is_err());
}

#[test]
fn a_torn_entry_is_struck_out_by_whom_it_concerns() {
    let world = World::new();
    let whole = std::fs::read(world.leave(&world.entry("qemu", "web-1"))).unwrap();
    let torn = [&whole[..0], &whole[..whole.len() / 2], &whole[..whole.len() - 1], &[0; 64][..]];
    for bytes in torn {
        world.write("qemu-web-1-010101010101.json", bytes);
        assert_eq!(world.files()[0].content, Content::Torn, "{bytes:?}");
        assert_eq!(world.files()[0].obstacle(&world.host), None);
        // `1-0101...` is not an origin.
        assert_eq!(recover(&world.host, "qemu", "web").unwrap(), 0);
        assert_eq!(recover(&world.host, "qemu", "web-1").unwrap(), 1);
        assert_eq!(world.files(), []);
    }
}

#[test]
fn what_this_kuth_does_not_understand_stays_and_says_why() {
    let world = World::new();
    let (driver, action) = (world.entry("hyperv", "web"), world.entry("qemu", "web"));
    world.leave(&driver);
    world.leave(&Entry { action: "resize".into(), ..action });
    world.write("qemu-app-0.json", b"{\"version\": 2}");
    world.write("qemu-bad-0.json", b"\xff\xfe garbage");
    let climbing = Entry { machine: "../../x".into(), ..world.entry("qemu", "web") };
    world.write("qemu-climbs-0.json", &serde_json::to_vec(&climbing).unwrap());
    std::fs::create_dir(world.directory.path().join("journal/qemu-directory-0.json")).unwrap();
    for (machine, reported) in [
        ("web", "this kuth does not know the action `resize`"),
        ("app", "missing field `driver`"),
        ("bad", "expected value"),
        ("climbs", "`../../x` is not a machine's name"),
        ("directory", "Is a directory"),
    ] {
        let error = recover(&world.host, "qemu", machine).unwrap_err();
        assert!(format!("{error:#}").contains(reported), "{machine}: {error:#}");
        assert!(crate::error::hints(&error).concat().contains("doctor --drop"), "{machine}");
    }
    let left = world.files();
    assert_eq!(left.len(), 6);
    for file in &left {
        assert!(file.obstacle(&world.host).is_some(), "{file}");
        assert!(file.finish(&world.host).is_err(), "{file}");
    }
    let names: Vec<String> = left.iter().map(JournalFile::name).collect();
    let expected = [
        "web",
        "qemu-app-0.json",
        "qemu-bad-0.json",
        "qemu-climbs-0.json",
        "qemu-directory-0.json",
        "web",
    ];
    assert_eq!(names, expected);
    assert_eq!(left[0].obstacle(&world.host).unwrap(), "this kuth has no driver `hyperv`");
    assert!(
        left[0].remains(&world.host).starts_with("what `hyperv` had made of the machine `web`")
    );
    assert_eq!(world.files().len(), 6, "all stay");
}

#[test]
fn a_directory_of_machines_that_is_not_here_has_nothing_to_finish() {
    let world = World::new();
    let there = world.directory.path().join("gone/machines");
    world.leave(&Entry { machines: there.clone(), ..world.entry("qemu", "web") });
    let file = world.files().remove(0);
    assert_eq!(file.obstacle(&world.host), None);
    file.finish(&world.host).unwrap();
    assert_eq!(world.files(), []);
    assert!(!there.exists(), "a look makes no directory");
}
