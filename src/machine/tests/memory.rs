//! A driver whose machines are in memory alone: what a third driver takes, which is one file and one
//! row of a table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use super::*;
use crate::digest::Digest;
use crate::hypervisor::{Access, Inventory, Lookup};
use crate::units::Bytes;

/// The driver.
#[derive(Clone, Copy, Debug)]
pub struct Memory;

/// A machine: what others see of it, what shaped it, and the files it needs.
#[derive(Clone, Debug)]
struct Machine {
    listed: Listed,
    origin: Digest,
    is_whole: bool,
}

/// The machines by name.
#[derive(Default)]
struct Store(Mutex<BTreeMap<String, Machine>>);

fn kept<T>(host: &Host, act: impl FnOnce(MutexGuard<'_, BTreeMap<String, Machine>>) -> T) -> T {
    act(host.run_state.get::<Store>().0.lock().unwrap())
}

/// Uses a machine, as somebody would who started it.
pub fn use_it(host: &Host, name: &str) {
    kept(host, |mut all| hold(&mut all.get_mut(name).unwrap().listed, "it has been started"));
}

/// Takes away what a machine needs.
pub fn damage(host: &Host, name: &str) {
    kept(host, |mut all| all.get_mut(name).unwrap().is_whole = false);
}

fn hold(listed: &mut Listed, why: &str) {
    listed.holds = Some(why.to_string());
    listed.state = State::Used;
    listed.active = None;
}

impl Hypervisor for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn unavailable(&self, _host: &Host) -> Option<String> {
        None
    }

    fn open<'h>(&self, host: &'h Host, _access: Access) -> Result<Box<dyn Inventory + 'h>> {
        Ok(Box::new(Machines(host)))
    }

    fn recover(&self, host: &Host, _action: &str, name: &str, origin: &Digest) -> Result<()> {
        kept(host, |mut all| {
            all.retain(|of, it| of != name || it.origin != *origin || it.is_whole)
        });
        Ok(())
    }

    fn remains(&self, _machines: &Path, name: &str) -> String {
        format!("nothing of `{name}` outlives kuth")
    }

    fn clean(&self, _host: &Host) -> Result<Vec<(PathBuf, Bytes)>> {
        Ok(Vec::new())
    }
}

struct Machines<'h>(&'h Host);

impl Machines<'_> {
    fn add(&self, spec: &MachineSpec, cloned_from: Option<&str>) {
        let listed = Listed {
            name: spec.name.clone(),
            directory: self.0.machines.join(&spec.name),
            pipeline: self.0.pipeline.clone(),
            snapshots: Vec::new(),
            cloned_from: cloned_from.map(str::to_string),
            state: State::Ready,
            holds: None,
            active: None,
            hardware: spec.hardware.clone(),
            user: spec.user.clone(),
            ssh_port: None,
        };
        let machine = Machine { listed, origin: spec.origin, is_whole: true };
        kept(self.0, |mut all| all.insert(spec.name.clone(), machine));
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Listed)) {
        kept(self.0, |mut all| change(&mut all.get_mut(name).unwrap().listed));
    }
}

impl Inventory for Machines<'_> {
    fn lookup(&self, name: &str, origin: &Digest) -> Result<Lookup> {
        let found = kept(self.0, |all| all.get(name).cloned());
        let Some(machine) = found else { return Ok(Lookup::Absent) };
        let listed = Box::new(machine.listed);
        Ok(match (machine.origin == *origin, machine.is_whole) {
            (false, _) => Lookup::Other(listed),
            (true, false) => {
                Lookup::Damaged { damage: "its disk is gone".into(), machine: Some(listed) }
            }
            (true, true) => Lookup::Same {
                path: listed.directory.clone(),
                snapshots: listed.snapshots.into_iter().map(|name| (name, None)).collect(),
            },
        })
    }

    fn get(&self, name: &str) -> Result<Listed> {
        let found = kept(self.0, |all| all.get(name).map(|it| it.listed.clone()));
        found.ok_or_else(|| anyhow!("there is no machine `{name}` in memory"))
    }

    fn all(&self) -> Result<Vec<Listed>> {
        Ok(kept(self.0, |all| all.values().map(|it| it.listed.clone()).collect()))
    }

    fn base(&self, name: &str) -> Result<Option<Base>> {
        let found = kept(self.0, |all| all.get(name).cloned());
        Ok(found.map(|machine| Base {
            identity: Memory.identity(name, machine.origin, None, None),
            hardware: machine.listed.hardware,
            owner: Owner::Kuth,
        }))
    }

    fn add_base(
        &mut self,
        spec: &MachineSpec,
        _source: &Source,
        _replaced: Option<&Listed>,
    ) -> Result<()> {
        self.add(spec, None);
        Ok(())
    }

    fn add_clone(
        &mut self,
        spec: &MachineSpec,
        from: &CloneSpec<'_>,
        _replaced: Option<&Listed>,
    ) -> Result<()> {
        self.add(spec, Some(&from.snapshot.machine));
        Ok(())
    }

    fn take_snapshot(
        &self,
        name: &str,
        _origin: &Digest,
        snapshot: &str,
    ) -> Result<Option<String>> {
        self.change(name, |listed| listed.snapshots.push(snapshot.to_string()));
        Ok(None)
    }

    fn clones_of(&self, machine: &Listed) -> Result<Vec<String>> {
        let all = self.all()?.into_iter();
        let clones = all.filter(|it| it.cloned_from.as_ref() == Some(&machine.name));
        Ok(clones.map(|it| it.name).collect())
    }

    fn remove(&self, machine: &Listed) -> Result<()> {
        kept(self.0, |mut all| all.remove(&machine.name));
        Ok(())
    }

    fn start(&self, machine: &Listed) -> Result<()> {
        self.change(&machine.name, |listed| {
            listed.state = State::Running;
            listed.holds = Some("it is running".into());
            listed.active = Some("running".into());
        });
        Ok(())
    }

    fn is_running(&self, machine: &Listed) -> Result<bool> {
        Ok(self.get(&machine.name)?.state == State::Running)
    }

    fn press_power_button(&self, machine: &Listed) -> Result<()> {
        self.power_off(machine)
    }

    fn power_off(&self, machine: &Listed) -> Result<()> {
        self.change(&machine.name, |listed| hold(listed, "it has been started"));
        Ok(())
    }

    fn console(&self, machine: &Listed) -> PathBuf {
        machine.directory.join("console.log")
    }

    fn ssh(&self, machine: &Listed) -> Result<Vec<String>> {
        Err(anyhow!("the machine `{}` has no network", machine.name))
    }
}
