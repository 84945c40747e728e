//! Writes the canonical tar of a tree, entry by entry: numeric owners, whole seconds clamped to the
//! epoch, extended attributes as pax records, long runs of zeros left out of files ([`sparse`]). The
//! caller gives the entries sorted by name, directory by directory.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::{ATTRIBUTE, Metadata, sparse};
use crate::digest::{Digest, HashingWriter};
use crate::error::{Context, Result};
use crate::files::extents::{Filled, Parts, find, is_sparse, sift};

/// Where the content of an entry comes from.
pub enum Data<'a> {
    /// It has none: a directory, a link, a pipe or a device.
    Nothing,
    /// A file whose holes read as zeros; the writer finds out which of them to leave out.
    Stream(&'a mut dyn Read),
    /// A file that is open; likewise, and its holes are not read.
    Open(&'a File),
    /// The data alone of a file whose [`Metadata::data`] says where it is, and all of any other file.
    Stored(&'a mut dyn Read),
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

/// A [`Writer`] to a file.
pub type FileWriter = Writer<BufWriter<File>>;

impl FileWriter {
    /// Writes to the new or emptied file `path`; no time is later than `epoch`.
    pub fn create(path: &Path, epoch: u64) -> Result<FileWriter> {
        FileWriter::open(path, epoch, File::options().write(true).create(true).truncate(true))
    }

    /// Writes to the file `path`, which must not exist; no time is later than `epoch`.
    pub fn create_new(path: &Path, epoch: u64) -> Result<FileWriter> {
        FileWriter::open(path, epoch, File::options().write(true).create_new(true))
    }

    fn open(path: &Path, epoch: u64, options: &OpenOptions) -> Result<FileWriter> {
        let file = options.open(path).with_context(|| format!("writing {}", path.display()))?;
        let directory = path.parent().unwrap_or(Path::new("."));
        Ok(Writer::new(BufWriter::with_capacity(1 << 20, file), epoch, directory))
    }

    /// Ends it; returns its SHA-256 and its length in bytes.
    pub fn finish(self) -> Result<(Digest, u64)> {
        let (writer, digest, size) = self.into_inner()?;
        writer.into_inner().map_err(|error| error.into_error())?;
        Ok((digest, size))
    }
}

impl<W: Write> Writer<W> {
    /// Writes to `output`; no time is later than `epoch`. Nameless files for streams are made in
    /// `directory`.
    pub fn new(output: W, epoch: u64, directory: &Path) -> Writer<W> {
        let spool = Spool { directory: directory.to_path_buf(), file: None };
        Writer { builder: Builder::new(HashingWriter::new(output)), epoch, spool }
    }

    /// Ends it; returns what it wrote to, the SHA-256 and the length in bytes.
    pub fn into_inner(self) -> Result<(W, Digest, u64)> {
        Ok(self.builder.into_inner()?.finish())
    }

    /// Adds the entry `name`, relative to the tree's root; `./` is the root itself. A hard link has no
    /// attributes: its file has them.
    pub fn add(&mut self, name: &Path, metadata: &Metadata, data: Data<'_>) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_mode(metadata.mode & 0o7777);
        header.set_uid(metadata.uid);
        header.set_gid(metadata.gid);
        header.set_mtime(metadata.mtime.min(self.epoch));
        header.set_size(0);
        // A file has the old type of a zero byte: the bytes of trees are as they always were.
        if metadata.kind != EntryType::Regular {
            header.set_entry_type(metadata.kind);
        }
        let link = Path::new(OsStr::from_bytes(&metadata.link));
        if metadata.kind == EntryType::Link {
            return Ok(self.builder.append_link(&mut header, name, link)?);
        }
        let mut attributes: Vec<(String, &[u8])> = metadata
            .attributes
            .iter()
            .map(|(name, value)| (format!("{ATTRIBUTE}{name}"), value.as_slice()))
            .collect();
        attributes.sort();
        let records = attributes.iter().map(|(name, value)| (name.as_str(), *value));
        self.builder.append_pax_extensions(records)?;
        match metadata.kind {
            EntryType::Regular => return Ok(self.file(header, name, metadata, data)?),
            EntryType::Symlink => return Ok(self.symlink(header, name, &metadata.link)?),
            EntryType::Block | EntryType::Char => {
                header.set_device_major(metadata.device.0)?;
                header.set_device_minor(metadata.device.1)?;
            }
            _ => {}
        }
        let is_directory = metadata.kind.is_dir();
        let name = if is_directory { with_slash(name) } else { name.to_path_buf() };
        Ok(self.builder.append_data(&mut header, name, io::empty())?)
    }

    /// A symbolic link, with its target as it is: the crate would leave `//` and `/./` out of it.
    fn symlink(&mut self, mut header: Header, name: &Path, target: &[u8]) -> io::Result<()> {
        let link = Path::new(OsStr::from_bytes(target));
        let mut rewritten = header.clone();
        let is_kept = match rewritten.set_link_name(link) {
            Ok(()) => rewritten.link_name_bytes().as_deref() == Some(target),
            // One that is too long for a header has an entry of its own.
            Err(_) => target.len() >= header.as_old().linkname.len(),
        };
        if is_kept {
            return self.builder.append_link(&mut header, name, link);
        }
        if header.set_link_name_literal(target).is_err() {
            sparse::append_long(&mut self.builder, EntryType::GNULongLink, target)?;
        }
        self.builder.append_data(&mut header, name, io::empty())
    }

    fn file(
        &mut self,
        header: Header,
        name: &Path,
        metadata: &Metadata,
        data: Data<'_>,
    ) -> io::Result<()> {
        let size = metadata.size;
        match data {
            Data::Nothing => self.whole(header, name, size, &mut io::empty()),
            Data::Stream(content) if size < sparse::UNIT => self.whole(header, name, size, content),
            Data::Stream(content) => {
                let mut spool = self.spool.take()?;
                let extents = sift(content, size, sparse::UNIT, &mut spool)?;
                spool.rewind()?;
                match is_sparse(size, &extents) {
                    true => self.sparse(header, name, size, &extents, &mut spool)?,
                    false => {
                        let mut filled = Filled::new(&extents, size, &mut spool);
                        self.whole(header, name, size, &mut filled)?;
                    }
                }
                spool.set_len(0)?;
                self.spool.file = Some(spool);
                Ok(())
            }
            Data::Open(file) if size < sparse::UNIT => {
                self.whole(header, name, size, &mut Parts::new(file, &[(0, size)]))
            }
            Data::Open(file) => {
                let extents = find(file, size, sparse::UNIT, |_| Ok::<(), io::Error>(()))?;
                match is_sparse(size, &extents) {
                    true => {
                        let mut parts = Parts::new(file, &extents);
                        self.sparse(header, name, size, &extents, &mut parts)
                    }
                    false => self.whole(header, name, size, &mut Parts::new(file, &[(0, size)])),
                }
            }
            Data::Stored(content) => match &metadata.data {
                Some(extents) => self.sparse(header, name, size, extents, content),
                None => self.whole(header, name, size, content),
            },
        }
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
        extents: &[(u64, u64)],
        data: &mut dyn Read,
    ) -> io::Result<()> {
        let name = name.as_os_str().as_bytes();
        sparse::append(&mut self.builder, name, header, size, extents, data)
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
    use super::sparse::UNIT;
    use super::*;
    use crate::files::extents::stored;
    use crate::tree::Reader;
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
        let attributes = vec![("user.x".into(), value)];
        let metadata = Metadata { attributes, ..Metadata::file(size, 0) };
        let write = |stream: bool| {
            let path = directory.path().join(format!("{stream}.tar"));
            let mut writer = FileWriter::create(&path, 5).unwrap();
            for name in [name.as_path(), Path::new("second")] {
                let whole = [(0, size)];
                let mut content = Parts::new(&source, &whole);
                let data = match stream {
                    true => Data::Stream(&mut content),
                    false => Data::Open(&source),
                };
                writer.add(name, &metadata, data).unwrap();
            }
            (writer.finish().unwrap(), path)
        };
        let ((open, path), (stream, _)) = (write(false), write(true));
        assert_eq!(open, stream, "{size} bytes, {data:?}");
        let mut entries = Reader::new(File::open(path).unwrap());
        let mut bytes = 0;
        for expected in [name.as_path(), Path::new("second")] {
            let (entry, mut content) = entries.next_entry().unwrap().unwrap();
            assert_eq!(
                (entry.path.as_slice(), entry.metadata.size),
                (expected.as_os_str().as_bytes(), size)
            );
            assert_eq!(entry.metadata.attributes, metadata.attributes);
            bytes = stored(content.extents());
            let copy = tempfile::tempfile().unwrap();
            content.write_to(&copy, 0).unwrap();
            for (at, bytes) in data {
                let mut back = vec![0; bytes.len()];
                copy.read_exact_at(&mut back, *at).unwrap();
                assert_eq!(back, *bytes);
            }
        }
        assert!(entries.next_entry().unwrap().is_none());
        (open.1, bytes)
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
    fn the_target_of_a_link_is_kept_to_the_byte() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tar");
        let long = |part: &str| part.repeat(60);
        let targets = [
            "a".into(),
            "a/".into(),
            "/".into(),
            "//".into(),
            ".".into(),
            "./a".into(),
            "..".into(),
            "a//b".into(),
            "//a".into(),
            "a/./b".into(),
            "a/.".into(),
            "/./".into(),
            "a/../b//".into(),
            "n".repeat(100),
            long("ab/"),
            long("a//"),
            long("/./a"),
            format!("a/{}b", "./".repeat(60)),
        ];
        let mut writer = FileWriter::create(&path, 5).unwrap();
        for (at, target) in targets.iter().enumerate() {
            let metadata = Metadata::symlink(target.as_bytes().to_vec(), 0);
            // Names short and long.
            let name = format!("{at}{}", "n".repeat(120 * (at % 2)));
            writer.add(Path::new(&name), &metadata, Data::Nothing).unwrap();
        }
        writer.finish().unwrap();
        let mut entries = Reader::new(File::open(&path).unwrap());
        for (at, target) in targets.iter().enumerate() {
            let (entry, _) = entries.next_entry().unwrap().unwrap();
            assert_eq!(String::from_utf8(entry.metadata.link).unwrap(), *target);
            assert_eq!(entry.path, format!("{at}{}", "n".repeat(120 * (at % 2))).as_bytes());
        }
        assert!(entries.next_entry().unwrap().is_none());
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        for size in [10, UNIT + 10] {
            let mut writer = FileWriter::create(&directory.path().join("tar"), 5).unwrap();
            let mut short = io::repeat(1).take(size - 1);
            let metadata = Metadata::file(size, 0);
            let data = Data::Stream(&mut short);
            assert!(writer.add(Path::new("a"), &metadata, data).is_err(), "{size}");
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&vec![1; size as usize - 1], 0).unwrap();
            let data = Data::Open(&file);
            assert!(writer.add(Path::new("a"), &metadata, data).is_err(), "{size}");
        }
    }
}
