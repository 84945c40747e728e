//! What of a host could be changed: an observer that notes it before and after.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ::kuth::digest::Digest;

use kuth_test_support::judge::tool;

/// Settings that change by themselves: counters, random numbers, measurements.
const MOVING: [&str; 12] = [
    "fs/aio-nr",
    "fs/dentry-state",
    "fs/file-nr",
    "fs/inode-nr",
    "fs/inode-state",
    "fs/inotify",
    "kernel/ns_last_pid",
    "kernel/perf_event_max_sample_rate",
    "kernel/pty/nr",
    "kernel/random",
    "kernel/tainted",
    "net/netfilter/nf_conntrack_count",
];

/// Everything noted, by what it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Host(BTreeMap<String, String>);

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files(&entry.path(), found);
        }
        found.push(entry.path());
    }
}

impl Host {
    /// Notes what there is; `etc` is another directory to look into.
    pub fn look(etc: &Path) -> Host {
        let mut host = Host(BTreeMap::new());
        host.files(Path::new("/etc"));
        host.files(etc);
        host.settings();
        host.devices();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        for line in mounts.lines() {
            host.note("mount", line.split(" - ").next().unwrap(), line);
        }
        for file in ["/proc/swaps", "/proc/modules", "/proc/cgroups"] {
            // The first columns: the rest counts users.
            let text = std::fs::read_to_string(file).unwrap_or_default();
            for line in text.lines() {
                let words: Vec<&str> = line.split_whitespace().take(2).collect();
                host.note(file, line.split_whitespace().next().unwrap_or(""), &words.join(" "));
            }
        }
        for what in ["link", "addr", "route"] {
            for line in tool("ip", &["-o", what, "show"]).unwrap().lines() {
                // Without how long an address is still valid.
                let line = line.split("valid_lft").next().unwrap();
                host.note(what, line, line);
            }
        }
        host
    }

    fn note(&mut self, what: &str, name: &str, value: &str) {
        self.0.insert(format!("{what} {name}"), value.to_string());
    }

    fn files(&mut self, directory: &Path) {
        let mut found = Vec::new();
        files(directory, &mut found);
        for path in found {
            let Ok(metadata) = path.symlink_metadata() else { continue };
            let held = match metadata.is_file() {
                true => Digest::of(std::fs::read(&path).unwrap_or_default()).to_string(),
                false => path.read_link().unwrap_or_default().display().to_string(),
            };
            let (mode, uid, gid) = (metadata.mode(), metadata.uid(), metadata.gid());
            let value = format!("{mode:o} {uid}:{gid} {:?} {held}", metadata.modified().unwrap());
            self.note("file", &path.display().to_string(), &value);
        }
    }

    fn settings(&mut self) {
        let (root, mut found) = (Path::new("/proc/sys"), Vec::new());
        files(root, &mut found);
        for path in found.iter().filter(|path| path.is_file()) {
            let name = path.strip_prefix(root).unwrap();
            if MOVING.iter().any(|moving| name.starts_with(moving)) {
                continue;
            }
            if let Ok(value) = std::fs::read(path) {
                let value = String::from_utf8_lossy(&value).into_owned();
                self.note("setting", &name.display().to_string(), &value);
            }
        }
    }

    /// Terminals come and go and have the time of their last use; of null everything counts.
    fn devices(&mut self) {
        for entry in std::fs::read_dir("/dev").unwrap().flatten() {
            let Ok(found) = entry.path().symlink_metadata() else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            let value =
                format!("{:o} {}:{} {}", found.mode(), found.uid(), found.gid(), found.rdev());
            self.note("device", &name, &value);
        }
        let null = Path::new("/dev/null").metadata().unwrap();
        let times =
            format!("{:?} {:?}", null.modified().unwrap(), (null.ctime(), null.ctime_nsec()));
        self.note("times of", "/dev/null", &times);
    }

    /// What is another in `later`, but for what is another in `quiet` too, which was looked at
    /// between the two while nothing of interest happened.
    pub fn changes(&self, quiet: &Host, later: &Host) -> Vec<String> {
        let names = quiet.0.keys().chain(later.0.keys());
        let moved = |name: &&String| self.0.get(*name) != quiet.0.get(*name);
        let mut changes: Vec<String> = names
            .filter(|name| quiet.0.get(*name) != later.0.get(*name) && !moved(name))
            .map(|name| format!("{name}: {:?} -> {:?}", quiet.0.get(name), later.0.get(name)))
            .collect();
        changes.sort();
        changes.dedup();
        changes
    }

    /// Whether this was noted at all.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}
