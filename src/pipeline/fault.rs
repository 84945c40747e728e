//! A fault of a pipeline file and how it is shown: file, line and column, the line, carets, a cause
//! and a hint. It knows nothing of what the file means.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::value::Span;

/// One fault and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What the carets stand under.
    pub span: Span,
    /// The title: what is wrong, in one line.
    pub message: String,
    /// The words beside the carets; may be empty.
    pub label: String,
    /// What to try.
    pub hint: Option<String>,
    /// Related places, each with its label.
    pub more: Vec<(Span, String)>,
    /// Where it is, if it is in another file: `span` is then where the pipeline names that file.
    pub other_file: Option<OtherFile>,
    /// What the fault was concluded from.
    evidence: Evidence,
}

/// A place in another file, which the pipeline names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherFile {
    /// The file's path, relative to the same directory as the pipeline's own.
    pub path: String,
    /// Its text.
    pub source: Arc<str>,
    /// What the carets stand under.
    pub span: Span,
}

/// What a fault was concluded from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Evidence {
    /// Something in the file.
    Presence,
    /// Words that do not stand there; void if they stand in a part that is not TOML.
    Absence(Vec<String>),
}

impl Fault {
    /// A fault at `span`; `message` says in one line what is wrong.
    pub fn new(span: Span, message: impl Into<String>) -> Fault {
        Fault {
            span,
            message: message.into(),
            label: String::new(),
            hint: None,
            more: Vec::new(),
            other_file: None,
            evidence: Evidence::Presence,
        }
    }

    /// The words beside the carets.
    pub fn label(mut self, label: impl Into<String>) -> Fault {
        self.label = label.into();
        self
    }

    /// One sentence with what to try.
    pub fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hint = Some(hint.into());
        self
    }

    /// The hint, where there is one.
    pub fn maybe_hint(mut self, hint: Option<String>) -> Fault {
        self.hint = hint;
        self
    }

    /// Adds a related place.
    pub fn also(mut self, span: Span, label: impl Into<String>) -> Fault {
        self.more.push((span, label.into()));
        self
    }

    /// The fault is in another file; its own span says where the pipeline names that.
    pub fn in_file(mut self, other: OtherFile) -> Fault {
        self.other_file = Some(other);
        self
    }

    /// Marks the fault as concluded from the lack of one of `words`, so that it is left out
    /// where a syntax error has swallowed the word.
    pub fn of_absence<'w>(mut self, words: impl IntoIterator<Item = &'w str>) -> Fault {
        self.evidence = Evidence::Absence(words.into_iter().map(str::to_string).collect());
        self
    }

    fn render(&self, path: &str, source: &str, renderer: &Renderer) -> String {
        let label = Some(self.label.as_str()).filter(|label| !label.is_empty());
        let more = self.more.iter().map(|(span, label)| {
            AnnotationKind::Context.span(clip(source, span)).label(label.as_str())
        });
        let here = Snippet::source(source).path(path).annotations(more);
        let title = Level::ERROR.primary_title(self.message.as_str());
        let mut group = match &self.other_file {
            None => {
                let primary = AnnotationKind::Primary.span(clip(source, &self.span));
                title.element(here.annotation(primary.label(label)))
            }
            Some(OtherFile { path, source: text, span }) => {
                let primary = AnnotationKind::Primary.span(clip(text, span)).label(label);
                let there = Snippet::source(&**text).path(path).annotation(primary);
                let named = AnnotationKind::Context.span(clip(source, &self.span));
                title.element(there).element(here.annotation(named.label("the file is named here")))
            }
        };
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        renderer.render(&[group])
    }
}

/// The part of `span` on its first line, inside the source and on character boundaries:
/// carets under a whole page say less than carets under its first line.
fn clip(source: &str, span: &Span) -> Span {
    let floor = |at: usize| {
        let at = at.min(source.len());
        (0..=at).rev().find(|at| source.is_char_boundary(*at)).unwrap_or(0)
    };
    let start = floor(span.start);
    let end = floor(span.end).max(start);
    let line = source[start..end].find(['\n', '\r']).map_or(end, |at| start + at);
    start..line
}

/// Whether a rendering may carry terminal colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// Plain text.
    Never,
    /// ANSI escapes.
    Always,
}

/// The faults of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    all: Vec<Fault>,
}

impl Faults {
    /// Takes one more in.
    pub fn add(&mut self, fault: Fault) {
        self.all.push(fault);
    }

