//! The `run` script of a machine: a ready command line that needs nothing but qemu-system. A
//! person can start it by hand; `kuth machine start` runs the same script in the background.
//! Text alone; what depends on the host (KVM, the place of UEFI images, a free port) is found out
//! by the script when it runs, so that making a machine asks nothing of this host.

use crate::hardware::nic::reached;
use crate::hardware::{Hardware, Network, Nic};
use crate::process::quote;
use crate::qemu::argv::{
    Accelerator, Drive, Durability, Flash, Launch, NETWORKS_HANDLE, cards, flash_images,
    flash_package, needs_flash, network_directory, program,
};
use crate::qemu::switch::SUBCOMMAND;

use super::directory::NETWORKS;

/// What the script's own variables stand for in the arguments.
const VARIABLES: [(&str, &str); 5] = [
    ("@ACCEL@", "\"$accel\""),
    ("@CPU@", "\"$cpu\""),
    ("@PORT@", "\"$port\""),
    ("@CODE@", "\"$code\""),
    ("@VARIABLES@", "variables.fd"),
];

/// What the script starts.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a> {
    /// The machine's name.
    pub name: &'a str,
    /// What it is made of.
    pub hardware: &'a Hardware,
    /// The port of 127.0.0.1 that leads to its SSH server unless another is asked for.
    pub port: u16,
    /// Its disks, the seed last, relative to its directory.
    pub drives: &'a [(String, &'static str, Durability)],
}

