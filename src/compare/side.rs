//! Finds what an argument of the command line names: a file with its sidecar files, or a result in the
//! cache by a prefix of its key or digest; and collects everything that is known of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Packages, Side, volumes};
use crate::artifact::{Artifact, ArtifactKind, Facts, Hashing};
use crate::cache::upkeep::Entry;
use crate::cache::{Cache, hash_object};
use crate::digest::Digest;
use crate::error::{Context, Error, Misuse, Result, with_hint};
use crate::format::intoto::Step;
use crate::format::probe::{ImageFormat, PROBE_LENGTH, probe};
use crate::format::purl;
use crate::format::sbom;
use crate::provenance::inventory::{self, Inventory};
use crate::provenance::{SbomFormat, digests, verify};
use crate::recipe;
use crate::units::Bytes;

/// A prefix of a key is at least so long.
const LEAST: usize = 4;

/// What is known of `word`. Without a cache only files are found.
pub fn find(word: &str, cache: Option<&Cache>) -> Result<Side> {
    let path = Path::new(word);
    let entries = match cache {
        Some(cache) => cache.entries()?,
        None => Vec::new(),
    };
    if path.is_file() {
        return of_file(path, cache, &entries);
    }
    let is_prefix = word.len() >= LEAST && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let word = word.to_ascii_lowercase();
    let mut found: Vec<&Entry> = Vec::new();
    if is_prefix {
        let starts = |digest: String| digest.starts_with(&word);
        found = entries.iter().filter(|entry| starts(entry.key.to_string())).collect();
        if found.is_empty() {
            let output = |entry: &&Entry| starts(entry.record.output.digest.to_string());
            found = entries.iter().filter(output).collect();
            found.dedup_by_key(|entry| entry.record.output.digest);
        }
    }
    let hint = "give a file, or the beginning of a key as `kuth cache list` prints it";
    match (found.as_slice(), cache) {
        ([entry], Some(cache)) => of_entry(entry, cache, &entries),
        ([], _) | (_, None) => {
            let error = Error::new(Misuse(format!("there is no file and no result `{word}`")));
            Err(with_hint(error, hint))
        }
        (several, _) => {
            let count = several.len();
            let error = Error::new(Misuse(format!("`{word}` begins {count} keys")));
            Err(with_hint(error, "give more of its digits"))
        }
    }
}

fn of_file(path: &Path, cache: Option<&Cache>, entries: &[Entry]) -> Result<Side> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A result as `kuth path` names it.
    let object = name.parse::<Digest>().ok();
    if let Some(digest) = object
        && let Some(cache) = cache
        && let Some(entry) = entries.iter().find(|entry| entry.record.output.digest == digest)
    {
        return of_entry(entry, cache, entries);
    }
    let size = Bytes(path.metadata().with_context(|| format!("reading {}", path.display()))?.len());
    if is_tar_of_a_tree(path)? {
        let digest = hash_object(path, Hashing::Plain)?;
        let inventory = inventory::of_tar(path)?;
        return Ok(Side {
            digest: Some(digest),
            size,
            tree: Some(digest),
            packages: Some(packages(&inventory)),
            tar: Some(path.to_path_buf()),
            volumes: Some(Vec::new()),
            steps: Vec::new(),
        });
    }
    let digest = hash_object(path, Hashing::Plain)?;
    let mut side = match verify::statement_beside(path)? {
        // The sidecar files of another image do not describe this one.
        Some(statement) if names(&statement.subjects, digest) => {
            of_steps(statement.steps, None, cache)?
        }
        _ => match entries.iter().find(|entry| entry.record.output.digest == digest) {
            Some(entry) => of_steps(chain(entry, entries), None, cache)?,
            None => Side::default(),
        },
    };
    side.digest = Some(digest);
    side.size = size;
    if side.packages.is_none() {
        side.packages = SbomFormat::ALL.into_iter().find_map(|format| {
            let path_of_sbom = path.with_file_name(format!("{name}.{}", format.extension()));
            let urls = sbom::packages(&std::fs::read_to_string(path_of_sbom).ok()?)?;
            let parts = urls.iter().filter_map(|url| purl::read(url));
            Some(parts.map(|[name, version, arch]| ((name, arch), version)).collect())
        });
    }
    Ok(side)
}

fn names(subjects: &[crate::format::intoto::Resource], digest: Digest) -> bool {
    let digest = digest.to_string();
    subjects.iter().any(|subject| subject.digest.get("sha256") == Some(&digest))
}

