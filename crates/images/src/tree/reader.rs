//! Reads a tar entry by entry: names and attributes of any length and of any bytes, and sparse files
//! without filling their holes.
//!
//! Only the fields of a header are read by the `tar` crate. Its reader splits pax records at line
//! ends, which breaks binary attributes, takes pax sparse files for plain ones, and gives the zeros of
//! holes one by one.
//!
//! Source: POSIX.1-2017 "pax", and the manual of GNU tar for the entries `L`, `K` and `S`.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek};
use std::os::unix::fs::FileExt;

use tar::{EntryType, Header};

use super::pax::Records;
use super::{Metadata, sparse};
use crate::error::{Context, Result, anyhow, ensure};
use crate::files::extents::Filled;

const BLOCK: u64 = 512;
/// Entries without data.
const HAVE_NO_DATA: [EntryType; 6] = [
    EntryType::Directory,
    EntryType::Link,
    EntryType::Symlink,
    EntryType::Char,
    EntryType::Block,
    EntryType::Fifo,
];
/// The most bytes of an extension header.
const LONGEST_EXTENSION: u64 = 1 << 20;
/// How much of a file is copied at a time.
const PIECE: usize = 1 << 17;

/// One entry of a tar.
#[derive(Clone, Debug)]
pub struct Entry {
    /// As it is written there.
    pub path: Vec<u8>,
    /// Everything else.
    pub metadata: Metadata,
    /// The keys of pax records that [`Metadata`] has no field for.
    pub other_records: Vec<String>,
    /// Access lists, which are texts, by the keys of their records, which are among the other ones.
    pub access_lists: Vec<(&'static str, Vec<u8>)>,
}

/// The content of an entry. As a reader it gives the zeros of holes too.
pub struct Content<'a>(Filled<'static, Stored<'a>>);

/// Whether owners and times have to be readable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owners {
    Required,
    Ignored,
}

/// Whether a tar ends with blocks of zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Required,
    /// It may also end behind an entry, as many programs leave the blocks out and all accept that.
    Optional,
}

/// A tar being read.
pub struct Reader<R> {
    input: R,
    /// Passes over this many bytes.
    skip: fn(&mut R, u64) -> io::Result<()>,
    owners: Owners,
    end: End,
    /// Whether there was an entry.
    begun: bool,
    /// Data of the last entry that was not read, and what fills its last block.
    left: u64,
    filling: u64,
}

/// The extension headers in front of an entry.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Records,
}

impl Extensions {
    fn is_any(&self) -> bool {
        self.path.is_some() || self.link.is_some() || !self.records.is_empty()
    }
}

impl<R: Read> Reader<R> {
    /// Reads the tar that `input` gives.
    pub fn new(input: R) -> Reader<R> {
        let skip = |input: &mut R, count| match io::copy(&mut input.take(count), &mut io::sink())? {
            passed if passed == count => Ok(()),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        };
        Reader {
            input,
            skip,
            owners: Owners::Required,
            end: End::Required,
            begun: false,
            left: 0,
            filling: 0,
        }
    }

    /// Seeks over content that is not read.
    pub fn seeking(input: R) -> Reader<R>
    where
        R: Seek,
    {
        let skip = |input: &mut R, count| {
            input.seek_relative(i64::try_from(count).map_err(io::Error::other)?)
        };
        Reader { skip, ..Reader::new(input) }
    }

    /// Takes owners and times that cannot be read for 0.
    pub fn without_owners(self) -> Reader<R> {
        Reader { owners: Owners::Ignored, ..self }
    }

    /// Takes an input that ends behind an entry for a whole tar. Only for one that is known to be all of
    /// it: nothing else shows that it was cut short there.
    pub fn without_end(self) -> Reader<R> {
        Reader { end: End::Optional, ..self }
    }

