//! From the keys of a disk to its offsets, and every way in which they can be faulty.

mod disk;

use disk::layout_of;
use kuth::disk::layout::{Layout, Role};
use kuth::units::Bytes;

fn volume(name: &str, size: &str, mount: &str) -> String {
    format!(
        "[[stage.disk.volume]]\nname = \"{name}\"\nsize = \"{size}\"\nfilesystem = \"ext4\"\nmount = \"{mount}\"\n"
    )
}

fn partition(name: &str, size: &str, mount: &str) -> String {
    volume(name, size, mount).replace("disk.volume", "disk.partition")
}

fn pv(size: &str) -> String {
    format!("[[stage.disk.partition]]\nname = \"system\"\nsize = \"{size}\"\nlvm = \"vg0\"\n")
}

/// The table of the seed.
fn seed() -> String {
    let mut keys = "size = \"28 GiB\"\n".to_string();
    keys += &partition("boot", "512 MiB", "/boot");
    keys += &pv("rest");
    for (name, size, mount) in [
        ("root", 2, "/"),
        ("home", 2, "/home"),
        ("opt", 1, "/opt"),
        ("tmp", 1, "/tmp"),
        ("usr", 10, "/usr"),
        ("var", 10, "/var"),
    ] {
        keys += &volume(name, &format!("{size} GiB"), mount);
    }
    keys
}

/// The seed, with mount options at one mount point.
fn with_options(mount: &str, options: &str) -> String {
    let mount = format!("mount = \"{mount}\"\n");
    seed().replace(&mount, &format!("{mount}options = {options}\n"))
}

/// The seed, with `grow = true` at the filesystem of a mount point.
fn growing(mount: &str) -> String {
    let mount = format!("mount = \"{mount}\"\n");
    seed().replace(&mount, &format!("{mount}grow = true\n"))
}

fn swap_file(size: &str) -> String {
    format!("swap-file = {size}\n{}", seed())
}

fn tmpfs(mount: &str) -> String {
    format!("[[stage.disk.tmpfs]]\nmount = \"{mount}\"\nsize = \"64 MiB\"\n")
}

fn faults(keys: &str) -> String {
    layout_of(keys).expect_err(keys)
}

fn places(layout: &Layout) -> Vec<(&str, u64, u64)> {
    layout.filesystems.iter().map(|fs| (fs.name.as_str(), fs.offset.0, fs.size.0 >> 20)).collect()
}

#[test]
fn partitions_and_volumes_have_the_documented_offsets() {
    let layout = layout_of(&seed()).unwrap();
    assert_eq!(
        places(&layout),
        [
            ("esp", 2 << 20, 62),
            ("boot", 67_108_864, 512),
            ("root", 605_028_352, 2048),
            ("home", 2_752_512_000, 2048),
            ("opt", 4_899_995_648, 1024),
            ("tmp", 5_973_737_472, 1024),
            ("usr", 7_047_479_296, 10_240),
            ("var", 17_784_897_536, 10_240),
        ]
    );
    let group = layout.group.as_ref().unwrap();
    assert_eq!((group.offset, group.size), (Bytes(603_979_776), Bytes::mib(28_095)));
    let roles: Vec<Role> = layout.partitions.iter().map(|partition| partition.role).collect();
    assert_eq!(roles, [Role::BiosBoot, Role::Esp, Role::Linux, Role::Lvm]);
}

#[test]
fn automatic_partitions_follow_table_and_firmware() {
    let names = |head: &str| -> Vec<String> {
        let keys = format!("size = \"4 GiB\"\n{head}\n{}", partition("root", "rest", "/"));
        let layout = layout_of(&keys).unwrap();
        layout.partitions.into_iter().map(|partition| partition.name).collect()
    };
    assert_eq!(names(""), ["bios", "esp", "root"]);
    assert_eq!(names("firmware = \"bios\""), ["bios", "root"]);
    assert_eq!(names("firmware = [\"uefi\"]"), ["esp", "root"]);
    assert_eq!(names("table = \"mbr\""), ["esp", "root"]);
    assert_eq!(names("table = \"mbr\"\nfirmware = [\"bios\"]"), ["root"]);
}

