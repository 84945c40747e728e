//! Writes a system as the canonical tar of a tree: directory by directory, sorted by name. What a
//! running system makes for itself is left out, as it is of every tree.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Context, Result, bail, ensure, with_hint};
use crate::tree::{self, Data, EMPTIED, FileWriter, Metadata};
use crate::units::Bytes;

use super::filesystem::{Content, Device, Filesystem, Kind, Names, Node};
use super::system::System;

/// More names than any system has.
const MOST_ENTRIES: usize = 4_000_000;
/// The longest path that Linux takes.
const LONGEST_PATH: usize = 4095;
/// What fsck keeps for itself in the root of each ext4.
const LOST: &[u8] = b"lost+found";
/// Attributes of the system that ran, or of the file system: labels of SELinux, settings of XFS.
const LEFT_OUT: [&str; 2] = ["security.selinux", "trusted.xfs:"];

/// How to write.
pub struct Options<'a> {
    /// The latest time there is.
    pub epoch: u64,
    /// The most that files may be together.
    pub limit: Bytes,
    /// Looked at all the time.
    pub cancel: &'a Cancel,
    /// Called with the number of bytes of files written.
    pub report: &'a dyn Fn(u64),
}

/// Writes `system` to the new file `to`; gives its SHA-256 and its length.
pub fn write(system: &System<'_>, to: &Path, options: &Options<'_>) -> Result<(Digest, u64)> {
    let what = || format!("writing {}", to.display());
    let mut writer = TreeWriter {
        system,
        options,
        writer: FileWriter::create(to, options.epoch)?,
        first_names: HashMap::new(),
        directories: HashSet::new(),
        entries: 0,
        total: 0,
    };
    let root = system.over((0, system.mounted[0].filesystem.root()));
    writer.all(root)?;
    writer.writer.finish().with_context(what)
}

/// A file being read, until somebody wants to stop.
struct Watched<'a> {
    content: Content,
    cancel: &'a Cancel,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.cancel.check().map_err(std::io::Error::other)?;
        self.content.read(buffer)
    }
}

/// A node of one of the file systems.
type At = (usize, u64);

/// A directory whose names are being written.
struct Open {
    path: PathBuf,
    index: usize,
    /// The last one comes next.
    names: Names,
}

struct TreeWriter<'a> {
    system: &'a System<'a>,
    options: &'a Options<'a>,
    writer: FileWriter,
    /// The first name of each file that has several.
    first_names: HashMap<At, PathBuf>,
    /// Directories that were seen: each has one name.
    directories: HashSet<At>,
    entries: usize,
    total: u64,
}

