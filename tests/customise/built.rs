//! The stages that the tests look at, built once.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use ::kuth::digest::Digest;

use crate::additions::iso;
use crate::package_files;
use kuth_test_support::base::{PIPELINE, system};
use kuth_test_support::project::Project;
use kuth_test_support::tree::Tree;

const STAGES: &str = include_str!("data/stages.toml");

/// Where the stages begin that need an ISO.
const ADDITIONS: &str = "[stage.additions]";

/// What the listener of the tests says to whoever connects.
pub const WELCOME: &str = "reached";

/// All stages, and what their trees hold.
pub struct Built {
    pub project: Project,
    trees: BTreeMap<String, PathBuf>,
}

static BUILT: OnceLock<Result<Built, String>> = OnceLock::new();

/// Built by whoever asks first.
pub fn built() -> &'static Built {
    BUILT.get_or_init(Built::new).as_ref().unwrap_or_else(|why| panic!("the build: {why}"))
}

/// The tree of a stage.
pub fn tree(stage: &str) -> Tree {
    Tree::read(&built().trees[stage])
}

/// Listens on 127.0.0.1 of the host until the tests end.
fn listen() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = writeln!(stream, "{WELCOME}");
        }
    });
    port
}

impl Built {
    fn new() -> Result<Built, String> {
        let project = system("customise", "");
        let written = |name: &str, text: &str, mode: u32| {
            let path = project.root.join("data").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        };
        // Modes that no umask of a checkout would give.
        written("plain", "plain\n", 0o600);
        written("program", "#!/bin/sh\necho program\n", 0o700);
        written("directory/a", "a\n", 0o640);
        written("directory/below/b", "#!/bin/sh\n", 0o711);
        written(
            "script",
            "#!/usr/bin/perl\nprint STDERR \"perl $0\\n\"; mkdir '/srv/perl';\n",
            0o644,
        );
        let packages = package_files::make(&project.root.join("data"));
        let source = iso(&project.root.join("data"), "by-path");
        let staged = iso(&project.root.join("data"), "by-stage");
        let bytes = staged.map(|path| std::fs::read(path).unwrap()).unwrap_or_default();
        // The stages with guest additions are the last; without a tool that makes ISOs there are
        // none.
        let end = if source.is_some() { STAGES.len() } else { STAGES.find(ADDITIONS).unwrap() };
        let mut stages = STAGES[..end].replace("PORT", &listen().to_string());
        stages = stages.replace("DIRECTORY", project.root.to_str().unwrap());
        stages = stages.replace("SHA256", &Digest::of(&bytes).to_string());
        for (name, path) in ["PACKAGE", "PACKED"].into_iter().zip(packages) {
            let digest = Digest::of(std::fs::read(path).unwrap());
            stages = stages.replace(&format!("\"{name}\""), &format!("\"{digest}\""));
        }
        project.write(PIPELINE, format!("{}{stages}", kuth_test_support::base::SYSTEM));
        let names: Vec<&str> = stages
            .lines()
            .filter_map(|line| line.strip_prefix("[stage.")?.strip_suffix(']'))
            .filter(|name| !name.contains('.'))
            .collect();
        let run = project.build(&[&[PIPELINE], &names[..]].concat());
        if run.status != 0 {
            return Err(format!("exit status {}\n{}", run.status, run.err));
        }
        let trees = names
            .into_iter()
            .map(|name| (name.to_string(), project.artifact(PIPELINE, name)))
            .collect();
        Ok(Built { project, trees })
    }
}
