//! The files of an installation medium: of an ISO image, or of a directory that kuth keeps as a tar.
//! Each is read where it is; nothing is unpacked. It does not know what the files mean.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::artifact::ArtifactKind;
use crate::error::{Context, Hint, Result, anyhow, ensure, with_hint};
use crate::format::iso9660::Image;
pub use crate::format::iso9660::Kind;
use crate::units::Bytes;

/// The files, open.
pub enum Files {
    /// Those of an ISO image.
    Iso(Image<File>),
    /// Those of a directory, by their paths.
    Directory(File, BTreeMap<String, TarEntry>),
}

/// An entry of a directory's tar.
pub enum TarEntry {
    /// A file: the offset of its header in the tar and its length, in bytes.
    File(u64, u64),
    /// A directory.
    Directory,
    /// A symbolic link and its target.
    Link(String),
}

impl Files {
    /// Opens the object at `path`.
    pub fn open(path: &Path, kind: ArtifactKind) -> Result<Files> {
        let what = || format!("opening {}", path.display());
        let file = File::open(path).with_context(what)?;
        if kind == ArtifactKind::Directory {
            let entries = entries(&file).context("reading the directory")?;
            return Ok(Files::Directory(file, entries));
        }
        let length = file.metadata().with_context(what)?.len();
        let image = Image::open(file).context("reading the medium").hint(
            "a medium is an ISO 9660 image; what comes in an archive `unpack` makes a directory of",
        )?;
        if image.size().0 > length {
            let error = anyhow!(
                "the image is cut short: it has {} of {}",
                Bytes(length),
                Bytes(image.size().0)
            );
            return Err(with_hint(error, "get it again, and compare its checksum"));
        }
        Ok(Files::Iso(image))
    }

    /// The label of the image; empty where it has none.
    pub fn label(&self) -> &str {
        match self {
            Files::Iso(image) => image.label(),
            Files::Directory(..) => "",
        }
    }

    /// The names in `directory` (empty: the top); none where there is no such directory.
    pub fn names(&mut self, directory: &str) -> Result<Vec<(String, Kind)>> {
        match self {
            Files::Iso(image) => {
                let what = || format!("reading {directory}");
                let Some(entry) = image.find(directory).with_context(what)? else {
                    return Ok(Vec::new());
                };
                if entry.kind != Kind::Directory {
                    return Ok(Vec::new());
                }
                let entries = image.entries(&entry).with_context(what)?.into_iter();
                Ok(entries.map(|entry| (entry.name, entry.kind)).collect())
            }
            Files::Directory(_, entries) => {
                let below = match directory {
                    "" => String::new(),
                    directory => format!("{directory}/"),
                };
                let inside = entries.iter().filter_map(|(path, place)| {
                    let name = path.strip_prefix(&below).filter(|name| !name.contains('/'))?;
                    let kind = match place {
                        TarEntry::File(..) => Kind::File,
                        TarEntry::Directory => Kind::Directory,
                        TarEntry::Link(target) => Kind::Link(target.clone()),
                    };
                    Some((name.to_string(), kind))
                });
                Ok(inside.collect())
            }
        }
    }

    /// The file at `path`, of at most `most` bytes; `None` where there is none.
    pub fn read(&mut self, path: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let there = self.copy(path, most, &mut bytes)?;
        Ok(there.then_some(bytes))
    }

    /// Whether there is a file at `path`; if so, it goes to `to`. It has at most `most` bytes.
    pub fn copy(&mut self, path: &str, most: u64, to: &mut dyn Write) -> Result<bool> {
        let what = || format!("reading {path}");
        let small = |size: u64| {
            ensure!(size <= most, "{path} has {}, more than {}", Bytes(size), Bytes(most));
            Ok(())
        };
        match self {
            Files::Iso(image) => {
                let entry = image.find(path).with_context(what)?;
                let Some(entry) = entry.filter(|it| it.kind == Kind::File) else {
                    return Ok(false);
                };
                small(entry.size.0)?;
                pour(image.contents(&entry), to).with_context(what)?;
            }
            Files::Directory(file, entries) => {
                let Some(TarEntry::File(at, size)) = entries.get(path) else { return Ok(false) };
                small(*size)?;
                file.seek(SeekFrom::Start(*at)).with_context(what)?;
                let mut archive = tar::Archive::new(file);
                let mut members = archive.entries().with_context(what)?;
                let mut entry = members.next().context("it is gone").with_context(what)??;
                pour(&mut entry, to).with_context(what)?;
            }
        }
        Ok(true)
    }
}

