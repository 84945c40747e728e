//! What a report shows of a build: its record, and what the cache has of its results. What is not in
//! the cache has a sentence that says so, and hides nothing else.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::artifact::{Artifact, ArtifactKind};
use crate::boot_check::console;
use crate::build_record::{BuildRecord, Builds, StageRecord, StageState};
use crate::cache::Cache;
use crate::compare::{self, Change, Side};
use crate::error::{Context, Result, anyhow};
use crate::format::dpkg::Package;
use crate::import::{self, DiskReport, OtherFiles};
use crate::provenance::inventory::{self, Inventory};
use crate::recipe::{Difference, Recipe};
use crate::units::Bytes;

/// The last lines of a console that a page has.
const CONSOLE_LINES: usize = 300;
/// The words for firmware in the names of console logs.
const FIRMWARE: [&str; 2] = ["bios", "uefi"];

/// All that is on a page.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The name of the pipeline.
    pub pipeline: String,
    /// The build.
    pub build: BuildRecord,
    /// For each stage of it, how long its last run took that is on record.
    pub last_runs: Vec<Option<Duration>>,
    /// The disks that it made or found.
    pub disks: Vec<Disk>,
    /// The packages of its last tree; `None` if it has no tree.
    pub packages: Option<Packages>,
    /// What is not as in the build before; `None` if there is none on record.
    pub changes: Option<Changes>,
    /// Its boots.
    pub boots: Vec<Boot>,
}

/// A disk.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The stage that made it.
    pub stage: String,
    /// What is on it, or why nobody knows.
    pub report: Result<DiskReport, String>,
}

/// The packages of a tree.
#[derive(Clone, Debug)]
pub struct Packages {
    /// The stage that made the tree.
    pub stage: String,
    /// The largest first, or why nobody knows.
    pub list: Result<Vec<Package>, String>,
}

/// What is not as in the build before.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// When that build began, in seconds since 1970.
    pub since: u64,
    /// By stage.
    pub stages: Vec<(String, StageChange)>,
    /// By name and architecture; `None` if the packages of one build are not known.
    pub packages: Option<Vec<Change<(String, String), String>>>,
}

/// What is not as before of a stage.
#[derive(Clone, Debug, PartialEq)]
pub enum StageChange {
    /// It was not in that build.
    New,
    /// It was in that build only.
    Gone,
    /// Lines of its recipe, without its inputs.
    Recipe(Vec<Difference>),
    /// Only its inputs.
    Inputs,
    /// The recipe is the same, and the result has other bytes.
    Bytes,
    /// Its recipe, which is not in the cache any more.
    Unknown,
}

/// The boots of a stage.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The stage.
    pub stage: String,
    /// Whether all was as expected; `None` if it was not booted in this build and is not known.
    pub passed: Option<bool>,
    /// The message of one that failed.
    pub error: Option<String>,
    /// What was expected, by firmware.
    pub expectations: Vec<(String, Vec<Expected>)>,
    /// The ends of the serial consoles of the last run.
    pub consoles: Vec<Console>,
}

/// Something that was expected of a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// `mount /`.
    pub what: String,
    /// What was expected of it; empty for a test of another tool.
    pub expected: String,
    /// `as expected`, `skipped`.
    pub outcome: String,
}

/// The end of a serial console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// The firmware that started the machine.
    pub firmware: String,
    /// Lines before those that are shown.
    pub left_out: usize,
    /// The last lines, without escape sequences.
    pub lines: Vec<String>,
}

/// Collects what is known of the newest of `builds`; `None` if there is none.
pub fn collect(cache: &Cache, pipeline: &str, builds: &Builds) -> Option<Contents> {
    let (build, before) = builds.newest()?;
    let last_runs = build.stages.iter().map(|stage| builds.last_run(&stage.stage));
    let of_kind = |kind: ArtifactKind| {
        let results = build.stages.iter().filter_map(|stage| Some((stage, result(cache, stage)?)));
        results.filter(move |(_, artifact)| artifact.kind == kind)
    };
    let disks = of_kind(ArtifactKind::Disk).map(|(stage, artifact)| Disk {
        stage: stage.stage.clone(),
        report: disk(cache, &artifact).map_err(|error| format!("{error:#}")),
    });
    let packages = last_tree(cache, build).map(|(stage, tree)| Packages {
        stage: stage.to_string(),
        list: installed(cache, &tree).map(by_size).map_err(|error| format!("{error:#}")),
    });
    let boots = build.stages.iter().filter(|stage| stage.kind == "boot");
    Some(Contents {
        pipeline: pipeline.to_string(),
        build: build.clone(),
        last_runs: last_runs.collect(),
        disks: disks.collect(),
        packages,
        changes: before.map(|before| changes(cache, before, build)),
        boots: boots.map(|stage| boot(cache, pipeline, stage)).collect(),
    })
}

