//! Tests that goss runs inside the guest: the medium that brings the program and its file there, the
//! lines of the probe that run it, and what its JSON output says of each test. Pure.
//!
//! Source: goss's manual, `validate`, and its output `json`, of 0.3 and 0.4.

use std::io::Read;

use base64::prelude::{BASE64_STANDARD, Engine};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::Value;

use super::junit::{BY_TEST, Case, CaseOutcome, UNANSWERED};
use crate::error::{Context, Result};
use crate::format::iso9660::{File, Volume};

/// The label by which the guest finds the medium.
const LABEL: &str = "KUTHTEST";

/// What cases are called together, and a case that stands for all of them.
pub const NAME: &str = "goss";

/// The name of the program on the medium.
const PROGRAM: &str = "goss";

/// No report is longer, in bytes: what a guest packs may be any length.
const MOST: u64 = 64 << 20;

/// What runs, and what it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goss {
    /// The program, for the guest's architecture.
    pub program: Vec<u8>,
    /// The file of tests.
    pub tests: Vec<u8>,
    /// What it is written in.
    pub format: Format,
}

/// What a file of tests is written in, which goss tells by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

impl Format {
    /// Of a file with this name.
    pub fn of(name: &str) -> Format {
        if name.ends_with(".json") { Format::Json } else { Format::Yaml }
    }

    /// The word in a recipe.
    pub fn word(self) -> &'static str {
        match self {
            Format::Yaml => "yaml",
            Format::Json => "json",
        }
    }

    /// The file's name on the medium.
    fn file(self) -> &'static str {
        match self {
            Format::Yaml => "goss.yaml",
            Format::Json => "goss.json",
        }
    }
}

impl Goss {
    /// The image of the medium, every time in it `epoch`.
    pub fn medium(&self, epoch: u64) -> Result<Vec<u8>> {
        let file = |path: &str, bytes: &[u8]| File { path: path.into(), bytes: bytes.into() };
        let files = vec![file(PROGRAM, &self.program), file(self.format.file(), &self.tests)];
        let volume = Volume { label: LABEL.into(), time: epoch, files };
        volume.write().context("writing the medium with goss")
    }

    /// The lines that run it for at most `limit` seconds and leave its output in the file `answer`
    /// and its status in `status`. The medium is mounted below `directory`.
    pub fn lines(&self, answer: &str, directory: &str, limit: u64) -> String {
        // The image's own modes make nothing executable. The report is on standard output, and what
        // goss says instead of one on standard error.
        format!(
            "{{
    mkdir -p {directory} &&
        mount -t iso9660 -o ro,exec,mode=0555,overriderockperm LABEL={LABEL} {directory} &&
        timeout {limit} {directory}/{PROGRAM} -g {directory}/{file} validate --format json --no-color
}} >{answer} 2>{answer}-errors </dev/null
status=$?
[ -s {answer} ] || head -c 4000 {answer}-errors >{answer}
",
            file = self.format.file(),
        )
    }
}

/// What goss prints.
#[derive(Deserialize)]
struct Report {
    /// `null` where there is none.
    results: Option<Vec<TestResult>>,
}

/// One property of one resource.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct TestResult {
    resource_type: String,
    resource_id: String,
    property: String,
    successful: bool,
    /// Of 0.4.
    #[serde(default)]
    skipped: bool,
    /// 0, 1, and 2 for one that was skipped.
    #[serde(default)]
    result: Value,
    #[serde(default)]
    summary_line: String,
}

impl TestResult {
    fn case(self) -> Case {
        let subject = [&self.resource_type[..], &self.resource_id, &self.property];
        let said = self.summary_line.trim();
        let found = said.strip_prefix(&format!("{}:", subject.join(": "))).unwrap_or(said).trim();
        let outcome = if !self.successful {
            let found = if found.is_empty() { "unsuccessful" } else { found };
            CaseOutcome::Failed { expected: "successful".into(), found: found.into() }
        } else if self.skipped || self.result == 2 {
            CaseOutcome::Skipped(BY_TEST)
        } else {
            CaseOutcome::Passed
        };
        Case { name: format!("{NAME} {}", subject.join(" ")), outcome }
    }
}

/// The cases of an answer, by name: goss runs tests in no order. Where goss has not come so far, one
/// for all of them. `answer` is the exit status, and in base64 what the program wrote, packed by gzip.
pub fn cases(answer: Option<&(i32, String)>) -> Vec<Case> {
    let whole = |outcome| vec![Case { name: NAME.into(), outcome }];
    let Some((status, packed)) = answer else {
        return whole(CaseOutcome::Skipped(UNANSWERED));
    };
    let output = match unpack(packed) {
        Ok(output) => output,
        Err(error) => {
            return whole(CaseOutcome::Error(format!("its answer is damaged: {error:#}")));
        }
    };
    let report: Option<Report> = serde_json::from_str(&output).ok();
    let results = report.map(|report| report.results.unwrap_or_default());
    let error = match &results {
        None => failure(*status, &output),
        Some(results) if results.is_empty() => "there is no test in its file".to_string(),
        // What it does not report, its status does.
        Some(results) if *status != 0 && results.iter().all(|it| it.successful) => {
            failure(*status, "every test was successful")
        }
        Some(_) => String::new(),
    };
    let mut cases: Vec<Case> = results.into_iter().flatten().map(TestResult::case).collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    if !error.is_empty() {
        cases.insert(0, Case { name: NAME.into(), outcome: CaseOutcome::Error(error) });
    }
    cases
}

