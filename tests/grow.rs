//! Disks that grow: the script that kuth writes, run on image files with the real sfdisk in a guest
//! that is a directory; what a disk gets of it; and a machine without cloud-init whose disk is larger
//! than its base.

mod disk;

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use disk::{Bench, Tree, disk_of, layout_of};
use kuth::cancel::Cancel;
use kuth::disk::layout::Layout;
use kuth::disk::{assemble, grow};
use kuth::error::hints;
use kuth::units::{Bytes, SECTOR};
use tar::EntryType;

use kuth_test_support::base::{collect_packages, lend_packages};
use kuth_test_support::project::Project;
use kuth_test_support::{judge, target_tmp};

const VOLUMES: &str = r#"
size = "1 GiB"
[[stage.disk.partition]]
name = "system"
size = "rest"
lvm = "vg-0"
[[stage.disk.volume]]
name = "root"
size = "512 MiB"
filesystem = "ext4"
mount = "/"
[[stage.disk.volume]]
name = "srv"
size = "128 MiB"
filesystem = "ext4"
mount = "/srv's"
grow = true
"#;

const PLAIN: &str = r#"
size = "1 GiB"
firmware = "bios"
table = "mbr"
[[stage.disk.partition]]
name = "boot"
size = "128 MiB"
filesystem = "ext4"
mount = "/boot"
[[stage.disk.partition]]
name = "root"
size = "rest"
filesystem = "ext4"
mount = "/"
grow = true
"#;

/// What the guest has besides sfdisk. Each notes its call; those that the kernel and LVM2 answer keep
/// books. `@` is the directory of the guest.
const PROGRAMS: [(&str, &str); 7] = [
    ("findfs", "[ \"$1\" = PARTUUID=$(cat @/id) ] && echo @/dev/vda$(cat @/number)"),
    // The kernel takes the new size of a partition.
    (
        "partx",
        "partition=@/sys/devices/vda/vda$3\n\
         sfdisk --dump \"$4\" | sed -n \"s|^$4$3 :.*size= *\\([0-9]*\\),.*|\\1|p\" >$partition/size",
    ),
    (
        "pvresize",
        "echo $((($(cat @/sys/devices/vda/vda$(cat @/number)/size) - 2048) / 8192)) >@/pv_pe_count",
    ),
    ("pvs", "echo \"  $(cat @/$3)\""),
    ("lvs", "echo \"  $(($(cat @/extents) * 4194304))\""),
    (
        "lvextend",
        "[ ! -e @/broken ] || exit 5\n\
         for file in extents pv_pe_alloc_count; do echo $(($(cat @/$file) + ${2#+})) >@/$file.new; \
         mv @/$file.new @/$file; done",
    ),
    ("systemd-growfs", ":"),
];

/// A guest that is a directory: /dev/vda is an image file, and the kernel and LVM2 are scripts.
struct Guest {
    directory: tempfile::TempDir,
    layout: Layout,
}

