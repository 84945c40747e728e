//! The same recipes and the same lock from whatever directory, by whatever path or link the
//! pipeline is named.

use std::os::unix::fs::symlink;
use std::path::Path;

use kuth_test_support::home::bare;
use kuth_test_support::run::Run;

const PIPELINE: &str = r#"
[pipeline]
name = "p"

[stage.iso]
kind = "download"
url = "https://example.org/a.iso"
sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

[stage.imported]
kind = "import"
from = "iso"

[stage.base]
kind = "customise"
from = "imported"
keyring = "data/keys.gpg"
file."/etc/motd" = { source = "data/motd" }
file."/etc/linked" = { source = "data/linked" }
"#;

/// What `kuth explain` says of the stage `base`, from the directory `here`.
fn explain(here: &Path, pipeline: &str, home: &Path) -> String {
    Run::to_end(bare(here).args(["explain", pipeline, "base"]).env("HOME", home)).ok().out
}

#[test]
fn a_pipeline_is_the_same_from_everywhere() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().canonicalize().unwrap();
    let at = |name: &str| top.join(name);
    for name in ["project/pipelines/sub", "project/data", "elsewhere/deep", "outside"] {
        std::fs::create_dir_all(at(name)).unwrap();
    }
    std::fs::write(at("project/pipelines/p.toml"), PIPELINE).unwrap();
    std::fs::write(at("project/data/motd"), "one").unwrap();
    std::fs::write(at("project/data/keys.gpg"), "keys").unwrap();
    std::fs::write(at("outside/file"), "two").unwrap();
    symlink("../../outside/file", at("project/data/linked")).unwrap();
    symlink("project", at("link-to-project")).unwrap();
    symlink("project/pipelines", at("link-to-pipelines")).unwrap();
    symlink("../project/pipelines/p.toml", at("elsewhere/link-to-file.toml")).unwrap();
    symlink("p.toml", at("project/pipelines/today.toml")).unwrap();
    let absolute = at("project/pipelines/p.toml").display().to_string();
    let expected = explain(&at("project"), "pipelines/p.toml", &top);
    // `printf one | sha256sum` and `printf two | sha256sum`.
    for line in [
        "file /etc/motd = 7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",
        "file /etc/linked = 3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3",
    ] {
        assert!(expected.contains(line), "{expected}");
    }
    for (here, pipeline) in [
        ("project", "./pipelines/p.toml"),
        ("project", absolute.as_str()),
        ("project/pipelines", "p.toml"),
        ("project/pipelines/sub", "../p.toml"),
        ("project/data", "../pipelines/p.toml"),
        ("elsewhere/deep", "../../project/pipelines/p.toml"),
        ("elsewhere", absolute.as_str()),
        (".", "link-to-project/pipelines/p.toml"),
        ("link-to-project", "pipelines/p.toml"),
        (".", "link-to-pipelines/p.toml"),
        ("link-to-pipelines", "p.toml"),
        ("elsewhere", "link-to-file.toml"),
        ("project", "pipelines/today.toml"),
        ("project/pipelines", "today.toml"),
    ] {
        assert_eq!(explain(&at(here), pipeline, &top), expected, "{pipeline} in {here}");
    }
    // Each of them kept its results in the one project.
    assert!(at("project/cache").is_dir());
    for other in ["cache", "elsewhere/cache", "link-to-pipelines/cache"] {
        assert!(!at(other).exists(), "{other}");
    }
}
