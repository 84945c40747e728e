//! `register`: a disk becomes a machine of the hypervisor. The result is a small record of the
//! machine's identity; whether the machine is still there, `place` asks the driver.

use crate::artifact::{Artifact, ArtifactKind, Facts, MachineFacts, Output};
use crate::digest::Digest;
use crate::error::{Context, Hint, Result, anyhow};
use crate::format::vbox;
use crate::hardware::VRAM;
use crate::machine::{
    DRIVER_WORDS, Disk, Driver, Firmware, Hardware, Identity, Location, MachineSpec, Replace,
    Source, choose, host_of, is_legal_name, journal,
};
use crate::pipeline::{Fault, Fields};
use crate::recipe::Recipe;
use crate::units::Bytes;
use crate::virtualbox::directory;

use super::{Inputs, Kind, Parsed, Pin, Placement, Resource, Stage, StageContext};

/// The row of this kind.
pub const KIND: Kind = Kind { name: "register", output: ArtifactKind::Machine, read };

/// The words for a machine's firmware.
pub(super) const FIRMWARE: &[(&str, Firmware)] =
    &[("bios", Firmware::Bios), ("uefi", Firmware::Uefi)];

struct Register {
    driver: &'static str,
    name: String,
    given: Given,
}

/// What a pipeline says of a machine's hardware, apart from its cards and disks.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub cpus: u32,
    pub memory: Bytes,
    pub firmware: Firmware,
    /// In MiB.
    pub vram: u64,
}

/// What a pipeline gives of a [`Shape`].
#[derive(Clone, Debug)]
struct Given {
    cpus: Option<u32>,
    memory: Option<Bytes>,
    firmware: Option<Firmware>,
    vram: Option<u64>,
}

impl Given {
    /// Reads `cpus`, `memory`, `firmware` and `vram`.
    fn read(fields: &mut Fields<'_>) -> Given {
        let cpus = fields.integer("cpus", 1..=256).map(|cpus| cpus.value as u32);
        let memory = checked_memory(fields);
        let firmware = fields.choice_of("firmware", FIRMWARE).map(|firmware| firmware.value);
        Given { cpus, memory, firmware, vram: checked_vram(fields) }
    }

    /// Writes down what is given: what is not comes from the input, whose digest is there too.
    fn describe(&self, recipe: &mut Recipe) {
        let mut write = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                recipe.value(name, value);
            }
        };
        write("cpus", self.cpus.map(|it| it.to_string()));
        write("memory", self.memory.map(|it| it.to_string()));
        write("firmware", self.firmware.map(|it| it.word().to_string()));
        write("vram", self.vram.map(|it| it.to_string()));
    }

    fn or(&self, other: &Shape) -> Shape {
        Shape {
            cpus: self.cpus.unwrap_or(other.cpus),
            memory: self.memory.unwrap_or(other.memory),
            firmware: self.firmware.unwrap_or(other.firmware),
            vram: self.vram.unwrap_or(other.vram),
        }
    }
}

impl Shape {
    /// One processor, 1 GiB, BIOS.
    pub const ORDINARY: Shape =
        Shape { cpus: 1, memory: Bytes::GIB, firmware: Firmware::Bios, vram: VRAM };

    /// Reads `cpus`, `memory`, `firmware` and `vram`.
    pub fn read(fields: &mut Fields<'_>) -> Shape {
        Given::read(fields).or(&Shape::ORDINARY)
    }

    /// Of a machine of VirtualBox's.
    fn of(settings: &vbox::Settings) -> Shape {
        Shape {
            cpus: settings.cpus,
            memory: Bytes::mib(settings.memory),
            firmware: if settings.efi { Firmware::Uefi } else { Firmware::Bios },
            vram: settings.vram,
        }
    }

    /// Writes them down.
    pub fn describe(&self, recipe: &mut Recipe) {
        recipe.value("cpus", self.cpus);
        recipe.value("memory", self.memory);
        recipe.value("firmware", self.firmware.word());
        recipe.value("vram", self.vram);
    }

