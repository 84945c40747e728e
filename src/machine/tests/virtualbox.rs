//! The driver against a VBoxManage that only keeps books, for what the real one cannot show here:
//! see tests/virtualbox_fake. What VirtualBox itself does, tests/virtualbox.rs checks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::digest::Digest;
use crate::host_network::{self, Adapters};
use crate::units::Bytes;
use crate::virtualbox::adapters::HostOnly;
use crate::virtualbox::config::Config;
use crate::virtualbox::record;

const FAKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/virtualbox_fake");

/// A VirtualBox of some version.
struct World {
    directory: tempfile::TempDir,
    host: Host,
}

/// A directory with a VBoxManage of some version.
pub fn fake(version: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    std::fs::copy(format!("{FAKE}/VBoxManage"), path.join("VBoxManage")).unwrap();
    let options = if version.starts_with('6') { "6.1" } else { "7.0" };
    std::fs::copy(format!("{FAKE}/modifyvm-{options}"), path.join("modifyvm")).unwrap();
    std::fs::write(path.join("version"), version).unwrap();
    let adapters = "Name:            vboxnet3\nIPAddress:       192.168.56.1\n";
    std::fs::write(path.join("adapters"), adapters).unwrap();
    std::fs::create_dir(path.join("vms")).unwrap();
    directory
}

impl World {
    fn new(version: &str) -> World {
        let directory = fake(version);
        let path = directory.path();
        let command = path.join("VBoxManage").display().to_string();
        let commands = [("virtualbox".to_string(), command)].into();
        let host = Host {
            journal: Some(path.join("journal")),
            pipeline: "demo".into(),
            ..host_at(&path.join("machines"), commands, Cancel::default())
        };
        World { directory, host }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The commands since this was last asked that begin with `word`.
    fn commands(&self, word: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("commands")).unwrap_or_default();
        let _ = std::fs::remove_file(self.path("commands"));
        text.lines().filter(|line| line.starts_with(word)).map(String::from).collect()
    }

    fn base(&self) -> Identity {
        let file = self.path("disk.img");
        std::fs::write(&file, vec![1; 1 << 20]).unwrap();
        let disk = Disk { file, digest: Digest([1; 32]), size: Bytes::mib(1) };
        VirtualBox.register(&self.host, &spec("base", &[]), &Source::from(disk)).unwrap()
    }

    fn clone(&self, name: &str, networks: &[&str]) -> Result<Identity> {
        let base = self.base();
        let golden = VirtualBox.snapshot(&self.host, &base, "golden")?;
        let from =
            CloneSpec { snapshot: &golden, copy: CopyMode::Linked, size: None, seed: b"seed" };
        VirtualBox.clone_snapshot(&self.host, &spec(name, networks), &from)
    }

    /// The file that the fake keeps of a machine.
    fn kept(&self, identity: &Identity, file: &str) -> PathBuf {
        let uuid = record::uuid(&identity.machine, &identity.origin);
        self.path("vms").join(uuid).join(file)
    }
}

fn spec(name: &str, networks: &[&str]) -> MachineSpec {
    let networks: Vec<_> = networks.iter().map(|it| it.parse().unwrap()).collect();
    MachineSpec {
        name: name.into(),
        origin: Digest::of(name),
        hardware: Hardware {
            architecture: "amd64".into(),
            cpus: 2,
            memory: 640,
            firmware: Firmware::Uefi,
            vram: 33,
            disks: if name == "base" { vec![] } else { vec![1 << 30; 4] },
            nics: Nic::all(name, &networks),
            forwards: vec![],
        },
        user: Some("debian".into()),
    }
}

const NETWORKS: [&str; 5] =
    ["nat", "internal:dmz", "host-only", "nat-network:outer", "bridged:eth0"];

