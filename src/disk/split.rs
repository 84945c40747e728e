//! Splits the tar of a tree into one tar for each filesystem, in one pass and with little memory.
//! A file goes to the filesystem with the longest mount point above it; the mount point itself
//! becomes the root of its filesystem and an empty directory in the one it is mounted in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use crate::cancel::Cancel;
use crate::error::{Context, Result, anyhow, bail, ensure, with_hint};
use crate::tree::{Content, Kind, Metadata, relative};

use super::config::Format;
use super::layout::Layout;
use super::part::{Part, PartWriter};
use super::source::entries;
use super::survey::Survey;

/// The longest os-release that is read.
const OS_RELEASE: u64 = 1 << 16;

/// What of a filesystem's tar is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The file.
    Tar,
    /// Its digest alone.
    Digest,
    /// Nothing.
    Nothing,
}

/// The tars being written.
pub struct Splitter {
    /// One for each filesystem of the layout, in its order; `None` for swap areas, and where nothing is
    /// wanted.
    writers: Vec<Option<PartWriter>>,
    /// Index into `writers` by mount point, relative to the root.
    mounts: BTreeMap<Vec<u8>, usize>,
    /// Every directory of the whole tree.
    directories: BTreeSet<Vec<u8>>,
    /// Files of the tree that others take the place of.
    replaced: BTreeSet<Vec<u8>>,
    survey: Survey,
    /// Hard links whose targets are in other filesystems.
    across: Vec<Across>,
    epoch: u64,
}

/// A hard link that has to be a copy.
struct Across {
    /// The path of the file that it is a name of.
    target: Vec<u8>,
    /// Its filesystem, and its path there.
    index: usize,
    inner: Vec<u8>,
}

impl Splitter {
    /// Makes the tars in `directory`, of each filesystem what `wanted` says of its index. Files at the
    /// paths `replaced` are left out of the tree. What is added gets the time `epoch`.
    pub fn new(
        layout: &Layout,
        directory: &Path,
        epoch: u64,
        replaced: impl IntoIterator<Item = String>,
        wanted: impl Fn(usize) -> Wanted,
    ) -> Result<Splitter> {
        let mut writers = Vec::new();
        let mut mounts = BTreeMap::new();
        for (index, filesystem) in layout.filesystems.iter().enumerate() {
            let path = directory.join(format!("part-{index}.tar"));
            writers.push(match (filesystem.format, wanted(index)) {
                (Format::Swap, _) | (_, Wanted::Nothing) => None,
                (_, Wanted::Tar) => Some(PartWriter::create(&path)?),
                (_, Wanted::Digest) => Some(PartWriter::hash(&path)),
            });
            if let Some(mount) = &filesystem.mount {
                mounts.insert(relative(mount.as_bytes())?, index);
            }
        }
        let replaced: Result<_> =
            replaced.into_iter().map(|path| relative(path.as_bytes())).collect();
        let (directories, survey) = (BTreeSet::new(), Survey::default());
        let across = Vec::new();
        Ok(Splitter { writers, mounts, directories, replaced: replaced?, survey, across, epoch })
    }

    /// Takes the whole tree.
    pub fn stream(&mut self, tar: impl Read, cancel: &Cancel) -> Result<()> {
        entries(tar, |path, meta, content| {
            cancel.check()?;
            self.take(path, meta, content)
        })
    }

