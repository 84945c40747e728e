//! Files with holes in a tar: where a file holds data, found by its content, and GNU's old sparse
//! entries (type `S`), which GNU tar, libarchive, Python and the `tar` crate read: a map in the
//! header, what does not fit there in blocks behind it, then the data.
//!
//! In a tree the rule is one of content, so that holes and written zeros give the same bytes: a file
//! is cut in units of 1 MiB. One that has no unit of zeros alone is stored whole. In any other these
//! units are left out, and so is a shorter last one of zeros.
//!
//! Source: <https://www.gnu.org/software/tar/manual/html_node/Old-GNU-Format.html>.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use ::tar::{Builder, EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use crate::error::{Context, Result, ensure};
use crate::files::sparse::{data_extents, is_zero};

/// Where a file holds data, as (offset, length) in bytes, ascending with gaps between.
pub type Map = Vec<(u64, u64)>;

/// The unit in which zeros are left out of the files of a tree, in bytes.
pub const UNIT: u64 = 1 << 20;
/// A tar is filled with zeros to whole blocks of this.
const BLOCK: u64 = 512;
/// Parts of a map in the header, and in each block behind it.
const PARTS: (usize, usize) = (4, 21);
/// So much of a unit is looked at before the rest of it is read.
const PROBE: usize = 4096;

/// Takes the units of a file in ascending order.
struct Finder {
    size: u64,
    map: Map,
    /// Bytes in the map.
    stored: u64,
}

impl Finder {
    fn new(size: u64) -> Finder {
        Finder { size, map: Map::new(), stored: 0 }
    }

    /// Where a unit begins, and its length.
    fn unit(&self, index: u64) -> (u64, usize) {
        let at = index * UNIT;
        (at, UNIT.min(self.size - at) as usize)
    }

    /// Whether the file stays whole if the last unit is this one and all before it are stored. A last
    /// unit that is shorter is no reason for a hole by itself.
    fn is_tail(&self, (at, length): (u64, usize)) -> bool {
        (length as u64) < UNIT && self.stored == at
    }

    fn keep(&mut self, (at, length): (u64, usize)) {
        self.stored += length as u64;
        match self.map.last_mut() {
            Some((from, count)) if *from + *count == at => *count += length as u64,
            _ => self.map.push((at, length as u64)),
        }
    }

    /// The map, or `None` for a file that is stored whole.
    fn finish(self) -> Option<Map> {
        (self.stored < self.size).then_some(self.map)
    }
}

/// Where the first `size` bytes of `file` hold data; `None` if the file is to be stored whole.
/// Holes are not read, and of units with data only the beginning.
pub fn find(file: &File, size: u64) -> io::Result<Option<Map>> {
    if size < UNIT {
        return Ok(None);
    }
    let mut finder = Finder::new(size);
    let mut buffer = vec![0; UNIT as usize];
    let mut next = 0;
    let mut extents = data_extents(file)?;
    // So that the last unit is looked at in any case.
    extents.push((size - 1, 1));
    for (start, count) in extents {
        let end = (start + count).min(size).div_ceil(UNIT);
        for index in (start / UNIT).max(next)..end {
            let unit = finder.unit(index);
            let bytes = &mut buffer[..unit.1];
            let first = PROBE.min(bytes.len());
            file.read_exact_at(&mut bytes[..first], unit.0)?;
            let mut zero = is_zero(&bytes[..first]);
            if zero {
                file.read_exact_at(&mut bytes[first..], unit.0 + first as u64)?;
                zero = is_zero(&bytes[first..]);
            }
            if !zero || finder.is_tail(unit) {
                finder.keep(unit);
            }
        }
        next = next.max(end);
    }
    Ok(finder.finish())
}

/// Reads `size` bytes of `content` and writes them to `out` without the zeros that [`find`] would
/// leave out; gives the same as that.
pub fn sift(content: &mut dyn Read, size: u64, out: &mut impl Write) -> io::Result<Option<Map>> {
    let mut finder = Finder::new(size);
    let mut buffer = vec![0; UNIT.min(size) as usize];
    for index in 0..size.div_ceil(UNIT) {
        let unit = finder.unit(index);
        let bytes = &mut buffer[..unit.1];
        content.read_exact(bytes)?;
        if !is_zero(bytes) || finder.is_tail(unit) {
            out.write_all(bytes)?;
            finder.keep(unit);
        }
    }
    Ok(finder.finish())
}

/// The data of a file with holes, its parts one behind the other.
pub struct Parts<'a> {
    file: &'a File,
    map: std::slice::Iter<'a, (u64, u64)>,
    at: u64,
    left: u64,
}

impl<'a> Parts<'a> {
    /// The parts `map` of `file`.
    pub fn new(file: &'a File, map: &'a Map) -> Parts<'a> {
        Parts { file, map: map.iter(), at: 0, left: 0 }
    }
}

