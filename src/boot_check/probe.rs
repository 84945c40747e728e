//! What a booted machine is expected to be, and the script that asks it. The script travels in
//! the seed or in credentials, runs once the system has come up, and answers on the console in the
//! lines that `console.rs` reads. Pure: text in, text out.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use crate::process::quote;
use crate::units::Bytes;

use super::console::{DONE, EXPECT};
use super::goss::Goss;
use super::pytest::{ADDRESS, SSH};

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
    /// A package is installed.
    Package {
        /// Its name.
        name: String,
        /// A pattern for its version, in which `*` stands for anything; none: any version.
        version: Option<String>,
    },
    /// Something listens at a port, on any address.
    Port {
        /// Its number.
        number: u16,
        /// TCP or UDP.
        protocol: Protocol,
    },
    /// A file, or a directory or another thing, exists.
    File {
        /// Its path.
        path: String,
    },
    /// The journal of this boot has no message of priority `err` or worse about a unit.
    Journal {
        /// The unit.
        unit: String,
    },
    /// Kernel and user space have come up in a time, firmware and boot loader left out.
    BootTime {
        /// The longest.
        most: Duration,
    },
    /// A command succeeds.
    Command {
        /// A line for `sh`.
        run: String,
        /// What its output must contain.
        output: Option<String>,
    },
}

/// What a port is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The word behind a port's number.
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }

    /// The state of a socket that waits for whoever comes, as /proc/net has it: TCP_LISTEN, and for
    /// UDP TCP_CLOSE, which is one without a peer.
    fn waiting(self) -> &'static str {
        match self {
            Protocol::Tcp => "0A",
            Protocol::Udp => "07",
        }
    }
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
            Expectation::Package { name, .. } => format!("package {name}"),
            Expectation::Port { number, protocol } => format!("port {number}/{}", protocol.word()),
            Expectation::File { path } => format!("file {path}"),
            Expectation::Journal { unit } => format!("journal of {unit}"),
            Expectation::BootTime { .. } => "boot time".to_string(),
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
            Expectation::Package { version: None, .. } => "installed".to_string(),
            Expectation::Package { version: Some(version), .. } => format!("version {version}"),
            Expectation::Port { .. } => LISTENS.to_string(),
            Expectation::File { .. } => EXISTS.to_string(),
            Expectation::Journal { .. } => "no errors".to_string(),
            Expectation::BootTime { most } => format!("at most {} s", most.as_secs()),
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
            // Of several architectures there are several lines.
            Expectation::Package { name, .. } => format!(
                "dpkg-query --show --showformat '${{db:Status-Status}} ${{Version}}\\n' {}",
                quote(name)
            ),
            // No program that lists sockets has to be in the image.
            Expectation::Port { number, protocol } => {
                let (word, state) = (protocol.word(), protocol.waiting());
                format!(
                    "if grep -qsE '^ *[0-9]+: [0-9A-F]+:{number:04X} [0-9A-F]+:[0-9A-F]+ {state} ' \
                     /proc/net/{word} /proc/net/{word}6; \
                     then echo {LISTENS}; else echo nothing {LISTENS}; fi"
                )
            }
            Expectation::File { path } => {
                let path = quote(path);
                format!("if [ -e {path} ]; then echo {EXISTS}; else echo does not exist; fi")
            }
            // Of a unit that does not exist there are no messages either.
            Expectation::Journal { unit } => {
                let unit = quote(unit);
                format!(
                    "state=$(systemctl show --property=LoadState --value {unit})\n\
                     [ \"$state\" = loaded ] || echo \"the unit is $state\"\n\
                     journalctl --quiet --no-pager --boot --priority=err --lines=20 --output=cat \
                     --unit={unit}"
                )
            }
            // Microseconds since the kernel began; 0 until all is up.
            Expectation::BootTime { .. } => {
                "systemctl show --property=FinishTimestampMonotonic --value".to_string()
            }
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
            Expectation::Package { version, .. } => {
                let installed = output.lines().filter_map(|line| line.strip_prefix("installed "));
                let is_wanted = |found: &str| version.as_ref().is_none_or(|it| matches(it, found));
                status == 0 && installed.into_iter().any(is_wanted)
            }
            Expectation::Port { .. } => output == LISTENS,
            Expectation::File { .. } => output == EXISTS,
            Expectation::Journal { .. } => status == 0 && output.is_empty(),
            Expectation::BootTime { most } => {
                return match output.parse() {
                    Ok(0) => Err("it is not up yet".to_string()),
                    Ok(time) if Duration::from_micros(time) <= *most => Ok(()),
                    Ok(time) => Err(format!("{:.1} s", Duration::from_micros(time).as_secs_f64())),
                    Err(_) => Err(found()),
                };
            }
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

