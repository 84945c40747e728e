//! The way back through a block's transforms: Burrows and Wheeler's, and the coding of runs.

/// Rows that the text is followed from at once. Each step waits for memory, so following one chain
/// of rows takes as long as following several that meet.
const CHAINS: usize = 16;
/// Marks a row that a chain starts at; an entry has 8 bits of byte and 20 of row.
const START: u32 = 1 << 31;

/// A piece of the text: the rows from one start to the next.
struct Chain {
    bytes: Vec<u8>,
    row: usize,
}

/// Undoes the Burrows-Wheeler transform. `last` is the last column, in which each byte occurs as
/// often as `counts` says; `first` is the row of the text itself.
pub(super) fn undone(mut last: Vec<u32>, counts: &[u32; 256], first: u32) -> Option<Vec<u8>> {
    let (length, first) = (last.len(), first as usize);
    if first >= length {
        return None;
    }
    // Entry `i` gets the row that follows row `i`.
    let mut places = [0; 256];
    let mut sum = 0;
    for (place, count) in places.iter_mut().zip(counts) {
        *place = sum;
        sum += *count as usize;
    }
    for row in 0..length {
        let place = &mut places[(last[row] & 255) as usize];
        *last.get_mut(*place)? |= (row as u32) << 8;
        *place += 1;
    }
    let next = |entry: u32| (entry >> 8 & 0xf_ffff) as usize;
    let start = next(last[first]);
    Some(follow(&mut last, start, next))
}

/// The bytes of the rows from `start` on, as many as there are rows.
fn follow(rows: &mut [u32], start: usize, next: impl Fn(u32) -> usize) -> Vec<u8> {
    let length = rows.len();
    // Rows far from each other are in places of the text that have nothing to do with each other.
    let mut starts: Vec<usize> = (0..CHAINS).map(|at| at * length / CHAINS).collect();
    starts[0] = start;
    starts.sort();
    starts.dedup();
    starts.iter().for_each(|row| rows[*row] |= START);
    let mut chains: Vec<Chain> = starts
        .iter()
        .map(|row| {
            let mut bytes = Vec::with_capacity(2 * length / CHAINS + 1);
            bytes.push(rows[*row] as u8);
            Chain { bytes, row: next(rows[*row]) }
        })
        .collect();
    let mut going: Vec<usize> = (0..chains.len()).collect();
    while !going.is_empty() {
        going.retain(|at| {
            let chain = &mut chains[*at];
            let entry = rows[chain.row];
            let goes_on = entry & START == 0;
            if goes_on {
                chain.bytes.push(entry as u8);
                chain.row = next(entry);
            }
            goes_on
        });
    }
    let mut text = Vec::with_capacity(length);
    let mut row = start;
    while text.len() < length {
        // A text that repeats itself has several circles of rows, and goes round its own again.
        let Ok(at) = starts.binary_search(&row) else { break };
        let chain = &chains[at];
        let left = length - text.len();
        text.extend_from_slice(&chain.bytes[..chain.bytes.len().min(left)]);
        row = chain.row;
    }
    text
}

/// Bytes that are looked at together for runs.
const STRIDE: usize = 64;

/// Undoes the coding of runs: four equal bytes are followed by how many more there are.
pub(super) fn without_runs(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 8);
    let mut rest = text;
    loop {
        let plain = run_at(rest);
        let Some(at) = plain else {
            out.extend_from_slice(rest);
            return Some(out);
        };
        let (before, behind) = rest.split_at(at + 4);
        out.extend_from_slice(before);
        let (more, behind) = behind.split_first()?;
        out.resize(out.len() + usize::from(*more), before[at]);
        rest = behind;
    }
}

/// Where the first four equal bytes are.
fn run_at(text: &[u8]) -> Option<usize> {
    let is_run = |four: &[u8]| four[0] == four[1] && four[1] == four[2] && four[2] == four[3];
    let mut from = 0;
    while let Some(window) = text.get(from..from + STRIDE + 3) {
        let mut any = 0;
        for at in 0..STRIDE {
            let differ = (window[at] ^ window[at + 1])
                | (window[at + 1] ^ window[at + 2])
                | (window[at + 2] ^ window[at + 3]);
            any |= u8::from(differ == 0);
        }
        if any != 0 {
            break;
        }
        from += STRIDE;
    }
    text[from..].windows(4).position(is_run).map(|at| from + at)
}

const POLYNOMIAL: u32 = 0x04c1_1db7;

/// For each of eight places, what a byte there adds to the checksum behind all eight.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc >> 31 == 1 { crc << 1 ^ POLYNOMIAL } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut place = 1;
    while place < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[place - 1][byte];
            tables[place][byte] = before << 8 ^ tables[0][(before >> 24) as usize];
            byte += 1;
        }
        place += 1;
    }
    tables
}

/// bzip2's checksum: a CRC-32 whose bits are not reflected.
pub(super) fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let head =
            (crc ^ u32::from_be_bytes([eight[0], eight[1], eight[2], eight[3]])).to_be_bytes();
        crc = (0..4).fold(0, |sum, at| {
            let (head, tail) = (usize::from(head[at]), usize::from(eight[at + 4]));
            sum ^ TABLES[7 - at][head] ^ TABLES[3 - at][tail]
        });
    }
    !rest
        .iter()
        .fold(crc, |crc, byte| crc << 8 ^ TABLES[0][(crc >> 24) as usize ^ usize::from(*byte)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By sorting all rotations.
    fn transformed(text: &[u8]) -> (Vec<u32>, [u32; 256], u32) {
        let mut rows: Vec<usize> = (0..text.len()).collect();
        let rotation = |at: &usize| [&text[*at..], &text[..*at]].concat();
        rows.sort_by_key(rotation);
        let before = |at: usize| text[(at + text.len() - 1) % text.len()];
        let last = rows.iter().map(|at| u32::from(before(*at))).collect();
        let mut counts = [0; 256];
        text.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        (last, counts, rows.iter().position(|at| *at == 0).unwrap() as u32)
    }

    proptest! {
        #[test]
        fn the_transform_is_undone(text in prop::collection::vec(0_u8..4, 1..300)) {
            let (last, counts, first) = transformed(&text);
            prop_assert_eq!(undone(last, &counts, first).unwrap(), text);
        }

        #[test]
        fn runs_come_back(text in prop::collection::vec((0_u8..3, 0_usize..300), 0..40)) {
            let text: Vec<u8> = text.iter().flat_map(|(byte, n)| vec![*byte; *n]).collect();
            let mut coded = Vec::new();
            let mut rest = &text[..];
            while let Some(byte) = rest.first() {
                let run = rest.iter().take(259).take_while(|it| *it == byte).count();
                coded.extend(vec![*byte; run.min(4)]);
                coded.extend((run >= 4).then(|| (run - 4) as u8));
                rest = &rest[run..];
            }
            prop_assert_eq!(without_runs(&coded).unwrap(), text);
        }
    }

    #[test]
    fn texts_that_repeat_go_round() {
        for text in [&b"a"[..], b"aaaa", b"abab", &b"abc".repeat(100)] {
            let (last, counts, first) = transformed(text);
            assert_eq!(undone(last, &counts, first).unwrap(), text);
        }
        assert_eq!(undone(vec![1], &[0; 256], 1), None);
        assert_eq!(without_runs(b"aaaa"), None);
    }

    #[test]
    fn the_checksum_is_bzip2s() {
        // The check value of CRC-32/BZIP2.
        assert_eq!(crc(b"123456789"), 0xfc89_1918);
        assert_eq!(crc(b""), 0);
    }
}
