//! What every file system can be asked for, whatever its format: nodes by number, the names in a
//! directory, and where the bytes of a file are.

use std::io::{self, Read};
use std::sync::Arc;

use crate::error::{Result, ensure};

use crate::image::source::{Memory, Shared};

/// The two kinds of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// Such as a disk.
    Block,
    /// Such as a terminal.
    Character,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file.
    File,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// What processes talk through; it means nothing without them.
    Socket,
    /// A device with its numbers.
    Device(Device, u32, u32),
}

impl Kind {
    /// By the upper bits of a mode; a device's numbers are `major` and `minor`.
    pub fn of(mode: u16, (major, minor): (u32, u32)) -> Option<Kind> {
        Some(match mode >> 12 {
            0o01 => Kind::Fifo,
            0o02 => Kind::Device(Device::Character, major, minor),
            0o04 => Kind::Directory,
            0o06 => Kind::Device(Device::Block, major, minor),
            0o10 => Kind::File,
            0o12 => Kind::Symlink,
            0o14 => Kind::Socket,
            _ => return None,
        })
    }
}

/// What is known of a node apart from its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, set-id and sticky bits among them.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When it was written to last, in seconds since 1970.
    pub time: i64,
    /// How long a file is.
    pub size: u64,
    /// How many names it has.
    pub links: u32,
}

/// The names in a directory and the numbers of what they name, in any order; neither `.` nor `..`.
pub type Names = Vec<(Vec<u8>, u64)>;

/// A file system that can be read. Nodes go by number; one that does not exist is an error.
pub trait Filesystem {
    /// Its root.
    fn root(&self) -> u64;

    /// How many of its bytes are in use, its own structures among them; `None` if it does not say.
    fn bytes_used(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Whether it keeps owners and modes. The root of one that does not has the properties of the
    /// directory that it is mounted on.
    fn has_owners(&self) -> bool {
        true
    }

    /// What `node` is.
    fn node(&self, node: u64) -> Result<Node>;

    /// What is in the directory `node`; fails once there are more than `most`.
    fn names(&self, node: u64, most: usize) -> Result<Names>;

    /// Where the symbolic link `node` leads.
    fn target(&self, node: u64) -> Result<Vec<u8>>;

    /// The extended attributes of `node`, as Linux shows them.
    fn attributes(&self, node: u64) -> Result<Vec<(String, Vec<u8>)>>;

    /// What the file `node` holds.
    fn content(&self, node: u64) -> Result<Content>;
}

/// No file is in more pieces: of 4 KiB each that would still be 16 GiB.
pub const MOST_RUNS: usize = 1 << 22;

/// A part of a file that is somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where in the file.
    pub at: u64,
    /// How long.
    pub length: u64,
    /// Where in the file system.
    pub from: u64,
}

/// Runs in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs(Vec<Run>);

impl Runs {
    /// Adds one behind the last; one that continues it becomes a part of it.
    pub fn push(&mut self, run: Run) -> Result<()> {
        if let Some(last) = self.0.last_mut() {
            ensure!(run.at >= last.at + last.length, "its pieces overlap at {}", run.at);
            if last.at + last.length == run.at && last.from + last.length == run.from {
                last.length += run.length;
                return Ok(());
            }
        }
        ensure!(self.0.len() < MOST_RUNS, "it is in more than {MOST_RUNS} pieces");
        self.0.push(run);
        Ok(())
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Run> {
        self.0.iter()
    }
}

/// What a file holds: runs, and zeros between them.
pub struct Content {
    source: Shared,
    runs: Runs,
    size: u64,
    at: u64,
    /// The run that `at` is in or before.
    next: usize,
}

impl Content {
    /// A file of `size` bytes, whose runs are in `source`.
    pub fn new(source: Shared, runs: Runs, size: u64) -> Content {
        Content { source, runs, size, at: 0, next: 0 }
    }

    /// A file that holds `bytes`.
    pub fn here(bytes: Vec<u8>) -> Content {
        let size = bytes.len() as u64;
        let runs = Runs(vec![Run { at: 0, length: size, from: 0 }]);
        Content::new(Arc::new(Memory(bytes)), runs, size)
    }

    /// How long it is.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// All of it; refuses more than `most`.
    pub fn all(mut self, most: u64) -> Result<Vec<u8>> {
        ensure!(self.size <= most, "{} bytes, where {most} are the most", self.size);
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Goes on at byte `at`, which is behind all that was read.
    pub fn seek(&mut self, at: u64) {
        self.at = at.max(self.at).min(self.size);
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let wanted = (self.size - self.at).min(buffer.len() as u64) as usize;
        while let Some(run) = self.runs.0.get(self.next) {
            if run.at + run.length > self.at {
                break;
            }
            self.next += 1;
        }
        let n = match self.runs.0.get(self.next) {
            Some(run) if run.at <= self.at => {
                let within = self.at - run.at;
                let n = wanted.min((run.length - within).min(usize::MAX as u64) as usize);
                self.source.read_at(&mut buffer[..n], run.from + within)?;
                n
            }
            run => {
                let hole = run.map_or(u64::MAX, |run| run.at - self.at);
                let n = wanted.min(hole.min(usize::MAX as u64) as usize);
                buffer[..n].fill(0);
                n
            }
        };
        self.at += n as u64;
        Ok(n)
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill(buffer).map_err(|error| io::Error::other(format!("{error:#}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_zeros() {
        let mut runs = Runs::default();
        runs.push(Run { at: 2, length: 2, from: 0 }).unwrap();
        runs.push(Run { at: 4, length: 1, from: 2 }).unwrap();
        runs.push(Run { at: 7, length: 9, from: 1 }).unwrap();
        assert_eq!(runs.iter().count(), 2);
        assert!(runs.push(Run { at: 3, length: 1, from: 2 }).is_err());
        let source: Shared = Arc::new(Memory(b"abcdefghij".to_vec()));
        let content = Content::new(source, runs, 10);
        assert_eq!(content.all(10).unwrap(), b"\0\0abc\0\0bcd");
        assert_eq!(Content::here(b"xy".to_vec()).all(2).unwrap(), b"xy");
        assert!(Content::here(b"xy".to_vec()).all(1).is_err());
    }
}
