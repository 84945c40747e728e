//! The stages `register`, `snapshot` and `clone` as a pipeline uses them: what is refused, what
//! moves which recipe, and a whole run with the embedded driver on a small disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kuth::artifact::{Artifact, ArtifactKind, DiskFacts, Facts, Firmware, Hashing, Output};
use kuth::cache::Cache;
use kuth::digest::Digest;
use kuth::files::sparse;
use kuth::machine::journal::Entry;
use kuth::pipeline::{self, Fields, Input, Kinds, Pipeline};
use kuth::recipe::Recipe;
use kuth::stage::{Inputs, Placement, Settings, Stage, StageContext, Table};

use kuth_test_support::judge;

type Instances = Vec<(Option<String>, Box<dyn Stage>)>;

/// The real kinds and one that stands for a disk.
struct WithDisk;

impl Kinds for WithDisk {
    type Stage = Instances;

    fn names(&self) -> Vec<&'static str> {
        Table.names()
    }

    fn output(&self, kind: &str) -> Option<ArtifactKind> {
        if kind == "a-disk" { Some(ArtifactKind::Disk) } else { Table.output(kind) }
    }

    fn read(&self, kind: &str, name: &str, fields: Fields<'_>) -> Option<(Instances, Vec<Input>)> {
        if kind == "a-disk" {
            fields.finish();
            return Some((Vec::new(), Vec::new()));
        }
        Table.read(kind, name, fields)
    }
}

const PIPELINE: &str = r#"
[pipeline]
name = "debian"

[vars]
domain = "kube.local"

[stage.disk]
kind = "a-disk"

[stage.machine]
kind = "register"
from = "disk"
name = "debian-base"
driver = "qemu"

[stage.golden]
kind = "snapshot"
from = "machine"
name = "golden"

[stage.nodes]
kind = "clone"
from = "golden"
ssh-key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 a&b|c"

[stage.nodes.role.gate]
instances = ["gate-node01"]
memory = "512 MiB"
nics = ["nat", "internal:dmz"]
user-data = "gate"

[stage.nodes.role.hapx]
instances = ["hapx-node01", "hapx-node02"]
memory = "512 MiB"
nics = ["internal:dmz"]
user-data = "hapx"
"#;

struct World {
    directory: tempfile::TempDir,
    context: StageContext,
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for role in ["gate", "hapx"] {
            std::fs::write(root.join(role), format!("#cloud-config\nfqdn: {role}.${{domain}}\n"))
                .unwrap();
        }
        std::fs::create_dir(root.join("work")).unwrap();
        let settings = Settings {
            epoch: 1_767_225_600,
            pipeline: "debian".into(),
            root: root.to_path_buf(),
            machines: root.join("machines"),
            offline: true,
            ..Settings::default()
        };
        let cache = Arc::new(Cache::open(&root.join("cache")).unwrap());
        let context = StageContext::new(cache, Arc::new(settings), "nodes", root.join("log"));
        let context = StageContext { work: root.join("work"), ..context };
        World { directory, context }
    }

    fn load(&self, text: &str) -> Result<Pipeline<Instances>, String> {
        let path = self.directory.path().join("debian.toml");
        pipeline::load(&path, text, &[], &|_| None, &WithDisk).map_err(|faulty| {
            faulty.faults.sorted().into_iter().map(one).collect::<Vec<_>>().join("\n")
        })
    }

    fn recipes(&self, text: &str) -> BTreeMap<String, String> {
        let pipeline = self.load(text).unwrap();
        let nodes = &pipeline.stage("nodes").unwrap().stage;
        let recipe = |(name, stage): &(Option<String>, Box<dyn Stage>)| {
            let mut recipe = Recipe::new("clone", stage.revision());
            stage.describe(&self.context, &mut recipe).unwrap();
            (name.clone().unwrap(), recipe.text())
        };
        nodes.iter().map(recipe).collect()
    }

    /// Runs one instance and takes its result into the cache.
    fn run(&self, stage: &dyn Stage, from: &Artifact) -> Artifact {
        let made = stage.run(&self.context, &inputs(from), &[]).unwrap();
        let mut recipe = Recipe::new("x", 1);
        recipe.value("digest", made.artifact.digest);
        self.context.cache.commit(&recipe, made, Duration::ZERO).unwrap()
    }

    fn disk(&self, content: &str) -> Artifact {
        let file = self.context.scratch("disk.raw");
        let image = File::options().read(true).write(true).create_new(true).open(&file).unwrap();
        image.set_len(8 << 20).unwrap();
        image.write_all_at(content.as_bytes(), 5000).unwrap();
        let artifact = Artifact {
            kind: ArtifactKind::Disk,
            hashing: Hashing::Sparse,
            digest: sparse::tree_hash(&image).unwrap(),
            size: 8 << 20,
            facts: Facts::None,
        };
        let mut recipe = Recipe::new("disk", 1);
        recipe.value("content", content);
        self.context.cache.commit(&recipe, Output { artifact, file }, Duration::ZERO).unwrap()
    }
}

