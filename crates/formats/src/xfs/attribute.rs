//! Extended attributes: in the inode, in leaves, or, if long, in blocks of their own. They get the
//! names that Linux shows.

use super::{FORMAT, be16, be32, check};
use crate::fields::Fields;
use crate::{Fault, acl};

/// No value is longer.
pub const LONGEST: u64 = 1 << 16;

/// Flags of an attribute.
const LOCAL: u8 = 0x01;
const ROOT: u8 = 0x02;
const SECURE: u8 = 0x04;
const PARENT: u8 = 0x08;
const INCOMPLETE: u8 = 0x80;

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Here.
    Here(Vec<u8>),
    /// From this block of the fork on, and how long.
    Blocks(u32, u64),
}

/// An attribute.
pub type Attribute = (String, Value);

/// A block of the fork that is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// Attributes, and the next leaf.
    Leaf(Vec<Attribute>, Option<u32>),
    /// The first block of the level below.
    Node(u32),
}

/// Those in an inode.
pub fn small(bytes: &[u8]) -> Result<Vec<Attribute>, Fault> {
    let fields = Fields::of(FORMAT, bytes);
    let mut found = Vec::new();
    let mut at = 4;
    for _ in 0..fields.u8(2)? {
        let (name, value) = (usize::from(fields.u8(at)?), usize::from(fields.u8(at + 1)?));
        let flags = fields.u8(at + 2)?;
        let (name_at, value_at) = (at + 3, at + 3 + name);
        let bytes = fields.slice(value_at, value)?.to_vec();
        found.extend(attribute(flags, fields.slice(name_at, name)?, Value::Here(bytes))?);
        at = value_at + value;
    }
    Ok(found)
}

/// A block of the fork.
pub fn block(bytes: &[u8], has_sums: bool) -> Result<Block, Fault> {
    let fields = Fields::of(FORMAT, bytes);
    // What comes before the count of entries, and before the entries of a leaf and of a node.
    let (head, leaf_head, node_head) = if has_sums { (56, 80, 64) } else { (12, 32, 16) };
    let is_leaf = match (has_sums, be16(&fields, 8)?) {
        (true, 0x3bee) | (false, 0xfbee) => true,
        (true, 0x3ebe) | (false, 0xfebe) => false,
        (_, magic) => {
            return Err(Fault::new(
                FORMAT,
                format!("a block of attributes with the mark {magic:#x}"),
            ));
        }
    };
    if has_sums {
        check(bytes, 12, "a block of attributes")?;
    }
    if !is_leaf {
        return Ok(Block::Node(be32(&fields, node_head + 4)?));
    }
    let mut found = Vec::new();
    for index in 0..usize::from(be16(&fields, head)?) {
        let entry = leaf_head + index * 8;
        let (at, flags) = (usize::from(be16(&fields, entry + 4)?), fields.u8(entry + 6)?);
        if flags & LOCAL != 0 {
            let (value, name) = (usize::from(be16(&fields, at)?), usize::from(fields.u8(at + 2)?));
            let bytes = fields.slice(at + 3 + name, value)?.to_vec();
            found.extend(attribute(flags, fields.slice(at + 3, name)?, Value::Here(bytes))?);
        } else {
            let (block, length) = (be32(&fields, at)?, u64::from(be32(&fields, at + 4)?));
            let name = fields.slice(at + 9, fields.u8(at + 8)?.into())?;
            Fault::unless(length <= LONGEST, FORMAT, || format!("an attribute of {length} bytes"))?;
            found.extend(attribute(flags, name, Value::Blocks(block, length))?);
        }
    }
    let next = be32(&fields, 0)?;
    Ok(Block::Leaf(found, (next != 0).then_some(next)))
}

/// An attribute with the name that Linux shows; `None` for what it does not show.
fn attribute(flags: u8, name: &[u8], value: Value) -> Result<Option<Attribute>, Fault> {
    if flags & (PARENT | INCOMPLETE) != 0 {
        return Ok(None);
    }
    let text = std::str::from_utf8(name).ok().filter(|name| !name.contains('\0'));
    let name = text.ok_or_else(|| Fault::new(FORMAT, "the name of an attribute is no text"))?;
    let list = match (flags & ROOT != 0, name) {
        (true, "SGI_ACL_FILE") => Some(acl::ACCESS),
        (true, "SGI_ACL_DEFAULT") => Some(acl::DEFAULT),
        _ => None,
    };
    if let Some(list) = list {
        let Value::Here(bytes) = value else {
            return Err(Fault::new(FORMAT, "an access list that is in blocks of its own"));
        };
        return Ok(Some((list.into(), Value::Here(acl::from_xfs(&bytes)?))));
    }
    let space = match flags & (ROOT | SECURE) {
        ROOT => "trusted",
        SECURE => "security",
        _ => "user",
    };
    Ok(Some((format!("{space}.{name}"), value)))
}

/// The head of a block of a value or of a link, where there are checksums.
pub const HEAD: usize = 56;

/// What a block of a value (`XARM`) or of a link (`XSLM`) holds behind its head.
pub fn held<'a>(bytes: &'a [u8], magic: &[u8; 4]) -> Result<&'a [u8], Fault> {
    let fields = Fields::of(FORMAT, bytes);
    Fault::unless(fields.slice(0, 4)? == magic, FORMAT, || "no block of a value".into())?;
    check(bytes, 12, "a block of a value")?;
    fields.slice(HEAD, be32(&fields, 8)? as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_attributes_are_read() {
        let bytes = [[0, 24, 2, 0, 1, 2, 0].as_slice(), b"axy", &[10, 1, SECURE], b"capabilityz"];
        let here = |text: &str| Value::Here(text.into());
        let expected =
            vec![("user.a".into(), here("xy")), ("security.capability".into(), here("z"))];
        assert_eq!(small(&bytes.concat()), Ok(expected));
    }

    proptest! {
        #[test]
        fn reading_anything_ends(mut bytes in prop::collection::vec(any::<u8>(), 16..200)) {
            let _ = small(&bytes);
            bytes[8..10].copy_from_slice(&[0xfb, 0xee]);
            let _ = block(&bytes, false);
        }
    }
}
