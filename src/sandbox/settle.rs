//! What is done to the changes of some steps when they are complete: times are clamped to the epoch,
//! as they are when a tree is packed, and sockets are removed, which no tree has. Whoever works on the
//! tree later finds it as it is here, whether that is at once or from a kept layer.
//!
//! A layer is hashed too, and is refused where overlayfs may give another tree than one directory: a file
//! with several names in a lower layer, one of which is changed, becomes a file of its own. If all its
//! names are replaced by another file with several names, as when a package is upgraded, all is well.

use std::collections::{HashMap, HashSet};
use std::fs::{File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT};

use super::layers::{Layer, Unlayered};
use super::owners::Owners;
use super::{EXCHANGE, Job, pack};
use crate::error::{Context, Error, Result};

/// The directory with the changes, and the layers below it. They are opened before the tree becomes
/// the root, where no path leads to them any more.
pub struct Changed {
    /// `None` is the tree itself, in which nothing is mounted.
    directory: Option<File>,
    /// The topmost first.
    lower: Vec<File>,
    is_layer: bool,
}

/// What tells a file with several names that was moved: its length and its time, to the nanosecond.
type Trace = (u64, i64, i64);

impl Changed {
    /// Opens what the job describes; `None` if it has nothing to settle.
    pub fn open(job: &Job) -> Result<Option<Changed>> {
        let Some(directory) = &job.changed else { return Ok(None) };
        let open = |path: &PathBuf| {
            File::open(path).with_context(|| format!("opening {}", path.display()))
        };
        let lower = job.stack.iter().flat_map(|stack| &stack.lower).map(open);
        let lower = lower.collect::<Result<Vec<_>>>()?;
        let directory = match job.place.has_mounts() {
            true => Some(open(directory)?),
            false => None,
        };
        Ok(Some(Changed { directory, lower, is_layer: job.is_layer }))
    }

    /// Settles the changes. Of a layer it gives the digest, or fails with [`Unlayered`].
    pub fn settle(&self, epoch: u64, owners: &Owners) -> Result<Option<Layer>> {
        let refuse = |why: String| Err(Error::new(Unlayered::Steps(why)));
        if self.is_layer && !owners.is_empty() {
            return refuse("files have owners above 65535".into());
        }
        let root = self.directory.as_ref().map_or(PathBuf::from("/"), path_of);
        let mut walk = Walk { lower: &self.lower, epoch, ..Walk::default() };
        walk.directory(&root, Path::new(""))?;
        clamp(&root, &root.metadata().context("reading the layer")?, epoch)?;
        if !self.is_layer {
            return Ok(None);
        }
        if let Some(path) = walk.broken() {
            return refuse(format!("/{} has several names, and is changed", path.display()));
        }
        let digest = pack::layer_digest(&root, epoch)?;
        Ok(Some(Layer { digest, allocated: walk.allocated }))
    }
}

fn path_of(directory: &File) -> PathBuf {
    // With the dot, it is the directory itself and no link.
    PathBuf::from(format!("/proc/self/fd/{}/.", directory.as_raw_fd()))
}

#[derive(Default)]
struct Walk<'a> {
    lower: &'a [File],
    epoch: u64,
    allocated: u64,
    /// The files with several names in a lower layer of which a name is hidden, by device and number.
    named: HashMap<(u64, u64), Named>,
    /// Files that no lower layer has at their path.
    new: Vec<(Trace, PathBuf)>,
}

/// A file with several names in a lower layer.
struct Named {
    names: u64,
    /// How many of the names are hidden.
    hidden: u64,
    /// A hidden name that has a file with one name now.
    alone: Option<PathBuf>,
    /// A hidden name that has a file now.
    changed: Option<PathBuf>,
    trace: Trace,
}

impl Named {
    /// A name of it that may be torn away.
    fn torn(&self) -> Option<&PathBuf> {
        let is_replaced = self.hidden == self.names;
        self.alone.as_ref().or(self.changed.as_ref().filter(|_| !is_replaced))
    }
}

impl Walk<'_> {
    fn directory(&mut self, path: &Path, name: &Path) -> Result<()> {
        let what = || format!("reading {}", path.display());
        for entry in std::fs::read_dir(path).with_context(what)? {
            let entry = entry.with_context(what)?;
            let (path, name) = (entry.path(), name.join(entry.file_name()));
            if Path::new("/").join(&name) == Path::new(EXCHANGE) {
                continue;
            }
            let found = path.symlink_metadata().with_context(what)?;
            let kind = found.file_type();
            if kind.is_socket() {
                std::fs::remove_file(&path).with_context(what)?;
                continue;
            }
            self.allocated += found.blocks() * 512;
            if kind.is_dir() {
                self.directory(&path, &name)?;
            } else {
                self.compare(&found, &name);
            }
            let found = if kind.is_dir() { path.symlink_metadata()? } else { found };
            clamp(&path, &found, self.epoch)?;
        }
        Ok(())
    }

    /// Notes a file if names could have been torn apart by it.
    fn compare(&mut self, found: &Metadata, name: &Path) {
        let below =
            self.lower.iter().find_map(|layer| path_of(layer).join(name).symlink_metadata().ok());
        match below.filter(|below| below.is_file()) {
            Some(below) if below.nlink() > 1 => {
                let named = self.named.entry((below.dev(), below.ino())).or_insert(Named {
                    names: below.nlink(),
                    hidden: 0,
                    alone: None,
                    changed: None,
                    trace: trace(&below),
                });
                named.hidden += 1;
                if found.is_file() {
                    let place =
                        if found.nlink() > 1 { &mut named.changed } else { &mut named.alone };
                    *place = Some(name.to_path_buf());
                }
            }
            None if found.is_file() => self.new.push((trace(found), name.to_path_buf())),
            _ => {}
        }
    }

    /// A file that would not be the same as in a tree in one directory.
    fn broken(&self) -> Option<&PathBuf> {
        let traces: HashSet<Trace> = self.named.values().map(|named| named.trace).collect();
        let moved = self.new.iter().find(|(trace, _)| traces.contains(trace));
        self.named.values().find_map(Named::torn).or(moved.map(|(_, path)| path))
    }
}

fn trace(found: &Metadata) -> Trace {
    (found.len(), found.mtime(), found.mtime_nsec())
}

/// Sets the time of a file to the epoch if it is later.
fn clamp(path: &Path, found: &Metadata, epoch: u64) -> Result<()> {
    let seconds = i64::try_from(epoch).unwrap_or(i64::MAX);
    if (found.mtime(), found.mtime_nsec()) <= (seconds, 0) {
        return Ok(());
    }
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let epoch = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: omit, last_modification: epoch };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .with_context(|| format!("setting the time of {}", path.display()))
}
