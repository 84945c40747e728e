//! The parts of a clear-signed text: what is signed, as it is hashed and as it is read, and the signatures.
//!
//! Source: RFC 9580, 7.

use super::Refusal;

const BEGIN: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
const END: &[u8] = b"-----END PGP SIGNATURE-----";

/// Its parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClearSigned {
    /// The text, its lines as they are hashed, each with a line feed behind it.
    pub text: Vec<u8>,
    /// What the signatures are of.
    pub hashed: Vec<u8>,
    /// The signatures, armoured.
    pub signatures: Vec<u8>,
    /// Whether there is only white space around it.
    pub is_alone: bool,
}

impl ClearSigned {
    /// Finds them in `bytes`.
    pub fn read(bytes: &[u8]) -> Result<ClearSigned, Refusal> {
        let mut lines = bytes.split(|byte| *byte == b'\n').map(without_end);
        let mut is_alone = true;
        loop {
            match lines.next() {
                Some(BEGIN) => break,
                Some(line) => is_alone &= line.is_empty(),
                None => return Err(Refusal::NoSignedText),
            }
        }
        // What else is said here is not signed; `Hash` is said by the signatures too.
        loop {
            match lines.next() {
                Some(b"") => break,
                Some(line) if line.starts_with(b"Hash:") => {}
                _ => return Err(Refusal::NoSignedText),
            }
        }
        let mut signed: Vec<&[u8]> = Vec::new();
        loop {
            match lines.next() {
                Some(SIGNATURE) => break,
                Some(line) => match (line.strip_prefix(b"- "), line.first()) {
                    (Some(line), _) => signed.push(line),
                    // A text that has such a line is not written so.
                    (None, Some(b'-')) if line != b"-" => return Err(Refusal::NoSignedText),
                    _ => signed.push(line),
                },
                None => return Err(Refusal::NoSignedText),
            }
        }
        let mut signatures = [SIGNATURE, b"\n"].concat();
        loop {
            let line = lines.next().ok_or(Refusal::NoSignedText)?;
            signatures.extend([line, b"\n"].concat());
            if line == END {
                break;
            }
        }
        is_alone &= lines.all(<[u8]>::is_empty);
        let text = signed.iter().flat_map(|line| [line, &b"\n"[..]]).flatten().copied().collect();
        Ok(ClearSigned { text, hashed: signed.join(&b"\r\n"[..]), signatures, is_alone })
    }
}

/// A line without the white space at its end, which is not signed.
fn without_end(line: &[u8]) -> &[u8] {
    let last = line.iter().rposition(|byte| !b" \t\r".contains(byte));
    &line[..last.map_or(0, |last| last + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\na \t\r\n- -b\n\n- From\n\
                        -----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n";

    #[test]
    fn the_text_is_what_is_hashed() {
        let parts = ClearSigned::read(TEXT.as_bytes()).unwrap();
        assert_eq!(parts.text, b"a\n-b\n\nFrom\n");
        assert_eq!(parts.hashed, b"a\r\n-b\r\n\r\nFrom");
        let armour = "-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n";
        assert_eq!(parts.signatures, armour.as_bytes());
        assert!(parts.is_alone);
    }

    #[test]
    fn what_is_around_it_is_told() {
        for around in [format!("x\n{TEXT}"), format!("{TEXT}x\n"), format!("{TEXT}{TEXT}")] {
            let parts = ClearSigned::read(around.as_bytes()).unwrap();
            assert_eq!((parts.is_alone, parts.text.as_slice()), (false, &b"a\n-b\n\nFrom\n"[..]));
        }
        assert!(ClearSigned::read(format!("\n{TEXT}\n\n").as_bytes()).unwrap().is_alone);
    }

    #[test]
    fn other_texts_are_refused() {
        for (from, to) in [
            ("SIGNED MESSAGE", "MESSAGE"),
            ("Hash: SHA512", "Comment: it is signed"),
            ("- -b", "-b"),
            ("BEGIN PGP SIGNATURE", "BEGIN"),
            ("END PGP SIGNATURE", "END"),
        ] {
            let text = TEXT.replace(from, to);
            assert_eq!(ClearSigned::read(text.as_bytes()), Err(Refusal::NoSignedText), "{to}");
        }
        assert_eq!(ClearSigned::read(b""), Err(Refusal::NoSignedText));
    }
}
