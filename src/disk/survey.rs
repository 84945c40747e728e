//! What a tree has that its disk depends on, seen while the tree is split: kernels, and the tools to
//! mount what the layout asks for. Knows neither tar nor filesystems.

use std::cmp::Ordering;

use crate::artifact::BootSoftware;
use crate::error::{Result, anyhow, with_hint};
use crate::format::os_release;

use super::layout::Layout;

/// What was found in the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Versions of `/boot/vmlinuz-VERSION`, in the order seen.
    kernels: Vec<String>,
    /// Versions of `/boot/initrd.img-VERSION`.
    initrds: Vec<String>,
    /// Targets of the links /boot/vmlinuz and /boot/initrd.img.
    links: [Option<String>; 2],
    /// A kernel that lies elsewhere: where images without a package manager have it.
    elsewhere: Option<String>,
    /// Whether `lvm` is there, which the initramfs needs to find volumes.
    has_lvm: bool,
    /// Whether `sfdisk` and `systemd-growfs` are there, which a disk that grows needs.
    has_sfdisk: bool,
    has_growfs: bool,
    /// Whether `mkswap` is there, which a swap file needs.
    has_mkswap: bool,
    /// Whether cloud-init is there.
    has_cloud_init: bool,
    /// Whether systemd is there, and not only its library, which udev has too.
    has_systemd: bool,
    /// The version of systemd's library.
    systemd_version: Option<u32>,
    /// PRETTY_NAME of os-release.
    name: Option<String>,
}

/// One thing to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its file in /boot.
    pub kernel: String,
    /// The initrd's.
    pub initrd: String,
    /// What to call it; `None`: the one that the links point to.
    pub version: Option<String>,
}

/// The names that Debian's kernels keep up to date in /boot with `link_in_boot = yes`.
const LINKS: [&str; 2] = ["vmlinuz", "initrd.img"];

/// Whether `path` is a kernel where systemd's tools put it: beside its modules, or unified with its initrd.
fn is_elsewhere(path: &str) -> bool {
    let modules = path.strip_prefix("usr/lib/modules/").or(path.strip_prefix("lib/modules/"));
    let beside =
        modules.and_then(|it| it.split_once('/')).is_some_and(|(_, name)| name == "vmlinuz");
    let unified = ["boot", "boot/efi", "efi"].iter().any(|directory| {
        let inside = path.strip_prefix(directory).and_then(|it| it.strip_prefix("/EFI/Linux/"));
        inside.is_some_and(|name| name.ends_with(".efi"))
    });
    beside || unified
}

impl Survey {
    /// Notes the file at `path`, relative to the root; `link` is its target if it is one.
    pub fn see(&mut self, path: &[u8], link: Option<&[u8]>) {
        let Ok(path) = std::str::from_utf8(path) else { return };
        let program = path.strip_prefix("usr/").unwrap_or(path);
        self.has_lvm |= matches!(program, "sbin/lvm" | "bin/lvm");
        self.has_sfdisk |= matches!(program, "sbin/sfdisk" | "bin/sfdisk");
        self.has_mkswap |= matches!(program, "sbin/mkswap" | "bin/mkswap");
        self.has_growfs |= program == "lib/systemd/systemd-growfs";
        self.has_cloud_init |= path == "usr/bin/cloud-init";
        self.has_systemd |= matches!(path, "usr/lib/systemd/systemd" | "lib/systemd/systemd");
        self.systemd_version = systemd_version(path).or(self.systemd_version);
        if is_elsewhere(path) && self.elsewhere.is_none() {
            self.elsewhere = Some(path.to_string());
        }
        let Some(name) = path.strip_prefix("boot/") else { return };
        if let Some(at) = LINKS.iter().position(|link| *link == name) {
            self.links[at] = link.map(|link| String::from_utf8_lossy(link).into_owned());
        } else if let Some(version) = name.strip_prefix("vmlinuz-") {
            self.kernels.push(version.to_string());
        } else if let Some(version) = name.strip_prefix("initrd.img-") {
            self.initrds.push(version.to_string());
        }
    }

    /// What of the tree runs what a hypervisor passes to it at boot.
    pub fn boot_software(&self) -> BootSoftware {
        let systemd = self.systemd_version.filter(|_| self.has_systemd);
        BootSoftware { cloud_init: self.has_cloud_init, systemd }
    }

    /// Notes the content of `usr/lib/os-release`.
    pub fn see_os_release(&mut self, text: &str) {
        let plain = |c: &char| c.is_ascii_alphanumeric() || " ./()+-_,".contains(*c);
        let name = os_release::value(text, "PRETTY_NAME");
        self.name = name.map(|name| name.chars().filter(plain).collect());
    }

    /// What to call the system in a menu.
    pub fn name(&self) -> &str {
        self.name.as_deref().filter(|name| !name.is_empty()).unwrap_or("Linux")
    }

