//! What a faulty pipeline file says, word for word, with a small table of kinds of its own.
//! `pipeline/` has the files, and beside each what it must say; `KUTH_BLESS=1 cargo test`
//! writes the latter anew.

use std::fs;
use std::path::Path;

use kuth::artifact::ArtifactKind;
use kuth::pipeline::{
    Fields, Input, Kinds, LocalPath, Override, Pipeline, Size, Spanned, Text, load,
};
use kuth::units::Bytes;
use proptest::prelude::*;

struct Fake;

#[derive(Debug, Default)]
struct Stage {
    url: Option<Text>,
    packages: Vec<Text>,
    size: Option<Spanned<Size>>,
    roles: Vec<String>,
    key: Option<LocalPath>,
}

impl Kinds for Fake {
    type Stage = Stage;

    fn names(&self) -> Vec<&'static str> {
        vec!["download", "bootstrap", "disk", "clone"]
    }

    fn output(&self, kind: &str) -> Option<ArtifactKind> {
        match kind {
            "download" => Some(ArtifactKind::File),
            "bootstrap" => Some(ArtifactKind::Tree),
            "disk" => Some(ArtifactKind::Disk),
            "clone" => Some(ArtifactKind::Machines),
            _ => None,
        }
    }

    fn read(&self, kind: &str, _: &str, mut fields: Fields<'_>) -> Option<(Stage, Vec<Input>)> {
        let mut stage = Stage::default();
        let mut inputs = Vec::new();
        let mut sound = true;
        match kind {
            "download" => {
                stage.url = fields.require("url").secret_text("url");
                stage.key = fields.existing_path("keyring");
                fields.exactly_one(&["sha256", "sha512"]);
                fields.text("sha256");
                fields.text("sha512");
                sound = stage.url.is_some();
            }
            "bootstrap" => {
                inputs.extend(fields.input("from", &[ArtifactKind::File, ArtifactKind::Tree]));
                fields.required_text("suite");
                stage.packages = fields.unique_texts("packages");
                fields.boolean("clean", true);
            }
            "disk" => {
                inputs.extend(fields.required_input("from", &[ArtifactKind::Tree]));
                fields.required_size("size");
                fields.choice("table", &["gpt", "mbr"]);
                fields.integer("cpus", 1..=8);
                for mut volume in fields.array_of_tables("volume") {
                    volume.required_text("name");
                    stage.size = volume.required_size_or_rest("size");
                    volume.finish();
                }
            }
            _ => {
                inputs.extend(fields.input("from", &[ArtifactKind::Disk]));
                for (name, mut role) in fields.tables("role") {
                    role.integer("count", 1..=i64::MAX);
                    role.finish();
                    stage.roles.push(name.value);
                }
            }
        }
        fields.finish();
        sound.then_some((stage, inputs))
    }
}

fn read(path: &Path, source: &str, vars: &[&str]) -> Result<Pipeline<Stage>, String> {
    let vars: Vec<Override> = vars.iter().map(|var| var.parse().unwrap()).collect();
    let env = |name: &str| (name == "TOKEN").then(|| "hunter2".to_string());
    load(path, source, &vars, &env, &Fake).map_err(|faulty| faulty.to_string())
}

/// `pipeline/NAME.toml` must say what stands in `pipeline/NAME.txt`.
fn golden(name: &str, vars: &[&str]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipeline");
    let source = fs::read_to_string(directory.join(name).with_extension("toml")).unwrap();
    let path = Path::new("tests/pipeline").join(name).with_extension("toml");
    let said = read(&path, &source, vars).expect_err("the file is faulty") + "\n";
    let expected = directory.join(name).with_extension("txt");
    if std::env::var_os("KUTH_BLESS").is_some() {
        fs::write(expected, said).unwrap();
    } else {
        assert_eq!(said, fs::read_to_string(expected).unwrap());
    }
}

