//! Which files of a directory are images.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::format::probe::{ImageFormat, PROBE_LENGTH, probe};
use crate::image::source::{Plain, head};

use super::{OtherFiles, is_disk, is_fixed_vhd, open};

/// More files than any directory of an image has.
const MOST: usize = 10_000;

/// The images in `directory` and in directories in it that no other of them needs.
pub fn images(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    list(directory, 0, &mut files)?;
    files.sort();
    let mut images = Vec::new();
    for file in files {
        if is_image(&file).with_context(|| format!("reading {}", file.display()))? {
            images.push(file);
        }
    }
    // Of two images that belong together, opening the upper one shows the lower one.
    let mut needed = Vec::new();
    if images.len() > 1 {
        for image in &images {
            if let Ok(opened) = open(image, OtherFiles::SameDirectory) {
                needed.extend(opened.files.into_iter().skip(1));
            }
        }
    }
    images.retain(|image| !needed.contains(image));
    Ok(images)
}

/// The files below `directory`, without links.
fn list(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let what = || format!("reading {}", directory.display());
    for entry in std::fs::read_dir(directory).with_context(what)? {
        let entry = entry.with_context(what)?;
        let kind = entry.file_type().with_context(what)?;
        if kind.is_dir() && depth < 8 {
            list(&entry.path(), depth + 1, files)?;
        } else if kind.is_file() && files.len() < MOST {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn is_image(path: &Path) -> Result<bool> {
    let file = Plain::new(File::open(path)?)?;
    use ImageFormat::*;
    Ok(match probe(&head(&file, PROBE_LENGTH)?) {
        Some(Qcow2 | Vmdk | Vdi | Vhd) => true,
        Some(format) if is_disk(format) => true,
        _ => is_fixed_vhd(&file)?,
    })
}
