//! Archives that the usual tools make, of a directory with what directories have.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use kuth::archive::extract::members;
use kuth::digest::Digest;
use kuth::units::Bytes;

use crate::bench::Bench;
use kuth_test_support::judge::tool_in;

/// Makes `root` with files large and small, links, modes, a sparse file and long names.
fn fill(root: &Path) {
    let deep = root.join("a").join("d".repeat(90)).join("e".repeat(90));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("f"), "deep\n").unwrap();
    std::fs::write(root.join("empty"), "").unwrap();
    let noise: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(i >> 7) >> 3) as u8).collect();
    std::fs::write(root.join("noise"), noise).unwrap();
    std::fs::set_permissions(root.join("noise"), PermissionsExt::from_mode(0o750)).unwrap();
    std::fs::hard_link(root.join("noise"), root.join("a/again")).unwrap();
    symlink("../noise", root.join("a/link")).unwrap();
    let disk = File::create(root.join("disk.img")).unwrap();
    disk.set_len(200 << 20).unwrap();
    for at in [0, 5 << 20, (90 << 20) + 7, (200 << 20) - 3] {
        disk.write_all_at(b"abc", at).unwrap();
    }
    // More parts than a header and a block behind it hold.
    for at in 0..40 {
        disk.write_all_at(&[7; 5000], (100 << 20) + at * (1 << 18)).unwrap();
    }
    for (name, length, data) in [
        ("all hole", (3 << 20) + 5, None),
        ("hole first", (2 << 20) + 700, Some(2 << 20)),
        ("hole last", (2 << 20) + 701, Some(0)),
    ] {
        let file = File::create(root.join(name)).unwrap();
        file.set_len(length).unwrap();
        if let Some(at) = data {
            file.write_all_at(&[9; 700], at).unwrap();
        }
    }
}

#[test]
fn every_way_to_make_an_archive_gives_one_directory() {
    let bench = Bench::new();
    fill(&bench.path("in"));
    let ways: [(&str, &[&str]); 10] = [
        ("gnu.tar", &["--format=gnu"]),
        ("ustar.tar", &["--format=ustar", "--sort=name"]),
        ("pax.tar", &["--format=pax"]),
        ("sparse-old.tar", &["-S", "--format=gnu"]),
        ("sparse-1.0.tar", &["-S", "--format=pax", "--sparse-version=1.0"]),
        ("sparse-0.1.tar", &["-S", "--format=pax", "--sparse-version=0.1"]),
        ("sparse-0.0.tar", &["-S", "--format=pax", "--sparse-version=0.0"]),
        ("x.tar.bz2", &["-S", "-j"]),
        ("x.tar.xz", &["-J"]),
        ("x.tar.gz", &["-z"]),
    ];
    let mut expected = None;
    for (name, options) in ways {
        let path = bench.path(name);
        let args = [&["-c", "-f", path.to_str().unwrap()], options, &["-C", "in", "."]].concat();
        if tool_in(bench.directory.path(), "tar", &args).is_none() {
            return;
        }
        let kept = format!("{name}.kept");
        let unpacked = bench.unpack(&path, &kept, None).unwrap();
        assert_eq!(unpacked.digest, Digest::of(std::fs::read(bench.path(&kept)).unwrap()));
        // The noise, and a few blocks of the files with holes.
        assert!(unpacked.size < Bytes(3_000_000 + (52 << 16) + 24_000), "{name}: {unpacked:?}");
        assert_eq!(*expected.get_or_insert(unpacked), unpacked, "{name}");
    }
    if tool_in(bench.directory.path(), "zstd", &["-q", "gnu.tar", "-o", "x.tar.zst"]).is_some() {
        let unpacked = bench.unpack(&bench.path("x.tar.zst"), "zst.kept", None).unwrap();
        assert_eq!(Some(unpacked), expected);
    }
}

