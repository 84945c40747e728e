//! The addresses of a distribution's archives: those that the user names, else those that this
//! machine's own apt uses, else the distribution's public ones.

use std::path::Path;

use super::PackageSource;
use super::distribution::{Archive, Distribution, UBUNTU};
use crate::error::{Hint, Result, anyhow};
use crate::format::deb822;
use crate::stage_context::Settings;

/// The root of an archive, without a slash at its end: `given` (from the command line or the
/// environment), else `configured` (from the pipeline), else the machine's apt.
pub fn find(
    distribution: &Distribution,
    given: Option<&str>,
    configured: Option<&str>,
) -> Result<String> {
    let here = || uris_of_apt(Path::new("/etc/apt")).find(|uri| is_of(distribution, uri));
    search(distribution, given, configured, here)
}

/// The root of `archive`, for packages of `source`, with the options of `settings`.
pub fn root(
    settings: &Settings,
    distribution: &Distribution,
    source: &PackageSource,
    archive: Archive,
) -> Result<String> {
    let (given, configured) = (settings.mirror.as_deref(), source.mirror());
    let main = find(distribution, given, configured)?;
    match (archive, &settings.security_mirror) {
        (Archive::Main, _) => Ok(main),
        (Archive::Security, Some(url)) => Ok(url.trim_end_matches('/').to_string()),
        (Archive::Security, None) => {
            // A mirror that is named stands for the whole distribution; what this machine uses may
            // be of another day.
            let here = || uris_of_apt(Path::new("/etc/apt")).find(|uri| is_security(uri));
            let here = match named(distribution, given, configured) {
                Some(_) => None,
                None => here(),
            };
            let url = here.unwrap_or_else(|| beside(distribution, &main));
            Ok(url.trim_end_matches('/').to_string())
        }
    }
}

/// The archive of security updates that belongs to the mirror `main`: Debian's own for Debian's own
/// mirrors, else the directory beside it.
pub fn beside(distribution: &Distribution, main: &str) -> String {
    let host = main.split('/').nth(2).unwrap_or_default();
    if main.ends_with(distribution.root) && host.ends_with(".debian.org") {
        return distribution.security_source.to_string();
    }
    let root = format!("{}/", distribution.root);
    match main.rsplit_once(&root) {
        // A snapshot: `http://HOST/archive/debian/20260101T000000Z`.
        Some((above, day)) => format!("{above}{}-security/{day}", distribution.root),
        None => format!("{main}-security"),
    }
}

/// A path, name or version as part of an address.
pub fn escaped(text: &str) -> String {
    text.replace('+', "%2b").replace(':', "%3a")
}

/// The address among those of the user and of the pipeline that is the distribution's: one cannot
/// serve both, and a build of Ubuntu takes its tools from Debian.
fn named<'a>(
    distribution: &Distribution,
    given: Option<&'a str>,
    configured: Option<&'a str>,
) -> Option<&'a str> {
    let is_ubuntus = |url: &str| url.trim_end_matches('/').ends_with(UBUNTU.root);
    let is_own = |url: &&str| is_ubuntus(url) == (*distribution == UBUNTU);
    let [given, configured] = [given, configured].map(|url| url.filter(|url| !url.is_empty()));
    given.filter(is_own).or(configured)
}

fn search(
    distribution: &Distribution,
    given: Option<&str>,
    configured: Option<&str>,
    here: impl FnOnce() -> Option<String>,
) -> Result<String> {
    let chosen = named(distribution, given, configured).map(str::to_string);
    let url = chosen.or_else(here).or(distribution.mirror.map(str::to_string));
    let url =
        url.ok_or_else(|| anyhow!("no mirror of {} is known on this machine", distribution.name));
    let root = distribution.root;
    let hint = format!("name one that ends in `{root}`: with `--mirror URL`, or the key `mirror`");
    Ok(url.hint(hint)?.trim_end_matches('/').to_string())
}

/// The archives in apt's lists of sources in `directory`.
fn uris_of_apt(directory: &Path) -> impl Iterator<Item = String> {
    let mut files = vec![directory.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(directory.join("sources.list.d")) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    files.into_iter().flat_map(|file| {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => one_line_style(&text).collect(),
            Some("sources") => deb822_style(&text).collect(),
            _ => Vec::new(),
        }
    })
}

/// `deb [options] URI suite component...`
fn one_line_style(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines().filter_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        rest.split_whitespace().next().map(str::to_string)
    })
}