    /// As a driver takes it, without cards and further disks.
    pub fn hardware(&self, context: &StageContext) -> Hardware {
        Hardware {
            architecture: context.settings.architecture.clone(),
            cpus: self.cpus,
            memory: self.memory.0 / Bytes::MIB.0,
            firmware: self.firmware,
            vram: self.vram,
            disks: Vec::new(),
            nics: Vec::new(),
            forwards: Vec::new(),
        }
    }
}

/// The size of a machine's memory.
pub(super) fn checked_memory(fields: &mut Fields<'_>) -> Option<Bytes> {
    let memory = fields.size("memory")?;
    if memory.value < Bytes::mib(64) || memory.value.0 % Bytes::MIB.0 != 0 {
        let message = format!("{} is not a memory size", memory.value);
        let hint = "at least 64 MiB, in whole MiB";
        fields.fault(Fault::new(memory.span, message).hint(hint));
    }
    Some(memory.value)
}

/// The size of a machine's video memory in MiB.
fn checked_vram(fields: &mut Fields<'_>) -> Option<u64> {
    let vram = fields.size("vram")?;
    let mib = vram.value.0 / Bytes::MIB.0;
    if vram.value.0 % Bytes::MIB.0 != 0 || !(1..=256).contains(&mib) {
        let message = format!("{} is not a video memory size", vram.value);
        fields.fault(Fault::new(vram.span, message).hint("whole MiB from 1 to 256"));
    }
    Some(mib)
}

/// Refuses a firmware that the disk has no boot loader for; a disk that does not say has any.
pub(super) fn check_firmware(disk: &Artifact, firmware: Firmware) -> Result<()> {
    match disk.facts.disk().map(|facts| &facts.firmware) {
        Some(has) if !has.contains(&firmware) => {
            let has = has.iter().map(|has| has.word()).collect::<Vec<_>>().join(" ");
            Err(anyhow!("the disk starts by {has} alone, not by {}", firmware.word())).hint(
                format!(
                    "write `firmware = \"{has}\"` here, or add the other to the disk's `firmware`"
                ),
            )
        }
        _ => Ok(()),
    }
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let from = fields.required_input("from", &[ArtifactKind::Disk, ArtifactKind::Directory]);
    let driver = fields.choice("driver", DRIVER_WORDS).map_or("auto", |driver| driver.value);
    let name = machine_name(fields, "name");
    let given = Given::read(fields);
    Some(Parsed::one(vec![from?], Register { driver, name: name?, given }))
}

/// The required name of a machine under `key`.
fn machine_name(fields: &mut Fields<'_>, key: &str) -> Option<String> {
    let name = fields.required_text(key)?;
    if is_legal_name(&name.text) {
        return Some(name.text);
    }
    let message = format!("{} cannot be a machine's name", name.shown());
    fields.fault(Fault::new(name.span, message).hint(NAME_HINT));
    None
}

/// What a machine's name is made of.
pub(super) const NAME_HINT: &str =
    "a name is a host name: lower-case letters, digits and `-`, at most 63";

/// The digest of everything that shapes a machine: what its stage describes, and its input.
pub(super) fn origin(
    stage: &dyn Stage,
    kind: &str,
    context: &StageContext,
    input: &Artifact,
) -> Result<Digest> {
    let mut recipe = Recipe::new(kind, stage.revision());
    recipe.value("architecture", &context.settings.architecture);
    recipe.value("epoch", context.settings.epoch);
    stage.describe(context, &mut recipe)?;
    recipe.value("from", input.digest);
    Ok(recipe.key().0)
}

/// The identity that an artifact of this stage, or of `snapshot` and `clone`, keeps.
pub(super) fn identity(context: &StageContext, artifact: &Artifact) -> Result<Identity> {
    let path = context.object(artifact);
    let what = || format!("reading the identity of a machine in {}", path.display());
    let text = std::fs::read(&path).with_context(what)?;
    serde_json::from_slice(&text).with_context(what)
}

