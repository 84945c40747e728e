//! Puts a directory that kuth keeps (a canonical tar) into the file system, for those who need
//! files: a hypervisor, a person. Holes stay holes. It trusts no tar more than it must: every name
//! is made new, in directories that it made itself, in a directory that did not exist before.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use crate::cancel::Cancel;
use crate::error::{Context, Result, bail, ensure};
use crate::files::sparse::write_data;
use crate::tree::{Content, Kind, Metadata, Reader};
use crate::units::Bytes;

/// The bytes that are read at once.
const CHUNK: usize = 1 << 18;

/// A file or directory of a kept directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its path in the directory.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// How long a file is, its holes counted.
    pub size: Bytes,
}

/// What the directory kept in `tar` holds, in order.
pub fn members(tar: &Path) -> Result<Vec<Member>> {
    let what = || format!("reading {}", tar.display());
    let mut entries = Reader::seeking(File::open(tar).with_context(what)?);
    let mut members = Vec::new();
    while let Some((entry, _)) = entries.next_entry().with_context(what)? {
        let path = path_of(&entry.path).to_path_buf();
        let Metadata { kind, size, .. } = entry.metadata;
        members.push(Member { path, kind, size: Bytes(size) });
    }
    Ok(members)
}

/// Makes the new file `to` of the file `name` of the directory kept in `tar`.
pub fn file(tar: &Path, name: &Path, to: &Path, cancel: &Cancel) -> Result<()> {
    let what = || format!("unpacking {} of {}", name.display(), tar.display());
    let mut entries = Reader::seeking(File::open(tar).with_context(what)?);
    while let Some((entry, mut content)) = entries.next_entry().with_context(what)? {
        if entry.metadata.kind.is_file() && relative(path_of(&entry.path))? == name {
            return write_file(&entry.metadata, &mut content, to, cancel).with_context(what);
        }
    }
    bail!("{} holds no file {}", tar.display(), name.display())
}

/// Makes `to`, which does not exist, from the directory kept in `tar`.
pub fn extract(tar: &Path, to: &Path, cancel: &Cancel) -> Result<()> {
    let what = || format!("unpacking {} to {}", tar.display(), to.display());
    let file = File::open(tar).with_context(what)?;
    DirBuilder::new().mode(0o700).create(to).with_context(what)?;
    let mut entries = Reader::new(BufReader::with_capacity(1 << 18, file));
    let mut directories = BTreeSet::new();
    // The mode and the time of a directory change with what is put in, so directories come last.
    let mut later = Vec::new();
    while let Some((entry, mut content)) = entries.next_entry().with_context(what)? {
        cancel.check()?;
        let metadata = entry.metadata;
        let name = relative(path_of(&entry.path))?;
        let path = to.join(&name);
        let what = || format!("unpacking {}", path.display());
        let (mode, time) = (metadata.mode & 0o777, metadata.mtime);
        if let Some(above) = name.parent() {
            let known = above.as_os_str().is_empty() || directories.contains(above);
            ensure!(known, "{} lies in no directory", name.display());
        }
        let link = || {
            ensure!(!metadata.link.is_empty(), "a link leads nowhere");
            Ok(path_of(&metadata.link))
        };
        match metadata.kind {
            Kind::Directory => {
                if !name.as_os_str().is_empty() {
                    DirBuilder::new().mode(0o700).create(&path).with_context(what)?;
                    directories.insert(name);
                }
                later.push((path, mode, time));
            }
            Kind::Regular => {
                write_file(&metadata, &mut content, &path, cancel).with_context(what)?;
                finish(&path, mode, time).with_context(what)?;
            }
            Kind::Symlink => symlink(link()?, &path).with_context(what)?,
            Kind::Link => {
                std::fs::hard_link(to.join(relative(link()?)?), &path).with_context(what)?;
            }
            _ => bail!("{} is neither a file, a directory nor a link", path.display()),
        }
    }
    for (path, mode, time) in later.into_iter().rev() {
        finish(&path, mode, time).with_context(|| format!("unpacking {}", path.display()))?;
    }
    Ok(())
}

fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// A name in a directory without its `.`; an error for one that leads out.
pub fn relative(name: &Path) -> Result<PathBuf> {
    let mut path = PathBuf::new();
    for part in name.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => path.push(part),
            _ => bail!("the name {} leads out of the directory", name.display()),
        }
    }
    Ok(path)
}

/// Makes the new file `path`, without blocks of zeros.
fn write_file(
    metadata: &Metadata,
    content: &mut Content<'_>,
    path: &Path,
    cancel: &Cancel,
) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut buffer = vec![0; CHUNK];
    let extents = content.extents().to_vec();
    for (mut at, length) in extents {
        let end = at + length;
        while at < end {
            cancel.check()?;
            let n = (end - at).min(CHUNK as u64) as usize;
            content.stored().read_exact(&mut buffer[..n])?;
            write_data(&file, &buffer[..n], at)?;
            at += n as u64;
        }
    }
    Ok(file.set_len(metadata.size)?)
}

fn finish(path: &Path, mode: u32, time: u64) -> Result<()> {
    let file = File::open(path)?;
    // Whoever unpacks it can also remove it.
    let mode = if file.metadata()?.mode() & 0o170_000 == 0o040_000 { mode | 0o700 } else { mode };
    file.set_permissions(Permissions::from_mode(mode))?;
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time);
    Ok(file.set_times(std::fs::FileTimes::new().set_modified(time))?)
}
