//! The process that starts the commands of a sandbox, in a user namespace with only these commands, so
//! that their privileges are limited to it. It collects their output, waits for orphaned processes, and
//! kills what a command leaves running. Knows neither the tree nor the steps.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::mount::UnmountFlags;
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus};
use rustix::thread::{CapabilitySet, UnshareFlags};

use super::{Reply, Request, filter, line_of, loopback, tracer, unstarted};
use crate::error::{Context, Error, Result, ensure, with_hint};
use crate::sandbox::Network;
use crate::threads;

/// The hidden subcommand that runs [`main`].
pub const SUBCOMMAND: &str = "__commands";

/// How long a process may outlive its command before it is killed: a process that reads the command's
/// output (`exec > >(tee log)`) ends by itself shortly after.
const GRACE: Duration = Duration::from_millis(200);

/// What root may do where it is that of a container; devices and other roots are not among it.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETUID);

/// Longer lines are split into pieces of this many bytes.
const MAX_LINE: u64 = 1 << 16;

/// Serves requests from standard input until its end.
pub fn main() -> ExitCode {
    send(&Reply::Started);
    let mut supervisor = None;
    for line in std::io::stdin().lines() {
        let Ok(line) = line else { return ExitCode::FAILURE };
        let reply = serde_json::from_str(&line)
            .context("reading a request")
            .and_then(|request| answer(request, &mut supervisor));
        send(&reply.unwrap_or_else(|error| Reply::Failed {
            hint: crate::error::hints(&error).first().map(|hint| hint.to_string()),
            causes: error.chain().map(|cause| cause.to_string()).collect(),
        }));
    }
    ExitCode::SUCCESS
}

fn send(reply: &Reply) {
    // If the reader has ended, this namespace is about to be killed.
    let _ = line_of(reply).map(|line| std::io::stdout().write_all(&line));
}

fn answer(request: Request, supervisor: &mut Option<Supervisor>) -> Result<Reply> {
    match request {
        Request::Isolate { network } => {
            isolate(network)?;
            *supervisor = Some(Supervisor::new(network)?);
            Ok(Reply::Isolated)
        }
        Request::Confine { network } => {
            let confined = Supervisor::without_namespaces(network)?;
            confined.confine()?;
            *supervisor = Some(confined);
            Ok(Reply::Ready)
        }
        Request::Restrict => {
            supervisor.as_mut().context("there are no namespaces yet")?.restrict()?;
            Ok(Reply::Ready)
        }
        Request::Run { argv, env, input } => {
            supervisor.as_ref().context("there are no namespaces yet")?.run(&argv, env, input)
        }
    }
}

/// Enters new namespaces. This process has a single thread, which a user namespace requires.
fn isolate(network: Network) -> Result<()> {
    // The working directory is the tree. If `pivot_root` moved this process too, it is the root
    // already.
    rustix::process::chroot(".").context("changing the root")?;
    let mut flags =
        UnshareFlags::NEWUSER | UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if network == Network::None {
        flags |= UnshareFlags::NEWNET;
    }
    // `unshare` is unsafe because of CLONE_FILES, which is not used.
    #[allow(deprecated)]
    rustix::thread::unshare(flags).map_err(|errno| {
        let error = Error::new(errno).context("creating namespaces for commands");
        match errno {
            rustix::io::Errno::NOSPC | rustix::io::Errno::USERS => with_hint(
                error,
                "this host allows no more namespaces: raise `user.max_user_namespaces`, \
                 `user.max_mnt_namespaces` and `user.max_net_namespaces` with sysctl",
            ),
            rustix::io::Errno::PERM => with_hint(
                error,
                "this container or kernel forbids user namespaces: allow them \
                 (`--security-opt seccomp=unconfined` in a container)",
            ),
            _ => error,
        }
    })
}

struct Supervisor {
    network: Network,
    /// Whether all processes and mounts that there are belong to commands.
    has_namespaces: bool,
    /// /proc, opened because commands can mount over it.
    proc: File,
    /// The ids of the sandbox's own mounts.
    mounts: BTreeSet<u64>,
}

impl Supervisor {
    fn new(network: Network) -> Result<Supervisor> {
        let proc = File::open("/proc").context("opening /proc")?;
        let mounts = BTreeSet::new();
        let mut supervisor = Supervisor { network, has_namespaces: true, proc, mounts };
        supervisor.mounts = supervisor.mounts()?.into_iter().map(|(id, _)| id).collect();
        Ok(supervisor)
    }

    /// Makes the tree, which is the working directory, the root.
    fn without_namespaces(network: Network) -> Result<Supervisor> {
        // Of the container: the tree has none.
        let proc = File::open("/proc").context("opening /proc")?;
        rustix::process::chroot(".").context("changing the root")?;
        Ok(Supervisor { network, has_namespaces: false, proc, mounts: BTreeSet::new() })
    }

