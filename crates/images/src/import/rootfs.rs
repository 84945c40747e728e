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

use crate::archive;
use crate::archive::magic::{self, Format};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Context, Hint, Result, anyhow, bail, ensure, with_hint};
use crate::format::acl::{self, Named};
use crate::tree::{self, Content, Data, EMPTIED, Entry, FileWriter, Kind, Metadata, Reader};
use crate::units::Bytes;

use super::filesystem::{self, Run, Runs};
use super::{Imported, release};
use crate::image::source::{Plain, Shared};

/// So many bytes show whether it is a tar.
const FIRST: u64 = 512;
/// More names than any system has.
const MOST_ENTRIES: usize = 4_000_000;
/// A longer name is none.
const LONGEST_NAME: usize = 4095;
/// The unit of holes.
const BLOCK: u64 = 64 << 10;

/// Where a system says what it is, its parts with zeros between them.
const OS_RELEASE: [&[u8]; 2] = [b"usr\0lib\0os-release", b"etc\0os-release"];
/// Where it lists its users and groups.
const USERS: &[u8] = b"etc\0passwd";
const GROUPS: &[u8] = b"etc\0group";
/// A longer one of these is none.
const LONGEST_TEXT: u64 = 1 << 20;

/// A path in the order of a tree: its parts with zeros between them.
pub(super) type Key = Vec<u8>;

/// A tree in the making.
pub(super) struct Table {
    /// Everything that has a name; of a file also where its data is in the spool, else zeros.
    files: Vec<(Metadata, Runs)>,
    /// The index into `files` of each name.
    names: BTreeMap<Key, usize>,
    spool: Spool,
    /// Access lists that are texts, each with the file that has it and the key of its record.
    lists: Vec<(usize, &'static str, Vec<u8>)>,
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
    let mut table = Table::new(options)?;
    archive::read_tar(from, options, |reader| {
        let mut first = Vec::new();
        reader.take(FIRST).read_to_end(&mut first)?;
        if magic::of(&first) != Some(Format::Tar) {
            let error = anyhow!("what is compressed is not a tar");
            return Err(with_hint(error, "decompress the image first: kuth imports it as it is"));
        }
        let mut entries = Reader::new(first.as_slice().chain(reader)).without_end();
        while let Some((entry, mut content)) = entries.next_entry()? {
            options.cancel.check()?;
            let shown = entry.path.escape_ascii().to_string();
            let added = table.add(entry, &mut content, options.cancel);
            added.with_context(|| format!("reading {shown}"))?;
        }
        Ok(())
    })?;
    table.finish(to, options, "a tar")
}

impl Table {
    /// An empty tree.
    pub(super) fn new(options: &archive::Options<'_>) -> Result<Table> {
        Ok(Table {
            files: vec![(Metadata::directory(0o755, 0), Runs::default())],
            names: BTreeMap::from([(Key::new(), 0)]),
            spool: Spool::new(options.work)?,
            lists: Vec::new(),
            total: 0,
            limit: options.limit.unwrap_or(archive::LIMIT),
        })
    }

    /// Writes it as the canonical tar `to`; `source` says what it came in.
    pub(super) fn finish(
        self,
        to: &Path,
        options: &archive::Options<'_>,
        source: &str,
    ) -> Result<Imported> {
        let count = self.names.len();
        if !self.looks_like_a_root() {
            let error = anyhow!("{source} has no /etc, /bin or /usr: it is not a root file system");
            let hint = "if there is a disk image in it, let `unpack` make a directory of it and \
                        import that";
            return Err(with_hint(error, hint));
        }
        let (digest, size, os_release) = self.write(to, options)?;
        let release = release::release(&os_release);
        Ok(Imported { digest, size, release, notes: vec![format!("{source} of {count} names")] })
    }

    /// Whether there is a directory of this name.
    pub(super) fn has_directory(&self, key: &[u8]) -> bool {
        self.names.get(key).is_some_and(|file| self.is_directory(*file))
    }

    /// Removes a name and all that is below it.
    pub(super) fn remove(&mut self, key: &[u8]) {
        if !key.is_empty() {
            self.names.remove(key);
            self.remove_below(key);
        }
    }

