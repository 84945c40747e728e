//! What kuth does when it is started again inside the namespaces: make the tree the root and
//! execute the steps. Commands it leaves to a process with fewer privileges, see
//! [`super::commands`]. It speaks to the kuth outside in JSON lines on standard output; what
//! commands print goes to standard error, which is the stage's log.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags};

use super::commands::{CommandError, Commands};
use super::host_files::HostFiles;
use super::layers::{self, Unlayered};
use super::{
    EXCHANGE, Job, Network, Report, Step, chroot, mounts, owners, pack, reads, seal, settle, unpack,
};
use crate::error::{Context, Result, bail};
use crate::files::sparse;
use crate::process::start::end_with_parent;
use crate::threads;

/// Runs the job described in `file`; what happens is reported on standard output.
pub fn main(file: &Path) -> std::process::ExitCode {
    match work(file) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            if let Some(why) = crate::error::caused_by::<Unlayered>(&error) {
                report(&Report::Unlayered(why.clone()));
                return std::process::ExitCode::FAILURE;
            }
            let causes = error.chain().map(|cause| cause.to_string()).collect();
            let hint = crate::error::hints(&error).first().map(|hint| hint.to_string());
            let command =
                crate::error::caused_by::<CommandError>(&error).map(|failed| failed.0.clone());
            report(&Report::Failed { causes, hint, command });
            std::process::ExitCode::FAILURE
        }
    }
}

fn report(report: &Report) {
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    // Nobody listens any more when the kuth outside is gone; then this ends too.
    let _ = std::io::stdout().write_all(&line);
}