impl Guest {
    fn new(keys: &str) -> Guest {
        let layout = layout_of(keys).unwrap();
        let guest = Guest { directory: tempfile::tempdir().unwrap(), layout };
        let number = guest.layout.partitions.len();
        let partition = guest.layout.partitions.last().unwrap();
        for directory in ["bin", "dev", "sys/class/block"] {
            fs::create_dir_all(guest.at(directory)).unwrap();
        }
        fs::create_dir_all(guest.kernel(number)).unwrap();
        symlink(guest.kernel(number), guest.at(&format!("sys/class/block/vda{number}"))).unwrap();
        assemble::write(&guest.at("dev/vda"), &guest.layout, &[], None, 0, &Cancel::default())
            .unwrap();
        guest.write(&guest.kernel(number).join("start"), partition.offset.0 / SECTOR);
        guest.write(&guest.kernel(number).join("size"), partition.size.0 / SECTOR);
        guest.write(&guest.at("number"), number);
        guest.write(&guest.at("id"), guest.layout.partition_id(number));
        for (name, text) in PROGRAMS {
            let text = format!("#!/bin/sh\nset -eu\necho {name} $* >>@/log\n{text}\n");
            let text = text.replace('@', guest.directory.path().to_str().unwrap());
            fs::write(guest.at("bin").join(name), text).unwrap();
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(guest.at("bin").join(name), mode).unwrap();
        }
        if let Some(group) = &guest.layout.group {
            let volumes = group.volumes.iter();
            let allocated: u64 = volumes.map(|(_, extents)| extents.0).sum();
            guest.write(&guest.at("pv_pe_alloc_count"), allocated);
            guest.write(&guest.at("extents"), group.volumes.last().unwrap().1.0);
        }
        guest.resize(guest.layout.size);
        guest
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn kernel(&self, number: usize) -> PathBuf {
        self.at(&format!("sys/devices/vda/vda{number}"))
    }

    fn write(&self, path: &Path, value: impl std::fmt::Display) {
        fs::write(path, format!("{value}\n")).unwrap();
    }

    fn number(&self, path: &str) -> u64 {
        fs::read_to_string(self.at(path)).unwrap().trim().parse().unwrap()
    }

    /// Gives the disk another size.
    fn resize(&self, size: Bytes) {
        File::options().write(true).open(self.at("dev/vda")).unwrap().set_len(size.0).unwrap();
        self.write(&self.at("sys/devices/vda/size"), size.0 / SECTOR);
    }

    /// Boots; whether the script succeeded, and what it called, by name.
    fn boot(&self) -> (bool, Vec<String>) {
        let mut script = grow::script(&self.layout).unwrap().unwrap();
        let here = self.directory.path().display();
        for directory in ["/sys/", "/dev/", "/var/"] {
            script = script.replace(directory, &format!("{here}{directory}"));
        }
        script = script.replace("/lib/systemd/", &format!("{here}/bin/"));
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("sh")
            .args(["-c", &script])
            .env("PATH", format!("{here}/bin:{path}:/usr/sbin:/sbin"))
            .output()
            .unwrap();
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        let log = fs::read_to_string(self.at("log")).unwrap_or_default();
        let _ = fs::remove_file(self.at("log"));
        (
            output.status.success(),
            log.lines().map(|it| it.replace(&*here.to_string(), "")).collect(),
        )
    }

    /// Bytes of the partition table, and where the last partition ends, in sectors.
    fn table(&self) -> (Vec<u8>, u64) {
        let disk = self.at("dev/vda");
        let mut table = vec![0; 34 * SECTOR as usize];
        std::io::Read::read_exact(&mut File::open(&disk).unwrap(), &mut table).unwrap();
        let dump = judge::tool("sfdisk", &["--dump", disk.to_str().unwrap()]).unwrap();
        let last = dump.lines().rfind(|line| line.contains(" start=")).unwrap();
        let field = |name: &str| -> u64 {
            let value = last.split(name).nth(1).unwrap().split(',').next().unwrap();
            value.trim().parse().unwrap()
        };
        (table, field("start=") + field("size="))
    }
}

fn names(calls: &[String]) -> Vec<&str> {
    calls.iter().map(|call| call.split(' ').next().unwrap()).collect()
}

#[test]
fn a_volume_takes_what_its_disk_gains_and_nothing_else() {
    if !judge::is_there("sfdisk") {
        return;
    }
    let guest = Guest::new(VOLUMES);
    let before = guest.table();
    // The first boot of the base itself.
    let (ok, calls) = guest.boot();
    assert!(ok, "{calls:?}");
    assert!(!names(&calls).contains(&"lvextend") && !names(&calls).contains(&"partx"), "{calls:?}");
    assert_eq!(guest.table(), before);
    let all = guest.number("pv_pe_count");
    let free = all - guest.number("pv_pe_alloc_count");
    assert!(free > 50, "the layout leaves space in the group");

    for size in [Bytes::gib(5), Bytes::gib(60)] {
        guest.resize(size);
        let (ok, calls) = guest.boot();
        assert!(ok, "{calls:?}");
        assert!(calls.last().unwrap() == "systemd-growfs /srv's", "{calls:?}");
        let (_, end) = guest.table();
        assert_eq!(end, size.0 / SECTOR - 33, "to the copy of the table");
        if let Some((ok, said, _)) =
            judge::verdict("sgdisk", &["-v", guest.at("dev/vda").to_str().unwrap()])
        {
            assert!(ok && said.contains("No problems found"), "{said}");
        }
        let gained = guest.number("pv_pe_count") - all;
        assert_eq!(guest.number("extents"), 32 + gained, "what the disk gained");
        assert_eq!(guest.number("pv_pe_count") - guest.number("pv_pe_alloc_count"), free);
        // Nothing at the next boot, and what a user made of the free space stays.
        let grown = guest.table();
        assert_eq!(names(&guest.boot().1), ["findfs"]);
        assert_eq!(guest.table(), grown);
    }
}

#[test]
fn a_user_who_took_the_free_space_keeps_it() {
    if !judge::is_there("sfdisk") {
        return;
    }
    let guest = Guest::new(VOLUMES);
    assert!(guest.boot().0);
    let all = guest.number("pv_pe_count");
    guest.write(&guest.at("pv_pe_alloc_count"), all);
    // What was taken away from the volume is free in the group, and more than the disk gains.
    guest.write(&guest.at("extents"), 1);
    guest.resize(Bytes::mib(1024 + 40));
    assert!(guest.boot().0);
    let gained = guest.number("pv_pe_count") - all;
    assert_eq!((gained, guest.number("extents")), (10, 11));
}

#[test]
fn what_was_interrupted_is_finished_at_the_next_boot() {
    if !judge::is_there("sfdisk") {
        return;
    }
    let guest = Guest::new(VOLUMES);
    guest.resize(Bytes::gib(3));
    guest.write(&guest.at("broken"), "");
    let (ok, calls) = guest.boot();
    assert!(!ok && calls.last().unwrap().starts_with("lvextend"), "{calls:?}");
    fs::remove_file(guest.at("broken")).unwrap();
    let (ok, calls) = guest.boot();
    assert!(ok && !names(&calls).contains(&"partx"), "{calls:?}");
    let extend = calls.iter().find(|it| it.starts_with("lvextend")).unwrap();
    let number = guest.number("number");
    assert_eq!(*extend, format!("lvextend --extents +512 vg-0/srv /dev/vda{number}"));
    assert_eq!(names(&guest.boot().1), ["findfs"]);
}

#[test]
fn a_partition_of_an_mbr_takes_what_its_disk_gains() {
    if !judge::is_there("sfdisk") {
        return;
    }
    let guest = Guest::new(PLAIN);
    assert_eq!(names(&guest.boot().1), ["findfs", "systemd-growfs"]);
    guest.resize(Bytes::gib(7));
    let (ok, calls) = guest.boot();
    assert!(ok);
    assert_eq!(calls[1..], ["partx --update --nr 2 /dev/vda", "systemd-growfs /"]);
    let (_, end) = guest.table();
    assert_eq!(end, Bytes::gib(7).0 / SECTOR);
    assert_eq!(names(&guest.boot().1), ["findfs"]);
}

#[test]
fn the_id_in_the_script_is_the_one_on_the_disk() {
    for (keys, name) in [(VOLUMES, "system"), (PLAIN, "root")] {
        let layout = layout_of(keys).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("disk");
        assemble::write(&image, &layout, &[], None, 0, &Cancel::default()).unwrap();
        let Some(dump) = judge::tool("sfdisk", &["--dump", image.to_str().unwrap()]) else {
            return;
        };
        let number = layout.partitions.len();
        assert_eq!(layout.partitions[number - 1].name, name);
        let id = layout.partition_id(number).to_uppercase();
        let found = match dump.contains("label: gpt") {
            true => dump.lines().last().unwrap().contains(&format!("uuid={id}")),
            false => {
                let (disk, of) = id.split_once('-').unwrap();
                assert_eq!(of, "02");
                dump.contains(&format!("label-id: 0x{}", disk.to_lowercase()))
            }
        };
        assert!(found, "{id}: {dump}");
    }
}

/// The script, the unit and the link are in the root; what the tree had of another disk's growth is not.
#[test]
fn a_disk_that_grows_has_what_it_needs_or_is_refused() {
    let keys = VOLUMES.replace("/srv's", "/srv");
    let bench = Bench::new();
    let stage = disk_of(&keys).unwrap();
    let error = bench.run(stage.as_ref(), &bench.tree(&Tree::bootable().finish())).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the disk is to grow at boot, but the tree has no usr/sbin/sfdisk and no \
         usr/lib/systemd/systemd-growfs"
    );
    assert_eq!(
        hints(&error),
        ["add `fdisk` and `systemd-sysv` to `packages` of the customise stage"]
    );
    let mut tree = Tree::bootable();
    for directory in
        ["usr/lib/", "usr/lib/systemd/", "usr/lib/systemd/system/", "var/lib/", "var/lib/kuth/"]
    {
        tree.entry(directory, EntryType::Directory, 0o755, b"", "");
    }
    tree.file("usr/sbin/sfdisk", b"sfdisk");
    tree.file("usr/lib/systemd/systemd-growfs", b"growfs");
    tree.file("usr/lib/systemd/system/kuth-grow.service", b"of that machine\n");
    tree.file("var/lib/kuth/grown", b"of the machine that the tree was imported from\n");
    let tree = bench.tree(&tree.finish());
    let (made, _) = bench.run(stage.as_ref(), &tree).unwrap();
    assert_eq!(made.artifact.facts.disk().unwrap().grows.as_deref(), Some("/srv"));
    let layout = layout_of(&keys).unwrap();
    let root = layout.mounted("/").unwrap().offset.0;
    let cat = |path: &str| {
        let image = format!("{}?offset={root}", made.image.display());
        let (_, text, faults) = judge::verdict("debugfs", &["-R", path, &image])?;
        Some(text + &faults)
    };
    let Some(script) = cat("cat /usr/lib/kuth/grow") else { return };
    assert!(script.contains("/srv takes what the disk has gained"), "{script}");
    assert!(script.contains(&grow::script(&layout).unwrap().unwrap()), "{script}");
    let unit = cat("cat /usr/lib/systemd/system/kuth-grow.service").unwrap();
    assert!(unit.contains("ExecStart=/bin/sh /usr/lib/kuth/grow"), "{unit}");
    let link = cat("stat /etc/systemd/system/sysinit.target.wants/kuth-grow.service").unwrap();
    assert!(link.contains("/usr/lib/systemd/system/kuth-grow.service"), "{link}");
    let state = cat("cat /var/lib/kuth/grown").unwrap();
    assert!(state.contains("File not found"), "{state}");

