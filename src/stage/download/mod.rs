//! `download`: a file from the network, or from this machine by `file:`. No input. Output: file. Its
//! checksum is in the pipeline, in a signed list, or else in the lock, which keeps that of the first
//! download.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::{Inputs, Kind, Parsed, Pin, PinOutcome, Resource, Stage, StageContext};
use crate::artifact::{Artifact, ArtifactKind, Facts, Output};
use crate::digest::{Digest, Sha512};
use crate::error::{Context, Error, Hint, Result, anyhow, bail, with_hint};
use crate::files::sparse;
use crate::host_path::HostPath;
use crate::http::Http;
use crate::lock::{Checksum, LockEntry, LockedDownload};
use crate::pipeline::{Fault, Fields, Text};
use crate::provenance::Material;
use crate::recipe::Recipe;
use crate::units::Bytes;

mod fetch;
mod signed;
pub mod sums;

use fetch::{Bound, Expectation};

/// The row of the table of kinds.
pub const KIND: Kind = Kind { name: "download", output: ArtifactKind::File, read };

/// The most bytes of a list of checksums.
const MOST_LIST: u64 = 16 << 20;
/// The most bytes of a signature.
const MOST_SIGNATURE: u64 = 1 << 20;

/// The most bytes of a file unless the pipeline has a `limit`.
const LIMIT: Bytes = Bytes::gib(64);

struct Download {
    /// The same file at each.
    urls: Vec<String>,
    /// The first of them that is not a secret, for provenance.
    public_url: Option<String>,
    checksum: ChecksumSource,
    /// The most bytes of the file, where its size is not known.
    limit: Bytes,
    /// The file that was downloaded to learn its checksum.
    downloaded: OnceLock<Artifact>,
}

/// Where the checksum of the file is from.
enum ChecksumSource {
    /// The pipeline has it.
    Pipeline(Checksum),
    /// A signed list has it.
    SignedList { checksums: String, signature: String, keyring: HostPath },
    /// The lock keeps that of the first download.
    FirstDownload,
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let urls = fields.require("url").text_or_texts("url");
    let public_url = urls.iter().find(|url| !url.secret).and_then(|url| shown(&url.text));
    let urls: Vec<String> = urls.into_iter().filter_map(|url| checked(fields, url)).collect();
    fields.at_most_one(&["sha256", "sha512", "checksums"]);
    let sha256 = fields.parsed::<Digest>("sha256", "a SHA-256");
    let sha512 = fields.parsed::<Sha512>("sha512", "a SHA-512");
    let checksums = fields.text("checksums").and_then(|url| checked(fields, url));
    let signature = fields.text("signature").and_then(|url| checked(fields, url));
    let keyring = fields.existing_file("keyring").map(|keyring| keyring.path);
    let limit = fields.size("limit");
    if let Some(limit) = limit.as_ref().filter(|limit| limit.value == Bytes(0)) {
        let fault = Fault::new(limit.span.clone(), "a `limit` of nothing");
        fields.fault(fault.hint("say how much the file may be, such as \"100 GiB\""));
    }
    let limit = limit.map_or(LIMIT, |limit| limit.value);
    let has_list = fields.has("checksums");
    for key in ["signature", "keyring"] {
        match (has_list, fields.key_span(key)) {
            (true, None) => {
                let span = fields.key_span("checksums").unwrap_or(fields.span());
                let fault = Fault::new(span, format!("`checksums` without `{key}`"));
                let hint = "a list that nobody signed proves nothing; write the file's `sha256`";
                fields.fault(fault.hint(hint));
            }
            (false, Some(span)) => {
                let fault = Fault::new(span, format!("`{key}` without `checksums`"));
                fields.fault(fault.hint("`checksums` is the address of the list that is signed"));
            }
            _ => {}
        }
    }
    let checksum = match (sha256, sha512, has_list) {
        (Some(digest), ..) => ChecksumSource::Pipeline(Checksum::Sha256(digest.value)),
        (_, Some(digest), _) => ChecksumSource::Pipeline(Checksum::Sha512(digest.value)),
        (.., true) => ChecksumSource::SignedList {
            checksums: checksums?,
            signature: signature?,
            keyring: keyring?,
        },
        _ => ChecksumSource::FirstDownload,
    };
    let downloaded = OnceLock::new();
    (!urls.is_empty()).then(|| {
        Parsed::one(Vec::new(), Download { urls, public_url, checksum, limit, downloaded })
    })
}

