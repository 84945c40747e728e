//! The shape every pipeline file has: `[pipeline]`, `[vars]` and `[stage.NAME]`. It knows
//! nothing of kinds; a stage is a name and a table here.

use std::path::{Path, PathBuf};

use super::fault::{Fault, Faults};
use super::fields::{Fields, Scope};
use super::root::project_root;
use super::substitute::{Environment, Override, Variables};
use super::suggest;
use super::syntax;
use super::value::{Data, Entry, Span, Spanned, Table, Text, Value};

/// The tables a pipeline file may have.
const TABLES: [&str; 3] = ["pipeline", "vars", "stage"];

/// A pipeline file, parsed but not yet understood.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file.
    pub path: PathBuf,
    /// What its relative paths start from.
    pub root: PathBuf,
    /// The statements that are not TOML, and so are in nothing else here.
    pub lost: String,
    /// `[stage.NAME]` in file order.
    pub stages: Vec<Stage>,
    pipeline: Option<Entry>,
    vars: Option<Entry>,
}

/// One `[stage.NAME]`.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its name.
    pub name: Spanned<String>,
    /// The span of its table.
    pub span: Span,
    /// Its table; empty if [`Stage::faulty`].
    pub table: Table,
    /// Whether the table could not even be looked at.
    pub faulty: bool,
}

/// The keys of `[pipeline]`.
#[derive(Clone, Debug, Default)]
pub struct Header {
    /// The name of the pipeline.
    pub name: Option<Text>,
    /// What it is for.
    pub summary: Option<Text>,
    /// The stages a bare `kuth build` makes; `None` if the key is absent.
    pub default: Option<Vec<Spanned<String>>>,
}

impl Document {
    /// Parses `source`, the text of the file at `path`. What can be read is in the document
    /// even if there are faults.
    pub fn parse(path: &Path, source: &str) -> (Document, Faults) {
        let mut faults = Faults::default();
        let (mut table, lost) = syntax::parse(source, &mut faults);
        let mut found = Faults::default();
        let pipeline = take_table(&mut table, "pipeline", &mut found);
        let vars = take_table(&mut table, "vars", &mut found);
        let stages = match take_table(&mut table, "stage", &mut found) {
            Some(Entry { value: Value { data: Data::Table(table), .. }, .. }) => {
                table.entries.into_iter().map(|entry| Stage::new(entry, &mut found)).collect()
            }
            _ => Vec::new(),
        };
        for entry in &table.entries {
            found.add(unknown_table(&entry.key));
        }
        if pipeline.is_none() {
            let fault = Fault::new(0..0, "missing table `[pipeline]`");
            found.add(
                fault
                    .hint("begin the file with `[pipeline]` and a `name`")
                    .of_absence(["pipeline"]),
            );
        }
        found.doubt(&lost);
        faults.extend(found);
        let root = project_root(path);
        let path = path.to_path_buf();
        (Document { path, root, lost, stages, pipeline, vars }, faults)
    }

    /// Substitutes in `[pipeline]` and every stage; the variables it did so with.
    pub fn substitute(
        &mut self,
        overrides: &[Override],
        environment: Environment<'_>,
        source: &str,
        faults: &mut Faults,
    ) -> Variables {
        let place = self.pipeline.as_ref().map_or(0..0, |entry| entry.value.span.clone());
        let variables =
            Variables::resolve(self.vars.as_ref(), place, overrides, environment, source, faults);
        if let Some(entry) = &mut self.pipeline {
            variables.fill(&mut entry.value.data, environment, source, faults);
        }
        for stage in &mut self.stages {
            for entry in &mut stage.table.entries {
                variables.fill(&mut entry.value.data, environment, source, faults);
            }
        }
        variables
    }

    /// Reads `[pipeline]`.
    pub fn header(&self, scope: &Scope<'_>) -> Header {
        let Some(Entry { value: Value { span, data: Data::Table(table) }, .. }) = &self.pipeline
        else {
            return Header::default();
        };
        let mut fields = Fields::new(scope, table, span.clone(), "pipeline");
        let name = fields.require("name").text("name");
        if let Some(name) = &name {
            check_name(&name.text, &name.span, "pipeline", |fault| fields.fault(fault));
        }
        let summary = fields.text("summary");
        if let Some(value) = fields.raw("default").filter(|it| it.data == Data::Array(vec![])) {
            let fault = Fault::new(value.span.clone(), "`default` names no stage");
            fields.fault(fault.hint("leave it out to mean all stages"));
        }
        let default = fields.has("default").then(|| {
            let texts = fields.unique_texts("default");
            let open = texts.into_iter().filter_map(|text| fields.as_open("default", text));
            open.map(|text| Spanned::new(text.span, text.text)).collect()
        });
        fields.finish();
        Header { name, summary, default }
    }
}

