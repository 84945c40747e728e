//! What a booted machine is expected to be, and the script that asks it. The script travels in
//! the seed, runs once the system has come up, and answers on the console in the lines that
//! `console.rs` reads. Pure: text in, text out.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use crate::process::quote;
use crate::units::Bytes;

use super::console::{DONE, EXPECT};

/// One thing that is to hold inside the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Something is mounted at a path.
    Mount {
        /// The path.
        path: String,
        /// What `findmnt` calls the source.
        source: String,
    },
    /// A logical volume has a size.
    Volume {
        /// Its name, or `group/name`.
        name: String,
        /// As `lvs` says it.
        size: Bytes,
    },
    /// A service runs, and will after the next boot.
    Service {
        /// Its unit.
        unit: String,
    },
    /// At most so many units have failed.
    FailedUnits {
        /// How many.
        most: u64,
    },
    /// cloud-init came to its end without an error.
    CloudInit,
    /// The firmware has checked what it started.
    SecureBoot,
    /// A command succeeds.
    Command {
        /// A line for `sh`.
        run: String,
        /// What its output must contain.
        output: Option<String>,
    },
}

/// The firmware's variable, by the UEFI specification's name and vendor GUID.
const SECURE_BOOT: &str =
    "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

impl Expectation {
    /// What it is about, for a recipe, a report and a message.
    pub fn subject(&self) -> String {
        match self {
            Expectation::Mount { path, .. } => format!("mount {path}"),
            Expectation::Volume { name, .. } => format!("volume {name}"),
            Expectation::Service { unit } => format!("service {unit}"),
            Expectation::FailedUnits { .. } => "failed units".to_string(),
            Expectation::CloudInit => "cloud-init".to_string(),
            Expectation::SecureBoot => "Secure Boot".to_string(),
            Expectation::Command { run, .. } => format!("command {run}"),
        }
    }

    /// What is expected of it.
    pub fn expected(&self) -> String {
        match self {
            Expectation::Mount { source, .. } => source.clone(),
            Expectation::Volume { size, .. } => size.to_string(),
            Expectation::Service { .. } => "active and enabled".to_string(),
            Expectation::FailedUnits { most: 0 } => "none".to_string(),
            Expectation::FailedUnits { most } => format!("at most {most}"),
            Expectation::CloudInit => "status: done".to_string(),
            Expectation::SecureBoot => "enabled".to_string(),
            Expectation::Command { output: None, .. } => "exit status 0".to_string(),
            Expectation::Command { output: Some(output), .. } => {
                format!("`{output}` in its output")
            }
        }
    }

    /// The line for `sh` whose output and status answer it.
    fn question(&self) -> String {
        match self {
            Expectation::Mount { path, .. } => {
                format!("findmnt --noheadings --output SOURCE --mountpoint {}", quote(path))
            }
            Expectation::Volume { name, .. } => {
                let (field, name) = match name.contains('/') {
                    true => ("lv_full_name", name),
                    false => ("lv_name", name),
                };
                format!(
                    "lvs --noheadings --nosuffix --units b --options lv_size --select {}",
                    quote(&format!("{field}={name}"))
                )
            }
            Expectation::Service { unit } => {
                let unit = quote(unit);
                format!("systemctl is-active {unit}; systemctl is-enabled {unit}; true")
            }
            Expectation::FailedUnits { .. } => {
                "systemctl list-units --failed --no-legend --plain | cut -d ' ' -f 1".to_string()
            }
            // Recoverable errors give status 2, which the output says in words.
            Expectation::CloudInit => "cloud-init status --long; true".to_string(),
            // The last byte of the variable, behind four of attributes.
            Expectation::SecureBoot => format!(
                "case $(od -An -t u1 -j 4 -N 1 {SECURE_BOOT}) in *1) echo enabled;; \
                 *) echo disabled;; esac"
            ),
            Expectation::Command { run, .. } => run.clone(),
        }
    }

