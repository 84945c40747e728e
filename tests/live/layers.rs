//! Layers over layers: as the kernel shows them, where it lets us ask, and as its documentation has
//! it.

use std::fs::File;
use std::path::{Path, PathBuf};

use kuth::cancel::Cancel;
use kuth::import::live::{self, LiveMedium};
use kuth::import::{Imported, Options};
use kuth::units::Bytes;

use crate::lone::mksquashfs;
use crate::world::{EPOCH, World, assert_same, have, need_root, packed, run, text};

const TOOLS: &[&str] = &["mksquashfs", "setfattr", "setcap", "unshare", "mount"];

/// A directory with the live system's directory in it, whose one source has these layers.
pub fn medium(world: &World, layers: &[(&str, &Path, &str)]) -> PathBuf {
    let directory = world.at("medium");
    let casper = directory.join("casper");
    std::fs::create_dir_all(&casper).unwrap();
    let mut top = "";
    for (name, root, options) in layers {
        mksquashfs(root, &casper.join(format!("{name}.squashfs")), options);
        top = name;
    }
    let list =
        format!("- default: true\n  id: x\n  type: fsimage-layered\n  path: {top}.squashfs\n");
    std::fs::write(casper.join("install-sources.yaml"), list).unwrap();
    directory
}

/// The tree of the medium at `path`.
pub fn import(path: &Path, wanted: Option<&str>, to: &Path) -> Result<Imported, String> {
    let cancel = Cancel::default();
    let options = Options { epoch: EPOCH, limit: Bytes::gib(1), cancel: &cancel, report: &|_| () };
    let imported = LiveMedium::open(path)
        .and_then(|mut medium| live::import(&mut medium, wanted, to, &options));
    imported.map_err(|error| format!("{error:#} [{}]", kuth::error::hints(&error).join("; ")))
}

/// Makes the lowest layer, mounts it and changes it twice, each time into a layer of its own, and
/// copies what the kernel shows of all three.
const CHANGES: &str = r#"
set -eu
cd "$1"
mkdir work
mount -t tmpfs tmpfs work
cd work
mkdir 1 2 3 w2 w3 m
cd 1
mkdir -p etc usr/bin usr/share/doc/a usr/share/doc/b var/lib/dpkg/info opt/old/deep srv bin2
echo 'ID=ubuntu' > etc/os-release
echo 'VERSION_CODENAME=noble' >> etc/os-release
for i in 1 2 3 4 5 6 7 8 9; do echo $i > etc/conf-$i; echo $i > var/lib/dpkg/info/$i.list; done
head -c 300000 /dev/urandom > usr/bin/tool
ln usr/bin/tool usr/bin/twin
ln usr/bin/tool usr/bin/third
setcap cap_net_raw+ep usr/bin/tool
ln -s tool usr/bin/soft
echo doc > usr/share/doc/a/x; echo doc > usr/share/doc/b/x
echo deep > opt/old/deep/file
mknod srv/null c 1 3
mkfifo srv/pipe
chown 100:200 etc/conf-9
truncate -s 10M srv/sparse
cd ..
mount -t overlay -o lowerdir=1,upperdir=2,workdir=w2,redirect_dir=off,metacopy=off overlay m
cd m
rm etc/conf-1                       # a whiteout
rm -r usr/share/doc/a               # of a directory
rm -r opt/old; mkdir opt/old; echo new > opt/old/new     # an opaque directory
rm etc/conf-2; mkdir etc/conf-2; echo in > etc/conf-2/in # a file that becomes a directory
rm -r usr/share/doc/b; echo file > usr/share/doc/b       # and the other way
chmod 700 var/lib/dpkg              # only what the directory is like
chown 5:6 etc/conf-3                # copied up
echo more >> usr/bin/twin           # a name of three that goes its own way
rm usr/bin/soft; ln -s twin usr/bin/soft
ln etc/conf-4 etc/conf-4-hard
setcap cap_sys_admin+ep usr/bin/twin
setfattr -n user.note -v upper var/lib
mv etc/conf-5 etc/conf-5-renamed
mkdir -p new/directory; echo n > new/directory/file
rm srv/pipe; mkfifo srv/pipe2
cd ..
umount m
mount -t overlay -o lowerdir=2:1,upperdir=3,workdir=w3,redirect_dir=off,metacopy=off overlay m
cd m
echo back > etc/conf-1              # over a whiteout
mkdir usr/share/doc/a; echo again > usr/share/doc/a/y    # likewise, a directory
rm -r opt/old                       # of an opaque directory
rm -r etc/conf-2; echo file > etc/conf-2
rm -r new; mkdir new                # opaque over opaque
rm var/lib/dpkg/info/3.list
touch -d @1600000000 var/lib/dpkg/info
chmod 4755 usr/bin/tool
rm usr/bin/third
cd ..
umount m
mount -t overlay -o lowerdir=3:2:1 overlay m
mkdir ../shown
cp -a m/. ../shown
umount m
cp -a 1 2 3 ..
"#;