impl Script<'_> {
    /// The whole text.
    pub fn text(&self) -> String {
        let hardware = self.hardware;
        let flash = needs_flash(&hardware.architecture, hardware.firmware).then(|| Flash {
            code: "@CODE@".into(),
            variables: "@VARIABLES@".into(),
            secure: false,
        });
        let drive = |(file, format, durability): &(String, &'static str, Durability)| Drive {
            file: file.clone(),
            format,
            durability: *durability,
        };
        let launch = Launch {
            architecture: hardware.architecture.clone(),
            name: self.name.to_string(),
            accelerator: Accelerator { accel: "@ACCEL@".into(), cpu: "@CPU@".into() },
            cpus: hardware.cpus,
            memory: hardware.memory,
            flash: flash.clone(),
            drives: self.drives.iter().map(drive).collect(),
            cards: cards(hardware, "@PORT@"),
            oem_strings: Vec::new(),
        };
        let firmware = flash.map(|_| find_flash(&hardware.architecture)).unwrap_or_default();
        let words: Vec<String> = launch.argv().iter().map(|word| shell_word(word)).collect();
        let lines: Vec<String> = words.chunks(2).map(|pair| pair.join(" ")).collect();
        let Accelerator { accel, cpu } = Accelerator::tcg();
        let Accelerator { accel: kvm, cpu: host } = Accelerator::kvm();
        format!(
            "#!/bin/sh
# Starts {name}; its console is this terminal (Ctrl-A X ends it). Written by kuth.
# `kuth machine start {name}` does the same in the background.
set -eu
cd \"$(dirname \"$0\")\"

accel={accel} cpu={cpu}
if [ -r /dev/kvm ] && [ -w /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo; then
    accel={kvm} cpu={host}
fi
port=${{KUTH_SSH_PORT:-{port}}}
{firmware}{networks}
# From here on the machine holds state, and kuth does not replace it unasked.
: >started

if [ \"${{KUTH_BACKGROUND:-}}\" = 1 ]; then
    set -- -daemonize -serial chardev:console \\
        -chardev socket,id=console,path=console.sock,server=on,wait=off,logfile=console.log \\
        \"$@\"
else
    set -- -serial chardev:console -mon chardev=console,mode=readline \\
        -chardev stdio,id=console,mux=on,signal=off,logfile=console.log \"$@\"
fi

exec {program} \\
    {arguments} \\
    -monitor none -pidfile qemu.pid -qmp unix:qmp.sock,server=on,wait=off \"$@\"
",
            name = self.name,
            port = self.port,
            networks = start_networks(hardware),
            program = program(&hardware.architecture),
            arguments = lines.join(" \\\n    "),
        )
    }
}

/// The lines that look for UEFI images and give the machine its own variables.
fn find_flash(architecture: &str) -> String {
    let mut text = String::from("code= template=\n");
    for (code, variables) in flash_images(architecture) {
        text += &format!(
            "if [ -z \"$code\" ] && [ -e {code} ] && [ -e {variables} ]; then\n    \
             code={code} template={variables}\nfi\n"
        );
    }
    let package = flash_package(architecture);
    text += &format!(
        "if [ -z \"$code\" ]; then\n    echo \"{package}: no UEFI firmware for QEMU here; \
         install the package {package}\" >&2\n    exit 1\nfi\n\
         [ -e variables.fd ] || cp \"$template\" variables.fd\n"
    );
    text
}

/// The lines that open the directory of internal networks and see to their switches.
fn start_networks(hardware: &Hardware) -> String {
    let name = |nic: &Nic| match &nic.network {
        Network::Internal(name) => Some(quote(&network_directory(name))),
        _ => None,
    };
    let mut names: Vec<String> = hardware.nics.iter().filter_map(name).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return String::new();
    }
    format!(
        "
# Internal networks: a socket in the directory of each, and one switch a network, which is kuth.
kuth=${{KUTH:-kuth}}
command -v \"$kuth\" >/dev/null ||
    echo \"no kuth in PATH: internal networks lead nowhere until it starts a machine on them\" >&2
for network in {names}; do
    mkdir -p ../{NETWORKS} && mkdir -p -m 700 \"../{NETWORKS}/$network\"
    setsid --fork \"$kuth\" {SUBCOMMAND} \"../{NETWORKS}/$network\" \\
        </dev/null >/dev/null 2>\"../{NETWORKS}/$network/log\"
done
[ \"${{KUTH_NETWORKS_ALONE:-}}\" != 1 ] || exit 0
exec {NETWORKS_HANDLE}<../{NETWORKS}
",
        names = names.join(" "),
    )
}

/// One word for the shell, with the script's variables outside of its quotes.
fn shell_word(word: &str) -> String {
    let found = VARIABLES.iter().filter_map(|(name, value)| Some((word.find(name)?, name, value)));
    match found.min() {
        Some((at, name, value)) => {
            let (before, after) = (&word[..at], &word[at + name.len()..]);
            let part = |text: &str| if text.is_empty() { String::new() } else { shell_word(text) };
            format!("{}{value}{}", part(before), part(after))
        }
        None => quote(word),
    }
}

/// Whether the machine has a card on an internal network.
pub fn is_internal(hardware: &Hardware) -> bool {
    hardware.nics.iter().any(|nic| matches!(nic.network, Network::Internal(_)))
}

/// Whether the machine has a card that the host reaches it through.
pub fn is_reached(hardware: &Hardware) -> bool {
    reached(&hardware.nics).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Firmware;

    fn text(firmware: Firmware) -> String {
        let networks = ["nat", "internal:dmz"].map(|network| network.parse().unwrap());
        let hardware = Hardware {
            architecture: "amd64".into(),
            cpus: 1,
            memory: 512,
            firmware,
            vram: 33,
            disks: vec![],
            nics: Nic::all("gate-node01", &networks),
            forwards: vec!["8080:80".parse().unwrap()],
        };
        let drives = [
            ("disk.qcow2".to_string(), "qcow2", Durability::Safe),
            ("it's.iso".to_string(), "raw", Durability::ReadOnly),
        ];
        let script =
            Script { name: "gate-node01", hardware: &hardware, port: 22222, drives: &drives };
        script.text()
    }

    #[test]
    fn variables_stand_outside_quotes() {
        for (word, expected) in [
            ("plain", "plain"),
            ("@ACCEL@", "\"$accel\""),
            ("user,hostfwd=tcp:127.0.0.1:@PORT@-:22", "user,hostfwd=tcp:127.0.0.1:\"$port\"-:22"),
            ("a b@PORT@c d", "'a b'\"$port\"'c d'"),
        ] {
            assert_eq!(shell_word(word), expected);
        }
    }

    #[test]
    fn the_script_is_sound_shell_and_says_what_it_starts() {
        for firmware in [Firmware::Bios, Firmware::Uefi] {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("run");
            std::fs::write(&file, text(firmware)).unwrap();
            let log = directory.path().join("log");
            let check = crate::process::Command::new("sh").arg("-n").arg(&file);
            check.run(&log, &crate::cancel::Cancel::default()).unwrap();
        }
        let bios = text(Firmware::Bios);
        assert!(bios.contains("port=${KUTH_SSH_PORT:-22222}"));
        assert!(bios.contains("    -netdev user,id=net0,hostfwd=tcp:127.0.0.1:\"$port\"-:22,hostfwd=tcp:127.0.0.1:8080-:80 \\\n"));
        assert!(bios.contains("file=it'\\''s.iso'"), "{bios}");
        assert!(!bios.contains("OVMF"));
        assert!(bios.contains("for network in dmz; do\n"), "{bios}");
        assert!(bios.contains("\nexec 9<../.networks\n"), "{bios}");
        assert!(text(Firmware::Uefi).contains("install the package ovmf"));
    }
}