/// Copies in large pieces.
fn pour(from: impl Read, to: &mut dyn Write) -> std::io::Result<u64> {
    std::io::copy(&mut BufReader::with_capacity(1 << 18, from), to)
}

/// Where everything in a directory's tar is.
fn entries(file: &File) -> Result<BTreeMap<String, TarEntry>> {
    let mut entries = BTreeMap::new();
    let mut archive = tar::Archive::new(file.try_clone()?);
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let path = entry.path_bytes();
        let path = String::from_utf8_lossy(&path);
        let path = path.trim_start_matches("./").trim_end_matches('/').to_string();
        let kind = entry.header().entry_type();
        let place = if kind.is_dir() {
            TarEntry::Directory
        } else if kind.is_symlink() {
            let target = entry.link_name_bytes().unwrap_or_default();
            TarEntry::Link(String::from_utf8_lossy(&target).into_owned())
        } else {
            TarEntry::File(entry.raw_header_position(), entry.size())
        };
        entries.insert(path, place);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::iso9660::{File as Member, Volume};

    const TEXT: &str = "Debian x";

    fn iso(directory: &Path) -> std::path::PathBuf {
        let file = |path: &str| Member { path: path.into(), bytes: TEXT.into() };
        let files = vec![file(".disk/info"), file("dists/trixie/Release"), file("pool/a b+c")];
        let volume = Volume { label: "Debian 13".into(), time: 0, files };
        let path = directory.join("x.iso");
        std::fs::write(&path, volume.write().unwrap()).unwrap();
        path
    }

    fn tar(directory: &Path) -> std::path::PathBuf {
        let path = directory.join("x.tar");
        let mut builder = tar::Builder::new(File::create(&path).unwrap());
        let mut header = tar::Header::new_gnu();
        for name in [".disk/info", "dists/trixie/Release", "pool/a b+c"] {
            header.set_size(TEXT.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, TEXT.as_bytes()).unwrap();
        }
        header.set_size(0);
        header.set_entry_type(tar::EntryType::Directory);
        builder.append_data(&mut header, "dists/trixie/", std::io::empty()).unwrap();
        header.set_entry_type(tar::EntryType::Symlink);
        builder.append_link(&mut header, "dists/stable", "trixie").unwrap();
        builder.into_inner().unwrap();
        path
    }

    #[test]
    fn an_image_and_a_directory_have_the_same_files() {
        let directory = tempfile::tempdir().unwrap();
        let image = Files::open(&iso(directory.path()), ArtifactKind::File).unwrap();
        assert_eq!(image.label(), "Debian 13");
        let kept = Files::open(&tar(directory.path()), ArtifactKind::Directory).unwrap();
        for mut files in [image, kept] {
            let names = files.names("dists").unwrap();
            assert!(names.contains(&("trixie".to_string(), Kind::Directory)), "{names:?}");
            assert_eq!(files.names("nothing").unwrap(), []);
            for path in [".disk/info", "pool/a b+c"] {
                assert_eq!(files.read(path, 8).unwrap().unwrap(), TEXT.as_bytes());
                assert!(files.read(path, 7).is_err());
            }
            assert_eq!(files.read("pool/x", 9).unwrap(), None);
            assert_eq!(files.read("dists/trixie", 9).unwrap(), None);
        }
        let mut kept = Files::open(&tar(directory.path()), ArtifactKind::Directory).unwrap();
        let link = ("stable".to_string(), Kind::Link("trixie".into()));
        assert!(kept.names("dists").unwrap().contains(&link));
    }

    #[test]
    fn a_short_image_and_another_file_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = iso(directory.path());
        let length = path.metadata().unwrap().len();
        File::options().write(true).open(&path).unwrap().set_len(length - 2048).unwrap();
        let error = Files::open(&path, ArtifactKind::File).err().unwrap();
        assert!(error.to_string().contains("is cut short"), "{error:#}");
        std::fs::write(&path, vec![0; 100_000]).unwrap();
        let error = Files::open(&path, ArtifactKind::File).err().unwrap();
        assert!(format!("{error:#}").contains("sector 16 is not a volume descriptor"), "{error:#}");
    }
}
