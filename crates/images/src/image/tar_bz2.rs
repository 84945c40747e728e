//! Writes a `tar.bz2` of a directory with VirtualBox's settings and the disk as a VDI, without ever
//! having the VDI or the tar: any part of the tar can be read from the disk and a few headers, so
//! several threads compress parts of it, each a bzip2 stream of its own. bzip2 takes streams that
//! follow each other for one.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;

use ::bzip2::Compression;
use ::bzip2::write::BzEncoder;

use super::in_order::in_order;
use super::member::{self, BLOCK};
use crate::cancel::Progress;
use crate::digest::{Digest, HashingWriter};
use crate::error::Result;
use crate::format::appliance::Appliance;
use crate::format::blocks::Plan;
use crate::format::vbox;
use crate::units::Bytes;

/// What a bzip2 block of each level takes, less a little for what runs of equal bytes add.
const UNIT: u64 = 100_000 - 1_000;

/// A file that is never written as it is: pieces and parts of the disk at places, else zeros.
struct View<'a> {
    disk: &'a File,
    /// Ascending and not overlapping.
    parts: Vec<(u64, Part)>,
    length: u64,
}

enum Part {
    Piece(Vec<u8>),
    /// From this place of the disk, so many bytes.
    Disk(u64, u64),
}

impl Part {
    fn length(&self) -> u64 {
        match self {
            Part::Piece(bytes) => bytes.len() as u64,
            Part::Disk(_, length) => *length,
        }
    }
}

impl View<'_> {
    /// The bytes from `at` on.
    fn read(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        buf.fill(0);
        let end = at + buf.len() as u64;
        let first = self.parts.partition_point(|(start, part)| start + part.length() <= at);
        for (start, part) in self.parts[first..].iter().take_while(|(start, _)| *start < end) {
            let from = at.max(*start);
            let to = end.min(start + part.length());
            let target = &mut buf[(from - at) as usize..(to - at) as usize];
            match part {
                Part::Piece(bytes) => {
                    target.copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
                }
                Part::Disk(place, _) => self.disk.read_exact_at(target, place + from - start)?,
            }
        }
        Ok(())
    }
}

/// What to write, and how.
pub(super) struct Work<'a> {
    /// The disk.
    pub disk: &'a File,
    /// The machine around it.
    pub appliance: &'a Appliance,
    /// The disk as a VDI.
    pub vdi: Plan,
    /// What names both.
    pub ids: vbox::Ids,
    /// 1 to 9: the size of bzip2's blocks.
    pub level: u32,
    /// On how many threads.
    pub threads: usize,
    /// The times in the tar.
    pub epoch: u64,
}

/// Writes it to the empty file `target`; gives its SHA-256 and length.
pub(super) fn write(
    work: Work<'_>,
    target: File,
    progress: Progress<'_>,
) -> Result<(Digest, Bytes)> {
    let (level, threads) = (work.level, work.threads);
    let view = work.view()?;
    let chunk = UNIT * u64::from(level);
    let compress = |index: usize| {
        let at = index as u64 * chunk;
        let mut bytes = vec![0; chunk.min(view.length - at) as usize];
        view.read(at, &mut bytes)?;
        let mut encoder = BzEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(&bytes)?;
        encoder.finish()
    };
    let mut out = BufWriter::with_capacity(1 << 18, HashingWriter::new(target));
    let mut done = 0;
    let count = view.length.div_ceil(chunk) as usize;
    in_order(count, threads, compress, |stream| {
        out.write_all(&stream)?;
        done += chunk;
        progress.advance(done.min(view.length), view.length)
    })?;
    let out = out.into_inner().map_err(|error| error.into_error())?;
    let (_, digest, length) = out.finish();
    Ok((digest, Bytes(length)))
}

impl<'a> Work<'a> {
    fn view(self) -> Result<View<'a>> {
        let (name, epoch) = (&self.appliance.name, self.epoch);
        let disk_name = format!("{name}.vdi");
        let settings = vbox::settings(self.appliance, &disk_name, self.ids)?;
        let mut head = member::directory(&format!("{name}/"), epoch)?.to_vec();
        let size = Bytes(settings.len() as u64);
        head.extend(member::file(&format!("{name}/{name}.vbox"), size, epoch)?);
        head.extend_from_slice(settings.as_bytes());
        head.resize(member::padded(head.len() as u64) as usize, 0);
        head.extend(member::file(&format!("{name}/{disk_name}"), self.vdi.length, epoch)?);
        let base = head.len() as u64;
        let length = base + member::padded(self.vdi.length.0) + member::END;
        let pieces = self.vdi.pieces.into_iter();
        let pieces = pieces.map(|(at, bytes)| (base + at.0, Part::Piece(bytes)));
        let copies = self.vdi.copies.iter();
        let copies = copies.map(|copy| (base + copy.to.0, Part::Disk(copy.from.0, copy.length.0)));
        let mut parts = vec![(0, Part::Piece(head))];
        parts.extend(pieces.chain(copies));
        parts.sort_by_key(|(at, _)| *at);
        debug_assert!(base.is_multiple_of(BLOCK));
        Ok(View { disk: self.disk, parts, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_of_a_view_is_what_it_should_be() {
        let disk = tempfile::tempfile().unwrap();
        disk.write_all_at(b"0123456789", 0).unwrap();
        let parts = vec![
            (0, Part::Piece(b"ab".to_vec())),
            (2, Part::Piece(b"c".to_vec())),
            (5, Part::Disk(3, 4)),
            (9, Part::Disk(0, 2)),
        ];
        let view = View { disk: &disk, parts, length: 13 };
        let mut expected = [b"abc".as_slice(), &[0; 2], b"345601"].concat();
        expected.resize(13, 0);
        for from in 0..13 {
            for to in from..=13 {
                let mut part = vec![9; to - from];
                view.read(from as u64, &mut part).unwrap();
                assert_eq!(part, expected[from..to], "{from}..{to}");
            }
        }
    }
}
