//! Downloads the index of a suite from a mirror: its `Release`, with an inline or detached signature,
//! which is verified first, and its lists of packages, the smallest file of each that the mirror has.
//! Each file is limited to its size, so that a mirror that sends without end does not fill the disk.

use std::collections::BTreeMap;
use std::path::Path;

use super::index::MOST_RELEASE;
use super::lists::{MOST_LIST, is_readable};
use super::searched::SearchedSuite;
use super::signed::SignedRelease;
use crate::digest::Digest;
use crate::error::{Error, Result, anyhow, with_hint};
use crate::format::release::Release;
use crate::http::{Expected, Http, is_other_file, is_refusal};
use crate::stage_context::StageContext;
use crate::units::Bytes;

/// The most bytes of a detached signature.
const MOST_SIGNATURE: u64 = 1 << 20;

/// An index that was downloaded.
pub struct Fetched {
    /// The `Release` file as it came.
    pub signed: SignedRelease,
    /// What its signers say.
    pub release: Release,
    /// The paths of its lists of packages, as `release` names them. Their contents are the right ones.
    pub lists: Vec<String>,
}

/// Downloads the index of `suite` from the mirror at `url`, the lists to `place`, a directory that
/// exists; `aside` is one on the same file system.
pub fn fetch(
    context: &StageContext,
    suite: &SearchedSuite,
    url: &str,
    (aside, place): (&Path, &Path),
) -> Result<Fetched> {
    let url = format!("{url}/{}", suite.directory()).trim_end_matches('/').to_string();
    let remote = RemoteSuite { http: Http::new()?, context, url };
    let signed = remote.release()?;
    let release = signed.verified(&suite.keys, context.settings.allow_expired)?;
    let text = String::from_utf8_lossy(signed.bytes());
    let mut fetched = Vec::new();
    let of_components =
        suite.components.iter().map(|it| release.lists(it, &context.settings.architecture));
    let flat = suite.is_flat().then(|| release.flat_lists());
    for named in of_components.chain(flat) {
        let mut lists: BTreeMap<&str, Vec<(&str, Digest, u64)>> = BTreeMap::new();
        for list in named {
            let directory = list.0.rsplit_once('/').map_or("", |(directory, _)| directory);
            // Where `all` has a list of its own that is in the others too, apt does without. It asks
            // for none either where `all` is no architecture of the suite; mirrors need not have it.
            let asks_for_all =
                !says(&text, NO_ALL) && release.architectures.iter().any(|it| it == "all");
            let is_wanted = asks_for_all || !directory.ends_with("/binary-all");
            if is_wanted && is_readable(list.0) {
                lists.entry(directory).or_default().push(list);
            }
        }
        for files in lists.values_mut() {
            files.sort_by_key(|(_, _, size)| *size);
            fetched.push(remote.list(files, says(&text, BY_HASH), (aside, place))?);
        }
    }
    Ok(Fetched { signed, release, lists: fetched })
}

/// The lines of a `Release` that say where lists are.
const NO_ALL: &str = "No-Support-for-Architecture-all: Packages";
const BY_HASH: &str = "Acquire-By-Hash: yes";

fn says(text: &str, line: &str) -> bool {
    text.lines().any(|other| other.trim_end() == line)
}

/// A suite's directory on a mirror.
struct RemoteSuite<'a> {
    http: Http,
    context: &'a StageContext,
    url: String,
}

/// Whether the mirror has no such file.
fn is_absent(error: &Error) -> bool {
    is_refusal(error) && !is_other_file(error)
}

impl RemoteSuite<'_> {
    fn small(&self, name: &str, most: u64) -> Result<Vec<u8>> {
        self.http.small(&format!("{}/{name}", self.url), most, &self.context.cancel)
    }

    /// Downloads the `Release`, and its signature if there is one.
    fn release(&self) -> Result<SignedRelease> {
        match self.small("InRelease", MOST_RELEASE) {
            Err(error) if is_absent(&error) => {}
            text => return Ok(SignedRelease::Inline(text?)),
        }
        let text =
            self.small("Release", MOST_RELEASE).map_err(|error| match is_absent(&error) {
                true => with_hint(error, "the mirror does not have this suite"),
                false => error,
            })?;
        match self.small("Release.gpg", MOST_SIGNATURE) {
            Err(error) if is_absent(&error) => Ok(SignedRelease::Unsigned(text)),
            signature => Ok(SignedRelease::Detached(text, signature?)),
        }
    }

    /// Downloads the first of `files` that the mirror has into `place`; its path. All are forms of one
    /// list.
    fn list(
        &self,
        files: &[(&str, Digest, u64)],
        by_hash: bool,
        (aside, place): (&Path, &Path),
    ) -> Result<String> {
        let mut last = None;
        for (path, sha256, size) in files {
            if *size > MOST_LIST {
                let (size, most) = (Bytes(*size), Bytes(MOST_LIST));
                return Err(anyhow!("{}/{path} has {size}, more than {most}", self.url));
            }
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            // While a mirror is brought up to date, the name may be that of the next one already.
            let slash = if directory.is_empty() { "" } else { "/" };
            let hashed = by_hash.then(|| format!("{directory}{slash}by-hash/SHA256/{sha256}"));
            for name in hashed.into_iter().chain([path.to_string()]) {
                let (url, expected) =
                    (format!("{}/{name}", self.url), Expected { sha256: *sha256, size: *size });
                let to = (aside, &*place.join(path));
                match self.http.download(&url, to, expected, &self.context.cancel, &|_| ()) {
                    Ok(()) => return Ok(path.to_string()),
                    // What it has under one name may be better under the next.
                    Err(error) if is_refusal(&error) => last = Some(error),
                    Err(error) => return Err(error),
                }
            }
        }
        let error = last.unwrap_or_else(|| anyhow!("the index names no list of packages"));
        Err(match is_other_file(&error) {
            true => {
                error.context("the mirror's list of packages is not the one that its index names")
            }
            false => error.context("the mirror does not have a list of packages of its index"),
        })
    }
}
