//! The files of packages: each is downloaded once for all pipelines, several at a time, and takes
//! its place in the cache only when its SHA-256 is the one the signed index gave.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::{Distribution, Package, mirror};
use crate::error::{Result, anyhow, caused_by, with_hint};
use crate::http::{Expected, Http, Refused};
use crate::site::Site;

/// Downloads at once.
const CONNECTIONS: usize = 8;

/// The files of `packages`, in the same order; `configured` is the pipeline's mirror.
pub fn fetch(
    site: &Site,
    distribution: &Distribution,
    packages: &[Package],
    configured: Option<&str>,
) -> Result<Vec<PathBuf>> {
    let place = |package: &Package| site.cache.package(&package.sha256);
    let there = |package: &Package| {
        place(package).metadata().is_ok_and(|found| found.len() == package.size)
    };
    let missing: Vec<&Package> = packages.iter().filter(|package| !there(package)).collect();
    if !missing.is_empty() {
        if site.settings.offline {
            return Err(with_hint(
                anyhow!(
                    "{} packages are not in the cache, the first is {}",
                    missing.len(),
                    missing[0]
                ),
                "build once without `--offline`",
            ));
        }
        let given = site.settings.mirror.as_deref();
        download(site, &missing, &mirror::find(distribution, given, configured)?)?;
    }
    Ok(packages.iter().map(place).collect())
}

fn download(site: &Site, missing: &[&Package], url: &str) -> Result<()> {
    let http = Http::new()?;
    let total: u64 = missing.iter().map(|package| package.size).sum();
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let failure = Mutex::new(None);
    let work = || {
        while let Some(package) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            let came = |bytes| {
                let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                (site.progress)(done.min(total), total, "B");
            };
            let expected = Expected { sha256: package.sha256, size: package.size };
            let url = format!("{url}/{}", package.path.replace('+', "%2b"));
            let place = site.cache.package(&package.sha256);
            if let Err(error) =
                http.download(&url, (&site.work, &place), expected, &site.cancel, &came)
            {
                let mut failure = failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                failure.get_or_insert(error);
                // The others finish what they have begun; what is whole is kept.
                next.store(missing.len(), Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        (0..CONNECTIONS.min(missing.len())).for_each(|_| {
            scope.spawn(work);
        });
    });
    match failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        None => Ok(()),
        Some(error) => {
            let hint = match caused_by::<Refused>(&error) {
                Some(_) => {
                    "a package that left the mirror: remove the lock to resolve anew, or name \
                     another mirror with `--mirror URL`"
                }
                None => "name a mirror that this machine reaches with `--mirror URL`",
            };
            Err(with_hint(error, hint))
        }
    }
}
