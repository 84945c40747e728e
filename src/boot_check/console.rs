//! The serial console of a booting machine, as a stream of bytes that comes in any portions:
//! finds the probe's lines among whatever kernel, systemd and GRUB write, and the words after
//! which no machine comes up any more. Pure; `probe.rs` has the other side.

use base64::prelude::{BASE64_STANDARD, Engine};

/// The probe's line for one expectation: its number, the exit status, the length of what
/// follows, that in base64, and a dot. Length and dot show whether something else wrote into the line.
pub const EXPECT: &str = "KUTH-EXPECT";
/// The probe's last line.
pub const DONE: &str = "KUTH-DONE";

/// No line is longer; what is, is cut. A whole report of goss is one line.
const LONGEST: usize = 1 << 20;

/// What is seen on the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The probe's result for an expectation.
    Result {
        /// The expectation's number.
        number: usize,
        /// The exit status of its command.
        status: i32,
        /// What the command wrote.
        output: String,
    },
    /// The probe has nothing more to say.
    Done,
    /// The machine will not come up, and the line that says so.
    Fatal(String),
    /// Somebody could log in now.
    Login,
}

impl Event {
    /// Whether the probe said it.
    fn is_probes(&self) -> bool {
        matches!(self, Event::Result { .. } | Event::Done)
    }
}

/// Lines that end all hope, by a part of them.
const FATAL: &[&str] = &[
    "Kernel panic - not syncing",
    "You are in emergency mode",
    "Cannot open access to console, the root account is locked",
    "Dropping to a shell!",
    "(initramfs)",
    "grub rescue>",
    "No bootable option or device was found",
    "No bootable device",
];

/// Prompts, which end no line, by their beginning.
const PROMPTS: &[&str] = &["grub>", "Shell>"];

/// Takes the stream apart.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    /// What the unfinished line has been taken for already.
    is_reported: bool,
}

impl Parser {
    /// The events that end in `bytes`.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                let text = plain(&self.line);
                // What was reported of its beginning is not reported again.
                events.extend(
                    whole_line(&text).filter(|event| !self.is_reported || event.is_probes()),
                );
                self.line.clear();
                self.is_reported = false;
            } else if self.line.len() < LONGEST {
                self.line.push(*byte);
            }
        }
        // A prompt waits for an answer; its line does not end.
        if !self.is_reported && self.line.len() < 1024 {
            let found = unfinished_line(&plain(&self.line));
            self.is_reported = found.is_some();
            events.extend(found);
        }
        events
    }
}

fn whole_line(text: &str) -> Option<Event> {
    if let Some(at) = text.find(EXPECT) {
        return result(&text[at + EXPECT.len()..]);
    }
    // The word may be quoted in a message; only alone it is the probe's.
    if text.trim() == DONE {
        return Some(Event::Done);
    }
    unfinished_line(text)
}

fn result(rest: &str) -> Option<Event> {
    let mut words = rest.split(' ').skip(1);
    let number = words.next()?.parse().ok()?;
    let status = words.next()?.parse().ok()?;
    let length: usize = words.next()?.parse().ok()?;
    let text = words.next()?;
    let whole = text.len() == length && words.next()?.trim_end() == ".";
    let bytes = whole.then(|| BASE64_STANDARD.decode(text).ok())??;
    Some(Event::Result { number, status, output: String::from_utf8_lossy(&bytes).into_owned() })
}

fn unfinished_line(text: &str) -> Option<Event> {
    let trimmed = text.trim();
    let fatal = FATAL.iter().any(|part| text.contains(part))
        || PROMPTS.iter().any(|prompt| trimmed.starts_with(prompt));
    if fatal {
        return Some(Event::Fatal(trimmed.to_string()));
    }
    let (host, _) = trimmed.split_once(" login:")?;
    (!host.contains(' ')).then_some(Event::Login)
}

