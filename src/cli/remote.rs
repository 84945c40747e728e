//! The remote cache of a project, from `kuth.toml` and the environment: its address, its mode and the
//! trusted keys. Knows no subcommand.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::engine::{Event, Observer};
use crate::error::{Context, Error, Misuse, Result, with_hint};
use crate::pipeline::project_file::{self, CacheTable, ProjectFile};
use crate::remote::trust::{PrivateKey, PublicKey, Trust};
use crate::remote::{self, Mode, RemoteCache, RemoteSettings};

/// The timeout of a request in seconds, unless `KUTH_CACHE_TIMEOUT` is set.
const TIMEOUT: u64 = 30;

/// The value of an environment variable, by its name.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Opens the remote cache of the project at `root`, if one is configured and usable offline where
/// `offline` is set. Later problems are reported to `observer`.
pub fn open(
    root: &Path,
    offline: bool,
    cache: &Arc<Cache>,
    cancel: &Cancel,
    observer: Arc<dyn Observer>,
) -> Result<Option<Arc<RemoteCache>>> {
    let settings = configured(root)?;
    // `--offline` disables a remote cache without a warning.
    let Some(settings) = settings.filter(|it| !offline || remote::is_local(&it.address)) else {
        return Ok(None);
    };
    let warn = Arc::new(move |text: &str| observer.notify(&Event::Warning { text }));
    RemoteCache::open(&settings, cache.clone(), cancel.clone(), warn)
        .map(|remote| Some(Arc::new(remote)))
}

/// The settings of the remote cache of the project at `root`, if one is configured.
pub fn configured(root: &Path) -> Result<Option<RemoteSettings>> {
    let environment = |name: &str| std::env::var(name).ok();
    settings(&project_file(root)?.cache, root, &environment)
}

/// Reads a public key: `given` is the key itself, or a file with a public or private key.
pub fn public_key(given: &str) -> Result<PublicKey> {
    let hint = "give `ed25519:…` or a file; `kuth cache keygen FILE` generates a key";
    let fault = |why: String| misuse(format!("the key {given}: {why}"), hint);
    if given.starts_with("ed25519:") {
        return given.parse().map_err(|error| fault(format!("{error}")));
    }
    let text = std::fs::read_to_string(given).map_err(|error| fault(error.to_string()))?;
    match PrivateKey::is_key(&text) {
        true => text.parse().map(|key: PrivateKey| key.public()),
        false => text.trim().parse(),
    }
    .map_err(|error| fault(format!("{error}")))
}

/// The signing key, from `KUTH_CACHE_KEY`.
pub fn signer() -> Result<Option<PrivateKey>> {
    let given = std::env::var("KUTH_CACHE_KEY").ok().filter(|given| !given.is_empty());
    given.map(|given| private_key(&given)).transpose()
}

/// The trusted keys of the project at `root`: those it lists, and that of `KUTH_CACHE_KEY`.
pub fn trusted(root: &Path) -> Result<Vec<PublicKey>> {
    let file = project_file(root)?;
    // The file was checked when it was read.
    let mut keys: Vec<PublicKey> =
        file.cache.keys.iter().filter_map(|key| key.text.parse().ok()).collect();
    keys.extend(signer()?.map(|key| key.public()));
    Ok(keys)
}

/// The project file; empty if there is none.
fn project_file(root: &Path) -> Result<ProjectFile> {
    let path = root.join(project_file::NAME);
    let source = match std::fs::read_to_string(&path) {
        Ok(source) => source,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(ProjectFile::default());
        }
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let is_key =
        |key: &str| key.parse::<PublicKey>().map(|_| ()).map_err(|error| error.to_string());
    Ok(project_file::load(&path, &source, &is_key)?)
}

/// Generates a key and writes it to the new file `file`, readable by its owner only.
pub fn keygen(file: &Path) -> Result<PrivateKey> {
    let what = || format!("writing the key {}", file.display());
    let mut secret = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut secret))
        .context("reading /dev/urandom")?;
    let key = PrivateKey::new(secret);
    let mut options = File::options();
    let mut written =
        options.write(true).create_new(true).mode(0o600).open(file).with_context(what)?;
    written.write_all(key.line().as_bytes()).with_context(what)?;
    Ok(key)
}

/// The error of a command that needs a remote cache, where none is configured.
pub fn none() -> Error {
    misuse(
        "no remote cache is configured",
        "set `remote` in `[cache]` of kuth.toml, or KUTH_CACHE_REMOTE",
    )
}

fn misuse(text: impl Into<String>, hint: impl Into<String>) -> Error {
    with_hint(Error::new(Misuse(text.into())), hint)
}

