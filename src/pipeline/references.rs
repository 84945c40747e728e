//! The getters of [`Fields`] for what lies outside the table: files of the project and other
//! stages. Files are looked for at once; stages are looked up later, by `check.rs`.

use std::path::{Path, PathBuf};

use super::check::Input;
use super::fault::Fault;
use super::fields::Fields;
use super::suggest;
use super::value::{Spanned, Text};
use crate::artifact::Product;

/// Where packages put the keys that they bring.
const KEYRINGS: &str = "/usr/share/keyrings";

/// A path of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPath {
    /// As written.
    pub written: Text,
    /// Joined to the project root.
    pub path: PathBuf,
}

impl LocalPath {
    /// The path as the pipeline's own is told.
    pub fn shown(&self) -> String {
        self.path.strip_prefix(".").unwrap_or(&self.path).display().to_string()
    }
}

impl Fields<'_> {
    /// The path under `key`, joined to the project root.
    pub fn path(&mut self, key: &str) -> Option<LocalPath> {
        let written = self.text(key)?;
        self.as_path(key, written)
    }

    /// The path under `key`; a fault if nothing is there.
    pub fn existing_path(&mut self, key: &str) -> Option<LocalPath> {
        let local = self.path(key)?;
        self.must_exist(local)
    }

    /// The path under `key`; a fault if the key or the file is missing.
    pub fn required_existing_path(&mut self, key: &str) -> Option<LocalPath> {
        self.require(key).existing_path(key)
    }

    /// The path, or the paths, under `key`; a fault for each that is not there.
    pub fn existing_paths(&mut self, key: &str) -> Vec<LocalPath> {
        let written = self.text_or_texts(key);
        let locals = written.into_iter().filter_map(|text| self.as_path(key, text));
        locals.filter_map(|local| self.must_exist(local)).collect()
    }

    /// The name of a stage under `key`. Prefer [`Fields::input`], which says what it may be.
    pub fn reference(&mut self, key: &str) -> Option<Spanned<String>> {
        let value = self.raw(key)?;
        let text = self.as_text(key, value, "the name of a stage")?;
        let text = self.as_open(key, text)?;
        Some(Spanned::new(text.span, text.text))
    }

    /// The stage named under `key`, whose product must be one of `accepts`.
    pub fn input(&mut self, key: &'static str, accepts: &'static [Product]) -> Option<Input> {
        let stage = self.reference(key)?;
        let input = Input { key, stage, accepts };
        self.scope.inputs.borrow_mut().push(input.clone());
        Some(input)
    }

    /// The stage named under `key`, which must be there.
    pub fn required_input(
        &mut self,
        key: &'static str,
        accepts: &'static [Product],
    ) -> Option<Input> {
        self.require(key).input(key, accepts)
    }

    /// The stage, or the stages, named under `key`.
    pub fn inputs(&mut self, key: &'static str, accepts: &'static [Product]) -> Vec<Input> {
        let named = self.text_or_texts(key).into_iter();
        let named = named.filter_map(|text| self.as_open(key, text));
        let inputs: Vec<Input> = named
            .map(|text| Input { key, stage: Spanned::new(text.span, text.text), accepts })
            .collect();
        self.scope.inputs.borrow_mut().extend(inputs.iter().cloned());
        inputs
    }

    fn as_path(&self, key: &str, written: Text) -> Option<LocalPath> {
        if written.text.is_empty() || written.text.contains('\0') {
            self.fault(Fault::new(written.span, format!("`{key}` is not a path")));
            return None;
        }
        let path = self.root().join(&written.text);
        Some(LocalPath { written, path })
    }

    fn must_exist(&self, local: LocalPath) -> Option<LocalPath> {
        if local.path.exists() {
            return Some(local);
        }
        let message = format!("there is no file {}", local.written.shown());
        let hint = match local.written.secret {
            true => None,
            false if local.path.starts_with(KEYRINGS) => Some(
                "packages put keys there: debian-archive-keyring those of Debian's archive, \
                 debian-keyring those of its images (debian-role-keys.gpg), ubuntu-keyring Ubuntu's"
                    .to_string(),
            ),
            false => sibling(&local.path, &local.written.text)
                .map(|near| format!("did you mean `{near}`?"))
                .or_else(|| Some("paths start at the project root".to_string())),
        };
        self.fault(Fault::new(local.written.span, message).label("not found").maybe_hint(hint));
        None
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
