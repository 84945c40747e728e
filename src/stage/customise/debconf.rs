//! `debconf`: answers to the questions that packages ask when they are installed, in the form that
//! preseed files have too. The tree's debconf gets them before any package is installed.

use crate::error::Result;
use crate::pipeline::{Fault, Fields, Text};
use crate::recipe::Recipe;
use crate::sandbox::Step;
use crate::stage::StageContext;

/// The types that debconf-set-selections knows, and its one flag.
const TYPES: [&str; 9] =
    ["select", "boolean", "string", "multiselect", "note", "password", "text", "title", "seen"];

/// The form of a line.
const HINT: &str = "write PACKAGE QUESTION TYPE VALUE, as in \"tzdata tzdata/Areas select Etc\"; \
                    `debconf-show PACKAGE` lists questions";

/// Runs the tree's own program, with the answers as its input.
const SCRIPT: &str = "command -v debconf-set-selections >/dev/null || { echo 'the tree has no debconf: \
    install the package debconf in a stage before this one' >&2; exit 1; }; \
    exec debconf-set-selections";

/// The answers of one stage.
#[derive(Default)]
pub(super) struct Answers(Vec<Answer>);

/// One answer.
struct Answer {
    /// Package, question and type, separated by spaces.
    question: String,
    /// The value; a secret where the text that it is from is one.
    value: Text,
}

/// Reads `debconf`.
pub(super) fn read(fields: &mut Fields<'_>) -> Answers {
    let mut answers: Vec<Answer> = Vec::new();
    for text in fields.secret_text_or_texts("debconf") {
        for line in text.text.lines().map(str::trim_start) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match answer(line, &text) {
                Err(fault) => fields.fault(*fault),
                Ok(answer) => match answers.iter().find(|it| it.question == answer.question) {
                    None => answers.push(answer),
                    Some(first) => {
                        let shown = match text.secret {
                            true => "a question".to_string(),
                            false => format!("`{}`", answer.question),
                        };
                        let message = format!("{shown} is answered twice");
                        let fault = Fault::new(text.span.clone(), message).label("again");
                        fields.fault(fault.also(first.value.span.clone(), "first here"));
                    }
                },
            }
        }
    }
    // Each answers another question.
    answers.sort_by(|a, b| a.question.cmp(&b.question));
    Answers(answers)
}

/// The answer in a line of `text`.
fn answer(line: &str, text: &Text) -> Result<Answer, Box<Fault>> {
    let shown = match text.secret {
        true => "a line of the secret value".to_string(),
        false => format!("`{line}`"),
    };
    let fault = |why: String, label: String| {
        let fault = Fault::new(text.span.clone(), format!("{shown} {why}"));
        Box::new(fault.label(label).hint(HINT))
    };
    let mut rest = line;
    let mut words = Vec::new();
    while words.len() < 3 {
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if word.is_empty() {
            return Err(fault("is not an answer for debconf".into(), String::new()));
        }
        words.push(word);
        // One space separates the value, which may begin with others.
        rest = if words.len() < 3 { after.trim_start() } else { after };
    }
    let kind = words[2];
    if !TYPES.contains(&kind) {
        let kind = if text.secret { String::new() } else { format!(" `{kind}`") };
        let types = format!("the types are {}", TYPES.join(", "));
        return Err(fault(format!("has the unknown type{kind}"), types));
    }
    if line.ends_with('\\') {
        let why = "ends in `\\`, which joins it with the next one";
        return Err(fault(why.into(), String::new()));
    }
    let value = Text { text: rest.to_string(), ..text.clone() };
    Ok(Answer { question: words.join(" "), value })
}

impl Answer {
    /// As debconf-set-selections takes it.
    fn line(&self) -> String {
        format!("{} {}", self.question, self.value.text)
    }
}

impl Answers {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes them into a recipe; of a secret the whole line is a keyed hash.
    pub fn describe(&self, context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        self.0.iter().try_for_each(|answer| {
            let line = Text { text: answer.line(), ..answer.value.clone() };
            context.describe_text(recipe, "debconf", &line)
        })
    }

    /// Gives them to debconf, before packages are installed.
    pub fn step(&self) -> Option<Step> {
        let lines = self.0.iter().map(|answer| answer.line() + "\n");
        (!self.0.is_empty()).then(|| Step::Run {
            argv: ["/bin/sh", "-c", SCRIPT].map(String::from).into(),
            env: Vec::new(),
            // Not by arguments, which are seen in the list of processes.
            input: lines.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_keeps_the_spaces_of_its_value() {
        for (line, question, value) in [
            ("a a/b string x  y ", "a a/b string", "x  y "),
            ("a\ta/b \tboolean true", "a a/b boolean", "true"),
            ("a a/b string", "a a/b string", ""),
            ("a a/b string  x", "a a/b string", " x"),
        ] {
            let answer = answer(line, &Text::open(0..1, line)).unwrap();
            assert_eq!((&*answer.question, &*answer.value.text), (question, value), "{line}");
        }
    }

    #[test]
    fn other_lines_are_faults_that_show_no_secret() {
        for (line, why) in [
            ("a a/b", "is not an answer for debconf"),
            ("a a/b strin x", "has the unknown type"),
            ("a a/b string x\\", "ends in `\\`"),
        ] {
            let mut text = Text::open(0..1, line);
            let fault = answer(line, &text).err().unwrap();
            assert!(fault.message.contains(why) && fault.message.contains(line), "{line}");
            text.secret = true;
            let fault = answer(line, &text).err().unwrap();
            assert!(fault.message.contains(why) && !fault.message.contains("a/b"), "{line}");
        }
    }
}
