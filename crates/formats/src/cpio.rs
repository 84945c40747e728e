//! cpio archives in the "newc" form, which a kernel unpacks as its initial RAM disk. One that is
//! appended to another adds files or puts others in their place. The reader is for small archives.
//!
//! Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.

use super::Fault;

const FORMAT: &str = "cpio";
const MAGIC: &[u8] = b"070701";
/// The magic number and 13 numbers of 8 digits.
const HEADER: usize = 6 + 13 * 8;
const TRAILER: &[u8] = b"TRAILER!!!";
/// Archives come in these, so that one can follow another.
const BLOCK: usize = 512;
/// What the kernel takes for the length of a name.
const LONGEST_NAME: usize = 4096;
/// A regular file, in a mode.
const FILE: u32 = 0o100_000;

/// One entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path, without a slash in front.
    pub name: String,
    /// Its type and permissions.
    pub mode: u32,
    /// Its contents; where a symbolic link leads.
    pub bytes: Vec<u8>,
}

impl Entry {
    /// A regular file of root's.
    pub fn file(name: &str, permissions: u32, bytes: impl Into<Vec<u8>>) -> Entry {
        Entry { name: name.to_string(), mode: FILE | permissions, bytes: bytes.into() }
    }
}

/// An archive of these entries, in this order: root's, without times.
pub fn write(entries: &[Entry]) -> Result<Vec<u8>, Fault> {
    let mut archive = Vec::new();
    for (inode, entry) in (1..).zip(entries) {
        let name = entry.name.as_bytes();
        let fits = !name.is_empty() && name.len() < LONGEST_NAME && !name.contains(&0);
        Fault::unless(fits, FORMAT, || format!("no name of a file: {:?}", entry.name))?;
        put(&mut archive, inode, entry.mode, name, &entry.bytes)?;
    }
    put(&mut archive, 0, 0, TRAILER, &[])?;
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    Ok(archive)
}

fn put(
    archive: &mut Vec<u8>,
    inode: u32,
    mode: u32,
    name: &[u8],
    bytes: &[u8],
) -> Result<(), Fault> {
    let length = u32::try_from(bytes.len())
        .map_err(|_| Fault::new(FORMAT, "a file of 4 GiB or more does not fit"))?;
    archive.extend_from_slice(MAGIC);
    let name_length = name.len() as u32 + 1;
    // Inode, mode, owner, group, links, time, size, device and its own numbers, name, checksum.
    for number in [inode, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name_length, 0] {
        archive.extend_from_slice(format!("{number:08X}").as_bytes());
    }
    archive.extend_from_slice(name);
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(bytes);
    archive.resize(archive.len().next_multiple_of(4), 0);
    Ok(())
}

/// The entries of an archive, up to its trailer.
pub fn read(archive: &[u8]) -> Result<Vec<Entry>, Fault> {
    let cut = || Fault::new(FORMAT, "cut short");
    let mut entries = Vec::new();
    let mut at = 0;
    loop {
        let header = archive.get(at..at + HEADER).ok_or_else(cut)?;
        Fault::unless(header.starts_with(MAGIC), FORMAT, || format!("no entry at byte {at}"))?;
        let number = |index: usize| -> Result<usize, Fault> {
            let digits = &header[6 + index * 8..][..8];
            let text = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'));
            text.and_then(|text| usize::from_str_radix(text, 16).ok())
                .ok_or_else(|| Fault::new(FORMAT, format!("no number in the entry at byte {at}")))
        };
        let (mode, size, name_length) = (number(1)?, number(6)?, number(11)?);
        let fits = (2..=LONGEST_NAME).contains(&name_length);
        Fault::unless(fits, FORMAT, || format!("a name of {name_length} bytes at byte {at}"))?;
        let name = archive.get(at + HEADER..at + HEADER + name_length).ok_or_else(cut)?;
        let name =
            name.strip_suffix(&[0]).ok_or_else(|| Fault::new(FORMAT, "a name has no end"))?;
        if name == TRAILER {
            return Ok(entries);
        }
        let start = (at + HEADER + name_length).next_multiple_of(4);
        let bytes = archive.get(start..start + size).ok_or_else(cut)?;
        entries.push(Entry {
            name: String::from_utf8_lossy(name).into_owned(),
            mode: mode as u32,
            bytes: bytes.to_vec(),
        });
        at = (start + size).next_multiple_of(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_are_pinned() {
        let archive = write(&[Entry::file("a", 0o644, "xyz")]).unwrap();
        let expected = "070701\
            00000001000081A400000000000000000000000100000000\
            00000003000000000000000000000000000000000000000200000000\
            a\0xyz\0\
            070701\
            00000000000000000000000000000000000000010000000000000000\
            000000000000000000000000000000000000000B00000000\
            TRAILER!!!\0\0\0\0";
        let text = String::from_utf8(archive).unwrap();
        assert_eq!(
            (text.len(), text.trim_end_matches('\0')),
            (512, expected.trim_end_matches('\0'))
        );
    }

    #[test]
    fn other_bytes_are_refused() {
        let whole = write(&[Entry::file("a", 0o644, "xyz")]).unwrap();
        let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
        for length in 0..end {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
        let mut huge = whole.clone();
        huge[6 + 6 * 8..][..8].copy_from_slice(b"FFFFFFFF");
        assert_eq!(read(&huge).unwrap_err().to_string(), "cpio: cut short");
        assert!(write(&[Entry::file("", 0, "")]).is_err());
        assert!(write(&[Entry::file("a\0b", 0, "")]).is_err());
    }

    proptest! {
        #[test]
        fn archives_round_trip(
            files in prop::collection::vec(("[a-z/.]{1,40}", 0u32..0o7777, prop::collection::vec(any::<u8>(), 0..99)), 0..9),
        ) {
            let file = |(name, mode, bytes): (String, u32, Vec<u8>)| Entry::file(&name, mode, bytes);
            let entries: Vec<Entry> = files.into_iter().map(file).collect();
            prop_assert_eq!(read(&write(&entries).unwrap()).unwrap(), entries);
        }

        #[test]
        fn damage_is_read_or_refused(at in 0usize..300, byte: u8) {
            let mut archive = write(&[Entry::file("a", 0o644, vec![b'x'; 100])]).unwrap();
            if let Some(damaged) = archive.get_mut(at) {
                *damaged = byte;
            }
            let _ = read(&archive);
        }
    }
}
