//! Access control lists: the form in which Linux shows them as extended attributes, and the forms
//! in which file systems and tar archives keep them.
//!
//! Source: the kernel's include/uapi/linux/posix_acl_xattr.h, fs/ext4/acl.h and
//! fs/xfs/libxfs/xfs_format.h; acl(5) and star(5) for the text.

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
/// The tags of users and of groups, without a name and with one.
const USER: [u16; 2] = [0x01, 0x02];
const GROUP: [u16; 2] = [0x04, 0x08];
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
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

/// Whom an entry of a list names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// A user.
    User(&'a str),
    /// A group.
    Group(&'a str),
}

/// From a text, in either of acl(5)'s forms and with the ids that star(5) adds to names; `id` knows the
/// ids of other names. `None`: the list says no more than a mode.
///
/// # Errors
///
/// An entry cannot be understood, or its name has no id.
pub fn from_text(
    text: &str,
    id: impl Fn(Named<'_>) -> Option<u32>,
) -> Result<Option<Vec<u8>>, Fault> {
    let mut entries = Vec::new();
    for entry in text.split([',', '\n', '\0']) {
        let entry = entry.split('#').next().unwrap_or(entry).trim();
        if !entry.is_empty() {
            entries.push(from_entry(entry, &id)?);
        }
    }
    // The kernel takes them in this order alone.
    entries.sort_unstable();
    let is_mode = entries.iter().all(|(tag, ..)| [USER[0], GROUP[0], OTHER].contains(tag));
    if is_mode { Ok(None) } else { shown(&entries).map(Some) }
}

/// The permissions of a file with this list, as Linux shows it: those of a group are the mask.
pub fn permissions(list: &[u8]) -> u32 {
    let entries = list.get(4..).unwrap_or_default().chunks_exact(8);
    let of = |wanted: u16| {
        entries
            .clone()
            .find(|entry| entry[..2] == wanted.to_le_bytes())
            .map(|entry| u32::from(entry[2] & 7))
    };
    let group = of(MASK).or(of(GROUP[0])).unwrap_or(0);
    of(USER[0]).unwrap_or(0) << 6 | group << 3 | of(OTHER).unwrap_or(0)
}

/// `user:NAME:rwx`, `user:NAME:rwx:ID`, `mask::rwx`, `other:rwx`: tag, permissions and id.
fn from_entry(
    entry: &str,
    id: &impl Fn(Named<'_>) -> Option<u32>,
) -> Result<(u16, u16, u32), Fault> {
    let wrong = || Fault::new(FORMAT, format!("the entry `{}`", entry.escape_debug()));
    let mut fields = entry.split(':').map(str::trim);
    let tag = fields.next().unwrap_or_default();
    let rest: Vec<&str> = fields.collect();
    let (name, rest) = match (tag, &rest[..]) {
        ("mask" | "m" | "other" | "o", ["", rest @ ..] | rest) => ("", rest),
        (_, [name, rest @ ..]) => (*name, rest),
        _ => return Err(wrong()),
    };
    let (permissions, number) = match rest {
        [permissions] => (permissions, None),
        [permissions, number] => (permissions, Some(number.parse().map_err(|_| wrong())?)),
        _ => return Err(wrong()),
    };
    let mut bits = 0;
    for c in permissions.chars() {
        bits |= match c {
            'r' => 4,
            'w' => 2,
            'x' => 1,
            '-' => 0,
            _ => return Err(wrong()),
        };
    }
    let named = |tags: [u16; 2], named: Named<'_>| {
        if name.is_empty() {
            return Ok((tags[0], NOBODY));
        }
        let number = number.or_else(|| name.parse().ok()).or_else(|| id(named));
        let unknown = || Fault::new(FORMAT, format!("`{}` has no id", name.escape_debug()));
        number.map(|number| (tags[1], number)).ok_or_else(unknown)
    };
    let (tag, id) = match tag {
        "user" | "u" => named(USER, Named::User(name))?,
        "group" | "g" => named(GROUP, Named::Group(name))?,
        "mask" | "m" => (MASK, NOBODY),
        "other" | "o" => (OTHER, NOBODY),
        _ => return Err(wrong()),
    };
    Ok((tag, bits, id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Option<Vec<u8>>, Fault> {
        from_text(text, |named| match named {
            Named::User("ops") => Some(1000),
            Named::Group("ops") => Some(7),
            _ => None,
        })
    }

    #[test]
    fn texts_of_all_programs_give_one_list() {
        let expected = [
            (1, 6, NOBODY),
            (2, 4, 1000),
            (4, 4, NOBODY),
            (8, 5, 7),
            (16, 5, NOBODY),
            (32, 0, NOBODY),
        ];
        let expected = shown(&expected).unwrap();
        for text in [
            // GNU tar's, with names and without; star's and libarchive's; by hand.
            "user::rw-\nuser:ops:r--\ngroup::r--\ngroup:ops:r-x\nmask::r-x\nother::---\n",
            "user::rw-\nuser:1000:r--\ngroup::r--\ngroup:7:r-x\nmask::r-x\nother::---",
            "user::rw-,group::r--,other::---,user:joe:r--:1000,group:x:r-x:7,mask::r-x",
            "u::rw,u:ops:r,g::r,g:ops:rx,m:rx,o:- # none",
        ] {
            assert_eq!(read(text).unwrap(), Some(expected.clone()), "{text}");
        }
        assert_eq!(permissions(&expected), 0o650);
        assert_eq!(permissions(&expected[..12]), 0o600);
        assert_eq!(permissions(b""), 0);
        assert_eq!(read("user::rw-\ngroup::r--\nother::r--\n").unwrap(), None);
        assert_eq!(read("").unwrap(), None);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "user:joe:r--",
            "user::rwz",
            "owner::rw-",
            "user",
            "user:ops",
            "user:ops:r--:x",
            "user:ops:r--:1:2",
            "mask:1:2:3",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ugmo:,rwx0-9\n# -]{0,40}") {
            let _ = read(&text);
        }
    }

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
