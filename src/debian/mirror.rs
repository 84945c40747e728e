//! The address of a distribution's archive: the one that the user names, else the one that this
//! machine's own apt uses, else the distribution's public one.

use std::path::Path;

use super::distribution::{Distribution, UBUNTU};
use crate::error::{Hint, Result, anyhow};
use crate::format::deb822;

/// The root of an archive, without a slash at its end: `given` (from the command line or the
/// environment), else `configured` (from the pipeline), else the machine's apt.
pub fn find(
    distribution: &Distribution,
    given: Option<&str>,
    configured: Option<&str>,
) -> Result<String> {
    let here = || of_apt(distribution, Path::new("/etc/apt"));
    search(distribution, given, configured, here)
}

/// A path, name or version as part of an address.
pub fn escaped(text: &str) -> String {
    text.replace('+', "%2b").replace(':', "%3a")
}

fn search(
    distribution: &Distribution,
    given: Option<&str>,
    configured: Option<&str>,
    here: impl FnOnce() -> Option<String>,
) -> Result<String> {
    // One address cannot serve both, and a build of Ubuntu takes its tools from Debian.
    let is_ubuntus = |url: &str| url.trim_end_matches('/').ends_with(UBUNTU.root);
    let given = given.filter(|url| is_ubuntus(url) == (*distribution == UBUNTU));
    let configured = configured.filter(|url| !url.is_empty());
    let chosen = given.or(configured).map(str::to_string);
    let url = chosen.or_else(here).or(distribution.mirror.map(str::to_string));
    let url =
        url.ok_or_else(|| anyhow!("no mirror of {} is known on this machine", distribution.name));
    let root = distribution.root;
    let hint = format!("name one that ends in `{root}`: with `--mirror URL`, or the key `mirror`");
    Ok(url.hint(hint)?.trim_end_matches('/').to_string())
}

/// The first archive of the distribution in apt's lists of sources in `directory`.
fn of_apt(distribution: &Distribution, directory: &Path) -> Option<String> {
    let mut files = vec![directory.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(directory.join("sources.list.d")) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    files.iter().find_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        match file.extension()?.to_str()? {
            "list" => one_line_style(&text).find(|uri| is_of(distribution, uri)),
            "sources" => deb822_style(&text).find(|uri| is_of(distribution, uri)),
            _ => None,
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
    }

    #[test]
    fn both_styles_of_sources_are_read() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("sources.list.d")).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        assert_eq!(of_apt(&DEBIAN, directory.path()), None);
        write(
            "sources.list.d/debian.sources",
            "Types: deb\nURIs: http://x/debian\nSuites: a\n\n\
             Types: deb\nEnabled: no\nURIs: http://off/debian\n",
        );
        assert_eq!(of_apt(&DEBIAN, directory.path()), Some("http://x/debian".into()));
        write(
            "sources.list",
            "# deb http://no/debian a b\ndeb http://s/debian-security a main\n\
             deb [arch=amd64 signed-by=/k] http://y/debian a main\n\
             deb http://security.z/ubuntu b main\ndeb http://z/ubuntu/ b main\n",
        );
        assert_eq!(of_apt(&UBUNTU, directory.path()), Some("http://z/ubuntu/".into()));
        assert_eq!(of_apt(&DEBIAN, directory.path()), Some("http://y/debian".into()));
    }
}
