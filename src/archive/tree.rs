//! The canonical tar of a tree, entry by entry: numeric owners, whole seconds clamped to the epoch,
//! extended attributes as `SCHILY.xattr` records (what GNU tar and libarchive write and read), long
//! runs of zeros left out of files ([`holes`]). Who writes one gives the entries sorted by name,
//! directory by directory. It knows not where they come from.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::holes::{self, Map, Parts};
use crate::digest::{Digest, HashingWriter};
use crate::error::{Context, Result};

/// What stands before the name of an extended attribute in a tar.
pub const ATTRIBUTE: &str = "SCHILY.xattr.";

/// Directories of which only the directory itself is part of a tree: what is in them belongs to a
/// running machine.
pub const EMPTIED: [&str; 5] = ["proc", "sys", "dev", "run", "tmp"];

/// What all kinds of entries have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits, set-id and sticky bits among them.
    pub mode: u32,
    /// The owner.
    pub uid: u64,
    /// The group.
    pub gid: u64,
    /// Seconds since 1970.
    pub time: i64,
    /// Extended attributes by name, such as `security.capability`.
    pub attributes: Vec<(String, Vec<u8>)>,
}

/// What an entry is.
pub enum Kind<'a> {
    /// A directory.
    Directory,
    /// A file of so many bytes, as a stream of which the zeros come too.
    File(u64, &'a mut dyn Read),
    /// The first so many bytes of a file that is open: its holes are not read.
    Open(u64, &'a File),
    /// A symbolic link.
    Symlink(&'a Path),
    /// A further name of a file that was written before.
    HardLink(&'a Path),
    /// A named pipe.
    Fifo,
    /// A device, with its numbers.
    Device(Device, u32, u32),
}

/// The two kinds of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// Such as a disk.
    Block,
    /// Such as a terminal.
    Character,
}

/// A tree being written.
pub struct Writer<W: Write> {
    builder: Builder<HashingWriter<W>>,
    epoch: u64,
    /// Where the data of a stream waits until it is known where it has holes.
    spool: Spool,
}

struct Spool {
    /// Nameless files are made here.
    directory: PathBuf,
    file: Option<File>,
}

/// A [`Writer`] to a new file.
pub type FileWriter = Writer<BufWriter<File>>;

impl FileWriter {
    /// Writes to the new or emptied file `path`; no time is later than `epoch`.
    pub fn create(path: &Path, epoch: u64) -> Result<FileWriter> {
        let file = File::create(path).with_context(|| format!("writing {}", path.display()))?;
        let writer = HashingWriter::new(BufWriter::with_capacity(1 << 20, file));
        let directory = path.parent().unwrap_or(Path::new(".")).to_path_buf();
        let spool = Spool { directory, file: None };
        Ok(Writer { builder: Builder::new(writer), epoch, spool })
    }

    /// Ends it; gives its SHA-256 and its length.
    pub fn finish(self) -> Result<(Digest, u64)> {
        let (writer, digest, size) = self.builder.into_inner()?.finish();
        writer.into_inner().map_err(|error| error.into_error())?;
        Ok((digest, size))
    }
}

impl<W: Write> Writer<W> {
    /// Adds the entry `name`, relative to the tree's root; `./` is the root itself.
    pub fn add(&mut self, name: &Path, meta: &Meta, kind: Kind<'_>) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_mode(meta.mode & 0o7777);
        header.set_uid(meta.uid);
        header.set_gid(meta.gid);
        header.set_mtime(u64::try_from(meta.time).unwrap_or(0).min(self.epoch));
        header.set_size(0);
        if let Kind::HardLink(first) = kind {
            header.set_entry_type(EntryType::Link);
            return Ok(self.builder.append_link(&mut header, name, first)?);
        }
        let mut attributes: Vec<(String, &[u8])> = meta
            .attributes
            .iter()
            .map(|(name, value)| (format!("{ATTRIBUTE}{name}"), value.as_slice()))
            .collect();
        attributes.sort();
        let records = attributes.iter().map(|(name, value)| (name.as_str(), *value));
        self.builder.append_pax_extensions(records)?;
        match kind {
            Kind::File(size, content) if size < holes::UNIT => {
                return Ok(self.whole(header, name, size, content)?);
            }
            Kind::File(size, content) => {
                let mut spool = self.spool.take()?;
                let map = holes::sift(content, size, &mut spool)?;
                spool.rewind()?;
                match map {
                    Some(map) => self.sparse(header, name, size, &map, &mut spool)?,
                    None => self.whole(header, name, size, &mut spool)?,
                }
                spool.set_len(0)?;
                self.spool.file = Some(spool);
                return Ok(());
            }
            Kind::Open(size, file) => {
                let map = holes::find(file, size)?;
                let whole = vec![(0, size)];
                let mut data = Parts::new(file, map.as_ref().unwrap_or(&whole));
                let written = match &map {
                    Some(map) => self.sparse(header, name, size, map, &mut data),
                    None => self.whole(header, name, size, &mut data),
                };
                return Ok(written?);
            }
            Kind::Symlink(target) => {
                header.set_entry_type(EntryType::Symlink);
                return Ok(self.builder.append_link(&mut header, name, target)?);
            }
            Kind::Directory => header.set_entry_type(EntryType::Directory),
            Kind::Fifo => header.set_entry_type(EntryType::Fifo),
            Kind::Device(device, major, minor) => {
                let block = device == Device::Block;
                header.set_entry_type(if block { EntryType::Block } else { EntryType::Char });
                header.set_device_major(major)?;
                header.set_device_minor(minor)?;
            }
            Kind::HardLink(_) => {}
        }
        let is_directory = header.entry_type().is_dir();
        let name = if is_directory { with_slash(name) } else { name.to_path_buf() };
        Ok(self.builder.append_data(&mut header, name, io::empty())?)
    }

    fn whole(
        &mut self,
        mut header: Header,
        name: &Path,
        size: u64,
        content: &mut dyn Read,
    ) -> io::Result<()> {
        header.set_size(size);
        // A file that grows or shrinks meanwhile would shift everything behind it.
        self.builder.append_data(&mut header, name, Exactly { content, left: size })
    }

    fn sparse(
        &mut self,
        header: Header,
        name: &Path,
        size: u64,
        map: &Map,
        data: &mut dyn Read,
    ) -> io::Result<()> {
        let name = name.as_os_str().as_bytes();
        holes::append(&mut self.builder, name, header, size, map, data)
    }
}

impl Spool {
    /// The empty file, to be put back so.
    fn take(&mut self) -> io::Result<File> {
        match self.file.take() {
            Some(mut file) => file.rewind().map(|()| file),
            None => tempfile::tempfile_in(&self.directory),
        }
    }
}

/// A reader of so many bytes and no other number.
struct Exactly<'a> {
    content: &'a mut dyn Read,
    left: u64,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.left.min(buffer.len() as u64) as usize;
        let n = self.content.read(&mut buffer[..most])?;
        if n == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

fn with_slash(name: &Path) -> PathBuf {
    let mut bytes = name.as_os_str().as_bytes().to_vec();
    if !bytes.ends_with(b"/") {
        bytes.push(b'/');
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::holes::UNIT;
    use super::*;
    use crate::archive::entries::Entries;
    use std::os::unix::fs::FileExt;

    /// The tar of one file, as it is open and as a stream.
    fn both(size: u64, data: &[(u64, &[u8])]) -> (u64, u64) {
        let directory = tempfile::tempdir().unwrap();
        let source = File::create_new(directory.path().join("source")).unwrap();
        source.set_len(size).unwrap();
        data.iter().for_each(|(at, bytes)| source.write_all_at(bytes, *at).unwrap());
        let source = File::open(directory.path().join("source")).unwrap();
        let name = PathBuf::from("n".repeat(130));
        let value = b"a\nb".to_vec();
        let meta =
            Meta { mode: 0o644, attributes: vec![("user.x".into(), value)], ..Meta::default() };
        let write = |stream: bool| {
            let path = directory.path().join(format!("{stream}.tar"));
            let mut writer = FileWriter::create(&path, 5).unwrap();
            for name in [name.as_path(), Path::new("second")] {
                let whole = vec![(0, size)];
                let mut content = Parts::new(&source, &whole);
                let kind = match stream {
                    true => Kind::File(size, &mut content),
                    false => Kind::Open(size, &source),
                };
                writer.add(name, &meta, kind).unwrap();
            }
            (writer.finish().unwrap(), path)
        };
        let ((open, path), (stream, _)) = (write(false), write(true));
        assert_eq!(open, stream, "{size} bytes, {data:?}");
        let mut entries = Entries::new(File::open(path).unwrap());
        let mut stored = 0;
        for expected in [name.as_path(), Path::new("second")] {
            let (entry, mut content) = entries.next_entry().unwrap().unwrap();
            assert_eq!(
                (entry.path.as_slice(), entry.size),
                (expected.as_os_str().as_bytes(), size)
            );
            assert_eq!(entry.attributes, meta.attributes);
            stored = content.map().map_or(size, |map| map.iter().map(|part| part.1).sum());
            let copy = tempfile::tempfile().unwrap();
            content.write_to(&copy, 0).unwrap();
            for (at, bytes) in data {
                let mut back = vec![0; bytes.len()];
                copy.read_exact_at(&mut back, *at).unwrap();
                assert_eq!(back, *bytes);
            }
        }
        assert!(entries.next_entry().unwrap().is_none());
        (open.1, stored)
    }

    #[test]
    fn a_file_and_the_stream_of_it_are_written_alike() {
        both(0, &[]);
        both(5, &[(0, b"short")]);
        both(2 * UNIT + 7, &[(0, b"a"), (UNIT, b"b")]);
        let (tar, stored) = both(8 * UNIT + 7, &[(3 * UNIT - 1, b"ab"), (8 * UNIT, b"end")]);
        assert_eq!(stored, 2 * UNIT + 7);
        assert!(tar < 5 * UNIT, "{tar}");
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        for size in [10, UNIT + 10] {
            let mut writer = FileWriter::create(&directory.path().join("tar"), 5).unwrap();
            let mut short = io::repeat(1).take(size - 1);
            let kind = Kind::File(size, &mut short);
            assert!(writer.add(Path::new("a"), &Meta::default(), kind).is_err(), "{size}");
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&vec![1; size as usize - 1], 0).unwrap();
            let kind = Kind::Open(size, &file);
            assert!(writer.add(Path::new("a"), &Meta::default(), kind).is_err(), "{size}");
        }
    }
}
