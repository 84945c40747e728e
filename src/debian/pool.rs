//! The files of packages. Each is downloaded once for all pipelines, several at a time, and enters
//! the cache only if its SHA-256 is the one in the signed index; it is compared with that again
//! whenever it is used. What has left the mirror is downloaded from an archive of old packages, where
//! one is named. Packages of a medium are copied from it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::snapshot::Snapshot;
use super::{Archive, Distribution, PackageSource, medium, mirror};
use crate::error::{Context, Error, Result, anyhow, with_hint};
use crate::http::{Expected, Http, is_other_file, is_refusal};
use crate::lock::Package;
use crate::stage_context::{Pin, StageContext};
use crate::threads;

/// How many downloads run at a time.
const CONNECTIONS: usize = 8;

/// The same from an archive of old packages, which are known to be slow.
const FEW_CONNECTIONS: usize = 2;

/// How many packages an error names.
const NAMED: usize = 5;

/// The packages that `pin` locks, and their files in the same order.
pub fn fetch(
    context: &StageContext,
    distribution: &'static Distribution,
    pin: &Pin,
    source: &PackageSource,
) -> Result<(Vec<Package>, Vec<PathBuf>)> {
    let packages = pin.packages().to_vec();
    let place = |package: &Package| context.cache.package(&package.sha256);
    let (missing, damaged) = missing(context, &packages)?;
    for package in &damaged {
        let stage = &context.stage;
        (context.warn)(&format!(
            "{stage}: the cache's file of {package} was damaged, and is removed"
        ));
    }
    if let (PackageSource::Medium(image), false) = (source, missing.is_empty()) {
        let image = image.as_ref().context("the medium is not built yet")?;
        medium::copy_packages(context, image, &missing)?;
    } else if !missing.is_empty() {
        if context.settings.offline {
            let (count, first) = (missing.len(), missing[0]);
            let error = match damaged.first() {
                Some(package) => anyhow!("the cache's file of {package} was damaged"),
                None => anyhow!("{count} packages are not in the cache, the first is {first}"),
            };
            return Err(with_hint(error, "build once without `--offline`"));
        }
        let mirrors = Mirrors::find(context, distribution, source, &missing)?;
        let locked = pin.locked.as_packages().context("packages are locked as packages")?;
        let given = context.settings.snapshot.as_deref();
        let archive = Snapshot::of(distribution, given, locked);
        download(context, &missing, &mirrors, archive.as_ref())?;
    }
    let files = packages.iter().map(place).collect();
    Ok((packages, files))
}

/// The archives on the mirrors.
struct Mirrors<'a> {
    distribution: &'a Distribution,
    main: String,
    /// Empty where none of the packages is in it.
    security: String,
}

impl Mirrors<'_> {
    fn find<'a>(
        context: &StageContext,
        distribution: &'a Distribution,
        source: &PackageSource,
        packages: &[&Package],
    ) -> Result<Mirrors<'a>> {
        let root = |archive| mirror::root(&context.settings, distribution, source, archive);
        let in_security = |package: &&&Package| {
            package.repository.is_none()
                && distribution.archive_of(suite(package)) == Archive::Security
        };
        let security = match packages.iter().find(in_security) {
            Some(_) => root(Archive::Security)?,
            None => String::new(),
        };
        Ok(Mirrors { distribution, main: root(Archive::Main)?, security })
    }

    /// The root of the archive that has `package`.
    fn root_of<'p>(&'p self, package: &'p Package) -> &'p str {
        if let Some(url) = &package.repository {
            return url;
        }
        match self.distribution.archive_of(suite(package)) {
            Archive::Main => &self.main,
            Archive::Security => &self.security,
        }
    }
}

/// The pocket that a package is from; empty for the release itself.
fn suite(package: &Package) -> &str {
    package.suite.as_deref().unwrap_or_default()
}

/// The packages whose files are not in the cache, and which of them were there damaged.
fn missing<'p>(
    context: &StageContext,
    packages: &'p [Package],
) -> Result<(Vec<&'p Package>, Vec<&'p Package>)> {
    let order: Vec<usize> = (0..packages.len()).collect();
    let found = Mutex::new(BTreeMap::new());
    // Hundreds of MiB are hashed.
    threads::for_each(&order, context.settings.jobs, |&at| -> Result<()> {
        context.cancel.check()?;
        let stored = context.cache.stored_package(&packages[at].sha256, packages[at].size)?;
        if !stored.is_whole() {
            let mut found = found.lock().unwrap_or_else(|it| it.into_inner());
            found.insert(at, stored.is_damaged());
        }
        Ok(())
    })?;
    let found = found.into_inner().unwrap_or_else(|it| it.into_inner());
    let missing = found.keys().map(|at| &packages[*at]).collect();
    let damaged = found.iter().filter(|(_, damaged)| **damaged).map(|(at, _)| &packages[*at]);
    Ok((missing, damaged.collect()))
}

/// A package that a server does not have.
struct Missing<'p> {
    package: &'p Package,
    error: Error,
}

