//! Making machines: each step of a base and of a clone, the state of a machine until the last
//! step being that of one that was not finished.

use std::path::{Path, PathBuf};

use crate::cancel::Progress;
use crate::digest::Digest;
use crate::error::{Context, Hint, Result, anyhow, bail};
use crate::format::blocks::BlockMap;
use crate::format::{Guid, vbox, vdi};
use crate::hardware::Network;
use crate::hardware::nic::preferred_port;
use crate::hypervisor::{
    Controller as NewController, CopyMode, MachineSpec, Source, Storage, refusal,
};
use crate::image::{self, Container};
use crate::units::Bytes;

use super::answers::{self, Controller, Info};
use super::config::Config;
use super::files::{CONSOLE, SEED};
use super::hardware::difference;
use super::options::{MOST_NICS, Modification};
use super::record::{self, Note, Parent, Record};
use super::remembered::Shape;

/// The controller that is made where a machine has none with room.
const OURS: &str = "kuth";

/// Where a clone comes from.
pub struct Origin<'a> {
    /// The machine and its snapshot.
    pub parent: Parent,
    /// What the clone shares with it.
    pub copy: CopyMode,
    /// The size of the clone's first disk; `None`: the parent's.
    pub size: Option<Bytes>,
    /// The image of the clone's seed.
    pub seed: &'a [u8],
}

/// Makes a machine of a disk, with the controllers that it had if it comes from a machine.
pub fn base(config: &Config<'_>, spec: &MachineSpec, source: &Source) -> Result<()> {
    let host = config.host;
    let record = begin(config, spec, source)?;
    let (place, uuid) = (config.machine_directory(&spec.name), record.uuid.as_str());
    let file = place.join(format!("{}.vdi", spec.name));
    // The disk's own ids would clash with those of another machine made of the same disk.
    let identity = image::Identity {
        disk: Digest::of(format!("kuth-virtualbox-disk-1\n{uuid}")),
        epoch: host.epoch,
    };
    let progress = Progress { cancel: &host.cancel, report: &|_, _| () };
    image::write(&source.disk.file, Container::Vdi, identity, &file, 1, progress)?;
    let ours = ours();
    let storage = source.storage.as_ref().unwrap_or(&ours);
    let controllers = &storage.controllers;
    for controller in controllers {
        config.add_controller(uuid, controller)?;
    }
    let of_disk = controllers.get(storage.controller);
    let of_disk = of_disk.ok_or_else(|| anyhow!("the machine has no hard disk"))?;
    config.attach(uuid, &of_disk.name, storage.at, "hdd", &file)?;
    finish(config, spec, record, &[])
}

/// How a machine has its disk attached where nothing says so.
fn ours() -> Storage {
    let controller = |name: &str, model: vbox::Model, ports| NewController {
        name: name.into(),
        bus: model.bus,
        chip: model.chip,
        ports,
    };
    Storage {
        system: "Debian_64".to_string(),
        // Room for some disks of clones, which otherwise each has to ask for.
        controllers: vec![controller("SATA", vbox::AHCI, 4), controller("IDE", vbox::PIIX4, 2)],
        controller: 0,
        at: (0, 0),
    }
}

/// Creates an empty machine with a record that says it is not finished.
fn begin(config: &Config<'_>, spec: &MachineSpec, source: &Source) -> Result<Record> {
    let record = Record::new(spec, &config.host.pipeline, None, preferred_port(&spec.name));
    let directory = config.directory();
    let mut words = vec!["createvm", "--name", &spec.name, "--uuid", &record.uuid];
    let directory = directory.to_string_lossy();
    let system = match &source.storage {
        Some(storage) => storage.system.as_str(),
        // Only its icon and defaults come from that.
        None if spec.hardware.architecture == "arm64" => "Debian_arm64",
        None => "Debian_64",
    };
    words.extend(["--basefolder", &directory, "--ostype", system]);
    words.push("--register");
    config.add_machine(&record.uuid, &spec.name, &words)?;
    remember(config, &record)?;
    Ok(record)
}

/// Makes a clone of a snapshot, which has all of that, and its parent's record: so it counts as
/// not finished.
pub fn begin_clone(config: &Config<'_>, spec: &MachineSpec, from: &Origin<'_>) -> Result<()> {
    let uuid = record::uuid(&spec.name, &spec.origin);
    let mut words = vec!["clonevm", &from.parent.uuid];
    if !from.parent.snapshot.is_empty() {
        words.extend(["--snapshot", &from.parent.snapshot]);
    }
    if from.copy == CopyMode::Linked {
        words.extend(["--options", "link"]);
    }
    let directory = config.directory();
    let directory = directory.to_string_lossy();
    words.extend(["--name", &spec.name, "--uuid", &uuid, "--basefolder", &directory, "--register"]);
    config.add_machine(&uuid, &spec.name, &words)
}

