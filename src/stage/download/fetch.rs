//! Downloads a file from one address into the cache's store, and checks that it is the expected one.

use std::path::Path;

use super::{local, path_of};
use crate::archive::magic::{self, Format};
use crate::artifact::{Artifact, ArtifactKind, Hashing};
use crate::cache::space;
use crate::digest::{Digest, Sha512, Sums};
use crate::error::{Context, Error, Hint, Result, anyhow, caused_by, ensure, with_hint};
use crate::files::sparse;
use crate::http::{Fetch, Http, Resume, TooLong, source_file};
use crate::lock::Checksum;
use crate::recipe::Key;
use crate::stage::StageContext;
use crate::units::Bytes;

/// What is known of a file before it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expectation {
    /// Its checksum, if that is known.
    pub expected: Option<Checksum>,
    /// Where the download ends.
    pub bound: Bound,
}

/// The most bytes that a file may have, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// The lock, which has its size.
    Locked(Bytes),
    /// The pipeline's `limit`, or its default.
    Limit(Bytes),
}

impl Bound {
    fn bytes(self) -> u64 {
        let (Bound::Locked(bytes) | Bound::Limit(bytes)) = self;
        bytes.0
    }

    /// What to do about a file that has more.
    fn hint(self) -> &'static str {
        match self {
            Bound::Locked(_) => ANOTHER,
            Bound::Limit(_) => "if the file is as large as that, say so with `limit`",
        }
    }
}

/// What to do about another file than the lock's or the pipeline's.
const ANOTHER: &str = "another file lies there now, or somebody changed it; if this one is right, \
                       write its digest into the pipeline, or remove its entry from the lock";

/// A file as the store knows it.
fn artifact(digest: Digest, size: u64) -> Artifact {
    let facts = Default::default();
    Artifact { kind: ArtifactKind::File, hashing: Hashing::Plain, digest, size, facts }
}

/// The file, if the store has it already: another stage may have got it.
pub(super) fn there(context: &StageContext, expected: Checksum) -> Option<Artifact> {
    let Checksum::Sha256(digest) = expected else { return None };
    let object = context.object(&artifact(digest, 0));
    // A disk may bear the same name only if it has the same bytes.
    let file = std::fs::File::open(object).ok()?;
    let (found, size) = crate::digest::of_reader(file).ok()?;
    (found == digest).then(|| artifact(digest, size))
}

/// Gets `url` into the store.
pub(super) fn from(
    context: &StageContext,
    url: &str,
    expectation: Expectation,
) -> Result<Artifact> {
    let Expectation { expected, bound } = expectation;
    let sums = match expected {
        Some(Checksum::Sha512(_)) => Sums::both(),
        _ => Sums::default(),
    };
    if let Some(path) = local(url) {
        return copied(context, &path, sums, expectation);
    }
    let directory = context.cache.directory().join("downloads");
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("making {}", directory.display()))?;
    let name = Digest::of(expected.map_or(url.to_string(), |expected| expected.to_string()));
    let part = directory.join(format!("{name}.part"));
    // Two builds must not write into one part.
    let _lock = context.cache.lock_key(&Key(name), &context.cancel)?;
    let resume = if expected.is_some() { Resume::Always } else { Resume::IfUnchanged };
    let http = Http::new()?;
    let inspect = |start: &[u8]| look(url, start);
    let reserve = |bytes| space::require(context.cache.directory(), Bytes(bytes));
    let progress = |done, total| (context.progress)(done, total, "B");
    loop {
        let sums = sums.clone();
        let (part, inspect, reserve, progress) = (part.as_path(), &inspect, &reserve, &progress);
        let (most, cancel) = (bound.bytes(), &context.cancel);
        let fetch = Fetch { url, part, resume, sums, most, inspect, reserve, cancel, progress };
        let fetched = http.fetch(&fetch).map_err(|error| match caused_by::<TooLong>(&error) {
            Some(_) => with_hint(error, bound.hint()),
            None => error,
        })?;
        let (digest, sha512, size) = fetched.sums.finish();
        let wrong = mismatch(expected, digest, sha512);
        if wrong.is_some() && fetched.resumed {
            // What was there before may have been of another file.
            std::fs::remove_file(part).context("removing a part of a download")?;
            continue;
        }
        let artifact = artifact(digest, size);
        // An unexpected file is kept all the same, under its own digest: the checksum in the pipeline
        // may be wrong.
        context.cache.adopt(part, &context.object(&artifact))?;
        let _ = std::fs::remove_file(source_file(part));
        return match wrong {
            None => Ok(artifact),
            Some(error) => Err(error.context(format!("downloading {url}"))),
        };
    }
}