#[test]
fn the_kept_directory_is_read_by_others_too() {
    let bench = Bench::new();
    fill(&bench.path("in"));
    let directory = bench.directory.path();
    if tool_in(directory, "tar", &["-c", "-S", "-f", "x.tar", "-C", "in", "."]).is_none() {
        return;
    }
    let ours = bench.unpacked(&bench.path("x.tar"));
    let kept = bench.path("kept.tar");
    let kept = kept.to_str().unwrap();
    let theirs = bench.made_by("tar", &["-x", "-f", kept]).unwrap();
    assert_eq!(ours, theirs);
    let python = ["-m", "tarfile", "-e", kept];
    if let Some(theirs) = bench.made_by("python3", &python) {
        // Python gives every directory the mode 700 until the end, but keeps the files' contents.
        let contents = |listed: &std::collections::BTreeMap<std::path::PathBuf, String>| {
            let files = listed.iter().filter(|(_, text)| text.starts_with("file"));
            files
                .map(|(name, text)| (name.clone(), text.rsplit(' ').next().unwrap().to_string()))
                .collect::<Vec<_>>()
        };
        assert_eq!(contents(&ours), contents(&theirs));
    }
    let disk = bench.path("kuth/disk.img").metadata().unwrap();
    assert!(disk.blocks() * 512 < 8 << 20, "holes stay holes: {}", disk.blocks());
    let members = members(&bench.path("kept.tar")).unwrap();
    let disk = members.iter().find(|member| member.path == Path::new("disk.img")).unwrap();
    assert_eq!(disk.size, Bytes::mib(200));
}

#[test]
fn a_zip_is_read_as_unzip_reads_it() {
    let bench = Bench::new();
    let root = bench.path("in");
    std::fs::create_dir_all(root.join("d")).unwrap();
    std::fs::write(root.join("d/one"), "text ".repeat(10_000)).unwrap();
    std::fs::write(root.join("two"), [0, 1, 2]).unwrap();
    std::fs::set_permissions(root.join("two"), PermissionsExt::from_mode(0o711)).unwrap();
    symlink("d/one", root.join("link")).unwrap();
    if tool_in(&root, "zip", &["-q", "-r", "-y", "../x.zip", "."]).is_none() {
        return;
    }
    let ours = bench.unpacked(&bench.path("x.zip"));
    let path = bench.path("x.zip");
    let Some(theirs) = bench.made_by("unzip", &["-q", path.to_str().unwrap()]) else { return };
    assert_eq!(ours, theirs);
}

#[test]
fn a_zip_of_windows_has_its_directories_and_the_letters_of_its_names() {
    let bench = Bench::new();
    let root = bench.path("in");
    std::fs::create_dir_all(&root).unwrap();
    let names = ["one_file", "gr_n", "plain"];
    for name in names {
        std::fs::write(root.join(name), "text").unwrap();
    }
    let args = [&["-q", "-X", "../x.zip"][..], &names].concat();
    if tool_in(&root, "zip", &args).is_none() {
        return;
    }
    let mut zip = std::fs::read(bench.path("x.zip")).unwrap();
    for at in 0..zip.len() - 10 {
        match &zip[at..] {
            bytes if bytes.starts_with(b"one_file") => zip[at + 3] = b'\\',
            // An u with two dots, in IBM 437.
            bytes if bytes.starts_with(b"gr_n") => zip[at + 2] = 0x81,
            // Made by MS-DOS.
            bytes if bytes.starts_with(b"PK\x01\x02") => zip[at + 5] = 0,
            _ => {}
        }
    }
    std::fs::write(bench.path("windows.zip"), &zip).unwrap();
    let found: Vec<_> = bench.unpacked(&bench.path("windows.zip")).into_keys().collect();
    let expected = ["gr\u{fc}n", "one", "one/file", "plain"];
    assert_eq!(found, expected.map(std::path::PathBuf::from));
}

#[test]
fn any_number_of_threads_and_any_tool_decompress_bzip2_alike() {
    let bench = Bench::new();
    fill(&bench.path("in"));
    let directory = bench.directory.path();
    if tool_in(directory, "tar", &["-c", "-f", "x.tar", "-C", "in", "noise", "a"]).is_none() {
        return;
    }
    for level in ["-1", "-9"] {
        if tool_in(directory, "bzip2", &["-k", "-f", level, "x.tar"]).is_none() {
            return;
        }
        let expected = bench.unpack(&bench.path("x.tar"), "plain.kept", None).unwrap();
        for threads in [1, 2, 7] {
            let made = bench.unpack_with(&bench.path("x.tar.bz2"), "kept", None, threads).unwrap();
            assert_eq!(made, expected, "{level} {threads}");
            std::fs::remove_file(bench.path("kept")).unwrap();
        }
        std::fs::remove_file(bench.path("plain.kept")).unwrap();
    }
}