/// An address that kuth can read.
fn checked(fields: &Fields<'_>, url: Text) -> Option<String> {
    let known = ["http://", "https://", "file:///"].iter().any(|scheme| {
        url.text.strip_prefix(scheme).is_some_and(|rest| !rest.trim_matches('/').is_empty())
    });
    if known && !url.text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Some(url.text);
    }
    let fault =
        Fault::new(url.span.clone(), format!("{} is not an address of a file", url.shown()));
    fields.fault(fault.hint("an address begins with `https://`, `http://` or `file:///`"));
    None
}

/// The path of an address on its server, without what follows `?` and `#`.
fn path_of(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let rest = path.split_once("://").map_or(path, |(_, rest)| rest);
    rest.find('/').map_or("", |at| &rest[at..])
}

/// An address as provenance has it: without a password and what follows `?`. A path of this machine
/// is not published.
fn shown(url: &str) -> Option<String> {
    let url = url.split(['?', '#']).next()?;
    let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| scheme.starts_with("http"))?;
    let (host, path) = rest.split_once('/')?;
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    Some(format!("{scheme}://{host}/{path}"))
}

/// The path that a `file:` address names.
fn local(url: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let path = percent_encoding::percent_decode_str(url.strip_prefix("file://")?);
    Some(std::ffi::OsString::from_vec(path.collect()).into())
}

impl Stage for Download {
    fn revision(&self) -> u32 {
        1
    }

    /// The checksum; neither the address nor `limit`, which does not change the file.
    fn describe(&self, _context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        if let ChecksumSource::Pipeline(expected) = &self.checksum {
            recipe.value("file", expected);
        }
        Ok(())
    }

    fn resource(&self) -> Resource {
        Resource::Network
    }

    fn pin(&self, context: &StageContext, _inputs: &Inputs) -> Result<PinOutcome> {
        if let ChecksumSource::Pipeline(_) = self.checksum {
            return Ok(PinOutcome::Pinned(Vec::new()));
        }
        if let Some(locked) = self.locked(context) {
            return Ok(PinOutcome::Pinned(vec![Pin::new(LockEntry::Download(locked.clone()))]));
        }
        let (stage, url) = (&context.stage, &self.urls[0]);
        if context.settings.locked {
            return Err(anyhow!("the lock does not say which file `{stage}` means by {url}"))
                .hint("build once without `--locked` to write its digest into the lock");
        }
        self.refuse_if_offline(context)?;
        let url = url.clone();
        let locked = match &self.checksum {
            ChecksumSource::SignedList { checksums, signature, keyring } => {
                let http = Http::new()?;
                let list = small(&http, checksums, MOST_LIST, context)?;
                let trust = || format!("trusting {checksums}");
                let list = match signature == checksums {
                    true => signed::verified_text(&list, keyring).with_context(trust)?,
                    false => {
                        let signature = small(&http, signature, MOST_SIGNATURE, context)?;
                        signed::verify(&list, &signature, keyring).with_context(trust)?;
                        list
                    }
                };
                let checksum = sums::find(&sums::text(&list), path_of(&url))
                    .with_context(|| format!("reading {checksums}"))?;
                LockedDownload { url, checksums: Some(checksums.clone()), checksum, size: None }
            }
            _ => {
                let bound = Bound::Limit(self.limit);
                let artifact = self.get(context, Expectation { expected: None, bound })?;
                let Artifact { digest, size, .. } = artifact;
                let shown = shown(&url).unwrap_or(url.clone());
                (context.warn)(&format!(
                    "{stage}: nothing says what {shown} must be; the lock keeps the SHA-256 of what \
                     came, {digest}, and another file is an error from now on"
                ));
                let _ = self.downloaded.set(artifact);
                let checksum = Checksum::Sha256(digest);
                LockedDownload { url, checksums: None, checksum, size: Some(size) }
            }
        };
        Ok(PinOutcome::Pinned(vec![Pin::new(LockEntry::Download(locked))]))
    }

    /// That there will be a file is all that packages of a medium depend on.
    fn predict(&self, _inputs: &Inputs, _pins: &[Pin]) -> Option<Facts> {
        Some(Facts::None)
    }

    fn materials(&self, _inputs: &Inputs, pins: &[Pin]) -> Result<Vec<Material>> {
        let (algorithm, digest) = self.expected(pins)?.parts();
        let name = || path_of(&self.urls[0]).rsplit('/').next().unwrap_or_default().to_string();
        let uri = self.public_url.clone().unwrap_or_else(|| format!("file:{}", name()));
        Ok(vec![Material { uri, algorithm, digest }])
    }

