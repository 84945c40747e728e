//! Maps of every length, and tars that lie.

use super::*;
use crate::files::extents::Extents;
use crate::tree::sparse::UNIT;
use tar::{Builder, GnuExtSparseHeader};

/// A tar of one file with these parts of data, each byte of which encodes its position.
fn sparse(size: u64, map: &Extents) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let data: Vec<u8> = map.iter().flat_map(|(at, n)| (*at..at + n).map(byte)).collect();
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(1_407_182_137);
    header.set_gid(0);
    header.set_mtime(9);
    let mut last = header.clone();
    sparse::append(&mut builder, b"a", header, size, map, &mut data.as_slice()).unwrap();
    last.set_size(1);
    builder.append_data(&mut last, "b", &b"b"[..]).unwrap();
    builder.into_inner().unwrap()
}

fn byte(at: u64) -> u8 {
    (at % 250 + 1) as u8
}

/// As many parts as these fill the header, one block behind it, two.
const COUNTS: [u64; 8] = [0, 1, 3, 4, 5, 25, 26, 60];

#[test]
fn a_map_of_any_length_comes_back_with_the_file_behind_it() {
    for count in COUNTS {
        for rest in [0, 1, 700] {
            let mut map: Extents = (0..count).map(|at| (3 * at * 512, 512)).collect();
            // The last part need not be a whole block; the file may end with it.
            if rest > 0 {
                map.push((3 * count * 512, rest));
            }
            for size in [3 * count * 512 + rest, 3 * count * 512 + rest + 5000] {
                let tar = sparse(size, &map);
                let mut entries = Reader::new(tar.as_slice());
                let (entry, mut content) = entries.next_entry().unwrap().unwrap();
                assert_eq!((entry.metadata.kind, entry.metadata.size), (EntryType::Regular, size));
                assert_eq!(entry.metadata.uid, 1_407_182_137);
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes).unwrap();
                let inside = |at| map.iter().any(|(from, n)| (*from..from + n).contains(&at));
                let expected: Vec<u8> =
                    (0..size).map(|at| if inside(at) { byte(at) } else { 0 }).collect();
                assert!(bytes == expected, "{count} parts, {rest} more, {size} bytes");
                assert_eq!(next_name(&mut entries), "b");
                // The crate reads the same.
                let mut archive = tar::Archive::new(tar.as_slice());
                let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
                bytes.clear();
                entry.read_to_end(&mut bytes).unwrap();
                assert!(bytes == expected);
            }
        }
    }
}

fn next_name<R: Read>(entries: &mut Reader<R>) -> String {
    let (entry, _) = entries.next_entry().unwrap().unwrap();
    String::from_utf8(entry.path).unwrap()
}

#[test]
fn a_file_is_written_with_its_holes_wherever_it_is_wanted() {
    use std::os::unix::fs::MetadataExt;
    let map = vec![(UNIT, 2 * UNIT), (600 * UNIT, 100)];
    let tar = sparse(900 * UNIT, &map);
    for offset in [0, 12_288] {
        let mut entries = Reader::new(tar.as_slice());
        let (_, mut content) = entries.next_entry().unwrap().unwrap();
        assert_eq!(content.extents(), map);
        let file = tempfile::tempfile().unwrap();
        content.write_to(&file, offset).unwrap();
        let found = file.metadata().unwrap();
        assert_eq!(found.len(), offset + 600 * UNIT + 100);
        assert!(found.blocks() * 512 < 3 * UNIT, "{} blocks", found.blocks());
        for (at, length) in &map {
            let mut bytes = vec![0; *length as usize];
            file.read_exact_at(&mut bytes, offset + at).unwrap();
            assert!((0..*length).all(|n| bytes[n as usize] == byte(at + n)), "{at}");
        }
        assert_eq!(next_name(&mut entries), "b");
    }
    // The data alone, and none of it.
    let mut entries = Reader::new(tar.as_slice());
    let (_, mut content) = entries.next_entry().unwrap().unwrap();
    assert_eq!(io::copy(content.stored(), &mut io::sink()).unwrap(), 2 * UNIT + 100);
    assert_eq!(next_name(&mut entries), "b");
    let mut entries = Reader::new(tar.as_slice());
    entries.next_entry().unwrap();
    assert_eq!(next_name(&mut entries), "b");
}

