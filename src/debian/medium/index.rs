//! The index of a suite as a medium has it: its `Release`, whose signature is verified where it has one,
//! and its lists of packages, taken out, compared with it, and kept in the cache like an index of a
//! mirror's.

use std::fs::File;
use std::path::Path;

use super::{Medium, Suite, named};
use crate::artifact::Artifact;
use crate::debian::Request;
use crate::debian::index::{Index, recipe};
use crate::debian::lists::{IndexFiles, is_readable};
use crate::debian::signed::{Outdated, SignedRelease};
use crate::digest::{Digest, HashingWriter};
use crate::error::{Context, Error, Result, anyhow, caused_by, with_hint};
use crate::format::release::Release;
use crate::lock::Date;
use crate::openpgp::Refusal;
use crate::stage_context::StageContext;

/// A list of packages as a medium has it.
struct List {
    path: String,
    digest: Digest,
    length: u64,
}

/// The index of the medium `image` to answer `request` from.
pub fn current(context: &StageContext, request: &Request, image: &Artifact) -> Result<Index> {
    let mut medium = Medium::open(context, image)?;
    let suite = medium.suite(context, request)?;
    let (components, lists) = medium.lists(context, request, &suite)?;
    let trust = trust(&medium, request, &suite)?;
    let searched = request.release();
    let mut recipe = recipe(context, &searched, &suite.signed.digest());
    recipe.set("found", &components);
    recipe.value("trust", &trust);
    let date = Date::of_release(&suite.release.date);
    let label = medium.label().to_string();
    let (artifact, _) = context.cached(&recipe, |context| {
        (context.progress)(0, 0, "index");
        let request = Request { components, ..request.clone() };
        let release = verified(context, &request, &suite)
            .map_err(|error| explain(error, &medium, &request))?;
        let place = context.scratch("medium");
        medium.copy_lists(&suite, &lists, &place)?;
        let lists: Vec<String> = lists.iter().map(|list| list.path.clone()).collect();
        let (signed, release) = (&suite.signed, &release);
        let files = IndexFiles { signed, release, place: &place, lists: &lists };
        files.pack(context, &request, &searched)
    })?;
    Ok(Index {
        suite: searched,
        release: suite.signed.digest(),
        date,
        lists: artifact,
        medium: Some(label),
    })
}

/// What the index is trusted for. It is in the index's recipe, so that the index is verified again
/// when it changes.
fn trust(medium: &Medium, request: &Request, suite: &Suite) -> Result<String> {
    match (&suite.signed, &request.keyring) {
        (SignedRelease::Unsigned(_), Some(keyring)) => Err(with_hint(
            anyhow!("{} is not signed, by a key of {keyring} or any other", medium.shown()),
            "media of Debian are not: leave `keyring` out, and let `download` check the image \
                 by a signed list of checksums",
        )),
        (SignedRelease::Unsigned(_), None) => Ok("the medium".to_string()),
        // A keyring that does not exist is reported where it is read.
        _ => Ok(request.keys().digest().map_or(String::new(), |digest| digest.to_string())),
    }
}

impl Medium {
    /// The components of `request` that the medium has lists of, and those lists, the smallest of
    /// each.
    fn lists(
        &mut self,
        context: &StageContext,
        request: &Request,
        suite: &Suite,
    ) -> Result<(Vec<String>, Vec<List>)> {
        let architecture = &context.settings.architecture;
        let (mut components, mut lists) = (Vec::new(), Vec::new());
        for component in &request.components {
            let mut listed = suite.release.lists(component, architecture);
            listed.sort_by_key(|(_, _, length)| *length);
            let mut directories: Vec<&str> = Vec::new();
            for (path, digest, length) in listed {
                let Some((directory, name)) = path.rsplit_once('/') else { continue };
                let place = format!("{}/{directory}", suite.directory);
                let there = self.files.names(&place)?.iter().any(|(other, _)| other == name);
                if there && is_readable(path) && !directories.contains(&directory) {
                    directories.push(directory);
                    lists.push(List { path: path.to_string(), digest, length });
                }
            }
            if !directories.is_empty() {
                components.push(component.clone());
            }
        }
        if !lists.is_empty() {
            return Ok((components, lists));
        }
        let wanted = named(request.components.iter().map(String::as_str));
        let place = self.shown();
        let error = anyhow!("there are no packages of {wanted} for {architecture} on {place}");
        let has = self.files.names(&suite.directory)?;
        let has = has.iter().filter(|(_, kind)| *kind == super::Kind::Directory);
        let hint = match named(has.map(|(name, _)| name.as_str())) {
            has if has.is_empty() => "get it again, and compare its checksum".to_string(),
            has => format!("of {} it has {has}: name them with `components`", request.suite),
        };
        Err(with_hint(error, hint))
    }

    /// Copies `lists` into the directory `place`, if they are as `Release` has them.
    fn copy_lists(&mut self, suite: &Suite, lists: &[List], place: &Path) -> Result<()> {
        for list in lists {
            let from = format!("{}/{}", suite.directory, list.path);
            let what = format!("reading {from} of {}", self.shown());
            let to = place.join(&list.path);
            let parent = to.parent().context("a file has no directory")?;
            let file = std::fs::create_dir_all(parent).and_then(|()| File::create(&to));
            let mut writer = HashingWriter::new(file.with_context(|| what.clone())?);
            self.files.copy(&from, list.length, &mut writer).with_context(|| what.clone())?;
            let (_, digest, _) = writer.finish();
            if digest != list.digest {
                let error = anyhow!("its SHA-256 is {digest}; `Release` says {}", list.digest);
                return Err(with_hint(
                    error.context(what),
                    "the medium is damaged, or somebody changed it: get it again, and compare its \
                     checksum",
                ));
            }
        }
        Ok(())
    }
}

/// What `Release` says, if it is signed by the right keys or not signed at all.
fn verified(context: &StageContext, request: &Request, suite: &Suite) -> Result<Release> {
    // The date of a medium that is not signed proves nothing, and the medium does not change.
    if let SignedRelease::Unsigned(_) = suite.signed {
        return Ok(suite.release.clone());
    }
    let release = suite.signed.verified(&request.keys(), context.settings.allow_expired)?;
    // The lists were chosen by what was read before.
    match release == suite.release {
        true => Ok(release),
        false => Err(Refusal::NoSignedText.into()),
    }
}

fn explain(error: Error, medium: &Medium, request: &Request) -> Error {
    if let Some(Outdated::Past(_)) = caused_by::<Outdated>(&error) {
        let why = format!("the index of {} is past its Valid-Until date", medium.shown());
        return with_hint(
            error.context(why),
            "if you want this old medium on purpose, say so with `--allow-expired`: signatures \
             are still checked",
        );
    }
    if caused_by::<Refusal>(&error).is_none() {
        return error;
    }
    let why = format!("{} is not signed by a key of {}", medium.shown(), request.keys());
    with_hint(
        error.context(why),
        "if you trust its signer, name a keyring with `keyring = \"PATH\"`",
    )
}