/// A fault in one line, with the place of one that is in another file.
fn one(fault: &pipeline::Fault) -> String {
    let place = fault.other_file.as_ref().map_or(String::new(), |place| {
        let line = place.source[..place.span.start].matches('\n').count() + 1;
        let file = Path::new(&place.path).file_name().unwrap().to_str().unwrap();
        format!("{file}:{line}: ")
    });
    let hint = fault.hint.as_ref().map_or(String::new(), |hint| format!(" ({hint})"));
    format!("{place}{}{hint}", fault.message)
}

fn inputs(from: &Artifact) -> Inputs {
    [("from", from.clone())].into_iter().collect()
}

fn write(world: &World, name: &str, text: &str) {
    std::fs::write(world.directory.path().join(name), text).unwrap();
}

#[test]
fn one_roles_user_data_moves_its_instances_alone() {
    let world = World::new();
    let before = world.recipes(PIPELINE);
    assert_eq!(before.keys().collect::<Vec<_>>(), ["gate-node01", "hapx-node01", "hapx-node02"]);
    let moved = |after: BTreeMap<String, String>| {
        let moved = after.into_iter().filter(|(name, recipe)| before[name] != *recipe);
        moved.map(|(name, _)| name).collect::<Vec<_>>()
    };
    let all = ["gate-node01", "hapx-node01", "hapx-node02"];
    assert_eq!(moved(world.recipes(PIPELINE)), [] as [&str; 0]);
    for (from, to, expected) in [
        ("kube.local", "other.local", &all[..]),
        ("AAAAC3NzaC1lZDI1NTE5", "AAAAC3NzaC1lZDI1NTE6", &all),
        ("[\"nat\", \"internal:dmz\"]", "[\"nat\"]", &all[..1]),
        ("memory = \"512 MiB\"\nnics = [\"internal:dmz\"]", "memory = \"1 GiB\"", &all[1..]),
        ("user-data = \"hapx\"", "user-data = \"hapx\"\nreplace = \"always\"", &[]),
        ("ssh-key =", "linked = false\nssh-key =", &all),
        ("domain = \"kube.local\"", "domain = \"kube.local\"\nunused = \"x\"", &[]),
    ] {
        assert_eq!(moved(world.recipes(&PIPELINE.replacen(from, to, 1))), expected, "{to}");
    }
    write(&world, "hapx", "#cloud-config\nfqdn: x.${domain}\n");
    assert_eq!(moved(world.recipes(PIPELINE)), &all[1..]);
}

