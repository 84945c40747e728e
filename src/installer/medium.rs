//! What lies on an installation medium: whose it is, and its kernel and initrd, found where its own
//! boot menu says they are. It reads ISO images and changes none.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::cancel::Cancel;
use crate::error::{Context, Hint, Result, anyhow, bail, ensure};
use crate::format::iso9660::{Entry, Image, Kind};
use crate::units::Bytes;

use super::Installer;

/// A boot menu is shorter.
const LONGEST_MENU: u64 = 1 << 20;
/// There are not so many of them.
const MOST_MENUS: usize = 64;
/// Nor do they offer so much.
const MOST_ENTRIES: usize = 256;
/// No kernel and no initrd is larger.
const LARGEST: Bytes = Bytes::gib(1);

/// An open medium.
pub struct Medium {
    image: Image<File>,
    /// What it says it is.
    pub title: String,
    /// Who installs from it.
    pub installer: Installer,
    /// Where its kernel is.
    pub kernel: String,
    /// Where its initial RAM disk is.
    pub initrd: String,
}

/// An entry of a boot menu.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Menu {
    kernel: String,
    initrd: String,
}

impl Medium {
    /// Opens the ISO image `iso` and finds what starts a machine of `architecture`.
    pub fn open(iso: &Path, architecture: &str) -> Result<Medium> {
        let file = File::open(iso).with_context(|| format!("opening {}", iso.display()))?;
        let mut image = Image::open(file)
            .context("reading the medium")
            .hint("`from` names the ISO image of an installer")?;
        let title = text(&mut image, ".disk/info")?.unwrap_or_default();
        let title = title.lines().next().unwrap_or_default().trim().to_string();
        let is_live = image.find("casper")?.is_some_and(|entry| entry.kind == Kind::Directory);
        let installer = match is_live {
            true => autoinstalls(&mut image, &title)?,
            false => Installer::Preseed,
        };
        let mut menus = Vec::new();
        for (directory, ending, read) in PLACES {
            for name in menu_files(&mut image, directory, ending)? {
                if let Some(text) = text(&mut image, &name)? {
                    menus.extend(read(&text));
                }
            }
        }
        let seen = menus.len();
        menus.retain(|menu| fits(menu, installer, architecture));
        menus.dedup();
        menus.truncate(MOST_ENTRIES);
        for menu in menus {
            if is_file(&mut image, &menu.kernel)? && is_file(&mut image, &menu.initrd)? {
                let Menu { kernel, initrd } = menu;
                return Ok(Medium { image, title, installer, kernel, initrd });
            }
        }
        let what = if title.is_empty() { "the medium" } else { title.as_str() };
        let error = match seen {
            0 => anyhow!("{what} has no boot menu that kuth can read"),
            _ => anyhow!("{what} has no installer for {architecture} in its boot menu"),
        };
        Err(error).hint("installers of Debian, and of Ubuntu's server, are those that kuth can run")
    }

    /// Copies the file at `path` into `to`; gives its length.
    pub fn copy(&mut self, path: &str, to: &mut dyn Write, cancel: &Cancel) -> Result<u64> {
        let what = || format!("taking {path} out of the medium");
        let entry = self.image.find(path).with_context(what)?.with_context(what)?;
        ensure!(entry.size <= LARGEST, "{path} on the medium has {}", entry.size);
        let mut contents = self.image.contents(&entry);
        let mut buffer = vec![0; 1 << 18];
        let mut done = 0;
        loop {
            cancel.check()?;
            let n = contents.read(&mut buffer).with_context(what)?;
            if n == 0 {
                return Ok(done);
            }
            to.write_all(&buffer[..n]).with_context(what)?;
            done += n as u64;
        }
    }
}

type Reader = fn(&str) -> Vec<Menu>;

/// Where menus are, how their names end, and how they read. ISOLINUX's first: those of GRUB on the
/// same medium say the same.
const PLACES: [(&str, &str, Reader); 4] = [
    ("isolinux", ".cfg", isolinux),
    ("boot/grub", ".cfg", grub),
    ("syslinux", ".cfg", isolinux),
    ("", ".cfg", isolinux),
];

