//! Which image of a directory has the system: the one that is named, the only one, or the only one with a
//! root. A box or an appliance may have further disks, for its configuration or for data.

use std::path::{Path, PathBuf};

use crate::error::{Error, Hint, Result, anyhow, with_hint};
use crate::image::read::{OtherFiles, images, open};

use super::{system, volume};

/// An image of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picked {
    /// The one that was picked.
    pub image: PathBuf,
    /// The others, below the directory.
    pub others: Vec<PathBuf>,
}

/// Picks the image in `directory` or in a directory in it: `path`, or the one with a system, whose root
/// may be named as in [`super::import`].
///
/// # Errors
///
/// There is none, or there are several that may be meant.
pub fn pick(directory: &Path, path: Option<&str>, root: Option<&str>) -> Result<Picked> {
    let images = images(directory)?;
    let below = |path: &PathBuf| path.strip_prefix(directory).unwrap_or(path).to_path_buf();
    let shown = |images: &[PathBuf]| {
        let names = images.iter().map(|image| below(image).display().to_string());
        names.collect::<Vec<_>>().join(", ")
    };
    let only = |image: PathBuf| {
        let others = images.iter().filter(|other| **other != image).map(below).collect();
        Ok(Picked { image, others })
    };
    if let Some(path) = path {
        let image = directory.join(path);
        // An image that another one needs may be meant too.
        if !image.symlink_metadata().is_ok_and(|found| found.is_file()) {
            let error = anyhow!("`path` names {path}, which is no file of the directory");
            return Err(with_hint(error, listed(&shown(&images))));
        }
        return only(image);
    }
    match &images[..] {
        [] => {
            return Err(anyhow!("the directory holds no disk image")).hint(
                "kuth reads raw, qcow2, vmdk, vdi, vhd and squashfs images; one that is compressed has to \
                 come as a file, not in a directory",
            );
        }
        [image] => return only(image.clone()),
        _ => {}
    }
    let mut with_root = Vec::new();
    let mut whys = Vec::new();
    for image in &images {
        match has_root(image, root) {
            Ok(true) => with_root.push(image.clone()),
            Ok(false) => {}
            Err(error) => whys.push(format!("{}: {error:#}", below(image).display())),
        }
    }
    match &with_root[..] {
        [image] => only(image.clone()),
        [] => {
            let error = anyhow!(
                "none of the {} disk images of the directory has a system: {}",
                images.len(),
                shown(&images)
            );
            let error = whys.into_iter().fold(error, with_hint);
            Err(with_hint(error, SEVERAL))
        }
        several => {
            let (count, names) = (several.len(), shown(several));
            Err(anyhow!("{count} disk images of the directory have a system: {names}"))
                .hint("say which with `path`")
        }
    }
}

const SEVERAL: &str = "a system on several disks cannot be imported";

fn listed(names: &str) -> String {
    match names {
        "" => "there is no disk image in it".to_string(),
        names => format!("its disk images are {names}"),
    }
}

/// Whether there is a system's root on an image.
fn has_root(image: &Path, root: Option<&str>) -> Result<bool, Error> {
    let opened = open(image, OtherFiles::SameDirectory)?;
    system::has_root(&volume::read(&opened.disk)?, root)
}
