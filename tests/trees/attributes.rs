//! Extended attributes of any bytes: through an import, two customises and a disk, and back out of the
//! disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use kuth::cancel::Cancel;
use kuth::import::{self, Options, OtherFiles};
use kuth::tree::Reader;
use kuth::units::Bytes;

use crate::disk::{Bench, EPOCH, Tree, disk_of};
use kuth_test_support::judge::tool;

const DISK: &str = r#"
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
filesystem = "ext4"
mount = "/var"
"#;

/// Attributes by path and name.
type Attributes = BTreeMap<(String, String), Vec<u8>>;

/// Every byte alone, among others, and what looks like the end of a record.
fn attributes() -> Attributes {
    let mut all = Attributes::new();
    let mut add = |path: &str, name: &str, value: Vec<u8>| {
        for directory in ["etc", "var"] {
            all.insert((format!("{directory}/{path}"), name.into()), value.clone());
        }
    };
    for byte in 0..=255u8 {
        add(&format!("alone-{byte:03}"), "user.value", vec![byte]);
        add(&format!("among-{byte:03}"), "user.value", vec![b'a', byte, b'=', byte, b'1']);
    }
    add("all", "user.value", (0..=255).collect());
    add("record", "user.value", b"x\n13 path=/etc\n".to_vec());
    add("empty", "user.value", Vec::new());
    // cap_dac_override,cap_fowner=ep: the bits 1 and 3 are the byte 0x0a.
    let capability: [u32; 5] = [0x0200_0001, 0x0a, 0, 0, 0];
    let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
    add("capable", "security.capability", bytes(&capability));
    // Owner, user 10, group, group 10, mask, others: tag and permissions, then the id.
    let entry = |tag: u32, permissions: u32, id: u32| [permissions << 16 | tag, id];
    let none = u32::MAX;
    let list = [
        entry(0x01, 6, none),
        entry(0x02, 4, 10),
        entry(0x04, 4, none),
        entry(0x08, 4, 10),
        entry(0x10, 4, none),
        entry(0x20, 4, none),
    ];
    add("shared", "system.posix_acl_access", bytes(&[&[2], list.as_flattened()].concat()));
    all
}

fn of_tar(tar: &Path) -> Attributes {
    let mut found = Attributes::new();
    let mut entries = Reader::new(File::open(tar).unwrap());
    while let Some((entry, _)) = entries.next_entry().unwrap() {
        let path = String::from_utf8(entry.path).unwrap();
        for (name, value) in entry.metadata.attributes {
            found.insert((path.clone(), name), value);
        }
    }
    found
}

/// The tree after the second customise, from a root tar with these attributes.
fn customised(directory: &Path, attributes: &Attributes) -> PathBuf {
    let mut tree = Tree::bootable();
    for ((path, name), value) in attributes {
        tree.file_with(path, name, value);
    }
    std::fs::write(directory.join("root.tar"), tree.finish()).unwrap();
    let pipeline = format!(
        "[pipeline]\nname = \"p\"\n\
        [stage.tar]\nkind = \"download\"\nurl = \"file://{}/root.tar\"\n\
        [stage.root]\nkind = \"import\"\nfrom = \"tar\"\n\
        [stage.one]\nkind = \"customise\"\nfrom = \"root\"\nfile.\"/etc/one\".content = \"1\"\n\
        [stage.two]\nkind = \"customise\"\nfrom = \"one\"\nfile.\"/etc/two\".content = \"2\"\n",
        directory.display()
    );
    std::fs::write(directory.join("p.toml"), pipeline).unwrap();
    let kuth = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kuth"));
        command.args(arguments).current_dir(directory).env("KUTH_CACHE", directory.join("cache"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    };
    kuth(&["build", "p.toml", "two"]);
    for stage in ["root", "one"] {
        assert_same(&of_tar(&kuth(&["path", "p.toml", stage])), attributes, stage);
    }
    kuth(&["path", "p.toml", "two"])
}

fn assert_same(found: &Attributes, expected: &Attributes, stage: &str) {
    for (at, value) in expected {
        assert_eq!(found.get(at), Some(value), "{stage}: {at:?}");
    }
    assert_eq!(found.len(), expected.len(), "{stage}");
}

#[test]
fn attributes_of_any_bytes_reach_the_disk_and_come_back() {
    let attributes = attributes();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let tree = customised(directory.path(), &attributes);
    assert_same(&of_tar(&tree), &attributes, "two");
    let bench = Bench::new();
    let stage = disk_of(DISK).unwrap();
    let artifact = bench.tree(&std::fs::read(tree).unwrap());
    let (disk, _) = bench.run(stage.as_ref(), &artifact).unwrap();
    let (back, cancel) = (directory.path().join("back.tar"), Cancel::default());
    let options = Options { epoch: EPOCH, limit: Bytes::gib(1), cancel: &cancel, report: &|_| () };
    let image = import::open(&disk.image, OtherFiles::Refused).unwrap();
    import::import(&image, None, &back, &options).unwrap();
    assert_same(&of_tar(&back), &attributes, "the disk");
    judged(&bench, &attributes, directory.path());
}

/// What debugfs finds on the ext4.
fn judged(bench: &Bench, attributes: &Attributes, directory: &Path) {
    let copy = directory.join("value");
    let is_ext4 =
        |path: &PathBuf| std::fs::read(path).is_ok_and(|it| it[1080..1082] == [0x53, 0xef]);
    // The larger one is that of /.
    let images = bench.filesystems().into_iter().filter(is_ext4);
    let image = images.max_by_key(|path| path.metadata().unwrap().len()).expect("there is one");
    for path in ["etc/alone-010", "etc/all", "etc/among-010", "etc/record"] {
        let request = format!("ea_get -f {} /{path} user.value", copy.display());
        if tool("debugfs", &["-R", &request, image.to_str().unwrap()]).is_some() {
            let expected = &attributes[&(path.to_string(), "user.value".to_string())];
            assert_eq!(&std::fs::read(&copy).unwrap(), expected, "debugfs: {path}");
        }
    }
}
