//! Downloads the index of a suite from a mirror, for apt to verify: its `Release`, with an inline or
//! detached signature, and its lists of packages, the smallest file of each that the mirror has.
//! kuth downloads, not apt, so that each file is limited to its size: apt compares a file's size only
//! when it has all of it, and a mirror that sends without end would fill the disk. Nothing is
//! trusted here.

use std::collections::BTreeMap;
use std::path::Path;

use super::index::MOST_RELEASE;
use super::searched::SearchedSuite;
use crate::digest::Digest;
use crate::error::{Context, Error, Result, anyhow, with_hint};
use crate::format::release::Release;
use crate::http::{Expected, Http, is_other_file, is_refusal};
use crate::stage_context::StageContext;
use crate::units::Bytes;

/// The most bytes of a detached signature.
const MOST_SIGNATURE: u64 = 1 << 20;
/// The most bytes of a list of packages, whatever the `Release` says, which is not verified yet.
const MOST_LIST: u64 = 1 << 30;

/// Makes `directory` a mirror of `suite` as the one at `url` is; `aside` is a directory of the same
/// file system.
pub fn fetch(
    context: &StageContext,
    suite: &SearchedSuite,
    url: &str,
    (aside, directory): (&Path, &Path),
) -> Result<()> {
    let below = suite.directory();
    let place = directory.join(&below);
    std::fs::create_dir_all(&place).with_context(|| format!("making {}", place.display()))?;
    let url = format!("{url}/{below}").trim_end_matches('/').to_string();
    let remote = RemoteSuite { http: Http::new()?, context, url };
    let text = remote.release(&place)?;
    let text = String::from_utf8_lossy(&text);
    let release =
        Release::read(&text).with_context(|| format!("reading {}/Release", remote.url))?;
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
            if asks_for_all || !directory.ends_with("/binary-all") {
                lists.entry(directory).or_default().push(list);
            }
        }
        for files in lists.values_mut() {
            files.sort_by_key(|(_, _, size)| *size);
            remote.list(files, says(&text, BY_HASH), (aside, &place))?;
        }
    }
    Ok(())
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

    /// Downloads the `Release`, and its signature if there is one, into `place`.
    fn release(&self, place: &Path) -> Result<Vec<u8>> {
        let write = |name: &str, bytes: &[u8]| {
            let path = place.join(name);
            std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))
        };
        match self.small("InRelease", MOST_RELEASE) {
            Err(error) if is_absent(&error) => {}
            text => {
                let text = text?;
                write("InRelease", &text)?;
                return Ok(text);
            }
        }
        let text =
            self.small("Release", MOST_RELEASE).map_err(|error| match is_absent(&error) {
                true => with_hint(error, "the mirror does not have this suite"),
                false => error,
            })?;
        write("Release", &text)?;
        match self.small("Release.gpg", MOST_SIGNATURE) {
            // apt reports that it is not signed.
            Err(error) if is_absent(&error) => {}
            signature => write("Release.gpg", &signature?)?,
        }
        Ok(text)
    }

    /// Downloads the first of `files` that the mirror has into `place`. All are forms of one list.
    fn list(
        &self,
        files: &[(&str, Digest, u64)],
        by_hash: bool,
        (aside, place): (&Path, &Path),
    ) -> Result<()> {
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
                    Ok(()) => return Ok(()),
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
