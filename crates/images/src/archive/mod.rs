//! Archives of others: what is in a tar (plain, compressed or called OVA) or a zip becomes one
//! canonical tar. Nothing is ever written under a name that an archive gives: names go into a
//! table in memory, contents into one nameless file, and only when the whole table makes sense is
//! the tar written from it. So no archive can reach a file outside.
//!
//! In the result entries are sorted by path, belong to root, have times up to the epoch, and of
//! their mode only who may read, write and execute. Names twice, links and names that lead out,
//! devices, and names below what is not a directory are refused. Files with 1 MiB of zeros and more
//! are GNU sparse entries, with their zeros left out in blocks of 64 KiB, wherever the archive or
//! the disk had holes. It knows no stages.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Context, Result, bail};
use crate::files::sparse::{is_zero, write_data};
use crate::units::Bytes;

mod bzip2;
pub mod deb;
mod directory;
pub mod extract;
mod gzip;
pub mod magic;
mod meter;
mod node;
mod positioned;
mod tar;
mod write;
mod xz;
mod zip;
mod zstd;

pub use self::bzip2::decode as decode_bzip2;
use directory::Directory;
use magic::Format;
use meter::Meter;

/// What an archive may hold unless the user says otherwise.
pub const LIMIT: Bytes = Bytes::gib(64);
/// A name that is longer is not even read.
const LONGEST_NAME: u64 = 4095;
/// How much of an image is written at a time.
const PIECE: usize = 1 << 20;

/// How to unpack.
pub struct Options<'a> {
    /// The most that the files may be together; [`LIMIT`] where `None`.
    pub limit: Option<Bytes>,
    /// On how many threads.
    pub threads: usize,
    /// Times in the result are at most this, in seconds since 1970.
    pub epoch: u64,
    /// A directory for what does not fit in memory.
    pub work: &'a Path,
    /// Looked at all the time.
    pub cancel: &'a Cancel,
    /// Called with the number of bytes read of the archive, and its size.
    pub report: &'a (dyn Fn(u64, u64) + Sync),
}

/// The canonical tar that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Its SHA-256.
    pub digest: Digest,
    /// Its length.
    pub size: Bytes,
}

/// Makes the new file `to` the canonical tar of the archive `from`.
pub fn unpack(from: &Path, to: &Path, options: &Options<'_>) -> Result<Unpacked> {
    let (file, format) = open(from)?;
    let format = format.context("it is neither a tar, plain or compressed, nor a zip")?;
    let meter = Meter::new(options, file.metadata()?.len());
    let mut directory = Directory::new(options)?;
    let read = match format {
        Format::Zip => zip::read(&file, &meter, &mut directory),
        _ => {
            let take = |reader: &mut dyn Read| tar::read(reader, &mut directory);
            plain_tar(&file, format, &meter, take)
        }
    };
    finish(read, format, &meter)?;
    directory.finish(to, options)
}

/// Gives the tar `from`, plain or compressed, to `take`, which reads it up to the zeros at its end.
pub fn read_tar(
    from: &Path,
    options: &Options<'_>,
    take: impl FnOnce(&mut dyn Read) -> Result<()>,
) -> Result<()> {
    let (file, format) = open(from)?;
    let format = format.context("it is not a tar, plain or compressed")?;
    let meter = Meter::new(options, file.metadata()?.len());
    let read = plain_tar(&file, format, &meter, take);
    finish(read, format, &meter)
}

/// Whether what is compressed in `from` is a tar.
pub fn holds_tar(from: &Path, options: &Options<'_>) -> Result<bool> {
    starts_like(from, options, &|start| magic::of(start) == Some(Format::Tar))
}

/// Whether what is compressed in `from` has a start that `holds`: its first [`magic::LENGTH`] bytes.
pub fn starts_like(
    from: &Path,
    options: &Options<'_>,
    holds: &dyn Fn(&[u8]) -> bool,
) -> Result<bool> {
    let (file, format) = open(from)?;
    let format = format.context("it is not compressed")?;
    let meter = Meter::new(options, file.metadata()?.len());
    let mut start = Vec::new();
    let read = content(&file, format, &meter, |reader| {
        reader.take(magic::LENGTH as u64).read_to_end(&mut start)?;
        Ok(())
    });
    finish(read, format, &meter)?;
    Ok(holds(&start))
}

/// Makes the new file `to` of what is compressed in `from`, with holes where there are zeros. It may be as
/// long as the limit.
pub fn decompress(from: &Path, to: &Path, options: &Options<'_>) -> Result<()> {
    let (file, format) = open(from)?;
    let format = format.context("it is not compressed")?;
    let meter = Meter::new(options, file.metadata()?.len());
    let what = || format!("writing {}", to.display());
    let image = File::options().write(true).create_new(true).open(to).with_context(what)?;
    let read = content(&file, format, &meter, |reader| {
        let mut reader = meter.output(reader);
        let (mut buffer, mut at) = (vec![0; PIECE], 0);
        loop {
            // Whole pieces, so that a hole does not depend on how much is read at once.
            let n = (&mut reader).take(PIECE as u64).read(&mut buffer)?;
            if n == 0 {
                return image.set_len(at).with_context(what);
            }
            write_data(&image, &buffer[..n], at).with_context(what)?;
            at += n as u64;
        }
    });
    finish(read, format, &meter)
}

fn open(from: &Path) -> Result<(File, Option<Format>)> {
    let file = File::open(from).with_context(|| format!("opening {}", from.display()))?;
    let format = magic::of_file(&file).with_context(|| format!("reading {}", from.display()))?;
    Ok((file, format))
}

/// What made the reading stop says more than how the reader took it.
fn finish(read: Result<()>, format: Format, meter: &Meter<'_>) -> Result<()> {
    match meter.failure() {
        Some(error) => Err(error),
        None => read.with_context(|| format!("reading {}", magic::shown(format))),
    }
}

/// Decompresses the tar in `file`.
fn plain_tar(
    file: &File,
    format: Format,
    meter: &Meter<'_>,
    take: impl FnOnce(&mut dyn Read) -> Result<()>,
) -> Result<()> {
    content(file, format, meter, |reader| members(reader, meter, take))
}

/// Gives what is in `file` to `take`, decompressed.
fn content(
    file: &File,
    format: Format,
    meter: &Meter<'_>,
    take: impl FnOnce(&mut dyn Read) -> Result<()>,
) -> Result<()> {
    let buffered = || BufReader::with_capacity(1 << 16, meter.input(file));
    match format {
        Format::Tar => take(&mut meter.input(file)),
        Format::Bzip2 => {
            let threads = meter.threads();
            bzip2::decode(meter.input(file), threads, take)
        }
        Format::Gzip => take(&mut gzip::gzip(buffered())),
        Format::Xz => take(&mut xz::read(file, meter)?),
        Format::Zstd => take(&mut zstd::Frames::new(buffered())?),
        other => {
            bail!("it is {}, neither a tar, plain or compressed, nor a zip", magic::shown(other))
        }
    }
}

/// Reads a tar to its end, and what it came in to its end as well, where the checksums are.
fn members(
    reader: &mut dyn Read,
    meter: &Meter<'_>,
    take: impl FnOnce(&mut dyn Read) -> Result<()>,
) -> Result<()> {
    let mut reader = BufReader::with_capacity(1 << 18, meter.output(reader));
    take(&mut reader)?;
    let mut rest = [0; 1 << 14];
    loop {
        match reader.read(&mut rest)? {
            0 => return Ok(()),
            n if is_zero(&rest[..n]) => {}
            _ => bail!("something follows the end of the tar"),
        }
    }
}