    /// What can be booted, best first: the links where they lead to something, then every
    /// version that has an initrd, newest first.
    pub fn bootable(&self) -> Vec<Kernel> {
        let mut versions: Vec<&String> =
            self.kernels.iter().filter(|kernel| self.initrds.contains(kernel)).collect();
        versions.sort_by(|a, b| by_version(b, a));
        versions.dedup();
        let leads = |link: &Option<String>, to: &str| {
            let target = link.as_deref().and_then(|link| link.strip_prefix(to));
            target.is_some_and(|target| versions.iter().any(|version| *version == target))
        };
        let mut kernels = Vec::new();
        if leads(&self.links[0], "vmlinuz-") && leads(&self.links[1], "initrd.img-") {
            let [kernel, initrd] = LINKS.map(str::to_string);
            kernels.push(Kernel { kernel, initrd, version: None });
        }
        kernels.extend(versions.into_iter().map(|version| Kernel {
            kernel: format!("vmlinuz-{version}"),
            initrd: format!("initrd.img-{version}"),
            version: Some(version.clone()),
        }));
        kernels
    }

    /// Refuses a tree that cannot boot from this layout.
    pub fn check(&self, layout: &Layout) -> Result<()> {
        if self.kernels.is_empty()
            && let Some(kernel) = &self.elsewhere
        {
            let error =
                anyhow!("the tree has its kernel as /{kernel}, not as /boot/vmlinuz-VERSION");
            let hint = match kernel.strip_suffix("/vmlinuz").and_then(|it| it.rsplit('/').next()) {
                Some(version) => format!(
                    "copy it in a script of `customise`: `cp /{kernel} /boot/vmlinuz-{version} && \
                     update-initramfs -c -k {version}`"
                ),
                None => {
                    "kuth starts a kernel and an initrd in /boot, no unified kernel image: add \
                         `linux-image-amd64` (or another kernel) to `packages`"
                        .to_string()
                }
            };
            return Err(with_hint(error, hint));
        }
        if self.kernels.is_empty() {
            return Err(with_hint(
                anyhow!("the tree has no kernel: no file /boot/vmlinuz-VERSION"),
                "add `linux-image-amd64` (or another kernel) to `packages` of the bootstrap stage",
            ));
        }
        if self.bootable().is_empty() {
            let kernels = self.kernels.join(", ");
            return Err(with_hint(
                anyhow!("the tree has no initrd for its kernel {kernels}"),
                "add `initramfs-tools` to `packages` of the bootstrap stage",
            ));
        }
        if !self.has_lvm && layout.group.as_ref().is_some_and(|group| !group.volumes.is_empty()) {
            return Err(with_hint(
                anyhow!("the disk has volumes, but the tree has no usr/sbin/lvm to find them"),
                "add `lvm2` to `packages` of the bootstrap stage",
            ));
        }
        let growing = [
            (self.has_sfdisk, "usr/sbin/sfdisk", "`fdisk`"),
            (self.has_growfs, "usr/lib/systemd/systemd-growfs", "`systemd-sysv`"),
        ];
        let swap_file = [
            (self.has_systemd, "usr/lib/systemd/systemd", "`systemd-sysv`"),
            (self.has_mkswap, "usr/sbin/mkswap", "`util-linux`"),
        ];
        if layout.grow.is_some() {
            check_programs("the disk is to grow at boot", &growing)?;
        }
        if layout.swap_file.is_some() {
            check_programs("the first boot is to make a swap file", &swap_file)?;
        }
        Ok(())
    }
}

/// Refuses a tree that lacks a program: rows of whether it is there, its file and its package.
fn check_programs(purpose: &str, programs: &[(bool, &str, &str)]) -> Result<()> {
    let lacking = programs.iter().filter(|(has, ..)| !has);
    let (files, packages): (Vec<_>, Vec<_>) =
        lacking.map(|(_, file, package)| (*file, *package)).unzip();
    if files.is_empty() {
        return Ok(());
    }
    Err(with_hint(
        anyhow!("{purpose}, but the tree has no {}", files.join(" and no ")),
        format!("add {} to `packages` of the customise stage", packages.join(" and ")),
    ))
}

/// The version of systemd whose library is at `path`: its file has it in its name, with what a
/// distribution adds, wherever that keeps it.
fn systemd_version(path: &str) -> Option<u32> {
    let (directory, file) = path.rsplit_once('/')?;
    let rest = file.strip_prefix("libsystemd-shared-")?;
    let is_own = directory.starts_with("usr/lib") || directory.starts_with("lib/");
    let version =
        rest.strip_suffix(".so").filter(|_| is_own)?.split(|c: char| !c.is_ascii_digit()).next()?;
    version.parse().ok()
}