/// Whether a live medium's installer takes answers: subiquity, from Ubuntu 20.04 on.
fn autoinstalls(image: &mut Image<File>, title: &str) -> Result<Installer> {
    let is_server = title.starts_with("Ubuntu-Server ");
    let has_sources = image.find("casper/install-sources.yaml")?.is_some();
    let release = title.split(' ').find_map(|word| {
        let (year, rest) = word.split_once('.')?;
        Some((year.parse::<u32>().ok()?, rest.get(..2)?.parse::<u32>().ok()?))
    });
    if has_sources || is_server && release.is_some_and(|release| release >= (20, 4)) {
        return Ok(Installer::Autoinstall);
    }
    let what = if title.is_empty() { "this live medium" } else { title };
    Err(anyhow!("the installer of {what} takes no answers"))
        .hint("the live server image takes them from Ubuntu 20.04 on; before that, the one with the text installer does")
}

/// Whether an entry is for this machine, and for the serial line rather than a screen.
fn fits(menu: &Menu, installer: Installer, architecture: &str) -> bool {
    let directories = |path: &str| path.split('/').map(str::to_string).collect::<Vec<_>>();
    let (kernel, initrd) = (directories(&menu.kernel), directories(&menu.initrd));
    let has = |word: &str| kernel.iter().chain(&initrd).any(|part| part == word);
    let is_casper = has("casper");
    if is_casper != (installer == Installer::Autoinstall) || has("gtk") || has("xen") {
        return false;
    }
    // A medium for several machines has a directory for each.
    let others: [&str; 3] = match architecture {
        "arm64" => ["install.amd", "install.386", "install.arm"],
        _ => ["install.a64", "install.386", "install.arm"],
    };
    others.iter().all(|other| !has(other))
}

/// The menus of `directory`, sorted, `txt.cfg` and `grub.cfg` among them.
fn menu_files(image: &mut Image<File>, directory: &str, ending: &str) -> Result<Vec<String>> {
    let what = || format!("reading the directory /{directory} of the medium");
    let Some(found) = image.find(directory).with_context(what)? else { return Ok(Vec::new()) };
    if found.kind != Kind::Directory {
        return Ok(Vec::new());
    }
    let entries = image.entries(&found).with_context(what)?;
    let is_menu = |entry: &&Entry| entry.kind == Kind::File && entry.name.ends_with(ending);
    let mut names: Vec<String> = entries.iter().filter(is_menu).map(|e| e.name.clone()).collect();
    names.sort();
    names.truncate(MOST_MENUS);
    Ok(names.into_iter().map(|name| format!("{directory}/{name}")).collect())
}

fn is_file(image: &mut Image<File>, path: &str) -> io::Result<bool> {
    Ok(image.find(path)?.is_some_and(|entry| entry.kind == Kind::File && entry.size.0 > 0))
}

/// A small text of the medium.
fn text(image: &mut Image<File>, path: &str) -> Result<Option<String>> {
    let what = || format!("reading /{path} of the medium");
    let Some(entry) = image.find(path).with_context(what)? else { return Ok(None) };
    if entry.kind != Kind::File || entry.size.0 > LONGEST_MENU {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    image.contents(&entry).take(LONGEST_MENU).read_to_end(&mut bytes).with_context(what)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// `kernel` or `linux` of an entry, and `initrd=` among what it appends.
fn isolinux(text: &str) -> Vec<Menu> {
    let mut menus = Vec::new();
    let (mut kernel, mut initrd): (Option<String>, Option<String>) = (None, None);
    let mut end = |kernel: &mut Option<String>, initrd: &mut Option<String>| {
        if let (Some(kernel), Some(initrd)) = (kernel.take(), initrd.take()) {
            menus.push(Menu { kernel, initrd });
        }
    };
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let word = words.next().unwrap_or_default().to_ascii_lowercase();
        match word.as_str() {
            "label" => {
                end(&mut kernel, &mut initrd);
                (kernel, initrd) = (None, None);
            }
            "kernel" | "linux" => kernel = words.next().map(clean),
            "initrd" => initrd = words.next().map(clean),
            "append" => {
                let given = words.find_map(|word| word.strip_prefix("initrd="));
                // Of several the first is the whole one.
                let first = given.and_then(|given| given.split(',').next());
                initrd = first.map(clean).or(initrd);
            }
            _ => {}
        }
    }
    end(&mut kernel, &mut initrd);
    menus
}

/// `linux` and `initrd` of a menu entry.
fn grub(text: &str) -> Vec<Menu> {
    let mut menus = Vec::new();
    let mut kernel = None;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next().unwrap_or_default() {
            "linux" | "linuxefi" => kernel = words.next().map(clean),
            "initrd" | "initrdefi" => {
                if let (Some(kernel), Some(initrd)) = (kernel.take(), words.next().map(clean)) {
                    menus.push(Menu { kernel, initrd });
                }
            }
            "menuentry" | "submenu" => kernel = None,
            _ => {}
        }
    }
    menus
}

