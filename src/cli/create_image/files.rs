//! The files of `kuth create-image`: where they are found, and what they contain.

use std::path::{Path, PathBuf};

use super::{Args, Base, Copying, Host, Identity, Nic, REVISION, Recipe, Wanted};
use crate::cli::{project, screen};
use crate::error::{Error, Misuse, Result, with_hint};
use crate::machine::post_config::{self, Format, Resources, Storage, Variant};
use crate::machine::seed::{Secrets, Seed, SeedFault, Template, Variables, ssh_keys};
use crate::machine::{Hardware, Network};
use crate::pipeline::{Override, suggest};
use crate::stage::Table;

/// The contents of all files.
pub struct Files {
    template: Template,
    networks: Vec<Network>,
    storages: Vec<Storage>,
    resources: Resources,
}

/// The directories in which files are found.
pub struct Directory {
    /// `data/DISTRIBUTION` of the project.
    data: PathBuf,
    /// The directory that contains `data`.
    root: PathBuf,
}

impl Directory {
    /// The nearest `data/DISTRIBUTION` from here upwards.
    pub fn find(distribution: &str) -> Result<Directory> {
        let here = std::path::absolute(".").map_err(|error| {
            Error::new(Misuse(format!("the working directory cannot be named: {error}")))
        })?;
        let below = Path::new("data").join(distribution);
        let holds =
            |below: &Path| here.ancestors().find(|directory| directory.join(below).is_dir());
        let root = holds(&below).or_else(|| holds(Path::new("data"))).unwrap_or(&here);
        Ok(Directory { data: root.join(below), root: root.to_path_buf() })
    }

    /// The file `given` below `data/DISTRIBUTION`, else the path itself.
    fn resolve(&self, given: &Path) -> Result<PathBuf> {
        let below = self.data.join(given);
        if below.is_file() {
            return Ok(below);
        }
        if given.is_file() {
            return Ok(given.to_path_buf());
        }
        let message = format!("there is no file {}", self.shown(&below));
        let error = Error::new(Misuse(message));
        Err(with_hint(error, self.hint_for(given)))
    }

    /// A hint for a file that does not exist.
    fn hint_for(&self, given: &Path) -> String {
        let directory = self.data.join(given.parent().unwrap_or(Path::new("")));
        let names = names_in(&directory);
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let word = given.file_name().unwrap_or_default().to_string_lossy();
        let there_are = format!("{} has", self.shown(&directory));
        if directory.is_dir()
            && let Some(hint) = suggest::hint(&word, &known, &there_are)
        {
            return hint;
        }
        let others = names_in(&self.root.join("data"));
        let has_it = |other: &&String| self.root.join("data").join(other).join(given).is_file();
        match others.iter().find(has_it) {
            Some(other) => format!("data/{other} has this file: `--linux-distribution {other}`"),
            None => "files other than the key are in data/DISTRIBUTION, or are paths".to_string(),
        }
    }

    /// A path relative to the project, for messages.
    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A file and its text.
struct File {
    /// The name in messages.
    name: String,
    text: String,
}

impl Files {
    /// Reads and checks all files; the error lists every fault of every file.
    pub fn read(args: &Args, name: &str) -> Result<Files> {
        let directory = Directory::find(&args.linux_distribution)?;
        let read =
            |given: &Option<PathBuf>| given.as_deref().map(|it| open(&directory, it)).transpose();
        // These two have default names.
        let or_default = |given: &Option<PathBuf>, name: &str| match given {
            None if directory.data.join(name).is_file() => read(&Some(name.into())),
            given => read(given),
        };
        let user_data = or_default(&args.user_data, "user-data")?;
        let meta_data = or_default(&args.meta_data, "meta-data")?;
        let network_config = read(&args.network_interfaces)?;
        let interfaces = read(&args.post_config_interfaces)?;
        let storages = read(&args.post_config_storages)?;
        let resources = read(&args.post_config_resources)?;

        let mut faults = Vec::new();
        let networks = parsed(&interfaces, post_config::interfaces, &mut faults);
        let storages = parsed(&storages, post_config::storages, &mut faults);
        let resources = parsed(&resources, post_config::resources, &mut faults);
        let named = |file: &Option<File>| file.as_ref().map(|file| file.name.clone());
        let names = [named(&user_data), named(&meta_data), named(&network_config)];
        let keys = read_keys(&args.ssh_pub_keyfile, &mut faults)?;
        let networks = networks.unwrap_or_else(|| vec![Network::Nat]);
        let text = |file: Option<File>| file.map(|file| file.text);
        let template = Template {
            hostname: name.to_string(),
            nics: Nic::all(name, &networks),
            user: args.linux_distribution.clone(),
            ssh_keys: keys,
            variables: variables(&directory, &args.linux_distribution, &args.vars)?,
            user_data: text(user_data),
            meta_data: text(meta_data),
            network_config: text(network_config),
        };
        let found = template.faults()?;
        let found = [found.user_data, found.meta_data, found.network_config];
        for (name, found) in names.iter().zip(found) {
            add_faults(name.as_deref().unwrap_or_default(), found, &mut faults);
        }
        if !faults.is_empty() {
            return Err(Error::new(Misuse(format!(
                "the files of `{name}` have errors:\n{}",
                faults.join("\n")
            ))));
        }
        let storages = storages.unwrap_or_default();
        let resources = resources.unwrap_or_default();
        storages.iter().enumerate().for_each(|(at, storage)| report_format(at + 1, storage));
        Ok(Files { template, networks, storages, resources })
    }

