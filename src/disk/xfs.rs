//! XFS by mkfs.xfs of the tools tree and a prototype file, which needs no privileges. What a
//! prototype file cannot say is refused rather than lost: hard links and extended attributes.
//! File times become the epoch: mkfs.xfs takes them from the clock, and [`normalize`]
//! puts that right together with the random generation numbers.
//!
//! Source: `man mkfs.xfs` 6.13, "-p protofile_options".

use std::fs::File;
use std::io::{BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tar::EntryType;

use crate::error::{Context, Error, Result, anyhow, bail, with_hint};
use crate::files::sparse::data_extents;
use crate::format::xfs::normalize;
use crate::format::xfs::superblock::{LENGTH, Superblock};
use crate::stage_context::StageContext;
use crate::tools::ToolsTree;
use crate::units::Bytes;

use super::layout::Filesystem;
use super::part::{Meta, Part};
use super::source::entries;

/// What Linux 6.1 reads, as xfsprogs itself lists it.
const FEATURES: &str = "usr/share/xfsprogs/mkfs/lts_6.1.conf";
/// mkfs.xfs would choose these by the host's processors and disk.
const PINNED: [&str; 8] = ["-b", "size=4096", "-s", "size=512", "-l", "size=64m", "-i", "size=512"];
/// The most an allocation group may have.
const GROUP: Bytes = Bytes(1 << 40);

/// A directory of the prototype, with what is in it.
#[derive(Default)]
struct Prototype {
    /// The lines, each with its depth.
    text: Vec<u8>,
    /// The directory the next line is in.
    at: Vec<Vec<u8>>,
    /// Paths of directories with the sticky bit, which the prototype cannot say.
    sticky: Vec<(String, u32)>,
}

/// Makes `part` an XFS in the sparse file `image`. Uses files in `context.work`.
pub fn make(
    image: &Path,
    filesystem: &Filesystem,
    part: &Part,
    tools: &ToolsTree,
    context: &StageContext,
) -> Result<()> {
    if let Some(one) = part.attributes.first() {
        let path = String::from_utf8_lossy(&one.path);
        return Err(use_ext4(
            filesystem,
            anyhow!(
                "`/{path}` has the extended attribute `{}`, which mkfs.xfs cannot set",
                one.name
            ),
        ));
    }
    let directory = context.scratch("files");
    std::fs::create_dir(&directory).with_context(|| format!("making {}", directory.display()))?;
    let prototype = prototype(filesystem, part, &directory)?;
    let file = context.scratch("prototype");
    std::fs::write(&file, &prototype.text)
        .with_context(|| format!("writing {}", file.display()))?;
    let groups = filesystem.size.0.div_ceil(GROUP.0).max(4);
    let mut command = tools
        .command("usr/sbin/mkfs.xfs", context.settings.epoch)
        .args(["-q", "-f", "-m", &format!("uuid={}", filesystem.uuid)])
        .args(PINNED)
        .args(["-d", &format!("agcount={groups},noalign"), "-c"])
        .arg(format!("options={}", tools.file(FEATURES).display()))
        .args(["-p", &format!("slashes_are_spaces=1,file={}", file.display())]);
    if !filesystem.label.is_empty() {
        command = command.args(["-L", &filesystem.label]);
    }
    command.arg(image).run(&context.log, &context.cancel)?;
    let mut command = tools.command("usr/sbin/xfs_db", context.settings.epoch).arg("-x");
    for (path, mode) in &prototype.sticky {
        command = command.args(["-c", &format!("path {path}")]);
        command = command.args(["-c", &format!("write core.mode 0{mode:o}")]);
    }
    if !prototype.sticky.is_empty() {
        command.arg(image).run(&context.log, &context.cancel)?;
    }
    normalize_inodes(image, context.settings.epoch)
        .with_context(|| format!("normalizing the inodes of {}", image.display()))
}

/// Sets times and generations of all inodes in `image`, see [`normalize`].
fn normalize_inodes(image: &Path, epoch: u64) -> Result<()> {
    let file = File::options().read(true).write(true).open(image).context("opening it")?;
    let mut start = [0; LENGTH];
    file.read_exact_at(&mut start, 0).context("reading the superblock")?;
    let superblock = Superblock::read(&start)?;
    let inode = superblock.inode_size.0;
    let mut buffer = vec![0; 1 << 20];
    for (start, length) in data_extents(&file).context("looking for data")? {
        let (mut at, end) = (start / inode * inode, start + length);
        while at < end {
            let n = (buffer.len() as u64).min(end - at).next_multiple_of(inode) as usize;
            let bytes = &mut buffer[..n];
            file.read_exact_at(bytes, at).context("reading it")?;
            normalize::inodes(&superblock, bytes, Bytes(at), epoch)
                .try_for_each(|(at, inode)| file.write_all_at(&inode, at.0))
                .context("writing it")?;
            at += n as u64;
        }
    }
    Ok(())
}

fn use_ext4(filesystem: &Filesystem, error: Error) -> Error {
    with_hint(error, format!("write `filesystem = \"ext4\"` for `{}`", filesystem.name))
}

/// The prototype of a tar, whose files are copied into `directory` under numbers.
fn prototype(filesystem: &Filesystem, part: &Part, directory: &Path) -> Result<Prototype> {
    let path = part.file()?;
    let tar = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut prototype = Prototype::default();
    let mut root = None;
    let mut count = 0u64;
    entries(BufReader::with_capacity(1 << 18, tar), |path, meta, content| {
        if path.is_empty() {
            root = Some(meta);
            return Ok(());
        }
        let source: PathBuf = directory.join(count.to_string());
        if meta.kind.is_file() {
            count += 1;
            // mkfs.xfs asks the file system where the copy has holes.
            let mut copy = || -> std::io::Result<()> {
                let copy = File::create_new(&source)?;
                copy.set_len(meta.size)?;
                content.write_to(&copy, 0)
            };
            copy().with_context(|| format!("writing {}", source.display()))?;
        }
        prototype.add(path, &meta, &source).map_err(|error| use_ext4(filesystem, error))
    })?;
    prototype.climb(0);
    prototype.text.extend(b"$\n");
    let root = root.context("reading a tar without a root")?;
    if root.mode & 0o1000 != 0 {
        prototype.sticky.push(("/".to_string(), 0o40000 | root.mode));
    }
    let mut text =
        format!("/\n0 0\n{} {} {}\n", mode('d', root.mode), root.uid, root.gid).into_bytes();
    text.append(&mut prototype.text);
    Ok(Prototype { text, ..prototype })
}

impl Prototype {
    /// Closes directories until `depth` are open.
    fn climb(&mut self, depth: usize) {
        while self.at.len() > depth {
            self.at.pop();
            self.text.extend(b"$\n");
        }
    }

    fn add(&mut self, path: &[u8], meta: &Meta, source: &Path) -> Result<()> {
        let shown = String::from_utf8_lossy(path).into_owned();
        let mut parts: Vec<Vec<u8>> =
            path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
        let name = parts.pop().context("reading an empty path")?;
        let shared = self.at.iter().zip(&parts).take_while(|(a, b)| a == b).count();
        self.climb(shared);
        if self.at != parts {
            bail!("the files of `{shown}`'s directory do not follow it");
        }
        let kind = match meta.kind {
            EntryType::Directory => 'd',
            EntryType::Symlink => 'l',
            EntryType::Block => 'b',
            EntryType::Char => 'c',
            EntryType::Fifo => 'p',
            EntryType::Link => bail!("`/{shown}` is a hard link, which mkfs.xfs cannot make"),
            _ => '-',
        };
        let plain =
            |bytes: &[u8]| !bytes.iter().any(|byte| byte.is_ascii_whitespace() || *byte == 0);
        if !plain(&meta.link) || name.iter().any(|byte| byte.is_ascii_control()) || name == b"$" {
            bail!("`/{}` or its target has a name mkfs.xfs cannot read", shown.escape_debug());
        }
        if meta.mode & 0o1000 != 0 {
            if kind != 'd' || !plain(path) {
                bail!("`/{shown}` has the sticky bit, which mkfs.xfs cannot set there");
            }
            self.sticky.push((format!("/{shown}"), 0o40000 | meta.mode));
        }
        // A slash stands for a space.
        self.text.extend(name.iter().map(|byte| if *byte == b' ' { b'/' } else { *byte }));
        write!(self.text, " {} {} {}", mode(kind, meta.mode), meta.uid, meta.gid)?;
        match kind {
            'd' => self.at.push(name),
            'b' | 'c' => write!(self.text, " {} {}", meta.device.0, meta.device.1)?,
            'l' => {
                self.text.push(b' ');
                self.text.extend(&meta.link);
            }
            '-' => {
                if !plain(source.as_os_str().as_encoded_bytes()) {
                    bail!("mkfs.xfs reads no path with spaces: {}", source.display());
                }
                write!(self.text, " {}", source.display())?;
            }
            _ => {}
        }
        self.text.push(b'\n');
        Ok(())
    }
}

/// `d-g750`: type, set-user-id, set-group-id, permissions.
fn mode(kind: char, mode: u32) -> String {
    let user = if mode & 0o4000 != 0 { 'u' } else { '-' };
    let group = if mode & 0o2000 != 0 { 'g' } else { '-' };
    format!("{kind}{user}{group}{:03o}", mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: u32) -> Meta {
        Meta { mode, ..Meta::file(0, 0) }
    }

    #[test]
    fn a_prototype_opens_and_closes_directories() {
        let mut prototype = Prototype::default();
        let source = Path::new("/s/0");
        prototype.add(b"a", &Meta::directory(0o1777, 0), source).unwrap();
        prototype.add(b"a/b c", &file(0o4755), source).unwrap();
        prototype.add(b"d", &file(0o644), source).unwrap();
        let text = String::from_utf8(prototype.text).unwrap();
        assert_eq!(text, "a d--777 0 0\nb/c -u-755 0 0 /s/0\n$\nd ---644 0 0 /s/0\n");
        assert_eq!(prototype.sticky, [("/a".to_string(), 0o41777)]);
    }

    #[test]
    fn what_a_prototype_cannot_say_is_refused() {
        let refuse = |path: &str, meta: Meta| {
            let error = Prototype::default().add(path.as_bytes(), &meta, Path::new("/s"));
            error.unwrap_err().to_string()
        };
        let link = Meta { kind: EntryType::Link, link: b"x".to_vec(), ..file(0o644) };
        assert!(refuse("y", link).contains("is a hard link"));
        let link = Meta { kind: EntryType::Symlink, link: b"x y".to_vec(), ..file(0o777) };
        assert!(refuse("y", link).contains("cannot read"));
        assert!(refuse("y", file(0o1644)).contains("sticky"));
        assert!(refuse("a/b", file(0o644)).contains("do not follow"));
    }
}
