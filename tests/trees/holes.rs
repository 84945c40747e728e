//! Trees with large holes, read by the programs of others, and on every file system.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use kuth::sandbox::owners::Owners;
use kuth::sandbox::pack::pack;

use crate::disk::{Bench, EPOCH, Tree, disk_of};
use crate::files::{MIB, Sample, samples};
use kuth_test_support::judge::{tool, tool_in};

/// Every sample, and their tar.
struct Packed {
    _directory: tempfile::TempDir,
    root: PathBuf,
    tar: PathBuf,
}

fn packed(samples: &[Sample]) -> Packed {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (root, tar) = (directory.path().join("root"), directory.path().join("tree.tar"));
    std::fs::create_dir(&root).unwrap();
    samples.iter().for_each(|sample| sample.make(&root));
    pack(&root, &tar, EPOCH, &Owners::default()).unwrap();
    Packed { _directory: directory, root, tar }
}

#[test]
fn other_programs_read_a_tree_with_holes() {
    let samples = samples();
    let Packed { _directory, root, tar } = packed(&samples);
    let stored: u64 = samples.iter().map(|sample| sample.stored().min(sample.size)).sum();
    let size = tar.metadata().unwrap().len();
    assert!(size < stored + 3 * MIB, "{size} bytes for {stored}");
    let into = |name: &str| {
        let directory = tar.with_file_name(name);
        std::fs::create_dir(&directory).unwrap();
        directory
    };
    let file = tar.to_str().unwrap();
    let compare = |directory: &Path, who: &str| {
        samples.iter().for_each(|one| one.compare(&directory.join(&one.name), &root, who));
    };
    let gnu = into("gnu");
    if tool_in(&gnu, "tar", &["-xf", file]).is_some() {
        compare(&gnu, "GNU tar");
    }
    let bsd = into("bsd");
    if tool_in(&bsd, "bsdtar", &["-xf", file]).is_some() {
        compare(&bsd, "bsdtar");
    }
    let python = into("python");
    let script = "import sys, tarfile\ntarfile.open(sys.argv[1]).extractall('.')";
    if tool_in(&python, "python3", &["-c", script, file]).is_some() {
        compare(&python, "Python");
    }
}

const KEYS: &str = r#"
size = "1 GiB"
table = "mbr"
firmware = ["bios"]
[[stage.disk.partition]]
name = "root"
size = "rest"
filesystem = "ext4"
mount = "/"
[[stage.disk.partition]]
name = "var"
size = "300 MiB"
filesystem = "xfs"
mount = "/var"
[[stage.disk.partition]]
name = "share"
size = "256 MiB"
filesystem = "vfat"
mount = "/srv"
"#;

/// The bytes of a bootable tree with the samples below `/holes`, `/var` and, if they are small,
/// `/srv`.
fn bootable(samples: &[Sample]) -> Vec<u8> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (root, tar) = (directory.path().join("root"), directory.path().join("tree.tar"));
    std::fs::create_dir(&root).unwrap();
    let unpacked = directory.path().join("small.tar");
    std::fs::write(&unpacked, Tree::bootable().finish()).unwrap();
    tar::Archive::new(File::open(&unpacked).unwrap()).unpack(&root).unwrap();
    for name in ["holes", "srv"] {
        std::fs::create_dir(root.join(name)).unwrap();
    }
    for sample in samples {
        sample.make(&root.join("holes"));
        sample.make(&root.join("var"));
        if on_fat(sample) {
            sample.make(&root.join("srv"));
        }
    }
    pack(&root, &tar, EPOCH, &Owners::default()).unwrap();
    std::fs::read(tar).unwrap()
}

fn on_fat(sample: &Sample) -> bool {
    sample.size < 70 * MIB
}

#[test]
fn every_file_system_holds_more_than_its_size_in_holes() {
    let samples = samples();
    let original = packed(&samples);
    let bench = Bench::new();
    let stage = disk_of(KEYS).unwrap();
    let (disk, _) = bench.run(stage.as_ref(), &bench.tree(&bootable(&samples))).unwrap();
    let blocks = disk.image.metadata().unwrap().blocks() * 512;
    let stored: u64 = samples.iter().map(Sample::stored).sum();
    assert!(
        blocks < 3 * stored + 80 * MIB,
        "the disk takes {blocks}, its files {stored} each time"
    );
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let copy = directory.path().join("copy");
    let mut judged = Vec::new();
    for artifact in bench.filesystems() {
        let image = artifact.to_str().unwrap();
        let mut magic = [0; 4];
        File::open(&artifact).unwrap().read_exact(&mut magic).unwrap();
        match &magic {
            b"XFSB" => {
                tool("xfs_repair", &["-n", image]);
                for sample in &samples {
                    let path = format!("path /{}", sample.name);
                    let print = "print core.size core.nblocks";
                    let Some(text) = tool("xfs_db", &["-r", "-c", &path, "-c", print, image])
                    else {
                        break;
                    };
                    assert!(text.contains(&format!("core.size = {}\n", sample.size)), "{text}");
                    let mut words =
                        text.split("core.nblocks = ").nth(1).unwrap().split_whitespace();
                    let blocks: u64 = words.next().unwrap().parse().unwrap();
                    assert!(blocks * 4096 <= sample.stored() + MIB, "{}: {text}", sample.name);
                }
                judged.push("xfs");
            }
            [0xeb, 0x58, ..] => {
                tool("fsck.vfat", &["-n", image]);
                for sample in samples.iter().filter(|sample| on_fat(sample)) {
                    let from = format!("::/{}", sample.name);
                    if tool("mcopy", &["-n", "-i", image, &from, copy.to_str().unwrap()]).is_some()
                    {
                        let file = File::open(&copy).unwrap();
                        sample.compare_content(&file, &original.root, "mcopy");
                        std::fs::remove_file(&copy).unwrap();
                    }
                }
                judged.push("vfat");
            }
            _ => {
                tool("e2fsck", &["-fn", image]);
                for sample in &samples {
                    ext4(sample, image, &copy, &original.root);
                }
                judged.push("ext4");
            }
        }
    }
    judged.sort();
    assert_eq!(judged, ["ext4", "vfat", "xfs"]);
}

