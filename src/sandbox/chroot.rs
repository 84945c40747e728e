//! A sandbox where nothing can be mounted and no namespace be made: the default container of Docker. The
//! tree becomes the root of the process by a change of root, and what is otherwise mounted is made in
//! the tree while steps run, in directories whose content is not part of any tree: device nodes in
//! /dev, and the files of the exchange directory.
//!
//! The process that works on the tree has its working directory outside of the tree: from there, the
//! relative path `output` leads to packed trees. All paths of the tree are absolute.

use std::fs::{File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};

use super::EXCHANGE;
use super::mounts::{LINKS, View, own_directory};
use crate::error::{Context, Result, anyhow, with_hint};

/// Device nodes: name, major and minor number (Documentation/admin-guide/devices.txt).
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Directories of the tree whose content is not the tree's.
const COVERED: [&str; 3] = ["/proc", "/dev", "/sys"];

/// Makes what is needed in the tree at `root`, beside which `exchange` and `output` are.
pub fn prepare(root: &Path, exchange: &Path, output: &Path) -> Result<View> {
    let inside = |path: &str| root.join(path.trim_start_matches('/'));
    for directory in COVERED.iter().chain([&EXCHANGE]) {
        own_directory(&inside(directory))?;
        empty(&inside(directory))?;
    }
    let dev = inside("/dev");
    for (name, major, minor) in NODES {
        make_node(&dev.join(name), rustix::fs::makedev(major, minor))?;
    }
    for (name, target) in LINKS {
        symlink(target, dev.join(name)).with_context(|| format!("linking /dev/{name}"))?;
    }
    for (name, mode) in [("pts", 0o755), ("shm", 0o1777)] {
        own_directory(&dev.join(name))?;
        std::fs::set_permissions(dev.join(name), Permissions::from_mode(mode))
            .with_context(|| format!("setting the mode of /dev/{name}"))?;
    }
    move_files(exchange, &inside(EXCHANGE))?;
    let beside = root.parent().context("a tree without a directory")?;
    let hidden = beside.join("hidden");
    own_directory(&hidden)?;
    let hidden = File::open(&hidden).with_context(|| format!("opening {}", hidden.display()))?;
    let output = output.file_name().map(PathBuf::from).context("an output without a name")?;
    Ok(View { output, hidden, _opened: None })
}

fn make_node(path: &Path, device: u64) -> Result<()> {
    let mode = Mode::from_raw_mode(0o666);
    let made = rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, mode, device);
    made.with_context(|| format!("making {}", path.display()))?;
    // The umask is not that of the tree.
    std::fs::set_permissions(path, Permissions::from_mode(0o666))
        .with_context(|| format!("setting the mode of {}", path.display()))?;
    if path.ends_with("null")
        && let Err(error) = File::options().write(true).open(path)
    {
        let error = anyhow!(error).context("device nodes cannot be used where the cache is");
        return Err(with_hint(
            error,
            "use a cache on a file system that is not mounted with `nodev`, with `--cache DIR`",
        ));
    }
    Ok(())
}

/// Makes `root` the root of this process, and the directory that it is in the working directory.
pub fn enter(root: &Path) -> Result<()> {
    let beside = root.parent().context("a tree without a directory")?;
    std::env::set_current_dir(beside).context("entering the directory of the tree")?;
    rustix::process::chroot(root).context("changing the root")
}

/// Removes what [`prepare`] made, and gives the exchange directory its files back. Called after
/// [`enter`].
pub fn leave() -> Result<()> {
    COVERED.iter().try_for_each(|directory| empty(Path::new(directory)))?;
    move_files(Path::new(EXCHANGE), Path::new("exchange"))
}

fn empty(directory: &Path) -> Result<()> {
    let what = || format!("emptying {}", directory.display());
    for entry in std::fs::read_dir(directory).with_context(what)? {
        let entry = entry.with_context(what)?;
        match entry.file_type().with_context(what)?.is_dir() {
            true => crate::files::remove_tree(&entry.path()),
            false => std::fs::remove_file(entry.path()),
        }
        .with_context(what)?;
    }
    Ok(())
}

fn move_files(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("moving the files of {}", from.display());
    for entry in std::fs::read_dir(from).with_context(what)? {
        let entry = entry.with_context(what)?;
        std::fs::rename(entry.path(), to.join(entry.file_name())).with_context(what)?;
    }
    Ok(())
}
