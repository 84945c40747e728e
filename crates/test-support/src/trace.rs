//! kuth under ptrace: it stops before each of its system calls, where a test lets it go on, kills it,
//! or makes the call fail. The threads of kuth are followed, and not the commands that it starts. The
//! calls of all threads are counted together, so that every one of them can be the one; strace counts
//! those of each thread.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Stdio;

pub use nix::libc;
use nix::libc::c_long;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::project::Project;
use crate::run::Run;

/// Whether calls can be made to fail on this processor.
pub const CAN_FAIL: bool = cfg!(target_arch = "x86_64");

/// The shell that becomes kuth once it is traced.
const GATE: [&str; 4] = ["sh", "-c", "read -r _ && exec \"$@\"", "sh"];

/// What a call does to the world outside the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Bytes of a file, its length or its attributes.
    Write,
    /// A new file.
    Create,
    /// A rename.
    Rename,
    /// Another change of names: directories, links, removals.
    Name,
    /// A sync of a file or a directory.
    Sync,
    /// A lock of a file.
    Lock,
    /// A new process or thread.
    Spawn,
    /// A connection, or bytes over one.
    Request,
}

impl Effect {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Effect::Write => "write",
            Effect::Create => "create",
            Effect::Rename => "rename",
            Effect::Name => "link, mkdir, unlink",
            Effect::Sync => "fsync",
            Effect::Lock => "lock",
            Effect::Spawn => "spawn",
            Effect::Request => "request",
        }
    }
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is made.
    Go,
    /// kuth gets SIGKILL in its place.
    Kill,
    /// It fails with this number of an error, and does nothing.
    Fail(i32),
    /// It does its work, and then fails with this number of an error: an answer that is lost.
    Lose(i32),
}

/// A call that kuth is about to make, or has made.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    process: Pid,
    thread: Pid,
    number: c_long,
    arguments: [u64; 3],
}

impl Call {
    /// What it does, if anything. Standard output and error do not count, nor do pipes.
    pub fn effect(&self) -> Option<Effect> {
        match self.number {
            libc::SYS_write
            | libc::SYS_writev
            | libc::SYS_pwrite64
            | libc::SYS_pwritev
            | libc::SYS_pwritev2 => self.written(0),
            libc::SYS_copy_file_range => self.written(2),
            libc::SYS_ftruncate
            | libc::SYS_fallocate
            | libc::SYS_fchmod
            | libc::SYS_fchmodat
            | libc::SYS_fsetxattr
            | libc::SYS_utimensat => Some(Effect::Write),
            libc::SYS_openat => {
                (self.arguments[2] & libc::O_CREAT as u64 != 0).then_some(Effect::Create)
            }
            libc::SYS_renameat | libc::SYS_renameat2 => Some(Effect::Rename),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_rename => Some(Effect::Rename),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_link
            | libc::SYS_unlink
            | libc::SYS_mkdir
            | libc::SYS_rmdir
            | libc::SYS_symlink => Some(Effect::Name),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_chmod => Some(Effect::Write),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_fork | libc::SYS_vfork => Some(Effect::Spawn),
            libc::SYS_linkat | libc::SYS_unlinkat | libc::SYS_mkdirat | libc::SYS_symlinkat => {
                Some(Effect::Name)
            }
            libc::SYS_fsync | libc::SYS_fdatasync => Some(Effect::Sync),
            libc::SYS_flock => Some(Effect::Lock),
            libc::SYS_clone | libc::SYS_clone3 => Some(Effect::Spawn),
            libc::SYS_connect | libc::SYS_sendto | libc::SYS_sendmsg => Some(Effect::Request),
            _ => None,
        }
    }

    /// Bytes into a file or a connection.
    fn written(&self, argument: usize) -> Option<Effect> {
        if self.arguments[argument] <= 2 {
            return None;
        }
        let to = self.file(argument)?;
        let to = to.to_str()?;
        match to {
            _ if to.starts_with("socket:") => Some(Effect::Request),
            _ if to.starts_with('/') && !to.starts_with("/proc/") && !to.starts_with("/dev/") => {
                Some(Effect::Write)
            }
            _ => None,
        }
    }

    /// The file that this argument, a descriptor, has open.
    pub fn file(&self, argument: usize) -> Option<PathBuf> {
        std::fs::read_link(self.descriptor(argument)).ok()
    }

    /// The same as a path that leads to the open file itself, whatever its name is now.
    pub fn descriptor(&self, argument: usize) -> PathBuf {
        format!("/proc/{}/fd/{}", self.process, self.arguments[argument]).into()
    }

    /// The path that it works on: that of its descriptor, or the last of its arguments that is one.
    pub fn path(&self) -> Option<PathBuf> {
        let argument = match self.number {
            libc::SYS_openat | libc::SYS_mkdirat | libc::SYS_unlinkat | libc::SYS_fchmodat => 1,
            libc::SYS_linkat | libc::SYS_renameat | libc::SYS_renameat2 => 1,
            libc::SYS_utimensat if self.arguments[1] != 0 => 1,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_rename
            | libc::SYS_link
            | libc::SYS_unlink
            | libc::SYS_mkdir
            | libc::SYS_rmdir
            | libc::SYS_chmod => 0,
            libc::SYS_copy_file_range => return self.file(2),
            _ => return self.file(0),
        };
        self.text(self.arguments[argument])
    }

