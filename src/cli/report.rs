//! Error messages: what was being done, the causes (one per line), the failed command as it can be
//! repeated, and hints what to try next.

use super::Exit;
use super::screen::{Paint, escaped};
use crate::error::{Error, Interrupted, Misuse, caused_by, hints};
use crate::pipeline::FaultyPipeline;
use crate::process::CommandFailed;

/// The message for people, without a line end.
pub fn render(error: &Error, paint: Paint) -> String {
    if let Some(faulty) = caused_by::<FaultyPipeline>(error) {
        return faulty.render(paint.0);
    }
    if caused_by::<Interrupted>(error).is_some() {
        return "interrupted".to_string();
    }
    let failed = caused_by::<CommandFailed>(error);
    let mut lines = Vec::new();
    for (at, cause) in causes(error).iter().enumerate() {
        let label = match at {
            0 => format!("{} ", paint.red("error:")),
            _ => "  because: ".to_string(),
        };
        lines.push(format!("{label}{}", escaped(cause).replace('\n', "\n    ")));
    }
    if let Some(failed) = failed {
        lines.push(format!("  command: {}", failed.command));
        lines.extend(failed.tail.iter().map(|line| format!("  | {line}")));
        lines.push(format!("  full log: {}", failed.log.display()));
    }
    let hints = hints(error);
    let hints = hints.iter().map(|hint| escaped(hint));
    lines.extend(hints.map(|hint| format!("{} {hint}", paint.cyan("hint:"))));
    lines.join("\n")
}

/// The chain of causes on one line, for JSON.
pub fn line(error: &Error) -> String {
    causes(error).join(": ").replace('\n', " ")
}

/// The chain of causes, outermost first; a failed command is reduced to its first line.
fn causes(error: &Error) -> Vec<String> {
    let failed = caused_by::<CommandFailed>(error);
    let whole = failed.map(ToString::to_string);
    let cause = |text: String| match failed {
        Some(failed) if Some(&text) == whole.as_ref() => {
            format!("a command failed: {}", failed.status)
        }
        _ => text,
    };
    error.chain().map(|link| cause(link.to_string())).collect()
}

/// The exit status for this error.
pub fn exit(error: &Error) -> Exit {
    if caused_by::<Interrupted>(error).is_some() {
        Exit::Interrupted
    } else if caused_by::<Misuse>(error).is_some() || caused_by::<FaultyPipeline>(error).is_some() {
        Exit::Misuse
    } else {
        Exit::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Hint, anyhow, with_hint};
    use crate::pipeline::{Color, Fault, Faults};

    const PLAIN: Paint = Paint(Color::Never);

    #[test]
    fn causes_are_below_the_error_and_hints_last() {
        let error = Err::<(), _>(anyhow!("no such file")).hint("try `ls`").unwrap_err();
        let error = with_hint(error.context("opening x").context("reading the lock"), "or `cat`");
        let expected = "\
error: reading the lock
  because: opening x
  because: no such file
hint: or `cat`
hint: try `ls`";
        assert_eq!(render(&error, PLAIN), expected);
        assert_eq!(line(&error), "reading the lock: opening x: no such file");
        assert_eq!(exit(&error), Exit::Failed);
    }

    #[test]
    fn names_in_an_error_control_no_terminal() {
        let error = with_hint(anyhow!("no \u{1b}[31mname\u{7}"), "write \u{1b}c");
        let expected = "error: no \\u{1b}[31mname\\u{7}\nhint: write \\u{1b}c";
        assert_eq!(render(&error, PLAIN), expected);
    }

    #[test]
    fn a_failed_command_is_shown_in_full() {
        let failed = CommandFailed {
            command: "apt-get install 'a b'".into(),
            status: "exit status 100".into(),
            tail: vec!["E: one".into(), "E: two".into()],
            log: "/c/logs/base.log".into(),
        };
        let error = with_hint(Error::new(failed), "look").context("installing packages");
        let expected = "\
error: installing packages
  because: a command failed: exit status 100
  command: apt-get install 'a b'
  | E: one
  | E: two
  full log: /c/logs/base.log
hint: look";
        assert_eq!(render(&error, PLAIN), expected);
        assert_eq!(line(&error), "installing packages: a command failed: exit status 100");
    }

    #[test]
    fn each_kind_of_error_has_its_exit_status() {
        let mut faults = Faults::default();
        faults.add(Fault::new(0..1, "bad"));
        let faulty = FaultyPipeline { path: "p.toml".into(), source: "a".into(), faults };
        for (error, expected) in [
            (Error::new(Interrupted).context("x"), 130),
            (with_hint(Error::new(Misuse("x".into())), "h"), 2),
            (Error::new(faulty), 2),
            (anyhow!("x"), 1),
        ] {
            assert_eq!(exit(&error).status(), expected, "{error}");
        }
    }

    #[test]
    fn an_invalid_pipeline_shows_line_and_column() {
        let mut faults = Faults::default();
        faults.add(Fault::new(0..1, "bad"));
        let faulty = FaultyPipeline { path: "p.toml".into(), source: "a".into(), faults };
        let text = render(&Error::new(faulty).context("x"), PLAIN);
        assert!(text.starts_with("error: bad\n --> p.toml:1:1\n"), "{text}");
    }
}
