//! `kuth init`.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::{Exit, screen};
use crate::error::{Context, Error, Misuse, Result, with_hint};
use crate::pipeline::is_legal_name;

/// Write a minimal pipeline file to start from
///
/// Writes pipelines/NAME.toml. An existing file is not overwritten.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Name of the pipeline
    #[arg(default_value = "image")]
    name: String,
}

const TEMPLATE: &str = r#"# A small Debian as a disk image.
#
#   kuth plan pipelines/NAME.toml                        # what a build would run, and why
#   kuth build pipelines/NAME.toml                       # build it
#   kuth build pipelines/NAME.toml --var hostname=web    # another host name
#   kuth path pipelines/NAME.toml image                  # print the path of the image

[pipeline]
name = "NAME"
default = ["image"]

# Used as ${suite} below; `--var suite=bookworm` sets another value.
[vars]
suite = "trixie"
hostname = "NAME"

# The smallest tree that has apt.
[stage.rootfs]
kind = "bootstrap"
suite = "${suite}"

# Packages on top of it. After a change here, only what depends on it is built again.
[stage.base]
kind = "customise"
from = "rootfs"
hostname = "${hostname}"
packages = ["systemd-sysv", "udev", "dbus", "KERNEL", "openssh-server"]

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

# The image, in out/NAME/.
[stage.image]
kind = "export"
from = "disk"
format = "qcow2"
"#;

/// Writes the file.
pub fn run(args: &Args) -> Result<Exit> {
    let name = &args.name;
    if !is_legal_name(name) {
        let error = Error::new(Misuse(format!("`{name}` cannot be the name of a pipeline")));
        return Err(with_hint(
            error,
            "a name consists of lower-case letters, digits and any of `-._`",
        ));
    }
    let path = Path::new("pipelines").join(format!("{name}.toml"));
    let what = || format!("writing {}", path.display());
    std::fs::create_dir_all("pipelines").context("making the directory pipelines")?;
    let mut file = match File::create_new(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let error = Error::new(error).context(format!("{} already exists", path.display()));
            return Err(with_hint(error, "give another name: `kuth init NAME`"));
        }
        other => other.with_context(what)?,
    };
    let kernel = format!("linux-image-{}", super::project::architecture());
    let text = TEMPLATE.replace("NAME", name).replace("KERNEL", &kernel);
    file.write_all(text.as_bytes()).with_context(what)?;
    screen::data(&format!("{}\n", path.display()))?;
    screen::talk(&format!("next: `kuth plan {}`", path.display()));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Table;

    #[test]
    fn the_template_is_a_valid_pipeline() {
        let text = TEMPLATE.replace("NAME", "image").replace("KERNEL", "linux-image-amd64");
        let path = Path::new("pipelines/image.toml");
        let loaded = crate::pipeline::load(path, &text, &[], &|_| None, &Table);
        let pipeline = loaded.unwrap_or_else(|faulty| panic!("{faulty}"));
        assert_eq!(pipeline.default, ["image"]);
    }
}
