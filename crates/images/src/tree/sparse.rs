//! Sparse entries of a tar. Written: GNU's old form (type `S`), which GNU tar, libarchive, Python and
//! the `tar` crate read: a map in the header, what does not fit there in blocks behind it, then the
//! data. Read: that and pax 0.0, 0.1 and 1.0.
//!
//! In a tree a file is cut in units of 1 MiB ([`UNIT`]). One that has no unit of zeros alone is stored
//! whole. Of any other these units are left out, and so is a shorter last one of zeros.
//!
//! Source: <https://www.gnu.org/software/tar/manual/html_node/Old-GNU-Format.html> and
//! <https://www.gnu.org/software/tar/manual/html_node/PAX-0.html>.

use std::io::{self, Read, Write};

use tar::{Builder, EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use crate::error::{Context, Result, bail, ensure};
use crate::files::extents::{Extents, stored};

/// The unit in which zeros are left out of the files of a tree, in bytes.
pub const UNIT: u64 = 1 << 20;
/// A tar is filled with zeros to whole blocks of this.
const BLOCK: u64 = 512;
/// Parts of a map in the header, and in each block behind it.
const PARTS: (usize, usize) = (4, 21);
/// The most parts of a file: 1 TiB with a hole in every MiB.
const MOST_PARTS: usize = 1 << 20;

/// Appends a sparse file of `size` bytes; `data` has what is at `extents`, one behind the other. The
/// header, of the GNU kind, has mode, owner and time.
pub fn append(
    builder: &mut Builder<impl Write>,
    name: &[u8],
    mut header: Header,
    size: u64,
    extents: &[(u64, u64)],
    data: &mut dyn Read,
) -> io::Result<()> {
    let stored = stored(extents);
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(stored);
    put_name(builder, name, &mut header)?;
    // An empty part gives the end of the file.
    let mut parts = extents.to_vec();
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

fn gnu(header: &mut Header) -> io::Result<&mut tar::GnuHeader> {
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
    append_long(builder, EntryType::GNULongName, name)
}

/// Appends the entry that carries a name or the target of a link that is too long for the next header.
pub(super) fn append_long(
    builder: &mut Builder<impl Write>,
    kind: EntryType,
    name: &[u8],
) -> io::Result<()> {
    let mut long = Header::new_gnu();
    let title = b"././@LongLink";
    gnu(&mut long)?.name[..title.len()].copy_from_slice(title);
    long.set_mode(0o644);
    long.set_uid(0);
    long.set_gid(0);
    long.set_mtime(0);
    long.set_size(name.len() as u64 + 1);
    long.set_entry_type(kind);
    long.set_cksum();
    builder.append(&long, [name, b"\0"].concat().as_slice())
}

fn fill(places: &mut [GnuSparseHeader], parts: &[(u64, u64)]) {
    for (place, (at, length)) in places.iter_mut().zip(parts) {
        place.set_offset(*at);
        place.set_length(*length);
    }
}

/// Collects the parts of a map, which ascend.
#[derive(Default)]
struct Map {
    extents: Extents,
    end: u64,
    parts: usize,
}

impl Map {
    fn add(&mut self, (at, length): (u64, u64)) -> Result<()> {
        self.parts += 1;
        ensure!(self.parts <= MOST_PARTS, "a sparse file has more than {MOST_PARTS} parts");
        ensure!(at >= self.end, "the parts of a sparse file overlap");
        let end = at.checked_add(length).filter(|end| *end <= i64::MAX as u64);
        self.end = end.context("a sparse file is too long")?;
        if length > 0 {
            self.extents.push((at, length));
        }
        Ok(())
    }

    /// The extents of a file of `size` bytes, of which the tar has `stored`.
    fn finish(self, size: u64, stored: u64) -> Result<Extents> {
        let data: u64 = self.extents.iter().map(|(_, length)| length).sum();
        let agree = self.end <= size && data == stored;
        ensure!(agree, "the map of a sparse file is not that of its data");
        Ok(self.extents)
    }
}

/// Reads GNU's old map that begins in `header`, and the size of the whole file; the tar has `stored`
/// bytes of data. The blocks behind the header are taken from `input`.
pub(super) fn read_old(
    header: &Header,
    stored: u64,
    input: &mut dyn Read,
) -> Result<(Extents, u64)> {
    let gnu = header.as_gnu().context("the header of a sparse file is not of the GNU kind")?;
    let (mut map, mut sum) = (Map::default(), 0u64);
    let mut take = |part: &GnuSparseHeader| -> Result<()> {
        if part.is_empty() {
            return Ok(());
        }
        let (at, length) = (part.offset()?, part.length()?);
        ensure!(length == 0 || sum % BLOCK == 0, "a part of a sparse file is not a whole block");
        sum = sum.saturating_add(length);
        map.add((at, length))
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
    Ok((map.finish(size, stored)?, size))
}

/// The extents that the parts of a pax record give, for a file of `size` bytes.
pub(super) fn from_records(parts: &[(u64, u64)], size: u64, stored: u64) -> Result<Extents> {
    let mut map = Map::default();
    parts.iter().try_for_each(|part| map.add(*part))?;
    map.finish(size, stored)
}

/// Reads the map of pax 1.0, which precedes the data: numbers, a line each, filled to whole blocks.
/// Returns the extents and the bytes of data behind the map.
pub(super) fn read_leading(size: u64, stored: u64, input: &mut dyn Read) -> Result<(Extents, u64)> {
    let mut input = input.take(stored);
    let mut block = [0; BLOCK as usize];
    let mut at = block.len();
    let mut number = || -> Result<u64> {
        let mut number = 0u64;
        for digits in 0.. {
            if at == block.len() {
                input.read_exact(&mut block)?;
                at = 0;
            }
            let byte = block[at];
            at += 1;
            match byte {
                b'0'..=b'9' if digits < 19 => number = number * 10 + u64::from(byte - b'0'),
                b'\n' if digits > 0 => break,
                _ => bail!("the map of a sparse file has something else than numbers"),
            }
        }
        Ok(number)
    };
    let mut map = Map::default();
    for _ in 0..number()? {
        map.add((number()?, number()?))?;
    }
    let left = input.limit();
    Ok((map.finish(size, left)?, left))
}