/// What is said of a port.
const LISTENS: &str = "listens";
/// What is said of a file.
const EXISTS: &str = "exists";

/// Whether `text` is what `pattern` describes, in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    let (middle, end) = rest.rsplit_once('*').map_or((None, rest), |(it, end)| (Some(it), end));
    let Some(mut text) = text.strip_suffix(end) else { return false };
    for part in middle.into_iter().flat_map(|middle| middle.split('*')) {
        // The first place leaves the most for those that follow.
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    true
}

/// The tests of other tools that a boot has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tests<'a> {
    /// goss runs inside.
    pub goss: Option<&'a Goss>,
    /// Tests run on the host meanwhile, which log in with this.
    pub outside: Option<&'a Access>,
}

/// What lets tests on the host into the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The line of the public key.
    pub key: String,
    /// The address of the card that leads to the host.
    pub mac: String,
}

impl Access {
    /// The lines that let the key in as root, and set the card up if nothing in the image does.
    fn lines(&self) -> String {
        let Access { key, mac } = self;
        let (key, directory) = (quote(key), "/run/systemd/network");
        format!(
            "mkdir -p -m 700 /root/.ssh
echo {key} >>/root/.ssh/authorized_keys
chmod 600 /root/.ssh/authorized_keys
if [ \"$(wc -l </proc/net/route)\" -lt 2 ]; then
    mkdir -p {directory}
    printf '[Match]\\nMACAddress=%s\\n[Network]\\nAddress=%s\\n' {mac} {ADDRESS}/24 \\
        >{directory}/05-kuth.network
    systemctl restart systemd-networkd
fi
"
        )
    }
}

/// The script that asks for `expectations`, has goss run, and then powers off; where tests run on the
/// host, once they have had `limit`. It waits for the system to come up for at most `limit`. Goss's
/// answer has the number behind the last expectation's, that of [`SSH`] the next.
pub fn script(expectations: &[Expectation], tests: Tests<'_>, limit: Duration) -> String {
    let mut asks = String::new();
    for (number, expectation) in expectations.iter().enumerate() {
        asks += &format!("ask {number} {}\n", quote(&expectation.question()));
    }
    let (mut number, mut end) = (expectations.len(), String::new());
    if let Some(goss) = tests.goss {
        asks += &goss.lines("/run/kuth-answer", "/run/kuth-tests", limit.as_secs());
        // Packed, and in base64 once more, as an answer is text.
        asks += &format!(
            "text=$(gzip -c /run/kuth-answer | base64 -w 0 | base64 -w 0)
say \"{EXPECT} {number} $status ${{#text}} $text .\"
"
        );
        number += 1;
    }
    if let Some(access) = tests.outside {
        asks += &access.lines();
        asks += &format!("ask {number} {}\n", quote(&SSH.question()));
        // The host ends the machine when it is through.
        end = format!("sleep {}\n", limit.as_secs());
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
{end}systemctl poweroff
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
            Expectation::Package { name: "htop".into(), version: None },
            Expectation::Package { name: "htop".into(), version: Some("3.4*".into()) },
            Expectation::Port { number: 22, protocol: Protocol::Tcp },
            Expectation::File { path: "/etc/motd".into() },
            Expectation::Journal { unit: "ssh".into() },
            Expectation::BootTime { most: Duration::from_secs(90) },
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
            (6, 0, "installed 3.4.1-5\n", Ok(())),
            (6, 0, "config-files 3.4.1-5\n", Err("config-files 3.4.1-5")),
            (
                6,
                1,
                "dpkg-query: no packages found",
                Err("exit status 1: dpkg-query: no packages found"),
            ),
            (7, 0, "installed 3.3\ninstalled 3.4.1-5\n", Ok(())),
            (7, 0, "installed 3.3.4-1\n", Err("installed 3.3.4-1")),
            (7, 0, "config-files 3.4.1-5\n", Err("config-files 3.4.1-5")),
            (8, 0, "listens\n", Ok(())),
            (8, 0, "nothing listens\n", Err("nothing listens")),
            (9, 0, "exists\n", Ok(())),
            (9, 0, "does not exist\n", Err("does not exist")),
            (10, 0, "", Ok(())),
            (10, 0, "the unit is not-found\n", Err("the unit is not-found")),
            (10, 0, "error: no key\n", Err("error: no key")),
            (10, 127, "", Err("exit status 127 and no output")),
            (11, 0, "90000000\n", Ok(())),
            (11, 0, "90000001\n", Err("90.0 s")),
            (11, 0, "123456789\n", Err("123.5 s")),
            (11, 0, "0\n", Err("it is not up yet")),
            (11, 0, "", Err("nothing")),
        ] {
            let found = all[index].judge(status, output);
            assert_eq!(found, verdict.map_err(str::to_string), "{:?} {output:?}", all[index]);
            let report = all[index].report(status, output);
            assert_eq!(report["holds"], verdict.is_ok(), "{report}");
        }
        assert_eq!(Expectation::FailedUnits { most: 1 }.judge(0, "a\n"), Ok(()));
    }

