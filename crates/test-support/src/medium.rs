//! A medium as a directory, and as the ISO image that xorriso makes of it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::mirror::{self, Deb, run};

/// What the media of these tests say that they are.
pub const INFO: &str = "Debian GNU/Linux 13.9.0 \"Trixie\" - Official amd64 DVD Binary-1 with firmware \
                        20261121-10:00\n";

/// A directory with a medium's files. Forks share what neither changes.
pub struct Medium {
    directory: PathBuf,
    /// Held while the image is made.
    image: Mutex<()>,
}

impl Medium {
    /// With `debs` in the pool of trixie, and nobody's signature: as Debian's are.
    pub fn new(directory: &Path, debs: &[Deb], keys: &Path) -> Medium {
        let medium = Medium::at(directory.to_path_buf());
        mirror::write(directory, "trixie", debs, keys);
        std::fs::rename(medium.path("dists/trixie/InRelease"), directory.with_extension("signed"))
            .unwrap();
        std::os::unix::fs::symlink("trixie", medium.path("dists/stable")).unwrap();
        medium.write(".disk/info", INFO);
        medium
    }

    fn at(directory: PathBuf) -> Medium {
        Medium { directory, image: Mutex::new(()) }
    }

    /// The same medium, to change something of.
    pub fn fork(&self, name: &str) -> Medium {
        let directory = self.directory.with_file_name(name);
        let _ = std::fs::remove_dir_all(&directory);
        run(Command::new("cp").arg("-al").arg(&self.directory).arg(&directory));
        Medium::at(directory)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        let _ = std::fs::remove_file(&path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    /// Replaces `from` in a file that has it.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{from}: {text}");
        self.write(name, text.replace(from, to));
    }

    /// The image; it is made once.
    pub fn iso(&self) -> PathBuf {
        let image = self.directory.with_extension("iso");
        let _alone = self.image.lock().unwrap_or_else(PoisonError::into_inner);
        if !image.exists() {
            let mut xorriso = Command::new("xorriso");
            xorriso.args(["-as", "mkisofs", "-quiet", "-r", "-J", "-joliet-long"]);
            xorriso.args(["-V", "Debian 13.9.0 amd64 1", "-o"]).arg(&image).arg(&self.directory);
            run(&mut xorriso);
        }
        image
    }

    /// The files in a tar. GNU tar fails where another test makes or removes a hard link to one of
    /// them meanwhile.
    pub fn tar(&self) -> PathBuf {
        let path = self.directory.with_extension("tar");
        let mut tar = tar::Builder::new(File::create(&path).unwrap());
        tar.follow_symlinks(false);
        tar.append_dir_all(".", &self.directory).unwrap();
        tar.finish().unwrap();
        path
    }
}

impl Drop for Medium {
    /// An image is as large as what is in it.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.directory.with_extension("iso"));
        let _ = std::fs::remove_file(self.directory.with_extension("tar"));
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
