//! A tree with everything in it that file systems keep, and images made of it by the real tools.

use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use kuth::cancel::Cancel;
use kuth::digest::Digest;
use kuth::import::{self, Imported, Options, OtherFiles};
use kuth::sandbox::owners::Owners;
use kuth::sandbox::pack::pack;
use kuth::units::Bytes;

use crate::same;
use kuth_test_support::home::bare;
use kuth_test_support::judge::{is_there, skip, tool, verdict};
use kuth_test_support::run::Run;

/// The time of everything, and one that is later than any file's.
pub const EPOCH: u64 = 4_000_000_000;

/// Whether this process is root's; says what that means for a test.
pub fn need_root() -> bool {
    if !is_root() {
        skip("only root can make and mount this");
    }
    is_root()
}

/// Has mke2fs give the root to whom the tree's belongs.
pub fn root_owner() -> String {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    format!("root_owner={}:{}", user.as_raw(), group.as_raw())
}

/// Of the root, which lost+found changes when it is made.
pub const ROOT_TIME: u64 = 1_700_000_000;

/// Whether this process may make devices and give files away.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a tool and fails with what it said unless it succeeds.
pub fn run(program: &str, arguments: &[&str]) -> String {
    tool(program, arguments).unwrap_or_else(|| panic!("{program} is not installed"))
}

/// Whether all these tools are there; says which is not.
pub fn have(tools: &[&str]) -> bool {
    tools.iter().all(|tool| is_there(tool))
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What no file system should lose. `fstab` is the system's table of mounts.
pub fn make_tree(root: &Path, fstab: &str) {
    let dir = |name: &str| std::fs::create_dir_all(root.join(name)).unwrap();
    let file = |name: &str, content: &[u8]| std::fs::write(root.join(name), content).unwrap();
    for name in
        ["etc", "usr/bin", "usr/lib/deep/deeper", "var/many", "proc", "tmp", "boot/efi", "srv"]
    {
        dir(name);
    }
    file("etc/fstab", fstab.as_bytes());
    file("etc/empty", b"");
    file("usr/bin/tool", &vec![7; 300_000]);
    std::fs::set_permissions(root.join("usr/bin/tool"), Permissions::from_mode(0o4755)).unwrap();
    std::fs::hard_link(root.join("usr/bin/tool"), root.join("usr/bin/twin")).unwrap();
    symlink("tool", root.join("usr/bin/soft")).unwrap();
    symlink("/usr/lib/".to_string() + &"long/".repeat(60), root.join("usr/lib/far")).unwrap();
    symlink("x".repeat(59), root.join("usr/lib/59")).unwrap();
    symlink("x".repeat(60), root.join("usr/lib/60")).unwrap();
    file("usr/lib/deep/deeper/ümläut and space", b"x");
    file(&format!("usr/lib/{}", "n".repeat(255)), b"long");
    for i in 0..1500 {
        file(
            &format!("var/many/a-file-with-a-name-of-some-length-{i}"),
            &i.to_string().into_bytes(),
        );
    }
    let sparse = File::create(root.join("srv/sparse")).unwrap();
    // mke2fs drops a hole at the end.
    for at in (0..=39).step_by(3) {
        sparse.write_all_at(&[at as u8 + 1; 5000], (at << 20) + 1000).unwrap();
    }
    let random: Vec<u8> =
        (0..2_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    file("srv/random", &random);
    std::fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777)).unwrap();
    run("mkfifo", &[text(&root.join("srv/pipe"))]);
    run("touch", &["-h", "-d", "1999-12-31T23:59:59Z", text(&root.join("usr/bin/soft"))]);
    if is_root() {
        run("mknod", &[text(&root.join("srv/block")), "b", "8", "300"]);
        run("mknod", &[text(&root.join("srv/char")), "c", "5", "1"]);
        run("chown", &["1000:70000", text(&root.join("srv/random"))]);
        run("setcap", &["cap_net_raw+ep", text(&root.join("usr/bin/tool"))]);
        run("setfattr", &["-n", "user.note", "-v", "some value", text(&root.join("srv"))]);
        run(
            "setfattr",
            &["-n", "user.long", "-v", &"v".repeat(900), text(&root.join("srv/random"))],
        );
        run("setfacl", &["-m", "u:1000:rw,g:7:r", text(&root.join("etc/fstab"))]);
        run("setfacl", &["-d", "-m", "u:1000:rwx", text(&root.join("srv"))]);
    }
    run("touch", &["-d", &format!("@{ROOT_TIME}"), text(root)]);
}

/// A tree of a few files, spread over directories that may be mounted.
pub fn small_tree(root: &Path, fstab: &str) {
    for name in ["etc", "usr/bin", "boot/efi/EFI/BOOT", "srv", "tmp"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    let file = |name: &str, content: &[u8]| std::fs::write(root.join(name), content).unwrap();
    file("etc/fstab", fstab.as_bytes());
    file("usr/bin/tool", &vec![7; 300_000]);
    std::fs::hard_link(root.join("usr/bin/tool"), root.join("usr/bin/twin")).unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    file("boot/vmlinuz", &vec![1; 1_000_000]);
    file("boot/efi/EFI/BOOT/BOOTX64.EFI", &vec![3; 100_001]);
    file("boot/efi/EFI/BOOT/a longer name with spaces.cfg", b"menu");
    let time = format!("@{ROOT_TIME}");
    run("find", &[text(root), "-exec", "touch", "-h", "-d", &time, "{}", "+"]);
}

/// Writes the file `image` into `disk` at `start`.
pub fn lay(disk: &Path, start: u64, image: &Path) {
    let bytes = std::fs::read(image).unwrap();
    let file = File::options().write(true).open(disk).unwrap();
    for (index, piece) in bytes.chunks(1 << 16).enumerate() {
        if piece.iter().any(|byte| *byte != 0) {
            file.write_all_at(piece, start + ((index as u64) << 16)).unwrap();
        }
    }
}

/// Loop devices, which go with this.
pub struct Loops(Vec<String>);

impl Loops {
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        for name in &self.0 {
            run("losetup", &["-d", name]);
        }
    }
}

