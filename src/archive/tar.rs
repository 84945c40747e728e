//! Reads a tar of any kind into a [`Directory`]: ustar, GNU (long names, sparse files) and pax
//! (long names, sizes, GNU's three ways to tell a sparse file). It decodes entries by itself and
//! only the fields of headers by the `tar` crate, which takes pax sparse files for plain ones and
//! devices for empty files. Owners and extended attributes are dropped.
//!
//! Source: POSIX.1-2017 "pax", and the manual of GNU tar on sparse formats.

use std::io::{self, Read};

use ::tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::LONGEST_NAME;
use super::directory::{Directory, Properties, refused};
use crate::error::{Context, Result, anyhow, bail, ensure, with_hint};

mod pax;

use pax::Records;

const BLOCK: u64 = 512;
/// What pax records may take at most.
const MOST_RECORDS: u64 = 1 << 20;
/// Parts of a sparse file: 1 TiB with a hole between any two MiB, more or less.
const MOST_PARTS: usize = 1 << 20;

/// Whether the checksum of a header is right. A block of zeros is no header.
pub(super) fn checksum_holds(block: &[u8; 512]) -> bool {
    let sum =
        |range: std::ops::Range<usize>| block[range].iter().map(|b| u32::from(*b)).sum::<u32>();
    let found = sum(0..148) + 8 * u32::from(b' ') + sum(156..512);
    let told = Header::from_byte_slice(block).cksum();
    found != 8 * u32::from(b' ') && told.is_ok_and(|told| told == found)
}

/// What comes before an entry and is about it.
#[derive(Default)]
struct Before {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Records,
}

/// Reads the tar up to the block of zeros that ends it.
pub(super) fn read(reader: &mut dyn Read, directory: &mut Directory<'_>) -> Result<()> {
    let mut before = Before::default();
    let mut block = [0; BLOCK as usize];
    loop {
        reader.read_exact(&mut block).map_err(cut_short)?;
        if block == [0; BLOCK as usize] {
            return Ok(());
        }
        ensure!(checksum_holds(&block), "the checksum of a header is wrong; the tar is damaged");
        let header = Header::from_byte_slice(&block);
        let size = header.entry_size().context("reading the size of an entry")?;
        match header.entry_type() {
            EntryType::GNULongName => before.name = Some(long(reader, size)?),
            EntryType::GNULongLink => before.link = Some(long(reader, size)?),
            EntryType::XHeader => {
                ensure!(size <= MOST_RECORDS, "an entry has {size} bytes of pax records");
                before.records = Records::parse(&take(reader, size)?)?;
            }
            // What they tell of all files is no matter here: comments, times, owners.
            EntryType::XGlobalHeader => {
                ensure!(size <= MOST_RECORDS, "the tar has {size} bytes of pax records");
                let records = Records::parse(&take(reader, size)?)?;
                ensure!(!records.rename(), "pax records for all files give a name or a size");
            }
            kind => entry(reader, directory, header, kind, size, std::mem::take(&mut before))?,
        }
    }
}

fn entry(
    reader: &mut dyn Read,
    directory: &mut Directory<'_>,
    header: &Header,
    kind: EntryType,
    size: u64,
    before: Before,
) -> Result<()> {
    let records = before.records;
    let size = records.size()?.unwrap_or(size);
    let name = records.name().or(before.name).unwrap_or_else(|| header.path_bytes().into_owned());
    let shown = String::from_utf8_lossy(&name).escape_debug().to_string();
    let time = match records.time() {
        Some(time) => time,
        // Before 1970 is all the same.
        None => header.mtime().unwrap_or(0),
    };
    let mode = header.mode().with_context(|| format!("reading the mode of {shown}"))?;
    let properties = Properties { mode: mode & 0o777, time };
    let link = || -> Result<Vec<u8>> {
        let told = records.link().or(before.link.clone());
        let link = told.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        link.with_context(|| format!("the link {shown} leads nowhere"))
    };
    let is_directory = kind.is_dir() || (kind == EntryType::Regular && name.ends_with(b"/"));
    match kind {
        _ if is_directory => directory.add_directory(&name, properties)?,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            return file(reader, directory, header, (&name, properties), size, &records);
        }
        EntryType::Symlink => directory.add_link(&name, &link()?, properties)?,
        EntryType::Link => directory.add_hard_link(&name, &link()?)?,
        EntryType::Char | EntryType::Block | EntryType::Fifo => {
            let what = if kind == EntryType::Fifo { "a pipe" } else { "a device" };
            let error = refused(anyhow!("{shown} is {what}"));
            return Err(with_hint(error, "a whole system's tar is for a stage that makes a tree"));
        }
        // The label of a volume.
        kind if kind.as_byte() == b'V' => {}
        // GNU's list of a directory.
        kind if kind.as_byte() == b'D' => directory.add_directory(&name, properties)?,
        kind => bail!("{shown} is of the unknown kind `{}`", kind.as_byte().escape_ascii()),
    }
    skip(reader, padded(size)?)
}