    let still = disk_of(&keys.replace("grow = true\n", "")).unwrap();
    let (still, _) = bench.run(still.as_ref(), &tree).unwrap();
    assert_eq!(still.artifact.facts.disk().unwrap().grows, None);
    let image = format!("{}?offset={root}", still.image.display());
    let (_, text, faults) =
        judge::verdict("debugfs", &["-R", "cat /usr/lib/systemd/system/kuth-grow.service", &image])
            .unwrap();
    assert!(
        (text + &faults).contains("File not found"),
        "nothing of another disk's growth is kept"
    );
}

/// A system without cloud-init that prints what it has, and powers off.
const PIPELINE: &str = r#"
[pipeline]
name = "grow"

[stage.rootfs]
kind = "bootstrap"
suite = "trixie"

[stage.base]
kind = "customise"
from = "rootfs"
hostname = "grow"
packages = ["systemd-sysv", "udev", "kmod", "initramfs-tools", "zstd", "linux-image-cloud-amd64", "lvm2", "fdisk",
    "e2fsprogs"]
services = { enable = ["report.service"] }

[stage.base.file."/etc/systemd/system.conf.d/90-patience.conf"]
content = "[Manager]\nDefaultTimeoutStartSec=1h\nDefaultDeviceTimeoutSec=1h\n"

