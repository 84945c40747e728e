//! Reads a tar entry by entry: names and attributes of any length and of any bytes, and files with
//! holes without filling them. It knows not what becomes of them.
//!
//! Extension headers are taken apart here rather than by the `tar` crate, which splits pax records
//! at line ends and so breaks binary attributes; and which gives the zeros of holes one by one.
//!
//! Source: POSIX.1-2017 `pax`, the GNU `L`, `K` and `S` entries, `SCHILY.xattr` as star writes it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use ::tar::{EntryType, Header};

use super::holes::{self, Map};
use super::tar::checksum_holds;
use super::tree::ATTRIBUTE;
use crate::error::{Context, Result, bail, ensure};

const BLOCK: u64 = 512;
/// The most bytes of an extension header.
const LONGEST_EXTENSION: u64 = 1 << 20;
/// How much of a file is copied at a time.
const PIECE: usize = 1 << 17;

/// What a tar says of a file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// As it is written there.
    pub path: Vec<u8>,
    /// What it is; `Regular` however a file is stored.
    pub kind: EntryType,
    /// Permission bits, set-id and sticky bits among them.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: u64,
    /// Bytes of content, holes included; 0 unless a regular file.
    pub size: u64,
    /// Target of a link; empty if there is none.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes by name.
    pub attributes: Vec<(String, Vec<u8>)>,
    /// Keys of pax records that mean nothing here.
    pub unknown: Vec<String>,
}

/// The content of an entry. As a reader it gives the zeros of holes too.
pub struct Content<'a> {
    input: &'a mut dyn Read,
    /// How much of the data is not read yet.
    left: &'a mut u64,
    map: Map,
    size: u64,
    /// The part that comes next or is being read, and how far the file is read.
    part: usize,
    at: u64,
}

/// A tar being read.
pub struct Entries<R> {
    input: R,
    /// Data of the last entry that was not read, and what fills its last block.
    left: u64,
    filling: u64,
}

impl<R: Read> Entries<R> {
    /// Reads the tar that `input` gives.
    pub fn new(input: R) -> Entries<R> {
        Entries { input, left: 0, filling: 0 }
    }

    /// The next entry, or `None` at the end. What was not read of the last one is passed over.
    pub fn next_entry(&mut self) -> Result<Option<(Entry, Content<'_>)>> {
        let mut before = Extensions::default();
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let kind = header.entry_type();
            let size = header.entry_size().context("reading the size of an entry")?;
            match kind {
                EntryType::XHeader => before.read(&self.extension(size)?)?,
                EntryType::GNULongName => before.path = Some(text(self.extension(size)?)),
                EntryType::GNULongLink => before.link = Some(text(self.extension(size)?)),
                EntryType::XGlobalHeader => drop(self.extension(size)?),
                _ => return self.entry(&header, size, before).map(Some),
            }
        }
    }

    fn header(&mut self) -> Result<Option<Header>> {
        let rest = self.left + self.filling;
        let passed = io::copy(&mut (&mut self.input).take(rest), &mut io::sink())?;
        ensure!(passed == rest, "it is cut short");
        (self.left, self.filling) = (0, 0);
        let mut block = [0; BLOCK as usize];
        let mut filled = 0;
        while filled < block.len() {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => bail!("it is cut short"),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if block == [0; BLOCK as usize] {
            return Ok(None);
        }
        ensure!(checksum_holds(&block), "the checksum of a header is wrong");
        Ok(Some(Header::from_byte_slice(&block).clone()))
    }

    /// The bytes of an extension header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        ensure!(size <= LONGEST_EXTENSION, "a header of {size} bytes");
        let mut bytes = vec![0; size as usize];
        self.input.read_exact(&mut bytes).context("it is cut short")?;
        self.filling = filling(size);
        Ok(bytes)
    }

    fn entry(
        &mut self,
        header: &Header,
        size: u64,
        before: Extensions,
    ) -> Result<(Entry, Content<'_>)> {
        let path = before.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let shown = String::from_utf8_lossy(&path).into_owned();
        let what = || format!("reading the header of `{shown}`");
        let stored = before.size.unwrap_or(size);
        let kind = header.entry_type();
        let (map, size) = match kind {
            EntryType::GNUSparse => {
                holes::read(header, stored, &mut self.input).with_context(what)?
            }
            _ => (vec![(0, stored)], stored),
        };
        let kind = match kind {
            // Old programs wrote directories so.
            EntryType::Regular if path.ends_with(b"/") => EntryType::Directory,
            EntryType::Continuous | EntryType::GNUSparse => EntryType::Regular,
            kind => kind,
        };
        let device = matches!(kind, EntryType::Block | EntryType::Char);
        // In other entries these fields may hold anything.
        let number = |number: io::Result<Option<u32>>| {
            if device { number.map(|number| number.unwrap_or(0)) } else { Ok(0) }
        };
        let link = || header.link_name_bytes().map_or(Vec::new(), |link| link.into_owned());
        let entry = || -> io::Result<Entry> {
            Ok(Entry {
                kind,
                mode: header.mode()? & 0o7777,
                uid: before.uid.map_or_else(|| header.uid(), Ok)?,
                gid: before.gid.map_or_else(|| header.gid(), Ok)?,
                mtime: header.mtime()?,
                size: if kind.is_file() { size } else { 0 },
                link: before.link.unwrap_or_else(link),
                device: (number(header.device_major())?, number(header.device_minor())?),
                attributes: before.attributes,
                unknown: before.unknown,
                path,
            })
        };
        let entry = entry().with_context(what)?;
        (self.left, self.filling) = (stored, filling(stored));
        let (input, left) = (&mut self.input, &mut self.left);
        Ok((entry, Content { input, left, map, size, part: 0, at: 0 }))
    }
}

