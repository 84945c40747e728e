//! `install`: the installer on a medium really run, in a virtual machine, and the disk that it
//! left. Eats the medium as a file. What an installer makes is another disk each time (identifiers,
//! times, keys), so unlike a `disk` it is only as reproducible as the cache that keeps it.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::customise::User;
use super::{Inputs, Kind, Parsed, Pin, Resource, Stage, StageContext};
use crate::artifact::{ArtifactKind, Output};
use crate::disk::config::Config;
use crate::disk::layout::Layout;
use crate::error::{Context, Hint, Result};
use crate::host_path::HostPath;
use crate::installer::run::{Network, TimeLimits};
use crate::installer::watch::Step;
use crate::installer::{
    Answers, Installer, Medium, Mirror, Run, autoinstall, compare, medium, preseed,
};
use crate::pipeline::{Fields, Text};
use crate::process::{open_log, quote};
use crate::recipe::Recipe;
use crate::sandbox;
use crate::units::Bytes;

mod read;

/// The row of the table of kinds.
pub const KIND: Kind = Kind { name: "install", output: ArtifactKind::Disk, read: read_fields };

/// Raised when the same recipe would reach the installer in other words.
const REVISION: u32 = 1;

/// What a medium may be: the ISO image, downloaded or made.
const PRODUCTS: &[ArtifactKind] = &[ArtifactKind::File];

/// An installation to run.
struct Install {
    installer: Option<Installer>,
    config: Config,
    layout: Layout,
    packages: Vec<String>,
    hostname: String,
    locale: String,
    timezone: String,
    users: Vec<User>,
    mirror: Option<Mirror>,
    answers: Option<Text>,
    answers_file: Option<HostPath>,
    cpus: u32,
    memory: Bytes,
    limit: Duration,
}

fn read_fields(fields: &mut Fields<'_>) -> Option<Parsed> {
    let from = fields.required_input("from", PRODUCTS);
    let install = read::read(fields);
    Some(Parsed::one(vec![from?], install?))
}

impl Install {
    fn answers(&self, context: &StageContext) -> Result<Answers> {
        Ok(Answers {
            config: self.config.clone(),
            layout: self.layout.clone(),
            architecture: context.settings.architecture.clone(),
            hostname: self.hostname.clone(),
            locale: self.locale.clone(),
            timezone: self.timezone.clone(),
            packages: self.packages.clone(),
            mirror: self.mirror.clone(),
            script: self.users.iter().flat_map(User::steps).map(|step| line(&step)).collect(),
            more: self.answers.as_ref().map_or(String::new(), |text| text.text.clone()),
            instead: self.answers_file.as_ref().map(read_text).transpose()?,
        })
    }

    /// Puts what starts the installer into the work directory, with its answers.
    fn prepare(
        &self,
        context: &StageContext,
        medium: &mut Medium,
        answers: &Answers,
    ) -> Result<Prepared> {
        let (kernel, initrd) = (context.scratch("kernel"), context.scratch("initrd"));
        let make = |path: &Path| {
            let mut options = OpenOptions::new();
            // The answers in it may have a secret.
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options
                .write(true)
                .read(true)
                .create_new(true)
                .open(path)
                .with_context(|| format!("making {}", path.display()))
        };
        let (from_kernel, from_initrd) = (medium.kernel.clone(), medium.initrd.clone());
        medium.copy(&from_kernel, &mut make(&kernel)?, &context.cancel)?;
        let mut file = make(&initrd)?;
        medium.copy(&from_initrd, &mut file, &context.cancel)?;
        let mut start = Vec::new();
        File::open(&initrd)
            .and_then(|file| file.take(8).read_to_end(&mut start))
            .context("reading the medium's initrd")?;
        let architecture = &answers.architecture;
        match medium.installer {
            Installer::Preseed => {
                medium::check_appendable(&start)?;
                file.write_all(&preseed::archive(answers)?).context("appending the answers")?;
                let arguments = preseed::arguments(architecture);
                Ok(Prepared { kernel, initrd, arguments, seed: None })
            }
            Installer::Autoinstall => {
                let seed = context.scratch("answers.iso");
                let bytes = autoinstall::seed(answers, context.settings.epoch)?;
                make(&seed)?.write_all(&bytes).context("writing the answers")?;
                let arguments = autoinstall::arguments(architecture);
                Ok(Prepared { kernel, initrd, arguments, seed: Some(seed) })
            }
        }
    }
}

