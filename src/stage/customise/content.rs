//! Where the bytes of a file or script come from: written in the pipeline, or a local file or
//! folder, of which contents and modes count and times do not.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::digest;
use crate::error::{Context, Result};
use crate::pipeline::Text;
use crate::recipe::Recipe;
use crate::sandbox::Sandbox;
use crate::stage::Site;

/// The source of some bytes.
pub enum Content {
    /// Written in the pipeline.
    Text(Text),
    /// A file or folder beside it.
    Local(PathBuf),
}

impl Content {
    /// Writes what the bytes are into the recipe, under `name`.
    pub fn describe(&self, site: &Site, recipe: &mut Recipe, name: &str) -> Result<()> {
        match self {
            Content::Text(text) => site.describe_text(recipe, name, text),
            Content::Local(path) => describe_path(recipe, name, path),
        }
    }

    /// Puts the bytes into the exchange folder as `name`. Times do not matter there.
    pub fn offer(&self, sandbox: &Sandbox, name: &str) -> Result<()> {
        let to = sandbox.exchange().join(name);
        match self {
            Content::Text(text) => {
                std::fs::write(&to, &text.text).with_context(|| format!("writing {}", to.display()))
            }
            Content::Local(path) => copy(path, &to),
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("copying {}", from.display());
    let kind = from.symlink_metadata().with_context(what)?.file_type();
    if kind.is_dir() {
        std::fs::create_dir_all(to).with_context(what)?;
        for name in sorted_names(from)? {
            copy(&from.join(&name), &to.join(&name))?;
        }
        Ok(())
    } else if kind.is_symlink() {
        let target = std::fs::read_link(from).with_context(what)?;
        std::os::unix::fs::symlink(target, to).with_context(what)
    } else {
        crate::cache::sparse::copy_file(from, to)?;
        let mode = PermissionsExt::from_mode(if is_executable(from)? { 0o755 } else { 0o644 });
        std::fs::set_permissions(to, mode).with_context(what)
    }
}

/// What git keeps of a mode. The rest is the umask of whoever made the checkout.
fn is_executable(path: &Path) -> Result<bool> {
    let metadata = path.metadata().with_context(|| format!("reading {}", path.display()))?;
    Ok(metadata.permissions().mode() & 0o111 != 0)
}

fn sorted_names(folder: &Path) -> Result<Vec<std::ffi::OsString>> {
    let mut names = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|e| e.file_name())).collect())
        .with_context(|| format!("reading {}", folder.display()))
        .map(|names: Vec<_>| names)?;
    names.sort();
    Ok(names)
}

/// One line a file: its SHA-256 and whether it can be executed (what git keeps of a mode).
fn describe_path(recipe: &mut Recipe, name: &str, path: &Path) -> Result<()> {
    let what = || format!("reading {}", path.display());
    let metadata = path.symlink_metadata().with_context(what)?;
    if metadata.is_dir() {
        recipe.value(name, "folder");
        for entry in sorted_names(path)? {
            let below = format!("{name}/{}", entry.to_string_lossy());
            describe_path(recipe, &below, &path.join(&entry))?;
        }
        return Ok(());
    }
    if metadata.is_symlink() {
        let target = std::fs::read_link(path).with_context(what)?;
        recipe.value(name, format!("link to {}", target.display()));
        return Ok(());
    }
    let file = std::fs::File::open(path).with_context(what)?;
    let (digest, _) = digest::of_reader(file).with_context(what)?;
    let executable = if is_executable(path)? { " executable" } else { "" };
    recipe.value(name, format!("{digest}{executable}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &Path) -> crate::recipe::Key {
        let mut recipe = Recipe::new("x", 1);
        describe_path(&mut recipe, "file", path).unwrap();
        recipe.key()
    }

    #[test]
    fn contents_names_and_modes_move_the_key_and_times_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        std::fs::write(&file, "one").unwrap();
        let first = key(folder.path());
        let time = std::time::SystemTime::UNIX_EPOCH;
        std::fs::File::open(&file).unwrap().set_modified(time).unwrap();
        assert_eq!(key(folder.path()), first);
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        assert_ne!(key(folder.path()), first);
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        std::fs::write(&file, "two").unwrap();
        assert_ne!(key(folder.path()), first);
        std::fs::write(&file, "one").unwrap();
        assert_eq!(key(folder.path()), first);
        std::fs::write(folder.path().join("b"), "").unwrap();
        assert_ne!(key(folder.path()), first);
    }
}
