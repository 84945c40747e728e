//! The view of the world inside a tree: its own /proc, a /dev with the harmless nodes, the
//! exchange folder, and nothing of the host. Called once, by the first process of the namespace.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::EXCHANGE;
use crate::error::{Context, Result};

/// Device nodes bound from the host: a user namespace may not make its own.
const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Links every program expects in /dev.
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Makes `root` the root of this process's mount namespace, with `exchange` at [`EXCHANGE`].
/// With `resolver` the host's /etc/resolv.conf is seen too.
pub fn enter(root: &Path, exchange: &Path, resolver: bool) -> Result<()> {
    let inside = |path: &str| root.join(path.trim_start_matches('/'));
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).context("making mounts private")?;
    // A pivot needs a mount point.
    rustix::mount::mount_bind(root, root).context("binding the tree")?;
    for folder in ["proc", "dev", EXCHANGE] {
        make_folder(&inside(folder))?;
    }
    mount_proc(&inside("proc"))?;
    rustix::mount::mount(
        "dev",
        inside("dev"),
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        Some(c"mode=755,size=16m"),
    )
    .context("mounting /dev")?;
    for node in NODES {
        let target = inside("dev").join(node);
        File::create(&target).with_context(|| format!("making {}", target.display()))?;
        rustix::mount::mount_bind(Path::new("/dev").join(node), &target)
            .with_context(|| format!("binding /dev/{node}"))?;
    }
    for (name, target) in LINKS {
        symlink(target, inside("dev").join(name))
            .with_context(|| format!("linking /dev/{name}"))?;
    }
    for folder in ["dev/shm", "dev/pts"] {
        make_folder(&inside(folder))?;
    }
    rustix::mount::mount_bind(exchange, inside(EXCHANGE)).context("binding the exchange folder")?;
    if resolver {
        bind_resolver(&inside("etc/resolv.conf"))?;
    }
    pivot(root)
}

fn make_folder(path: &Path) -> Result<()> {
    if !path.is_dir() {
        std::fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
    }
    Ok(())
}

/// A container may forbid a fresh /proc while its own is partly hidden; then that one must do.
fn mount_proc(target: &Path) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if rustix::mount::mount("proc", target, "proc", flags, None).is_ok() {
        return Ok(());
    }
    rustix::mount::mount_bind_recursive("/proc", target).context("mounting /proc")
}

fn bind_resolver(target: &Path) -> Result<()> {
    let Ok(host) = Path::new("/etc/resolv.conf").canonicalize() else { return Ok(()) };
    // A dangling link of the tree cannot be mounted on; the tree keeps it, this view does not.
    if target.is_file() {
        rustix::mount::mount_bind(&host, target).context("binding /etc/resolv.conf")?;
    }
    Ok(())
}

fn pivot(root: &Path) -> Result<()> {
    std::env::set_current_dir(root).context("entering the tree")?;
    match rustix::process::pivot_root(".", ".") {
        Ok(()) => rustix::mount::unmount(".", UnmountFlags::DETACH).context("leaving the host")?,
        // The root of an initramfs cannot be pivoted away from.
        Err(_) => rustix::process::chroot(".").context("changing the root")?,
    }
    std::env::set_current_dir("/").context("entering the new root")
}
