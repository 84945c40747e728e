//! File systems that the kernel wrote, and that were not unmounted when their image was taken: read
//! as the kernel would find them. Needs root and loop devices.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::world::{World, have, import, make_tree, need_root, packed, packed_unjudged, run, text};
use kuth_test_support::judge::{skip, verdict};

/// A mount that goes with this.
struct Mount(PathBuf);

impl Mount {
    /// Mounts `image`; `None`, said, where that cannot be done.
    fn new(image: &Path, at: &Path, kind: &str) -> Option<Mount> {
        std::fs::create_dir_all(at).unwrap();
        let arguments = ["-t", kind, "-o", "loop", text(image), text(at)];
        let (success, _, why) = verdict("mount", &arguments)?;
        if !success {
            skip(&format!("cannot mount {kind}: {why}"));
            return None;
        }
        Some(Mount(at.to_path_buf()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A sandbox of another test that began meanwhile has the mount in its namespace too, so that
        // the file system stays mounted until that ends; the log is written out here.
        run("mount", &["-o", "remount,ro", text(&self.0)]);
        run("umount", &[text(&self.0)]);
    }
}

/// An empty image of `size` MiB.
fn blank(world: &World, name: &str, size: u64) -> PathBuf {
    let image = world.at(name);
    File::create(&image).unwrap().set_len(size << 20).unwrap();
    image
}

#[test]
fn a_journal_is_replayed() {
    if !need_root() || !have(&["mke2fs", "mount", "setfacl", "setfattr"]) {
        return;
    }
    for options in ["metadata_csum,64bit", "^metadata_csum,^64bit", "^metadata_csum,64bit"] {
        let world = World::new();
        let image = blank(&world, "fs.raw", 300);
        run("mke2fs", &["-q", "-F", "-t", "ext4", "-O", options, text(&image)]);
        let point = world.at("mnt");
        let Some(mounted) = Mount::new(&image, &point, "ext4") else { return };
        make_tree(&point, "/dev/vda1 / ext4 defaults 0 1\n");
        run("sync", &["-f", text(&point)]);
        // Changes that are in the journal alone: some of them undo others.
        run(
            "sh",
            &[
                "-c",
                &format!(
                    "cd '{}' && rm -r var/many && mkdir -p var/new/one && mv usr/bin/soft var/new && \
             ln var/new/soft var/new/hard && \
             for i in 1 2 3 4 5 6 7 8; do echo $i > var/new/$i; sync var/new/$i; done && \
             rm var/new/5 && sync var/new",
                    point.display()
                ),
            ],
        );
        let dirty = world.at("dirty.raw");
        run("cp", &["--sparse=always", text(&image), text(&dirty)]);
        drop(mounted);
        let features = run("dumpe2fs", &["-h", text(&dirty)]);
        assert!(features.contains("needs_recovery"), "{features}");
        // What the kernel makes of a copy.
        let copy = world.at("copy.raw");
        run("cp", &["--sparse=always", text(&dirty), text(&copy)]);
        let Some(mounted) = Mount::new(&copy, &point, "ext4") else { return };
        run("rmdir", &[text(&point.join("lost+found"))]);
        run("touch", &["-d", "@1700000000", text(&point)]);
        let expected = world.at("expected.tar");
        packed(&point, &expected);
        drop(mounted);
        let imported = world.at("imported.tar");
        import(&dirty, &imported).unwrap_or_else(|error| panic!("{error}"));
        let root = |path: &Path| {
            // The time of the root changed when lost+found went.
            let mut bytes = std::fs::read(path).unwrap();
            bytes[136..156].fill(b'0');
            std::fs::write(path, bytes).unwrap();
        };
        root(&expected);
        root(&imported);
        crate::world::assert_same(&expected, &imported);
    }
}

/// Of version 5: many kernels mount no version 4 any more, for which tests/import/filesystems.rs needs
/// none.
#[test]
fn xfs_is_read() {
    if !need_root() || !have(&["mkfs.xfs", "mount", "setfacl", "setfattr"]) {
        return;
    }
    for options in
        ["-m crc=1,finobt=1,reflink=1,bigtime=1,inobtcount=1", "-m crc=1 -b size=1024 -n size=8192"]
    {
        let world = World::new();
        let image = blank(&world, "fs.raw", 400);
        run("sh", &["-c", &format!("mkfs.xfs -q {options} -L label '{}'", image.display())]);
        let point = world.at("mnt");
        let Some(mounted) = Mount::new(&image, &point, "xfs") else { return };
        make_tree(&point, "/dev/vda1 / xfs defaults 0 1\n");
        more(&point);
        let expected = world.at("expected.tar");
        // ext4 has no room for that many attributes of a file.
        packed_unjudged(&point, &expected);
        let dirty = world.at("dirty.raw");
        run("sync", &["-f", text(&point)]);
        std::fs::write(point.join("late"), "x").unwrap();
        run("sync", &[text(&point.join("late"))]);
        run("cp", &["--sparse=always", text(&image), text(&dirty)]);
        std::fs::remove_file(point.join("late")).unwrap();
        run("touch", &["-d", "@1700000000", text(&point)]);
        drop(mounted);
        world.check(&image, &expected);
        let error = import(&dirty, &world.at("out.tar")).unwrap_err();
        assert!(error.contains("its log holds changes"), "{error}");
    }
}

/// Attributes that fill leaves and blocks of their own, and a file in many pieces.
fn more(point: &Path) {
    let path = point.join("srv/random");
    for i in 0..200 {
        let (name, value) = (format!("user.number-{i}"), "v".repeat(30 + i));
        run("setfattr", &["-n", &name, "-v", &value, text(&path)]);
    }
    run("setfattr", &["-n", "user.huge", "-v", &"h".repeat(9000), text(&path)]);
    run("setfattr", &["-n", "trusted.note", "-v", "kept", text(&path)]);
    let pieces = File::create(point.join("srv/pieces")).unwrap();
    for i in 0..800u64 {
        std::os::unix::fs::FileExt::write_all_at(&pieces, &[i as u8 | 1; 4096], i * 16_384)
            .unwrap();
    }
    std::fs::create_dir(point.join("srv/few")).unwrap();
    for i in 0..60 {
        std::fs::write(point.join(format!("srv/few/file-{i}")), [i]).unwrap();
    }
    run("touch", &["-d", "@1700000000", text(point)]);
}