    /// Removes all that is below a name.
    pub(super) fn remove_below(&mut self, key: &[u8]) {
        let start = if key.is_empty() { Key::new() } else { [key, &[0]].concat() };
        let is_below = |name: &Key| !name.is_empty() && name.starts_with(&start);
        let names = self.names.range(start.clone()..).map(|(name, _)| name);
        let names: Vec<Key> = names
            .skip_while(|name| name.is_empty())
            .take_while(|name| is_below(name))
            .cloned()
            .collect();
        for name in names {
            self.names.remove(&name);
        }
    }
    fn looks_like_a_root(&self) -> bool {
        [b"etc".as_slice(), b"bin", b"usr"].iter().any(|name| self.names.contains_key(*name))
    }

    fn is_directory(&self, file: usize) -> bool {
        self.files[file].0.kind == Kind::Directory
    }

    /// Adds an entry of a tar.
    pub(super) fn add(
        &mut self,
        entry: Entry,
        content: &mut Content<'_>,
        cancel: &Cancel,
    ) -> Result<()> {
        let Entry { path, mut metadata, other_records, access_lists } = entry;
        let key = key(&path)?;
        // A tar's label names no file.
        if is_left_out(&key) || metadata.kind.as_byte() == b'V' {
            return Ok(());
        }
        self.add_parents(&key)?;
        let has_link = matches!(metadata.kind, Kind::Link | Kind::Symlink);
        ensure!(!has_link || !metadata.link.is_empty(), "a link without a target");
        if metadata.kind == Kind::Link {
            let file = self.names.get(&self::key(&metadata.link)?).copied();
            let file = file.with_context(|| {
                let target = metadata.link.escape_ascii();
                format!("it is a hard link to {target}, which is not there yet")
            })?;
            ensure!(!self.is_directory(file), "a hard link to a directory");
            return self.name(key, file);
        }
        if let Some(key) = other_records.iter().find(|key| key.starts_with("SCHILY.acl.ace")) {
            bail!("`{key}`, an access list of NFS 4, which no file system of Linux keeps");
        }
        metadata.attributes.retain(|(name, _)| name != "security.selinux");
        let runs = match metadata.kind {
            Kind::Directory | Kind::Symlink | Kind::Fifo | Kind::Block | Kind::Char => {
                Runs::default()
            }
            Kind::Regular => {
                self.total = self.total.saturating_add(metadata.size);
                if self.total > self.limit.0 {
                    let error = anyhow!("the files are more than {}", self.limit);
                    let hint = "if that is as it should be, set `limit` to a larger size";
                    return Err(with_hint(error, hint));
                }
                metadata.data = None;
                self.spool.keep(content, metadata.size, cancel)?
            }
            kind => bail!("it is of the unknown kind `{}`", kind.as_byte().escape_ascii()),
        };
        // The last entry of a directory counts.
        if metadata.kind == Kind::Directory
            && let Some(known) = self.names.get(&key).copied()
            && self.is_directory(known)
        {
            self.files[known].0 = metadata;
            self.keep_lists(known, access_lists);
            return Ok(());
        }
        self.files.push((metadata, runs));
        self.keep_lists(self.files.len() - 1, access_lists);
        self.name(key, self.files.len() - 1)
    }

    /// Keeps access lists until the names in them can be looked up.
    fn keep_lists(&mut self, file: usize, lists: Vec<(&'static str, Vec<u8>)>) {
        self.lists.retain(|(other, ..)| *other != file);
        self.lists.extend(lists.into_iter().map(|(key, text)| (file, key, text)));
    }

    /// Makes attributes of the access lists. Names in them are those of the system in the tar, whatever
    /// they are elsewhere.
    fn add_lists(&mut self, spool: &Shared) -> Result<()> {
        if self.lists.is_empty() {
            return Ok(());
        }
        let users = ids(&self.text(USERS, spool)?);
        let groups = ids(&self.text(GROUPS, spool)?);
        for (file, key, text) in std::mem::take(&mut self.lists) {
            let name = match key {
                "SCHILY.acl.default" => acl::DEFAULT,
                _ => acl::ACCESS,
            };
            let shown = || {
                let names = self.names.iter().find(|(_, other)| **other == file);
                let path = names.map_or(PathBuf::new(), |(key, _)| path(key));
                format!("reading the access list of /{}", path.display())
            };
            let id = |named: Named<'_>| match named {
                Named::User(name) => users.get(name).copied(),
                Named::Group(name) => groups.get(name).copied(),
            };
            let list = acl::from_text(&String::from_utf8_lossy(&text), id)
                .with_context(shown)
                .hint("make the tar with `--numeric-owner`")?;
            // The list as bytes counts, where there is one too.
            let metadata = &mut self.files[file].0;
            if let Some(list) = list
                && !metadata.attributes.iter().any(|(other, _)| other == name)
            {
                // Some programs write the mode without the mask.
                if name == acl::ACCESS {
                    metadata.mode = metadata.mode & !0o777 | acl::permissions(&list);
                }
                metadata.attributes.push((name.to_string(), list));
            }
        }
        Ok(())
    }

