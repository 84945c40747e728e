//! The real QEMU, run and watched as with an installer: what it starts is a kernel of a few bytes
//! that writes to the serial line what an installer writes. `watched` has the same with scripts.

use std::path::Path;
use std::time::Duration;

use kuth::cancel::Cancel;

use crate::watched::World;
use kuth_test_support::judge::is_there;

/// Where the kernel is loaded.
const LOAD: u32 = 1 << 20;

/// What the kernel does at its end.
#[derive(Clone, Copy)]
enum End {
    /// Powers the machine off, by what SeaBIOS sets up as the register of ACPI.
    PowerOff,
    /// Nothing, for ever.
    Halt,
}

/// A kernel as the Multiboot specification has it (version 0.6.96, with the addresses in the
/// header), that writes `text` to COM1.
fn kernel(text: &str, end: End) -> Vec<u8> {
    let end: &[u8] = match end {
        // mov dx, 0x604; mov ax, 0x2000; out dx, ax
        End::PowerOff => &[0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef],
        End::Halt => &[],
    };
    #[rustfmt::skip]
    let write = [
        0x66, 0xba, 0xfd, 0x03, // mov dx, 0x3fd: the state of the line
        0xec,                   // in al, dx
        0xa8, 0x20,             // test al, 0x20: is there room?
        0x74, 0xfb,             // jz, to `in`
        0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xac,                   // lodsb
        0xee,                   // out dx, al
        0xe2, 0xef,             // loop, to the first line
    ];
    // cli; hlt; jmp, to `hlt`
    let halt = [0xfa, 0xf4, 0xeb, 0xfd];
    let (header, setup) = (32, 10);
    let code = header + setup + write.len() + end.len() + halt.len();
    let (at, length) = (LOAD + code as u32, text.len() as u32);
    let all = LOAD + (code + text.len()) as u32;
    let (magic, flags) = (0x1bad_b002_u32, 1_u32 << 16);
    let checksum = 0_u32.wrapping_sub(magic).wrapping_sub(flags);
    let entry = LOAD + header as u32;
    let mut bytes: Vec<u8> =
        [magic, flags, checksum, LOAD, LOAD, all, all, entry].map(u32::to_le_bytes).concat();
    // mov esi, at; mov ecx, length
    bytes.extend([&[0xbe][..], &at.to_le_bytes(), &[0xb9], &length.to_le_bytes()].concat());
    bytes.extend([&write[..], end, &halt].concat());
    assert_eq!(bytes.len(), code);
    bytes.extend(text.as_bytes());
    bytes
}

/// Whether a process has a file of the world in its arguments.
fn is_running(world: &World) -> bool {
    let directory = world.at("").display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let arguments =
        processes.map(|it| std::fs::read(it.path().join("cmdline")).unwrap_or_default());
    arguments.into_iter().any(|it| String::from_utf8_lossy(&it).contains(&directory))
}

const LIMIT: Duration = Duration::from_secs(600);

#[test]
fn an_installation_ends_well() {
    if !is_there("qemu-system-x86_64") {
        return;
    }
    let text = "Installing the base system  ... 0%... 50%\nFinishing  ... 10%\nKUTH-INSTALLED\n";
    let world = World::real(&kernel(text, End::PowerOff));
    let (result, _) = world.run(&Cancel::default(), LIMIT);
    assert_eq!(result.unwrap(), ["Installing the base system", "Finishing"]);
    assert!(std::fs::read_to_string(world.at("install.console")).unwrap().ends_with(text));
}

#[test]
fn an_installation_that_goes_wrong_is_ended_and_so_is_qemu() {
    if !is_there("qemu-system-x86_64") {
        return;
    }
    for (text, end, expected) in [
        (
            "Formatting  ... 3%\n",
            End::PowerOff,
            "the machine powered off before the installer was done (at \"Formatting\")",
        ),
        (
            "Configuring the network with DHCP  ... 3%\nName server:\nPrompt: '?' for help> ",
            End::Halt,
            "the installer asks something (at \"Configuring the network with DHCP\")",
        ),
        (
            "[ 1.0] Kernel panic - not syncing: x\n",
            End::Halt,
            "the installer does not come up: [ 1.0] Kernel panic - not syncing: x",
        ),
    ] {
        let world = World::real(&kernel(text, end));
        let failure = world.failure();
        assert!(failure.starts_with(expected), "{expected}\nis not\n{failure}");
        assert!(!is_running(&world), "{expected}: QEMU still runs");
    }
}

#[test]
fn an_interruption_ends_qemu() {
    if !is_there("qemu-system-x86_64") {
        return;
    }
    let world = World::real(&kernel("Formatting  ... 3%\n", End::Halt));
    let (cancel, console) = (Cancel::default(), world.at("install.console"));
    let result = std::thread::scope(|scope| {
        let run = scope.spawn(|| world.run(&cancel, LIMIT).0);
        // The kernel runs once it has written.
        let has_said = |path: &Path| std::fs::metadata(path).is_ok_and(|it| it.len() > 0);
        while !has_said(&console) && !run.is_finished() {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(run.is_finished() || is_running(&world));
        cancel.cancel();
        run.join().unwrap()
    });
    assert_eq!(result.unwrap_err().to_string(), "interrupted");
    assert!(!is_running(&world), "QEMU still runs");
}