/// Copies a file of this machine into the store.
fn copied(
    context: &StageContext,
    path: &Path,
    mut sums: Sums,
    Expectation { expected, bound }: Expectation,
) -> Result<Artifact> {
    use std::io::Read;
    let what = || format!("reading {}", path.display());
    let metadata = path.metadata().with_context(what)?;
    // A device or a pipe has no length, and may have no end.
    ensure!(metadata.is_file(), "{} is not a file", path.display());
    let size = metadata.len();
    if size > bound.bytes() {
        let most = bound.bytes();
        let error = anyhow!("expected at most {most} bytes, it has {size}").context(what());
        return Err(with_hint(error, bound.hint()));
    }
    space::require(context.cache.directory(), Bytes(size))?;
    let directory = context.cache.scratch()?;
    let copy = directory.path().join("file");
    sparse::copy_file(path, &copy)?;
    let mut file = std::fs::File::open(&copy).with_context(what)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        context.cancel.check()?;
        match file.read(&mut buffer).with_context(what)? {
            0 => break,
            n => sums.update(&buffer[..n]),
        }
        (context.progress)(sums.length(), size, "B");
    }
    let (digest, sha512, size) = sums.finish();
    if let Some(error) = mismatch(expected, digest, sha512) {
        return Err(error.context(what()));
    }
    let artifact = artifact(digest, size);
    context.cache.adopt(&copy, &context.object(&artifact))?;
    Ok(artifact)
}

/// Why the file is not the expected one.
fn mismatch(expected: Option<Checksum>, sha256: Digest, sha512: Option<Sha512>) -> Option<Error> {
    let (expected, found, kind) = match expected? {
        Checksum::Sha256(expected) if expected == sha256 => return None,
        Checksum::Sha512(expected) if sha512 == Some(expected) => return None,
        Checksum::Sha256(expected) => (expected.to_string(), sha256.to_string(), "SHA-256"),
        Checksum::Sha512(expected) => {
            (expected.to_string(), sha512.map_or(String::new(), |it| it.to_string()), "SHA-512")
        }
    };
    Some(with_hint(anyhow!("the {kind} is {found}, not {expected}"), ANOTHER))
}

/// Refuses what is not what the address promises, before any of it is kept.
fn look(url: &str, start: &[u8]) -> Result<()> {
    let (found, promised) = (magic::of(start), magic::promised(path_of(url)));
    if found == Some(Format::Html) && promised != Some(Format::Html) {
        return Err(anyhow!("the server answered with an HTML page, not with a file"))
            .hint("open the address in a browser: it may ask for a click, or the file has moved");
    }
    if let Some(promised) = promised
        && found != Some(promised)
        && promised != Format::Html
    {
        let found = found.map_or("something else".to_string(), magic::shown);
        let promised = magic::shown(promised);
        return Err(anyhow!("the server answered with {found}, not with {promised}"))
            .hint("look at what the address gives; the file may have moved");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_for_a_wrong_file_has_both_digests() {
        let (right, wrong) = (Digest::of("a"), Digest::of("b"));
        assert!(mismatch(Some(Checksum::Sha256(right)), right, None).is_none());
        assert!(mismatch(None, wrong, None).is_none());
        let error = mismatch(Some(Checksum::Sha256(right)), wrong, None).unwrap();
        assert_eq!(error.to_string(), format!("the SHA-256 is {wrong}, not {right}"));
    }
}
