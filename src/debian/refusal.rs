//! The error for a request that the lock does not answer and must not be changed for: how the request
//! differs from the one that was locked.

use super::package_file::{self, Comparison};
use super::{Base, PackageSource, Request};
use crate::error::{Error, Result, anyhow, with_hint};
use crate::lock::{LockEntry, LockedPackages, LockedSuite, Part};
use crate::stage_context::StageContext;

/// What an entry of the lock keeps of a request besides its key, for people and to say later what
/// has changed: the packages that are asked for and the components that are searched, sorted.
/// Where nothing but the packages asked for is taken, the entry's own list has them.
pub fn noted(request: &Request) -> (Option<Vec<String>>, Vec<String>) {
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    let asked = (request.base != Base::Exactly).then(|| sorted(&named(request)));
    (asked, sorted(&request.components))
}

/// The packages of a request, and its files as the pipeline calls them.
fn named(request: &Request) -> Vec<String> {
    let files = request.files.iter().map(|file| file.name.clone());
    request.asked().into_iter().chain(files).collect()
}

/// The error for a request that no entry of the lock answers. Fails where a file of the request cannot
/// be read.
pub fn not_locked(context: &StageContext, request: &Request) -> Result<Error> {
    let (stage, architecture) = (&context.stage, &context.settings.architecture);
    let locked = context.locked.iter().filter_map(LockEntry::as_packages);
    let of_part: Vec<&LockedPackages> =
        locked.filter(|locked| locked.part == request.part).collect();
    let same = of_part
        .iter()
        .find(|locked| locked.suite == request.suite && locked.architecture == *architecture);
    let what = match (same, of_part.first()) {
        (Some(locked), _) => {
            changed(locked, request, &package_file::compare(context, request, locked)?)
        }
        (None, Some(other)) => format!(
            "it has packages of {} on {}, not of {} on {architecture}",
            other.suite, other.architecture, request.suite,
        ),
        (None, None) => format!("it has no {}", noun(request.part)),
    };
    Ok(with_hint(
        anyhow!("the lock does not say which {} `{stage}` means: {what}", noun(request.part)),
        format!("`kuth update PIPELINE {stage}` writes them, as does a build without `--locked`"),
    ))
}

/// What a part of the lock is called.
fn noun(part: Part) -> &'static str {
    match part {
        Part::Packages => "packages",
        Part::Tools => "tools",
        Part::GuestAdditions => "guest additions",
        Part::BootLoader => "boot loader",
    }
}

/// How a request differs from the one that `locked` is the answer to; `files` is how its files do.
fn changed(locked: &LockedPackages, request: &Request, files: &Comparison) -> String {
    if !request.source.is_that_of(locked) {
        return match (&request.source, &locked.medium) {
            (PackageSource::Medium(_), None) => {
                "it has those of a mirror, not of a medium".to_string()
            }
            (PackageSource::Medium(_), Some(medium)) => {
                format!("the medium is another than the lock's, {}", medium.label)
            }
            (PackageSource::Mirror(_), medium) => {
                let label = medium.as_ref().map_or("", |medium| &medium.label);
                format!("it has those of the medium {label}, not of a mirror")
            }
        };
    }
    let asked = match request.base {
        Base::Exactly => Some(locked.packages.iter().map(|it| it.name.clone()).collect()),
        _ => locked.asked.clone(),
    };
    let mut changes = Vec::new();
    let suites = locked.suites.iter().map(LockedSuite::to_string).collect();
    let pairs = [
        (asked, named(request)),
        (locked.components.clone(), request.components.clone()),
        (Some(suites), request.other_suites()),
    ];
    for (before, now) in pairs {
        let Some(before) = before else {
            return "others are asked for than when it was written".to_string();
        };
        let added = now.iter().filter(|name| !before.contains(name));
        let gone = before.iter().filter(|name| !now.contains(name));
        changes.extend(added.map(|name| format!("{name} is new")));
        changes.extend(gone.map(|name| format!("{name} is no longer asked for")));
    }
    match (changes.is_empty(), files) {
        (true, Comparison::Other(name)) => format!("{name} is another file"),
        (true, _) => "what they go on top of is another, or `recommends` is".to_string(),
        (false, _) => changes.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::DEBIAN;
    use crate::digest::Digest;
    use crate::recipe::Key;

    #[test]
    fn the_difference_from_the_locked_request_is_named() {
        let request = |packages: &[&str]| Request {
            part: Part::Packages,
            distribution: &DEBIAN,
            suite: "trixie".into(),
            components: vec!["main".into()],
            pockets: Vec::new(),
            packages: packages.iter().map(|name| name.to_string()).collect(),
            backports: Vec::new(),
            files: Vec::new(),
            recommends: false,
            base: Base::Empty,
            optional: false,
            source: PackageSource::Mirror(None),
            keyring: None,
            repositories: Vec::new(),
        };
        let entry = |asked: Option<(Option<Vec<String>>, Vec<String>)>| LockedPackages {
            part: Part::Packages,
            request: Key(Digest::of("request")),
            suite: "trixie".into(),
            architecture: "amd64".into(),
            release: Digest::of("release"),
            date: None,
            asked: asked.clone().and_then(|(asked, _)| asked),
            components: asked.map(|(_, components)| components),
            medium: None,
            suites: Vec::new(),
            packages: Vec::new(),
        };
        let unknown = "others are asked for than when it was written";
        let changed = |locked: &LockedPackages, request: &Request| {
            changed(locked, request, &Comparison::Same)
        };
        assert_eq!(changed(&entry(None), &request(&["vim"])), unknown);
        let entry = entry(Some(noted(&request(&["vim", "htop"]))));
        assert_eq!(
            changed(&entry, &request(&["vim", "less"])),
            "less is new, htop is no longer asked for"
        );
        assert_eq!(
            changed(&entry, &request(&["vim", "htop"])),
            "what they go on top of is another, or `recommends` is"
        );
        let other = Comparison::Other("files/app.deb".into());
        let said = super::changed(&entry, &request(&["vim", "htop"]), &other);
        assert_eq!(said, "files/app.deb is another file");
    }
}
