//! What a bzip2 block holds, decoded for speed. It answers only for what is right beyond doubt, its
//! checksum included; of all else the library that [`super::piece`] asks next says what is wrong.
//!
//! Source: the format is described by its reference implementation, bzip2 1.0.8, and by J. Tsai's
//! "BZIP2: Format Specification" of 2016.

use super::transform;

/// The most symbols of a block, at the level 9.
const MOST: usize = 900_000;
/// Symbols that are decoded by one table.
const GROUP: usize = 50;
/// The longest code, in bits.
const LONGEST: usize = 20;
/// Codes up to so many bits are found by one look.
const LOOK: u32 = 10;

/// Decodes a block from behind its mark: its checksum, and so on. The block ends `length` bits
/// behind the start of `bytes`.
pub(super) fn decode(bytes: &[u8], length: u64) -> Option<Vec<u8>> {
    let mut bits = Bits::new(bytes);
    let crc = bits.take(16) << 16 | bits.take(16);
    let randomised = bits.take(1) == 1;
    if randomised {
        return None;
    }
    let first = bits.take(24);
    let alphabet = alphabet(&mut bits);
    let last = alphabet.len() + 1;
    let count = bits.take(3) as usize;
    if alphabet.is_empty() || !(2..=6).contains(&count) {
        return None;
    }
    let selectors = selectors(&mut bits, count)?;
    let codes: Vec<Code> =
        (0..count).map(|_| Code::read(&mut bits, last + 1)).collect::<Option<_>>()?;
    let mut symbols = Symbols::new(&alphabet);
    'groups: for selector in selectors {
        let code = codes.get(usize::from(selector))?;
        for _ in 0..GROUP {
            match usize::from(code.symbol(&mut bits)?) {
                symbol @ 0..=1 => symbols.lengthen(symbol)?,
                symbol if symbol == last => break 'groups,
                symbol => symbols.one(symbol - 1)?,
            }
        }
    }
    // Without an end the position is wrong as well.
    symbols.write_run()?;
    if bits.position() != length {
        return None;
    }
    let text = transform::undone(symbols.text, &symbols.counts, first)?;
    let block = transform::without_runs(&text)?;
    (transform::crc(&block) == crc).then_some(block)
}

/// The bytes that occur, in order.
fn alphabet(bits: &mut Bits<'_>) -> Vec<u8> {
    let rows = bits.take(16);
    let mut found = Vec::with_capacity(256);
    for row in (0..16).filter(|row| rows >> (15 - row) & 1 == 1) {
        let columns = bits.take(16);
        let here = (0..16).filter(|column| columns >> (15 - column) & 1 == 1);
        found.extend(here.map(|column| (row * 16 + column) as u8));
    }
    found
}

/// Which code each group of symbols has, of `count`.
fn selectors(bits: &mut Bits<'_>, count: usize) -> Option<Vec<u8>> {
    let mut recent = [0, 1, 2, 3, 4, 5];
    let groups = bits.take(15) as usize;
    let mut selectors = Vec::with_capacity(groups);
    for _ in 0..groups {
        let mut at = 0;
        while bits.take(1) == 1 {
            at += 1;
            if at == count {
                return None;
            }
        }
        recent[..=at].rotate_right(1);
        selectors.push(recent[0]);
    }
    Some(selectors)
}

/// A prefix code.
struct Code {
    /// By the next [`LOOK`] bits: a symbol and its length, `symbol << 5 | length`; 0: it is longer.
    short: Vec<u16>,
    /// For each length, the first code that is longer, aligned to [`LONGEST`] bits ...
    limits: [u32; LONGEST + 1],
    /// ... and what is to be added to a code of the length for its place in `order`.
    places: [i32; LONGEST + 1],
    /// The symbols, by length and then by value.
    order: Vec<u16>,
}

impl Code {
    fn read(bits: &mut Bits<'_>, symbols: usize) -> Option<Code> {
        let mut lengths = [0_u8; 258];
        let mut length = bits.take(5) as i32;
        for place in &mut lengths[..symbols] {
            loop {
                if !(1..=LONGEST as i32).contains(&length) {
                    return None;
                }
                if bits.take(1) == 0 {
                    break;
                }
                length += 1 - 2 * bits.take(1) as i32;
            }
            *place = length as u8;
        }
        Code::new(&lengths[..symbols])
    }

