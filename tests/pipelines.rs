//! The pipelines of the repository: all are right, and those that begin with somebody else's image
//! are built from a home-made one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kuth::cancel::Cancel;
use kuth::cancel::Progress;
use kuth::digest::Digest;
use kuth::format::appliance::{Appliance, Firmware};
use kuth::image::{self, Package};
use kuth::units::Bytes;

use kuth_test_support::servers;

use kuth_test_support::home::{self, Home, Said};

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// The pipelines and what they read, without locks.
fn checkout() -> Home {
    let (home, root) = (Home::new(), Path::new(env!("CARGO_MANIFEST_DIR")));
    for directory in ["pipelines", "data"] {
        for file in files(&root.join(directory)) {
            let name = file.strip_prefix(root).unwrap().to_str().unwrap();
            if !name.ends_with(".lock") {
                home.write(name, &std::fs::read_to_string(&file).unwrap());
            }
        }
    }
    // One of them takes kuth in.
    home.write("target/release/kuth", "");
    home
}

#[test]
fn all_pipelines_are_sound_and_have_a_summary() {
    let home = checkout();
    let all = files(&home.path("pipelines"));
    assert!(all.len() >= 4, "{all:?}");
    for file in all {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# ") && text.contains("\nsummary = "), "{}", file.display());
        let root = home.path(".");
        let name = file.strip_prefix(&root).unwrap().to_str().unwrap();
        let said = home.kuth(&["check", name]);
        assert_eq!(said.status, 0, "{name}: {}", said.err);
        assert!(text.contains(&format!("#   kuth build {name}")), "{name} says how to build it");
    }
}

/// For whoever has the sources and no kuth; `KUTH_BLESS=1` writes it.
#[test]
fn the_schema_is_committed() {
    home::golden_in("docs", "schema.json", &Home::new().kuth(&["schema"]).out);
}

#[test]
fn what_init_writes_names_its_schema_and_is_accepted_by_it() {
    let home = Home::new();
    for arguments in [
        &["init", "plain"][..],
        &["init", "large", "--suite", "bookworm", "--lvm", "--role", "web", "--role", "db"],
    ] {
        let said = home.kuth(arguments);
        let file = format!("pipelines/{}.toml", arguments[1]);
        assert_eq!((said.status, said.out.trim_end()), (0, file.as_str()), "{}", said.err);
        let checked = home.kuth(&["check", &file]);
        assert_eq!(checked.status, 0, "{}", checked.err);
        let text = std::fs::read_to_string(home.path(&file)).unwrap();
        let schema = text.lines().next().unwrap().strip_prefix("#:schema ").unwrap();
        // From the directory of the pipeline, as editors take it.
        let schema = home.path("pipelines").join(schema);
        let Some(program) = servers::program("check-jsonschema") else { return };
        let mut command = std::process::Command::new(program);
        command.arg("--schemafile").arg(schema).arg(home.path(&file));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("ok -- validation done"), "{said}");
    }
    // One that is there is the user's.
    home.write("kuth.schema.json", "{}");
    assert_eq!(home.kuth(&["init", "third"]).status, 0);
    assert_eq!(std::fs::read_to_string(home.path("kuth.schema.json")).unwrap(), "{}");
}

/// What an editor checks a pipeline by, with the checker of the schema's own people as the judge.
#[test]
fn the_schema_accepts_them_and_refuses_faulty_ones() {
    let home = checkout();
    let schema = home.kuth(&["schema"]);
    home.write("schema.json", &schema.out);
    let judge = |file: &Path| -> Option<String> {
        let program = servers::program("check-jsonschema")?;
        let mut command = std::process::Command::new(program);
        let output =
            command.arg("--schemafile").arg(home.path("schema.json")).arg(file).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        Some(String::from_utf8_lossy(&said).into_owned())
    };
    let mut all = files(&home.path("pipelines"));
    all.retain(|file| file.extension().is_some());
    // Every kind with every key.
    all.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys/base.toml"));
    for file in &all {
        let Some(said) = judge(file) else { return };
        assert!(said.contains("ok -- validation done"), "{}: {said}", file.display());
    }
    let right = "[pipeline]\nname = \"p\"\n\n[stage.a]\nkind = \"disk\"\nfrom = \"b\"\n\
                 size = \"1 GiB\"\npartition = [{ name = \"a\", size = \"rest\" }]\n";
    home.write("right.toml", right);
    assert!(judge(&home.path("right.toml")).unwrap().contains("ok"));
    for (from, to, told) in [
        ("size = \"1 GiB\"", "size = \"1 GB\"", "1 GB"),
        ("size = \"1 GiB\"", "sise = \"1 GiB\"", "sise"),
        ("from = \"b\"\n", "", "'from' is a required property"),
        ("kind = \"disk\"", "kind = \"disc\"", "disc"),
        ("name = \"a\", ", "name = \"a\", lvn = \"vg0\", ", "lvn"),
        ("size = \"1 GiB\"", "size = \"1 GiB\"\ntable = \"dos\"", "dos"),
    ] {
        home.write("faulty.toml", &right.replace(from, to));
        let said = judge(&home.path("faulty.toml")).unwrap();
        assert!(said.contains("Schema validation errors") && said.contains(told), "{to}: {said}");
    }
}

