//! The files for `pipelines/debian.toml`: as they were, and as their services want them.

use kuth_test_support::checkout;
use kuth_test_support::home::{bare, golden};
use kuth_test_support::run::Run;

use crate::judges::{SERVICES, judge};

/// What kuth writes in this repository.
fn file(service: &str, options: &[&str]) -> String {
    let mut command = bare(checkout());
    Run::to_end(command.args(["ci", service, "pipelines/debian.toml"]).args(options)).ok().out
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
