//! Writes sidecar files. They are small, so they are made each time and compared: a file that is right
//! is left alone, one that is missing, changed or old is replaced.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::inventory::Inventory;
use super::{
    BuildHistory, BuildStep, Document, Material, Provenance, SbomFormat, Sidecars, Signing,
};
use super::{digests, file_name, sign};
use crate::artifact::{Artifact, ArtifactKind, Hashing, Output};
use crate::digest::{Digest, Hasher};
use crate::error::{Context, Hint, Result};
use crate::files::sparse::data_extents;
use crate::format::dpkg;
use crate::format::dsse::{self, Envelope};
use crate::format::intoto::{self, Resource};
use crate::format::purl;
use crate::format::sbom::Sbom;
use crate::recipe::{Key, Recipe};
use crate::remote::trust::PrivateKey;
use crate::stage_context::StageContext;

/// Raised when the SHA-256 of a file changes.
const REVISION: u32 = 1;
/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// Writes the sidecar files of the export `artifact`: the provenance from `history`, signed where
/// there is a `key`, and SBOMs where there is an `inventory`. Removes those that are not wanted.
pub fn write_sidecars(
    context: &StageContext,
    sidecars: &Sidecars,
    artifact: &Artifact,
    history: &BuildHistory,
    inventory: Option<&Inventory>,
    key: Option<&PrivateKey>,
) -> Result<()> {
    let sha256 = sha256(context, artifact)?;
    let mut byproducts = Vec::new();
    for format in SbomFormat::ALL {
        let name = format!("{}.{}", sidecars.name, format.extension());
        let inventory = inventory.filter(|_| sidecars.sboms.contains(&format));
        let Some(inventory) = inventory else {
            remove_old(&sidecars.directory.join(name))?;
            continue;
        };
        let text = sbom(&sidecars.name, sha256, history, inventory, format);
        replace(context, &sidecars.directory, &name, &text)?;
        byproducts.push(byproduct(name, format, &text));
    }
    let [unsigned, signed] =
        [Signing::Unsigned, Signing::Signed].map(|signing| file_name(&sidecars.name, signing));
    if sidecars.provenance == Provenance::Omit {
        remove_old(&sidecars.directory.join(unsigned))?;
        return remove_old(&sidecars.directory.join(signed));
    }
    let mut digest = digests(artifact);
    digest.insert("sha256".to_string(), sha256.to_string());
    let text = statement(&sidecars.name, digest, history, byproducts);
    match key {
        Some(key) => {
            replace(context, &sidecars.directory, &signed, &sign::sealed(&text, key).write())?;
            remove_old(&sidecars.directory.join(unsigned))
        }
        // The same statement was signed before: the signed file is kept.
        None if payload(&sidecars.directory.join(&signed)).as_deref() == Some(text.as_bytes()) => {
            remove_old(&sidecars.directory.join(unsigned))
        }
        None => {
            replace(context, &sidecars.directory, &unsigned, &text)?;
            remove_old(&sidecars.directory.join(signed))
        }
    }
}

/// The documents of what is not a file, such as an image in a registry, known as `subject` with its SHA-256:
/// SBOMs where there is an `inventory`, and the provenance, signed where there is a `key`.
pub fn documents(
    wanted: &Sidecars,
    sha256: Digest,
    history: &BuildHistory,
    inventory: Option<&Inventory>,
    key: Option<&PrivateKey>,
) -> Vec<Document> {
    let (mut documents, mut byproducts) = (Vec::new(), Vec::new());
    if let Some(inventory) = inventory {
        for format in SbomFormat::ALL.into_iter().filter(|it| wanted.sboms.contains(it)) {
            let name = format!("{}.{}", wanted.name, format.extension());
            let text = sbom(&wanted.name, sha256, history, inventory, format);
            byproducts.push(byproduct(name.clone(), format, &text));
            documents.push(Document { name, media_type: format.media_type(), text });
        }
    }
    if wanted.provenance == Provenance::Write {
        let digest = [("sha256".to_string(), sha256.to_string())].into();
        let text = statement(&wanted.name, digest, history, byproducts);
        let (signing, media_type, text) = match key {
            Some(key) => (Signing::Signed, dsse::MEDIA_TYPE, sign::sealed(&text, key).write()),
            None => (Signing::Unsigned, intoto::MEDIA_TYPE, text),
        };
        documents.push(Document { name: file_name(&wanted.name, signing), media_type, text });
    }
    documents
}

fn byproduct(name: String, format: SbomFormat, text: &str) -> Resource {
    Resource {
        name,
        digest: [("sha256".to_string(), Digest::of(text).to_string())].into(),
        media_type: format.media_type().to_string(),
        ..Resource::default()
    }
}

fn statement(
    name: &str,
    digest: intoto::Digests,
    history: &BuildHistory,
    byproducts: Vec<Resource>,
) -> String {
    let mut materials: Vec<Resource> = history.materials.iter().map(Material::resource).collect();
    materials.sort();
    materials.dedup();
    let provenance = intoto::Provenance {
        subject: Resource { name: name.to_string(), digest, ..Resource::default() },
        pipeline: history.pipeline.clone(),
        steps: history.steps.iter().map(BuildStep::step).collect(),
        materials,
        byproducts,
        tool: history.tool.clone(),
    };
    provenance.write()
}

fn sbom(
    name: &str,
    digest: Digest,
    history: &BuildHistory,
    inventory: &Inventory,
    format: SbomFormat,
) -> String {
    let archives: BTreeMap<&str, &str> = history
        .materials
        .iter()
        .filter(|material| material.algorithm == "sha256")
        .map(|material| (material.uri.as_str(), material.digest.as_str()))
        .collect();
    let archive = |package: &dpkg::Package| {
        let dpkg::Package { name, version, architecture, .. } = package;
        let url = purl::write(&inventory.system.id, name, version, architecture);
        archives.get(url.as_str())?.parse().ok()
    };
    let sbom = Sbom {
        name,
        digest,
        inventory,
        archive: &archive,
        tool: &history.tool,
        epoch: history.epoch,
    };
    format.write(&sbom)
}

/// The SHA-256 of an artifact's bytes. That of a sparse file takes a while, so it is cached.
pub fn sha256(context: &StageContext, artifact: &Artifact) -> Result<Digest> {
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

/// Writes `text` to `directory`/`name` unless that is its content.
fn replace(context: &StageContext, directory: &Path, name: &str, text: &str) -> Result<()> {
    let path = directory.join(name);
    if std::fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    let key = Key(Digest::of(path.as_os_str().as_bytes()));
    let _lock = context.cache.lock_key(&key, &context.cancel)?;
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

/// Removes a file of an earlier build that is not wanted now. Files of others stay.
fn remove_old(path: &Path) -> Result<()> {
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

/// The payload of the envelope at `path`.
fn payload(path: &Path) -> Option<Vec<u8>> {
    let text = std::fs::read_to_string(path).ok()?;
    Envelope::read(text.trim_end()).ok().map(|envelope| envelope.payload)
}