    /// Whether the answer is as expected; else what was found instead.
    pub fn judge(&self, status: i32, output: &str) -> Result<(), String> {
        let output = output.trim();
        let found = || match (status, output) {
            (0, "") => "nothing".to_string(),
            (0, output) => output.to_string(),
            (status, "") => format!("exit status {status} and no output"),
            (status, output) => format!("exit status {status}: {output}"),
        };
        let holds = match self {
            Expectation::Mount { source, .. } => status == 0 && output == source,
            Expectation::Volume { size, .. } => {
                return match output.parse() {
                    Ok(bytes) if bytes == size.0 => Ok(()),
                    Ok(bytes) => Err(Bytes(bytes).to_string()),
                    Err(_) => Err(found()),
                };
            }
            Expectation::Service { .. } => {
                let mut lines = output.lines();
                let active = lines.next() == Some("active");
                // What another unit or a generator starts cannot be enabled itself.
                let enabled =
                    ["enabled", "enabled-runtime", "static", "alias", "indirect", "generated"];
                active && lines.next().is_some_and(|line| enabled.contains(&line))
            }
            Expectation::FailedUnits { most } => {
                status == 0 && output.lines().count() as u64 <= *most
            }
            Expectation::CloudInit => {
                output.lines().any(|line| line.trim() == "status: done")
                    && !output.lines().any(|line| line.trim() == "extended_status: degraded done")
            }
            Expectation::SecureBoot => output == "enabled",
            Expectation::Command { output: wanted, .. } => {
                status == 0 && wanted.as_ref().is_none_or(|wanted| output.contains(wanted))
            }
        };
        if holds { Ok(()) } else { Err(found()) }
    }

    /// Its line in the report, of what was answered to it.
    pub fn report(&self, status: i32, output: &str) -> Value {
        let holds = self.judge(status, output).is_ok();
        json!({ "what": self.subject(), "expected": self.expected(), "holds": holds })
    }
}

/// The script that asks for `expectations` and then powers off. It waits for the system to come
/// up for at most `limit`.
pub fn script(expectations: &[Expectation], limit: Duration) -> String {
    let mut asks = String::new();
    for (number, expectation) in expectations.iter().enumerate() {
        asks += &format!("ask {number} {}\n", quote(&expectation.question()));
    }
    // /dev/console and not the serial line itself: when a login is started there, the line is
    // hung up and what others write is lost. Only where the kernel has no console on it, the
    // line is all there is. Each answer comes twice, as the kernel may write into one.
    format!(
        "#!/bin/sh
# Asks what a boot check expects. Written by kuth.
export LC_ALL=C.UTF-8 TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
dmesg -n 1
kill -s RTMIN+21 1
outs=/dev/console
for line in ttyS0 ttyAMA0; do
    if [ -c /dev/$line ] && ! grep -qw $line /sys/class/tty/console/active; then
        outs=\"$outs /dev/$line\"
    fi
done
say() {{
    for out in $outs; do
        printf '\\n%s\\n' \"$1\" >$out
        printf '\\n%s\\n' \"$1\" >$out
    done
}}
ask() {{
    timeout 60 sh -c \"$2\" >/run/kuth-answer 2>&1 </dev/null
    status=$?
    text=$(head -c 1500 /run/kuth-answer | base64 -w 0)
    say \"{EXPECT} $1 $status ${{#text}} $text .\"
}}
timeout {limit} systemctl is-system-running --wait >/dev/null 2>&1
command -v cloud-init >/dev/null && timeout {limit} cloud-init status --wait >/dev/null 2>&1
{asks}say {DONE}
systemctl poweroff
",
        limit = limit.as_secs(),
    )
}