/// A loop device for each start and size of `disk`; `None`, said, where there are none.
pub fn loop_devices(disk: &Path, parts: &[(u64, u64)]) -> Option<Loops> {
    let mut loops = Loops(Vec::new());
    for (start, size) in parts {
        let (start, size) = (start.to_string(), size.to_string());
        let arguments = ["-f", "--show", "-o", &start, "--sizelimit", &size, text(disk)];
        let (success, out, _) = verdict("losetup", &arguments)?;
        if !success {
            skip("there are no loop devices");
            return None;
        }
        loops.0.push(out.trim().to_string());
    }
    Some(loops)
}

/// Makes `to` the tar of the tree at `root`, which GNU tar finds to be that tree.
pub fn packed(root: &Path, to: &Path) -> Digest {
    let digest = packed_unjudged(root, to);
    same::judge(to, root);
    digest
}

/// [`packed`] of a tree that only its own file system holds, so that nothing can unpack it
/// elsewhere.
pub fn packed_unjudged(root: &Path, to: &Path) -> Digest {
    pack(root, to, EPOCH, &Owners::default()).unwrap().digest
}

/// Imports the image at `path`.
pub fn import(path: &Path, to: &Path) -> Result<Imported, String> {
    import_root(path, None, to)
}

/// Imports the image at `path`, whose root is in `root`.
pub fn import_root(path: &Path, root: Option<&str>, to: &Path) -> Result<Imported, String> {
    import_until(EPOCH, path, root, to)
}

/// Imports the image at `path`; times later than `epoch` become `epoch`.
pub fn import_until(
    epoch: u64,
    path: &Path,
    root: Option<&str>,
    to: &Path,
) -> Result<Imported, String> {
    let cancel = Cancel::default();
    let options = Options { epoch, limit: Bytes::gib(1), cancel: &cancel, report: &|_| () };
    let shown = |error| {
        let hints = kuth::error::hints(&error).join("; ");
        format!("{error:#} [{hints}]")
    };
    let image = import::open(path, OtherFiles::SameDirectory).map_err(shown)?;
    import::import(&image, root, to, &options).map_err(shown)
}

/// Shows where two tars differ, for a failed test.
pub fn assert_same(one: &Path, two: &Path) {
    if std::fs::read(one).unwrap() == std::fs::read(two).unwrap() {
        return;
    }
    let list = |path: &Path| -> Vec<String> {
        let mut archive = tar::Archive::new(File::open(path).unwrap());
        let mut lines = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut extra = String::new();
            if let Some(records) = entry.pax_extensions().unwrap() {
                for record in records.flatten() {
                    extra += &format!(
                        " {}={:?}",
                        record.key().unwrap(),
                        Digest::of(record.value_bytes()).short()
                    );
                }
            }
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            let header = entry.header().clone();
            lines.push(format!(
                "{} {:?} {:o} {}:{} {} {} {:?} {}{extra}",
                entry.path().unwrap().display(),
                header.entry_type(),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.mtime().unwrap(),
                content.len(),
                entry.link_name().unwrap(),
                Digest::of(&content).short(),
            ));
        }
        lines
    };
    let (one, two) = (list(one), list(two));
    let gone: Vec<_> = one.iter().filter(|line| !two.contains(line)).take(20).collect();
    let came: Vec<_> = two.iter().filter(|line| !one.contains(line)).take(20).collect();
    panic!("only in the first: {gone:#?}\nonly in the second: {came:#?}");
}

/// A directory for one test.
pub struct World {
    pub directory: tempfile::TempDir,
}

impl World {
    /// Runs kuth in the directory.
    pub fn kuth(&self, arguments: &[&str]) -> Run {
        let mut command = bare(self.directory.path());
        command.env("HOME", self.directory.path()).env("KUTH_CACHE", self.at("cache"));
        Run::to_end(command.args(arguments))
    }

    /// Where the result of a stage of `p.toml` is.
    pub fn path_of(&self, stage: &str) -> PathBuf {
        PathBuf::from(self.kuth(&["path", "p.toml", stage]).ok().out.trim())
    }

    pub fn new() -> World {
        World { directory: tempfile::tempdir().unwrap() }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A tree, and its tar.
    pub fn tree(&self, fstab: &str) -> (PathBuf, PathBuf) {
        let root = self.at("root");
        std::fs::create_dir(&root).unwrap();
        make_tree(&root, fstab);
        let tar = self.at("expected.tar");
        packed(&root, &tar);
        (root, tar)
    }

    /// A small tree, and its tar.
    pub fn small_tree(&self, fstab: &str) -> (PathBuf, PathBuf) {
        let root = self.at("root");
        std::fs::create_dir(&root).unwrap();
        small_tree(&root, fstab);
        let tar = self.at("expected.tar");
        packed(&root, &tar);
        (root, tar)
    }

    /// Imports an image, and compares.
    pub fn check(&self, image: &Path, expected: &Path) -> Imported {
        let to = self.at("imported.tar");
        let imported = import(image, &to).unwrap_or_else(|error| panic!("{error}"));
        assert_same(expected, &to);
        assert_eq!(imported.digest, Digest::of(std::fs::read(&to).unwrap()));
        imported
    }
}
