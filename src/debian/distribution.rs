//! The distributions whose archives are laid out as Debian's is, and the pockets beside their suites.

/// Suites published beside a suite, which a system of that suite also takes packages from.
#[derive(Debug, PartialEq, Eq)]
pub struct Pocket {
    /// The word in a pipeline; the pocket of `trixie` is the suite `trixie-WORD`.
    pub name: &'static str,
    /// The archive that it is in.
    pub archive: Archive,
}

/// One of the archives of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Archive {
    /// The one that mirrors carry.
    Main,
    /// Debian's archive of security updates, which has an address of its own.
    Security,
}

/// The pocket that packages are taken from by name only.
pub const BACKPORTS: &str = "backports";

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Distribution {
    /// The word in a pipeline.
    pub name: &'static str,
    /// The keys that sign its archive, armoured.
    pub keys: &'static str,
    /// The file of an installed system with them.
    pub keyring: &'static str,
    /// The package that installs those.
    pub keyring_package: &'static str,
    /// How the addresses of its archive end.
    pub root: &'static str,
    /// The public archive that is used if none is named; none: a mirror has to be named.
    pub mirror: Option<&'static str>,
    /// The archive that an installed system uses, whatever mirror built it; none: that mirror.
    pub source: Option<&'static str>,
    /// The security archive that an installed system uses.
    pub security_source: &'static str,
    /// The pockets that are used by default.
    pub pockets: &'static [Pocket],
    /// The suites that are never released, and so have no pockets.
    pub unreleased: &'static [&'static str],
    /// The component that VirtualBox's guest additions are in.
    pub additions: &'static str,
}

/// Debian.
pub const DEBIAN: Distribution = Distribution {
    name: "debian",
    keys: include_str!("../../data/keys/debian-archive.asc"),
    keyring: "/usr/share/keyrings/debian-archive-keyring.gpg",
    keyring_package: "debian-archive-keyring",
    root: "/debian",
    mirror: Some("http://ftp.debian.org/debian"),
    source: Some("http://ftp.debian.org/debian"),
    security_source: "http://security.debian.org/debian-security",
    pockets: &[
        Pocket { name: "updates", archive: Archive::Main },
        Pocket { name: "security", archive: Archive::Security },
    ],
    unreleased: &["sid", "unstable", "experimental", "rc-buggy"],
    additions: "non-free",
};

/// Ubuntu.
pub const UBUNTU: Distribution = Distribution {
    name: "ubuntu",
    keys: include_str!("../../data/keys/ubuntu-archive.asc"),
    keyring: "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    keyring_package: "ubuntu-keyring",
    root: "/ubuntu",
    mirror: None,
    source: None,
    // Every mirror carries security updates.
    security_source: "",
    pockets: &[
        Pocket { name: "updates", archive: Archive::Main },
        Pocket { name: "security", archive: Archive::Main },
    ],
    unreleased: &[],
    additions: "multiverse",
};

impl Distribution {
    /// The distribution called `name`; Debian where a tree has no name of one.
    pub fn named(name: Option<&str>) -> &'static Distribution {
        match name {
            Some(name) if name == UBUNTU.name => &UBUNTU,
            _ => &DEBIAN,
        }
    }

    /// The pockets of `suite` that are used where a pipeline names none.
    pub fn pockets_of(&self, suite: &str) -> Vec<&'static str> {
        match self.unreleased.contains(&suite) {
            true => Vec::new(),
            false => self.pockets.iter().map(|pocket| pocket.name).collect(),
        }
    }

    /// The archive that has `suite`, a pocket or not.
    pub fn archive_of(&self, suite: &str) -> Archive {
        let pocket = suite.rsplit_once('-').map(|(_, pocket)| pocket);
        let known = self.pockets.iter().find(|known| Some(known.name) == pocket);
        known.map_or(Archive::Main, |pocket| pocket.archive)
    }
}