    /// [`Supervisor::restrict`] where root is that of the container.
    fn confine(&self) -> Result<()> {
        for capability in CapabilitySet::all().iter() {
            if !KEPT.contains(capability) {
                // The kernel has fewer than there are names for.
                let _ = rustix::thread::remove_capability_from_bounding_set(capability);
            }
        }
        self.become_alone()?;
        confine_to_tree(&self.proc)?;
        // Commands inherit it.
        let what = "opening /proc for commands";
        let proc = rustix::io::fcntl_dupfd_cloexec(&self.proc, tracer::DESCRIPTOR).context(what)?;
        ensure!(proc.as_raw_fd() == tracer::DESCRIPTOR, "{what}: too many files are open");
        rustix::io::fcntl_setfd(&proc, FdFlags::empty()).context(what)?;
        let _ = proc.into_raw_fd();
        filter::install()?;
        filter::install_for_container(self.network)
    }

    /// Drops everything that commands must not inherit.
    fn restrict(&mut self) -> Result<()> {
        self.become_alone()?;
        match self.network {
            Network::None => loopback::up()?,
            Network::Host => forbid_abstract_sockets()?,
        }
        filter::install()
    }

    fn become_alone(&self) -> Result<()> {
        rustix::thread::set_thread_groups(&[]).context("leaving supplementary groups")?;
        // Without a controlling terminal, /dev/tty cannot be opened.
        rustix::process::setsid().context("leaving the session")?;
        let me = Some(rustix::process::getpid());
        rustix::process::set_child_subreaper(me).context("becoming the parent of orphans")?;
        // Only the parent namespace may inspect this process.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .context("hiding this process")
    }

    fn run(&self, argv: &[String], env: Vec<(String, String)>, input: String) -> Result<Reply> {
        let (program, args) = argv.split_first().context("an empty command")?;
        let path = env.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.clone());
        let mut command = std::process::Command::new(program);
        command.args(args).current_dir("/").env_clear().envs(env);
        command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
        // Both outputs share a pipe, to keep the order in which they were written.
        let (reader, writer) = std::io::pipe().context("creating a pipe")?;
        command.stdout(writer.try_clone().context("creating a pipe")?).stderr(writer);
        let mut child = command
            .spawn()
            .map_err(|error| unstarted::explain(error, program, &path.unwrap_or_default()))?;
        drop(command);
        let stdin = child.stdin.take();
        let child = Pid::from_child(&child);
        std::thread::scope(|scope| {
            // A command may end without reading its input; its exit status decides.
            let feed = move || _ = stdin.map(|mut stdin| stdin.write_all(input.as_bytes()));
            let started = threads::start(scope, move || forward(BufReader::new(reader)))
                .and_then(|_| threads::start(scope, feed));
            if let Err(error) = started {
                self.kill()?;
                return Err(error.into());
            }
            let status = wait_for(child).context("waiting for a command")?;
            let unmounted = self.unmount()?;
            let killed = self.kill()?;
            Ok(Reply::Finished { status: raw(status), killed, unmounted })
        })
    }

    /// Unmounts everything that is not the sandbox's, the last mount first. Returns the mount points.
    fn unmount(&self) -> Result<Vec<String>> {
        let mut unmounted = Vec::new();
        if !self.has_namespaces {
            // A container has mounts of its own, and commands cannot make any.
            return Ok(unmounted);
        }
        for (id, place) in self.mounts()?.into_iter().rev() {
            let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
            // A mount that cannot be undone ends with the namespace; packing does not see it.
            if !self.mounts.contains(&id) && rustix::mount::unmount(&place, flags).is_ok() {
                unmounted.push(place.to_string_lossy().into_owned());
            }
        }
        Ok(unmounted)
    }

    /// The ids and mount points of this namespace.
    fn mounts(&self) -> Result<Vec<(u64, PathBuf)>> {
        let text = self.read("self/mountinfo")?;
        Ok(text.split(|byte| *byte == b'\n').filter_map(mount).collect())
    }

    /// Kills every process of the namespace except its first and this one, or all that commands started.
    /// Returns their names.
    fn kill(&self) -> Result<Vec<String>> {
        let start = Instant::now();
        let mut killed = Vec::new();
        loop {
            while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
            let left = self.others()?;
            if left.is_empty() {
                return Ok(killed);
            }
            if start.elapsed() > GRACE {
                for pid in left {
                    let name = self.read(&format!("{pid}/comm")).unwrap_or_default();
                    let name = String::from_utf8_lossy(&name).trim_end().to_string();
                    let sent = Pid::from_raw(pid).is_some_and(|pid| {
                        rustix::process::kill_process(pid, Signal::KILL).is_ok()
                    });
                    let description = format!("{name} (process {pid})");
                    if sent && !killed.contains(&description) {
                        killed.push(description);
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The processes other than the first of the namespace and this one, or without namespaces those below
    /// this one, including zombies.
    fn others(&self) -> Result<Vec<i32>> {
        let all = self.all_others()?;
        if self.has_namespaces {
            return Ok(all);
        }
        let parent = |pid: &i32| {
            let stat = self.read(&format!("{pid}/stat")).ok()?;
            Some((*pid, parent_of(&stat)?))
        };
        let parents: BTreeMap<i32, i32> = all.iter().filter_map(parent).collect();
        let me = rustix::process::getpid().as_raw_pid();
        let is_below = |pid: &i32| {
            // A process that ends meanwhile may end up anywhere, but not in a circle for ever.
            let mut line = std::iter::successors(Some(*pid), |pid| parents.get(pid).copied());
            line.by_ref().take(parents.len() + 1).any(|pid| pid == me)
        };
        Ok(parents.keys().copied().filter(is_below).collect())
    }

    fn all_others(&self) -> Result<Vec<i32>> {
        let me = rustix::process::getpid().as_raw_pid();
        let what = "listing the processes";
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.proc).context(what)? {
            let name = entry.context(what)?;
            let pid = name.file_name().to_str().ok().and_then(|name| name.parse::<i32>().ok());
            found.extend(pid.filter(|pid| *pid != 1 && *pid != me));
        }
        Ok(found)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let what = || format!("reading /proc/{name}");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.proc, name, flags, Mode::empty()).with_context(what)?;
        let mut bytes = Vec::new();
        File::from(file).read_to_end(&mut bytes).with_context(what)?;
        Ok(bytes)
    }
}

/// Forbids connections to abstract sockets of the host (display servers, container runtimes), which are
/// in its network namespace. Not enforced by kernels before 6.12. Files are not restricted, because a
/// process with Landlock rules for files cannot mount.
fn forbid_abstract_sockets() -> Result<()> {
    let what = "forbidding the host's abstract sockets";
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .scope(Scope::AbstractUnixSocket)
        .context(what)?;
    ruleset.create().and_then(|ruleset| ruleset.restrict_self()).context(what)?;
    Ok(())
}

/// Confines this process and all commands to the files of the tree, as far as the kernel can: a change of
/// root alone could be undone by whoever may change the root. `proc` stays readable for this process.
fn confine_to_tree(proc: &File) -> Result<()> {
    let what = "confining commands to the tree";
    // Of Linux 6.10; earlier ones know a part of it.
    let abi = ABI::V5;
    let ruleset = || -> std::result::Result<_, RulesetError> {
        let all = AccessFs::from_all(abi);
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)?
            .scope(Scope::AbstractUnixSocket)?
            .create()?;
        Ok((ruleset, all))
    };
    let (ruleset, all) = ruleset().context(what)?;
    let tree = File::open("/").context(what)?;
    ruleset
        .add_rule(PathBeneath::new(tree, all))
        .and_then(|ruleset| ruleset.add_rule(PathBeneath::new(proc, AccessFs::from_read(abi))))
        .and_then(|ruleset| ruleset.restrict_self())
        .context(what)?;
    Ok(())
}

/// The parent from the text of /proc/PROCESS/stat (proc_pid_stat(5)); the name before it may contain
/// anything.
fn parent_of(stat: &[u8]) -> Option<i32> {
    let after = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(stat.get(after + 1..)?).ok()?.split_ascii_whitespace();
    fields.nth(1)?.parse().ok()
}

/// Waits for `child`, and reaps all other processes that end meanwhile.
fn wait_for(child: Pid) -> rustix::io::Result<WaitStatus> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => return Ok(status),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The status as the kernel encodes it.
fn raw(status: WaitStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code << 8,
        (None, Some(signal)) => signal,
        (None, None) => -1,
    }
}

