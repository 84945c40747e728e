//! What a table of `install` may say, and that the pipelines of the repository are ones.

use std::path::Path;
use std::sync::Arc;

use kuth::cache::Cache;
use kuth::recipe::Recipe;
use kuth::stage::{StageContext, Table};
use kuth::stage_context::Settings;

use crate::world::VOLUMES;

/// The faults of a pipeline with these keys in its `install`, or nothing.
fn faults(keys: &str) -> String {
    faults_of(keys, VOLUMES)
}

fn faults_of(keys: &str, volumes: &str) -> String {
    let head = "[pipeline]\nname = \"p\"\n[stage.medium]\nkind = \"download\"\n\
        url = \"https://example.org/a.iso\"\n[stage.disk]\nkind = \"install\"\nfrom = \"medium\"\n";
    let source = format!("{head}{keys}{volumes}");
    let environment = |_: &str| None;
    match kuth::pipeline::load(Path::new("pipelines/p.toml"), &source, &[], &environment, &Table) {
        Ok(_) => String::new(),
        Err(faulty) => faulty.to_string(),
    }
}

#[test]
fn faults_are_told_with_their_place() {
    assert_eq!(faults("size = \"28 GiB\"\n"), "");
    assert_eq!(faults("size = \"28 GiB\"\nfirmware = \"uefi\"\ntable = \"gpt\"\n"), "");
    let rest =
        VOLUMES.replace("name = \"var\"\nsize = \"10 GiB\"", "name = \"var\"\nsize = \"rest\"");
    assert_eq!(faults_of("size = \"27144 MiB\"\n", &rest), "");
    for (keys, part) in [
        ("", "`size`"),
        (
            "size = \"27144 MiB\"",
            "the volumes leave too little free for an installer, which rounds up",
        ),
        (
            "size = \"28 GiB\"\nfirmware = [\"bios\", \"uefi\"]",
            "an installer sets up one way to start",
        ),
        ("size = \"28 GiB\"\npackages = [\"a b\"]", "`a b` does not name a package"),
        ("size = \"28 GiB\"\nlocale = \"de\\nd-i x/y string z\"", "does not name a locale"),
        ("size = \"28 GiB\"\ntimezone = \"\"", "does not name a time zone"),
        ("size = \"28 GiB\"\nmirror = \"ftp://a/debian\"", "is not the address of a mirror"),
        ("size = \"28 GiB\"\ninstaller = \"kickstart\"", "`kickstart`"),
        ("size = \"28 GiB\"\nhostname = \"a_b\"", "`a_b` is not a host name"),
        ("size = \"28 GiB\"\ntimeout = \"3 days\"", "`timeout` is not a time"),
        ("size = \"28 GiB\"\nanswers-file = \"no/such/file\"", "no/such/file"),
        ("size = \"28 GiB\"\nanswer = \"x\"", "did you mean `answers`?"),
    ] {
        let found = faults(&format!("{keys}\n"));
        assert!(found.contains(part), "{part}\nis not in\n{found}");
        assert!(found.contains("pipelines/p.toml:"), "{found}");
    }
    for (key, part) in [
        ("grow = true", "an installed system does not grow by itself"),
        ("options = [\"nodev\"]", "an installer writes its own mount options"),
    ] {
        let volumes = VOLUMES.replace("mount = \"/var\"\n", &format!("mount = \"/var\"\n{key}\n"));
        let found = faults_of("size = \"28 GiB\"\n", &volumes);
        assert!(found.contains(part) && found.contains(key), "{part}\nis not in\n{found}");
    }
}

/// The recipe of an `install` with these keys.
fn recipe(keys: &str) -> Recipe {
    let head = "[pipeline]\nname = \"p\"\n[stage.medium]\nkind = \"download\"\n\
        url = \"https://example.org/a.iso\"\n[stage.disk]\nkind = \"install\"\nfrom = \"medium\"\n\
        size = \"28 GiB\"\n";
    let source = format!("{head}{keys}{VOLUMES}");
    let environment = |name: &str| Some(format!("value of {name}"));
    let path = Path::new("pipelines/p.toml");
    let loaded = kuth::pipeline::load(path, &source, &[], &environment, &Table);
    let pipeline = loaded.unwrap_or_else(|faulty| panic!("{faulty}"));
    let entry = pipeline.stages.into_iter().find(|stage| stage.name == "disk").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let cache = Arc::new(Cache::open(&directory.path().join("cache")).unwrap());
    let settings = Arc::new(Settings::default());
    let context = StageContext::new(cache, settings, "disk", directory.path().join("log"));
    let stage = &entry.stage[0].1;
    let mut recipe = Recipe::new("install", stage.revision());
    stage.describe(&context, &mut recipe).unwrap();
    recipe
}

#[test]
fn what_is_installed_moves_the_key_and_how_fast_does_not() {
    let plain = recipe("");
    for keys in ["cpus = 4", "memory = \"4 GiB\"", "timeout = \"1 min\"", "packages = []"] {
        assert_eq!(recipe(keys).key(), plain.key(), "{keys}");
    }
    let mut seen = vec![plain.key()];
    for keys in [
        "packages = [\"htop\"]",
        "hostname = \"a\"",
        "locale = \"C.UTF-8\"",
        "timezone = \"Europe/Paris\"",
        "mirror = \"http://a.example/debian\"",
        "installer = \"preseed\"",
        "firmware = \"uefi\"",
        "table = \"mbr\"",
        "cmdline = \"quiet\"",
        "answers = \"d-i a/b string c\"",
        "user = [{ name = \"ops\" }]",
        "user = [{ name = \"ops\", sudo = true }]",
    ] {
        let key = recipe(keys).key();
        assert!(!seen.contains(&key), "{keys}");
        seen.push(key);
    }
    // Another mirror has the same packages.
    let mirror = |host: &str| recipe(&format!("mirror = \"http://{host}/debian\"")).key();
    assert_eq!(mirror("a.example"), mirror("b.example"));
}

#[test]
fn secrets_stay_out_of_the_recipe() {
    let hidden = recipe("answers = \"d-i passwd/x password ${env:PASSWORD}\"");
    assert!(hidden.is_secret() && !hidden.text().contains("value of"), "{}", hidden.text());
    assert!(!recipe("answers = \"d-i a/b string c\"").is_secret());
}
