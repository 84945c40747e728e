//! A path of this host that a pipeline names: what it holds, hashed once, and the promise that what
//! is read or copied later is what was hashed. Everything that a stage takes from the checkout or
//! from elsewhere on the host goes through here. It does not know pipelines or stages.
//!
//! A link at the path itself is followed; links inside a directory are content and stay links. Of a
//! mode only the executable bit counts, which is what git keeps; times do not count.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::digest::{self, Digest, HashingWriter};
use crate::error::{Context, Result, anyhow, bail, with_hint};
use crate::files::sparse::HoleWriter;
use crate::recipe::Recipe;
use crate::units::Bytes;

/// An absolute path, and what it held when it was hashed. Clones share the latter.
#[derive(Clone, Debug)]
pub struct HostPath {
    path: PathBuf,
    hashed: Arc<Mutex<Option<Vec<Entry>>>>,
}

/// What is at a path, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A pipe, a socket or a device.
    Special,
}

/// Why nothing can be read at a path.
#[derive(Debug)]
pub enum PathError {
    /// Nothing has this name.
    Missing,
    /// A link to this, which is not there.
    Dangling(PathBuf),
    /// Links that lead back to themselves.
    Loop,
    /// The host refuses to look.
    Refused(io::Error),
}

/// One file, directory or link, with its name below the path: empty for the path itself, else
/// beginning with `/`.
type Entry = (String, Content);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    File { digest: Digest, executable: bool },
    Directory,
    Link(PathBuf),
}

/// As recipes have it.
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::File { digest, executable: true } => write!(f, "{digest} executable"),
            Content::File { digest, executable: false } => write!(f, "{digest}"),
            Content::Directory => f.write_str("directory"),
            Content::Link(target) => write!(f, "link to {}", unambiguous(target.as_os_str())),
        }
    }
}

impl PartialEq for HostPath {
    fn eq(&self, other: &HostPath) -> bool {
        self.path == other.path
    }
}

impl Eq for HostPath {}

/// The path, and where it leads if it is a link.
impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match self.path.is_symlink().then(|| self.real()) {
            Some(Ok(real)) => write!(f, " (a link to {})", real.display()),
            _ => Ok(()),
        }
    }
}

impl HostPath {
    /// The absolute `path`. Nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> HostPath {
        HostPath { path: path.into(), hashed: Arc::default() }
    }

    /// The path as it was named, links not resolved.
    pub fn as_path(&self) -> &Path {
        &self.path
    }

    /// Where it lies: the path with every link resolved. An error if nothing is there.
    pub fn real(&self) -> io::Result<PathBuf> {
        self.path.canonicalize()
    }

    /// The kind of file at the path.
    pub fn look(&self) -> Result<FileKind, PathError> {
        let is_loop = |error: &io::Error| {
            error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
        };
        match self.path.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(FileKind::File),
            Ok(metadata) if metadata.is_dir() => Ok(FileKind::Directory),
            Ok(_) => Ok(FileKind::Special),
            Err(error) if is_loop(&error) => Err(PathError::Loop),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(match std::fs::read_link(&self.path) {
                    Ok(target) => PathError::Dangling(target),
                    Err(_) => PathError::Missing,
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(PathError::Missing),
            Err(error) => Err(PathError::Refused(error)),
        }
    }

    /// Writes what it holds into `recipe`, under `name`: a line for a file, and for each entry of a
    /// directory. Hashes it the first time that anything asks.
    pub fn describe(&self, recipe: &mut Recipe, name: &str) -> Result<()> {
        let mut hashed = self.hashed();
        for (below, content) in self.entries(&mut hashed)? {
            recipe.value(&format!("{name}{below}"), content);
        }
        Ok(())
    }

    /// The SHA-256 of the file. An error for a directory.
    pub fn digest(&self) -> Result<Digest> {
        let mut hashed = self.hashed();
        match self.entries(&mut hashed)? {
            [(_, Content::File { digest, .. })] => Ok(*digest),
            _ => bail!("{self} is not a file"),
        }
    }

    /// The bytes of the file, of which there are at most `most`. An error if they are not those
    /// that were hashed.
    pub fn read(&self, most: u64) -> Result<Vec<u8>> {
        let what = || format!("reading {self}");
        let file = File::open(&self.path).with_context(what)?;
        let executable = is_executable(&file.metadata().with_context(what)?);
        let mut bytes = Vec::new();
        file.take(most.saturating_add(1)).read_to_end(&mut bytes).with_context(what)?;
        if bytes.len() as u64 > most {
            bail!("{self} has more than {}", Bytes(most));
        }
        let digest = Digest::of(&bytes);
        let mut hashed = self.hashed();
        match hashed.as_deref() {
            None => *hashed = Some(vec![(String::new(), Content::File { digest, executable })]),
            Some([(_, Content::File { digest: before, .. })]) if *before == digest => {}
            Some(_) => return Err(self.changed("")),
        }
        Ok(bytes)
    }

    /// Copies the file or directory to `to`, with modes 0755 and 0644 whatever the umask is. An
    /// error if it is not what was hashed.
    pub fn copy(&self, to: &Path) -> Result<()> {
        let came = walk(&self.path, Some(to)).with_context(|| format!("copying {self}"))?;
        let mut hashed = self.hashed();
        let Some(before) = hashed.as_ref() else {
            *hashed = Some(came);
            return Ok(());
        };
        let other = came.iter().find(|entry| !before.contains(entry));
        match other.or_else(|| before.iter().find(|entry| !came.contains(entry))) {
            Some((name, _)) => Err(self.changed(name)),
            None => Ok(()),
        }
    }

    fn hashed(&self) -> MutexGuard<'_, Option<Vec<Entry>>> {
        self.hashed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries<'a>(&self, hashed: &'a mut Option<Vec<Entry>>) -> Result<&'a [Entry]> {
        let found = match hashed.take() {
            Some(found) => found,
            None => walk(&self.path, None).with_context(|| format!("hashing {self}"))?,
        };
        Ok(hashed.insert(found))
    }

    fn changed(&self, below: &str) -> crate::error::Error {
        with_hint(
            anyhow!("{self}{below} changed after it was hashed"),
            "nothing was kept of this stage; build again once nothing writes there",
        )
    }
}

