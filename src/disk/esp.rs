//! The EFI system partition: which row of a disk it is, or whether it comes by itself.

use super::config::{Config, Content, FilesystemRow, Firmware, Format};

/// Where the automatic ESP is mounted.
pub(super) const ESP_MOUNT: &str = "/boot/efi";

/// Whether a partition is where the firmware looks for GRUB.
pub(super) fn is_esp(config: &Config, row: &FilesystemRow) -> bool {
    let mount = row.mount.as_ref().map(|mount| mount.as_str());
    config.firmware.contains(&Firmware::Uefi)
        && *row.format == Format::Vfat
        && matches!(mount, Some("/boot/efi" | "/efi"))
}

/// Whether the ESP comes by itself: the firmware needs one, and no partition is it.
pub(super) fn has_automatic_esp(config: &Config) -> bool {
    let own = config.partitions.iter().any(|row| match &row.content {
        Content::Filesystem(fs) => is_esp(config, fs),
        Content::Lvm(_) => false,
    });
    config.firmware.contains(&Firmware::Uefi) && !own
}
