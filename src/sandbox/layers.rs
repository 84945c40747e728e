//! A tree of layers: directories that overlayfs shows as one, the lower of which are only read, so that
//! they can be kept and used again. What a run changes is in the topmost one. In a layer, a character
//! device 0:0 hides a file of the layers below, and an attribute hides a directory's.
//!
//! Ordinary users can mount overlayfs since Linux 5.11, with its attributes in the `user` namespace.
//! The layers have to be on one file system that keeps such attributes, and that is not itself an
//! overlay.

use std::ffi::CString;
use std::fmt;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};
use rustix::mount::MountFlags;
use serde::{Deserialize, Serialize};

use super::{Network, Sandbox, Step, pack};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Context, Result};

/// The directories of a sandbox that layers are made in, and what overlayfs needs beside them.
pub(super) const DIRECTORIES: [&str; 3] = ["layers", "overlay", "names"];

/// The directory of a layer that is its content.
const ROOT: &str = "changes";

/// A finished layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The SHA-256 of its canonical tar.
    pub digest: Digest,
    /// Bytes of disk that it takes.
    pub allocated: u64,
}

/// What a run on layers came to.
#[derive(Clone, Debug)]
pub struct Change {
    /// The directory that holds the new layer, to be moved to where it is kept.
    pub directory: PathBuf,
    /// The layer.
    pub layer: Layer,
    /// Those of the watched files that were used, sorted.
    pub read: Vec<String>,
}

/// The layers of a tree, as a job describes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stack {
    /// Directories, the topmost first.
    pub lower: Vec<PathBuf>,
    /// The directory for changes.
    pub upper: PathBuf,
    /// An empty directory for overlayfs.
    pub work: PathBuf,
    /// An empty directory, for short names of the others.
    pub names: PathBuf,
}

/// Steps cannot be done on layers, and have to be done on a tree in one directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unlayered {
    /// The host, or the file system of the cache, has no layers, and why.
    Host(String),
    /// What these steps do may come out different on layers, and why.
    Steps(String),
}

impl fmt::Display for Unlayered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Unlayered::Host(why) | Unlayered::Steps(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for Unlayered {}

impl Sandbox {
    /// From now on the tree consists of the layers in these directories, the lowest first, and what
    /// steps change is in a new one above them.
    pub fn stack(&mut self, layers: &[PathBuf]) -> Result<()> {
        let upper = self.begin_layer()?.join(ROOT);
        let work = self.directory.join("overlay").join(self.begun.to_string());
        let names = self.directory.join("names").join(self.begun.to_string());
        for path in [&upper, &work, &names] {
            std::fs::create_dir_all(path)
                .with_context(|| format!("creating {}", path.display()))?;
        }
        let lower = layers.iter().rev().map(|layer| layer.join(ROOT)).collect();
        self.stack = Some(Stack { lower, upper, work, names });
        Ok(())
    }

    /// Why the tree cannot have layers, whatever the steps do.
    pub fn unlayered(&self) -> Option<&'static str> {
        (!self.place.has_mounts()).then_some("nothing can be mounted here")
    }

    fn begin_layer(&mut self) -> Result<PathBuf> {
        self.begun += 1;
        Ok(self.directory.join("layers").join(self.begun.to_string()))
    }

    /// Runs `steps` on the layers; `watch` names files of the tree. Fails with [`Unlayered`] where
    /// the result could differ from that of the same steps on a tree in one directory.
    pub fn change(
        &self,
        mut steps: Vec<Step>,
        network: Network,
        watch: Vec<String>,
        log: &Path,
        cancel: &Cancel,
    ) -> Result<Change> {
        let stack = self.stack.as_ref().context("the tree has no layers")?;
        steps.push(Step::Settle);
        let mut job = self.job(steps, network);
        (job.changed, job.is_layer, job.watch) = (Some(stack.upper.clone()), true, watch);
        let reports = self.execute(job, log, cancel, |_| ())?;
        let directory = stack.upper.parent().context("a layer without a directory")?.to_path_buf();
        let layer = reports.settled.context("the layer was not settled")?;
        Ok(Change { directory, layer, read: reports.read })
    }

    /// Unpacks the tar `file` of the exchange directory as a layer of its own.
    pub fn lowest(&mut self, file: &str, log: &Path, cancel: &Cancel) -> Result<Change> {
        let directory = self.begin_layer()?;
        let root = directory.join(ROOT);
        std::fs::create_dir_all(&root).with_context(|| format!("creating {}", root.display()))?;
        let steps = vec![Step::Unpack { files: vec![file.to_string()] }, Step::Settle];
        let mut job = self.job(steps, Network::None);
        (job.root, job.changed, job.is_layer, job.stack) = (root.clone(), Some(root), true, None);
        let reports = self.execute(job, log, cancel, |_| ())?;
        let layer = reports.settled.context("the layer was not settled")?;
        Ok(Change { directory, layer, read: Vec::new() })
    }

    /// Reads the kept layer in `directory` again, to compare it with what it was.
    pub fn read_layer(&self, directory: &Path, log: &Path, cancel: &Cancel) -> Result<Layer> {
        let mut job = self.job(vec![Step::Settle], Network::None);
        (job.changed, job.is_layer, job.stack) = (Some(directory.join(ROOT)), true, None);
        let reports = self.execute(job, log, cancel, |_| ())?;
        reports.settled.context("the layer was not settled")
    }

    /// Runs `steps` on a tree in one directory, with the same effect as on layers.
    pub fn change_in_place(
        &self,
        mut steps: Vec<Step>,
        network: Network,
        log: &Path,
        cancel: &Cancel,
    ) -> Result<()> {
        steps.push(Step::Settle);
        let mut job = self.job(steps, network);
        job.changed = Some(self.root());
        self.execute(job, log, cancel, |_| ()).map(|_| ())
    }

    /// Removes what is in the exchange directory.
    pub fn clear_exchange(&self) -> Result<()> {
        let exchange = self.exchange();
        crate::files::remove_tree(&exchange)
            .and_then(|()| std::fs::create_dir(&exchange))
            .with_context(|| format!("emptying {}", exchange.display()))
    }
}

