//! Which index answers a request: that of the medium, the one that the lock names if the cache has
//! it, or the mirror's of today.

use super::index::{Apt, Index, Trust, address, recipe, rename_lists};
use super::{PackageSource, Request, medium, mirror, mirror_index};
use crate::artifact::{ArtifactKind, Output};
use crate::error::{Context, Result, anyhow, caused_by, with_hint};
use crate::http::is_refusal;
use crate::lock::LockEntry;
use crate::process::CommandFailed;
use crate::sandbox::owners::Owners;
use crate::stage_context::StageContext;

/// The index to answer `request` from; see [`super::pin`].
pub(super) fn current(context: &StageContext, request: &Request) -> Result<Index> {
    if let PackageSource::Medium(image) = &request.source {
        let image = image.as_ref().context("the medium is not built yet")?;
        return medium::current(context, request, image);
    }
    // The stage's own entry first, then those of other stages: a build uses one index of a suite.
    let entries = context.locked.iter().chain(&context.locked_elsewhere);
    for locked in entries.filter_map(LockEntry::as_packages) {
        let same = locked.suite == request.suite
            && locked.architecture == context.settings.architecture
            && locked.medium.is_none();
        if !same {
            continue;
        }
        let (release, date) = (locked.release, locked.date);
        if let Some(record) = context.cache.find(&recipe(context, request, &release).key())? {
            return Ok(Index { release, date, lists: record.output, medium: None });
        }
    }
    fetch(context, request)
}

/// Asks the mirror for its index of today.
fn fetch(context: &StageContext, request: &Request) -> Result<Index> {
    let (given, configured) = (context.settings.mirror.as_deref(), request.source.mirror());
    let url = mirror::find(request.distribution, given, configured)?;
    if context.settings.offline {
        return Err(with_hint(
            anyhow!("the packages of `{}` are not locked yet, and kuth is offline", request.suite),
            "build once without `--offline`; that writes the lock",
        ));
    }
    let scratch = context.cache.scratch()?;
    let (directory, own) = (scratch.path().join("mirror"), scratch.path().join("apt"));
    let apt = Apt::prepare(&own, context, request, &address(&directory), Trust::Signature)?;
    (context.progress)(0, 0, "index");
    let what = || format!("fetching the index of {} from {url}", request.suite);
    mirror_index::fetch(context, request, &url, (scratch.path(), &directory))
        .map_err(|error| match is_refusal(&error) {
            true => error,
            false => {
                with_hint(error, "name a mirror that this machine reaches with `--mirror URL`")
            }
        })
        .with_context(what)?;
    let mut command = apt.get().args(["-q", "-o", "APT::Update::Error-Mode=any", "update"]);
    if context.settings.allow_expired {
        // The signature is still checked, but not the Valid-Until date.
        command = command.args(["-o", "Acquire::Check-Valid-Until=false"]);
    }
    command
        .run(&context.log, &context.cancel)
        .map_err(|error| explain(error, request))
        .with_context(what)?;
    let (release, date) = rename_lists(&apt.lists())?;
    let recipe = recipe(context, request, &release);
    let (lists, _) = context.cached(&recipe, |context| {
        let file = context.scratch("lists.tar");
        crate::sandbox::pack::pack(
            &apt.lists(),
            &file,
            context.settings.epoch,
            &Owners::default(),
        )?;
        Output::file(ArtifactKind::File, file)
    })?;
    Ok(Index { release, date, lists, medium: None })
}

fn explain(error: crate::error::Error, request: &Request) -> crate::error::Error {
    let said = |text: &str| {
        caused_by::<CommandFailed>(&error)
            .is_some_and(|failed| failed.tail.iter().any(|line| line.contains(text)))
    };
    if said("is expired") || said("is not valid anymore") {
        return with_hint(
            error.context("the mirror's index is past its Valid-Until date"),
            "if this mirror is a snapshot on purpose, say so with `--allow-expired`: signatures \
             are still checked",
        );
    }
    if said("NO_PUBKEY") || said("is not signed") || said("signature") || said("NOSPLIT") {
        return with_hint(
            error.context("the mirror's index is not signed by a key of the keyring"),
            format!(
                "install a newer {}, or name a keyring with `keyring = \"PATH\"`",
                request.distribution.keyring_package
            ),
        );
    }
    error
}
