//! `kuth init`.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use super::{Exit, schema, screen};
use crate::error::{Context, Error, Misuse, Result, anyhow, with_hint};
use crate::pipeline::is_legal_name;

/// Write a minimal pipeline file to start from
///
/// Writes pipelines/NAME.toml, and kuth.schema.json for editors that complete and
/// validate TOML. Existing files are not overwritten.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Name of the pipeline
    #[arg(default_value = "image")]
    name: String,

    /// Suite of Debian
    #[arg(long, value_name = "SUITE", default_value = "trixie")]
    suite: String,

    /// Put the file systems on LVM volumes
    #[arg(long)]
    lvm: bool,

    /// Add a machine of this role, cloned from the
    /// disk; may be given several times
    #[arg(long = "role", value_name = "NAME", verbatim_doc_comment)]
    roles: Vec<String>,
}

/// The schema, beside `pipelines/`.
const SCHEMA: &str = "kuth.schema.json";

const HEAD: &str = r#"#:schema ../kuth.schema.json
# A small Debian as a disk image.
#
#   kuth plan pipelines/NAME.toml                        # what a build would run, and why
#   kuth build pipelines/NAME.toml                       # build it
#   kuth build pipelines/NAME.toml --var hostname=web    # another host name
#   kuth path pipelines/NAME.toml image                  # print the path of the image

[pipeline]
name = "NAME"
default = [DEFAULT]

# Used as ${suite} below; `--var suite=bookworm` sets another value.
[vars]
suite = "SUITE"
hostname = "HOST"
"#;

const SSH_KEY: &str = r#"
# A public SSH key, or the path of a file with keys. Without one nobody can log in to the machines.
ssh-key = ""
"#;

const TREES: &str = r#"
# The smallest tree that has apt.
[stage.rootfs]
kind = "bootstrap"
suite = "${suite}"

# Packages on top of it. After a change here, only what depends on it is built again.
[stage.base]
kind = "customise"
from = "rootfs"
hostname = "${hostname}"
packages = [PACKAGES]
"#;

const DISK: &str = r#"
# The disk: one root file system, bootable by BIOS and UEFI.
[stage.disk]
kind = "disk"
from = "base"
size = "4 GiB"

[[stage.disk.partition]]
name = "root"
size = "rest"
filesystem = "ext4"
mount = "/"
"#;

const DISK_ON_LVM: &str = r#"
# The disk: /boot, and a volume group with some free space. Bootable by BIOS and UEFI.
[stage.disk]
kind = "disk"
from = "base"
size = "8 GiB"

[[stage.disk.partition]]
name = "boot"
size = "512 MiB"
filesystem = "ext4"
mount = "/boot"

[[stage.disk.partition]]
name = "system"
size = "rest"
lvm = "vg0"

[[stage.disk.volume]]
name = "root"
size = "3 GiB"
filesystem = "ext4"
mount = "/"

[[stage.disk.volume]]
name = "var"
size = "2 GiB"
filesystem = "ext4"
mount = "/var"

[[stage.disk.volume]]
name = "home"
size = "1 GiB"
filesystem = "ext4"
mount = "/home"
"#;

const IMAGE: &str = r#"
# The image, in out/NAME/.
[stage.image]
kind = "export"
from = "disk"
format = "qcow2"
"#;

const MACHINES: &str = r#"
# A machine without network cards, and its snapshot: the base of the clones.
[stage.machine]
kind = "register"
from = "disk"
name = "BASE"

[stage.golden]
kind = "snapshot"
from = "machine"
name = "golden"

# The machines: `kuth machine start MACHINE`, `kuth machine ssh MACHINE`.
[stage.nodes]
kind = "clone"
from = "golden"
ssh-key = "${ssh-key}"
"#;

const ROLE: &str = r#"
[stage.nodes.role.ROLE]
instances = ["ROLE-node01"]
nics = ["nat"]
"#;

/// Writes the files.
pub fn run(args: &Args) -> Result<Exit> {
    check(args)?;
    let name = &args.name;
    let path = Path::new("pipelines").join(format!("{name}.toml"));
    std::fs::create_dir_all("pipelines").context("making the directory pipelines")?;
    if !write_new(&path, &pipeline(args, super::project::architecture()))? {
        let error = anyhow!("{} already exists", path.display());
        return Err(with_hint(error, "give another name: `kuth init NAME`"));
    }
    // One that is there may be of another version of kuth, and is the user's.
    write_new(Path::new(SCHEMA), &schema::text()?)?;
    screen::data(&format!("{}\n", path.display()))?;
    screen::talk(&format!("next: `kuth plan {}`", path.display()));
    Ok(Exit::Done)
}

