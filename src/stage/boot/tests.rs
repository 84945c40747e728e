//! What a `boot` reads, its recipe, and the JUnit file.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::artifact::{BootSoftware, DiskFacts, Facts};
use crate::cache::Cache;
use crate::digest::Digest;
use crate::error::hints;
use crate::pipeline::load;
use crate::stage::{Settings, Table};

const HEAD: &str = "[pipeline]\nname = \"p\"\n[stage.base]\nkind = \"bootstrap\"\nsuite = \"trixie\"\n\
    [stage.disk]\nkind = \"disk\"\nfrom = \"base\"\nsize = \"2 GiB\"\npartition = [{ name = \"root\", \
    size = \"rest\", filesystem = \"ext4\", mount = \"/\" }]\n\
    [stage.check]\nkind = \"boot\"\nfrom = \"disk\"\n";

/// The stage that these keys of `[stage.check]` describe, or the faults as text.
fn boot(keys: &str) -> std::result::Result<Box<dyn Stage>, String> {
    let source = format!("{HEAD}{keys}");
    let path = Path::new("pipelines/p.toml");
    let pipeline = load(path, &source, &[], &|_| Some("secret".to_string()), &Table);
    let pipeline = pipeline.map_err(|faulty| faulty.to_string())?;
    let stage = pipeline.stages.into_iter().find(|stage| stage.name == "check");
    Ok(stage.unwrap().stage.pop().unwrap().1)
}

fn expect(keys: &str) -> String {
    format!("[stage.check.expect]\n{keys}\n")
}

/// A context in a directory of its own, which has `out/p`.
fn context(directory: &Path) -> StageContext {
    let cache = Arc::new(Cache::open(&directory.join("cache")).unwrap());
    let settings =
        Settings { pipeline: "p".into(), output: directory.join("out/p"), ..Settings::default() };
    StageContext::new(cache, Arc::new(settings), "check", directory.join("log"))
}

/// The lines of the recipe that the stage itself writes.
fn recipe(keys: &str) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let mut recipe = Recipe::new("boot", 1);
    let before = recipe.text().lines().count();
    boot(keys).unwrap().describe(&context(directory.path()), &mut recipe).unwrap();
    recipe.text().lines().skip(before).map(str::to_string).collect()
}

#[test]
fn the_recipe_has_what_is_expected_and_nothing_of_keys_that_are_not_there() {
    const PLAIN: [&str; 3] = ["firmware = bios", "cpus = 2", "memory = 1 GiB"];
    assert_eq!(recipe(""), PLAIN);
    assert_eq!(recipe("timeout = \"9 s\"\n"), PLAIN);
    let via = recipe("via = \"credentials\"\n");
    assert_eq!(via, [&PLAIN[..], &["via = credentials"]].concat());
    let keys = "services = [\"ssh\"]\ncloud-init = true\npackages = { htop = \"3.4*\", b2 = \"*\" }\n\
        ports = [22, \"53/udp\", \"80/tcp\"]\nfiles = [\"/etc/motd\"]\njournal = [\"ssh\"]\n\
        boot-time = \"2 min\"\ncommand = [{ run = \"true\" }]";
    let expected = [
        "service ssh: active and enabled",
        "cloud-init: status: done",
        "package htop: version 3.4*",
        "package b2: installed",
        "port 22/tcp: listens",
        "port 53/udp: listens",
        "port 80/tcp: listens",
        "file /etc/motd: exists",
        "journal of ssh: no errors",
        "boot time: at most 120 s",
        "command true: exit status 0",
    ];
    let expected: Vec<String> = expected.iter().map(|line| format!("expect = {line}")).collect();
    assert_eq!(recipe(&expect(keys))[3..], expected);
    // A list of names is the same as any version.
    let (list, table) = ("packages = [\"htop\"]", "packages = { htop = \"*\" }");
    assert_eq!(recipe(&expect(list)), recipe(&expect(table)));
}

/// A stage that could be goss's program.
const PROGRAM: &str = "[stage.program]\nkind = \"download\"\nurl = \"https://example.org/goss-linux-amd64\"\n\
     sha256 = \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\n";

