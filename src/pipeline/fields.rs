//! The reader of one table: asked for keys one by one, it gives checked values (strings, lists,
//! numbers, sizes, choices, tables) and collects a fault for each one that is not as it should be,
//! and in the end for each key that was not asked for. It knows types, not meanings.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use super::check::Input;
use super::fault::{Fault, Faults};
use super::suggest;
use super::value::{Data, Span, Spanned, Table, Text, Value};
use crate::units::{Bytes, SizeError};

/// What all readers of one file share.
pub struct Scope<'a> {
    pub(super) source: &'a str,
    pub(super) root: &'a Path,
    pub(super) faults: RefCell<Faults>,
    /// The inputs asked for since they were last taken out.
    pub(super) inputs: RefCell<Vec<Input>>,
    /// The variables of the pipeline, for files that are filled in as strings are.
    variables: Vec<(String, Text)>,
    /// The stages of the pipeline, as far as others may ask.
    stages: Vec<Ancestor>,
}

/// A stage that another one is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Its name.
    pub name: String,
    /// Its kind, as written.
    pub kind: String,
    /// The stage under its key `from`.
    from: Option<String>,
}

impl<'a> Scope<'a> {
    /// For a file with this `source`, whose paths are relative to `root`.
    pub fn new(source: &'a str, root: &'a Path) -> Scope<'a> {
        let (faults, inputs) = (RefCell::default(), RefCell::default());
        Scope { source, root, faults, inputs, variables: Vec::new(), stages: Vec::new() }
    }

    /// The same with the stages of the pipeline, each with its name and its table.
    pub fn with_stages<'t>(
        mut self,
        stages: impl IntoIterator<Item = (&'t str, &'t Table)>,
    ) -> Scope<'a> {
        let text = |table: &Table, key: &str| match &table.get(key)?.value.data {
            Data::String(text) if !text.secret => Some(text.text.clone()),
            _ => None,
        };
        let stages = stages.into_iter().map(|(name, table)| Ancestor {
            name: name.to_string(),
            kind: text(table, "kind").unwrap_or_default(),
            from: text(table, "from"),
        });
        self.stages = stages.collect();
        self
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
/// an absent key is not a fault unless the getter says so. End with [`Fields::finish`].
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

/// A size, or what others leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// This size.
    Exactly(Bytes),
    /// `"rest"`: what the others leave.
    Rest,
}

const UNITS: &str = "a size is a whole number and one of `KiB`, `MiB`, `GiB`, `TiB` and `B`, \
                     as in \"512 MiB\"";

