//! The files for `pipelines/debian.toml`: as they were, and as their services want them.

use std::path::Path;

use assert_cmd::Command;

use super::cli_support::golden;
use super::judges::{SERVICES, judge};

/// What kuth writes in this repository.
fn file(service: &str, options: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kuth"));
    command.args(["ci", service, "pipelines/debian.toml"]).args(options);
    command.env_clear().current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn files_are_golden_and_their_judges_content() {
    for (service, options) in SERVICES {
        let text = file(service, options);
        golden(&format!("ci/{service}.yml"), &text);
        judge(service, &text);
    }
}

#[test]
fn a_matrix_of_suites_and_architectures() {
    for (service, options) in SERVICES {
        let [one, two] = match service {
            "github" => ["ubuntu-24.04,domain=a.example", "ubuntu-24.04-arm,domain=b.example"],
            _ => ["amd64,domain=a.example", "arm64,domain=b.example"],
        };
        let matrix = ["--runner", one, "--runner", two, "--matrix", "suite=trixie,bookworm"];
        let text = file(service, &[options, &matrix, &["image", "check", "--locked"]].concat());
        golden(&format!("ci/{service}-matrix.yml"), &text);
        judge(service, &text);
    }
}

#[test]
fn a_command_that_installs_kuth() {
    let setup = ["--setup", "curl -fsS https://example.org/kuth >/tmp/kuth\nchmod +x /tmp/kuth"];
    for (service, options) in SERVICES {
        let text = file(service, &[options, &setup].concat());
        assert!(text.contains("chmod +x /tmp/kuth\n"), "{text}");
        judge(service, &text);
    }
}

#[test]
fn no_pull_request_sees_a_secret() {
    let text = file("github", &["--secret", "PROXY_PASSWORD"]);
    let secrets: Vec<&str> = text.lines().filter(|line| line.contains("secrets.")).collect();
    assert!(secrets.iter().any(|line| line.contains("secrets.PROXY_PASSWORD")));
    for line in &secrets {
        assert!(line.contains("${{ github.event_name == 'push' && secrets."), "{line}");
    }
    assert!(!text.contains("pull_request_target"));
}
