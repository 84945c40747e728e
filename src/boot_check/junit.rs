//! The outcome of boots as a JUnit XML file, which CI services show: a suite for each boot, a case
//! for the boot itself and one for each expectation. There is no time in it, so the same outcome
//! gives the same bytes. Pure.

use std::fmt::Write as _;

use super::BootFailed;
use super::probe::Expectation;
use crate::format::xml::escaped;

/// One boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    /// `STAGE.bios`.
    pub name: String,
    /// In order.
    pub cases: Vec<Case>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What.
    pub name: String,
    /// How it is.
    pub outcome: CaseOutcome,
}

/// How it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseOutcome {
    /// As expected.
    Passed,
    /// Another than expected.
    Failed {
        /// What should have been.
        expected: String,
        /// What was.
        found: String,
    },
    /// Something went wrong with the boot itself.
    Error(String),
    /// Nobody knows, and the reason: [`UNANSWERED`] or [`BY_TEST`].
    Skipped(&'static str),
}

impl CaseOutcome {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        matches!(self, CaseOutcome::Passed | CaseOutcome::Skipped(_))
    }
}

/// The boot had ended before.
pub const UNANSWERED: &str = "no answer";
/// The test itself says so.
pub const BY_TEST: &str = "skipped by the test";

impl Suite {
    /// A boot in which all was as expected, also these cases of other tools' tests.
    pub fn passed(name: String, expectations: &[Expectation], tests: &[Case]) -> Suite {
        let passed = CaseOutcome::Passed;
        Suite::of(name, passed.clone(), expectations, tests, |_, _| passed.clone())
    }

    /// A boot that failed.
    pub fn failed(name: String, expectations: &[Expectation], failed: &BootFailed) -> Suite {
        // Where something differs, the machine came up and told so.
        let boot = match failed.difference {
            Some(_) => CaseOutcome::Passed,
            None => CaseOutcome::Error(failed.to_string()),
        };
        Suite::of(name, boot, expectations, &failed.tests, |index, expectation| {
            match failed.answers.get(index).and_then(Option::as_ref) {
                None => CaseOutcome::Skipped(UNANSWERED),
                Some((status, output)) => match expectation.judge(*status, output) {
                    Ok(()) => CaseOutcome::Passed,
                    Err(found) => CaseOutcome::Failed { expected: expectation.expected(), found },
                },
            }
        })
    }

    fn of(
        name: String,
        boot: CaseOutcome,
        expectations: &[Expectation],
        tests: &[Case],
        outcome: impl Fn(usize, &Expectation) -> CaseOutcome,
    ) -> Suite {
        let boot = Case { name: "boot".to_string(), outcome: boot };
        let cases = expectations.iter().enumerate().map(|(index, expectation)| Case {
            name: expectation.subject(),
            outcome: outcome(index, expectation),
        });
        let cases = [boot].into_iter().chain(cases).chain(tests.iter().cloned());
        Suite { name, cases: cases.collect() }
    }
}

/// The file. `name` is that of the whole: `PIPELINE.STAGE`.
pub fn write(name: &str, suites: &[Suite]) -> String {
    let cases = || suites.iter().flat_map(|suite| &suite.cases);
    let mut xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_string();
    let _ = writeln!(xml, "<testsuites name=\"{}\"{}>", escaped(name), counts(cases()));
    for suite in suites {
        let counts = counts(suite.cases.iter());
        let _ = writeln!(xml, "  <testsuite name=\"{}\"{counts}>", escaped(&suite.name));
        for case in &suite.cases {
            let (class, name) = (escaped(&suite.name), escaped(&case.name));
            let inner = match &case.outcome {
                CaseOutcome::Passed => String::new(),
                CaseOutcome::Failed { expected, found } => {
                    let message = format!("expected: {expected}");
                    let text = format!("{message}\nfound: {found}");
                    format!(
                        "<failure message=\"{}\">{}</failure>",
                        escaped(&message),
                        escaped(&text)
                    )
                }
                CaseOutcome::Error(text) => {
                    let first = text.lines().next().unwrap_or_default();
                    format!("<error message=\"{}\">{}</error>", escaped(first), escaped(text))
                }
                CaseOutcome::Skipped(reason) => {
                    format!("<skipped message=\"{}\"/>", escaped(reason))
                }
            };
            let case = format!("    <testcase classname=\"{class}\" name=\"{name}\"");
            let _ = match inner.is_empty() {
                true => writeln!(xml, "{case}/>"),
                false => writeln!(xml, "{case}>{inner}</testcase>"),
            };
        }
        xml += "  </testsuite>\n";
    }
    xml + "</testsuites>\n"
}

