//! What may be called what in LVM2: names of groups and volumes, and its ids of 32 characters.
//!
//! Source: lvm2's `man lvm`, "VALID NAMES"; ids as in its text format.

use std::fmt;
use std::str::FromStr;

use super::FORMAT;
use crate::Fault;
use crate::digest::Hasher;

const ID_CHARS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// The groups of an id as text.
const ID_GROUPS: [usize; 7] = [6, 4, 4, 4, 4, 4, 6];

/// LVM's own kind of UUID: 32 letters and digits, shown in groups.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 32]);

impl Id {
    /// The same for the same `from` and `label`: SHA-256 over both, in base 62.
    pub fn derived(from: impl AsRef<[u8]>, label: &str) -> Id {
        let from = from.as_ref();
        let mut hasher = Hasher::default();
        hasher.update(&(from.len() as u64).to_le_bytes());
        hasher.update(from);
        hasher.update(label.as_bytes());
        let mut number = hasher.finish().0;
        Id(std::array::from_fn(|_| {
            let mut rest = 0;
            for byte in &mut number {
                let value = rest << 8 | u32::from(*byte);
                *byte = (value / 62) as u8;
                rest = value % 62;
            }
            ID_CHARS[rest as usize]
        }))
    }

    /// The 32 characters, as the label of a disk has them.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From 32 characters without dashes.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Id, Fault> {
        let fits = bytes.iter().all(|byte| ID_CHARS.contains(byte) || b"!#".contains(byte));
        Fault::unless(fits, FORMAT, || {
            format!("`{}` is not an id", String::from_utf8_lossy(&bytes).escape_default())
        })?;
        Ok(Id(bytes))
    }
}

/// In groups of 6-4-4-4-4-4-6.
impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut at = 0;
        for (i, length) in ID_GROUPS.into_iter().enumerate() {
            let group: String = self.0[at..at + length].iter().map(|b| char::from(*b)).collect();
            write!(f, "{}{group}", if i == 0 { "" } else { "-" })?;
            at += length;
        }
        Ok(())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({self})")
    }
}

/// Reads the text with its dashes.
impl FromStr for Id {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Id, Fault> {
        let lengths = text.split('-').map(str::len);
        let bytes = text.replace('-', "").into_bytes().try_into();
        match bytes {
            Ok(bytes) if lengths.eq(ID_GROUPS) => Id::from_bytes(bytes),
            _ => Err(Fault::new(FORMAT, format!("`{}` is not an id", text.escape_default()))),
        }
    }
}

/// What every name obeys.
fn check(what: &str, name: &str) -> Result<(), Fault> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+_.-".contains(c);
    let fits = !name.is_empty()
        && name.len() < 128
        && name.chars().all(plain)
        && !name.starts_with('-')
        && name != "."
        && name != "..";
    Fault::unless(fits, FORMAT, || {
        format!("`{}` cannot be the name of a {what}", name.escape_default())
    })
}

/// Refuses what cannot be a group's name.
pub(super) fn check_group(name: &str) -> Result<(), Fault> {
    check("volume group", name)
}

/// Refuses what cannot stand for a physical volume in the text.
pub(super) fn check_physical(name: &str) -> Result<(), Fault> {
    check("physical volume", name)
}

/// Parts of names that lvm2 keeps for volumes inside others.
const RESERVED_PARTS: [&str; 12] = [
    "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_mimage", "_mlog", "_rimage", "_rmeta",
    "_tdata", "_tmeta", "_vdata",
];

/// Refuses what cannot be a volume's name, alone or together with its group's.
pub(super) fn check_volume(group: &str, name: &str) -> Result<(), Fault> {
    check("volume", name)?;
    // The device mapper doubles each dash to tell `a-b` of `c` from `b-c` of `a`.
    let mapped =
        group.len() + name.len() + 1 + group.matches('-').count() + name.matches('-').count();
    Fault::unless(mapped < 128, FORMAT, || {
        format!("`{group}` and `{name}` make too long a device name")
    })
}

/// Refuses names a person's volume cannot have, though lvm2 gives them to its own.
pub(super) fn check_not_reserved(name: &str) -> Result<(), Fault> {
    let reserved = name.starts_with("snapshot")
        || name.starts_with("pvmove")
        || RESERVED_PARTS.iter().any(|part| name.contains(part));
    Fault::unless(!reserved, FORMAT, || format!("lvm2 keeps the name `{name}` for itself"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_pinned_and_read_back() {
        let id = Id::derived("recipe", "vg");
        assert_eq!(id.to_string(), "E1EroU-khgn-Ume3-vPch-mBaq-7Bpa-Dcr0TU");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAA$A".parse::<Id>().is_err());
        assert!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".parse::<Id>().is_err());
    }

    #[test]
    fn names_follow_the_rules() {
        for name in ["root", "vg0", "a-b", "x.y+z", "_a"] {
            assert_eq!(check_volume("vg0", name), Ok(()), "{name}");
        }
        for name in ["", "-a", ".", "..", "a b", "a/b", "\u{fc}", &"x".repeat(128)] {
            assert!(check_group(name).is_err(), "{name}");
        }
        assert!(check_volume(&"g".repeat(100), &"-".repeat(20).replacen('-', "a", 1)).is_err());
        for name in ["snapshot0", "pvmove1", "a_tdata"] {
            assert!(check_not_reserved(name).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn derived_ids_differ(a: u64, b: u64) {
            let id = |n: u64| Id::derived(n.to_le_bytes(), "x");
            prop_assert_eq!(id(a) == id(b), a == b);
        }
    }
}
