//! Puts a directory that kuth keeps (a canonical tar) into the file system, for those who need
//! files: a hypervisor, a person. Holes stay holes. It trusts no tar more than it must: every name
//! is made new, in directories that it made itself, in a directory that did not exist before.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{
    DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink,
};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Entry, EntryType};

use crate::cancel::Cancel;
use crate::error::{Context, Result, bail, ensure};
use crate::files::sparse::is_zero;
use crate::units::Bytes;

/// What is read at once, and the unit of holes.
const CHUNK: usize = 64 << 10;

/// A file or directory of a kept directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its path in the directory.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryType,
    /// How long a file is, its holes counted.
    pub size: Bytes,
}

/// What the directory kept in `tar` holds, in order.
pub fn members(tar: &Path) -> Result<Vec<Member>> {
    let what = || format!("reading {}", tar.display());
    let file = File::open(tar).with_context(what)?;
    // Seeking, not reading, over contents.
    let mut archive = Archive::new(file);
    let mut members = Vec::new();
    for entry in archive.entries_with_seek().with_context(what)? {
        let entry = entry.with_context(what)?;
        let path = entry.path().with_context(what)?.into_owned();
        let (kind, size) = (entry.header().entry_type(), entry.header().size());
        members.push(Member { path, kind, size: Bytes(size.with_context(what)?) });
    }
    Ok(members)
}

/// Makes the new file `to` of the file `name` of the directory kept in `tar`.
pub fn file(tar: &Path, name: &Path, to: &Path, cancel: &Cancel) -> Result<()> {
    let what = || format!("unpacking {} of {}", name.display(), tar.display());
    let mut archive = Archive::new(File::open(tar).with_context(what)?);
    for entry in archive.entries_with_seek().with_context(what)? {
        let mut entry = entry.with_context(what)?;
        let is_file =
            matches!(entry.header().entry_type(), EntryType::Regular | EntryType::GNUSparse);
        if is_file && relative(&entry.path().with_context(what)?)? == name {
            return fill(&mut entry, to, cancel).with_context(what);
        }
    }
    bail!("{} holds no file {}", tar.display(), name.display())
}

/// Makes `to`, which does not exist, from the directory kept in `tar`.
pub fn extract(tar: &Path, to: &Path, cancel: &Cancel) -> Result<()> {
    let what = || format!("unpacking {} to {}", tar.display(), to.display());
    let file = File::open(tar).with_context(what)?;
    DirBuilder::new().mode(0o700).create(to).with_context(what)?;
    let mut archive = Archive::new(BufReader::with_capacity(1 << 18, file));
    let mut directories = BTreeSet::new();
    // The mode and the time of a directory change with what is put in, so directories come last.
    let mut later = Vec::new();
    for entry in archive.entries().with_context(what)? {
        cancel.check()?;
        let mut entry = entry.with_context(what)?;
        let name = relative(&entry.path().with_context(what)?)?;
        let path = to.join(&name);
        let what = || format!("unpacking {}", path.display());
        let kind = entry.header().entry_type();
        let (mode, time) = (entry.header().mode()? & 0o777, entry.header().mtime()?);
        if let Some(above) = name.parent() {
            let known = above.as_os_str().is_empty() || directories.contains(above);
            ensure!(known, "{} lies in no directory", name.display());
        }
        match kind {
            EntryType::Directory => {
                if !name.as_os_str().is_empty() {
                    DirBuilder::new().mode(0o700).create(&path).with_context(what)?;
                    directories.insert(name);
                }
                later.push((path, mode, time));
            }
            EntryType::Regular | EntryType::GNUSparse => {
                fill(&mut entry, &path, cancel).with_context(what)?;
                finish(&path, mode, time).with_context(what)?;
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().context("a link leads nowhere")?;
                symlink(std::ffi::OsStr::from_bytes(&target), &path).with_context(what)?;
            }
            EntryType::Link => {
                let target = entry.link_name()?.context("a link leads nowhere")?;
                std::fs::hard_link(to.join(relative(&target)?), &path).with_context(what)?;
            }
            _ => bail!("{} is neither a file, a directory nor a link", path.display()),
        }
    }
    for (path, mode, time) in later.into_iter().rev() {
        finish(&path, mode, time).with_context(|| format!("unpacking {}", path.display()))?;
    }
    Ok(())
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

fn fill(entry: &mut Entry<'_, impl Read>, path: &Path, cancel: &Cancel) -> Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path)?;
    let size = entry.size();
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < size {
        if at % (256 * CHUNK as u64) == 0 {
            cancel.check()?;
        }
        let n = (size - at).min(CHUNK as u64) as usize;
        entry.read_exact(&mut buffer[..n])?;
        if !is_zero(&buffer[..n]) {
            file.write_all_at(&buffer[..n], at)?;
        }
        at += n as u64;
    }
    Ok(file.set_len(size)?)
}

fn finish(path: &Path, mode: u32, time: u64) -> Result<()> {
    let file = File::open(path)?;
    // Whoever unpacks it can also remove it.
    let mode = if file.metadata()?.mode() & 0o170_000 == 0o040_000 { mode | 0o700 } else { mode };
    file.set_permissions(Permissions::from_mode(mode))?;
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time);
    Ok(file.set_times(std::fs::FileTimes::new().set_modified(time))?)
}