/// What debugfs says of a sample, and what it gives of those that are short enough.
fn ext4(sample: &Sample, image: &str, copy: &Path, original: &Path) {
    let Some(text) = tool("debugfs", &["-R", &format!("stat /holes/{}", sample.name), image])
    else {
        return;
    };
    let field = |name: &str| -> u64 {
        let rest = text.split(name).nth(1).unwrap_or_else(|| panic!("no {name} in {text}"));
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    assert_eq!(field(" Size: "), sample.size, "{}: {text}", sample.name);
    let blocks = field("Blockcount: ") * 512;
    assert!(blocks <= sample.stored(), "{} takes {blocks}", sample.name);
    if sample.size <= 200 * MIB {
        let dump = format!("dump /holes/{} {}", sample.name, copy.display());
        tool("debugfs", &["-R", &dump, image]);
        sample.compare_content(&File::open(copy).unwrap(), original, "debugfs");
        std::fs::remove_file(copy).unwrap();
    }
}

#[test]
fn a_disk_keeps_ids_of_any_size() {
    let bench = Bench::new();
    let mut tree = Tree::bootable();
    tree.owned("etc/owned", 4_294_967_294, 1_059_092_950);
    tree.entry("var/", tar::EntryType::Directory, 0o755, b"", "");
    tree.owned("var/owned", 4_294_967_294, 65_536);
    let (_, _) = bench.run(disk_of(KEYS).unwrap().as_ref(), &bench.tree(&tree.finish())).unwrap();
    let mut judged = 0;
    for artifact in bench.filesystems() {
        let image = artifact.to_str().unwrap();
        let mut magic = [0; 4];
        File::open(&artifact).unwrap().read_exact(&mut magic).unwrap();
        let (text, ids) = match &magic {
            b"XFSB" => {
                let print = "print core.uid core.gid";
                let text = tool("xfs_db", &["-r", "-c", "path /owned", "-c", print, image]);
                (text, ["core.uid = 4294967294", "core.gid = 65536"])
            }
            [0xeb, 0x58, ..] => continue,
            _ => {
                let text = tool("debugfs", &["-R", "stat /etc/owned", image]);
                // debugfs takes an id for a number with a sign.
                (text, ["User:    -2", "Group: 1059092950"])
            }
        };
        judged += 1;
        let Some(text) = text else { continue };
        ids.iter().for_each(|id| assert!(text.contains(id), "{id}: {text}"));
    }
    assert_eq!(judged, 2);
}

#[test]
fn diff_compares_a_tree_with_holes_with_one_that_has_none() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let root = directory.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let file = File::create_new(root.join("file")).unwrap();
    file.set_len(9 * MIB).unwrap();
    file.write_all_at(b"data", 5 * MIB).unwrap();
    let [sparse, other] = ["a.tar", "b.tar"].map(|name| directory.path().join(name));
    pack(&root, &sparse, EPOCH, &Owners::default()).unwrap();
    // As kuth packed it before it knew holes.
    let dense = directory.path().join("dense.tar");
    let time = format!("--mtime=@{EPOCH}");
    let words = ["--format=gnu", "--numeric-owner", &time, "-cf", dense.to_str().unwrap(), "file"];
    if tool_in(&root, "tar", &words).is_none() {
        return;
    }
    // What is said of the file, if anything.
    let diff = |a: &Path, b: &Path| {
        let mut command = Command::new(kuth_test_support::program());
        command.current_dir(&directory).env("KUTH_CACHE", directory.path().join("cache"));
        let output = command.arg("diff").args([a, b]).args(["--format", "json"]).output().unwrap();
        let faults = String::from_utf8(output.stderr).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let found: serde_json::Value = serde_json::from_str(&text).expect(&faults);
        let files = found["files"].as_array().expect(&text).clone();
        files.into_iter().find(|file| file["path"] == "/file")
    };
    assert_eq!(diff(&dense, &sparse), None);
    let file = File::options().write(true).open(root.join("file")).unwrap();
    file.write_all_at(b"DATA", 5 * MIB).unwrap();
    pack(&root, &other, EPOCH, &Owners::default()).unwrap();
    let found = diff(&sparse, &other).expect("the content is another");
    assert_eq!(found["changes"], serde_json::json!(["content"]));
    // Nobody reads gigabytes of zeros for a digest.
    assert_eq!(found["new"]["sha256"], serde_json::Value::Null);
}
