//! A suite that a request searches: one of the distribution's, or of a repository of somebody else's,
//! and how apt is told of it.

use crate::digest::Digest;
use crate::error::Result;
use crate::stage_context::StageContext;

use super::signed::TrustedKeys;
use super::{Archive, Request, mirror};

/// The address under which a kept index knows the distribution's archive: any mirror gives the same
/// bytes.
const ARCHIVE: &str = "http://archive.invalid/debian";
/// The same for Debian's archive of security updates.
const SECURITY_ARCHIVE: &str = "http://security.invalid/debian";

/// One suite, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchedSuite {
    /// Its name, as in `dists/NAME`; of a flat repository the directory, which ends in `/`.
    pub name: String,
    /// The components that are searched; none in a flat repository.
    pub components: Vec<String>,
    /// The keys that may sign its index.
    pub keys: TrustedKeys,
    /// The address of the repository; none: it is the distribution's.
    pub repository: Option<String>,
}

impl SearchedSuite {
    /// Whether it is a directory with packages and one list of them.
    pub fn is_flat(&self) -> bool {
        self.components.is_empty()
    }

    /// The host name that apt knows a repository by, in place of its own: apt pins by it.
    pub fn host(repository: &str) -> String {
        format!("{}.repository.invalid", &Digest::of(repository).to_string()[..16])
    }

    /// The address under which its kept index and its packages are known to apt.
    pub fn address(&self, request: &Request) -> String {
        match &self.repository {
            Some(url) => format!("http://{}", SearchedSuite::host(url)),
            None => match request.distribution.archive_of(&self.name) {
                Archive::Main => ARCHIVE.to_string(),
                Archive::Security => SECURITY_ARCHIVE.to_string(),
            },
        }
    }

    /// The root of the archive or repository on the network, without a slash at its end.
    pub fn root(&self, context: &StageContext, request: &Request) -> Result<String> {
        match &self.repository {
            Some(url) => Ok(url.clone()),
            None => {
                let archive = request.distribution.archive_of(&self.name);
                mirror::root(&context.settings, request.distribution, &request.source, archive)
            }
        }
    }

    /// The directory of its index, below the root; empty for the root itself.
    pub fn directory(&self) -> String {
        match self.is_flat() {
            true => self.name.trim_start_matches("./").trim_end_matches('/').to_string(),
            false => format!("dists/{}", self.name),
        }
    }

    /// The line of apt's sources for it at `url`. kuth has verified its index.
    pub fn line(&self, url: &str) -> String {
        let words = [format!("deb [trusted=yes] {url}"), self.name.clone()];
        let words: Vec<String> = words.into_iter().chain(self.components.clone()).collect();
        words.join(" ") + "\n"
    }

    /// The start of the names of its files in apt's directory of lists.
    pub fn file_prefix(&self, request: &Request) -> String {
        let address = self.address(request);
        let address = address.trim_start_matches("http://");
        format!("{}{}", as_file(address), self.file_middle())
    }

    /// What stands in those names between the archive's address and the name of the file.
    fn file_middle(&self) -> String {
        match self.is_flat() {
            true => format!("_{}", as_file(&self.name)),
            false => format!("_dists_{}_", as_file(&self.name)),
        }
    }
}

/// A part of an address as apt writes it in the name of a file.
pub(super) fn as_file(text: &str) -> String {
    let quoted = |letter: char| match letter {
        '/' => "_".to_string(),
        letter if r#"\|{}[]<>"^~_=!@#$%&*"#.contains(letter) => format!("%{:02x}", letter as u32),
        letter => letter.to_string(),
    };
    text.chars().map(quoted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_repository_is_a_directory_and_has_no_components() {
        let suite = |name: &str, components: &[&str]| SearchedSuite {
            name: name.into(),
            components: components.iter().map(|name| name.to_string()).collect(),
            keys: TrustedKeys::Distribution(&crate::debian::DEBIAN),
            repository: Some("http://x/y".into()),
        };
        let flat = suite("./", &[]);
        assert_eq!((flat.directory().as_str(), flat.file_middle().as_str()), ("", "_._"));
        assert_eq!(flat.line("http://x"), "deb [trusted=yes] http://x ./\n");
        let tree = suite("a_b/c", &["main", "extra"]);
        assert_eq!(tree.directory(), "dists/a_b/c");
        assert_eq!(tree.file_middle(), "_dists_a%5fb_c_");
        assert_eq!(tree.line("http://x"), "deb [trusted=yes] http://x a_b/c main extra\n");
        assert_eq!(as_file("x:80/~a"), "x:80_%7ea");
    }
}