    fn new(lengths: &[u8]) -> Option<Code> {
        let mut short = vec![0; 1 << LOOK];
        let (mut limits, mut places) = ([0; LONGEST + 1], [0; LONGEST + 1]);
        let mut order = Vec::with_capacity(lengths.len());
        let mut code = 0_u32;
        for length in 1..=LONGEST {
            code <<= 1;
            places[length] = order.len() as i32 - code as i32;
            for symbol in (0..lengths.len()).filter(|at| usize::from(lengths[*at]) == length) {
                if code >> length != 0 {
                    return None;
                }
                if length as u32 <= LOOK {
                    let rest = LOOK - length as u32;
                    let entry = (symbol << 5 | length) as u16;
                    short[(code << rest) as usize..((code + 1) << rest) as usize].fill(entry);
                }
                order.push(symbol as u16);
                code += 1;
            }
            limits[length] = code << (LONGEST - length);
        }
        Some(Code { short, limits, places, order })
    }

    #[inline]
    fn symbol(&self, bits: &mut Bits<'_>) -> Option<u16> {
        bits.fill();
        let entry = self.short[bits.peek(LOOK) as usize];
        if entry != 0 {
            bits.skip(u32::from(entry & 31));
            return Some(entry >> 5);
        }
        let ahead = bits.peek(LONGEST as u32);
        let length = (LOOK as usize + 1..=LONGEST).find(|at| ahead < self.limits[*at])?;
        let code = ahead >> (LONGEST - length);
        bits.skip(length as u32);
        self.order.get((code as i32 + self.places[length]) as usize).copied()
    }
}

/// The text of a block while its symbols come in.
struct Symbols {
    /// The alphabet, what came last first.
    recent: [u8; 256],
    text: Vec<u32>,
    /// How often each byte is in the text.
    counts: [u32; 256],
    /// How often the first of `recent` comes next, and what a digit adds to it.
    run: usize,
    weight: usize,
}

impl Symbols {
    fn new(alphabet: &[u8]) -> Symbols {
        let mut recent = [0; 256];
        recent[..alphabet.len()].copy_from_slice(alphabet);
        let text = Vec::with_capacity(MOST);
        Symbols { recent, text, counts: [0; 256], run: 0, weight: 1 }
    }

    /// One more digit of a run's length: 0 is worth one, 1 two of its weight.
    #[inline]
    fn lengthen(&mut self, digit: usize) -> Option<()> {
        self.run += self.weight << digit;
        self.weight <<= 1;
        (self.run <= MOST).then_some(())
    }

    fn write_run(&mut self) -> Option<()> {
        let byte = self.recent[0];
        if self.text.len() + self.run > MOST {
            return None;
        }
        self.counts[usize::from(byte)] += self.run as u32;
        self.text.resize(self.text.len() + self.run, u32::from(byte));
        (self.run, self.weight) = (0, 1);
        Some(())
    }

    /// The byte that came `at` others ago.
    #[inline]
    fn one(&mut self, at: usize) -> Option<()> {
        if self.run > 0 {
            self.write_run()?;
        }
        let byte = self.recent[at & 255];
        self.recent.copy_within(0..at & 255, 1);
        self.recent[0] = byte;
        if self.text.len() == MOST {
            return None;
        }
        self.counts[usize::from(byte)] += 1;
        self.text.push(u32::from(byte));
        Some(())
    }
}

/// Bits, the highest of a byte first; zeros behind the end.
struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte to come into the window.
    at: usize,
    window: u64,
    held: u32,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Bits<'a> {
        Bits { bytes, at: 0, window: 0, held: 0 }
    }

    /// Has at least 56 bits to look at afterwards.
    #[inline]
    fn fill(&mut self) {
        let word = match self.bytes.get(self.at..self.at + 8) {
            Some(eight) => u64::from_be_bytes(eight.try_into().unwrap_or_default()),
            None => {
                let mut eight = [0; 8];
                let rest = self.bytes.get(self.at..).unwrap_or_default();
                eight[..rest.len()].copy_from_slice(rest);
                u64::from_be_bytes(eight)
            }
        };
        self.window |= word >> self.held;
        let whole = (63 - self.held) / 8;
        self.at += whole as usize;
        self.held += whole * 8;
    }

    #[inline]
    fn peek(&self, count: u32) -> u32 {
        (self.window >> (64 - count)) as u32
    }

    #[inline]
    fn skip(&mut self, count: u32) {
        self.window <<= count;
        self.held -= count;
    }

    fn take(&mut self, count: u32) -> u32 {
        self.fill();
        let bits = self.peek(count);
        self.skip(count);
        bits
    }

    /// How many bits were taken.
    fn position(&self) -> u64 {
        self.at as u64 * 8 - u64::from(self.held)
    }
}
