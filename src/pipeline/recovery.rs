//! Recovery from syntax errors: one fault for each broken statement. After an error the parser may
//! misread what follows, or stop; so the broken statement is replaced by spaces, byte for byte, so
//! that offsets stay, and the text is parsed again until nothing is broken.

use std::borrow::Cow;

use toml::de::{DeTable, Error};

use super::duplicates::{self, path_of};
use super::fault::{Fault, Faults};
use super::tree::table_of;
use super::value::{Data, Entry, Span, Table};

/// After so many syntax errors the file is taken for something that is not TOML at all.
const MOST: usize = 50;

/// `source` with all that is not TOML blanked, and what that was; a fault for each broken
/// statement.
pub(super) fn recover<'s>(source: &'s str, faults: &mut Faults) -> (Cow<'s, str>, String) {
    let mut text = Cow::Borrowed(source);
    let mut lost = String::new();
    for _ in 0..MOST {
        let (table, errors) = DeTable::parse_recoverable(&text);
        let broken = errors.iter().filter(|error| !duplicates::is_duplicate(error));
        let Some(first) = broken.min_by_key(|error| place(&text, error).start) else {
            break;
        };
        let table = table_of(table.get_ref(), &mut Faults::default());
        let (fault, statement) = understand(&text, &table, first, &errors);
        faults.add(fault);
        lost.push_str(&text[statement.clone()]);
        lost.push('\n');
        let blanked = blank(&text, &statement);
        if blanked == text {
            break;
        }
        text = Cow::Owned(blanked);
    }
    (text, lost)
}

fn place(text: &str, error: &Error) -> Span {
    error.span().unwrap_or(text.len()..text.len())
}

fn blank(text: &str, statement: &Span) -> String {
    let mut blanked = String::with_capacity(text.len());
    blanked.push_str(&text[..statement.start]);
    for c in text[statement.clone()].chars() {
        match c {
            '\n' => blanked.push('\n'),
            c => blanked.extend(std::iter::repeat_n(' ', c.len_utf8())),
        }
    }
    blanked.push_str(&text[statement.end..]);
    blanked
}

/// The fault of the error `first`, and the statement it breaks.
fn understand(text: &str, table: &Table, first: &Error, all: &[Error]) -> (Fault, Span) {
    let at = place(text, first).start.min(text.len());
    let line = line_start(text, at)..line_end(text, at);
    let entry = last_statement(text, table, at).filter(|entry| {
        let span = &entry.value.span;
        span.start < line.start && at <= span.end
    });
    let Some(Entry { key, value }) = entry else {
        let end = match text[line.clone()].starts_with('[') {
            true => next_statement(text, line.end, Looks::Header),
            false => line.end,
        };
        return (single(text, first), line.start..end);
    };
    let start = line_start(text, key.span.start);
    let is_string = matches!(value.data, Data::String(_));
    let unclosed = |error: &Error| {
        place(text, error).start == value.span.end
            && (error.message().starts_with("unclosed ")
                || error.message().starts_with("invalid multi-line "))
    };
    if !all.iter().any(unclosed) {
        return (single(text, first), start..line_end(text, value.span.end));
    }
    let (what, quotes, looks) = match &value.data {
        _ if is_string => ("string", 3, Looks::Header),
        Data::Table(_) => ("inline table", 1, Looks::Any),
        _ => ("array", 1, Looks::Any),
    };
    let opening = value.span.start..value.span.start + quotes;
    let mut fault = Fault::new(opening, format!("this is not TOML: the {what} is not closed"))
        .label("opened here");
    if at < value.span.end {
        fault = fault.also(at..at, "this cannot be part of it");
    }
    (fault, start..next_statement(text, line_end(text, key.span.end), looks))
}

/// A fault from an error message of the parser: `what, expected this or that`.
fn single(text: &str, error: &Error) -> Fault {
    let span = place(text, error);
    let (what, expected) = match error.message().split_once(", expected ") {
        Some((what, expected)) => (what, format!("expected {expected}")),
        None => (error.message(), String::new()),
    };
    let written = text.get(span.clone()).unwrap_or_default().trim();
    let bare = written.starts_with(|c: char| c.is_alphanumeric())
        && !written.contains(['"', '\'', '\\', '`']);
    let (what, label, hint) = match what {
        "invalid basic string" | "invalid literal string" if span.is_empty() => {
            ("the string is not closed", expected, None)
        }
        "invalid boolean" if ["true", "false"].contains(&&*written.to_lowercase()) => {
            (what, expected, Some(format!("write `{}`", written.to_lowercase())))
        }
        "string values must be quoted" | "invalid boolean" | "invalid float" if bare => {
            let what = "a string needs quotes";
            (what, String::new(), Some(format!("write `\"{written}\"`")))
        }
        "string values must be quoted" if written.is_empty() => {
            ("the value is missing", String::new(), None)
        }
        "invalid unquoted key" if written == ":" => {
            ("after a key comes `=` and a value", "expected `=`".to_string(), None)
        }
        "unquoted keys cannot be empty" => ("the key is missing", String::new(), None),
        "key with no value" => ("after a key comes `=` and a value", expected, None),
        _ => (what, expected, None),
    };
    Fault::new(span, format!("this is not TOML: {what}")).label(label).maybe_hint(hint)
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline)
}