fn file(
    reader: &mut dyn Read,
    directory: &mut Directory<'_>,
    header: &Header,
    (name, properties): (&[u8], Properties),
    size: u64,
    records: &Records,
) -> Result<()> {
    let rest = padded(size)? - size;
    let mut data = reader.take(size);
    if header.entry_type() == EntryType::GNUSparse {
        let (real, map) = old_map(data.get_mut(), header).context("reading the map of a file")?;
        data.set_limit(size);
        directory.add_file(name, properties, real, &map, &mut data)?;
    } else if let Some(real) = records.sparse_size()? {
        let map = match records.sparse_map()? {
            Some(map) => map,
            None => leading_map(&mut data).context("reading the map of a file")?,
        };
        directory.add_file(name, properties, real, &map, &mut data)?;
    } else {
        directory.add_file(name, properties, size, &[(0, size)], &mut data)?;
    }
    let left = data.limit();
    skip(reader, left + rest)
}

/// The size and the map of GNU's old sparse files: in the header, and in blocks behind it.
fn old_map(reader: &mut dyn Read, header: &Header) -> Result<(u64, Vec<(u64, u64)>)> {
    let gnu = header.as_gnu().context("it is in no header of the GNU kind")?;
    let mut map = Vec::new();
    let mut add = |parts: &[GnuSparseHeader]| -> Result<()> {
        for part in parts.iter().filter(|part| !part.is_empty()) {
            map.push((part.offset()?, part.length()?));
        }
        ensure!(map.len() <= MOST_PARTS, "it has more than {MOST_PARTS} parts");
        Ok(())
    };
    add(&gnu.sparse)?;
    let mut more = gnu.is_extended();
    while more {
        let mut block = GnuExtSparseHeader::new();
        reader.read_exact(block.as_mut_bytes()).map_err(cut_short)?;
        add(&block.sparse)?;
        more = block.is_extended();
    }
    Ok((gnu.real_size()?, map))
}

/// The map of pax's sparse files of version 1.0: numbers, a line each, before the data.
fn leading_map(data: &mut impl Read) -> Result<Vec<(u64, u64)>> {
    let mut block = [0; BLOCK as usize];
    let mut at = block.len();
    let mut number = || -> Result<u64> {
        let mut number = 0u64;
        for digits in 0.. {
            if at == block.len() {
                data.read_exact(&mut block).map_err(cut_short)?;
                at = 0;
            }
            let byte = block[at];
            at += 1;
            match byte {
                b'0'..=b'9' if digits < 19 => number = number * 10 + u64::from(byte - b'0'),
                b'\n' if digits > 0 => break,
                _ => bail!("it is made of something else than numbers"),
            }
        }
        Ok(number)
    };
    let count = number()?;
    ensure!(count <= MOST_PARTS as u64, "it has {count} parts");
    (0..count).map(|_| Ok((number()?, number()?))).collect()
}

/// A name of an entry of its own, without the zero at its end.
fn long(reader: &mut dyn Read, size: u64) -> Result<Vec<u8>> {
    ensure!(size <= LONGEST_NAME + 1, "a name has {size} bytes");
    let mut name = take(reader, size)?;
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

/// `size` bytes, few, and the rest of their last block.
fn take(reader: &mut dyn Read, size: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; padded(size)? as usize];
    reader.read_exact(&mut bytes).map_err(cut_short)?;
    bytes.truncate(size as usize);
    Ok(bytes)
}

fn skip(reader: &mut dyn Read, count: u64) -> Result<()> {
    let skipped = io::copy(&mut reader.take(count), &mut io::sink())?;
    ensure!(skipped == count, "the tar is cut short");
    Ok(())
}

/// `size` up to the end of its last block.
fn padded(size: u64) -> Result<u64> {
    size.checked_next_multiple_of(BLOCK).context("an entry has an impossible size")
}

fn cut_short(error: io::Error) -> crate::error::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => anyhow!("the tar is cut short"),
        _ => error.into(),
    }
}
