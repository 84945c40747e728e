//! The apt that solves: the host's, or where it has none, Debian's own from a fixed set of packages, which
//! need no apt to be found and no dpkg to be unpacked.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Base, DEBIAN, PackageSource, Request, pin_one, pool};
use crate::digest::Digest;
use crate::error::{Context, Hint, Result};
use crate::lock::Part;
use crate::process::{Command, find_program};
use crate::stage_context::StageContext;
use crate::tools::{self, ToolsTree};

/// The packages of apt and of every library that `apt-get` loads: exactly these, dependencies are not
/// followed. What else apt depends on configures it, downloads and verifies.
const PACKAGES: [&str; 15] = [
    "apt",
    "libapt-pkg7.0",
    "libbz2-1.0",
    "libc6",
    "libcap2",
    "libgcc-s1",
    "liblz4-1",
    "liblzma5",
    "libssl3t64",
    "libstdc++6",
    "libsystemd0",
    "libudev1",
    "libxxhash0",
    "libzstd1",
    "zlib1g",
];

/// apt starts the program that downloads also where it only has to say what it would download. This one
/// knows how to say that it is there.
const METHOD: &str = "#!/bin/sh\n\
    printf '100 Capabilities\\nVersion: 1.2\\nSingle-Instance: true\\n\\n'\n\
    while read -r line; do :; done\n";

/// An apt.
pub(super) enum Solver {
    /// That of the host.
    Host,
    /// That of a tree of tools, and the directory of its methods.
    Tree(ToolsTree, PathBuf),
}

impl Solver {
    /// The host's apt; else Debian's, which is downloaded where the cache does not have it, and unpacked
    /// into the work directory. `request` is what is to be solved.
    pub fn find(context: &StageContext, request: &Request) -> Result<Solver> {
        match find_program("apt-get") {
            Some(_) => Ok(Solver::Host),
            None => of_debian(context, request)
                .context("getting apt, which solves and which this host does not have")
                .hint(
                    "install the package apt (Debian, Ubuntu and Fedora have it), or name a mirror \
                     with Debian 13 by `--mirror URL`",
                ),
        }
    }

    /// `apt-get` with the configuration in the file `configuration` alone; its times are those of `context`.
    pub fn command(&self, context: &StageContext, configuration: &Path) -> Command {
        let command = match self {
            Solver::Host => Command::new("apt-get"),
            Solver::Tree(tree, methods) => {
                let methods = format!("Dir::Bin::methods={}/", methods.display());
                let command = tree.command("usr/bin/apt-get", context.settings.epoch);
                command.arg("-o").arg(methods)
            }
        };
        command.env("APT_CONFIG", configuration)
    }
}

fn of_debian(context: &StageContext, request: &Request) -> Result<Solver> {
    let is_debian = *request.distribution == DEBIAN;
    let (mirror, keyring) = match &request.source {
        PackageSource::Mirror(mirror) if is_debian => (mirror.clone(), request.keyring.clone()),
        _ => (None, None),
    };
    let request = Request {
        part: Part::Tools,
        distribution: &DEBIAN,
        suite: tools::SUITE.to_string(),
        components: vec!["main".to_string()],
        pockets: Vec::new(),
        packages: PACKAGES.map(String::from).into(),
        backports: Vec::new(),
        files: Vec::new(),
        recommends: false,
        base: Base::Exactly,
        optional: false,
        source: PackageSource::Mirror(mirror),
        keyring,
        repositories: Vec::new(),
    };
    let pin = pin_one(context, &request)?.context("packages of a mirror need no tree")?;
    let (packages, files) = pool::fetch(context, &DEBIAN, &pin, &request.source)?;
    let digests: Vec<Digest> = packages.iter().map(|package| package.sha256).collect();
    let tree = context.scratch("solver");
    let tree = ToolsTree::unpack(&files, &tree, tools::digest_of(&digests), context)?;
    let methods = context.scratch("methods");
    let what = || format!("writing {}", methods.display());
    std::fs::create_dir(&methods).with_context(what)?;
    for name in ["http", "https"] {
        let method = methods.join(name);
        std::fs::write(&method, METHOD).with_context(what)?;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&method, mode).with_context(what)?;
    }
    Ok(Solver::Tree(tree, methods))
}
