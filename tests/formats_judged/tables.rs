//! qcow2 at the sizes where one of its tables needs another cluster, on both sides of each: what
//! kuth writes QEMU finds without a fault and the same as the disk, and what QEMU writes kuth
//! reads.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kuth::format::blocks::BlockMap;
use kuth::format::qcow2::{self, CLUSTER};
use kuth::import::{self, OtherFiles};
use kuth::units::Bytes;

use crate::tools::text;
use kuth_test_support::judge::{tool, tool_in};

/// References in one cluster of refcounts; entries in one of a table.
const REFCOUNTS: u64 = CLUSTER.0 / 2;
const OFFSETS: u64 = CLUSTER.0 / 8;

/// A sparse disk of `size` with a mark at each of these places.
fn raw(path: &Path, size: u64, marks: &[u64]) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for at in marks {
        file.write_all_at(&mark(*at), *at).unwrap();
    }
}

/// Ends with the sector it is in.
fn mark(at: u64) -> Vec<u8> {
    format!("mark at {at}").into_bytes()
}

/// The image of the disk at `raw`, of which `extents` is allocated, data or not.
fn write(raw: &Path, size: u64, extents: &[(u64, u64)], marks: &[u64], to: &Path) {
    let extents = extents.iter().map(|(at, length)| (Bytes(*at), Bytes(*length)));
    let map = BlockMap::new(Bytes(size), CLUSTER, extents).unwrap();
    let plan = qcow2::plan(&map).unwrap();
    let (from, file) = (File::open(raw).unwrap(), File::create(to).unwrap());
    file.set_len(plan.length.0).unwrap();
    for (at, bytes) in &plan.pieces {
        file.write_all_at(bytes, at.0).unwrap();
    }
    // All but the marks is zero, and stays a hole.
    for copy in &plan.copies {
        for at in marks {
            let inside = (copy.from.0..copy.from.0 + copy.length.0).contains(at);
            if inside {
                let mut bytes = vec![0; mark(*at).len()];
                from.read_exact_at(&mut bytes, *at).unwrap();
                file.write_all_at(&bytes, copy.to.0 + at - copy.from.0).unwrap();
            }
        }
    }
}

/// `qemu-img check` finds nothing; whether it is there.
fn check(image: &Path) -> bool {
    let told = tool("qemu-img", &["check", "-f", "qcow2", text(image)]);
    told.inspect(|told| assert!(told.contains("No errors were found"), "{told}")).is_some()
}

fn compare(raw: &Path, image: &Path) {
    let told = tool("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", text(raw), text(image)]);
    assert!(told.unwrap().contains("Images are identical."), "{}", text(image));
}

/// Kuth reads the image: as long as the disk, the marks in their places, zeros around them.
fn read(image: &Path, size: u64, marks: &[u64]) {
    let opened =
        import::open(image, OtherFiles::Refused).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(opened.disk.size(), size);
    for at in marks {
        let start = at.saturating_sub(5000);
        let mut found = vec![7; (size - start).min(10_000) as usize];
        opened.disk.read_at(&mut found, start).unwrap();
        let mut expected = vec![0; found.len()];
        for other in marks.iter().filter(|other| (start..start + 10_000).contains(other)) {
            let mark = mark(*other);
            expected[(other - start) as usize..][..mark.len()].copy_from_slice(&mark);
        }
        assert_eq!(found, expected, "{} at {at}", text(image));
    }
}

/// Where two clusters meet, and at both ends of the disk.
fn marks(size: u64, boundaries: &[u64]) -> Vec<u64> {
    let mut marks = vec![0, size - 512];
    for at in boundaries {
        marks.extend([at.saturating_sub(512), *at].into_iter().filter(|at| *at + 512 <= size));
    }
    marks.sort();
    marks.dedup();
    marks
}

/// A cluster of refcounts counts itself and the table that names it: at a size just below one more
/// cluster of them may need another.
#[test]
fn refcounts_grow() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, image) = (dir.path().join("disk"), dir.path().join("image"));
    for blocks in 1..=3u64 {
        for wanted in [-4i64, -3, -2, -1, 0, 1, 2] {
            // So many clusters with one cluster of refcounts only: header, table, it, level 1.
            let total = (blocks * REFCOUNTS).strict_add_signed(wanted);
            let mut data = total - 4;
            while data + data.div_ceil(OFFSETS) + 4 > total {
                data -= 1;
            }
            let size = data * CLUSTER.0;
            let marks = marks(size, &[OFFSETS * CLUSTER.0]);
            raw(&disk, size, &marks);
            write(&disk, size, &[(0, size)], &marks, &image);
            if !check(&image) {
                return;
            }
            read(&image, size, &marks);
            // It reads all of it, so not every time.
            if blocks == 2 && wanted == 0 {
                compare(&disk, &image);
            }
        }
    }
}

