//! `kuth doctor`: checks for what builds need on this host, and says how to get what is missing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Exit, project, screen};
use crate::cache::space;
use crate::cancel::Cancel;
use crate::debian::DEBIAN;
use crate::error::{Context, Result};
use crate::machine::qemu::host;
use crate::process::{Command, find_program};
use crate::units::{Bytes, Human};

/// Check whether this host has what builds need
///
/// Prints one line per check: `ok` or `missing`, what was checked, and where it is
/// or how to get it. The exit status is 1 if something is missing that every build
/// needs.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Cache directory, to check its free space
    /// [default: `cache` beside `pipelines`]
    #[arg(long, value_name = "DIR", env = "KUTH_CACHE", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    cache: Option<PathBuf>,
}

/// Disk space of a first build of a small server, results and packages together.
const ROOM: Bytes = Bytes::gib(4);

/// Which builds need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Always,
    Sometimes,
}

/// The result of one check.
struct Finding {
    need: Need,
    what: String,
    /// Where it is, or how to get it.
    state: Result<String, String>,
}

impl Finding {
    fn row(&self) -> [String; 3] {
        let (word, text) = match &self.state {
            Ok(text) => ("ok", text),
            Err(text) => ("missing", text),
        };
        [word.to_string(), self.what.clone(), text.clone()]
    }
}

/// Programs: which builds need each, and the package that contains it.
const PROGRAMS: [(Need, &str, &str); 4] = [
    (Need::Always, "setpriv", "util-linux"),
    (Need::Always, "unshare", "util-linux"),
    (Need::Always, "apt-get", "apt"),
    (Need::Always, "dpkg-deb", "dpkg"),
];

/// Runs `kuth doctor`.
pub fn run(args: &Args) -> Result<Exit> {
    let directory = project::cache_directory(args.cache.as_deref())?;
    let mut findings: Vec<Finding> = PROGRAMS.into_iter().map(program).collect();
    if !rustix::process::geteuid().is_root() {
        findings.push(program((Need::Always, "newuidmap", "uidmap")));
        findings.extend(["/etc/subuid", "/etc/subgid"].map(id_range));
    }
    findings.push(namespaces()?);
    findings.push(keyring());
    findings.push(free_space(&directory)?);
    findings.push(program((Need::Sometimes, qemu(), qemu_package())));
    findings.push(kvm());
    let rows: Vec<_> = findings.iter().map(Finding::row).collect();
    screen::data(&screen::table(&rows))?;
    let missing: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.need == Need::Always && finding.state.is_err())
        .map(|finding| finding.what.as_str())
        .collect();
    if missing.is_empty() {
        screen::talk("this host can build");
        return Ok(Exit::Done);
    }
    screen::talk(&format!("missing for every build: {}", missing.join(", ")));
    Ok(Exit::Failed)
}

fn program((need, name, package): (Need, &str, &str)) -> Finding {
    let state = match find_program(name) {
        Some(path) => Ok(path.display().to_string()),
        None => {
            let only = if need == Need::Sometimes { " (only to boot images)" } else { "" };
            Err(format!("apt-get install {package}{only}"))
        }
    };
    Finding { need, what: name.to_string(), state }
}

/// The emulator of this machine's architecture.
fn qemu() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "qemu-system-aarch64",
        _ => "qemu-system-x86_64",
    }
}

fn qemu_package() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "qemu-system-arm",
        _ => "qemu-system-x86",
    }
}

/// Checks for a range of ids that this user may map into a namespace.
fn id_range(file: &str) -> Finding {
    let id = rustix::process::geteuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = user_name(&users, &id).unwrap_or(&id);
    let found = std::fs::read_to_string(file).unwrap_or_default();
    let state = match range(&found, user, &id) {
        Some(range) => Ok(range.to_string()),
        None => {
            Err(format!("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"))
        }
    };
    Finding { need: Need::Always, what: file.to_string(), state }
}