/// What is at `path`, in the order of names; with `to`, copied there on the way, so that the very
/// bytes that are written are those that are hashed.
fn walk(path: &Path, to: Option<&Path>) -> Result<Vec<Entry>> {
    let metadata = path.metadata().with_context(|| format!("reading {}", path.display()))?;
    let mut entries = Vec::new();
    visit(path, &metadata, String::new(), to, &mut entries)?;
    Ok(entries)
}

fn visit(
    from: &Path,
    metadata: &Metadata,
    name: String,
    to: Option<&Path>,
    entries: &mut Vec<Entry>,
) -> Result<()> {
    let what = || format!("reading {}", from.display());
    let kind = metadata.file_type();
    if kind.is_dir() {
        entries.push((name.clone(), Content::Directory));
        if let Some(to) = to {
            std::fs::create_dir_all(to)
                .and_then(|()| std::fs::set_permissions(to, PermissionsExt::from_mode(0o755)))
                .with_context(|| format!("making {}", to.display()))?;
        }
        for entry in sorted_names(from)? {
            let child = from.join(&entry);
            let metadata = child.symlink_metadata().with_context(what)?;
            let below = format!("{name}/{}", unambiguous(&entry));
            let to = to.map(|to| to.join(&entry));
            visit(&child, &metadata, below, to.as_deref(), entries)?;
        }
        return Ok(());
    }
    let content = if kind.is_symlink() {
        let target = std::fs::read_link(from).with_context(what)?;
        if let Some(to) = to {
            std::os::unix::fs::symlink(&target, to)
                .with_context(|| format!("making {}", to.display()))?;
        }
        Content::Link(target)
    } else if kind.is_file() {
        let file = File::open(from).with_context(what)?;
        let executable = is_executable(&file.metadata().with_context(what)?);
        let digest = match to {
            None => digest::of_reader(file).with_context(what)?.0,
            Some(to) => copy_file(file, to, executable)?,
        };
        Content::File { digest, executable }
    } else {
        return Err(with_hint(
            anyhow!("{} is a pipe, a socket or a device", from.display()),
            "only files, directories and links can be put into an image",
        ));
    };
    entries.push((name, content));
    Ok(())
}

fn copy_file(mut from: File, to: &Path, executable: bool) -> Result<Digest> {
    let what = || format!("writing {}", to.display());
    let writer = HoleWriter::new(File::create(to).with_context(what)?);
    let mut hashing = HashingWriter::new(writer);
    io::copy(&mut from, &mut hashing).with_context(what)?;
    let (writer, digest, length) = hashing.finish();
    let file = writer.into_inner();
    file.set_len(length).with_context(what)?;
    let mode = if executable { 0o755 } else { 0o644 };
    file.set_permissions(PermissionsExt::from_mode(mode)).with_context(what)?;
    Ok(digest)
}

/// What git keeps of a mode. The rest is the umask of whoever made the checkout.
fn is_executable(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o111 != 0
}

fn sorted_names(directory: &Path) -> Result<Vec<OsString>> {
    let mut names: Vec<OsString> = std::fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| entry.map(|it| it.file_name())).collect())
        .with_context(|| format!("reading {}", directory.display()))?;
    names.sort();
    Ok(names)
}

/// A name in a form that no other name has: as it is, or in quotes if it has a quote first, a
/// control character, or what is not UTF-8.
fn unambiguous(name: &OsStr) -> String {
    match name.to_str() {
        Some(text) if !text.starts_with('"') && !text.contains(char::is_control) => text.into(),
        _ => format!("\"{}\"", name.as_bytes().escape_ascii()),
    }
}

#[cfg(test)]
mod tests;
