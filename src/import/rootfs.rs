//! The tar of a root file system as the canonical tar of a tree: entries in any order, sorted. As
//! in any tree, what a running system makes for itself is left out. Names, owners and the like go
//! into a table in memory, contents into one nameless file.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tar::{Archive, Entry, EntryType};

use crate::archive;
use crate::archive::magic::{self, Format};
use crate::archive::tree::{ATTRIBUTE, Device, EMPTIED, FileWriter, Kind, Meta};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Context, Result, anyhow, bail, ensure, with_hint};
use crate::units::Bytes;

use super::filesystem::{Content, Run, Runs};
use super::source::{Plain, Shared};
use super::{Imported, release};

/// So much tells whether it is a tar.
const FIRST: u64 = 512;
/// More names than any system has.
const MOST_ENTRIES: usize = 4_000_000;
/// A longer name is none.
const LONGEST_NAME: usize = 4095;
/// The unit of holes.
const BLOCK: u64 = 64 << 10;

/// What a name stands for.
enum Thing {
    Directory,
    /// How long, and where in the spool; all else of it is zero.
    File(u64, Runs),
    Symlink(Vec<u8>),
    Fifo,
    Device(Device, u32, u32),
}

/// Where a system says what it is, its parts with zeros between them.
const OS_RELEASE: [&[u8]; 2] = [b"usr\0lib\0os-release", b"etc\0os-release"];
/// A longer one is none.
const LONGEST_OS_RELEASE: u64 = 1 << 16;

/// A path in the order of a tree: its parts with zeros between them.
type Key = Vec<u8>;

struct Table {
    things: Vec<(Thing, Meta)>,
    /// Which thing each name stands for.
    names: BTreeMap<Key, usize>,
    spool: Spool,
    /// What the files are together, the holes in them counted.
    total: u64,
    /// The most that may be.
    limit: Bytes,
}

/// The contents of files one behind the other, without their blocks of zeros.
struct Spool {
    file: BufWriter<File>,
    length: u64,
}

impl Spool {
    fn new(work: &Path) -> Result<Spool> {
        let file = tempfile::tempfile_in(work)
            .with_context(|| format!("making a file in {}", work.display()))?;
        Ok(Spool { file: BufWriter::with_capacity(1 << 18, file), length: 0 })
    }

    /// Keeps all of `reader`, which has `size` bytes; where its data is.
    fn keep(&mut self, reader: &mut impl Read, size: u64, cancel: &Cancel) -> Result<Runs> {
        let mut runs = Runs::default();
        let mut buffer = vec![0; BLOCK.min(size) as usize];
        let mut at = 0;
        while at < size {
            cancel.check()?;
            let block = &mut buffer[..BLOCK.min(size - at) as usize];
            reader.read_exact(block).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => anyhow!("the tar is cut short"),
                _ => error.into(),
            })?;
            let length = block.len() as u64;
            if block.iter().any(|byte| *byte != 0) {
                self.file.write_all(block).context("keeping its content")?;
                runs.push(Run { at, length, from: self.length })?;
                self.length += length;
            }
            at += length;
        }
        Ok(runs)
    }

    fn finish(self) -> Result<Shared> {
        let mut file = self.file.into_inner().map_err(|error| error.into_error())?;
        file.flush()?;
        Ok(Arc::new(Plain::new(file)?))
    }
}

/// Writes the system in the tar `from` as the canonical tar `to`.
pub fn import(from: &Path, to: &Path, options: &archive::Options<'_>) -> Result<Imported> {
    let root = Meta { mode: 0o755, ..Meta::default() };
    let mut table = Table {
        things: vec![(Thing::Directory, root)],
        names: BTreeMap::from([(Key::new(), 0)]),
        spool: Spool::new(options.work)?,
        total: 0,
        limit: options.limit.unwrap_or(archive::LIMIT),
    };
    archive::read_tar(from, options, |reader| {
        let mut first = Vec::new();
        reader.take(FIRST).read_to_end(&mut first)?;
        if magic::of(&first) != Some(Format::Tar) {
            let error = anyhow!("what is compressed is no tar");
            return Err(with_hint(error, "decompress the image first: kuth imports it as it is"));
        }
        let mut archive = Archive::new(first.as_slice().chain(reader));
        for entry in archive.entries()? {
            options.cancel.check()?;
            table.take(&mut entry?, options.cancel)?;
        }
        Ok(())
    })?;
    let count = table.names.len();
    if !table.looks_like_a_root() {
        let error = anyhow!("the tar has no /etc, /bin or /usr: it is no root file system");
        let hint =
            "if there is a disk image in it, let `unpack` make a directory of it and import that";
        return Err(with_hint(error, hint));
    }
    let (digest, size, os_release) = table.write(to, options)?;
    let release = release::release(&os_release);
    Ok(Imported { digest, size, release, notes: vec![format!("a tar of {count} names")] })
}

