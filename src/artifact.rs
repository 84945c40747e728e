//! Words for results: what a stage makes, and the one digest that names it. Knows neither how it
//! was made nor where it is kept.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::{self, Digest};
use crate::error::{Context, Result};

/// What a stage makes, so what a reference to it may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactKind {
    /// One file.
    File,
    /// A directory, kept as a canonical tar. Records of results have called it this from the first.
    #[serde(rename = "folder")]
    Directory,
    /// A root file system, kept as a canonical tar.
    Tree,
    /// A disk, kept as a sparse raw image.
    Disk,
    /// What a boot showed, kept as JSON.
    Report,
    /// An exported image file.
    Export,
    /// A machine registered with a hypervisor, kept as a record of its identity.
    Machine,
    /// A snapshot of a machine, likewise.
    Snapshot,
    /// Clones of a snapshot, one record each.
    Machines,
    /// What was published, kept as a record of where it is.
    Publication,
}

impl ArtifactKind {
    /// Whether a result has a place outside the cache (a user's file, a machine), so that its bytes
    /// are needed to say whether it is there.
    pub fn has_a_place(self) -> bool {
        match self {
            ArtifactKind::Export
            | ArtifactKind::Machine
            | ArtifactKind::Snapshot
            | ArtifactKind::Machines
            | ArtifactKind::Publication => true,
            ArtifactKind::File
            | ArtifactKind::Directory
            | ArtifactKind::Tree
            | ArtifactKind::Disk
            | ArtifactKind::Report => false,
        }
    }
}

/// With its article: `a tree`.
impl fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ArtifactKind::File => "a file",
            ArtifactKind::Directory => "a directory",
            ArtifactKind::Tree => "a tree",
            ArtifactKind::Disk => "a disk",
            ArtifactKind::Report => "a report",
            ArtifactKind::Export => "an export",
            ArtifactKind::Machine => "a machine",
            ArtifactKind::Snapshot => "a snapshot",
            ArtifactKind::Machines => "machines",
            ArtifactKind::Publication => "a publication",
        })
    }
}

/// How the bytes of an object are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hashing {
    /// The SHA-256 of the file.
    Plain,
    /// The tree hash of a sparse file (`files::sparse`), in which holes cost nothing.
    Sparse,
}

/// A result: one object with one digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// What it is. Records of results call it `product`.
    #[serde(rename = "product")]
    pub kind: ArtifactKind,
    /// How `digest` was taken.
    pub hashing: Hashing,
    /// Names the object in the cache.
    pub digest: Digest,
    /// The apparent length in bytes.
    pub size: u64,
    /// What its bytes imply and stages that take it ask for.
    #[serde(default, skip_serializing_if = "Facts::is_none")]
    pub facts: Facts,
}

/// What is known of an artifact besides its bytes. A record of a result has it as one table of
/// strings, whose keys say which kind it is; a record with an unknown key cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Facts {
    /// Nothing.
    #[default]
    None,
    /// Of a tree.
    Tree(Box<TreeFacts>),
    /// Of a disk.
    Disk(Box<DiskFacts>),
    /// Of a machine, a snapshot or clones.
    Machine(MachineFacts),
}

/// The packages that settings of a tree need: users, sudo rules, time zones, locales, services, guest
/// additions.
pub const SETTING_PACKAGES: [&str; 7] =
    ["bzip2", "locales", "passwd", "sudo", "systemd", "tzdata", "unattended-upgrades"];

/// Which archive a tree's packages are from, and which packages it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeFacts {
    /// The archive's components, as its sources name them; empty: not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "words")]
    pub components: Vec<String>,
    /// `ubuntu`; none: Debian's, or not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    /// Packages of [`SETTING_PACKAGES`] that it is known to lack.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "words")]
    pub lacks: Vec<String>,
    /// Names the list of its installed packages: equal lists, equal digests.
    pub packages: Digest,
    /// The pockets of the suite that its packages are from too, such as `security`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "words")]
    pub pockets: Vec<String>,
    /// The suite; none: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
}

/// How a disk starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DiskFacts {
    /// What of it runs what a hypervisor passes to it at boot; none: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_software: Option<BootSoftware>,
    /// The firmware that it has a boot loader for; sorted.
    #[serde(with = "words")]
    pub firmware: Vec<Firmware>,
    /// Where the file system is mounted that grows at boot with the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grows: Option<String>,
    /// The root file system as the kernel's `root=` names it.
    pub root: String,
    /// Whose signed boot loader it has, which starts it under Secure Boot too: `debian`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<String>,
    /// The UUID of the root file system.
    pub root_uuid: String,
    /// The word for its partition table: `gpt`, `mbr`.
    pub table: String,
}