fn of_entry(entry: &Entry, cache: &Cache, entries: &[Entry]) -> Result<Side> {
    let output = &entry.record.output;
    let tree = (output.kind == ArtifactKind::Tree).then_some(output.digest);
    let mut side = of_steps(chain(entry, entries), tree, Some(cache))?;
    side.digest = Some(output.digest);
    side.size = Bytes(output.size);
    if matches!(output.kind, ArtifactKind::Directory) && cache.holds(output) {
        side.tree = Some(output.digest);
        side.tar = Some(cache.object(output));
        side.packages = Some(Packages::new());
    }
    if matches!(output.kind, ArtifactKind::Tree | ArtifactKind::Directory) {
        side.volumes = Some(Vec::new());
    }
    Ok(side)
}

/// The stages that made the result of `entry`, nearest last, as far as the cache knows them.
fn chain(entry: &Entry, entries: &[Entry]) -> Vec<Step> {
    let mut steps = vec![step(entry)];
    let mut at = entry;
    while let Some(input) = at.record.recipe.lines().find_map(|line| line.strip_prefix("input from = "))
        && let Some(made) =
            entries.iter().find(|other| other.record.output.digest.to_string() == input)
        // A result of a result of itself would be a circle; records are not.
        && steps.len() < entries.len()
    {
        // What has a digest of its own may have several records; an export as it is has its disk's.
        let made = match made.kind() {
            "export" => entries.iter().find(|other| {
                other.kind() != "export" && other.record.output.digest.to_string() == input
            }),
            _ => Some(made),
        };
        let Some(made) = made else { break };
        steps.insert(0, step(made));
        at = made;
    }
    steps
}

fn step(entry: &Entry) -> Step {
    Step {
        stage: String::new(),
        key: entry.key.to_string(),
        recipe: entry.record.recipe.lines().map(str::to_string).collect(),
        inputs: BTreeMap::new(),
        output: digests(&entry.record.output),
    }
}

/// The kind of a stage, from its recipe.
pub fn kind(step: &Step) -> &str {
    recipe::kind(step.recipe.iter().map(String::as_str))
}

/// What is known of a result that came by `steps`; `own` is its digest if it is a tree itself.
fn of_steps(steps: Vec<Step>, own: Option<Digest>, cache: Option<&Cache>) -> Result<Side> {
    let disk = steps.iter().rev().find(|step| kind(step) == "disk");
    let tree: Option<Digest> = match disk {
        Some(disk) => {
            let input = disk.recipe.iter().find_map(|line| line.strip_prefix("input from = "));
            input.and_then(|tree| tree.parse().ok())
        }
        None => own,
    };
    let tar = tree.and_then(|tree| Some(object(cache?, tree)).filter(|path| path.is_file()));
    let inventory = match (&tar, tree, cache) {
        (Some(tar), ..) => Some(inventory::of_tar(tar)?),
        (None, Some(tree), Some(cache)) => {
            let record = cache.find(&inventory::recipe(tree).key())?;
            record.map(|record| inventory::read(&cache.object(&record.output))).transpose()?
        }
        _ => None,
    };
    let volumes = disk.map(volumes::of).transpose()?;
    let packages = inventory.as_ref().map(packages);
    Ok(Side { tree, packages, tar, volumes, steps, ..Side::default() })
}

fn object(cache: &Cache, digest: Digest) -> PathBuf {
    cache.object(&Artifact {
        kind: ArtifactKind::Tree,
        hashing: Hashing::Plain,
        digest,
        size: 0,
        facts: Facts::None,
    })
}

fn packages(inventory: &Inventory) -> Packages {
    let packages = inventory.packages.iter();
    packages.map(|it| ((it.name.clone(), it.architecture.clone()), it.version.clone())).collect()
}

/// Whether a file is a tar, and not one of another kind of file: an OVA is a tar too.
fn is_tar_of_a_tree(path: &Path) -> Result<bool> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let mut head = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(PROBE_LENGTH as u64).read_to_end(&mut head));
    read.with_context(|| format!("reading {}", path.display()))?;
    Ok(probe(&head) == Some(ImageFormat::Tar) && !name.ends_with(".ova"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Output;
    use crate::recipe::Recipe;

    #[test]
    fn a_result_of_any_kind_of_stage_may_be_a_tree() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        for kind in ["bootstrap", "import"] {
            let scratch = cache.scratch().unwrap();
            let file = scratch.path().join("tree.tar");
            let mut tar = tar::Builder::new(File::create(&file).unwrap());
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(0);
            header.set_mtime(0);
            tar.append_data(&mut header, kind, std::io::empty()).unwrap();
            tar.into_inner().unwrap();
            let digest = hash_object(&file, Hashing::Plain).unwrap();
            let size = file.metadata().unwrap().len();
            let recipe = Recipe::new(kind, 1);
            let made = Output::hashed(ArtifactKind::Tree, file, digest, size);
            cache.commit(&recipe, made, Default::default()).unwrap();
            let side = find(&recipe.key().to_string(), Some(&cache)).unwrap();
            assert_eq!((side.tree, side.size), (Some(digest), Bytes(size)), "{kind}");
            assert!(side.tar.is_some_and(|tar| tar.is_file()));
        }
    }
}
