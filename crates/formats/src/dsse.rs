//! DSSE envelopes: a payload, its type, and signatures of both. It neither signs nor verifies:
//! signatures are arguments, over what [`Envelope::message`] returns.
//!
//! Source: DSSE 1.0 (secure-systems-lab/dsse).

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};

use super::Fault;

const FORMAT: &str = "dsse";

/// The media type of an envelope.
pub const MEDIA_TYPE: &str = "application/vnd.dsse.envelope.v1+json";

/// A payload and its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `payloadType`: the media type of the payload.
    pub kind: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The signatures.
    pub signatures: Vec<Signature>,
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// `keyid`: an unauthenticated hint which key it was made with.
    pub key: String,
    /// The signature itself.
    pub bytes: Vec<u8>,
}

/// An envelope as JSON. Other fields are ignored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    payload_type: String,
    payload: String,
    signatures: Vec<WrittenSignature>,
}

#[derive(Serialize, Deserialize)]
struct WrittenSignature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

impl Envelope {
    /// What is signed: the pre-authentication encoding.
    pub fn message(&self) -> Vec<u8> {
        let head = format!("DSSEv1 {} {} {} ", self.kind.len(), self.kind, self.payload.len());
        [head.as_bytes(), &self.payload].concat()
    }

    /// The envelope on one line.
    pub fn write(&self) -> String {
        let signatures = self.signatures.iter().map(|signature| WrittenSignature {
            keyid: signature.key.clone(),
            sig: BASE64_STANDARD.encode(&signature.bytes),
        });
        let written = Written {
            payload_type: self.kind.clone(),
            payload: BASE64_STANDARD.encode(&self.payload),
            signatures: signatures.collect(),
        };
        // Texts alone: this cannot fail.
        serde_json::to_string(&written).unwrap_or_default() + "\n"
    }

    /// The envelope that `text` is.
    pub fn read(text: &str) -> Result<Envelope, Fault> {
        let written: Written = serde_json::from_str(text)
            .map_err(|error| Fault::new(FORMAT, format!("it is not an envelope: {error}")))?;
        // Both alphabets of RFC 4648 may come; bits that mean nothing are refused.
        let whole = |text: &str, what: &str| {
            let text = text.replace('-', "+").replace('_', "/");
            let bytes = BASE64_STANDARD.decode(text);
            bytes.map_err(|_| Fault::new(FORMAT, format!("{what} is not base64")))
        };
        let signatures = written.signatures.iter().map(|signature| {
            let bytes = whole(&signature.sig, "a signature")?;
            Ok(Signature { key: signature.keyid.clone(), bytes })
        });
        Ok(Envelope {
            payload: whole(&written.payload, "the payload")?,
            signatures: signatures.collect::<Result<_, Fault>>()?,
            kind: written.payload_type,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_that_of_the_specification() {
        let envelope = Envelope {
            kind: "http://example.com/HelloWorld".into(),
            payload: b"hello world".to_vec(),
            signatures: Vec::new(),
        };
        let message = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(envelope.message(), message);
    }

    #[test]
    fn an_envelope_is_written_and_read() {
        let envelope = Envelope {
            kind: "a/b".into(),
            payload: b"{\"a\": 1}\n".to_vec(),
            signatures: vec![Signature { key: "k".into(), bytes: vec![1, 2, 255] }],
        };
        let text = envelope.write();
        assert_eq!(
            text,
            "{\"payloadType\":\"a/b\",\"payload\":\"eyJhIjogMX0K\",\
             \"signatures\":[{\"keyid\":\"k\",\"sig\":\"AQL/\"}]}\n"
        );
        assert_eq!(Envelope::read(&text), Ok(envelope));
        assert_eq!(Envelope::read(&text.replace("AQL/", "AQL_")), Envelope::read(&text));
        assert!(Envelope::read(&text.replace("AQL/", "AQ==")).is_ok());
        assert!(Envelope::read(&text.replace("AQL/", "AR==")).is_err(), "bits that mean nothing");
        for text in ["", "{}", "{\"payloadType\":\"\",\"payload\":\"=\",\"signatures\":[]}"] {
            assert!(Envelope::read(text).is_err(), "{text}");
        }
    }
}
