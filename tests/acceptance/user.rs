//! An ordinary user of the machine, with nothing but ranges of ids, for builds that must do
//! without privileges. Made by root, and removed again if it was not there before.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::tools::{tool, verdict};
use crate::world::{World, checkout};
use kuth_test_support::project::Project;

const NAME: &str = "kuthtest";

/// Gives the mount namespace it runs in a /dev without kvm, loop devices and device-mapper, and
/// becomes the user.
const ENTER: &str = r#"
set -eu
dev=$1 user=$2
shift 2
mount -t tmpfs -o mode=755 kuth "$dev"
for name in null zero full random urandom tty ptmx; do
    : >"$dev/$name"
    mount --bind "/dev/$name" "$dev/$name"
done
for name in pts shm; do
    mkdir "$dev/$name"
    mount --bind "/dev/$name" "$dev/$name"
done
ln -s /proc/self/fd "$dev/fd"
mount --move "$dev" /dev
test ! -e /dev/kvm -a ! -e /dev/loop0 -a ! -e /dev/mapper
umask 077
exec setpriv --reuid="$user" --regid="$user" --init-groups --inh-caps=-all -- "$@"
"#;

/// The user, while the test runs.
pub struct User {
    made: bool,
    /// Another test would find the user and then lose it.
    _alone: MutexGuard<'static, ()>,
}

impl User {
    /// Finds or makes the user.
    pub fn new() -> User {
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let exists = verdict("id", &[NAME]).unwrap().0;
        if !exists {
            tool("useradd", &["--no-create-home", "--home-dir", "/nonexistent", NAME]);
        }
        let ranges = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
        if !ranges.lines().any(|line| line.starts_with(&format!("{NAME}:"))) {
            let range = "2000000000-2000065535";
            tool("usermod", &["--add-subuids", range, "--add-subgids", range, NAME]);
        }
        User { made: !exists, _alone }
    }

    /// A checkout in a directory that the user can reach and owns, with the packages of `world`,
    /// its lock, and the program.
    pub fn project(&self, world: &World) -> Project {
        let directory = tempfile::Builder::new().prefix("kuth-").tempdir_in("/var/tmp").unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let mut project = Project::within(directory);
        checkout(&project);
        let lock = "pipelines/debian.lock";
        std::fs::copy(world.project.root.join(lock), project.root.join(lock)).unwrap();
        std::fs::create_dir(&project.cache).unwrap();
        let packages = world.project.cache.join("packages");
        tool("cp", &["-r", packages.to_str().unwrap(), project.cache.to_str().unwrap()]);
        let top = project.root.parent().unwrap().to_path_buf();
        std::fs::copy(&project.program, top.join("kuth")).unwrap();
        project.program = top.join("kuth");
        self.own(&top);
        project
    }

    /// Gives a directory to the user.
    pub fn own(&self, directory: &Path) {
        tool("chown", &["-R", &format!("{NAME}:{NAME}"), directory.to_str().unwrap()]);
    }

    /// The same project, with kuth started as the user in a namespace that hides devices.
    pub fn building(&self, project: &Project) -> Project {
        let dev = project.root.with_file_name("dev");
        std::fs::create_dir_all(&dev).unwrap();
        let dev = dev.to_str().unwrap();
        project.through(&["unshare", "--mount", "--", "sh", "-c", ENTER, "enter", dev, NAME])
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if self.made && !std::thread::panicking() {
            verdict("userdel", &[NAME]);
        }
    }
}
