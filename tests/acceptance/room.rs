//! A cache whose file system fills up: one clear error that names the directory and the need, and
//! what was finished stays.

use std::path::{Path, PathBuf};

use crate::small::{SMALL, fresh};
use crate::tools::{is_root, tool};

/// A file system in memory, gone when dropped.
struct Memory(PathBuf);

impl Memory {
    fn new(at: &Path, size: &str) -> Memory {
        std::fs::create_dir_all(at).unwrap();
        let at = at.to_path_buf();
        tool(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={size}"), "kuth", at.to_str().unwrap()],
        );
        Memory(at)
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        tool("mount", &["-o", &options, self.0.to_str().unwrap()]);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        tool("umount", &["--lazy", self.0.to_str().unwrap()]);
    }
}

#[test]
fn a_full_disk_is_one_clear_error_and_what_is_finished_stays() {
    if !is_root("a small file system") {
        return;
    }
    let mut project = fresh("room");
    project.edit(SMALL, "echo base >/etc/made\n", "dd if=/dev/zero of=/var/big bs=1M count=900\n");
    let memory = Memory::new(&project.root.with_file_name("memory"), "400m");
    project.cache = memory.0.join("cache");
    let directory = project.cache.to_str().unwrap().to_string();

    // Not enough to begin with.
    let run = project.build(&[SMALL]).ended(1);
    let why = run.of("rootfs", "reason");
    let begins = format!("no space left in {directory}: this stage needs about ");
    assert!(why.starts_with(&begins) && why.contains(" are free"), "{why}");
    assert_eq!(run.err.matches("error:").count(), 1, "{}", run.err);
    assert!(run.err.contains("hint: free some with `kuth cache clean`"), "{}", run.err);

    // Enough to begin, not to end.
    memory.resize("1200m");
    for (count, rootfs) in [("900", "done"), ("3000", "cached")] {
        // The first is too much when the tree is packed, the second when the script runs.
        project.edit(SMALL, "count=900\n", &format!("count={count}\n"));
        let run = project.build(&[SMALL]).ended(1);
        assert_eq!((run.states()["rootfs"], run.states()["last"]), (rootfs, "skipped"));
        let why = run.of("base", "reason");
        assert!(why.starts_with(&format!("no space left in {directory}: ")), "{why}");
        assert_eq!(run.err.matches("error:").count(), 1, "{}", run.err);
        eprintln!("{}", run.err);
    }

    project.edit(SMALL, "count=3000\n", "count=900\n");
    memory.resize("6g");
    let run = project.build(&[SMALL]).ok();
    assert_eq!((run.those("cached"), run.those("done")), ("rootfs".into(), "base last".into()));
    project.assert_clean();
}
