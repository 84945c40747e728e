//! What VBoxManage's options are called: versions 7 and later renamed most of `modifyvm`'s. One
//! table, so that a version is one column, and the arguments that make a machine what it is to be.
//!
//! Source: "VBoxManage modifyvm" of the user manuals of VirtualBox 6.1, 7.0 and 7.2.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::hardware::nic::reached;
use crate::hardware::{Firmware, Hardware, Mac, Network};

/// A version of VirtualBox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub [u32; 3]);

impl Version {
    /// The oldest that kuth works with.
    pub const OLDEST: Version = Version([6, 1, 0]);

    /// Reads the answer of `--version`, which may stand below warnings of a wrapper.
    pub fn of_answer(text: &str) -> Option<Version> {
        let last = text.lines().rev().find(|line| !line.trim().is_empty())?;
        last.trim().parse().ok()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0[0], self.0[1])
    }
}

/// Reads `7.2.22r175245` and what distributors make of it, as `6.1.50_Ubuntur161033`.
impl FromStr for Version {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Version, Self::Err> {
        let mut parts = text.splitn(3, '.');
        let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let last = parts.next().unwrap_or_default();
        let digits = last.find(|c: char| !c.is_ascii_digit()).unwrap_or(last.len());
        Ok(Version([major.parse()?, minor.parse()?, last[..digits].parse()?]))
    }
}

/// The names of options that versions differ in; `#` stands for a card's or port's number.
#[derive(Clone, Copy, Debug)]
struct Names {
    bridge_adapter: &'static str,
    cable_connected: &'static str,
    cpu_hotplug: &'static str,
    host_only_adapter: &'static str,
    mac_address: &'static str,
    nic_type: &'static str,
    no_audio: [&'static str; 2],
    rtc_use_utc: &'static str,
    uart_mode: &'static str,
}

const SIX: Names = Names {
    bridge_adapter: "--bridgeadapter#",
    cable_connected: "--cableconnected#",
    cpu_hotplug: "--cpuhotplug",
    host_only_adapter: "--hostonlyadapter#",
    mac_address: "--macaddress#",
    nic_type: "--nictype#",
    no_audio: ["--audio", "none"],
    rtc_use_utc: "--rtcuseutc",
    uart_mode: "--uartmode#",
};

const SEVEN: Names = Names {
    bridge_adapter: "--bridge-adapter#",
    cable_connected: "--cable-connected#",
    cpu_hotplug: "--cpu-hotplug",
    host_only_adapter: "--host-only-adapter#",
    mac_address: "--mac-address#",
    nic_type: "--nic-type#",
    no_audio: ["--audio-enabled", "off"],
    rtc_use_utc: "--rtc-use-utc",
    uart_mode: "--uart-mode#",
};

fn names(version: Version) -> &'static Names {
    if version >= Version([7, 0, 0]) { &SEVEN } else { &SIX }
}

/// The most network cards a machine can have with the chipset kuth leaves it.
pub const MOST_NICS: usize = 8;

/// The name of the rule that leads to a machine's SSH server.
pub const SSH_RULE: &str = "ssh";

/// What `modifyvm` is to make of a machine.
#[derive(Clone, Copy, Debug)]
pub struct Modification<'a> {
    /// What it is to be.
    pub hardware: &'a Hardware,
    /// How many cards it has been given before, which have to go; with their forwarded ports.
    pub forwards: &'a [(usize, String)],
    /// The file its serial console goes to.
    pub console: &'a Path,
    /// The port of this host that leads to its SSH server.
    pub ssh_port: u16,
    /// The host-only adapter for cards that name none.
    pub host_only: &'a str,
    /// Words for people, in its settings.
    pub description: &'a str,
}

impl Modification<'_> {
    /// The arguments after `modifyvm MACHINE`.
    pub fn arguments(&self, version: Version) -> Vec<String> {
        let (names, hardware) = (names(version), self.hardware);
        let mut words = Vec::new();
        let mut put = |option: &str, number: usize, values: &[&str]| {
            words.push(option.replace('#', &number.to_string()));
            words.extend(values.iter().map(|value| value.to_string()));
        };
        put("--description", 0, &[self.description]);
        put("--cpus", 0, &[&hardware.cpus.to_string()]);
        put(names.cpu_hotplug, 0, &["off"]);
        put("--memory", 0, &[&hardware.memory.to_string()]);
        put("--vram", 0, &[&hardware.vram.to_string()]);
        put("--firmware", 0, &[firmware(hardware.firmware)]);
        put("--ioapic", 0, &["on"]);
        put(names.rtc_use_utc, 0, &["on"]);
        put("--graphicscontroller", 0, &["vmsvga"]);
        put(names.no_audio[0], 0, &names.no_audio[1..]);
        for (boot, device) in ["disk", "dvd", "none", "none"].iter().enumerate() {
            put("--boot#", boot + 1, &[device]);
        }
        put("--uart#", 1, &["0x3F8", "4"]);
        put(names.uart_mode, 1, &["file", &self.console.to_string_lossy()]);
        // Names of rules are the machine's, not the card's; the old ones go first.
        for (card, rule) in self.forwards {
            put("--natpf#", *card, &["delete", rule]);
        }
        for index in 0..MOST_NICS {
            let number = index + 1;
            let Some(nic) = hardware.nics.get(index) else {
                put("--nic#", number, &["none"]);
                continue;
            };
            let (option, name) = match &nic.network {
                Network::Nat => ("", ""),
                Network::Internal(name) => ("--intnet#", name.as_str()),
                Network::NatNetwork(name) => ("--nat-network#", name.as_str()),
                Network::Bridged(adapter) => (names.bridge_adapter, adapter.as_str()),
                Network::HostOnly(adapter) => {
                    (names.host_only_adapter, adapter.as_deref().unwrap_or(self.host_only))
                }
            };
            put("--nic#", number, &[kind(&nic.network)]);
            if !option.is_empty() {
                put(option, number, &[name]);
            }
            put(names.nic_type, number, &["virtio"]);
            put(names.mac_address, number, &[&plain(nic.mac)]);
            put(names.cable_connected, number, &["on"]);
        }
        if let Some(index) = reached(&hardware.nics)
            && hardware.nics[index].network == Network::Nat
        {
            for rule in self.rules() {
                put("--natpf#", index + 1, &[&rule]);
            }
        }
        words
    }

    /// The forwarded ports, as VirtualBox writes and shows them.
    pub fn rules(&self) -> Vec<String> {
        let mut rules = vec![format!("{SSH_RULE},tcp,127.0.0.1,{},,22", self.ssh_port)];
        rules.extend(self.hardware.forwards.iter().map(|it| {
            let protocol = if it.udp { "udp" } else { "tcp" };
            format!("{protocol}{},{protocol},127.0.0.1,{},,{}", it.host, it.host, it.guest)
        }));
        rules
    }
}