#[test]
fn an_own_esp_replaces_the_automatic_one() {
    let esp = partition("efi", "100 MiB", "/boot/efi").replace("ext4", "vfat");
    let keys = format!("size = \"4 GiB\"\n{}{esp}", partition("root", "2 GiB", "/"));
    let layout = layout_of(&keys).unwrap();
    let roles: Vec<Role> = layout.partitions.iter().map(|partition| partition.role).collect();
    assert_eq!(roles, [Role::BiosBoot, Role::Linux, Role::Esp]);
}

#[test]
fn the_rest_may_stand_anywhere() {
    let mut keys = "size = \"4 GiB\"\nfirmware = [\"bios\"]\n".to_string();
    keys += &pv("rest");
    keys += &partition("boot", "512 MiB", "/boot");
    keys += &volume("root", "rest", "/");
    keys += &volume("home", "1 GiB", "/home");
    let layout = layout_of(&keys).unwrap();
    // 4 GiB less the table's MiB at each end, core.img's and /boot's.
    assert_eq!(layout.group.as_ref().unwrap().size, Bytes::mib(4096 - 3 - 512));
    let sizes: Vec<_> = places(&layout).into_iter().map(|(name, _, size)| (name, size)).collect();
    assert_eq!(sizes, [("root", 895 * 4 - 1024), ("home", 1024), ("boot", 512)]);
}

#[test]
fn ids_stay_when_other_filesystems_change() {
    let uuid = |keys: &str, name: &str| {
        let layout = layout_of(keys).unwrap();
        layout.filesystems.iter().find(|fs| fs.name == name).unwrap().uuid
    };
    let resized = seed().replace("size = \"1 GiB\"", "size = \"1028 MiB\"");
    assert_eq!(uuid(&seed(), "usr"), uuid(&resized, "usr"));
    assert_ne!(uuid(&seed(), "usr"), uuid(&seed(), "var"));
    let identity = |keys: &str| layout_of(keys).unwrap().identity();
    assert_ne!(identity(&seed()), identity(&resized));
}

#[test]
fn sizes_are_exact_or_refused_with_the_nearest() {
    let text = faults(&seed().replace("10 GiB", "10241 MiB"));
    assert!(text.contains("the size of a volume is a multiple of 4 MiB"), "{text}");
    assert!(text.contains("the nearest are \"10 GiB\" and \"10244 MiB\""), "{text}");
    let text = faults(&seed().replace("512 MiB", "513 KiB"));
    assert!(text.contains("the least is \"1 MiB\""), "{text}");
    assert!(faults(&seed().replace("512 MiB", "512 MB")).contains("did you mean `MiB`"));
    assert!(faults(&seed().replace("28 GiB", "0 GiB")).contains("the least is"));
}

#[test]
fn a_layout_that_does_not_fit_names_the_difference() {
    let text = faults(&seed().replace("28 GiB", "26 GiB"));
    assert!(text.contains("the volumes do not fit in the volume group `vg0`"), "{text}");
    assert!(text.contains("they want 26 GiB, it has"), "{text}");
    assert!(text.contains("too little"), "{text}");
    let text = faults(&seed().replace("28 GiB", "512 MiB"));
    assert!(text.contains("the partitions do not fit in the disk"), "{text}");
    assert!(text.contains("they want 575 MiB, it has 510 MiB for them"), "{text}");
    assert!(text.contains("65 MiB too little"), "{text}");
    let text = faults(&seed().replace("28 GiB", "577 MiB"));
    assert!(text.contains("nothing is left for"), "{text}");
    let mut keys = "size = \"4 GiB\"\n".to_string();
    keys += &partition("root", "3880 MiB", "/");
    keys += &partition("home", "rest", "/home").replace("ext4", "xfs");
    let text = faults(&keys);
    assert!(text.contains("only 151 MiB are left for `home`, too little for xfs"), "{text}");
}