impl TreeWriter<'_> {
    /// Everything, without recursion: directories may be as deep as a path is long.
    fn all(&mut self, root: At) -> Result<()> {
        let mut open: Vec<Open> = Vec::new();
        open.extend(self.entry(root, PathBuf::from("./"))?);
        while let Some(directory) = open.last_mut() {
            let Some((name, node)) = directory.names.pop() else {
                open.pop();
                continue;
            };
            let path = directory.path.join(OsStr::from_bytes(&name));
            let at = (directory.index, node);
            let top = directory.path.as_os_str().is_empty();
            let further = self.entry(at, path.clone()).with_context(|| self.shown(at.0, &path))?;
            let emptied = top && EMPTIED.iter().any(|emptied| name == emptied.as_bytes());
            if !emptied {
                open.extend(further);
            }
        }
        Ok(())
    }

    fn shown(&self, index: usize, path: &Path) -> String {
        format!("reading /{} in {}", path.display(), self.system.mounted[index].place)
    }

    /// Writes an entry; gives the directory to go on with, if it is one.
    fn entry(&mut self, at: At, path: PathBuf) -> Result<Option<Open>> {
        self.options.cancel.check()?;
        let is_root = path == Path::new("./");
        let mut at = at;
        let mut filesystem = self.system.mounted[at.0].filesystem;
        let mut node = filesystem.node(at.1)?;
        if node.kind == Kind::Directory {
            at = self.system.over(at);
            filesystem = self.system.mounted[at.0].filesystem;
            if filesystem.has_owners() {
                node = filesystem.node(at.1)?;
            }
        }
        if node.kind == Kind::Socket {
            return Ok(None);
        }
        if node.kind != Kind::Directory && node.links > 1 {
            if let Some(first) = self.first_names.get(&at) {
                let link = first.as_os_str().as_bytes().to_vec();
                let metadata = Metadata { kind: tree::Kind::Link, link, ..metadata(&node) };
                self.writer.add(&path, &metadata, Data::Nothing)?;
                return Ok(None);
            }
            self.first_names.insert(at, path.clone());
        }
        let mut attributes = filesystem.attributes(at.1)?;
        attributes.retain(|(name, _)| !LEFT_OUT.iter().any(|left| name.starts_with(left)));
        let mut metadata = Metadata { attributes, ..metadata(&node) };
        match node.kind {
            Kind::Directory => {
                ensure!(self.directories.insert(at), "the directory has two names");
                self.writer.add(&path, &metadata, Data::Nothing)?;
                let path = if is_root { PathBuf::new() } else { path };
                return Ok(Some(self.open(at, path, filesystem)?));
            }
            Kind::File => self.file(filesystem, at.1, &node, &path, &metadata)?,
            Kind::Symlink => {
                metadata.link = filesystem.target(at.1)?;
                let legal = !metadata.link.contains(&0);
                ensure!(legal, "the link leads to a name with a zero in it");
                self.writer.add(&path, &metadata, Data::Nothing)?;
            }
            Kind::Fifo | Kind::Device(..) => self.writer.add(&path, &metadata, Data::Nothing)?,
            Kind::Socket => {}
        }
        Ok(None)
    }

    fn file(
        &mut self,
        filesystem: &dyn Filesystem,
        node: u64,
        found: &Node,
        path: &Path,
        metadata: &Metadata,
    ) -> Result<()> {
        self.total = self.total.saturating_add(found.size);
        if self.total > self.options.limit.0 {
            let error = crate::error::anyhow!("the files are more than {}", self.options.limit);
            let hint = "if that is as it should be, set `limit` to a larger size";
            return Err(with_hint(error, hint));
        }
        let content = filesystem.content(node)?;
        ensure!(content.size() == found.size, "it has {} bytes of {}", content.size(), found.size);
        let mut watched = Watched { content, cancel: self.options.cancel };
        let written = self.writer.add(path, metadata, Data::Stream(&mut watched));
        // A reader can only fail with an `io::Error`.
        self.options.cancel.check()?;
        written?;
        (self.options.report)(self.total);
        Ok(())
    }

    /// The names of a directory, those of fsck's own left out.
    fn open(&mut self, at: At, path: PathBuf, filesystem: &dyn Filesystem) -> Result<Open> {
        let mut names = filesystem.names(at.1, MOST_ENTRIES - self.entries)?;
        self.entries += names.len();
        if at.1 == filesystem.root() {
            names.retain(|(name, _)| name != LOST);
        }
        names.sort_by(|a, b| b.0.cmp(&a.0));
        for (name, _) in &names {
            let legal = !name.is_empty()
                && name.len() <= 255
                && !name.iter().any(|byte| matches!(byte, b'/' | 0))
                && !matches!(name.as_slice(), b"." | b"..");
            ensure!(legal, "{} is not a file name", name.escape_ascii());
            if path.as_os_str().len() + 1 + name.len() > LONGEST_PATH {
                bail!("the path of {} is too long", name.escape_ascii());
            }
        }
        if let Some(twins) = names.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            bail!("the directory has the name {} twice", twins[0].0.escape_ascii());
        }
        Ok(Open { path, index: at.0, names })
    }
}

/// What the node itself says, without its attributes and the target of a link.
fn metadata(node: &Node) -> Metadata {
    let (kind, device) = match node.kind {
        Kind::Directory => (tree::Kind::Directory, (0, 0)),
        Kind::File | Kind::Socket => (tree::Kind::Regular, (0, 0)),
        Kind::Symlink => (tree::Kind::Symlink, (0, 0)),
        Kind::Fifo => (tree::Kind::Fifo, (0, 0)),
        Kind::Device(Device::Block, major, minor) => (tree::Kind::Block, (major, minor)),
        Kind::Device(Device::Character, major, minor) => (tree::Kind::Char, (major, minor)),
    };
    let size = if node.kind == Kind::File { node.size } else { 0 };
    let (mode, uid, gid) = (node.mode, node.uid.into(), node.gid.into());
    let mtime = u64::try_from(node.time).unwrap_or(0);
    Metadata { kind, mode, uid, gid, device, ..Metadata::file(size, mtime) }
}
