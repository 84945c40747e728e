//! The action of GitHub in `action.yml`, the file for GitLab in `ci/`, and the scripts that both run:
//! judged, and run here as far as a runner is not needed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use kuth_test_support::checkout;
use kuth_test_support::home::{self, Home};
use kuth_test_support::run::Run;
use kuth_test_support::servers::program;

use crate::hostile::read;

fn text(name: &str) -> String {
    std::fs::read_to_string(checkout().join(name)).unwrap()
}

/// Every text below a key `run`, `script` or `before_script`.
fn scripts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| scripts(item, found)),
        Value::Object(entries) => {
            for (key, value) in entries {
                match (key.as_str(), value) {
                    ("run", Value::String(script)) => found.push(script.clone()),
                    ("script" | "before_script", Value::Array(lines)) => {
                        found.extend(lines.iter().map(|line| line.as_str().unwrap().to_string()))
                    }
                    _ => scripts(value, found),
                }
            }
        }
        _ => {}
    }
}

/// The two documents of the file for GitLab: its inputs, and its jobs.
fn gitlab() -> (String, String) {
    let text = text("ci/gitlab.yml");
    let (inputs, jobs) = text.split_once("\n---\n").unwrap();
    (inputs.to_string(), jobs.to_string())
}

#[test]
fn the_action_is_judged() {
    let judges: [(&str, &[&str]); 2] = [
        ("zizmor", &["--offline", "--no-progress", "--persona", "pedantic"]),
        ("check-jsonschema", &["--builtin-schema", "vendor.github-actions"]),
    ];
    for (judge, options) in judges {
        let Some(program) = program(judge) else { continue };
        let mut command = Command::new(program);
        let output = command.args(options).arg(checkout().join("action.yml")).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{judge}: {}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn the_file_for_gitlab_is_judged() {
    let (inputs, jobs) = gitlab();
    let Some(inputs) = read(&inputs) else { return };
    let inputs = inputs["spec"]["inputs"].as_object().unwrap();
    let mut filled = jobs.clone();
    for (name, input) in inputs {
        let mark = format!("$[[ inputs.{name} ]]");
        assert!(jobs.contains(&mark), "no job has the input {name}");
        assert!(input["description"].is_string(), "{name}");
        filled = filled.replace(
            &mark,
            &match &input["default"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            },
        );
    }
    assert!(!filled.contains("$[["), "an input is not declared:\n{filled}");
    crate::judges::judge("gitlab", &filled);
    assert!(read(&filled).unwrap()["kuth"]["script"].is_array());
}

#[test]
fn shellcheck_finds_nothing_in_the_scripts() {
    let Some(shellcheck) = program("shellcheck") else { return };
    let mut all = Vec::new();
    for yaml in [text("action.yml"), gitlab().1] {
        let Some(value) = read(&yaml) else { return };
        scripts(&value, &mut all);
    }
    assert!(all.len() >= 5, "{all:?}");
    // What other steps of a job set.
    let given = "kuth_ci=${kuth_ci:-}\n";
    let mut files: Vec<String> = all.iter().map(|it| format!("#!/bin/sh\n{given}{it}")).collect();
    files.extend(["prepare", "install", "build"].map(|name| text(&format!("ci/{name}"))));
    let directory = tempfile::tempdir().unwrap();
    for (at, script) in files.iter().enumerate() {
        let path = directory.path().join(at.to_string());
        std::fs::write(&path, script).unwrap();
        let output = Command::new(&shellcheck).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// A script of `ci/` in `home`, with the programs of `home/bin` first.
fn script(home: &Home, name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = Command::new(checkout().join("ci").join(name));
    let path = format!("{}:{}", home.path("bin").display(), home::path());
    command.current_dir(home.path(".")).env_clear().env("PATH", path);
    Run::to_end(command.args(arguments).envs(variables.iter().copied()))
}

/// A program that says how it was called, and what it read.
fn stub(home: &Home, name: &str, script: &str) {
    home.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
    let path = home.path(&format!("bin/{name}"));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_runner_is_prepared_where_something_is_missing() {
    let home = Home::new();
    stub(&home, "id", "echo 1000");
    stub(&home, "sudo", r#"echo "$@" >>sudo.log; [ "$1" != tee ] || cat >>sudo.log"#);
    stub(
        &home,
        "dpkg-query",
        r#"for last; do :; done; [ "$last" = uidmap ] || echo 'install ok installed'"#,
    );
    home.write("root/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
    let root = home.path("root").display().to_string();
    let run = script(&home, "prepare", &["dpkg", "uidmap"], &[("KUTH_CI_ROOT", &root)]);
    assert_eq!((run.status, run.err.as_str()), (0, ""));
    let log = || std::fs::read_to_string(home.path("sudo.log")).unwrap_or_default();
    let install = "env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends uidmap uidmap";
    let expected = [
        "sysctl -q -w kernel.apparmor_restrict_unprivileged_userns=0",
        "apt-get update -q",
        install,
    ];
    assert_eq!(log().lines().collect::<Vec<_>>(), expected);

    // All is there and permitted.
    std::fs::remove_file(home.path("sudo.log")).unwrap();
    home.write("root/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "0\n");
    stub(&home, "dpkg-query", "echo 'install ok installed'");
    assert_eq!(script(&home, "prepare", &[], &[("KUTH_CI_ROOT", &root)]).status, 0);
    assert_eq!(log(), "");
}

/// A release in a directory, as `scripts/dist` makes it, and the SHA-256 of its archive.
fn release(home: &Home) -> String {
    let machine = Run::to_end(Command::new("uname").arg("-m")).ok().out;
    let name = format!("kuth-9.8.7-{}-linux", machine.trim());
    stub(home, "kuth", "echo kuth 9.8.7");
    home.write(&format!("made/{name}/README.md"), "x");
    std::fs::copy(home.path("bin/kuth"), home.path(&format!("made/{name}/kuth"))).unwrap();
    std::fs::create_dir_all(home.path("releases/v9.8.7")).unwrap();
    let archive = home.path(&format!("releases/v9.8.7/{name}.tar.gz"));
    let mut tar = Command::new("tar");
    Run::to_end(tar.arg("-czf").arg(&archive).arg("-C").arg(home.path("made")).arg(&name)).ok();
    let sum = Run::to_end(Command::new("sha256sum").arg(&archive)).ok().out;
    let sum = sum.split(' ').next().unwrap().to_string();
    home.write("releases/v9.8.7/SHA256SUMS", &format!("{sum}  {name}.tar.gz\n"));
    sum
}

#[test]
fn a_release_is_installed_if_its_digest_is_right() {
    if program("curl").is_none() {
        return;
    }
    let home = Home::new();
    let sum = release(&home);
    let releases = format!("file://{}", home.path("releases").display());
    let install = |more: &[(&str, &str)]| {
        let _ = std::fs::remove_dir_all(home.path("to"));
        let given = [("KUTH_VERSION", "9.8.7"), ("KUTH_RELEASES", releases.as_str())];
        script(&home, "install", &["to"], &[&given[..], more].concat())
    };
    let run = install(&[]);
    assert_eq!((run.status, run.out.as_str()), (0, "kuth 9.8.7\n"), "{}", run.err);
    assert_eq!(install(&[("KUTH_SHA256", &sum)]).status, 0);
    let zeros = "0".repeat(64);
    let listed = std::fs::read_to_string(home.path("releases/v9.8.7/SHA256SUMS")).unwrap();
    for (digest, sums) in
        [(zeros.as_str(), listed.clone()), ("", String::new()), ("", listed.replace(&sum, &zeros))]
    {
        home.write("releases/v9.8.7/SHA256SUMS", &sums);
        let run = install(&[("KUTH_SHA256", digest)]);
        assert_ne!(run.status, 0, "{digest}, {sums}: {}", run.out);
        assert!(!home.path("to/kuth").exists());
    }
    let own = kuth_test_support::program().display().to_string();
    let run = script(&home, "install", &["to"], &[("KUTH_PROGRAM", &own)]);
    assert_eq!(run.out, format!("kuth {}\n", env!("CARGO_PKG_VERSION")));
}

/// A system in a tar archive: results that a remote cache keeps, without a mirror.
fn system(home: &Home) {
    home.write("system/etc/os-release", "ID=debian\nVERSION_CODENAME=trixie\n");
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(home.path("system.tar")).arg("-C").arg(home.path("system")).arg("etc");
    Run::to_end(&mut tar).ok();
    let pipeline = format!(
        "[pipeline]\nname = \"system\"\n\n[stage.archive]\nkind = \"download\"\nurl = \"file://{}\"\n\n\
         [stage.tree]\nkind = \"import\"\nfrom = \"archive\"\n",
        home.path("system.tar").display()
    );
    home.write("pipelines/system.toml", &pipeline);
}

/// What `ci/build` says with an empty local cache.
fn build(home: &Home, local: &str, more: &[(&str, &str)]) -> String {
    let program = kuth_test_support::program();
    let path = format!("{}:{}", program.parent().unwrap().display(), home::path());
    let cache = home.path(local).display().to_string();
    let variables = [&[("PATH", path.as_str()), ("KUTH_CACHE", cache.as_str())], more].concat();
    let run = script(home, "build", &["kept", "pipelines/system.toml", "tree"], &variables);
    assert_eq!(run.status, 0, "{}", run.err);
    run.err
}

#[test]
fn results_are_kept_from_run_to_run_within_a_limit() {
    let home = Home::new();
    system(&home);
    assert!(build(&home, "one", &[]).contains("tree: done in"));
    let said = build(&home, "two", &[]);
    assert!(!said.contains("tree: done in"), "{said}");
    // All that is more than no MiB at all is too much.
    let said = build(&home, "three", &[("KUTH_CI_CACHE_MIB", "0")]);
    assert!(said.contains("starts anew") && said.contains("tree: done in"), "{said}");
    // The remote cache of somebody who has one is used instead.
    let other = home.path("other").display().to_string();
    std::fs::create_dir(&other).unwrap();
    let key = home.path("kept/key").display().to_string();
    let own = [("KUTH_CACHE_REMOTE", other.as_str()), ("KUTH_CACHE_KEY", key.as_str())];
    assert!(build(&home, "four", &own).contains("tree: done in"));
    assert!(Path::new(&other).read_dir().unwrap().next().is_some());
}

/// Runs the job of the file for GitLab, with the program that was compiled.
#[test]
fn the_job_for_gitlab_builds_a_pipeline() {
    let Some(runner) = program("gitlab-ci-local") else { return };
    let home = Home::new();
    system(&home);
    std::fs::create_dir(home.path("ci")).unwrap();
    for name in ["prepare", "install", "build", "gitlab.yml"] {
        std::fs::copy(checkout().join("ci").join(name), home.path(&format!("ci/{name}"))).unwrap();
    }
    let program: PathBuf = kuth_test_support::program();
    home.write(
        ".gitlab-ci.yml",
        &format!(
            "include:\n  - local: ci/gitlab.yml\n    inputs:\n      pipeline: pipelines/system.toml\n      \
             stages: tree\n      program: {}\n",
            program.display()
        ),
    );
    home.write(".gitignore", ".kuth\ncache\nout\nhome\nstate\nsystem\n");
    home.write("home/x", "");
    crate::gitlab::commit(&home);
    let output = crate::gitlab::run(&home, &runner, "state", &[]);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("tree: done in"), "{said}");
}
