//! The matrix of a workflow, and the arguments of its commands: nothing from a pipeline or an option
//! may be interpreted by a shell or the service.

use super::{Workflow, misuse};
use crate::error::Result;
use crate::pipeline::Override;
use crate::process::quote;

/// A row of the matrix: a runner, and values of variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The runner, if one was given.
    pub runner: Option<String>,
    /// Values of variables; every row has the same names.
    pub values: Vec<Override>,
}

/// An argument of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// The same in every row.
    Fixed(String),
    /// `NAME=VALUE` with the value of the row.
    FromMatrix(String),
}

impl Argument {
    /// Quoted for a shell, with the values of a row in environment variables.
    pub fn for_shell(&self) -> String {
        match self {
            Argument::Fixed(word) => quote(word),
            Argument::FromMatrix(name) => format!("\"{name}=${}\"", variable(name)),
        }
    }
}

/// The environment variable with the row's value of the pipeline variable `name`.
pub fn variable(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("KUTH_VAR_{}", name.chars().map(legal).collect::<String>())
}

/// Whether `name` may name an environment variable and a secret.
pub fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether no service and no shell interprets anything in `word`.
fn is_literal(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphanumeric() || "_/".contains(c))
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "._+/:@-".contains(c))
}

/// Every combination of runners and values, in the order of the command line.
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
            return Err(misuse(
                format!("`--matrix {name}` has a value twice"),
                "give each value once",
            ));
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
        if let Some(wild) = values.chain(&row.runner).find(|word| !is_literal(word)) {
            let hint = "runners and matrix values consist of letters, digits and any of \
                        `._+/:@-`; `--var` accepts any value";
            return Err(misuse(format!("`{wild}` is not allowed in a matrix"), hint));
        }
        if names(row) != first {
            let hint = "set the same variables in the same order in each `--runner`";
            return Err(misuse("the runners do not set the same variables", hint));
        }
    }
    for (at, name) in first.iter().enumerate() {
        if first[..at].iter().any(|other| variable(other) == variable(name)) {
            let text = format!(
                "`{name}` has the same environment variable as another variable of the matrix"
            );
            return Err(misuse(text, "set one of them with `--var`"));
        }
    }
    // GitHub's limit for one job; the other services have similar ones.
    if rows.len() > 256 {
        let text = format!("the matrix has {} rows; the limit is 256", rows.len());
        return Err(misuse(text, "remove some values"));
    }
    Ok(())
}

/// Fails for text that the service would evaluate: an expression begins with `marks`.
pub(super) fn check(workflow: &Workflow, marks: &str) -> Result<()> {
    let vars = workflow.vars.iter().map(|var| &var.value);
    let words = [&workflow.file, &workflow.branch];
    let words =
        words.into_iter().chain(workflow.install.command()).chain(&workflow.image).chain(vars);
    for word in words {
        if word.contains(marks) {
            let hint = format!("the service would evaluate what follows `{marks}`");
            return Err(misuse(format!("`{word}` is not allowed in a workflow"), hint));
        }
        if word.contains('\0') {
            return Err(misuse("a value of the workflow contains a zero byte", "remove it"));
        }
    }
    if !is_literal(&workflow.branch) {
        let text = format!("`{}` cannot be the branch of a workflow", workflow.branch);
        return Err(misuse(text, "give the full name, without patterns"));
    }
    if let Some(image) = workflow.image.as_ref().filter(|image| !is_literal(image)) {
        let hint = "give the full name, such as `registry.example/kuth:1`";
        return Err(misuse(format!("`{image}` is not the name of an image"), hint));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(runners: &[&str], matrix: &[&str]) -> Result<Vec<String>, String> {
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
    fn rows_are_every_combination() {
        assert_eq!(lines(&[], &[]).unwrap(), [""]);
        assert_eq!(lines(&[], &["s=a,b"]).unwrap(), ["s=a", "s=b"]);
        let runners = ["big,arch=amd64", "arm,arch=arm64"];
        assert_eq!(
            lines(&runners, &["s=a,b"]).unwrap(),
            [
                "big arch=amd64 s=a",
                "big arch=amd64 s=b",
                "arm arch=arm64 s=a",
                "arm arch=arm64 s=b"
            ]
        );
    }

    #[test]
    fn text_that_would_be_interpreted_is_refused() {
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
            assert!(lines(&runners, &matrix).is_err(), "{runners:?} {matrix:?}");
        }
        let many: Vec<String> = (0..257).map(|number| number.to_string()).collect();
        assert!(lines(&[], &[&format!("s={}", many.join(","))]).is_err());
    }

    #[test]
    fn arguments_are_quoted_for_a_shell() {
        for (argument, expected) in [
            (Argument::Fixed("a=b c'$d".into()), r"'a=b c'\''$d'"),
            (Argument::Fixed("".into()), "''"),
            (
                Argument::FromMatrix("load-balancer.x".into()),
                "\"load-balancer.x=$KUTH_VAR_LOAD_BALANCER_X\"",
            ),
        ] {
            assert_eq!(argument.for_shell(), expected);
        }
    }
}
