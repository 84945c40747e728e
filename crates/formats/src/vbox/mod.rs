//! VirtualBox settings files (`.vbox`). The writer makes those of a machine with one VDI beside it, as
//! VirtualBox 5.2 wrote them: every later version reads them, and writes its own form when something
//! changes. The reader takes files of any version.
//!
//! Source: VirtualBox-settings.xsd, version 1.16.

mod read;
mod write;

pub use read::{AHCI, Attached, Controller, Model, PIIX4, Settings, read};
pub use write::{Ids, settings};

const FORMAT: &str = "vbox";
