//! The arguments of qemu-system for a machine: pure, so that they can be tested as a table.
//! The boot check and the machines people start use the same ones.
//!
//! Networks without root: `nat` and `host-only` are QEMU's user-mode network (`host-only` without
//! a way out; both reached through a forwarded port), and an internal network is a directory of
//! sockets with a [`switch`] between them, which takes a QEMU of 7.2 or later.

use crate::digest::Digest;
use crate::hardware::nic::reached;
use crate::hardware::{Firmware, Hardware, Mac, Network, Nic};

use super::switch;

/// What runs the guest's instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accelerator {
    /// After `-accel`.
    pub accel: String,
    /// After `-cpu`.
    pub cpu: String,
}

impl Accelerator {
    /// QEMU's own translation; works everywhere. Without page tables of five levels, which no guest
    /// of this size needs and which cost a sixth of the time of a boot.
    pub fn tcg() -> Accelerator {
        Accelerator { accel: "tcg,thread=multi".into(), cpu: "max,la57=off".into() }
    }

    /// The kernel's.
    pub fn kvm() -> Accelerator {
        Accelerator { accel: "kvm".into(), cpu: "host".into() }
    }
}

/// A disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// The image, as QEMU finds it.
    pub file: String,
    /// `raw` or `qcow2`.
    pub format: &'static str,
    /// What losing power may cost.
    pub durability: Durability,
}

/// What losing power may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing that the guest writes is kept.
    Safe,
    /// All of it: the disk is thrown away afterwards.
    Scratch,
    /// All of it: the disk is being made, and stays sparse where only zeros come.
    New,
    /// Nothing, as it is only read.
    ReadOnly,
}

/// The UEFI images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash {
    /// The code, only read.
    pub code: String,
    /// This machine's own copy of the variables.
    pub variables: String,
    /// Whether the firmware starts nothing but what is signed.
    pub secure: bool,
}

/// A card and what is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its address.
    pub mac: String,
    /// After `-netdev`, without `id=`.
    pub netdev: String,
}

/// A machine to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Debian's word: `amd64`, `arm64`.
    pub architecture: String,
    /// The machine's name.
    pub name: String,
    /// What runs it.
    pub accelerator: Accelerator,
    /// Processors.
    pub cpus: u32,
    /// MiB.
    pub memory: u64,
    /// UEFI images; without them the built-in firmware starts it.
    pub flash: Option<Flash>,
    /// The first one is booted.
    pub drives: Vec<Drive>,
    /// In order.
    pub cards: Vec<Card>,
    /// Files, each with one string for the guest's SMBIOS table (type 11); without NUL bytes.
    pub oem_strings: Vec<String>,
}

/// The program that runs machines of an architecture.
pub fn program(architecture: &str) -> String {
    let arch = match architecture {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    };
    format!("qemu-system-{arch}")
}

impl Launch {
    /// The arguments, without the program.
    pub fn argv(&self) -> Vec<String> {
        let mut argv = Vec::new();
        let mut put = |option: &str, value: String| argv.extend([option.to_string(), value]);
        let machine = if self.architecture == "arm64" { "virt" } else { "q35" };
        put("-name", format!("kuth-{}", self.name));
        let is_secure = self.flash.as_ref().is_some_and(|flash| flash.secure);
        match is_secure && machine == "q35" {
            true => {
                // Nothing but the firmware may write its variables.
                put("-machine", "q35,smm=on".to_string());
                put("-global", "driver=cfi.pflash01,property=secure,value=on".to_string());
            }
            false => put("-machine", machine.to_string()),
        }
        put("-accel", self.accelerator.accel.clone());
        put("-cpu", self.accelerator.cpu.clone());
        put("-smp", self.cpus.to_string());
        put("-m", self.memory.to_string());
        put("-display", "none".to_string());
        put("-device", "virtio-rng-pci".to_string());
        if let Some(flash) = &self.flash {
            let code = escape(&flash.code);
            put("-drive", format!("if=pflash,format=raw,readonly=on,file={code}"));
            let variables = escape(&flash.variables);
            put("-drive", format!("if=pflash,format=raw,file={variables}"));
        }
        for (index, drive) in self.drives.iter().enumerate() {
            let mode = match drive.durability {
                Durability::Safe => "discard=unmap,detect-zeroes=unmap",
                Durability::Scratch => "discard=unmap,cache=unsafe",
                Durability::New => "discard=unmap,detect-zeroes=unmap,cache=unsafe",
                Durability::ReadOnly => "readonly=on",
            };
            let (file, format) = (escape(&drive.file), drive.format);
            put("-drive", format!("if=none,id=disk{index},format={format},{mode},file={file}"));
            put("-device", format!("virtio-blk-pci,drive=disk{index},bootindex={}", index + 1));
        }
        for (index, card) in self.cards.iter().enumerate() {
            let (kind, options) = card.netdev.split_once(',').unwrap_or((&card.netdev, ""));
            let options = if options.is_empty() { String::new() } else { format!(",{options}") };
            put("-netdev", format!("{kind},id=net{index}{options}"));
            put("-device", format!("virtio-net-pci,netdev=net{index},mac={}", card.mac));
        }
        if self.cards.is_empty() {
            put("-nic", "none".to_string());
        }
        // By files, as an argument has a limit of its own.
        for file in &self.oem_strings {
            put("-smbios", format!("type=11,path={}", escape(file)));
        }
        argv
    }
}

