//! Makes filesystems, each an action of its own in the cache: its recipe lists the digest of its
//! files and nothing of the others, so a change under /etc makes the root filesystem alone.
//!
//! ext4 comes from mke2fs of the tools tree, which reads the tar itself: owners, modes and devices
//! need no privileges. Features are listed, so that no mke2fs.conf can change them; without
//! lazy_journal_init mke2fs would write zeros over every journal.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use crate::artifact::{Artifact, ArtifactKind, Output};
use crate::error::{Context, Hint, Result, anyhow, bail};
use crate::files::sparse;
use crate::format::swap::Swap;
use crate::process::open_log;
use crate::recipe::Recipe;
use crate::stage_context::{Outcome, StageContext};
use crate::threads;
use crate::tools::ToolsTree;
use crate::units::{Bytes, Human};

use super::config::Format;
use super::layout::Filesystem;
use super::part::Part;
use super::{attributes, vfat, xfs};

/// Raised when the same recipe would make other bytes.
const REVISION: u32 = 1;

/// What every kernel since 4.4 and GRUB 2.06 read.
const EXT4_FEATURES: &str = "none,has_journal,ext_attr,dir_index,resize_inode,filetype,extent,64bit,\
    flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

/// Makes every filesystem, or takes it from the cache, on up to `jobs` threads, those with most
/// files first; `parts` are in the order of `filesystems`. The log says which came from the cache.
pub fn make_all(
    filesystems: &[Filesystem],
    parts: &[Option<Part>],
    tools: &ToolsTree,
    context: &StageContext,
) -> Result<Vec<Artifact>> {
    let mut queue: Vec<usize> = (0..filesystems.len()).collect();
    let files = |index: &usize| parts[*index].as_ref().map_or(0, |part| part.files);
    queue.sort_by_key(|index| std::cmp::Reverse(files(index)));
    let done = Mutex::new(Vec::new());
    threads::for_each(&queue, context.settings.jobs, |&index| -> Result<()> {
        context.cancel.check()?;
        let made = make(&filesystems[index], parts[index].as_ref(), tools, context)?;
        let mut done = done.lock().map_err(|_| anyhow!("a filesystem thread panicked"))?;
        done.push((index, made));
        (context.progress)(done.len() as u64, queue.len() as u64, "filesystems");
        Ok(())
    })?;
    let mut done = done.into_inner().map_err(|_| anyhow!("a filesystem thread panicked"))?;
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, artifact)| artifact).collect())
}

/// Whether the filesystem at each index would have to be made from its tar.
pub fn missing(
    filesystems: &[Filesystem],
    parts: &[Option<Part>],
    tools: &ToolsTree,
    context: &StageContext,
) -> Result<Vec<bool>> {
    let missing = filesystems.iter().zip(parts).map(|(filesystem, part)| {
        let key = recipe(filesystem, part.as_ref(), tools, context).key();
        Ok(part.is_some() && context.cache.find(&key)?.is_none())
    });
    missing.collect()
}

fn make(
    filesystem: &Filesystem,
    part: Option<&Part>,
    tools: &ToolsTree,
    context: &StageContext,
) -> Result<Artifact> {
    let start = Instant::now();
    let recipe = recipe(filesystem, part, tools, context);
    // Several are made at once: each has a log of its own beside the stage's.
    let mut alone = context.clone();
    alone.log = context.log.with_extension(format!("{}.log", filesystem.name));
    let (artifact, outcome) = alone
        .cached(&recipe, |context| made(filesystem, part, tools, context))
        .with_context(|| format!("making the filesystem {}", filesystem.name))?;
    let kind = if filesystem.group.is_some() { "volume" } else { "partition" };
    let how = match outcome {
        Outcome::Cached => "from the cache".to_string(),
        Outcome::Done => format!(
            "made in {:.1} s ({} of files)",
            start.elapsed().as_secs_f32(),
            Human(Bytes(part.map_or(0, |part| part.files)))
        ),
    };
    let line = format!("{kind} {}: {how}\n", filesystem.name);
    open_log(&context.log)?
        .write_all(line.as_bytes())
        .with_context(|| format!("writing {}", context.log.display()))?;
    Ok(artifact)
}

