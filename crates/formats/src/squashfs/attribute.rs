//! Extended attributes: a table of lists of names and values. A value that several lists share is
//! out of line.

use super::{FORMAT, Reference};
use crate::Fault;
use crate::fields::Fields;
use crate::units::Bytes;

/// The length of the header of the table (`squashfs_xattr_id_table`).
pub const HEADER: usize = 16;
/// The length of an entry of the table (`squashfs_xattr_id`).
pub const ENTRY: usize = 16;
/// The length of the header of a name (`squashfs_xattr_entry`).
pub const NAME: usize = 4;
/// The length of the header of a value (`squashfs_xattr_val`).
pub const VALUE: usize = 4;
/// The longest name, in bytes.
const LONGEST_NAME: usize = 255;
/// The longest value, in bytes.
pub const LONGEST: usize = 1 << 16;
/// `SQUASHFS_XATTR_VALUE_OOL`: the value is out of line.
const OUT_OF_LINE: u16 = 0x100;

/// Reads the header of the table: where the metadata with names and values begins, and the number of
/// lists.
pub fn header(bytes: &[u8]) -> Result<(Bytes, u32), Fault> {
    let fields = Fields::of(FORMAT, bytes);
    Ok((Bytes(fields.le64(0)?), fields.le32(8)?))
}

/// Reads an entry of the table: where a list is, and the number of its attributes.
pub fn entry(bytes: &[u8]) -> Result<(Reference, u32), Fault> {
    let fields = Fields::of(FORMAT, bytes);
    Ok((Reference::of(fields.le64(0)?)?, fields.le32(8)?))
}

/// The header of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The prefix that Linux shows: `user.`.
    pub prefix: &'static str,
    /// The length of the name without the prefix.
    pub length: usize,
    /// Whether the value is out of line.
    pub is_out_of_line: bool,
}

/// Reads the header of a name.
pub fn name(bytes: &[u8]) -> Result<Name, Fault> {
    let fields = Fields::of(FORMAT, bytes);
    let (kind, length) = (fields.le16(0)?, usize::from(fields.le16(2)?));
    let prefix = match kind & !OUT_OF_LINE {
        0 => "user.",
        1 => "trusted.",
        2 => "security.",
        _ => return Err(Fault::new(FORMAT, format!("an attribute of the kind {kind:#x}"))),
    };
    Fault::unless(length <= LONGEST_NAME, FORMAT, || {
        format!("an attribute with a name of {length} bytes")
    })?;
    Ok(Name { prefix, length, is_out_of_line: kind & OUT_OF_LINE != 0 })
}

/// Reads the header of a value: its length, at most [`LONGEST`].
pub fn value(bytes: &[u8]) -> Result<usize, Fault> {
    let length = Fields::of(FORMAT, bytes).le32(0)? as usize;
    Fault::unless(length <= LONGEST, FORMAT, || format!("an attribute of {length} bytes"))?;
    Ok(length)
}

/// Reads the value of an attribute that is out of line: where the value is.
pub fn out_of_line(bytes: &[u8]) -> Result<Reference, Fault> {
    Reference::of(Fields::of(FORMAT, bytes).le64(0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_read() {
        let read = name(&[2, 1, 10, 0]).unwrap();
        assert_eq!(read, Name { prefix: "security.", length: 10, is_out_of_line: true });
        assert_eq!(name(&[0, 0, 1, 0]).unwrap().prefix, "user.");
        assert!(name(&[3, 0, 1, 0]).is_err() && name(&[0, 0, 0, 1]).is_err());
        assert_eq!(value(&[0, 0, 1, 0]), Ok(1 << 16));
        assert!(value(&[1, 0, 1, 0]).is_err());
        assert!(value(&[1, 0]).is_err());
        assert_eq!(out_of_line(&[1, 0, 2, 0, 0, 0, 0, 0]), Ok(Reference { block: 2, offset: 1 }));
    }
}