/// A comma ends an option's value unless it is doubled.
fn escape(file: &str) -> String {
    file.replace(',', ",,")
}

/// The cards of a machine. The first card that the host can reach forwards `ssh_port` of 127.0.0.1
/// to the guest's SSH server, and the machine's other ports. The directory of internal networks is
/// open as [`NETWORKS_HANDLE`].
pub fn cards(hardware: &Hardware, ssh_port: &str) -> Vec<Card> {
    let reached = reached(&hardware.nics);
    let mut forwards = format!(",hostfwd=tcp:127.0.0.1:{ssh_port}-:22");
    for forward in &hardware.forwards {
        let protocol = if forward.udp { "udp" } else { "tcp" };
        forwards += &format!(",hostfwd={protocol}:127.0.0.1:{}-:{}", forward.host, forward.guest);
    }
    let card = |(index, nic): (usize, &Nic)| {
        let forward = if Some(index) == reached { forwards.as_str() } else { "" };
        let netdev = match &nic.network {
            Network::Nat => format!("user{forward}"),
            Network::HostOnly(_) => format!(
                "user,restrict=on,net=192.168.63.0/24,host=192.168.63.1,\
                 dhcpstart=192.168.63.100{forward}"
            ),
            Network::Internal(name) => {
                let directory =
                    format!("/proc/self/fd/{NETWORKS_HANDLE}/{}", network_directory(name));
                format!(
                    "dgram,local.type=unix,local.path={directory}/{},\
                     remote.type=unix,remote.path={directory}/{}",
                    socket_name(nic.mac),
                    switch::SOCKET
                )
            }
            // Asks qemu-bridge-helper, which an administrator may have allowed to.
            Network::Bridged(bridge) => format!("bridge,br={bridge}"),
            // The driver refuses it before it comes here.
            Network::NatNetwork(_) => "user".to_string(),
        };
        Card { mac: nic.mac.to_string(), netdev }
    };
    hardware.nics.iter().enumerate().map(card).collect()
}

/// The file descriptor that the script opens the directory of networks as: QEMU in the background
/// leaves its working directory, and the path of a socket may have 107 bytes.
pub const NETWORKS_HANDLE: u8 = 9;

/// A network's directory in the directory of networks: its name, or a short one for a long one.
pub fn network_directory(name: &str) -> String {
    match name.len() {
        ..=48 => name.to_string(),
        _ => Digest::of(format!("kuth-network-1\n{name}")).short(),
    }
}

/// The file of a card's socket.
pub fn socket_name(mac: Mac) -> String {
    mac.to_string().replace(':', "")
}

/// Which UEFI images there are for an architecture: pairs of code and variables, the likeliest
/// first.
pub fn flash_images(architecture: &str) -> &'static [(&'static str, &'static str)] {
    match architecture {
        "arm64" => &[
            ("/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
            ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
        ],
        _ => &[
            ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
            ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
            ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
            ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
            ("/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"),
        ],
    }
}

/// The same for firmware with Secure Boot, whose variables hold Microsoft's keys.
pub fn secure_flash_images(architecture: &str) -> &'static [(&'static str, &'static str)] {
    match architecture {
        "arm64" => &[("/usr/share/AAVMF/AAVMF_CODE.ms.fd", "/usr/share/AAVMF/AAVMF_VARS.ms.fd")],
        _ => &[
            ("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"),
            ("/usr/share/OVMF/OVMF_CODE.secboot.fd", "/usr/share/OVMF/OVMF_VARS.ms.fd"),
            (
                "/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd",
                "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd",
            ),
        ],
    }
}

/// The package that brings them on Debian.
pub fn flash_package(architecture: &str) -> &'static str {
    if architecture == "arm64" { "qemu-efi-aarch64" } else { "ovmf" }
}