#[test]
fn layers_look_as_the_kernel_shows_them() {
    if !have(TOOLS) || !need_root() {
        return;
    }
    let world = World::new();
    let directory = world.directory.path();
    let script = world.at("changes");
    std::fs::write(&script, CHANGES).unwrap();
    let able = "cd \"$1\" && mkdir t && mount -t tmpfs t t && cd t && mkdir l u w m && \
                mount -t overlay -o lowerdir=l,upperdir=u,workdir=w overlay m";
    let trial = ["--mount", "sh", "-c", able, "sh", text(directory)];
    if kuth_test_support::judge::verdict("unshare", &trial).is_none_or(|(success, ..)| !success) {
        kuth_test_support::judge::skip("overlayfs cannot be mounted here");
        return;
    }
    run("unshare", &["--mount", "sh", text(&script), text(directory)]);
    let expected = world.at("expected.tar");
    packed(&world.at("shown"), &expected);
    let (one, two, three) = (world.at("1"), world.at("2"), world.at("3"));
    let ways = ["-comp zstd -Xcompression-level 1", "-comp gzip -b 4096", "-comp xz"];
    let layers = [
        ("base", one.as_path(), ways[0]),
        ("base.server", two.as_path(), ways[1]),
        ("base.server.more", three.as_path(), ways[2]),
    ];
    let medium = medium(&world, &layers);
    let to = world.at("imported.tar");
    let imported = import(&medium, None, &to).unwrap();
    assert_same(&expected, &to);
    let release = (imported.release.distribution, imported.release.suite);
    assert_eq!(release, (Some("ubuntu".to_string()), Some("noble".to_string())));
    let note = "x in the layers base.squashfs, base.server.squashfs, base.server.more.squashfs";
    assert_eq!(imported.notes, [note]);
    // The outside reader of the format agrees with ours on each layer.
    for name in ["base", "base.server", "base.server.more"] {
        let squashfs = medium.join(format!("casper/{name}.squashfs"));
        let (unpacked, tar) = (world.at("unpacked"), world.at("unpacked.tar"));
        let _ = std::fs::remove_dir_all(&unpacked);
        run("unsquashfs", &["-quiet", "-no-progress", "-d", text(&unpacked), text(&squashfs)]);
        packed(&unpacked, &tar);
        let root = match name {
            "base" => &one,
            "base.server" => &two,
            _ => &three,
        };
        packed(root, &expected);
        assert_same(&expected, &tar);
    }
}

/// The names in a tar.
fn names(tar: &Path) -> Vec<String> {
    let mut archive = tar::Archive::new(File::open(tar).unwrap());
    let entries = archive.entries().unwrap();
    entries.map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
}

/// A layer of files; `NAME/` is a directory.
fn layer(world: &World, name: &str, files: &[&str]) -> PathBuf {
    let root = world.at(name);
    std::fs::create_dir(&root).unwrap();
    for file in files {
        match file.strip_suffix('/') {
            Some(directory) => std::fs::create_dir_all(root.join(directory)).unwrap(),
            None => {
                std::fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
                std::fs::write(root.join(file), name).unwrap();
            }
        }
    }
    root
}

