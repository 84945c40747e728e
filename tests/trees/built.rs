//! Holes and owners through whole builds: script, trees, disk, export and remote cache, as root and
//! as a user with 65536 ids.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kuth_test_support::project::Project;
use kuth_test_support::{base, target_tmp};

use crate::files::MIB;
use kuth_test_support::judge::{missing, tool};

const PIPELINE: &str = r#"
[pipeline]
name = "small"
default = ["image"]

[stage.rootfs]
kind = "bootstrap"
suite = "trixie"

[stage.base]
kind = "customise"
from = "rootfs"
run = """
truncate -s 3G /var/lib/disk.img
truncate -s 3G /srv/mixed
echo data | dd of=/srv/mixed bs=1M seek=1500 conv=notrunc status=none
# Zeros that are written are as good as holes.
dd if=/dev/zero of=/srv/mixed bs=1M seek=20 count=30 conv=notrunc status=none
test "$(stat -c %u:%g /opt/high)" = 65534:65534
"""

# A disk needs something to start; nothing here is started.
[stage.base.file."/boot/vmlinuz-6.12.1"]
content = "kernel"
[stage.base.file."/boot/initrd.img-6.12.1"]
content = "initrd"

[stage.base.file."/opt/high"]
content = "x"
owner = "1407182137:1059092950"
[stage.base.file."/opt/half"]
content = "x"
owner = "daemon:65536"
[stage.base.file."/opt/directory"]
source = "data/directory"
owner = "70000:70001"

[stage.next]
kind = "customise"
from = "base"
run = """
test "$(stat -c %s:%b /var/lib/disk.img)" = 3221225472:0
ln /opt/high /opt/hard
mv /opt/half /srv/half
cp -p /opt/high /opt/copy
rm /opt/directory/a
echo new >/opt/directory/a
chown daemon /opt/directory/own
"""

[stage.disk]
kind = "disk"
from = "next"
size = "1 GiB"
table = "gpt"
firmware = ["bios"]
[[stage.disk.partition]]
name = "root"
size = "rest"
filesystem = "ext4"
mount = "/"

[stage.image]
kind = "export"
from = "disk"
format = ["qcow2", "raw", "vdi", "vmdk"]
"#;

/// What `next` has of owners.
const OWNERS: [(&str, u64, u64); 10] = [
    ("opt/copy", 65_534, 65_534),
    ("opt/directory/", 70_000, 70_001),
    ("opt/directory/a", 0, 0),
    ("opt/directory/deep/", 70_000, 70_001),
    ("opt/directory/deep/b", 70_000, 70_001),
    ("opt/directory/own", 1, 70_001),
    ("opt/directory/plain", 70_000, 70_001),
    ("opt/hard", 1_407_182_137, 1_059_092_950),
    ("opt/high", 1_407_182_137, 1_059_092_950),
    ("srv/half", 1, 65_536),
];

const FILE: &str = "pipelines/small.toml";

/// The project at `root`.
fn project_at(root: &Path) -> Project {
    let project = Project::rooted(root);
    project.write(FILE, PIPELINE);
    for name in ["a", "own", "plain", "deep/b"] {
        project.write(&format!("data/directory/{name}"), "x");
    }
    project.with("HOME", root.to_str().unwrap())
}

/// The object of a stage.
fn object(project: &Project, stage: &str) -> PathBuf {
    project.artifact(FILE, stage)
}

fn allocated(path: &Path) -> u64 {
    path.metadata().unwrap().blocks() * 512
}

#[test]
fn holes_cost_nothing_and_owners_are_the_same_for_root_and_user() {
    if !rustix::process::geteuid().is_root() {
        return missing("root, who can become another user,");
    }
    let home = target_tmp().join("trees");
    let _ = std::fs::remove_dir_all(&home);
    let project = project_at(&home);
    base::minimal(&project, "pipelines/small.lock");
    project.kuth(&["build", FILE, "rootfs"]).ok();

    let user = User::new();
    let theirs = user.project();
    theirs.write("pipelines/small.lock", project.read("pipelines/small.lock"));
    // No links: they are given away.
    let [from, to] = [&project.cache, &theirs.cache].map(|cache| cache.to_str().unwrap());
    tool("cp", &["-r", "--reflink=auto", "--sparse=always", from, to]);
    user.own(&theirs);

    project.kuth(&["build", FILE]).ok();
    base::collect_packages(&project.cache);
    costs(&project);
    owners(&object(&project, "next"));
    on_the_disk(&project);

    theirs.kuth(&["build", FILE, "next"]).ok();
    for stage in ["base", "next"] {
        let name = |project: &Project| object(project, stage).file_name().unwrap().to_owned();
        assert_eq!(name(&project), name(&theirs), "{stage}");
    }
    remote(&project);
}