/// `URIs: one two` in a stanza that is not switched off.
fn deb822_style(text: &str) -> impl Iterator<Item = String> + '_ {
    let enabled = deb822::paragraphs(text).filter(|it| it.value("Enabled") != Some("no"));
    enabled.filter_map(|it| it.field("URIs")).flat_map(|uris| uris.words().map(str::to_string))
}

/// Whether it is the distribution's main archive: neither that of security updates nor another
/// repository.
fn is_of(distribution: &Distribution, uri: &str) -> bool {
    let uri = uri.trim_end_matches('/');
    uri.starts_with("http") && uri.ends_with(distribution.root) && !uri.contains("//security.")
}

/// Whether it is Debian's archive of security updates.
fn is_security(uri: &str) -> bool {
    uri.starts_with("http") && uri.trim_end_matches('/').ends_with("/debian-security")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::distribution::DEBIAN;

    #[test]
    fn options_override_the_pipeline() {
        let (a, b) = (Some("http://a/debian/"), Some("http://b/debian"));
        let find = |distribution, given, configured| {
            search(distribution, given, configured, || None).map_err(|error| error.to_string())
        };
        assert_eq!(find(&DEBIAN, a, b).unwrap(), "http://a/debian");
        assert_eq!(find(&DEBIAN, None, b).unwrap(), "http://b/debian");
        assert_eq!(find(&DEBIAN, None, Some("")).unwrap(), DEBIAN.mirror.unwrap());
        // Each takes what is its own.
        let ubuntu = Some("http://c/ubuntu");
        assert_eq!(find(&UBUNTU, ubuntu, None).unwrap(), "http://c/ubuntu");
        assert_eq!(find(&UBUNTU, a, ubuntu).unwrap(), "http://c/ubuntu");
        assert_eq!(find(&DEBIAN, ubuntu, b).unwrap(), "http://b/debian");
        assert!(find(&UBUNTU, a, Some("")).unwrap_err().contains("no mirror of ubuntu"));
        // A mirror of another distribution says nothing of where this one's updates are.
        assert_eq!(named(&DEBIAN, ubuntu, None), None);
        assert_eq!(named(&DEBIAN, Some(""), b), b);
    }

    #[test]
    fn security_updates_are_looked_for_beside_a_mirror() {
        for (main, security) in [
            ("http://deb.debian.org/debian", DEBIAN.security_source),
            ("http://ftp.de.debian.org/debian", DEBIAN.security_source),
            ("http://m/debian", "http://m/debian-security"),
            ("http://m/mirror", "http://m/mirror-security"),
            (
                "http://s/archive/debian/20260101T000000Z",
                "http://s/archive/debian-security/20260101T000000Z",
            ),
        ] {
            assert_eq!(beside(&DEBIAN, main), security);
        }
        let (debian, source) = (Some("http://m/debian".to_string()), PackageSource::Mirror(None));
        let settings = |security_mirror| Settings {
            mirror: debian.clone(),
            security_mirror,
            ..Settings::default()
        };
        let of = |settings: &Settings| root(settings, &DEBIAN, &source, Archive::Security).unwrap();
        assert_eq!(of(&settings(None)), "http://m/debian-security");
        assert_eq!(of(&settings(Some("http://x/y/".into()))), "http://x/y");
    }

    #[test]
    fn both_styles_of_sources_are_read() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("sources.list.d")).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        let of_apt = |distribution: &Distribution| {
            uris_of_apt(directory.path()).find(|uri| is_of(distribution, uri))
        };
        assert_eq!(of_apt(&DEBIAN), None);
        write(
            "sources.list.d/debian.sources",
            "Types: deb\nURIs: http://x/debian\nSuites: a\n\n\
             Types: deb\nEnabled: no\nURIs: http://off/debian\n",
        );
        assert_eq!(of_apt(&DEBIAN), Some("http://x/debian".into()));
        write(
            "sources.list",
            "# deb http://no/debian a b\ndeb http://s/debian-security a main\n\
             deb [arch=amd64 signed-by=/k] http://y/debian a main\n\
             deb http://security.z/ubuntu b main\ndeb http://z/ubuntu/ b main\n",
        );
        assert_eq!(of_apt(&UBUNTU), Some("http://z/ubuntu/".into()));
        assert_eq!(of_apt(&DEBIAN), Some("http://y/debian".into()));
        let security = uris_of_apt(directory.path()).find(|uri| is_security(uri));
        assert_eq!(security, Some("http://s/debian-security".into()));
    }
}
