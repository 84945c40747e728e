//! Compares an export and its SBOMs with its provenance.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::{Signing, file_name, sign};
use crate::digest::{self, Digest};
use crate::error::{Context, Hint, Result, anyhow};
use crate::format::dsse::Envelope;
use crate::format::intoto::{self, Resource, Statement};
use crate::remote::trust::PublicKey;

/// The most that is read of a provenance file, in bytes; that of a big image has less than 2 MB.
const MAX_SIZE: u64 = 64 << 20;

/// The result of [`verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The provenance file.
    pub provenance: PathBuf,
    /// The trusted keys that signed it.
    pub signers: Vec<PublicKey>,
    /// The checks, with their results.
    pub findings: Vec<Finding>,
    /// How many stages and materials it names.
    pub counts: (usize, usize),
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was checked: a file's name, `signature` or `recipes`.
    pub what: String,
    /// Whether it is right.
    pub state: Verdict,
    /// The digest, the signers or the fault.
    pub why: String,
}

/// Whether something is as the provenance says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Passed,
    /// That cannot be checked.
    Unchecked,
    /// It is not.
    Failed,
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn holds(&self) -> bool {
        self.findings.iter().all(|finding| finding.state != Verdict::Failed)
    }
}

/// Verifies the export `file`. Signatures by keys of `trusted` count; if there are any keys, one
/// signature is required.
pub fn verify(file: &Path, trusted: &[PublicKey]) -> Result<Verified> {
    let name = file.file_name().with_context(|| format!("{} is not a file", file.display()))?;
    let name = name.to_string_lossy();
    let directory = file.parent().unwrap_or(Path::new(""));
    let digest = hashed(file).with_context(|| format!("hashing {}", file.display()))?;
    let path = |signing| directory.join(file_name(&name, signing));
    let (signed, unsigned) = (path(Signing::Signed), path(Signing::Unsigned));
    let is_signed = signed.exists();
    if !is_signed && !unsigned.exists() {
        return Err(anyhow!("nothing beside {} says where it is from", file.display()))
            .hint(format!("a build writes {} there", unsigned.display()));
    }
    let provenance = if is_signed { signed } else { unsigned };
    let what = || format!("reading {}", provenance.display());
    let text = small(&provenance).with_context(what)?;
    let envelopes = if is_signed { envelopes(&text).with_context(what)? } else { Vec::new() };
    let mut findings = Vec::new();
    let (statement, signers) = match is_signed {
        false => (Statement::read(text.as_bytes()).with_context(what)?, Vec::new()),
        true => choose(&envelopes, trusted, digest).with_context(what)?,
    };
    findings.push(of_signature(is_signed.then_some(&envelopes[..]), &signers, trusted));
    findings.push(of_subject(&name, digest, &statement));
    for step in statement.steps.iter().filter(|step| !step.is_of_its_key()) {
        let stage = shown(&step.stage);
        let why = format!("the key of the stage {stage} is not that of its recipe");
        findings.push(Finding { what: "recipes".into(), state: Verdict::Failed, why });
    }
    for byproduct in &statement.byproducts {
        findings.push(of_byproduct(directory, byproduct));
    }
    let counts = (statement.steps.len(), statement.materials);
    Ok(Verified { provenance, signers, findings, counts })
}

/// The statement beside `file`, whoever signed it; `None` where there is none.
pub fn statement_beside(file: &Path) -> Result<Option<Statement>> {
    let Some(name) = file.file_name().map(|name| name.to_string_lossy()) else { return Ok(None) };
    for signing in [Signing::Signed, Signing::Unsigned] {
        let path = file.with_file_name(file_name(&name, signing));
        let what = || format!("reading {}", path.display());
        if !path.exists() {
            continue;
        }
        let text = small(&path).with_context(what)?;
        let payload = match signing {
            Signing::Unsigned => text.into_bytes(),
            Signing::Signed => envelopes(&text).with_context(what)?.remove(0).payload,
        };
        return Statement::read(&payload).map(Some).with_context(what);
    }
    Ok(None)
}

