//! The table of what an archive holds, while it is read: names, what they are, and where their
//! contents lie in one nameless file. It refuses what would not be safe to unpack, by whatever
//! order or repetition the archive tries.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::meter::too_much;
use super::node::{Content, Node, Properties};
use super::{LIMIT, LONGEST_NAME, Options, Unpacked, write};
use crate::error::{Context, Result, anyhow, bail, ensure, with_hint};
use crate::files::extents::{Sifter, stored};

/// More names than any directory of images or files has.
const MOST_ENTRIES: usize = 500_000;
/// The unit in which zeros are left out of files, in bytes.
const BLOCK: u64 = 64 << 10;
/// A link that leads through more links leads nowhere.
const MOST_LINKS: usize = 40;

/// The table.
pub(super) struct Directory<'a> {
    pub(super) nodes: BTreeMap<PathBuf, (Node, Properties)>,
    pub(super) contents: Vec<Content>,
    spool: BufWriter<File>,
    /// How much was written to the spool.
    spooled: u64,
    /// What the files are together.
    total: u64,
    options: &'a Options<'a>,
}

impl<'a> Directory<'a> {
    pub(super) fn new(options: &'a Options<'a>) -> Result<Directory<'a>> {
        let spool = tempfile::tempfile_in(options.work)
            .with_context(|| format!("making a file in {}", options.work.display()))?;
        let spool = BufWriter::with_capacity(1 << 18, spool);
        let (nodes, contents) = Default::default();
        Ok(Directory { nodes, contents, spool, spooled: 0, total: 0, options })
    }

    /// Adds a directory, or says more of one that is there.
    pub(super) fn add_directory(&mut self, name: &[u8], properties: Properties) -> Result<()> {
        let path = inside(name)?;
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        self.add(path, Node::Directory, properties)
    }

    /// Adds a file of `size` bytes, whose data is at `extents` and all else zero; `data` gives the
    /// extents one behind the other.
    pub(super) fn add_file(
        &mut self,
        name: &[u8],
        properties: Properties,
        size: u64,
        extents: &[(u64, u64)],
        data: &mut dyn Read,
    ) -> Result<()> {
        let path = inside(name)?;
        let shown = path.display().to_string();
        self.total = self.total.saturating_add(size);
        let limit = self.options.limit.unwrap_or(LIMIT);
        if self.total > limit.0 {
            return Err(too_much(limit));
        }
        check_extents(size, extents).with_context(|| format!("reading the file {shown}"))?;
        // Before its content, which may be long.
        let content = self.contents.len();
        self.add(path, Node::File(content), properties)?;
        let at = self.spooled;
        let mut sifter = Sifter::new(&mut self.spool, size, BLOCK);
        let mut buffer = vec![0; 1 << 16];
        for (from, length) in extents {
            let mut done = 0;
            while done < *length {
                let n = (length - done).min(buffer.len() as u64) as usize;
                let came = data.read_exact(&mut buffer[..n]);
                came.map_err(|error| match error.kind() {
                    ErrorKind::UnexpectedEof => anyhow!("it is cut short"),
                    _ => error.into(),
                })
                .with_context(|| format!("reading the file {shown}"))?;
                sifter
                    .put(from + done, &buffer[..n])
                    .with_context(|| format!("keeping the file {shown}"))?;
                done += n as u64;
            }
        }
        let extents = sifter.finish().with_context(|| format!("keeping the file {shown}"))?;
        self.spooled += stored(&extents);
        self.contents.push(Content { size, extents, at });
        Ok(())
    }

    /// Adds a symbolic link; where it leads is looked at when all names are known.
    pub(super) fn add_link(
        &mut self,
        name: &[u8],
        target: &[u8],
        properties: Properties,
    ) -> Result<()> {
        let path = inside(name)?;
        let target = Path::new(OsStr::from_bytes(target));
        if target.as_os_str().is_empty() || target.as_os_str().len() as u64 > LONGEST_NAME {
            bail!("the link {} leads nowhere", path.display());
        }
        self.add(path, Node::Link(target.to_path_buf()), properties)
    }

    /// Adds a further name of a file that is there.
    pub(super) fn add_hard_link(&mut self, name: &[u8], target: &[u8]) -> Result<()> {
        let (path, target) = (inside(name)?, inside(target)?);
        match self.nodes.get(&target) {
            Some((Node::File(content), properties)) => {
                let (node, properties) = (Node::File(*content), *properties);
                self.add(path, node, properties)
            }
            Some((other, _)) => {
                let (path, target) = (path.display(), target.display());
                Err(refused(anyhow!("{path} is a hard link to {target}, {}", other.kind())))
            }
            None => {
                let (path, target) = (path.display(), target.display());
                bail!("{path} is a hard link to {target}, which is not there yet");
            }
        }
    }

    fn add(&mut self, path: PathBuf, node: Node, properties: Properties) -> Result<()> {
        ensure!(!path.as_os_str().is_empty(), "an entry has no name");
        let mut above = path.as_path();
        while let Some(directory) = above.parent().filter(|it| !it.as_os_str().is_empty()) {
            match self.nodes.get(directory) {
                Some((Node::Directory, _)) => break,
                Some((other, _)) => {
                    let (path, directory) = (path.display(), directory.display());
                    return Err(refused(anyhow!(
                        "{path} lies below {directory}, {}",
                        other.kind()
                    )));
                }
                None => {
                    let untold = (Node::Directory, Properties::UNTOLD);
                    self.nodes.insert(directory.to_path_buf(), untold);
                }
            }
            above = directory;
        }
        if let Some((other, _)) = self.nodes.get(&path)
            && other.kind() != node.kind()
        {
            let (path, other, now) = (path.display(), other.kind(), node.kind());
            return Err(refused(anyhow!("{path} is first {other}, then {now}")));
        }
        self.nodes.insert(path, (node, properties));
        ensure!(self.nodes.len() <= MOST_ENTRIES, "it has more than {MOST_ENTRIES} entries");
        Ok(())
    }

    /// Fails if a link leads out.
    fn check_links(&self) -> Result<()> {
        for (path, (node, _)) in &self.nodes {
            if let Node::Link(target) = node
                && !self.stays_inside(path, target)
            {
                let (path, target) = (path.display(), target.display());
                return Err(refused(anyhow!("the link {path} leads out, to {target}")));
            }
        }
        Ok(())
    }

    /// Follows a link through all that is known.
    fn stays_inside(&self, path: &Path, target: &Path) -> bool {
        let mut at = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let mut parts = parts_of(target);
        let mut links = 0;
        // The next part is the last of `parts`.
        while let Some(part) = parts.pop() {
            match part {
                Part::Root => return false,
                Part::Up => {
                    if !at.pop() {
                        return false;
                    }
                }
                Part::Name(name) => {
                    at.push(name);
                    if let Some((Node::Link(target), _)) = self.nodes.get(&at) {
                        links += 1;
                        if links > MOST_LINKS {
                            return true;
                        }
                        at.pop();
                        parts.extend(parts_of(target));
                    }
                }
            }
        }
        true
    }

    /// Writes the canonical tar to the new file `to`.
    pub(super) fn finish(self, to: &Path, options: &Options<'_>) -> Result<Unpacked> {
        self.check_links()?;
        let spool = self.spool.into_inner().map_err(|error| error.into_error());
        let spool = spool.context("keeping what is in the archive")?;
        let table = write::Table { nodes: &self.nodes, contents: &self.contents, spool: &spool };
        write::write(&table, to, options)
    }
}