/// Which lines are taken for the begin of something new.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looks {
    /// Those of table headers.
    Header,
    /// Those of headers and of `key = value`, where they are not indented.
    Any,
}

/// Where, after `from`, a new statement seems to begin; else the end.
fn next_statement(text: &str, from: usize, looks: Looks) -> usize {
    let mut at = from;
    for line in text[from..].split_inclusive('\n') {
        let header = line.starts_with('[') && path_of(line.trim_end()).is_some();
        if at > from && (header || (looks == Looks::Any && is_assignment(line))) {
            return at;
        }
        at += line.len();
    }
    text.len()
}

fn is_assignment(line: &str) -> bool {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'');
    line.split_once('=').is_some_and(|(key, _)| {
        let key = key.trim_end();
        !key.is_empty() && key.chars().all(bare)
    })
}

/// The last `key = value` that begins at or before `at`.
fn last_statement<'t>(text: &str, table: &'t Table, at: usize) -> Option<&'t Entry> {
    let mut last: Option<&Entry> = None;
    for entry in &table.entries {
        let found = match &entry.value.data {
            Data::Table(inner) if !opens(text, &entry.value.span, '{') => {
                last_statement(text, inner, at)
            }
            Data::Array(rows) if rows.iter().any(|row| opens(text, &row.span, '[')) => {
                let tables = rows.iter().filter_map(|row| match &row.data {
                    Data::Table(inner) => last_statement(text, inner, at),
                    _ => None,
                });
                tables.max_by_key(|entry| entry.key.span.start).or(Some(entry))
            }
            _ => Some(entry),
        };
        let found = found.filter(|found| found.key.span.start <= at);
        if found.map(|found| found.key.span.start) > last.map(|last| last.key.span.start) {
            last = found;
        }
    }
    last
}

fn opens(text: &str, span: &Span, bracket: char) -> bool {
    text.get(span.clone()).is_some_and(|text| text.starts_with(bracket))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of `source`, and each fault as `line: title`.
    fn recovered(source: &str) -> (String, Vec<String>) {
        let mut faults = Faults::default();
        let (text, _) = recover(source, &mut faults);
        assert_eq!(text.len(), source.len());
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let line = |span: &Span| source[..span.start].matches('\n').count() + 1;
        let said = |fault: &&Fault| {
            let message = fault.message.trim_start_matches("this is not TOML: ");
            format!("{}: {message}", line(&fault.span))
        };
        (lines.join("|"), faults.sorted().iter().map(said).collect())
    }

    #[test]
    fn each_broken_statement_is_one_fault_and_the_rest_is_parsed() {
        for (source, left, expected) in [
            ("a = 1\n", "a = 1", vec![]),
            ("a = \"é\nb = 2\n", "b = 2", vec!["1: the string is not closed"]),
            (
                "a = [1,\n 2\nb = [3]\n[c]\nd = nope\n",
                "b = [3]|[c]",
                vec!["1: the array is not closed", "5: a string needs quotes"],
            ),
            (
                "x = 1\na = { b = 1,\n c = 2\nd = 3\n",
                "x = 1|d = 3",
                vec!["2: the inline table is not closed"],
            ),
            ("a = \"\"\"foo\nb = 1\n[c]\n", "[c]", vec!["1: the string is not closed"]),
            ("[a\nb = 1\n[c]\nd = 1\n", "[c]|d = 1", vec!["1: unclosed table"]),
            ("a = [\n 1,\n x,\n 2\n]\nb = 1\n", "b = 1", vec!["3: a string needs quotes"]),
            (
                "a \"t\"\nb: 1\n= 4\nc = True\nd = 1\n",
                "d = 1",
                vec![
                    "1: after a key comes `=` and a value",
                    "2: after a key comes `=` and a value",
                    "3: the key is missing",
                    "4: invalid boolean",
                ],
            ),
            (
                "a = 1\na.b = 2\n",
                "a = 1",
                vec!["2: cannot extend value of type integer with a dotted key"],
            ),
        ] {
            assert_eq!(
                recovered(source),
                (left.to_string(), expected.iter().map(|s| s.to_string()).collect())
            );
        }
    }
}
