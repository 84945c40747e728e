//! Opens files in an ISO 9660 image by their path, over anything that reads and seeks. Names are
//! taken from Rock Ridge where it is in use, else from Joliet, else as they are. It does not
//! follow symbolic links, undo relocated directories, or unpack zisofs.
//!
//! Source: see [`super`].

use std::io::{self, Read, Seek, SeekFrom};

use super::entry::{Entry, Kind};
use super::record::{apply, read_at, records, rock_ridge, system_use};
use super::{DESCRIPTORS, DIRECTORY, FORMAT, MORE_EXTENTS, SECTOR, STANDARD_ID, names};
use crate::Fault;
use crate::fields::Fields;
use crate::units::Bytes;

/// Descriptors end within the first few sectors behind the boot loader's.
const MOST_DESCRIPTORS: usize = 32;

/// An open image.
pub struct Image<R> {
    reader: R,
    label: String,
    size: Bytes,
    root: Entry,
    naming: Naming,
}

/// Where names come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// Rock Ridge, its entries this many bytes into the system use area.
    RockRidge(usize),
    Joliet,
    Plain,
}

impl<R: Read + Seek> Image<R> {
    /// Reads the volume descriptors. A fault is an `InvalidData`.
    pub fn open(mut reader: R) -> io::Result<Image<R>> {
        let (mut primary, mut joliet) = (None, None);
        for i in 0..MOST_DESCRIPTORS {
            let sector = read_at(&mut reader, ((DESCRIPTORS + i) * SECTOR) as u64, SECTOR)?;
            Fault::unless(&sector[1..6] == STANDARD_ID, FORMAT, || {
                format!("sector {} is not a volume descriptor", DESCRIPTORS + i)
            })?;
            match sector[0] {
                1 if primary.is_none() => primary = Some(sector),
                2 if matches!(&sector[88..91], b"%/@" | b"%/C" | b"%/E") => joliet = Some(sector),
                255 => break,
                _ => {}
            }
        }
        let primary = primary.ok_or_else(|| Fault::new(FORMAT, "no primary volume descriptor"))?;
        let block = Fields::of(FORMAT, &primary).le16(128)?;
        Fault::unless(usize::from(block) == SECTOR, FORMAT, || format!("blocks of {block} bytes"))?;
        let label = String::from_utf8_lossy(&primary[40..72]).trim_end().to_string();
        let blocks = Fields::of(FORMAT, &primary).le32(80)?;
        let size = Bytes(u64::from(blocks) * SECTOR as u64);
        let root = root_of(&primary)?;
        let naming = rock_ridge(&mut reader, &root)?;
        let (root, naming) = match (naming, joliet) {
            (Some(skip), _) => (root, Naming::RockRidge(skip)),
            (None, Some(joliet)) => (root_of(&joliet)?, Naming::Joliet),
            (None, None) => (root, Naming::Plain),
        };
        Ok(Image { reader, label, size, root, naming })
    }

    /// The volume's label, `cidata`.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The volume space size: a complete image is not shorter.
    pub fn size(&self) -> Bytes {
        self.size
    }

    /// The root directory.
    pub fn root(&self) -> &Entry {
        &self.root
    }

    /// The entries of a directory, in the order of the image.
    pub fn entries(&mut self, directory: &Entry) -> io::Result<Vec<Entry>> {
        Fault::unless(directory.kind == Kind::Directory, FORMAT, || {
            format!("`{}` is not a directory", directory.name)
        })?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut unfinished = false;
        for record in records(&mut self.reader, directory)? {
            let fields = Fields::of(FORMAT, &record);
            let (sector, length) = (u64::from(fields.le32(2)?), u64::from(fields.le32(10)?));
            let extent = (sector * SECTOR as u64, length);
            let flags = fields.u8(25)?;
            let name = fields.slice(33, fields.u8(32)?.into())?;
            if matches!(name, [0] | [1]) {
                continue;
            }
            match entries.last_mut().filter(|_| unfinished) {
                Some(entry) => {
                    entry.size = Bytes(entry.size.0 + length);
                    entry.extents.push(extent);
                }
                None => {
                    let kind = if flags & DIRECTORY == 0 { Kind::File } else { Kind::Directory };
                    let mut entry = Entry {
                        name: match self.naming {
                            Naming::Joliet => names::from_ucs2(name),
                            _ => String::from_utf8_lossy(name).into_owned(),
                        },
                        kind,
                        mode: None,
                        size: Bytes(length),
                        extents: vec![extent],
                    };
                    entry.name = names::without_version(&entry.name).to_string();
                    if let Naming::RockRidge(skip) = self.naming {
                        let system_use = system_use(&mut self.reader, &record, skip)?;
                        apply(&system_use, &mut entry)?;
                    }
                    entries.push(entry);
                }
            }
            unfinished = flags & MORE_EXTENTS != 0;
        }
        Ok(entries)
    }

    /// The entry at a `/`-separated path; `None` where there is none. Case matters.
    pub fn find(&mut self, path: &str) -> io::Result<Option<Entry>> {
        let mut at = self.root.clone();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            if at.kind != Kind::Directory {
                return Ok(None);
            }
            match self.entries(&at)?.into_iter().find(|entry| entry.name == part) {
                Some(entry) => at = entry,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// The contents of a file.
    pub fn contents<'a>(&'a mut self, file: &Entry) -> Contents<'a, R> {
        let mut extents = file.extents.clone();
        extents.reverse();
        Contents { reader: &mut self.reader, extents }
    }
}

