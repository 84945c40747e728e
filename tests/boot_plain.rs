//! A disk without cloud-init says what is expected of it, by credentials for its systemd; and the
//! tests of goss and pytest run in it and against it.

use kuth_test_support::base::{collect_packages, lend_packages};
use kuth_test_support::judge::{is_there, path_with_testinfra, tool};
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
swap-file = "64 MiB"
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
    { run = "swapon --show=NAME,SIZE --noheadings", output = "/swapfile 64M" },
    { run = "stat -c %a /swapfile", output = "600" },
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
    \x20       print(case.get('name'), '|', outcome.tag, '|', ' '.join((outcome.text or '').split()))\n";

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

/// Speaks as goss does, for a file that is a list of paths. No distribution has goss, and tests
/// download nothing, so this is a stand-in: it shows how a program gets into the guest, is started
/// there and is understood, and not that goss still speaks so. KUTH_TEST_GOSS can name a goss, for
/// which the same tests are written in its own language.
const STAND_IN: &str = r#"#!/bin/sh
[ "$1 $3 $4 $5 $6" = "-g validate --format json --no-color" ] || exit 2
results= failed=0
while read -r path; do
    successful=true
    [ -e "$path" ] || { successful=false; failed=1; }
    results="$results${results:+,}{\"resource-type\":\"File\",\"resource-id\":\"$path\","
    results="$results\"property\":\"exists\",\"successful\":$successful,\"skipped\":false,"
    results="$results\"summary-line\":\"File: $path: exists: $successful\"}"
done <"$2"
echo "{\"results\":[$results],\"summary\":{\"failed-count\":$failed}}"
exit $failed
"#;

/// What testinfra asks by SSH.
const TESTINFRA: &str = r#"
import pytest

def test_name(host):
    assert host.check_output("hostname") == "plain"

def test_unit(host):
    assert host.service("greeter.socket").is_running

@pytest.mark.skip
def test_left_out(host):
    assert False
"#;

/// The same tests by both firmwares, of which one has more.
const OTHER_TESTS: &str = r#"
[stage.check]
kind = "boot"
from = "disk"
firmware = "uefi"
timeout = "60 min"
goss = "tests/good.yaml"
goss-binary = "tests/goss"
pytest = "tests/good"

[stage.failing]
kind = "boot"
from = "disk"
timeout = "60 min"
goss = "tests/bad.yaml"
goss-binary = "tests/goss"
pytest = "tests/bad"
"#;

#[test]
#[ignore = "boots a machine, minutes without KVM; `make test-boots`"]
fn goss_runs_in_the_guest_and_testinfra_from_outside() {
    let path = path_with_testinfra();
    let (true, Some(path)) = (is_there("qemu-system-x86_64"), path) else { return };
    let directory = tempfile::tempdir_in(target_tmp()).unwrap();
    let project = Project::within(directory).with("PATH", &path);
    lend_packages(&project.cache);
    let (system, _) = PIPELINE.split_once("[stage.check]").unwrap();
    let system = system.replace("\"zstd\", ", "\"zstd\", \"openssh-server\", ");
    project.write("p.toml", format!("{system}{OTHER_TESTS}"));
    let goss = std::env::var_os("KUTH_TEST_GOSS");
    let program = goss.as_ref().map_or(STAND_IN.into(), |path| std::fs::read(path).unwrap());
    project.write("tests/goss", program);
    let file = |paths: &[&str]| match goss {
        None => paths.iter().map(|path| format!("{path}\n")).collect::<String>(),
        Some(_) => {
            let lines = paths.iter().map(|path| format!("  {path}:\n    exists: true\n"));
            format!("file:\n{}", lines.collect::<String>())
        }
    };
    project.write("tests/good.yaml", file(&["/etc/hostname"]));
    project.write("tests/bad.yaml", file(&["/nonexistent", "/etc/hostname", "/also-not"]));
    project.write("tests/good/test_guest.py", TESTINFRA);
    let bad = TESTINFRA.replace("\"plain\"", "\"another\"");
    project.write("tests/bad/test_guest.py", bad);

    let run = project.build(&["p.toml", "check"]).ended(1);
    assert_eq!(run.those("failed"), "check");
    assert!(run.err.contains("`--allow-host-tests`"), "{}", run.err);
    project.build(&["p.toml", "check", "--allow-host-tests"]).ok();
    collect_packages(&project.cache);
    let junit = |name: &str| {
        let path = project.output().join(format!("p/{name}.junit.xml"));
        (
            std::fs::read_to_string(&path).unwrap(),
            tool("python3", &["-c", JUDGE, path.to_str().unwrap()]),
        )
    };
    let (written, failed) = junit("check");
    if let Some(failed) = failed {
        // What was skipped has no text but an attribute.
        let expected = "pytest tests/test_guest.py::test_left_out[ssh://guest] | skipped |";
        assert_eq!(failed.trim(), expected);
    }
    assert!(written.contains("name=\"goss File /etc/hostname exists\"/>"), "{written}");
    let unit = "name=\"pytest tests/test_guest.py::test_unit[ssh://guest]\"/>";
    assert!(written.contains(unit), "{written}");

    // A hit writes the file again, by the report, and runs nothing that had to be allowed.
    std::fs::remove_file(project.output().join("p/check.junit.xml")).unwrap();
    project.build(&["p.toml", "check"]).ok().assert_all("cached");
    assert_eq!(junit("check").0, written);

    let run = project.build(&["p.toml", "failing", "--allow-host-tests"]).ended(1);
    for said in [
        "booting by BIOS: 3 of 6 tests failed\n",
        "goss File /nonexistent exists: ",
        "goss File /also-not exists: ",
        "pytest tests/test_guest.py::test_name[ssh://guest]: ",
    ] {
        assert!(run.err.contains(said), "{said} is not in\n{}", run.err);
    }
    let (written, _) = junit("failing");
    let failures = written.matches("<failure ").count();
    assert_eq!(failures, 3, "{written}");
    assert!(written.contains("name=\"goss File /etc/hostname exists\"/>"), "{written}");
}
