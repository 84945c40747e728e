//! `boot`: starts a disk in QEMU and looks inside. The result is a report of what was expected
//! and held; what did not hold is an error. The report has no times and no measured values, so
//! the same disk and expectations give the same bytes.

use std::time::Duration;

use serde_json::json;

use crate::artifact::{ArtifactKind, Output};
use crate::boot_check::Check;
use crate::boot_check::probe::Expectation;
use crate::error::{Result, anyhow, with_hint};
use crate::hardware::Firmware;
use crate::pipeline::{Data, Fault, Fields};
use crate::recipe::Recipe;
use crate::units::Bytes;

use super::{Inputs, Kind, Parsed, Pin, Resource, Stage, StageContext, register};

/// The row of this kind.
pub const KIND: Kind = Kind { name: "boot", output: ArtifactKind::Report, read };

/// With QEMU's own translation a boot takes one minute, on a busy host four.
const LIMIT: Duration = Duration::from_secs(600);

const BOTH: &[Firmware] = &[Firmware::Bios, Firmware::Uefi];
const FIRMWARE: &[(&str, &[Firmware])] =
    &[("bios", &[Firmware::Bios]), ("uefi", &[Firmware::Uefi]), ("both", BOTH)];

struct Boot {
    firmware: &'static [Firmware],
    cpus: u32,
    memory: Bytes,
    limit: Duration,
    secure_boot: bool,
    expectations: Vec<Expectation>,
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let from = fields.required_input("from", &[ArtifactKind::Disk]);
    let firmware = fields.choice_of("firmware", FIRMWARE).map(|firmware| firmware.value);
    let cpus = fields.integer("cpus", 1..=64).map_or(2, |cpus| cpus.value as u32);
    let memory = register::checked_memory(fields).unwrap_or(Bytes::GIB);
    let limit = read_limit(fields, LIMIT);
    let mut expectations = Vec::new();
    if let Some(mut expect) = fields.table("expect") {
        read_expectations(&mut expect, &mut expectations);
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
    let boot = Boot { firmware, cpus, memory, limit, secure_boot, expectations };
    Some(Parsed::one(vec![from?], boot))
}

/// `timeout`: a count of seconds, or a string with a unit.
pub(super) fn read_limit(fields: &mut Fields<'_>, default: Duration) -> Duration {
    let Some(value) = fields.raw("timeout") else { return default };
    let seconds = match &value.data {
        Data::Integer(seconds) => u64::try_from(*seconds).ok(),
        Data::String(text) => seconds(text.as_str()),
        Data::Faulty => return default,
        _ => None,
    };
    match seconds {
        Some(seconds @ 1..=86_400) => Duration::from_secs(seconds),
        _ => {
            let fault = Fault::new(value.span.clone(), "`timeout` is not a time");
            fields.fault(fault.hint("write seconds or minutes, as in \"300 s\" or \"5 min\""));
            default
        }
    }
}

fn seconds(text: &str) -> Option<u64> {
    let (number, factor) = match text.trim() {
        text if text.ends_with("min") => (text.strip_suffix("min")?, 60),
        text => (text.strip_suffix('s')?, 1),
    };
    number.trim().parse::<u64>().ok()?.checked_mul(factor)
}

fn read_expectations(expect: &mut Fields<'_>, into: &mut Vec<Expectation>) {
    for (path, source) in expect.texts_by_name("mounts") {
        if !path.value.starts_with('/') {
            let message = format!("`{}` is not a mount point", path.value);
            expect.fault(Fault::new(path.span, message).hint("it begins with `/`"));
            continue;
        }
        into.push(Expectation::Mount { path: path.value, source: source.text });
    }
    for (name, size) in expect.texts_by_name("volumes") {
        match size.text.parse() {
            Ok(size) => into.push(Expectation::Volume { name: name.value, size }),
            Err(error) => {
                let message = format!("{} is not a size", size.shown());
                let label = crate::units::SizeError::to_string(&error);
                expect.fault(Fault::new(size.span, message).label(label));
            }
        }
    }
    let services = expect.unique_texts("services").into_iter();
    into.extend(services.map(|unit| Expectation::Service { unit: unit.text }));
    if let Some(most) = expect.integer("failed-units", 0..=i64::MAX) {
        into.push(Expectation::FailedUnits { most: most.value as u64 });
    }
    if expect.boolean("cloud-init", false) {
        into.push(Expectation::CloudInit);
    }
    for mut command in expect.array_of_tables("command") {
        let run = command.required_text("run");
        let output = command.text("output").map(|output| output.text);
        into.extend(run.map(|run| Expectation::Command { run: run.text, output }));
        command.finish();
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
        for expectation in &self.expectations {
            let line = format!("{}: {}", expectation.subject(), expectation.expected());
            recipe.value("expect", line);
        }
        Ok(())
    }

    fn resource(&self) -> Resource {
        Resource::Machine
    }

    fn run(&self, context: &StageContext, inputs: &Inputs, _pins: &[Pin]) -> Result<Output> {
        let disk = inputs.get("from")?;
        let file = context.object(disk);
        self.firmware.iter().try_for_each(|firmware| register::check_firmware(disk, *firmware))?;
        if self.secure_boot && disk.facts.disk().is_none_or(|facts| facts.secure_boot.is_none()) {
            return Err(with_hint(
                anyhow!("the boot loader of the disk is not signed for Secure Boot"),
                "`disk` takes a signed one where the tree's suite has it; see `secure-boot` there",
            ));
        }
        let mut boots = Vec::new();
        for (index, firmware) in self.firmware.iter().enumerate() {
            let (done, all) = (index as u64, self.firmware.len() as u64);
            (context.progress)(done, all, "boots");
            let check = Check {
                disk: &file,
                size: Bytes(disk.size),
                firmware: *firmware,
                secure_boot: self.secure_boot,
                architecture: &context.settings.architecture,
                cpus: self.cpus,
                memory: self.memory.0 / Bytes::MIB.0,
                expectations: &self.expectations,
                limit: self.limit,
                work: &context.work,
                log: &context.log,
                console: &context.log.with_extension(format!("{}.console", firmware.word())),
                epoch: context.settings.epoch,
            };
            let answers = check.run(&context.cancel)?;
            let answered = self.expectations.iter().zip(&answers);
            let reports: Vec<_> =
                answered.map(|(it, (status, output))| it.report(*status, output)).collect();
            boots.push(json!({ "firmware": firmware.word(), "expectations": reports }));
        }
        let report = serde_json::to_string_pretty(&json!({ "boots": boots }))? + "\n";
        Output::text(ArtifactKind::Report, &context.work, "report.json", &report)
    }
}
