//! Which indexes answer a request: that of the medium, those that the lock names if the cache has
//! them, or the mirror's of today.

use super::index::{Index, recipe};
use super::lists::IndexFiles;
use super::searched::SearchedSuite;
use super::signed::Outdated;
use super::{Archive, PackageSource, Request, medium, mirror_index};
use crate::error::{Context, Error, Result, anyhow, caused_by, with_hint};
use crate::http::{is_forbidden, is_refusal};
use crate::lock::{Date, LockEntry};
use crate::openpgp::Refusal;
use crate::stage_context::StageContext;

/// The indexes to answer `request` from, one for each of its suites, the release itself first; see
/// [`super::pin`].
pub(super) fn current(context: &StageContext, request: &Request) -> Result<Vec<Index>> {
    if let PackageSource::Medium(image) = &request.source {
        let image = image.as_ref().context("the medium is not built yet")?;
        return Ok(vec![medium::current(context, request, image)?]);
    }
    let suites = request.searched(context)?.into_iter();
    suites.map(|suite| current_of(context, request, suite)).collect()
}

fn current_of(context: &StageContext, request: &Request, suite: SearchedSuite) -> Result<Index> {
    // The stage's own entry first, then those of other stages: a build uses one index of a suite.
    let entries = context.locked.iter().chain(&context.locked_elsewhere);
    for locked in entries.filter_map(LockEntry::as_packages) {
        if locked.architecture != context.settings.architecture || locked.medium.is_some() {
            continue;
        }
        let repository = suite.repository.as_deref();
        let Some((release, date)) = locked.index_of(&suite.name, repository) else { continue };
        if let Some(record) = context.cache.find(&recipe(context, &suite, &release).key())? {
            return Ok(Index { suite, release, date, lists: record.output, medium: None });
        }
    }
    fetch(context, request, suite)
}

/// Asks the mirror for its index of `suite` of today.
fn fetch(context: &StageContext, request: &Request, suite: SearchedSuite) -> Result<Index> {
    let url = suite.root(context, request)?;
    let name = suite.name.as_str();
    if context.settings.offline {
        return Err(with_hint(
            anyhow!("the packages of `{name}` are not locked yet, and kuth is offline"),
            "build once without `--offline`; that writes the lock",
        ));
    }
    let scratch = context.cache.scratch()?;
    let place = scratch.path().join("lists");
    std::fs::create_dir(&place).with_context(|| format!("making {}", place.display()))?;
    (context.progress)(0, 0, "index");
    let what = || format!("fetching the index of {name} from {url}");
    let fetched = mirror_index::fetch(context, &suite, &url, (scratch.path(), &place))
        .map_err(|error| explain(error, request, &suite))
        .with_context(what)?;
    let release = fetched.signed.digest();
    let files = IndexFiles {
        signed: &fetched.signed,
        release: &fetched.release,
        place: &place,
        lists: &fetched.lists,
    };
    let recipe = recipe(context, &suite, &release);
    let (lists, _) = context
        .cached(&recipe, |context| files.pack(context, request, &suite))
        .with_context(what)?;
    let date = Date::of_release(&fetched.release.date);
    Ok(Index { suite, release, date, lists, medium: None })
}

/// Adds what the user can do about a suite that cannot be fetched.
fn unavailable(error: Error, request: &Request, suite: &SearchedSuite) -> Error {
    if suite.repository.is_some() {
        return match is_refusal(&error) {
            true => with_hint(error, "check the `url` and the `suite` of the repository"),
            false => error,
        };
    }
    let option = match request.distribution.archive_of(&suite.name) {
        Archive::Main => "--mirror URL",
        Archive::Security => "--security-mirror URL",
    };
    if is_forbidden(&error) {
        return with_hint(
            error,
            format!(
                "the mirror, or a proxy before it, lets only others in: give it what it asks for in the \
                 URL (`https://USER:PASSWORD@...`), or name another mirror with `{option}`"
            ),
        );
    }
    if !is_refusal(&error) {
        return with_hint(
            error,
            format!("name a mirror that this machine reaches with `{option}`"),
        );
    }
    match suite.name == request.suite {
        true => error,
        false => with_hint(
            error,
            format!(
                "name a mirror that has it with `{option}`; or write in the stage which of them to \
                 use, as in `pockets = []`; or add an archive of somebody else's by a table \
                 `[[stage.NAME.repository]]`"
            ),
        ),
    }
}

/// Adds what the user can do about an index that is not signed, or counts no more.
fn explain(error: Error, request: &Request, suite: &SearchedSuite) -> Error {
    if let Some(Outdated::Past(_)) = caused_by::<Outdated>(&error) {
        return with_hint(
            error.context("the mirror's index is past its Valid-Until date"),
            "if this mirror is a snapshot on purpose, say so with `--allow-expired`: signatures \
             are still checked",
        );
    }
    if let Some(Outdated::Future(_)) = caused_by::<Outdated>(&error) {
        return error.context("the mirror's index is of a day that has not come");
    }
    let Some(refusal) = caused_by::<Refusal>(&error) else {
        return unavailable(error, request, suite);
    };
    let (what, hint) = match suite.repository {
        Some(_) => (
            "the index of the repository is not signed by its `key`",
            "get the key that its maker publishes; kuth takes nothing that is not signed".into(),
        ),
        None => (
            "the mirror's index is not signed by a key of the keyring",
            format!(
                "install a newer {}, or name a keyring with `keyring = \"PATH\"`",
                request.distribution.keyring_package
            ),
        ),
    };
    if *refusal == Refusal::NoSignedText {
        return with_hint(
            error.context(format!("{what}: what came is no signed text")),
            "a proxy or a login page may have answered for the archive; look at the address in a \
             browser",
        );
    }
    with_hint(error.context(what), hint)
}
