//! A live medium of Ubuntu's: a tree of its layers, and the kernel for it from its pool, as
//! `pipelines/ubuntu.toml` has it. There is no Ubuntu near: the layer is Debian's with Ubuntu's
//! os-release, the package is made here.

use std::process::Command;

use crate::world::{build_from, world};
use kuth_test_support::medium::Medium;
use kuth_test_support::mirror::{self, Deb, run};

const PIPELINE: &str = r#"
[pipeline]
name = "t"
default = ["base"]

[vars]
iso = ""
keyring = ""

[stage.iso]
kind = "download"
url = "file://${iso}"

[stage.tree]
kind = "bootstrap"
from = "iso"
layers = "default"

[stage.base]
kind = "customise"
from = "tree"
medium = "iso"
keyring = "${keyring}"
packages = ["linux-example"]
"#;

#[test]
fn a_system_of_layers_takes_its_kernel_from_the_pool() {
    let world = world();
    let directory = world.directory.join("ubuntu");
    let package = directory.join("package");
    std::fs::create_dir_all(package.join("DEBIAN")).unwrap();
    std::fs::create_dir_all(package.join("boot")).unwrap();
    std::fs::write(package.join("boot/vmlinuz-6.8.0-1-generic"), "a kernel").unwrap();
    std::fs::write(
        package.join("DEBIAN/control"),
        "Package: linux-example\nVersion: 6.8.0-1.2\nArchitecture: amd64\nMaintainer: x <x@y.z>\n\
         Depends: dpkg\nDescription: a kernel\n",
    )
    .unwrap();
    let file = directory.join("linux-example.deb");
    run(Command::new("dpkg-deb").arg("--root-owner-group").arg("--build").arg(&package).arg(&file));
    let deb = Deb { path: "pool/main/l/linux/linux-example_6.8.0-1.2_amd64.deb".into(), file };
    let keys = world.directory.join("keys");
    let medium = Medium::new(&directory.join("server"), &[deb], &keys);
    // As Ubuntu's are: of noble, signed.
    std::fs::remove_file(medium.path("dists/stable")).unwrap();
    std::fs::rename(medium.path("dists/trixie"), medium.path("dists/noble")).unwrap();
    medium.write(
        ".disk/info",
        "Ubuntu-Server 24.04.3 LTS \"Noble Numbat\" - Release amd64 (20250805.1)",
    );
    medium.edit("dists/noble/Release", "Origin: Debian", "Origin: Ubuntu");
    medium.edit("dists/noble/Release", "Codename: trixie", "Codename: noble");
    let at = |name: &str| medium.path("dists/noble").join(name);
    mirror::sign_beside(&at("Release"), &at("Release.gpg"), &keys);

    // The mirror's tree, and a layer that tells it is Ubuntu's.
    let digest = &world.digests[0];
    let object = world.directory.join("first/cache/objects").join(&digest[..2]).join(digest);
    let changed = directory.join("changed");
    std::fs::create_dir_all(changed.join("usr/lib")).unwrap();
    let release = "ID=ubuntu\nVERSION_ID=24.04\nVERSION_CODENAME=noble\nNAME=Ubuntu\n";
    std::fs::write(changed.join("usr/lib/os-release"), release).unwrap();
    std::fs::create_dir(medium.path("casper")).unwrap();
    let mut lower = Command::new("sh");
    lower.args(["-c", "tar2sqfs --quiet --compressor zstd \"$1\" <\"$2\"", "sh"]);
    run(lower.arg(medium.path("casper/minimal.squashfs")).arg(&object));
    let mut upper = Command::new("mksquashfs");
    upper.arg(&changed).arg(medium.path("casper/minimal.server.squashfs"));
    run(upper.args(["-all-root", "-quiet", "-no-progress"]));
    medium.write(
        "casper/install-sources.yaml",
        "- id: ubuntu-server\n  default: true\n  path: minimal.server.squashfs\n  \
         type: fsimage-layered\n",
    );

    let project = world.project("ubuntu-project");
    project.write("p.toml", PIPELINE);
    let keyring = format!("keyring={}", world.keyring());
    let options = ["--offline", "--var", &keyring];
    let built = build_from(&project, &medium.iso(), &options).ok();
    let kernel = crate::world::file(&project, built.digest("base"), "boot/vmlinuz-6.8.0-1-generic");
    assert_eq!(kernel, "a kernel");
    let lock = project.read("p.lock");
    assert!(lock.contains("Ubuntu-Server 24.04.3 LTS") && lock.contains("linux-example"), "{lock}");
    run(Command::new("rm").arg("-rf").arg(&directory));
}
