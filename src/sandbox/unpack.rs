//! Unpacks a tar over the tree that is this process's root, as the namespace's root. Because the
//! process has pivoted into the tree, no link and no `..` can lead out of it.
//!
//! A directory entry over a link to a directory keeps the link, so that packages which still ship
//! `/bin/x` land in `/usr/bin`.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::BufReader;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use super::owners::Owners;
use crate::error::{Context, Result, ensure};
use crate::tree::{self, Content, Kind, Metadata, Reader};

/// Unpacks `file` over `/`. Owners that cannot be given are noted in `owners`.
pub fn unpack(file: &Path, owners: &mut Owners) -> Result<()> {
    unpack_into(file, Path::new("/"), owners)
}

fn unpack_into(file: &Path, root: &Path, owners: &mut Owners) -> Result<()> {
    let what = || format!("unpacking {}", file.display());
    let handle = File::open(file).with_context(what)?;
    let mut entries = Reader::new(BufReader::with_capacity(1 << 18, handle));
    let device = root.metadata().with_context(what)?.dev();
    // The time of a directory changes with every file put into it, so directories come last.
    let mut directories = Vec::new();
    while let Some((entry, mut content)) = entries.next_entry().with_context(what)? {
        let path = destination(root, &entry.path)?;
        // What is mounted on a directory of the tree (/proc, /dev) is not the tree's, and the root
        // of a user namespace may not change it.
        if path.metadata().is_ok_and(|found| found.is_dir() && found.dev() != device) {
            continue;
        }
        unpack_entry(&entry.metadata, &mut content, root, &path, owners)
            .with_context(|| format!("unpacking {}", path.display()))?;
        if entry.metadata.kind.is_dir() {
            directories.push((path, entry.metadata.mtime));
        }
    }
    for (path, time) in directories.into_iter().rev() {
        set_time(&path, time)?;
    }
    Ok(())
}

/// `name` below `root`; a name with `..` is refused, although it could not lead anywhere.
fn destination(root: &Path, name: &[u8]) -> Result<PathBuf> {
    Ok(root.join(OsStr::from_bytes(&tree::relative(name)?)))
}

fn unpack_entry(
    entry: &Metadata,
    content: &mut Content<'_>,
    root: &Path,
    path: &Path,
    owners: &mut Owners,
) -> Result<()> {
    let (uid, gid) = (id("owner", entry.uid)?, id("group", entry.gid)?);
    let target = || {
        ensure!(!entry.link.is_empty(), "a link without a target");
        Ok(&entry.link)
    };
    if entry.kind.is_dir() {
        make_directory(path)?;
    } else {
        if let Some(parent) = path.parent()
            && !parent.is_dir()
        {
            std::fs::create_dir_all(parent)?;
        }
        if path.symlink_metadata().is_ok() {
            std::fs::remove_file(path)?;
        }
        match entry.kind {
            Kind::Regular => {
                let file = File::create_new(path)?;
                content.write_to(&file, 0)?;
                file.set_len(entry.size)?;
            }
            Kind::Symlink => symlink(OsStr::from_bytes(target()?), path)?,
            Kind::Link => {
                std::fs::hard_link(destination(root, target()?)?, path)?;
                // The file it names has everything else already.
                return Ok(());
            }
            Kind::Fifo | Kind::Char | Kind::Block => {
                let (file_type, device) = match entry.kind {
                    Kind::Fifo => (FileType::Fifo, (0, 0)),
                    Kind::Char => (FileType::CharacterDevice, entry.device),
                    _ => (FileType::BlockDevice, entry.device),
                };
                let device = rustix::fs::makedev(device.0, device.1);
                let mode = Mode::from_raw_mode(entry.mode);
                rustix::fs::mknodat(CWD, path, file_type, mode, device)?;
            }
            // Volume labels and the like name no file.
            _ => return Ok(()),
        }
    }
    owners.give(path, Some(uid), Some(gid))?;
    if entry.kind == Kind::Symlink {
        return set_time(path, entry.mtime);
    }
    // After the owner: changing that drops set-id bits and capabilities.
    std::fs::set_permissions(path, Permissions::from_mode(entry.mode))?;
    for (name, value) in &entry.attributes {
        rustix::fs::lsetxattr(path, name.as_str(), value, XattrFlags::empty())
            .with_context(|| format!("setting the attribute {name}"))?;
    }
    set_time(path, entry.mtime)
}