#[test]
fn faults_are_told_before_anything_runs() {
    let world = World::new();
    write(&world, "bad", "\n#cloud-config\n");
    write(&world, "typo", "#cloud-config\nhostnam: x\n");
    write(&world, "tab", "#cloud-config\n\t- a\n");
    for (from, to, expected) in [
        ("\"hapx-node02\"", "\"gate-node01\"", "two machines are called `gate-node01`"),
        (
            "\"hapx-node02\"",
            "\"Hapx\"",
            "`Hapx` cannot be a machine's name (write it in lower case: `hapx`)",
        ),
        (
            "\"nat\"",
            "\"bridge\"",
            "`bridge` is not a network (a network is `nat`, `host-only`, `host-only:ADAPTER`, `internal:NAME`, \
             `bridged:ADAPTER` or `nat-network:NAME`)",
        ),
        (
            "user-data = \"gate\"",
            "user-data = \"bad\"",
            "bad:1: the first line says not what this is, so cloud-init would skip it \
             (`#cloud-config` must be the very first line, without a space before it)",
        ),
        (
            "user-data = \"gate\"",
            "user-data = \"typo\"",
            "typo:2: cloud-init knows no key `hostnam` (did you mean `hostname`?)",
        ),
        (
            "user-data = \"gate\"",
            "user-data = \"tab\"",
            "tab:2: a tab in the indentation, which YAML does not take (indent with spaces)",
        ),
        (
            "ssh-key = \"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 a&b|c\"",
            "ssh-key = \"gate\"",
            "a public key is one line: its type, its data, a comment \
             (give a public key, or the path of a file of them)",
        ),
        (
            "memory = \"512 MiB\"",
            "memory = \"1 MiB\"",
            "1 MiB is not a memory size (at least 64 MiB, in whole MiB)",
        ),
        (
            "driver = \"qemu\"",
            "driver = \"vmware\"",
            "`vmware` is not a valid `driver` (choose one of `auto`, `virtualbox` and `qemu`)",
        ),
        (
            "memory = \"512 MiB\"\nnics = [\"nat\"",
            "disk = \"1025 KiB\"\nmemory = \"512 MiB\"\nnics = [\"nat\"",
            "1025 KiB is not a disk size (write whole MiB or GiB, as in \"500 GiB\")",
        ),
        (
            "name = \"golden\"",
            "name = \"a/b\"",
            "`a/b` cannot be a snapshot's name (a name is made of lower-case letters, digits and `-`)",
        ),
    ] {
        let found = world.load(&PIPELINE.replacen(from, to, 1)).err().unwrap_or_default();
        assert_eq!(found, expected, "{to}");
    }
}

#[test]
fn a_pipeline_ends_with_machines_that_stay() {
    let world = World::new();
    let pipeline = world.load(PIPELINE).unwrap();
    let stage = |name: &str, index: usize| &*pipeline.stage(name).unwrap().stage[index].1;
    let machine = world.run(stage("machine", 0), &world.disk("one"));
    let golden = world.run(stage("golden", 0), &machine);
    let machines = world.directory.path().join("machines");
    for (index, name) in ["gate-node01", "hapx-node01", "hapx-node02"].into_iter().enumerate() {
        let clone = stage("nodes", index);
        let artifact = world.run(clone, &golden);
        assert_eq!(artifact.facts.machine().unwrap().machine, name);
        let place = clone.materialize(&world.context, &artifact).unwrap();
        assert_eq!(place, Placement::Present(machines.join(name)));
        assert_eq!(world.run(clone, &golden), artifact, "the same again");
        let seed = std::fs::read(machines.join(name).join("seed.iso")).unwrap();
        let has = |text: &[u8]| seed.windows(text.len()).any(|window| window == text);
        assert!(has(b".kube.local\n") && has(format!("local-hostname: {name}\n").as_bytes()));
    }
    // A new disk: the used clone stays, the others are made anew.
    std::fs::write(machines.join("gate-node01/started"), "").unwrap();
    let machine = world.run(stage("machine", 0), &world.disk("two"));
    let golden = world.run(stage("golden", 0), &machine);
    let gate = world.run(stage("nodes", 0), &golden);
    let Placement::Retained(place, why) =
        stage("nodes", 0).materialize(&world.context, &gate).unwrap()
    else {
        panic!("replaced");
    };
    assert_eq!(place, machines.join("gate-node01"));
    assert!(why.contains("it has been started"), "{why}");
    let hapx = world.run(stage("nodes", 1), &golden);
    assert!(matches!(
        stage("nodes", 1).materialize(&world.context, &hapx).unwrap(),
        Placement::Present(_)
    ));
    check_overlay(&machines.join("hapx-node01/disk.qcow2"));
}

