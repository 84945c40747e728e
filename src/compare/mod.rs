//! Compares two images, trees or builds: packages, files, volumes, recipes, sizes. A [`Side`] is what
//! is known of one of them, from the cache and from the sidecar files of an image. What is not known
//! of a side is reported as not known, never as equal. The room knows no pipeline and no screen.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::format::intoto::Step;
use crate::recipe::{Difference, Recipe};
use crate::units::Bytes;

pub mod side;
pub mod tree;
pub mod volumes;

pub use side::find;
pub use tree::{Entry, Files};
pub use volumes::Volume;

/// A package's name and architecture, and its version.
pub type Packages = BTreeMap<(String, String), String>;

/// What is known of one of two things to compare.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// Names its content as a whole.
    pub digest: Option<Digest>,
    /// Its apparent size.
    pub size: Bytes,
    /// The tree that it is, or is made of.
    pub tree: Option<Digest>,
    /// What is installed.
    pub packages: Option<Packages>,
    /// The tar of the tree, where that is here.
    pub tar: Option<std::path::PathBuf>,
    /// How the disk is divided; empty for a tree.
    pub volumes: Option<Vec<Volume>>,
    /// The stages on the way to it, nearest last.
    pub steps: Vec<Step>,
}

/// What is different.
#[derive(Clone, Debug, Default)]
pub struct Differences {
    /// Packages; `None` if those of a side are not known.
    pub packages: Option<Vec<Change<(String, String), String>>>,
    /// Files, by their paths; `None` if those of a side are not here.
    pub files: Option<Vec<Change<Vec<u8>, Entry>>>,
    /// Partitions and file systems; `None` if those of a side are not known.
    pub volumes: Option<Vec<Change<String, Volume>>>,
    /// Lines of recipes, by stage; only where the stages of both sides are known.
    pub recipes: Vec<(String, Vec<Difference>)>,
    /// The sizes, if they are not the same.
    pub sizes: Option<(Bytes, Bytes)>,
    /// Whether both are the same bytes.
    pub same_bytes: bool,
}

/// Something that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<K, V> {
    /// What.
    pub what: K,
    /// On the first side, if it is there.
    pub old: Option<V>,
    /// On the second side, if it is there.
    pub new: Option<V>,
}

impl Differences {
    /// Whether nothing is known to be different, and nothing may be that could not be looked at.
    pub fn is_empty(&self) -> bool {
        let none = |changes: Option<bool>| changes.unwrap_or(self.same_bytes);
        none(self.packages.as_ref().map(Vec::is_empty))
            && none(self.files.as_ref().map(Vec::is_empty))
            && none(self.volumes.as_ref().map(Vec::is_empty))
            && self.recipes.is_empty()
            && (self.sizes.is_none() || self.same_bytes)
    }
}

/// Compares. Files are read only where the trees are not the same.
pub fn compare(old: &Side, new: &Side) -> crate::error::Result<Differences> {
    let same_bytes = old.digest.is_some() && old.digest == new.digest;
    let files = match (&old.tar, &new.tar) {
        _ if old.tree.is_some() && old.tree == new.tree => Some(Vec::new()),
        (Some(old), Some(new)) => Some(changes(&tree::read(old)?, &tree::read(new)?)),
        _ => None,
    };
    let both = |old: &Option<Packages>, new: &Option<Packages>| {
        Some(changes(old.as_ref()?, new.as_ref()?))
    };
    let by_name = |volumes: &[Volume]| -> BTreeMap<String, Volume> {
        volumes.iter().map(|volume| (volume.name.clone(), volume.clone())).collect()
    };
    let volumes = match (&old.volumes, &new.volumes) {
        (Some(old), Some(new)) => Some(changes(&by_name(old), &by_name(new))),
        _ => None,
    };
    Ok(Differences {
        packages: both(&old.packages, &new.packages),
        files,
        volumes,
        recipes: recipes(&old.steps, &new.steps),
        sizes: (old.size != new.size).then_some((old.size, new.size)),
        same_bytes,
    })
}

/// What is not the same in two maps, in the order of their keys.
fn changes<K: Ord + Clone, V: PartialEq + Clone>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> Vec<Change<K, V>> {
    let change = |what: &K| {
        let (old, new) = (old.get(what), new.get(what));
        (old != new).then(|| Change { what: what.clone(), old: old.cloned(), new: new.cloned() })
    };
    let gone = old.keys().filter(|key| !new.contains_key(key));
    let mut keys: Vec<&K> = new.keys().chain(gone).collect();
    keys.sort();
    keys.into_iter().filter_map(change).collect()
}

/// How the recipes of stages of one kind differ, from the first stage on. Their inputs are left
/// out: that it is another thing shows where it was made.
fn recipes(old: &[Step], new: &[Step]) -> Vec<(String, Vec<Difference>)> {
    let own = |step: &Step| {
        let lines: Vec<&str> = step.recipe.iter().map(String::as_str).collect();
        let lines: Vec<&str> =
            lines.into_iter().filter(|line| !line.starts_with("input ")).collect();
        Recipe::from_text(&lines.join("\n"))
    };
    let mut found = Vec::new();
    let mut rest = old;
    for step in new {
        let kind = side::kind(step);
        let Some(at) = rest.iter().position(|other| side::kind(other) == kind) else { continue };
        let differences = own(step).differences(&own(&rest[at]));
        if !differences.is_empty() {
            let name = if step.stage.is_empty() { kind } else { &step.stage };
            found.push((name.to_string(), differences));
        }
        rest = &rest[at + 1..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(stage: &str, recipe: &[&str]) -> Step {
        Step {
            stage: stage.into(),
            key: String::new(),
            recipe: recipe.iter().map(|line| line.to_string()).collect(),
            inputs: BTreeMap::new(),
            output: BTreeMap::new(),
        }
    }

    #[test]
    fn what_is_in_one_map_alone_or_another_value_is_a_change() {
        let map = |pairs: &[(&'static str, i32)]| pairs.iter().copied().collect();
        let found =
            changes(&map(&[("a", 1), ("b", 2), ("c", 3)]), &map(&[("b", 2), ("c", 4), ("d", 5)]));
        let change = |what, old, new| Change { what, old, new };
        assert_eq!(
            found,
            [change("a", Some(1), None), change("c", Some(3), Some(4)), change("d", None, Some(5))]
        );
    }

    #[test]
    fn recipes_are_compared_stage_by_stage_without_their_inputs() {
        let old = [
            step("rootfs", &["kind = bootstrap", "suite = trixie"]),
            step("base", &["kind = customise", "input from = 1", "package = a"]),
        ];
        let new = [
            step("rootfs", &["kind = bootstrap", "suite = trixie"]),
            step("base", &["kind = customise", "input from = 2", "package = b"]),
        ];
        let found = recipes(&old, &new);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "base");
        let lines: Vec<String> = found[0].1.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["- package = a", "+ package = b"]);
    }

    #[test]
    fn what_is_not_known_is_not_equal() {
        let nothing = Side::default();
        assert!(!compare(&nothing, &nothing).unwrap().is_empty());
        let side = Side { digest: Some(Digest::of("x")), ..Side::default() };
        assert!(compare(&side, &side).unwrap().is_empty());
    }
}
