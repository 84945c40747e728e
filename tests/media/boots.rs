//! What was made of a DVD starts. Minutes without KVM, so it is run by hand: `make test-boots`.

use crate::pipeline::{FILE, PIPELINE, Place, from_mirror};
use crate::world::world;
use kuth_test_support::medium::Medium;

/// Looks inside. The questions are put by cloud-init, which the pipeline goes without.
const CHECK: &str = r#"
# The keys are to be those of the pipeline's own service.
[stage.base.file."/etc/cloud/cloud.cfg.d/90-keys.cfg"]
content = "ssh_deletekeys: false\nssh_genkeytypes: []\n"

[stage.check]
kind = "boot"
from = "disk"
firmware = "both"
timeout = "30 min"

[stage.check.expect]
services = ["ssh", "ssh-keys"]
failed-units = 0
mounts = { "/" = "/dev/mapper/vg0-root", "/home" = "/dev/mapper/vg0-home", "/var" = "/dev/mapper/vg0-var" }
volumes = { root = "4 GiB", home = "2 GiB", var = "4 GiB" }

[[stage.check.expect.command]]
run = "grep -rh ^URIs /etc/apt/sources.list.d"
output = "http://ftp.debian.org/debian"

[[stage.check.expect.command]]
run = "! grep -rq cdrom /etc/apt /etc/fstab && ls /etc/ssh"
output = "ssh_host_ed25519_key"
"#;

#[test]
#[ignore = "boots twice, minutes without KVM; `make test-boots`"]
fn an_image_of_a_dvd_s_packages_boots_by_bios_and_uefi() {
    let world = world();
    let pipeline = PIPELINE.replace("\"sudo\", ", "\"sudo\", \"cloud-init\", ") + CHECK;
    let mirrored = world.project("boots-mirrored");
    let (_, debs) = from_mirror(&mirrored, &pipeline);
    let medium = Medium::new(&world.directory.join("boots"), &debs, &world.directory.join("keys"));
    let place = Place::new(world.directory.join("boots-place"), &medium);
    drop(mirrored);
    drop(medium);
    let project = world.project("boots-project");
    project.write(FILE, &pipeline);
    place.build(&project, &["check"]).ok();
}
