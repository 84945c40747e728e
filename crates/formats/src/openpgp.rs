//! Armours of OpenPGP, and certificates, binary or armoured: the fingerprints of their primary keys. It
//! checks no signature.
//!
//! Source: RFC 9580, 4.2 (packets), 5.5.2 and 5.5.4 (keys and fingerprints), 6.2 (armour).

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::{Fault, fields::Fields};

const FORMAT: &str = "OpenPGP";
const ARMOUR: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const SIGNATURE_ARMOUR: &str = "-----BEGIN PGP SIGNATURE-----";
/// The tag of a primary public key.
const PUBLIC_KEY: u8 = 6;

/// Whether `bytes` are an ASCII armour of public keys.
pub fn is_armoured(bytes: &[u8]) -> bool {
    bytes.windows(ARMOUR.len()).any(|window| window == ARMOUR.as_bytes())
}

/// The bytes of every block of public keys in an ASCII text; bytes without an armour as they are.
pub fn dearmoured(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    match is_armoured(bytes) {
        true => blocks(bytes, ARMOUR),
        false => Ok(bytes.to_vec()),
    }
}

/// The same for blocks of signatures.
pub fn dearmoured_signatures(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let start = bytes.trim_ascii_start();
    match start.first().is_none_or(|byte| byte.is_ascii()) {
        true => blocks(bytes, SIGNATURE_ARMOUR),
        false => Ok(bytes.to_vec()),
    }
}

/// The bytes of every block that begins with the line `armour`.
fn blocks(bytes: &[u8], armour: &str) -> Result<Vec<u8>, Fault> {
    let text = String::from_utf8_lossy(bytes);
    let mut all = Vec::new();
    for block in text.split(armour).skip(1) {
        let block = block.split("-----END").next().unwrap_or_default();
        // An empty line ends the headers; a line that begins with `=` is the checksum.
        let body = block.lines().skip(1).skip_while(|line| line.contains(": "));
        let lines = body.map(str::trim).filter(|line| !line.starts_with('='));
        let digits: Vec<u32> = lines
            .flat_map(|line| line.trim_end_matches('=').bytes())
            .map(value)
            .collect::<Result<_, Fault>>()?;
        for group in digits.chunks(4) {
            let joined = group.iter().fold(0, |all, digit| all << 6 | digit);
            let joined = joined << (6 * (4 - group.len()));
            all.extend_from_slice(&joined.to_be_bytes()[1..group.len().max(1)]);
        }
    }
    Ok(all)
}

/// What a digit of base64 is worth.
fn value(byte: u8) -> Result<u32, Fault> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let at = digits.iter().position(|digit| *digit == byte);
    let fault = || Fault::new(FORMAT, format!("`{}` in an armour", byte.escape_ascii()));
    at.map(|at| at as u32).ok_or_else(fault)
}

/// The fingerprint of each primary key, in upper-case hexadecimal digits: 40 of a version 4 key, 64 of
/// a version 6 key.
pub fn fingerprints(bytes: &[u8]) -> Result<Vec<String>, Fault> {
    let bytes = dearmoured(bytes)?;
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let (tag, body) = packet(&bytes, &mut at)?;
        if tag == PUBLIC_KEY {
            found.push(fingerprint(body)?);
        }
    }
    Fault::unless(!found.is_empty(), FORMAT, || "there is no public key".to_string())?;
    Ok(found)
}

/// The tag and the body of the packet at `*at`, which moves behind it.
fn packet<'a>(bytes: &'a [u8], at: &mut usize) -> Result<(u8, &'a [u8]), Fault> {
    let fields = Fields::of(FORMAT, bytes);
    let head = fields.u8(*at)?;
    Fault::unless(head & 0x80 != 0, FORMAT, || format!("no packet at byte {at}"))?;
    let first = |offset: usize| fields.u8(*at + offset).map(usize::from);
    let (tag, header, length) = match (head & 0x40 != 0, head & 0x03) {
        (true, _) => {
            let (header, length) = match first(1)? {
                one @ 0..192 => (2, one),
                high @ 192..224 => (3, ((high - 192) << 8) + first(2)? + 192),
                255 => (6, fields.be32(*at + 2)? as usize),
                _ => return Err(Fault::new(FORMAT, "a key in parts")),
            };
            (head & 0x3f, header, length)
        }
        (false, 0) => (head >> 2 & 0x0f, 2, first(1)?),
        (false, 1) => (head >> 2 & 0x0f, 3, usize::from(fields.be16(*at + 1)?)),
        (false, 2) => (head >> 2 & 0x0f, 5, fields.be32(*at + 1)? as usize),
        (false, _) => return Err(Fault::new(FORMAT, "a packet without a length")),
    };
    let body = fields.slice(*at + header, length)?;
    *at += header + length;
    Ok((tag, body))
}

fn fingerprint(body: &[u8]) -> Result<String, Fault> {
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    let length = body.len();
    match body.first() {
        Some(4) if length <= usize::from(u16::MAX) => {
            let hash = Sha1::new().chain_update([0x99]).chain_update((length as u16).to_be_bytes());
            Ok(hexadecimal(&hash.chain_update(body).finalize()))
        }
        Some(6) => {
            let hash =
                Sha256::new().chain_update([0x9b]).chain_update((length as u32).to_be_bytes());
            Ok(hexadecimal(&hash.chain_update(body).finalize()))
        }
        version => Err(Fault::new(FORMAT, format!("a key of version {version:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn armoured_keys_are_decoded() {
        let text = format!("x\n{ARMOUR}\nVersion: 1\n\naGVs\nbG8h\nISE=\n=abcd\n-----END PGP\n");
        assert_eq!(dearmoured(text.as_bytes()).unwrap(), b"hello!!!");
        assert!(dearmoured(format!("{ARMOUR}\n\na-b\n-----END").as_bytes()).is_err());
        assert_eq!(dearmoured(b"\x99").unwrap(), b"\x99");
    }

    #[test]
    fn a_primary_key_has_a_fingerprint_and_a_subkey_has_none() {
        // RFC 9580, A.1: a version 4 Ed25519 key, behind a subkey's packet.
        let key = hex("0453f35f0b16092b06010401da470f01010740\
             3f098994bdd916ed4053197934e4a87c80733a1280d62f8010992e43ee3b2406");
        let mut bytes = vec![0xb8, 1, 4];
        bytes.extend([0x98, key.len() as u8]);
        bytes.extend(&key);
        let wanted = ["C959BDBAFA32A2F89A153B678CFDE12197965A9A"];
        assert_eq!(fingerprints(&bytes).unwrap(), wanted);
        let mut newer = vec![0xc6, key.len() as u8];
        newer.extend(&key);
        assert_eq!(fingerprints(&newer).unwrap(), wanted);
        for bad in [&bytes[..9], b"", b"\x19", &[0xc6, 230, 0][..], &[0x98, 1, 3]] {
            assert!(fingerprints(bad).is_err(), "{bad:?}");
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    }
}