/// The envelopes of a bundle with statements; others are ignored.
fn envelopes(text: &str) -> Result<Vec<Envelope>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let mut found = Vec::new();
    let mut first = None;
    for line in lines {
        match Envelope::read(line) {
            Ok(envelope) if envelope.kind == intoto::MEDIA_TYPE => found.push(envelope),
            Ok(_) => {}
            Err(fault) => first = first.or(Some(fault)),
        }
    }
    match (found.is_empty(), first) {
        (true, Some(fault)) => Err(fault.into()),
        (true, None) => Err(anyhow!("it holds no statement")),
        (false, _) => Ok(found),
    }
}

/// The best statement: one signed by a trusted key about the file, else one signed by such a key,
/// else any.
fn choose(
    envelopes: &[Envelope],
    trusted: &[PublicKey],
    digest: Digest,
) -> Result<(Statement, Vec<PublicKey>)> {
    let mut read = Vec::new();
    let mut fault = None;
    for envelope in envelopes {
        match Statement::read(&envelope.payload) {
            Ok(statement) => read.push((statement, sign::signers(envelope, trusted))),
            Err(error) => fault = Some(error),
        }
    }
    let worth = |(statement, signers): &(Statement, Vec<PublicKey>)| {
        (!signers.is_empty(), statement.subjects.iter().any(|subject| is_of(subject, digest)))
    };
    let best = read.into_iter().rev().max_by_key(worth);
    match (best, fault) {
        (Some(best), _) => Ok(best),
        (None, Some(fault)) => Err(fault.into()),
        (None, None) => Err(anyhow!("it holds no statement")),
    }
}

fn is_of(resource: &Resource, digest: Digest) -> bool {
    resource.digest.get("sha256").is_some_and(|found| *found == digest.to_string())
}

fn of_signature(
    envelopes: Option<&[Envelope]>,
    signers: &[PublicKey],
    trusted: &[PublicKey],
) -> Finding {
    let names = |keys: Vec<String>| keys.join(", ");
    let (state, why) = match (envelopes, signers.is_empty(), trusted.is_empty()) {
        (_, false, _) => {
            let by = names(signers.iter().map(ToString::to_string).collect());
            (Verdict::Passed, format!("by {by}"))
        }
        (None, _, false) => (Verdict::Failed, "nobody signed it, and keys are known".to_string()),
        (None, _, true) => (Verdict::Unchecked, "nobody signed it".to_string()),
        (Some(envelopes), ..) => {
            let by = envelopes.iter().flat_map(|it| &it.signatures).map(|it| shown(&it.key));
            let by = names(by.collect());
            match trusted.is_empty() {
                true => (Verdict::Failed, format!("it says by {by}, but no key is known")),
                false => {
                    (Verdict::Failed, format!("it says by {by}; none of the known keys made it"))
                }
            }
        }
    };
    Finding { what: "signature".into(), state, why }
}

/// Untrusted text, made safe for a screen.
fn shown(key: &str) -> String {
    let plain: String = key.chars().filter(|c| !c.is_control()).take(80).collect();
    if plain.is_empty() { "a key without a name".to_string() } else { plain }
}

fn of_subject(name: &str, digest: Digest, statement: &Statement) -> Finding {
    let (state, why) = match statement.subjects.as_slice() {
        subjects if subjects.iter().any(|subject| is_of(subject, digest)) => {
            (Verdict::Passed, format!("sha256 {digest}"))
        }
        [only] => {
            let expected = only.digest.get("sha256").map_or("unknown", String::as_str);
            (
                Verdict::Failed,
                format!("its sha256 is {digest}, that of the build {}", shown(expected)),
            )
        }
        _ => (Verdict::Failed, format!("its sha256, {digest}, is none of the build's")),
    };
    Finding { what: name.to_string(), state, why }
}

/// Checks an SBOM. The statement's name for it may not lead out of the directory.
fn of_byproduct(directory: &Path, resource: &Resource) -> Finding {
    let what = shown(&resource.name);
    let finding = |state, why: &str| Finding { what: what.clone(), state, why: why.to_string() };
    let name = Path::new(&resource.name).file_name().filter(|name| *name == resource.name.as_str());
    let Some(name) = name else { return finding(Verdict::Failed, "it is not a file's name") };
    match hashed(&directory.join(name)) {
        Ok(digest) if is_of(resource, digest) => {
            finding(Verdict::Passed, &format!("sha256 {digest}"))
        }
        Ok(digest) => finding(Verdict::Failed, &format!("its sha256 is {digest}, not the build's")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            finding(Verdict::Unchecked, "it is not here")
        }
        Err(error) => finding(Verdict::Failed, &format!("it cannot be read: {error}")),
    }
}

