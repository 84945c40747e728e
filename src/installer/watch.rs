//! An installer's serial line, as a stream of bytes in any portions: how far it is, whether it asks
//! something, and whether it came to its end. Pure: whoever watches passes the time.
//!
//! debian-installer's text frontend writes a title and per cents on one line, and ends every
//! question with a prompt; subiquity writes a line at the start of each step.

use crate::boot_check::console::{self, Event, plain};

use super::answers::{FAILED, INSTALLED};

/// Lines that are kept to be shown.
const SCREEN: usize = 24;
/// No line is longer; what is, is cut.
const LONGEST: usize = 16 << 10;

/// What is known of an installation so far.
#[derive(Debug, Default)]
pub struct Watch {
    line: Vec<u8>,
    screen: Vec<String>,
    parser: console::Parser,
    /// What it does now.
    pub step: Option<Step>,
    /// Every step that was seen, in order.
    pub steps: Vec<String>,
    /// How it ended, if it did.
    pub end: Option<End>,
}

/// What an installer does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// In its own words.
    pub title: String,
    /// Of a hundred, where it says so.
    pub percent: Option<u8>,
}

/// How an installation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It says that it is done.
    Installed,
    /// It says that the end of it failed.
    Failed,
    /// It waits for somebody to answer.
    Question,
    /// The machine will not come up, and the line that says so.
    Fatal(String),
}

/// What a prompt contains, whichever frontend asks. After these nothing happens by itself.
const PROMPTS: [&str; 8] = [
    "Prompt: '",
    "[Press enter to continue]",
    "<Go Back>",
    "<Continue>",
    "Continue with autoinstall?",
    "Press enter to start a shell",
    "BusyBox built-in shell",
    "Choose the next step in the install process",
];

impl Watch {
    /// Takes in what the serial line said.
    pub fn feed(&mut self, bytes: &[u8]) {
        for event in self.parser.feed(bytes) {
            if let Event::Fatal(line) = event {
                self.end.get_or_insert(End::Fatal(line));
            }
        }
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = plain(&self.line);
                    self.whole_line(&line);
                    self.line.clear();
                }
                // A bar that is drawn over begins anew.
                b'\r' if self.line.is_empty() => {}
                byte if self.line.len() < LONGEST => self.line.push(*byte),
                _ => {}
            }
        }
        let line = plain(&self.line);
        self.unfinished_line(&line);
    }

    /// The last lines, the one that has not ended among them.
    pub fn screen(&self) -> Vec<String> {
        let mut lines = self.screen.clone();
        let line = plain(&self.line);
        if !line.trim().is_empty() {
            lines.push(line.trim_end().to_string());
        }
        lines
    }

    /// Whether the last line looks like one that is to be answered: to be asked when nothing came
    /// for some time.
    pub fn waits(&self) -> bool {
        let line = plain(&self.line);
        let line = match line.trim() {
            "" => self.screen.last().map_or("", String::as_str),
            line => line,
        };
        progress(line).is_none() && [":", "?", ">", "#", "$"].iter().any(|end| line.ends_with(end))
    }

    fn whole_line(&mut self, line: &str) {
        if line.contains(INSTALLED) {
            // A fault on the way there would be one all the same.
            self.end.get_or_insert(End::Installed);
        } else if line.contains(FAILED) {
            self.end.get_or_insert(End::Failed);
        }
        self.unfinished_line(line);
        if !line.trim().is_empty() {
            if self.screen.len() == SCREEN {
                self.screen.remove(0);
            }
            self.screen.push(line.trim_end().to_string());
        }
    }

    fn unfinished_line(&mut self, line: &str) {
        // What was seen at its beginning may say why at its end.
        if let Some(End::Fatal(beginning)) = &mut self.end
            && line.trim().starts_with(beginning.as_str())
        {
            *beginning = line.trim().to_string();
        }
        if PROMPTS.iter().any(|prompt| line.contains(prompt)) {
            self.end.get_or_insert(End::Question);
        }
        if let Some(step) = progress(line) {
            if self.steps.last() != Some(&step.title) {
                self.steps.push(step.title.clone());
            }
            self.step = Some(step);
        }
    }
}

