//! Reads a zip into a [`Directory`], by its directory: files by every method that tools use, links and modes
//! as Unix tools write them, and zip64; names as [`names`] understands them. Files that share their
//! bytes are refused; only bombs do that. Nor may the end of the directory leave out a part of it.
//!
//! Source: PKWARE's APPNOTE.TXT 6.3.10 (the numbers of the sections), and Info-ZIP's extrafld.txt.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use ::bzip2::read::BzDecoder;
use ::zstd;
use deflate64::Deflate64Decoder;
use flate2::Crc;
use flate2::read::DeflateDecoder;
use lzma_rust2::{LzmaReader, XzReader, lzma_get_memory_usage_by_props};

use super::LONGEST_NAME;
use super::directory::{Directory, refused};
use super::meter::Meter;
use super::node::Properties;
use super::positioned::Positioned;
use super::xz::MEMORY;
use crate::error::{Context, Result, anyhow, bail, ensure, with_hint};

mod names;

/// The end of the directory without its comment (4.3.16), and the longest comment.
const END: u64 = 22;
const COMMENT: u64 = 65_535;
/// What each entry of the directory begins with (4.3.12).
const ENTRY: &[u8] = b"PK\x01\x02";
/// A directory that is longer names more than a directory takes.
const MOST_DIRECTORY: u64 = 256 << 20;
/// In the external attributes of Unix: what kind of file it is.
const KIND: u32 = 0o170_000;

/// Little-endian numbers of a slice; those past its end are zero.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn number(self, at: usize, length: usize) -> u64 {
        let bytes = self.0.iter().skip(at).take(length).rev();
        bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn u16(self, at: usize) -> u64 {
        self.number(at, 2)
    }

    fn u32(self, at: usize) -> u64 {
        self.number(at, 4)
    }

    fn u64(self, at: usize) -> u64 {
        self.number(at, 8)
    }
}

/// An entry of the directory (4.3.12).
struct Entry {
    name: Vec<u8>,
    made_by: u64,
    flags: u64,
    method: u64,
    crc: u64,
    packed: u64,
    size: u64,
    attributes: u64,
    /// Where its local header is.
    at: u64,
    time: u64,
}

/// Reads the files of the zip `file`.
pub(super) fn read(file: &File, meter: &Meter<'_>, directory: &mut Directory<'_>) -> Result<()> {
    let length = file.metadata()?.len();
    let (at, size, count) = find_directory(file, length)?;
    let central = part(file, at, size)?;
    let mut entries = Vec::new();
    let mut rest = &central[..];
    // Not by the count: old tools keep 16 bits of it, and what it leaves out would be lost in silence.
    while rest.starts_with(ENTRY) || (entries.len() as u64) < count {
        let (entry, behind) = parse(rest)?;
        entries.push(entry);
        rest = behind;
    }
    let found = entries.len() as u64;
    let follows = part(file, at + size, (length - at - size).min(4))?;
    ensure!(
        (count == found || count == found & 0xffff) && follows != ENTRY,
        "the end of the zip counts {count} files, its directory holds {}; it is damaged",
        if follows == ENTRY { "more".to_string() } else { found.to_string() }
    );
    let mut taken = Vec::new();
    for entry in &entries {
        let shown = String::from_utf8_lossy(&entry.name).escape_debug().to_string();
        let start = extract(file, entry, at, meter, directory)
            .with_context(|| format!("reading {shown}"))?;
        taken.push((start, start + entry.packed, shown));
    }
    taken.sort();
    for pair in taken.windows(2) {
        let ((_, end, one), (start, _, two)) = (&pair[0], &pair[1]);
        ensure!(end <= start, "the files {one} and {two} of the zip share their bytes");
    }
    Ok(())
}

