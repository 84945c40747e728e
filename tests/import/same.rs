//! Whether a tar is a tree: GNU tar unpacks it, and both are looked at. Nothing of kuth's takes
//! part.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::world::{have, is_root, run, text};

/// Of these a tree keeps the directory alone.
const EMPTIED: [&str; 5] = ["proc", "sys", "dev", "run", "tmp"];

/// Fails unless `tar`, unpacked by GNU tar, is the tree at `root`.
pub fn judge(tar: &Path, root: &Path) {
    if !have(&["tar", "getfattr"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("tree");
    std::fs::create_dir(&to).unwrap();
    let arguments = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", text(tar)];
    run("tar", &[&arguments[..], &["-C", text(&to)]].concat());
    let (expected, found) = (listed(root), listed(&to));
    let different = |one: &BTreeMap<PathBuf, String>, two: &BTreeMap<PathBuf, String>| {
        let lines = one.iter().filter(|(name, text)| two.get(*name) != Some(text));
        lines.take(20).map(|line| format!("{line:?}")).collect::<Vec<_>>()
    };
    let (gone, came) = (different(&expected, &found), different(&found, &expected));
    assert!(
        gone.is_empty() && came.is_empty(),
        "only in the tree: {gone:#?}\nonly in the tar: {came:#?}"
    );
    // The contents themselves, so that no digest has to be believed.
    for name in expected.keys() {
        let (one, two) = (root.join(name), to.join(name));
        if one.symlink_metadata().unwrap().is_file() {
            assert!(std::fs::read(one).unwrap() == std::fs::read(two).unwrap(), "{name:?}");
        }
    }
}

/// All below `root`, and it, with what a system keeps of each.
fn listed(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut attributes = attributes(root);
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(path) = open.pop() {
        let name = path.strip_prefix(root).unwrap().to_path_buf();
        let metadata = path.symlink_metadata().unwrap();
        let owner = match is_root() {
            true => format!("{}:{}", metadata.uid(), metadata.gid()),
            false => String::new(),
        };
        let mut line = format!("{:o} {owner} {}", metadata.mode(), metadata.mtime());
        if metadata.is_dir() {
            let emptied = EMPTIED.iter().any(|emptied| name == Path::new(emptied));
            let inside = path.read_dir().unwrap().map(|entry| entry.unwrap().path());
            open.extend(inside.filter(|_| !emptied));
        } else {
            line += &format!(" {} names, {} bytes", metadata.nlink(), metadata.len());
            line += &format!(", device {}", metadata.rdev());
        }
        if metadata.is_symlink() {
            line += &format!(", to {}", path.read_link().unwrap().display());
        }
        line += &attributes.remove(&name).unwrap_or_default();
        found.insert(name, line);
    }
    found
}

/// Attributes that no tree has: labels of SELinux, and access lists that XFS shows a second time.
const LEFT_OUT: [&str; 2] = ["security.selinux", "trusted.SGI_ACL_"];

/// The extended attributes of all below `root`, by getfattr.
fn attributes(root: &Path) -> BTreeMap<PathBuf, String> {
    let arguments =
        ["-R", "-P", "-h", "-d", "-m", "-", "-e", "hex", "--absolute-names", text(root)];
    let mut found = BTreeMap::new();
    for block in run("getfattr", &arguments).split("\n\n") {
        let mut lines = block.lines();
        let Some(name) = lines.next().and_then(|line| line.strip_prefix("# file: ")) else {
            continue;
        };
        let mut lines: Vec<&str> =
            lines.filter(|line| !LEFT_OUT.iter().any(|left| line.starts_with(left))).collect();
        lines.sort();
        if lines.is_empty() {
            continue;
        }
        let name = Path::new(name).strip_prefix(root).unwrap().to_path_buf();
        found.insert(name, format!(", {}", lines.join(", ")));
    }
    found
}
