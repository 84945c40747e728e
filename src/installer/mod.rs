//! Installers of others, run in a virtual machine without anybody at the keyboard: what answers they
//! get, where their kernel lies on a medium, how a run is watched, and whether the disk that came out
//! is the one that was asked for. Knows no pipelines and no cache; `stage::install` joins the pieces.

pub mod answers;
pub mod autoinstall;
pub mod compare;
pub mod medium;
pub mod preseed;
pub mod recipe;
pub mod run;
pub mod viso;
pub mod watch;

pub use answers::{Answers, Mirror};
pub use medium::Medium;
pub use run::Run;

/// Who installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installer {
    /// debian-installer, which reads a preseed file. Debian's, and Ubuntu's before 20.04.
    Preseed,
    /// subiquity, which reads autoinstall. Ubuntu's live server from 20.04 on.
    Autoinstall,
}

impl Installer {
    /// The word in the pipeline.
    pub fn word(self) -> &'static str {
        match self {
            Installer::Preseed => "preseed",
            Installer::Autoinstall => "autoinstall",
        }
    }
}

/// The serial line that the installer talks on, and a second one for its log.
pub fn serial_lines(architecture: &str) -> (&'static str, &'static str) {
    if architecture == "arm64" { ("ttyAMA0", "ttyAMA1") } else { ("ttyS0", "ttyS1") }
}
