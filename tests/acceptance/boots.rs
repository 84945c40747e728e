//! The image comes up by BIOS and by UEFI; what is to be found inside, the pipeline says itself.

use crate::tools::is_there;
use crate::world::{DEBIAN, world};
use kuth_test_support::project::Project;

/// The image, which may take its time to boot: minutes without KVM, and many of them on a busy machine.
/// The pipeline's own patience is not part of the key.
fn patient() -> Project {
    let project = world().fork("boots");
    project.edit(DEBIAN, "timeout = \"600 s\"", "timeout = \"60 min\"");
    project
}

#[test]
fn the_image_boots_by_both_firmwares_and_is_as_expected() {
    if !is_there("qemu-system-x86_64") {
        return;
    }
    let project = patient();
    let run = project.build(&[DEBIAN, "check"]).ok();
    eprintln!("boots: {:?}, {}", run.wall, run.out.lines().last().unwrap());
    assert_eq!(run.those("done"), "check");
    let report = std::fs::read_to_string(run.of("check", "path")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let boots = report["boots"].as_array().unwrap();
    let firmware: Vec<_> = boots.iter().map(|boot| boot["firmware"].as_str().unwrap()).collect();
    assert_eq!(firmware, ["bios", "uefi"]);
    for expectation in boots.iter().flat_map(|boot| boot["expectations"].as_array().unwrap()) {
        assert_eq!(expectation["holds"], true, "{expectation}");
    }
    project.build(&[DEBIAN, "check"]).ok().assert_all("cached");
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
