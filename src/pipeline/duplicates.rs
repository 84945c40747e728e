//! Tables and keys that are defined twice. The parser reports the second place; the first, which it
//! does not report, is found here. Errors that only follow from another one are left out.

use toml::de::{DeTable, Error};

use super::fault::{Fault, Faults};
use super::value::{Data, Span, Table};

const DUPLICATE: &str = "duplicate key";

/// Whether the parser reports something that is defined twice.
pub(super) fn is_duplicate(error: &Error) -> bool {
    error.message() == DUPLICATE
}

/// Adds a fault for each of `errors` that reports something defined twice.
pub(super) fn report(source: &str, table: &Table, errors: &[Error], faults: &mut Faults) {
    let mut again = Vec::new();
    for error in errors.iter().filter(|error| is_duplicate(error)) {
        let span = error.span().unwrap_or(source.len()..source.len());
        if let Some((header, path)) = header_around(source, &span) {
            let first = first_header(source, header.start, &path);
            again.push((header.clone(), next_header(source, header.end)));
            faults.add(twice(header, first, &named(&path)));
            continue;
        }
        let first = first_key(source, table, &span);
        // The parser puts a table that comes twice into one; its keys then collide too.
        let follows = again.iter().any(|(header, end)| {
            let inside = header.end <= span.start && span.start < *end;
            inside && first.as_ref().is_none_or(|first| first.start < header.start)
        });
        if !follows {
            let name = source.get(span.clone()).unwrap_or_default().trim_matches(['"', '\'']);
            faults.add(twice(span, first, &format!("the key `{name}`")));
        }
    }
}

fn twice(span: Span, first: Option<Span>, what: &str) -> Fault {
    let fault = Fault::new(span, format!("{what} is defined twice")).label("defined again");
    match first {
        Some(first) => fault.also(first, "first defined here"),
        None => fault.hint("each name may be defined once; remove or rename one"),
    }
}

/// How a message names the table of a header: a stage by its name.
fn named(path: &[String]) -> String {
    match path {
        [stage, name] if stage == "stage" => format!("the stage `{name}`"),
        _ => format!("the table `[{}]`", path.join(".")),
    }
}

/// The spans of lines that look like table headers, without blanks.
fn headers(source: &str) -> impl Iterator<Item = Span> {
    let mut at = 0;
    source.split_inclusive('\n').filter_map(move |line| {
        let start = at + line.len() - line.trim_start().len();
        at += line.len();
        line.trim_start().starts_with('[').then(|| start..start + line.trim().len())
    })
}

/// The header on whose line `span` stands inside the brackets, and its path.
fn header_around(source: &str, span: &Span) -> Option<(Span, Vec<String>)> {
    let line = headers(source).find(|line| line.start < span.start && span.end <= line.end)?;
    let path = path_of(&source[line.clone()])?;
    // A comment may follow the brackets.
    let close = source[span.end..line.end].find(']')?;
    let mut end = span.end + close + 1;
    if source[end..line.end].starts_with(']') && source[line.start..].starts_with("[[") {
        end += 1;
    }
    Some((line.start..end, path))
}

/// The path a header line names: `[stage.base]` gives `stage`, `base`.
pub(super) fn path_of(line: &str) -> Option<Vec<String>> {
    let parsed = DeTable::parse(line).ok()?;
    let mut path = Vec::new();
    let mut table = parsed.get_ref();
    loop {
        let Some((key, value)) = table.iter().next() else { return Some(path) };
        path.push(key.get_ref().to_string());
        let value = value.get_ref();
        let inner = value.as_array().and_then(|array| array.iter().next());
        table = inner.map_or(value, |inner| inner.get_ref()).as_table()?;
    }
}

fn first_header(source: &str, before: usize, path: &[String]) -> Option<Span> {
    headers(source)
        .take_while(|line| line.start < before)
        .find(|line| path_of(&source[line.clone()]).as_deref() == Some(path))
}

fn next_header(source: &str, after: usize) -> usize {
    headers(source).find(|line| line.start >= after).map_or(source.len(), |line| line.start)
}

/// Where the key at `span` was defined first: in the innermost table around `span` that has a
/// key of this name before it.
fn first_key(source: &str, table: &Table, span: &Span) -> Option<Span> {
    let key = source.get(span.clone())?;
    let parsed = DeTable::parse_recoverable(key).0;
    let bare = key.trim_matches(['"', '\'']);
    let name = parsed.get_ref().keys().next().map_or(bare, |key| key.get_ref().as_ref());
    let mut best: Option<(usize, Span)> = None;
    visit(table, &(0..0), &mut |table, place| {
        let inline = source.get(place.clone()).is_some_and(|text| text.starts_with('{'));
        let around = place.start <= span.start && (!inline || span.end <= place.end);
        let Some(entry) = table.get(name).filter(|entry| entry.key.span.end <= span.start) else {
            return;
        };
        if around && best.as_ref().is_none_or(|(start, _)| *start <= place.start) {
            best = Some((place.start, entry.key.span.clone()));
        }
    });
    best.map(|(_, span)| span)
}

fn visit(table: &Table, place: &Span, see: &mut dyn FnMut(&Table, &Span)) {
    see(table, place);
    for entry in &table.entries {
        visit_data(&entry.value.data, &entry.value.span, see);
    }
}

fn visit_data(data: &Data, place: &Span, see: &mut dyn FnMut(&Table, &Span)) {
    match data {
        Data::Table(table) => visit(table, place, see),
        Data::Array(values) => {
            values.iter().for_each(|value| visit_data(&value.data, &value.span, see));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::syntax::parse;
    use super::*;

    /// Each fault as `what it points at | title | what it points at besides`.
    fn said(source: &str) -> Vec<String> {
        let mut faults = Faults::default();
        parse(source, &mut faults);
        let line = |span: &Span| source[..span.start].matches('\n').count() + 1;
        let sorted = faults.sorted();
        let show = |fault: &&Fault| {
            let more: Vec<_> = fault.more.iter().map(|(span, _)| line(span)).collect();
            format!("{}: {} {more:?}", line(&fault.span), fault.message)
        };
        sorted.iter().map(show).collect()
    }

    #[test]
    fn a_key_that_comes_twice_names_both_places() {
        assert_eq!(said("a = 1\nb = { a = 2 }\na = 3\n"), ["3: the key `a` is defined twice [1]"]);
        let source = "[x]\nk = 1\n[y]\nk = 1\nk = 2\n";
        assert_eq!(said(source), ["5: the key `k` is defined twice [4]"]);
        assert_eq!(said("a = { k = 1,\nk = 2 }\n"), ["2: the key `k` is defined twice [1]"]);
    }

    #[test]
    fn a_stage_that_comes_twice_is_one_fault() {
        let source = "[stage.a]\nkind = 1\n[stage.b]\nkind = 1\n[stage . a] # again\nkind = 2\n";
        assert_eq!(said(source), ["5: the stage `a` is defined twice [1]"]);
    }

    #[test]
    fn a_key_twice_inside_a_second_table_is_a_fault_of_its_own() {
        let source = "[t]\na = 1\n[t]\nb = 1\nb = 2\n";
        let expected =
            ["3: the table `[t]` is defined twice [1]", "5: the key `b` is defined twice [4]"];
        assert_eq!(said(source), expected);
    }
}