/// What became of goss itself.
fn failure(status: i32, output: &str) -> String {
    let output = output.trim();
    let output = if output.is_empty() { "no output" } else { output };
    match status {
        124 => format!("it did not come to its end: {output}"),
        126 | 127 => format!(
            "exit status {status}: {output}; `goss-binary` must be a static program for the guest's \
             architecture"
        ),
        status => format!("exit status {status}: {output}"),
    }
}

fn unpack(packed: &str) -> Result<String> {
    let packed = BASE64_STANDARD.decode(packed.trim()).context("reading base64")?;
    let mut output = Vec::new();
    MultiGzDecoder::new(&packed[..]).take(MOST).read_to_end(&mut output).context("unpacking it")?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::iso9660::Image;
    use std::io::Write;

    fn packed(output: &str) -> String {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(output.as_bytes()).unwrap();
        BASE64_STANDARD.encode(encoder.finish().unwrap())
    }

    fn outcomes(status: i32, output: &str) -> Vec<(String, CaseOutcome)> {
        let cases = cases(Some(&(status, packed(output)))).into_iter();
        cases.map(|case| (case.name, case.outcome)).collect()
    }

    fn error(status: i32, output: &str) -> String {
        match &outcomes(status, output)[0] {
            (name, CaseOutcome::Error(text)) if name == NAME => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// As 0.4 prints it, shortened; 0.3 has `expected` and `found` in place of `matcher-result`, and
    /// no `skipped`.
    const REPORT: &str = r#"{"results":[
        {"duration":81,"end-time":"2026-01-01T00:00:00Z","err":null,"matcher-result":{"actual":true,
         "expected":true,"message":"to equal"},"meta":null,"property":"running","resource-id":"ssh",
         "resource-type":"Service","result":0,"skipped":false,"successful":true,
         "summary-line":"Service: ssh: running: matches expectation: true","title":""},
        {"err":null,"property":"mode","resource-id":"/etc/motd","resource-type":"File","result":1,
         "skipped":false,"successful":false,
         "summary-line":"File: /etc/motd: mode:\nExpected\n    \"0644\"\nto equal\n    \"0600\""},
        {"err":null,"property":"exists","resource-id":"/etc/motd","resource-type":"File","result":0,
         "successful":true,"expected":["true"],"found":["true"],
         "summary-line":"File: /etc/motd: exists: matches expectation: [true]"},
        {"property":"uid","resource-id":"root","resource-type":"User","result":2,"successful":true,
         "summary-line":"User: root: uid: skipped"},
        {"property":"title","resource-id":"b","resource-type":"Matching","result":1,
         "successful":false,"summary-line":"Matching: b: title: no match"}
        ],"summary":{"failed-count":2,"test-count":5}}"#;

    #[test]
    fn each_test_is_a_case_in_the_order_of_names() {
        let failed = |found: &str| CaseOutcome::Failed {
            expected: "successful".into(),
            found: found.into(),
        };
        let expected = [
            ("goss File /etc/motd exists", CaseOutcome::Passed),
            ("goss File /etc/motd mode", failed("Expected\n    \"0644\"\nto equal\n    \"0600\"")),
            ("goss Matching b title", failed("no match")),
            ("goss Service ssh running", CaseOutcome::Passed),
            ("goss User root uid", CaseOutcome::Skipped(BY_TEST)),
        ];
        let expected: Vec<_> = expected.map(|(name, it)| (name.to_string(), it)).into();
        assert_eq!(outcomes(1, REPORT), expected);
    }

    #[test]
    fn what_is_no_report_is_an_error_with_what_was_said() {
        let nothing = r#"{"results":null,"summary":{"test-count":0}}"#;
        assert_eq!(error(0, nothing), "there is no test in its file");
        assert_eq!(error(32, "mount: no such device\n"), "exit status 32: mount: no such device");
        assert_eq!(error(1, ""), "exit status 1: no output");
        assert!(error(126, "Exec format error").contains("`goss-binary` must be a static program"));
        assert!(error(124, "").starts_with("it did not come to its end"), "{}", error(124, ""));
        // A status that no test explains; the tests are there all the same.
        let passed = r#"{"results":[{"property":"exists","resource-id":"/","resource-type":"File",
            "successful":true}]}"#;
        assert_eq!(error(3, passed), "exit status 3: every test was successful");
        assert_eq!(outcomes(3, passed).len(), 2);
        assert_eq!(outcomes(0, passed).len(), 1);
        let damaged = cases(Some(&(0, "!".into())));
        assert!(
            matches!(&damaged[0].outcome, CaseOutcome::Error(text) if text.contains("damaged"))
        );
        assert_eq!(cases(None)[0].outcome, CaseOutcome::Skipped(UNANSWERED));
    }

    #[test]
    fn the_medium_has_the_program_and_the_file_under_the_name_that_goss_needs() {
        for (name, on_medium) in
            [("a/web.yaml", "goss.yaml"), ("web", "goss.yaml"), ("web.json", "goss.json")]
        {
            let format = Format::of(name);
            let goss = Goss { program: b"program".into(), tests: b"tests".into(), format };
            let bytes = goss.medium(0).unwrap();
            assert_eq!(bytes, goss.medium(0).unwrap());
            let mut image = Image::open(std::io::Cursor::new(bytes)).unwrap();
            assert_eq!(image.label(), LABEL);
            for (name, expected) in [(PROGRAM, "program"), (on_medium, "tests")] {
                let entry = image.find(name).unwrap().unwrap();
                let mut text = String::new();
                image.contents(&entry).read_to_string(&mut text).unwrap();
                assert_eq!(text, expected);
            }
            assert!(goss.lines("a", "d", 1).contains(&format!("-g d/{on_medium} validate")));
        }
    }
}
