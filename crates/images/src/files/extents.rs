//! Where content holds data: found by its bytes in blocks of a given size, so that holes and written
//! zeros give the same extents. It knows no archive.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use super::sparse::{data_extents, is_blank, is_zero};

/// Where content holds data, as (offset, length) in bytes, ascending with gaps between.
pub type Extents = Vec<(u64, u64)>;

/// A file with fewer bytes of holes than this is stored whole.
const WORTH: u64 = 1 << 20;
/// The first bytes of a block that are read: most blocks with data show it at once.
const PROBE: usize = 4096;

/// The bytes in `extents` together.
pub fn stored(extents: &[(u64, u64)]) -> u64 {
    extents.iter().map(|(_, length)| length).sum()
}

/// Whether a file of `size` bytes with data at `extents` has holes of 1 MiB and more together, and so
/// is stored without them.
pub fn is_sparse(size: u64, extents: &[(u64, u64)]) -> bool {
    size - stored(extents) >= WORTH
}

fn add(extents: &mut Extents, at: u64, length: u64) {
    match extents.last_mut() {
        Some((from, count)) if *from + *count == at => *count += length,
        _ => extents.push((at, length)),
    }
}

/// The blocks of `block` bytes of the first `size` bytes of `file` that are not all zero; the last one
/// may be shorter. Holes are not read, and of blocks with data only the beginning. `each` is called
/// with the index of each block that is read, and may end the search.
pub fn find<E: From<io::Error>>(
    file: &File,
    size: u64,
    block: u64,
    mut each: impl FnMut(u64) -> Result<(), E>,
) -> Result<Extents, E> {
    let mut found = Extents::new();
    let mut buffer = vec![0; block.min(size) as usize];
    let mut next = 0;
    for (start, count) in data_extents(file)? {
        let end = (start + count).min(size).div_ceil(block);
        for index in (start / block).max(next)..end {
            each(index)?;
            let at = index * block;
            let length = block.min(size - at);
            let (probe, rest) = buffer[..length as usize].split_at_mut(PROBE.min(length as usize));
            file.read_exact_at(probe, at)?;
            let mut zero = is_blank(probe);
            if zero {
                file.read_exact_at(rest, at + probe.len() as u64)?;
                zero = is_zero(rest);
            }
            if !zero {
                add(&mut found, at, length);
            }
        }
        next = next.max(end);
    }
    Ok(found)
}

/// Takes the data of a file in ascending order, and writes the blocks that are not all zero, one
/// behind the other.
pub struct Sifter<W> {
    out: W,
    size: u64,
    block: Vec<u8>,
    /// The index of the block in `block`.
    index: u64,
    extents: Extents,
}

impl<W: Write> Sifter<W> {
    /// For a file of `size` bytes in blocks of `block` bytes.
    pub fn new(out: W, size: u64, block: u64) -> Sifter<W> {
        let block = vec![0; block.min(size).max(1) as usize];
        Sifter { out, size, block, index: 0, extents: Extents::new() }
    }

    /// Takes bytes that belong at `at`, at or behind the last ones, within the file.
    pub fn put(&mut self, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
        let block = self.block.len() as u64;
        while !bytes.is_empty() {
            if at / block != self.index {
                self.flush()?;
                self.index = at / block;
            }
            let start = (at % block) as usize;
            let n = bytes.len().min(self.block.len() - start);
            self.block[start..][..n].copy_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            at += n as u64;
        }
        Ok(())
    }

    /// Ends the file; returns where it has data.
    pub fn finish(mut self) -> io::Result<Extents> {
        self.flush()?;
        Ok(self.extents)
    }

    fn flush(&mut self) -> io::Result<()> {
        if is_blank(&self.block) {
            return Ok(());
        }
        let at = self.index * self.block.len() as u64;
        let length = (self.block.len() as u64).min(self.size - at);
        self.out.write_all(&self.block[..length as usize])?;
        add(&mut self.extents, at, length);
        self.block.fill(0);
        Ok(())
    }
}

