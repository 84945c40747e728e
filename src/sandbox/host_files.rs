//! The host's files for name resolution, for commands with network access: copies that replace the
//! tree's own files while the command runs. Afterwards the tree's own file is restored, unless the
//! command changed the copy. Used by the process whose root is the tree.

use std::ffi::OsStr;
use std::fs::{File, Metadata, Permissions};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use crate::error::{Context, Result};

const RESOLVER: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// The host's files, read before the tree became the root.
pub struct HostFiles {
    /// The content of /etc/resolv.conf, with links followed.
    resolver: Option<Vec<u8>>,
    /// The lines of /etc/hosts that name other machines.
    hosts: Vec<u8>,
}

impl HostFiles {
    /// Reads them. A file that does not exist is left out.
    pub fn read() -> HostFiles {
        let hosts = std::fs::read(HOSTS).unwrap_or_default();
        HostFiles { resolver: std::fs::read(RESOLVER).ok(), hosts: other_machines(&hosts) }
    }

    /// Puts the copies into the tree. The files that they replace are moved to the directory `hidden`, on
    /// the same mount.
    pub fn install<'a>(&self, hidden: &'a File) -> Result<Vec<InstalledCopy<'a>>> {
        let mut copies = Vec::new();
        if let Some(resolver) = &self.resolver {
            copies.extend(InstalledCopy::new(RESOLVER, resolver.clone(), hidden)?);
        }
        if !self.hosts.is_empty() {
            // The tree's own entries come first.
            let mut text = Vec::new();
            if Path::new(HOSTS).is_file() {
                let read = File::open(HOSTS).and_then(|mut file| file.read_to_end(&mut text));
                read.with_context(|| format!("reading {HOSTS}"))?;
            }
            if !text.is_empty() && !text.ends_with(b"\n") {
                text.push(b'\n');
            }
            text.extend(&self.hosts);
            copies.extend(InstalledCopy::new(HOSTS, text, hidden)?);
        }
        Ok(copies)
    }
}

/// The lines of a hosts file with addresses of other machines.
fn other_machines(hosts: &[u8]) -> Vec<u8> {
    let is_other = |line: &&[u8]| {
        let line = String::from_utf8_lossy(line);
        let address = line.split_whitespace().next().unwrap_or_default();
        match address.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(address)) => !address.is_loopback(),
            // Debian lists the multicast groups of all nodes and routers in this file.
            Ok(std::net::IpAddr::V6(address)) => {
                !address.is_loopback() && !address.is_multicast() && !address.is_unspecified()
            }
            Err(_) => false,
        }
    };
    let lines = hosts.split(|byte| *byte == b'\n').filter(is_other);
    lines.flat_map(|line| [line, b"\n"].concat()).collect()
}

/// A copy that replaces a file of the tree.
pub struct InstalledCopy<'a> {
    path: &'static str,
    text: Vec<u8>,
    /// The copy when it was installed.
    copy: Metadata,
    /// Whether it replaced a file, which is in `hidden` now.
    replaced: bool,
    hidden: &'a File,
    /// The times of the directory before, and its modification time after installing the copy.
    directory: (Timestamps, (i64, i64)),
}

impl<'a> InstalledCopy<'a> {
    /// `None` if the tree has no directory for it.
    fn new(
        path: &'static str,
        text: Vec<u8>,
        hidden: &'a File,
    ) -> Result<Option<InstalledCopy<'a>>> {
        let what = || format!("copying the host's {path}");
        let Ok(directory) = directory_of(path).metadata() else { return Ok(None) };
        let own = Path::new(path).symlink_metadata().ok();
        if own.is_some() {
            rustix::fs::renameat(CWD, path, hidden.as_fd(), name_of(path)).with_context(what)?;
        }
        std::fs::write(path, &text).with_context(what)?;
        // A command that writes to the copy finds the mode and owner of the tree's file.
        let (mode, uid, gid) = match own.as_ref().filter(|own| own.is_file()) {
            Some(own) => (own.mode() & 0o7777, own.uid(), own.gid()),
            None => (0o644, 0, 0),
        };
        lchown(path, Some(uid), Some(gid)).with_context(what)?;
        std::fs::set_permissions(path, Permissions::from_mode(mode)).with_context(what)?;
        let copy = Path::new(path).symlink_metadata().with_context(what)?;
        let after = directory_of(path).metadata().with_context(what)?;
        let directory = (times(&directory), (after.mtime(), after.mtime_nsec()));
        Ok(Some(InstalledCopy { path, text, copy, replaced: own.is_some(), hidden, directory }))
    }

    /// Restores the tree's own file, unless the command changed or replaced the copy.
    pub fn restore(self) -> Result<()> {
        let what = || format!("restoring {}", self.path);
        let directory_unchanged = directory_of(self.path)
            .metadata()
            .is_ok_and(|directory| (directory.mtime(), directory.mtime_nsec()) == self.directory.1);
        if !self.is_unchanged() {
            if self.replaced {
                let flags = AtFlags::empty();
                let removed = rustix::fs::unlinkat(self.hidden, name_of(self.path), flags);
                removed.with_context(what)?;
            }
            return Ok(());
        }
        match self.replaced {
            true => rustix::fs::renameat(self.hidden, name_of(self.path), CWD, self.path)
                .with_context(what)?,
            false => std::fs::remove_file(self.path).with_context(what)?,
        }
        if directory_unchanged {
            let flags = AtFlags::empty();
            rustix::fs::utimensat(CWD, directory_of(self.path), &self.directory.0, flags)
                .with_context(what)?;
        }
        Ok(())
    }

    fn is_unchanged(&self) -> bool {
        let same = |now: &Metadata| {
            let of = |file: &Metadata| (file.ino(), file.mode(), file.uid(), file.gid());
            of(now) == of(&self.copy)
        };
        Path::new(self.path).symlink_metadata().is_ok_and(|now| same(&now))
            && std::fs::read(self.path).is_ok_and(|text| text == self.text)
    }
}

fn directory_of(path: &str) -> &Path {
    Path::new(path).parent().unwrap_or(Path::new("/"))
}

fn name_of(path: &str) -> &OsStr {
    Path::new(path).file_name().unwrap_or(OsStr::from_bytes(path.as_bytes()))
}

fn times(file: &Metadata) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: file.atime(), tv_nsec: file.atime_nsec() },
        last_modification: Timespec { tv_sec: file.mtime(), tv_nsec: file.mtime_nsec() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_other_machines_are_copied() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1 me\n::1 ip6-localhost\nff02::1 all\n\
                     # 192.0.2.1 gone\n192.0.2.7\tmirror.example mirror # lab\n2001:db8::1 six\n\n";
        let expected = "192.0.2.7\tmirror.example mirror # lab\n2001:db8::1 six\n";
        assert_eq!(String::from_utf8(other_machines(hosts.as_bytes())).unwrap(), expected);
    }
}