    /// The next entry, or `None` at the block of zeros that ends a tar. Content of the last entry that
    /// was not read is passed over.
    pub fn next_entry(&mut self) -> Result<Option<(Entry, Content<'_>)>> {
        let mut extensions = Extensions::default();
        loop {
            let is_extended = extensions.is_any();
            let Some(header) = self.header(is_extended)? else { return Ok(None) };
            let size = header.entry_size().context("reading the size of an entry")?;
            match header.entry_type() {
                EntryType::XHeader => extensions.records.read(&self.extension(size)?)?,
                EntryType::GNULongName => extensions.path = Some(self.name(size)?),
                EntryType::GNULongLink => extensions.link = Some(self.name(size)?),
                // Comments, times and owners of all files are defaults that every entry overrides.
                EntryType::XGlobalHeader => {
                    let mut records = Records::default();
                    records.read(&self.extension(size)?)?;
                    let harmless = !records.is_about_an_entry();
                    ensure!(harmless, "pax records for all files give a name or a size");
                }
                _ => {
                    self.begun = true;
                    return self.entry(&header, size, extensions).map(Some);
                }
            }
        }
    }

    /// The next header; `is_extended`: it belongs to one before it, so the tar cannot end here.
    fn header(&mut self, is_extended: bool) -> Result<Option<Header>> {
        (self.skip)(&mut self.input, self.left + self.filling).map_err(cut_short)?;
        (self.left, self.filling) = (0, 0);
        let mut block = [0; BLOCK as usize];
        let may_end = self.end == End::Optional && self.begun && !is_extended;
        if may_end && !self.reads(&mut block[..1])? {
            return Ok(None);
        }
        let first = usize::from(may_end);
        self.input.read_exact(&mut block[first..]).map_err(cut_short)?;
        if block == [0; BLOCK as usize] {
            return Ok(None);
        }
        ensure!(checksum_holds(&block), "the checksum of a header is wrong; the tar is damaged");
        Ok(Some(Header::from_byte_slice(&block).clone()))
    }

    /// Fills one byte; `false` at the end of the input.
    fn reads(&mut self, byte: &mut [u8]) -> io::Result<bool> {
        loop {
            match self.input.read(byte) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read.map(|n| n > 0),
            }
        }
    }

    /// The bytes of an extension header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        ensure!(size <= LONGEST_EXTENSION, "an extension header has {size} bytes");
        let mut bytes = vec![0; size as usize];
        self.input.read_exact(&mut bytes).map_err(cut_short)?;
        self.filling = filling(size);
        Ok(bytes)
    }

    /// A name of an entry of its own, up to its zero; some programs fill it up with more of them.
    fn name(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut name = self.extension(size)?;
        let length = name.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        name.truncate(length);
        Ok(name)
    }

    fn entry(
        &mut self,
        header: &Header,
        size: u64,
        extensions: Extensions,
    ) -> Result<(Entry, Content<'_>)> {
        let Extensions { path, link, records } = extensions;
        let path = records.path().or(path).unwrap_or_else(|| header.path_bytes().into_owned());
        let shown = String::from_utf8_lossy(&path).escape_debug().to_string();
        let what = || format!("reading the header of `{shown}`");
        let written = records.size()?.unwrap_or(size);
        ensure!(written <= i64::MAX as u64, "`{shown}` has an impossible size");
        let (mut size, mut stored, mut data) = (written, written, None);
        let kind = match header.entry_type() {
            // Old programs wrote directories so.
            EntryType::Regular if path.ends_with(b"/") => {
                (size, stored) = (0, 0);
                EntryType::Directory
            }
            EntryType::GNUSparse => {
                let (extents, real) =
                    sparse::read_old(header, stored, &mut self.input).map_err(cut_short_in)?;
                (size, data) = (real, Some(extents));
                EntryType::Regular
            }
            EntryType::Regular | EntryType::Continuous => {
                if let Some(real) = records.sparse_size()? {
                    let extents = match records.sparse_map()? {
                        Some(parts) => sparse::from_records(&parts, real, stored),
                        None => sparse::read_leading(real, stored, &mut self.input).map(
                            |(extents, left)| {
                                stored = left;
                                extents
                            },
                        ),
                    };
                    (size, data) = (real, Some(extents.map_err(cut_short_in).with_context(what)?));
                }
                EntryType::Regular
            }
            // Nothing follows these, whatever their field of the size says: bsdtar reads on with each of
            // them, GNU tar with directories and hard links.
            kind if HAVE_NO_DATA.contains(&kind) => {
                (size, stored) = (0, 0);
                kind
            }
            kind => kind,
        };
        let is_device = matches!(kind, EntryType::Block | EntryType::Char);
        // In other entries these fields may hold anything.
        let number = |number: io::Result<Option<u32>>| {
            if is_device { number.map(|number| number.unwrap_or(0)) } else { Ok(0) }
        };
        let or_zero = |field: io::Result<u64>| match field {
            Err(_) if self.owners == Owners::Ignored => Ok(0),
            field => field,
        };
        let link = records.link().or(link);
        let metadata = || -> Result<Metadata> {
            let mtime = records.mtime().map_or_else(|| or_zero(header.mtime()), Ok)?;
            Ok(Metadata {
                kind,
                mode: header.mode()? & 0o7777,
                uid: records.uid()?.map_or_else(|| or_zero(header.uid()), Ok)?,
                gid: records.gid()?.map_or_else(|| or_zero(header.gid()), Ok)?,
                // GNU's binary form of a time before 1970 has its first bit set.
                mtime: if i64::try_from(mtime).is_ok() { mtime } else { 0 },
                size: if kind.is_file() { size } else { 0 },
                data: data.clone().filter(|data| *data != [(0, size)]),
                link: link.unwrap_or_else(|| {
                    header.link_name_bytes().map_or(Vec::new(), |link| link.into_owned())
                }),
                device: (number(header.device_major())?, number(header.device_minor())?),
                attributes: records.attributes(),
            })
        };
        let metadata = metadata().with_context(what)?;
        let (other_records, access_lists) = (records.others(), records.access_lists());
        let entry = Entry { path, metadata, other_records, access_lists };
        (self.left, self.filling) = (stored, filling(stored));
        let stored = Stored { input: &mut self.input, left: &mut self.left };
        let extents = data.unwrap_or_else(|| vec![(0, size)]);
        Ok((entry, Content(Filled::new(extents, size, stored))))
    }
}

