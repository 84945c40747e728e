//! Trusted keys (ed25519) and signed records. The signature is over the text of the record as stored, so
//! it does not depend on how a record is serialised.

use std::fmt;
use std::str::FromStr;

use base64::prelude::{BASE64_STANDARD, Engine};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cache::Record;
use crate::digest::Digest;
use crate::recipe::{Key, Recipe};

/// The prefix of a signed record, so that no other signature is valid for a record.
const DOMAIN: &[u8] = b"kuth-record-1\n";

/// The prefix of an ed25519 public key in DER (RFC 8410).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The prefixes of keys in text form.
const PUBLIC: &str = "ed25519:";
const PRIVATE: &str = "kuth-private-ed25519:";

/// A key that verifies signatures.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// The form in `kuth.toml`: `ed25519:` and 64 hexadecimal digits.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", Digest(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The text is not a key of the expected kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKey(&'static str);

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key is `{}` and 64 hexadecimal digits", self.0)
    }
}

impl std::error::Error for InvalidKey {}

fn digits(text: &str, before: &'static str) -> Result<[u8; 32], InvalidKey> {
    let hex = text.strip_prefix(before).ok_or(InvalidKey(before))?;
    hex.parse::<Digest>().map(|it| it.0).map_err(|_| InvalidKey(before))
}

impl FromStr for PublicKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<PublicKey, InvalidKey> {
        let bytes = digits(text, PUBLIC)?;
        VerifyingKey::from_bytes(&bytes).map_err(|_| InvalidKey(PUBLIC))?;
        Ok(PublicKey(bytes))
    }
}

impl PublicKey {
    /// Whether `signature` is a valid signature of `message` by this key.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = VerifyingKey::from_bytes(&self.0);
        let signature = Signature::from_slice(signature);
        matches!((key, signature), (Ok(key), Ok(signature))
            if key.verify_strict(message, &signature).is_ok())
    }

    /// SubjectPublicKeyInfo (RFC 8410) in PEM, which other programs read.
    pub fn pem(&self) -> String {
        let der = [&SPKI[..], &self.0].concat();
        let body = BASE64_STANDARD.encode(&der);
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A key that signs.
#[derive(Clone)]
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// The key with this secret.
    pub fn new(secret: [u8; 32]) -> PrivateKey {
        PrivateKey(SigningKey::from_bytes(&secret))
    }

    /// The line of a key file.
    pub fn line(&self) -> String {
        format!("{PRIVATE}{}\n", Digest(self.0.to_bytes()))
    }

    /// The signature of `message`. Callers give each kind of message its own prefix, so that none can
    /// be passed off as another.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// The public key that verifies its signatures.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Whether `text` is a key, as opposed to the name of a file.
    pub fn is_key(text: &str) -> bool {
        text.starts_with(PRIVATE)
    }
}

impl FromStr for PrivateKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<PrivateKey, InvalidKey> {
        digits(text.trim(), PRIVATE).map(PrivateKey::new)
    }
}

/// Does not print the secret.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<private key of {}>", self.public())
    }
}

/// The trusted signers of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Records signed by one of these keys.
    Keys(Vec<PublicKey>),
    /// All records, signed or not: everybody who can write to the remote is trusted.
    Anyone,
}

/// Why a signed record is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not what was written.
    Damaged,
    /// It has no signature.
    Unsigned,
    /// It is signed by a key that is not trusted.
    Untrusted(PublicKey),
}

/// A record as it is stored on a remote.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    record: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seal: Option<Seal>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seal {
    signer: PublicKey,
    signature: String,
}

fn message(record: &str) -> Vec<u8> {
    [DOMAIN, record.as_bytes()].concat()
}

/// The stored form of `record`, signed with `key`.
pub fn seal(record: &Record, key: Option<&PrivateKey>) -> serde_json::Result<Vec<u8>> {
    let record = serde_json::to_string(record)?;
    let seal = key.map(|key| {
        let signature = key.0.sign(&message(&record)).to_bytes();
        let signature = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        Seal { signer: key.public(), signature }
    });
    serde_json::to_vec(&Sealed { record, seal })
}

/// Reads the stored record under `key`, and verifies it.
pub fn open(bytes: &[u8], key: &Key, trust: &Trust) -> Result<Record, Refusal> {
    let sealed: Sealed = serde_json::from_slice(bytes).map_err(|_| Refusal::Damaged)?;
    // Only the exact form that kuth writes is accepted, so that every changed byte is noticed.
    if serde_json::to_vec(&sealed).ok().as_deref() != Some(bytes) {
        return Err(Refusal::Damaged);
    }
    match (&sealed.seal, trust) {
        (Some(seal), _) => {
            verify(&sealed.record, seal).ok_or(Refusal::Damaged)?;
            if let Trust::Keys(keys) = trust
                && !keys.contains(&seal.signer)
            {
                return Err(Refusal::Untrusted(seal.signer));
            }
        }
        (None, Trust::Keys(_)) => return Err(Refusal::Unsigned),
        (None, Trust::Anyone) => {}
    }
    let record: Record = serde_json::from_str(&sealed.record).map_err(|_| Refusal::Damaged)?;
    match Recipe::from_text(&record.recipe).key() == *key {
        true => Ok(record),
        false => Err(Refusal::Damaged),
    }
}

