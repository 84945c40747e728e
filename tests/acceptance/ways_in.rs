//! `pipelines/cloud-image.toml`, from an image like those that Debian makes for clouds: one ext4
//! partition, the kernel of clouds, no LVM.

use crate::world::world;
use kuth_test_support::judge::tool;

const CLOUD: &str = "pipelines/cloud-image.toml";
const THEIRS: &str = "pipelines/theirs.toml";

const TEXT: &str = r#"
[pipeline]
name = "theirs"
default = ["image"]

[stage.rootfs]
kind = "bootstrap"
suite = "trixie"

[stage.base]
kind = "customise"
from = "rootfs"
packages = ["systemd-sysv", "udev", "initramfs-tools", "linux-image-cloud-amd64"]

[stage.disk]
kind = "disk"
from = "base"
size = "3 GiB"
firmware = "bios"
partition = [{ name = "root", size = "rest", filesystem = "ext4", mount = "/" }]

[stage.image]
kind = "export"
from = "disk"
format = "qcow2"
"#;

#[test]
fn a_cloud_image_is_laid_out_anew_on_lvm() {
    let project = world().with_packages("cloud");
    project.write(THEIRS, TEXT);
    let lock = std::fs::read(project.root.join("pipelines/debian.lock")).unwrap();
    std::fs::write(project.root.join("pipelines/theirs.lock"), lock).unwrap();
    project.build(&[THEIRS]).ok();
    let image = project.output().join("theirs/theirs.qcow2");
    let image = format!("image=file://{}", image.display());

    let first = project.build(&[CLOUD, "--var", &image]).ok();
    assert_eq!(first.those("done").split(' ').count(), first.states().len(), "{}", first.err);
    assert!(first.err.contains("nothing says what"), "{}", first.err);
    project.build(&[CLOUD, "--var", &image]).ok().assert_all("cached");

    let image = project.output().join("cloud-image/cloud-image.qcow2");
    let image = image.to_str().unwrap();
    if let Some(said) = tool("qemu-img", &["check", image]) {
        assert!(said.contains("No errors"), "{said}");
    }
    let inspected = project.kuth(&["inspect", image]).ok();
    for part in ["vg0/root", "vg0/home", "vg0/var"] {
        assert!(inspected.out.contains(part), "{}", inspected.out);
    }
    // Of the tree, the first kernel is the one that was there, the other came from the mirror.
    let tree = first.of("base", "path");
    let names = tool("tar", &["-tf", tree, "--wildcards", "*boot/vmlinuz-*"]);
    let names = names.unwrap();
    assert!(names.contains("-cloud-amd64\n") && names.lines().count() == 2, "{names}");
}
