//! `--on-error shell`: a shell in what a failed stage left, or how to open one.

use std::io::{IsTerminal, stderr, stdin};
use std::path::{Path, PathBuf};

use super::interrupt::Handlers;
use super::screen;
use crate::error::Result;
use crate::process::Command;
use crate::sandbox::place::{self, Place};

/// Opens a shell in the first of the directories that were kept, if there is a terminal, and else
/// prints how to. How the shell ends is of no interest. The failures and the directories have been
/// reported already.
pub fn open(kept: &[PathBuf], handlers: Handlers) -> Result<()> {
    let Some(directory) = kept.first() else { return Ok(()) };
    let place = place::choose().map_or(Place::Chroot, |choice| choice.place);
    let command = command(directory, place);
    if !stdin().is_terminal() || !stderr().is_terminal() {
        screen::talk(&format!(
            "to inspect the failure: `cd {}`, then `{command}`",
            crate::process::quote(&directory.display().to_string())
        ));
        return Ok(());
    }
    screen::talk(&format!("a shell in {}; `exit` ends it", directory.display()));
    // Ctrl-C is for what runs in the shell.
    handlers.ignore();
    command.interact()
}

/// The command of a shell in `directory`: in the tree `root` there, if that has one.
fn command(directory: &Path, place: Place) -> Command {
    let is_there = |shell: &str| directory.join("root").join(shell).symlink_metadata().is_ok();
    if !is_there("bin/sh") && !is_there("usr/bin/sh") {
        return Command::new("/bin/sh").current_dir(directory);
    }
    // As the sandbox has it: the ids of the tree are those of this user's range.
    let user: &[&str] = match place {
        Place::Chroot => {
            return Command::new("chroot").args(["root", "/bin/sh"]).current_dir(directory);
        }
        Place::Ranges => &["--user", "--map-auto", "--map-root-user"],
        Place::Container => &["--user", "--map-users=0,0,65536", "--map-groups=0,0,65536"],
        Place::Namespaces => &[],
    };
    Command::new("unshare")
        .args(user)
        .args(["--mount", "--pid", "--fork", "--mount-proc", "chroot", "root", "/bin/sh"])
        // Without job control: a shell in a namespace of processes could not give the terminal back
        // to whoever had it before.
        .arg("+m")
        .current_dir(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_entered_and_a_directory_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let text = |place| command(directory.path(), place).to_string();
        assert_eq!(text(Place::Namespaces), "/bin/sh");
        std::fs::create_dir_all(directory.path().join("root/usr/bin")).unwrap();
        assert_eq!(text(Place::Ranges), "/bin/sh");
        // A link that leads out of the tree is one inside it.
        std::os::unix::fs::symlink("/nowhere", directory.path().join("root/usr/bin/sh")).unwrap();
        assert_eq!(
            text(Place::Namespaces),
            "unshare --mount --pid --fork --mount-proc chroot root /bin/sh +m"
        );
        assert_eq!(
            text(Place::Ranges),
            "unshare --user --map-auto --map-root-user --mount --pid --fork --mount-proc chroot \
             root /bin/sh +m"
        );
        assert_eq!(text(Place::Chroot), "chroot root /bin/sh");
    }
}