#[test]
fn each_version_is_spoken_to_in_its_own_words() {
    for version in ["6.1.50r161033", "7.0.20r163906", "7.2.22_Debianr175245"] {
        let world = World::new(version);
        let clone = world.clone("web", &NETWORKS).unwrap();
        assert!(matches!(VirtualBox.find(&world.host, &clone).unwrap(), Location::Present(_)));
        let info = std::fs::read_to_string(world.kept(&clone, "info")).unwrap();
        let console = world.host.machines.join("virtualbox/web/console.log");
        for line in [
            "memory=640",
            "firmware=\"EFI\"",
            "uart1=\"0x3F8,4\"",
            &format!("uartmode1=\"file,{}\"", console.display()),
            "nic1=\"nat\"",
            "intnet2=\"dmz\"",
            "hostonlyadapter3=\"vboxnet3\"",
            "nat-network4=\"outer\"",
            "bridgeadapter5=\"eth0\"",
            "nictype5=\"virtio\"",
            "nic6=\"none\"",
        ] {
            assert!(info.lines().any(|it| it == line), "{version}: {line} in\n{info}");
        }
        assert_eq!(info.matches("disk").count(), 4, "{info}");
        VirtualBox.remove(&world.host, "web").unwrap();
        assert_eq!(VirtualBox.list(&world.host).unwrap().len(), 1);
    }
}

#[test]
fn the_fake_refuses_what_a_version_does_not_know() {
    for (version, option, known) in [
        ("6.1.50", "--cpu-hotplug", false),
        ("6.1.50", "--cpuhotplug", true),
        ("6.1.50", "--mac-address1", false),
        ("7.0.20", "--cpu-hotplug", true),
        ("7.0.20", "--mac-address1", true),
        ("7.0.20", "--audio-enabled", true),
        ("7.0.20", "--no-such", false),
    ] {
        let world = World::new(version);
        let base = world.base();
        let uuid = record::uuid(&base.machine, &base.origin);
        let value = if option.starts_with("--mac") { "525400DE1621" } else { "off" };
        let changed = Config::open(&world.host)
            .unwrap()
            .vbox
            .run_or_observe(["modifyvm", &uuid, option, value], || Ok(false));
        assert_eq!(changed.is_ok(), known, "{version} {option}");
    }
}

#[test]
fn a_lock_is_waited_for_and_nothing_else() {
    let world = World::new("7.0.20r163906");
    let base = world.base();
    world.commands("");
    world.write("locked", "3");
    VirtualBox.snapshot(&world.host, &base, "golden").unwrap();
    assert_eq!(world.commands("snapshot ").len(), 4);

    world.write("broken", "snapshot");
    let error = VirtualBox.snapshot(&world.host, &base, "other").unwrap_err();
    assert_eq!(error.to_string(), "VirtualBox: The machine is not mutable (state is Saved)");
    assert_eq!(world.commands("snapshot ").len(), 1);
    std::fs::remove_file(world.path("broken")).unwrap();

    // One that does not end.
    world.write("locked", "1000");
    let error = VirtualBox.snapshot(&world.host, &base, "third").unwrap_err();
    let text = "VirtualBox: The machine 'x' is already locked for a session (or being unlocked)";
    assert_eq!(error.to_string(), text);
    let hint = crate::error::hints(&error).concat();
    assert!(hint.contains("close the machine's window"), "{hint}");
    assert_eq!(world.commands("snapshot ").len(), 10);
}

/// A life of machines in which every command that changes something is needed.
fn live(world: &World) {
    let host = &world.host;
    world.clone("web", &NETWORKS).unwrap();
    VirtualBox.start(host, "web").unwrap();
    assert_eq!(VirtualBox.stop(host, "web").unwrap(), Stopped::PoweredOff);
    VirtualBox.start(host, "base").unwrap();
    world.write("guest", "deaf");
    let stopped = VirtualBox.stop_within(host, "base", Duration::from_millis(1)).unwrap();
    assert_eq!(stopped, Stopped::Forced);
    // A base that holds state gives its name to the newer one.
    let file = world.path("disk.img");
    let disk = Source::from(Disk { file, digest: Digest([1; 32]), size: Bytes::mib(1) });
    let newer = MachineSpec { origin: Digest::of("newer"), ..spec("base", &[]) };
    std::fs::create_dir_all(host.machines.join("virtualbox/base/Logs")).unwrap();
    std::fs::write(host.machines.join("virtualbox/base/Logs/VBox.log"), "").unwrap();
    VirtualBox.register(host, &newer, &disk).unwrap();
    VirtualBox.remove(host, "web").unwrap();
    // What a killed run left.
    let left = host.machines.join("virtualbox/left");
    std::fs::create_dir(&left).unwrap();
    world.write("orphans", &format!("0-1 {}\n", left.join("left.vdi").display()));
    VirtualBox.recover(host, "clone", "left", &Digest([3; 32])).unwrap();
    assert!(!left.exists());
    let command = host.commands.get("virtualbox").cloned();
    let adapters = HostOnly { command, log: host.log.clone(), cancel: Cancel::default() };
    let name = adapters.create(&["vboxnet3".to_string()]).unwrap();
    let address = "192.168.57.1/24".parse().unwrap();
    adapters.set_address(&name, &address).unwrap();
    let has_it = |it: &host_network::Adapter| it.name == name && it.address == Some(address);
    assert!(adapters.list().unwrap().iter().any(has_it));
    adapters.remove(&name).unwrap();
    assert_eq!(adapters.list().unwrap().len(), 1);
}

