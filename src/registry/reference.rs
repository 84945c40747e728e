//! The name of an image in a registry: `oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST]`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::format::oci::BlobDigest;

/// The scheme of an address.
const SCHEME: &str = "oci://";
/// The registry of names without one, and where it answers.
const DOCKER: &str = "docker.io";
const DOCKER_API: &str = "registry-1.docker.io";
/// The most bytes of a repository's name with its host, and of a tag.
const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;

/// The name of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The registry, with its port where it has one.
    pub host: String,
    /// The repository.
    pub repository: String,
    /// The tag.
    pub tag: Option<String>,
    /// The digest of the manifest.
    pub digest: Option<BlobDigest>,
}

/// Why a text does not name an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceError(&'static str);

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ReferenceError {}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        let fail = |why| Err(ReferenceError(why));
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return fail("it does not begin with `oci://`");
        };
        let (rest, digest) = match rest.split_once('@') {
            None => (rest, None),
            Some((rest, digest)) => match digest.parse() {
                Ok(digest) => (rest, Some(digest)),
                Err(_) => return fail("its digest is not `sha256:` and 64 hexadecimal digits"),
            },
        };
        let Some((host, path)) = rest.split_once('/') else {
            return fail("it has no repository");
        };
        let (repository, tag) = match path.split_once(':') {
            None => (path, None),
            Some((repository, tag)) => (repository, Some(tag.to_string())),
        };
        if !is_host(host) {
            return fail("its registry is not the name of a host");
        }
        if !repository.split('/').all(is_component) || host.len() + path.len() > LONGEST_NAME {
            return fail(
                "its repository is not one: lower-case letters, digits, `.`, `_`, `-`, `/`",
            );
        }
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return fail("its tag is not one: letters, digits, `.`, `_` and `-`, at most 128");
        }
        Ok(Reference { host: host.to_string(), repository: repository.to_string(), tag, digest })
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
    };
    let is_address = |name: &str| {
        let inside = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        inside.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
    };
    (is_name(name) || is_address(name)) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Whether a part of a repository's name is made of words of letters and digits with `.`, `_`, `__` or
/// any number of `-` between them.
fn is_component(part: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    ends.is_some_and(|(first, last)| is_word(*first) && is_word(*last))
        && part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(|between| {
            matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !tag.is_empty()
        && tag.len() <= LONGEST_TAG
        && tag.bytes().all(is_legal)
        && !tag.starts_with(['.', '-'])
}

impl Reference {
    /// The host that requests go to.
    pub(super) fn api(&self) -> &str {
        if self.host == DOCKER { DOCKER_API } else { &self.host }
    }

    /// The repository as requests name it: Docker's own images are in `library`.
    pub(super) fn path(&self) -> String {
        match self.host == DOCKER && !self.repository.contains('/') {
            true => format!("library/{}", self.repository),
            false => self.repository.clone(),
        }
    }

    /// Whether the registry is on this host, where plain HTTP is no risk.
    pub fn is_loopback(&self) -> bool {
        let name = match self.host.rsplit_once(':') {
            Some((name, _)) if !self.host.ends_with(']') => name,
            _ => &self.host,
        };
        let address = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }

    /// The same image with this digest.
    pub fn at(&self, digest: BlobDigest) -> Reference {
        Reference { digest: Some(digest), ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_and_written() {
        let digest = BlobDigest::of("x");
        for (text, host, repository, tag) in [
            ("oci://ghcr.io/a/b:v1", "ghcr.io", "a/b", Some("v1")),
            ("oci://localhost:5000/x", "localhost:5000", "x", None),
            ("oci://[::1]:5000/a__b/c-d--e.f:1.0_x", "[::1]:5000", "a__b/c-d--e.f", Some("1.0_x")),
            ("oci://[::1]/x", "[::1]", "x", None),
        ] {
            let read: Reference = text.parse().unwrap();
            let found = (read.host.as_str(), read.repository.as_str(), read.tag.as_deref());
            assert_eq!(found, (host, repository, tag));
            assert_eq!(read.to_string(), text);
            let pinned: Reference = format!("{text}@{digest}").parse().unwrap();
            assert_eq!(pinned, read.at(digest));
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "docker://a/b",
            "oci://host",
            "oci:///x",
            "oci://host/",
            "oci://host/X",
            "oci://host/a..b",
            "oci://host/-a",
            "oci://host/a___b",
            "oci://host/../x",
            "oci://host/x:",
            "oci://host/x:.a",
            "oci://host/x:a/b",
            "oci://host/x@sha256:12",
            "oci://host:99999/x",
            "oci://me@host/x",
            "oci://host?x/y",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_this_host_is_loopback() {
        for (text, expected) in [
            ("oci://localhost:5000/x", true),
            ("oci://127.0.0.2/x", true),
            ("oci://[::1]:5000/x", true),
            ("oci://localhost.example.org/x", false),
            ("oci://10.0.0.1:5000/x", false),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().is_loopback(), expected, "{text}");
        }
    }

    #[test]
    fn images_of_docker_have_their_own_names() {
        let short: Reference = "oci://docker.io/debian:13".parse().unwrap();
        assert_eq!(
            (short.api(), short.path().as_str()),
            ("registry-1.docker.io", "library/debian")
        );
        let long: Reference = "oci://docker.io/a/b".parse().unwrap();
        assert_eq!(long.path(), "a/b");
    }
}
