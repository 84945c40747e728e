//! A suite's `Release` file, how it is signed, and by whose keys it may be. What is read of an index is
//! the text that a key vouches for, and nothing of what is around it.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Distribution;
use crate::digest::Digest;
use crate::error::{Context, Hint, Result, with_hint};
use crate::format::release::Release;
use crate::host_path::HostPath;
use crate::lock::Date;
use crate::openpgp::{self, Keys, Refusal};

/// The most bytes of a file of keys.
const MOST_KEYS: u64 = 16 << 20;
/// How far the clocks of a mirror and this machine may differ, in seconds.
const CLOCKS: u64 = 10;

/// The keys that may sign an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedKeys {
    /// Those of the distribution that kuth has, and those that this host has of it, which may be newer.
    Distribution(&'static Distribution),
    /// Those of a file.
    File(HostPath),
}

impl TrustedKeys {
    /// Reads them.
    pub fn read(&self) -> Result<Keys> {
        let of_file = |path: &HostPath| -> Result<Keys> {
            let bytes = path.read(MOST_KEYS)?;
            Keys::read(&bytes).with_context(|| format!("reading the keys in {path}"))
        };
        match self {
            TrustedKeys::File(path) => {
                of_file(path).hint("name a file of public keys with `keyring = \"PATH\"`")
            }
            TrustedKeys::Distribution(distribution) => {
                let own = Keys::read(distribution.keys.as_bytes())
                    .with_context(|| format!("reading the keys of {}", distribution.name))?;
                let installed = HostPath::new(distribution.keyring);
                match installed.as_path().is_file() {
                    true => Ok(own.with(of_file(&installed)?)),
                    false => Ok(own),
                }
            }
        }
    }

    /// What names them in a recipe.
    pub fn digest(&self) -> Result<Digest> {
        match self {
            TrustedKeys::File(path) => path.digest(),
            TrustedKeys::Distribution(distribution) => {
                let own = Digest::of(distribution.keys);
                let installed = HostPath::new(distribution.keyring);
                match installed.as_path().is_file() {
                    true => Ok(Digest::of(format!("{own} {}", installed.digest()?))),
                    false => Ok(own),
                }
            }
        }
    }
}

impl fmt::Display for TrustedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrustedKeys::Distribution(distribution) => {
                write!(f, "{}", distribution.keyring_package)
            }
            TrustedKeys::File(path) => write!(f, "{path}"),
        }
    }
}

/// A `Release` file as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SignedRelease {
    /// `InRelease`, with the signature around the text.
    Inline(Vec<u8>),
    /// `Release`, and `Release.gpg`.
    Detached(Vec<u8>, Vec<u8>),
    /// `Release`, not signed.
    Unsigned(Vec<u8>),
}

/// Why an index that is signed does not count today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outdated {
    /// It counted until this day.
    Past(Date),
    /// It is of this day, which has not come.
    Future(Date),
}

impl fmt::Display for Outdated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outdated::Past(date) => write!(f, "it was valid until {date}"),
            Outdated::Future(date) => write!(f, "it was made at {date}, which is still to come"),
        }
    }
}

impl std::error::Error for Outdated {}

impl SignedRelease {
    /// The file as it came, which names the index.
    pub fn bytes(&self) -> &[u8] {
        match self {
            SignedRelease::Inline(text)
            | SignedRelease::Detached(text, _)
            | SignedRelease::Unsigned(text) => text,
        }
    }

    /// What names the index.
    pub fn digest(&self) -> Digest {
        Digest::of(self.bytes())
    }

    /// The names and contents of its files, in apt's directory of lists.
    pub fn files(&self) -> Vec<(&'static str, &[u8])> {
        match self {
            SignedRelease::Inline(text) => vec![("InRelease", text)],
            SignedRelease::Detached(text, signature) => {
                vec![("Release", text), ("Release.gpg", signature)]
            }
            SignedRelease::Unsigned(text) => vec![("Release", text)],
        }
    }

    /// What one of `keys` signed, if that counts today; `allow_expired` lets its last day pass.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] or an [`Outdated`] is among the causes.
    pub fn verified(&self, keys: &TrustedKeys, allow_expired: bool) -> Result<Release> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
        let of_keys = || keys.read();
        let text = match self {
            SignedRelease::Inline(text) => {
                let signed = openpgp::verified_text(text, &of_keys()?, now)?;
                // apt refuses it too: a reader that is less careful would take what is around it.
                match signed.is_alone {
                    true => signed.text,
                    false => return Err(Refusal::NoSignedText.into()),
                }
            }
            SignedRelease::Detached(text, signature) => {
                openpgp::verify(text, signature, &of_keys()?, now)?;
                text.clone()
            }
            SignedRelease::Unsigned(_) => return Err(Refusal::NoSignature.into()),
        };
        let release = Release::read_plain(&String::from_utf8_lossy(&text))?;
        check_dates(&release, now, allow_expired)?;
        Ok(release)
    }
}

/// Fails where the index is of a day to come, or past its last day.
fn check_dates(release: &Release, now: u64, allow_expired: bool) -> Result<()> {
    if let Some(date) = Date::of_release(&release.date)
        && date.seconds() > now + CLOCKS
    {
        return Err(with_hint(
            Outdated::Future(date).into(),
            "compare the clock of this machine: `date --utc`",
        ));
    }
    if allow_expired || release.valid_until.is_empty() {
        return Ok(());
    }
    let until = Date::of_release(&release.valid_until);
    let until =
        until.with_context(|| format!("`Valid-Until: {}` is no date", release.valid_until))?;
    match until.seconds() < now {
        true => Err(Outdated::Past(until).into()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_counts_from_its_day_to_its_last_day() {
        let release = |date: &str, valid_until: &str| Release {
            date: date.into(),
            valid_until: valid_until.into(),
            ..Release::default()
        };
        let now = "20261121T091544Z".parse::<Date>().unwrap().seconds();
        let (today, yesterday, tomorrow) = (
            "Sat, 21 Nov 2026 09:15:44 UTC",
            "Fri, 20 Nov 2026 09:15:44 UTC",
            "Sun, 22 Nov 2026 09:15:44 UTC",
        );
        let check = |date: &str, until: &str, allow_expired: bool| {
            check_dates(&release(date, until), now, allow_expired)
        };
        for (date, until) in [(today, today), (yesterday, tomorrow), (yesterday, ""), ("", "")] {
            check(date, until, false).unwrap();
        }
        let why = check(yesterday, yesterday, false).unwrap_err().to_string();
        assert_eq!(why, "it was valid until 20261120T091544Z");
        check(yesterday, yesterday, true).unwrap();
        let why = check(tomorrow, "", true).unwrap_err().to_string();
        assert!(why.contains("20261122T091544Z, which is still to come"), "{why}");
        assert!(check(today, "soon", false).unwrap_err().to_string().contains("is no date"));
    }
}
