//! Kernel and initrd are found on media laid out as Debian's, Ubuntu's of old and its live server's
//! are; xorriso made them.

use std::path::{Path, PathBuf};

use kuth::cancel::Cancel;
use kuth::installer::{Installer, Medium};

use crate::world::text;
use kuth_test_support::judge::tool;

/// Makes an ISO image of these files; `None` where there is no xorriso.
pub fn iso(directory: &Path, files: &[(&str, &str)]) -> Option<PathBuf> {
    let tree = directory.join("tree");
    for (path, content) in files {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let image = directory.join("medium.iso");
    let arguments =
        ["-as", "mkisofs", "-quiet", "-r", "-J", "-V", "x", "-o", text(&image), text(&tree)];
    tool("xorriso", &arguments)?;
    std::fs::remove_dir_all(&tree).unwrap();
    Some(image)
}

/// A medium as Debian makes them, with menus for BIOS and UEFI, with and without a screen.
pub const DEBIAN: &[(&str, &str)] = &[
    (".disk/info", "Debian GNU/Linux 13.1.0 \"Trixie\" - Official amd64 NETINST 20250906-10:22\n"),
    (
        "isolinux/isolinux.cfg",
        "path \ninclude menu.cfg\ndefault vesamenu.c32\nprompt 0\ntimeout 0\n",
    ),
    ("isolinux/menu.cfg", "menu hshift 4\ninclude gtk.cfg\ninclude txt.cfg\n"),
    (
        "isolinux/gtk.cfg",
        "label installgui\n\tmenu label ^Graphical install\n\tkernel /install.amd/vmlinuz\n\
         \tappend vga=788 initrd=/install.amd/gtk/initrd.gz --- quiet \n",
    ),
    (
        "isolinux/txt.cfg",
        "label install\n\tmenu label ^Install\n\tkernel /install.amd/vmlinuz\n\
         \tappend vga=788 initrd=/install.amd/initrd.gz --- quiet \n",
    ),
    (
        "boot/grub/grub.cfg",
        "menuentry --hotkey=i 'Install' {\n    set background_color=black\n    linux    \
         /install.amd/vmlinuz vga=788 --- quiet \n    initrd   /install.amd/initrd.gz \n}\n",
    ),
    ("install.amd/vmlinuz", "the kernel"),
    ("install.amd/initrd.gz", "the initrd"),
    ("install.amd/gtk/initrd.gz", "the initrd with a screen"),
];

fn replaced<'a>(
    files: &[(&'a str, &'a str)],
    name: &str,
    content: Option<&'a str>,
) -> Vec<(&'a str, &'a str)> {
    let kept = files.iter().filter(|(other, _)| *other != name).copied();
    let found = files.iter().map(|(other, _)| *other).find(|other| *other == name);
    kept.chain(found.zip(content)).collect()
}

