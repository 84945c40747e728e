//! The secrets of seeds: those that a pipeline was given (`${env:NAME}`), and those that kuth makes
//! itself for whoever asks with `#SECRET:name#`. A seed for a machine holds them as they are. What
//! is written anywhere else holds hashes of those that were given, which say whether two are the
//! same and no more, and of those that kuth makes the names alone.
//!
//! Made secrets are derived from a key beside the machines that share them, so they live as long
//! as those do: another cache or checkout finds the same. Another host has others, and that is no
//! other recipe: nobody but the machines there knows them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cache::secret;
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::pipeline::Text;

/// The file of the key, in the directory of machines.
pub const KEY: &str = ".secret";

/// The placeholders of secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets<'a> {
    /// Something as long: for a look at the seed.
    Withheld,
    /// They themselves: for a machine in this directory.
    Plain(&'a Path),
    /// What distinguishes them: for the recipe of a machine in this directory.
    Hashed(&'a Path),
}

/// A variable of the pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variable {
    /// Its value.
    pub text: String,
    /// Whether nobody but the machine may see it.
    pub secret: bool,
}

/// Variables by name.
pub type Variables = BTreeMap<String, Variable>;

impl From<&Text> for Variable {
    fn from(text: &Text) -> Variable {
        Variable { text: text.text.clone(), secret: text.secret }
    }
}

impl From<&str> for Variable {
    fn from(text: &str) -> Variable {
        Variable { text: text.to_string(), secret: false }
    }
}

impl Secrets<'_> {
    /// What stands for the secret that kuth makes under this name.
    pub fn made(self, name: &str) -> Result<String> {
        Ok(match self {
            Secrets::Withheld => "0".repeat(64),
            Secrets::Plain(machines) => keyed(machines, &["made", name])?.to_string(),
            Secrets::Hashed(_) => format!("#SECRET:{name}#"),
        })
    }

    /// What stands for a variable.
    pub fn given(self, variable: &Variable) -> Result<String> {
        Ok(match (variable.secret, self) {
            (false, _) | (true, Secrets::Plain(_)) => variable.text.clone(),
            (true, Secrets::Withheld) => "0".repeat(variable.text.len()),
            (true, Secrets::Hashed(machines)) => {
                keyed(machines, &["hash of given", &variable.text])?.to_string()
            }
        })
    }
}

/// The key makes secrets and hashes, so each says first what it is.
fn keyed(machines: &Path, words: &[&str]) -> Result<Digest> {
    std::fs::create_dir_all(machines).with_context(|| format!("making {}", machines.display()))?;
    let key = secret::key(&machines.join(KEY), machines)?;
    Ok(Digest::keyed(&key, words.join("\0")))
}

/// The names of the secrets that `text` asks for, legal or not.
pub fn asked(text: &str) -> impl Iterator<Item = &str> {
    let after = text.split("#SECRET:").skip(1);
    after.map(|rest| rest.split(['#', '\n']).next().unwrap_or_default())
}

/// Whether a secret may have this name.
pub fn is_legal(name: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_secret_is_the_same_for_all_machines_and_no_recipe_shows_it() {
        let directory = tempfile::tempdir().unwrap();
        let machines = directory.path().join("machines");
        let reported = Secrets::Plain(&machines).made("corosync").unwrap();
        assert_eq!(reported.len(), 64);
        assert_eq!(Secrets::Plain(&machines).made("corosync").unwrap(), reported);
        assert_ne!(Secrets::Plain(&machines).made("other").unwrap(), reported);
        let hashed = Secrets::Hashed(&machines).made("corosync").unwrap();
        assert!(!hashed.contains(&reported));
        // A recipe is the same on every host.
        assert_eq!(Secrets::Hashed(directory.path()).made("corosync").unwrap(), hashed);
        assert_ne!(Secrets::Plain(directory.path()).made("corosync").unwrap(), reported);
    }

    #[test]
    fn a_given_secret_reaches_the_machine_alone() {
        let directory = tempfile::tempdir().unwrap();
        let open = Variable::from("open");
        let closed = Variable { text: "hunter2".into(), secret: true };
        for secrets in
            [Secrets::Withheld, Secrets::Plain(directory.path()), Secrets::Hashed(directory.path())]
        {
            assert_eq!(secrets.given(&open).unwrap(), "open");
            let shown = secrets.given(&closed).unwrap();
            assert_eq!(shown == "hunter2", matches!(secrets, Secrets::Plain(_)), "{shown}");
        }
    }

    #[test]
    fn names_are_found_in_a_line() {
        let names: Vec<&str> = asked("a #SECRET:b# #SECRET:C d# #SECRET:").collect();
        assert_eq!(names, ["b", "C d", ""]);
        assert_eq!(
            names.iter().map(|name| is_legal(name)).collect::<Vec<_>>(),
            [true, false, false]
        );
    }
}
