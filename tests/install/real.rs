//! One real installation: Debian 13 from a medium that is made for it, by `kuth build`, without a
//! network and without a key pressed. Half an hour where there is no KVM.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::world::{VOLUMES, text};

/// The machine's own mirror, as every build takes it.
fn mirror() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/mirror");
    let output = Command::new(script).output().unwrap();
    let mirror = String::from_utf8(output.stdout).unwrap().trim().to_string();
    assert!(!mirror.is_empty(), "no mirror in apt's sources");
    mirror
}

/// The medium, made once.
fn medium(directory: &Path) -> PathBuf {
    let iso = directory.join("netinst.iso");
    if !iso.is_file() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/install/medium.py");
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let part = directory.join("netinst.part");
        let made = Command::new("python3")
            .arg(script)
            .args([&mirror(), keyring, text(&directory.join("medium")), text(&part)])
            .status();
        assert!(made.unwrap().success(), "the medium was not made");
        std::fs::rename(part, &iso).unwrap();
    }
    iso
}

#[test]
#[ignore = "half an hour; `make test-install`"]
fn real_debian_is_installed_as_planned() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("install");
    std::fs::create_dir_all(directory.join("pipelines")).unwrap();
    // What an earlier run installed would prove nothing.
    let _ = std::fs::remove_dir_all(directory.join("cache"));
    let _ = std::fs::remove_file(directory.join("pipelines/install.lock"));
    let iso = medium(&directory);
    // The volumes are those of every other disk, under this stage's name.
    let volumes = VOLUMES.replace("stage.disk.", "stage.installed.");
    let pipeline = format!(
        r#"
[pipeline]
name = "install"
[stage.medium]
kind = "download"
url = "file://{}"
[stage.installed]
kind = "install"
from = "medium"
size = "28 GiB"
hostname = "installed.example"
timezone = "Europe/Berlin"
packages = ["cloud-init", "openssh-server", "sudo"]
{volumes}
[[stage.installed.user]]
name = "ops"
sudo = true
ssh-keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEfZ8W0nNq4kFn1y0L3v8mQ5a8f3m7Gq0S2b9m0Y7k1D ops"]
[stage.tree]
kind = "import"
from = "installed"
[stage.check]
kind = "boot"
from = "installed"
timeout = "60 min"
[stage.check.expect]
services = ["ssh"]
cloud-init = true
[stage.check.expect.mounts]
"/" = "/dev/mapper/vg0-root"
"/var" = "/dev/mapper/vg0-var"
[stage.check.expect.volumes]
"vg0/root" = "2 GiB"
"vg0/usr" = "10 GiB"
"vg0/var" = "10 GiB"
"#,
        iso.display()
    );
    std::fs::write(directory.join("pipelines/install.toml"), pipeline).unwrap();
    let kuth = |arguments: &[&str]| {
        let mut command = Command::new(kuth_test_support::program());
        command.args(arguments).current_dir(&directory).env_clear();
        command.env("PATH", std::env::var("PATH").unwrap()).env("HOME", &directory);
        command.env("KUTH_CACHE", directory.join("cache"));
        command
    };
    let start = Instant::now();
    let build = kuth(&["build", "pipelines/install.toml"]).status().unwrap();
    assert!(build.success(), "the build failed");
    eprintln!("installed, read back and booted in {} s", start.elapsed().as_secs());
    let log = directory.join("cache/logs/install/installed.syslog");
    let log = std::fs::read(log).unwrap();
    let log = String::from_utf8_lossy(&log);
    let steps = log.lines().filter(|line| line.contains("Menu item '"));
    steps.for_each(|line| eprintln!("{}", line.trim_end()));

    // What came out, by the reader of images.
    let path = kuth(&["path", "pipelines/install.toml", "installed"]).output().unwrap();
    let disk = String::from_utf8(path.stdout).unwrap().trim().to_string();
    let shown = kuth(&["inspect", &disk]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    eprintln!("{shown}");
    for part in ["GPT", "vg0/root", "vg0/var", "/home"] {
        assert!(shown.contains(part), "{part}");
    }
    // What was asked for besides the disk, by the files of the tree.
    let path = kuth(&["path", "pipelines/install.toml", "tree"]).output().unwrap();
    let tree = String::from_utf8(path.stdout).unwrap().trim().to_string();
    let tar = |option: &str, name: &str| {
        let output = Command::new("tar").args([option, &tree, name]).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let file = |name: &str| tar("-xOf", name);
    assert_eq!(file("etc/hostname").trim(), "installed");
    assert_eq!(file("etc/sudoers.d/90-ops").trim(), "ops ALL=(ALL:ALL) NOPASSWD: ALL");
    assert!(file("home/ops/.ssh/authorized_keys").starts_with("ssh-ed25519 "));
    let zone = tar("-tvf", "etc/localtime");
    assert!(zone.trim_end().ends_with("-> /usr/share/zoneinfo/Europe/Berlin"), "{zone}");
    let grub = file("etc/default/grub");
    assert!(!grub.contains("GRUB_TERMINAL=serial"), "{grub}");
    assert!(grub.contains("GRUB_CMDLINE_LINUX=\"console=tty0 console=ttyS0,115200\""), "{grub}");
    std::fs::remove_dir_all(directory.join("cache")).unwrap();
}
