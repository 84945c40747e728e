//! Extended attributes: short form in the inode, in leaf blocks, or, for long values, in remote
//! blocks. Names get the prefix that Linux shows.

use super::{FORMAT, check_crc};
use crate::fields::Fields;
use crate::units::Bytes;
use crate::{Fault, acl};

/// The longest value, in bytes (`XFS_XATTR_SIZE_MAX`).
pub const LONGEST: u64 = 1 << 16;

/// Flags of an entry.
const LOCAL: u8 = 0x01;
const ROOT: u8 = 0x02;
const SECURE: u8 = 0x04;
const PARENT: u8 = 0x08;
const INCOMPLETE: u8 = 0x80;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// The value itself.
    Local(Vec<u8>),
    /// In remote blocks.
    Remote {
        /// The first of them, counted in the attribute fork.
        block: u32,
        /// The length of the value, at most [`LONGEST`].
        length: Bytes,
    },
}

/// A name with its prefix, and its value.
pub type Attribute = (String, Value);

/// A block of the attribute fork that is not remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// The attributes of a leaf, and the block of the next leaf (`forw`).
    Leaf(Vec<Attribute>, Option<u32>),
    /// The first child of a node.
    Node(u32),
}

/// Reads the short form in an inode.
pub fn short_form(bytes: &[u8]) -> Result<Vec<Attribute>, Fault> {
    let fields = Fields::of(FORMAT, bytes);
    let mut found = Vec::new();
    let mut at = 4;
    for _ in 0..fields.u8(2)? {
        let (name, value) = (usize::from(fields.u8(at)?), usize::from(fields.u8(at + 1)?));
        let flags = fields.u8(at + 2)?;
        let (name_at, value_at) = (at + 3, at + 3 + name);
        let bytes = fields.slice(value_at, value)?.to_vec();
        found.extend(attribute(flags, fields.slice(name_at, name)?, Value::Local(bytes))?);
        at = value_at + value;
    }
    Ok(found)
}

/// Reads a leaf or node block.
pub fn block(bytes: &[u8], has_crc: bool) -> Result<Block, Fault> {
    let fields = Fields::of(FORMAT, bytes);
    // Where the count is, and where the entries of a leaf and of a node begin.
    let (count, leaf_entries, node_entries) = if has_crc { (56, 80, 64) } else { (12, 32, 16) };
    let is_leaf = match (has_crc, fields.be16(8)?) {
        (true, 0x3bee) | (false, 0xfbee) => true,
        (true, 0x3ebe) | (false, 0xfebe) => false,
        (_, magic) => {
            return Err(Fault::new(
                FORMAT,
                format!("a block of attributes with the magic number {magic:#x}"),
            ));
        }
    };
    if has_crc {
        check_crc(bytes, 12, "a block of attributes")?;
    }
    if !is_leaf {
        return Ok(Block::Node(fields.be32(node_entries + 4)?));
    }
    let mut found = Vec::new();
    for index in 0..usize::from(fields.be16(count)?) {
        let entry = leaf_entries + index * 8;
        let (at, flags) = (usize::from(fields.be16(entry + 4)?), fields.u8(entry + 6)?);
        if flags & LOCAL != 0 {
            let (value, name) = (usize::from(fields.be16(at)?), usize::from(fields.u8(at + 2)?));
            let bytes = fields.slice(at + 3 + name, value)?.to_vec();
            found.extend(attribute(flags, fields.slice(at + 3, name)?, Value::Local(bytes))?);
        } else {
            let (block, length) = (fields.be32(at)?, u64::from(fields.be32(at + 4)?));
            let name = fields.slice(at + 9, fields.u8(at + 8)?.into())?;
            Fault::unless(length <= LONGEST, FORMAT, || format!("an attribute of {length} bytes"))?;
            found.extend(attribute(flags, name, Value::Remote { block, length: Bytes(length) })?);
        }
    }
    let next = fields.be32(0)?;
    Ok(Block::Leaf(found, (next != 0).then_some(next)))
}

/// An attribute with the prefix that Linux shows; `None` for entries that it does not show.
fn attribute(flags: u8, name: &[u8], value: Value) -> Result<Option<Attribute>, Fault> {
    if flags & (PARENT | INCOMPLETE) != 0 {
        return Ok(None);
    }
    let text = std::str::from_utf8(name).ok().filter(|name| !name.contains('\0'));
    let name = text.ok_or_else(|| Fault::new(FORMAT, "the name of an attribute is not text"))?;
    let list = match (flags & ROOT != 0, name) {
        (true, "SGI_ACL_FILE") => Some(acl::ACCESS),
        (true, "SGI_ACL_DEFAULT") => Some(acl::DEFAULT),
        _ => None,
    };
    if let Some(list) = list {
        let Value::Local(bytes) = value else {
            return Err(Fault::new(FORMAT, "an access list that is in blocks of its own"));
        };
        return Ok(Some((list.into(), Value::Local(acl::from_xfs(&bytes)?))));
    }
    let space = match flags & (ROOT | SECURE) {
        ROOT => "trusted",
        SECURE => "security",
        _ => "user",
    };
    Ok(Some((format!("{space}.{name}"), value)))
}

/// The length of the header of a remote block of version 5.
pub const REMOTE_HEADER: usize = 56;

/// The data of a block of version 5 that holds a part of a remote value (`XARM`) or of a symbolic
/// link (`XSLM`), which `magic` says.
pub fn remote<'a>(bytes: &'a [u8], magic: &[u8; 4]) -> Result<&'a [u8], Fault> {
    let fields = Fields::of(FORMAT, bytes);
    Fault::unless(fields.slice(0, 4)? == magic, FORMAT, || "no block of a value".into())?;
    check_crc(bytes, 12, "a block of a value")?;
    fields.slice(REMOTE_HEADER, fields.be32(8)? as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_form_attributes_are_read() {
        let bytes = [[0, 24, 2, 0, 1, 2, 0].as_slice(), b"axy", &[10, 1, SECURE], b"capabilityz"];
        let local = |text: &str| Value::Local(text.into());
        let expected =
            vec![("user.a".into(), local("xy")), ("security.capability".into(), local("z"))];
        assert_eq!(short_form(&bytes.concat()), Ok(expected));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 16..200)) {
            let _ = short_form(&bytes);
            bytes[8..10].copy_from_slice(&[0xfb, 0xee]);
            let _ = block(&bytes, false);
        }
    }
}
