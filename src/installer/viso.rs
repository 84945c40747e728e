//! A medium with answers for VirtualBox, which starts a machine only from the medium itself: a text
//! that its own ISO maker takes for an image (`.viso`), in which some files of the real one are
//! exchanged. Nothing is copied, and the medium stays as it is. Only the text is made here; kuth runs
//! installers in QEMU.
//!
//! Source: VirtualBox's manual, on VBoxManage's `unattended` and on the ISO maker's options.

use std::path::Path;

use crate::error::{Result, ensure};
use crate::format::Guid;
use crate::process::quote;

/// The text of a `.viso` of the image `iso`, with the files at these paths of it taken from those of
/// this host. `id` names the medium: two texts of one id would be one medium to VirtualBox.
pub fn text(iso: &Path, id: &Guid, files: &[(&str, &Path)]) -> Result<String> {
    let mut words = vec![
        "--iprt-iso-maker-file-marker-bourne-sh".to_string(),
        id.to_string(),
        "--file-mode=0444".to_string(),
        "--dir-mode=0555".to_string(),
        "--import-iso".to_string(),
        path(iso)?,
    ];
    for (place, file) in files {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let legal = place.starts_with('/') && place.chars().all(plain);
        ensure!(legal, "`{place}` is not a path on a medium");
        // What is there has to go first.
        words.push(format!("{place}=:must-remove:"));
        words.push(format!("{place}={}", path(file)?));
    }
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    Ok(words.join(" ") + "\n")
}

/// A path as the ISO maker finds it, wherever it is started.
fn path(path: &Path) -> Result<String> {
    let text = path.to_str().unwrap_or_default();
    ensure!(path.is_absolute() && !text.is_empty(), "{} is not absolute", path.display());
    ensure!(!text.contains(['=', '\n']), "{} has a character that ends a name", path.display());
    Ok(text.to_string())
}

/// The boot menu of a medium whose initrd has the answers: it starts by itself, at once.
pub fn menu(kernel: &str, initrd: &str, arguments: &str) -> String {
    format!(
        "serial 0 115200\ndefault kuth\nprompt 0\ntimeout 10\nlabel kuth\n  kernel /{kernel}\n  \
         append initrd=/{initrd} {arguments}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_that_a_shell_splits_as_it_was_meant() {
        let id = Guid::derived("x", "viso");
        let iso = Path::new("/a b/it's.iso");
        let files = [("/install.amd/initrd.gz", Path::new("/w/initrd"))];
        let text = text(iso, &id, &files).unwrap();
        let words = shlex::split(text.trim_end()).unwrap();
        assert_eq!(words[0], "--iprt-iso-maker-file-marker-bourne-sh");
        assert_eq!(words[1], id.to_string());
        assert_eq!(
            words[4..],
            [
                "--import-iso",
                "/a b/it's.iso",
                "/install.amd/initrd.gz=:must-remove:",
                "/install.amd/initrd.gz=/w/initrd",
            ]
        );
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn what_would_be_read_as_something_else_is_refused() {
        let id = Guid::derived("x", "viso");
        let file = Path::new("/f");
        assert!(text(Path::new("rel.iso"), &id, &[]).is_err());
        assert!(text(Path::new("/a=b"), &id, &[]).is_err());
        for place in ["initrd.gz", "/a=b", "/a b", "/a\n"] {
            assert!(text(Path::new("/a"), &id, &[(place, file)]).is_err(), "{place}");
        }
    }

    #[test]
    fn the_menu_starts_the_installer() {
        let menu = menu("install.amd/vmlinuz", "install.amd/initrd.gz", "auto=true ---");
        assert!(
            menu.contains("\n  append initrd=/install.amd/initrd.gz auto=true ---\n"),
            "{menu}"
        );
        assert!(menu.contains("\ntimeout 10\n"));
    }
}
