//! Reads the disk in an image file: qcow2 with its backing files, VMDK in one file or many, VDI, VHD,
//! or the disk as it is, which may be a file system alone. An image may name other files; they are
//! looked for in its own directory and nowhere else.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cancel::Progress;
use crate::error::{Context, Hint, Result, anyhow, ensure, with_hint};
use crate::files::sparse::write_data;
use crate::format::foreign;
use crate::format::probe::{ImageFormat, PROBE_LENGTH, probe};
use crate::format::vhd::FOOTER_LENGTH;
use crate::format::vhd::read::{DiskType, Footer};
use crate::format::vmdk::read::{Descriptor, Extent, LONGEST_DESCRIPTOR};
use crate::units::Bytes;

use crate::image::source::{Joined, Part, Plain, Shared, Source, Zeros, bytes, head};

mod blocks;
mod pick;
mod qcow2;
mod vdi;
mod vhd;
mod vmdk;

pub use pick::images;

use blocks::Blocks;

/// The most files in a chain of backing files.
const DEEPEST: usize = 16;

/// The bytes that are copied at a time.
const CHUNK: usize = 1 << 20;

/// An image that was opened.
pub struct Image {
    /// The disk in it.
    pub disk: Shared,
    /// Its format, for people: `qcow2`, `raw`.
    pub format: &'static str,
    /// The files that it is in, itself first.
    pub files: Vec<PathBuf>,
}

/// Which other files an image may need: backing files, extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherFiles {
    /// Those in its own directory.
    SameDirectory,
    /// None: it came alone.
    Refused,
}

/// Opens the image file `path`. Fails on what is not a disk, on formats that are not known, and on an image
/// that needs another file where there is none.
pub fn open(path: &Path, other_files: OtherFiles) -> Result<Image> {
    let mut opener = Opener { other_files, files: Vec::new() };
    let (disk, format) = opener.open(path, None)?;
    Ok(Image { disk, format, files: opener.files })
}

struct Opener {
    other_files: OtherFiles,
    files: Vec<PathBuf>,
}

impl Opener {
    /// The disk in `path`, whose format is known or has to be found out.
    fn open(&mut self, path: &Path, known: Option<&str>) -> Result<(Shared, &'static str)> {
        let shown = || path.file_name().unwrap_or_default().display().to_string();
        ensure!(self.files.len() < DEEPEST, "{}: more than {DEEPEST} images lie below", shown());
        ensure!(!self.files.iter().any(|file| file == path), "{} lies below itself", shown());
        self.files.push(path.to_path_buf());
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let file: Shared = Arc::new(Plain::new(file)?);
        let start = head(&*file, PROBE_LENGTH)?;
        if known != Some("raw")
            && let Some(foreign) = foreign::image(&start, &tail(&*file, foreign::TAIL)?)
        {
            let error = anyhow!("it is {}, which kuth does not read", foreign.name);
            return Err(with_hint(error, foreign.help));
        }
        let format = match known {
            Some("raw") => None,
            _ => probe(&start),
        };
        let name = match format {
            Some(ImageFormat::Qcow2) => "qcow2",
            Some(ImageFormat::Vmdk) => "vmdk",
            Some(ImageFormat::Vdi) => "vdi",
            Some(ImageFormat::Vhd) => "vhd",
            Some(ImageFormat::Squashfs) => "squashfs",
            _ if known != Some("raw") && is_fixed_vhd(&*file)? => "vhd",
            Some(other) if !is_disk(other) => return Err(no_image(other)),
            _ => "raw",
        };
        let disk = match name {
            "qcow2" => self.qcow2(path, file),
            "vmdk" => self.vmdk(path, file, &start),
            "vdi" => vdi::open(file, &start),
            "vhd" => vhd_disk(file),
            _ => Ok(file),
        };
        Ok((disk.with_context(|| format!("reading the {name} image {}", shown()))?, name))
    }

    fn qcow2(&mut self, path: &Path, file: Shared) -> Result<Shared> {
        let map = qcow2::Qcow2::open(&*file)?;
        let size = map.header().size.0;
        let backing = match map.header().backing_file.clone() {
            None => None,
            Some(backing) => {
                let format = backing.format.as_deref();
                let known = matches!(format, None | Some("raw" | "qcow2" | "vmdk" | "vdi" | "vpc"));
                ensure!(known, "the image below it is of the unknown format {format:?}");
                let path = self.named(path, &backing.name)?;
                Some(self.open(&path, format)?.0)
            }
        };
        Ok(Arc::new(Blocks { file, map, size, backing }))
    }

    fn vmdk(&mut self, path: &Path, file: Shared, start: &[u8]) -> Result<Shared> {
        if start.starts_with(b"KDMV") {
            let map = vmdk::Vmdk::open(&*file)?;
            let (at, length) = map.header().descriptor.ok_or_else(|| {
                let error = anyhow!("it is one of the parts of a disk");
                with_hint(error, "give the directory with the file that describes all of them")
            })?;
            ensure!(length <= LONGEST_DESCRIPTOR, "a descriptor of {length}");
            // Only whether it stands for itself: its own name may be another by now.
            Descriptor::read(&bytes(&*file, at.0, length.0 as usize)?)?;
            let size = map.header().capacity.0;
            return Ok(Arc::new(Blocks { file, map, size, backing: None }));
        }
        let length = file.size().min(LONGEST_DESCRIPTOR.0) as usize;
        let descriptor = Descriptor::read(&bytes(&*file, 0, length)?)?;
        ensure!(!descriptor.extents.is_empty(), "its descriptor names no files");
        let mut parts: Vec<Shared> = Vec::new();
        for (size, extent) in descriptor.extents {
            parts.push(self.extent(path, size, extent)?);
        }
        Ok(Arc::new(Joined::new(parts)))
    }

