//! Extended attributes, in the rest of an inode or in a block, under the names Linux shows.

use super::FORMAT;
use crate::Fault;
use crate::acl;
use crate::crc32c::update as crc32c;
use crate::fields::Fields;

const MAGIC: u32 = 0xea02_0000;
/// The name of a small file's content, behind what fits into the inode itself.
pub const DATA: &str = "system.data";
/// No value is longer.
pub const LONGEST: u64 = 1 << 16;

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Here.
    Here(Vec<u8>),
    /// In an inode of its own, and how long it is.
    Inode(u32, u64),
}

/// Those in the rest of an inode.
pub fn in_inode(rest: &[u8]) -> Result<Vec<(String, Value)>, Fault> {
    match rest.first_chunk::<4>() {
        Some(magic) if u32::from_le_bytes(*magic) == MAGIC => entries(&rest[4..], 0),
        _ => Ok(Vec::new()),
    }
}

/// Those in the block `number`.
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

/// The entries from `at` on; places of values count from the start of `bytes`.
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
        let name = shown(index, name)?;
        let value = match inode {
            0 => Value::Here(fields.slice(start, size as usize)?.to_vec()),
            inode => Value::Inode(inode, size.into()),
        };
        let value = match value {
            Value::Here(bytes) if matches!(index, 2 | 3) => Value::Here(acl::from_ext4(&bytes)?),
            value => value,
        };
        found.push((name, value));
        at += (16 + usize::from(fields.u8(at)?)).next_multiple_of(4);
    }
    Ok(found)
}

fn shown(index: u8, name: &[u8]) -> Result<String, Fault> {
    let refuse = |why: String| Fault::new(FORMAT, why);
    let name = std::str::from_utf8(name).ok().filter(|name| !name.contains('\0'));
    let name = name.ok_or_else(|| refuse("the name of an attribute is no text".into()))?;
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
        let value = Value::Here(b"xyz".to_vec());
        assert_eq!(in_inode(&rest), Ok(vec![("security.capability".into(), value)]));
        rest[6] = 95;
        assert!(in_inode(&rest).is_err());
        assert_eq!(in_inode(&[0; 40]), Ok(vec![]));
        assert!(in_block(&[0; 1024], 7, None).is_err());
    }

    proptest! {
        #[test]
        fn reading_anything_ends(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = entries(&bytes, 0);
        }
    }
}
