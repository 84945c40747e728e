//! What is found under the name of a machine: the machine itself, whole or damaged, another one, or
//! files of somebody else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::{Hint, Result, anyhow};
use crate::hypervisor::Lookup;

use super::config::{Config, Machine};
use super::hardware::difference;
use super::record::{self, NOTE, Note};
use super::running;

impl Config<'_> {
    /// How the machine `name`, which VirtualBox has, is.
    pub fn lookup_itself(&self, name: &str, uuid: &str) -> Result<Lookup> {
        let damaged = |damage: String, machine: Option<Machine>| {
            let machine = machine.map(|machine| Box::new(running::listed(&machine)));
            Lookup::Damaged { damage, machine }
        };
        let directory = self.machine_directory(name);
        let same = |snapshots: BTreeMap<String, String>| Lookup::Same {
            path: record::settings_of(&directory, name),
            snapshots: snapshots.into_keys().map(|name| (name, None)).collect(),
        };
        let note = Note::read(&directory, name);
        if let Some(note) = &note
            && note.missing().is_none()
        {
            return Ok(same(note.snapshots.clone()));
        }
        let Some(machine) = self.machine(uuid)?.filter(|it| it.record.is_whole()) else {
            return Ok(damaged("it was not finished".to_string(), None));
        };
        let missing = note.as_ref().and_then(Note::missing);
        let damage = match missing {
            Some(path) => Some(format!("{} is gone", path.display())),
            None => machine.damage(),
        };
        Ok(match damage {
            Some(damage) => damaged(damage, Some(machine)),
            None => same(machine.info.snapshots()),
        })
    }

    /// What is found under a name of which VirtualBox does not have the machine looked for.
    pub fn lookup_others(&self, name: &str) -> Result<Lookup> {
        let all = self.machines()?;
        let Some((other, _)) = all.iter().find(|(_, other)| other == name) else {
            return self.unregistered(name);
        };
        let machine = self.machine(other)?;
        let machine = machine
            .ok_or_else(|| {
                anyhow!("VirtualBox has a machine `{name}` already, and kuth did not make it")
            })
            .hint("give the machine another name, or rename that one")?;
        Ok(Lookup::Other(Box::new(running::listed(&machine))))
    }

    /// Where VirtualBox knows no machine of the name, a directory of the name may still be
    /// somebody's.
    fn unregistered(&self, name: &str) -> Result<Lookup> {
        let directory = self.machine_directory(name);
        let settings = record::settings_of(&directory, name);
        if directory.join(NOTE).exists() {
            return Ok(Lookup::Absent);
        }
        if settings.exists() {
            let path = settings.display();
            return Err(anyhow!("{path} is there already, and VirtualBox does not know it"))
                .hint("move that directory away, or register it in VirtualBox");
        }
        let is_empty = match std::fs::read_dir(&directory) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        match is_empty {
            true => Ok(Lookup::Absent),
            false => {
                Err(anyhow!("{} is there already, and kuth did not make it", directory.display()))
                    .hint("give the machine another name, or move that directory away")
            }
        }
    }
}

impl Machine {
    /// In what it is not as it was made, if in anything. What somebody uses may be changed. A
    /// machine that is sound is noted to be so.
    fn damage(&self) -> Option<String> {
        if let Some(missing) = self.missing() {
            return Some(format!("{} is gone", missing.display()));
        }
        if self.state().is_some() {
            return None;
        }
        let difference = difference(&self.info, &self.record.hardware);
        if difference.is_none() {
            Note::write(&self.info);
        }
        difference.map(|difference| format!("it was changed: {difference}"))
    }

    /// The first disk of it whose file is gone.
    fn missing(&self) -> Option<PathBuf> {
        self.info.files().into_iter().find(|path| !path.exists())
    }
}