fn contents(medium: &mut Medium, path: &str) -> String {
    let mut bytes = Vec::new();
    medium.copy(path, &mut bytes, &Cancel::default()).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn debian_by_either_menu() {
    for gone in ["", "isolinux/txt.cfg", "boot/grub/grub.cfg"] {
        let directory = tempfile::tempdir().unwrap();
        let Some(image) = iso(directory.path(), &replaced(DEBIAN, gone, None)) else { return };
        let mut medium = Medium::open(&image, "amd64").unwrap();
        assert_eq!(medium.installer, Installer::Preseed);
        assert!(medium.title.starts_with("Debian GNU/Linux 13.1.0"), "{}", medium.title);
        let (kernel, initrd) = (medium.kernel.clone(), medium.initrd.clone());
        assert_eq!(contents(&mut medium, &kernel), "the kernel");
        assert_eq!(contents(&mut medium, &initrd), "the initrd");
    }
}

#[test]
fn ubuntu_of_old() {
    let directory = tempfile::tempdir().unwrap();
    let files = [
        (".disk/info", "Ubuntu-Server 18.04.6 LTS \"Bionic Beaver\" - Release amd64 (20210915)"),
        (
            "isolinux/txt.cfg",
            "default install\nlabel install\n  menu label ^Install Ubuntu Server\n  kernel \
             /install/vmlinuz\n  append  file=/cdrom/preseed/ubuntu-server.seed vga=788 \
             initrd=/install/initrd.gz quiet ---\nlabel hwe-install\n  kernel \
             /install/hwe-vmlinuz\n  append  initrd=/install/hwe-initrd.gz quiet ---\n",
        ),
        ("install/vmlinuz", "k"),
        ("install/initrd.gz", "i"),
        ("install/hwe-vmlinuz", "hk"),
        ("install/hwe-initrd.gz", "hi"),
    ];
    let Some(image) = iso(directory.path(), &files) else { return };
    let medium = Medium::open(&image, "amd64").unwrap();
    assert_eq!(medium.installer, Installer::Preseed);
    assert_eq!(
        (medium.kernel.as_str(), medium.initrd.as_str()),
        ("install/vmlinuz", "install/initrd.gz")
    );
}

#[test]
fn ubuntus_live_server_and_what_is_none() {
    let server = [
        (".disk/info", "Ubuntu-Server 24.04.3 LTS \"Noble Numbat\" - Release amd64 (20250805.1)"),
        (
            "boot/grub/grub.cfg",
            "set timeout=30\nloadfont unicode\nmenuentry \"Try or Install Ubuntu Server\" {\n\
             \tset gfxpayload=keep\n\tlinux\t/casper/vmlinuz  ---\n\tinitrd\t/casper/initrd\n}\n\
             menuentry \"with the HWE kernel\" {\n\tlinux\t/casper/hwe-vmlinuz  ---\n\
             \tinitrd\t/casper/hwe-initrd\n}\n",
        ),
        ("casper/vmlinuz", "k"),
        ("casper/initrd", "i"),
        ("casper/hwe-vmlinuz", "k"),
        ("casper/hwe-initrd", "i"),
        ("casper/install-sources.yaml", "- id: ubuntu-server\n"),
    ];
    let open = |files: &[(&str, &str)]| {
        let directory = tempfile::tempdir().unwrap();
        iso(directory.path(), files).map(|image| Medium::open(&image, "amd64"))
    };
    let Some(medium) = open(&server) else { return };
    let medium = medium.unwrap();
    assert_eq!(medium.installer, Installer::Autoinstall);
    assert_eq!(
        (medium.kernel.as_str(), medium.initrd.as_str()),
        ("casper/vmlinuz", "casper/initrd")
    );

    // 20.04 has no list of sources; what is older than that takes no answers.
    let without = replaced(&server, "casper/install-sources.yaml", None);
    let info = |title| replaced(&without, ".disk/info", Some(title));
    let focal = info("Ubuntu-Server 20.04.6 LTS \"Focal Fossa\" - Release amd64");
    assert_eq!(open(&focal).unwrap().unwrap().installer, Installer::Autoinstall);
    for title in ["Ubuntu-Server 18.04.6 LTS \"Bionic Beaver\"", "Ubuntu 24.04 LTS", ""] {
        let error = open(&info(title)).unwrap().err().unwrap();
        assert!(error.to_string().contains("takes no answers"), "{error}");
    }
}

#[test]
fn media_without_an_installer_are_refused() {
    let open = |files: &[(&str, &str)], architecture: &str| {
        let directory = tempfile::tempdir().unwrap();
        iso(directory.path(), files).map(|image| Medium::open(&image, architecture).err().unwrap())
    };
    let Some(error) = open(&[("a", "b")], "amd64") else { return };
    assert_eq!(error.to_string(), "the medium has no boot menu that kuth can read");
    let error = open(&replaced(DEBIAN, "install.amd/initrd.gz", None), "amd64").unwrap();
    assert!(error.to_string().ends_with("has no installer for amd64 in its boot menu"), "{error}");
    let error = open(DEBIAN, "arm64").unwrap();
    assert!(error.to_string().ends_with("has no installer for arm64 in its boot menu"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("no.iso");
    std::fs::write(&file, vec![0; 1 << 17]).unwrap();
    let error = format!("{:#}", Medium::open(&file, "amd64").err().unwrap());
    assert!(error.starts_with("reading the medium: iso9660: sector 16"), "{error}");
}