/// The user-data that brings the script and starts it beside cloud-init, for which it waits.
pub fn user_data(script: &str) -> String {
    format!(
        "#cloud-config
write_files:
  - path: /run/kuth-probe
    permissions: \"0755\"
    encoding: b64
    content: {}
runcmd:
  - [systemd-run, --no-block, --collect, --unit=kuth-probe, /bin/sh, /run/kuth-probe]
",
        BASE64_STANDARD.encode(script.as_bytes())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::check;

    fn all() -> Vec<Expectation> {
        vec![
            Expectation::Mount { path: "/usr".into(), source: "/dev/mapper/vg0-usr".into() },
            Expectation::Volume { name: "root".into(), size: Bytes::gib(2) },
            Expectation::Service { unit: "ssh".into() },
            Expectation::FailedUnits { most: 0 },
            Expectation::CloudInit,
            Expectation::Command { run: "echo 'it''s'".into(), output: Some("its".into()) },
        ]
    }

    #[test]
    fn answers_are_judged() {
        let all = all();
        for (index, status, output, verdict) in [
            (0, 0, "/dev/mapper/vg0-usr\n", Ok(())),
            (0, 1, "", Err("exit status 1 and no output")),
            (0, 0, "/dev/vda3", Err("/dev/vda3")),
            (1, 0, "  2147483648\n", Ok(())),
            (1, 0, "  1073741824\n", Err("1 GiB")),
            (1, 0, "", Err("nothing")),
            (1, 127, "lvs: not found", Err("exit status 127: lvs: not found")),
            (2, 0, "active\nenabled\n", Ok(())),
            (2, 0, "active\ndisabled\n", Err("active\ndisabled")),
            (2, 0, "inactive\nenabled\n", Err("inactive\nenabled")),
            (3, 0, "", Ok(())),
            (3, 0, "a.service\n", Err("a.service")),
            (4, 0, "status: done\nextended_status: done\n", Ok(())),
            (4, 0, "status: error\n", Err("status: error")),
            (5, 0, "its\n", Ok(())),
            (5, 0, "other\n", Err("other")),
            (5, 1, "its\n", Err("exit status 1: its")),
        ] {
            let found = all[index].judge(status, output);
            assert_eq!(found, verdict.map_err(str::to_string), "{:?} {output:?}", all[index]);
            let report = all[index].report(status, output);
            assert_eq!(report["holds"], verdict.is_ok(), "{report}");
        }
        assert_eq!(Expectation::FailedUnits { most: 1 }.judge(0, "a\n"), Ok(()));
    }

    /// Runs the script here with stand-ins for what only a guest has.
    #[test]
    fn the_script_answers_in_lines_the_console_understands() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("probe");
        let command = |run: &str| Expectation::Command { run: run.into(), output: None };
        let script = script(&[command("echo one"), command("exit 3")], Duration::from_secs(1));
        let script = script
            .replace("/dev/console", "/dev/stdout")
            .replace("ttyS0 ttyAMA0", "none")
            .replace("/run/kuth-answer", &directory.path().join("answer").display().to_string())
            .replace("\nkill", "\n: kill")
            .replace("dmesg", ": dmesg")
            .replace("systemctl", ": systemctl")
            .replace("command -v cloud-init", "false");
        std::fs::write(&path, script).unwrap();
        let run = crate::process::Command::new("sh").arg(&path);
        let cancel = crate::cancel::Cancel::default();
        let output = run.run(&directory.path().join("log"), &cancel).unwrap();
        let events = crate::boot_check::console::Parser::default().feed(&output);
        use crate::boot_check::console::Event::{Done, Result};
        let one = Result { number: 0, status: 0, output: "one\n".into() };
        let two = Result { number: 1, status: 3, output: String::new() };
        assert_eq!(events, [one.clone(), one, two.clone(), two, Done, Done]);
    }

    #[test]
    fn the_seed_is_sound() {
        let script = script(&all(), Duration::from_secs(300));
        assert_eq!(check::user_data(&user_data(&script)), []);
        assert!(script.contains("ask 5 'echo '\\''it'\\'''\\''s'\\'''\n"), "{script}");
    }
}
