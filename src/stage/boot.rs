//! `boot`: starts a disk in QEMU and looks inside. The result is a report of what was expected
//! and held; what did not hold is an error. The report has no times and no measured values, so
//! the same disk and expectations give the same bytes. A JUnit file in `out/PIPELINE/` has the
//! outcome too, also of a boot that failed.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::artifact::{Artifact, ArtifactKind, Output};
use crate::boot_check::junit::{self, Case, Suite};
use crate::boot_check::probe::Expectation;
use crate::boot_check::{BootFailed, Check, Via};
use crate::error::{Context, Hint, Result, anyhow, caused_by, with_hint};
use crate::files::write_aside;
use crate::hardware::Firmware;
use crate::pipeline::{Data, Fault, Fields, Value};
use crate::recipe::Recipe;
use crate::units::Bytes;

use super::{Inputs, Kind, Parsed, Pin, Placement, Resource, Stage, StageContext, register};

mod expect;
mod other_tests;

use other_tests::OtherTests;

/// The row of this kind.
pub const KIND: Kind = Kind { name: "boot", output: ArtifactKind::Report, read };

/// With QEMU's own translation a boot takes one minute, on a busy host four.
const LIMIT: Duration = Duration::from_secs(600);

const BOTH: &[Firmware] = &[Firmware::Bios, Firmware::Uefi];
const FIRMWARE: &[(&str, &[Firmware])] =
    &[("bios", &[Firmware::Bios]), ("uefi", &[Firmware::Uefi]), ("both", BOTH)];

const VIA: &[(&str, Via)] = &[("cloud-init", Via::CloudInit), ("credentials", Via::Credentials)];

struct Boot {
    firmware: &'static [Firmware],
    cpus: u32,
    memory: Bytes,
    limit: Duration,
    secure_boot: bool,
    /// `via`, if the pipeline has it.
    via: Option<Via>,
    expectations: Vec<Expectation>,
    other_tests: OtherTests,
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let from = fields.required_input("from", &[ArtifactKind::Disk]);
    let firmware = fields.choice_of("firmware", FIRMWARE).map(|firmware| firmware.value);
    let cpus = fields.integer("cpus", 1..=64).map_or(2, |cpus| cpus.value as u32);
    let memory = register::checked_memory(fields).unwrap_or(Bytes::GIB);
    let limit = read_limit(fields, LIMIT);
    let via = fields.choice_of("via", VIA).map(|via| via.value);
    let mut expectations = Vec::new();
    if let Some(mut expect) = fields.table("expect") {
        expectations = expect::read(&mut expect);
        expect.finish();
    }
    let secure_boot = fields.boolean("secure-boot", false);
    if secure_boot && firmware.is_some_and(|firmware| firmware != [Firmware::Uefi]) {
        let span = fields.key_span("secure-boot").unwrap_or(fields.span());
        let fault = Fault::new(span, "`secure-boot` is of UEFI alone");
        fields.fault(fault.hint("write `firmware = \"uefi\"`, or leave it out"));
    }
    let default = if secure_boot { &[Firmware::Uefi] } else { &[Firmware::Bios] };
    let firmware = firmware.unwrap_or(default);
    if secure_boot {
        expectations.push(Expectation::SecureBoot);
    }
    let (other_tests, program) = other_tests::read(fields);
    let boot = Boot { firmware, cpus, memory, limit, secure_boot, via, expectations, other_tests };
    Some(Parsed::one([from?].into_iter().chain(program).collect(), boot))
}

/// `timeout`, or `default`.
pub(super) fn read_limit(fields: &mut Fields<'_>, default: Duration) -> Duration {
    let value = fields.raw("timeout");
    value.and_then(|value| time(fields, "timeout", value)).unwrap_or(default)
}

/// The value of `key`, a count of seconds, or a string with a unit; from 1 s to a day.
fn time(fields: &Fields<'_>, key: &str, value: &Value) -> Option<Duration> {
    let seconds = match &value.data {
        Data::Integer(seconds) => u64::try_from(*seconds).ok(),
        Data::String(text) => seconds(text.as_str()),
        Data::Faulty => return None,
        _ => None,
    };
    let seconds = seconds.filter(|seconds| (1..=86_400).contains(seconds));
    if seconds.is_none() {
        let fault = Fault::new(value.span.clone(), format!("`{key}` is not a time"));
        fields.fault(fault.hint("write seconds or minutes, as in \"300 s\" or \"5 min\""));
    }
    seconds.map(Duration::from_secs)
}

fn seconds(text: &str) -> Option<u64> {
    let (number, factor) = match text.trim() {
        text if text.ends_with("min") => (text.strip_suffix("min")?, 60),
        text => (text.strip_suffix('s')?, 1),
    };
    number.trim().parse::<u64>().ok()?.checked_mul(factor)
}

impl Boot {
    /// The file of the outcome, for CI services.
    fn junit(&self, context: &StageContext) -> PathBuf {
        context.settings.output.join(format!("{}.junit.xml", context.stage))
    }

    /// The suite's name of a boot by `firmware`.
    fn suite(context: &StageContext, firmware: Firmware) -> String {
        format!("{}.{}", context.stage, firmware.word())
    }

