//! The syntax of Debian's control files: paragraphs of fields, separated by empty lines. It does not
//! know what the fields mean.
//!
//! Source: deb822(5), deb-control(5).

use std::io::{self, BufRead};

use super::Fault;

/// A paragraph, read field by field when it is asked for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paragraph<'a>(&'a str);

/// A field of a paragraph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name as it is written; names are compared without case.
    pub name: &'a str,
    /// The first line of its value, without the space around it.
    pub value: &'a str,
    continuation: &'a str,
}

impl<'a> Field<'a> {
    /// The continuation lines of its value, without the space around them.
    pub fn continuation(self) -> impl Iterator<Item = &'a str> {
        self.continuation.lines().filter(|line| !line.starts_with('#')).map(str::trim)
    }

    /// The words of its value, on all lines.
    pub fn words(self) -> impl Iterator<Item = &'a str> {
        let lines = std::iter::once(self.value).chain(self.continuation());
        lines.flat_map(str::split_whitespace)
    }
}

/// Whether a line goes on with the field before it, or is a comment.
fn continues(line: &str) -> bool {
    line.starts_with([' ', '\t', '#'])
}

impl<'a> Paragraph<'a> {
    /// The fields, in order. Lines that are none are skipped; see [`Paragraph::check`].
    pub fn fields(self) -> impl Iterator<Item = Field<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
                let more = after.split_inclusive('\n').take_while(|line| continues(line));
                let (continuation, after) = after.split_at(more.map(str::len).sum());
                rest = after;
                if let Some((name, value)) = line.split_once(':').filter(|_| !continues(line)) {
                    return Some(Field { name: name.trim(), value: value.trim(), continuation });
                }
            }
            None
        })
    }

    /// The first field called `name`.
    pub fn field(self, name: &str) -> Option<Field<'a>> {
        self.fields().find(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// The first line of the value of the first field called `name`.
    pub fn value(self, name: &str) -> Option<&'a str> {
        self.field(name).map(|field| field.value)
    }

    /// Fails for a line that is not a field, no continuation and no comment. `format` is what the text
    /// should be.
    pub fn check(self, format: &'static str) -> Result<(), Fault> {
        match self.0.lines().find(|line| !continues(line) && !line.contains(':')) {
            None => Ok(()),
            Some(line) => {
                let line: String = line.chars().take(60).collect();
                Err(Fault::new(format, format!("`{}` is not a field", line.escape_debug())))
            }
        }
    }
}

/// The paragraphs of a text.
pub fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let is_empty = |line: &&str| line.trim().is_empty();
        let length = |lines: &mut dyn Iterator<Item = &str>| lines.map(str::len).sum();
        rest = &rest[length(&mut rest.split_inclusive('\n').take_while(is_empty))..];
        let end = length(&mut rest.split_inclusive('\n').take_while(|line| !is_empty(line)));
        let (paragraph, after) = rest.split_at(end);
        rest = after;
        (!paragraph.is_empty()).then_some(Paragraph(paragraph))
    })
}

/// Calls `each` for every paragraph of a text that is too long to be held. Fails where the reader
/// does, and for a text that is not UTF-8.
pub fn for_each(mut reader: impl BufRead, mut each: impl FnMut(Paragraph<'_>)) -> io::Result<()> {
    let mut paragraph = String::new();
    loop {
        let start = paragraph.len();
        let is_end = reader.read_line(&mut paragraph)? == 0;
        if !paragraph[start..].trim().is_empty() {
            continue;
        }
        if start > 0 {
            each(Paragraph(&paragraph[..start]));
        }
        if is_end {
            return Ok(());
        }
        paragraph.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "\n# a comment\nPackage: a\nFiles:\n one 1\n# more\n\ttwo 2 \nEmpty:\n \n\
                        package: b\nhomepage:  http://x \n";

    #[test]
    fn fields_have_continuation_lines_and_comments_do_not_count() {
        let all: Vec<Paragraph<'_>> = paragraphs(TEXT).collect();
        let [first, second] = all[..] else { panic!("{all:?}") };
        assert_eq!(
            first.fields().map(|field| field.name).collect::<Vec<_>>(),
            ["Package", "Files", "Empty"]
        );
        let files = first.field("files").unwrap();
        assert_eq!(
            (files.value, files.continuation().collect::<Vec<_>>()),
            ("", vec!["one 1", "two 2"])
        );
        assert_eq!(files.words().collect::<Vec<_>>(), ["one", "1", "two", "2"]);
        assert_eq!(second.value("Homepage"), Some("http://x"));
        assert_eq!((second.value("Package"), second.value("Files")), (Some("b"), None));
        assert_eq!(paragraphs("\n \n").count(), 0);
    }

    #[test]
    fn a_line_that_is_no_field_is_named() {
        let check = |text| paragraphs(text).try_for_each(|paragraph| paragraph.check("test"));
        assert_eq!(check(TEXT), Ok(()));
        assert_eq!(check("a: b\nc\n").unwrap_err().to_string(), "test: `c` is not a field");
    }

    proptest! {
        #[test]
        fn a_stream_has_the_paragraphs_of_the_text(text in "[ab:# \n]{0,60}") {
            let own = |paragraph: Paragraph<'_>| paragraph.0.to_string();
            let mut streamed = Vec::new();
            for_each(text.as_bytes(), |paragraph| streamed.push(own(paragraph))).unwrap();
            prop_assert_eq!(streamed, paragraphs(&text).map(own).collect::<Vec<_>>());
        }
    }
}