#[test]
fn the_recipe_has_what_is_in_the_files_of_other_tests() {
    let digest = |path: &str| Digest::of(std::fs::read(path).unwrap());
    let lines = |keys: &str| recipe(keys)[3..].to_vec();
    let (file, program) = (digest("rustfmt.toml"), digest("LICENSE"));
    let host = lines("goss = \"rustfmt.toml\"\ngoss-binary = \"LICENSE\"\n");
    let goss = format!("goss = {file}");
    assert_eq!(host, [&goss, "goss format = yaml", &format!("goss-binary = {program}")]);
    // The output of a stage is among the inputs.
    let keys =
        format!("goss = \"rustfmt.toml\"\ngoss-binary = {{ from = \"program\" }}\n{PROGRAM}");
    assert_eq!(lines(&keys), [&goss, "goss format = yaml"]);
    let pytest = lines("pytest = \"src/boot_check\"\n");
    assert_eq!(pytest[0], "pytest = directory");
    let one = format!("pytest/junit.rs = {}", digest("src/boot_check/junit.rs"));
    assert!(pytest.contains(&one), "{pytest:#?}");
}

#[test]
fn the_output_of_a_stage_can_be_the_program_of_goss() {
    let source =
        format!("{HEAD}goss = \"rustfmt.toml\"\ngoss-binary = {{ from = \"program\" }}\n{PROGRAM}");
    let pipeline = load(Path::new("pipelines/p.toml"), &source, &[], &|_| None, &Table).unwrap();
    let stage = pipeline.stages.iter().find(|stage| stage.name == "check").unwrap();
    let keys: Vec<&str> = stage.inputs.iter().map(|input| input.key).collect();
    assert_eq!(keys, ["from", "goss-binary"]);
}

