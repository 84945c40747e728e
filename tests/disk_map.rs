//! What `kuth inspect` says of how full a disk is, judged by the tools of each file system, and its
//! drawing, judged by another reader of XML.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use kuth_test_support::judge::tool;
use kuth_test_support::program;
use kuth_test_support::run::Run;
use serde_json::Value;

/// A file of `mib` MiB.
fn image(directory: &Path, mib: u64) -> PathBuf {
    let path = directory.join("disk.raw");
    File::create(&path).unwrap().set_len(mib << 20).unwrap();
    path
}

/// A directory with 3 MiB of files.
fn files(directory: &Path) -> PathBuf {
    let files = directory.join("files");
    std::fs::create_dir(&files).unwrap();
    for at in 0..6 {
        let bytes: Vec<u8> = (0..512 << 10).map(|byte: u32| (byte ^ at) as u8).collect();
        std::fs::write(files.join(format!("{at}.bin")), bytes).unwrap();
    }
    files
}

fn inspect(image: &Path, format: &str) -> String {
    let mut command = Command::new(program());
    Run::to_end(command.args(["inspect", "--format", format]).arg(image)).ok().out
}

/// The only part of a disk.
fn part(image: &Path) -> Value {
    let report: Value = serde_json::from_str(&inspect(image, "json")).unwrap();
    report["parts"][0].clone()
}

/// The number behind the first of `words` in a text of a tool.
fn number(text: &str, word: &str) -> u64 {
    let rest = text.split(word).nth(1).unwrap_or_else(|| panic!("no {word} in {text}"));
    let digits = rest.trim_start_matches([' ', ':', '=', '\t']);
    digits.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn the_fill_of_ext4_is_that_of_dumpe2fs() {
    let directory = tempfile::tempdir().unwrap();
    let (path, files) = (image(directory.path(), 64), files(directory.path()));
    let (path_text, files) = (path.to_str().unwrap(), files.to_str().unwrap());
    for features in ["64bit", "^64bit"] {
        let words = ["-q", "-F", "-t", "ext4", "-O", features, "-d", files, path_text];
        if tool("mke2fs", &words).is_none() {
            return;
        }
        let shown = tool("dumpe2fs", &["-h", path_text]).unwrap();
        let used = number(&shown, "Block count") - number(&shown, "Free blocks");
        let part = part(&path);
        assert_eq!(part["used"], used * number(&shown, "Block size"), "{features}: {part}");
        assert_eq!(part["pieces"], serde_json::json!([{ "start": 0, "size": 64 << 20 }]));
    }
}

#[test]
fn the_fill_of_xfs_is_that_of_xfs_db() {
    let directory = tempfile::tempdir().unwrap();
    let path = image(directory.path(), 320);
    let path_text = path.to_str().unwrap();
    if tool("mkfs.xfs", &["-q", "-f", path_text]).is_none() {
        return;
    }
    let words = ["-c", "sb 0", "-c", "print dblocks fdblocks blocksize", path_text];
    let shown = tool("xfs_db", &words).unwrap();
    let used = number(&shown, "dblocks") - number(&shown, "fdblocks");
    assert_eq!(part(&path)["used"], used * number(&shown, "blocksize"), "{shown}");
}

#[test]
fn the_fill_of_fat_is_that_of_fsck() {
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path());
    // 12, 16 and 32 bits.
    for (mib, bits) in [(6, "12"), (32, "16"), (64, "32")] {
        let path = image(directory.path(), mib);
        let path_text = path.to_str().unwrap();
        if tool("mkfs.vfat", &["-F", bits, path_text]).is_none() {
            return;
        }
        let one = files.join("1.bin");
        let words = ["-i", path_text, one.to_str().unwrap(), "::/ONE.BIN"];
        if tool("mcopy", &words).is_none() {
            return;
        }
        // `disk.raw: 1 files, 257/65501 clusters`
        let shown = tool("fsck.fat", &["-n", "-v", path_text]).unwrap();
        let clusters = number(&shown, " files, ");
        let cluster = |line: &&str| line.contains("bytes per cluster");
        let size: u64 = shown
            .lines()
            .find(cluster)
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let data = shown.lines().find(|line| line.starts_with("Data area starts at byte")).unwrap();
        let expected = number(data, "at byte") + clusters * size;
        assert_eq!(part(&path)["used"], expected, "FAT{bits}: {shown}");
    }
}

#[test]
fn the_drawing_is_xml_with_a_row_for_each_part() {
    let directory = tempfile::tempdir().unwrap();
    let path = image(directory.path(), 64);
    let path_text = path.to_str().unwrap();
    if tool("mke2fs", &["-q", "-F", "-t", "ext4", "-L", "a<b&\"c", path_text]).is_none() {
        return;
    }
    let drawing = directory.path().join("disk.svg");
    std::fs::write(&drawing, inspect(&path, "svg")).unwrap();
    const JUDGE: &str = "import sys, xml.etree.ElementTree as tree\n\
        root = tree.parse(sys.argv[1]).getroot()\n\
        print(root.tag, [t.text for t in root.iter('{http://www.w3.org/2000/svg}text')])\n";
    let Some(read) = tool("python3", &["-c", JUDGE, drawing.to_str().unwrap()]) else { return };
    assert!(read.starts_with("{http://www.w3.org/2000/svg}svg ["), "{read}");
    assert!(read.contains("64.0 MiB, no partition table, raw image"), "{read}");
    assert!(read.contains("the whole disk, a<b&\"c"), "{read}");
    assert!(read.contains("ext4, 64.0 MiB, "), "{read}");
}
