//! Signatures of OpenPGP: whether a text is signed by one of a set of keys. It decides as gpgv does: one good
//! signature suffices, a wrong one refuses the text whatever else signs it, and one of a key that is
//! not there, has expired or was revoked counts for nothing. It knows neither files nor what is signed.
//!
//! Source: RFC 9580, 5.2 (signatures), 7 (clear-signed text), 10.1 (keys).

use std::fmt;

use pgp::crypto::hash::HashAlgorithm;
use pgp::errors::Error as PgpError;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType, SubpacketData};

use crate::format::openpgp;

mod clear_signed;
mod keys;

use clear_signed::ClearSigned;
pub use keys::Keys;
use keys::Standing;

/// Why a text does not count as signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A signature by this key is of another text.
    Changed(String),
    /// The only signatures by keys that are there are of this one, which expired or was revoked, or have
    /// expired themselves.
    Expired(String),
    /// The keys that signed it are not there.
    Unknown(Vec<String>),
    /// Nothing signs it, or nothing that counts: a weak digest, a key that may not sign.
    NoSignature,
    /// It is no clear-signed text.
    NoSignedText,
    /// The signatures cannot be read.
    Damaged(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Changed(key) => {
                write!(f, "the signature of key {key} is wrong: the text was changed")
            }
            Refusal::Expired(key) => {
                write!(f, "the signature of key {key} counts no more: it or its key has expired")
            }
            Refusal::Unknown(keys) => {
                write!(f, "it is signed by {}, whose key is not there", keys.join(" and "))
            }
            Refusal::NoSignature => write!(f, "there is no signature that counts"),
            Refusal::NoSignedText => write!(f, "it is no signed text"),
            Refusal::Damaged(why) => write!(f, "its signature cannot be read: {why}"),
        }
    }
}

impl std::error::Error for Refusal {}

/// What is signed in a clear-signed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedText {
    /// The text, without white space at the ends of its lines, which no signature covers.
    pub text: Vec<u8>,
    /// Whether there is nothing but white space around it.
    pub is_alone: bool,
}

/// Fails unless one of `signatures`, binary or armoured, is one of `text` by one of `keys`, and none is
/// wrong. `now` is in seconds since 1970.
pub fn verify(text: &[u8], signatures: &[u8], keys: &Keys, now: u64) -> Result<(), Refusal> {
    let allowed = [SignatureType::Binary, SignatureType::Text];
    judge(text, &parse(signatures)?, &allowed, keys, now)
}

/// The text that is signed in `clear_signed` by one of `keys`; nothing of what is around it. `now` is in
/// seconds since 1970.
pub fn verified_text(clear_signed: &[u8], keys: &Keys, now: u64) -> Result<SignedText, Refusal> {
    let ClearSigned { text, hashed, signatures, is_alone } = ClearSigned::read(clear_signed)?;
    judge(&hashed, &parse(&signatures)?, &[SignatureType::Text], keys, now)?;
    Ok(SignedText { text, is_alone })
}

/// The signatures in `bytes`, without those of a kind that is not known.
fn parse(bytes: &[u8]) -> Result<Vec<Signature>, Refusal> {
    let damaged = |error: &dyn fmt::Display| Refusal::Damaged(error.to_string());
    let bytes = openpgp::dearmoured_signatures(bytes).map_err(|error| damaged(&error))?;
    let mut signatures = Vec::new();
    for packet in PacketParser::new(&bytes[..]) {
        match packet {
            Ok(Packet::Signature(signature)) => signatures.push(signature),
            Ok(Packet::Marker(_) | Packet::Padding(_)) => {}
            Ok(_) => return Err(damaged(&"something else is among the signatures")),
            Err(error) if is_unsupported(&error) => {}
            Err(error) => return Err(damaged(&error)),
        }
    }
    Ok(signatures)
}

/// Whether an error is of a packet that is not known, and that RFC 9580 has ignored.
fn is_unsupported(error: &PgpError) -> bool {
    match error {
        PgpError::Unsupported { .. } => true,
        PgpError::InvalidPacketContent { source } => is_unsupported(source),
        _ => false,
    }
}

/// What all `signatures` say of `text` together.
fn judge(
    text: &[u8],
    signatures: &[Signature],
    allowed: &[SignatureType],
    keys: &Keys,
    now: u64,
) -> Result<(), Refusal> {
    let (mut is_good, mut expired, mut unknown) = (false, None, Vec::new());
    for signature in signatures {
        let is_readable = signature.typ().is_some_and(|kind| allowed.contains(&kind));
        if !is_readable || !is_strong(signature) || !is_understood(signature) {
            continue;
        }
        let signers = keys.signers(signature);
        if signers.is_empty() {
            unknown.push(issuer(signature));
            continue;
        }
        let Some(key) = signers.iter().find(|key| key.made(signature, text)) else {
            return Err(Refusal::Changed(issuer(signature)));
        };
        let made = signature.created().map_or(0, |time| u64::from(time.as_secs()));
        let lasts = signature.signature_expiration_time();
        let lasts = lasts.map_or(0, |time| u64::from(time.as_secs()));
        match key.standing(now) {
            // A key cannot have signed before it was made.
            _ if made < key.created() => {}
            Standing::Good if lasts > 0 && made + lasts <= now => expired = Some(issuer(signature)),
            Standing::Good => is_good = true,
            Standing::Ended => expired = Some(issuer(signature)),
            Standing::Unfit => {}
        }
    }
    match (is_good, expired, unknown.is_empty()) {
        (true, ..) => Ok(()),
        (false, Some(key), _) => Err(Refusal::Expired(key)),
        (false, None, false) => Err(Refusal::Unknown(unknown)),
        (false, None, true) => Err(Refusal::NoSignature),
    }
}

/// Whether nobody can make another text with the same digest.
fn is_strong(signature: &Signature) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha224, Sha256, Sha384, Sha512};
    let strong = [Sha224, Sha256, Sha384, Sha512, Sha3_256, Sha3_512];
    signature.hash_alg().is_some_and(|digest| strong.contains(&digest))
}

/// Whether everything in it is known that its maker calls critical.
fn is_understood(signature: &Signature) -> bool {
    let Some(config) = signature.config() else { return false };
    config.hashed_subpackets().all(|part| {
        use SubpacketData::{Experimental, Notation, Other};
        !(part.is_critical && matches!(part.data, Experimental(..) | Notation(..) | Other(..)))
    })
}

/// How a signature names the key that made it.
fn issuer(signature: &Signature) -> String {
    let fingerprints = signature.issuer_fingerprint();
    let ids = signature.issuer_key_id();
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    match (ids.first(), fingerprints.first()) {
        (Some(id), _) => hexadecimal(id.as_ref()),
        (None, Some(fingerprint)) => hexadecimal(fingerprint.as_bytes()),
        (None, None) => "an unnamed key".to_string(),
    }
}