/// The result of a stage, if the cache still has its record.
fn result(cache: &Cache, stage: &StageRecord) -> Option<Artifact> {
    let record = cache.recorded(&stage.key?).ok()??;
    (Some(record.output.digest) == stage.digest).then_some(record.output)
}

fn disk(cache: &Cache, artifact: &Artifact) -> Result<DiskReport> {
    require(cache, artifact)?;
    // A name of the object is of no interest to anybody, so errors have none.
    let image = import::open(&cache.object(artifact), OtherFiles::Refused)?;
    import::inspect(&image)
}

fn require(cache: &Cache, artifact: &Artifact) -> Result<()> {
    match cache.holds(artifact) {
        true => Ok(()),
        false => Err(anyhow!("it is not in the local cache")),
    }
}

/// The tree that comes last in a build, and its stage.
fn last_tree<'a>(cache: &Cache, build: &'a BuildRecord) -> Option<(&'a str, Artifact)> {
    build.stages.iter().rev().find_map(|stage| {
        let tree = result(cache, stage).filter(|artifact| artifact.kind == ArtifactKind::Tree)?;
        Some((stage.stage.as_str(), tree))
    })
}

/// What is installed in a tree: from its inventory, or from the tree itself.
fn installed(cache: &Cache, tree: &Artifact) -> Result<Inventory> {
    let recipe = inventory::recipe(tree.digest);
    if let Some(record) = cache.find(&recipe.key())? {
        return inventory::read(&cache.object(&record.output));
    }
    require(cache, tree)?;
    inventory::of_tar(&cache.object(tree))
}

fn by_size(inventory: Inventory) -> Vec<Package> {
    let mut packages = inventory.packages;
    // Stable, so packages of one size stay in the order of their names.
    packages.sort_by_key(|package| std::cmp::Reverse(package.installed));
    packages
}

fn changes(cache: &Cache, before: &BuildRecord, build: &BuildRecord) -> Changes {
    let now = build.stages.iter().filter_map(|stage| {
        let change = match before.stage(&stage.stage) {
            None => StageChange::New,
            Some(earlier) => stage_change(cache, earlier, stage)?,
        };
        Some((stage.stage.clone(), change))
    });
    let gone = before.stages.iter().filter(|stage| build.stage(&stage.stage).is_none());
    let gone = gone.map(|stage| (stage.stage.clone(), StageChange::Gone));
    let stages = now.chain(gone).collect();
    Changes { since: before.began, stages, packages: package_changes(cache, before, build) }
}

fn stage_change(cache: &Cache, old: &StageRecord, new: &StageRecord) -> Option<StageChange> {
    // A stage that was not reached says nothing.
    let (old_key, new_key) = (old.key?, new.key?);
    if old_key == new_key {
        let other = old.digest.is_some() && new.digest.is_some() && old.digest != new.digest;
        return other.then_some(StageChange::Bytes);
    }
    let recipe = |key| cache.recorded(&key).ok().flatten().map(|record| own_lines(&record.recipe));
    Some(match recipe(new_key).zip(recipe(old_key)) {
        None => StageChange::Unknown,
        Some((new, old)) => match new.differences(&old) {
            differences if differences.is_empty() => StageChange::Inputs,
            differences => StageChange::Recipe(differences),
        },
    })
}

/// A recipe without its inputs: that they are others shows where they were made.
fn own_lines(recipe: &str) -> Recipe {
    let lines: Vec<&str> = recipe.lines().filter(|line| !line.starts_with("input ")).collect();
    Recipe::from_text(&lines.join("\n"))
}

fn package_changes(
    cache: &Cache,
    before: &BuildRecord,
    build: &BuildRecord,
) -> Option<Vec<Change<(String, String), String>>> {
    let side = |build: &BuildRecord| -> Option<Side> {
        let (_, tree) = last_tree(cache, build)?;
        let packages = installed(cache, &tree).ok()?.packages.into_iter();
        let packages = packages.map(|it| ((it.name, it.architecture), it.version)).collect();
        let size = Bytes(tree.size);
        Some(Side { digest: Some(tree.digest), size, packages: Some(packages), ..Side::default() })
    };
    compare::compare(&side(before)?, &side(build)?).ok()?.packages
}

