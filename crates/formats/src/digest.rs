//! Digests of contents: SHA-256 and SHA-512 as values, and what takes them of streams. It knows no
//! files.
//!
//! Source: FIPS 180-4; RFC 2104 (HMAC).

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512 as Hasher512};

/// A SHA-256, shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: impl AsRef<[u8]>) -> Digest {
        Digest(Sha256::digest(bytes.as_ref()).into())
    }

    /// The HMAC-SHA-256 of `bytes` under `key`.
    pub fn keyed(key: &[u8; 32], bytes: impl AsRef<[u8]>) -> Digest {
        // HMAC shortens keys that are longer than a block and pads all others with zeros.
        let mut block = [0; 64];
        block[..32].copy_from_slice(key);
        let mac = Hmac::<Sha256>::new(&block.into()).chain_update(bytes.as_ref());
        Digest(mac.finalize().into_bytes().into())
    }

    /// The first 12 digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotADigest;

impl fmt::Display for NotADigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a SHA-256 is 64 hexadecimal digits")
    }
}

impl std::error::Error for NotADigest {}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Digest, NotADigest> {
        if text.len() != 64 || !text.is_ascii() {
            return Err(NotADigest);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| NotADigest)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NotADigest)?;
        }
        Ok(Digest(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Takes the SHA-256 of bytes that come piece by piece.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// A writer that hashes and counts what passes through it.
pub struct HashingWriter<W> {
    inner: W,
    hasher: Hasher,
    written: u64,
}

impl<W: Write> HashingWriter<W> {
    /// Wraps `inner`.
    pub fn new(inner: W) -> Self {
        HashingWriter { inner, hasher: Hasher::default(), written: 0 }
    }

    /// The wrapped writer, the digest of the bytes written, and their number.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.finish(), self.written)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The digest of all bytes of `reader`, and their number.
pub fn of_reader(mut reader: impl Read) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 18];
    let mut length = 0;
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok((hasher.finish(), length)),
            n => {
                hasher.update(&buffer[..n]);
                length += n as u64;
            }
        }
    }
}

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

/// Takes the SHA-256 of bytes that come piece by piece, their number, and the SHA-512 where it was
/// asked for.
#[derive(Clone, Default)]
pub struct Sums {
    sha256: Hasher,
    sha512: Option<Hasher512>,
    length: u64,
}

impl Sums {
    /// Takes both digests; the default takes the SHA-256 alone.
    pub fn both() -> Sums {
        Sums { sha512: Some(Hasher512::new()), ..Sums::default() }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
        self.length += bytes.len() as u64;
    }

    /// The number of bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digests of all bytes, and their number.
    pub fn finish(self) -> (Digest, Option<Sha512>, u64) {
        let sha512 = self.sha512.map(|hasher| Sha512(hasher.finalize().into()));
        (self.sha256.finish(), sha512, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_reads_back() {
        let digest = Digest::of("abc");
        assert!(digest.to_string().starts_with("ba7816bf8f01cfea"));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!("zz".repeat(32).parse::<Digest>(), Err(NotADigest));
    }

    #[test]
    fn a_keyed_digest_is_that_of_rfc_4231() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let digest = Digest::keyed(&key, "what do ya want for nothing?").to_string();
        assert_eq!(digest, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn a_writer_and_a_reader_agree() {
        let mut writer = HashingWriter::new(Vec::new());
        writer.write_all(b"abc").unwrap();
        let (bytes, digest, length) = writer.finish();
        assert_eq!((digest, length), of_reader(&bytes[..]).unwrap());
    }

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