enum Part<'a> {
    Root,
    Up,
    Name(&'a OsStr),
}

/// The parts of a link's target, the first one last.
fn parts_of(target: &Path) -> Vec<Part<'_>> {
    let part = |component| match component {
        Component::RootDir | Component::Prefix(_) => Some(Part::Root),
        Component::CurDir => None,
        Component::ParentDir => Some(Part::Up),
        Component::Normal(name) => Some(Part::Name(name)),
    };
    target.components().rev().filter_map(part).collect()
}

/// A name that an archive gives, if it stays inside; empty for the directory itself.
fn inside(name: &[u8]) -> Result<PathBuf> {
    let shown = || String::from_utf8_lossy(name).escape_debug().to_string();
    if name.len() as u64 > LONGEST_NAME || name.contains(&0) {
        bail!("{:.80}... is not a file name", shown());
    }
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(name)).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) if part.len() <= 255 => path.push(part),
            Component::Normal(_) => bail!("{:.80}... is too long for a name", shown()),
            _ => return Err(refused(anyhow!("the name {} leads out of the directory", shown()))),
        }
    }
    Ok(path)
}

/// Extents follow each other, within the file.
fn check_extents(size: u64, extents: &[(u64, u64)]) -> Result<()> {
    let mut end = 0;
    for (at, length) in extents {
        ensure!(*at >= end, "its parts overlap");
        end = at.checked_add(*length).filter(|end| *end <= size).context("it is cut short")?;
    }
    Ok(())
}

/// Says why an archive is refused as a whole.
pub(super) fn refused(error: crate::error::Error) -> crate::error::Error {
    with_hint(error, "kuth unpacks none of an archive that reaches outside; get it from elsewhere")
}