/// Writes a file unless there is one already; whether it did.
fn write_new(path: &Path, text: &str) -> Result<bool> {
    let what = || format!("writing {}", path.display());
    match File::create_new(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        created => {
            created.with_context(what)?.write_all(text.as_bytes()).with_context(what)?;
            Ok(true)
        }
    }
}

/// Refuses names that the file cannot have.
fn check(args: &Args) -> Result<()> {
    let refuse = |message: String, hint: &str| Err(with_hint(Error::new(Misuse(message)), hint));
    if !is_legal_name(&args.name) {
        return refuse(
            format!("`{}` cannot be the name of a pipeline", args.name),
            "a name consists of lower-case letters, digits and any of `-._`",
        );
    }
    if !is_word(&args.suite) {
        return refuse(
            format!("`{}` is not a suite of Debian", args.suite),
            "a suite is a name such as `trixie` or `bookworm`",
        );
    }
    for (at, role) in args.roles.iter().enumerate() {
        if !is_word(role) {
            return refuse(
                format!("`{role}` cannot be the name of a role"),
                "a role has up to 40 lower-case letters, digits and `-`, and begins with a letter",
            );
        }
        if args.roles[..at].contains(role) {
            return refuse(format!("the role `{role}` is given twice"), "give each role once");
        }
    }
    Ok(())
}

/// Whether a text is a part of a host name: a letter, then letters, digits and `-`.
fn is_word(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.len() <= 40
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.chars().all(is_plain)
}

/// The text of the pipeline, for a host of this architecture.
fn pipeline(args: &Args, architecture: &str) -> String {
    let has_machines = !args.roles.is_empty();
    let mut packages = vec!["systemd-sysv", "udev", "dbus", "KERNEL", "openssh-server"];
    if args.lvm {
        packages.push("lvm2");
    }
    if has_machines {
        packages.extend(["cloud-init", "sudo"]);
    }
    let quoted = |words: &[&str]| {
        words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
    };
    let default: &[&str] = if has_machines { &["image", "nodes"] } else { &["image"] };
    let mut text = HEAD.to_string();
    if has_machines {
        text += SSH_KEY;
    }
    text += TREES;
    text += if args.lvm { DISK_ON_LVM } else { DISK };
    text += IMAGE;
    if has_machines {
        text += MACHINES;
    }
    let text = text
        .replace("DEFAULT", &quoted(default))
        .replace("PACKAGES", &quoted(&packages))
        .replace("KERNEL", &format!("linux-image-{architecture}"))
        .replace("SUITE", &args.suite)
        .replace("BASE", &format!("{}-base", host_name(&args.name)))
        .replace("HOST", &host_name(&args.name))
        .replace("NAME", &args.name);
    let roles = args.roles.iter().map(|role| ROLE.replace("ROLE", role));
    text + &roles.collect::<String>()
}

/// The name of a pipeline as the name of a host.
fn host_name(name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(50).collect();
    name.trim_matches('-').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Table;

    fn args(lvm: bool, roles: &[&str]) -> Args {
        let roles = roles.iter().map(|role| role.to_string()).collect();
        Args { name: "my_image.v1".into(), suite: "bookworm".into(), lvm, roles }
    }

    #[test]
    fn whatever_is_asked_for_is_a_valid_pipeline() {
        for (lvm, roles, default) in [
            (false, &[][..], &["image"][..]),
            (true, &[], &["image"]),
            (false, &["web"], &["image", "nodes"]),
            (true, &["web", "db-1"], &["image", "nodes"]),
        ] {
            let text = pipeline(&args(lvm, roles), "amd64");
            assert!(text.starts_with("#:schema ../kuth.schema.json\n"), "{text}");
            let path = Path::new("pipelines/image.toml");
            let loaded = crate::pipeline::load(path, &text, &[], &|_| None, &Table);
            let pipeline = loaded.unwrap_or_else(|faulty| panic!("{faulty}"));
            assert_eq!(pipeline.default, default);
            assert_eq!(pipeline.name, "my_image.v1");
            let has = |name: &str| text.contains(&format!("[stage.nodes.role.{name}]"));
            assert!(roles.iter().all(|role| has(role)) && text.contains("\"bookworm\""));
            assert_eq!(text.contains("lvm = \"vg0\""), lvm);
        }
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        let suite = Args { suite: "trixie\"\n".into(), ..args(false, &[]) };
        for (args, message) in [
            (args(false, &["web_1"]), "`web_1` cannot be the name of a role"),
            (args(false, &["-web"]), "`-web` cannot be the name of a role"),
            (args(false, &["web", "web"]), "the role `web` is given twice"),
            (suite, "is not a suite of Debian"),
        ] {
            let error = check(&args).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
        check(&args(true, &["web"])).unwrap();
    }
}
