//! The distributions whose archives are laid out as Debian's is.

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Distribution {
    /// The word in a pipeline.
    pub name: &'static str,
    /// The keys that sign its archive.
    pub keyring: &'static str,
    /// The package that installs those.
    pub keyring_package: &'static str,
    /// How the addresses of its archive end.
    pub root: &'static str,
    /// The archive that every machine reaches, where there is one to take unasked.
    pub mirror: Option<&'static str>,
    /// What an installed system takes its packages from, whatever mirror built it; where there is
    /// none, that mirror ...
    pub source: Option<&'static str>,
    /// ... and, after the suite's own name, the suites there that it also takes.
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
    /// The one called `name`; Debian where a tree says nothing.
    pub fn named(name: Option<&str>) -> &'static Distribution {
        match name {
            Some(name) if name == UBUNTU.name => &UBUNTU,
            _ => &DEBIAN,
        }
    }
}
