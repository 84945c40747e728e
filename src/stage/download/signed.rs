//! Verifies the signature of a text by the keys of a keyring, with `gpgv`, or with `sqv` where apt
//! uses that; apt depends on one of the two.

use std::path::PathBuf;

use crate::error::{Context, Hint, Result, anyhow, bail, with_hint};
use crate::format::openpgp;
use crate::host_path::HostPath;
use crate::process::{Command, find_program};
use crate::stage::StageContext;

/// The most bytes of a keyring.
const MOST_KEYS: u64 = 16 << 20;

/// Fails unless `signature` is one of `text` by a key of the file `keyring`, and none is wrong.
pub(super) fn verify(
    context: &StageContext,
    text: &[u8],
    signature: &[u8],
    keyring: &HostPath,
) -> Result<()> {
    let directory = context.cache.scratch()?;
    let put = |name: &str, bytes: &[u8]| -> Result<PathBuf> {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    };
    let keys = keyring.read(MOST_KEYS)?;
    let keys =
        openpgp::dearmoured(&keys).with_context(|| format!("reading the keys in {keyring}"))?;
    let (keys, text) = (put("keys.gpg", &keys)?, put("text", text)?);
    let signature = put("text.sig", signature)?;
    let what = || format!("checking the signature by the keys of {keyring}");
    if find_program("gpgv").is_some() {
        let command = Command::new("gpgv")
            .args(["--status-fd", "1", "--weak-digest", "SHA1", "--homedir"])
            .arg(directory.path())
            .arg("--keyring")
            .args([&keys, &signature, &text]);
        // It also fails when one of several signers is unknown, so its status lines are read.
        let mut said = Vec::new();
        let ended =
            command.watch(&context.log, &context.cancel, |bytes| said.extend_from_slice(bytes));
        context.cancel.check()?;
        return judge(&String::from_utf8_lossy(&said))
            .map_err(|error| match ended {
                Err(ended) if said.is_empty() => ended,
                _ => error,
            })
            .with_context(what);
    }
    if find_program("sqv").is_some() {
        let command = Command::new("sqv").arg("--keyring").args([&keys, &signature, &text]);
        let ran = command.run(&context.log, &context.cancel).map(drop);
        return ran.with_context(what);
    }
    Err(anyhow!("neither `gpgv` nor `sqv` is installed; kuth uses one to check signatures"))
        .hint("install the package gpgv, or write the file's `sha256` instead of `checksums`")
}

/// What gpgv's status lines mean.
fn judge(status: &str) -> Result<()> {
    let (mut good, mut expired) = (false, None);
    for line in status.lines() {
        let mut words = line.strip_prefix("[GNUPG:] ").unwrap_or("").split(' ');
        let (word, key) = (words.next().unwrap_or(""), words.next().unwrap_or("?"));
        match word {
            "BADSIG" => bail!("the signature of key {key} is wrong: the text was changed"),
            "EXPKEYSIG" | "REVKEYSIG" | "EXPSIG" => expired = Some(key.to_string()),
            "GOODSIG" => good = true,
            _ => {}
        }
    }
    if good {
        return Ok(());
    }
    if let Some(key) = expired {
        bail!("the signature of key {key} counts no more: it or its key has expired");
    }
    let unknown = status.lines().filter_map(|line| line.strip_prefix("[GNUPG:] NO_PUBKEY "));
    let unknown: Vec<&str> = unknown.collect();
    Err(match unknown[..] {
        [] => anyhow!("there is no signature that counts"),
        _ => with_hint(
            anyhow!("it is signed by {}, whose key is not there", unknown.join(" and ")),
            "name a `keyring` that has this key, if you trust it",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_good_signature_suffices_and_a_bad_one_is_refused() {
        let line = |text: &str| format!("[GNUPG:] NEWSIG\n[GNUPG:] {text}\n");
        let good = line("GOODSIG 0123 Somebody");
        judge(&good).unwrap();
        judge(&format!("{good}{}", line("NO_PUBKEY 4567"))).unwrap();
        let why = |text: &str| judge(text).unwrap_err().to_string();
        assert!(why(&format!("{good}{}", line("BADSIG 4567 x"))).contains("4567 is wrong"));
        assert!(why(&line("EXPKEYSIG 4567 x")).contains("no more"));
        assert!(why(&line("NO_PUBKEY 4567")).contains("signed by 4567, whose key"));
        assert!(why("").contains("no signature that counts"));
    }
}