/// Debian's order of versions, near enough for kernels: runs of digits compare as numbers.
fn by_version(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        match (digits(a), digits(b)) {
            (0, _) | (_, 0) => match (a.split_first(), b.split_first()) {
                (Some((x, rest_a)), Some((y, rest_b))) if x == y => (a, b) = (rest_a, rest_b),
                // A pre-release sorts before everything, the end included.
                (x, y) if x.map(|x| x.0) == Some(&b'~') || y.map(|y| y.0) == Some(&b'~') => {
                    let after = x.map(|x| x.0) != Some(&b'~');
                    return if after { Ordering::Greater } else { Ordering::Less };
                }
                (x, y) => return x.map(|x| x.0).cmp(&y.map(|y| y.0)),
            },
            (m, n) => {
                let number = |text: &[u8]| -> Vec<u8> {
                    text.iter().copied().skip_while(|byte| *byte == b'0').collect()
                };
                let (x, y) = (number(&a[..m]), number(&b[..n]));
                match (x.len(), &x).cmp(&(y.len(), &y)) {
                    Ordering::Equal => (a, b) = (&a[m..], &b[n..]),
                    order => return order,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(paths: &[&str], links: &[(&str, &str)]) -> Survey {
        let mut survey = Survey::default();
        paths.iter().for_each(|path| survey.see(path.as_bytes(), None));
        links.iter().for_each(|(path, to)| survey.see(path.as_bytes(), Some(to.as_bytes())));
        survey
    }

    #[test]
    fn cloud_init_and_systemd_are_known_by_their_files() {
        const SYSTEMD: &str = "usr/lib/systemd/systemd";
        const DEBIAN: &str = "usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so";
        const FEDORA: &str = "usr/lib64/systemd/libsystemd-shared-258.2-1.fc43.so";
        for (paths, cloud_init, systemd) in [
            (&["usr/bin/cloud-init", DEBIAN, SYSTEMD][..], true, Some(257)),
            (&[SYSTEMD, "usr/lib/systemd/libsystemd-shared-252.so"], false, Some(252)),
            (&[SYSTEMD, FEDORA], false, Some(258)),
            (&["lib/systemd/systemd", "lib/systemd/libsystemd-shared-247.so"], false, Some(247)),
            (&["usr/bin/cloud-init", DEBIAN], true, None),
            (&[SYSTEMD, "usr/share/cloud-init"], false, None),
            (&[SYSTEMD, "usr/lib/libsystemd-shared-x.so"], false, None),
            (&[SYSTEMD, "srv/libsystemd-shared-257.so"], false, None),
        ] {
            let expected = BootSoftware { cloud_init, systemd };
            assert_eq!(survey(paths, &[]).boot_software(), expected, "{paths:?}");
        }
    }

    #[test]
    fn newest_kernels_come_first_and_need_an_initrd() {
        let files = [
            "boot/vmlinuz-6.12.9-amd64",
            "boot/initrd.img-6.12.9-amd64",
            "boot/vmlinuz-6.12.48-amd64",
            "boot/initrd.img-6.12.48-amd64",
            "boot/vmlinuz-6.13",
        ];
        let names = |survey: Survey| -> Vec<String> {
            survey.bootable().into_iter().map(|kernel| kernel.kernel).collect()
        };
        assert_eq!(names(survey(&files, &[])), ["vmlinuz-6.12.48-amd64", "vmlinuz-6.12.9-amd64"]);
        let links = [
            ("boot/vmlinuz", "vmlinuz-6.12.48-amd64"),
            ("boot/initrd.img", "initrd.img-6.12.48-amd64"),
        ];
        assert_eq!(names(survey(&files, &links))[0], "vmlinuz");
        let dangling = [links[0], ("boot/initrd.img", "/boot/initrd.img-6.12.48-amd64")];
        assert_eq!(names(survey(&files, &dangling))[0], "vmlinuz-6.12.48-amd64");
    }

    #[test]
    fn versions_compare_as_debian_does() {
        for (a, b) in [("6.9", "6.12"), ("6.1~rc1", "6.1"), ("6.1", "6.1-1"), ("6.1-a", "6.1-b")] {
            assert_eq!(by_version(a, b), Ordering::Less, "{a} {b}");
            assert_eq!(by_version(b, a), Ordering::Greater, "{a} {b}");
        }
    }

    #[test]
    fn names_come_from_os_release() {
        let mut survey = Survey::default();
        assert_eq!(survey.name(), "Linux");
        survey.see_os_release("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n");
        assert_eq!(survey.name(), "Debian GNU/Linux 13 (trixie)");
    }

    #[test]
    fn kernels_of_images_without_a_package_manager_are_said_to_be_elsewhere() {
        for (path, expected) in [
            ("usr/lib/modules/6.12.1-amd64/vmlinuz", true),
            ("lib/modules/6.12.1/vmlinuz", true),
            ("usr/lib/modules/6.12.1/kernel/vmlinuz", false),
            ("boot/EFI/Linux/debian-6.12.1.efi", true),
            ("efi/EFI/Linux/x.efi", true),
            ("boot/efi/EFI/debian/shimx64.efi", false),
            ("boot/vmlinuz-6.12.1", false),
        ] {
            assert_eq!(survey(&[path], &[]).elsewhere.is_some(), expected, "{path}");
        }
    }
}
