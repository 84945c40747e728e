//! Where Debian's archive is: what the user says, else what this machine's own apt uses, else the
//! name that every Debian knows.

use std::path::Path;

/// Where packages come from when nobody says anything.
const DEFAULT: &str = "http://ftp.debian.org/debian";

/// The keyring that the package debian-archive-keyring installs.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The root of a Debian archive, without a slash at its end: `given` (from the command line or
/// the environment), else `configured` (from the pipeline), else the machine's apt.
pub fn find(given: Option<&str>, configured: Option<&str>) -> String {
    let chosen = given.or(configured).map(str::to_string);
    let url = chosen.or_else(|| of_apt(Path::new("/etc/apt"))).unwrap_or(DEFAULT.to_string());
    url.trim_end_matches('/').to_string()
}

/// The first Debian archive in apt's lists of sources in `folder`.
fn of_apt(folder: &Path) -> Option<String> {
    let mut files = vec![folder.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(folder.join("sources.list.d")) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    files.iter().find_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        match file.extension()?.to_str()? {
            "list" => one_line_style(&text).find(|uri| is_debian(uri)),
            "sources" => deb822_style(&text).find(|uri| is_debian(uri)),
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
    let on = |stanza: &&str| !stanza.lines().any(|line| line.trim() == "Enabled: no");
    text.split("\n\n").filter(on).flat_map(|stanza| {
        let uris = stanza.lines().filter_map(|line| line.strip_prefix("URIs:"));
        uris.flat_map(|uris| uris.split_whitespace().map(str::to_string))
    })
}

/// A Debian archive proper, not its security archive nor somebody else's repository.
fn is_debian(uri: &str) -> bool {
    let uri = uri.trim_end_matches('/');
    uri.starts_with("http") && uri.ends_with("/debian")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_says_wins_over_the_pipeline() {
        assert_eq!(find(Some("http://a/debian/"), Some("http://b/debian")), "http://a/debian");
        assert_eq!(find(None, Some("http://b/debian")), "http://b/debian");
    }

    #[test]
    fn both_styles_of_sources_are_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sources.list.d")).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        assert_eq!(of_apt(folder.path()), None);
        write(
            "sources.list.d/debian.sources",
            "Types: deb\nURIs: http://x/debian\nSuites: a\n\n\
             Types: deb\nEnabled: no\nURIs: http://off/debian\n",
        );
        assert_eq!(of_apt(folder.path()), Some("http://x/debian".into()));
        write(
            "sources.list",
            "# deb http://no/debian a b\ndeb http://s/debian-security a main\n\
             deb [arch=amd64 signed-by=/k] http://y/debian a main\n",
        );
        assert_eq!(of_apt(folder.path()), Some("http://y/debian".into()));
    }
}