/// `None` unless the signature of `record` is valid.
fn verify(record: &str, seal: &Seal) -> Option<()> {
    let key = VerifyingKey::from_bytes(&seal.signer.0).ok()?;
    let (first, second) = seal.signature.split_at_checked(64)?;
    let halves = [first, second].map(|half| half.parse::<Digest>().map(|it| it.0));
    let [Ok(first), Ok(second)] = halves else { return None };
    // Only lower-case digits are accepted.
    if format!("{}{}", Digest(first), Digest(second)) != seal.signature {
        return None;
    }
    let signature = Signature::from_components(first, second);
    key.verify_strict(&message(record), &signature).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Artifact, ArtifactKind, Hashing};

    fn record() -> (Record, Key) {
        let mut recipe = Recipe::new("x", 1);
        recipe.value("text", "a\n\"b\"");
        let output = Artifact {
            kind: ArtifactKind::File,
            hashing: Hashing::Plain,
            digest: Digest::of("bytes"),
            size: 5,
            facts: Default::default(),
        };
        let origin = Default::default();
        let key = recipe.key();
        (
            Record {
                recipe: recipe.text(),
                output,
                seconds: 1.25,
                made: 7,
                origin,
                tool: String::new(),
            },
            key,
        )
    }

    fn key(byte: u8) -> PrivateKey {
        PrivateKey::new([byte; 32])
    }

    #[test]
    fn keys_round_trip() {
        let private = key(3);
        assert_eq!(private.line().parse::<PrivateKey>().unwrap().public(), private.public());
        assert_eq!(private.public().to_string().parse(), Ok(private.public()));
        assert!(PrivateKey::is_key(&private.line()) && !PrivateKey::is_key("key.txt"));
        assert!("ed25519:12".parse::<PublicKey>().is_err());
        assert!(!format!("{private:?}").contains(&private.line()[21..40]));
    }

    /// RFC 8032, 7.1, test 1: the secret, the key, and the signature of nothing.
    const SECRET: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const PUBLIC_OF_IT: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    const SIGNATURE: [&str; 2] = [
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555",
        "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ];

    #[test]
    fn signatures_match_rfc_8032() {
        let hex = SIGNATURE.concat();
        let signature: Vec<u8> =
            (0..64).map(|at| u8::from_str_radix(&hex[2 * at..][..2], 16).unwrap()).collect();
        let private: PrivateKey = format!("{PRIVATE}{SECRET}").parse().unwrap();
        let public: PublicKey = format!("{PUBLIC}{PUBLIC_OF_IT}").parse().unwrap();
        assert_eq!(private.public(), public);
        assert_eq!(private.sign(b"").to_vec(), signature);
        assert!(public.verifies(b"", &signature));
        assert!(!public.verifies(b"x", &signature));
        assert!(!public.verifies(b"", &signature[..63]));
        assert!(!key(1).public().verifies(b"", &signature));
        // By openssl's form of that key.
        let pem = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n");
        assert_eq!(public.pem(), pem);
    }

    #[test]
    fn a_key_is_displayed_as_listed_and_errors_name_the_form() {
        let listed = format!("ed25519:{PUBLIC_OF_IT}");
        assert_eq!(format!("{:?}", listed.parse::<PublicKey>().unwrap()), listed);
        let error = "ed25519:12".parse::<PublicKey>().unwrap_err();
        assert_eq!(error.to_string(), "a key is `ed25519:` and 64 hexadecimal digits");
    }

    #[test]
    fn a_record_is_accepted_by_its_signer() {
        let (record, at) = record();
        let (ours, theirs) = (key(1), key(2));
        let keys = Trust::Keys(vec![ours.public()]);
        let sealed = seal(&record, Some(&ours)).unwrap();
        assert_eq!(open(&sealed, &at, &keys), Ok(record.clone()));
        let foreign = seal(&record, Some(&theirs)).unwrap();
        assert_eq!(open(&foreign, &at, &keys), Err(Refusal::Untrusted(theirs.public())));
        assert_eq!(open(&foreign, &at, &Trust::Anyone), Ok(record.clone()));
        let bare = seal(&record, None).unwrap();
        assert_eq!(open(&bare, &at, &keys), Err(Refusal::Unsigned));
        assert_eq!(open(&bare, &at, &Trust::Anyone), Ok(record));
        let other = Recipe::new("y", 1).key();
        assert_eq!(open(&sealed, &other, &keys), Err(Refusal::Damaged));
    }

    #[test]
    fn every_changed_bit_of_a_sealed_record_is_noticed() {
        let (record, at) = record();
        let keys = Trust::Keys(vec![key(1).public()]);
        let sealed = seal(&record, Some(&key(1))).unwrap();
        for place in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[place] ^= 1 << bit;
                assert!(open(&changed, &at, &keys).is_err(), "byte {place}, bit {bit}");
            }
        }
    }
}
