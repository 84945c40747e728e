//! dpkg's database of installed packages, `var/lib/dpkg/status`. Only what is installed counts; a
//! removed package whose settings stayed does not.
//!
//! Source: deb-control(5), dpkg(1), the `deb` type of the package URL specification.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Fault;
use super::os_release::System;

/// What stands before a fault.
const FORMAT: &str = "dpkg";

/// What is installed in a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The system that it is.
    pub system: System,
    /// The packages, sorted by name and architecture.
    pub packages: Vec<Package>,
}

/// An installed package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// `amd64`, `all`, ...
    pub architecture: String,
    /// Its version, epoch and all.
    pub version: String,
    /// The name of the source package it was built from.
    pub source: String,
    /// The version of that.
    pub source_version: String,
    /// `Name <address>`, or empty.
    pub maintainer: String,
    /// The first line of its description.
    pub summary: String,
    /// Its project's page, or empty.
    pub homepage: String,
    /// KiB that its files take, as it says itself.
    pub installed: u64,
}

/// `htop 3.4.1-5 amd64`
impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.version, self.architecture)
    }
}

/// The installed packages of a status database, sorted.
pub fn read(text: &str) -> Result<Vec<Package>, Fault> {
    let mut packages = Vec::new();
    for paragraph in paragraphs(text) {
        let field = |name: &str| {
            let mut fields = paragraph.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
            fields.next().map(|(_, value)| *value)
        };
        let name = field("Package").ok_or_else(|| {
            Fault::new(FORMAT, "a paragraph of the status database names no package")
        })?;
        // wanted, flag, state
        let state = field("Status").and_then(|status| status.split_whitespace().nth(2));
        if matches!(state, None | Some("not-installed" | "config-files")) {
            continue;
        }
        let version = field("Version")
            .ok_or_else(|| Fault::new(FORMAT, format!("`{name}` has no version")))?;
        // `Source: NAME`, or `Source: NAME (VERSION)`; neither where they are the package's own.
        let source = field("Source").unwrap_or(name);
        let (source, source_version) = match source.split_once('(') {
            Some((source, version)) => (source.trim(), version.trim_end_matches(')').trim()),
            None => (source.trim(), version),
        };
        let text = |name: &str| field(name).unwrap_or_default().to_string();
        packages.push(Package {
            name: name.to_string(),
            architecture: text("Architecture"),
            version: version.to_string(),
            source: source.to_string(),
            source_version: source_version.to_string(),
            maintainer: text("Maintainer"),
            summary: text("Description"),
            homepage: text("Homepage"),
            installed: text("Installed-Size").parse().unwrap_or(0),
        });
    }
    packages.sort();
    Ok(packages)
}

/// The paragraphs of a control file, each its fields with the first lines of their values.
fn paragraphs(text: &str) -> impl Iterator<Item = Vec<(&str, &str)>> {
    let mut lines = text.lines().peekable();
    std::iter::from_fn(move || {
        while lines.next_if(|line| line.trim().is_empty()).is_some() {}
        lines.peek()?;
        let mut fields = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.trim().is_empty()) {
            let continues = line.starts_with([' ', '\t']);
            if let Some((key, value)) = line.split_once(':').filter(|_| !continues) {
                fields.push((key.trim(), value.trim()));
            }
        }
        Some(fields)
    })
}

/// A package's URL in the world: `pkg:deb/debian/htop@3.4.1-5?arch=amd64&distro=debian-13`.
/// `upstream` names the source package where that is another one, as scanners look it up.
pub fn purl(package: &Package, system: &System) -> String {
    let distro = Some(system.distro());
    let Package { name, version, architecture, source, source_version, .. } = package;
    let upstream = match (source == name, source_version == version) {
        (true, true) => None,
        (false, true) => Some(source.clone()),
        (_, false) => Some(format!("{source}@{source_version}")),
    };
    let qualifiers = [("distro", distro), ("upstream", upstream)];
    let mut url = purl_of(&system.id, name, version, architecture);
    for (key, value) in qualifiers {
        if let Some(value) = value {
            url += &format!("&{key}={}", quoted(&value));
        }
    }
    url
}

/// The same without what says where it is installed.
pub fn purl_of(vendor: &str, name: &str, version: &str, architecture: &str) -> String {
    let [vendor, name, version] = [vendor, name, version].map(quoted);
    format!("pkg:deb/{vendor}/{name}@{version}?arch={}", quoted(architecture))
}

/// Name, version and architecture of the package that a URL names.
pub fn of_purl(url: &str) -> Option<[String; 3]> {
    let rest = url.strip_prefix("pkg:deb/")?;
    let (path, qualifiers) = rest.split_once('?')?;
    let (name, version) = path.rsplit_once('/')?.1.split_once('@')?;
    let architecture = qualifiers.split('&').find_map(|pair| pair.strip_prefix("arch="))?;
    Some([unquoted_url(name)?, unquoted_url(version)?, unquoted_url(architecture)?])
}

/// Undoes [`quoted`].
fn unquoted_url(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

/// `text` with everything percent-encoded that is not unreserved.
fn quoted(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "\
Package: zlib1g
Status: install ok installed
Installed-Size: 167
Maintainer: Mark Brown <broonie@debian.org>
Architecture: amd64
Multi-Arch: same
Source: zlib
Version: 1:1.3.dfsg+really1.3.1-1+b1
Description: compression library - runtime
 zlib is a library implementing the deflate compression method found
 .
 in gzip and PKZIP.
Homepage: http://zlib.net/

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: base-files
Status: hold ok installed
Architecture: amd64
Source: base (2~x)
Version: 13.8
";

    const RELEASE: &str = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nNAME='Debian GNU/Linux'\n\
                           VERSION_ID=\"13\"\nVERSION_CODENAME=trixie\nID=debian\n";

    #[test]
    fn what_is_installed_is_read_and_sorted() {
        let packages = read(STATUS).unwrap();
        let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["base-files", "zlib1g"]);
        assert_eq!((&*packages[0].source, &*packages[0].source_version), ("base", "2~x"));
        assert_eq!(packages[1].source_version, packages[1].version);
        assert_eq!(packages[1].summary, "compression library - runtime");
        assert_eq!(packages[1].installed, 167);
    }

    #[test]
    fn what_is_no_database_is_refused() {
        assert!(read("Version: 1\n").is_err());
        assert!(read("Package: x\nStatus: install ok installed\n").is_err());
        assert_eq!(read("\n\n"), Ok(Vec::new()));
    }

    #[test]
    fn urls_are_read_back() {
        let (packages, system) = (read(STATUS).unwrap(), System::read(RELEASE));
        for package in &packages {
            let read = of_purl(&purl(package, &system)).unwrap();
            assert_eq!(
                read,
                [&package.name, &package.version, &package.architecture].map(Clone::clone)
            );
        }
        for url in ["pkg:npm/a@1?arch=x", "pkg:deb/debian/a@1", "pkg:deb/debian/a@%4?arch=x"] {
            assert_eq!(of_purl(url), None, "{url}");
        }
    }

    #[test]
    fn urls_name_version_architecture_and_source() {
        let (packages, system) = (read(STATUS).unwrap(), System::read(RELEASE));
        assert_eq!(
            purl(&packages[1], &system),
            "pkg:deb/debian/zlib1g@1%3A1.3.dfsg%2Breally1.3.1-1%2Bb1?arch=amd64\
             &distro=debian-13&upstream=zlib"
        );
        assert_eq!(
            purl(&packages[0], &system),
            "pkg:deb/debian/base-files@13.8?arch=amd64&distro=debian-13&upstream=base%402~x"
        );
    }
}