/// What an installer is started with.
struct Prepared {
    kernel: PathBuf,
    initrd: PathBuf,
    arguments: String,
    seed: Option<PathBuf>,
}

/// No file of answers is longer.
const LONGEST: u64 = 1 << 20;

fn read_text(path: &HostPath) -> Result<String> {
    let bytes = path.read(LONGEST).hint("`answers-file` is a preseed file")?;
    String::from_utf8(bytes).with_context(|| format!("reading {path}"))
}

/// A step of the sandbox as a line of a shell script.
fn line(step: &sandbox::Step) -> String {
    let mut line = String::new();
    let words = |argv: &[String]| argv.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
    let _ = match step {
        sandbox::Step::Run { argv, input, .. } if input.is_empty() => {
            writeln!(line, "{}", words(argv))
        }
        sandbox::Step::Run { argv, input, .. } => {
            writeln!(line, "printf %s {} | {}", quote(input), words(argv))
        }
        sandbox::Step::Write { path, content, mode } => {
            let (directory, _) = path.rsplit_once('/').unwrap_or(("/", path));
            let (directory, path) = (quote(directory), quote(path));
            let content = quote(content);
            writeln!(
                line,
                "mkdir -p {directory}\nprintf %s {content} >{path}\nchmod {mode:o} {path}"
            )
        }
        _ => Ok(()),
    };
    line
}

impl Stage for Install {
    fn revision(&self) -> u32 {
        REVISION
    }

    /// Without `cpus`, `memory` and `timeout`: they say how fast, not what.
    fn describe(&self, context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        recipe.optional("installer", self.installer.map(Installer::word));
        recipe.list("layout", self.layout.lines());
        recipe.set("package", &self.packages);
        recipe.value("hostname", &self.hostname);
        recipe.value("locale", &self.locale);
        recipe.value("timezone", &self.timezone);
        // Not where from, but whether packages come from elsewhere at all.
        recipe.value("mirror", self.mirror.is_some());
        self.users.iter().try_for_each(|user| user.describe(context, recipe))?;
        if let Some(answers) = &self.answers {
            context.describe_text(recipe, "answers", answers)?;
        }
        if let Some(path) = &self.answers_file {
            recipe.value("answers file", crate::digest::Digest::of(read_text(path)?));
        }
        Ok(())
    }

    fn resource(&self) -> Resource {
        Resource::Machine
    }

    /// What an installer writes, as far as one can say: a small system.
    fn need(&self, _context: &StageContext, _inputs: &Inputs) -> u64 {
        3 << 30
    }

    fn run(&self, context: &StageContext, inputs: &Inputs, _pins: &[Pin]) -> Result<Output> {
        let architecture = &context.settings.architecture;
        let iso = context.object(inputs.get("from")?);
        let mut medium = Medium::open(&iso, architecture)?;
        medium::check(self.installer, &medium)?;
        let answers = self.answers(context)?;
        let Prepared { kernel, initrd, arguments, seed } =
            self.prepare(context, &mut medium, &answers)?;
        let disk = context.scratch("disk.raw");
        let file = File::create_new(&disk).with_context(|| format!("making {}", disk.display()))?;
        file.set_len(self.layout.size.0).context("making the disk")?;
        drop(file);
        let run = Run {
            iso: &iso,
            kernel: &kernel,
            initrd: &initrd,
            arguments,
            seed: seed.as_deref(),
            disk: &disk,
            firmware: self.layout.firmware[0],
            architecture,
            cpus: self.cpus,
            memory: self.memory.0 / Bytes::MIB.0,
            network: if self.mirror.is_some() { Network::Host } else { Network::None },
            limit: self.limit,
            limits: TimeLimits::default(),
            work: &context.work,
            log: &context.log,
            console: context.log.with_extension("console"),
            program: None,
        };
        let steps = run.run(&context.cancel, &|step| match step {
            Step { title, percent: Some(percent) } => {
                (context.progress)((*percent).into(), 100, &format!("% {title}"));
            }
            Step { title, percent: None } => (context.progress)(0, 0, title),
        })?;
        let installed = compare::check(&disk, &self.config, &self.layout)?;
        let mut log = open_log(&context.log)?;
        let lines = [&medium.title].into_iter().chain(&steps).chain(&installed.lines);
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        log.write_all(text.as_bytes()).context("writing the log")?;
        let file = File::open(&disk).context("opening the disk")?;
        let root = (installed.root, installed.root_uuid);
        super::disk::made(context, (disk, &file), &self.layout, root, None, None)
    }
}