    fn run(&self, context: &StageContext, _inputs: &Inputs, pins: &[Pin]) -> Result<Output> {
        let expected = self.expected(pins)?;
        let downloaded = self.downloaded.get();
        let downloaded = downloaded.filter(|it| Checksum::Sha256(it.digest) == expected);
        let artifact = match downloaded.cloned().or_else(|| fetch::there(context, expected)) {
            Some(artifact) => artifact,
            None => {
                self.refuse_if_offline(context)?;
                self.get(
                    context,
                    Expectation { expected: Some(expected), bound: self.bound(pins) },
                )?
            }
        };
        // A second name for the object, which the cache drops again.
        let (object, file) = (context.object(&artifact), context.scratch("file"));
        if std::fs::hard_link(&object, &file).is_err() {
            sparse::copy_file(&object, &file)?;
        }
        Ok(Output { artifact, file })
    }
}

impl Download {
    fn expected(&self, pins: &[Pin]) -> Result<Checksum> {
        match (&self.checksum, locked_in(pins)) {
            (ChecksumSource::Pipeline(expected), _) => Ok(*expected),
            (_, Some(locked)) => Ok(locked.checksum),
            _ => bail!("it is not known which file is meant"),
        }
    }

    /// Where the download ends: the lock has the size of what came the first time.
    fn bound(&self, pins: &[Pin]) -> Bound {
        let size = locked_in(pins).and_then(|locked| locked.size);
        size.map_or(Bound::Limit(self.limit), |size| Bound::Locked(Bytes(size)))
    }

    fn refuse_if_offline(&self, context: &StageContext) -> Result<()> {
        if context.settings.offline && !self.urls.iter().all(|url| local(url).is_some()) {
            return Err(anyhow!("{} is not in the cache", self.urls[0]))
                .hint("build once without `--offline`");
        }
        Ok(())
    }

    /// The entry of the lock for one of the addresses and the same list of checksums.
    fn locked<'a>(&self, context: &'a StageContext) -> Option<&'a LockedDownload> {
        let list = match &self.checksum {
            ChecksumSource::SignedList { checksums, .. } => Some(checksums),
            _ => None,
        };
        let mut locked = context.locked.iter().filter_map(LockEntry::as_download);
        locked.find(|it| self.urls.contains(&it.url) && it.checksums.as_ref() == list)
    }

    /// The file from the first address that gives the right one, in the cache's store.
    fn get(&self, context: &StageContext, expectation: Expectation) -> Result<Artifact> {
        let mut failures: Vec<Error> = Vec::new();
        for url in &self.urls {
            match fetch::from(context, url, expectation) {
                Ok(artifact) => return Ok(artifact),
                Err(error) => {
                    context.cancel.check()?;
                    if self.urls.len() > 1 {
                        note(context, &format!("{error:#}"));
                    }
                    failures.push(error);
                }
            }
        }
        let last = failures.pop().context("it has no address")?;
        if failures.is_empty() {
            return Err(last);
        }
        let others: Vec<String> = failures.iter().map(|error| format!("{error:#}")).collect();
        let all = format!("none of {} addresses gave the file", self.urls.len());
        Err(with_hint(last.context(all), format!("before that: {}", others.join("; "))))
    }
}

/// Writes one line to the log and shows it as progress.
fn note(context: &StageContext, text: &str) {
    use std::io::Write;
    (context.progress)(0, 0, text);
    if let Ok(mut log) = crate::process::open_log(&context.log) {
        let _ = writeln!(log, "{text}");
    }
}

fn locked_in(pins: &[Pin]) -> Option<&LockedDownload> {
    pins.first()?.locked.as_download()
}

/// A file of at most `most` bytes.
fn small(http: &Http, url: &str, most: u64, context: &StageContext) -> Result<Vec<u8>> {
    use std::io::Read;
    let Some(path) = local(url) else { return http.small(url, most, &context.cancel) };
    let what = || format!("reading {}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&path).with_context(what)?;
    file.take(most + 1).read_to_end(&mut bytes).with_context(what)?;
    match bytes.len() as u64 > most {
        true => Err(anyhow!("expected at most {most} bytes, it has more")).with_context(what),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_addresses() {
        assert_eq!(path_of("https://a.b/c/d.iso?x=/y#z"), "/c/d.iso");
        assert_eq!(path_of("https://a.b"), "");
        assert_eq!(local("file:///a%20b/100%"), Some("/a b/100%".into()));
        assert_eq!(local("https://a"), None);
        assert_eq!(shown("https://me:x@a.b/c/d?token#z").as_deref(), Some("https://a.b/c/d"));
        assert_eq!(shown("file:///a/b"), None);
    }
}
