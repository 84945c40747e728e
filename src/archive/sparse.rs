//! Where a file holds data: found by content in blocks of 64 KiB, so that the same file has the
//! same map however its holes came. It knows no archive.

use std::io::{self, Write};

use crate::files::sparse::is_zero;

/// The unit of holes.
pub(super) const BLOCK: u64 = 64 << 10;
/// With fewer zeros than this in whole blocks, a file is stored with them.
pub(super) const WORTH: u64 = 1 << 20;

/// The data of a file, as (offset, length), ascending with gaps between.
pub(super) type Map = Vec<(u64, u64)>;

/// Takes the data of a file in ascending order, and writes the blocks that are not zero, one
/// behind the other.
pub(super) struct Sifter<W> {
    out: W,
    size: u64,
    block: Vec<u8>,
    /// Which block `block` is.
    index: u64,
    map: Map,
}

impl<W: Write> Sifter<W> {
    /// For a file of `size` bytes.
    pub(super) fn new(out: W, size: u64) -> Sifter<W> {
        let block = vec![0; BLOCK.min(size) as usize];
        Sifter { out, size, block, index: 0, map: Map::new() }
    }

    /// Takes bytes that belong at `at`, at or behind the last ones, within the file.
    pub(super) fn put(&mut self, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if at / BLOCK != self.index {
                self.flush()?;
                self.index = at / BLOCK;
            }
            let start = (at % BLOCK) as usize;
            let n = bytes.len().min(self.block.len() - start);
            self.block[start..][..n].copy_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            at += n as u64;
        }
        Ok(())
    }

    /// Ends the file; gives where it has data.
    pub(super) fn finish(mut self) -> io::Result<Map> {
        self.flush()?;
        Ok(self.map)
    }

    fn flush(&mut self) -> io::Result<()> {
        if is_zero(&self.block) {
            return Ok(());
        }
        let at = self.index * BLOCK;
        let length = BLOCK.min(self.size - at);
        self.out.write_all(&self.block[..length as usize])?;
        match self.map.last_mut() {
            Some((from, count)) if *from + *count == at => *count += length,
            _ => self.map.push((at, length)),
        }
        self.block.fill(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_kept_and_zeros_are_not() {
        let size = 3 * BLOCK + 10;
        let mut out = Vec::new();
        let mut sifter = Sifter::new(&mut out, size);
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
        let mut sifter = Sifter::new(&mut out, 1 << 20);
        sifter.put(0, &vec![0; 1 << 20]).unwrap();
        assert!(sifter.finish().unwrap().is_empty());
        assert!(Sifter::new(&mut out, 0).finish().unwrap().is_empty());
        assert!(out.is_empty());
    }
}