fn boot(cache: &Cache, pipeline: &str, stage: &StageRecord) -> Boot {
    let report = result(cache, stage).filter(|artifact| cache.holds(artifact));
    let report = report.and_then(|artifact| std::fs::read(cache.object(&artifact)).ok());
    let report: Value = report.and_then(|it| serde_json::from_slice(&it).ok()).unwrap_or_default();
    let log = cache.log(pipeline, &stage.stage);
    let consoles = FIRMWARE.iter().filter_map(|firmware| {
        let path = log.with_extension(format!("{firmware}.console"));
        read_console(firmware, &path).ok().flatten()
    });
    Boot {
        stage: stage.stage.clone(),
        passed: match stage.state {
            StageState::Done | StageState::Cached => Some(true),
            StageState::Failed => Some(false),
            StageState::Skipped | StageState::NotReached => None,
        },
        error: stage.error.clone(),
        expectations: expectations(&report),
        consoles: consoles.collect(),
    }
}

/// The expectations in the result of a `boot` stage, and the tests of other tools.
fn expectations(report: &Value) -> Vec<(String, Vec<Expected>)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let boots = list(&report["boots"]).into_iter().map(|boot| {
        let own = list(&boot["expectations"]).into_iter().map(|it| Expected {
            what: text(&it["what"]),
            expected: text(&it["expected"]),
            outcome: match it["holds"].as_bool() {
                Some(true) => "as expected".to_string(),
                _ => "not as expected".to_string(),
            },
        });
        let tests = list(&boot["tests"]).into_iter().map(|it| Expected {
            what: text(&it["what"]),
            expected: String::new(),
            outcome: text(&it["outcome"]),
        });
        (text(&boot["firmware"]), own.chain(tests).collect())
    });
    boots.collect()
}

