//! A tree as one canonical tar: entries sorted by path, numeric owners, times cut to whole seconds
//! and clamped to the epoch, extended attributes as `SCHILY.xattr` records (what GNU tar and
//! libarchive write and read), the second and later names of a file as hard links. The same tree
//! gives the same bytes on every machine.
//!
//! Left out, because they belong to a running machine: what lies below /proc, /sys, /dev, /run
//! and the exchange folder, and sockets. A folder that something is mounted on is packed as root's,
//! with mode 0755: what it is like below, and what a user namespace shows of it, does not count.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::{EXCHANGE, Packed};
use crate::digest::HashingWriter;
use crate::error::{Context, Result};

/// Folders of which only the folder itself is packed.
const EMPTIED: [&str; 5] = ["proc", "sys", "dev", "run", "tmp"];

/// Writes the tree at `root` to `file`.
pub fn pack(root: &Path, file: &Path, epoch: u64) -> Result<Packed> {
    let what = || format!("writing {}", file.display());
    let output = File::create(file).with_context(what)?;
    let writer = HashingWriter::new(BufWriter::with_capacity(1 << 20, output));
    let device = root.metadata().with_context(what)?.dev();
    let links = HashMap::new();
    let mut packer = Packer { builder: Builder::new(writer), epoch, device, links };
    packer.entry(root, Path::new("./"))?;
    packer.folder(root, Path::new(""))?;
    let (writer, digest, size) = packer.builder.into_inner().with_context(what)?.finish();
    writer.into_inner().map_err(|error| error.into_error()).with_context(what)?;
    Ok(Packed { digest, size })
}

struct Packer<W: Write> {
    builder: Builder<W>,
    epoch: u64,
    /// The file system that the tree lies on.
    device: u64,
    /// The first name of each file that has several, by (device, inode).
    links: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Packer<W> {
    /// Everything in the folder `path`, whose name in the archive is `name`.
    fn folder(&mut self, path: &Path, name: &Path) -> Result<()> {
        let what = || format!("reading {}", path.display());
        let mut entries = std::fs::read_dir(path)
            .and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>())
            .with_context(what)?;
        entries.sort_by_key(|entry| entry.file_name());
        for entry in entries {
            let (path, name) = (entry.path(), name.join(entry.file_name()));
            if Path::new("/").join(&name) == Path::new(EXCHANGE) {
                continue;
            }
            let kind = entry.file_type().with_context(|| format!("reading {}", path.display()))?;
            if kind.is_socket() {
                continue;
            }
            self.entry(&path, &name)?;
            if kind.is_dir() && !EMPTIED.iter().any(|emptied| name == Path::new(emptied)) {
                self.folder(&path, &name)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &Path) -> Result<()> {
        let what = || format!("packing {}", path.display());
        let metadata = path.symlink_metadata().with_context(what)?;
        let mut header = self.header(&metadata);
        let kind = metadata.file_type();
        let several = metadata.nlink() > 1 && !kind.is_dir();
        if several {
            let id = (metadata.dev(), metadata.ino());
            if let Some(first) = self.links.get(&id) {
                header.set_entry_type(EntryType::Link);
                return self.builder.append_link(&mut header, name, first).with_context(what);
            }
            self.links.insert(id, name.to_path_buf());
        }
        let attributes = attributes(path).with_context(what)?;
        self.builder
            .append_pax_extensions(attributes.iter().map(|(k, v)| (k.as_str(), v.as_slice())))
            .with_context(what)?;
        if kind.is_file() {
            let mut file = File::open(path).with_context(what)?;
            header.set_size(metadata.len());
            // A file that grows meanwhile would shift everything behind it.
            return self
                .builder
                .append_data(&mut header, name, (&mut file).take(metadata.len()))
                .with_context(what);
        }
        if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            let target = std::fs::read_link(path).with_context(what)?;
            return self.builder.append_link(&mut header, name, target).with_context(what);
        }
        if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
        } else if kind.is_fifo() {
            header.set_entry_type(EntryType::Fifo);
        } else {
            let block = kind.is_block_device();
            header.set_entry_type(if block { EntryType::Block } else { EntryType::Char });
            let device = metadata.rdev();
            header.set_device_major(rustix::fs::major(device)).with_context(what)?;
            header.set_device_minor(rustix::fs::minor(device)).with_context(what)?;
        }
        let name = if kind.is_dir() { with_slash(name) } else { name.to_path_buf() };
        self.builder.append_data(&mut header, name, std::io::empty()).with_context(what)
    }

    fn header(&self, metadata: &Metadata) -> Header {
        let mut header = Header::new_gnu();
        if metadata.is_dir() && metadata.dev() != self.device {
            header.set_mode(0o755);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(self.epoch);
            header.set_size(0);
            return header;
        }
        header.set_mode(metadata.mode() & 0o7777);
        header.set_uid(metadata.uid().into());
        header.set_gid(metadata.gid().into());
        header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0).min(self.epoch));
        header.set_size(0);
        header
    }
}

fn with_slash(name: &Path) -> PathBuf {
    let mut bytes = name.as_os_str().as_bytes().to_vec();
    if !bytes.ends_with(b"/") {
        bytes.push(b'/');
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

/// The extended attributes of a file as pax records, sorted.
fn attributes(path: &Path) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0u8; 1 << 12];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // Labels of the host's security module are not part of the tree.
        if name == b"security.selinux" {
            continue;
        }
        let mut value = vec![0u8; 1 << 16];
        let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value)?;
        value.truncate(length);
        found.push((format!("SCHILY.xattr.{}", String::from_utf8_lossy(name)), value));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn names(file: &Path) -> Vec<String> {
        let mut archive = tar::Archive::new(File::open(file).unwrap());
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| String::from_utf8(entry.unwrap().path_bytes().into()).unwrap())
            .collect()
    }

    #[test]
    fn two_trees_of_the_same_content_pack_alike() {
        let folder = tempfile::tempdir().unwrap();
        let long = "n".repeat(120);
        let make = |name: &str, order: [&str; 2]| {
            let root = folder.path().join(name);
            std::fs::create_dir_all(root.join("etc")).unwrap();
            for file in order {
                std::fs::write(root.join("etc").join(file), "x").unwrap();
            }
            std::fs::hard_link(root.join("etc/a"), root.join("etc/c")).unwrap();
            std::fs::write(root.join(&long), "y").unwrap();
            symlink("etc/a", root.join("link")).unwrap();
            std::fs::create_dir(root.join("tmp")).unwrap();
            std::fs::write(root.join("tmp/left"), "").unwrap();
            std::fs::set_permissions(root.join("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
            let file = folder.path().join(format!("{name}.tar"));
            (pack(&root, &file, 1000).unwrap(), file)
        };
        let (one, file) = make("one", ["a", "b"]);
        let (two, _) = make("two", ["b", "a"]);
        assert_eq!(one, two);
        let expected = ["./", "etc/", "etc/a", "etc/b", "etc/c", "link", long.as_str(), "tmp/"];
        assert_eq!(names(&file), expected);
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(one.digest, crate::digest::Digest::of(&bytes));
        assert_eq!(one.size, bytes.len() as u64);
    }
}