/// The first words of the commands that change something, as the fake knows them.
const CHANGES: [&str; 12] = [
    "clonevm",
    "closemedium",
    "controlvm",
    "createvm",
    "hostonlyif",
    "modifyvm",
    "setextradata",
    "snapshot",
    "startvm",
    "storageattach",
    "storagectl",
    "unregistervm",
];

/// Fails where a command that loses the server after it has done its work is repeated.
#[test]
fn a_command_that_did_its_work_and_lost_the_server_is_not_repeated() {
    for version in ["6.1.50r161033", "7.2.22_Debianr175245"] {
        let world = World::new(version);
        world.write("lost", "");
        live(&world);
        let commands = world.commands("");
        // Nothing tells whether a button was pressed, and waiting is what the other is for.
        let is_repeatable =
            |line: &str| line.ends_with("acpipowerbutton") || line.contains("kuth/touched");
        let mut seen = std::collections::BTreeSet::new();
        for line in &commands {
            let word = line.split(' ').next().unwrap();
            if CHANGES.contains(&word) {
                let count = commands.iter().filter(|other| *other == line).count();
                assert!(count == 1 || is_repeatable(line), "{count} times: {line}");
                seen.insert(word);
            }
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), CHANGES);
        let lost = std::fs::read_to_string(world.path("lost")).unwrap();
        assert!(lost.lines().count() > 20, "{lost}");
    }
}

/// An answer that the end of the server cut short once made kuth add a second SATA controller:
/// "Too many storage controllers of this type".
#[test]
fn an_answer_that_is_cut_short_is_asked_for_again() {
    let world = World::new("7.2.22_Debianr175245");
    world.write("torn", "");
    live(&world);
    let torn = std::fs::read_to_string(world.path("torn")).unwrap();
    for question in ["list vms", "list hdds", "list hostonlyifs", "getextradata", "showvminfo"] {
        assert!(torn.lines().any(|line| line.starts_with(question)), "{question} in {torn}");
    }
    let commands = world.commands("storagectl");
    assert!(commands.iter().all(|line| !line.contains("--name kuth")), "{commands:?}");
}

#[test]
fn a_machine_that_ends_as_it_starts_was_not_started() {
    let world = World::new("7.0.20r163906");
    world.clone("web", &["nat"]).unwrap();
    world.write("guest", "dies");
    let error = VirtualBox.start(&world.host, "web").unwrap_err();
    assert_eq!(error.to_string(), "the machine `web` was started, and is aborted");
    let hint = crate::error::hints(&error).concat();
    assert!(hint.ends_with("machines/virtualbox/web/Logs"), "{hint}");
    world.write("guest", "");
    let listed = VirtualBox.start(&world.host, "web").unwrap();
    assert_eq!(listed.state, State::Running);
    assert!(listed.ssh_port.is_some());
    world.commands("");
    assert_eq!(VirtualBox.start(&world.host, "web").unwrap().state, State::Running);
    assert_eq!(world.commands("startvm"), [""; 0]);
}

#[test]
fn a_guest_that_does_not_power_off_is_ended() {
    let world = World::new("6.1.50r161033");
    world.clone("web", &["nat"]).unwrap();
    assert_eq!(VirtualBox.stop(&world.host, "web").unwrap(), Stopped::Already);
    VirtualBox.start(&world.host, "web").unwrap();
    assert_eq!(VirtualBox.stop(&world.host, "web").unwrap(), Stopped::PoweredOff);
    VirtualBox.start(&world.host, "web").unwrap();
    world.write("guest", "deaf");
    let limit = Duration::from_millis(100);
    assert_eq!(VirtualBox.stop_within(&world.host, "web", limit).unwrap(), Stopped::Forced);
    let asked: Vec<String> = world.commands("controlvm");
    let words: Vec<&str> = asked.iter().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(words, ["acpipowerbutton", "acpipowerbutton", "poweroff"]);
}