    fn extent(&mut self, path: &Path, size: Bytes, extent: Extent) -> Result<Shared> {
        let (name, offset) = match extent {
            Extent::Zero => return Ok(Arc::new(Zeros(size.0))),
            Extent::Sparse(name) => (name, None),
            Extent::Flat(name, offset) => (name, Some(offset)),
        };
        let path = self.named(path, &name)?;
        let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        let file: Shared = Arc::new(Plain::new(file)?);
        if !self.files.contains(&path) {
            self.files.push(path);
        }
        let what = || format!("reading the part {name}");
        match offset {
            Some(offset) => Ok(Arc::new(Part::new(file, offset.0, size.0).with_context(what)?)),
            None => {
                let map = vmdk::Vmdk::open(&*file).with_context(what)?;
                let holds = map.header().capacity;
                ensure!(holds >= size, "the part {name} has {holds}, not {size}");
                Ok(Arc::new(Blocks { file, map, size: size.0, backing: None }))
            }
        }
    }

    /// The file called `name` that the image `path` needs.
    fn named(&self, path: &Path, name: &str) -> Result<PathBuf> {
        let shown = name.escape_default();
        let plain = name.strip_prefix("./").unwrap_or(name);
        let only_a_name =
            !plain.is_empty() && !matches!(plain, "." | "..") && !plain.contains(['/', '\\', '\0']);
        if !only_a_name {
            return Err(anyhow!("it needs the file `{shown}`, which lies elsewhere"))
                .hint("put both into one directory, and let `qemu-img rebase -u -b NAME` say so");
        }
        if self.other_files == OtherFiles::Refused {
            return Err(anyhow!("it needs the file `{shown}`, and it came alone"))
                .hint("pack both into a tar, `unpack` that, and import the directory");
        }
        let named = path.with_file_name(plain);
        let found = named.symlink_metadata().is_ok_and(|found| found.is_file());
        ensure!(found, "it needs the file `{shown}`, which is not beside it");
        Ok(named)
    }
}

/// Copies the disk in `image` to the new raw file `to`, without its holes; returns its size.
pub fn copy_disk(image: &Image, to: &Path, progress: Progress<'_>) -> Result<Bytes> {
    let what = || format!("writing {}", to.display());
    let file = File::options().write(true).create_new(true).open(to).with_context(what)?;
    let (disk, mut at) = (&image.disk, 0);
    let mut buffer = vec![0; CHUNK];
    file.set_len(disk.size()).with_context(what)?;
    while at < disk.size() {
        progress.advance(at, disk.size())?;
        let hole = disk.hole_at(at)?;
        if hole > 0 {
            at += hole;
            continue;
        }
        let n = (disk.size() - at).min(CHUNK as u64) as usize;
        disk.read_at(&mut buffer[..n], at)?;
        write_data(&file, &buffer[..n], at).with_context(what)?;
        at += n as u64;
    }
    Ok(Bytes(disk.size()))
}

/// Whether something of this format may be a disk, or a file system that fills one.
fn is_disk(format: ImageFormat) -> bool {
    use ImageFormat::*;
    matches!(format, Gpt | Mbr | Ext4 | Xfs | Fat | Squashfs | Lvm2 | Swap)
}

/// Why something that is not a disk is refused.
fn no_image(format: ImageFormat) -> crate::error::Error {
    let error = anyhow!("it is {}, not a disk image", crate::archive::magic::shown(format));
    let hint = match format {
        ImageFormat::Tar | ImageFormat::Zip => {
            "let `unpack` make a directory of an archive, an OVA among them, and import that"
        }
        ImageFormat::Gzip | ImageFormat::Bzip2 | ImageFormat::Xz | ImageFormat::Zstd => {
            "decompress it first; `import` reads an image that is compressed as it is"
        }
        _ => "kuth reads raw, qcow2, vmdk, vdi, vhd and squashfs images",
    };
    with_hint(error, hint)
}

/// The last bytes of a file, or all there are.
fn tail(file: &dyn Source, length: usize) -> Result<Vec<u8>> {
    let length = file.size().min(length as u64);
    bytes(file, file.size() - length, length as usize)
}

/// A fixed VHD is a disk with a footer.
fn is_fixed_vhd(file: &dyn Source) -> Result<bool> {
    let length = FOOTER_LENGTH;
    let Some(at) = file.size().checked_sub(length as u64) else { return Ok(false) };
    Ok(bytes(file, at, length)?.starts_with(b"conectix"))
}

fn vhd_disk(file: Shared) -> Result<Shared> {
    let length = FOOTER_LENGTH;
    let at = file.size().checked_sub(length as u64).context("it is too short")?;
    let footer = Footer::read(&bytes(&*file, at, length)?)
        .with_context(|| format!("reading the footer at {at}"))?;
    match footer.disk_type {
        DiskType::Fixed => {
            ensure!(footer.current_size.0 <= at, "a disk of {} in {at} bytes", footer.current_size);
            Ok(Arc::new(Part::new(file, 0, footer.current_size.0)?))
        }
        DiskType::Dynamic(at) => {
            let map = vhd::Vhd::open(&*file, at.0, footer.current_size)?;
            Ok(Arc::new(Blocks { file, map, size: footer.current_size.0, backing: None }))
        }
    }
}
