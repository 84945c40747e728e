//! The image comes up by BIOS and by UEFI with Secure Boot; what is to be found inside, the pipeline
//! says itself.

use crate::tools::is_there;
use crate::world::{DEBIAN, world};
use kuth_test_support::judge::path_with_testinfra;
use kuth_test_support::project::Project;

/// The image, which may take its time to boot: minutes without KVM, and many of them on a busy machine.
/// The pipeline's own patience is not part of the key.
fn patient() -> Project {
    let project = world().fork("boots");
    project.edit(DEBIAN, "timeout = \"600 s\"", "timeout = \"60 min\"");
    project
}

/// A boot by UEFI that starts nothing but what is signed. testinfra logs in to what cloud-init set up.
const SECURE: &str = r#"
[stage.secure]
kind = "boot"
from = "disk"
secure-boot = true
timeout = "60 min"
pytest = "data/checks/testinfra"

[stage.secure.expect]
services = ["ssh", "ntpsec"]
failed-units = 0
cloud-init = true
"#;

#[test]
fn the_image_boots_by_both_firmwares_and_is_as_expected() {
    let path = path_with_testinfra();
    let (true, Some(path)) = (is_there("qemu-system-x86_64"), path) else { return };
    let project = patient().with("PATH", &path);
    project.edit(DEBIAN, "firmware = \"both\"\nmemory", "firmware = \"bios\"\nmemory");
    project.write(DEBIAN, project.read(DEBIAN) + SECURE);
    let stages = [DEBIAN, "check", "secure"];
    let run = project.build(&[&stages[..], &["--allow-host-tests"]].concat()).ok();
    eprintln!("boots: {:?}, {}", run.wall, run.out.lines().last().unwrap());
    assert_eq!(run.those("done"), "check secure");
    for (stage, firmware) in [("check", "bios"), ("secure", "uefi")] {
        let report = std::fs::read_to_string(run.of(stage, "path")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let boots = report["boots"].as_array().unwrap();
        assert_eq!(boots.len(), 1);
        assert_eq!(boots[0]["firmware"], firmware);
        let expectations = boots[0]["expectations"].as_array().unwrap();
        for expectation in expectations {
            assert_eq!(expectation["holds"], true, "{expectation}");
        }
        let says_secure = expectations.iter().any(|it| it["what"] == "Secure Boot");
        assert_eq!(says_secure, stage == "secure");
        let tests = boots[0]["tests"].as_array().map_or(0, Vec::len);
        assert_eq!(tests > 0, stage == "secure", "{report}");
    }
    project.build(&stages).ok().assert_all("cached");
}

#[test]
fn an_expectation_that_does_not_hold_fails_the_stage() {
    if !is_there("qemu-system-x86_64") {
        return;
    }
    let project = patient();
    project.edit(DEBIAN, "firmware = \"both\"\nmemory", "firmware = \"bios\"\nmemory");
    project.edit(DEBIAN, "root = \"2 GiB\"\nhome", "root = \"3 GiB\"\nhome");
    let run = project.build(&[DEBIAN, "check"]).ended(1);
    assert_eq!(run.those("failed"), "check");
    for part in [
        "booting by BIOS: volume root is not as expected\n",
        " expected: 3 GiB\n",
        " found: 2 GiB\n",
    ] {
        assert!(run.err.contains(part), "{part} is not in\n{}", run.err);
    }
    project.assert_clean();
}