/// The artifact of an identity; `grows` is the mount point of what grows with its first disk.
pub(super) fn made(
    context: &StageContext,
    kind: ArtifactKind,
    identity: &Identity,
    grows: Option<String>,
) -> Result<Output> {
    let (driver, machine) = (identity.driver.clone(), identity.machine.clone());
    Ok(Output::text(kind, &context.work, "identity.json", &identity.to_text()?)?
        .with(Facts::Machine(MachineFacts { driver, grows, machine })))
}

/// Like [`locate`], once the driver has finished or undone what a killed run left of the machine.
pub(super) fn materialize(
    context: &StageContext,
    artifact: &Artifact,
    replace: Replace,
) -> Result<Placement> {
    let identity = identity(context, artifact)?;
    journal::recover(&host_of(context, replace), &identity.driver, &identity.machine)?;
    locate(context, artifact, replace)
}

/// Asks the driver where what an artifact stands for is now.
pub(super) fn locate(
    context: &StageContext,
    artifact: &Artifact,
    replace: Replace,
) -> Result<Placement> {
    let identity = identity(context, artifact)?;
    let host = host_of(context, replace);
    Ok(match identity.row(&host)?.driver.find(&host, &identity)? {
        Location::Present(path) => Placement::Present(path),
        Location::Missing(why) => Placement::Missing(why),
        Location::Replaced(why) => Placement::Replaced(why),
        Location::Retained(path, why) => Placement::Retained(path, why),
    })
}

impl Stage for Register {
    fn revision(&self) -> u32 {
        1
    }

    fn describe(&self, context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        let word = context.settings.driver.as_deref().unwrap_or(self.driver);
        let host = host_of(context, Replace::Never);
        let row = choose(word, &host);
        let row = row.map_err(|error| journal::explain(error, &host, word, &self.name))?;
        recipe.value("driver", row.name);
        recipe.value("name", &self.name);
        self.given.describe(recipe);
        Ok(())
    }

    fn driver(&self) -> Option<&'static str> {
        Some(self.driver)
    }

    fn resource(&self) -> Resource {
        Resource::Hypervisor
    }

    fn run(&self, context: &StageContext, inputs: &Inputs, _pins: &[Pin]) -> Result<Output> {
        let input = inputs.get("from")?;
        let file = context.object(input);
        let (source, shape) = if input.kind == ArtifactKind::Disk {
            let shape = self.given.or(&Shape::ORDINARY);
            check_firmware(input, shape.firmware)?;
            let disk = Disk { file, digest: input.digest, size: Bytes(input.size) };
            (Source::from(disk), shape)
        } else {
            let (disk, settings) =
                directory::open(&file, &input.digest, &context.work, &context.cancel)?;
            let shape = self.given.or(&Shape::of(&settings));
            (Source { disk, storage: directory::storage(&settings) }, shape)
        };
        let word = context.settings.driver.as_deref().unwrap_or(self.driver);
        let spec = MachineSpec {
            name: self.name.clone(),
            origin: origin(self, KIND.name, context, input)?,
            hardware: shape.hardware(context),
            user: None,
        };
        let host = host_of(context, Replace::Never);
        let row = choose(word, &host)?;
        journal::recover(&host, row.name, &self.name)?;
        let identity = row.driver.register(&host, &spec, &source)?;
        let grows = input.facts.disk().and_then(|disk| disk.grows.clone());
        made(context, ArtifactKind::Machine, &identity, grows)
    }

    fn materialize(&self, context: &StageContext, artifact: &Artifact) -> Result<Placement> {
        materialize(context, artifact, Replace::Never)
    }

    fn locate(&self, context: &StageContext, artifact: &Artifact) -> Result<Placement> {
        locate(context, artifact, Replace::Never)
    }
}