    #[test]
    fn a_pattern_is_of_the_whole_version() {
        for (pattern, text, is_match) in [
            ("3.4", "3.4", true),
            ("3.4", "3.4.1", false),
            ("3.4*", "3.4", true),
            ("3.4*", "13.4", false),
            ("*-1", "3.4-1", true),
            ("*-1", "3.4-12", false),
            ("1:*+deb13*", "1:10.0+deb13u2", true),
            ("1:*+deb13*", "1:10.0+deb12u2", false),
            ("*a*b*", "ab", true),
            ("*a*b*", "ba", false),
            ("a*a", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text), is_match, "{pattern} {text}");
        }
    }

    /// What `sh` answers on this host.
    fn answer(expectation: &Expectation) -> Result<(), String> {
        answer_to(&expectation.question(), expectation)
    }

    fn answer_to(question: &str, expectation: &Expectation) -> Result<(), String> {
        let mut sh = std::process::Command::new("sh");
        let output = sh.arg("-c").arg(question).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        expectation.judge(output.status.code().unwrap(), &String::from_utf8(text).unwrap())
    }

    #[test]
    fn a_port_listens_where_a_socket_of_this_host_does() {
        use std::net::{TcpListener, UdpSocket};
        let port = |number, protocol| answer(&Expectation::Port { number, protocol });
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                kuth_test_support::judge::skip(&format!("no address as in {address}"));
                continue;
            };
            let number = listener.local_addr().unwrap().port();
            assert_eq!(port(number, Protocol::Tcp), Ok(()), "{address}");
            let socket = UdpSocket::bind(address).unwrap();
            let number = socket.local_addr().unwrap().port();
            assert_eq!(port(number, Protocol::Udp), Ok(()), "{address}");
        }
    }

    /// As the kernel writes them: SSH listens by IPv6, a client of port 22 is connected, port 22 is
    /// nobody's by UDP, and a connected UDP socket has 68.
    const SOCKETS: [(&str, &str); 3] = [
        (
            "tcp",
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
             0: 0100007F:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n   \
             1: 0100007F:8016 0100007F:0016 01 00000000:00000000 00:00000000 00000000     0\n",
        ),
        (
            "tcp6",
            "  sl  local_address                         remote_address                        st\n   \
             0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0\n",
        ),
        (
            "udp",
            "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n  \
             331: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   102\n  \
             345: 0202000A:0044 0202000A:0043 01 00000000:00000000 00:00000000 00000000     0\n",
        ),
    ];

    #[test]
    fn only_sockets_that_wait_for_anybody_listen() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in SOCKETS {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        for (number, protocol, listens) in [
            (25, Protocol::Tcp, true),
            (22, Protocol::Tcp, true),
            (0x8016, Protocol::Tcp, false),
            (2, Protocol::Tcp, false),
            (0, Protocol::Tcp, false),
            (53, Protocol::Tcp, false),
            (53, Protocol::Udp, true),
            (68, Protocol::Udp, false),
            (67, Protocol::Udp, false),
            (22, Protocol::Udp, false),
        ] {
            let expectation = Expectation::Port { number, protocol };
            let question = expectation.question();
            let question = question.replace("/proc/net", directory.path().to_str().unwrap());
            let verdict = answer_to(&question, &expectation);
            let expected = if listens { Ok(()) } else { Err("nothing listens".to_string()) };
            assert_eq!(verdict, expected, "{number}/{}", protocol.word());
        }
    }

    #[test]
    fn a_file_exists_or_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("it's a \"file\" $HOME");
        let expectation = Expectation::File { path: path.display().to_string() };
        assert_eq!(answer(&expectation), Err("does not exist".to_string()));
        std::fs::write(&path, "").unwrap();
        assert_eq!(answer(&expectation), Ok(()));
    }

    #[test]
    fn packages_are_known_by_dpkg() {
        if !kuth_test_support::judge::is_there("dpkg-query") {
            return;
        }
        let package = |name: &str, version: Option<&str>| {
            let version = version.map(str::to_string);
            answer(&Expectation::Package { name: name.into(), version })
        };
        assert_eq!(package("dpkg", None), Ok(()));
        assert_eq!(package("dpkg", Some("1.*")), Ok(()));
        assert!(package("dpkg", Some("0.*")).unwrap_err().starts_with("installed 1."));
        assert!(package("no-such-package-of-kuth", None).is_err());
    }

    /// With stand-ins for systemd's programs, which say what those of Debian 13 say.
    #[test]
    fn the_journal_and_the_time_are_asked_of_systemd() {
        const SYSTEMCTL: &str = "systemctl() { case $* in
            'show --property=FinishTimestampMonotonic --value') echo 4242424 ;;
            'show --property=LoadState --value noisy') echo loaded ;;
            'show --property=LoadState --value quiet') echo loaded ;;
            *) echo not-found ;;
        esac; }\n";
        const JOURNALCTL: &str = "journalctl() { case $* in
            *--boot*--priority=err*--unit=noisy) echo 'error: no key' ;;
        esac; }\n";
        const WITHOUT: &str = "PATH=/nonexistent\n";
        let journal = |programs: &[&str], unit: &str| {
            let expectation = Expectation::Journal { unit: unit.into() };
            answer_to(&(programs.concat() + &expectation.question()), &expectation)
        };
        let all = [SYSTEMCTL, JOURNALCTL];
        assert_eq!(journal(&all, "quiet"), Ok(()));
        assert_eq!(journal(&all, "noisy"), Err("error: no key".to_string()));
        assert_eq!(journal(&all, "typo"), Err("the unit is not-found".to_string()));
        let error = journal(&[WITHOUT, SYSTEMCTL], "quiet").unwrap_err();
        assert!(error.starts_with("exit status 127: "), "{error}");
        let time = |seconds| {
            let expectation = Expectation::BootTime { most: Duration::from_secs(seconds) };
            answer_to(&format!("{SYSTEMCTL}{}", expectation.question()), &expectation)
        };
        assert_eq!(time(5), Ok(()));
        assert_eq!(time(4), Err("4.2 s".to_string()));
    }

    /// Runs the script here with stand-ins for what only a guest has.
    #[test]
    fn the_script_answers_in_lines_the_console_understands() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("probe");
        let command = |run: &str| Expectation::Command { run: run.into(), output: None };
        let script = script(
            &[command("echo one"), command("exit 3")],
            Tests::default(),
            Duration::from_secs(1),
        );
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

    /// The part for goss, with a stand-in for the program and for the mount.
    #[test]
    fn goss_answers_whole_however_long_its_report_is() {
        use super::super::console::{Event, Parser};
        use super::super::goss::{Format, cases};
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let goss = Goss { program: Vec::new(), tests: Vec::new(), format: Format::Yaml };
        let tests = Tests { goss: Some(&goss), outside: None };
        let script = script(&[Expectation::CloudInit], tests, Duration::from_secs(9));
        let (_, end) = script.split_once("ask 0 'cloud-init status --long; true'\n").unwrap();
        let end = end
            .replace("/run/kuth-answer", &at("answer"))
            .replace("/run/kuth-tests", &at("tests"))
            .replace("systemctl", ": systemctl");
        let results: Vec<String> = (0..2000)
            .map(|n| {
                format!(
                    "{{\"resource-type\":\"File\",\"resource-id\":\"/{n}\",\
                     \"property\":\"exists\",\"successful\":true}}"
                )
            })
            .collect();
        let report = format!("{{\"results\":[{}]}}", results.join(","));
        std::fs::create_dir(at("tests")).unwrap();
        std::fs::write(at("report"), report).unwrap();
        let cases_of = |program: &str, mount: &str| {
            std::fs::write(at("tests/goss"), format!("#!/bin/sh\n{program}\n")).unwrap();
            let head = format!(
                "mount() {{ [ \"$6\" = {} ] && chmod +x {}; {mount}; }}\n\
                 say() {{ printf '%s\\n' \"$1\"; }}\n",
                at("tests"),
                at("tests/goss")
            );
            std::fs::write(at("probe"), format!("{head}{end}")).unwrap();
            let run = crate::process::Command::new("sh").arg(at("probe"));
            let output = run.run(at("log").as_ref(), &crate::cancel::Cancel::default()).unwrap();
            let events = Parser::default().feed(&output);
            let [Event::Result { number: 1, status, output }, Event::Done] = &events[..] else {
                panic!("{events:?}");
            };
            cases(Some(&(*status, output.clone())))
        };
        let asked = format!(
            "[ \"$*\" = '-g {}/goss.yaml validate --format json --no-color' ]",
            at("tests")
        );
        let found = cases_of(&format!("echo noise >&2; {asked} && cat {}", at("report")), "true");
        assert_eq!(found.len(), 2000, "{:?}", found[0]);
        let said = |found: &[super::super::junit::Case]| format!("{:?}", found[0].outcome);
        let found = cases_of("echo no such thing >&2; exit 7", "true");
        assert_eq!(said(&found), "Error(\"exit status 7: no such thing\")");
        let found = cases_of("true", "echo no medium >&2; return 32");
        assert_eq!(said(&found), "Error(\"exit status 32: no medium\")");
    }

    /// With a stand-in for systemd, and the files of a guest elsewhere.
    #[test]
    fn tests_on_the_host_get_a_key_in_and_a_network_where_there_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let access =
            Access { key: "ssh-ed25519 AAAA kuth".into(), mac: "02:00:00:00:00:01".into() };
        let tests = Tests { goss: None, outside: Some(&access) };
        let whole = script(&[], tests, Duration::from_secs(77));
        assert!(whole.ends_with("say KUTH-DONE\nsleep 77\nsystemctl poweroff\n"), "{whole}");
        assert!(whole.contains("\nask 0 'if grep "), "{whole}");
        std::fs::create_dir(at("root")).unwrap();
        for (routes, starts) in [("Iface\n", true), ("Iface\neth0\n", false)] {
            std::fs::write(at("route"), routes).unwrap();
            let lines = access
                .lines()
                .replace("/root/", &format!("{}/", at("root")))
                .replace("/run/systemd", &at("systemd"))
                .replace("/proc/net/route", &at("route"));
            let head = "systemctl() { echo \"$*\"; }\n";
            let run = crate::process::Command::new("sh").args(["-ec", &format!("{head}{lines}")]);
            let output = run.run(at("log").as_ref(), &crate::cancel::Cancel::default()).unwrap();
            let started = if starts { "restart systemd-networkd\n" } else { "" };
            assert_eq!(String::from_utf8(output).unwrap(), started);
        }
        let network = std::fs::read_to_string(at("systemd/network/05-kuth.network")).unwrap();
        let expected = "[Match]\nMACAddress=02:00:00:00:00:01\n[Network]\nAddress=10.0.2.15/24\n";
        assert_eq!(network, expected);
        let keys = std::fs::read_to_string(at("root/.ssh/authorized_keys")).unwrap();
        assert_eq!(keys, "ssh-ed25519 AAAA kuth\n".repeat(2));
    }

    #[test]
    fn the_seed_is_sound() {
        let script = script(&all(), Tests::default(), Duration::from_secs(300));
        assert_eq!(check::user_data(&user_data(&script)), []);
        assert!(script.contains("ask 5 'echo '\\''it'\\'''\\''s'\\'''\n"), "{script}");
    }
}
