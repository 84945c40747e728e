//! Whether commands used certain files of a tree: inotify reports every opening of a file, and every
//! change of its names and attributes. That a file was looked for, or asked for its size, is not seen.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::error::{Context, Result};

/// Files under observation.
pub struct Watched {
    inotify: Option<OwnedFd>,
    /// The files by the numbers that the kernel gave.
    files: Vec<(i32, String)>,
    /// Those that cannot be observed: they count as used.
    unknown: Vec<String>,
}

impl Watched {
    /// Begins to observe these files.
    pub fn new(paths: &[String]) -> Result<Watched> {
        let mut watched = Watched { inotify: None, files: Vec::new(), unknown: Vec::new() };
        if paths.is_empty() {
            return Ok(watched);
        }
        let flags = CreateFlags::NONBLOCK | CreateFlags::CLOEXEC;
        let Ok(inotify) = inotify::init(flags) else {
            watched.unknown = paths.to_vec();
            return Ok(watched);
        };
        for path in paths {
            let flags = WatchFlags::ALL_EVENTS | WatchFlags::DONT_FOLLOW;
            match inotify::add_watch(&inotify, path.as_str(), flags) {
                Ok(number) => watched.files.push((number, path.clone())),
                Err(_) => watched.unknown.push(path.clone()),
            }
        }
        watched.inotify = Some(inotify);
        Ok(watched)
    }

    /// Those that were used so far, sorted.
    pub fn read(mut self) -> Result<Vec<String>> {
        let Some(inotify) = self.inotify.take() else { return Ok(self.unknown) };
        let mut used = self.unknown;
        let mut buffer = [MaybeUninit::uninit(); 1 << 14];
        let mut reader = Reader::new(inotify, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(error).context("reading which files were used"),
            };
            // Lost events could be of any file.
            let lost = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let of_event = |number: &i32| lost || *number == event.wd();
            let found = self.files.iter().filter(|(number, _)| of_event(number));
            used.extend(found.map(|(_, path)| path.clone()));
        }
        used.sort();
        used.dedup();
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_used_when_it_is_opened_linked_changed_or_renamed() {
        let directory = tempfile::tempdir().unwrap();
        let paths: Vec<String> = ["idle", "read", "linked", "changed", "renamed", "missing"]
            .map(|name| directory.path().join(name).to_str().unwrap().to_string())
            .into();
        paths[..5].iter().for_each(|path| std::fs::write(path, "x").unwrap());
        let watched = Watched::new(&paths).unwrap();
        std::fs::read(&paths[1]).unwrap();
        std::fs::hard_link(&paths[2], directory.path().join("other")).unwrap();
        std::fs::set_permissions(&paths[3], std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        std::fs::rename(&paths[4], directory.path().join("away")).unwrap();
        let mut expected = paths[1..].to_vec();
        expected.sort();
        assert_eq!(watched.read().unwrap(), expected);
    }
}
