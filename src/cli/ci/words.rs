//! What the command line says of a workflow, and the words of the commands in it: nothing that a
//! pipeline or an option says may become more than a word there.

use super::{Workflow, misuse};
use crate::error::Result;
use crate::pipeline::Override;
use crate::process::quote;

/// What jobs are done for once: a runner, and values of variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Where they run, if that was said.
    pub runner: Option<String>,
    /// The variables, the same names in every row.
    pub values: Vec<Override>,
}

/// A word of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// This one.
    Plain(String),
    /// `NAME=VALUE` with the value of the row.
    Varied(String),
}

impl Word {
    /// As a shell takes it, the values of a row being in the environment.
    pub fn for_a_shell(&self) -> String {
        match self {
            Word::Plain(word) => quote(word),
            Word::Varied(name) => format!("\"{name}=${}\"", variable(name)),
        }
    }
}

/// The environment variable that holds the row's value of the pipeline's variable `name`.
pub fn variable(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("KUTH_VAR_{}", name.chars().map(legal).collect::<String>())
}

/// Whether `name` may name an environment variable and a secret.
pub fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether services and shells see nothing but a word in it, wherever it stands.
fn is_tame(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphanumeric() || "_/".contains(c))
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "._+/:@-".contains(c))
}

/// Every runner with every choice of values, in the order of the command line.
pub fn rows(runners: &[String], matrix: &[Override]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for runner in runners {
        rows.push(row(runner)?);
    }
    if rows.is_empty() {
        rows.push(Row::default());
    }
    for Override { name, value } in matrix {
        let values: Vec<&str> = value.split(',').collect();
        if values.iter().any(|value| values.iter().filter(|other| value == *other).count() > 1) {
            return Err(misuse(format!("`--matrix {name}` names a value twice"), "name it once"));
        }
        let with = |row: &Row| {
            let value = |value: &&str| Override { name: name.clone(), value: value.to_string() };
            let values = values.iter().map(value);
            let more = |value| Row { values: [&row.values[..], &[value]].concat(), ..row.clone() };
            values.map(more).collect::<Vec<_>>()
        };
        rows = rows.iter().flat_map(with).collect();
    }
    check_rows(&rows)?;
    Ok(rows)
}

/// `LABEL,NAME=VALUE,…`.
fn row(runner: &str) -> Result<Row> {
    let mut parts = runner.split(',');
    let label = parts.next().unwrap_or_default().to_string();
    let values = parts.map(|part| {
        let hint = "write `--runner LABEL,NAME=VALUE`";
        part.parse().map_err(|why: String| misuse(format!("`--runner {runner}`: {why}"), hint))
    });
    Ok(Row { runner: Some(label), values: values.collect::<Result<_>>()? })
}

fn check_rows(rows: &[Row]) -> Result<()> {
    let names = |row: &Row| row.values.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    let first = names(&rows[0]);
    for row in rows {
        let values = row.values.iter().map(|it| &it.value);
        if let Some(wild) = values.chain(&row.runner).find(|word| !is_tame(word)) {
            let hint = "names of runners and values of a matrix are made of letters, digits and \
                        any of `._+/:@-`; `--var` takes every value";
            return Err(misuse(format!("`{wild}` cannot stand in a matrix"), hint));
        }
        if names(row) != first {
            let hint = "each `--runner` sets the same variables, in one order";
            return Err(misuse("the runners do not set the same variables", hint));
        }
    }
    for (at, name) in first.iter().enumerate() {
        if first[..at].iter().any(|other| variable(other) == variable(name)) {
            let text = format!("`{name}` would be called as another variable of the matrix is");
            return Err(misuse(text, "give one of them by `--var`"));
        }
    }
    // GitHub's limit for one job; the others have such a one too.
    if rows.len() > 256 {
        let text = format!("the matrix has {} rows, and 256 is the most", rows.len());
        return Err(misuse(text, "leave some values out"));
    }
    Ok(())
}

/// Refuses what the service would evaluate, as `marks` begin something there.
pub fn check(workflow: &Workflow, marks: &str) -> Result<()> {
    let vars = workflow.vars.iter().map(|var| &var.value);
    let words = [&workflow.file, &workflow.branch];
    let words = words.into_iter().chain(&workflow.setup).chain(&workflow.image).chain(vars);
    for word in words {
        if word.contains(marks) {
            let hint = format!("the service would evaluate what follows `{marks}`");
            return Err(misuse(format!("`{word}` cannot stand in a workflow"), hint));
        }
        if word.contains('\0') {
            return Err(misuse("a word of the workflow has a zero byte", "leave it out"));
        }
    }
    if !is_tame(&workflow.branch) {
        let text = format!("`{}` cannot be the branch of a workflow", workflow.branch);
        return Err(misuse(text, "give its whole name, without patterns"));
    }
    if let Some(image) = workflow.image.as_ref().filter(|image| !is_tame(image)) {
        let hint = "give its whole name, as in `registry.example/kuth:1`";
        return Err(misuse(format!("`{image}` is no name of an image"), hint));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(runners: &[&str], matrix: &[&str]) -> Result<Vec<String>, String> {
        let runners: Vec<String> = runners.iter().map(|it| it.to_string()).collect();
        let matrix: Vec<Override> = matrix.iter().map(|it| it.parse().unwrap()).collect();
        let line = |row: &Row| {
            let values = row.values.iter().map(|it| format!("{}={}", it.name, it.value));
            row.runner.iter().cloned().chain(values).collect::<Vec<_>>().join(" ")
        };
        let rows = rows(&runners, &matrix).map_err(|error| error.to_string())?;
        Ok(rows.iter().map(line).collect())
    }

    #[test]
    fn rows_are_every_choice() {
        assert_eq!(made(&[], &[]).unwrap(), [""]);
        assert_eq!(made(&[], &["s=a,b"]).unwrap(), ["s=a", "s=b"]);
        let runners = ["big,arch=amd64", "arm,arch=arm64"];
        assert_eq!(
            made(&runners, &["s=a,b"]).unwrap(),
            [
                "big arch=amd64 s=a",
                "big arch=amd64 s=b",
                "arm arch=arm64 s=a",
                "arm arch=arm64 s=b"
            ]
        );
    }

    #[test]
    fn what_is_no_word_is_refused() {
        for (runners, matrix) in [
            (vec![], vec!["s=a b"]),
            (vec![], vec!["s=a,a"]),
            (vec![], vec!["s="]),
            (vec![], vec!["s=$(x)"]),
            (vec![], vec!["s=${{x}}"]),
            (vec![], vec!["s=a\nb"]),
            (vec![], vec!["s=-a"]),
            (vec![], vec!["s-a=1", "s_a=1"]),
            (vec!["a;b"], vec![]),
            (vec![""], vec![]),
            (vec!["a,x"], vec![]),
            (vec!["a,x=1", "b"], vec![]),
        ] {
            assert!(made(&runners, &matrix).is_err(), "{runners:?} {matrix:?}");
        }
        let many: Vec<String> = (0..257).map(|number| number.to_string()).collect();
        assert!(made(&[], &[&format!("s={}", many.join(","))]).is_err());
    }

    #[test]
    fn words_for_a_shell() {
        for (word, expected) in [
            (Word::Plain("a=b c'$d".into()), r"'a=b c'\''$d'"),
            (Word::Plain("".into()), "''"),
            (
                Word::Varied("load-balancer.x".into()),
                "\"load-balancer.x=$KUTH_VAR_LOAD_BALANCER_X\"",
            ),
        ] {
            assert_eq!(word.for_a_shell(), expected);
        }
    }
}