/// Ends this process, and with it the namespace, once nobody reads its reports. The kernel ends it
/// with kuth too (see [`super`]), but not when kuth is killed before that was asked for.
fn end_with_kuth() -> Result<()> {
    threads::detach(|| {
        let stdout = std::io::stdout();
        let gone = PollFlags::ERR | PollFlags::HUP;
        loop {
            let mut reports = [PollFd::new(&stdout, PollFlags::empty())];
            match rustix::event::poll(&mut reports, None) {
                Ok(_) if reports[0].revents().intersects(gone) => std::process::exit(1),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    })?;
    Ok(())
}

fn work(file: &Path) -> Result<()> {
    end_with_parent()?;
    end_with_kuth()?;
    let text = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let job: Job = serde_json::from_slice(&text).context("reading the job")?;
    if job.place.has_mounts() {
        rustix::system::sethostname(job.hostname.as_bytes()).context("naming the namespace")?;
    }
    // Modes are what packages and recipes say, whatever the caller's umask is.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if job.steps == [Step::Clear] {
        return clear(&job.root);
    }
    let owners = owners::Owners::open(&file.with_file_name("owners"))?;
    let mut tree = Tree::enter(&job, owners)?;
    let outcome = apply_all(&mut tree, &job);
    // A tree that is kept for somebody to look at shall be whole, so after a failure too.
    let left = if job.place.has_mounts() { Ok(()) } else { chroot::leave() };
    outcome.and(left)
}

fn apply_all(tree: &mut Tree, job: &Job) -> Result<()> {
    let watched = reads::Watched::new(&job.watch)?;
    for (at, step) in job.steps.iter().enumerate() {
        report(&Report::Step { at });
        let start = std::time::Instant::now();
        tree.apply(step)?;
        // What took its time shows in the log.
        if start.elapsed().as_millis() >= 100 {
            eprintln!("# {} in {:.1} s", step.name(), start.elapsed().as_secs_f64());
        }
    }
    report(&Report::Read(watched.read()?));
    Ok(())
}

/// Removes the tree at `root`, and the layers beside it.
fn clear(root: &Path) -> Result<()> {
    let beside = layers::DIRECTORIES.map(|name| root.with_file_name(name));
    beside.iter().filter(|path| path.is_dir()).map(PathBuf::as_path).chain([root]).try_for_each(
        |path| {
            crate::files::remove_tree(path).with_context(|| format!("removing {}", path.display()))
        },
    )
}

fn exchange(name: &str) -> PathBuf {
    Path::new(EXCHANGE).join(name)
}

/// The tree that is this process's root, and what works on it.
struct Tree {
    view: mounts::View,
    commands: Commands,
    /// What commands get of the host, if they see its network.
    host_files: Option<HostFiles>,
    owners: owners::Owners,
    epoch: u64,
    /// What [`Step::Settle`] works on.
    changed: Option<settle::Changed>,
}

impl Tree {
    fn enter(job: &Job, owners: owners::Owners) -> Result<Tree> {
        let host_files = (job.network == Network::Host).then(HostFiles::read);
        // Opened first: what is mounted in the tree does not show through it.
        let changed = settle::Changed::open(job)?;
        if let Some(stack) = &job.stack {
            layers::mount(stack, &job.root)?;
        }
        let prepare = if job.place.has_mounts() { mounts::prepare } else { chroot::prepare };
        let view = prepare(&job.root, &job.exchange, &job.output)?;
        let mut commands = Commands::start(&job.root)?;
        if job.place.has_mounts() {
            mounts::pivot(&job.root)?;
            commands.isolate(job.network)?;
        } else {
            commands.trace(&job.hostname)?;
            chroot::enter(&job.root)?;
            commands.confine(job.network)?;
        }
        Ok(Tree { view, commands, host_files, owners, epoch: job.epoch, changed })
    }

    fn apply(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::MergeUsr { lib64 } => merge_usr(*lib64),
            Step::Unpack { files } => {
                let owners = &mut self.owners;
                files.iter().try_for_each(|file| unpack::unpack(&exchange(file), owners))
            }
            Step::Write { path, content, mode } => {
                write(Path::new(path), content.as_bytes(), *mode)
            }
            Step::Copy { from, to, mode, owner } => {
                copy(&exchange(from), Path::new(to), *mode)?;
                let Some(owner) = owner else { return Ok(()) };
                self.give(Path::new(to), owner)?;
                // A change of the owner clears set-id bits.
                set_modes(&exchange(from), Path::new(to), *mode)
            }
            Step::Run { argv, env, input } => self.run(argv, env, input),
            Step::Remove { path } => remove(Path::new(path)),
            Step::Empty { path } => empty(Path::new(path)),
            Step::Truncate { path } => truncate(Path::new(path)),
            Step::Seal => seal_tree(),
            Step::Pack { file } => {
                let file = self.view.output.join(file);
                let packed = pack::pack_used(Path::new("/"), &file, self.epoch, &self.owners)?;
                report(&Report::Packed { digest: packed.digest, size: packed.size });
                Ok(())
            }
            Step::Settle => {
                let changed = self.changed.as_ref().context("nothing to settle")?;
                let layer = changed.settle(self.epoch, &self.owners)?;
                layer.into_iter().for_each(|layer| report(&Report::Settled(layer)));
                Ok(())
            }
            Step::Clear => bail!("a tree cannot be cleared from inside"),
        }
    }

    /// Gives a file, or a directory with all that is in it, to `owner` (`user:group`).
    fn give(&mut self, path: &Path, owner: &str) -> Result<()> {
        let wanted = owners::parse_owner(owner);
        if wanted.uid.or(wanted.gid).is_some() {
            self.owners.give_all(path, wanted.uid, wanted.gid)?;
        }
        match wanted.names {
            // The tree's own chown knows the tree's names.
            Some(names) => {
                let path = path.to_string_lossy().into_owned();
                self.run(&["chown".into(), "-R".into(), names, path], &[], "")
            }
            None => Ok(()),
        }
    }

    /// Runs a command, with what it needs of the host in the place of the tree's own files.
    fn run(&mut self, argv: &[String], env: &[(String, String)], input: &str) -> Result<()> {
        let copies = match &self.host_files {
            Some(files) => files.install(&self.view.hidden)?,
            None => Vec::new(),
        };
        let outcome = self.commands.run(argv, env, input, self.epoch);
        let restored = copies.into_iter().try_for_each(|copy| copy.restore());
        outcome.and(restored)
    }
}

fn merge_usr(lib64: bool) -> Result<()> {
    let names = ["bin", "sbin", "lib"].into_iter().chain(lib64.then_some("lib64"));
    for name in names {
        let (target, link) = (format!("/usr/{name}"), format!("/{name}"));
        std::fs::create_dir_all(&target).with_context(|| format!("making {target}"))?;
        if Path::new(&link).symlink_metadata().is_err() {
            std::os::unix::fs::symlink(format!("usr/{name}"), &link)
                .with_context(|| format!("linking {link}"))?;
        }
    }
    Ok(())
}