impl Stage {
    fn new(entry: Entry, faults: &mut Faults) -> Stage {
        let Entry { key: name, value } = entry;
        check_name(&name, &name.span, "stage", |fault| faults.add(fault));
        let (table, faulty) = match value.data {
            Data::Table(table) => (table, false),
            Data::Faulty => (Table::default(), true),
            _ => {
                let message = format!("the stage `{}` is not a table", name.value);
                let label = format!("expected a table, found {}", value.describe());
                let hint = format!("write `[stage.{}]` with a `kind`", name.value);
                faults.add(Fault::new(value.span.clone(), message).label(label).hint(hint));
                (Table::default(), true)
            }
        };
        Stage { name, span: value.span, table, faulty }
    }
}

/// Takes a top-level table out; a fault if it is something else.
fn take_table(table: &mut Table, key: &str, faults: &mut Faults) -> Option<Entry> {
    let mut entry = table.remove(key)?;
    if !matches!(entry.value.data, Data::Table(_) | Data::Faulty) {
        let label = format!("expected a table, found {}", entry.value.describe());
        let fault = Fault::new(entry.value.span.clone(), format!("`{key}` is not a table"));
        let header = if key == "stage" { "[stage.NAME]".to_string() } else { format!("[{key}]") };
        faults.add(fault.label(label).hint(format!("write `{header}`")));
        entry.value.data = Data::Faulty;
    }
    Some(entry)
}

fn unknown_table(key: &Spanned<String>) -> Fault {
    let fault = Fault::new(key.span.clone(), format!("unknown table or key `{}`", key.value));
    fault.maybe_hint(suggest::hint(key, &TABLES, "a pipeline has the tables"))
}

/// Whether `name` may name a pipeline or a stage: it becomes part of file names.
pub fn is_legal_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(plain) && name.chars().all(|c| plain(c) || matches!(c, '.' | '_' | '-'))
}

fn check_name(name: &str, span: &Span, what: &str, add: impl FnOnce(Fault)) {
    if !is_legal_name(name) {
        let fault = Fault::new(span.clone(), format!("illegal {what} name `{name}`"));
        add(fault.hint(
            "a name is made of `a` to `z`, `0` to `9`, `.`, `_` and `-`, \
             and begins with a letter or digit",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(source: &str) -> Vec<String> {
        let (document, mut faults) = Document::parse(Path::new("p.toml"), source);
        let scope = Scope::new(source, &document.root);
        document.header(&scope);
        faults.extend(scope.take_faults());
        faults.sorted().iter().map(|fault| fault.message.clone()).collect()
    }

    #[test]
    fn a_good_header_reads() {
        let source = "[pipeline]\nname = \"a-1\"\nsummary = \"s\"\ndefault = [\"x\"]\n";
        assert_eq!(said(source), Vec::<String>::new());
    }

    #[test]
    fn faults_of_the_shape() {
        for (source, expected) in [
            ("", "missing table `[pipeline]`"),
            ("[pipeline]\n", "missing key `name`"),
            ("[pipeline]\nname = \"Ä\"\n", "illegal pipeline name `Ä`"),
            ("[pipeline]\nname = \"a\"\n[stages.x]\n", "unknown table or key `stages`"),
            ("pipeline = 1\n", "`pipeline` is not a table"),
            ("stage = 1\n[pipeline]\nname = \"a\"\n", "`stage` is not a table"),
            ("stage.x = 1\n[pipeline]\nname = \"a\"\n", "the stage `x` is not a table"),
            ("[pipeline]\nname = \"a\"\n[stage.A]\n", "illegal stage name `A`"),
            ("[pipeline]\nname = \"a\"\ndefault = []\n", "`default` names no stage"),
            ("[pipeline]\nname = \"a\"\ndefault = [\"x\", \"x\"]\n", "`x` is in `default` twice"),
        ] {
            assert_eq!(said(source), [expected], "{source}");
        }
    }

    #[test]
    fn a_syntax_error_does_not_make_things_missing() {
        let said = said("[pipeline\nname = \"a\"\n");
        assert!(said.iter().all(|message| message.starts_with("this is not TOML")), "{said:?}");
    }
}
