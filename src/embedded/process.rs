//! The process that runs a machine. The pid file alone proves nothing (a crash leaves it, and the
//! number comes back), so the process has to be a QEMU with this machine's name.

use std::path::Path;

/// The process that runs the machine `name` in `place`.
pub fn pid(place: &Path, name: &str) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(place.join("qemu.pid")).ok()?.trim().parse().ok()?;
    let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    is_machine(&cmdline, name).then_some(pid)
}

/// Whether a process's arguments, each ended by a zero byte, are QEMU's for this machine.
fn is_machine(cmdline: &[u8], name: &str) -> bool {
    let mut words = cmdline.split(|byte| *byte == 0);
    let qemu =
        words.next().is_some_and(|program| String::from_utf8_lossy(program).contains("qemu"));
    let wanted = format!("kuth-{name}");
    qemu && words.any(|word| word == wanted.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_counts_only_with_the_machines_name() {
        for (cmdline, is) in [
            (&b"qemu-system-x86_64\0-name\0kuth-a\0"[..], true),
            (b"/usr/bin/qemu-system-x86_64\0-name\0kuth-a\0", true),
            (b"qemu-system-x86_64\0-name\0kuth-ab\0", false),
            (b"sh\0kuth-a\0", false),
            (b"", false),
        ] {
            assert_eq!(is_machine(cmdline, "a"), is, "{}", String::from_utf8_lossy(cmdline));
        }
    }

    #[test]
    fn a_stale_pid_file_is_no_machine() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(pid(directory.path(), "a"), None);
        std::fs::write(directory.path().join("qemu.pid"), std::process::id().to_string()).unwrap();
        assert_eq!(pid(directory.path(), "a"), None);
    }
}