/// A zip of files, each of a method, its data, and its data compressed.
fn zip_of(files: &[(u16, &[u8], &[u8])]) -> Vec<u8> {
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    for (method, data, packed) in files {
        let mut crc = flate2::Crc::new();
        crc.update(data);
        let name = format!("m{method}");
        let mut head = vec![63, 0, 0, 0];
        head.extend(method.to_le_bytes());
        head.extend([0, 0, 0x21, 0x58]);
        for number in [crc.sum(), packed.len() as u32, data.len() as u32] {
            head.extend(number.to_le_bytes());
        }
        head.extend([name.len() as u8, 0, 0, 0]);
        directory.extend(b"PK\x01\x02\x3f\x03");
        directory.extend(&head);
        directory.extend([0; 6]);
        directory.extend((0o100_644_u32 << 16).to_le_bytes());
        directory.extend((zip.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        zip.extend(b"PK\x03\x04");
        zip.extend(&head);
        zip.extend(name.as_bytes());
        zip.extend(*packed);
    }
    let (at, length) = (zip.len() as u32, directory.len() as u32);
    zip.extend(directory);
    zip.extend(b"PK\x05\x06\0\0\0\0");
    zip.extend([files.len() as u8, 0, files.len() as u8, 0]);
    zip.extend([length.to_le_bytes(), at.to_le_bytes()].concat());
    zip.extend([0, 0]);
    zip
}

#[test]
fn methods_of_zips_are_read_as_bsdtar_reads_them() {
    let bench = Bench::new();
    let directory = bench.directory.path();
    let text: String = (0..40_000).map(|n| format!("{} ", n * n)).collect();
    std::fs::write(bench.path("data"), &text).unwrap();
    for (tool, args) in [("bzip2", "-k"), ("xz", "-k"), ("zstd", "-q"), ("xz", "-k --format=lzma")]
    {
        let args: Vec<&str> = args.split(' ').chain(["data"]).collect();
        if tool_in(directory, tool, &args).is_none() {
            return;
        }
    }
    let [bzip2, xz, zstd, lzma] =
        ["bz2", "xz", "zst", "lzma"].map(|end| std::fs::read(bench.path(&format!("data.{end}"))));
    let (bzip2, xz, zstd, lzma) = (bzip2.unwrap(), xz.unwrap(), zstd.unwrap(), lzma.unwrap());
    // The head of an .lzma file is properties and a size; a zip has a version and no size.
    let lzma = [&[9, 20, 5, 0][..], &lzma[..5], &lzma[13..]].concat();
    let data = text.as_bytes();
    let methods: [(u16, &[u8]); 5] = [(0, data), (12, &bzip2), (14, &lzma), (93, &zstd), (95, &xz)];
    let files = methods.map(|(method, packed)| (method, data, packed));
    let mut zip = zip_of(&files);
    // That its LZMA has a mark at its end, as .lzma files have.
    for at in 0..zip.len() - 10 {
        let flags = match &zip[at..at + 4] {
            b"PK\x03\x04" if zip[at + 8] == 14 => at + 6,
            b"PK\x01\x02" if zip[at + 10] == 14 => at + 8,
            _ => continue,
        };
        zip[flags] = 2;
    }
    std::fs::write(bench.path("x.zip"), &zip).unwrap();
    let ours = bench.unpacked(&bench.path("x.zip"));
    assert_eq!(ours.len(), 5);
    let path = bench.path("x.zip");
    let Some(theirs) = bench.made_by("bsdtar", &["-xf", path.to_str().unwrap()]) else { return };
    assert_eq!(ours, theirs);
    // Damage is noticed whatever the method is.
    for method in [12, 14, 93, 95] {
        let packed = methods.iter().find(|(other, _)| *other == method).unwrap().1;
        let mut damaged = packed.to_vec();
        damaged[packed.len() / 2] ^= 4;
        for packed in [&damaged, &packed[..packed.len() / 2].to_vec()] {
            std::fs::write(bench.path("bad.zip"), zip_of(&[(method, data, packed)])).unwrap();
            let _ = std::fs::remove_file(bench.path("kept.tar"));
            assert!(bench.unpack(&bench.path("bad.zip"), "kept.tar", None).is_err(), "{method}");
        }
    }
    std::fs::write(bench.path("other.zip"), zip_of(&[(98, data, data)])).unwrap();
    let error = bench.unpack(&bench.path("other.zip"), "kept.tar", None).unwrap_err();
    assert!(format!("{error:#}").contains("the method 98, which kuth does not read"), "{error:#}");
    assert!(kuth::error::hints(&error)[0].contains("7z"), "{error:?}");
}

#[test]
fn deflate64_is_read_as_unzip_reads_it() {
    let bench = Bench::new();
    let text: String = (0..90_000).map(|n| format!("{} ", n % 977)).collect();
    std::fs::write(bench.path("data"), text).unwrap();
    let args = ["a", "-bso0", "-tzip", "-mm=Deflate64", "x.zip", "data"];
    if tool_in(bench.directory.path(), "7zz", &args).is_none() {
        return;
    }
    let path = bench.path("x.zip");
    let ours = bench.unpacked(&path);
    let Some(theirs) = bench.made_by("unzip", &["-q", path.to_str().unwrap()]) else { return };
    assert_eq!(ours, theirs);
}

#[test]
fn what_an_xz_file_says_of_its_blocks_has_to_be_so_as_for_xz() {
    let bench = Bench::new();
    let directory = bench.directory.path();
    fill(&bench.path("in"));
    let args = ["-c", "-f", "x.tar", "-C", "in", "noise", "a"];
    if tool_in(directory, "tar", &args).is_none()
        || tool_in(directory, "xz", &["-k", "-0", "-T2", "--block-size=1MiB", "x.tar"]).is_none()
    {
        return;
    }
    let xz = std::fs::read(bench.path("x.tar.xz")).unwrap();
    let expected = bench.unpack(&bench.path("x.tar"), "plain.kept", None).unwrap();
    let end = xz.len();
    let index = (u32::from_le_bytes(xz[end - 8..end - 4].try_into().unwrap()) as usize + 1) * 4;
    let index = end - 12 - index;
    // A number of the index, with its checksum made right again.
    let other_index = |at: usize| {
        let mut other = xz.clone();
        other[at] ^= 1;
        let mut crc = flate2::Crc::new();
        crc.update(&other[index..end - 16]);
        let sum = crc.sum().to_le_bytes();
        other[end - 16..end - 12].copy_from_slice(&sum);
        other
    };
    let changed = |at: usize| {
        let mut other = xz.clone();
        other[at] ^= 1;
        other
    };
    for (name, bytes, is_right) in [
        ("as it is", xz.clone(), true),
        ("two streams", [&xz[..], &[0; 8], &xz[..0]].concat(), true),
        ("padding of another length", [&xz[..], &[0; 6]].concat(), false),
        ("an unpadded size", other_index(index + 2), false),
        ("a size", other_index(index + 5), false),
        ("the index's checksum", changed(end - 15), false),
        ("the backward size", changed(end - 8), false),
        ("the footer's magic number", changed(end - 1), false),
        ("the header's flags", changed(7), false),
        ("the header of a block", changed(14), false),
        ("no footer", xz[..end - 12].to_vec(), false),
        ("no index", xz[..index].to_vec(), false),
        ("a byte of a block", changed(index / 2), false),
    ] {
        std::fs::write(bench.path("y.tar.xz"), &bytes).unwrap();
        let judged = std::process::Command::new("xz")
            .args(["-t", "-q", "y.tar.xz"])
            .current_dir(directory)
            .status();
        assert_eq!(judged.unwrap().success(), is_right, "{name}");
        let _ = std::fs::remove_file(bench.path("kept"));
        let unpacked = bench.unpack(&bench.path("y.tar.xz"), "kept", None);
        assert_eq!(unpacked.is_ok(), is_right, "{name}: {unpacked:?}");
        assert!(unpacked.is_err() || unpacked.unwrap() == expected);
    }
}
