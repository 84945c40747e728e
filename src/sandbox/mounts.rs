//! The view of the world inside a tree: its own /proc of which nothing but the processes can be
//! written, a /dev with the harmless nodes, an empty /sys, the exchange directory to read, and
//! nothing of the host. Made once, by the first process of the namespace.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::EXCHANGE;
use crate::error::{Context, Result, ensure};

/// Device nodes bound from the host: a user namespace may not make its own.
const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Links every program expects in /dev.
pub(super) const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Files and directories of /proc that tell of the host, or whose reading changes it; container
/// engines hide the same.
const HIDDEN: [&str; 10] = [
    "acpi",
    "asound",
    "kcore",
    "key-users",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];

/// The world as seen by the process that made it.
pub struct View {
    /// The host's directory for packed trees. Nothing else is in it: a link of the tree that leads
    /// through /proc to this process's open files finds nothing there.
    pub output: PathBuf,
    /// The directory of the tree over which the exchange directory is mounted: nobody else reaches
    /// it.
    pub hidden: File,
    /// What `output` leads through.
    pub _opened: Option<File>,
}

/// Makes the mounts at and below `root`, with `exchange` at [`EXCHANGE`]. What comes next is
/// [`pivot`].
pub fn prepare(root: &Path, exchange: &Path, output: &Path) -> Result<View> {
    let inside = |path: &str| root.join(path.trim_start_matches('/'));
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).context("making mounts private")?;
    // A pivot needs a mount point. Device nodes of the tree are data, not devices.
    rustix::mount::mount_bind(root, root).context("binding the tree")?;
    restrict(root, MountFlags::NODEV).context("restricting the tree")?;
    for directory in ["proc", "dev", "sys", EXCHANGE] {
        own_directory(&inside(directory))?;
    }
    let open =
        |path: &Path| File::open(path).with_context(|| format!("opening {}", path.display()));
    let (hidden, opened) = (open(&inside(EXCHANGE))?, open(output)?);
    make_dev(&inside("dev"))?;
    make_proc(&inside("proc"), &inside("dev/null"))?;
    empty(&inside("sys"))?;
    bind(exchange, &inside(EXCHANGE), MountFlags::NODEV | MountFlags::NOSUID)?;
    let output = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    Ok(View { output, hidden, _opened: Some(opened) })
}

/// Sees to it that `path` is a directory and no link: what is mounted there must not land
/// elsewhere.
pub(super) fn own_directory(path: &Path) -> Result<()> {
    let what = || format!("making {}", path.display());
    match path.symlink_metadata() {
        Ok(found) => ensure!(found.is_dir(), "{} of the tree is not a directory", path.display()),
        Err(_) => std::fs::create_dir(path).with_context(what)?,
    }
    Ok(())
}

fn make_dev(dev: &Path) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    rustix::mount::mount("dev", dev, "tmpfs", flags, Some(c"mode=755,size=16m"))
        .context("mounting /dev")?;
    for node in NODES {
        let target = dev.join(node);
        File::create(&target).with_context(|| format!("making {}", target.display()))?;
        // Read-only is the node, not the device: its mode and times are the host's.
        bind(&Path::new("/dev").join(node), &target, MountFlags::NOSUID | MountFlags::NOEXEC)?;
    }
    for (name, target) in LINKS {
        symlink(target, dev.join(name)).with_context(|| format!("linking /dev/{name}"))?;
    }
    for directory in ["shm", "pts"] {
        own_directory(&dev.join(directory))?;
    }
    let flags = flags | MountFlags::NODEV;
    rustix::mount::mount("shm", dev.join("shm"), "tmpfs", flags, Some(c"mode=1777"))
        .context("mounting /dev/shm")?;
    // Group 5 is `tty`, where a narrow range of ids has it.
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let pts = |data| rustix::mount::mount("devpts", dev.join("pts"), "devpts", flags, Some(data));
    pts(c"newinstance,ptmxmode=0666,mode=0620,gid=5")
        .or_else(|_| pts(c"newinstance,ptmxmode=0666,mode=0620"))
        .context("mounting /dev/pts")
}

/// /proc with its processes as they are, and all else read-only or hidden.
fn make_proc(proc: &Path, null: &Path) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // A container may forbid a fresh /proc while its own is partly hidden; then that one must do.
    if rustix::mount::mount("proc", proc, "proc", flags, None).is_err() {
        rustix::mount::mount_bind_recursive("/proc", proc).context("mounting /proc")?;
    }
    for entry in std::fs::read_dir(proc).context("reading /proc")? {
        let entry = entry.context("reading /proc")?;
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        let is_process = name.bytes().all(|byte| byte.is_ascii_digit());
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if is_process || metadata.is_symlink() {
            continue;
        }
        match (HIDDEN.contains(&&*name), metadata.is_dir()) {
            (true, true) => empty(&path)?,
            (true, false) => bind(null, &path, flags)?,
            (false, _) => bind(&path, &path, flags)?,
        }
    }
    Ok(())
}

/// Mounts an empty directory over `path` that nobody can write.
fn empty(path: &Path) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    rustix::mount::mount("none", path, "tmpfs", flags, Some(c"mode=755,size=0"))
        .with_context(|| format!("mounting over {}", path.display()))
}

/// Binds `from` at `to`, read-only.
fn bind(from: &Path, to: &Path, flags: MountFlags) -> Result<()> {
    let what = || format!("binding {}", from.display());
    rustix::mount::mount_bind(from, to).with_context(what)?;
    restrict(to, flags | MountFlags::RDONLY).with_context(what)
}

/// Adds `flags` to those of the mount at `path`. The ones it has may be locked, so they are said
/// again.
fn restrict(path: &Path, flags: MountFlags) -> std::io::Result<()> {
    let has = rustix::fs::statvfs(path)?.f_flag;
    let kept = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ];
    let kept = kept.into_iter().filter(|(has_flag, _)| has.contains(*has_flag));
    let flags = kept.fold(flags | MountFlags::BIND, |flags, (_, flag)| flags | flag);
    Ok(rustix::mount::mount_remount(path, flags, c"")?)
}

/// Makes `root`, the working directory of this process from then on, the root of its namespace.
pub fn pivot(root: &Path) -> Result<()> {
    std::env::set_current_dir(root).context("entering the tree")?;
    match rustix::process::pivot_root(".", ".") {
        Ok(()) => rustix::mount::unmount(".", UnmountFlags::DETACH).context("leaving the host")?,
        // The root of an initramfs cannot be pivoted away from, but covered up.
        Err(_) => {
            rustix::mount::mount_move(".", "/").context("moving the tree over the root")?;
            rustix::process::chroot(".").context("changing the root")?;
        }
    }
    std::env::set_current_dir("/").context("entering the new root")
}
