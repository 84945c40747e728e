//! Files of `file` that would not be in the finished tree, and why not: something is mounted over them
//! while the stage works, or the end of the stage removes them.

use std::path::Path;

use crate::debian::install;
use crate::sandbox::{self, Step, seal};

/// Why a file is not in the finished tree, and what to do instead.
#[derive(Debug, PartialEq, Eq)]
pub struct Cleared {
    /// The reason, as the label of a fault.
    pub why: String,
    /// What to write.
    pub hint: &'static str,
}

/// Whether the stage seals its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// What the kernel or the system fills, and a tree has empty.
const FILLED_AT_BOOT: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];
/// What every Debian tree has as links, and where they lead.
const LINKS: [(&str, &str); 2] = [("/var/run", "/run"), ("/var/lock", "/run/lock")];

const AT_BOOT: &str =
    "let the system make it at each boot: with a file in /etc/tmpfiles.d, or `sysctl`";
const OF_SCRIPTS: &str = "a file for a script can be anywhere else, such as in /srv, and be removed by \
                          the script; `run.source` needs none";
const MACHINE_ID: &str = "leave it out: each machine makes an id at its first boot";
const ELSEWHERE: &str = "put it elsewhere";
const UNSEALED: &str = "put it elsewhere, or write `seal = false`";

/// Why a file at the absolute `path` would be lost; `None` if it stays. An empty one may do what it is
/// for nevertheless: it makes the directory that it is in, or is emptied.
pub fn reason(path: &str, is_empty: bool, seal: Seal) -> Option<Cleared> {
    let linked = LINKS.iter().find(|(link, _)| seal::is_inside(path, link));
    let real = match linked {
        Some((link, target)) => path.replacen(link, target, 1),
        None => path.to_string(),
    };
    let below = |directories: &[&'static str]| {
        directories.iter().copied().find(|directory| seal::is_inside(&real, directory))
    };
    if let Some(directory) = below(&FILLED_AT_BOOT) {
        let why = match linked {
            Some((link, target)) => {
                format!("{link} leads to {target}, which every boot fills anew")
            }
            None => format!("{directory} is empty in a tree, and every boot fills it anew"),
        };
        return Some(Cleared { why, hint: AT_BOOT });
    }
    if below(&[sandbox::EXCHANGE]).is_some() {
        let why = format!("{} is not part of the tree", sandbox::EXCHANGE);
        return Some(Cleared { why, hint: ELSEWHERE });
    }
    let cleared = |step: &Step| match step {
        Step::Remove { path } => {
            seal::is_inside(&real, path).then(|| format!("the stage removes {path} at its end"))
        }
        Step::Empty { path } => {
            seal::is_inside(&real, path).then(|| format!("the stage empties {path} at its end"))
        }
        Step::Truncate { path } => (*path == real && !is_empty).then(|| {
            format!("the stage empties {path} at its end, so that each machine has its own")
        }),
        _ => None,
    };
    if let Some(why) = install::scrub().iter().find_map(cleared) {
        let hint = match real.as_str() {
            "/etc/machine-id" => MACHINE_ID,
            path if seal::is_inside(path, "/tmp") => OF_SCRIPTS,
            _ => ELSEWHERE,
        };
        return Some(Cleared { why, hint });
    }
    let serves_empty =
        seal::is_inside(&real, seal::LOGS) || seal::TRUNCATED.contains(&real.as_str());
    if seal == Seal::Yes && seal::clears(&real) && !(is_empty && serves_empty) {
        let why = "sealing removes it at the end of the stage".to_string();
        return Some(Cleared { why, hint: UNSEALED });
    }
    None
}

/// The first file of the directory `local`, which is copied to `path`, that would be lost, by its path in
/// the tree. What cannot be read is reported when it is hashed.
pub fn first_inside(local: &Path, path: &str, seal: Seal) -> Option<(String, Cleared)> {
    let mut entries: Vec<_> = std::fs::read_dir(local).ok()?.flatten().collect();
    entries.sort_by_key(|entry| entry.file_name());
    entries.into_iter().find_map(|entry| {
        let inside = format!("{path}/{}", entry.file_name().to_string_lossy());
        let found = entry.metadata().ok()?;
        match found.is_dir() {
            true => first_inside(&entry.path(), &inside, seal),
            false => {
                let is_empty = found.is_file() && found.len() == 0;
                reason(&inside, is_empty, seal).map(|cleared| (inside, cleared))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_would_be_lost_have_a_reason() {
        for (path, why) in [
            ("/tmp/x", "the stage empties /tmp at its end"),
            ("/tmp", "the stage empties /tmp at its end"),
            ("/run/x/y", "/run is empty in a tree"),
            ("/var/run/x", "/var/run leads to /run"),
            ("/var/lock/x", "/var/lock leads to /run/lock"),
            ("/dev/x", "/dev is empty in a tree"),
            ("/proc/sys/vm/swappiness", "/proc is empty in a tree"),
            ("/sys/x", "/sys is empty in a tree"),
            ("/.kuth/x", "/.kuth is not part of the tree"),
            ("/usr/sbin/policy-rc.d", "the stage removes /usr/sbin/policy-rc.d"),
            ("/var/lib/apt/lists/x", "the stage empties /var/lib/apt/lists"),
            ("/etc/machine-id", "each machine has its own"),
            ("/etc/ssh/ssh_host_rsa_key", "sealing removes it"),
            ("/var/log/app.log", "sealing removes it"),
        ] {
            let found = reason(path, false, Seal::Yes).unwrap_or_else(|| panic!("{path}"));
            assert!(found.why.contains(why), "{path}: {found:?}");
        }
    }

    #[test]
    fn files_in_a_directory_are_looked_at_one_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        };
        let first = |seal| first_inside(directory.path(), "/var", seal).map(|(path, _)| path);
        write("lib/x");
        std::fs::create_dir(directory.path().join("run")).unwrap();
        assert_eq!(first(Seal::Yes), None);
        write("log/app/x");
        assert_eq!(first(Seal::Yes).as_deref(), Some("/var/log/app/x"));
        assert_eq!(first(Seal::No), None);
        write("lib/apt/lists/x");
        assert_eq!(first(Seal::No).as_deref(), Some("/var/lib/apt/lists/x"));
    }

    #[test]
    fn all_others_stay() {
        for path in ["/tmpx", "/var/tmp/x", "/etc/x", "/root/.ssh/authorized_keys", "/srv/run/x"] {
            assert_eq!(reason(path, false, Seal::Yes), None, "{path}");
        }
        for path in ["/etc/ssh/ssh_host_rsa_key", "/var/log/app.log", "/var/lib/cloud/x"] {
            assert_eq!(reason(path, false, Seal::No), None, "{path}");
        }
        // The directory stays, which is what the file is for.
        assert_eq!(reason("/var/log/app/.keep", true, Seal::Yes), None);
        assert_eq!(reason("/etc/machine-id", true, Seal::Yes), None);
    }
}