    /// What a short file holds; nothing where there is none.
    fn text(&self, name: &[u8], spool: &Shared) -> Result<Vec<u8>> {
        match self.names.get(name).map(|index| &self.files[*index]) {
            Some((metadata, runs))
                if metadata.kind == Kind::Regular && metadata.size <= LONGEST_TEXT =>
            {
                filesystem::Content::new(spool.clone(), runs.clone(), metadata.size)
                    .all(LONGEST_TEXT)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn name(&mut self, key: Key, file: usize) -> Result<()> {
        ensure!(!key.is_empty(), "the root is not a directory");
        if let Some(other) = self.names.insert(key, file)
            && self.is_directory(other)
        {
            bail!("it was a directory before");
        }
        ensure!(self.names.len() <= MOST_ENTRIES, "more than {MOST_ENTRIES} names");
        Ok(())
    }

    /// Adds the directories above a name that have no entry.
    fn add_parents(&mut self, key: &[u8]) -> Result<()> {
        let ends = key.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at);
        for end in ends {
            match self.names.get(&key[..end]) {
                Some(file) if self.is_directory(*file) => {}
                Some(_) => {
                    bail!("it lies below {}, which is not a directory", path(&key[..end]).display())
                }
                None => {
                    self.files.push((Metadata::directory(0o755, 0), Runs::default()));
                    self.names.insert(key[..end].to_vec(), self.files.len() - 1);
                }
            }
        }
        Ok(())
    }

    fn write(
        mut self,
        to: &Path,
        options: &archive::Options<'_>,
    ) -> Result<(Digest, u64, Vec<u8>)> {
        let what = || format!("writing {}", to.display());
        let spool = std::mem::replace(&mut self.spool, Spool::new(options.work)?).finish()?;
        self.add_lists(&spool)?;
        let content = |(metadata, runs): &(Metadata, Runs)| {
            filesystem::Content::new(spool.clone(), runs.clone(), metadata.size)
        };
        let mut writer = FileWriter::create(to, options.epoch)?;
        let mut first_names: HashMap<usize, PathBuf> = HashMap::new();
        for (key, index) in &self.names {
            options.cancel.check()?;
            let file = &self.files[*index];
            let path = if key.is_empty() { PathBuf::from("./") } else { path(key) };
            if let Some(first) = first_names.get(index) {
                let link = first.as_os_str().as_bytes().to_vec();
                let metadata = Metadata { kind: Kind::Link, link, ..file.0.clone() };
                writer.add(&path, &metadata, Data::Nothing).with_context(what)?;
                continue;
            }
            first_names.insert(*index, path.clone());
            match file.0.kind {
                Kind::Regular => writer.add(&path, &file.0, Data::Stream(&mut content(file))),
                _ => writer.add(&path, &file.0, Data::Nothing),
            }
            .with_context(what)?;
        }
        let (digest, size) = writer.finish().with_context(what)?;
        let found = OS_RELEASE.iter().find(|name| self.names.contains_key(**name));
        let os_release = found.map_or(Ok(Vec::new()), |name| self.text(name, &spool))?;
        Ok((digest, size, os_release))
    }
}

/// The ids in a list of users or groups: `NAME:x:ID:`.
fn ids(text: &[u8]) -> HashMap<String, u32> {
    let text = String::from_utf8_lossy(text);
    let id = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.next()?.to_string(), fields.nth(1)?.parse().ok()?))
    };
    text.lines().filter_map(id).collect()
}

/// Whether a name lies in a directory that is empty in every tree.
fn is_left_out(key: &[u8]) -> bool {
    EMPTIED.iter().any(|emptied| {
        key.strip_prefix(emptied.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    })
}

/// The key of a path.
pub(super) fn key(name: &[u8]) -> Result<Key> {
    ensure!(name.len() <= LONGEST_NAME && !name.contains(&0), "it is not a file name");
    let parts = tree::components(name).context("it leads out of the tree")?;
    ensure!(parts.iter().all(|part| part.len() <= 255), "it is not a file name");
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
