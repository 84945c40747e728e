//! Extended attributes, in the space behind an inode's fields or in a block, with the name prefixes
//! that Linux shows.

use super::FORMAT;
use crate::Fault;
use crate::acl;
use crate::crc32c::update as crc32c;
use crate::fields::Fields;
use crate::units::Bytes;

const MAGIC: u32 = 0xea02_0000;
/// The attribute that holds what of an inline file does not fit into `i_block`.
pub const INLINE_DATA: &str = "system.data";
/// Kinds that Linux keeps for itself: the context of encryption, and the descriptor of fs-verity.
const HIDDEN: [u8; 2] = [9, 11];
/// The longest value, in bytes.
pub const LONGEST: u64 = 1 << 16;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// The value itself.
    Local(Vec<u8>),
    /// The content of another inode (feature ea_inode).
    Inode {
        /// `e_value_inum`: its number.
        number: u32,
        /// `e_value_size`: its length, at most [`LONGEST`].
        size: Bytes,
    },
}

/// Reads the attributes in the bytes behind the fields of an inode.
pub fn in_inode(rest: &[u8]) -> Result<Vec<(String, Value)>, Fault> {
    match rest.first_chunk::<4>() {
        Some(magic) if u32::from_le_bytes(*magic) == MAGIC => entries(&rest[4..], 0),
        _ => Ok(Vec::new()),
    }
}

/// Reads the attribute block `number`. `seed` is the file system's checksum seed, if it has one.
pub fn in_block(
    block: &[u8],
    number: u64,
    seed: Option<u32>,
) -> Result<Vec<(String, Value)>, Fault> {
    let fields = Fields::of(FORMAT, block);
    Fault::unless(fields.le32(0)? == MAGIC, FORMAT, || format!("no attributes in block {number}"))?;
    if let Some(seed) = seed {
        let mut summed = block.to_vec();
        summed[16..20].fill(0);
        let crc = crc32c(crc32c(seed, &number.to_le_bytes()), &summed);
        Fault::unless(crc == fields.le32(16)?, FORMAT, || {
            format!("the checksum of the attributes in block {number} is wrong")
        })?;
    }
    entries(block, 32)
}

/// The entries from `at` on; offsets of values count from the start of `bytes`.
fn entries(bytes: &[u8], mut at: usize) -> Result<Vec<(String, Value)>, Fault> {
    let fields = Fields::of(FORMAT, bytes);
    let mut found = Vec::new();
    // The list ends with zeros, or with its room.
    while at + 4 <= bytes.len() && fields.le32(at)? != 0 {
        let name = fields.slice(at + 16, fields.u8(at)?.into())?;
        let (index, start) = (fields.u8(at + 1)?, usize::from(fields.le16(at + 2)?));
        let (inode, size) = (fields.le32(at + 4)?, fields.le32(at + 8)?);
        Fault::unless(u64::from(size) <= LONGEST, FORMAT, || {
            format!("an attribute of {size} bytes")
        })?;
        at += (16 + name.len()).next_multiple_of(4);
        if HIDDEN.contains(&index) {
            continue;
        }
        let name = full_name(index, name)?;
        let value = match inode {
            0 => Value::Local(fields.slice(start, size as usize)?.to_vec()),
            number => Value::Inode { number, size: Bytes(size.into()) },
        };
        let value = match value {
            Value::Local(bytes) if matches!(index, 2 | 3) => Value::Local(acl::from_ext4(&bytes)?),
            value => value,
        };
        found.push((name, value));
    }
    Ok(found)
}

/// The name with the prefix that `e_name_index` stands for.
fn full_name(index: u8, name: &[u8]) -> Result<String, Fault> {
    let refuse = |why: String| Fault::new(FORMAT, why);
    let name = std::str::from_utf8(name).ok().filter(|name| !name.contains('\0'));
    let name = name.ok_or_else(|| refuse("the name of an attribute is not text".into()))?;
    let prefix = match index {
        1 => "user.",
        2 => return Ok(acl::ACCESS.into()),
        3 => return Ok(acl::DEFAULT.into()),
        4 => "trusted.",
        6 => "security.",
        7 => "system.",
        _ => return Err(refuse(format!("the attribute `{name}` is of the unknown kind {index}"))),
    };
    Ok(format!("{prefix}{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_capability_is_read() {
        let mut rest = vec![0; 100];
        rest[..4].copy_from_slice(&MAGIC.to_le_bytes());
        rest[4..20].copy_from_slice(&[10, 6, 60, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        rest[20..30].copy_from_slice(b"capability");
        rest[64..67].copy_from_slice(b"xyz");
        let value = Value::Local(b"xyz".to_vec());
        assert_eq!(in_inode(&rest), Ok(vec![("security.capability".into(), value)]));
        rest[6] = 95;
        assert!(in_inode(&rest).is_err());
        assert_eq!(in_inode(&[0; 40]), Ok(vec![]));
        assert!(in_block(&[0; 1024], 7, None).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = entries(&bytes, 0);
        }
    }
}