[stage.base.file."/etc/systemd/system/report.service"]
content = """
[Unit]
After=kuth-grow.service sysinit.target

[Service]
Type=oneshot
StandardOutput=journal+console
ExecStart=/bin/sh /usr/lib/report

[Install]
WantedBy=multi-user.target
"""

[stage.base.file."/usr/lib/report"]
content = """
echo "REPORT unit: $(systemctl is-active kuth-grow.service), failed: $(systemctl list-units --failed --quiet | wc -l)"
echo "REPORT disk: $(cat /sys/class/block/vda/size)"
echo "REPORT volume: $(lvs --noheadings --nosuffix --units m --options lv_size vg0/root | tr -d ' ')"
echo "REPORT free: $(vgs --noheadings --nosuffix --units m --options vg_free vg0 | tr -d ' ')"
echo "REPORT file system: $(findmnt --noheadings --bytes --output SIZE /)"
echo "REPORT END"
systemctl poweroff
"""

[stage.disk]
kind = "disk"
from = "base"
size = "2 GiB"
firmware = "bios"
cmdline = "console=ttyS0 quiet"
partition = [
    { name = "boot", size = "256 MiB", filesystem = "ext4", mount = "/boot" },
    { name = "system", size = "rest", lvm = "vg0" },
]
volume = [{ name = "root", size = "1500 MiB", filesystem = "ext4", mount = "/", grow = true }]

