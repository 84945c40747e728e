//! Boots a real disk in QEMU, which takes one to four minutes. Run it by hand:
//! `KUTH_TEST_DISK=disk.img cargo test --test boot_real -- --ignored --nocapture`
//! with a disk of the base layout whose system has cloud-init.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kuth::machine::Firmware;
use kuth::machine::boot::Check;
use kuth::machine::probe::Expectation;
use kuth::process::Cancel;
use kuth::units::Bytes;

fn boot(firmware: Firmware, expectations: &[Expectation]) -> Result<(), String> {
    let disk = PathBuf::from(std::env::var("KUTH_TEST_DISK").expect("KUTH_TEST_DISK"));
    let disk = disk.canonicalize().unwrap();
    let work = tempfile::tempdir().unwrap();
    let console = Path::new(env!("CARGO_TARGET_TMPDIR")).join(firmware.word());
    let before = disk.metadata().unwrap().modified().unwrap();
    let check = Check {
        disk: &disk,
        size: Bytes(disk.metadata().unwrap().len()),
        firmware,
        architecture: "amd64",
        cpus: 2,
        memory: 1024,
        expectations,
        limit: Duration::from_secs(600),
        work: work.path(),
        log: &console.with_extension("log"),
        console: &console.with_extension("console"),
        epoch: 1_767_225_600,
    };
    let start = Instant::now();
    let result = check.run(&Cancel::default()).map_err(|error| format!("{error:#}"));
    eprintln!("{firmware:?}: {:.1} s: {result:?}", start.elapsed().as_secs_f32());
    assert_eq!(disk.metadata().unwrap().modified().unwrap(), before, "the disk was written");
    result
}

fn base() -> Vec<Expectation> {
    let mount = |path: &str| Expectation::Mount {
        path: path.into(),
        source: format!("/dev/mapper/vg0-{}", path.trim_start_matches('/')),
    };
    vec![
        mount("/usr"),
        mount("/var"),
        Expectation::Volume { name: "root".into(), size: Bytes::gib(2) },
        Expectation::Volume { name: "vg0/usr".into(), size: Bytes::gib(10) },
        Expectation::Service { unit: "ssh".into() },
        Expectation::FailedUnits { most: 0 },
        Expectation::CloudInit,
        Expectation::Command { run: "uname -s".into(), output: Some("Linux".into()) },
    ]
}

#[test]
#[ignore = "boots a machine; see the top of this file"]
fn the_base_layout_comes_up_by_bios() {
    boot(Firmware::Bios, &base()).unwrap();
}

#[test]
#[ignore = "boots a machine; see the top of this file"]
fn the_base_layout_comes_up_by_uefi() {
    boot(Firmware::Uefi, &base()).unwrap();
}

#[test]
#[ignore = "boots a machine; see the top of this file"]
fn what_is_not_as_expected_is_named() {
    let mut expectations = base();
    expectations.push(Expectation::Service { unit: "no-such.service".into() });
    let error = boot(Firmware::Bios, &expectations).unwrap_err();
    assert!(error.contains("service no-such.service is not as expected"), "{error}");
}
