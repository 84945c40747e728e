//! `kuth doctor`: checks for what builds need on this host, and says how to get what is missing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Exit, project, screen};
use crate::cache::space;
use crate::cancel::Cancel;
use crate::debian::{self, DEBIAN};
use crate::error::{Context, Result};
use crate::http::Store;
use crate::process::{Command, find_program};
use crate::qemu::host;
use crate::sandbox::namespaces;
use crate::sandbox::place::{self, Choice, Place};
use crate::units::{Bytes, Human};
use crate::virtualbox::allowed;

/// Check whether this host has what builds need
///
/// Prints one line per check: `ok` or `missing`, what was checked, and where it is
/// or what its absence costs and how to get it. The line `sandbox` says what trees
/// are built in, and what would be better. The exit status is 1 if something is
/// missing that every build needs.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Cache directory, to check its free space
    /// [default: `cache` beside `pipelines`]
    #[arg(long, value_name = "DIR", env = "KUTH_CACHE", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    cache: Option<PathBuf>,
    /// Package mirror to reach
    /// [default: apt's]
    #[arg(long, value_name = "URL", env = "KUTH_DEBIAN_MIRROR", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    mirror: Option<String>,
}

/// Disk space of a first build of a small server, results and packages together.
const ROOM: Bytes = Bytes::gib(4);

/// Space for temporary files: keyrings, logs, seeds.
const TEMPORARY: Bytes = Bytes::mib(64);

/// How long a mirror may take to answer.
const MIRROR_TIME: Duration = Duration::from_secs(5);

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
    /// Where it is, or what its absence costs and how to get it.
    state: Result<String, String>,
}

impl Finding {
    fn new(need: Need, what: impl Into<String>, state: Result<String, String>) -> Finding {
        Finding { need, what: what.into(), state }
    }

    fn row(&self) -> [String; 3] {
        let (word, text) = match &self.state {
            Ok(text) => ("ok", text),
            Err(text) => ("missing", text),
        };
        [word.to_string(), self.what.clone(), text.clone()]
    }
}

