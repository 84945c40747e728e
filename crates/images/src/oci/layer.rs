//! Writes a layer: the tar of a difference, then the same compressed. Files are whole in it, since not
//! every program reads sparse ones; their zeros compress well.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};

use super::difference::{Difference, Key, key, last};
use crate::cancel::Progress;
use crate::digest::{Digest, HashingWriter};
use crate::error::{Context, Result};
use crate::format::oci::WHITEOUT;
use crate::image::in_order::in_order;
use crate::tree::{Data, FileWriter, Kind, Metadata, Reader};

/// What is compressed at once, as a gzip member of its own.
const CHUNK: u64 = 4 << 20;

/// Writes the entries of `tree` that `difference` names, or all of them, and its whiteouts to the new
/// file `to`. Gives the SHA-256.
pub(super) fn write(
    tree: &Path,
    difference: Option<&Difference>,
    epoch: u64,
    to: &Path,
    progress: Progress<'_>,
) -> Result<Digest> {
    let what = || format!("reading {}", tree.display());
    let file = File::open(tree).with_context(what)?;
    let total = file.metadata().with_context(what)?.len();
    let mut entries = Reader::new(BufReader::with_capacity(1 << 18, file));
    let mut writer = FileWriter::create_new(to, epoch)?;
    let mut whiteouts: Vec<Key> =
        difference.map_or(Vec::new(), |it| it.removed.iter().map(|name| whiteout(name)).collect());
    whiteouts.sort_by(|a, b| b.cmp(a));
    let mut done = 0;
    while let Some((entry, mut content)) = entries.next_entry().with_context(what)? {
        done += entry.metadata.size;
        progress.advance(done.min(total), total)?;
        let key = key(&entry.path)?;
        while let Some(whiteout) = whiteouts.pop_if(|whiteout| *whiteout < key) {
            add_whiteout(&mut writer, &whiteout)?;
        }
        if difference.is_some_and(|it| !it.entries.contains(&key)) {
            continue;
        }
        let metadata = Metadata { data: None, ..entry.metadata };
        let data = match metadata.kind {
            Kind::Regular => Data::Stored(&mut content),
            _ => Data::Nothing,
        };
        writer.add(&path(&key), &metadata, data)?;
    }
    while let Some(whiteout) = whiteouts.pop() {
        add_whiteout(&mut writer, &whiteout)?;
    }
    Ok(writer.finish()?.0)
}

/// The name that removes `name`.
fn whiteout(name: &[u8]) -> Key {
    let base = last(name);
    [&name[..name.len() - base.len()], WHITEOUT, base].concat()
}

fn add_whiteout(writer: &mut FileWriter, whiteout: &[u8]) -> Result<()> {
    writer.add(&path(whiteout), &Metadata::file(0, 0), Data::Nothing)
}

fn path(key: &[u8]) -> PathBuf {
    if key.is_empty() {
        return PathBuf::from("./");
    }
    let bytes: Vec<u8> = key.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect();
    PathBuf::from(OsStr::from_bytes(&bytes))
}

/// Compresses `from` to the new file `to`; gives SHA-256 and length. `level` is 1 to 9. The members are
/// the same for every number of threads, and all readers take them for one.
pub(super) fn compress(
    from: &Path,
    to: &Path,
    level: u32,
    threads: usize,
    progress: Progress<'_>,
) -> Result<(Digest, u64)> {
    let source = File::open(from).with_context(|| format!("reading {}", from.display()))?;
    let length = source.metadata()?.len();
    let what = || format!("writing {}", to.display());
    let target = File::options().write(true).create_new(true).open(to).with_context(what)?;
    let mut target = HashingWriter::new(target);
    let member = |index: usize| {
        let at = index as u64 * CHUNK;
        let mut bytes = vec![0; CHUNK.min(length - at) as usize];
        source.read_exact_at(&mut bytes, at)?;
        // No time, and no operating system.
        let builder = GzBuilder::new().mtime(0).operating_system(255);
        let mut encoder = builder.write(Vec::new(), Compression::new(level));
        encoder.write_all(&bytes)?;
        encoder.finish()
    };
    let mut done = 0;
    in_order(length.div_ceil(CHUNK) as usize, threads, member, |bytes| {
        target.write_all(&bytes).with_context(what)?;
        done += CHUNK;
        progress.advance(done.min(length), length)
    })?;
    let (_, digest, size) = target.finish();
    Ok((digest, size))
}
