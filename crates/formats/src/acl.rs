//! Access control lists: the form in which Linux shows them as extended attributes, and the forms
//! in which file systems keep them.
//!
//! Source: the kernel's include/uapi/linux/posix_acl_xattr.h, fs/ext4/acl.h and
//! fs/xfs/libxfs/xfs_format.h.

use super::Fault;

const FORMAT: &str = "acl";
/// The attribute of the list that counts.
pub const ACCESS: &str = "system.posix_acl_access";
/// The attribute of the list that files in a directory begin with.
pub const DEFAULT: &str = "system.posix_acl_default";
/// The version of the form that Linux shows.
const VERSION: u32 = 2;
/// The version of ext4's form.
const EXT4_VERSION: u32 = 1;
/// Tags of entries that name a user or a group.
const NAMED: [u16; 2] = [0x02, 0x08];
const ALL_TAGS: [u16; 6] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20];
/// Where an entry names nobody.
const NOBODY: u32 = u32::MAX;

/// The entries as Linux shows them.
fn shown(entries: &[(u16, u16, u32)]) -> Result<Vec<u8>, Fault> {
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        Fault::unless(ALL_TAGS.contains(tag), FORMAT, || format!("an entry of the kind {tag:#x}"))?;
        let id = if NAMED.contains(tag) { *id } else { NOBODY };
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    Ok(bytes)
}

/// From ext4's form, in which only entries with a name have an id.
pub fn from_ext4(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let short = || Fault::new(FORMAT, format!("a list of {} bytes", bytes.len()));
    let (version, mut rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
    Fault::unless(u32::from_le_bytes(*version) == EXT4_VERSION, FORMAT, || {
        format!("a list of version {}", u32::from_le_bytes(*version))
    })?;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (head, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let tag = u16::from_le_bytes([head[0], head[1]]);
        let permissions = u16::from_le_bytes([head[2], head[3]]);
        let (id, after) = match NAMED.contains(&tag) {
            true => {
                let (id, after) = after.split_first_chunk::<4>().ok_or_else(short)?;
                (u32::from_le_bytes(*id), after)
            }
            false => (NOBODY, after),
        };
        entries.push((tag, permissions, id));
        rest = after;
    }
    shown(&entries)
}

/// From XFS's form: a count, then tag, id and permissions of each, big endian.
pub fn from_xfs(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let short = || Fault::new(FORMAT, format!("a list of {} bytes", bytes.len()));
    let (count, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
    let count = u32::from_be_bytes(*count) as usize;
    let rest = count.checked_mul(12).and_then(|length| rest.get(..length)).ok_or_else(short)?;
    let entry = |entry: &[u8]| {
        let word = |at: usize| {
            u32::from_be_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
        };
        (word(0) as u16, u16::from_be_bytes([entry[8], entry[9]]), word(4))
    };
    shown(&rest.chunks_exact(12).map(entry).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_shown_alike() {
        let ext4 = [
            1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 4, 0, 0xe8, 3, 0, 0, 4, 0, 4, 0, 0x10, 0, 4, 0, 0x20, 0,
            4, 0,
        ];
        let list = from_ext4(&ext4).unwrap();
        assert_eq!(list[..12], [2, 0, 0, 0, 1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(list[12..20], [2, 0, 4, 0, 0xe8, 3, 0, 0]);
        assert_eq!(list.len(), 4 + 5 * 8);
        let mut xfs = vec![0, 0, 0, 5];
        for (tag, id, permissions) in
            [(1, 0, 6), (2, 1000u32, 4), (4, 0, 4), (0x10, 0, 4), (0x20, 0, 4)]
        {
            xfs.extend(u32::to_be_bytes(tag));
            xfs.extend(id.to_be_bytes());
            xfs.extend([0, permissions, 0, 0]);
        }
        assert_eq!(from_xfs(&xfs).unwrap(), list);
        assert!(from_ext4(&ext4[..27]).is_err());
        assert!(from_ext4(&[2, 0, 0, 0]).is_err());
        assert!(from_xfs(&[0xff; 20]).is_err());
        assert!(from_xfs(&[0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