/// Whether the checksum of a header is right. A block of zeros is not a header.
pub(crate) fn checksum_holds(block: &[u8; 512]) -> bool {
    let sum =
        |range: std::ops::Range<usize>| block[range].iter().map(|b| u32::from(*b)).sum::<u32>();
    let found = sum(0..148) + 8 * u32::from(b' ') + sum(156..512);
    let written = Header::from_byte_slice(block).cksum();
    found != 8 * u32::from(b' ') && written.is_ok_and(|written| written == found)
}

/// The bytes between `size` and the end of its last block.
fn filling(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}

fn cut_short(error: io::Error) -> crate::error::Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => anyhow!("the tar is cut short"),
        _ => error.into(),
    }
}

fn cut_short_in(error: crate::error::Error) -> crate::error::Error {
    error.downcast::<io::Error>().map_or_else(|error| error, cut_short)
}

impl Content<'_> {
    /// Where there is data: one extent for a file that is stored whole.
    pub fn extents(&self) -> &[(u64, u64)] {
        self.0.extents()
    }

    /// The data alone, its extents one behind the other. Nothing may have been read before.
    pub fn stored(&mut self) -> &mut impl Read {
        self.0.parts().1
    }

    /// Writes the data to `file`, whose byte `offset` is the first of the content, and leaves out
    /// the holes. Nothing may have been read before.
    pub fn write_to(&mut self, file: &File, offset: u64) -> io::Result<()> {
        let (extents, data) = self.0.parts();
        let mut buffer = vec![0; PIECE.min(usize::try_from(*data.left).unwrap_or(PIECE))];
        for (at, length) in extents {
            let (mut at, end) = (*at, at + length);
            while at < end {
                let n = (end - at).min(buffer.len() as u64) as usize;
                let n = data.read(&mut buffer[..n])?;
                file.write_all_at(&buffer[..n], offset + at)?;
                at += n as u64;
            }
        }
        Ok(())
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// The data of an entry as it is in the tar; an error where the tar ends before it.
struct Stored<'a> {
    input: &'a mut dyn Read,
    /// Bytes that are not read yet.
    left: &'a mut u64,
}

impl Read for Stored<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = (*self.left).min(buffer.len() as u64) as usize;
        if most == 0 {
            return Ok(0);
        }
        loop {
            match self.input.read(&mut buffer[..most]) {
                Ok(0) => {
                    let cut = "the tar is cut short";
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, cut));
                }
                Ok(n) => {
                    *self.left -= n as u64;
                    return Ok(n);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests;
