//! /proc and the host name for commands where neither can be mounted or set. The supervisor and all
//! commands are traced (ptrace): a filter stops the system calls that name a file, and those whose path is
//! in /proc are made relative to a descriptor of the container's /proc, which every command inherits. All
//! others go on as they are. `uname` gets the host name of the tree.
//!
//! The kernel ends traced processes with their tracer.
//!
//! Numbers: the kernel's system call tables.

use std::collections::HashMap;
use std::fs::File;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rustix::process::WaitOptions;

use crate::error::{Context, Result, anyhow, with_hint};

/// The descriptor of /proc that commands inherit; it cannot be closed.
pub(super) const DESCRIPTOR: i32 = 1000;

/// The longest path, with its end.
const PATH_MAX: usize = 4096;

/// Bytes below the stack pointer that a function may use without moving it.
const RED_ZONE: u64 = 128;

/// What a call does with the path among its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// The path is at the index after that of a directory.
    At { directory: usize, opens: bool },
    /// The path is first; the call with this number takes a directory too, and these flags at the index.
    First { number: i64, flags: Option<(usize, u64)>, opens: bool },
    /// The path is first; the call with this number takes the descriptor of what is named.
    Descriptor { number: i64 },
    /// The path is at the index, and nothing takes a directory: what a link of /proc leads to is named
    /// instead.
    Named { path: usize },
    /// The buffer for the names of the system.
    Uname,
    /// A range of descriptors is closed.
    CloseRange,
}

const fn at(directory: usize) -> Call {
    Call::At { directory, opens: false }
}

#[cfg(target_arch = "x86_64")]
const fn first(number: i64) -> Call {
    Call::First { number, flags: None, opens: false }
}

#[cfg(target_arch = "x86_64")]
const fn first_with(number: i64, index: usize, flags: u64) -> Call {
    Call::First { number, flags: Some((index, flags)), opens: false }
}

#[cfg(target_arch = "x86_64")]
const NOFOLLOW: u64 = 0x100;

#[cfg(target_arch = "x86_64")]
const CALLS: &[(i64, Call)] = &[
    (2, Call::First { number: 257, flags: None, opens: true }), // open
    (4, first_with(262, 3, 0)),                                 // stat
    (6, first_with(262, 3, NOFOLLOW)),                          // lstat
    (21, first(269)),                                           // access
    (59, Call::Named { path: 0 }),                              // execve
    (63, Call::Uname),
    (76, Call::Named { path: 0 }),                 // truncate
    (80, Call::Descriptor { number: 81 }),         // chdir
    (85, Call::Named { path: 0 }),                 // creat
    (89, first(267)),                              // readlink
    (90, first(268)),                              // chmod
    (92, first_with(260, 4, 0)),                   // chown
    (94, first_with(260, 4, NOFOLLOW)),            // lchown
    (132, Call::Named { path: 0 }),                // utime
    (137, Call::Descriptor { number: 138 }),       // statfs
    (188, Call::Named { path: 0 }),                // setxattr
    (189, Call::Named { path: 0 }),                // lsetxattr
    (191, Call::Named { path: 0 }),                // getxattr
    (192, Call::Named { path: 0 }),                // lgetxattr
    (194, Call::Named { path: 0 }),                // listxattr
    (195, Call::Named { path: 0 }),                // llistxattr
    (197, Call::Named { path: 0 }),                // removexattr
    (198, Call::Named { path: 0 }),                // lremovexattr
    (235, first(261)),                             // utimes
    (254, Call::Named { path: 1 }),                // inotify_add_watch
    (257, Call::At { directory: 0, opens: true }), // openat
    (260, at(0)),                                  // fchownat
    (261, at(0)),                                  // futimesat
    (262, at(0)),                                  // newfstatat
    (265, at(0)),                                  // linkat
    (267, at(0)),                                  // readlinkat
    (268, at(0)),                                  // fchmodat
    (269, at(0)),                                  // faccessat
    (280, at(0)),                                  // utimensat
    (303, at(0)),                                  // name_to_handle_at
    (322, at(0)),                                  // execveat
    (332, at(0)),                                  // statx
    (436, Call::CloseRange),
    (437, Call::At { directory: 0, opens: true }), // openat2
    (439, at(0)),                                  // faccessat2
    (452, at(0)),                                  // fchmodat2
];

