//! Headers of the tars that kuth makes: ustar, owned by root, without names of users. A file past
//! 8 GiB has its size in GNU's binary form, which all readers know.

use tar::{EntryType, Header};

use crate::error::{Context, Result};
use crate::units::Bytes;

/// Everything in a tar begins at a multiple of this.
pub(crate) const BLOCK: u64 = 512;
/// The zeros that end a tar.
pub(crate) const END: u64 = 2 * BLOCK;

/// `length` up to the end of its last block.
pub(crate) fn padded(length: u64) -> u64 {
    length.next_multiple_of(BLOCK)
}

/// Of a file.
pub(crate) fn file(name: &str, size: Bytes, time: u64) -> Result<[u8; BLOCK as usize]> {
    header(name, EntryType::Regular, 0o644, size, time)
}

/// Of a directory; `name` ends with a slash.
pub(crate) fn directory(name: &str, time: u64) -> Result<[u8; BLOCK as usize]> {
    header(name, EntryType::Directory, 0o755, Bytes(0), time)
}

fn header(
    name: &str,
    kind: EntryType,
    mode: u32,
    size: Bytes,
    time: u64,
) -> Result<[u8; BLOCK as usize]> {
    let mut header = Header::new_ustar();
    header.set_path(name).with_context(|| format!("naming {name} in a tar"))?;
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(time);
    header.set_size(size.0);
    header.set_cksum();
    Ok(*header.as_bytes())
}
