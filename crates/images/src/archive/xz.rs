//! xz, decompressed by one thread: each block by itself, between what its stream says of it. The library
//! decompresses and compares the checks of blocks; it does not compare lengths with the index.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::FileExt;

use lzma_rust2::XzReader;

use super::meter::Meter;
use super::positioned::Positioned;
use crate::error::{Context, Result, ensure};
use crate::format::xz::{BlockHeader, EDGE, Flags, Footer, LONGEST_BLOCK_HEADER, Record};
use crate::units::Bytes;

/// The most memory that xz data may ask for, in KiB: what `xz -9` needs, and sixteen times more.
pub(super) const MEMORY: u32 = 1 << 20;
/// A longer index is of more blocks than anybody makes.
const MOST_INDEX: u64 = 256 << 20;
/// Zeros between streams are looked at in pieces of this.
const PIECE: u64 = 1 << 16;

/// A block of a file.
struct Block {
    at: u64,
    flags: Flags,
    record: Record,
}

/// The content of all streams of `file`.
///
/// # Errors
///
/// What the streams say of their blocks does not agree.
pub(super) fn read<'a>(file: &'a File, meter: &'a Meter<'a>) -> Result<impl Read + 'a> {
    let mut blocks = blocks(file).context("reading the index of the xz data")?;
    blocks.reverse();
    Ok(Blocks { file, meter, blocks, current: None })
}

fn part(file: &File, at: u64, length: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// The blocks of all streams, from the last stream to the first: only from their ends it is known where
/// their indexes are.
fn blocks(file: &File) -> Result<Vec<Block>> {
    let mut streams = Vec::new();
    let mut end = file.metadata()?.len();
    while end > 0 {
        end = without_padding(file, end)?;
        let (start, blocks) = stream(file, end)?;
        streams.push(blocks);
        end = start;
    }
    Ok(streams.into_iter().rev().flatten().collect())
}

/// The end of the stream before the zeros that end at `end`, which are a multiple of four.
fn without_padding(file: &File, end: u64) -> Result<u64> {
    let mut at = end;
    loop {
        let piece = at.min(PIECE);
        ensure!(piece > 0, "there is no stream, only zeros");
        let bytes = part(file, at - piece, piece)?;
        match bytes.iter().rposition(|byte| *byte != 0) {
            Some(last) => {
                let found = at - piece + last as u64 + 1;
                ensure!((end - found).is_multiple_of(4), "{} zeros follow a stream", end - found);
                return Ok(found);
            }
            None => at -= piece,
        }
    }
}

/// The blocks of the stream that ends at `end`, and where it begins.
fn stream(file: &File, end: u64) -> Result<(u64, Vec<Block>)> {
    let edge = EDGE as u64;
    let cut = || format!("the stream that ends at byte {end} is cut short");
    let footer = Footer::read(&part(file, end.checked_sub(edge).with_context(cut)?, edge)?)?;
    let index = footer.index.0;
    let index_at = end.checked_sub(edge + index).with_context(cut)?;
    ensure!(index <= MOST_INDEX, "an index of {}", footer.index);
    let records = Record::read_index(&part(file, index_at, index)?)?;
    let length = |sum: u64, record: &Record| sum.checked_add(record.length().0);
    let length = records.iter().try_fold(edge, length);
    let start = length.and_then(|length| index_at.checked_sub(length)).with_context(cut)?;
    let flags = Flags::read_header(&part(file, start, edge)?)
        .context("its lengths do not lead to the start of the stream")?;
    ensure!(flags == footer.flags, "header and footer of a stream have other flags");
    let mut at = start + edge;
    let mut blocks = Vec::new();
    for record in records {
        let head = part(file, at, record.length().0.min(LONGEST_BLOCK_HEADER as u64))?;
        let header = BlockHeader::read(&head).with_context(|| format!("at byte {at}"))?;
        ensure!(
            header.agrees(record, flags),
            "the block at byte {at} says other lengths than the index"
        );
        blocks.push(Block { at, flags, record });
        at += record.length().0;
    }
    Ok((start, blocks))
}

/// Reads one block after the other.
struct Blocks<'a> {
    file: &'a File,
    meter: &'a Meter<'a>,
    /// Those that are left, the next one last.
    blocks: Vec<Block>,
    /// The one that is read, where it is in the file, and how much of it is missing.
    current: Option<(Box<dyn Read + 'a>, u64, u64)>,
}

impl<'a> Blocks<'a> {
    /// A block as a stream of its own.
    fn open(&self, block: &Block) -> Box<dyn Read + 'a> {
        let Block { at, flags, record } = *block;
        let index = record.index();
        let footer = Footer { index: Bytes(index.len() as u64), flags }.write();
        let data = Positioned { file: self.file, at, left: record.length().0 };
        let stream = Cursor::new(flags.header())
            .chain(self.meter.input(data))
            .chain(Cursor::new([index, footer].concat()));
        let stream = io::BufReader::with_capacity(1 << 16, stream);
        Box::new(XzReader::new_mem_limit(stream, false, MEMORY))
    }
}

impl Read for Blocks<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some((reader, at, left)) = &mut self.current else {
                let Some(block) = self.blocks.pop() else { return Ok(0) };
                self.current = Some((self.open(&block), block.at, block.record.size.0));
                continue;
            };
            let n = reader.read(buf)?;
            let missing = left.checked_sub(n as u64);
            if missing.is_none() || n == 0 && *left > 0 && !buf.is_empty() {
                let what = format!("the block at byte {at} has another length than the index says");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            *left = missing.unwrap_or(0);
            if n > 0 || buf.is_empty() {
                return Ok(n);
            }
            self.current = None;
        }
    }
}