macro_rules! goldens {
    ($($name:ident: $vars:expr;)*) => {
        $(#[test] fn $name() { golden(stringify!($name), &$vars); })*
    };
}

goldens! {
    unknown_keys: [];
    unknown_kind: [];
    wrong_types: [];
    references: [];
    circle: [];
    duplicates: [];
    values: [];
    variables: ["siute=trixie"];
    files: [];
    syntax: [];
    mixed: [];
    non_ascii: [];
}

const GOOD: &str = r#"
[pipeline]
name = "good"
summary = "a good one of ${suite}"
default = ["disk"]

[vars]
suite = "trixie"

# Stages may refer to what comes later.
[stage.disk]
kind = "disk"
from = "rootfs"
size = "10 GiB"
[[stage.disk.volume]]
name = "root"
size = "2 GiB"
[[stage.disk.volume]]
name = "home"
size = "rest"

[stage.rootfs]
kind = "bootstrap"
from = "iso"
suite = "${suite}"
packages = ["ssh", "vim"]

[stage.iso]
kind = "download"
url = "https://x:${env:TOKEN}@example.org/$${x}"
sha256 = "00"

[stage.nodes]
kind = "clone"
from = "disk"
role.web = { count = 2 }
[stage.nodes.role.db]
"#;

#[test]
fn a_good_pipeline_reads_in_the_order_of_its_inputs() {
    let pipeline = read(Path::new("/p/pipelines/good.toml"), GOOD, &["suite=sid"]).unwrap();
    let names: Vec<_> = pipeline.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["iso", "rootfs", "disk", "nodes"]);
    assert_eq!(pipeline.summary.as_deref(), Some("a good one of sid"));
    assert_eq!((pipeline.name.as_str(), pipeline.root.to_str()), ("good", Some("/p")));
    assert_eq!(pipeline.default, ["disk"]);
    assert_eq!(pipeline.stage("disk").unwrap().stage.size.as_ref().unwrap().value, Size::Rest);
    assert_eq!(pipeline.stage("nodes").unwrap().stage.roles, ["web", "db"]);
    let url = pipeline.stage("iso").unwrap().stage.url.clone().unwrap();
    assert_eq!((url.text.as_str(), url.secret), ("https://x:hunter2@example.org/${x}", true));
    assert!(!format!("{pipeline:?}").contains("hunter2"));
    assert_eq!(Bytes::gib(10), "10 GiB".parse().unwrap());
}

#[test]
fn without_a_default_every_stage_is_meant() {
    let source = GOOD.replace("default = [\"disk\"]", "");
    let pipeline = read(Path::new("good.toml"), &source, &[]).unwrap();
    assert_eq!(pipeline.default, ["disk", "rootfs", "iso", "nodes"]);
}

#[test]
fn a_fault_never_shows_a_secret() {
    for (what, with) in [
        ("size = \"10 GiB\"", "size = \"${env:TOKEN}\""),
        ("kind = \"disk\"", "kind = \"${env:TOKEN}\""),
        ("suite = \"trixie\"", "suite = \"${env:TOKEN}\"\nx = \"${suite}\""),
        ("from = \"rootfs\"", "from = \"${env:TOKEN}\""),
        ("default = [\"disk\"]", "default = [\"${env:TOKEN}\", \"${env:TOKEN}\"]"),
        ("name = \"good\"", "name = \"${env:TOKEN} x\""),
        ("sha256 = \"00\"", "sha256 = \"00\"\nkeyring = \"${env:TOKEN}\""),
    ] {
        let source = GOOD.replace(what, with);
        assert_ne!(source, GOOD, "{what}");
        let said = read(Path::new("good.toml"), &source, &[]).expect_err(with);
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn line_ends_of_windows_move_nothing() {
    let source =
        GOOD.replace("[stage.disk]\n", "[stage.disk]\npakages = 1\n").replace('\n', "\r\n");
    let said = read(Path::new("good.toml"), &source, &[]).unwrap_err();
    assert!(said.contains("good.toml:12:1"), "{said}");
}

/// Every span of every fault lies in the source and on character boundaries.
fn sound(source: &str) {
    let Err(faulty) = load(Path::new("p.toml"), source, &[], &|_| None, &Fake) else { return };
    for fault in faulty.faults.sorted() {
        let spans = fault.more.iter().map(|(span, _)| span).chain([&fault.span]);
        for span in spans {
            assert!(source.get(span.clone()).is_some(), "{span:?} of {}: {fault:?}", source.len());
        }
    }
    assert!(!faulty.to_string().is_empty());
}

proptest! {
    #[test]
    fn any_text_is_refused_politely(source in any::<String>()) {
        sound(&source);
    }

    #[test]
    fn any_soup_of_toml_is_refused_politely(parts in prop::collection::vec(prop::sample::select(vec![
        "[", "]", "[[", "]]", "{", "}", "=", ",", ".", "\n", "\r\n", " ", "\"", "'", "\"\"\"", "'''",
        "#", "a", "é", "stage", "kind", "[stage.a]\n", "[stage.b]\n", "[pipeline]\n", "[vars]\n",
        "kind = \"disk\"\n", "from = \"a\"\n", "from = \"b\"\n", "x = \"${x}\"\n", "${", "1", "1.5",
        "true", "[[stage.a.volume]]\n", "[stage.a.volume]\n", "\\", "\t", "日本", "stage.a.b = 1\n",
    ]), 0..40)) {
        sound(&parts.concat());
    }

    #[test]
    fn any_cut_in_a_good_file_is_refused_politely(at in 0..GOOD.len(), length in 0..40usize, put in "[\\[\\]{}=\"'.,#a1 \n]{0,3}") {
        if let (Some(head), Some(tail)) = (GOOD.get(..at), GOOD.get((at + length).min(GOOD.len())..)) {
            sound(&format!("{head}{put}{tail}"));
        }
    }
}
