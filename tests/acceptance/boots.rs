//! The image comes up by BIOS and by UEFI; what is to be found inside, the pipeline says itself.

use std::time::Duration;

use crate::heavy;
use crate::tools::tool;
use crate::world::{DEBIAN, world};

#[test]
fn the_image_boots_by_both_firmwares_and_is_as_expected() {
    let world = world();
    let _heavy = heavy();
    if tool("qemu-system-x86_64", &["--version"]).is_none() {
        return;
    }
    let run = world.project.build(&[DEBIAN, "check"]).ok();
    eprintln!("boots: {:?}, {}", run.wall, run.out.lines().last().unwrap());
    assert_eq!(run.those("done"), "check");
    assert!(run.wall < Duration::from_secs(900) + Duration::from_secs(300), "{:?}", run.wall);
    let report = std::fs::read_to_string(run.of("check", "path")).unwrap();
    eprintln!("{report}");
    for word in ["bios", "uefi"] {
        assert!(report.contains(word), "{report}");
    }
    world.project.build(&[DEBIAN, "check"]).ok().assert_all("cached");
}