/// Where the directory is, how long, and of how many entries.
fn find_directory(file: &File, length: u64) -> Result<(u64, u64, u64)> {
    let from = length.saturating_sub(END + COMMENT);
    let tail = part(file, from, length - from)?;
    let is_end = |at: &usize| {
        let end = Bytes(&tail[*at..]);
        end.0.starts_with(b"PK\x05\x06") && end.u16(20) == (end.0.len() as u64) - END
    };
    let last = tail.len().checked_sub(END as usize);
    let found = last.and_then(|last| (0..=last).rev().find(is_end));
    let found = found.context("the directory of the zip is missing; it is cut short")?;
    let end = Bytes(&tail[found..]);
    let (mut count, mut size, mut at) = (end.u16(10), end.u32(12), end.u32(16));
    if count == 0xffff || size == 0xffff_ffff || at == 0xffff_ffff {
        // zip64 has another one (4.3.14), and before this one a locator of it (4.3.15).
        let locator = (from + found as u64).checked_sub(20).context("the zip is cut short")?;
        let locator = part(file, locator, 20)?;
        if locator.starts_with(b"PK\x06\x07") {
            let end = part(file, Bytes(&locator).u64(8), 56)?;
            ensure!(end.starts_with(b"PK\x06\x06"), "the zip64 directory is missing");
            let end = Bytes(&end);
            (count, size, at) = (end.u64(32), end.u64(40), end.u64(48));
        }
    }
    let inside = at.checked_add(size).is_some_and(|end| end <= length);
    ensure!(inside && size <= MOST_DIRECTORY, "the directory of the zip is damaged");
    Ok((at, size, count))
}

fn part(file: &File, at: u64, length: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, at).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => anyhow!("the zip is cut short"),
        _ => error.into(),
    })?;
    Ok(bytes)
}

/// The first entry of `bytes`, and what follows it.
fn parse(bytes: &[u8]) -> Result<(Entry, &[u8])> {
    let head = Bytes(bytes);
    let lengths = [28, 30, 32].map(|at| head.u16(at) as usize);
    let length = 46 + lengths.iter().sum::<usize>();
    let whole = bytes.starts_with(ENTRY) && length <= bytes.len();
    ensure!(whole, "the directory of the zip is damaged");
    let (name, behind) = bytes[46..].split_at(lengths[0]);
    let mut entry = Entry {
        name: name.to_vec(),
        made_by: head.u16(4) >> 8,
        flags: head.u16(8),
        method: head.u16(10),
        crc: head.u32(16),
        packed: head.u32(20),
        size: head.u32(24),
        attributes: head.u32(38),
        at: head.u32(42),
        time: dos_time(head.u16(14), head.u16(12)),
    };
    let mut unicode = None;
    let mut extra = &behind[..lengths[1]];
    while extra.len() >= 4 {
        let (id, size) = (Bytes(extra).u16(0), Bytes(extra).u16(2) as usize);
        let field = &extra[4..][..size.min(extra.len() - 4)];
        match id {
            // zip64: those that did not fit, in this order (4.5.3).
            1 => {
                let mut at = 0;
                for number in [&mut entry.size, &mut entry.packed, &mut entry.at] {
                    if *number == 0xffff_ffff && at + 8 <= field.len() {
                        *number = Bytes(field).u64(at);
                        at += 8;
                    }
                }
            }
            names::UNICODE_PATH => unicode = Some(field),
            // Seconds since 1970.
            0x5455 if field.len() >= 5 && field[0] & 1 == 1 => {
                entry.time = u64::try_from(Bytes(field).u32(1) as i32).unwrap_or(0);
            }
            _ => {}
        }
        extra = &extra[(4 + size).min(extra.len())..];
    }
    entry.name = names::name(name, entry.flags, entry.made_by, unicode);
    Ok((entry, &bytes[length..]))
}

/// A time of MS-DOS, taken for UTC, in seconds since 1970.
fn dos_time(date: u64, time: u64) -> u64 {
    let (year, month, day) = (1980 + (date >> 9), (date >> 5 & 15).clamp(1, 12), date & 31);
    // Days from the first of March of the year 0, in which leap days come last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day.max(1) - 1;
    let seconds = (time >> 11) * 3600 + (time >> 5 & 63) * 60 + (time & 31) * 2;
    (days - 719_468) * 86_400 + seconds
}