impl Table {
    fn looks_like_a_root(&self) -> bool {
        [b"etc".as_slice(), b"bin", b"usr"].iter().any(|name| self.names.contains_key(*name))
    }

    fn take(&mut self, entry: &mut Entry<'_, impl Read>, cancel: &Cancel) -> Result<()> {
        let name = entry.path_bytes().into_owned();
        let shown = name.escape_ascii().to_string();
        self.entry(entry, &name, cancel).with_context(|| format!("reading {shown}"))
    }

    fn entry(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        name: &[u8],
        cancel: &Cancel,
    ) -> Result<()> {
        let key = key(name)?;
        let kind = entry.header().entry_type();
        if is_left_out(&key) || matches!(kind.as_byte(), b'g' | b'V') {
            return Ok(());
        }
        self.above(&key)?;
        if kind == EntryType::Link {
            let target = entry.link_name_bytes().context("a link without a target")?;
            let thing = self.names.get(&self::key(&target)?).copied();
            let thing = thing.with_context(|| {
                format!("it is a hard link to {}, which is not there yet", target.escape_ascii())
            })?;
            ensure!(
                !matches!(self.things[thing].0, Thing::Directory),
                "a hard link to a directory"
            );
            return self.name(key, thing);
        }
        let meta = meta(entry)?;
        let header = entry.header();
        let numbers = || -> Result<(u32, u32)> {
            Ok((header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)))
        };
        let thing = match kind {
            EntryType::Directory => Thing::Directory,
            EntryType::Symlink => {
                let target = entry.link_name_bytes().context("a link without a target")?;
                Thing::Symlink(target.into_owned())
            }
            EntryType::Fifo => Thing::Fifo,
            EntryType::Block | EntryType::Char => {
                let (major, minor) = numbers()?;
                let block = kind == EntryType::Block;
                let device = if block { Device::Block } else { Device::Character };
                Thing::Device(device, major, minor)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                // Of a sparse file too, this is what it reads as.
                let size = entry.size();
                self.total = self.total.saturating_add(size);
                if self.total > self.limit.0 {
                    let error = anyhow!("the files are more than {}", self.limit);
                    let hint = "if that is as it should be, set `limit` to a larger size";
                    return Err(with_hint(error, hint));
                }
                Thing::File(size, self.spool.keep(entry, size, cancel)?)
            }
            kind => bail!("it is of the unknown kind `{}`", kind.as_byte().escape_ascii()),
        };
        // What is told of a directory twice is told better the second time.
        if let (Thing::Directory, Some(known)) = (&thing, self.names.get(&key))
            && let (Thing::Directory, known) = &mut self.things[*known]
        {
            *known = meta;
            return Ok(());
        }
        self.things.push((thing, meta));
        self.name(key, self.things.len() - 1)
    }

    fn name(&mut self, key: Key, thing: usize) -> Result<()> {
        ensure!(!key.is_empty(), "the root is no directory");
        if let Some(other) = self.names.insert(key, thing)
            && matches!(self.things[other].0, Thing::Directory)
        {
            bail!("it was a directory before");
        }
        ensure!(self.names.len() <= MOST_ENTRIES, "more than {MOST_ENTRIES} names");
        Ok(())
    }

    /// Makes the directories above a name that nobody told of.
    fn above(&mut self, key: &[u8]) -> Result<()> {
        let mut ends: Vec<usize> = Vec::new();
        ends.extend(key.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at));
        for end in ends {
            match self.names.get(&key[..end]) {
                Some(thing) if matches!(self.things[*thing].0, Thing::Directory) => {}
                Some(_) => {
                    bail!("it lies below {}, which is no directory", path(&key[..end]).display())
                }
                None => {
                    self.things.push((Thing::Directory, Meta { mode: 0o755, ..Meta::default() }));
                    self.names.insert(key[..end].to_vec(), self.things.len() - 1);
                }
            }
        }
        Ok(())
    }

    fn write(self, to: &Path, options: &archive::Options<'_>) -> Result<(Digest, u64, Vec<u8>)> {
        let what = || format!("writing {}", to.display());
        let spool = self.spool.finish()?;
        let mut writer = FileWriter::create(to, options.epoch)?;
        let mut first_names: HashMap<usize, PathBuf> = HashMap::new();
        for (key, index) in &self.names {
            options.cancel.check()?;
            let (thing, meta) = &self.things[*index];
            let path = if key.is_empty() { PathBuf::from("./") } else { path(key) };
            if let Some(first) = first_names.get(index) {
                writer.add(&path, meta, Kind::HardLink(first)).with_context(what)?;
                continue;
            }
            first_names.insert(*index, path.clone());
            match thing {
                Thing::Directory => writer.add(&path, meta, Kind::Directory),
                Thing::Fifo => writer.add(&path, meta, Kind::Fifo),
                Thing::Device(device, major, minor) => {
                    writer.add(&path, meta, Kind::Device(*device, *major, *minor))
                }
                Thing::Symlink(target) => {
                    writer.add(&path, meta, Kind::Symlink(Path::new(OsStr::from_bytes(target))))
                }
                Thing::File(size, runs) => {
                    let mut content = Content::new(spool.clone(), runs.clone(), *size);
                    writer.add(&path, meta, Kind::File(*size, &mut content))
                }
            }
            .with_context(what)?;
        }
        let (digest, size) = writer.finish().with_context(what)?;
        let found = OS_RELEASE.iter().find_map(|name| self.names.get(*name));
        let os_release = match found.map(|index| &self.things[*index].0) {
            Some(Thing::File(size, runs)) if *size <= LONGEST_OS_RELEASE => {
                Content::new(spool.clone(), runs.clone(), *size).all(LONGEST_OS_RELEASE)?
            }
            _ => Vec::new(),
        };
        Ok((digest, size, os_release))
    }
}

