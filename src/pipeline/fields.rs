//! The reader of one table: asked for keys one by one, it hands out checked values, collects
//! a fault for each one that is not as it should be, and in the end for each key that nobody
//! asked for. It knows types, not meanings; `getters.rs` has the types.

use std::cell::RefCell;
use std::path::Path;

use super::check::Input;
use super::fault::{Fault, Faults};
use super::suggest;
use super::value::{Data, Span, Spanned, Table, Text, Value};

/// What all readers of one file share.
pub struct Scope<'a> {
    pub(super) source: &'a str,
    pub(super) root: &'a Path,
    pub(super) faults: RefCell<Faults>,
    /// The inputs asked for since somebody took them.
    pub(super) inputs: RefCell<Vec<Input>>,
    /// The variables of the pipeline, for files that are filled in as strings are.
    variables: Vec<(String, Text)>,
}

impl<'a> Scope<'a> {
    /// For a file with this `source`, whose paths are relative to `root`.
    pub fn new(source: &'a str, root: &'a Path) -> Scope<'a> {
        let (faults, inputs) = (RefCell::default(), RefCell::default());
        Scope { source, root, faults, inputs, variables: Vec::new() }
    }

    /// The same with the variables that strings were filled in with.
    pub fn with_variables(mut self, variables: Vec<(String, Text)>) -> Scope<'a> {
        self.variables = variables;
        self
    }

    /// The faults found so far, taken out.
    pub fn take_faults(&self) -> Faults {
        self.faults.take()
    }
}

/// Reads one table. Getters return `None`, or something harmless, after recording a fault;
/// an absent key is no fault unless the getter says so. End with [`Fields::finish`].
#[must_use = "end with `finish`, or unknown keys pass unseen"]
pub struct Fields<'a> {
    pub(super) scope: &'a Scope<'a>,
    pub(super) table: &'a Table,
    pub(super) span: Span,
    /// The dotted path of the table, as a header writes it.
    pub(super) path: String,
    asked: Vec<String>,
    /// Required keys that are not there; reported when the reader goes.
    missing: Vec<String>,
}

/// One element of a list that takes strings and tables.
pub enum Element<'a> {
    /// A bare string.
    Text(Text),
    /// A table, inline or with a header.
    Table(Fields<'a>),
}

