//! Finds the marks of bzip2 data, bit by bit, at the speed of a table: of each byte it asks
//! whether it can be the last but one of a mark at all, which few can.

use super::HEAD;
use super::piece::{MARK_BITS, Mark, Piece};

const MARKS: [Mark; 2] = [Mark::Block, Mark::End];

/// For each byte: the numbers of bits that may follow a mark, if this is the byte before the one
/// it ends in; eight for each kind of mark.
const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut kind = 0;
    while kind < 2 {
        let mut behind = 0;
        while behind < 8 {
            let byte = (MARKS[kind].bits() >> (8 - behind)) & 0xff;
            table[byte as usize] |= 1 << (kind * 8 + behind);
            behind += 1;
        }
        kind += 1;
    }
    table
}

static TABLE: [u16; 256] = table();

/// Cuts what it is fed into pieces.
pub(super) struct Scanner {
    /// What was fed and belongs to no piece yet.
    bytes: Vec<u8>,
    /// The place of `bytes` in the input.
    base: u64,
    /// The mark of the piece that is open, and the bit of `bytes` it begins at.
    open: Option<(Mark, u64)>,
    /// The last 64 bits.
    window: u64,
    faulty: bool,
}

impl Scanner {
    pub(super) fn new() -> Scanner {
        Scanner { bytes: Vec::new(), base: 0, open: None, window: 0, faulty: false }
    }

    /// Takes more of the input; gives each piece that is now complete.
    pub(super) fn feed(&mut self, chunk: &[u8], mut give: impl FnMut(Piece)) {
        let mut at = self.bytes.len() as u64;
        self.bytes.extend_from_slice(chunk);
        for byte in chunk {
            at += 1;
            self.window = self.window << 8 | u64::from(*byte);
            let mut may = TABLE[(self.window >> 8 & 0xff) as usize];
            while may != 0 {
                let bit = may.trailing_zeros();
                may &= may - 1;
                let (mark, behind) = (MARKS[bit as usize / 8], u64::from(bit % 8));
                if self.window >> behind & ((1 << MARK_BITS) - 1) == mark.bits()
                    && let Some(start) = (at * 8).checked_sub(behind + MARK_BITS)
                {
                    self.found(mark, start, &mut give);
                }
            }
        }
        // Forget what has gone into pieces.
        let keep = self.open.map_or(0, |(_, start)| start / 8);
        if let Some((_, start)) = &mut self.open {
            *start -= keep * 8;
        }
        self.bytes.drain(..keep as usize);
        self.base += keep;
    }

    fn found(&mut self, mark: Mark, start: u64, give: &mut impl FnMut(Piece)) {
        match self.open {
            Some((mark, from)) => give(Piece::new(mark, self.base, &self.bytes, from, start)),
            None => {
                let head = &self.bytes[..(start / 8) as usize];
                let is_head = start == 32
                    && head.starts_with(HEAD)
                    && (b'1'..=b'9').contains(&head[HEAD.len()]);
                self.faulty |= !is_head;
            }
        }
        self.open = Some((mark, start));
    }

    /// How many bytes are in no piece yet.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len()
    }

    /// Where they begin.
    pub(super) fn piece_at(&self) -> u64 {
        self.base
    }

    /// The last piece, which ends with the input; `None` where the input is not a bzip2 data.
    pub(super) fn finish(self) -> Option<Piece> {
        let (mark, start) = self.open.filter(|_| !self.faulty)?;
        let end = self.bytes.len() as u64 * 8;
        Some(Piece::new(mark, self.base, &self.bytes, start, end))
    }
}