/// Reads `size` bytes of `content` and writes to `out` what [`find`] finds in a file of them; returns
/// the same extents.
pub fn sift(content: impl Read, size: u64, block: u64, out: impl Write) -> io::Result<Extents> {
    let mut sifter = Sifter::new(out, size, block);
    let mut buffer = vec![0; (1 << 17).min(size) as usize];
    let (mut content, mut at) = (content, 0);
    while at < size {
        let n = (size - at).min(buffer.len() as u64) as usize;
        content.read_exact(&mut buffer[..n])?;
        sifter.put(at, &buffer[..n])?;
        at += n as u64;
    }
    sifter.finish()
}

/// The data of an open file at some extents, one behind the other.
pub struct Parts<'a> {
    file: &'a File,
    extents: std::slice::Iter<'a, (u64, u64)>,
    at: u64,
    left: u64,
}

impl<'a> Parts<'a> {
    /// The parts of `file` at `extents`.
    pub fn new(file: &'a File, extents: &'a [(u64, u64)]) -> Parts<'a> {
        Parts { file, extents: extents.iter(), at: 0, left: 0 }
    }
}

impl Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            match self.extents.next() {
                Some((at, length)) => (self.at, self.left) = (*at, *length),
                None => return Ok(0),
            }
        }
        let n = self.left.min(buffer.len() as u64) as usize;
        self.file.read_exact_at(&mut buffer[..n], self.at)?;
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

/// A file of which a reader has the data alone: the holes read as zeros.
pub struct Filled<'a, R> {
    extents: Cow<'a, [(u64, u64)]>,
    size: u64,
    data: R,
    /// The extent that is read or comes next.
    next: usize,
    at: u64,
}