#[cfg(target_arch = "aarch64")]
const CALLS: &[(i64, Call)] = &[
    (5, Call::Named { path: 0 }),                 // setxattr
    (6, Call::Named { path: 0 }),                 // lsetxattr
    (8, Call::Named { path: 0 }),                 // getxattr
    (9, Call::Named { path: 0 }),                 // lgetxattr
    (11, Call::Named { path: 0 }),                // listxattr
    (12, Call::Named { path: 0 }),                // llistxattr
    (14, Call::Named { path: 0 }),                // removexattr
    (15, Call::Named { path: 0 }),                // lremovexattr
    (27, Call::Named { path: 1 }),                // inotify_add_watch
    (37, at(0)),                                  // linkat
    (43, Call::Named { path: 0 }),                // statfs
    (45, Call::Named { path: 0 }),                // truncate
    (48, at(0)),                                  // faccessat
    (49, Call::Named { path: 0 }),                // chdir
    (53, at(0)),                                  // fchmodat
    (54, at(0)),                                  // fchownat
    (56, Call::At { directory: 0, opens: true }), // openat
    (78, at(0)),                                  // readlinkat
    (79, at(0)),                                  // newfstatat
    (88, at(0)),                                  // utimensat
    (160, Call::Uname),
    (221, Call::Named { path: 0 }), // execve
    (264, at(0)),                   // name_to_handle_at
    (281, at(0)),                   // execveat
    (291, at(0)),                   // statx
    (436, Call::CloseRange),
    (437, Call::At { directory: 0, opens: true }), // openat2
    (439, at(0)),                                  // faccessat2
    (452, at(0)),                                  // fchmodat2
];

/// The numbers of the calls to stop.
pub(super) fn stopped() -> impl Iterator<Item = i64> {
    CALLS.iter().map(|(number, _)| *number)
}

/// Traces the process `pid`, a child of this one, and all that it starts, until the last has ended.
/// `hostname` is what `uname` tells them.
pub(super) fn start(pid: u32, hostname: &str) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid).context("a process number")?);
    let proc = File::open("/proc").context("opening /proc")?;
    let hostname = hostname.to_string();
    let (sender, receiver) = std::sync::mpsc::channel();
    // The thread that seizes is the one that traces.
    std::thread::spawn(move || {
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACESECCOMP
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_EXITKILL;
        let seized = ptrace::seize(pid, options);
        let is_seized = seized.is_ok();
        // Who asks waits for it.
        let _ = sender.send(seized);
        if is_seized {
            Tracer { proc, hostname, changed: HashMap::new() }.follow();
        }
    });
    let seized = receiver.recv().map_err(|_| anyhow!("the thread that traces has ended"))?;
    seized.context("tracing commands").map_err(|error| {
        with_hint(
            error,
            "without namespaces, commands get /proc by tracing: allow the container \
             `--cap-add SYS_PTRACE`, or namespaces with `--cap-add SYS_ADMIN --security-opt \
             seccomp=unconfined --security-opt apparmor=unconfined`",
        )
    })
}

/// What is to be done when a call has been made.
struct Changed {
    before: registers::Registers,
    call: Call,
}

struct Tracer {
    proc: File,
    hostname: String,
    /// The threads that are in a call that was changed.
    changed: HashMap<Pid, Changed>,
}

/// From `linux/ptrace.h`, and `SIGTRAP` with the mark of a system call.
const EVENT_SECCOMP: i32 = 7;
const SYSCALL_STOP: i32 = 5 | 0x80;

/// `__WALL` and `__WNOTHREAD` (wait(2)): all tracees, and of this thread only.
const OF_THIS_THREAD: WaitOptions = WaitOptions::from_bits_retain(0x4000_0000 | 0x2000_0000);

