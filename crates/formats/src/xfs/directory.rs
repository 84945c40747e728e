//! The entries of a directory: short form in its inode, or one directory block.

use super::{FORMAT, check_crc};
use crate::Fault;
use crate::fields::Fields;
use crate::units::Bytes;

/// Where the leaf blocks of a directory begin, behind all blocks with names
/// (`XFS_DIR2_LEAF_OFFSET`).
pub const LEAF_OFFSET: Bytes = Bytes::gib(32);
/// The tag of an unused entry.
const FREE: u16 = 0xffff;

/// A name and its inode number.
pub type Entry<'a> = (&'a [u8], u64);

/// Reads the short form, which has neither `.` nor `..`.
pub fn short_form(bytes: &[u8], has_file_types: bool) -> Result<Vec<Entry<'_>>, Fault> {
    let fields = Fields::of(FORMAT, bytes);
    let (count, wide) = (usize::from(fields.u8(0)?), fields.u8(1)? != 0);
    let number = |at: usize| match wide {
        true => fields.be64(at),
        false => fields.be32(at).map(u64::from),
    };
    let width = if wide { 8 } else { 4 };
    let mut at = 2 + width;
    let mut names = Vec::new();
    for _ in 0..count {
        let length = usize::from(fields.u8(at)?);
        let name = fields.slice(at + 3, length)?;
        at += 3 + length + usize::from(has_file_types);
        names.push((name, number(at)?));
        at += width;
    }
    Ok(names)
}

/// Reads a block directory or a data block, without `.` and `..`.
pub fn block(bytes: &[u8], has_file_types: bool, has_crc: bool) -> Result<Vec<Entry<'_>>, Fault> {
    let fields = Fields::of(FORMAT, bytes);
    let (alone, magic) = match (has_crc, fields.slice(0, 4)?) {
        (true, b"XDB3") | (false, b"XD2B") => (true, true),
        (true, b"XDD3") | (false, b"XD2D") => (false, true),
        _ => (false, false),
    };
    Fault::unless(magic, FORMAT, || "no block of a directory".into())?;
    if has_crc {
        check_crc(bytes, 4, "a block of a directory")?;
    }
    let mut end = bytes.len();
    if alone {
        // A block directory has its leaf entries and a tail at its end.
        let tail = end.saturating_sub(8);
        let count = fields.be32(tail)? as usize;
        let index = count.checked_mul(8).and_then(|length| tail.checked_sub(length));
        end = index
            .ok_or_else(|| Fault::new(FORMAT, format!("a directory's block with {count} names")))?;
    }
    let mut names = Vec::new();
    let mut at = if has_crc { 64 } else { 16 };
    while at < end {
        if fields.be16(at)? == FREE {
            let length = usize::from(fields.be16(at + 2)?);
            Fault::unless(length >= 8 && length.is_multiple_of(8), FORMAT, || {
                format!("{length} free bytes at {at} of a directory's block")
            })?;
            at += length;
            continue;
        }
        let length = usize::from(fields.u8(at + 8)?);
        let name = fields.slice(at + 9, length)?;
        if name != b"." && name != b".." {
            names.push((name, fields.be64(at)?));
        }
        at += (9 + length + usize::from(has_file_types) + 2).next_multiple_of(8);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_form_directories_are_read() {
        let bytes = [1, 0, 0, 0, 0, 128, 3, 0, 0x60, b'e', b't', b'c', 2, 0, 0, 0, 131];
        assert_eq!(short_form(&bytes, true), Ok(vec![(b"etc".as_slice(), 131)]));
        assert!(short_form(&bytes[..16], true).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 16..200), b: bool) {
            let _ = short_form(&bytes, b);
            bytes[..4].copy_from_slice(if b { b"XD2D" } else { b"XD2B" });
            let _ = block(&bytes, b, false);
        }
    }
}
