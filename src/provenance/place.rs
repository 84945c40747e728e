//! Puts the papers of an export beside it. They are small, so they are made anew each time and
//! compared: what is right stays untouched, what is missing, changed or old is replaced.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::inventory::Inventory;
use super::{BuildHistory, Material, SbomFormat, Sidecars, Told, digests, file_of, sign};
use crate::artifact::{Artifact, ArtifactKind, Hashing, Output};
use crate::digest::{Digest, Hasher};
use crate::error::{Context, Hint, Result};
use crate::files::sparse::data_extents;
use crate::format::dpkg;
use crate::format::dsse::Envelope;
use crate::format::intoto::{self, Provenance, Resource};
use crate::format::sbom::Sbom;
use crate::recipe::{Key, Recipe};
use crate::remote::trust::PrivateKey;
use crate::stage_context::StageContext;

/// Raised when the SHA-256 of a file changes.
const REVISION: u32 = 1;
/// What is read at once.
const CHUNK: usize = 1 << 20;

/// Sees to it that `papers` lie beside the export `artifact`: what `story` tells of it, and what is
/// in it where an `inventory` is at hand. Signed where there is a `key`.
pub fn place(
    context: &StageContext,
    papers: &Sidecars,
    artifact: &Artifact,
    story: &BuildHistory,
    inventory: Option<&Inventory>,
    key: Option<&PrivateKey>,
) -> Result<()> {
    let sha256 = sha256(context, artifact)?;
    let mut byproducts = Vec::new();
    for language in SbomFormat::ALL {
        let name = format!("{}.{}", papers.name, language.extension());
        let inventory = inventory.filter(|_| papers.bills.contains(&language));
        let Some(inventory) = inventory else {
            retire(&papers.directory.join(name))?;
            continue;
        };
        let text = bill(papers, sha256, story, inventory, language);
        put(context, &papers.directory, &name, &text)?;
        byproducts.push(Resource {
            name,
            digest: [("sha256".to_string(), Digest::of(&text).to_string())].into(),
            media_type: language.media_type().to_string(),
            ..Resource::default()
        });
    }
    let [open, signed] = [Told::No, Told::Yes].map(|it| file_of(&papers.name, it));
    if papers.provenance == Told::No {
        retire(&papers.directory.join(open))?;
        return retire(&papers.directory.join(signed));
    }
    let mut digest = digests(artifact);
    digest.insert("sha256".to_string(), sha256.to_string());
    let mut materials: Vec<Resource> = story.materials.iter().map(Material::resource).collect();
    materials.sort();
    materials.dedup();
    let provenance = Provenance {
        subject: Resource { name: papers.name.clone(), digest, ..Resource::default() },
        pipeline: story.pipeline.clone(),
        steps: story.chapters.iter().map(|chapter| chapter.step()).collect(),
        materials,
        byproducts,
        tool: story.tool.clone(),
    };
    let text = provenance.write();
    match key {
        Some(key) => {
            put(context, &papers.directory, &signed, &sign::sealed(&text, key).write())?;
            retire(&papers.directory.join(open))
        }
        // Somebody signed the same before; that is worth more than what is written here.
        None if payload(&papers.directory.join(&signed)).as_deref() == Some(text.as_bytes()) => {
            retire(&papers.directory.join(open))
        }
        None => {
            put(context, &papers.directory, &open, &text)?;
            retire(&papers.directory.join(signed))
        }
    }
}

fn bill(
    papers: &Sidecars,
    digest: Digest,
    story: &BuildHistory,
    inventory: &Inventory,
    language: SbomFormat,
) -> String {
    let archives: BTreeMap<&str, &str> = story
        .materials
        .iter()
        .filter(|material| material.algorithm == "sha256")
        .map(|material| (material.uri.as_str(), material.digest.as_str()))
        .collect();
    let archive = |package: &dpkg::Package| {
        let dpkg::Package { name, version, architecture, .. } = package;
        let url = dpkg::purl_of(&inventory.system.id, name, version, architecture);
        archives.get(url.as_str())?.parse().ok()
    };
    let bill = Sbom {
        name: &papers.name,
        digest,
        inventory,
        archive: &archive,
        tool: &story.tool,
        epoch: story.epoch,
    };
    language.write(&bill)
}

/// The SHA-256 of an artifact's bytes. That of a sparse file takes a while, so it is kept.
fn sha256(context: &StageContext, artifact: &Artifact) -> Result<Digest> {
    if artifact.hashing == Hashing::Plain {
        return Ok(artifact.digest);
    }
    let mut recipe = Recipe::new("sha256", REVISION);
    recipe.value("input file", artifact.digest);
    let (sum, _) = context.cached(&recipe, |context| {
        let path = context.object(artifact);
        let digest = hash(context, &path).with_context(|| format!("hashing {}", path.display()))?;
        Output::text(ArtifactKind::File, &context.work, "sha256", &format!("{digest}\n"))
    })?;
    let path = context.object(&sum);
    let text = std::fs::read_to_string(&path);
    let text = text.with_context(|| format!("reading {}", path.display()))?;
    text.trim().parse().with_context(|| format!("reading {}", path.display()))
}

/// Holes are hashed without being read, which halves the time.
fn hash(context: &StageContext, path: &Path) -> Result<Digest> {
    let file = File::open(path)?;
    let total = file.metadata()?.len();
    let (mut hasher, mut at) = (Hasher::default(), 0);
    let (zeros, mut buffer) = (vec![0; CHUNK], vec![0; CHUNK]);
    for (start, length) in data_extents(&file)?.into_iter().chain([(total, 0)]) {
        while at < start + length {
            context.cancel.check()?;
            let end = if at < start { start } else { start + length };
            let n = (end - at).min(CHUNK as u64) as usize;
            if at < start {
                hasher.update(&zeros[..n]);
            } else {
                file.read_exact_at(&mut buffer[..n], at)?;
                hasher.update(&buffer[..n]);
            }
            at += n as u64;
            (context.progress)(at, total, "B");
        }
    }
    Ok(hasher.finish())
}

/// Sees to it that `directory`/`name` holds `text`.
fn put(context: &StageContext, directory: &Path, name: &str, text: &str) -> Result<()> {
    let path = directory.join(name);
    if std::fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    let place = Key(Digest::of(path.as_os_str().as_bytes()));
    let _lock = context.cache.lock_key(&place, &context.cancel)?;
    // Always the same name, so that the next run uses up what a killed one left.
    let aside = directory.join(format!(".{name}.partial"));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&aside, &path)
    };
    write()
        .with_context(|| format!("writing {}", path.display()))
        .hint("use another directory with `--output DIR`")
}

/// Removes what an earlier build wrote and this one does not. What is not kuth's stays.
fn retire(path: &Path) -> Result<()> {
    let text = match std::fs::read(path) {
        Ok(text) => payload(path).unwrap_or(text),
        Err(_) => return Ok(()),
    };
    let text = String::from_utf8_lossy(&text);
    let marks = ["\"name\": \"kuth\"", "\"Tool: kuth-", intoto::BUILDER];
    match marks.into_iter().any(|mark| text.contains(mark)) {
        true => std::fs::remove_file(path).with_context(|| format!("removing {}", path.display())),
        false => Ok(()),
    }
}

/// What is in the envelope at `path`.
fn payload(path: &Path) -> Option<Vec<u8>> {
    let text = std::fs::read_to_string(path).ok()?;
    Envelope::read(text.trim_end()).ok().map(|envelope| envelope.payload)
}