    /// Adds the files that hard links name in other filesystems than theirs, as copies; of several such
    /// links in one filesystem the first is the copy, as no filesystem shares a file with another. `tar`
    /// is the tree again. Returns how many there are of them.
    pub fn copy_links(
        &mut self,
        mut tar: impl FnMut() -> Result<File>,
        cancel: &Cancel,
    ) -> Result<usize> {
        let count = self.across.len();
        // Once for each filesystem that has such links: a content can be read once.
        while let Some(index) = self.across.first().map(|across| across.index) {
            let (mine, others): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.across).into_iter().partition(|it| it.index == index);
            self.across = others;
            let mut names: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
            for across in mine {
                names.entry(across.target).or_default().push(across.inner);
            }
            entries(BufReader::new(tar()?), |path, meta, content| {
                cancel.check()?;
                let Some(inner) = names.remove(path) else { return Ok(()) };
                let (first, rest) = inner.split_first().context("a link without a name")?;
                self.write(index, first, &meta, content.stored())?;
                for name in rest {
                    let link = Metadata { kind: Kind::Link, link: first.clone(), ..meta.clone() };
                    self.write(index, name, &link, std::io::empty())?;
                }
                Ok(())
            })?;
            if let Some((target, _)) = names.first_key_value() {
                bail!("a hard link to `{}`, which the tree does not have", show(target));
            }
        }
        Ok(count)
    }

    /// What was seen so far.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    fn take(&mut self, path: &[u8], mut meta: Metadata, content: &mut Content<'_>) -> Result<()> {
        if self.replaced.contains(path) {
            return Ok(());
        }
        let (index, inner) = self.place(path)?;
        if meta.kind == Kind::Link {
            let target = relative(&meta.link)?;
            let own = inner.clone();
            let (other, inner) = self.place(&target)?;
            if other != index {
                self.survey.see(path, None);
                self.across.push(Across { target, index, inner: own });
                return Ok(());
            }
            meta.link = inner;
        }
        if meta.kind == Kind::Directory {
            self.directories.insert(path.to_vec());
        } else if let Some(mount) = self.mounts.keys().find(|mount| is_inside(mount, path)) {
            let error = match *mount == path {
                true => {
                    anyhow!("the mount point `/{}` is not a directory in the tree", show(path))
                }
                false => anyhow!(
                    "the mount point `/{}` lies below `/{}`, which is not a directory in the tree",
                    show(mount),
                    show(path)
                ),
            };
            return Err(with_hint(
                error,
                "mount the filesystem where the link leads, or remove it",
            ));
        }
        let link = (meta.kind == Kind::Symlink).then_some(meta.link.as_slice());
        self.survey.see(path, link);
        // So short a file has no holes.
        if path == b"usr/lib/os-release" && meta.size <= OS_RELEASE && meta.kind.is_file() {
            let mut text = Vec::new();
            content.read_to_end(&mut text).context("reading os-release")?;
            self.survey.see_os_release(&String::from_utf8_lossy(&text));
            return self.write(index, &inner, &meta, &text[..]);
        }
        self.write(index, &inner, &meta, content.stored())?;
        if inner.is_empty() && !path.is_empty() {
            let empty = Metadata { attributes: Vec::new(), ..meta };
            self.mount_point(path, &empty)?;
        }
        Ok(())
    }

    /// The filesystem that holds `path`, and the path in it.
    fn place(&self, path: &[u8]) -> Result<(usize, Vec<u8>)> {
        let mut end = path.len();
        loop {
            if let Some(index) = self.mounts.get(&path[..end]) {
                let inner = path[end..].strip_prefix(b"/").unwrap_or(&path[end..]);
                return Ok((*index, inner.to_vec()));
            }
            end = match path[..end].iter().rposition(|byte| *byte == b'/') {
                Some(slash) => slash,
                None if end > 0 => 0,
                None => bail!("no filesystem is mounted at /"),
            };
        }
    }

    /// Adds the empty directory that a filesystem is mounted on.
    fn mount_point(&mut self, path: &[u8], meta: &Metadata) -> Result<()> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&path[..0], path),
        };
        let (index, mut inner) = self.place(parent)?;
        if !inner.is_empty() {
            inner.push(b'/');
        }
        inner.extend(name);
        self.write(index, &inner, meta, std::io::empty())
    }

    fn write(
        &mut self,
        index: usize,
        inner: &[u8],
        meta: &Metadata,
        content: impl Read,
    ) -> Result<()> {
        match self.writers.get_mut(index) {
            Some(Some(writer)) => writer.add(inner, meta, content),
            _ => Ok(()),
        }
    }

    /// Adds a file of root's, with the directories above it that are not there.
    pub fn add_file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.add(path, &Metadata::file(content.len() as u64, self.epoch), content)
    }

    /// Adds a symbolic link to `target`, likewise.
    pub fn add_link(&mut self, path: &str, target: &str) -> Result<()> {
        self.add(path, &Metadata::symlink(target.as_bytes().to_vec(), self.epoch), &[])
    }

    fn add(&mut self, path: &str, meta: &Metadata, content: &[u8]) -> Result<()> {
        let path = relative(path.as_bytes())?;
        if let Some(slash) = path.iter().rposition(|byte| *byte == b'/') {
            self.add_directory(&path[..slash])?;
        }
        let (index, inner) = self.place(&path)?;
        self.write(index, &inner, meta, content)
    }

    /// Adds a directory, with those above it, unless it is there.
    fn add_directory(&mut self, path: &[u8]) -> Result<()> {
        if self.directories.contains(path) {
            return Ok(());
        }
        if let Some(slash) = path.iter().rposition(|byte| *byte == b'/') {
            self.add_directory(&path[..slash])?;
        }
        let meta = Metadata::directory(0o755, self.epoch);
        let (index, inner) = self.place(path)?;
        self.write(index, &inner, &meta, std::io::empty())?;
        if inner.is_empty() && !path.is_empty() {
            self.mount_point(path, &meta)?;
        }
        self.directories.insert(path.to_vec());
        Ok(())
    }

    /// Adds the mount points that the tree lacks and ends the tars; in the layout's order,
    /// `None` for swap areas, and where nothing was wanted.
    pub fn finish(mut self) -> Result<Vec<Option<Part>>> {
        for mount in self.mounts.keys().cloned().collect::<Vec<_>>() {
            self.add_directory(&mount)?;
        }
        ensure!(self.writers.iter().flatten().count() >= 1, "there is no filesystem");
        let epoch = self.epoch;
        let ended = self.writers.into_iter().map(|writer| {
            let Some(mut writer) = writer else { return Ok(None) };
            if !writer.has_root() {
                writer.add(b"", &Metadata::directory(0o755, epoch), std::io::empty())?;
            }
            writer.finish().map(Some)
        });
        ended.collect()
    }
}

