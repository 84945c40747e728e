//! A project with a stage of every kind, and the recipes of its stages as the engine makes them,
//! without packages, builds or a network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kuth::artifact::{Artifact, ArtifactKind, Facts, Hashing};
use kuth::cache::Cache;
use kuth::cli::schema::reference::{self, Row};
use kuth::digest::Digest;
use kuth::engine::key;
use kuth::engine::plan::{Plan, Ready};
use kuth::recipe::Recipe;
use kuth::stage::{KINDS, Settings, StageContext, Table};

/// The pipeline that every row changes one thing of.
pub const BASE: &str = include_str!("base.toml");

/// The files that it names. An `A` in each is the byte that a test turns into a `B`.
pub const FILES: [(&str, &str); 19] = [
    ("data/download.gpg", "keys A"),
    ("data/bootstrap.gpg", "keys A"),
    ("data/customise.gpg", "keys A"),
    ("data/one.gpg", "repository A"),
    ("data/two.gpg", "repository A"),
    ("data/package.deb", "A"),
    ("data/script", "#!/bin/sh\necho A\n"),
    ("data/source", "A"),
    ("data/directory/below/file", "A"),
    ("data/additions.iso", "A"),
    ("data/answers", "d-i a/b string A\n"),
    ("data/goss.yaml", "file: {} # A\n"),
    ("data/goss.json", "{\"A\": {}}\n"),
    ("data/goss", "#!/bin/sh\necho goss A\n"),
    ("data/tests/below/test_a.py", "def test_A(): pass\n"),
    ("data/ssh.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 comment-A\n"),
    ("data/user-data", "#cloud-config\nfinal_message: A\n"),
    ("data/meta-data", "instance-id: #UUID#\nlocal-hostname: A\n"),
    ("data/network-config", "version: 2\nethernets:\n  eth0:\n    dhcp4: true # A\n"),
];

/// A checkout in a temporary directory.
pub struct World {
    pub directory: tempfile::TempDir,
    pub settings: Settings,
}

/// The recipes of a pipeline's stages, by the names of their nodes.
pub struct Recipes {
    /// With inputs that are the same whatever their own recipes say.
    pub own: BTreeMap<String, Recipe>,
    /// With inputs that are other ones when their recipes are.
    pub chained: BTreeMap<String, Recipe>,
    /// The nodes that each node takes its inputs from.
    pub inputs: BTreeMap<String, Vec<String>>,
}

impl World {
    pub fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let world = World { settings: Settings::default(), directory };
        for (path, text) in FILES {
            let path = world.at(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let settings = Settings {
            epoch: 1_767_225_600,
            pipeline: "keys".into(),
            root: world.at(""),
            output: world.at("out"),
            machines: world.at("machines"),
            // Whatever is installed here, this answers as VirtualBox does.
            driver_commands: [("virtualbox".into(), "echo 7.0.20r1".into())].into(),
            offline: true,
            ..Settings::default()
        };
        World { settings, ..world }
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    pub fn load(&self, source: &str) -> Result<Ready, String> {
        let environment = |_: &str| None;
        let path = self.at("pipelines/keys.toml");
        kuth::pipeline::load(&path, source, &[], &environment, &Table)
            .map_err(|faulty| faulty.to_string())
    }

    /// The recipes of all stages of `source`.
    pub fn recipes(&self, source: &str) -> Recipes {
        self.recipes_with(source, self.settings.clone())
    }

    pub fn recipes_with(&self, source: &str, settings: Settings) -> Recipes {
        let pipeline = self.load(source).unwrap_or_else(|faults| panic!("{faults}\nof {source}"));
        let names: Vec<String> = pipeline.stages.iter().map(|stage| stage.name.clone()).collect();
        let plan = Plan::new(&pipeline, &names).unwrap();
        let cache = Arc::new(Cache::open(&self.at("cache")).unwrap());
        let settings = Arc::new(settings);
        let mut all =
            Recipes { own: BTreeMap::new(), chained: BTreeMap::new(), inputs: BTreeMap::new() };
        for node in plan.nodes() {
            let context =
                StageContext::new(cache.clone(), settings.clone(), &node.name, self.at("log"));
            let eaten = |id: usize| plan.nodes()[id].name.clone();
            let recipe = |digest: &dyn Fn(&str) -> Digest| {
                let inputs = node.inputs.iter();
                let inputs = inputs.map(|(key, id)| (*key, artifact(digest(&eaten(id.0)))));
                key::recipe(node, &context, &inputs.collect(), &[])
                    .unwrap_or_else(|error| panic!("{}: {error:#}", node.name))
            };
            let own = recipe(&|name| Digest::of(name));
            let chained = recipe(&|name| all.chained[name].key().0);
            all.own.insert(node.name.clone(), own);
            all.chained.insert(node.name.clone(), chained);
            let inputs = node.inputs.iter().map(|(_, id)| eaten(id.0)).collect();
            all.inputs.insert(node.name.clone(), inputs);
        }
        all
    }
}

fn artifact(digest: Digest) -> Artifact {
    let (kind, hashing) = (ArtifactKind::File, Hashing::Plain);
    Artifact { kind, hashing, digest, size: 1, facts: Facts::None }
}

impl Recipes {
    /// The nodes whose own recipes are others in `later`, or are in one of the two alone. The keys
    /// of these and of all that depend on them are others; every other key is the same.
    pub fn moved(&self, later: &Recipes) -> BTreeSet<String> {
        let differ = |one: &BTreeMap<String, Recipe>, other: &BTreeMap<String, Recipe>| {
            let names = one.keys().chain(other.keys());
            let key = |of: &BTreeMap<String, Recipe>, name: &String| {
                of.get(name).map(|recipe| recipe.key())
            };
            let moved = names.filter(|name| key(one, name) != key(other, name));
            moved.cloned().collect::<BTreeSet<String>>()
        };
        let moved = differ(&self.own, &later.own);
        let mut expected = moved.clone();
        loop {
            let before = expected.len();
            for (name, inputs) in &later.inputs {
                if inputs.iter().any(|input| expected.contains(input)) {
                    expected.insert(name.clone());
                }
            }
            if expected.len() == before {
                break;
            }
        }
        assert_eq!(differ(&self.chained, &later.chained), expected, "dependents");
        moved
    }
}

/// `names` as [`Recipes::moved`] gives them.
pub fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

/// Every documented key of every kind.
pub fn documented() -> Vec<(&'static str, Row)> {
    let sections = reference::sections();
    let rows = KINDS.iter().flat_map(|kind| {
        let rows = sections.get(kind.name).unwrap_or_else(|| panic!("no section {}", kind.name));
        rows.iter().map(|row| (kind.name, row.clone()))
    });
    rows.collect()
}

/// Writes `text` over a file, and leaves its time as it was.
pub fn rewrite(path: &Path, text: &str) {
    let time = path.metadata().unwrap().modified().unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}