#[test]
fn broken_rules_are_all_named() {
    let two_rests = seed().replace("10 GiB", "rest");
    for (keys, why) in [
        (two_rests, "only one can take the rest"),
        (seed().replace("/home", "/opt"), "two filesystems are mounted at /opt"),
        (seed().replace("mount = \"/\"", "mount = \"/srv\""), "no filesystem is mounted at /"),
        (seed().replace("name = \"opt\"", "name = \"home\""), "two volumes are called `home`"),
        (seed().replace("name = \"boot\"", "name = \"system\""), "two partitions are called"),
        (
            seed().replace("lvm = \"vg0\"", "filesystem = \"ext4\""),
            "no partition holds the volumes",
        ),
        (seed() + &pv("1 GiB").replace("system", "more"), "a disk has one volume group"),
        (seed().replace("/opt", "opt"), "`opt` is not a mount point"),
        (seed().replace("/opt", "/opt/"), "`/opt/` is not a mount point"),
        (seed().replace("/opt", "/a/../b"), "is not a mount point"),
        (seed().replace("/opt", "/etc/x"), "`/etc/x` cannot be a filesystem of its own"),
        (seed().replace("/opt", "/boot/efi"), "/boot/efi is where the EFI system partition"),
        (seed().replace("\"opt\"", "\"o pt\""), "`o pt` cannot name a volume"),
        (seed().replace("\"opt\"", "\"snapshot\""), "lvm2 keeps the name `snapshot`"),
        (seed().replacen("ext4", "ext5", 1), "did you mean `ext4`"),
        (seed().replacen("ext4", "swap", 1), "a swap area is not mounted"),
        (seed().replace("512 MiB", "4 MiB"), "too small for ext4"),
        (format!("table = \"gtp\"\n{}", seed()), "did you mean `gpt`"),
        (format!("firmware = []\n{}", seed()), "nothing would start this disk"),
        (format!("cmdline = \"a'b\"\n{}", seed()), "cannot be quoted"),
        (seed().replace("size = \"rest\"\n", ""), "missing key `size`"),
        (seed().replace("lvm =", "lwm ="), "did you mean `lvm`"),
        (seed().replace("mount = \"/\"", "label = \"0123456789abcdefg\""), "the label of ext4"),
        (with_options("/opt", "[\"nodev,nosuid\"]"), "`nodev,nosuid` is not a mount option"),
        (with_options("/", "[\"noexec\"]"), "`noexec` at / keeps the system from starting"),
        (with_options("/usr", "[\"noauto\"]"), "`noauto` at /usr keeps the system from starting"),
        (with_options("/opt", "\"nodev\""), "write `options = [\"nodev\"]`"),
        (
            seed().replace("mount = \"/opt\"", "options = [\"nodev\"]"),
            "`options` are for file systems with a mount point",
        ),
        (
            seed().replace("lvm = \"vg0\"", "lvm = \"vg0\"\noptions = [\"nodev\"]"),
            "`options` is for filesystems",
        ),
        (growing("/boot"), "the partition `boot` cannot grow: it is not the last"),
        (growing("/boot"), "move `boot` to the end of the list of partitions"),
        (
            growing("/var") + &partition("more", "1 GiB", "/more"),
            "the partition `system` cannot grow: it is not the last",
        ),
        (growing("/var").replace("mount = \"/opt\"\n", "grow = true\n"), "only one can grow"),
        (growing("/var").replace("grow = true", "grow = \"yes\""), "expected a boolean"),
        (growing("/var").replace("ext4\"\nmount = \"/var\"\n", "swap\"\n"), "swap cannot grow"),
        (
            growing("/var").replace("mount = \"/var\"\n", ""),
            "`grow` is for file systems with a mount point",
        ),
        (
            growing("/opt").replace("grow = true", "grow = true\noptions = [\"noauto\"]"),
            "with `noauto` it is not mounted when it would grow",
        ),
        (
            seed().replace("lvm = \"vg0\"", "lvm = \"vg0\"\ngrow = true"),
            "`grow` is for filesystems",
        ),
        (swap_file("\"1 KiB\""), "the size of a swap file is a multiple of 1 MiB"),
        (swap_file("\"100 GiB\""), "the swap file has no room"),
        (swap_file("\"100 GiB\""), "`root`, which holds it, has"),
        (swap_file("512"), "a size in a string"),
        (swap_file("\"0 MiB\""), "the least is"),
        (seed() + &tmpfs("/opt"), "two file systems are mounted at /opt"),
        (seed() + &tmpfs("/etc/x"), "`/etc/x` cannot be a filesystem of its own"),
        (seed() + &tmpfs("/a").replace("64 MiB", "1 KiB"), "the size of a tmpfs is a multiple"),
    ] {
        let text = faults(&keys);
        assert!(text.contains(why), "wanted: {why}\n{text}");
        assert!(text.contains("pipelines/p.toml:"), "{text}");
    }
}

