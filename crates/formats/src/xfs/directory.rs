//! The names in a directory: in its inode, or in one block of its data.

use super::{FORMAT, be16, be32, be64, check};
use crate::Fault;
use crate::fields::Fields;

/// Behind this byte of a directory are no names but indexes.
pub const INDEXES: u64 = 32 << 30;
/// Marks what is not used.
const FREE: u16 = 0xffff;

/// A name, and the inode it names.
pub type Name<'a> = (&'a [u8], u64);

/// The names in a small directory, which has neither `.` nor `..`.
pub fn small(bytes: &[u8], has_kinds: bool) -> Result<Vec<Name<'_>>, Fault> {
    let fields = Fields::of(FORMAT, bytes);
    let (count, wide) = (usize::from(fields.u8(0)?), fields.u8(1)? != 0);
    let number = |at: usize| match wide {
        true => be64(&fields, at),
        false => be32(&fields, at).map(u64::from),
    };
    let width = if wide { 8 } else { 4 };
    let mut at = 2 + width;
    let mut names = Vec::new();
    for _ in 0..count {
        let length = usize::from(fields.u8(at)?);
        let name = fields.slice(at + 3, length)?;
        at += 3 + length + usize::from(has_kinds);
        names.push((name, number(at)?));
        at += width;
    }
    Ok(names)
}

/// The names in a block; `.` and `..` are left out.
pub fn block(bytes: &[u8], has_kinds: bool, has_sums: bool) -> Result<Vec<Name<'_>>, Fault> {
    let fields = Fields::of(FORMAT, bytes);
    let (alone, magic) = match (has_sums, fields.slice(0, 4)?) {
        (true, b"XDB3") | (false, b"XD2B") => (true, true),
        (true, b"XDD3") | (false, b"XD2D") => (false, true),
        _ => (false, false),
    };
    Fault::unless(magic, FORMAT, || "no block of a directory".into())?;
    if has_sums {
        check(bytes, 4, "a block of a directory")?;
    }
    let mut end = bytes.len();
    if alone {
        // The only block has the index of hashes at its end.
        let count = be32(&fields, end - 8)? as usize;
        let index = count.checked_mul(8).and_then(|length| (end - 8).checked_sub(length));
        end = index
            .ok_or_else(|| Fault::new(FORMAT, format!("a directory's block with {count} names")))?;
    }
    let mut names = Vec::new();
    let mut at = if has_sums { 64 } else { 16 };
    while at < end {
        if be16(&fields, at)? == FREE {
            let length = usize::from(be16(&fields, at + 2)?);
            Fault::unless(length >= 8 && length.is_multiple_of(8), FORMAT, || {
                format!("{length} free bytes at {at} of a directory's block")
            })?;
            at += length;
            continue;
        }
        let length = usize::from(fields.u8(at + 8)?);
        let name = fields.slice(at + 9, length)?;
        if name != b"." && name != b".." {
            names.push((name, be64(&fields, at)?));
        }
        at += (9 + length + usize::from(has_kinds) + 2).next_multiple_of(8);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_directories_are_read() {
        let bytes = [1, 0, 0, 0, 0, 128, 3, 0, 0x60, b'e', b't', b'c', 2, 0, 0, 0, 131];
        assert_eq!(small(&bytes, true), Ok(vec![(b"etc".as_slice(), 131)]));
        assert!(small(&bytes[..16], true).is_err());
    }

    proptest! {
        #[test]
        fn reading_anything_ends(mut bytes in prop::collection::vec(any::<u8>(), 16..200), b: bool) {
            let _ = small(&bytes, b);
            bytes[..4].copy_from_slice(if b { b"XD2D" } else { b"XD2B" });
            let _ = block(&bytes, b, false);
        }
    }
}
