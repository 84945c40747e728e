//! The tar of one filesystem, as mke2fs reads it: names relative to the mount point, long ones in
//! GNU `L` and `K` entries (they keep every byte, where pax records want UTF-8), extended
//! attributes in `SCHILY.xattr` records, files with holes as they are in the tree. Its SHA-256 is
//! taken while it is written.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use crate::digest::{Digest, HashingWriter};
use crate::error::{Context, Result};
use crate::files::extents::stored;
use crate::tree::sparse;
pub use crate::tree::{ATTRIBUTE as XATTR, Metadata as Meta};

/// A field of a tar header for names.
const NAME: usize = 100;

/// One extended attribute of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Relative to the root of the filesystem, empty for the root itself.
    pub path: Vec<u8>,
    /// Such as `user.note`.
    pub name: String,
    /// Any bytes.
    pub value: Vec<u8>,
}

/// A finished tar.
#[derive(Clone, Debug)]
pub struct Part {
    /// Where it lies, if it was written and not merely hashed.
    pub path: Option<PathBuf>,
    /// Its SHA-256.
    pub digest: Digest,
    /// Bytes of the files in it, without their holes.
    pub files: u64,
    /// Every extended attribute in it.
    pub attributes: Vec<Attribute>,
}

impl Part {
    /// The file. An error if it was not written.
    pub fn file(&self) -> Result<&Path> {
        self.path.as_deref().context("the tar of its files was not written")
    }
}

/// A tar being written.
pub struct PartWriter {
    path: PathBuf,
    builder: Builder<BufWriter<HashingWriter<Target>>>,
    files: u64,
    attributes: Vec<Attribute>,
    has_root: bool,
}

/// Where the bytes of a tar go.
enum Target {
    File(File),
    /// Only their digest is wanted.
    Nowhere,
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::File(file) => file.write(bytes),
            Target::Nowhere => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PartWriter {
    /// Begins the file at `path`.
    pub fn create(path: &Path) -> Result<PartWriter> {
        let file =
            File::create_new(path).with_context(|| format!("creating {}", path.display()))?;
        Ok(PartWriter::new(path, Target::File(file)))
    }

    /// Begins the tar that would be at `path`, for its digest alone.
    pub fn hash(path: &Path) -> PartWriter {
        PartWriter::new(path, Target::Nowhere)
    }

    fn new(path: &Path, target: Target) -> PartWriter {
        let buffered = BufWriter::with_capacity(1 << 18, HashingWriter::new(target));
        PartWriter {
            path: path.to_path_buf(),
            builder: Builder::new(buffered),
            files: 0,
            attributes: Vec::new(),
            has_root: false,
        }
    }

    /// Whether the root directory of the filesystem has been written.
    pub fn has_root(&self) -> bool {
        self.has_root
    }

    /// Adds one file under `path`, relative to the root of the filesystem; empty for the root. Of a
    /// file with holes `content` gives the data alone.
    pub fn add(&mut self, path: &[u8], meta: &Meta, content: impl Read) -> Result<()> {
        self.add_entry(path, meta, content).with_context(|| {
            format!("writing `{}` to {}", String::from_utf8_lossy(path), self.path.display())
        })?;
        self.files += meta.data.as_deref().map_or(meta.size, stored);
        self.has_root |= path.is_empty();
        self.attributes.extend(meta.attributes.iter().map(|(name, value)| Attribute {
            path: path.to_vec(),
            name: name.clone(),
            value: value.clone(),
        }));
        Ok(())
    }

    fn add_entry(&mut self, path: &[u8], meta: &Meta, mut content: impl Read) -> Result<()> {
        let keys: Vec<_> =
            meta.attributes.iter().map(|(name, _)| format!("{XATTR}{name}")).collect();
        let values = meta.attributes.iter().map(|(_, value)| value.as_slice());
        if !keys.is_empty() {
            let records = keys.iter().map(String::as_str).zip(values);
            self.builder.append_pax_extensions(records)?;
        }
        let mut name = if path.is_empty() { b"./".to_vec() } else { path.to_vec() };
        if meta.kind == EntryType::Directory && !name.ends_with(b"/") {
            name.push(b'/');
        }
        // Only GNU's headers have room for the map of a file with holes.
        let mut header = if meta.data.is_some() { Header::new_gnu() } else { Header::new_ustar() };
        header.set_entry_type(meta.kind);
        header.set_mode(meta.mode);
        header.set_uid(meta.uid);
        header.set_gid(meta.gid);
        header.set_mtime(meta.mtime);
        header.set_size(meta.size);
        header.set_device_major(meta.device.0)?;
        header.set_device_minor(meta.device.1)?;
        if let Some(map) = &meta.data {
            let builder = &mut self.builder;
            return Ok(sparse::append(builder, &name, header, meta.size, map, &mut content)?);
        }
        self.long(EntryType::GNULongLink, &meta.link)?;
        self.long(EntryType::GNULongName, &name)?;
        let old = header.as_old_mut();
        put(&mut old.name, &name);
        put(&mut old.linkname, &meta.link);
        header.set_cksum();
        self.builder.append(&header, content)?;
        Ok(())
    }

    /// The entry that carries a name too long for the header of the next.
    fn long(&mut self, kind: EntryType, name: &[u8]) -> Result<()> {
        if name.len() <= NAME {
            return Ok(());
        }
        let mut header = Header::new_gnu();
        put(&mut header.as_old_mut().name, b"././@LongLink");
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(name.len() as u64 + 1);
        header.set_cksum();
        self.builder.append(&header, name.chain(&[0][..]))?;
        Ok(())
    }

    /// Ends the tar.
    pub fn finish(self) -> Result<Part> {
        let what = || format!("finishing {}", self.path.display());
        let mut buffered = self.builder.into_inner().with_context(what)?;
        buffered.flush().with_context(what)?;
        let hashing =
            buffered.into_inner().map_err(|error| error.into_error()).with_context(what)?;
        let (target, digest, _) = hashing.finish();
        let path = matches!(target, Target::File(_)).then_some(self.path);
        Ok(Part { path, digest, files: self.files, attributes: self.attributes })
    }
}

/// As much of `value` as fits.
fn put(field: &mut [u8; NAME], value: &[u8]) {
    let length = value.len().min(NAME);
    field[..length].copy_from_slice(&value[..length]);
}