#[test]
fn bad_input_is_one_fault_with_its_place_and_the_next_step() {
    let on_expectations = [
        ("packages = \"htop\"", "wrong type for `packages`", "write `packages = [\"htop\"]`"),
        ("packages = [\"Htop\"]", "`Htop` is not the name of a package", "lower-case letters"),
        ("packages = [\"-x\"]", "`-x` is not the name of a package", "lower-case letters"),
        ("packages = [\"a b\"]", "`a b` is not the name of a package", "lower-case letters"),
        ("packages = [\"htop\", \"htop\"]", "`htop` is in `packages` twice", "first here"),
        ("packages = { htop = 3 }", "wrong type for `htop`", "a string"),
        ("packages = { htop = \"\" }", "`` is not a version", "write `*` for what may differ"),
        ("packages = { htop = \">= 3\" }", "`>= 3` is not a version", "as in \"3.4*\""),
        ("packages = { Htop = \"*\" }", "`Htop` is not the name of a package", "lower-case"),
        ("ports = 22", "`ports` is not a list", "ports = [22, \"53/udp\"]"),
        ("ports = [0]", "0 is not a port", "from 1 to 65535"),
        ("ports = [65536]", "65536 is not a port", "from 1 to 65535"),
        ("ports = [\"+53/udp\"]", "`+53/udp` is not a port", "from 1 to 65535"),
        ("ports = [\"53/sctp\"]", "`53/sctp` is not a port", "\"53/udp\""),
        ("ports = [\"ssh\"]", "`ssh` is not a port", "from 1 to 65535"),
        ("ports = [1.5]", "this is not a port", "from 1 to 65535"),
        ("ports = [\"${env:PORT}\"]", "the secret value is not a port", "from 1 to 65535"),
        ("ports = [22, \"22/tcp\"]", "the port 22/tcp is in `ports` twice", "first here"),
        ("files = [\"etc/motd\"]", "`etc/motd` is not the path of a file", "begins with `/`"),
        ("files = [\"/\"]", "`/` is not the path of a file", "begins with `/`"),
        ("files = { \"/etc/motd\" = \"x\" }", "wrong type for `files`", "an array of strings"),
        ("journal = [\"-u\"]", "`-u` is not the name of a unit", "`ssh.service`"),
        ("journal = [\"ssh*\"]", "`ssh*` is not the name of a unit", "`ssh.service`"),
        ("journal = \"ssh\"", "wrong type for `journal`", "write `journal = [\"ssh\"]`"),
        ("boot-time = 0", "`boot-time` is not a time", "\"300 s\" or \"5 min\""),
        ("boot-time = \"90\"", "`boot-time` is not a time", "\"300 s\" or \"5 min\""),
        ("boot-time = \"2 days\"", "`boot-time` is not a time", "\"300 s\" or \"5 min\""),
        ("boot_time = 9", "unknown key `boot_time`", "did you mean `boot-time`"),
    ];
    let on_expectations =
        on_expectations.map(|(keys, message, next)| (expect(keys), message, next));
    let on_stage = [
        ("via = \"cloudinit\"\n".to_string(), "`cloudinit` is not a valid `via`", "`cloud-init`"),
        ("via = true\n".to_string(), "wrong type for `via`", "a string"),
        ("timeout = \"9\"\n".to_string(), "`timeout` is not a time", "\"300 s\" or \"5 min\""),
        (
            "goss = \"rustfmt.toml\"\n".to_string(),
            "`goss` needs `goss-binary`",
            "goss-binary = { from = \"STAGE\" }",
        ),
        (
            "goss-binary = \"LICENSE\"\n".to_string(),
            "`goss-binary` has no tests to run",
            "with `goss`",
        ),
        (
            "goss = \"goss.yml\"\ngoss-binary = \"LICENSE\"\n".to_string(),
            "there is no file `goss.yml`",
            "paths start at the project root",
        ),
        (
            "goss = \"rustfmt.toml\"\ngoss-binary = \"src\"\n".to_string(),
            "`src` is a directory",
            "expected a file",
        ),
        (
            "goss = \"rustfmt.toml\"\ngoss-binary = 3\n".to_string(),
            "wrong type for `goss-binary`",
            "a string",
        ),
        (
            "goss = \"rustfmt.toml\"\ngoss-binary = {}\n".to_string(),
            "missing key `from`",
            "`from` is required here",
        ),
        (
            "goss = \"rustfmt.toml\"\ngoss-binary = { from = \"base\" }\n".to_string(),
            "`goss-binary` takes a file, but `base` (kind `bootstrap`) makes a tree",
            "the wrong thing",
        ),
        (
            "pytest = \"rustfmt.toml\"\n".to_string(),
            "`rustfmt.toml` is not a directory",
            "name the directory that has the tests",
        ),
        (
            "pytest = \"no-tests\"\n".to_string(),
            "there is no file `no-tests`",
            "paths start at the project root",
        ),
    ];
    for (keys, message, next) in on_expectations.into_iter().chain(on_stage) {
        let Err(text) = boot(&keys) else { panic!("{keys} is taken") };
        assert!(text.starts_with(&format!("error: {message}")), "{keys}: wanted {message}\n{text}");
        assert_eq!(text.matches("error: ").count(), 1, "{text}");
        assert!(text.contains(next), "{keys}: wanted {next}\n{text}");
        assert!(text.contains("pipelines/p.toml:"), "{text}");
    }
}

/// A disk that is not in the cache, with this software.
fn disk(boot_software: Option<BootSoftware>) -> Artifact {
    let facts = DiskFacts {
        boot_software,
        firmware: vec![Firmware::Bios],
        grows: None,
        root: "UUID=1".into(),
        secure_boot: None,
        root_uuid: "1".into(),
        table: "gpt".into(),
    };
    let mut output = Output::hashed(ArtifactKind::Disk, "disk", Digest::of("disk"), 4096);
    output.artifact.facts = Facts::Disk(Box::new(facts));
    output.artifact
}

#[test]
fn a_disk_that_nothing_could_look_into_is_not_booted() {
    let directory = tempfile::tempdir().unwrap();
    let context = context(directory.path());
    let junit = directory.path().join("out/p/check.junit.xml");
    std::fs::create_dir_all(junit.parent().unwrap()).unwrap();
    std::fs::write(&junit, "of an earlier run").unwrap();
    let software = BootSoftware { cloud_init: false, systemd: Some(252) };
    let inputs = [("from", disk(Some(software)))].into_iter().collect();
    let error = boot("").unwrap().run(&context, &inputs, &[]).unwrap_err();
    let expected = "nothing on the disk can run the checks: it has no cloud-init, and without it \
                    they need systemd 256 or later; the disk has systemd 252";
    assert_eq!(error.to_string(), expected);
    assert_eq!(hints(&error), ["add `cloud-init` to the packages of the tree"]);
    assert!(!junit.exists(), "an earlier outcome is left");
}