/// One table of level 2 is for 512 MiB, one cluster of level 1 for 4 TiB.
#[test]
fn levels_grow() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, image) = (dir.path().join("disk"), dir.path().join("image"));
    let (table, cluster) = (OFFSETS * CLUSTER.0, OFFSETS * OFFSETS * CLUSTER.0);
    let sizes = [
        CLUSTER.0 - 512,
        CLUSTER.0,
        CLUSTER.0 + 512,
        table - 512,
        table,
        table + 512,
        2 * table + CLUSTER.0,
        cluster - 512,
        cluster,
        cluster + 512,
        2 * cluster - table,
        2 * cluster + table + 512,
    ];
    for size in sizes {
        let marks = marks(size, &[CLUSTER.0, table, 2 * table, cluster, 2 * cluster]);
        raw(&disk, size, &marks);
        let extents: Vec<(u64, u64)> = marks.iter().map(|at| (*at, 512)).collect();
        write(&disk, size, &extents, &marks, &image);
        if !check(&image) {
            return;
        }
        compare(&disk, &image);
        read(&image, size, &marks);
    }
}

/// QEMU knows level 1 up to 32 MiB, which is a disk of 2 PiB.
#[test]
fn the_largest_disk() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let size = (32 << 20) / 8 * OFFSETS * CLUSTER.0;
    let overlay = qcow2::Overlay {
        size: Bytes(size),
        backing: "disk".into(),
        backing_format: qcow2::BackingFormat::Raw,
    };
    raw(&dir.path().join("disk"), 1 << 20, &[]);
    std::fs::write(&image, overlay.write().unwrap()).unwrap();
    if !check(&image) {
        return;
    }
    let opened = import::open(&image, OtherFiles::SameDirectory).unwrap();
    assert_eq!(opened.disk.size(), size);
    opened.disk.read_at(&mut [1; 512], size - 512).unwrap();
    let larger = qcow2::Overlay { size: Bytes(size + 512), ..overlay };
    assert!(larger.write().unwrap_err().to_string().contains("is too large"));
}

/// QEMU's tables at small clusters, as converting makes them and as they grow one by one.
#[test]
fn what_qemu_grew_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let qemu = |program: &str, words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        tool_in(dir.path(), program, &words)
    };
    let (disk, image) = (dir.path().join("disk"), dir.path().join("image"));
    // Of 512 bytes: a table of level 2 for 32 KiB, a cluster of level 1 for 2 MiB, one of refcounts
    // for 128 KiB, one of their table for 8 MiB.
    let boundaries = [32 << 10, 128 << 10, 2 << 20, 8 << 20];
    for boundary in boundaries {
        for size in [boundary - 512, boundary, boundary + 512, boundary + (32 << 10) + 512] {
            let bytes: Vec<u8> = (0..size).map(|at| (at / 512 + at) as u8 | 1).collect();
            std::fs::write(&disk, &bytes).unwrap();
            for bits in [1, 16, 64] {
                let options = format!("cluster_size=512,refcount_bits={bits}");
                let convert = format!("convert -f raw -O qcow2 -o {options} disk image");
                if qemu("qemu-img", &convert).is_none() {
                    return;
                }
                let opened = import::open(&image, OtherFiles::Refused).unwrap();
                let mut found = vec![0; size as usize];
                opened.disk.read_at(&mut found, 0).unwrap();
                assert_eq!(opened.disk.size(), size);
                assert!(found == bytes, "{size} {bits}");
            }
        }
    }
    // Level 1 moves when a disk grows, the table of refcounts when its file does.
    qemu("qemu-img", "create -q -f qcow2 -o cluster_size=512 image 16K").unwrap();
    for size in ["32K", "33K", "2M", "2050K", "9M", "40M"] {
        qemu("qemu-img", &format!("resize -q image {size}")).unwrap();
        let kib: u64 = size.trim_end_matches(['K', 'M']).parse().unwrap();
        let kib = if size.ends_with('M') { kib << 10 } else { kib };
        let start = kib / 2;
        let write = format!("write -P {} {start}K {}K", kib % 251 + 1, kib - start);
        let args = ["-f", "qcow2", "-c", &write, text(&image)];
        tool("qemu-io", &args).unwrap();
        qemu("qemu-img", "convert -f qcow2 -O raw image disk").unwrap();
        let expected = std::fs::read(&disk).unwrap();
        let opened = import::open(&image, OtherFiles::Refused).unwrap();
        let mut found = vec![0; expected.len()];
        assert_eq!(opened.disk.size(), expected.len() as u64);
        opened.disk.read_at(&mut found, 0).unwrap();
        assert!(found == expected, "{size}");
    }
}