fn recipe(
    filesystem: &Filesystem,
    part: Option<&Part>,
    tools: &ToolsTree,
    context: &StageContext,
) -> Recipe {
    let mut recipe = Recipe::new("filesystem", REVISION);
    recipe.value("format", filesystem.format.word());
    recipe.value("size", filesystem.size);
    recipe.value("uuid", filesystem.uuid);
    recipe.value("label", &filesystem.label);
    recipe.optional("mount", filesystem.mount.as_ref());
    if filesystem.is_esp {
        recipe.value("role", "esp");
    }
    recipe.value("epoch", context.settings.epoch);
    // FAT and swap are written by kuth itself.
    if matches!(filesystem.format, Format::Ext4 | Format::Xfs) {
        recipe.value("tools", tools.digest());
    }
    recipe.optional("files", part.map(|part| part.digest));
    recipe
}

fn made(
    filesystem: &Filesystem,
    part: Option<&Part>,
    tools: &ToolsTree,
    context: &StageContext,
) -> Result<Output> {
    let image = context.scratch("filesystem");
    let what = || format!("creating {}", image.display());
    let file = File::options().read(true).write(true).create_new(true).open(&image);
    let file = file.with_context(what)?;
    file.set_len(filesystem.size.0).with_context(what)?;
    match (filesystem.format, part) {
        (Format::Swap, _) => {
            let (size, uuid, label) = (filesystem.size, filesystem.uuid, filesystem.label.clone());
            let header = Swap { size, uuid, label }.write()?;
            file.write_all_at(&header, 0).with_context(what)?;
        }
        (_, None) => bail!("there is no tar of its files"),
        (_, Some(part)) if part.files > filesystem.size.0 => {
            return Err(too_full(filesystem, part));
        }
        (Format::Ext4, Some(part)) => ext4(&image, filesystem, part, tools, context)?,
        (Format::Xfs, Some(part)) => xfs::make(&image, filesystem, part, tools, context)?,
        (Format::Vfat, Some(part)) => vfat::make(&image, filesystem, part)?,
    }
    let size = file.metadata().with_context(what)?.len();
    if size != filesystem.size.0 {
        bail!("the tool made it {}, not {}", Bytes(size), filesystem.size);
    }
    let digest =
        sparse::tree_hash(&file).with_context(|| format!("hashing {}", image.display()))?;
    Ok(Output::sparse(ArtifactKind::File, image, digest, size))
}

fn too_full(filesystem: &Filesystem, part: &Part) -> crate::error::Error {
    let error = anyhow!("its files take {}, it has {}", Human(Bytes(part.files)), filesystem.size);
    let hint = format!("make `{}` larger", filesystem.name);
    crate::error::with_hint(error, hint)
}

fn ext4(
    image: &Path,
    filesystem: &Filesystem,
    part: &Part,
    tools: &ToolsTree,
    context: &StageContext,
) -> Result<()> {
    let uuid = filesystem.uuid;
    let mut command = tools
        .command("usr/sbin/mke2fs", context.settings.epoch)
        .env("MKE2FS_CONFIG", tools.file("etc/mke2fs.conf"))
        .args(["-q", "-F", "-t", "ext4", "-O", EXT4_FEATURES, "-b", "4096", "-I", "256", "-m", "1"])
        .args(["-L", &filesystem.label, "-U", &uuid.to_string()]);
    if let Some(mount) = &filesystem.mount {
        command = command.args(["-M", mount]);
    }
    let extended = format!("hash_seed={uuid},nodiscard,lazy_itable_init=1,lazy_journal_init=1");
    command = command.args(["-E", &extended, "-d"]).arg(part.file()?).arg(image);
    command.arg(format!("{}k", filesystem.size.0 / 1024)).run(&context.log, &context.cancel).hint(
        format!(
            "if it ran out of space, make `{}` larger: its files take {}",
            filesystem.name,
            Human(Bytes(part.files))
        ),
    )?;
    attributes::set(image, &part.attributes, tools, context)
}
