//! The getters of [`Fields`] for what lies outside the table: files of the project and other
//! stages. Files are looked for at once; stages are looked up later, by `check.rs`.

use std::path::Path;

use super::check::Input;
use super::fault::Fault;
use super::fields::Fields;
use super::suggest;
use super::value::{Spanned, Text};
use crate::artifact::ArtifactKind;
use crate::host_path::{FileKind, HostPath, PathError};

/// Where packages put the keys that they bring.
const KEYRINGS: &str = "/usr/share/keyrings";

/// A path of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPath {
    /// As written.
    pub written: Text,
    /// From the root of the file system: joined to the project root.
    pub path: HostPath,
    /// Relative to the same directory as the pipeline's own path.
    shown: String,
}

impl LocalPath {
    /// The path, relative to the same directory as the pipeline's own.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

/// What a path has to lead to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Requirement {
    /// A regular file or a directory.
    FileOrDirectory,
    /// A regular file.
    File,
    /// Anything that has bytes to read once: a regular file, a pipe, a socket or a device.
    Readable,
}

impl Fields<'_> {
    /// The path under `key`, joined to the project root.
    pub fn path(&mut self, key: &str) -> Option<LocalPath> {
        let written = self.text(key)?;
        self.as_path(key, written)
    }

    /// The path under `key` of a file or directory; a fault if there is none.
    pub fn existing_path(&mut self, key: &str) -> Option<LocalPath> {
        let local = self.path(key)?;
        self.must_be(Requirement::FileOrDirectory, local, None)
    }

    /// The path under `key` of a file; a fault if there is none.
    pub fn existing_file(&mut self, key: &str) -> Option<LocalPath> {
        let local = self.path(key)?;
        self.must_be(Requirement::File, local, None)
    }

    /// The same for a path that `key` has among other values.
    pub fn existing_file_at(&self, key: &str, written: Text) -> Option<LocalPath> {
        let local = self.as_path(key, written)?;
        self.must_be(Requirement::File, local, None)
    }

    /// The path under `key` of what is read once, now: a file, or a pipe. A fault if there is none.
    pub fn readable_path(&mut self, key: &str) -> Option<LocalPath> {
        let local = self.path(key)?;
        self.must_be(Requirement::Readable, local, None)
    }

    /// The same for a path that `key` has among other values; `hint` says what could stand there.
    pub fn readable_path_at(&self, key: &str, written: Text, hint: &str) -> Option<LocalPath> {
        let local = self.as_path(key, written)?;
        self.must_be(Requirement::Readable, local, Some(hint))
    }

    /// The name of a stage under `key`.
    fn reference(&mut self, key: &str) -> Option<Spanned<String>> {
        let value = self.raw(key)?;
        let text = self.as_text(key, value, "the name of a stage")?;
        let text = self.as_open(key, text)?;
        Some(Spanned::new(text.span, text.text))
    }

    /// The stage named under `key`, whose output must be one of `accepts`.
    pub fn input(&mut self, key: &'static str, accepts: &'static [ArtifactKind]) -> Option<Input> {
        let stage = self.reference(key)?;
        let input = Input { key, stage, accepts };
        self.scope.inputs.borrow_mut().push(input.clone());
        Some(input)
    }

    /// The stage named under `key`, which must be there.
    pub fn required_input(
        &mut self,
        key: &'static str,
        accepts: &'static [ArtifactKind],
    ) -> Option<Input> {
        self.require(key).input(key, accepts)
    }

    fn as_path(&self, key: &str, written: Text) -> Option<LocalPath> {
        if written.text.is_empty() || written.text.contains('\0') {
            self.fault(Fault::new(written.span, format!("`{key}` is not a path")));
            return None;
        }
        let path = self.scope.root.join(&written.text);
        let shown = path.strip_prefix(".").unwrap_or(&path).display().to_string();
        // It fails where there is no working directory; then nothing is found either.
        let path = HostPath::new(std::path::absolute(&path).unwrap_or(path));
        Some(LocalPath { written, path, shown })
    }

    fn must_be(
        &self,
        required: Requirement,
        local: LocalPath,
        hint: Option<&str>,
    ) -> Option<LocalPath> {
        let name = local.written.shown();
        let hint = hint.map(str::to_string);
        let (message, label, hint) = match local.path.look() {
            Ok(FileKind::File) => return Some(local),
            Ok(FileKind::Directory) if required == Requirement::FileOrDirectory => {
                return Some(local);
            }
            Ok(FileKind::Special) if required == Requirement::Readable => return Some(local),
            Ok(FileKind::Directory) => {
                (format!("{name} is a directory"), "expected a file".to_string(), hint)
            }
            Ok(FileKind::Special) => {
                let label = "neither a file nor a directory".to_string();
                (format!("{name} is a pipe, a socket or a device"), label, hint)
            }
            Err(PathError::Missing) => {
                let hint = hint.or_else(|| missing(&local));
                (format!("there is no file {name}"), "not found".to_string(), hint)
            }
            Err(PathError::Dangling(target)) => {
                let label = match local.written.secret {
                    true => "not found".to_string(),
                    false => format!("there is no {}", target.display()),
                };
                let hint = "make what the link names, or name another file".to_string();
                (format!("{name} is a link to what is not there"), label, Some(hint))
            }
            Err(PathError::Loop) => {
                let hint = "make it a link to a file, or name another file".to_string();
                let label = "the links lead in a circle".to_string();
                (format!("{name} is a link that ends nowhere"), label, Some(hint))
            }
            Err(PathError::Refused(error)) => {
                (format!("cannot look at {name}"), error.to_string(), hint)
            }
        };
        let fault = Fault::new(local.written.span, message).label(label);
        self.fault(fault.maybe_hint(hint));
        None
    }
}

/// What to try where nothing is at a path.
fn missing(local: &LocalPath) -> Option<String> {
    let path = local.path.as_path();
    match local.written.secret {
        true => None,
        false if path.starts_with(KEYRINGS) => Some(
            "packages put keys there: debian-archive-keyring those of Debian's archive, \
             debian-keyring those of its images (debian-role-keys.gpg), ubuntu-keyring Ubuntu's"
                .to_string(),
        ),
        false => sibling(path, &local.written.text)
            .map(|near| format!("did you mean `{near}`?"))
            .or_else(|| Some("paths start at the project root".to_string())),
    }
}

/// The file beside `path` whose name is most like it, spelt as `written` is.
fn sibling(path: &Path, written: &str) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let entries = std::fs::read_dir(path.parent()?).ok()?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    let near = suggest::nearest(name, names.iter().map(String::as_str))?;
    Some(format!("{}{near}", written.strip_suffix(name)?))
}
