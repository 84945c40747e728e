//! A piece of bzip2 data between two marks, which lie at any bit. It is decoded by making a stream
//! of its own out of it: a head, the block, the end mark, and as the stream's checksum the block's.

use std::io::{self, Read};

use ::bzip2::read::BzDecoder;

use super::block;

/// What a piece begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// A block: the digits of pi.
    Block,
    /// The end of a stream: those of its square root.
    End,
}

/// What a stream begins with, in bytes.
const HEAD: usize = 4;
/// Bits of a mark.
pub(super) const MARK_BITS: u64 = 48;

impl Mark {
    pub(super) const fn bits(self) -> u64 {
        match self {
            Mark::Block => 0x3141_5926_5359,
            Mark::End => 0x1772_4538_5090,
        }
    }
}

/// Bits from a mark up to the next.
pub(super) struct Piece {
    pub(super) mark: Mark,
    /// The byte of the input that the mark begins in.
    pub(super) at: u64,
    /// Begins with the byte that the mark begins in ...
    bytes: Vec<u8>,
    /// ... after this many bits of it.
    skip: u32,
    /// How many bits are the piece's, mark included.
    bits: u64,
}

impl Piece {
    /// The bits from `start` to `end` of `bytes`, which begin at byte `at` of the input.
    pub(super) fn new(mark: Mark, at: u64, bytes: &[u8], start: u64, end: u64) -> Piece {
        let first = (start / 8) as usize;
        Piece {
            mark,
            at: at + start / 8,
            bytes: bytes[first..end.div_ceil(8) as usize].to_vec(),
            skip: (start % 8) as u32,
            bits: end - start,
        }
    }

    /// In bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The byte that begins at bit `at` of the piece; zeros behind its last byte.
    fn byte(&self, at: u64) -> u8 {
        let at = at + u64::from(self.skip);
        let byte = |at: u64| self.bytes.get(at as usize).copied().unwrap_or(0);
        let pair = u16::from_be_bytes([byte(at / 8), byte(at / 8 + 1)]);
        (pair << (at % 8) >> 8) as u8
    }

    /// The checksum behind the mark: of the block, or of the stream that ends.
    pub(super) fn crc(&self) -> u32 {
        u32::from_be_bytes([0, 8, 16, 24].map(|at| self.byte(MARK_BITS + at)))
    }

    /// Adds the piece that follows it in the input.
    pub(super) fn append(&mut self, next: &Piece) {
        if next.skip > 0 {
            // Both have the byte they meet in, whole.
            self.bytes.pop();
        }
        self.bytes.extend_from_slice(&next.bytes);
        self.bits += next.bits;
    }

    /// What the block holds. Fails unless its checksum is right and nothing follows it.
    pub(super) fn decode(&self) -> io::Result<Vec<u8>> {
        if let Some(block) = self.decode_fast() {
            return Ok(block);
        }
        let mut block = Vec::with_capacity(900_000);
        BzDecoder::new(self.as_stream().as_slice()).read_to_end(&mut block)?;
        Ok(block)
    }

    /// The same of a block that has nothing unusual.
    pub(super) fn decode_fast(&self) -> Option<Vec<u8>> {
        let behind_the_mark = HEAD + (MARK_BITS / 8) as usize;
        let length = self.bits.checked_sub(MARK_BITS)?;
        block::decode(self.as_stream().get(behind_the_mark..)?, length)
    }

    fn as_stream(&self) -> Vec<u8> {
        let whole = self.bits / 8;
        let mut stream = Vec::with_capacity(self.bytes.len() + 16);
        stream.extend_from_slice(b"BZh9");
        let pairs = self.bytes.iter().zip(self.bytes.iter().skip(1).chain([&0]));
        stream.extend(
            pairs
                .take(whole as usize)
                .map(|(one, two)| (u16::from_be_bytes([*one, *two]) << self.skip >> 8) as u8),
        );
        let rest = self.bits % 8;
        let last = u128::from(self.byte(whole * 8) >> (8 - rest).min(7)) >> u32::from(rest == 0);
        let tail = (last << 48 | u128::from(Mark::End.bits())) << 32 | u128::from(self.crc());
        stream.extend_from_slice(&(tail << (128 - 80 - rest)).to_be_bytes()[..11]);
        stream
    }

    /// The bytes behind the checksum of the end of a stream, which fills its last byte up.
    pub(super) fn behind_the_end(&self) -> &[u8] {
        let end = (u64::from(self.skip) + MARK_BITS + 32).div_ceil(8) as usize;
        // Where the next mark follows, the input's next head ends just before it.
        self.bytes.get(end..).unwrap_or(&[])
    }
}