/// The attributes that say how many there are of what.
fn counts<'a>(cases: impl Iterator<Item = &'a Case> + Clone) -> String {
    let count =
        |is: fn(&CaseOutcome) -> bool| cases.clone().filter(|case| is(&case.outcome)).count();
    format!(
        " tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\"",
        count(|_| true),
        count(|it| matches!(it, CaseOutcome::Failed { .. })),
        count(|it| matches!(it, CaseOutcome::Error(_))),
        count(|it| matches!(it, CaseOutcome::Skipped(_))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(name: &str, cases: &[(&str, CaseOutcome)]) -> Suite {
        let case = |(name, outcome): &(&str, CaseOutcome)| Case {
            name: name.to_string(),
            outcome: outcome.clone(),
        };
        Suite { name: name.to_string(), cases: cases.iter().map(case).collect() }
    }

    fn failed(expected: &str, found: &str) -> CaseOutcome {
        CaseOutcome::Failed { expected: expected.into(), found: found.into() }
    }

    #[test]
    fn every_outcome_has_its_element() {
        let suites = [
            suite(
                "check.bios",
                &[("boot", CaseOutcome::Passed), ("mount /", failed("/dev/a", "x"))],
            ),
            suite(
                "check.uefi",
                &[
                    ("boot", CaseOutcome::Error("no end\ntail".into())),
                    ("a", CaseOutcome::Skipped(UNANSWERED)),
                ],
            ),
        ];
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="p.check" tests="4" failures="1" errors="1" skipped="1">
  <testsuite name="check.bios" tests="2" failures="1" errors="0" skipped="0">
    <testcase classname="check.bios" name="boot"/>
    <testcase classname="check.bios" name="mount /"><failure message="expected: /dev/a">expected: /dev/a&#10;found: x</failure></testcase>
  </testsuite>
  <testsuite name="check.uefi" tests="2" failures="0" errors="1" skipped="1">
    <testcase classname="check.uefi" name="boot"><error message="no end">no end&#10;tail</error></testcase>
    <testcase classname="check.uefi" name="a"><skipped message="no answer"/></testcase>
  </testsuite>
</testsuites>
"#;
        assert_eq!(write("p.check", &suites), expected);
    }

    #[test]
    fn a_boot_gives_a_case_for_itself_and_for_each_expectation() {
        let expectations = [
            Expectation::File { path: "/a".into() },
            Expectation::File { path: "/b".into() },
            Expectation::File { path: "/c".into() },
        ];
        let outcomes = |suite: Suite| -> Vec<CaseOutcome> {
            let names: Vec<&str> = suite.cases.iter().map(|case| case.name.as_str()).collect();
            assert_eq!(names, ["boot", "file /a", "file /b", "file /c"]);
            suite.cases.into_iter().map(|case| case.outcome).collect()
        };
        let passed = outcomes(Suite::passed("s".into(), &expectations, &[]));
        assert_eq!(passed, vec![CaseOutcome::Passed; 4]);
        let mut boot = BootFailed {
            what: "no end".into(),
            difference: None,
            tail: vec!["last".into()],
            console: "log".into(),
            answers: vec![Some((0, "exists".into())), Some((0, "does not exist".into())), None],
            tests: Vec::new(),
        };
        let skipped = CaseOutcome::Skipped(UNANSWERED);
        let rest = [CaseOutcome::Passed, failed("exists", "does not exist"), skipped.clone()];
        let error = CaseOutcome::Error("no end\n  | last\n  console log: log".into());
        let found = outcomes(Suite::failed("s".into(), &expectations, &boot));
        assert_eq!((&found[0], &found[1..]), (&error, &rest[..]));
        boot.difference = Some(("exists".into(), "does not exist".into()));
        let found = outcomes(Suite::failed("s".into(), &expectations, &boot));
        assert_eq!((&found[0], &found[1..]), (&CaseOutcome::Passed, &rest[..]));
        boot.answers.clear();
        let found = outcomes(Suite::failed("s".into(), &expectations, &boot));
        assert_eq!(found[1..], vec![skipped; 3]);
    }

    #[test]
    fn tests_of_other_tools_are_cases_behind_the_expectations() {
        let expectations = [Expectation::File { path: "/a".into() }];
        let tests = suite("", &[("goss x", CaseOutcome::Passed), ("goss y", failed("a", "b"))]);
        let names = |suite: &Suite| -> Vec<String> {
            suite.cases.iter().map(|case| case.name.clone()).collect()
        };
        let passed = Suite::passed("s".into(), &expectations, &tests.cases[..1]);
        assert_eq!(names(&passed), ["boot", "file /a", "goss x"]);
        let boot = BootFailed {
            what: "tests failed".into(),
            difference: Some(("a".into(), "b".into())),
            tail: Vec::new(),
            console: "log".into(),
            answers: vec![Some((0, "exists".into()))],
            tests: tests.cases.clone(),
        };
        let failed = Suite::failed("s".into(), &expectations, &boot);
        assert_eq!(names(&failed), ["boot", "file /a", "goss x", "goss y"]);
        assert_eq!(failed.cases[2..], tests.cases);
        assert_eq!(failed.cases[1].outcome, CaseOutcome::Passed);
    }

    /// Python's parser gives back what was written.
    #[test]
    fn another_parser_reads_whatever_a_machine_wrote() {
        const JUDGE: &str = "import json, sys, xml.etree.ElementTree as tree\n\
            root = tree.parse(sys.argv[1]).getroot()\n\
            print(json.dumps([[s.get('name'), [[c.get('classname'), c.get('name'),\n\
            [[e.tag, e.get('message'), e.text] for e in c]] for c in s]] for s in root]))\n";
        let nasty =
            "a & b < c > \"d\" 'e' ]]>\n\ttab\r\n\u{1b}[31m\u{0}\u{ffff} \u{fc}\u{1f600} -- ";
        let seen = nasty.replace(['\u{1b}', '\u{0}', '\u{ffff}'], "\u{fffd}");
        let suites = [suite(
            nasty,
            &[(nasty, failed(nasty, nasty)), ("e", CaseOutcome::Error(nasty.into()))],
        )];
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("junit.xml");
        std::fs::write(&path, write(nasty, &suites)).unwrap();
        let path = path.to_str().unwrap();
        let Some(read) = kuth_test_support::judge::tool("python3", &["-c", JUDGE, path]) else {
            return;
        };
        let read: serde_json::Value = serde_json::from_str(&read).unwrap();
        let message = format!("expected: {seen}");
        let failure = serde_json::json!(["failure", message, format!("{message}\nfound: {seen}")]);
        let error = serde_json::json!(["error", "a & b < c > \"d\" 'e' ]]>", seen]);
        let cases = serde_json::json!([[seen, seen, [failure]], [seen, "e", [error]]]);
        assert_eq!(read, serde_json::json!([[seen, cases]]));
    }
}
