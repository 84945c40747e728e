//! The tests of other tools that a boot runs: goss inside the guest, pytest from the host.

use crate::artifact::{Artifact, ArtifactKind};
use crate::boot_check::goss::{Format, Goss};
use crate::boot_check::junit::{BY_TEST, Case, CaseOutcome};
use crate::boot_check::pytest;
use crate::error::{Context, Hint, Result, anyhow, bail};
use crate::host_path::{FileKind, HostPath};
use crate::pipeline::{Data, Fault, Fields, Input};
use crate::recipe::Recipe;
use crate::stage::{Inputs, StageContext};
use crate::units::Bytes;
use serde_json::{Value, json};

/// No program of goss is larger; it has 15 MiB.
const MOST_PROGRAM: u64 = 256 << 20;
/// No file of tests is larger.
const MOST_TESTS: u64 = 4 << 20;

/// The input that is goss's program, where a stage makes it.
pub const PROGRAM: &str = "goss-binary";

/// What the pipeline has of them.
#[derive(Default)]
pub struct OtherTests {
    goss: Option<GossFiles>,
    /// A directory.
    pytest: Option<HostPath>,
}

struct GossFiles {
    tests: HostPath,
    format: Format,
    program: Program,
}

/// Where goss's program comes from.
enum Program {
    /// This host.
    Host(HostPath),
    /// The input [`PROGRAM`].
    Stage,
}

/// Reads `goss`, `goss-binary` and `pytest`; the second is an input if a stage makes it.
pub fn read(fields: &mut Fields<'_>) -> (OtherTests, Option<Input>) {
    let has_goss = fields.has("goss");
    let tests = fields.existing_file("goss");
    let program = read_program(fields);
    let (program, input) = program.unzip();
    match (has_goss, fields.key_span("goss-binary")) {
        (true, None) => {
            let span = fields.key_span("goss").unwrap_or(fields.span());
            let fault = Fault::new(span, "`goss` needs `goss-binary`");
            fields.fault(fault.hint(
                "kuth does not download goss by itself: name the program on this host, or a \
                 `download` stage with `goss-binary = { from = \"STAGE\" }`",
            ));
        }
        (false, Some(span)) => {
            let fault = Fault::new(span, "`goss-binary` has no tests to run");
            fields.fault(fault.hint("name their file with `goss`, or leave it out"));
        }
        _ => {}
    }
    let goss = tests.zip(program).map(|(tests, program)| {
        let format = Format::of(&tests.written.text);
        GossFiles { tests: tests.path, format, program }
    });
    let pytest = fields.existing_path("pytest").and_then(|local| {
        if let Ok(FileKind::Directory) = local.path.look() {
            return Some(local.path);
        }
        let message = format!("{} is not a directory", local.written.shown());
        let fault = Fault::new(local.written.span, message);
        fields.fault(fault.hint("name the directory that has the tests"));
        None
    });
    (OtherTests { goss, pytest }, input.flatten())
}

/// The program, and the input that makes it.
fn read_program(fields: &mut Fields<'_>) -> Option<(Program, Option<Input>)> {
    let value = fields.raw("goss-binary")?;
    if let Data::Table(_) = value.data {
        let mut table = fields.table("goss-binary")?;
        let input = table.required_input("from", &[ArtifactKind::File]);
        table.finish();
        return input.map(|input| (Program::Stage, Some(Input { key: PROGRAM, ..input })));
    }
    let local = fields.existing_file("goss-binary")?;
    Some((Program::Host(local.path), None))
}

impl OtherTests {
    /// Whether there are any.
    pub fn are_there(&self) -> bool {
        self.goss.is_some() || self.pytest.is_some()
    }

    /// Writes them into a recipe, by what is in the files.
    pub fn describe(&self, recipe: &mut Recipe) -> Result<()> {
        if let Some(goss) = &self.goss {
            recipe.value("goss", goss.tests.digest()?);
            recipe.value("goss format", goss.format.word());
            // What a stage makes is among the inputs.
            if let Program::Host(program) = &goss.program {
                recipe.value("goss-binary", program.digest()?);
            }
        }
        if let Some(tests) = &self.pytest {
            tests.describe(recipe, "pytest")?;
        }
        Ok(())
    }

    /// The program and the file of goss.
    pub fn goss(&self, context: &StageContext, inputs: &Inputs) -> Result<Option<Goss>> {
        let Some(goss) = &self.goss else { return Ok(None) };
        let program = match &goss.program {
            Program::Host(path) => path.read(MOST_PROGRAM)?,
            Program::Stage => {
                let artifact = inputs.get(PROGRAM)?;
                if artifact.size > MOST_PROGRAM {
                    bail!("goss has {}, more than {}", Bytes(artifact.size), Bytes(MOST_PROGRAM));
                }
                std::fs::read(context.object(artifact)).context("reading the program of goss")?
            }
        };
        let tests = goss.tests.read(MOST_TESTS)?;
        Ok(Some(Goss { program, tests, format: goss.format }))
    }

    /// Copies pytest's tests to the work directory and gives the directory for a boot. An error where
    /// the user has not allowed them, or this host cannot run them.
    pub fn pytest(&self, context: &StageContext) -> Result<Option<std::path::PathBuf>> {
        let Some(tests) = &self.pytest else { return Ok(None) };
        if !context.settings.allow_host_tests {
            return Err(anyhow!(
                "`pytest` of the stage `{}` runs code of the project on this host, outside of the \
                 sandbox, which you have not allowed",
                context.stage
            ))
            .hint(format!("if you trust what is in {tests}, build with `--allow-host-tests`"));
        }
        pytest::require(&context.log, &context.cancel)?;
        let directory = pytest::directory(&context.work);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("making {}", directory.display()))?;
        tests.copy(&directory.join(pytest::TESTS))?;
        Ok(Some(directory))
    }
}

/// The lines of a report for tests that passed.
pub fn report(tests: &[Case]) -> Value {
    let lines = tests.iter().map(|case| {
        let skipped = matches!(case.outcome, CaseOutcome::Skipped(_));
        json!({ "what": case.name, "outcome": if skipped { "skipped" } else { "passed" } })
    });
    lines.collect()
}

/// The tests of each boot, out of the stage's own report.
pub fn of_report(context: &StageContext, artifact: &Artifact) -> Result<Vec<Vec<Case>>> {
    let object = context.object(artifact);
    let read = || -> Result<Vec<Vec<Case>>> {
        let report: Value = serde_json::from_slice(&std::fs::read(&object)?)?;
        let boots = report["boots"].as_array().context("there are no boots in it")?;
        boots.iter().map(|boot| cases(&boot["tests"])).collect()
    };
    read()
        .with_context(|| format!("reading the report {}", object.display()))
        .hint("run the stage again with `--rebuild STAGE`")
}

fn cases(tests: &Value) -> Result<Vec<Case>> {
    let tests = tests.as_array().context("there are no tests in it")?.iter();
    tests
        .map(|test| {
            let name = test["what"].as_str().context("a test has no name")?.to_string();
            let outcome = match test["outcome"].as_str() {
                Some("passed") => CaseOutcome::Passed,
                Some("skipped") => CaseOutcome::Skipped(BY_TEST),
                _ => bail!("{name} has no outcome"),
            };
            Ok(Case { name, outcome })
        })
        .collect()
}