impl Tracer {
    fn follow(mut self) {
        loop {
            let (pid, status) = match rustix::process::wait(OF_THIS_THREAD) {
                Ok(Some((pid, status))) => (Pid::from_raw(pid.as_raw_pid()), status.as_raw()),
                Err(rustix::io::Errno::INTR) | Ok(None) => continue,
                // The last has ended.
                Err(_) => return,
            };
            let is_stopped = status & 0xff == 0x7f;
            if !is_stopped {
                self.changed.remove(&pid);
                continue;
            }
            let (signal, event) = ((status >> 8) & 0xff, status >> 16);
            let is_changed = match (signal, event) {
                (SYSCALL_STOP, _) => {
                    self.after(pid);
                    false
                }
                (_, EVENT_SECCOMP) => self.before(pid).unwrap_or(false),
                _ => false,
            };
            // Others are signals on their way. Those that only C libraries send to themselves have no
            // name, and are lost.
            let signal = match event == 0 && signal != SYSCALL_STOP {
                true => Signal::try_from(signal).ok(),
                false => None,
            };
            // One that was killed meanwhile is waited for above.
            let _ = match is_changed {
                true => ptrace::syscall(pid, signal),
                false => ptrace::cont(pid, signal),
            };
        }
    }

    /// Before a call: whether it was changed, or is of interest when it has been made.
    fn before(&mut self, pid: Pid) -> Option<bool> {
        let before = registers::get(pid)?;
        let (_, call) = CALLS.iter().find(|(number, _)| *number == before.number())?;
        let mut now = before;
        let directory = DESCRIPTOR as u64;
        match *call {
            Call::Uname => {}
            Call::CloseRange => {
                let (from, to) = (before.argument(0), before.argument(1) & 0xffff_ffff);
                if from > directory || to < directory {
                    return None;
                }
                match from < directory {
                    true => now.set(1, directory - 1),
                    false => now.set(0, directory + 1),
                }
                // More than there may be if it was the last.
                registers::set(pid, now)?;
            }
            Call::At { directory: index, opens } => {
                let path = of_proc(&read_path(pid, before.argument(index + 1))?, opens)?;
                now.set(index, directory);
                now.set(index + 1, write_path(pid, before.stack(), &path)?);
                registers::set(pid, now)?;
            }
            Call::First { number, flags, opens } => {
                let path = of_proc(&read_path(pid, before.argument(0))?, opens)?;
                for index in (1..5).rev() {
                    now.set(index + 1, before.argument(index));
                }
                now.set(0, directory);
                now.set(1, write_path(pid, before.stack(), &path)?);
                if let Some((index, flags)) = flags {
                    now.set(index, flags);
                }
                now.set_number(number)?;
                registers::set(pid, now)?;
            }
            Call::Descriptor { number } => {
                let path = of_proc(&read_path(pid, before.argument(0))?, false)?;
                if path == b"." {
                    now.set(0, directory);
                    now.set_number(number)?;
                } else {
                    let path = self.target(pid, &path)?;
                    now.set(0, write_path(pid, before.stack(), &path)?);
                }
                registers::set(pid, now)?;
            }
            Call::Named { path: index } => {
                let path = of_proc(&read_path(pid, before.argument(index))?, false)?;
                let path = self.target(pid, &path)?;
                now.set(index, write_path(pid, before.stack(), &path)?);
                registers::set(pid, now)?;
            }
        }
        self.changed.insert(pid, Changed { before, call: *call });
        Some(true)
    }

    /// After a call that was changed: programs rely on their registers.
    fn after(&mut self, pid: Pid) -> Option<()> {
        let Changed { before, call } = self.changed.remove(&pid)?;
        let mut now = registers::get(pid)?;
        if call == Call::Uname {
            return self.name_host(pid, before.argument(0), now.result());
        }
        if before.starts_program() && now.result() == 0 {
            return None;
        }
        now.take_arguments(&before);
        registers::set(pid, now)
    }