/// The software of a disk that runs what a hypervisor passes to it at boot. Its text names what is
/// there, with a space between two: `cloud-init systemd-257`, or `none`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct BootSoftware {
    /// Whether cloud-init is there.
    pub cloud_init: bool,
    /// The version of systemd, if it is there.
    pub systemd: Option<u32>,
}

impl From<BootSoftware> for String {
    fn from(software: BootSoftware) -> String {
        let cloud_init = software.cloud_init.then(|| "cloud-init".to_string());
        let systemd = software.systemd.map(|version| format!("systemd-{version}"));
        let names: Vec<String> = cloud_init.into_iter().chain(systemd).collect();
        if names.is_empty() { "none".to_string() } else { names.join(" ") }
    }
}

impl TryFrom<String> for BootSoftware {
    type Error = String;

    fn try_from(text: String) -> Result<BootSoftware, String> {
        let mut software = BootSoftware::default();
        for name in text.split(' ').filter(|name| *name != "none") {
            match name.strip_prefix("systemd-").map(str::parse) {
                Some(Ok(version)) => software.systemd = Some(version),
                None if name == "cloud-init" => software.cloud_init = true,
                _ => return Err(format!("the software `{name}` is unknown")),
            }
        }
        Ok(software)
    }
}

/// Which machine it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineFacts {
    /// The name of its hypervisor's driver.
    pub driver: String,
    /// Where the file system is mounted that grows at boot with its first disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grows: Option<String>,
    /// Its name.
    pub machine: String,
}

/// The firmware that starts a disk, or that a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// A PC BIOS: it runs the boot code in the first sector.
    Bios,
    /// UEFI, without Secure Boot: it runs a file on the EFI system partition.
    Uefi,
}

impl Firmware {
    /// The word in a pipeline.
    pub fn word(self) -> &'static str {
        match self {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
        }
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl std::str::FromStr for Firmware {
    type Err = String;

    fn from_str(text: &str) -> Result<Firmware, String> {
        let known = [Firmware::Bios, Firmware::Uefi].into_iter().find(|it| it.word() == text);
        known.ok_or_else(|| format!("the firmware `{text}` is unknown"))
    }
}

/// A list as one string, with a space between two items.
mod words {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<T: Display, S: Serializer>(
        items: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let items: Vec<String> = items.iter().map(T::to_string).collect();
        serializer.serialize_str(&items.join(" "))
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        text.split(' ').map(|word| word.parse().map_err(D::Error::custom)).collect()
    }
}

impl Facts {
    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Facts::None
    }

    /// Those of a tree.
    pub fn tree(&self) -> Option<&TreeFacts> {
        match self {
            Facts::Tree(facts) => Some(facts),
            _ => None,
        }
    }

    /// Those of a disk.
    pub fn disk(&self) -> Option<&DiskFacts> {
        match self {
            Facts::Disk(facts) => Some(facts),
            _ => None,
        }
    }

    /// Those of a machine, a snapshot or clones.
    pub fn machine(&self) -> Option<&MachineFacts> {
        match self {
            Facts::Machine(facts) => Some(facts),
            _ => None,
        }
    }
}

/// What a run made, before the cache took it.
#[derive(Debug)]
pub struct Output {
    /// What it is, as it will be recorded.
    pub artifact: Artifact,
    /// The file that holds it, in the stage's work directory; moved into the cache by rename.
    pub file: PathBuf,
}

impl Output {
    /// A finished file, hashed here as it is.
    pub fn file(kind: ArtifactKind, file: impl Into<PathBuf>) -> Result<Output> {
        let file = file.into();
        let (digest, size) = std::fs::File::open(&file)
            .and_then(digest::of_reader)
            .with_context(|| format!("hashing {}", file.display()))?;
        Ok(Output::hashed(kind, file, digest, size))
    }

    /// A finished file whose SHA-256 was taken while it was written.
    pub fn hashed(
        kind: ArtifactKind,
        file: impl Into<PathBuf>,
        digest: Digest,
        size: u64,
    ) -> Output {
        let hashing = Hashing::Plain;
        let facts = Facts::None;
        Output { artifact: Artifact { kind, hashing, digest, size, facts }, file: file.into() }
    }

