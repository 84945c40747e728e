//! The packages that a `customise` adds: by name from an archive, or files on this host or of other
//! stages; and those that are held afterwards.

use super::Inputs;
use crate::artifact::ArtifactKind;
use crate::debian::install;
use crate::debian::package_file::{FileSource, PackageFile};
use crate::error::Result;
use crate::pipeline::{Element, Fault, Fields, Input, Text};
use crate::recipe::Recipe;
use crate::sandbox::Step;

/// The keys of stages whose output is a package, in the order in which the pipeline first names them:
/// recipes have these, and no names of stages.
const INPUTS: [&str; 8] = [
    "packages.from",
    "packages.from 2",
    "packages.from 3",
    "packages.from 4",
    "packages.from 5",
    "packages.from 6",
    "packages.from 7",
    "packages.from 8",
];

/// The packages of one stage.
#[derive(Default)]
pub(super) struct Packages {
    /// Those of an archive, as `apt-get install` takes them.
    pub names: Vec<String>,
    /// Those that are files. Outputs of stages are not known yet.
    files: Vec<PackageFile>,
    /// The stages that make files.
    pub inputs: Vec<Input>,
    /// Whether the packages that others recommend are installed too.
    pub recommends: bool,
    /// Those that are not upgraded later.
    hold: Vec<String>,
}

/// Reads `packages`, `recommends` and `hold`; packages in `removed` cannot be held.
pub(super) fn read(fields: &mut Fields<'_>, removed: &[Text]) -> Packages {
    let mut packages = Packages::default();
    for element in fields.unique_texts_and_tables("packages") {
        match element {
            Element::Text(text) if is_path(&text.text) => {
                let name = text.text.clone();
                let local = fields.existing_file_at("packages", text);
                let source = local.map(|local| FileSource::Host(local.path));
                packages.files.extend(source.map(|source| PackageFile { name, source }));
            }
            Element::Text(text) => packages.names.push(text.text),
            Element::Table(table) => packages.read_output(table),
        }
    }
    packages.recommends = fields.boolean("recommends", false);
    packages.hold = held(fields, removed);
    packages
}

/// Whether an element of `packages` is a path: `htop/trixie` is the name of a package and a suite.
pub(in crate::stage) fn is_path(text: &str) -> bool {
    text.ends_with(".deb") || ["./", "../", "/"].iter().any(|start| text.starts_with(start))
}

fn held(fields: &mut Fields<'_>, removed: &[Text]) -> Vec<String> {
    let mut held = Vec::new();
    for text in fields.unique_texts("hold") {
        // A name, and perhaps an architecture: it becomes an argument, and a line for dpkg.
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.:".contains(c);
        let first = text.text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !first || !text.text.chars().all(legal) {
            let message = format!("{} is not the name of a package", text.shown());
            fields.fault(Fault::new(text.span, message).hint("as in \"linux-image-amd64\""));
        } else if let Some(other) = removed.iter().find(|other| other.text == text.text) {
            let message = format!("{} is both held and removed", text.shown());
            let fault = Fault::new(text.span, message).also(other.span.clone(), "removed here");
            fields.fault(fault.hint("leave it out of one of the two"));
        } else {
            held.push(text.text);
        }
    }
    held
}

impl Packages {
    /// Reads a table of `packages`: the output of a stage, or a file in it.
    fn read_output(&mut self, mut table: Fields<'_>) {
        let path = table.text("path");
        let accepts: &[ArtifactKind] = match path {
            Some(_) => &[ArtifactKind::Directory],
            None => &[ArtifactKind::File],
        };
        let from = table.required_input("from", accepts);
        if let Some(path) = &path
            && path.text.split('/').any(|part| matches!(part, "" | "." | ".."))
        {
            let message = format!("{} is not a relative path without `..`", path.shown());
            let hint = "it starts at the top of the stage's output, as in \"debs/app.deb\"";
            table.fault(Fault::new(path.span.clone(), message).hint(hint));
        }
        if let Some(from) = from {
            let same = self.inputs.iter().find(|input| input.stage.value == from.stage.value);
            match same.map(|same| same.key).or(INPUTS.get(self.inputs.len()).copied()) {
                None => {
                    let most = INPUTS.len();
                    let message = format!("`packages` takes files of more than {most} stages");
                    let fault = Fault::new(from.stage.span, message);
                    table.fault(fault.hint("let one `unpack` make several of them"));
                }
                Some(key) => {
                    let name = match &path {
                        Some(path) => format!("{} of the stage {}", path.text, from.stage.value),
                        None => format!("the output of the stage {}", from.stage.value),
                    };
                    let path = path.map(|path| path.text);
                    let source = FileSource::Output { key, artifact: None, path };
                    self.files.push(PackageFile { name, source });
                    if self.inputs.iter().all(|input| input.key != key) {
                        self.inputs.push(Input { key, ..from });
                    }
                }
            }
        }
        table.finish();
    }

    /// Whether there are any besides those of `names`.
    pub fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// The files, with the outputs that are built.
    pub fn files(&self, inputs: &Inputs) -> Vec<PackageFile> {
        let mut files = self.files.clone();
        for file in &mut files {
            if let FileSource::Output { key, artifact, .. } = &mut file.source {
                *artifact = inputs.artifacts.get(*key).cloned();
            }
        }
        files
    }

    /// Writes them into a recipe.
    pub fn describe(&self, recipe: &mut Recipe) -> Result<()> {
        recipe.set("package", &self.names);
        self.describe_files(recipe)?;
        recipe.set("hold", &self.hold);
        Ok(())
    }

    /// Writes down which are files, and whether recommended packages are installed.
    pub fn describe_files(&self, recipe: &mut Recipe) -> Result<()> {
        let files = self.files.iter().map(PackageFile::described);
        recipe.set("package file", files.collect::<Result<Vec<String>>>()?);
        if self.recommends {
            recipe.value("recommends", true);
        }
        Ok(())
    }

    /// Those that are held.
    pub fn held(&self) -> &[String] {
        &self.hold
    }

    /// What holds packages, once they are installed.
    pub fn hold_step(&self) -> Option<Step> {
        let script = "for package; do \
            state=$(dpkg-query --show --showformat='${db:Status-Status}\\n' \"$package\" 2>&1) || :; \
            case $state in installed*) ;; *) echo \"$package is not installed, so it cannot be held: \
            check its name, or add it to packages\" >&2; exit 1 ;; esac; done; \
            for package; do echo \"$package hold\"; done | dpkg --set-selections";
        let argv = ["/bin/sh", "-c", script, "sh"].map(String::from).into_iter();
        (!self.hold.is_empty()).then(|| install::run(argv.chain(self.hold.iter().cloned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_names_with_a_suite() {
        for path in ["app_1.0_amd64.deb", "files/app.deb", "./app", "../x", "/srv/app"] {
            assert!(is_path(path), "{path}");
        }
        for name in ["htop", "htop/trixie-backports", "htop=3.4.1-5", "vim:amd64"] {
            assert!(!is_path(name), "{name}");
        }
    }
}