impl<'a> Fields<'a> {
    /// Reads `table`, which is at `span` and is known as `path`, such as `stage.base`.
    pub fn new(
        scope: &'a Scope<'a>,
        table: &'a Table,
        span: Span,
        path: impl Into<String>,
    ) -> Fields<'a> {
        let path = path.into();
        Fields { scope, table, span, path, asked: Vec::new(), missing: Vec::new() }
    }

    /// The span of the table: its header.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// The pipeline's variables, in the order of the file. Strings have them filled in already;
    /// this is for the contents of files.
    pub fn variables(&self) -> &'a [(String, Text)] {
        &self.scope.variables
    }

    /// The stage `name`, the one under its key `from`, and so on. It ends at a stage that is not there,
    /// and before one that it had already.
    pub fn ancestors(&self, name: &str) -> Vec<&'a Ancestor> {
        let mut found: Vec<&Ancestor> = Vec::new();
        let mut next = Some(name);
        while let Some(stage) =
            next.and_then(|name| self.scope.stages.iter().find(|it| it.name == name))
            && !found.contains(&stage)
        {
            found.push(stage);
            next = stage.from.as_deref();
        }
        found
    }

    /// Whether something was filled into a string of the file.
    pub fn is_filled_in(&self, text: &Text) -> bool {
        self.scope.source.get(text.span.clone()).is_some_and(|written| written.contains("${"))
    }

    /// Records a fault the caller has found, of a value or of several together.
    pub fn fault(&self, fault: Fault) {
        self.scope.faults.borrow_mut().add(fault);
    }

    /// Whether `key` is written, soundly or not; counts as asking for it.
    pub fn has(&mut self, key: &str) -> bool {
        self.raw(key).is_some()
    }

    /// The span of `key`, if it is written.
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

    /// The elements of the array under `key`, strings and tables. A string that has come before is a
    /// fault and left out.
    pub fn unique_texts_and_tables(&mut self, key: &str) -> Vec<Element<'a>> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let Data::Array(elements) = &value.data else {
            let hint = match &value.data {
                Data::String(_) => self.written(value).map(|it| format!("write `{key} = [{it}]`")),
                _ => None,
            };
            self.wrong_type(key, value, "an array of strings and tables", hint);
            return Vec::new();
        };
        let path = format!("{}.{key}", self.path);
        let mut texts = Vec::new();
        let mut kept = Vec::new();
        for element in elements {
            match &element.data {
                Data::Table(_) => {
                    let table = self.reader(key, element, path.clone(), "a table", None);
                    kept.extend(table.map(Element::Table));
                }
                _ => {
                    let text = self.as_text(key, element, "a string or a table");
                    let text = text.and_then(|text| self.as_open(key, text));
                    let text = text.and_then(|text| self.unless_before(key, text, &mut texts));
                    kept.extend(text.map(Element::Text));
                }
            }
        }
        kept
    }

    /// The string under `key`. One that comes from the environment is a fault: it would stand in
    /// recipes, logs and file names.
    pub fn text(&mut self, key: &str) -> Option<Text> {
        let text = self.secret_text(key)?;
        self.as_open(key, text)
    }

    /// The string under `key`, which must be there.
    pub fn required_text(&mut self, key: &str) -> Option<Text> {
        self.require(key).text(key)
    }

    /// The string under `key`, which may come from the environment; the caller must not show it.
    pub fn secret_text(&mut self, key: &str) -> Option<Text> {
        let value = self.raw(key)?;
        self.as_text(key, value, "a string")
    }

    /// The strings of the array under `key`; without the faulty ones.
    pub fn texts(&mut self, key: &str) -> Vec<Text> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let Data::Array(values) = &value.data else {
            let hint = match &value.data {
                Data::String(_) => self.written(value).map(|it| format!("write `{key} = [{it}]`")),
                _ => None,
            };
            self.wrong_type(key, value, "an array of strings", hint);
            return Vec::new();
        };
        let texts = values.iter().filter_map(|value| self.as_text(key, value, "a string"));
        texts.filter_map(|text| self.as_open(key, text)).collect()
    }

    /// Like [`Fields::texts`]; an element that has come before is a fault and left out.
    pub fn unique_texts(&mut self, key: &str) -> Vec<Text> {
        let mut before = Vec::new();
        let texts = self.texts(key).into_iter();
        texts.filter_map(|text| self.unless_before(key, text, &mut before)).collect()
    }

    /// A text that is not among those `before`, which it is added to; else a fault.
    fn unless_before(&self, key: &str, text: Text, before: &mut Vec<Text>) -> Option<Text> {
        let Some(first) = before.iter().find(|other| other.text == text.text) else {
            before.push(text.clone());
            return Some(text);
        };
        let message = format!("{} is in `{key}` twice", text.shown());
        let fault = Fault::new(text.span, message).label("again");
        self.fault(fault.also(first.span.clone(), "first here"));
        None
    }

    /// The string, or the strings, under `key`.
    pub fn text_or_texts(&mut self, key: &str) -> Vec<Text> {
        match self.raw(key) {
            Some(Value { data: Data::String(text), .. }) => {
                self.as_open(key, text.clone()).into_iter().collect()
            }
            Some(value) if !matches!(value.data, Data::Array(_)) => {
                self.wrong_type(key, value, "a string or an array of strings", None);
                Vec::new()
            }
            _ => self.texts(key),
        }
    }

    /// Like [`Fields::text_or_texts`]; they may come from the environment, and the caller must not
    /// show those that do.
    pub fn secret_text_or_texts(&mut self, key: &str) -> Vec<Text> {
        let expected = "a string or an array of strings";
        match self.raw(key) {
            None => Vec::new(),
            Some(Value { data: Data::Array(values), .. }) => {
                values.iter().filter_map(|value| self.as_text(key, value, "a string")).collect()
            }
            Some(value) => self.as_text(key, value, expected).into_iter().collect(),
        }
    }

    /// The strings of the table under `key`, by their keys, in file order.
    pub fn texts_by_name(&mut self, key: &str) -> Vec<(Spanned<String>, Text)> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let Data::Table(table) = &value.data else {
            self.wrong_type(key, value, "a table of strings", None);
            return Vec::new();
        };
        let entries = table.entries.iter();
        let read = entries.filter_map(|entry| {
            let text = self.as_text(&entry.key, &entry.value, "a string")?;
            Some((entry.key.clone(), self.as_open(&entry.key, text)?))
        });
        read.collect()
    }

    /// The strings and integers below the table `key`, by their paths: `net.ipv4.ip_forward = 1` is
    /// one, whether or not its name is quoted. In file order.
    pub fn values_by_path(&mut self, key: &str) -> Vec<(Spanned<String>, Text)> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let mut found = Vec::new();
        match &value.data {
            Data::Table(table) => self.collect_values("", table, &mut found),
            _ => self.wrong_type(key, value, "a table of strings and integers", None),
        }
        found
    }

    fn collect_values(
        &self,
        above: &str,
        table: &'a Table,
        found: &mut Vec<(Spanned<String>, Text)>,
    ) {
        for entry in &table.entries {
            let path = format!("{above}{}", entry.key.value);
            let text = match &entry.value.data {
                Data::Table(table) => {
                    self.collect_values(&format!("{path}."), table, found);
                    continue;
                }
                Data::Integer(number) => {
                    Some(Text::open(entry.value.span.clone(), number.to_string()))
                }
                _ => self
                    .as_text(&entry.key, &entry.value, "a string or an integer")
                    .and_then(|text| self.as_open(&path, text)),
            };
            found.extend(text.map(|text| (Spanned::new(entry.key.span.clone(), path), text)));
        }
    }

    /// The string under `key`, parsed as a `T`; `what` names the type in a fault: `a SHA-256`.
    pub fn parsed<T>(&mut self, key: &str, what: &str) -> Option<Spanned<T>>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let text = self.text(key)?;
        match text.text.parse() {
            Ok(value) => Some(Spanned::new(text.span, value)),
            Err(error) => {
                let message = format!("{} is not {what}", text.shown());
                self.fault(Fault::new(text.span, message).label(error.to_string()));
                None
            }
        }
    }

    /// The boolean under `key`, or `default`.
    pub fn boolean(&mut self, key: &str, default: bool) -> bool {
        match self.raw(key) {
            Some(Value { data: Data::Boolean(value), .. }) => *value,
            Some(value) => {
                let hint = match &value.data {
                    Data::String(text) if matches!(text.as_str(), "true" | "false") => {
                        Some(format!("write `{key} = {}`, without quotes", text.text))
                    }
                    _ => None,
                };
                self.wrong_type(key, value, "a boolean", hint);
                default
            }
            None => default,
        }
    }

    /// The integer under `key`, if it is in `range`.
    pub fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<Spanned<i64>> {
        let value = self.raw(key)?;
        let Data::Integer(number) = value.data else {
            self.wrong_type(key, value, "an integer", None);
            return None;
        };
        if range.contains(&number) {
            return Some(Spanned::new(value.span.clone(), number));
        }
        let (least, most) = range.into_inner();
        let bound = match most {
            i64::MAX => format!("at least {least}"),
            _ => format!("from {least} to {most}"),
        };
        let message = format!("`{key}` is out of range");
        self.fault(Fault::new(value.span.clone(), message).label(format!("must be {bound}")));
        None
    }

    /// The size under `key`: `"512 MiB"`.
    pub fn size(&mut self, key: &str) -> Option<Spanned<Bytes>> {
        let value = self.raw(key)?;
        let text = self.size_text(key, value)?;
        self.as_size(&text, UNITS)
    }

    /// The size under `key`, which must be there.
    pub fn required_size(&mut self, key: &str) -> Option<Spanned<Bytes>> {
        self.require(key).size(key)
    }

    /// The size under `key`, or `"rest"`.
    pub fn size_or_rest(&mut self, key: &str) -> Option<Spanned<Size>> {
        let value = self.raw(key)?;
        let text = self.size_text(key, value)?;
        if text.as_str() == "rest" {
            return Some(Spanned::new(text.span, Size::Rest));
        }
        let hint = format!("{UNITS}, or \"rest\" for what is left");
        self.as_size(&text, &hint).map(|size| size.map(Size::Exactly))
    }

    /// The size under `key`, or `"rest"`; the key must be there.
    pub fn required_size_or_rest(&mut self, key: &str) -> Option<Spanned<Size>> {
        self.require(key).size_or_rest(key)
    }

    /// The one of `words` that `key` has.
    pub fn choice(&mut self, key: &str, words: &[&'static str]) -> Option<Spanned<&'static str>> {
        let text = self.text(key)?;
        self.as_choice(key, text, words)
    }

    /// The value for the word that `key` has.
    pub fn choice_of<T: Copy>(
        &mut self,
        key: &str,
        rows: &[(&'static str, T)],
    ) -> Option<Spanned<T>> {
        let words: Vec<&'static str> = rows.iter().map(|(word, _)| *word).collect();
        let word = self.choice(key, &words)?;
        let (_, value) = rows.iter().find(|(other, _)| *other == word.value)?;
        Some(Spanned::new(word.span, *value))
    }

    /// The words of `words` that stand under `key`: one alone, or a list without repetition.
    pub fn choices(&mut self, key: &str, words: &[&'static str]) -> Vec<Spanned<&'static str>> {
        let texts = match self.raw(key) {
            Some(Value { data: Data::String(text), .. }) => {
                self.as_open(key, text.clone()).into_iter().collect()
            }
            _ => self.unique_texts(key),
        };
        texts.into_iter().filter_map(|text| self.as_choice(key, text, words)).collect()
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

    /// A reader for `value`, or a fault that it is not a table.
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

    /// How the source spells a value.
    fn written(&self, value: &Value) -> Option<&'a str> {
        self.scope.source.get(value.span.clone())
    }

    pub(super) fn as_text(&self, key: &str, value: &Value, expected: &str) -> Option<Text> {
        if let Data::String(text) = &value.data {
            return Some(text.clone());
        }
        let hint = match &value.data {
            Data::Integer(_) | Data::Float(_) | Data::Boolean(_) | Data::Datetime(_) => {
                self.written(value).map(|written| format!("write `\"{written}\"`"))
            }
            _ => None,
        };
        self.wrong_type(key, value, expected, hint);
        None
    }

    /// A string that will be shown, and so may not be a secret.
    pub(super) fn as_open(&self, key: &str, text: Text) -> Option<Text> {
        if !text.secret {
            return Some(text);
        }
        let message = format!("`{key}` cannot be a secret");
        let hint = "what comes from the environment is a secret; use a variable and `--var`";
        self.fault(Fault::new(text.span, message).label("from the environment").hint(hint));
        None
    }

    fn size_text(&self, key: &str, value: &Value) -> Option<Text> {
        if let Data::String(text) = &value.data {
            return self.as_open(key, text.clone());
        }
        self.wrong_type(key, value, "a size in a string", Some(UNITS.to_string()));
        None
    }

    fn as_size(&self, text: &Text, hint: &str) -> Option<Spanned<Bytes>> {
        let error = match text.text.parse::<Bytes>() {
            Ok(size) => return Some(Spanned::new(text.span.clone(), size)),
            Err(error) => error,
        };
        let label = error.to_string();
        let decimal = match &error {
            SizeError::Unit(unit) => meant_unit(unit),
            _ => None,
        };
        let hint = match decimal {
            Some(unit) => format!("did you mean `{unit}`? {hint}"),
            None => hint.to_string(),
        };
        let fault = Fault::new(text.span.clone(), format!("{} is not a size", text.shown()));
        self.fault(fault.label(label).hint(hint));
        None
    }

    fn as_choice(
        &self,
        key: &str,
        text: Text,
        words: &[&'static str],
    ) -> Option<Spanned<&'static str>> {
        let found = words.iter().find(|word| **word == text.text);
        if let Some(word) = found {
            return Some(Spanned::new(text.span, word));
        }
        let message = format!("{} is not a valid `{key}`", text.shown());
        let hint = suggest::hint(&text.text, words, "choose one of");
        self.fault(Fault::new(text.span, message).maybe_hint(hint));
        None
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

/// The unit that `GB`, `g` or `gib` probably means.
fn meant_unit(unit: &str) -> Option<&'static str> {
    match unit.to_ascii_lowercase().as_str() {
        "k" | "kb" | "kib" => Some("KiB"),
        "m" | "mb" | "mib" => Some("MiB"),
        "g" | "gb" | "gib" => Some("GiB"),
        "t" | "tb" | "tib" => Some("TiB"),
        "b" | "byte" | "bytes" => Some("B"),
        _ => None,
    }
}