fn id(what: &str, id: u64) -> Result<u32> {
    u32::try_from(id).with_context(|| format!("the {what} {id} is not an id"))
}

fn make_directory(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() || path.is_dir() => Ok(()),
        Ok(_) => {
            std::fs::remove_file(path)?;
            Ok(std::fs::create_dir(path)?)
        }
        Err(_) => Ok(std::fs::create_dir_all(path)?),
    }
}

fn set_time(path: &Path, seconds: u64) -> Result<()> {
    let time = Timespec { tv_sec: i64::try_from(seconds)?, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .with_context(|| format!("setting the time of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::pack::pack;
    use std::io::Read;

    #[test]
    fn a_tree_survives_packing_and_unpacking() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        std::fs::create_dir_all(one.join("a/deep")).unwrap();
        std::fs::create_dir(&two).unwrap();
        std::fs::write(one.join("a/deep/file"), "content").unwrap();
        std::fs::write(one.join("a").join("n".repeat(150)), "long").unwrap();
        std::fs::hard_link(one.join("a/deep/file"), one.join("hard")).unwrap();
        symlink("/a/deep", one.join("soft")).unwrap();
        rustix::fs::mknodat(CWD, one.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0)
            .unwrap();
        std::fs::set_permissions(one.join("hard"), Permissions::from_mode(0o4751)).unwrap();
        let first = pack(&one, &directory.path().join("1.tar"), 5000, &Owners::default()).unwrap();
        unpack_into(&directory.path().join("1.tar"), &two, &mut Owners::default()).unwrap();
        let second = pack(&two, &directory.path().join("2.tar"), 5000, &Owners::default()).unwrap();
        assert_eq!(first, second);
    }

    #[test]
    fn holes_stay_holes_and_written_zeros_become_some() {
        use std::os::unix::fs::FileExt;
        const MIB: u64 = 1 << 20;
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str, zeros: bool| {
            let root = directory.path().join(name);
            std::fs::create_dir(&root).unwrap();
            for (name, size, data) in [
                ("all", 6 * MIB, vec![]),
                ("begin", 6 * MIB, vec![6 * MIB - 1]),
                ("middle", 6 * MIB + 1, vec![0, 6 * MIB]),
                ("end", 6 * MIB - 1, vec![MIB - 1]),
                // More than a header and a block behind it hold.
                ("many", 54 * MIB, (0..27).map(|at| 2 * at * MIB + at).collect()),
                ("none", 2 * MIB + 5, vec![0, MIB]),
            ] {
                let file = File::create_new(root.join(name)).unwrap();
                match zeros {
                    true => std::io::copy(&mut std::io::repeat(0).take(size), &mut &file)
                        .map(drop)
                        .unwrap(),
                    false => file.set_len(size).unwrap(),
                }
                data.iter().for_each(|at: &u64| file.write_all_at(b"data", *at - at % 4).unwrap());
                file.set_len(size).unwrap();
                set_time(&root.join(name), 7).unwrap();
            }
            set_time(&root, 7).unwrap();
            let tar = directory.path().join(format!("{name}.tar"));
            (pack(&root, &tar, 5000, &Owners::default()).unwrap(), root, tar)
        };
        let (one, root, tar) = make("holes", false);
        let (two, ..) = make("zeros", true);
        assert_eq!(one, two);
        let again = directory.path().join("again");
        std::fs::create_dir(&again).unwrap();
        unpack_into(&tar, &again, &mut Owners::default()).unwrap();
        let third = pack(&again, &directory.path().join("again.tar"), 5000, &Owners::default());
        assert_eq!(third.unwrap(), one);
        for entry in std::fs::read_dir(&root).unwrap() {
            let name = entry.unwrap().file_name();
            let [old, new] = [&root, &again].map(|root| File::open(root.join(&name)).unwrap());
            let (old_size, found) = (old.metadata().unwrap().len(), new.metadata().unwrap());
            assert_eq!(found.len(), old_size, "{name:?}");
            let most = if name == "many" { 27 } else { 3 };
            assert!(
                found.blocks() * 512 <= (most + 1) * MIB,
                "{name:?}: {} blocks",
                found.blocks()
            );
            let hash = |file: &File| crate::files::sparse::tree_hash(file).unwrap();
            assert_eq!(hash(&old), hash(&new), "{name:?}");
        }
    }

    #[test]
    fn owners_beyond_the_namespace_come_back() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        std::fs::create_dir_all(one.join("directory")).unwrap();
        std::fs::create_dir(&two).unwrap();
        std::fs::write(one.join("file"), "x").unwrap();
        std::fs::hard_link(one.join("file"), one.join("hard")).unwrap();
        symlink("file", one.join("soft")).unwrap();
        let mut owners = Owners::default();
        for (path, uid, gid) in [
            ("directory", 65_536, 7),
            ("file", 4_294_967_294, 1_059_092_950),
            ("soft", 65_534, 2_097_152),
            ("", 0, 65_535),
        ] {
            owners.give(&one.join(path), Some(uid), Some(gid)).unwrap();
        }
        std::fs::set_permissions(one.join("file"), Permissions::from_mode(0o4755)).unwrap();
        let tar = directory.path().join("1.tar");
        let first = pack(&one, &tar, 5000, &owners).unwrap();
        let mut seen = Vec::new();
        let mut entries = Reader::new(File::open(&tar).unwrap());
        while let Some((entry, _)) = entries.next_entry().unwrap() {
            let path = String::from_utf8(entry.path).unwrap();
            let Metadata { uid, gid, mode, .. } = entry.metadata;
            seen.push(format!("{path} {uid}:{gid} {mode:o}"));
        }
        let expected = [
            "./ 0:65535 755",
            "directory/ 65536:7 755",
            "file 4294967294:1059092950 4755",
            "hard 4294967294:1059092950 4755",
            "soft 65534:2097152 777",
        ];
        assert_eq!(seen, expected);
        let mut owners = Owners::default();
        unpack_into(&tar, &two, &mut owners).unwrap();
        let found = two.join("file").symlink_metadata().unwrap();
        assert_eq!((found.uid(), found.gid()), (65_534, 65_534));
        let second = pack(&two, &directory.path().join("2.tar"), 5000, &owners).unwrap();
        assert_eq!(first, second);
    }

    #[test]
    fn ids_that_are_none_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        for uid in [u64::from(u32::MAX), 1 << 32] {
            let tar = directory.path().join("tar");
            let mut builder = tar::Builder::new(File::create(&tar).unwrap());
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.set_mtime(0);
            header.set_mode(0o644);
            header.set_gid(0);
            header.set_uid(uid);
            builder.append_data(&mut header, "file", std::io::empty()).unwrap();
            builder.into_inner().unwrap();
            let root = directory.path().join(uid.to_string());
            std::fs::create_dir(&root).unwrap();
            let error = unpack_into(&tar, &root, &mut Owners::default()).unwrap_err();
            assert!(format!("{error:#}").contains("is not an id"), "{error:#}");
        }
    }

    #[test]
    fn a_directory_over_a_link_to_a_directory_keeps_the_link() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        std::fs::create_dir_all(one.join("bin")).unwrap();
        std::fs::write(one.join("bin/tool"), "x").unwrap();
        std::fs::create_dir_all(two.join("usr/bin")).unwrap();
        symlink("usr/bin", two.join("bin")).unwrap();
        pack(&one, &directory.path().join("1.tar"), 5000, &Owners::default()).unwrap();
        unpack_into(&directory.path().join("1.tar"), &two, &mut Owners::default()).unwrap();
        assert!(two.join("usr/bin/tool").is_file());
        assert!(two.join("bin").symlink_metadata().unwrap().is_symlink());
    }

    #[test]
    fn a_name_that_climbs_is_refused() {
        assert!(destination(Path::new("/r"), b"a/../../x").is_err());
        assert_eq!(destination(Path::new("/r"), b"./a//b").unwrap(), Path::new("/r/a/b"));
    }
}