/// Nothing takes the space of the 6 GiB of zeros.
fn costs(project: &Project) {
    let rootfs = allocated(&object(project, "rootfs"));
    for stage in ["base", "next"] {
        let tree = object(project, stage);
        let size = tree.metadata().unwrap().len();
        assert!(size < rootfs + 8 * MIB, "{stage}: {size} bytes, {rootfs} of rootfs");
    }
    // The journal of ext4 is written whole.
    let most = rootfs + 100 * MIB;
    let out = project.root.join("out/small");
    let files = ["qcow2", "raw", "vdi", "vmdk"].map(|format| out.join(format!("small.{format}")));
    for file in [object(project, "disk")].iter().chain(&files) {
        let takes = allocated(file);
        assert!(takes < most, "{} takes {takes}", file.display());
    }
    let mut total = 0;
    for directory in walk(&project.root.join("cache/work")) {
        total += allocated(&directory);
    }
    assert_eq!(total, 0, "nothing is left of the work");
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

fn owners(tree: &Path) {
    let mut archive = tar::Archive::new(std::fs::File::open(tree).unwrap());
    let mut found = Vec::new();
    for entry in archive.entries_with_seek().unwrap() {
        let entry = entry.unwrap();
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if OWNERS.iter().any(|(name, ..)| *name == path) {
            let header = entry.header();
            found.push((path, header.uid().unwrap(), header.gid().unwrap()));
        }
    }
    found.sort();
    assert_eq!(found, OWNERS.map(|(path, uid, gid)| (path.to_string(), uid, gid)));
}

fn on_the_disk(project: &Project) {
    // The root file system lies behind the 1 MiB for GRUB, at 2 MiB.
    let image = format!("{}?offset={}", object(project, "disk").display(), 2 * MIB);
    tool("e2fsck", &["-fn", &image]);
    let stat = |path: &str| tool("debugfs", &["-R", &format!("stat {path}"), &image]);
    let has = |path: &str, words: &[&str]| {
        let Some(text) = stat(path) else { return };
        words.iter().for_each(|word| assert!(text.contains(word), "{path}: no {word} in {text}"));
    };
    has("/var/lib/disk.img", &["Size: 3221225472\n", "Blockcount: 0\n"]);
    // One block, and one of the map at most.
    has("/srv/mixed", &["Size: 3221225472\n", "(384000):"]);
    has("/opt/hard", &["User: 1407182137", "Group: 1059092950", "Links: 2"]);
    has("/srv/half", &["User:     1", "Group: 65536"]);
    let dump = project.root.join("mixed");
    let command = format!("dump /srv/mixed {}", dump.display());
    if tool("debugfs", &["-R", &command, &image]).is_some() {
        let file = std::fs::File::open(&dump).unwrap();
        let mut bytes = [0; 6];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 1500 * MIB).unwrap();
        assert_eq!(&bytes, b"data\n\0");
        std::fs::remove_file(dump).unwrap();
    }
}

/// To a remote cache and back.
fn remote(project: &Project) {
    let directory = tempfile::tempdir_in(target_tmp()).unwrap();
    let other = project_at(directory.path());
    other.write("pipelines/small.lock", project.read("pipelines/small.lock"));
    let remote = directory.path().join("remote");
    let key = directory.path().join("key");
    project.kuth(&["cache", "keygen", key.to_str().unwrap()]).ok();
    let [here, there] = [project_at(&project.root), other].map(|project| {
        let project = project.with("KUTH_CACHE_REMOTE", remote.to_str().unwrap());
        project.with("KUTH_CACHE_KEY", key.to_str().unwrap())
    });
    here.kuth(&["cache", "push", FILE]).ok();
    there.kuth(&["cache", "pull", FILE]).ok();
    for stage in ["next", "disk"] {
        let (sent, got) = (object(&here, stage), object(&there, stage));
        assert_eq!(sent.file_name(), got.file_name(), "{stage}");
        let (sent, got) = (allocated(&sent), allocated(&got));
        assert!(got < sent + 64 * MIB, "{stage}: {got} of {sent}");
    }
    // It ends with a fault where there is one, and lists it.
    assert_eq!(there.kuth(&["cache", "verify"]).ok().out, "");
}

/// A user with 65536 ids, known to a copy of /etc alone.
struct User {
    directory: tempfile::TempDir,
}

const ID: &str = "61234";

/// Gives the mount namespace it runs in the copy of /etc, and becomes the user.
const ENTER: &str = r#"
set -eu
mount --bind "$1" /etc
id=$2
shift 2
exec setpriv --reuid="$id" --regid="$id" --clear-groups --inh-caps=-all -- "$@"
"#;

impl User {
    fn new() -> User {
        let directory = tempfile::Builder::new().prefix("kuth-").tempdir_in("/var/tmp").unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let etc = directory.path().join("etc");
        tool("cp", &["-a", "/etc", etc.to_str().unwrap()]);
        let add = |name: &str, line: &str| {
            let old = std::fs::read_to_string(etc.join(name)).unwrap_or_default();
            std::fs::write(etc.join(name), format!("{old}{line}\n")).unwrap();
        };
        add("passwd", &format!("kuthtrees:x:{ID}:{ID}::/nonexistent:/bin/sh"));
        add("group", &format!("kuthtrees:x:{ID}:"));
        add("subuid", "kuthtrees:1900000000:65536");
        add("subgid", "kuthtrees:1900000000:65536");
        User { directory }
    }

    /// A project that the user can reach; see [`User::own`].
    fn project(&self) -> Project {
        let mut project = project_at(&self.directory.path().join("project"));
        let program = self.directory.path().join("kuth");
        std::fs::copy(&project.program, &program).unwrap();
        project.program = program;
        let etc = self.directory.path().join("etc");
        let words =
            ["unshare", "--mount", "--", "sh", "-c", ENTER, "enter", etc.to_str().unwrap(), ID];
        project.through(&words)
    }

    /// Gives the project to the user.
    fn own(&self, project: &Project) {
        tool("chown", &["-R", &format!("{ID}:{ID}"), project.root.to_str().unwrap()]);
    }
}
