//! Verifies the signature of a list of checksums by the keys of a keyring.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Context, Error, Result, with_hint};
use crate::host_path::HostPath;
use crate::openpgp::{self, Keys, Refusal};

/// The most bytes of a keyring.
const MOST_KEYS: u64 = 16 << 20;

/// Fails unless `signature` is one of `text` by a key of the file `keyring`, and none is wrong.
pub(super) fn verify(text: &[u8], signature: &[u8], keyring: &HostPath) -> Result<()> {
    openpgp::verify(text, signature, &keys(keyring)?, now()).map_err(|it| explain(it, keyring))
}

/// The text that is signed in `clearsigned` by a key of the file `keyring`; nothing of what is around
/// it.
pub(super) fn verified_text(clearsigned: &[u8], keyring: &HostPath) -> Result<Vec<u8>> {
    let signed = openpgp::verified_text(clearsigned, &keys(keyring)?, now());
    signed.map(|signed| signed.text).map_err(|it| explain(it, keyring))
}

fn keys(keyring: &HostPath) -> Result<Keys> {
    let bytes = keyring.read(MOST_KEYS)?;
    Keys::read(&bytes).with_context(|| format!("reading the keys in {keyring}"))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

fn explain(refusal: Refusal, keyring: &HostPath) -> Error {
    let is_unknown = matches!(refusal, Refusal::Unknown(_));
    let error =
        Error::new(refusal).context(format!("checking the signature by the keys of {keyring}"));
    match is_unknown {
        true => with_hint(error, "name a `keyring` that has this key, if you trust it"),
        false => error,
    }
}