#[test]
fn a_running_machine_is_never_replaced() {
    let world = World::new("7.0.20r163906");
    let clone = world.clone("web", &["nat"]).unwrap();
    let (base, golden) = {
        let base = world.base();
        (base.clone(), Identity { snapshot: Some("golden".into()), ..base })
    };
    let file = world.path("disk.img");
    let disk = Source::from(Disk { file, digest: Digest([1; 32]), size: Bytes::mib(1) });
    let other = |name: &str| MachineSpec { origin: Digest::of("other"), ..spec(name, &[]) };
    let from = CloneSpec { snapshot: &golden, copy: CopyMode::Linked, size: None, seed: b"seed" };
    for name in ["web", "base"] {
        VirtualBox.start(&world.host, name).unwrap();
    }
    let kept = [&clone, &base].map(|it| world.kept(it, "info"));
    let before = kept.clone().map(|info| std::fs::read_to_string(info).unwrap());
    world.commands("");

    let made = VirtualBox.clone_snapshot(&world.host, &other("web"), &from).unwrap();
    let Location::Retained(_, why) = VirtualBox.find(&world.host, &made).unwrap() else { panic!() };
    assert!(why.contains("it is running, so it stays") && why.contains("once it is stopped"));
    let always = Host { replace: Replace::Always, ..world.host.clone() };
    let refused = |name: &str| format!("the machine `{name}` is running, so it is not replaced");
    let error = VirtualBox.clone_snapshot(&always, &other("web"), &from).unwrap_err();
    assert_eq!(error.to_string(), refused("web"));
    for host in [&world.host, &always] {
        let error = VirtualBox.register(host, &other("base"), &disk).unwrap_err();
        assert_eq!(error.to_string(), refused("base"));
    }
    // One that lost a file is not made anew either.
    std::fs::remove_file(world.host.machines.join("virtualbox/web/seed.iso")).unwrap();
    for host in [&world.host, &always] {
        let error = VirtualBox.clone_snapshot(host, &spec("web", &["nat"]), &from).unwrap_err();
        let why = refused("web");
        assert!(format!("{error:#}").ends_with(&why), "{error:#}");
    }
    let is_change = |line: &&String| {
        ["unregistervm", "clonevm", "createvm", "modifyvm", "storage"]
            .iter()
            .any(|word| line.starts_with(word))
    };
    assert_eq!(world.commands("").iter().filter(is_change).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(kept.map(|info| std::fs::read_to_string(info).unwrap()), before);
}

#[test]
fn addresses_are_told_in_the_form_of_each_version() {
    for (version, properties) in [
        (
            "6.1.50r161033",
            "Name: /VirtualBox/GuestInfo/Net/0/MAC, value: 525400DE1621, timestamp: 1, flags: \n\
             Name: /VirtualBox/GuestInfo/Net/0/V4/IP, value: 10.0.2.15, timestamp: 1, flags: \n",
        ),
        (
            "7.2.22r175245",
            "/VirtualBox/GuestInfo/Net/0/MAC   = '525400DE1621' @ 2026-11-24T23:24:22.580Z\n\
             /VirtualBox/GuestInfo/Net/0/V4/IP = '10.0.2.15' @ 2026-11-24T23:24:22.580Z X\n",
        ),
    ] {
        let world = World::new(version);
        let clone = world.clone("web", &["nat"]).unwrap();
        std::fs::write(world.kept(&clone, "properties"), properties).unwrap();
        let mac = "52:54:00:de:16:21".parse().unwrap();
        let expected = [Address { mac, ip: "10.0.2.15".parse().unwrap() }];
        assert_eq!(VirtualBox.addresses(&world.host, "web").unwrap(), expected, "{version}");
        let asked = world.commands("guestproperty");
        assert_eq!(asked.len(), 1, "{asked:?}");
    }
}

#[test]
fn a_version_that_is_too_old_is_refused() {
    let world = World::new("5.2.44r139111");
    let why = VirtualBox.unavailable(&world.host).unwrap();
    assert_eq!(why, "VirtualBox 5.2 is too old; 6.1 is needed");
    assert!(!Path::new(&world.host.machines).join("virtualbox").exists());
}
