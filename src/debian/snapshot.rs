//! An archive of old packages: a directory with the whole archive of each day, as Debian and Ubuntu
//! keep one. What left the mirror is looked for as of the day of the lock, then by its hash, where
//! the archive knows files by that. The lock's SHA-256 says whether it is the right one.

use super::distribution::{Archive, Distribution, UBUNTU};
use super::mirror;
use crate::cancel::Cancel;
use crate::error::{Context, Error, Result};
use crate::http::{Http, Refused, is_refusal};
use crate::lock::{Date, LockedPackages, Package};

/// The most bytes of an answer about the files of a package.
const MOST_ANSWER: u64 = 1 << 20;

/// Where old packages are.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The directory of days: `http://HOST/archive/debian`.
    url: String,
    distribution: &'static Distribution,
    /// When the index of the release was made that the lock is of.
    date: Option<Date>,
    /// The same of the other suites, by name.
    dates: Vec<(String, Option<Date>)>,
}

impl Snapshot {
    /// The archive at `given`, if that is one of the distribution, for the packages of `locked`.
    pub fn of(
        distribution: &'static Distribution,
        given: Option<&str>,
        locked: &LockedPackages,
    ) -> Option<Snapshot> {
        let own = locked.suites.iter().filter(|suite| suite.repository.is_none());
        let dates = own.map(|suite| (suite.name.clone(), suite.date)).collect();
        Some(Snapshot { dates, ..Snapshot::on(distribution, given, locked.date)? })
    }