    /// Writes the host name of the tree into a `struct utsname`, whose fields have 65 bytes.
    fn name_host(&self, pid: Pid, buffer: u64, result: i64) -> Option<()> {
        let mut field = [0; 65];
        let name = self.hostname.as_bytes();
        let length = name.len().min(field.len() - 1);
        field[..length].copy_from_slice(&name[..length]);
        if result != 0 {
            return None;
        }
        let second = buffer + field.len() as u64;
        // In words, the last of which overlaps.
        write_words(pid, second, &field[..64])?;
        write_words(pid, second + 57, &field[57..])
    }

    /// What the link `path` of /proc leads to, if it is a file of the tree.
    fn target(&self, pid: Pid, path: &[u8]) -> Option<Vec<u8>> {
        let rest = path.strip_prefix(b"self/").or(path.strip_prefix(b"thread-self/"));
        let path = match rest {
            Some(rest) => [format!("{pid}/").as_bytes(), rest].concat(),
            None => path.to_vec(),
        };
        let target = rustix::fs::readlinkat(&self.proc, &*path, Vec::new()).ok()?.into_bytes();
        target.starts_with(b"/").then_some(target)
    }
}

/// The name in /proc of what `path` names there, if it does. `opens` says that a link would be followed.
fn of_proc(path: &[u8], opens: bool) -> Option<Vec<u8>> {
    if let Some(rest) = path.strip_prefix(b"/proc") {
        return match rest.strip_prefix(b"/") {
            None if rest.is_empty() => Some(b".".to_vec()),
            None => None,
            Some(rest) => {
                let start = rest.iter().position(|byte| *byte != b'/').unwrap_or(rest.len());
                let rest = &rest[start..];
                Some(if rest.is_empty() { b"." } else { rest }.to_vec())
            }
        };
    }
    if let Some(rest) = path.strip_prefix(b"/dev/fd/") {
        return Some([b"self/fd/", rest].concat());
    }
    let links: [(&[u8], &[u8]); 5] = [
        (b"/dev/fd", b"self/fd"),
        (b"/dev/stdin", b"self/fd/0"),
        (b"/dev/stdout", b"self/fd/1"),
        (b"/dev/stderr", b"self/fd/2"),
        (b"/etc/mtab", b"self/mounts"),
    ];
    let found = links.into_iter().find(|(link, _)| opens && *link == path)?;
    Some(found.1.to_vec())
}

/// The path at an address of a process, if it begins like one that [`of_proc`] knows.
fn read_path(pid: Pid, address: u64) -> Option<Vec<u8>> {
    let mut path = Vec::new();
    loop {
        let word = ptrace::read(pid, (address + path.len() as u64) as _).ok()?;
        let bytes = word.to_ne_bytes();
        if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            path.extend(&bytes[..end]);
            return Some(path);
        }
        path.extend(bytes);
        let begins =
            [&b"/proc"[..], b"/dev/", b"/etc/"].iter().any(|start| path.starts_with(start));
        if !begins || path.len() >= PATH_MAX {
            return None;
        }
    }
}

/// Writes a path below the stack of a process; its address.
fn write_path(pid: Pid, stack: u64, path: &[u8]) -> Option<u64> {
    let mut bytes = path.to_vec();
    bytes.resize((path.len() / 8 + 1) * 8, 0);
    let address = (stack.checked_sub(RED_ZONE + bytes.len() as u64)?) & !15;
    write_words(pid, address, &bytes)?;
    Some(address)
}

fn write_words(pid: Pid, address: u64, bytes: &[u8]) -> Option<()> {
    for (at, word) in bytes.chunks_exact(8).enumerate() {
        let word = i64::from_ne_bytes(word.try_into().ok()?);
        ptrace::write(pid, (address + 8 * at as u64) as _, word).ok()?;
    }
    Some(())
}

#[cfg(target_arch = "x86_64")]
mod registers {
    use super::*;