    /// The suites of the first boots, in which all was as expected; `tests` has those of each.
    fn passed(&self, context: &StageContext, tests: &[Vec<Case>]) -> Vec<Suite> {
        let boots = self.firmware.iter().zip(tests);
        let name = |firmware: &Firmware| Boot::suite(context, *firmware);
        boots.map(|(it, tests)| Suite::passed(name(it), &self.expectations, tests)).collect()
    }

    /// Writes the file, unless it is so already.
    fn write_junit(&self, context: &StageContext, suites: &[Suite]) -> Result<()> {
        let path = self.junit(context);
        let name = format!("{}.{}", context.settings.pipeline, context.stage);
        let text = junit::write(&name, suites);
        if std::fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(());
        }
        let directory = &context.settings.output;
        std::fs::create_dir_all(directory)
            .with_context(|| format!("making the output directory {}", directory.display()))
            .hint("use another directory with `--output DIR`")?;
        write_aside(directory, &path, text.as_bytes())
    }
}

impl Stage for Boot {
    fn revision(&self) -> u32 {
        1
    }

    // `timeout` is left out: it says how long one waits for the same result.
    fn describe(&self, _context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        recipe.list("firmware", self.firmware.iter().map(|firmware| firmware.word()));
        recipe.value("cpus", self.cpus);
        recipe.value("memory", self.memory);
        recipe.optional("via", self.via.map(Via::word));
        for expectation in &self.expectations {
            let line = format!("{}: {}", expectation.subject(), expectation.expected());
            recipe.value("expect", line);
        }
        self.other_tests.describe(recipe)
    }

    fn resource(&self) -> Resource {
        Resource::Machine
    }

    fn run(&self, context: &StageContext, inputs: &Inputs, _pins: &[Pin]) -> Result<Output> {
        // What an earlier run wrote is not the outcome of this one, however it ends.
        let junit = self.junit(context);
        match std::fs::remove_file(&junit) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", junit.display()));
            }
            _ => {}
        }
        let disk = inputs.get("from")?;
        let file = context.object(disk);
        self.firmware.iter().try_for_each(|firmware| register::check_firmware(disk, *firmware))?;
        if self.secure_boot && disk.facts.disk().is_none_or(|facts| facts.secure_boot.is_none()) {
            return Err(with_hint(
                anyhow!("the boot loader of the disk is not signed for Secure Boot"),
                "`disk` takes a signed one where the tree's suite has it; see `secure-boot` there",
            ));
        }
        let via = Via::choose(self.via, disk.facts.disk().and_then(|facts| facts.boot_software))?;
        let goss = self.other_tests.goss(context, inputs)?;
        let pytest = self.other_tests.pytest(context)?;
        let (mut boots, mut tests) = (Vec::new(), Vec::new());
        for (index, firmware) in self.firmware.iter().enumerate() {
            let (done, all) = (index as u64, self.firmware.len() as u64);
            (context.progress)(done, all, "boots");
            let check = Check {
                disk: &file,
                size: Bytes(disk.size),
                firmware: *firmware,
                secure_boot: self.secure_boot,
                via,
                architecture: &context.settings.architecture,
                cpus: self.cpus,
                memory: self.memory.0 / Bytes::MIB.0,
                expectations: &self.expectations,
                goss: goss.as_ref(),
                pytest: pytest.as_deref(),
                limit: self.limit,
                work: &context.work,
                log: &context.log,
                console: &context.log.with_extension(format!("{}.console", firmware.word())),
                epoch: context.settings.epoch,
            };
            let booted = match check.run(&context.cancel) {
                Ok(booted) => booted,
                Err(error) => {
                    if let Some(failed) = caused_by::<BootFailed>(&error) {
                        let mut suites = self.passed(context, &tests);
                        let name = Boot::suite(context, *firmware);
                        suites.push(Suite::failed(name, &self.expectations, failed));
                        if let Err(error) = self.write_junit(context, &suites) {
                            (context.warn)(&format!("{}: {error:#}", context.stage));
                        }
                    }
                    return Err(error);
                }
            };
            let answered = self.expectations.iter().zip(&booted.answers);
            let reports: Vec<_> =
                answered.map(|(it, (status, output))| it.report(*status, output)).collect();
            let mut boot = json!({ "firmware": firmware.word(), "expectations": reports });
            if self.other_tests.are_there() {
                boot["tests"] = other_tests::report(&booted.tests);
            }
            boots.push(boot);
            tests.push(booted.tests);
        }
        let report = serde_json::to_string_pretty(&json!({ "boots": boots }))? + "\n";
        Output::text(ArtifactKind::Report, &context.work, "report.json", &report)
    }

    /// Only a boot in which all is as expected has a result, so the file follows from the stage, and
    /// from the report where there are tests whose names the stage does not know.
    fn materialize(&self, context: &StageContext, artifact: &Artifact) -> Result<Placement> {
        let tests = match self.other_tests.are_there() {
            true => other_tests::of_report(context, artifact)?,
            false => vec![Vec::new(); self.firmware.len()],
        };
        self.write_junit(context, &self.passed(context, &tests))?;
        self.locate(context, artifact)
    }
}

#[cfg(test)]
mod tests;
