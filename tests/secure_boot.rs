//! Firmware with Secure Boot refuses a disk of which one byte of GRUB is another, by hand:
//! `KUTH_TEST_DISK=disk.img cargo test --test secure_boot -- --ignored --nocapture`. That it starts
//! the disk as it is, tests/acceptance shows.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use kuth::boot_check::{Check, Via};
use kuth::cancel::Cancel;
use kuth::disk::config::Firmware;
use kuth::units::Bytes;

/// Where the EFI system partition of pipelines/debian.toml begins, and how long it is.
const ESP: (u64, usize) = (2 << 20, 62 << 20);

#[test]
#[ignore = "boots a machine; see the top of this file"]
fn one_flipped_byte_of_grub_is_refused_by_the_firmware() {
    let disk = PathBuf::from(std::env::var("KUTH_TEST_DISK").expect("KUTH_TEST_DISK"));
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = |name: &str| directory.path().join(name);
    let flipped = path("flipped.raw");
    let mut copy = Command::new("cp");
    copy.arg("--sparse=always").arg(&disk).arg(&flipped);
    assert!(copy.status().unwrap().success());
    let file = std::fs::File::options().read(true).write(true).open(&flipped).unwrap();
    let mut esp = vec![0; ESP.1];
    file.read_exact_at(&mut esp, ESP.0).unwrap();
    // Something that GRUB says, and shim does not.
    let text = b"grub rescue> ";
    let at = esp.windows(text.len()).position(|bytes| bytes == text).expect("GRUB is there");
    file.write_all_at(b"G", ESP.0 + at as u64).unwrap();

    let (log, console) = (path("log"), path("console"));
    let check = Check {
        disk: &flipped,
        size: Bytes(disk.metadata().unwrap().len()),
        firmware: Firmware::Uefi,
        secure_boot: true,
        via: Via::CloudInit,
        architecture: "amd64",
        cpus: 1,
        memory: 1024,
        expectations: &[],
        goss: None,
        pytest: None,
        // Firmware and shim take seconds; after a refusal the firmware waits for a key.
        limit: Duration::from_secs(180),
        work: directory.path(),
        log: &log,
        console: &console,
        epoch: 0,
    };
    let error = check.run(&Cancel::default()).unwrap_err();
    let said = String::from_utf8_lossy(&std::fs::read(&console).unwrap()).into_owned();
    assert!(said.contains("Security Violation"), "{error:#}\n{said}");
    assert!(!said.contains("Linux version"), "{said}");
}