    /// The cloud-init seed.
    pub fn seed(&self, host: &Host) -> Result<Seed> {
        self.template.render(Secrets::Told(&host.machines))
    }

    /// The machine to create.
    pub fn wanted(
        &self,
        name: &str,
        base: &Base,
        host: &Host,
        snapshot: &Identity,
        copy: Copying,
    ) -> Result<Wanted> {
        let hardware = Hardware {
            cpus: self.resources.processors.unwrap_or(base.hardware.cpus),
            memory: self.resources.memory.unwrap_or(base.hardware.memory),
            disks: self.storages.iter().map(|storage| storage.size.0).collect(),
            nics: Nic::all(name, &self.networks),
            forwards: Vec::new(),
            ..base.hardware.clone()
        };
        let mut recipe = Recipe::new("create-image", REVISION);
        recipe.value("name", name);
        recipe.value("epoch", host.epoch);
        recipe.value("from", snapshot.to_text()?);
        recipe.value("linked", copy == Copying::Linked);
        recipe.value("user", &self.template.user);
        recipe.value("architecture", &hardware.architecture);
        recipe.value("cpus", hardware.cpus);
        recipe.value("memory", hardware.memory);
        recipe.value("firmware", hardware.firmware.word());
        recipe.value("vram", hardware.vram);
        recipe.list("nic", hardware.nics.iter().map(|it| format!("{} {}", it.network, it.mac)));
        recipe.list("disk", &hardware.disks);
        let seed = self.template.render(Secrets::Hashed(&host.machines))?;
        recipe.value("seed", seed.digest());
        let user = Some(self.template.user.clone());
        Ok(Wanted { name: name.to_string(), origin: recipe.key().0, hardware, user })
    }
}

fn open(directory: &Directory, given: &Path) -> Result<File> {
    let path = directory.resolve(given)?;
    let name = directory.shown(&path);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(File { name, text }),
        Err(error) => Err(Error::new(Misuse(format!("{name} cannot be read: {error}")))),
    }
}

fn parsed<T>(
    file: &Option<File>,
    parse: fn(&str) -> std::result::Result<T, Vec<SeedFault>>,
    faults: &mut Vec<String>,
) -> Option<T> {
    let file = file.as_ref()?;
    match parse(&file.text) {
        Ok(value) => Some(value),
        Err(found) => {
            add_faults(&file.name, found, faults);
            None
        }
    }
}

/// Adds each fault as `FILE:LINE: fault (hint)`.
fn add_faults(file: &str, found: Vec<SeedFault>, faults: &mut Vec<String>) {
    faults.extend(found.iter().map(|fault| match fault.place.line {
        0 => format!("{file}: {fault}"),
        _ => format!("{file}:{fault}"),
    }));
}

fn read_keys(path: &Path, faults: &mut Vec<String>) -> Result<Vec<String>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let error = Error::new(Misuse(format!("the key {shown} cannot be read: {error}")));
        with_hint(error, "give the path of a public key, such as ~/.ssh/id_ed25519.pub")
    })?;
    match ssh_keys(&text) {
        Ok(keys) if keys.is_empty() => faults.push(format!("{shown}: it contains no key")),
        Ok(keys) => return Ok(keys),
        Err(why) => faults.push(format!("{shown}: {why}")),
    }
    Ok(Vec::new())
}

/// The variables of the distribution's pipeline, if there is one, and the given ones.
fn variables(directory: &Directory, distribution: &str, given: &[Override]) -> Result<Variables> {
    let pipeline = directory.root.join("pipelines").join(format!("{distribution}.toml"));
    if !pipeline.is_file() {
        let given = given.iter();
        return Ok(given.map(|it| (it.name.clone(), it.value.as_str().into())).collect());
    }
    let pipeline = project::load(&pipeline, given, &Table)?;
    Ok(pipeline.vars.iter().map(|(name, text)| (name.clone(), text.into())).collect())
}

/// Reports that another disk format was requested than the one that the driver uses.
fn report_format(number: usize, storage: &Storage) {
    if storage.format != Format::Vdi || storage.variant != Variant::Standard {
        screen::talk(&format!(
            "storage{number}: stored in the driver's own format, as a sparse disk"
        ));
    }
}