#[test]
fn more_partitions_or_volumes_than_their_tables_describe_are_refused() {
    let partitions = |count: usize| {
        let mut keys = "size = \"64 GiB\"\n".to_string() + &partition("root", "4 GiB", "/");
        for at in 1..count {
            keys += &partition(&format!("p{at}"), "8 MiB", &format!("/srv/{at}"));
        }
        keys
    };
    // Two come by themselves.
    assert_eq!(layout_of(&partitions(126)).unwrap().partitions.len(), 128);
    for count in [127, 129] {
        let text = faults(&partitions(count));
        assert!(text.contains(&format!("a GPT has 128 partitions, not {}", count + 2)), "{text}");
        assert!(text.contains("name = \"p126\"") && text.contains("with `lvm`"), "{text}");
    }
    let mut keys = "size = \"64 GiB\"\n".to_string() + &pv("rest") + &volume("root", "4 GiB", "/");
    for at in 0..3000 {
        keys += &volume(&format!("a-volume-with-a-long-name-{at}"), "8 MiB", &format!("/srv/{at}"));
    }
    let text = faults(&keys);
    assert!(text.contains("bytes of metadata do not fit into half of its area"), "{text}");
}

#[test]
fn an_mbr_has_its_limits() {
    let mut keys = "size = \"8 GiB\"\ntable = \"mbr\"\n".to_string();
    keys += &partition("root", "1 GiB", "/");
    for name in ["a", "b", "c"] {
        keys += &partition(name, "1 GiB", &format!("/{name}"));
    }
    assert!(faults(&keys).contains("an MBR has 4 partitions, not 5"));
    assert!(layout_of(&keys.replace("mbr", "gpt")).is_ok());
    let large = format!("size = \"3 TiB\"\ntable = \"mbr\"\n{}", partition("root", "rest", "/"));
    assert!(faults(&large).contains("an MBR reaches 2 TiB"));
}

#[test]
fn fstab_names_volumes_and_uuids() {
    let layout = layout_of(&seed().replace("vg0", "my-vg")).unwrap();
    let fstab = kuth::disk::fstab::text(&layout);
    let lines: Vec<&str> = fstab.lines().collect();
    assert_eq!(lines[1], "/dev/mapper/my--vg-root\t/\text4\terrors=remount-ro\t0\t1");
    assert!(lines[2].starts_with("UUID=") && lines[2].ends_with("\t/boot\text4\tdefaults\t0\t2"));
    assert!(lines[3].contains("\t/boot/efi\tvfat\tumask=0077\t0\t2"));
    assert_eq!(lines[4], "/dev/mapper/my--vg-home\t/home\text4\tdefaults\t0\t2");
    assert!(lines.last().unwrap().starts_with("# written by kuth"));
}

#[test]
fn mount_options_and_tmpfs_are_in_fstab_alone() {
    let keys = with_options("/", "[\"noatime\"]")
        .replace("mount = \"/opt\"\n", "mount = \"/opt\"\noptions = [\"nodev\", \"nosuid\"]\n");
    let memory = format!("{}options = [\"noexec\"]\n{}", tmpfs("/scratch"), tmpfs("/srv"));
    let memory = memory.replace("/srv\"\nsize = \"64 MiB\"", "/srv\"");
    let layout = layout_of(&(keys + &memory)).unwrap();
    let fstab = kuth::disk::fstab::text(&layout);
    for line in [
        "/dev/vg0/root\t/\text4\terrors=remount-ro,noatime\t0\t1",
        "/dev/vg0/opt\t/opt\text4\tnodev,nosuid\t0\t2",
        "tmpfs\t/scratch\ttmpfs\tsize=67108864,noexec\t0\t0",
        "tmpfs\t/srv\ttmpfs\tdefaults\t0\t0",
    ] {
        let device = line.replace("/dev/vg0/", "/dev/mapper/vg0-");
        assert!(fstab.lines().any(|it| it == line || it == device), "{line} in {fstab}");
    }
    // The ids of the disk and of its file systems stay.
    let plain = layout_of(&seed()).unwrap();
    assert_eq!(layout.identity(), plain.identity());
    let ids = |layout: &Layout| layout.filesystems.iter().map(|fs| fs.uuid).collect::<Vec<_>>();
    assert_eq!(ids(&layout), ids(&plain));
    assert_eq!(kuth::disk::fstab::warnings(&layout), [""; 0]);
    let layout = layout_of(&with_options("/var", "[\"noexec\"]")).unwrap();
    let warnings = kuth::disk::fstab::warnings(&layout);
    assert!(warnings[0].starts_with("`noexec` at /var: dpkg runs"), "{warnings:?}");
}
