//! The way into the namespaces of a tree, in a process with a single thread, as user namespaces require:
//! makes the namespaces, has the ids mapped, and starts a program as the first process in them.
//!
//! Ids are mapped from outside, so a helper is started before: kuth once more, which for ranges
//! of ids runs the host's `newuidmap` and `newgidmap`.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{ExitCode, Stdio};

use rustix::fs::Mode;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{Gid, Uid};
use rustix::thread::UnshareFlags;

use super::place::Place;
use crate::error::{Context, Result, bail, ensure};
use crate::process::Command;
use crate::process::start::end_with_parent;

/// The hidden subcommand that runs [`main`]: `PLACE SUBCOMMAND ARGUMENT`, where the subcommand is one
/// of kuth's.
pub const SUBCOMMAND: &str = "__namespaces";

/// The hidden subcommand that runs [`map_ids`]: `PLACE PROCESS`.
pub const MAP: &str = "__ids";

/// The hidden subcommand that runs [`trial`]: `[DIRECTORY]`.
pub const TRIAL: &str = "__trial";

/// The ids of a container that a tree gets.
const IDS: &str = "0 0 65536";

/// The command that starts kuth's own subcommand, which is added as an argument, in a place.
pub fn enter(place: Place) -> Result<Command> {
    let kuth = std::env::current_exe().context("finding kuth's own program")?;
    let command = Command::new(kuth);
    Ok(match place.has_mounts() {
        true => command.arg(SUBCOMMAND).arg(place.word()),
        false => command,
    })
}

/// Enters the namespaces and starts kuth again in them.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut run = || -> Result<ExitCode> {
        let place = place_of(arguments.next())?;
        let kuth = std::env::current_exe().context("finding kuth's own program")?;
        if !unshare(place, &kuth)? {
            return Ok(ExitCode::FAILURE);
        }
        // The change of ids has undone what was asked for before.
        end_with_parent()?;
        let mut command = std::process::Command::new(kuth);
        let mut child =
            command.args(arguments.by_ref()).spawn().context("starting the first process")?;
        let status = child.wait().context("waiting for the first process")?;
        Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
    };
    said(run())
}

fn place_of(word: Option<OsString>) -> Result<Place> {
    word.and_then(|word| Place::of(word.to_str()?)).context("no place")
}

/// Prints an error as a command does.
fn said(outcome: Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}

