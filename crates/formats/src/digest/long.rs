//! The SHA-512, for those who publish that one, and both at once.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha512 as Hasher512};

use super::{Digest, Hasher};

/// A SHA-512, shown as 128 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha512(pub [u8; 64]);

impl fmt::Display for Sha512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha512({self})")
    }
}

/// The text is not 128 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotASha512;

impl fmt::Display for NotASha512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a SHA-512 is 128 hexadecimal digits")
    }
}

impl std::error::Error for NotASha512 {}

impl FromStr for Sha512 {
    type Err = NotASha512;

    fn from_str(text: &str) -> Result<Sha512, NotASha512> {
        let halves = text.split_at_checked(64).filter(|(_, half)| half.len() == 64);
        let (one, two) = halves.ok_or(NotASha512)?;
        let half = |text: &str| text.parse::<Digest>().map_err(|_| NotASha512);
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&half(one)?.0);
        bytes[32..].copy_from_slice(&half(two)?.0);
        Ok(Sha512(bytes))
    }
}

/// Takes the SHA-256 of some bytes, their number, and where it was asked for the SHA-512.
#[derive(Clone, Default)]
pub struct Sums {
    sha256: Hasher,
    sha512: Option<Hasher512>,
    length: u64,
}

impl Sums {
    /// Both.
    pub fn both() -> Sums {
        Sums { sha512: Some(Hasher512::new()), ..Sums::default() }
    }

    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
        self.length += bytes.len() as u64;
    }

    /// How many bytes came.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The sums of all bytes fed.
    pub fn finish(self) -> (Digest, Option<Sha512>, u64) {
        let sha512 = self.sha512.map(|hasher| Sha512(hasher.finalize().into()));
        (self.sha256.finish(), sha512, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sums_are_taken_and_read_back() {
        let mut sums = Sums::both();
        sums.update(b"ab");
        sums.update(b"c");
        let (sha256, sha512, length) = sums.finish();
        assert_eq!((sha256, length), (Digest::of("abc"), 3));
        let sha512 = sha512.unwrap();
        assert!(sha512.to_string().starts_with("ddaf35a193617aba"));
        assert_eq!(sha512.to_string().parse(), Ok(sha512));
        assert_eq!("zz".repeat(64).parse::<Sha512>(), Err(NotASha512));
        assert_eq!("a".repeat(127).parse::<Sha512>(), Err(NotASha512));
    }
}