/// That a disk grows is known of the machine, the snapshot, and so to the clones; a larger disk of a
/// clone of another base is worth a warning.
#[test]
fn a_larger_disk_of_a_clone_is_for_a_base_that_grows() {
    let text = PIPELINE.replace("[\"gate-node01\"]\n", "[\"gate-node01\"]\ndisk = \"60 GiB\"\n");
    for (grows, expected) in [(Some("/"), 0), (None, 1)] {
        let mut world = World::new();
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let heard = warnings.clone();
        world.context.warn = Arc::new(move |text| heard.lock().unwrap().push(text.to_string()));
        let pipeline = world.load(&text).unwrap();
        let stage = |name: &str, index: usize| &*pipeline.stage(name).unwrap().stage[index].1;
        let disk = Artifact {
            facts: Facts::Disk(Box::new(DiskFacts {
                boot_software: None,
                firmware: vec![Firmware::Bios],
                grows: grows.map(str::to_string),
                root: "/dev/vda1".into(),
                root_uuid: "1".into(),
                secure_boot: None,
                table: "gpt".into(),
            })),
            ..world.disk("one")
        };
        let machine = world.run(stage("machine", 0), &disk);
        let golden = world.run(stage("golden", 0), &machine);
        for artifact in [&machine, &golden] {
            assert_eq!(artifact.facts.machine().unwrap().grows.as_deref(), grows);
        }
        world.run(stage("nodes", 0), &golden);
        world.run(stage("nodes", 1), &golden);
        let warnings = warnings.lock().unwrap();
        assert_eq!(warnings.len(), expected, "{warnings:?}");
        assert!(warnings.iter().all(|it| it.contains("nothing in the base grows with `disk`")));
        let overlay = world.directory.path().join("machines/gate-node01/disk.qcow2");
        let mut size = [0; 8];
        File::open(&overlay).unwrap().read_exact_at(&mut size, 24).unwrap();
        assert_eq!(u64::from_be_bytes(size), 60 << 30);
        check_overlay(&overlay);
    }
}

#[test]
fn an_entry_of_the_journal_holds_up_its_own_machine_alone() {
    let world = World::new();
    let machines = world.directory.path().join("machines");
    let journal = world.context.cache.journal();
    let entry = |driver: &str, machine: &str| Entry {
        driver: driver.into(),
        action: "clone".into(),
        machine: machine.into(),
        origin: Digest([3; 32]),
        machines: machines.clone(),
    };
    let leave = |entry: Entry| drop(entry.open(Some(&journal)).unwrap());
    // Of a driver that is gone, of a later kuth's, of another directory, and damaged.
    leave(entry("virtualbox", "debian-base"));
    leave(entry("hyperv", "gate-node01"));
    leave(Entry { machines: "/none".into(), ..entry("qemu", "hapx-node02") });
    std::fs::write(journal.join("qemu-hapx-node01-0.json"), "{\"version\": 2}").unwrap();
    // This one can be finished.
    leave(entry("qemu", "gate-node01"));
    let left = || {
        let names = std::fs::read_dir(&journal).unwrap();
        names.map(|it| it.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    let all = left();
    assert_eq!(all.len(), 5);

    let pipeline = world.load(PIPELINE).unwrap();
    let stage = |name: &str, index: usize| &*pipeline.stage(name).unwrap().stage[index].1;
    let machine = world.run(stage("machine", 0), &world.disk("one"));
    let golden = world.run(stage("golden", 0), &machine);
    let gate = world.run(stage("nodes", 0), &golden);
    let finished = BTreeSet::from(["qemu-gate-node01-030303030303.json".to_string()]);
    assert_eq!(&all - &left(), finished);
    let error = stage("nodes", 1).run(&world.context, &inputs(&golden), &[]).unwrap_err();
    let told = format!("{error:#}");
    assert!(told.contains("qemu-hapx-node01-0.json: missing field"), "{told}");
    let hint = "`kuth machine doctor --drop qemu-hapx-node01-0.json`";
    assert!(kuth::error::hints(&error).concat().contains(hint), "{error:?}");
    assert!(!machines.join("hapx-node01").exists());
    world.run(stage("nodes", 2), &golden);
    assert_eq!(&all - &left(), finished);

    // A machine that is there is finished too before it counts as there, but not by a look.
    leave(entry("qemu", "gate-node01"));
    std::fs::rename(machines.join("gate-node01"), machines.join(".old-gate-node01")).unwrap();
    let gate_stage = stage("nodes", 0);
    assert!(matches!(gate_stage.locate(&world.context, &gate).unwrap(), Placement::Missing(_)));
    assert_eq!(left(), all);
    let place = gate_stage.materialize(&world.context, &gate).unwrap();
    assert_eq!(place, Placement::Present(machines.join("gate-node01")));
    assert_eq!(&all - &left(), finished);
}

/// Lets qemu-img judge an overlay, where there is one.
fn check_overlay(disk: &Path) {
    let disk = disk.to_str().unwrap();
    let Some(info) = judge::tool("qemu-img", &["info", "--backing-chain", disk]) else { return };
    assert!(info.contains("backing file format: raw") && info.contains("../bases/"), "{info}");
}