    /// A finished file with holes, known by its content's tree hash, which was taken of it.
    pub fn sparse(
        kind: ArtifactKind,
        file: impl Into<PathBuf>,
        digest: Digest,
        size: u64,
    ) -> Output {
        let mut made = Output::hashed(kind, file, digest, size);
        made.artifact.hashing = Hashing::Sparse;
        made
    }

    /// A small text written to `work/name`.
    pub fn text(kind: ArtifactKind, work: &Path, name: &str, text: &str) -> Result<Output> {
        let file = work.join(name);
        std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        Ok(Output::hashed(kind, file, Digest::of(text), text.len() as u64))
    }

    /// Sets its facts.
    pub fn with(mut self, facts: Facts) -> Output {
        self.artifact.facts = facts;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest of nothing in particular.
    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// The forms that records of kuth 0.1 have.
    #[test]
    fn records_of_0_1_are_read_and_written_unchanged() {
        let digest: Digest = DIGEST.parse().unwrap();
        let tree = |components: &[&str], distribution: Option<&str>| {
            Facts::Tree(Box::new(TreeFacts {
                components: components.iter().map(|it| it.to_string()).collect(),
                distribution: distribution.map(str::to_string),
                lacks: Vec::new(),
                packages: digest,
                pockets: Vec::new(),
                suite: Some("trixie".to_string()),
            }))
        };
        for (kind, facts, text) in [
            ("file", Facts::None, String::new()),
            (
                "tree",
                tree(&["main", "contrib"], None),
                format!(
                    r#","facts":{{"components":"main contrib","packages":"{DIGEST}","suite":"trixie"}}"#
                ),
            ),
            (
                "tree",
                tree(&[], Some("ubuntu")),
                format!(
                    r#","facts":{{"distribution":"ubuntu","packages":"{DIGEST}","suite":"trixie"}}"#
                ),
            ),
            (
                "disk",
                Facts::Disk(Box::new(DiskFacts {
                    boot_software: None,
                    firmware: vec![Firmware::Bios, Firmware::Uefi],
                    grows: None,
                    root: "UUID=1".to_string(),
                    root_uuid: "1".to_string(),
                    secure_boot: None,
                    table: "gpt".to_string(),
                })),
                r#","facts":{"firmware":"bios uefi","root":"UUID=1","root-uuid":"1","table":"gpt"}"#
                    .to_string(),
            ),
            (
                "machines",
                Facts::Machine(MachineFacts {
                    driver: "qemu".into(),
                    grows: None,
                    machine: "a1".into(),
                }),
                r#","facts":{"driver":"qemu","machine":"a1"}"#.to_string(),
            ),
        ] {
            let text = format!(
                r#"{{"product":"{kind}","hashing":"plain","digest":"{DIGEST}","size":1{text}}}"#
            );
            let artifact: Artifact = serde_json::from_str(&text).unwrap();
            assert_eq!(artifact.facts, facts);
            assert_eq!(serde_json::to_string(&artifact).unwrap(), text);
        }
    }

    #[test]
    fn the_boot_software_of_a_disk_is_one_text() {
        for (cloud_init, systemd, text) in [
            (true, Some(257), "cloud-init systemd-257"),
            (true, None, "cloud-init"),
            (false, Some(255), "systemd-255"),
            (false, None, "none"),
        ] {
            let software = BootSoftware { cloud_init, systemd };
            let written = serde_json::to_string(&software).unwrap();
            assert_eq!(written, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<BootSoftware>(&written).unwrap(), software);
        }
        for text in ["\"sysvinit\"", "\"systemd-\"", "\"systemd-x\"", "\"\""] {
            assert!(serde_json::from_str::<BootSoftware>(text).is_err(), "{text}");
        }
        let facts = r#"{"boot-software":"systemd-257","firmware":"uefi","root":"r","root-uuid":"1","table":"gpt"}"#;
        let read: Facts = serde_json::from_str(facts).unwrap();
        let software = BootSoftware { cloud_init: false, systemd: Some(257) };
        assert_eq!(read.disk().unwrap().boot_software, Some(software));
        assert_eq!(serde_json::to_string(&read).unwrap(), facts);
    }

    #[test]
    fn a_record_with_an_unknown_fact_cannot_be_read() {
        for facts in [r#"{"colour":"red"}"#, r#"{"driver":"qemu","machine":"a","x":"y"}"#] {
            let text = format!(
                r#"{{"product":"file","hashing":"plain","digest":"{DIGEST}","size":1,"facts":{facts}}}"#
            );
            assert!(serde_json::from_str::<Artifact>(&text).is_err(), "{facts}");
        }
    }
}