    #[derive(Clone, Copy)]
    pub struct Registers(nix::libc::user_regs_struct);

    pub fn get(pid: Pid) -> Option<Registers> {
        ptrace::getregs(pid).ok().map(Registers)
    }

    pub fn set(pid: Pid, registers: Registers) -> Option<()> {
        ptrace::setregs(pid, registers.0).ok()
    }

    impl Registers {
        pub fn number(&self) -> i64 {
            self.0.orig_rax as i64
        }

        pub fn set_number(&mut self, number: i64) -> Option<()> {
            self.0.orig_rax = number as u64;
            Some(())
        }

        pub fn starts_program(&self) -> bool {
            matches!(self.number(), 59 | 322)
        }

        pub fn result(&self) -> i64 {
            self.0.rax as i64
        }

        pub fn stack(&self) -> u64 {
            self.0.rsp
        }

        pub fn argument(&self, index: usize) -> u64 {
            let it = &self.0;
            [it.rdi, it.rsi, it.rdx, it.r10, it.r8, it.r9][index]
        }

        pub fn set(&mut self, index: usize, value: u64) {
            let it = &mut self.0;
            let arguments =
                [&mut it.rdi, &mut it.rsi, &mut it.rdx, &mut it.r10, &mut it.r8, &mut it.r9];
            for (at, argument) in arguments.into_iter().enumerate() {
                if at == index {
                    *argument = value;
                }
            }
        }

        pub fn take_arguments(&mut self, from: &Registers) {
            (0..6).for_each(|index| self.set(index, from.argument(index)));
            self.0.orig_rax = from.0.orig_rax;
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod registers {
    use nix::sys::ptrace::regset::NT_PRSTATUS;

    use super::*;

    #[derive(Clone, Copy)]
    pub struct Registers(nix::libc::user_regs_struct);

    pub fn get(pid: Pid) -> Option<Registers> {
        ptrace::getregset::<NT_PRSTATUS>(pid).ok().map(Registers)
    }

    pub fn set(pid: Pid, registers: Registers) -> Option<()> {
        ptrace::setregset::<NT_PRSTATUS>(pid, registers.0).ok()
    }

    impl Registers {
        pub fn number(&self) -> i64 {
            self.0.regs[8] as i64
        }

        /// All calls with a path take a directory.
        pub fn set_number(&mut self, _number: i64) -> Option<()> {
            None
        }

        pub fn starts_program(&self) -> bool {
            matches!(self.number(), 221 | 281)
        }

        pub fn result(&self) -> i64 {
            self.0.regs[0] as i64
        }

        pub fn stack(&self) -> u64 {
            self.0.sp
        }

        pub fn argument(&self, index: usize) -> u64 {
            self.0.regs[index]
        }

        pub fn set(&mut self, index: usize, value: u64) {
            self.0.regs[index] = value;
        }

        /// The first one has the result.
        pub fn take_arguments(&mut self, from: &Registers) {
            (1..6).for_each(|index| self.set(index, from.argument(index)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_proc_are_named_in_it_and_others_are_not() {
        let of = |path: &str, opens| {
            of_proc(path.as_bytes(), opens).map(|name| String::from_utf8(name).unwrap())
        };
        for (path, expected) in [
            ("/proc", Some(".")),
            ("/proc/", Some(".")),
            ("/proc//self/fd/3", Some("self/fd/3")),
            ("/proc/mounts", Some("mounts")),
            ("/procession", None),
            ("/dev/fd/63", Some("self/fd/63")),
            ("/dev/fd", None),
            ("/dev/null", None),
            ("/etc/mtab", None),
            ("proc/self", None),
        ] {
            assert_eq!(of(path, false).as_deref(), expected, "{path}");
        }
        // Only what opens them follows links of the tree.
        for (path, expected) in
            [("/dev/fd", "self/fd"), ("/dev/stdin", "self/fd/0"), ("/etc/mtab", "self/mounts")]
        {
            assert_eq!(of(path, true).as_deref(), Some(expected), "{path}");
        }
    }
}
