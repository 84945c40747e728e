//! Writes an OVA: a tar of the descriptor, the manifest and the compressed disk. The disk is
//! written at its place in the file, behind the room for the others, whose lengths are known.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::member::{self, BLOCK};
use super::vmdk_stream;
use crate::cancel::Progress;
use crate::digest::{Digest, Hasher};
use crate::error::{Context, Result};
use crate::format::appliance::Appliance;
use crate::format::ovf::{self, Names};
use crate::format::vmdk::Description;
use crate::units::Bytes;

/// What is hashed at once.
const CHUNK: usize = 1 << 20;

/// Writes the OVA of `appliance` to the empty file `target`; gives its SHA-256 and length.
pub(super) fn write(
    work: &vmdk_stream::Work<'_>,
    appliance: &Appliance,
    description: &Description,
    epoch: u64,
    mut target: File,
    progress: Progress<'_>,
) -> Result<(Digest, Bytes)> {
    let names = Names::of(&appliance.name);
    let descriptor = ovf::descriptor(appliance)?;
    let manifest =
        |disk| ovf::manifest(&[(&names.ovf, Digest::of(&descriptor)), (&names.disk, disk)]);
    let room = manifest(Digest([0; 32])).len() as u64;
    let head = 3 * BLOCK + member::padded(descriptor.len() as u64) + member::padded(room);
    target.seek(SeekFrom::Start(head))?;
    let (digest, length) = vmdk_stream::write(work, description, target.try_clone()?, progress)?;
    let mut bytes = Vec::with_capacity(head as usize);
    for (name, text) in [(&names.ovf, &descriptor), (&names.manifest, &manifest(digest))] {
        bytes.extend(member::file(name, Bytes(text.len() as u64), epoch)?);
        bytes.extend_from_slice(text.as_bytes());
        bytes.resize(member::padded(bytes.len() as u64) as usize, 0);
    }
    bytes.extend(member::file(&names.disk, length, epoch)?);
    target.write_all_at(&bytes, 0)?;
    let total = head + member::padded(length.0) + member::END;
    target.set_len(total)?;
    Ok((hash(&target, total, progress).context("hashing it")?, Bytes(total)))
}

/// The SHA-256 of a whole file. It comes after the writing: what is first in the file is known
/// last.
fn hash(file: &File, length: u64, progress: Progress<'_>) -> Result<Digest> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < length {
        progress.cancel.check()?;
        let n = (length - at).min(CHUNK as u64) as usize;
        file.read_exact_at(&mut buffer[..n], at)?;
        hasher.update(&buffer[..n]);
        at += n as u64;
    }
    Ok(hasher.finish())
}
