//! UUIDs, as partition tables, filesystems and hypervisors carry them. It draws none at random:
//! an id is either given or derived from what it stands for.
//!
//! Source: RFC 9562; the byte order of GUIDs on disk is from the UEFI specification, appendix A.

use std::fmt;
use std::str::FromStr;

use crate::digest::Hasher;

/// A UUID, its bytes in the order of its text.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// All zero.
    pub const NIL: Guid = Guid([0; 16]);

    /// The UUID whose digits are those of `digits`.
    pub const fn from_u128(digits: u128) -> Guid {
        Guid(digits.to_be_bytes())
    }

    /// The same for the same `from` and `label`: SHA-256 over both, as a version 8 UUID.
    pub fn derived(from: impl AsRef<[u8]>, label: &str) -> Guid {
        let from = from.as_ref();
        let mut hasher = Hasher::default();
        hasher.update(&(from.len() as u64).to_le_bytes());
        hasher.update(from);
        hasher.update(label.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finish().0[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Guid(bytes)
    }

    /// As UEFI and Microsoft store it: the first three groups little endian.
    pub fn mixed_endian(self) -> [u8; 16] {
        let b = self.0;
        let mut mixed = b;
        mixed[..8].copy_from_slice(&[b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6]]);
        mixed
    }

    /// From the bytes [`Guid::mixed_endian`] gives.
    pub fn from_mixed_endian(bytes: [u8; 16]) -> Guid {
        Guid(Guid(bytes).mixed_endian())
    }
}

/// `21686148-6449-6e6f-744e-656564454649`.
impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guid({self})")
    }
}

/// The text is not a UUID in its canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAGuid;

impl fmt::Display for NotAGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a UUID is 32 hexadecimal digits in groups of 8-4-4-4-12")
    }
}

impl std::error::Error for NotAGuid {}

/// Reads the canonical form, in either case.
impl FromStr for Guid {
    type Err = NotAGuid;

    fn from_str(text: &str) -> Result<Guid, NotAGuid> {
        let groups: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        let digits = groups.concat();
        if lengths != [8, 4, 4, 4, 12] || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NotAGuid);
        }
        u128::from_str_radix(&digits, 16).map(Guid::from_u128).map_err(|_| NotAGuid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn derived_ids_are_pinned_and_differ_by_label() {
        let id = Guid::derived("recipe", "disk");
        assert_eq!(id.to_string(), "119eeace-11c6-8580-ac60-40d4357047ad");
        assert_ne!(id, Guid::derived("recipe", "part/boot"));
        assert_ne!(Guid::derived("ab", "c"), Guid::derived("a", "bc"));
    }

    #[test]
    fn mixed_endian_swaps_three_groups() {
        let esp: Guid = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B".parse().unwrap();
        assert_eq!(esp.mixed_endian()[..8], [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11]);
        assert_eq!(Guid::from_mixed_endian(esp.mixed_endian()), esp);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "c12a7328f81f11d2ba4b00a0c93ec93b", "+12a7328-f81f-11d2-ba4b-00a0c93ec93b"]
        {
            assert_eq!(text.parse::<Guid>(), Err(NotAGuid), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(bytes: [u8; 16]) {
            prop_assert_eq!(Guid(bytes).to_string().parse(), Ok(Guid(bytes)));
        }
    }
}