/// The word for what a card is plugged into, in `modifyvm` and in `showvminfo`.
pub fn kind(network: &Network) -> &'static str {
    match network {
        Network::Nat => "nat",
        Network::Internal(_) => "intnet",
        Network::NatNetwork(_) => "natnetwork",
        Network::Bridged(_) => "bridged",
        Network::HostOnly(_) => "hostonly",
    }
}

/// As `modifyvm --firmware` has it; `showvminfo` shows it in capitals.
pub fn firmware(firmware: Firmware) -> &'static str {
    match firmware {
        Firmware::Bios => "bios",
        Firmware::Uefi => "efi",
    }
}

/// `525400DE1621`.
pub fn plain(mac: Mac) -> String {
    mac.to_string().replace(':', "").to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Nic;

    #[test]
    fn versions_are_read_whoever_built_them() {
        for (text, version) in [
            ("7.2.22_Debianr175245", Version([7, 2, 22])),
            ("6.1.50r161033", Version([6, 1, 50])),
            ("7.0.20_Ubuntur163906", Version([7, 0, 20])),
        ] {
            assert_eq!(text.parse(), Ok(version), "{text}");
        }
        let warned = "WARNING: The character device /dev/vboxdrv does not exist.\n\n7.2.22r1\n";
        assert_eq!(Version::of_answer(warned), Some(Version([7, 2, 22])));
        let debians = Version::of_answer("7.0.20_Debianr163906\n");
        assert_eq!(debians, Some(Version([7, 0, 20])));
        assert_eq!(Version::of_answer("6.1.26r145957"), Some(Version([6, 1, 26])));
        assert_eq!(Version::of_answer("sh: VBoxManage: not found"), None);
        assert!("Qt WARNING".parse::<Version>().is_err());
        assert!(Version([5, 2, 0]) < Version::OLDEST);
    }

    #[test]
    fn the_same_machine_in_the_words_of_each_version() {
        let networks = ["nat", "internal:dmz", "host-only"].map(|it| it.parse().unwrap());
        let hardware = Hardware {
            architecture: "amd64".into(),
            cpus: 2,
            memory: 512,
            firmware: Firmware::Uefi,
            vram: 33,
            disks: vec![],
            nics: Nic::all("a", &networks),
            forwards: vec!["8053:53/udp".parse().unwrap()],
        };
        let modification = Modification {
            hardware: &hardware,
            forwards: &[(1, "old".into())],
            console: Path::new("/m/a/console.log"),
            ssh_port: 2222,
            host_only: "vboxnet0",
            description: "made by kuth",
        };
        let (six, seven) = (
            modification.arguments(Version([6, 1, 50])),
            modification.arguments(Version([7, 2, 22])),
        );
        assert_eq!(six.len(), seven.len());
        let text = seven.join(" ");
        for part in [
            "--cpus 2 --cpu-hotplug off --memory 512 --vram 33 --firmware efi",
            "--uart1 0x3F8 4 --uart-mode1 file /m/a/console.log",
            "--natpf1 delete old --nic1 nat --nic-type1 virtio --mac-address1 5254",
            "--nic2 intnet --intnet2 dmz --nic-type2",
            "--nic3 hostonly --host-only-adapter3 vboxnet0",
            "--nic4 none",
            "--natpf1 ssh,tcp,127.0.0.1,2222,,22 --natpf1 udp8053,udp,127.0.0.1,8053,,53",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let differ: Vec<(&str, &str)> = six
            .iter()
            .zip(&seven)
            .filter(|(a, b)| a != b)
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .filter(|(old, _)| !old.ends_with(['2', '3']))
            .collect();
        assert_eq!(
            differ,
            [
                ("--cpuhotplug", "--cpu-hotplug"),
                ("--rtcuseutc", "--rtc-use-utc"),
                ("--audio", "--audio-enabled"),
                ("none", "off"),
                ("--uartmode1", "--uart-mode1"),
                ("--nictype1", "--nic-type1"),
                ("--macaddress1", "--mac-address1"),
                ("--cableconnected1", "--cable-connected1"),
            ]
        );
    }
}
