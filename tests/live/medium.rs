//! The stage, as a pipeline asks for it: a medium as an image or as a directory, its sources, and a
//! real system of layers that is worked in.

use std::path::{Path, PathBuf};

use kuth::import::live::LiveMedium;

use crate::layers::{import, medium};
use crate::world::{World, assert_same, have, need_root, packed, run, text};

/// Builds stages of `pipeline`.
fn build(world: &World, pipeline: &str, stages: &[&str]) -> String {
    std::fs::write(world.at("p.toml"), pipeline).unwrap();
    world.kuth(&[&["build", "p.toml"], stages].concat()).ok().err
}

/// The ISO image of a medium.
fn iso(world: &World, medium: &Path) -> PathBuf {
    let to = world.at("live.iso");
    let arguments =
        ["-as", "mkisofs", "-quiet", "-r", "-J", "-V", "Live", "-o", text(&to), text(medium)];
    run("xorriso", &arguments);
    to
}

/// Two layers, and a list with both as sources.
fn two_layers(world: &World) -> PathBuf {
    let (one, two) = (world.at("1"), world.at("2"));
    std::fs::create_dir_all(one.join("etc/apt")).unwrap();
    std::fs::create_dir_all(two.join("etc")).unwrap();
    let release = "ID=ubuntu\nVERSION_CODENAME=noble\n";
    std::fs::write(one.join("etc/os-release"), release).unwrap();
    std::fs::write(one.join("etc/layer"), "one").unwrap();
    std::fs::write(two.join("etc/layer"), "two").unwrap();
    // Before the epoch of any build.
    run("find", &[text(&one), text(&two), "-exec", "touch", "-d", "@1600000000", "{}", "+"]);
    let layers = [("minimal", one.as_path(), ""), ("minimal.server", two.as_path(), "-comp xz")];
    let medium = medium(world, &layers);
    let list = "- id: ubuntu-server-minimal\n  path: minimal.squashfs\n  type: fsimage\n\
                - id: ubuntu-server\n  default: true\n  path: minimal.server.squashfs\n  \
                type: fsimage-layered\n";
    std::fs::write(medium.join("casper/install-sources.yaml"), list).unwrap();
    medium
}

#[test]
fn an_image_and_a_directory_give_one_tree() {
    if !have(&["mksquashfs", "xorriso", "tar"]) {
        return;
    }
    let world = World::new();
    let medium = two_layers(&world);
    let image = iso(&world, &medium);
    let offers = LiveMedium::open(&image).unwrap().offers().unwrap();
    let ids: Vec<&str> = offers.iter().map(|offer| offer.id.as_str()).collect();
    assert_eq!(ids, ["ubuntu-server-minimal", "ubuntu-server"]);
    let directory = world.directory.path().display().to_string();
    let archive = world.at("medium.tar");
    run("tar", &["-cf", text(&archive), "-C", text(&medium), "."]);
    let stage = |name: &str, from: &str, layers: &str| {
        format!("[stage.{name}]\nkind = \"bootstrap\"\nfrom = \"{from}\"\nlayers = \"{layers}\"\n")
    };
    let head = format!(
        "[pipeline]\nname = \"p\"\n\
         [stage.image]\nkind = \"download\"\nurl = \"file://{directory}/live.iso\"\n\
         [stage.archive]\nkind = \"download\"\nurl = \"file://{directory}/medium.tar\"\n\
         [stage.directory]\nkind = \"unpack\"\nfrom = \"archive\"\n"
    );
    let stages = [
        ("default", "image", "default"),
        ("server", "image", "ubuntu-server"),
        ("unpacked", "directory", "ubuntu-server"),
        ("minimal", "image", "ubuntu-server-minimal"),
    ];
    let all = stages.map(|(name, from, layers)| stage(name, from, layers)).concat();
    let names = stages.map(|(name, ..)| name);
    build(&world, &(head.clone() + &all), &names);
    let [default, server, unpacked, minimal] = names.map(|name| world.path_of(name));
    assert!(default == server && server == unpacked && minimal != server);
    for (tree, layer) in [(&server, "two"), (&minimal, "one")] {
        let held = run("tar", &["-xOf", text(tree), "etc/layer"]);
        assert_eq!(held, layer);
    }
    // What the library says of the image is what the stage made.
    let to = world.at("imported.tar");
    let imported = import(&image, Some("ubuntu-server"), &to).unwrap();
    assert_same(&server, &to);
    assert_eq!(imported.release.suite.as_deref(), Some("noble"));
    // Nothing runs again, and the name of a source that is not there is an error.
    let err = build(&world, &(head.clone() + &all), &names);
    assert!(err.contains("cached") && !err.contains("failed"), "{err}");
    std::fs::write(world.at("p.toml"), head + &stage("gone", "image", "desktop")).unwrap();
    let err = world.kuth(&["build", "p.toml", "gone"]).ended(1).err;
    assert!(err.contains("there is no source `desktop`, but ubuntu-server-minimal"), "{err}");
}