/// Gives a clone its own seed, disks and hardware.
pub fn finish_clone(config: &Config<'_>, spec: &MachineSpec, from: Origin<'_>) -> Result<()> {
    let mut record = Record::new(spec, &config.host.pipeline, None, preferred_port(&spec.name));
    let uuid = record.uuid.clone();
    let place = config.machine_directory(&spec.name);
    let Shape { mut controllers, rules } = shape(config, &from.parent, &uuid)?;
    record.cloned_from = Some(from.parent);
    if let Some(size) = from.size {
        let disk = first_disk(config, &uuid)?;
        if config.capacity(&disk)? != size {
            config.resize(&disk, size)?;
        }
    }

    let seed = place.join(SEED);
    std::fs::write(&seed, from.seed).with_context(|| format!("writing {}", seed.display()))?;
    crate::files::sync(&seed)?;
    empty_drives(config, &uuid, &mut controllers)?;
    let (controller, at) = place_for_seed(config, &uuid, &mut controllers)?;
    config.attach(&uuid, &controller, at, "dvddrive", &seed)?;
    for (index, size) in spec.hardware.disks.iter().enumerate() {
        let file = place.join(format!("disk{}.vdi", index + 1));
        write_empty(&file, Bytes(*size), &uuid)?;
        let (controller, at) = place_for_disk(config, &uuid, &mut controllers)?;
        config.attach(&uuid, &controller, at, "hdd", &file)?;
    }
    finish(config, spec, record, &rules)
}

/// Refuses a size of the first disk that a clone cannot have. VirtualBox resizes a differencing image
/// too, but fails to read what is beyond the end of its parent (seen with 7.2.22).
pub fn check_size(config: &Config<'_>, spec: &MachineSpec, from: &Origin<'_>) -> Result<()> {
    let Some(size) = from.size else { return Ok(()) };
    let base = config.capacity(&first_disk(config, &from.parent.uuid)?)?;
    refusal::is_no_smaller_than_base(&spec.name, size, base)?;
    if from.copy == CopyMode::Full || size == base {
        return Ok(());
    }
    let name = &spec.name;
    Err(anyhow!("VirtualBox gives the linked clone `{name}` no larger disk than its base has"))
        .hint("write `linked = false` in the stage `clone`, or use the driver `qemu`")
}

/// The file of a machine's first disk.
fn first_disk(config: &Config<'_>, uuid: &str) -> Result<String> {
    let disk = known(config, uuid)?.files().into_iter().find(|path| !is_iso(path));
    let disk = disk.ok_or_else(|| anyhow!("the machine {uuid} has no hard disk"))?;
    Ok(disk.to_string_lossy().into_owned())
}

fn is_iso(path: &Path) -> bool {
    path.extension().is_some_and(|it| it.eq_ignore_ascii_case("iso"))
}

/// The shape of a clone of `parent` that was just made.
fn shape(config: &Config<'_>, parent: &Parent, clone: &str) -> Result<Shape> {
    if let Some(shape) = config.remembered.shape(parent) {
        return Ok(shape);
    }
    let info = known(config, clone)?;
    let name = |rule: String| rule.split(',').next().unwrap_or_default().to_string();
    let rules = info.forwards(MOST_NICS).into_iter().map(|(card, rule)| (card, name(rule)));
    let shape = Shape { controllers: info.controllers(), rules: rules.collect() };
    // Without a snapshot it is the machine as it is now that was copied.
    if !parent.snapshot.is_empty() {
        config.remembered.keep_shape(parent, &shape);
    }
    Ok(shape)
}

/// Takes out what the parent had in its drives for removable media.
fn empty_drives(config: &Config<'_>, uuid: &str, controllers: &mut [Controller]) -> Result<()> {
    for controller in controllers {
        let drives: Vec<(u32, u32)> = controller
            .attached
            .iter()
            .filter(|(_, path)| is_iso(path) || path.as_os_str() == "emptydrive")
            .map(|(at, _)| *at)
            .collect();
        for at in drives {
            config.attach(uuid, &controller.name, at, "dvddrive", Path::new("none"))?;
            controller.attached.remove(&at);
        }
    }
    Ok(())
}