#[test]
fn every_kind_of_mark_is_known() {
    if !have(TOOLS) {
        return;
    }
    let world = World::new();
    let one =
        layer(&world, "1", &["etc/a", "etc/b", "opaque/below", "marked/a", "marked/b", "usr/x/y"]);
    let two = layer(&world, "2", &["opaque/above", "marked/a", "marked/c", "usr/x/z"]);
    // Whiteouts as devices, which anybody can ask mksquashfs for.
    let whiteouts = "-p 'etc d 755 0 0' -p 'etc/a c 0 0 0 0 0' -p 'usr/none c 0 0 0 0 0'";
    let set = |name: &str, value: &str, path: &str| {
        run("setfattr", &["-n", name, "-v", value, text(&two.join(path))]);
    };
    set("user.overlay.opaque", "y", "opaque");
    set("user.kept", "yes", "opaque");
    // Whiteouts as empty files, which count only where the directory says so.
    set("user.overlay.opaque", "x", "marked");
    std::fs::write(two.join("marked/a"), "").unwrap();
    set("user.overlay.whiteout", "y", "marked/a");
    std::fs::write(two.join("usr/x/y"), "").unwrap();
    set("user.overlay.whiteout", "y", "usr/x/y");
    let layers = [("a", one.as_path(), ""), ("a.b", two.as_path(), whiteouts)];
    let medium = medium(&world, &layers);
    let to = world.at("out.tar");
    import(&medium, None, &to).unwrap();
    let expected = "./ etc/ etc/b marked/ marked/b marked/c opaque/ opaque/above usr/ usr/x/ \
                    usr/x/y usr/x/z";
    assert_eq!(names(&to).join(" "), expected);
    let text = String::from_utf8_lossy(&std::fs::read(&to).unwrap()).into_owned();
    assert!(text.contains("user.kept=yes") && !text.contains("overlay"), "{text}");

    // What would need another layer's directory or content is refused, not left out.
    for (attribute, path, why) in [
        (
            "user.overlay.redirect",
            "usr/x",
            "a directory of a.b.squashfs was renamed from another one",
        ),
        ("user.overlay.metacopy", "usr/x/z", "its content is in a layer below"),
    ] {
        set(attribute, "/etc", path);
        mksquashfs(&two, &medium.join("casper/a.b.squashfs"), whiteouts);
        let error = import(&medium, None, &to).unwrap_err();
        assert!(error.contains(why) && error.contains("kuth reads layers that"), "{error}");
        run("setfattr", &["-x", attribute, crate::world::text(&two.join(path))]);
    }
}

#[test]
fn a_medium_that_lacks_something_is_refused() {
    if !have(&["mksquashfs"]) {
        return;
    }
    let world = World::new();
    let one = layer(&world, "1", &["etc/a"]);
    let medium = medium(&world, &[("a", &one, ""), ("a.b", &one, "")]);
    let to = world.at("out.tar");
    let casper = medium.join("casper");
    let refused = |wanted: Option<&str>, why: &str| {
        let error = import(&medium, wanted, &to).unwrap_err();
        assert!(error.contains(why), "{error}");
    };
    import(&medium, Some("x"), &to).unwrap();
    refused(Some("desktop"), "there is no source `desktop`, but x");
    std::fs::rename(casper.join("a.squashfs"), casper.join("b.squashfs")).unwrap();
    refused(None, "the medium has no file casper/a.squashfs");
    std::fs::write(casper.join("a.squashfs"), "something else").unwrap();
    refused(None, "opening casper/a.squashfs: cut short");
    let empty = layer(&world, "empty", &[]);
    mksquashfs(&empty, &casper.join("a.squashfs"), "");
    mksquashfs(&empty, &casper.join("a.b.squashfs"), "");
    refused(None, "the layers of `x` have no /etc, /bin or /usr");
    std::fs::write(casper.join("install-sources.yaml"), "- id: x\n  path: /a.squashfs\n").unwrap();
    refused(None, "line 1: `/a.squashfs` is not a layer name");
    std::fs::remove_file(casper.join("install-sources.yaml")).unwrap();
    refused(None, "`layers` is for live media of Ubuntu 22.04 and later");
    let error = import(&casper.join("b.squashfs"), None, &to).unwrap_err();
    assert!(error.contains("not the image of a medium"), "{error}");
}
