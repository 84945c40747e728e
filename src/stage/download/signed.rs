//! Verifies the signature of a text by the keys of a keyring, with `gpgv`, or with `sqv` where apt
//! uses that; apt depends on one of the two.

use std::path::{Path, PathBuf};

use crate::error::{Context, Hint, Result, anyhow, bail, with_hint};
use crate::files::Scratch;
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
    let bench = Bench::new(context, keyring)?;
    let (text, signature) = (bench.put("text", text)?, bench.put("text.sig", signature)?);
    let what = || format!("checking the signature by the keys of {keyring}");
    if find_program("gpgv").is_some() {
        return bench.gpgv(context, [&signature, &text]).with_context(what);
    }
    if find_program("sqv").is_some() {
        let command = Command::new("sqv").arg("--keyring").args([&bench.keys, &signature, &text]);
        let ran = command.run(&context.log, &context.cancel).map(drop);
        return ran.with_context(what);
    }
    Err(anyhow!("neither `gpgv` nor `sqv` is installed; kuth uses one to check signatures"))
        .hint("install the package gpgv, or write the file's `sha256` instead of `checksums`")
}

/// The text that is signed in `clearsigned` by a key of the file `keyring`; nothing of what is around
/// it.
pub(super) fn verified_text(
    context: &StageContext,
    clearsigned: &[u8],
    keyring: &HostPath,
) -> Result<Vec<u8>> {
    if find_program("gpgv").is_none() {
        return Err(anyhow!("`gpgv` is not installed; kuth uses it to check clearsigned texts"))
            .hint("install the package gpgv, or write the file's `sha256` instead of `checksums`");
    }
    let bench = Bench::new(context, keyring)?;
    let signed = bench.put("text.asc", clearsigned)?;
    let text = bench.directory.path().join("text");
    let option = Path::new("--output");
    bench
        .gpgv(context, [option, text.as_path(), signed.as_path()])
        .with_context(|| format!("checking the signature by the keys of {keyring}"))?;
    std::fs::read(&text).context("reading the text that is signed")
}

/// Files for a program that verifies.
struct Bench {
    directory: Scratch,
    keys: PathBuf,
}

impl Bench {
    fn new(context: &StageContext, keyring: &HostPath) -> Result<Bench> {
        let mut bench = Bench { directory: context.cache.scratch()?, keys: PathBuf::new() };
        let keys = keyring.read(MOST_KEYS)?;
        let keys =
            openpgp::dearmoured(&keys).with_context(|| format!("reading the keys in {keyring}"))?;
        bench.keys = bench.put("keys.gpg", &keys)?;
        Ok(bench)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    fn gpgv<P: AsRef<Path>>(
        &self,
        context: &StageContext,
        arguments: impl IntoIterator<Item = P>,
    ) -> Result<()> {
        let mut command = Command::new("gpgv")
            .args(["--status-fd", "1", "--weak-digest", "SHA1", "--homedir"])
            .arg(self.directory.path())
            .arg("--keyring")
            .arg(&self.keys);
        for argument in arguments {
            command = command.arg(argument.as_ref());
        }
        // It also fails when one of several signers is unknown, so its status lines are read.
        let mut said = Vec::new();
        let ended =
            command.watch(&context.log, &context.cancel, |bytes| said.extend_from_slice(bytes));
        context.cancel.check()?;
        judge(&String::from_utf8_lossy(&said)).map_err(|error| match ended {
            Err(ended) if said.is_empty() => ended,
            _ => error,
        })
    }
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