/// Runs `kuth doctor`.
pub fn run(args: &Args) -> Result<Exit> {
    let directory = project::cache_directory(args.cache.as_deref())?;
    let there = existing(&directory);
    let choice = place::choose();
    let mut findings = vec![sandbox(&choice)];
    if !rustix::process::geteuid().is_root() {
        findings.push(program("newuidmap", "no trees can be built", "uidmap"));
        findings.extend(["/etc/subuid", "/etc/subgid"].map(id_range));
    }
    findings.push(layers(&choice, there));
    let solver =
        program("apt-get", "Debian's is downloaded, from a mirror that has Debian 13", "apt");
    findings.push(Finding { need: Need::Sometimes, ..solver });
    findings.push(mirror(args.mirror.as_deref()));
    findings.push(free_space("free space", there, ROOM, "use `--cache DIR`")?);
    let temporary = std::env::temp_dir();
    findings.push(free_space("temporary files", &temporary, TEMPORARY, "set TMPDIR")?);
    let emulator = program(qemu(), "images cannot be booted or installed", qemu_package());
    findings.push(Finding { need: Need::Sometimes, ..emulator });
    findings.push(kvm());
    findings.extend(virtualbox());
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

/// The directory, or the nearest above it that there is.
fn existing(directory: &Path) -> &Path {
    directory.ancestors().find(|directory| directory.is_dir()).unwrap_or(Path::new("/"))
}

/// What trees are built in, and what would be better.
fn sandbox(choice: &Result<Choice>) -> Finding {
    let state = match choice {
        Ok(Choice { place, .. }) if *place != Place::Chroot => Ok(place.to_string()),
        Ok(Choice { place, refused }) => {
            let better = refused.first().map(|(_, why)| format!("; better: {}", why.hint));
            let better = better.unwrap_or_default();
            Ok(format!("{place}: slower, and the container is the boundary{better}"))
        }
        Err(error) => {
            let hint = crate::error::hints(error).first().map(|hint| format!("; {hint}"));
            Err(format!("no trees can be built; {error:#}{}", hint.unwrap_or_default()))
        }
    };
    Finding::new(Need::Always, "sandbox", state)
}

/// Whether the tree of a stage can be kept in layers.
fn layers(choice: &Result<Choice>, cache: &Path) -> Finding {
    let cost = "an edit runs a whole `customise` stage again";
    let state = match choice {
        Ok(choice) => place::attempt_layers(choice.place, cache)
            .map(|()| format!("layers in {}", cache.display()))
            .map_err(|why| format!("{cost}; {why}; use `--cache DIR` on ext4, XFS or btrfs")),
        Err(_) => Err(format!("{cost}; it needs a sandbox")),
    };
    Finding::new(Need::Sometimes, "overlayfs", state)
}

/// Whether the archive answers.
fn mirror(given: Option<&str>) -> Finding {
    let address = debian::mirror::find(&DEBIAN, given, None);
    let state = address.map_err(|error| format!("{error:#}")).and_then(|address| {
        let asked = Store::new(&address, MIRROR_TIME).and_then(|store| store.has("dists/"));
        match asked {
            Ok(_) => Ok(address),
            Err(error) => Err(format!(
                "packages must be in the cache already; {address}: {}; name another with `--mirror URL`",
                error.root_cause()
            )),
        }
    });
    Finding::new(Need::Sometimes, "mirror", state)
}

fn program(name: &str, cost: &str, package: &str) -> Finding {
    let state = match find_program(name) {
        Some(path) => Ok(path.display().to_string()),
        None => Err(format!("{cost}; apt-get install {package}")),
    };
    Finding::new(Need::Always, name, state)
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
    let uid = rustix::process::geteuid().as_raw();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = namespaces::user_name(&users, uid);
    let found = std::fs::read_to_string(file).unwrap_or_default();
    let user = name.map_or(uid.to_string(), str::to_string);
    let state = match namespaces::range(&found, name, uid) {
        Some((first, count)) if count >= IDS => Ok(format!("{count} ids from {first}")),
        _ => Err(format!(
            "no trees can be built; usermod --add-subuids 100000-165535 --add-subgids \
             100000-165535 {user}"
        )),
    };
    Finding::new(Need::Always, file, state)
}

/// The ids that the packages of a distribution use.
const IDS: u32 = 65_536;

/// Checks the free space of a directory.
fn free_space(what: &str, directory: &Path, room: Bytes, help: &str) -> Result<Finding> {
    let free = space::free(directory)?;
    let text = format!("{} in {}", Human(free), directory.display());
    let state = match free >= room {
        true => Ok(text),
        false => Err(format!("{text}; a first build needs {room}: {help}")),
    };
    Ok(Finding::new(Need::Always, what, state))
}

fn kvm() -> Finding {
    use crate::qemu::argv::Accelerator;
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
    Finding::new(Need::Sometimes, "KVM", state)
}

/// VirtualBox, the module of its driver, and its list of networks.
fn virtualbox() -> Vec<Finding> {
    let cost = "no machines in VirtualBox";
    let Some(program) = find_program("VBoxManage") else {
        let state = Err(format!("{cost}; install it from virtualbox.org, or build for QEMU"));
        return vec![Finding::new(Need::Sometimes, "VirtualBox", state)];
    };
    let asked = || -> Result<String> {
        let log = tempfile::tempdir().context("creating a directory for a log")?;
        let command = Command::new(&program).arg("--version").time_limit(Duration::from_secs(10));
        let said = command.run(&log.path().join("log"), &Cancel::default())?;
        // Warnings come first.
        let said = String::from_utf8_lossy(&said);
        Ok(said.lines().last().unwrap_or_default().to_string())
    };
    let version = asked()
        .map(|version| format!("{version}, {}", program.display()))
        .map_err(|error| format!("{cost}; {}", error.root_cause()));
    let is_there = |path: &str| Path::new(path).exists();
    let driver = match is_there("/dev/vboxdrv") {
        true => Ok("/dev/vboxdrv".to_string()),
        false => Err("machines are registered but do not start; load it: modprobe vboxdrv".into()),
    };
    let networks = match is_there(allowed::FILE) {
        true => Ok(allowed::FILE.to_string()),
        false => Err(format!(
            "host-only networks are limited to 192.168.56.0/21; echo '* 192.168.0.0/16' > {}",
            allowed::FILE
        )),
    };
    [("VirtualBox", version), ("VirtualBox driver", driver), ("VirtualBox networks", networks)]
        .map(|(what, state)| Finding::new(Need::Sometimes, what, state))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let found = program("no-such-program", "no builds", "some-package");
        let text = "no builds; apt-get install some-package";
        assert_eq!(found.row(), ["missing", "no-such-program", text]);
        assert_eq!(program("sh", "no builds", "dash").row()[0], "ok");
    }
}