/// The settings of the remote cache, if one is configured. The environment overrides the file.
fn settings(
    table: &CacheTable,
    root: &Path,
    environment: Environment<'_>,
) -> Result<Option<RemoteSettings>> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    let (address, root) = match (set("KUTH_CACHE_REMOTE"), &table.remote) {
        // A directory in the environment is relative to the working directory.
        (Some(address), _) => (address, PathBuf::new()),
        (None, Some(remote)) => (remote.text.clone(), root.to_path_buf()),
        (None, None) => return Ok(None),
    };
    let key = set("KUTH_CACHE_KEY").map(|given| private_key(&given)).transpose()?;
    let trust = trust(table, key.as_ref())?;
    let can_sign = key.is_some() || trust == Trust::Anyone;
    let mode = match set("KUTH_CACHE_MODE") {
        Some(word) => Some(mode(&word).ok_or_else(|| {
            misuse(format!("KUTH_CACHE_MODE is `{word}`"), "set it to `read` or `read-write`")
        })?),
        None => table.mode.as_ref().and_then(|word| mode(word.value)),
    };
    let mode = match mode {
        Some(Mode::ReadWrite) if !can_sign => {
            return Err(misuse(
                "results cannot be pushed to the remote cache without a key to sign them",
                "set KUTH_CACHE_KEY to a key file (`kuth cache keygen FILE` generates one), or \
                 the mode to `read`",
            ));
        }
        Some(mode) => mode,
        None if key.is_some() => Mode::ReadWrite,
        None => Mode::Read,
    };
    let timeout = match set("KUTH_CACHE_TIMEOUT") {
        Some(text) => text.parse().ok().filter(|seconds| *seconds > 0).ok_or_else(|| {
            misuse(format!("KUTH_CACHE_TIMEOUT is `{text}`"), "set it to a number of seconds")
        })?,
        None => TIMEOUT,
    };
    let timeout = Duration::from_secs(timeout);
    Ok(Some(RemoteSettings { address, root, mode, trust, key, timeout }))
}

fn mode(word: &str) -> Option<Mode> {
    match word {
        "read" => Some(Mode::Read),
        "read-write" => Some(Mode::ReadWrite),
        _ => None,
    }
}

/// The trusted signers: the listed keys, and one's own.
fn trust(table: &CacheTable, own: Option<&PrivateKey>) -> Result<Trust> {
    if table.trust.as_ref().is_some_and(|trust| trust.value == "anyone") {
        return Ok(Trust::Anyone);
    }
    // The file was checked when it was read.
    let listed = table.keys.iter().filter_map(|key| key.text.parse().ok());
    let keys: Vec<PublicKey> = listed.chain(own.map(PrivateKey::public)).collect();
    match keys.is_empty() {
        false => Ok(Trust::Keys(keys)),
        true => Err(misuse(
            "no trusted keys are configured for the remote cache",
            "list keys in kuth.toml: `keys = [\"ed25519:…\"]` in `[cache]` (`kuth cache keygen \
             FILE` generates one); `trust = \"anyone\"` trusts everybody who can write there",
        )),
    }
}

/// Reads a private key: `given` is the key itself, or a file with it.
fn private_key(given: &str) -> Result<PrivateKey> {
    let hint = "`kuth cache keygen FILE` generates one";
    if PrivateKey::is_key(given) {
        return given.parse().map_err(|error| misuse(format!("KUTH_CACHE_KEY: {error}"), hint));
    }
    let text = std::fs::read_to_string(given)
        .map_err(|error| misuse(format!("KUTH_CACHE_KEY: reading {given}: {error}"), hint))?;
    text.parse().map_err(|error| misuse(format!("KUTH_CACHE_KEY: {given}: {error}"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings from `[cache]` with these lines and this environment.
    fn read(lines: &str, environment: &[(&str, &str)]) -> Result<Option<RemoteSettings>, String> {
        let file = project_file::load(Path::new("k"), &format!("[cache]\n{lines}"), &|_| Ok(()));
        let look = |name: &str| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
        };
        settings(&file.unwrap().cache, Path::new("/p"), &look).map_err(|error| error.to_string())
    }

    #[test]
    fn a_signing_key_makes_it_writable_and_is_trusted() {
        let key = PrivateKey::new([1; 32]);
        let line = key.line();
        let own = [("KUTH_CACHE_REMOTE", "x"), ("KUTH_CACHE_KEY", line.as_str())];
        let terms = read("", &own).unwrap().unwrap();
        assert_eq!((terms.mode, terms.root), (Mode::ReadWrite, PathBuf::new()));
        assert_eq!(terms.trust, Trust::Keys(vec![key.public()]));
        let other = PrivateKey::new([2; 32]).public();
        let listed = format!("remote = \"s3://a\"\nkeys = [\"{other}\"]");
        let terms = read(&listed, &[]).unwrap().unwrap();
        assert_eq!((terms.mode, terms.root), (Mode::Read, PathBuf::from("/p")));
        let terms = read(&listed, &own[1..]).unwrap().unwrap();
        assert_eq!(terms.trust, Trust::Keys(vec![other, key.public()]));
        let reading = [own[1], ("KUTH_CACHE_MODE", "read")];
        assert_eq!(read(&listed, &reading).unwrap().unwrap().mode, Mode::Read);
    }

    #[test]
    fn without_trusted_keys_it_is_refused() {
        assert!(read("", &[]).unwrap().is_none());
        let error = read("remote = \"x\"", &[]).unwrap_err();
        assert!(error.starts_with("no trusted keys"), "{error}");
        let anyone = read("remote = \"x\"\ntrust = \"anyone\"", &[]).unwrap().unwrap();
        assert_eq!((anyone.trust, anyone.mode), (Trust::Anyone, Mode::Read));
        let key = PrivateKey::new([2; 32]).public();
        let unsigned = format!("remote = \"x\"\nmode = \"read-write\"\nkeys = [\"{key}\"]");
        assert!(read(&unsigned, &[]).unwrap_err().contains("without a key to sign"));
    }

    #[test]
    fn environment_variables_are_validated() {
        for (name, value) in
            [("KUTH_CACHE_MODE", "rw"), ("KUTH_CACHE_TIMEOUT", "0"), ("KUTH_CACHE_KEY", "/nowhere")]
        {
            let error = read("remote = \"x\"\ntrust = \"anyone\"", &[(name, value)]).unwrap_err();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