fn hashed(path: &Path) -> std::io::Result<Digest> {
    digest::of_reader(File::open(path)?).map(|(digest, _)| digest)
}

fn small(path: &Path) -> Result<String> {
    let size = path.metadata()?.len();
    if size > MAX_SIZE {
        return Err(anyhow!("it is {size} bytes long"));
    }
    Ok(std::fs::read_to_string(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::intoto::Provenance;
    use crate::remote::trust::PrivateKey;

    fn resource(name: &str, text: &str) -> Resource {
        let digest = [("sha256".to_string(), Digest::of(text).to_string())].into();
        Resource { name: name.into(), digest, ..Resource::default() }
    }

    fn statement(byproduct: &str) -> String {
        let provenance = Provenance {
            subject: resource("x.raw", "disk"),
            pipeline: "p".into(),
            steps: Vec::new(),
            materials: Vec::new(),
            byproducts: vec![resource(byproduct, "sbom")],
            tool: String::new(),
        };
        provenance.write()
    }

    /// A directory with an export, an SBOM and the provenance of both.
    fn directory(signer: Option<&PrivateKey>) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text);
        write("x.raw", "disk").unwrap();
        write("x.raw.cdx.json", "sbom").unwrap();
        let text = statement("x.raw.cdx.json");
        match signer {
            Some(key) => write("x.raw.intoto.jsonl", &sign::sealed(&text, key).write()).unwrap(),
            None => write("x.raw.intoto.json", &text).unwrap(),
        }
        directory
    }

    fn states(directory: &tempfile::TempDir, trusted: &[PublicKey]) -> Vec<Verdict> {
        let verified = verify(&directory.path().join("x.raw"), trusted).unwrap();
        verified.findings.iter().map(|finding| finding.state).collect()
    }

    #[test]
    fn a_signature_is_valid_by_trusted_keys_only() {
        use Verdict::{Failed, Passed, Unchecked};
        let (ours, theirs) = (PrivateKey::new([1; 32]), PrivateKey::new([2; 32]));
        let signed = directory(Some(&ours));
        assert_eq!(states(&signed, &[theirs.public(), ours.public()]), [Passed, Passed, Passed]);
        assert_eq!(states(&signed, &[theirs.public()]), [Failed, Passed, Passed]);
        assert_eq!(states(&signed, &[]), [Failed, Passed, Passed]);
        let open = directory(None);
        assert_eq!(states(&open, &[]), [Unchecked, Passed, Passed]);
        assert_eq!(states(&open, &[ours.public()]), [Failed, Passed, Passed]);
    }

    #[test]
    fn a_changed_byte_in_any_file_is_found() {
        let key = PrivateKey::new([1; 32]);
        for name in ["x.raw", "x.raw.cdx.json", "x.raw.intoto.jsonl"] {
            let directory = directory(Some(&key));
            let path = directory.path().join(name);
            let bytes = std::fs::read(&path).unwrap();
            for at in (0..bytes.len()).step_by(7) {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                std::fs::write(&path, changed).unwrap();
                let verified = verify(&directory.path().join("x.raw"), &[key.public()]);
                // The name of a key in an envelope is a hint that nobody believes.
                let hint = String::from_utf8_lossy(&bytes).find("keyid").unwrap_or(bytes.len());
                let is_hint = (hint..hint + 82).contains(&at);
                let holds = verified.is_ok_and(|verified| verified.holds());
                assert!(!holds || is_hint, "{name}, byte {at}");
            }
        }
    }

    #[test]
    fn a_missing_sbom_is_not_wrong_and_its_name_does_not_leave_the_directory() {
        let directory = directory(None);
        std::fs::remove_file(directory.path().join("x.raw.cdx.json")).unwrap();
        assert_eq!(
            states(&directory, &[]),
            [Verdict::Unchecked, Verdict::Passed, Verdict::Unchecked]
        );
        let other = statement("../x.raw.cdx.json");
        std::fs::write(directory.path().join("x.raw.intoto.json"), other).unwrap();
        assert_eq!(states(&directory, &[]), [Verdict::Unchecked, Verdict::Passed, Verdict::Failed]);
    }
}