fn make_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if !parent.is_dir() => {
            std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let what = || format!("writing {}", path.display());
    make_parent(path)?;
    // A link in the way is replaced, not followed.
    if path.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
        std::fs::remove_file(path).with_context(what)?;
    }
    std::fs::write(path, content).with_context(what)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).with_context(what)
}

fn copy(from: &Path, to: &Path, mode: Option<u32>) -> Result<()> {
    let what = || format!("copying to {}", to.display());
    let metadata = from.symlink_metadata().with_context(what)?;
    make_parent(to)?;
    if metadata.is_dir() {
        std::fs::create_dir_all(to).with_context(what)?;
        for entry in std::fs::read_dir(from).with_context(what)? {
            let entry = entry.with_context(what)?;
            copy(&entry.path(), &to.join(entry.file_name()), mode)?;
        }
        return Ok(());
    }
    if to.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
        std::fs::remove_file(to).with_context(what)?;
    }
    if metadata.is_symlink() {
        let target = std::fs::read_link(from).with_context(what)?;
        return std::os::unix::fs::symlink(target, to).with_context(what);
    }
    sparse::copy_file(from, to)?;
    lchown(to, Some(0), Some(0)).with_context(what)?;
    set_modes(from, to, mode)
}

/// Gives the files that were copied from `from` to `to` the mode they are to have.
fn set_modes(from: &Path, to: &Path, mode: Option<u32>) -> Result<()> {
    let what = || format!("setting the mode of {}", to.display());
    let metadata = from.symlink_metadata().with_context(what)?;
    if metadata.is_dir() {
        for entry in std::fs::read_dir(from).with_context(what)? {
            let entry = entry.with_context(what)?;
            set_modes(&entry.path(), &to.join(entry.file_name()), mode)?;
        }
    } else if metadata.is_file() {
        let mode = mode.unwrap_or(metadata.permissions().mode() & 0o7777);
        std::fs::set_permissions(to, PermissionsExt::from_mode(mode)).with_context(what)?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    let Ok(found) = path.symlink_metadata() else { return Ok(()) };
    if found.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
        .with_context(|| format!("removing {}", path.display()))
}

fn empty(path: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(path) else { return Ok(()) };
    entries.flatten().try_for_each(|entry| remove(&entry.path()))
}

fn truncate(path: &Path) -> Result<()> {
    if !path.symlink_metadata().is_ok_and(|found| found.is_file()) {
        return Ok(());
    }
    std::fs::write(path, b"").with_context(|| format!("truncating {}", path.display()))
}

/// Removes what [`seal`] lists, and has the SSH server make new host keys where nothing else would.
fn seal_tree() -> Result<()> {
    for file in seal::TRUNCATED {
        // Present but empty. A link stays a link.
        truncate(Path::new(file))?;
    }
    if !Path::new("/etc/machine-id").exists() && Path::new("/etc/systemd").is_dir() {
        write(Path::new("/etc/machine-id"), b"", 0o444)?;
    }
    for path in seal::REMOVED {
        remove(Path::new(path))?;
    }
    for (directory, names) in seal::MATCHING {
        remove_matching(directory, |name| names.iter().any(|prefix| name.starts_with(prefix)))?;
    }
    for directory in seal::EMPTIED {
        empty(Path::new(directory))?;
    }
    if Path::new("/usr/sbin/sshd").exists() && !Path::new("/usr/bin/cloud-init").exists() {
        write(Path::new(HOST_KEYS.0), HOST_KEYS.1.as_bytes(), 0o644)?;
    }
    clear_logs(Path::new(seal::LOGS))
}

/// Without cloud-init nobody else would make the host keys that sealing removed.
const HOST_KEYS: (&str, &str) = (
    "/etc/systemd/system/ssh.service.d/host-keys.conf",
    "# The image has no host keys; each machine makes its own.\n[Service]\nExecStartPre=\n\
     ExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n",
);

/// Empties the directories of logs but keeps them: services expect theirs with its owner.
fn clear_logs(directory: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(()) };
    for entry in entries.flatten() {
        let kind =
            entry.file_type().with_context(|| format!("reading {}", entry.path().display()))?;
        if kind.is_dir() {
            clear_logs(&entry.path())?;
        } else {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_matching(directory: &str, matches: impl Fn(&str) -> bool) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(()) };
    for entry in entries.flatten() {
        if matches(&entry.file_name().to_string_lossy()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}