#[test]
fn tests_on_the_host_need_a_permission() {
    let directory = tempfile::tempdir().unwrap();
    let context = context(directory.path());
    let software = BootSoftware { cloud_init: true, systemd: Some(257) };
    let inputs = [("from", disk(Some(software)))].into_iter().collect();
    let stage = boot("pytest = \"src/boot_check\"\n").unwrap();
    let error = stage.run(&context, &inputs, &[]).unwrap_err();
    let expected = "`pytest` of the stage `check` runs code of the project on this host, outside of \
                    the sandbox, which you have not allowed";
    assert_eq!(error.to_string(), expected);
    let hints = hints(&error);
    assert!(hints[0].contains("src/boot_check") && hints[0].contains("`--allow-host-tests`"));
}

#[test]
fn the_junit_file_of_a_cached_result_is_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let context = context(directory.path());
    let junit = directory.path().join("out/p/check.junit.xml");
    let keys = format!("firmware = \"both\"\n{}", expect("files = [\"/etc/motd\"]"));
    let stage = boot(&keys).unwrap();
    let report = disk(None);
    let locate = stage.materialize(&context, &report).unwrap();
    assert_eq!(locate, Placement::Present(context.object(&report)));
    let text = std::fs::read_to_string(&junit).unwrap();
    for part in [
        "<testsuites name=\"p.check\" tests=\"4\" failures=\"0\" errors=\"0\" skipped=\"0\">",
        "<testsuite name=\"check.bios\"",
        "<testcase classname=\"check.uefi\" name=\"file /etc/motd\"/>",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    std::fs::write(&junit, "<testsuites failures=\"1\"/>").unwrap();
    stage.materialize(&context, &report).unwrap();
    assert_eq!(std::fs::read_to_string(&junit).unwrap(), text);
    let names = std::fs::read_dir(junit.parent().unwrap()).unwrap();
    assert_eq!(names.count(), 1, "something is left beside it");
    // A plan changes nothing.
    std::fs::remove_file(&junit).unwrap();
    stage.locate(&context, &report).unwrap();
    assert!(!junit.exists());
}

#[test]
fn the_junit_file_of_a_cached_result_has_the_tests_that_the_report_names() {
    let directory = tempfile::tempdir().unwrap();
    let context = context(directory.path());
    let keys = "goss = \"rustfmt.toml\"\ngoss-binary = \"LICENSE\"\n";
    let stage = boot(keys).unwrap();
    let text = r#"{ "boots": [{ "firmware": "bios", "expectations": [], "tests": [
        { "what": "goss File /a exists", "outcome": "passed" },
        { "what": "goss File /b mode", "outcome": "skipped" }] }] }"#;
    let report = disk(None);
    let object = context.object(&report);
    std::fs::create_dir_all(object.parent().unwrap()).unwrap();
    std::fs::write(&object, text).unwrap();
    stage.materialize(&context, &report).unwrap();
    let junit = directory.path().join("out/p/check.junit.xml");
    let written = std::fs::read_to_string(&junit).unwrap();
    for part in [
        "<testsuite name=\"check.bios\" tests=\"3\" failures=\"0\" errors=\"0\" skipped=\"1\">",
        "name=\"goss File /a exists\"/>",
        "name=\"goss File /b mode\"><skipped message=\"skipped by the test\"/></testcase>",
    ] {
        assert!(written.contains(part), "{part} is not in\n{written}");
    }
    std::fs::write(&object, "{}").unwrap();
    let error = stage.materialize(&context, &report).unwrap_err();
    assert!(format!("{error:#}").contains("there are no boots in it"), "{error:#}");
    assert_eq!(hints(&error).len(), 1);
}
