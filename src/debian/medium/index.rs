//! The index of a suite as a medium has it: its `Release` and its lists of packages, taken out,
//! compared with each other, given to apt for the signature, and kept in the cache like an index of
//! a mirror's.

use std::path::Path;

use super::{Medium, Signature, Suite, named};
use crate::artifact::{Artifact, ArtifactKind, Output};
use crate::debian::Request;
use crate::debian::index::{Apt, Index, Trust, address, keep, recipe};
use crate::digest::{Digest, HashingWriter};
use crate::error::{Context, Error, Result, anyhow, caused_by, with_hint};
use crate::lock::Date;
use crate::process::CommandFailed;
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
    let mut recipe = recipe(context, &searched, &suite.digest());
    recipe.set("found", &components);
    recipe.value("trust", &trust);
    let date = Date::of_release(&suite.release.date);
    let label = medium.label().to_string();
    let (artifact, _) = context.cached(&recipe, |context| {
        (context.progress)(0, 0, "index");
        let request = Request { components, ..request.clone() };
        let directory = context.scratch("medium");
        medium.copy_index(&suite, &lists, &directory.join("dists").join(&request.suite))?;
        read_by_apt(context, &request, &suite, &directory)
            .map_err(|error| explain(error, &medium, &request))?;
        Output::file(ArtifactKind::File, context.scratch("lists.tar"))
    })?;
    Ok(Index {
        suite: searched,
        release: suite.digest(),
        date,
        lists: artifact,
        medium: Some(label),
    })
}

/// What the index is trusted for. It is in the index's recipe, so that the index is verified again
/// when it changes.
fn trust(medium: &Medium, request: &Request, suite: &Suite) -> Result<String> {
    match (&suite.signature, &request.keyring) {
        (Signature::None(_), Some(keyring)) => Err(with_hint(
            anyhow!("{} is not signed, by a key of {keyring} or any other", medium.shown()),
            "media of Debian are not: leave `keyring` out, and let `download` check the image \
                 by a signed list of checksums",
        )),
        (Signature::None(_), None) => Ok("the medium".to_string()),
        // A keyring that does not exist is reported where apt needs it.
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
                if there && !directories.contains(&directory) {
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

    /// Copies what apt asks for into `place`, a directory that apt takes for the suite's.
    fn copy_index(&mut self, suite: &Suite, lists: &[List], place: &Path) -> Result<()> {
        let write = |name: &str, bytes: &[u8]| -> Result<()> {
            let path = place.join(name);
            let parent = path.parent().context("a file has no directory")?;
            std::fs::create_dir_all(parent)
                .and_then(|()| std::fs::write(&path, bytes))
                .with_context(|| format!("writing {}", path.display()))
        };
        match &suite.signature {
            Signature::Inline(text) => write("InRelease", text)?,
            Signature::Detached(text, signature) => {
                write("Release", text)?;
                write("Release.gpg", signature)?;
            }
            Signature::None(text) => write("Release", text)?,
        }
        for list in lists {
            let from = format!("{}/{}", suite.directory, list.path);
            let what = format!("reading {from} of {}", self.shown());
            write(&list.path, b"")?;
            let file = std::fs::File::options().append(true).open(place.join(&list.path));
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

/// Lets apt check the signature, where there is one, and read the lists; they become `lists.tar`.
fn read_by_apt(
    context: &StageContext,
    request: &Request,
    suite: &Suite,
    directory: &Path,
) -> Result<()> {
    let trust = match suite.signature {
        Signature::None(_) => Trust::Verified,
        _ => Trust::Signature,
    };
    let searched = request.release();
    let suites = [(&searched, address(directory))];
    let apt = Apt::prepare(&context.scratch("apt"), context, request, &suites, trust)?;
    let mut command = apt.get().args(["-q", "-o", "APT::Update::Error-Mode=any"]);
    if trust == Trust::Verified || context.settings.allow_expired {
        // The date of a medium that is not signed proves nothing, and the medium does not change.
        command = command.args(["-o", "Acquire::Check-Valid-Until=false"]);
    }
    command.arg("update").run(&context.log, &context.cancel)?;
    keep(context, request, (&apt, &searched), &context.scratch("lists.tar"))
}

fn explain(error: Error, medium: &Medium, request: &Request) -> Error {
    let said = |text: &str| {
        caused_by::<CommandFailed>(&error)
            .is_some_and(|failed| failed.tail.iter().any(|line| line.contains(text)))
    };
    if said("is expired") {
        let why = format!("the index of {} is past its Valid-Until date", medium.shown());
        return with_hint(
            error.context(why),
            "if you want this old medium on purpose, say so with `--allow-expired`: signatures \
             are still checked",
        );
    }
    if !["NO_PUBKEY", "is not signed", "signature", "BADSIG"].into_iter().any(said) {
        return error;
    }
    let why = format!("{} is not signed by a key of {}", medium.shown(), request.keys());
    with_hint(
        error.context(why),
        "if you trust its signer, name a keyring with `keyring = \"PATH\"`",
    )
}