impl<'a> Fields<'a> {
    /// Reads `table`, which stands at `span` and is known as `path`, such as `stage.base`.
    pub fn new(
        scope: &'a Scope<'a>,
        table: &'a Table,
        span: Span,
        path: impl Into<String>,
    ) -> Fields<'a> {
        let path = path.into();
        Fields { scope, table, span, path, asked: Vec::new(), missing: Vec::new() }
    }

    /// Where the table stands: its header.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// The pipeline's variables, in the order of the file. Strings have them filled in already;
    /// this is for the contents of files.
    pub fn variables(&self) -> &'a [(String, Text)] {
        &self.scope.variables
    }

    /// Records a fault the caller has found, of a value or of several together.
    pub fn fault(&self, fault: Fault) {
        self.scope.faults.borrow_mut().add(fault);
    }

    /// Whether `key` is written, soundly or not; counts as asking for it.
    pub fn has(&mut self, key: &str) -> bool {
        self.raw(key).is_some()
    }

    /// Where `key` stands, if it is written.
    pub fn key_span(&self, key: &str) -> Option<Span> {
        self.table.get(key).map(|entry| entry.key.span.clone())
    }

    /// The value of `key` as it is; counts as asking for it.
    pub fn raw(&mut self, key: &str) -> Option<&'a Value> {
        if !self.asked.iter().any(|asked| asked == key) {
            self.asked.push(key.to_string());
        }
        self.table.get(key).map(|entry| &entry.value)
    }

    /// Makes the absence of `key` a fault; the getter for it may come before or after.
    pub fn require(&mut self, key: &str) -> &mut Self {
        if !self.has(key) && !self.missing.iter().any(|missing| missing == key) {
            self.missing.push(key.to_string());
        }
        self
    }

    /// A fault unless exactly one of `keys` is written; which one is.
    pub fn exactly_one(&mut self, keys: &[&'static str]) -> Option<&'static str> {
        let found = self.at_most_one(keys);
        if keys.iter().all(|key| !self.has(key)) {
            let quoted: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
            let message = format!("missing key: one of {}", suggest::join(&quoted, "or"));
            self.fault(
                Fault::new(self.span(), message)
                    .label("one is required here")
                    .of_absence(keys.iter().copied()),
            );
        }
        found
    }

    /// A fault if more than one of `keys` is written; the first that is.
    pub fn at_most_one(&mut self, keys: &[&'static str]) -> Option<&'static str> {
        let found: Vec<&'static str> = keys.iter().copied().filter(|key| self.has(key)).collect();
        let first = *found.first()?;
        for other in &found[1..] {
            let (Some(here), Some(there)) = (self.key_span(other), self.key_span(first)) else {
                continue;
            };
            let message = format!("`{other}` and `{first}` exclude each other");
            self.fault(Fault::new(here, message).also(there, "the other one"));
        }
        Some(first)
    }

    /// The table under `key`.
    pub fn table(&mut self, key: &str) -> Option<Fields<'a>> {
        let value = self.raw(key)?;
        let path = format!("{}.{key}", self.path);
        let hint = format!("write a table `[{path}]`, or `{key} = {{ … }}`");
        self.reader(key, value, path, "a table", Some(hint))
    }

    /// The tables under `key` by their names: `[stage.nodes.role.web]`. In file order.
    pub fn tables(&mut self, key: &str) -> Vec<(Spanned<String>, Fields<'a>)> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let path = format!("{}.{key}", self.path);
        let hint = format!("write a table `[{path}.NAME]` for each");
        let Data::Table(table) = &value.data else {
            self.wrong_type(key, value, "a table of tables", Some(hint));
            return Vec::new();
        };
        let entries = table.entries.iter();
        let read = entries.filter_map(|entry| {
            let name = &entry.key.value;
            let path = format!("{path}.{name}");
            let fields = self.reader(name, &entry.value, path, "a table", Some(hint.clone()))?;
            Some((entry.key.clone(), fields))
        });
        read.collect()
    }

    /// The rows under `key`: `[[stage.disk.volume]]`, or an array of inline tables.
    pub fn array_of_tables(&mut self, key: &str) -> Vec<Fields<'a>> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let path = format!("{}.{key}", self.path);
        let hint = format!("write `[[{path}]]` above each row");
        let Data::Array(rows) = &value.data else {
            self.wrong_type(key, value, "an array of tables", Some(hint));
            return Vec::new();
        };
        rows.iter()
            .filter_map(|row| self.reader(key, row, path.clone(), "a table", Some(hint.clone())))
            .collect()
    }

    /// The elements of a list whose elements are strings or tables; a single one may stand
    /// without its list.
    pub fn texts_or_tables(&mut self, key: &str) -> Vec<Element<'a>> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let elements = match &value.data {
            Data::Array(elements) => elements.as_slice(),
            _ => std::slice::from_ref(value),
        };
        let path = format!("{}.{key}", self.path);
        let read = elements.iter().filter_map(|element| match &element.data {
            Data::String(text) => Some(Element::Text(text.clone())),
            _ => self
                .reader(key, element, path.clone(), "a string or a table", None)
                .map(Element::Table),
        });
        read.collect()
    }

    /// Reports every key that was not asked for, and every required one that is not there.
    pub fn finish(mut self) {
        let asked: Vec<&str> = self.asked.iter().map(String::as_str).collect();
        let free: Vec<&str> =
            asked.iter().copied().filter(|key| self.table.get(key).is_none()).collect();
        let mut meant = Vec::new();
        for entry in &self.table.entries {
            let key = &entry.key.value;
            if asked.contains(&key.as_str()) {
                continue;
            }
            let near = suggest::nearest(key, free.iter().copied());
            meant.extend(near.map(str::to_string));
            let hint = match near {
                Some(near) => Some(format!("did you mean `{near}`?")),
                None => suggest::hint("", &asked, &format!("the keys of `[{}]` are", self.path)),
            };
            let message = format!("unknown key `{key}`");
            self.fault(Fault::new(entry.key.span.clone(), message).maybe_hint(hint));
        }
        // A misspelt key is one fault, not an unknown and a missing one.
        self.missing.retain(|missing| !meant.contains(missing));
    }

    /// A reader for `value`, or a fault that it is no table.
    fn reader(
        &self,
        key: &str,
        value: &'a Value,
        path: String,
        expected: &str,
        hint: Option<String>,
    ) -> Option<Fields<'a>> {
        if let Data::Table(table) = &value.data {
            return Some(Fields::new(self.scope, table, value.span.clone(), path));
        }
        self.wrong_type(key, value, expected, hint);
        None
    }

    /// Records that the value of `key` is not what was `expected`; silent if the value has
    /// had its fault already.
    pub(super) fn wrong_type(
        &self,
        key: &str,
        value: &Value,
        expected: &str,
        hint: Option<String>,
    ) {
        if value.data != Data::Faulty {
            let message = format!("wrong type for `{key}`");
            let label = format!("expected {expected}, found {}", value.describe());
            self.fault(Fault::new(value.span.clone(), message).label(label).maybe_hint(hint));
        }
    }
}

impl Drop for Fields<'_> {
    fn drop(&mut self) {
        for key in &self.missing {
            let fault = Fault::new(self.span.clone(), format!("missing key `{key}`"));
            self.fault(fault.label(format!("`{key}` is required here")).of_absence([key.as_str()]));
        }
    }
}
