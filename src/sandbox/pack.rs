//! A tree as one canonical tar: entries sorted by path, numeric owners, times cut to whole seconds
//! and clamped to the epoch, extended attributes as `SCHILY.xattr` records (what GNU tar and
//! libarchive write and read), the second and later names of a file as hard links, long runs of
//! zeros left out ([`crate::tree::sparse`]), owners as they truly are ([`Owners`]). The same tree
//! gives the same bytes on every machine.
//!
//! Left out, because they belong to a running machine: what lies below /proc, /sys, /dev, /run
//! and the exchange directory, and sockets. A directory that something is mounted on is packed as
//! root's, with mode 0755: what it is like below, and what a user namespace shows of it, does not
//! count.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::owners::Owners;
use super::{EXCHANGE, Packed};
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::tree::{Data, EMPTIED, FileWriter, Kind, Metadata, Writer};

/// Attributes that are the host's and not the tree's: labels of its security module, and the form
/// in which XFS shows root the access lists that are there under their own names too.
const HOSTS: [&[u8]; 3] =
    [b"security.selinux", b"trusted.SGI_ACL_FILE", b"trusted.SGI_ACL_DEFAULT"];

/// The directories that something else is mounted on while a tree is worked on.
const COVERED: [&str; 3] = ["proc", "sys", "dev"];

/// The attributes by which overlayfs remembers things in a layer.
const OVERLAY: &[u8] = b"user.overlay.";

/// The one of a directory that hides what lower layers have at its path.
const OPAQUE: &[u8] = b"user.overlay.opaque";

/// Writes the tree at `root` to `file`.
pub fn pack(root: &Path, file: &Path, epoch: u64, owners: &Owners) -> Result<Packed> {
    pack_as(What::Tree, root, file, epoch, owners)
}

/// Like [`pack`], of a tree in which commands ran: also where nothing could be mounted, /proc, /sys and
/// /dev are packed as if there was.
pub fn pack_used(root: &Path, file: &Path, epoch: u64, owners: &Owners) -> Result<Packed> {
    pack_as(What::UsedTree, root, file, epoch, owners)
}

fn pack_as(what: What, root: &Path, file: &Path, epoch: u64, owners: &Owners) -> Result<Packed> {
    let writer = FileWriter::create(file, epoch)?;
    let (digest, size) = write(root, writer, epoch, owners, what)?
        .finish()
        .with_context(|| format!("writing {}", file.display()))?;
    Ok(Packed { digest, size })
}

/// What is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Tree,
    /// A tree in which commands ran.
    UsedTree,
    /// A layer of a tree, of which everything counts.
    Layer,
}

/// The SHA-256 of the tar of the layer at `root`: all that is in it, and of overlayfs's own
/// attributes the one that tells what it hides.
pub fn layer_digest(root: &Path, epoch: u64) -> Result<Digest> {
    let owners = Owners::default();
    let writer = Writer::new(std::io::sink(), epoch, root);
    let (_, digest, _) = write(root, writer, epoch, &owners, What::Layer)?.into_inner()?;
    Ok(digest)
}

fn write<W: Write>(
    root: &Path,
    writer: Writer<W>,
    epoch: u64,
    owners: &Owners,
    what: What,
) -> Result<Writer<W>> {
    let device = root.metadata().with_context(|| format!("reading {}", root.display()))?.dev();
    let links = HashMap::new();
    let mut packer = Packer { writer, epoch, device, links, owners, what };
    packer.entry(root, Path::new("./"))?;
    packer.directory(root, Path::new(""))?;
    Ok(packer.writer)
}

struct Packer<'a, W: Write> {
    writer: Writer<W>,
    epoch: u64,
    /// The file system that the tree lies on.
    device: u64,
    /// The first name of each file that has several, by (device, inode).
    links: HashMap<(u64, u64), PathBuf>,
    owners: &'a Owners,
    what: What,
}

impl<W: Write> Packer<'_, W> {
    /// Everything in the directory `path`, whose name in the archive is `name`.
    fn directory(&mut self, path: &Path, name: &Path) -> Result<()> {
        let what = || format!("reading {}", path.display());
        let mut entries = fs::read_dir(path)
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
            let is_emptied = || EMPTIED.iter().any(|emptied| name == Path::new(emptied));
            if kind.is_dir() && (self.what == What::Layer || !is_emptied()) {
                self.directory(&path, &name)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &Path) -> Result<()> {
        let what = || format!("packing {}", path.display());
        let found = path.symlink_metadata().with_context(what)?;
        let mut metadata = self.metadata(&found, name);
        let kind = found.file_type();
        if found.nlink() > 1 && !kind.is_dir() {
            let id = (found.dev(), found.ino());
            if let Some(first) = self.links.get(&id) {
                metadata.kind = Kind::Link;
                metadata.link = first.as_os_str().as_bytes().to_vec();
                return self.writer.add(name, &metadata, Data::Nothing).with_context(what);
            }
            self.links.insert(id, name.to_path_buf());
        }
        metadata.attributes = attributes(path, self.what == What::Layer).with_context(what)?;
        if kind.is_file() {
            let file = File::open(path).with_context(what)?;
            metadata.size = found.len();
            return self.writer.add(name, &metadata, Data::Open(&file)).with_context(what);
        }
        if kind.is_symlink() {
            let target = fs::read_link(path).with_context(what)?;
            metadata.link = target.into_os_string().into_vec();
        } else if kind.is_block_device() || kind.is_char_device() {
            let device = found.rdev();
            metadata.device = (rustix::fs::major(device), rustix::fs::minor(device));
        }
        self.writer.add(name, &metadata, Data::Nothing).with_context(what)
    }

    /// Type, mode, owner and time.
    fn metadata(&self, found: &fs::Metadata, name: &Path) -> Metadata {
        let is_covered =
            || self.what == What::UsedTree && COVERED.iter().any(|path| name == Path::new(path));
        if found.is_dir() && (found.dev() != self.device || is_covered()) {
            return Metadata::directory(0o755, self.epoch);
        }
        let (uid, gid) = self.owners.of(found);
        let kind = match found.file_type() {
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_symlink() => Kind::Symlink,
            kind if kind.is_fifo() => Kind::Fifo,
            kind if kind.is_block_device() => Kind::Block,
            kind if kind.is_char_device() => Kind::Char,
            _ => Kind::Regular,
        };
        // The writer clamps later times; earlier ones than 1970 are 1970.
        let mtime = u64::try_from(found.mtime()).unwrap_or(0);
        let (mode, uid, gid) = (found.mode() & 0o7777, uid.into(), gid.into());
        Metadata { kind, mode, uid, gid, ..Metadata::file(0, mtime) }
    }
}

/// The extended attributes of a file, which may be one of a layer.
pub(super) fn attributes(path: &Path, is_layer: bool) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0u8; 1 << 12];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let is_overlays = is_layer && name.starts_with(OVERLAY) && name != OPAQUE;
        if HOSTS.contains(&name) || is_overlays {
            continue;
        }
        let mut value = vec![0u8; 1 << 16];
        let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value)?;
        value.truncate(length);
        found.push((String::from_utf8_lossy(name).into_owned(), value));
    }
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
        let directory = tempfile::tempdir().unwrap();
        let long = "n".repeat(120);
        let make = |name: &str, order: [&str; 2]| {
            let root = directory.path().join(name);
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
            let file = directory.path().join(format!("{name}.tar"));
            (pack(&root, &file, 1000, &Owners::default()).unwrap(), file)
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
