//! What kuth does when it is started again inside the namespaces: pivot into the tree and carry
//! out the steps. It speaks to the kuth outside in JSON lines on standard output; what commands
//! print goes to standard error, which is the stage's log.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::event::{PollFd, PollFlags};

use super::{EXCHANGE, FailedCommand, Job, Report, Step, mounts, owners, pack, syncless, unpack};
use crate::cache::sparse;
use crate::error::{Context, Error, Result, anyhow, bail, ensure};

/// The environment of every command inside; nothing of the host's gets in.
const ENVIRONMENT: [(&str, &str); 7] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LC_ALL", "C.UTF-8"),
    ("TZ", "UTC"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
    ("SHELL", "/bin/sh"),
];

/// Runs the job described in `file`; what happens is reported on standard output.
pub fn main(file: &Path) -> std::process::ExitCode {
    match work(file) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            let causes = error.chain().map(|cause| cause.to_string()).collect();
            let command =
                crate::error::caused_by::<StepFailed>(&error).map(|failed| failed.0.clone());
            report(&Report::Failed { causes, command });
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
fn end_with_kuth() {
    std::thread::spawn(|| {
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
    });
}

fn work(file: &Path) -> Result<()> {
    end_with_kuth();
    let text = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let job: Job = serde_json::from_slice(&text).context("reading the job")?;
    rustix::system::sethostname(job.hostname.as_bytes()).context("naming the namespace")?;
    // Modes are what packages and recipes say, whatever the caller's umask is.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if job.steps == [Step::Clear] {
        return clear(&job.root);
    }
    let mut owners = owners::Owners::open(&file.with_file_name("owners"))?;
    mounts::enter(&job.root, &job.exchange, job.resolver)?;
    syncless::install()?;
    for (at, step) in job.steps.iter().enumerate() {
        report(&Report::Step { at });
        let start = std::time::Instant::now();
        carry_out(step, job.epoch, &mut owners)?;
        // What took its time shows in the log.
        if start.elapsed().as_millis() >= 100 {
            eprintln!("# {} in {:.1} s", step.name(), start.elapsed().as_secs_f64());
        }
    }
    Ok(())
}

fn clear(root: &Path) -> Result<()> {
    crate::cache::lock::remove_tree(root).with_context(|| format!("removing {}", root.display()))
}

fn exchange(name: &str) -> PathBuf {
    Path::new(EXCHANGE).join(name)
}

