//! What kuth keeps of a machine: a record in the machine's extra data, and a note beside its
//! settings that saves asking VirtualBox when nothing has changed since.
//!
//! A clone starts with a copy of its parent's extra data, so a record counts only for the UUID it
//! names. The record of a machine that is whole is the last thing written to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::format::Guid;
use crate::hardware::Hardware;
use crate::hypervisor::MachineSpec;

use super::answers::Info;

/// The key of the record in a machine's extra data.
pub const KEY: &str = "kuth/record";
/// The note's file, in the machine's directory.
pub const NOTE: &str = "kuth.json";
/// What `made-by` says.
const MADE_BY: &str = "kuth";

/// The record of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    made_by: String,
    /// The machine's own UUID.
    pub uuid: String,
    /// The name it was made under.
    pub name: String,
    /// What shaped it.
    pub origin: Digest,
    /// The pipeline that owns it.
    pub pipeline: String,
    /// The machine and the snapshot it was cloned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloned_from: Option<Parent>,
    /// Who logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The port of 127.0.0.1 that leads to its SSH server.
    pub ssh_port: u16,
    /// When its state had last changed, when it was made: another one means that somebody started
    /// it.
    pub made: String,
    /// Gave its name to a newer one, and stays for the clones that rest on it, or for its state.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retired: bool,
    /// What it was made of.
    pub hardware: Hardware,
}

/// Where a clone came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Parent {
    /// The machine's name.
    pub machine: String,
    /// The machine's UUID.
    pub uuid: String,
    /// The snapshot's name.
    pub snapshot: String,
}

/// The UUID of the machine that `origin` shapes: the same wherever it is made, so that what a
/// killed run left is known.
pub fn uuid(name: &str, origin: &Digest) -> String {
    Guid::derived(origin.0, &format!("virtualbox/{name}")).to_string()
}

impl Record {
    /// The record of a machine to be.
    pub fn new(
        spec: &MachineSpec,
        pipeline: &str,
        cloned_from: Option<Parent>,
        port: u16,
    ) -> Record {
        Record {
            made_by: MADE_BY.to_string(),
            uuid: uuid(&spec.name, &spec.origin),
            name: spec.name.clone(),
            origin: spec.origin,
            pipeline: pipeline.to_string(),
            cloned_from,
            user: spec.user.clone(),
            ssh_port: port,
            made: String::new(),
            retired: false,
            hardware: spec.hardware.clone(),
        }
    }

    /// Reads what the extra data of the machine `uuid` has under [`KEY`]. `None` where that is
    /// not kuth's, or of the machine this one was cloned from.
    pub fn parse(answer: &str, uuid: &str) -> Option<Record> {
        let record: Record = serde_json::from_str(answer.trim().strip_prefix("Value: ")?).ok()?;
        (record.made_by == MADE_BY && record.uuid == uuid).then_some(record)
    }

    /// As the extra data keep it.
    pub fn to_text(&self) -> Result<String> {
        serde_json::to_string(self).context("writing a machine's record")
    }

    /// Whether the machine was finished.
    pub fn is_whole(&self) -> bool {
        !self.made.is_empty()
    }
}

/// How a machine's settings were when VirtualBox was last asked, and what it answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    settings: Digest,
    /// Its snapshots: name and UUID.
    pub snapshots: BTreeMap<String, String>,
    /// The files it needs: what is in its drives, and the disks that those rest on in its
    /// directory.
    disks: BTreeSet<PathBuf>,
}

impl Note {
    /// Takes down that the machine is as kuth made it. A note is a convenience: failing to write
    /// it costs a few questions next time, so it is not a failure.
    pub fn write(info: &Info) {
        let mut disks: BTreeSet<PathBuf> = info.files().into_iter().collect();
        let directory = info.directory();
        for directory in [&directory, &directory.join("Snapshots")] {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            let paths = entries.map(|entry| entry.path());
            disks.extend(paths.filter(|path| path.extension().is_some_and(|it| it == "vdi")));
        }
        let note = Note { settings: Digest([0; 32]), snapshots: info.snapshots(), disks };
        note.renew(&info.settings());
    }

    /// Takes down that the machine is as it was, although its settings were written anew.
    pub fn renew(self, settings: &Path) {
        let note = std::fs::read(settings).ok().and_then(|text| {
            serde_json::to_vec_pretty(&Note { settings: Digest::of(text), ..self }).ok()
        });
        if let Some(note) = note {
            let _ = std::fs::write(settings.with_file_name(NOTE), note);
        }
    }

    /// The first file it needs that is gone.
    pub fn missing(&self) -> Option<&Path> {
        self.disks.iter().map(PathBuf::as_path).find(|path| !path.exists())
    }

    /// The note of the machine `name` in `directory`, if its settings are still as they were then.
    pub fn read(directory: &Path, name: &str) -> Option<Note> {
        let note: Note = serde_json::from_slice(&std::fs::read(directory.join(NOTE)).ok()?).ok()?;
        let settings = std::fs::read(settings_of(directory, name)).ok()?;
        (Digest::of(settings) == note.settings).then_some(note)
    }
}

/// The file of a machine's settings in its directory.
pub fn settings_of(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.vbox"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Firmware;

    fn record() -> Record {
        let hardware = Hardware {
            architecture: "amd64".into(),
            cpus: 1,
            memory: 512,
            firmware: Firmware::Bios,
            vram: 33,
            disks: vec![],
            nics: vec![],
            forwards: vec![],
        };
        let (name, origin) = ("a".to_string(), Digest([7; 32]));
        Record::new(&MachineSpec { name, origin, hardware, user: None }, "p", None, 2222)
    }

    #[test]
    fn a_record_is_of_one_machine_alone() {
        let record = record();
        let answer = format!("Value: {}\n", record.to_text().unwrap());
        assert_eq!(Record::parse(&answer, &record.uuid), Some(record.clone()));
        assert_eq!(Record::parse(&answer, "another"), None);
        assert_eq!(Record::parse("No value set!\n", &record.uuid), None);
        assert!(!record.is_whole());
    }

    #[test]
    fn a_note_holds_while_the_settings_and_disks_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = settings_of(directory.path(), "a");
        std::fs::write(&path, "<one/>").unwrap();
        let (disk, seed) = (directory.path().join("a.vdi"), directory.path().join("seed.iso"));
        std::fs::write(&disk, "").unwrap();
        std::fs::write(&seed, "").unwrap();
        let answer = format!(
            "CfgFile=\"{}\"\nSnapshotName=\"s\"\nSnapshotUUID=\"1\"\n\
             storagecontrollername0=\"IDE\"\n\"IDE-0-0\"=\"{}\"\n\"IDE-1-0\"=\"emptydrive\"\n",
            path.display(),
            seed.display()
        );
        Note::write(&Info::parse(&answer));
        let note = Note::read(directory.path(), "a").unwrap();
        assert_eq!(note.snapshots.get("s").map(String::as_str), Some("1"));
        assert_eq!(note.missing(), None);
        for file in [&disk, &seed] {
            std::fs::remove_file(file).unwrap();
            assert_eq!(note.missing(), Some(file.as_path()));
            std::fs::write(file, "").unwrap();
        }
        std::fs::write(&path, "<two/>").unwrap();
        assert_eq!(Note::read(directory.path(), "a"), None);
        note.clone().renew(&path);
        assert_eq!(Note::read(directory.path(), "a").unwrap().snapshots, note.snapshots);
    }
}
