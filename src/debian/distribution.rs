//! The distributions whose archives are laid out as Debian's is.

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Distribution {
    /// The word in a pipeline.
    pub name: &'static str,
    /// The keyring file with the keys that sign its archive.
    pub keyring: &'static str,
    /// The package that installs those.
    pub keyring_package: &'static str,
    /// How the addresses of its archive end.
    pub root: &'static str,
    /// The public archive that is used if none is named; none: a mirror has to be named.
    pub mirror: Option<&'static str>,
    /// The archive that an installed system uses, whatever mirror built it; none: that mirror.
    pub source: Option<&'static str>,
    /// The suites that an installed system also uses, as endings of the suite's name.
    pub also: &'static [&'static str],
    /// The component that VirtualBox's guest additions are in.
    pub additions: &'static str,
}

/// Debian.
pub const DEBIAN: Distribution = Distribution {
    name: "debian",
    keyring: "/usr/share/keyrings/debian-archive-keyring.gpg",
    keyring_package: "debian-archive-keyring",
    root: "/debian",
    mirror: Some("http://ftp.debian.org/debian"),
    source: Some("http://ftp.debian.org/debian"),
    also: &[],
    additions: "non-free",
};

/// Ubuntu.
pub const UBUNTU: Distribution = Distribution {
    name: "ubuntu",
    keyring: "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    keyring_package: "ubuntu-keyring",
    root: "/ubuntu",
    mirror: None,
    source: None,
    also: &["-updates", "-security"],
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
}