#[test]
fn the_schema_is_a_schema() {
    let Some(program) = servers::program("check-jsonschema") else { return };
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema.json");
    let mut command = std::process::Command::new(program);
    let output = command.arg("--check-metaschema").arg(schema).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// As an editor reads it: tombi, with the schema that the first line of a file names.
#[test]
fn an_editor_finds_no_fault_in_them_and_the_one_in_a_faulty_one() {
    let Some(tombi) = servers::program("tombi") else { return };
    let home = checkout();
    home.write("kuth.schema.json", &home.kuth(&["schema"]).out);
    home.write("tombi.toml", "toml-version = \"v1.1.0\"\n");
    let judge = |name: &str| {
        let mut command = std::process::Command::new(&tombi);
        command
            .args(["lint", "--offline", "--error-on-warnings", name])
            .current_dir(home.path("."));
        let output = command.env("NO_COLOR", "1").output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    for file in files(&home.path("pipelines")).iter().filter(|it| it.extension().is_some()) {
        let text =
            format!("#:schema ./kuth.schema.json\n\n{}", std::fs::read_to_string(file).unwrap());
        home.write("judged.toml", &text);
        let (is_content, said) = judge("judged.toml");
        assert!(is_content, "{}: {said}", file.display());
        home.write("judged.toml", &text.replacen("\nkind = ", "\nkimd = ", 1));
        let (is_content, said) = judge("judged.toml");
        assert!(!is_content && said.contains("kimd"), "{}: {said}", file.display());
    }
}

/// A machine of 64 MiB as VirtualBox passes it on, with `text` on its disk.
fn machine(home: &Home, text: &str) {
    let (disk, to) = (home.path(".").join("disk.raw"), home.path(".").join("image.tar.bz2"));
    let file = File::create(&disk).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(text.as_bytes(), 33 << 20).unwrap();
    let content = std::fs::read(&disk).unwrap();
    let identity = image::Identity { disk: Digest::of(&content), epoch: 1_767_225_600 };
    let appliance = Appliance {
        name: "theirs".into(),
        cpus: 2,
        memory: Bytes::mib(640),
        vram: 16,
        firmware: Firmware::Bios,
        cards: Vec::new(),
        disk: Bytes::mib(64),
    };
    let progress = Progress { cancel: &Cancel::default(), report: &|_, _| () };
    let _ = std::fs::remove_file(&to);
    image::pack(&disk, Package::Box(9), &appliance, identity, &to, 2, progress).unwrap();
}

#[test]
fn prebuilt_makes_machines_of_an_archive_whose_first_digest_counts() {
    let home = checkout();
    machine(&home, "the first");
    let image = format!("image=file://{}", home.path("image.tar.bz2").display());
    let machines = home.path(".").join("machines");
    let variables = [("KUTH_MACHINES", machines.to_str().unwrap())];
    let kuth = |words: &[&str]| -> Said {
        let given = ["--var", &image];
        home.kuth_with(&[words, &["pipelines/prebuilt.toml"], &given].concat(), &variables)
    };
    let build = || kuth(&["build", "--driver", "qemu"]);

    let first = build();
    assert_eq!(first.status, 0, "{}", first.err);
    assert!(first.err.contains("nothing says what"), "it warns of the digest: {}", first.err);
    for name in ["prebuilt-base-image", "prebuilt-node01", "prebuilt-node02"] {
        let settings = machines.join(name).join("machine.toml");
        let text = std::fs::read_to_string(&settings).unwrap();
        // A clone has its role's memory, the base its maker's.
        let memory = if name.ends_with("image") { "640" } else { "512" };
        assert!(text.contains(memory), "{name}: {text}");
        assert_eq!(machines.join(name).join("seed.iso").exists(), !name.ends_with("image"));
    }
    let second = build();
    assert!(second.status == 0 && !second.err.contains("nothing says what"), "{}", second.err);

    // Whoever put another archive there does not get it built, until somebody says so.
    machine(&home, "the second");
    std::fs::remove_dir_all(home.path("cache")).unwrap();
    let other = build();
    assert_eq!(other.status, 1, "{}", other.err);
    assert!(other.err.contains("another file lies there now"), "{}", other.err);
    let updated = home.kuth(&["update", "pipelines/prebuilt.toml", "--var", &image]);
    assert_eq!(updated.status, 0, "{}", updated.err);
    let third = build();
    assert_eq!(third.status, 0, "{}", third.err);
}