/// Owner, mode, time and attributes of an entry.
fn meta(entry: &mut Entry<'_, impl Read>) -> Result<Meta> {
    let mut attributes = Vec::new();
    if let Some(records) = entry.pax_extensions()? {
        for record in records {
            let record = record?;
            let key = String::from_utf8_lossy(record.key_bytes()).into_owned();
            if let Some(name) = key.strip_prefix(ATTRIBUTE) {
                if name != "security.selinux" {
                    attributes.push((name.to_string(), record.value_bytes().to_vec()));
                }
            } else if key.starts_with("SCHILY.acl.") {
                let error = anyhow!("its access list is a text, which kuth cannot keep");
                let hint =
                    "make the tar with GNU tar's --xattrs --xattrs-include='*', without --acls";
                return Err(with_hint(error, hint));
            } else if key.starts_with("GNU.sparse.") {
                let error = anyhow!("it is a sparse file of the POSIX kind");
                return Err(with_hint(
                    error,
                    "make the tar without --sparse, or with --format=gnu",
                ));
            }
        }
    }
    let header = entry.header();
    Ok(Meta {
        mode: header.mode()? & 0o7777,
        uid: header.uid()?,
        gid: header.gid()?,
        time: i64::try_from(header.mtime()?).unwrap_or(0),
        attributes,
    })
}

/// Whether a name lies in a directory that is empty in every tree.
fn is_left_out(key: &[u8]) -> bool {
    EMPTIED.iter().any(|emptied| {
        key.strip_prefix(emptied.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    })
}

fn key(name: &[u8]) -> Result<Key> {
    ensure!(name.len() <= LONGEST_NAME && !name.contains(&0), "it is no name of a file");
    let parts: Vec<&[u8]> =
        name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    ensure!(
        parts.iter().all(|part| *part != b".." && part.len() <= 255),
        "it leads out of the tree"
    );
    Ok(parts.join(&0))
}

fn path(key: &[u8]) -> PathBuf {
    let bytes: Vec<u8> = key.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect();
    PathBuf::from(OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_a_tree_does() {
        let mut keys: Vec<Key> = ["a-b", "./a/b/", "a", "a/z", "/"]
            .iter()
            .map(|name| key(name.as_bytes()).unwrap())
            .collect();
        keys.sort();
        let shown: Vec<_> = keys.iter().map(|key| path(key).display().to_string()).collect();
        assert_eq!(shown, ["", "a", "a/b", "a/z", "a-b"]);
        assert!(key(b"a/../b").is_err());
        assert!(is_left_out(b"dev\0null") && !is_left_out(b"dev") && !is_left_out(b"devices\0x"));
    }
}