/// The text of a line without carriage returns and escape sequences.
pub fn plain(line: &[u8]) -> String {
    let mut text = Vec::with_capacity(line.len());
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            0x1b => match bytes.next() {
                // CSI: parameters, then one byte from `@` on.
                Some(b'[') => {
                    while bytes.next().is_some_and(|byte| !(0x40..=0x7e).contains(&byte)) {}
                }
                // OSC: up to BEL or ESC \.
                Some(b']') => {
                    while let Some(byte) = bytes.next()
                        && byte != 0x07
                    {
                        if byte == 0x1b && bytes.next_if_eq(&b'\\').is_some() {
                            break;
                        }
                    }
                }
                _ => {}
            },
            b'\t' => text.push(b' '),
            byte if byte < 0x20 || byte == 0x7f => {}
            byte => text.push(byte),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(number: usize, status: i32, output: &str) -> Event {
        Event::Result { number, status, output: output.into() }
    }

    fn events(text: &[u8]) -> Vec<Event> {
        let mut parser = Parser::default();
        let mut events = parser.feed(text);
        events.extend(parser.feed(b"\n"));
        events
    }

    /// As a boot of Debian 13 wrote it, shortened.
    const RECORDED: &[u8] = b"\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS (version 1.16.3)\r\n\
        GRUB: loading 6.12.48\r\n[    0.000000] Linux version 6.12.48\r\n\
        [  \x1b[0;32mOK\x1b[0m  ] Reached target \x1b[0;1;39mbasic.target\x1b[0m.\r\n\
        \r\nDebian GNU/Linux 13 kuth-probe ttyS0\r\n\r\nkuth-probe login: \
        [   30.1] cloud-init[600]: KUTH-DONE is near\r\n\
        \r\nKUTH-EXPECT 0 0 8 L2Rldg== .\r\n\
        \r\nKUTH-EXPECT 1 3 8 aW5hY3Rp[   31.0] virtio_net: up\r\ndg== .\r\n\
        \r\nKUTH-EXPECT 1 3 12 aW5hY3RpdmU= .\r\n\
        \r\nKUTH-DONE\r\n";

    #[test]
    fn a_recorded_boot_in_portions_of_any_size() {
        let expected = [Event::Login, result(0, 0, "/dev"), result(1, 3, "inactive"), Event::Done];
        for size in [1, 2, 3, 7, 64, 4096] {
            let mut parser = Parser::default();
            let portions = RECORDED.chunks(size);
            let found: Vec<Event> = portions.flat_map(|bytes| parser.feed(bytes)).collect();
            assert_eq!(found, expected, "portions of {size}");
        }
    }

    #[test]
    fn a_line_that_something_wrote_into_does_not_count() {
        for line in [
            "KUTH-EXPECT 0 0 8 L2Rldg==",
            "KUTH-EXPECT 0 0 8 L2Rldg= .",
            "KUTH-EXPECT 0 0 9 L2Rldg== .",
            "KUTH-EXPECT x 0 8 L2Rldg== .",
            "KUTH-EXPECT 0 0 8 L2R!dg== .",
            "KUTH-EXPECT",
        ] {
            assert_eq!(events(line.as_bytes()), [], "{line}");
        }
        let behind = b"kuth-probe login: \x1b[1mKUTH-EXPECT 0 0 8 L2Rldg== .\r";
        assert_eq!(events(behind).last(), Some(&result(0, 0, "/dev")));
        let mut parser = Parser::default();
        assert_eq!(parser.feed(&behind[..18]), [Event::Login]);
        parser.feed(&behind[18..]);
        assert_eq!(parser.feed(b"\n"), [result(0, 0, "/dev")]);
    }

    #[test]
    fn the_end_of_all_hope_is_seen_once_and_without_a_line_end() {
        for line in [
            "[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs",
            "You are in emergency mode. After logging in, type \"journalctl -xb\"",
            "ALERT!  /dev/mapper/vg0-root does not exist.  Dropping to a shell!",
            "grub rescue> ",
            "\x1b[0mgrub> ",
            "(initramfs) ",
            "Shell> ",
            "BdsDxe: No bootable option or device was found.",
        ] {
            let mut parser = Parser::default();
            let mut found = parser.feed(line.as_bytes());
            found.extend(parser.feed(b"more\r\n"));
            assert_eq!(found.len(), 1, "{line}");
            assert!(matches!(found[0], Event::Fatal(_)), "{line}");
        }
        assert_eq!(events(b"GNU GRUB  version 2.12\r"), []);
    }

    #[test]
    fn escape_sequences_go() {
        for (line, text) in [
            (&b"\x1b[0;1;31mred\x1b[0m\r"[..], "red"),
            (b"\x1b]0;title\x07a\x1b]8;;x\x1b\\b", "ab"),
            (b"\x1bca\tb\x00", "a b"),
            (b"cut \x1b[0", "cut "),
        ] {
            assert_eq!(plain(line), text);
        }
    }
}