    /// The text at an address of the process.
    fn text(&self, address: u64) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        let memory = File::open(format!("/proc/{}/mem", self.process)).ok()?;
        let mut text = Vec::new();
        // To the end of the page, as the next one may not be there.
        while text.len() < 8192 {
            let at = address + text.len() as u64;
            let mut part = vec![0; (4096 - at % 4096) as usize];
            memory.read_exact_at(&mut part, at).ok()?;
            let end = part.iter().position(|byte| *byte == 0);
            text.extend_from_slice(&part[..end.unwrap_or(part.len())]);
            if end.is_some() {
                return Some(std::ffi::OsString::from_vec(text).into());
            }
        }
        None
    }
}

/// What watches the calls.
pub trait Watch {
    /// Before a call.
    fn before(&mut self, call: &Call) -> Verdict;

    /// After a call that was made, whether or not it did what it should.
    fn after(&mut self, _call: &Call) {}
}

impl<F: FnMut(&Call) -> Verdict> Watch for F {
    fn before(&mut self, call: &Call) -> Verdict {
        self(call)
    }
}

/// Where a thread is.
enum State {
    Outside,
    Inside(Call, Verdict),
    /// In a call that nothing is known of.
    Unknown,
}

/// Runs kuth with these arguments to its end, or to its death, with `watch` before and after each of
/// its calls.
#[allow(clippy::zombie_processes, reason = "`follow` waits for it, as a tracer has to")]
pub fn run(project: &Project, arguments: &[&str], watch: &mut dyn Watch) -> Run {
    let [mut out, mut err] = [(); 2].map(|()| tempfile::tempfile().unwrap());
    let mut command = project.through(&GATE).command(arguments);
    command.stdin(Stdio::piped());
    command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    let pid = Pid::from_raw(child.id() as i32);
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options).unwrap();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let status = follow(pid, watch);
    let text = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Run { status, err: text(&mut err), ..Run::of_output(text(&mut out)) }
}

/// Follows a process and its threads to its end; its exit status, or -1 after a signal.
fn follow(process: Pid, watch: &mut dyn Watch) -> i32 {
    let mut threads: BTreeMap<Pid, State> = BTreeMap::new();
    let mut is_kuth = false;
    loop {
        // Of this thread's own, so that tests beside this one keep their children.
        let of_this_thread = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let (thread, signal) = match waitpid(None, Some(of_this_thread)).unwrap() {
            WaitStatus::Exited(pid, status) if pid == process => return status,
            WaitStatus::Signaled(pid, ..) if pid == process => return -1,
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                threads.remove(&pid);
                continue;
            }
            WaitStatus::PtraceSyscall(thread) => {
                step(process, thread, threads.entry(thread).or_insert(State::Outside), watch);
                (thread, None)
            }
            WaitStatus::PtraceEvent(thread, _, event) => {
                if event == libc::PTRACE_EVENT_EXEC {
                    // Of the gate first; a later one is none of kuth's.
                    is_kuth = true;
                    threads.insert(thread, State::Unknown);
                }
                (thread, None)
            }
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            other => panic!("{other:?}"),
        };
        // One that was killed meanwhile is waited for above.
        let _ = match is_kuth {
            true => ptrace::syscall(thread, signal),
            false => ptrace::cont(thread, signal),
        };
    }
}

/// A thread is before or after a call.
fn step(process: Pid, thread: Pid, state: &mut State, watch: &mut dyn Watch) {
    *state = match std::mem::replace(state, State::Outside) {
        State::Outside => {
            let Some((number, arguments)) = registers::call(thread) else { return };
            let call = Call { process, thread, number, arguments };
            let verdict = watch.before(&call);
            match verdict {
                Verdict::Kill => {
                    let _ = kill(process, Signal::SIGKILL);
                }
                Verdict::Fail(_) => registers::cancel(call.thread),
                Verdict::Go | Verdict::Lose(_) => {}
            }
            State::Inside(call, verdict)
        }
        State::Inside(call, verdict) => {
            match verdict {
                Verdict::Fail(error) | Verdict::Lose(error) => registers::fail(thread, error),
                Verdict::Go | Verdict::Kill => {}
            }
            if verdict == Verdict::Go {
                watch.after(&call);
            }
            State::Outside
        }
        State::Unknown => State::Outside,
    };
}

#[cfg(target_arch = "x86_64")]
mod registers {
    use super::*;

    /// The number and the first arguments of the call that a thread is about to make; `None` where it
    /// has been killed.
    pub fn call(thread: Pid) -> Option<(c_long, [u64; 3])> {
        let registers = ptrace::getregs(thread).ok()?;
        let arguments = [registers.rdi, registers.rsi, registers.rdx];
        Some((registers.orig_rax as c_long, arguments))
    }

    /// Makes the call one that there is not.
    pub fn cancel(thread: Pid) {
        let mut registers = ptrace::getregs(thread).unwrap();
        registers.orig_rax = u64::MAX;
        ptrace::setregs(thread, registers).unwrap();
    }

    /// The result of the call that was made.
    pub fn fail(thread: Pid, error: i32) {
        let mut registers = ptrace::getregs(thread).unwrap();
        registers.rax = -i64::from(error) as u64;
        ptrace::setregs(thread, registers).unwrap();
    }
}

#[cfg(target_arch = "aarch64")]
mod registers {
    use nix::sys::ptrace::regset::NT_PRSTATUS;

    use super::*;

    pub fn call(thread: Pid) -> Option<(c_long, [u64; 3])> {
        let registers = ptrace::getregset::<NT_PRSTATUS>(thread).ok()?.regs;
        Some((registers[8] as c_long, [registers[0], registers[1], registers[2]]))
    }

    pub fn cancel(_thread: Pid) {
        panic!("calls cannot be made to fail on this processor");
    }

    pub fn fail(_thread: Pid, _error: i32) {
        panic!("calls cannot be made to fail on this processor");
    }
}