/// Whether it could be done, if the process that maps ids has said why not.
fn unshare(place: Place, kuth: &Path) -> Result<bool> {
    let flags =
        UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    // `unshare` is unsafe because of CLONE_FILES, which is not used.
    #[allow(deprecated)]
    let unshare = |flags| rustix::thread::unshare(flags).context("creating namespaces");
    if place == Place::Namespaces {
        return unshare(flags).map(|()| true);
    }
    let mut helper = std::process::Command::new(kuth)
        .args([MAP, place.word(), &std::process::id().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("starting the process that maps ids")?;
    let unshared = unshare(flags | UnshareFlags::NEWUSER);
    let go = if unshared.is_ok() { "go" } else { "" };
    let told = helper.stdin.take().context("taking its standard input")?.write_all(go.as_bytes());
    let status = helper.wait().context("waiting for the process that maps ids")?;
    unshared?;
    told.context("telling the process that maps ids")?;
    if !status.success() {
        return Ok(false);
    }
    let (root, wheel) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_res_gid(wheel, wheel, wheel).context("becoming root")?;
    rustix::thread::set_thread_res_uid(root, root, root).context("becoming root")?;
    Ok(true)
}

/// Maps the ids of a process that has entered its user namespace, which the end of standard input
/// tells.
pub fn map_ids(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut map = || -> Result<ExitCode> {
        let place = place_of(arguments.next())?;
        let process = arguments.next().and_then(|word| word.into_string().ok());
        let process = process.context("no process")?;
        let mut told = String::new();
        std::io::stdin().read_to_string(&mut told).context("waiting for the namespace")?;
        if told.is_empty() {
            return Ok(ExitCode::FAILURE);
        }
        match place {
            Place::Ranges => map_ranges(&process)?,
            _ => {
                for name in ["uid_map", "gid_map"] {
                    let path = format!("/proc/{process}/{name}");
                    std::fs::write(&path, IDS).with_context(|| format!("writing {path}"))?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    };
    said(map())
}

/// Has a range of this user mapped: root is the user, and the ids from 1 are those of the range.
fn map_ranges(process: &str) -> Result<()> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    for (program, own, file) in
        [("newuidmap", uid, "/etc/subuid"), ("newgidmap", gid, "/etc/subgid")]
    {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let Some((first, count)) = range(&text, user_name(&users, uid), uid) else {
            bail!("{program}: {file} has no range of ids for this user");
        };
        let program_path = crate::process::find_program(program)
            .with_context(|| format!("`{program}` is not installed"))?;
        let status = std::process::Command::new(program_path)
            .arg(process)
            .args([0, own, 1, 1, first, count].map(|number| number.to_string()))
            .status()
            .with_context(|| format!("starting {program}"))?;
        ensure!(status.success(), "{program}: {}", crate::process::ending(status));
    }
    Ok(())
}

/// The name of the user with this id in the text of /etc/passwd.
pub fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    let uid = uid.to_string();
    let mut fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields.find(|fields| fields.get(2) == Some(&uid.as_str())).map(|fields| fields[0])
}

/// The first range of ids that the text of /etc/subuid grants a user, by name or number: the first id
/// and how many. Always the same one: layers in the cache have its ids.
pub fn range(text: &str, name: Option<&str>, uid: u32) -> Option<(u32, u32)> {
    let uid = uid.to_string();
    let range = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [user, first, count] = fields[..] else { return None };
        let is_own = Some(user) == name || user == uid;
        let range = (first.trim().parse().ok()?, count.trim().parse().ok()?);
        (is_own && range.1 > 0).then_some(range)
    };
    text.lines().find_map(range)
}

/// Makes what a build makes, as the first process of the namespaces: a mount, and the namespaces of
/// commands; in a directory, the layers of a tree.
pub fn trial(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut run = || -> Result<ExitCode> {
        end_with_parent()?;
        let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", flags).context("changing mounts")?;
        if let Some(directory) = arguments.next() {
            super::layers::attempt(Path::new(&directory))?;
            return Ok(ExitCode::SUCCESS);
        }
        let directory = tempfile::tempdir().context("creating a directory")?;
        let (path, options) = (directory.path(), c"mode=755,size=16m");
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        rustix::mount::mount("dev", path, "tmpfs", flags, Some(options)).context("mounting")?;
        let mounted = std::fs::File::create(path.join("null")).context("making a file")?;
        drop(mounted);
        rustix::mount::mount_bind("/dev/null", path.join("null")).context("binding a device")?;
        rustix::fs::open(path.join("null"), rustix::fs::OFlags::RDWR, Mode::empty())
            .context("opening a bound device")?;
        rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).context("unmounting")?;
        let flags = UnshareFlags::NEWUSER | UnshareFlags::NEWNS | UnshareFlags::NEWNET;
        #[allow(deprecated)]
        rustix::thread::unshare(flags).context("creating namespaces for commands")?;
        Ok(ExitCode::SUCCESS)
    };
    said(run())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_found_by_name_and_by_number() {
        let text = "other:1:65536\nme:x:1\nme:5:0\nme:100000:65536\n1001:200000:65536\n1001:7:10\n";
        assert_eq!(range(text, Some("me"), 1000), Some((100_000, 65_536)));
        assert_eq!(range(text, None, 1001), Some((200_000, 65_536)));
        assert_eq!(range("", Some("me"), 1000), None);
    }

    #[test]
    fn a_user_name_is_found_by_id() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nme:x:1000:1000::/home/me:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000), Some("me"));
        assert_eq!(user_name(passwd, 7), None);
    }
}
