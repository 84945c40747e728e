//! What a sandbox can be made of, which depends on the place where kuth runs: a host, a container, a
//! pod. All kinds give the same bytes. They are tried from the best to the least; each trial is a
//! process of its own that makes what a build would make.

use std::fmt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::error::{Context, Result, anyhow, with_hint};
use crate::process::{CommandFailed, find_program};

use super::namespaces;

/// What a sandbox is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Namespaces, made by root.
    Namespaces,
    /// Namespaces below a user namespace with the ranges of ids of an ordinary user.
    Ranges,
    /// Namespaces below a user namespace with the ids of a container's root.
    Container,
    /// A change of root, by a container's root that may make no namespaces.
    Chroot,
}

impl Place {
    /// How the hidden subcommand of [`namespaces`] knows it.
    pub fn word(self) -> &'static str {
        match self {
            Place::Namespaces => "namespaces",
            Place::Ranges => "ranges",
            Place::Container => "container",
            Place::Chroot => "chroot",
        }
    }

    /// The one of this word.
    pub fn of(word: &str) -> Option<Place> {
        ALL.into_iter().find(|place| place.word() == word)
    }

    /// Whether file systems can be mounted in it.
    pub fn has_mounts(self) -> bool {
        self != Place::Chroot
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Namespaces => "namespaces of root",
            Place::Ranges => "a user namespace with ranges of ids",
            Place::Container => "a user namespace in a container",
            Place::Chroot => "a change of root (chroot) in a container",
        })
    }
}

const ALL: [Place; 4] = [Place::Namespaces, Place::Ranges, Place::Container, Place::Chroot];

/// What root needs for a change of root: all of it is among what Docker gives by default.
const CAPABILITIES: [(CapabilitySet, &str); 9] = [
    (CapabilitySet::SYS_CHROOT, "SYS_CHROOT"),
    (CapabilitySet::CHOWN, "CHOWN"),
    (CapabilitySet::DAC_OVERRIDE, "DAC_OVERRIDE"),
    (CapabilitySet::FOWNER, "FOWNER"),
    (CapabilitySet::FSETID, "FSETID"),
    (CapabilitySet::MKNOD, "MKNOD"),
    (CapabilitySet::SETGID, "SETGID"),
    (CapabilitySet::SETUID, "SETUID"),
    (CapabilitySet::SETFCAP, "SETFCAP"),
];

/// The place that was chosen, and why no better one.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What sandboxes are made of here.
    pub place: Place,
    /// The better ones, each with what is in its way.
    pub refused: Vec<(Place, Refusal)>,
}

/// Why a place is none.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The cause, on one line.
    pub cause: String,
    /// The setting that would help.
    pub hint: String,
}

/// What sandboxes are made of here; tried once. Fails, with what would help, if there is nothing.
pub fn choose() -> Result<Choice> {
    static CHOICE: OnceLock<std::result::Result<Choice, Vec<(Place, Refusal)>>> = OnceLock::new();
    let choice = CHOICE.get_or_init(|| {
        let is_root = rustix::process::geteuid().is_root();
        let places: &[Place] = match is_root {
            true => &[Place::Namespaces, Place::Container, Place::Chroot],
            false => &[Place::Ranges],
        };
        let mut refused = Vec::new();
        for place in places {
            match attempt(*place) {
                Ok(()) => return Ok(Choice { place: *place, refused }),
                Err(refusal) => refused.push((*place, refusal)),
            }
        }
        Err(refused)
    });
    choice.clone().map_err(|refused| none(&refused))
}

/// The error of a place where no sandbox can be made.
fn none(refused: &[(Place, Refusal)]) -> crate::error::Error {
    let mut error = anyhow!("trees cannot be built here: no sandbox can be made");
    if let Some((_, refusal)) = refused.first() {
        let causes = refused.iter().map(|(place, why)| format!("{place}: {}", why.cause));
        error = anyhow!("{}", causes.collect::<Vec<_>>().join("; ")).context(error.to_string());
        return with_hint(error, refusal.hint.clone());
    }
    error
}