/// The place for the seed: on IDE where there is room, else on SATA.
fn place_for_seed(
    config: &Config<'_>,
    uuid: &str,
    controllers: &mut Vec<Controller>,
) -> Result<(String, (u32, u32))> {
    let ide = controllers.iter().position(|it| it.is_ide() && it.free().is_some());
    if let Some(controller) = ide.map(|at| &controllers[at])
        && let Some(at) = controller.free()
    {
        return Ok((controller.name.clone(), at));
    }
    place_for_disk(config, uuid, controllers)
}

/// The next port on SATA, which is made where there is none, and gets more ports where it has too
/// few.
fn place_for_disk(
    config: &Config<'_>,
    uuid: &str,
    controllers: &mut Vec<Controller>,
) -> Result<(String, (u32, u32))> {
    if !controllers.iter().any(Controller::is_sata) {
        let (bus, chip) = (vbox::AHCI.bus, vbox::AHCI.chip);
        let ours = NewController { name: OURS.to_string(), bus, chip, ports: 1 };
        config.add_controller(uuid, &ours)?;
        controllers.push(Controller::sata(OURS));
    }
    let found = controllers.iter_mut().find(|it| it.is_sata() && it.free().is_some());
    let Some(controller) = found else {
        return Err(anyhow!("the machine's SATA controller has no free port"))
            .hint("ask for fewer disks");
    };
    let at = controller.free().unwrap_or_default();
    if at.0 >= controller.ports {
        controller.ports = at.0 + 1;
        config.set_ports(uuid, &controller.name, controller.ports)?;
    }
    controller.attached.insert(at, PathBuf::from("taken"));
    Ok((controller.name.clone(), at))
}

/// An empty disk that grows as it is written.
fn write_empty(file: &Path, size: Bytes, machine: &str) -> Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let id = |label: &str| Guid::derived(machine, &format!("{name}/{label}"));
    let ids = vdi::Ids { image: id("image"), modification: id("modification") };
    let plan = vdi::plan(&BlockMap::new(size, vdi::BLOCK, [])?, ids)?;
    image::write_blank(&plan, file)
}

/// Gives a machine its hardware, reads back that VirtualBox took it, and writes its record.
pub fn finish(
    config: &Config<'_>,
    spec: &MachineSpec,
    mut record: Record,
    forwards: &[(usize, String)],
) -> Result<()> {
    let hardware = &spec.hardware;
    if hardware.nics.len() > MOST_NICS {
        bail!("VirtualBox gives a machine {MOST_NICS} network cards, not {}", hardware.nics.len());
    }
    let place = config.machine_directory(&spec.name);
    let host_only = host_only_adapter(config, spec)?;
    let description = format!("Made by kuth from the pipeline {}.", record.pipeline);
    let modification = Modification {
        hardware,
        forwards,
        console: &place.join(CONSOLE),
        ssh_port: record.ssh_port,
        host_only: &host_only,
        description: &description,
    };
    config.modify(&record.uuid, &modification)?;
    let info = known(config, &record.uuid)?;
    if let Some(difference) = difference(&info, hardware) {
        bail!("VirtualBox did not make `{}` as asked: {difference}", spec.name);
    }
    let disks: usize = info.controllers().iter().map(|it| it.attached.len()).sum();
    if disks < 1 + hardware.disks.len() {
        bail!("VirtualBox did not attach all disks of `{}`", spec.name);
    }
    record.made = info.state_change().to_string();
    remember(config, &record)?;
    Note::write(&info);
    Ok(())
}

/// The adapter for host-only cards that name none.
fn host_only_adapter(config: &Config<'_>, spec: &MachineSpec) -> Result<String> {
    let asks = |network: &Network| matches!(network, Network::HostOnly(None));
    if !spec.hardware.nics.iter().any(|nic| asks(&nic.network)) {
        return Ok(String::new());
    }
    config.remembered.host_only(|| {
        let listed = config.vbox.query(["list", "hostonlyifs"])?;
        let first = answers::adapters(&listed).into_iter().next();
        Ok(first.map_or_else(|| "vboxnet0".to_string(), |adapter| adapter.name))
    })
}

/// Writes the record of a machine.
pub fn remember(config: &Config<'_>, record: &Record) -> Result<()> {
    config.write_record(&record.uuid, &record.to_text()?)
}

/// Takes down how a machine is now.
pub fn note(config: &Config<'_>, uuid: &str) -> Result<()> {
    Note::write(&known(config, uuid)?);
    Ok(())
}

fn known(config: &Config<'_>, uuid: &str) -> Result<Info> {
    config.info(uuid)?.ok_or_else(|| anyhow!("VirtualBox does not know the machine {uuid}"))
}