/// A path without what a loader puts around or in front of it.
fn clean(path: &str) -> String {
    let path = path.trim_matches(['"', '\'']);
    let path = path.rsplit_once(')').map_or(path, |(_, path)| path);
    path.trim_start_matches('/').to_string()
}

/// Fails where the pipeline names another installer than the medium has.
pub fn check(wanted: Option<Installer>, medium: &Medium) -> Result<()> {
    match wanted {
        Some(wanted) if wanted != medium.installer => {
            let (has, word) = (medium.installer.word(), wanted.word());
            let error = anyhow!("the medium's installer takes `{has}`, not `{word}`");
            Err(error).hint("leave out `installer`, and the medium decides")
        }
        _ => Ok(()),
    }
}

/// Refuses what an initrd must not be to have an archive appended.
pub fn check_appendable(start: &[u8]) -> Result<()> {
    // Behind LZ4's legacy frames the kernel looks for one more, not for another archive.
    if start.starts_with(&[0x02, 0x21, 0x4c, 0x18]) {
        bail!("the medium's initrd is compressed with LZ4, to which nothing can be appended");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn menu(kernel: &str, initrd: &str) -> Menu {
        Menu { kernel: kernel.into(), initrd: initrd.into() }
    }

    #[test]
    fn menus_of_isolinux() {
        let text = "default install\nlabel install\n\tmenu label ^Install\n\tkernel \
            /install.amd/vmlinuz\n\tappend vga=788 initrd=/install.amd/initrd.gz --- quiet\n\
            LABEL live\n  KERNEL /casper/vmlinuz\n  APPEND boot=casper\n\
            label hd\n  localboot 0x80\n\
            label last\n  linux vmlinuz\n  initrd initrd.img\n";
        assert_eq!(
            isolinux(text),
            [menu("install.amd/vmlinuz", "install.amd/initrd.gz"), menu("vmlinuz", "initrd.img")]
        );
    }

    #[test]
    fn menus_of_grub() {
        let text = "set timeout=30\nmenuentry \"Try or Install\" {\n\tset gfxpayload=keep\n\
            \tlinux\t/casper/vmlinuz  ---\n\tinitrd\t/casper/initrd\n}\n\
            menuentry 'Broken' {\n linux /x\n}\nmenuentry 'Other' { \n initrd /y\n}\n\
            menuentry 'efi' {\n linuxefi ($root)/install/vmlinuz\n initrdefi \"/install/i.gz\"\n}\n";
        assert_eq!(
            grub(text),
            [menu("casper/vmlinuz", "casper/initrd"), menu("install/vmlinuz", "install/i.gz")]
        );
    }

    #[test]
    fn screens_and_other_machines_are_left_out() {
        let fits = |kernel: &str, initrd: &str, architecture: &str| {
            super::fits(&menu(kernel, initrd), Installer::Preseed, architecture)
        };
        assert!(fits("install.amd/vmlinuz", "install.amd/initrd.gz", "amd64"));
        assert!(!fits("install.amd/vmlinuz", "install.amd/gtk/initrd.gz", "amd64"));
        assert!(!fits("install.386/vmlinuz", "install.386/initrd.gz", "amd64"));
        assert!(!fits("install.amd/vmlinuz", "install.amd/initrd.gz", "arm64"));
        assert!(!fits("casper/vmlinuz", "casper/initrd", "amd64"));
    }
}