/// Whether the machine needs the UEFI images: an ARM machine has no other firmware.
pub fn needs_flash(architecture: &str, firmware: Firmware) -> bool {
    firmware == Firmware::Uefi || architecture == "arm64"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch() -> Launch {
        Launch {
            architecture: "amd64".into(),
            name: "a".into(),
            accelerator: Accelerator::tcg(),
            cpus: 2,
            memory: 512,
            flash: None,
            drives: Vec::new(),
            cards: Vec::new(),
            oem_strings: Vec::new(),
        }
    }

    #[test]
    fn the_plainest_machine() {
        assert_eq!(
            launch().argv().join(" "),
            "-name kuth-a -machine q35 -accel tcg,thread=multi -cpu max,la57=off -smp 2 -m 512 \
             -display none -device virtio-rng-pci -nic none"
        );
    }

    #[test]
    fn each_part_adds_its_options() {
        type Change = fn(&mut Launch);
        let argv = |change: Change| {
            let mut launch = launch();
            let plain = launch.argv();
            change(&mut launch);
            launch.argv().into_iter().filter(|word| !plain.contains(word)).collect::<Vec<_>>()
        };
        let cases: [(Change, &[&str]); 6] = [
            (|it| it.architecture = "arm64".into(), &["virt"]),
            (|it| it.accelerator = Accelerator::kvm(), &["kvm", "host"]),
            (
                |it| {
                    it.flash =
                        Some(Flash { code: "/c".into(), variables: "/a,b".into(), secure: false })
                },
                &[
                    "-drive",
                    "if=pflash,format=raw,readonly=on,file=/c",
                    "-drive",
                    "if=pflash,format=raw,file=/a,,b",
                ],
            ),
            (
                |it| {
                    let drive = |file: &str, format, durability| Drive {
                        file: file.into(),
                        format,
                        durability,
                    };
                    it.drives = vec![
                        drive("d.qcow2", "qcow2", Durability::Safe),
                        drive("s.iso", "raw", Durability::ReadOnly),
                    ];
                },
                &[
                    "-drive",
                    "if=none,id=disk0,format=qcow2,discard=unmap,detect-zeroes=unmap,file=d.qcow2",
                    "virtio-blk-pci,drive=disk0,bootindex=1",
                    "-drive",
                    "if=none,id=disk1,format=raw,readonly=on,file=s.iso",
                    "virtio-blk-pci,drive=disk1,bootindex=2",
                ],
            ),
            (
                |it| it.cards = vec![Card { mac: "m".into(), netdev: "user,restrict=on".into() }],
                &["-netdev", "user,id=net0,restrict=on", "virtio-net-pci,netdev=net0,mac=m"],
            ),
            (
                |it| it.oem_strings = vec!["one".into(), "a,b".into()],
                &["-smbios", "type=11,path=one", "-smbios", "type=11,path=a,,b"],
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(argv(change), expected);
        }
    }

    #[test]
    fn one_card_is_reached_and_internal_networks_are_sockets() {
        let networks = ["internal:dmz", "host-only", "nat", "nat"].map(|it| it.parse().unwrap());
        let hardware = Hardware {
            architecture: "amd64".into(),
            cpus: 1,
            memory: 512,
            firmware: Firmware::Bios,
            vram: 33,
            disks: vec![],
            nics: Nic::all("a", &networks),
            forwards: vec!["8053:53/udp".parse().unwrap()],
        };
        let here = cards(&hardware, "2222");
        let netdevs: Vec<&str> = here.iter().map(|card| card.netdev.as_str()).collect();
        let own = socket_name(hardware.nics[0].mac);
        assert_eq!(
            netdevs[0],
            format!(
                "dgram,local.type=unix,local.path=/proc/self/fd/9/dmz/{own},\
                 remote.type=unix,remote.path=/proc/self/fd/9/dmz/switch"
            )
        );
        assert!(netdevs[1].ends_with("dhcpstart=192.168.63.100"), "{netdevs:?}");
        let forwards = "hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp:127.0.0.1:8053-:53";
        assert_eq!(netdevs[2], format!("user,{forwards}"));
        assert_eq!(netdevs[3], "user");
    }

    #[test]
    fn the_path_of_a_socket_is_always_short_enough() {
        for name in ["dmz", &"x".repeat(48), &"x".repeat(250)] {
            let directory = network_directory(name);
            assert!(directory.len() <= 48, "{directory}");
            assert!(directory.len() < 20 || directory == name);
        }
        assert_ne!(network_directory(&"x".repeat(60)), network_directory(&"x".repeat(61)));
    }
}