/// Makes the root directory of a new layer like that of the one below.
fn take_root(below: &Path, new: &Path) -> Result<()> {
    let found = below.metadata()?;
    chown(new, Some(found.uid()), Some(found.gid()))?;
    std::fs::set_permissions(new, Permissions::from_mode(found.mode() & 0o7777))?;
    for (name, value) in pack::attributes(below, true)? {
        rustix::fs::lsetxattr(new, name.as_str(), &value, XattrFlags::empty())?;
    }
    let time = Timespec { tv_sec: found.mtime(), tv_nsec: found.mtime_nsec() };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, new, &times, AtFlags::empty())?)
}

/// Mounts layers in the empty directory `directory`, in a mount namespace that ends afterwards.
pub(super) fn attempt(directory: &Path) -> Result<()> {
    let of = |name: &str| directory.join(name);
    for name in ["lower", "upper", "work", "names", "root"] {
        std::fs::create_dir(of(name)).with_context(|| format!("creating {name}"))?;
    }
    let (upper, work, names) = (of("upper"), of("work"), of("names"));
    mount(&Stack { lower: vec![of("lower")], upper, work, names }, &of("root"))?;
    // Where attributes cannot be kept, the mount is read-only.
    std::fs::write(of("root").join("file"), "").context("writing on layers")
}

/// Mounts the layers at `root`.
pub(super) fn mount(stack: &Stack, root: &Path) -> Result<()> {
    let what = "preparing the layers";
    // The root directory is that of the topmost layer.
    take_root(stack.lower.first().context(what)?, &stack.upper).context(what)?;
    // The options of a mount are one page, and a path in them may have no `,` and no `:`.
    let mut lower = Vec::new();
    for (at, path) in stack.lower.iter().enumerate() {
        let name = at.to_string();
        symlink(path, stack.names.join(&name)).context(what)?;
        lower.push(name);
    }
    symlink(&stack.upper, stack.names.join("upper")).context(what)?;
    symlink(&stack.work, stack.names.join("work")).context(what)?;
    let here = std::env::current_dir().context(what)?;
    std::env::set_current_dir(&stack.names).context(what)?;
    // `volatile`: a tree under construction is discarded after a crash, so nothing is synced.
    let options = format!(
        "lowerdir={},upperdir=upper,workdir=work,userxattr,volatile,index=off,metacopy=off",
        lower.join(":")
    );
    let options = CString::new(options).context(what)?;
    let mounted =
        rustix::mount::mount("overlay", root, "overlay", MountFlags::empty(), Some(&*options));
    std::env::set_current_dir(here).context(what)?;
    for name in lower.iter().map(String::as_str).chain(["upper", "work"]) {
        std::fs::remove_file(stack.names.join(name)).context(what)?;
    }
    mounted.map_err(|errno| {
        let error = std::io::Error::from(errno);
        crate::error::Error::new(Unlayered::Host(format!("overlayfs cannot be mounted: {error}")))
    })
}