/// Adds an entry to the directory; gives where its bytes begin.
fn extract(
    file: &File,
    entry: &Entry,
    central: u64,
    meter: &Meter<'_>,
    directory: &mut Directory<'_>,
) -> Result<u64> {
    ensure!(entry.flags & 1 == 0, "it is encrypted, which kuth cannot read");
    let head = part(file, entry.at, 30)?;
    ensure!(head.starts_with(b"PK\x03\x04"), "its header is damaged");
    let (name, extra) = (Bytes(&head).u16(26), Bytes(&head).u16(28));
    let start = entry.at + 30 + name + extra;
    let inside = start.checked_add(entry.packed).is_some_and(|end| end <= central);
    ensure!(inside, "it reaches past the end of the files");
    // 3: Unix. Others have no mode.
    let mode = if entry.made_by == 3 { (entry.attributes >> 16) as u32 } else { 0 };
    let is_directory = entry.name.ends_with(b"/") || mode & KIND == 0o040_000;
    let permissions = match mode & 0o777 {
        0 if is_directory => 0o755,
        0 => 0o644,
        mode => mode,
    };
    let properties = Properties { mode: permissions, time: entry.time };
    if is_directory {
        directory.add_directory(&entry.name, properties)?;
        return Ok(start);
    }
    let input = meter.input(Positioned { file, at: start, left: entry.packed });
    let input: Box<dyn Read> = match entry.method {
        0 => Box::new(input),
        8 => Box::new(DeflateDecoder::new(input)),
        9 => Box::new(Deflate64Decoder::new(input)),
        12 => Box::new(BzDecoder::new(input)),
        14 => lzma(input, entry)?,
        20 | 93 => Box::new(zstd::stream::read::Decoder::new(input)?),
        95 => Box::new(XzReader::new_mem_limit(input, true, MEMORY)),
        other => {
            let error = anyhow!("it is compressed by the method {other}, which kuth does not read");
            return Err(with_hint(error, "unpack the zip with 7z, and pack it again"));
        }
    };
    let mut data = Summed { reader: meter.output(input), crc: Crc::new() };
    match mode & KIND {
        0o120_000 => {
            ensure!(entry.size <= LONGEST_NAME, "the link is {} bytes long", entry.size);
            let mut target = Vec::new();
            (&mut data).take(LONGEST_NAME).read_to_end(&mut target)?;
            directory.add_link(&entry.name, &target, properties)?;
        }
        // What `zip` packs of its standard input has the mode of a pipe, and is a file.
        0 | 0o010_000 | 0o100_000 => {
            let extents = [(0, entry.size)];
            directory.add_file(&entry.name, properties, entry.size, &extents, &mut data)?;
        }
        _ => return Err(refused(anyhow!("it is a device"))),
    }
    let ended = data.read(&mut [0])? == 0;
    let right = u64::from(data.crc.sum()) == entry.crc
        && u64::from(data.crc.amount()) == entry.size & 0xffff_ffff;
    ensure!(ended && right, "its checksum or its length is wrong; the zip is damaged");
    Ok(start)
}

/// LZMA as in a zip (5.8.8): the version of the program that wrote it, the length of the properties, they
/// themselves, and the data.
fn lzma<'a>(mut input: impl Read + 'a, entry: &Entry) -> Result<Box<dyn Read + 'a>> {
    let mut head = [0; 9];
    input.read_exact(&mut head)?;
    let [_, _, length, 0, properties, dictionary @ ..] = head else { bail!("its LZMA is damaged") };
    ensure!(length == 5, "its LZMA is damaged");
    let dictionary = u32::from_le_bytes(dictionary);
    let memory = lzma_get_memory_usage_by_props(dictionary, properties)?;
    ensure!(memory <= MEMORY, "its LZMA needs {memory} KiB of memory");
    // Bit 1 of the flags: its end is marked.
    let size = if entry.flags & 2 == 0 { entry.size } else { u64::MAX };
    Ok(Box::new(LzmaReader::new_with_props(input, size, properties, dictionary, None)?))
}

/// Takes the checksum of what passes.
struct Summed<R> {
    reader: R,
    crc: Crc,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buf)?;
        self.crc.update(&buf[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_dos_are_read() {
        // 2024-02-29 12:34:56.
        assert_eq!(dos_time(44 << 9 | 2 << 5 | 29, 12 << 11 | 34 << 5 | 28), 1_709_210_096);
        assert_eq!(dos_time(1 << 5 | 1, 0), 315_532_800);
        assert_eq!(dos_time(0, 0), 315_532_800);
    }
}