impl Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            match self.map.next() {
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

/// Appends a file of `size` bytes with data at `map`, which `data` gives. The header says whose it
/// is; it is of the GNU kind.
pub fn append(
    builder: &mut Builder<impl Write>,
    name: &[u8],
    mut header: Header,
    size: u64,
    map: &Map,
    data: &mut dyn Read,
) -> io::Result<()> {
    let stored: u64 = map.iter().map(|(_, length)| length).sum();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(stored);
    put_name(builder, name, &mut header)?;
    // The end of the file is told by an empty part.
    let mut parts = map.clone();
    if parts.last().is_none_or(|(at, length)| at + length < size) {
        parts.push((size, 0));
    }
    let (here, behind) = parts.split_at(parts.len().min(PARTS.0));
    let gnu = gnu(&mut header)?;
    fill(&mut gnu.sparse, here);
    gnu.set_is_extended(!behind.is_empty());
    gnu.set_real_size(size);
    header.set_cksum();
    let out = builder.get_mut();
    out.write_all(header.as_bytes())?;
    let mut blocks = behind.chunks(PARTS.1).peekable();
    while let Some(parts) = blocks.next() {
        let mut block = GnuExtSparseHeader::new();
        fill(&mut block.sparse, parts);
        block.set_is_extended(blocks.peek().is_some());
        out.write_all(block.as_bytes())?;
    }
    let mut data = io::BufReader::with_capacity(1 << 18, data.take(stored));
    if io::copy(&mut data, out)? != stored {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let rest = (BLOCK - stored % BLOCK) % BLOCK;
    out.write_all(&[0; BLOCK as usize][..rest as usize])
}

fn gnu(header: &mut Header) -> io::Result<&mut ::tar::GnuHeader> {
    header.as_gnu_mut().ok_or_else(|| io::Error::other("the header is not of the GNU kind"))
}

/// Puts a name into a header, a long one before it.
fn put_name(builder: &mut Builder<impl Write>, name: &[u8], header: &mut Header) -> io::Result<()> {
    let field = &mut gnu(header)?.name;
    let fits = name.len().min(field.len());
    field[..fits].copy_from_slice(&name[..fits]);
    if name.len() == fits {
        return Ok(());
    }
    let mut long = Header::new_gnu();
    let title = b"././@LongLink";
    gnu(&mut long)?.name[..title.len()].copy_from_slice(title);
    long.set_mode(0o644);
    long.set_uid(0);
    long.set_gid(0);
    long.set_mtime(0);
    long.set_size(name.len() as u64 + 1);
    long.set_entry_type(EntryType::GNULongName);
    long.set_cksum();
    builder.append(&long, [name, b"\0"].concat().as_slice())
}

fn fill(places: &mut [GnuSparseHeader], parts: &[(u64, u64)]) {
    for (place, (at, length)) in places.iter_mut().zip(parts) {
        place.set_offset(*at);
        place.set_length(*length);
    }
}

/// Reads the map that begins in `header`, and the size of the whole file; `stored` is the length of
/// the data. The blocks behind the header are taken from `input`.
pub(super) fn read(header: &Header, stored: u64, input: &mut dyn Read) -> Result<(Map, u64)> {
    let gnu = header.as_gnu().context("the header of a sparse file is not of the GNU kind")?;
    let (mut map, mut end, mut sum) = (Map::new(), 0, 0u64);
    let mut take = |part: &GnuSparseHeader| -> Result<()> {
        if part.is_empty() {
            return Ok(());
        }
        let (at, length) = (part.offset()?, part.length()?);
        ensure!(at >= end, "the parts of a sparse file overlap");
        ensure!(length == 0 || sum % BLOCK == 0, "a part of a sparse file is no whole block");
        let ends = at.checked_add(length).filter(|end| *end <= i64::MAX as u64);
        end = ends.context("a sparse file is too long")?;
        sum += length;
        if length > 0 {
            map.push((at, length));
        }
        Ok(())
    };
    gnu.sparse.iter().try_for_each(&mut take)?;
    let mut more = gnu.is_extended();
    while more {
        let mut block = GnuExtSparseHeader::new();
        input.read_exact(block.as_mut_bytes())?;
        block.sparse.iter().try_for_each(&mut take)?;
        more = block.is_extended();
    }
    let size = gnu.real_size()?;
    ensure!(end <= size && sum == stored, "the map of a sparse file is not that of its data");
    Ok((map, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const U: u64 = UNIT;

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

    /// What `find` says of both kinds of file, and `sift` of the stream: all the same.
    fn map(size: u64, data: &[u64]) -> Option<Map> {
        let (sparse, dense) = (file(size, data, true), file(size, data, false));
        let found = find(&sparse, size).unwrap();
        assert_eq!(find(&dense, size).unwrap(), found, "written zeros of {size}, {data:?}");
        let (mut out, mut stream) = (Vec::new(), Vec::new());
        let whole = vec![(0, size)];
        Parts::new(&dense, &whole).read_to_end(&mut stream).unwrap();
        assert_eq!(sift(&mut stream.as_slice(), size, &mut out).unwrap(), found);
        let parts = found.as_ref().unwrap_or(&whole);
        let expected: Vec<u8> = parts
            .iter()
            .flat_map(|(at, length)| stream[*at as usize..][..*length as usize].to_vec())
            .collect();
        assert!(out == expected, "the data of {size}, {data:?}");
        found
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
        assert_eq!(find(&file, size).unwrap(), Some(vec![(0, U), (size - U, U)]));
    }
}