/// Sends output line by line, until the pipe is closed.
fn forward(mut output: impl BufRead) {
    let mut line = Vec::new();
    while let Ok(1..) = output.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
        if line.ends_with(b"\n") {
            line.pop();
        }
        send(&Reply::Output(String::from_utf8_lossy(&line).into_owned()));
        line.clear();
    }
}

/// The id and mount point from a line of mountinfo (proc_pid_mountinfo(5)).
fn mount(line: &[u8]) -> Option<(u64, PathBuf)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    Some((id, PathBuf::from(OsString::from_vec(unescaped(fields.nth(3)?)))))
}

/// Replaces `\` and three octal digits, which stand for spaces, tabs, line ends and backslashes.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let octal = (text[at] == b'\\').then(|| text.get(at + 1..at + 4)).flatten();
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => (bytes.push(byte), at += 4).1,
            None => (bytes.push(text[at]), at += 1).1,
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_with_its_escapes() {
        let line = br"36 35 98:0 / /mnt/a\040b\134c rw,noatime - ext3 /dev/root rw";
        assert_eq!(mount(line).unwrap(), (36, PathBuf::from(r"/mnt/a b\c")));
        assert_eq!(mount(b""), None);
        assert_eq!(mount(b"36 35"), None);
        assert_eq!(unescaped(br"\04"), br"\04");
    }

    #[test]
    fn a_parent_is_read_behind_any_name() {
        assert_eq!(parent_of(b"42 (a) 7 (b) S 17 42 42 0"), Some(17));
        assert_eq!(parent_of(b"42 (a) S"), None);
        assert_eq!(parent_of(b"42"), None);
    }
}