/// The first entry read to its end, and the one behind it.
fn read_all(tar: &[u8]) -> Result<()> {
    let mut entries = Reader::new(tar);
    let Some((_, mut content)) = entries.next_entry()? else { crate::error::bail!("nothing") };
    io::copy(&mut content, &mut io::sink())?;
    entries.next_entry().map(|_| ())
}

#[test]
fn entries_without_data_have_none_whatever_their_size_says() {
    for kind in HAVE_NO_DATA {
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_path("a").unwrap();
        header.set_link_name("x").unwrap();
        header.set_entry_type(kind);
        header.set_size(4096);
        header.set_cksum();
        builder.append(&header, io::empty()).unwrap();
        header.set_entry_type(EntryType::Regular);
        header.set_size(1);
        builder.append_data(&mut header, "b", &b"b"[..]).unwrap();
        let tar = builder.into_inner().unwrap();
        // Both ways to pass over content.
        let mut entries = Reader::new(tar.as_slice());
        let (entry, content) = entries.next_entry().unwrap().unwrap();
        assert_eq!((entry.metadata.kind, entry.metadata.size), (kind, 0));
        assert!(content.extents().iter().all(|(_, length)| *length == 0), "{kind:?}");
        assert_eq!(next_name(&mut entries), "b");
        assert!(entries.next_entry().unwrap().is_none());
        let mut entries = Reader::seeking(io::Cursor::new(&tar));
        entries.next_entry().unwrap();
        assert_eq!(next_name(&mut entries), "b");
    }
}

#[test]
fn a_map_that_lies_and_a_tar_cut_short_are_refused() {
    let map = vec![(0, 512), (1024, 512), (2048, 512), (4096, 512), (8192, 512)];
    let good = sparse(10_000, &map);
    read_all(&good).unwrap();
    for end in [1, 511, 513, 1023, 1024, 1025, 1024 + 5 * 512 - 1] {
        assert!(read_all(&good[..end]).is_err(), "cut at {end}");
    }
    let changed = |change: &dyn Fn(&mut tar::GnuHeader, &mut GnuExtSparseHeader)| {
        let mut tar = good.clone();
        let mut header = Header::from_byte_slice(tar[..512].try_into().unwrap()).clone();
        let mut more = GnuExtSparseHeader::new();
        more.as_mut_bytes().copy_from_slice(&tar[512..1024]);
        change(header.as_gnu_mut().unwrap(), &mut more);
        header.set_cksum();
        tar[..512].copy_from_slice(header.as_bytes());
        tar[512..1024].copy_from_slice(more.as_bytes());
        format!("{:#}", read_all(&tar).unwrap_err())
    };
    let overlap = changed(&|header, _| header.sparse[1].set_offset(100));
    assert!(overlap.contains("overlap"), "{overlap}");
    let odd = changed(&|header, _| header.sparse[0].set_length(511));
    assert!(odd.contains("not a whole block"), "{odd}");
    let behind = changed(&|_, more| {
        more.sparse[0].set_offset(9_999);
        more.sparse[1].set_offset(9_999 + 512);
    });
    assert!(behind.contains("not that of its data"), "{behind}");
    let more = changed(&|_, more| more.sparse[0].set_length(1));
    assert!(more.contains("not that of its data"), "{more}");
    let long = changed(&|_, more| more.sparse[0].set_offset(u64::MAX - 5));
    assert!(long.contains("too long"), "{long}");
    let mut damaged = good.clone();
    damaged[100] ^= 1;
    assert!(read_all(&damaged).unwrap_err().to_string().contains("checksum"));
}