fn download(
    context: &StageContext,
    missing: &[&Package],
    mirrors: &Mirrors<'_>,
    archive: Option<&Snapshot>,
) -> Result<()> {
    let http = Http::new()?;
    let downloads = Downloads::new(context, &http, missing);
    let hint = "name a mirror that this machine reaches with `--mirror URL`";
    let absent = downloads.get(missing, (CONNECTIONS, hint), |package, get| {
        get(&format!("{}/{}", mirrors.root_of(package), mirror::escaped(&package.path)))
    })?;
    let mirror = absent.first().map_or("", |absent| mirrors.root_of(absent.package)).to_string();
    let (Some(archive), false) = (archive, absent.is_empty()) else {
        return refuse(absent, &mirror, None);
    };
    (context.progress)(0, 0, "asking the archive of old packages");
    let rest: Vec<&Package> = absent.iter().map(|absent| absent.package).collect();
    let hint = "name an archive that this machine reaches with `--snapshot URL`";
    let absent = downloads.get(&rest, (FEW_CONNECTIONS, hint), |package, get| {
        archive.find(&http, package, &context.cancel, get)
    })?;
    refuse(absent, &mirror, Some(archive))
}

/// The downloads of one stage.
struct Downloads<'a> {
    context: &'a StageContext,
    http: &'a Http,
    total: u64,
    done: AtomicU64,
}

impl<'a> Downloads<'a> {
    fn new(context: &'a StageContext, http: &'a Http, missing: &[&Package]) -> Downloads<'a> {
        let total = missing.iter().map(|package| package.size).sum();
        Downloads { context, http, total, done: AtomicU64::new(0) }
    }

    /// Downloads `packages`, some at a time; `find` knows the addresses. Returns those that the server
    /// does not have, once the others are here. `hint` is for every other error.
    fn get<'p>(
        &self,
        packages: &[&'p Package],
        (connections, hint): (usize, &str),
        find: impl Fn(&Package, &dyn Fn(&str) -> Result<()>) -> Result<()> + Sync,
    ) -> Result<Vec<Missing<'p>>> {
        let absent = Mutex::new(Vec::new());
        let fetch = |package: &&'p Package| match find(package, &|url| self.one(package, url)) {
            Err(error) if is_refusal(&error) => {
                let mut absent = absent.lock().unwrap_or_else(|it| it.into_inner());
                absent.push(Missing { package, error });
                Ok(())
            }
            other => other,
        };
        threads::for_each(packages, connections, fetch).map_err(|error| with_hint(error, hint))?;
        let mut absent = absent.into_inner().unwrap_or_else(|it| it.into_inner());
        absent.sort_by(|a, b| a.package.cmp(b.package));
        Ok(absent)
    }

    fn one(&self, package: &Package, url: &str) -> Result<()> {
        let came = |bytes| {
            let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            (self.context.progress)(done.min(self.total), self.total, "B");
        };
        let expected = Expected { sha256: package.sha256, size: package.size };
        let place = self.context.cache.package(&package.sha256);
        self.http.download(url, (&self.context.work, &place), expected, &self.context.cancel, &came)
    }
}

/// The one error for all packages that are nowhere.
fn refuse(absent: Vec<Missing<'_>>, mirror: &str, archive: Option<&Snapshot>) -> Result<()> {
    let names: Vec<String> =
        absent.iter().take(NAMED).map(|absent| absent.package.to_string()).collect();
    let more = match absent.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let count = absent.len();
    let Some(first) = absent.into_iter().next() else { return Ok(()) };
    let (what, are) = match count {
        1 => ("a package of the lock".to_string(), "is"),
        count => (format!("{count} packages of the lock"), "are"),
    };
    let place = match archive {
        Some(archive) => format!("the mirror {mirror} nor in the archive {}", archive.url()),
        None => format!("the mirror {mirror}"),
    };
    let neither = match (archive, is_other_file(&first.error)) {
        (Some(_), _) => "neither on",
        (None, true) => "other than it must be on",
        (None, false) => "not on",
    };
    let names = names.join(", ");
    let error = first.error.context(format!("{what} {are} {neither} {place}: {names}{more}"));
    Err(with_hint(
        error,
        match archive {
            Some(_) => "`kuth update PIPELINE` takes what the mirror has now",
            None => {
                "name an archive of old packages with `--snapshot URL`, or take what the mirror \
                 has now with `kuth update PIPELINE`"
            }
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::error::hints;

    #[test]
    fn missing_packages_are_named_in_one_error() {
        let package = |at: usize| Package {
            name: format!("p{at}"),
            version: "1".into(),
            architecture: "all".into(),
            sha256: Digest([0; 32]),
            size: 1,
            path: "p".into(),
            essential: false,
            suite: None,
            repository: None,
            file: false,
        };
        let packages: Vec<Package> = (0..7).map(package).collect();
        let absent = |count: usize| {
            let absent = |package| Missing { package, error: anyhow!("404") };
            packages.iter().take(count).map(absent).collect::<Vec<_>>()
        };
        assert!(refuse(absent(0), "http://m/debian", None).is_ok());
        let error = refuse(absent(1), "http://m/debian", None).unwrap_err();
        let expected = "a package of the lock is not on the mirror http://m/debian: p0 1 all";
        assert_eq!(error.to_string(), expected);
        assert!(hints(&error)[0].contains("--snapshot"), "{error:?}");
        let archive = Snapshot::on(&crate::debian::DEBIAN, Some("http://a/debian"), None);
        let error = refuse(absent(7), "http://m/debian", archive.as_ref()).unwrap_err();
        let expected = "7 packages of the lock are neither on the mirror http://m/debian nor in \
                        the archive http://a/debian: p0 1 all, p1 1 all, p2 1 all, p3 1 all, \
                        p4 1 all and 2 more";
        assert_eq!(error.to_string(), expected);
    }
}