#[test]
fn keys_of_a_mirror_are_refused_where_they_stand() {
    let world = World::new();
    let pipeline = "[pipeline]\nname = \"p\"\n\
        [stage.image]\nkind = \"download\"\nurl = \"file:///live.iso\"\n\
        [stage.tree]\nkind = \"bootstrap\"\nlayers = \"\"\nlimit = \"0 B\"\n\
        suite = \"noble\"\npackages = [\"vim\"]\n";
    std::fs::write(world.at("p.toml"), pipeline).unwrap();
    let err = world.kuth(&["check", "p.toml"]).ended(2).err;
    for why in [
        "`suite` and `layers` exclude each other",
        "`packages` and `layers` exclude each other",
        "let a `customise` behind this stage install further packages",
        "p.toml:10:1",
        "p.toml:11:1",
        "`layers` is empty",
        "a `limit` of nothing",
        "`from`",
    ] {
        assert!(err.contains(why), "{why}: {err}");
    }
    assert!(!err.contains("unknown key"), "{err}");
}

/// A mirror's packages become the lower layer of a medium, and the tree of the medium is worked in.
#[test]
fn a_real_system_is_worked_in() {
    if !have(&["mksquashfs", "xorriso", "tar"]) || !need_root() {
        return;
    }
    let world = World::new();
    let rootfs =
        "[pipeline]\nname = \"p\"\n[stage.rootfs]\nkind = \"bootstrap\"\nsuite = \"trixie\"\n";
    build(&world, rootfs, &["rootfs"]);
    let built = world.path_of("rootfs");
    let (one, two) = (world.at("1"), world.at("2"));
    std::fs::create_dir_all(&one).unwrap();
    std::fs::create_dir_all(two.join("usr/local/bin")).unwrap();
    std::fs::create_dir_all(two.join("etc")).unwrap();
    let attributes = ["--xattrs", "--xattrs-include=*", "--numeric-owner"];
    run("tar", &[&attributes[..], &["-xpf", text(&built), "-C", text(&one)]].concat());
    std::fs::write(two.join("usr/local/bin/hello"), "#!/bin/sh\necho hello from a layer\n")
        .unwrap();
    run("chmod", &["755", text(&two.join("usr/local/bin/hello"))]);
    run("mknod", &[text(&two.join("etc/issue")), "c", "0", "0"]);
    let layers = [
        ("base", one.as_path(), "-comp zstd -Xcompression-level 1"),
        ("base.server", two.as_path(), "-comp zstd -Xcompression-level 1"),
    ];
    let medium = medium(&world, &layers);
    // The lower layer alone is the tree that it was made of.
    let list = medium.join("casper/install-sources.yaml");
    let both = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, both + "- id: base\n  type: fsimage\n  path: base.squashfs\n").unwrap();
    let expected = world.at("expected.tar");
    packed(&one, &expected);
    import(&medium, Some("base"), &world.at("base.tar")).unwrap();
    assert_same(&expected, &world.at("base.tar"));
    iso(&world, &medium);
    let directory = world.directory.path().display().to_string();
    let pipeline = format!(
        "[pipeline]\nname = \"p\"\n\
         [stage.image]\nkind = \"download\"\nurl = \"file://{directory}/live.iso\"\n\
         [stage.layers]\nkind = \"bootstrap\"\nfrom = \"image\"\nlayers = \"default\"\n\
         [stage.base]\nkind = \"customise\"\nfrom = \"layers\"\nrun = ['''\n\
         set -eu\n\
         hello > /etc/said\n\
         test ! -e /etc/issue\n\
         dpkg --audit\n\
         dpkg-query -W apt > /etc/has\n\
         ''']\n"
    );
    build(&world, &pipeline, &["base"]);
    let tree = world.path_of("base");
    let said = |name: &str| run("tar", &["-xOf", text(&tree), name]);
    assert_eq!(said("etc/said"), "hello from a layer\n");
    assert!(said("etc/has").starts_with("apt\t"), "{}", said("etc/has"));
}