[stage.machine]
kind = "register"
from = "disk"
name = "grow-base"
driver = "qemu"

[stage.golden]
kind = "snapshot"
from = "machine"
name = "golden"

[stage.nodes]
kind = "clone"
from = "golden"

[stage.nodes.role.large]
instances = ["grow-large"]
disk = "6 GiB"
"#;

/// How long a boot may take without KVM on a host that does other things too.
const BOOT: Duration = Duration::from_secs(1200);

#[test]
#[ignore = "boots a machine, minutes without KVM; `make test-boots`"]
fn a_clone_with_a_larger_disk_grows_at_its_first_boot_alone() {
    if !judge::is_there("qemu-system-x86_64") || !judge::is_there("qemu-img") {
        return;
    }
    let home = target_tmp().join("grow");
    let _ = fs::remove_dir_all(home.join("machines"));
    let project = Project::at(&home);
    project.write("pipelines/grow.toml", PIPELINE);
    lend_packages(&project.cache);
    let built = project.kuth(&["build", "pipelines/grow.toml"]).ok();
    collect_packages(&project.cache);
    assert!(!built.err.contains("nothing in the base grows"), "{}", built.err);

    let first = boot(&project);
    let report = |text: &str, name: &str| -> String {
        let start = format!("REPORT {name}: ");
        let line = text.lines().rfind(|line| line.contains(&start));
        let line = line.unwrap_or_else(|| panic!("no {name}: {text}"));
        line.split(&start).nth(1).unwrap().trim().to_string()
    };
    assert_eq!(report(&first, "unit"), "active, failed: 0");
    assert_eq!(report(&first, "disk"), (6 * Bytes::GIB.0 / SECTOR).to_string());
    // 4 GiB more than 1500 MiB, as the table's end comes closer to the end of the disk.
    let volume: f64 = report(&first, "volume").parse().unwrap();
    assert!((5592.0..=5600.0).contains(&volume), "{volume}");
    let file_system: f64 = report(&first, "file system").parse().unwrap();
    assert!(file_system > 0.95 * volume * Bytes::MIB.0 as f64, "{file_system}");
    let resized = "Logical volume vg0/root successfully resized";
    assert!(first.contains(resized), "{first}");

    let second = boot(&project);
    assert!(!second.contains(resized), "{second}");
    for name in ["unit", "disk", "volume", "free", "file system"] {
        assert_eq!(report(&second, name), report(&first, name));
    }

    // What is on the disk, by others.
    let (overlay, raw) = (project.machines.join("grow-large/disk.qcow2"), home.join("grown.raw"));
    let text = |path: &Path| path.to_str().unwrap().to_string();
    let convert = ["convert", "-O", "raw", &text(&overlay), &text(&raw)];
    judge::tool("qemu-img", &convert).unwrap();
    assert_eq!(raw.metadata().unwrap().len(), 6 * Bytes::GIB.0);
    if let Some((ok, said, _)) = judge::verdict("sgdisk", &["-v", &text(&raw)]) {
        assert!(ok && said.contains("No problems found"), "{said}");
    }
    // LVM2 takes the extents right behind the volume.
    let root = format!("{}?offset={}", text(&raw), (1 + 1 + 256 + 1) << 20);
    if let Some((ok, said, faults)) = judge::verdict("e2fsck", &["-fn", &root]) {
        assert!(ok, "{said}{faults}");
    }
    fs::remove_file(raw).unwrap();
    project.kuth(&["machine", "remove", "grow-large"]).ok();
}

/// Starts the machine and waits until it has powered itself off; its console.
fn boot(project: &Project) -> String {
    let start = Instant::now();
    project.kuth(&["machine", "start", "grow-large"]).ok();
    let console = || {
        let file = project.machines.join("grow-large/console.log");
        String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
    };
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let list = project.kuth(&["machine", "list"]).ok().out;
        let is_running =
            list.lines().any(|it| it.starts_with("grow-large") && it.contains("running"));
        if !is_running {
            let console = console();
            assert!(console.contains("REPORT END"), "{console}");
            eprintln!("booted: {:.0} s", start.elapsed().as_secs_f32());
            return console;
        }
        if start.elapsed() > BOOT {
            project.kuth(&["machine", "stop", "grow-large"]);
            panic!("it does not power off: {}", console());
        }
    }
}
