//! Reads a tar entry by entry: names and attributes of any length and of any bytes, and files with
//! holes without filling them. It knows not what becomes of them.
//!
//! Extension headers are taken apart here rather than by the `tar` crate, which splits pax records at
//! line ends and so breaks binary attributes; and which gives the zeros of holes one by one.
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
            // Old programs wrote folders so.
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

    /// Writes the data to `file`, whose byte `offset` is the first of the content, and leaves out the
    /// holes. Nothing may have been read before.
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
mod tests {
    use super::*;
    use crate::archive::holes::UNIT;
    use ::tar::{Builder, GnuExtSparseHeader};

    #[test]
    fn records_may_hold_any_bytes() {
        let bytes = b"30 SCHILY.xattr.user.x=a\nb\0=c\n12 path=./p\n14 size=12345\n11 odd=yes\n";
        let mut extensions = Extensions::default();
        extensions.read(bytes).unwrap();
        assert_eq!(extensions.attributes, [("user.x".to_string(), b"a\nb\0=c".to_vec())]);
        assert_eq!(extensions.path.as_deref(), Some(&b"./p"[..]));
        assert_eq!((extensions.size, extensions.unknown), (Some(12345), vec!["odd".to_string()]));
        for wrong in ["99 a=b\n", "a=b\n", "6 a=bc\n", "7 abcd\n", "8 uid=x\n"] {
            assert!(Extensions::default().read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    /// A tar of one file with these parts of data, each byte of which tells where it is.
    fn sparse(size: u64, map: &Map) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        let data: Vec<u8> = map.iter().flat_map(|(at, n)| (*at..at + n).map(byte)).collect();
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(1_407_182_137);
        header.set_gid(0);
        header.set_mtime(9);
        let mut last = header.clone();
        holes::append(&mut builder, b"a", header, size, map, &mut data.as_slice()).unwrap();
        last.set_size(1);
        builder.append_data(&mut last, "b", &b"b"[..]).unwrap();
        builder.into_inner().unwrap()
    }

    fn byte(at: u64) -> u8 {
        (at % 250 + 1) as u8
    }

    /// As many parts as these fill the header, one block behind it, two.
    const COUNTS: [u64; 8] = [0, 1, 3, 4, 5, 25, 26, 60];

    #[test]
    fn a_map_of_any_length_comes_back_with_the_file_behind_it() {
        for count in COUNTS {
            for rest in [0, 1, 700] {
                let mut map: Map = (0..count).map(|at| (3 * at * 512, 512)).collect();
                // The last part need not be a whole block; the file may end with it.
                if rest > 0 {
                    map.push((3 * count * 512, rest));
                }
                for size in [3 * count * 512 + rest, 3 * count * 512 + rest + 5000] {
                    let tar = sparse(size, &map);
                    let mut entries = Entries::new(tar.as_slice());
                    let (entry, mut content) = entries.next_entry().unwrap().unwrap();
                    assert_eq!((entry.kind, entry.size), (EntryType::Regular, size));
                    assert_eq!(entry.uid, 1_407_182_137);
                    let mut bytes = Vec::new();
                    content.read_to_end(&mut bytes).unwrap();
                    let inside = |at| map.iter().any(|(from, n)| (*from..from + n).contains(&at));
                    let expected: Vec<u8> =
                        (0..size).map(|at| if inside(at) { byte(at) } else { 0 }).collect();
                    assert!(bytes == expected, "{count} parts, {rest} more, {size} bytes");
                    assert_eq!(next_name(&mut entries), "b");
                    // The crate reads the same.
                    let mut archive = ::tar::Archive::new(tar.as_slice());
                    let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
                    bytes.clear();
                    entry.read_to_end(&mut bytes).unwrap();
                    assert!(bytes == expected);
                }
            }
        }
    }

    fn next_name<R: Read>(entries: &mut Entries<R>) -> String {
        let (entry, _) = entries.next_entry().unwrap().unwrap();
        String::from_utf8(entry.path).unwrap()
    }

    #[test]
    fn a_file_is_written_with_its_holes_wherever_it_is_wanted() {
        use std::os::unix::fs::MetadataExt;
        let map = vec![(UNIT, 2 * UNIT), (600 * UNIT, 100)];
        let tar = sparse(900 * UNIT, &map);
        for offset in [0, 12_288] {
            let mut entries = Entries::new(tar.as_slice());
            let (_, mut content) = entries.next_entry().unwrap().unwrap();
            assert_eq!(content.map(), Some(&map));
            let file = tempfile::tempfile().unwrap();
            content.write_to(&file, offset).unwrap();
            let found = file.metadata().unwrap();
            assert_eq!(found.len(), offset + 600 * UNIT + 100);
            assert!(found.blocks() * 512 < 3 * UNIT, "{} blocks", found.blocks());
            for (at, length) in &map {
                let mut bytes = vec![0; *length as usize];
                file.read_exact_at(&mut bytes, offset + at).unwrap();
                assert!((0..*length).all(|n| bytes[n as usize] == byte(at + n)), "{at}");
            }
            assert_eq!(next_name(&mut entries), "b");
        }
        // The data alone, and none of it.
        let mut entries = Entries::new(tar.as_slice());
        let (_, mut content) = entries.next_entry().unwrap().unwrap();
        assert_eq!(io::copy(&mut content.stored(), &mut io::sink()).unwrap(), 2 * UNIT + 100);
        assert_eq!(next_name(&mut entries), "b");
        let mut entries = Entries::new(tar.as_slice());
        entries.next_entry().unwrap();
        assert_eq!(next_name(&mut entries), "b");
    }

    /// The first entry read to its end, and the one behind it.
    fn read_all(tar: &[u8]) -> Result<()> {
        let mut entries = Entries::new(tar);
        let Some((_, mut content)) = entries.next_entry()? else { bail!("nothing") };
        io::copy(&mut content, &mut io::sink())?;
        entries.next_entry().map(|_| ())
    }

    #[test]
    fn a_map_that_lies_and_a_tar_cut_short_are_refused() {
        let map = vec![(0, 512), (1024, 512), (2048, 512), (4096, 512), (8192, 512)];
        let good = sparse(10_000, &map);
        read_all(&good).unwrap();
        for end in [1, 511, 513, 1023, 1024, 1025, 1024 + 5 * 512 - 1] {
            assert!(read_all(&good[..end]).is_err(), "cut at {end}");
        }
        let changed = |change: &dyn Fn(&mut ::tar::GnuHeader, &mut GnuExtSparseHeader)| {
            let mut tar = good.clone();
            let mut header = Header::from_byte_slice(tar[..512].try_into().unwrap()).clone();
            let mut more = GnuExtSparseHeader::new();
            more.as_mut_bytes().copy_from_slice(&tar[512..1024]);
            change(header.as_gnu_mut().unwrap(), &mut more);
            header.set_cksum();
            tar[..512].copy_from_slice(header.as_bytes());
            tar[512..1024].copy_from_slice(more.as_bytes());
            format!("{:#}", read_all(&tar).unwrap_err())
        };
        let overlap = changed(&|header, _| header.sparse[1].set_offset(100));
        assert!(overlap.contains("overlap"), "{overlap}");
        let odd = changed(&|header, _| header.sparse[0].set_length(511));
        assert!(odd.contains("no whole block"), "{odd}");
        let behind = changed(&|_, more| {
            more.sparse[0].set_offset(9_999);
            more.sparse[1].set_offset(9_999 + 512);
        });
        assert!(behind.contains("not that of its data"), "{behind}");
        let more = changed(&|_, more| more.sparse[0].set_length(1));
        assert!(more.contains("not that of its data"), "{more}");
        let long = changed(&|_, more| more.sparse[0].set_offset(u64::MAX - 5));
        assert!(long.contains("too long"), "{long}");
        let mut damaged = good.clone();
        damaged[100] ^= 1;
        assert!(read_all(&damaged).unwrap_err().to_string().contains("checksum"));
    }
}
