//! A disk without cloud-init says what is expected of it, by credentials for its systemd.

use kuth_test_support::base::{collect_packages, lend_packages};
use kuth_test_support::judge::{is_there, tool};
use kuth_test_support::project::Project;
use kuth_test_support::target_tmp;

/// As small as a system with systemd and its own kernel is.
const PIPELINE: &str = r#"
[pipeline]
name = "p"

[stage.rootfs]
kind = "bootstrap"
suite = "trixie"

[stage.base]
kind = "customise"
from = "rootfs"
hostname = "plain"
packages = ["systemd-sysv", "dbus", "udev", "kmod", "initramfs-tools", "zstd", "linux-image-cloud-amd64"]
run = "systemctl enable greeter.socket noisy.service"

# Its socket is what listens.
[stage.base.file."/etc/systemd/system/greeter.socket"]
content = """
[Socket]
ListenStream=4242
ListenDatagram=4242
Accept=no
[Install]
WantedBy=sockets.target
"""

[stage.base.file."/etc/systemd/system/greeter.service"]
content = "[Service]\nExecStart=/bin/sleep infinity\n"

[stage.base.file."/etc/systemd/system/noisy.service"]
content = """
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'sleep 2; echo "<3>something is wrong"'
[Install]
WantedBy=multi-user.target
"""

[stage.disk]
kind = "disk"
from = "base"
size = "2 GiB"
partition = [{ name = "root", size = "rest", filesystem = "ext4", mount = "/" }]

[stage.check]
kind = "boot"
from = "disk"
firmware = "uefi"
timeout = "60 min"

[stage.check.expect]
failed-units = 0
services = ["greeter.socket"]
packages = { systemd = "257*", kmod = "*" }
ports = [4242, "4242/udp"]
files = ["/etc/hostname", "/usr/lib/systemd"]
journal = ["greeter.socket", "systemd-journald"]
boot-time = "60 min"
command = [
    { run = "hostname", output = "plain" },
    { run = "! command -v cloud-init" },
]
"#;

/// By the other firmware, whose SMBIOS tables are another program's.
const FAILING: &str = r#"
[stage.failing]
kind = "boot"
from = "disk"
timeout = "60 min"

[stage.failing.expect]
packages = ["cloud-init", "kmod"]
ports = [4243]
files = ["/etc/nothing & <nobody>"]
journal = ["noisy", "no-such-unit"]
boot-time = 1
"#;

/// The cases of a JUnit file that did not pass: name, element and text, as Python reads them.
const JUDGE: &str = "import sys, xml.etree.ElementTree as tree\n\
    suites = tree.parse(sys.argv[1]).getroot()\n\
    suite, = suites\n\
    assert suites.get('tests') == str(len(suite)), suites.get('tests')\n\
    for case in suite:\n\
    \x20   for outcome in case:\n\
    \x20       print(case.get('name'), '|', outcome.tag, '|', ' '.join(outcome.text.split()))\n";

#[test]
#[ignore = "boots a machine, minutes without KVM; `make test-boots`"]
fn a_disk_without_cloud_init_is_checked_by_credentials() {
    if !is_there("qemu-system-x86_64") {
        return;
    }
    let directory = tempfile::tempdir_in(target_tmp()).unwrap();
    let project = Project::within(directory);
    lend_packages(&project.cache);
    project.write("p.toml", PIPELINE);
    project.build(&["p.toml", "check"]).ok();
    collect_packages(&project.cache);
    let junit = project.output().join("p/check.junit.xml");
    let judge = |name: &str| {
        let path = project.output().join(format!("p/{name}.junit.xml"));
        tool("python3", &["-c", JUDGE, path.to_str().unwrap()])
    };
    if let Some(failed) = judge("check") {
        assert_eq!(failed, "");
    }

    // A hit writes the file again.
    let written = std::fs::read_to_string(&junit).unwrap();
    std::fs::remove_file(&junit).unwrap();
    project.build(&["p.toml", "check"]).ok().assert_all("cached");
    assert_eq!(std::fs::read_to_string(&junit).unwrap(), written);

    project.write("p.toml", format!("{PIPELINE}{FAILING}"));
    let run = project.build(&["p.toml", "failing"]).ended(1);
    let said = "booting by BIOS: package cloud-init is not as expected\n";
    assert!(run.err.contains(said), "{}", run.err);
    let Some(failed) = judge("failing") else { return };
    let failed: Vec<&str> = failed.lines().collect();
    let none = "package cloud-init | failure | expected: installed found: exit status 1: dpkg-query: \
                no packages found matching cloud-init";
    assert_eq!(failed[0], none);
    let noisy = "journal of noisy | failure | expected: no errors found: something is wrong";
    let rest = [
        "port 4243/tcp | failure | expected: listens found: nothing listens",
        "file /etc/nothing & <nobody> | failure | expected: exists found: does not exist",
        noisy,
        "journal of no-such-unit | failure | expected: no errors found: the unit is not-found",
    ];
    assert_eq!(failed[1..5], rest, "{failed:#?}");
    let time = "boot time | failure | expected: at most 1 s found: ";
    assert!(failed[5].starts_with(time) && failed.len() == 6, "{failed:#?}");
}