fn read_console(firmware: &str, path: &Path) -> Result<Option<Console>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let lines = bytes.split(|byte| *byte == b'\n').map(console::plain);
    let mut lines: Vec<String> = lines.map(|line| line.trim_end().to_string()).collect();
    lines.retain(|line| !line.is_empty());
    let left_out = lines.len().saturating_sub(CONSOLE_LINES);
    lines.drain(..left_out);
    Ok(Some(Console { firmware: firmware.to_string(), left_out, lines }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Hashing, Output};
    use crate::build_record::tests::{build, ran};
    use crate::cache::hash_object;
    use crate::format::dpkg;

    const STATUS: &str = "Package: small\nStatus: install ok installed\nVersion: 1\n\
        Architecture: amd64\nInstalled-Size: 10\n\n\
        Package: large\nStatus: install ok installed\nVersion: 2\nArchitecture: amd64\n\
        Installed-Size: 900\n";

    fn cache() -> (tempfile::TempDir, Cache) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        (directory, cache)
    }

    /// Commits a tree with dpkg's database `status`, and returns the record of its stage.
    fn tree(cache: &Cache, package: &str, status: &str) -> StageRecord {
        let mut recipe = Recipe::new("customise", 1);
        recipe.value("input from", package.len());
        recipe.value("package", package);
        let scratch = cache.scratch().unwrap();
        let file = scratch.path().join("tree.tar");
        let mut tar = tar::Builder::new(std::fs::File::create(&file).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(status.len() as u64);
        tar.append_data(&mut header, "var/lib/dpkg/status", status.as_bytes()).unwrap();
        tar.into_inner().unwrap();
        let digest = hash_object(&file, Hashing::Plain).unwrap();
        let size = file.metadata().unwrap().len();
        let output = Output::hashed(ArtifactKind::Tree, file, digest, size);
        cache.commit(&recipe, output, Duration::ZERO).unwrap();
        StageRecord { key: Some(recipe.key()), digest: Some(digest), ..ran("base", &[], 0.0, 1.0) }
    }

    #[test]
    fn packages_are_those_of_the_last_tree_and_the_largest_come_first() {
        let (_directory, cache) = cache();
        let base = tree(&cache, "a", STATUS);
        let builds = Builds(vec![build(vec![base])]);
        let contents = collect(&cache, "p", &builds).unwrap();
        let packages = contents.packages.unwrap();
        let names: Vec<String> =
            packages.list.unwrap().into_iter().map(|package| package.name).collect();
        assert_eq!(
            (packages.stage.as_str(), names),
            ("base", vec!["large".into(), "small".into()])
        );
        assert!(contents.changes.is_none() && contents.disks.is_empty());
        assert!(collect(&cache, "p", &Builds::default()).is_none());
    }

    #[test]
    fn changes_are_recipes_packages_and_stages() {
        let (_directory, cache) = cache();
        let newer = STATUS.replace("Version: 2", "Version: 3");
        let (old, new) = (tree(&cache, "a", STATUS), tree(&cache, "bc", &newer));
        let builds = Builds(vec![
            build(vec![old.clone(), ran("gone", &[], 0.0, 1.0)]),
            build(vec![new.clone(), ran("added", &[], 0.0, 1.0)]),
        ]);
        let changes = collect(&cache, "p", &builds).unwrap().changes.unwrap();
        let lines = vec![
            Difference::Removed("package = a".into()),
            Difference::Added("package = bc".into()),
        ];
        assert_eq!(
            changes.stages,
            [
                ("base".to_string(), StageChange::Recipe(lines)),
                ("added".to_string(), StageChange::New),
                ("gone".to_string(), StageChange::Gone),
            ]
        );
        let packages = changes.packages.unwrap();
        assert_eq!(packages.len(), 1);
        assert_eq!(
            (packages[0].old.as_deref(), packages[0].new.as_deref()),
            (Some("2"), Some("3"))
        );
        let other_bytes = StageRecord { digest: new.digest, ..old.clone() };
        assert_eq!(stage_change(&cache, &old, &other_bytes), Some(StageChange::Bytes));
        assert_eq!(stage_change(&cache, &old, &old), None);
        cache.forget(&old.key.unwrap()).unwrap();
        assert_eq!(stage_change(&cache, &old, &new), Some(StageChange::Unknown));
    }

    #[test]
    fn a_disk_that_is_not_here_says_so() {
        let (_directory, cache) = cache();
        let scratch = cache.scratch().unwrap();
        let output = Output::text(ArtifactKind::Disk, scratch.path(), "disk", "no disk").unwrap();
        let recipe = Recipe::new("disk", 1);
        let artifact = cache.commit(&recipe, output, Duration::ZERO).unwrap();
        std::fs::remove_file(cache.object(&artifact)).unwrap();
        let (key, digest) = (Some(recipe.key()), Some(artifact.digest));
        let stage = StageRecord { key, digest, ..ran("disk", &[], 0.0, 1.0) };
        let contents = collect(&cache, "p", &Builds(vec![build(vec![stage])])).unwrap();
        let reason = contents.disks[0].report.as_ref().unwrap_err();
        assert_eq!(reason, "it is not in the local cache");
    }

    #[test]
    fn a_boot_has_its_expectations_and_the_end_of_its_console() {
        let (_directory, cache) = cache();
        let scratch = cache.scratch().unwrap();
        let report = r#"{"boots":[{"firmware":"bios","expectations":[{"what":"mount /","expected":"/dev/a","holds":true}],"tests":[{"what":"goss x","outcome":"skipped"}]}]}"#;
        let output = Output::text(ArtifactKind::Report, scratch.path(), "r", report).unwrap();
        let recipe = Recipe::new("boot", 1);
        let artifact = cache.commit(&recipe, output, Duration::ZERO).unwrap();
        let log = cache.log("p", "check").with_extension("bios.console");
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        let lines: String = (0..CONSOLE_LINES + 5).map(|at| format!("\u{1b}[1m{at}\r\n")).collect();
        std::fs::write(&log, lines).unwrap();
        let (key, digest) = (Some(recipe.key()), Some(artifact.digest));
        let kind = "boot".to_string();
        let stage = StageRecord { kind, key, digest, ..ran("check", &[], 0.0, 1.0) };
        let found = boot(&cache, "p", &stage);
        let expected = |what: &str, expected: &str, outcome: &str| Expected {
            what: what.into(),
            expected: expected.into(),
            outcome: outcome.into(),
        };
        let all =
            vec![expected("mount /", "/dev/a", "as expected"), expected("goss x", "", "skipped")];
        assert_eq!(found.expectations, [("bios".to_string(), all)]);
        assert_eq!(found.passed, Some(true));
        assert_eq!((found.consoles.len(), found.consoles[0].left_out), (1, 5));
        assert_eq!(found.consoles[0].lines[0], "5");
    }

    #[test]
    fn packages_of_one_size_stay_in_order() {
        let packages = dpkg::read(&STATUS.replace("900", "10")).unwrap();
        let sorted = by_size(Inventory { packages, ..Inventory::default() });
        assert_eq!(sorted[0].name, "large");
    }
}
