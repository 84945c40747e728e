//! What this host has for QEMU: the program, KVM, the UEFI images. Looks, never changes.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{Context, Hint, Result, anyhow};
use crate::hardware::Firmware;
use crate::process::find_program;

use super::argv::{
    Accelerator, Flash, flash_images, flash_package, needs_flash, program, secure_flash_images,
};

/// qemu-system for `architecture`, or an error that says what to install.
pub fn require_program(architecture: &str) -> Result<PathBuf> {
    let name = program(architecture);
    let package = if architecture == "arm64" { "qemu-system-arm" } else { "qemu-system-x86" };
    find_program(&name)
        .ok_or_else(|| anyhow!("there is no {name} on this host"))
        .hint(format!("install it: `apt-get install {package}`"))
}

/// KVM where it works for `architecture`, else QEMU's own translation.
pub fn accelerator(architecture: &str) -> Accelerator {
    let native = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let opens = || File::options().read(true).write(true).open("/dev/kvm").is_ok();
    match architecture == native && can_virtualise(&cpuinfo) && opens() {
        true => Accelerator::kvm(),
        false => Accelerator::tcg(),
    }
}

/// Whether the processor does. /dev/kvm alone proves nothing: it opens on hosts without the
/// flags too, and there QEMU hangs in the guest's kernel.
fn can_virtualise(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().filter(|line| line.starts_with("flags"));
    let mut words = flags.flat_map(str::split_ascii_whitespace);
    words.any(|word| word == "vmx" || word == "svm")
}

/// The UEFI code and the template of its variables.
pub fn flash(architecture: &str) -> Result<(&'static Path, &'static Path)> {
    let there = |(code, variables): &&(&'static str, &'static str)| {
        Path::new(code).is_file() && Path::new(variables).is_file()
    };
    let package = flash_package(architecture);
    flash_images(architecture)
        .iter()
        .find(there)
        .map(|(code, variables)| (Path::new(*code), Path::new(*variables)))
        .ok_or_else(|| anyhow!("there is no UEFI firmware for QEMU on this host"))
        .hint(format!("install it: `apt-get install {package}`"))
}

/// The UEFI images for one machine, with its own copy of the variables at `copy`; none where the
/// built-in firmware starts it.
pub fn own_flash(architecture: &str, firmware: Firmware, copy: &Path) -> Result<Option<Flash>> {
    if !needs_flash(architecture, firmware) {
        return Ok(None);
    }
    let (code, variables) = flash(architecture)?;
    let bytes =
        std::fs::read(variables).with_context(|| format!("reading {}", variables.display()))?;
    std::fs::write(copy, bytes).with_context(|| format!("writing {}", copy.display()))?;
    let (code, variables) = (code.display().to_string(), copy.display().to_string());
    Ok(Some(Flash { code, variables, secure: false }))
}

/// The UEFI images for a machine that starts nothing but what Microsoft's keys, or keys signed by
/// them, have signed; `copy` as for [`own_flash`].
pub fn secure_flash(architecture: &str, copy: &Path) -> Result<Flash> {
    let there = |(code, variables): &&(&'static str, &'static str)| {
        Path::new(code).is_file() && Path::new(variables).is_file()
    };
    let (code, variables) = secure_flash_images(architecture)
        .iter()
        .find(there)
        .ok_or_else(|| anyhow!("there is no UEFI firmware with Secure Boot for QEMU on this host"))
        .hint(format!("install it: `apt-get install {}`", flash_package(architecture)))?;
    std::fs::copy(variables, copy).with_context(|| format!("writing {}", copy.display()))?;
    let (code, variables) = (code.to_string(), copy.display().to_string());
    Ok(Flash { code, variables, secure: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_processors_flags_count() {
        for (cpuinfo, can) in [
            ("flags\t\t: fpu vmx sse\n", true),
            ("flags : svm\n", true),
            ("flags : fpu vmx_x sse\nvmx flags : vnmi\n", false),
            ("", false),
        ] {
            assert_eq!(can_virtualise(cpuinfo), can, "{cpuinfo}");
        }
    }
}