    /// The same for packages of the release alone, whose index is of `date`.
    pub(super) fn on(
        distribution: &'static Distribution,
        given: Option<&str>,
        date: Option<Date>,
    ) -> Option<Snapshot> {
        let url = given?.trim_end_matches('/').to_string();
        let snapshot = Snapshot { url, distribution, date, dates: Vec::new() };
        (snapshot.url.ends_with(UBUNTU.root) == (*distribution == UBUNTU)).then_some(snapshot)
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Finds `package`; `download` gets a file from an address, and fails where it is not the one.
    pub fn find(
        &self,
        http: &Http,
        package: &Package,
        cancel: &Cancel,
        download: impl Fn(&str) -> Result<()>,
    ) -> Result<()> {
        if package.repository.is_some() {
            return Err(Error::new(Refused("it has the distribution's packages alone".into())));
        }
        let mut last = None;
        for url in self.by_day(package) {
            if there(download(&url), &mut last)?.is_some() {
                return Ok(());
            }
        }
        let known = self.root().map(|root| files(http, root, package, cancel));
        let known = known.map(|known| there(known, &mut last)).transpose()?.flatten();
        for url in known.unwrap_or_default() {
            if there(download(&url), &mut last)?.is_some() {
                return Ok(());
            }
        }
        let no_day = || Error::new(Refused("the lock does not say of which day it is".into()));
        Err(last.unwrap_or_else(no_day))
    }

    /// Where the package is as of the lock's day. An archive answers with its last state before
    /// the time it is asked for, and an index reaches it some hours after it was made; the pool
    /// keeps what an index named for longer than a day.
    fn by_day(&self, package: &Package) -> Vec<String> {
        let path = mirror::escaped(&package.path);
        let suite = package.suite.as_deref().unwrap_or_default();
        let of_suite = self.dates.iter().find(|(name, _)| name == suite);
        let date = of_suite.map_or(self.date, |(_, date)| *date);
        let archive = match self.distribution.archive_of(suite) {
            Archive::Main => "",
            Archive::Security => "-security",
        };
        let days = date.map(|date| [date.next_day(), date]).into_iter().flatten();
        days.map(|day| format!("{}{archive}/{day}/{path}", self.url)).collect()
    }

    /// What is above `/archive/debian`: there, files are known by their hash.
    fn root(&self) -> Option<&str> {
        self.url.rsplit_once("/archive/").map(|(root, _)| root)
    }
}

/// `None` for what a server does not have; `last` keeps why.
fn there<T>(got: Result<T>, last: &mut Option<Error>) -> Result<Option<T>> {
    match got {
        Ok(got) => Ok(Some(got)),
        Err(error) if is_refusal(&error) => {
            *last = Some(error);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The addresses, by hash, of the files that the archive at `root` has of a package.
fn files(http: &Http, root: &str, package: &Package, cancel: &Cancel) -> Result<Vec<String>> {
    let url = question(root, package);
    let answer = http.small(&url, MOST_ANSWER, cancel)?;
    // What is not an answer to this is a server that does not know the question.
    let hashes = hashes(&answer, package)
        .map_err(|error| Error::new(Refused(format!("reading {url}: {error:#}"))))?;
    Ok(hashes.iter().map(|hash| format!("{root}/file/{hash}")).collect())
}

/// The address that lists the hashes of a package's files.
fn question(root: &str, package: &Package) -> String {
    let (name, version) = (mirror::escaped(&package.name), mirror::escaped(&package.version));
    format!("{root}/mr/binary/{name}/{version}/binfiles")
}

/// The hashes that such an answer has for the package's architecture.
fn hashes(answer: &[u8], package: &Package) -> Result<Vec<String>> {
    let answer: serde_json::Value = serde_json::from_slice(answer)?;
    let rows = answer.get("result").and_then(|rows| rows.as_array()).context("it has no result")?;
    let text = |row: &serde_json::Value, key: &str| {
        row.get(key).and_then(|value| value.as_str()).map(str::to_string)
    };
    let of_architecture =
        rows.iter().filter(|row| text(row, "architecture").as_ref() == Some(&package.architecture));
    let is_hash = |hash: &String| hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(of_architecture.filter_map(|row| text(row, "hash")).filter(is_hash).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::DEBIAN;
    use crate::digest::Digest;

    fn package() -> Package {
        Package {
            name: "g++".into(),
            version: "1:2+b1".into(),
            architecture: "amd64".into(),
            sha256: Digest([0; 32]),
            size: 1,
            path: "pool/main/g/g++/g++_2+b1_amd64.deb".into(),
            essential: false,
            suite: None,
            repository: None,
            file: false,
        }
    }

    #[test]
    fn a_package_is_looked_for_by_day_and_by_hash() {
        let date = "20261231T010203Z".parse().ok();
        let archive = Snapshot::on(&DEBIAN, Some("http://a/archive/debian/"), date).unwrap();
        let path = "pool/main/g/g%2b%2b/g%2b%2b_2%2bb1_amd64.deb";
        let day = |day: &str| format!("http://a/archive/debian/{day}/{path}");
        assert_eq!(archive.by_day(&package()), [day("20270101T010203Z"), day("20261231T010203Z")]);
        let root = archive.root().unwrap();
        let expected = "http://a/mr/binary/g%2b%2b/1%3a2%2bb1/binfiles";
        assert_eq!(question(root, &package()), expected);
        let plain = Snapshot::on(&DEBIAN, Some("http://a/days"), None).unwrap();
        assert!(plain.by_day(&package()).is_empty());
        assert_eq!(plain.root(), None);
        assert!(Snapshot::on(&DEBIAN, Some("http://a/ubuntu"), date).is_none());
        assert!(Snapshot::on(&UBUNTU, Some("http://a/ubuntu"), date).is_some());
    }

    #[test]
    fn a_security_update_is_in_an_archive_of_its_own() {
        let dates = [("trixie-security".to_string(), "20270115T010203Z".parse().ok())];
        let date = "20261231T010203Z".parse().ok();
        let archive = Snapshot::on(&DEBIAN, Some("http://a/archive/debian"), date).unwrap();
        let archive = Snapshot { dates: dates.into(), ..archive };
        let package = Package { suite: Some("trixie-security".into()), ..package() };
        let path = "pool/main/g/g%2b%2b/g%2b%2b_2%2bb1_amd64.deb";
        assert_eq!(
            archive.by_day(&package)[1],
            format!("http://a/archive/debian-security/20270115T010203Z/{path}")
        );
    }

    #[test]
    fn only_hashes_of_the_architecture_count() {
        let answer = br#"{"result": [{"architecture": "amd64", "hash": "ab12"},
            {"architecture": "arm64", "hash": "cd"}, {"architecture": "amd64", "hash": "../x"}]}"#;
        assert_eq!(hashes(answer, &package()).unwrap(), ["ab12"]);
        assert!(hashes(b"{}", &package()).is_err());
        assert!(hashes(b"<html>", &package()).is_err());
    }
}