/// The name of the user with this id in the text of /etc/passwd.
fn user_name<'a>(passwd: &'a str, id: &str) -> Option<&'a str> {
    let fields = |line: &'a str| line.split(':').collect::<Vec<_>>();
    passwd.lines().map(fields).find(|fields| fields.get(2) == Some(&id)).map(|fields| fields[0])
}

/// The line of /etc/subuid that grants a user, by name or number, 65536 ids or more.
fn range<'a>(text: &'a str, user: &str, id: &str) -> Option<&'a str> {
    text.lines().find(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let count = fields.get(2).and_then(|count| count.trim().parse::<u32>().ok());
        (fields[0] == user || fields[0] == id) && count.is_some_and(|count| count >= 65_536)
    })
}

/// Whether the namespaces of the sandbox can be created.
fn namespaces() -> Result<Finding> {
    let directory = tempfile::tempdir().context("creating a directory for a log")?;
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command = command.args(["--user", "--map-auto", "--map-root-user"]);
    }
    let command = command
        .args(["--mount", "--pid", "--ipc", "--uts", "--net", "--fork", "--kill-child", "true"])
        .time_limit(Duration::from_secs(10));
    let state = match command.run(&directory.path().join("log"), &Cancel::default()) {
        Ok(_) => Ok("available".to_string()),
        Err(_) => Err("allow them: `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or \
                       `--security-opt seccomp=unconfined` for a container"
            .to_string()),
    };
    Ok(Finding { need: Need::Always, what: "namespaces".to_string(), state })
}

fn keyring() -> Finding {
    let state = match Path::new(DEBIAN.keyring).is_file() {
        true => Ok(DEBIAN.keyring.to_string()),
        false => Err("apt-get install debian-archive-keyring".to_string()),
    };
    Finding { need: Need::Always, what: "Debian archive keys".to_string(), state }
}

/// Checks the free space where the cache is or will be.
fn free_space(cache: &Path) -> Result<Finding> {
    let there = cache.ancestors().find(|directory| directory.is_dir()).unwrap_or(Path::new("/"));
    let free = space::free(there)?;
    let text = format!("{} in {}", Human(free), there.display());
    let state = match free >= ROOM {
        true => Ok(text),
        false => Err(format!("{text}; a first build needs {ROOM}: use `--cache DIR`")),
    };
    Ok(Finding { need: Need::Always, what: "free space".to_string(), state })
}

fn kvm() -> Finding {
    use crate::machine::qemu::argv::Accelerator;
    let device = Path::new("/dev/kvm");
    let usable = host::accelerator(project::architecture()) == Accelerator::kvm();
    let slow = "machines run slowly, by emulation (TCG)";
    let state = match std::fs::File::options().read(true).write(true).open(device) {
        Ok(_) if usable => Ok(device.display().to_string()),
        Ok(_) => Err(format!("{slow}; the processor reports no virtualisation support")),
        Err(_) if device.exists() => {
            Err(format!("{slow}; add this user to the group kvm to use /dev/kvm"))
        }
        Err(_) => Err(format!("{slow}; this host has no /dev/kvm")),
    };
    Finding { need: Need::Sometimes, what: "KVM".to_string(), state }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_range_is_found_by_name_and_by_number() {
        let text = "other:1:65536\nme:100000:65536\n1001:200000:65536\nsmall:5:10\n";
        assert_eq!(range(text, "me", "1000"), Some("me:100000:65536"));
        assert_eq!(range(text, "nobody", "1001"), Some("1001:200000:65536"));
        assert_eq!(range(text, "small", "7"), None);
        assert_eq!(range("", "me", "1000"), None);
    }

    #[test]
    fn a_user_name_is_found_by_id() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nme:x:1000:1000::/home/me:/bin/sh\n";
        assert_eq!(user_name(passwd, "1000"), Some("me"));
        assert_eq!(user_name(passwd, "7"), None);
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let found = program((Need::Always, "no-such-program", "some-package"));
        assert_eq!(found.row(), ["missing", "no-such-program", "apt-get install some-package"]);
        assert_eq!(program((Need::Always, "sh", "dash")).row()[0], "ok");
    }
}
