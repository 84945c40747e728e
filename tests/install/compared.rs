//! Disks made by kuth's own `disk` stage pass the comparison with their plan; the same disks against
//! another plan do not, and every difference is told.

use kuth::artifact::Artifact;
use kuth::installer::compare;

use crate::disk::{Bench, Disk, Tree, disk_of};
use crate::world::read;

const KEYS: &str = r#"
size = "1 GiB"
firmware = ["bios"]
[[stage.disk.partition]]
name = "boot"
size = "128 MiB"
filesystem = "ext4"
mount = "/boot"
[[stage.disk.partition]]
name = "system"
size = "rest"
lvm = "vg0"
[[stage.disk.volume]]
name = "root"
size = "256 MiB"
filesystem = "ext4"
mount = "/"
[[stage.disk.volume]]
name = "usr"
size = "128 MiB"
filesystem = "ext4"
mount = "/usr"
[[stage.disk.volume]]
name = "swap"
size = "64 MiB"
filesystem = "swap"
"#;

fn disk(keys: &str) -> (Bench, Disk) {
    let bench = Bench::new();
    let tree: Artifact = bench.tree(&Tree::bootable().finish());
    let (disk, _) = bench.run(&*disk_of(keys).unwrap(), &tree).unwrap();
    (bench, disk)
}

/// What is wrong with the disk of KEYS where `keys` was wanted.
fn wrong(disk: &Disk, keys: &str) -> String {
    let (config, layout) = read(keys);
    match compare::check(&disk.image, &config, &layout) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_disk_is_compared_with_its_plan() {
    let (_bench, disk) = disk(KEYS);
    let (config, layout) = read(KEYS);
    let installed = compare::check(&disk.image, &config, &layout).unwrap();
    assert_eq!(installed.root, "/dev/mapper/vg0-root");
    assert_eq!(installed.root_uuid, disk.artifact.facts["root-uuid"]);
    assert!(installed.lines.contains(&"the volume vg0/usr: ext4, 128 MiB, on /usr".to_string()));

    let changed = |from: &str, to: &str| {
        assert!(KEYS.contains(from), "{from}");
        wrong(&disk, &KEYS.replacen(from, to, 1))
    };
    for (from, to, expected) in [
        (
            "name = \"usr\"\nsize = \"128 MiB\"",
            "name = \"usr\"\nsize = \"132 MiB\"",
            "the volume vg0/usr on /usr has 128 MiB, not 132 MiB",
        ),
        ("name = \"usr\"", "name = \"us2\"", "the volume vg0/us2 on /usr is the volume vg0/usr"),
        ("lvm = \"vg0\"", "lvm = \"vg1\"", "the volume vg1/root on / is the volume vg0/root"),
        ("mount = \"/usr\"", "mount = \"/opt\"", "the volume vg0/usr on /opt is not there"),
        (
            "mount = \"/usr\"",
            "mount = \"/opt\"",
            "nobody asked for the volume vg0/usr (ext4, on /usr)",
        ),
        (
            "size = \"128 MiB\"\nfilesystem = \"ext4\"\nmount = \"/boot\"",
            "size = \"160 MiB\"\nfilesystem = \"ext4\"\nmount = \"/boot\"",
            "the partition boot on /boot has 128 MiB, not 160 MiB",
        ),
        (
            "firmware = [\"bios\"]",
            "firmware = [\"bios\"]\ntable = \"mbr\"",
            "the disk has GPT, not MBR",
        ),
        (
            "name = \"swap\"\nsize = \"64 MiB\"",
            "name = \"swap\"\nsize = \"68 MiB\"",
            "the volume vg0/swap has 64 MiB, not 68 MiB",
        ),
        ("name = \"swap\"", "name = \"swop\"", "the volume vg0/swop is not there"),
    ] {
        let found = changed(from, to);
        assert!(
            found.starts_with("the installer made another disk than was asked for:"),
            "{found}"
        );
        assert!(found.contains(&format!("\n  {expected}\n")), "{expected}\nis not in\n{found}");
    }
    // A partition may be off by what alignment takes.
    let near = KEYS.replacen("size = \"128 MiB\"", "size = \"129 MiB\"", 1);
    assert_eq!(wrong(&disk, &near), "");
}

#[test]
fn the_rest_may_be_a_little_more_or_less() {
    let rest = KEYS.replacen(
        "size = \"128 MiB\"\nfilesystem = \"ext4\"\nmount = \"/usr\"",
        "size = \"rest\"\nfilesystem = \"ext4\"\nmount = \"/usr\"",
        1,
    );
    let (_bench, disk) = disk(&rest);
    assert_eq!(wrong(&disk, &rest), "");
    let larger = |size: &str| rest.replacen("size = \"1 GiB\"", &format!("size = \"{size}\""), 1);
    assert_eq!(wrong(&disk, &larger("1040 MiB")), "");
    assert!(
        wrong(&disk, &larger("2 GiB")).contains("not about"),
        "{}",
        wrong(&disk, &larger("2 GiB"))
    );
}
