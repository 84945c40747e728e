//! The machines at the end of the image's pipeline: directories that QEMU can start.

use std::path::{Path, PathBuf};

use crate::tools::tool;
use crate::world::world;

fn machine(name: &str) -> PathBuf {
    PathBuf::from(world().first.of(&format!("nodes/{name}"), "path"))
}

/// A file of a seed, read by xorriso.
fn seeded(seed: &Path, file: &str) -> Option<String> {
    let directory = crate::world::directory("seed");
    let to = directory.path().join("file");
    let (seed, to) = (seed.to_str().unwrap(), to.to_str().unwrap());
    tool("xorriso", &["-osirrox", "on", "-indev", seed, "-extract", file, to])?;
    Some(std::fs::read_to_string(to).unwrap())
}

#[test]
fn a_clone_is_an_overlay_on_the_disk() {
    for name in ["gate-node01", "hapx-node01", "hapx-node02"] {
        let disk = machine(name).join("disk.qcow2");
        let args = ["info", "--output=json", disk.to_str().unwrap()];
        let Some(out) = tool("qemu-img", &args) else { return };
        let info: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(info["backing-filename-format"], "raw");
        assert_eq!(info["virtual-size"], 28u64 << 30);
        let base = info["full-backing-filename"].as_str().unwrap();
        assert!(base.contains(world().first.of("disk", "digest")), "{base}");
        assert!(Path::new(base).is_file());
        tool("qemu-img", &["check", disk.to_str().unwrap()]);
        assert!(disk.metadata().unwrap().len() < 1 << 20, "a fresh overlay is next to nothing");
    }
}

#[test]
fn a_clone_has_a_seed_of_its_own() {
    for name in ["gate-node01", "hapx-node01", "hapx-node02"] {
        let seed = machine(name).join("seed.iso");
        let probe = ["-p", "-o", "value", "-s", "LABEL", "-s", "TYPE", seed.to_str().unwrap()];
        if let Some(out) = tool("blkid", &probe) {
            assert_eq!(out.to_lowercase(), "cidata\niso9660\n");
        }
        let Some(user_data) = seeded(&seed, "/user-data") else { return };
        assert!(user_data.starts_with("#cloud-config\n"), "{user_data}");
        let meta_data = seeded(&seed, "/meta-data").unwrap();
        assert!(meta_data.contains(name), "{meta_data}");
    }
    let network = seeded(&machine("gate-node01").join("seed.iso"), "/network-config");
    assert!(network.is_none_or(|network| network.contains("version: ")));
}

#[test]
fn a_clone_can_be_started_by_its_script() {
    use std::os::unix::fs::PermissionsExt;
    let script = machine("gate-node01").join("run");
    assert_eq!(script.metadata().unwrap().permissions().mode() & 0o111, 0o111);
    let text = std::fs::read_to_string(&script).unwrap();
    for part in ["exec qemu-system-x86_64", "file=disk.qcow2", "file=seed.iso", "-m 512", "-smp 1"]
    {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    // Six cards, as the pipeline says.
    assert_eq!(text.matches("-device virtio-net-pci").count(), 6);
    tool("sh", &["-n", script.to_str().unwrap()]);
    assert!(!machine("gate-node01").join("started").exists());
}