/// `Installing the base system  ... 10%... 20%`, or `start: subiquity/Install/install: `.
fn progress(line: &str) -> Option<Step> {
    if let Some((_, rest)) = line.split_once("start: subiquity/") {
        let title = rest.split(':').next().unwrap_or(rest).trim();
        return Some(Step { title: title.to_string(), percent: None });
    }
    let (title, rest) = line.split_once("  ...")?;
    let last = rest.rsplit("...").find_map(|part| part.trim().strip_suffix('%'))?;
    let percent = last.trim().parse::<u8>().ok().filter(|percent| *percent <= 100)?;
    let title = title.trim().trim_end_matches('.').to_string();
    (!title.is_empty()).then_some(Step { title, percent: Some(percent) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fed(text: &str, portion: usize) -> Watch {
        let mut watch = Watch::default();
        text.as_bytes().chunks(portion).for_each(|bytes| watch.feed(bytes));
        watch
    }

    #[test]
    fn steps_are_told_as_they_come() {
        for portion in [1, 2, 5, 4096] {
            let mut watch = fed("Partitions formatting  ... 33%", portion);
            let step = Step { title: "Partitions formatting".into(), percent: Some(33) };
            assert_eq!((watch.step.clone(), watch.end.clone()), (Some(step), None));
            watch.feed(b"... 100%\r\nInstalling the base system  ... 0%... 1%\r\n");
            watch.feed(b"[  9.1] cloud-init: start: subiquity/Install/install: x\r\n");
            let steps = ["Partitions formatting", "Installing the base system", "Install/install"];
            assert_eq!(watch.steps, steps);
        }
    }

    #[test]
    fn questions_are_seen_before_their_line_ends() {
        for question in [
            "Name server addresses:\r\nPrompt: '?' for help, default=> ",
            "!! ERROR: No root file system\r\nNo root file system is defined.\r\n[Press enter to continue] ",
            "\x1b[1;1H\x1b[31m<Go Back>\x1b[0m   <Continue>",
            "Continue with autoinstall? (yes|no)",
        ] {
            for portion in [1, 3, 4096] {
                let watch = fed(question, portion);
                assert_eq!(watch.end, Some(End::Question), "{question}");
            }
        }
    }

    #[test]
    fn a_line_that_waits_is_one_that_could_be_written_on() {
        assert!(fed("Root password:", 4).waits());
        assert!(fed("Root password:\r\n", 4).waits());
        assert!(fed("~ # ", 4).waits());
        for line in ["Installing  ... 10%", "Loading", "", "Which:\nInstalling  ... 10%"] {
            assert!(!fed(line, 4).waits(), "{line}");
        }
    }

    #[test]
    fn the_end_is_seen_behind_whatever_the_line_began_with() {
        let end = |text: &str| fed(text, 7).end;
        assert_eq!(end("Finishing  ... 90%\nKUTH-INSTALLED\r\n"), Some(End::Installed));
        assert_eq!(end("Finishing  ... 90%KUTH-INSTALLED\n"), Some(End::Installed));
        assert_eq!(end("printf 'KUTH-%s' INSTALLED\n"), None);
        assert_eq!(end("KUTH-FAILED\nKUTH-INSTALLED\n"), Some(End::Failed));
        // The line may not have ended yet.
        let Some(End::Fatal(line)) = end("[  1.0] Kernel panic - not syncing: no init") else {
            panic!("a panic was not seen")
        };
        assert!(line.starts_with("[  1.0] Kernel panic - not syncing"), "{line}");
        assert_eq!(line, "[  1.0] Kernel panic - not syncing: no init");
    }

    #[test]
    fn the_screen_has_the_last_lines() {
        let text: String = (0..99).map(|n| format!("\x1b[1mline {n}\x1b[0m\r\n\r\n")).collect();
        let screen = fed(&(text + "Prompt: "), 100).screen();
        assert_eq!(screen.len(), SCREEN + 1);
        assert_eq!(screen[SCREEN - 1..], ["line 98", "Prompt:"]);
        assert!(fed(&"x".repeat(LONGEST * 2), 999).screen()[0].len() <= LONGEST);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_bounded(bytes in prop::collection::vec(any::<u8>(), 0..4000), portion in 1usize..200) {
            let mut watch = Watch::default();
            bytes.chunks(portion).for_each(|bytes| watch.feed(bytes));
            prop_assert!(watch.screen().len() <= SCREEN + 1);
            watch.waits();
        }
    }
}