fn carry_out(step: &Step, epoch: u64, owners: &mut owners::Owners) -> Result<()> {
    match step {
        Step::MergeUsr { lib64 } => merge_usr(*lib64),
        Step::Unpack { files } => {
            files.iter().try_for_each(|file| unpack::unpack(&exchange(file), owners))
        }
        Step::Write { path, content, mode } => write(Path::new(path), content.as_bytes(), *mode),
        Step::Copy { from, to, mode, owner } => {
            copy(&exchange(from), Path::new(to), *mode)?;
            let Some(owner) = owner else { return Ok(()) };
            let wanted = owners::wanted(owner);
            if wanted.uid.or(wanted.gid).is_some() {
                owners.give_all(Path::new(to), wanted.uid, wanted.gid)?;
            }
            match wanted.names {
                Some(names) => {
                    run(&["chown".into(), "-R".into(), names, to.clone()], &[], "", epoch)
                }
                None => Ok(()),
            }
        }
        Step::Run { argv, env, input } => run(argv, env, input, epoch),
        Step::Remove { path } => remove(Path::new(path)),
        Step::Empty { path } => empty(Path::new(path)),
        Step::Truncate { path } => truncate(Path::new(path)),
        Step::Seal => seal(),
        Step::Pack { file } => {
            let packed = pack::pack(Path::new("/"), &exchange(file), epoch, owners)?;
            report(&Report::Packed { digest: packed.digest, size: packed.size });
            Ok(())
        }
        Step::Clear => bail!("a tree cannot be cleared from inside"),
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
    let mode = mode.unwrap_or(metadata.permissions().mode() & 0o7777);
    std::fs::set_permissions(to, PermissionsExt::from_mode(mode)).with_context(what)?;
    lchown(to, Some(0), Some(0)).with_context(what)
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

/// What makes a copy of a machine recognisable as one: its id, its keys, its random seed, its
/// logs; and what a later first boot would take for answers already given.
fn seal() -> Result<()> {
    for file in ["/etc/machine-id", "/var/lib/dbus/machine-id"] {
        // Present but empty: systemd makes a new one at the first boot. A link stays a link.
        truncate(Path::new(file))?;
    }
    if !Path::new("/etc/machine-id").exists() && Path::new("/etc/systemd").is_dir() {
        write(Path::new("/etc/machine-id"), b"", 0o444)?;
    }
    remove_matching("/etc/ssh", |name| name.starts_with("ssh_host_"))?;
    for path in [
        "/var/lib/systemd/random-seed",
        "/var/lib/urandom/random-seed",
        "/var/lib/systemd/credential.secret",
        "/var/lib/cloud",
        "/root/.bash_history",
        "/root/.ssh/known_hosts",
        "/etc/udev/rules.d/70-persistent-net.rules",
        "/etc/resolv.conf.dpkg-old",
    ] {
        remove(Path::new(path))?;
    }
    // What installers leave would make cloud-init keep their network or ignore its seed.
    for (folder, names) in [
        ("/etc/netplan", ["00-installer-config", "50-curtin", "50-cloud-init"].as_slice()),
        ("/etc/cloud/cloud.cfg.d", &["50-curtin", "99-installer", "curtin", "subiquity"]),
    ] {
        remove_matching(folder, |name| names.iter().any(|prefix| name.starts_with(prefix)))?;
    }
    for folder in ["/var/lib/dhcp", "/var/lib/dhcpcd", "/var/lib/NetworkManager", "/var/crash"] {
        empty(Path::new(folder))?;
    }
    if Path::new("/usr/sbin/sshd").exists() && !Path::new("/usr/bin/cloud-init").exists() {
        write(Path::new(HOST_KEYS.0), HOST_KEYS.1.as_bytes(), 0o644)?;
    }
    clear_logs(Path::new("/var/log"))
}

/// Without cloud-init nobody else would make the host keys that sealing removed.
const HOST_KEYS: (&str, &str) = (
    "/etc/systemd/system/ssh.service.d/host-keys.conf",
    "# The image has no host keys; each machine makes its own.\n[Service]\nExecStartPre=\n\
     ExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n",
);

/// Empties the folders of logs but keeps them: services expect theirs with its owner.
fn clear_logs(folder: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
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

fn remove_matching(folder: &str, matches: impl Fn(&str) -> bool) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        if matches(&entry.file_name().to_string_lossy()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// A command inside failed.
#[derive(Debug)]
struct StepFailed(FailedCommand);

impl std::fmt::Display for StepFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.0.command, self.0.status)
    }
}

impl std::error::Error for StepFailed {}

/// The lines of standard error kept for a failure.
const TAIL: usize = 20;

fn run(argv: &[String], env: &[(String, String)], input: &str, epoch: u64) -> Result<()> {
    use std::io::BufRead;
    let (program, args) = argv.split_first().ok_or_else(|| anyhow!("an empty command"))?;
    ensure!(!program.is_empty(), "an empty command");
    let shown: Vec<String> = argv.iter().map(|word| crate::process::quote(word)).collect();
    let shown = shown.join(" ");
    eprintln!("$ {shown}");
    let mut command = std::process::Command::new(program);
    command.args(args).current_dir("/").env_clear().envs(ENVIRONMENT);
    command.env("SOURCE_DATE_EPOCH", epoch.to_string()).envs(env.iter().cloned());
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    // Both outputs in one pipe keep the order in which they were written.
    let (reader, writer) = std::io::pipe().context("making a pipe")?;
    command.stdout(writer.try_clone().context("making a pipe")?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("starting {shown}"))?;
    drop(command);
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input.as_bytes());
    }
    let mut tail = std::collections::VecDeque::new();
    for line in std::io::BufReader::new(reader).split(b'\n') {
        let line = String::from_utf8_lossy(&line.context("reading output")?).into_owned();
        eprintln!("{line}");
        if !line.trim().is_empty() {
            tail.push_back(line);
        }
        if tail.len() > TAIL {
            tail.pop_front();
        }
    }
    let status = child.wait().with_context(|| format!("waiting for {shown}"))?;
    if status.success() {
        return Ok(());
    }
    let failed =
        FailedCommand { command: shown, status: crate::process::ending(status), tail: tail.into() };
    Err(Error::new(StepFailed(failed)))
}
