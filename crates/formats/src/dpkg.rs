//! dpkg's database of installed packages, `var/lib/dpkg/status`. Only installed packages count;
//! removed ones whose configuration files stayed do not.
//!
//! Source: deb-control(5), dpkg(1).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::os_release::System;
use super::{Fault, deb822};

const FORMAT: &str = "dpkg";

/// What is installed in a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Its os-release.
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
    /// Its version with epoch and revision.
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
    /// `Installed-Size`: KiB that its files take; 0 where it says nothing.
    pub installed: u64,
}

/// `htop 3.4.1-5 amd64`
impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.version, self.architecture)
    }
}

/// The installed packages of a status database, sorted. Fails for a paragraph without a package
/// name, and for an installed package without a version.
pub fn read(text: &str) -> Result<Vec<Package>, Fault> {
    let mut packages = Vec::new();
    for paragraph in deb822::paragraphs(text) {
        let field = |name: &str| paragraph.value(name);
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const STATUS: &str = "\
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

    #[test]
    fn installed_packages_are_read_and_sorted() {
        let packages = read(STATUS).unwrap();
        let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["base-files", "zlib1g"]);
        assert_eq!((&*packages[0].source, &*packages[0].source_version), ("base", "2~x"));
        assert_eq!(packages[1].source_version, packages[1].version);
        assert_eq!(packages[1].summary, "compression library - runtime");
        assert_eq!(packages[1].installed, 167);
    }

    #[test]
    fn other_texts_are_refused() {
        assert!(read("Version: 1\n").is_err());
        assert!(read("Package: x\nStatus: install ok installed\n").is_err());
        assert_eq!(read("\n\n"), Ok(Vec::new()));
    }
}