impl<'a, R: Read> Filled<'a, R> {
    /// A file of `size` bytes; `data` has its `extents`, one behind the other.
    pub fn new(extents: impl Into<Cow<'a, [(u64, u64)]>>, size: u64, data: R) -> Filled<'a, R> {
        Filled { extents: extents.into(), size, data, next: 0, at: 0 }
    }

    /// Where the file has data.
    pub fn extents(&self) -> &[(u64, u64)] {
        &self.extents
    }

    /// The data alone, with its extents. Nothing may have been read before.
    pub fn parts(&mut self) -> (&[(u64, u64)], &mut R) {
        (&self.extents, &mut self.data)
    }
}

impl<R: Read> Read for Filled<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (from, end) = match self.extents.get(self.next) {
            Some((from, length)) => (*from, from + length),
            None => (self.size, self.size),
        };
        let is_hole = self.at < from;
        let most = if is_hole { from } else { end } - self.at;
        let mut n = most.min(buffer.len() as u64) as usize;
        if is_hole {
            buffer[..n].fill(0);
        } else if n > 0 {
            n = self.data.read(&mut buffer[..n])?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.at += n as u64;
        if !is_hole && self.at == end {
            self.next += 1;
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const U: u64 = 1 << 20;
    const BLOCK: u64 = 64 << 10;

    /// A file of `size` bytes with an `x` at each place of `data`; with holes, or with written zeros.
    fn file(size: u64, data: &[u64], holes: bool) -> File {
        let file = tempfile::tempfile().unwrap();
        match holes {
            true => file.set_len(size).unwrap(),
            false => file.write_all_at(&vec![0; size as usize], 0).unwrap(),
        }
        data.iter().for_each(|at| file.write_all_at(b"x", *at).unwrap());
        file
    }

    /// The extents in blocks of 1 MiB, `None` for a file that is stored whole: `find` says the same of
    /// both kinds of file, and `sift` of the stream.
    fn map(size: u64, data: &[u64]) -> Option<Extents> {
        let (sparse, dense) = (file(size, data, true), file(size, data, false));
        let find = |file: &File| find(file, size, U, |_| Ok::<(), io::Error>(())).unwrap();
        let found = find(&sparse);
        assert_eq!(find(&dense), found, "written zeros of {size}, {data:?}");
        let (mut out, mut stream) = (Vec::new(), Vec::new());
        Parts::new(&dense, &[(0, size)]).read_to_end(&mut stream).unwrap();
        assert_eq!(sift(stream.as_slice(), size, U, &mut out).unwrap(), found);
        let expected: Vec<u8> = found
            .iter()
            .flat_map(|(at, length)| stream[*at as usize..][..*length as usize].to_vec())
            .collect();
        assert!(out == expected, "the data of {size}, {data:?}");
        let mut filled = Vec::new();
        Filled::new(&found, size, out.as_slice()).read_to_end(&mut filled).unwrap();
        assert!(filled == stream, "the holes of {size}, {data:?}");
        is_sparse(size, &found).then_some(found)
    }

    #[test]
    fn whole_units_of_zeros_are_left_out_and_nothing_else() {
        for size in [0, 1, 512, U - 1] {
            assert_eq!(map(size, &[]), None, "{size} bytes are less than a unit");
        }
        for size in [U, U + 1, 3 * U - 1, 3 * U] {
            assert_eq!(map(size, &[]), Some(vec![]), "{size} zeros");
        }
        // The beginning, the middle, the end.
        assert_eq!(map(3 * U, &[U, 2 * U]), Some(vec![(U, 2 * U)]));
        assert_eq!(map(3 * U, &[0, 3 * U - 1]), Some(vec![(0, U), (2 * U, U)]));
        assert_eq!(map(3 * U, &[U - 1, U]), Some(vec![(0, 2 * U)]));
        // Two MiB of zeros, but no unit of them.
        assert_eq!(map(3 * U, &[U - 1, U, 3 * U - 1]), None);
        assert_eq!(map(3 * U, &[0, U, 2 * U]), None);
        // The last, shorter unit.
        assert_eq!(map(2 * U + 1, &[0, U]), None);
        assert_eq!(map(2 * U + 1, &[0]), Some(vec![(0, U)]));
        assert_eq!(map(2 * U + 1, &[2 * U]), Some(vec![(2 * U, 1)]));
        assert_eq!(map(2 * U - 1, &[2 * U - 2]), Some(vec![(U, U - 1)]));
        assert_eq!(map(2 * U - 1, &[U - 1]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn it_is_the_rule_for_any_file(size in 0..5 * U, seeds in prop::collection::vec(0..5 * U, 0..4)) {
            let data: Vec<u64> = seeds.into_iter().filter(|at| *at < size).collect();
            let busy = |unit: u64| data.iter().any(|at| at / U == unit);
            let zero = (0..size / U).any(|unit| !busy(unit));
            let stored = |at: u64| zero && busy(at / U);
            let found = map(size, &data);
            prop_assert_eq!(found.is_some(), zero);
            for at in (0..size).step_by(4096).chain(size.checked_sub(1)) {
                let inside = found.iter().flatten().any(|(from, n)| (*from..from + n).contains(&at));
                prop_assert_eq!(inside, stored(at), "{}", at);
            }
        }
    }

    #[test]
    fn holes_are_not_read_and_data_is_hardly() {
        // A read of all this would not end while anybody waits.
        let size = 1 << 40;
        let file = file(size, &[5, size - 1], true);
        let found = find(&file, size, U, |_| Ok::<(), io::Error>(())).unwrap();
        assert_eq!(found, [(0, U), (size - U, U)]);
    }

    #[test]
    fn data_is_kept_and_zeros_are_not() {
        let size = 3 * BLOCK + 10;
        let mut out = Vec::new();
        let mut sifter = Sifter::new(&mut out, size, BLOCK);
        sifter.put(5, &[0; 100]).unwrap();
        sifter.put(BLOCK - 1, &[7, 8]).unwrap();
        sifter.put(BLOCK + 1, &vec![0; BLOCK as usize]).unwrap();
        sifter.put(size - 1, &[9]).unwrap();
        assert_eq!(sifter.finish().unwrap(), [(0, 2 * BLOCK), (3 * BLOCK, 10)]);
        assert_eq!(out.len() as u64, 2 * BLOCK + 10);
        assert_eq!((out[BLOCK as usize - 1], out[BLOCK as usize], out[out.len() - 1]), (7, 8, 9));
    }

    #[test]
    fn a_file_of_zeros_has_no_data() {
        let mut out = Vec::new();
        let mut sifter = Sifter::new(&mut out, 1 << 20, BLOCK);
        sifter.put(0, &vec![0; 1 << 20]).unwrap();
        assert!(sifter.finish().unwrap().is_empty());
        assert!(Sifter::new(&mut out, 0, BLOCK).finish().unwrap().is_empty());
        assert!(out.is_empty());
    }
}
