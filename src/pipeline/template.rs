//! The notation of substitution: a string comes apart into literal text and `${…}`, each with
//! its place. It knows no variables.

use super::value::{Span, Text};

/// Whether `text` can stand in `${…}`.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// A part of a string, with its range in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Literal(&'a str),
    Variable(Span, &'a str),
    Environment(Span, &'a str),
    Malformed(Span),
}

/// Takes a string apart; what the pieces say joined is the string.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut done = 0;
    while let Some(dollar) = text[done..].find("${").map(|at| done + at) {
        if text[done..dollar].ends_with('$') {
            // `$${`: all but one of the dollars, then a brace that opens nothing.
            pieces.push(Piece::Literal(&text[done..dollar]));
            pieces.push(Piece::Literal("{"));
            done = dollar + 2;
            continue;
        }
        pieces.push(Piece::Literal(&text[done..dollar]));
        let Some(close) = text[dollar..].find('}').map(|at| dollar + at) else {
            pieces.push(Piece::Malformed(dollar..text.len()));
            return pieces;
        };
        let (span, name) = (dollar..close + 1, &text[dollar + 2..close]);
        pieces.push(match name.strip_prefix("env:") {
            Some(name) if is_name(name) => Piece::Environment(span, name),
            None if is_name(name) => Piece::Variable(span, name),
            _ => Piece::Malformed(span),
        });
        done = close + 1;
    }
    pieces.push(Piece::Literal(&text[done..]));
    pieces
}

/// Where `range` of the string stands in the source: exactly, if the source spells the string
/// without escapes; else the whole string.
pub(super) fn place(source: &str, text: &Text, range: &Span) -> Span {
    let written = source.get(text.span.clone()).unwrap_or_default();
    for quote in ["\"\"\"", "'''", "\"", "'"] {
        let inner = written.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        let Some(inner) = inner else { continue };
        // A line break right after the opening quotes does not count.
        let body = match quote.len() {
            3 => inner.strip_prefix("\r\n").or(inner.strip_prefix('\n')).unwrap_or(inner),
            _ => inner,
        };
        if body == text.text {
            let start = text.span.start + quote.len() + (inner.len() - body.len());
            return start + range.start..start + range.end;
        }
        break;
    }
    text.span.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_apart() {
        use Piece::*;
        assert_eq!(pieces("a${b}c"), [Literal("a"), Variable(1..5, "b"), Literal("c")]);
        assert_eq!(pieces("${env:X}"), [Literal(""), Environment(0..8, "X"), Literal("")]);
        assert_eq!(pieces("$${x}"), [Literal("$"), Literal("{"), Literal("x}")]);
        assert_eq!(pieces("${x"), [Literal(""), Malformed(0..3)]);
        assert_eq!(pieces("${}"), [Literal(""), Malformed(0..3), Literal("")]);
        assert_eq!(pieces("$x {y} $"), [Literal("$x {y} $")]);
    }
}