/// The bytes between `size` and the end of its last block.
fn filling(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}

fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    bytes
}

/// What stands in front of an entry.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u64>,
    gid: Option<u64>,
    size: Option<u64>,
    attributes: Vec<(String, Vec<u8>)>,
    unknown: Vec<String>,
}

impl Extensions {
    /// Takes the records of a pax header.
    fn read(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (key, value, after) = record(rest).context("reading a pax record")?;
            rest = after;
            let number = || -> Result<u64> {
                let text = String::from_utf8_lossy(value);
                text.parse().with_context(|| format!("reading the pax record {key}={text}"))
            };
            match key {
                "path" => self.path = Some(value.to_vec()),
                "linkpath" => self.link = Some(value.to_vec()),
                "uid" => self.uid = Some(number()?),
                "gid" => self.gid = Some(number()?),
                "size" => self.size = Some(number()?),
                key => match key.strip_prefix(ATTRIBUTE) {
                    Some(name) => self.attributes.push((name.to_string(), value.to_vec())),
                    None => self.unknown.push(key.to_string()),
                },
            }
        }
        Ok(())
    }
}

/// The first of some `LENGTH KEY=VALUE\n` records, and what follows it.
fn record(bytes: &[u8]) -> Result<(&str, &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ').context("no length")?;
    let length: usize = std::str::from_utf8(&bytes[..space])?.parse()?;
    let record = bytes.get(space + 1..length).context("a wrong length")?;
    let record = record.strip_suffix(b"\n").context("no line end")?;
    let equals = record.iter().position(|byte| *byte == b'=').context("no `=`")?;
    Ok((std::str::from_utf8(&record[..equals])?, &record[equals + 1..], &bytes[length..]))
}

impl Content<'_> {
    /// Where there is data, between holes; `None` for a file that is stored whole.
    pub fn map(&self) -> Option<&Map> {
        let whole = matches!(self.map[..], [(0, length)] if length == self.size);
        (!whole).then_some(&self.map)
    }

    /// The data alone, its parts one behind the other. Nothing may have been read before.
    pub fn stored(&mut self) -> impl Read {
        Stored { input: self.input, left: self.left }
    }

    /// Writes the data to `file`, whose byte `offset` is the first of the content, and leaves out
    /// the holes. Nothing may have been read before.
    pub fn write_to(&mut self, file: &File, offset: u64) -> io::Result<()> {
        let mut buffer = vec![0; PIECE.min(usize::try_from(*self.left).unwrap_or(PIECE))];
        for (at, length) in &self.map {
            let (mut at, end) = (*at, at + length);
            while at < end {
                let n = (end - at).min(buffer.len() as u64) as usize;
                let n = read_some(self.input, self.left, &mut buffer[..n])?;
                file.write_all_at(&buffer[..n], offset + at)?;
                at += n as u64;
            }
        }
        Ok(())
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (from, end) = match self.map.get(self.part) {
            Some((from, length)) => (*from, from + length),
            None => (self.size, self.size),
        };
        let hole = self.at < from;
        let most = if hole { from } else { end } - self.at;
        let n = most.min(buffer.len() as u64) as usize;
        if hole {
            buffer[..n].fill(0);
            self.at += n as u64;
            return Ok(n);
        }
        if n == 0 {
            return Ok(0);
        }
        let n = read_some(self.input, self.left, &mut buffer[..n])?;
        self.at += n as u64;
        if self.at == end {
            self.part += 1;
        }
        Ok(n)
    }
}

struct Stored<'a> {
    input: &'a mut dyn Read,
    left: &'a mut u64,
}

impl Read for Stored<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = (*self.left).min(buffer.len() as u64) as usize;
        if n == 0 { Ok(0) } else { read_some(self.input, self.left, &mut buffer[..n]) }
    }
}

/// Reads at least a byte of the data, of which `left` are left.
fn read_some(input: &mut dyn Read, left: &mut u64, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(buffer) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut short")),
            Ok(n) => {
                *left -= n as u64;
                return Ok(n);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
