//! Extended attributes: a table of lists, each with names and with values that are in the list or, where
//! several share one, somewhere else.

use super::{FORMAT, Reference};
use crate::Fault;
use crate::fields::Fields;

/// The length of what the table begins with.
pub const HEAD: usize = 16;
/// The length of an entry of the table.
pub const ENTRY: usize = 16;
/// What stands before a name, and before a value.
pub const NAME: usize = 4;
/// What stands before a value.
pub const VALUE: usize = 4;
/// No name is longer.
const LONGEST_NAME: usize = 255;
/// No value is longer.
pub const LONGEST: usize = 1 << 16;
/// Marks a value that is somewhere else.
const ELSEWHERE: u16 = 0x100;

/// What the table begins with: where names and values are, and how many lists there are.
pub fn head(bytes: &[u8]) -> Result<(u64, u32), Fault> {
    let fields = Fields::of(FORMAT, bytes);
    Ok((fields.le64(0)?, fields.le32(8)?))
}

/// An entry of the table: where a list is, and how many attributes are in it.
pub fn entry(bytes: &[u8]) -> Result<(Reference, u32), Fault> {
    let fields = Fields::of(FORMAT, bytes);
    Ok((Reference::of(fields.le64(0)?)?, fields.le32(8)?))
}

/// What stands before a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// What comes before it, as Linux shows it: `user.`.
    pub space: &'static str,
    /// How long the rest is.
    pub length: usize,
    /// Whether its value is somewhere else.
    pub is_elsewhere: bool,
}

/// Reads what stands before a name.
pub fn name(bytes: &[u8]) -> Result<Name, Fault> {
    let fields = Fields::of(FORMAT, bytes);
    let (kind, length) = (fields.le16(0)?, usize::from(fields.le16(2)?));
    let space = match kind & !ELSEWHERE {
        0 => "user.",
        1 => "trusted.",
        2 => "security.",
        _ => return Err(Fault::new(FORMAT, format!("an attribute of the kind {kind:#x}"))),
    };
    Fault::unless(length <= LONGEST_NAME, FORMAT, || {
        format!("an attribute with a name of {length} bytes")
    })?;
    Ok(Name { space, length, is_elsewhere: kind & ELSEWHERE != 0 })
}

/// Reads what stands before a value: its length.
pub fn value(bytes: &[u8]) -> Result<usize, Fault> {
    let length = Fields::of(FORMAT, bytes).le32(0)? as usize;
    Fault::unless(length <= LONGEST, FORMAT, || format!("an attribute of {length} bytes"))?;
    Ok(length)
}

/// Where a value is that is somewhere else.
pub fn elsewhere(bytes: &[u8]) -> Result<Reference, Fault> {
    Reference::of(Fields::of(FORMAT, bytes).le64(0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_told() {
        let read = name(&[2, 1, 10, 0]).unwrap();
        assert_eq!(read, Name { space: "security.", length: 10, is_elsewhere: true });
        assert_eq!(name(&[0, 0, 1, 0]).unwrap().space, "user.");
        assert!(name(&[3, 0, 1, 0]).is_err() && name(&[0, 0, 0, 1]).is_err());
        assert_eq!(value(&[0, 0, 1, 0]), Ok(1 << 16));
        assert!(value(&[1, 0, 1, 0]).is_err());
        assert!(value(&[1, 0]).is_err());
        assert_eq!(elsewhere(&[1, 0, 2, 0, 0, 0, 0, 0]), Ok(Reference { block: 2, within: 1 }));
    }
}
