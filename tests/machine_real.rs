//! Starts a real clone in the background, logs in, and stops it; one to four minutes. By hand:
//! `KUTH_TEST_DISK=disk.img cargo test --test machine_real -- --ignored --nocapture`

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kuth::cache::sparse;
use kuth::digest::Digest;
use kuth::machine::qemu::Qemu;
use kuth::machine::seed::Template;
use kuth::machine::{
    Cloning, Copying, Disk, Driver, Firmware, Hardware, Host, Nic, Source, State, Stopped, Wanted,
};
use kuth::process::{Cancel, Command};
use kuth::units::Bytes;

#[test]
#[ignore = "boots a machine; see the top of this file"]
fn a_clone_starts_takes_a_login_and_stops() {
    let file = PathBuf::from(std::env::var("KUTH_TEST_DISK").expect("KUTH_TEST_DISK"));
    let disk = Source::Disk(Disk {
        digest: sparse::tree_hash(&File::open(&file).unwrap()).unwrap(),
        size: Bytes(file.metadata().unwrap().len()),
        file,
    });
    // In the disk's file system, so that the base is a link; and with a long name, as the paths
    // of sockets are short.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let machines = folder.path().join("m".repeat(100));
    let cancel = Cancel::default();
    let mut host = Host::at(&machines, None, cancel.clone());
    host.pipeline = "test".into();
    let log = folder.path().join("log");
    let key = folder.path().join("key");
    let keygen = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
    keygen.run(&log, &cancel).unwrap();
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();

    let networks = ["nat", "internal:dmz", "host-only"].map(|network| network.parse().unwrap());
    let wanted = |name: &str| Wanted {
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
    let seed = template.render().unwrap().iso(1_767_225_600).unwrap();
    let start = Instant::now();
    let base = Qemu.register(&host, &wanted("base"), &disk).unwrap();
    let golden = Qemu.snapshot(&host, &base, "golden").unwrap();
    let cloning = Cloning { snapshot: &golden, copy: Copying::Linked, seed: &seed };
    Qemu.clone_snapshot(&host, &wanted("web"), &cloning).unwrap();
    eprintln!("registered, snapshotted, cloned: {:?}", start.elapsed());

    let start = Instant::now();
    let listed = Qemu.start(&host, "web").unwrap_or_else(|error| panic!("{error:#}"));
    assert!(matches!(listed.state, State::Running), "{listed:?}");
    eprintln!("started: {:?}, port {:?}", start.elapsed(), listed.ssh_port);
    assert!(Qemu.remove(&host, "web").is_err());
    let arguments = Qemu.ssh(&host, "web").unwrap();
    let ssh = || {
        Command::new("ssh")
            .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-i"])
            .arg(&key)
            .args(&arguments)
            .arg("hostname; ip -brief address; lsblk --noheadings --nodeps --output NAME,SIZE")
            .time_limit(Duration::from_secs(60))
            .run(&log, &cancel)
    };
    let output = loop {
        match ssh() {
            Ok(output) => break output,
            Err(error) if start.elapsed() > Duration::from_secs(400) => panic!("{error:#}"),
            Err(_) => std::thread::sleep(Duration::from_secs(5)),
        }
    };
    let output = String::from_utf8(output).unwrap();
    eprintln!("logged in: {:?}\n{output}", start.elapsed());
    assert!(output.starts_with("web\n") && output.contains("nic2"), "{output}");

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