    /// Takes all of `others` in.
    pub fn extend(&mut self, others: Faults) {
        self.all.extend(others.all);
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many, repetitions included.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// In order of place, each once.
    pub fn sorted(&self) -> Vec<&Fault> {
        let mut faults: Vec<&Fault> = self.all.iter().collect();
        let inside = |fault: &Fault| fault.other_file.as_ref().map(|place| place.span.start);
        faults.sort_by_key(|fault| (fault.span.start, fault.span.end, inside(fault)));
        let mut kept: Vec<&Fault> = Vec::new();
        for fault in faults {
            let said = |other: &&&Fault| {
                other.span == fault.span
                    && other.message == fault.message
                    && other.other_file == fault.other_file
            };
            if kept.iter().rev().find(said).is_none() {
                kept.push(fault);
            }
        }
        kept
    }

    /// Leaves out what was concluded from the absence of something that stands in `lost`, the
    /// part of the file that is not TOML.
    pub(super) fn doubt(&mut self, lost: &str) {
        self.all.retain(|fault| match &fault.evidence {
            Evidence::Presence => true,
            Evidence::Absence(words) => !words.iter().any(|word| lost.contains(word.as_str())),
        });
    }

    /// All faults as text, in order of place, an empty line between two.
    pub fn render(&self, path: &Path, source: &str, color: Color) -> String {
        let renderer = match color {
            Color::Never => Renderer::plain(),
            Color::Always => Renderer::styled(),
        };
        let path = path.display().to_string();
        let faults = self.sorted();
        let texts: Vec<_> =
            faults.iter().map(|fault| fault.render(&path, source, &renderer)).collect();
        texts.join("\n\n")
    }
}

/// A pipeline file that was refused: exit status 2.
#[derive(Clone, Debug)]
pub struct FaultyPipeline {
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub source: String,
    /// What is wrong with it.
    pub faults: Faults,
}

impl FaultyPipeline {
    /// All its faults as text.
    pub fn render(&self, color: Color) -> String {
        self.faults.render(&self.path, &self.source, color)
    }
}

impl fmt::Display for FaultyPipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Color::Never))
    }
}

impl std::error::Error for FaultyPipeline {}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(source: &str, fault: Fault) -> String {
        let mut faults = Faults::default();
        faults.add(fault);
        faults.render(Path::new("p.toml"), source, Color::Never)
    }

    #[test]
    fn a_fault_shows_place_line_carets_and_hint() {
        let fault = Fault::new(6..13, "unknown key `pakages`").hint("did you mean `packages`?");
        let expected = "\
error: unknown key `pakages`
 --> p.toml:2:1
  |
2 | pakages = 1
  | ^^^^^^^
  |
  = help: did you mean `packages`?";
        assert_eq!(plain("a = 1\npakages = 1\n", fault), expected);
    }

    #[test]
    fn a_fault_in_another_file_shows_that_line_and_where_it_is_named() {
        let place = OtherFile { path: "data/x".into(), source: "a\nbb\n".into(), span: 2..4 };
        let fault = Fault::new(4..7, "wrong").label("this").in_file(place);
        let expected = "\
error: wrong
 --> data/x:2:1
  |
2 | bb
  | ^^ this
  |
 ::: p.toml:1:5
  |
1 | f = 'x'
  |     --- the file is named here";
        assert_eq!(plain("f = 'x'\n", fault), expected);
    }

    #[test]
    fn columns_count_characters_and_carets_count_cells() {
        let source = "é = \"日本\" # x\n";
        let at = source.find('x').unwrap();
        let text = plain(source, Fault::new(at..at + 1, "here"));
        assert!(text.contains("p.toml:1:12"), "{text}");
        assert!(text.contains("  |              ^"), "{text}");
    }

    #[test]
    fn faults_come_in_order_of_place_and_once() {
        let mut faults = Faults::default();
        for (span, message) in [(4..5, "c"), (0..1, "a"), (4..5, "c"), (4..5, "b")] {
            faults.add(Fault::new(span, message));
        }
        let messages: Vec<_> = faults.sorted().iter().map(|f| f.message.clone()).collect();
        assert_eq!(messages, ["a", "c", "b"]);
    }

    #[test]
    fn a_span_is_clipped_to_its_line_and_to_the_source() {
        assert_eq!(clip("ab\ncd", &(1..5)), 1..2);
        assert_eq!(clip("ab\r\ncd", &(1..5)), 1..2);
        assert_eq!(clip("é", &(1..9)), 0..2);
        assert_eq!(clip("", &(3..9)), 0..0);
    }

    #[test]
    fn colours_only_when_asked() {
        let mut faults = Faults::default();
        faults.add(Fault::new(0..1, "a"));
        assert!(faults.render(Path::new("p"), "a", Color::Always).contains('\u{1b}'));
        assert!(!faults.render(Path::new("p"), "a", Color::Never).contains('\u{1b}'));
    }
}
