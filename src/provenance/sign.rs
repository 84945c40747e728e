//! Statements in envelopes, signed by the keys that also sign results for other machines.

use crate::format::dsse::{Envelope, Signature};
use crate::format::intoto;
use crate::remote::trust::{PrivateKey, PublicKey};

/// The statement `text` in an envelope that `key` signed.
pub fn sealed(text: &str, key: &PrivateKey) -> Envelope {
    let mut envelope = Envelope {
        kind: intoto::MEDIA_TYPE.to_string(),
        payload: text.as_bytes().to_vec(),
        signatures: Vec::new(),
    };
    let bytes = key.sign(&envelope.message()).to_vec();
    envelope.signatures.push(Signature { key: key.public().to_string(), bytes });
    envelope
}

/// The keys of `trusted` that signed what is in `envelope`.
pub fn signers(envelope: &Envelope, trusted: &[PublicKey]) -> Vec<PublicKey> {
    let message = envelope.message();
    let signed = |key: &&PublicKey| {
        envelope.signatures.iter().any(|signature| key.verifies(&message, &signature.bytes))
    };
    trusted.iter().filter(signed).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_one_key_and_one_text() {
        let (ours, theirs) = (PrivateKey::new([1; 32]), PrivateKey::new([2; 32]));
        let envelope = sealed("text", &ours);
        assert_eq!(envelope, sealed("text", &ours));
        let both = [theirs.public(), ours.public()];
        assert_eq!(signers(&envelope, &both), [ours.public()]);
        assert_eq!(signers(&envelope, &both[..1]), []);
        let mut changed = envelope.clone();
        changed.payload[0] ^= 1;
        assert_eq!(signers(&changed, &both), []);
        let mut changed = envelope.clone();
        changed.kind.push('x');
        assert_eq!(signers(&changed, &both), []);
        let mut changed = envelope;
        changed.signatures[0].bytes[3] ^= 1;
        assert_eq!(signers(&changed, &both), []);
    }
}