/// Reads a file of an image.
pub struct Contents<'a, R> {
    reader: &'a mut R,
    /// What is still to be read, the next last.
    extents: Vec<(u64, u64)>,
}

impl<R: Read + Seek> Read for Contents<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.extents.last().is_some_and(|(_, length)| *length == 0) {
            self.extents.pop();
        }
        let Some((at, length)) = self.extents.last_mut() else { return Ok(0) };
        let most = usize::try_from(*length).unwrap_or(usize::MAX).min(buffer.len());
        self.reader.seek(SeekFrom::Start(*at))?;
        let n = self.reader.read(&mut buffer[..most])?;
        if n == 0 && most > 0 {
            return Err(Fault::new(FORMAT, "the image ends within a file").into());
        }
        *at += n as u64;
        *length -= n as u64;
        Ok(n)
    }
}

/// The root as a volume descriptor has it.
fn root_of(descriptor: &[u8]) -> Result<Entry, Fault> {
    let fields = Fields::of(FORMAT, descriptor);
    let (sector, length) = (fields.le32(158)?, fields.le32(166)?);
    Ok(Entry {
        name: String::new(),
        kind: Kind::Directory,
        mode: None,
        size: Bytes(length.into()),
        extents: vec![(u64::from(sector) * SECTOR as u64, length.into())],
    })
}

#[cfg(test)]
mod tests {
    use super::super::write::{File, Volume};
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn read_all(image: &[u8], path: &str) -> Option<Vec<u8>> {
        let mut image = Image::open(Cursor::new(image)).unwrap();
        let entry = image.find(path).unwrap()?;
        let mut bytes = Vec::new();
        image.contents(&entry).read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    fn sample() -> Vec<u8> {
        let file = |path: &str, n| File { path: path.into(), bytes: vec![b'x'; n] };
        let files = vec![file("user-data", 3000), file("a/b/c.txt", 5), file("empty", 0)];
        Volume { label: "cidata".into(), time: 0, files }.write().unwrap()
    }

    #[test]
    fn all_three_views_have_the_files() {
        let mut image = sample();
        let shown = |image: &[u8]| {
            let mut image = Image::open(Cursor::new(image.to_vec())).unwrap();
            assert_eq!(image.label(), "cidata");
            let root = image.root().clone();
            let entries = image.entries(&root).unwrap();
            entries.iter().map(|e| (e.name.clone(), e.size.0, e.mode)).collect::<Vec<_>>()
        };
        let [a, empty, user] = &shown(&image)[..] else { panic!() };
        assert_eq!((a.0.as_str(), a.2), ("a", Some(0o040_555)));
        assert_eq!((empty.0.as_str(), empty.1), ("empty", 0));
        assert_eq!((user.0.as_str(), user.1, user.2), ("user-data", 3000, Some(0o100_444)));
        assert_eq!(read_all(&image, "/a/b/c.txt").unwrap(), b"xxxxx");
        assert_eq!(read_all(&image, "a/b/d.txt"), None);
        // Without the name of Rock Ridge, Joliet is next.
        let at = image.windows(10).position(|w| w == b"RRIP_1991A").unwrap();
        image[at] = b'x';
        assert_eq!(shown(&image)[2].0, "user-data");
        assert_eq!(read_all(&image, "a/b/c.txt").unwrap(), b"xxxxx");
        image[17 * SECTOR + 88] = 0;
        assert_eq!(shown(&image)[2].0, "USER_DATA");
        assert_eq!(read_all(&image, "A/B/C.TXT").unwrap(), b"xxxxx");
    }

    #[test]
    fn extents_join() {
        let mut image = sample();
        // Of the two plain records behind `a`, make the first one extent of the second.
        let at = image.windows(9).position(|w| w == b"EMPTY.;1\0").unwrap() - 33;
        let user = image.windows(12).position(|w| w == b"USER_DATA.;1").unwrap() - 33;
        let (sector, length) =
            (image[user + 2..user + 10].to_vec(), image[user + 10..user + 18].to_vec());
        image[at + 2..at + 10].copy_from_slice(&sector);
        image[at + 10..at + 18].copy_from_slice(&length);
        image[at + 25] = MORE_EXTENTS;
        assert_eq!(read_all(&image, "empty").unwrap().len(), 6000);
        assert_eq!(read_all(&image, "user-data"), None);
    }

    #[test]
    fn other_files_are_refused() {
        for image in [&[0; 40_000][..], &[0; 100], &sample()[..17 * SECTOR]] {
            assert!(Image::open(Cursor::new(image)).is_err());
        }
    }

    proptest! {
        #[test]
        fn files_round_trip(names in prop::collection::btree_set("([a-z]{1,3}/){0,2}[A-Za-z.-]{1,60}x", 1..30)) {
            let file = |path: &String| File { path: path.clone(), bytes: path.repeat(50).into_bytes() };
            let volume = Volume { label: "x".into(), time: 1, files: names.iter().map(file).collect() };
            // A name may be both a file and a directory.
            if let Ok(image) = volume.write() {
                for file in volume.files {
                    prop_assert_eq!(read_all(&image, &file.path), Some(file.bytes));
                }
            }
        }

        #[test]
        fn damage_is_read_or_refused(at in 16 * SECTOR..30 * SECTOR, byte: u8) {
            let mut image = sample();
            if let Some(damaged) = image.get_mut(at) {
                *damaged = byte;
            }
            if let Ok(mut image) = Image::open(Cursor::new(image)) {
                let _ = image.find("a/b/c.txt");
            }
        }
    }
}
