//! Settings on a minimal tree bring the packages that they need, and systemd's are in force.

use kuth_test_support::base::{self, MINIMAL};
use kuth_test_support::project::Project;
use kuth_test_support::tree::Tree;

const STAGE: &str = r#"
[stage.set]
kind = "customise"
from = "rootfs"
locale = "en_GB.UTF-8"
timezone = "Europe/Berlin"
unattended-upgrades = true
kernel-modules = ["br_netfilter", "overlay"]
services.enable = ["hello", "fstrim.timer"]
services.mask = ["apt-daily.timer"]
sysctl.net.ipv4.ip_forward = 1
sysctl."vm.swappiness" = "10"

[stage.set.file."/etc/systemd/system/hello.service"]
content = """
[Service]
ExecStart=/bin/true

[Install]
WantedBy=multi-user.target
"""

[[stage.set.user]]
name = "admin"
sudo = true
"#;

fn project(name: &str, stages: &str) -> (Project, tempfile::TempDir) {
    let directory = tempfile::Builder::new().prefix(name).tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let directory = directory.unwrap();
    let project = Project::at(directory.path());
    base::minimal(&project, "p.lock");
    project.write("p.toml", format!("{MINIMAL}{stages}"));
    (project, directory)
}

#[test]
fn settings_bring_the_packages_that_they_need() {
    let (project, _directory) = project("needs-", STAGE);
    project.build(&["p.toml", "set"]).ok();
    base::collect_packages(&project.cache);
    let explained = project.kuth(&["explain", "p.toml", "set"]).ok().out;
    for name in ["locales", "passwd", "sudo", "systemd", "tzdata", "unattended-upgrades"] {
        assert!(explained.contains(&format!("needed package = {name}")), "{name}: {explained}");
    }
    let tree = Tree::read(&project.artifact("p.toml", "set"));
    for name in ["locales", "passwd", "sudo", "systemd", "tzdata", "unattended-upgrades"] {
        assert!(tree.package(name).is_some(), "{name}");
    }
    assert!(tree.text("/etc/passwd").contains("\nadmin:x:1000:1000:"));
    assert_eq!(tree.text("/etc/default/locale"), "LANG=en_GB.UTF-8\n");
    assert_eq!(tree.entry("/etc/localtime").link, "/usr/share/zoneinfo/Europe/Berlin");
    assert_eq!(tree.text("/etc/modules-load.d/kuth.conf"), "br_netfilter\noverlay\n");
    assert_eq!(
        tree.text("/etc/sysctl.d/90-kuth.conf"),
        "net.ipv4.ip_forward = 1\nvm.swappiness = 10\n"
    );
    let wanted = |target: &str, unit: &str| format!("/etc/systemd/system/{target}.wants/{unit}");
    assert!(tree.has(&wanted("multi-user.target", "hello.service")));
    assert!(tree.has(&wanted("timers.target", "fstrim.timer")));
    assert_eq!(tree.entry("/etc/systemd/system/apt-daily.timer").link, "/dev/null");
    assert!(tree.text("/etc/apt/apt.conf.d/20auto-upgrades").contains("Unattended-Upgrade \"1\""));
    // What the tree has is not asked for again: no entry of the lock, and nothing from a mirror.
    let more = "\n[stage.more]\nkind = \"customise\"\nfrom = \"set\"\n\
                [[stage.more.user]]\nname = \"other\"\n";
    project.write("p.toml", format!("{MINIMAL}{STAGE}{more}"));
    project.build(&["p.toml", "more", "--offline", "--locked"]).ok();
    assert!(!project.read("p.lock").contains("[[stage.more]]"));
}

#[test]
fn a_unit_that_is_not_there_is_an_error_of_systemctl() {
    let stage = "\n[stage.set]\nkind = \"customise\"\nfrom = \"rootfs\"\n\
                 services.enable = [\"nowhere.service\"]\n";
    let (project, _directory) = project("unit-", stage);
    let run = project.build(&["p.toml", "set"]);
    assert_eq!(run.status, 1, "{}", run.err);
    assert!(run.err.contains("systemctl --quiet enable nowhere.service"), "{}", run.err);
    assert!(run.err.contains("nowhere.service does not exist"), "{}", run.err);
}
