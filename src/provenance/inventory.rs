//! The packages of a tree, read once from its tar and kept in the cache as a small result of its own:
//! the SBOM of an export then does not need its tree.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::artifact::{Artifact, ArtifactKind, Output};
use crate::digest::Digest;
use crate::error::{Context, Result};
pub use crate::format::dpkg::Inventory;
use crate::format::{dpkg, os_release::System};
use crate::recipe::Recipe;
use crate::stage_context::StageContext;
use crate::tree::Reader;

/// Raised when the same tree gives another inventory.
const REVISION: u32 = 1;
/// The most that is read of a file, in bytes; a database of Debian's whole archive has 100 MB.
const MAX_SIZE: u64 = 256 << 20;
const STATUS: &str = "var/lib/dpkg/status";
/// `etc/os-release` is a link to it.
const OS_RELEASE: &str = "usr/lib/os-release";

/// The recipe of the inventory of the tree with this digest.
pub fn recipe(tree: Digest) -> Recipe {
    let mut recipe = Recipe::new("inventory", REVISION);
    recipe.value("input tree", tree);
    recipe
}

/// Makes the inventory of a tree that is in the cache.
pub fn make(context: &StageContext, tree: &Artifact) -> Result<Output> {
    let inventory = of_tar(&context.object(tree))?;
    let text = serde_json::to_string_pretty(&inventory).context("writing an inventory")? + "\n";
    Output::text(ArtifactKind::File, &context.work, "inventory.json", &text)
}

/// Reads the inventory at `path`.
pub fn read(path: &Path) -> Result<Inventory> {
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
}

/// The inventory of the tree in the tar at `path`. A tree without dpkg has no packages.
pub fn of_tar(path: &Path) -> Result<Inventory> {
    let what = || format!("reading the packages of {}", path.display());
    let file = File::open(path).with_context(what)?;
    let mut entries = Reader::seeking(file);
    let (mut status, mut release) = (None, None);
    while let Some((entry, content)) = entries.next_entry().with_context(what)? {
        let wanted = match entry.path.strip_prefix(b"./").unwrap_or(&entry.path) {
            name if name == STATUS.as_bytes() => &mut status,
            name if name == OS_RELEASE.as_bytes() => &mut release,
            _ => continue,
        };
        let mut bytes = Vec::new();
        content.take(MAX_SIZE).read_to_end(&mut bytes).with_context(what)?;
        *wanted = Some(String::from_utf8_lossy(&bytes).into_owned());
    }
    let packages = dpkg::read(&status.unwrap_or_default()).with_context(what)?;
    Ok(Inventory { system: System::read(&release.unwrap_or_default()), packages })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inventory_is_read_from_the_tar_of_a_tree() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tree.tar");
        let mut tar = tar::Builder::new(File::create(&path).unwrap());
        for (name, text) in [
            ("./usr/lib/os-release", "ID=debian\nVERSION_ID=\"13\"\n"),
            ("./usr/share/var/lib/dpkg/status", "no database"),
            (
                "./var/lib/dpkg/status",
                "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n",
            ),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap();
        let inventory = of_tar(&path).unwrap();
        assert_eq!(inventory.system.distro(), "debian-13");
        assert_eq!(inventory.packages[0].to_string(), "a 1 all");
        assert_eq!(inventory.packages.len(), 1);
    }
}