/// Whether `path` is `directory` or below it.
fn is_inside(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::config::{Firmware, Table};
    use super::super::layout::Filesystem;
    use super::*;
    use crate::error::hints;
    use crate::format::Guid;
    use crate::units::Bytes;
    use tar::{Builder, EntryType, Header};

    fn layout(mounts: &[&str]) -> Layout {
        let filesystem = |mount: &&str| Filesystem {
            name: mount.to_string(),
            group: None,
            format: Format::Ext4,
            offset: Bytes(0),
            size: Bytes::MIB,
            mount: Some(mount.to_string()),
            options: Vec::new(),
            label: String::new(),
            uuid: Guid::derived(mount, "test"),
            is_esp: false,
        };
        Layout {
            size: Bytes::GIB,
            table: Table::Gpt,
            firmware: vec![Firmware::Bios],
            partitions: Vec::new(),
            group: None,
            filesystems: mounts.iter().map(filesystem).collect(),
            cmdline: String::new(),
            tmpfs: Vec::new(),
            grow: None,
            swap_file: None,
        }
    }

    /// A tar from rows of path, type and link or content.
    fn tar(rows: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (path, kind, text) in rows {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o751);
            header.set_uid(3_000_000);
            header.set_gid(7);
            header.set_mtime(9);
            if kind.is_character_special() {
                header.set_device_major(5).unwrap();
                header.set_device_minor(1).unwrap();
            }
            if matches!(kind, EntryType::Link | EntryType::Symlink) {
                header.set_size(0);
                builder.append_link(&mut header, path, text).unwrap();
            } else {
                header.set_size(text.len() as u64);
                builder.append_data(&mut header, path, text.as_bytes()).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    /// What each part holds, one line an entry.
    fn split(mounts: &[&str], tar: &[u8]) -> Result<Vec<Vec<String>>> {
        let directory = tempfile::tempdir()?;
        let replaced = ["/etc/fstab".to_string()];
        let mut splitter =
            Splitter::new(&layout(mounts), directory.path(), 5, replaced, |_| Wanted::Tar)?;
        splitter.stream(tar, &Cancel::default())?;
        let whole = directory.path().join("tree.tar");
        std::fs::write(&whole, tar)?;
        splitter.copy_links(|| Ok(File::open(&whole)?), &Cancel::default())?;
        splitter.add_file("/etc/fstab", b"new")?;
        let parts = splitter.finish()?;
        let listed = parts.into_iter().flatten().map(|part| {
            let bytes = std::fs::read(part.file()?)?;
            assert_eq!(crate::digest::Digest::of(&bytes), part.digest);
            let mut lines = Vec::new();
            entries(&bytes[..], |path, meta, content| {
                let mut text = String::new();
                content.read_to_string(&mut text)?;
                let link = String::from_utf8_lossy(&meta.link).into_owned();
                let kind = meta.kind.as_byte() as char;
                lines.push(format!("{} {kind} {:o} {text}{link}", show(path), meta.mode));
                Ok(())
            })?;
            Ok(lines)
        });
        listed.collect()
    }

    const DIR: EntryType = EntryType::Directory;
    const FILE: EntryType = EntryType::Regular;

    #[test]
    fn files_go_to_the_longest_mount_point() {
        let tree = tar(&[
            ("./", DIR, ""),
            ("a", FILE, "1"),
            ("etc", DIR, ""),
            ("etc/fstab", FILE, "old"),
            ("var", DIR, ""),
            ("var/lib", DIR, ""),
            ("var/lib/x", FILE, "2"),
            ("var/log", DIR, ""),
            ("various", FILE, "3"),
        ]);
        let parts = split(&["/", "/var", "/var/lib"], &tree).unwrap();
        let root = [" 5 751 ", "a 0 751 1", "etc 5 751 ", "var 5 751 ", "various 0 751 3"];
        assert_eq!(parts[0], [&root[..], &["etc/fstab 0 644 new"]].concat());
        assert_eq!(parts[1], [" 5 751 ", "lib 5 751 ", "log 5 751 "]);
        assert_eq!(parts[2], [" 5 751 ", "x 0 751 2"]);
    }

    #[test]
    fn missing_mount_points_are_made_with_their_directories() {
        let parts = split(&["/", "/srv/data"], &tar(&[("./", DIR, "")])).unwrap();
        let root =
            [" 5 751 ", "etc 5 755 ", "etc/fstab 0 644 new", "srv 5 755 ", "srv/data 5 755 "];
        assert_eq!(parts[0], root);
        assert_eq!(parts[1], [" 5 755 "]);
    }

    #[test]
    fn long_names_links_and_devices_survive() {
        let long = format!("usr/{}", "n".repeat(150));
        let target = format!("t/{}", "l".repeat(160));
        let tree = tar(&[
            ("./", DIR, ""),
            ("usr", DIR, ""),
            (&long, FILE, "1"),
            ("usr/hard", EntryType::Link, &long),
            ("usr/soft", EntryType::Symlink, &target),
            ("usr/tty", EntryType::Char, ""),
            ("usr/pipe", EntryType::Fifo, ""),
        ]);
        let parts = split(&["/", "/usr"], &tree).unwrap();
        let inner = &long[4..];
        assert_eq!(
            parts[1],
            [
                " 5 751 ".to_string(),
                format!("{inner} 0 751 1"),
                format!("hard 1 751 {inner}"),
                format!("soft 2 751 {target}"),
                "tty 3 751 ".to_string(),
                "pipe 6 751 ".to_string(),
            ]
        );
    }

    #[test]
    fn hard_links_across_filesystems_are_copies_once_in_each() {
        let across = tar(&[
            ("./", DIR, ""),
            ("a", FILE, ""),
            ("b", EntryType::Link, "a"),
            ("opt", DIR, ""),
            ("opt/c", EntryType::Link, "a"),
            ("usr", DIR, ""),
            ("usr/d", EntryType::Link, "a"),
            ("usr/e", EntryType::Link, "a"),
        ]);
        let parts = split(&["/", "/usr", "/opt"], &across).unwrap();
        let names = |part: &[String]| {
            let two = |line: &String| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
            part.iter().map(two).filter(|it| !it.starts_with(' ')).collect::<Vec<_>>()
        };
        assert!(names(&parts[0]).contains(&"b 1".to_string()), "{parts:?}");
        assert_eq!(names(&parts[1]), ["d 0", "e 1"]);
        assert_eq!(names(&parts[2]), ["c 0"]);
        // As whole as the file itself.
        let content = |part: &[String], name: &str| {
            part.iter().find(|line| line.starts_with(name)).unwrap()[1..].to_string()
        };
        assert_eq!(content(&parts[0], "a "), content(&parts[1], "d "));
        let early = tar(&[("./", DIR, ""), ("usr", DIR, ""), ("usr/b", EntryType::Link, "none")]);
        let error = split(&["/", "/usr"], &early).unwrap_err();
        assert!(error.to_string().contains("which the tree does not have"), "{error}");
    }

    #[test]
    fn what_cannot_be_split_is_refused() {
        let below = tar(&[("./", DIR, ""), ("srv", EntryType::Symlink, "data")]);
        let error = split(&["/", "/srv/www"], &below).unwrap_err();
        let expected =
            "the mount point `/srv/www` lies below `/srv`, which is not a directory in the tree";
        assert_eq!(error.to_string(), expected);
        assert_eq!(hints(&error).len(), 1);
        // Not one whose name begins alike.
        let alike = tar(&[("./", DIR, ""), ("srv-old", EntryType::Symlink, "data")]);
        split(&["/", "/srv/www"], &alike).unwrap();
        let link = tar(&[("./", DIR, ""), ("usr", EntryType::Symlink, "x")]);
        let error = split(&["/", "/usr"], &link).unwrap_err();
        assert_eq!(error.to_string(), "the mount point `/usr` is not a directory in the tree");
        let error = split(&["/"], &tar(&[("./", DIR, "")])[..700]).unwrap_err();
        assert!(error.to_string().contains("reading the tree"), "{error:#}");
    }
}