/// Makes what a build in this place would make.
fn attempt(place: Place) -> std::result::Result<(), Refusal> {
    if place == Place::Chroot {
        return attempt_chroot();
    }
    if place == Place::Ranges && find_program("newuidmap").is_none() {
        return Err(Refusal {
            cause: "`newuidmap` is not installed".into(),
            hint: "install it with `apt-get install uidmap`".into(),
        });
    }
    if place == Place::Ranges && rustix::thread::no_new_privs().unwrap_or(false) {
        return Err(Refusal {
            cause: "`newuidmap` gets no privileges here (no_new_privs)".into(),
            hint: "set `allowPrivilegeEscalation: true` in the security context of a pod, or leave out \
                   `--security-opt no-new-privileges` of a container"
                .into(),
        });
    }
    let attempt = || -> Result<()> {
        let directory = tempfile::tempdir().context("creating a directory for a log")?;
        let command = namespaces::enter(place)?.arg(namespaces::TRIAL);
        let command = command.time_limit(Duration::from_secs(10));
        command.run(&directory.path().join("log"), &Cancel::default()).map(|_| ())
    };
    attempt().map_err(|error| {
        let cause = cause_of(&error);
        let hint = hint(place, &cause);
        Refusal { cause, hint }
    })
}

/// Whether trees of this place can have layers, in a cache at `directory`, which exists; else why not.
pub fn attempt_layers(place: Place, directory: &Path) -> std::result::Result<(), String> {
    if !place.has_mounts() {
        return Err("nothing can be mounted here".into());
    }
    let attempt = || -> Result<()> {
        let scratch = tempfile::tempdir_in(directory).context("creating a directory")?;
        let path = scratch.path().join("layers");
        std::fs::create_dir(&path).context("creating a directory")?;
        let log = tempfile::tempdir().context("creating a directory for a log")?;
        let command = namespaces::enter(place)?.arg(namespaces::TRIAL).arg(&path);
        let command = command.time_limit(Duration::from_secs(10));
        command.run(&log.path().join("log"), &Cancel::default()).map(|_| ())
    };
    attempt().map_err(|error| cause_of(&error))
}

/// The last line of what a trial printed.
fn cause_of(error: &crate::error::Error) -> String {
    let said = crate::error::caused_by::<CommandFailed>(error);
    let said = said.and_then(|failed| failed.tail.last().cloned());
    said.unwrap_or_else(|| format!("{error:#}"))
}

fn attempt_chroot() -> std::result::Result<(), Refusal> {
    let held = rustix::thread::capabilities(None).map(|sets| sets.effective);
    let held = held.unwrap_or(CapabilitySet::empty());
    let missing: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(capability, _)| !held.contains(*capability))
        .map(|(_, name)| *name)
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Refusal {
            cause: format!("root lacks the capabilities {}", missing.join(", ")),
            hint: missing.iter().map(|name| format!("--cap-add {name} ")).collect::<String>()
                + "gives a container what is missing",
        }),
    }
}

/// The setting that would allow what failed with this message.
fn hint(place: Place, cause: &str) -> String {
    let hint = if cause.contains("No space left on device") || cause.contains("Too many users") {
        "raise the limits of namespaces with sysctl: `user.max_user_namespaces`, \
         `user.max_mnt_namespaces` and so on"
    } else if cause.contains("newuidmap") || cause.contains("newgidmap") {
        "give this user ranges of ids: `usermod --add-subuids 100000-165535 --add-subgids \
         100000-165535 USER`"
    } else {
        match place {
            Place::Ranges => {
                "allow user namespaces: `sysctl kernel.apparmor_restrict_unprivileged_userns=0` \
                 (Ubuntu), `sysctl kernel.unprivileged_userns_clone=1` (Debian), \
                 `sysctl user.max_user_namespaces=65536`; in a container \
                 `--security-opt seccomp=unconfined --security-opt apparmor=unconfined`"
            }
            _ => {
                "allow namespaces in the container: `--cap-add SYS_ADMIN --security-opt \
                 seccomp=unconfined --security-opt apparmor=unconfined`"
            }
        }
    };
    hint.to_string()
}
