//! The answers to the questions of an installer, in the words of a pipeline. How they
//! are written is each installer's own matter.

use crate::disk::config::Config;
use crate::disk::layout::Layout;
use crate::error::{Result, anyhow, with_hint};

/// Answers to everything that an installer asks.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The disk as the pipeline has it: which sizes are "rest", above all.
    pub config: Config,
    /// The disk to the byte.
    pub layout: Layout,
    /// Debian's word for the machine.
    pub architecture: String,
    /// Its name, with or without a domain.
    pub hostname: String,
    /// Such as `en_US.UTF-8`.
    pub locale: String,
    /// Such as `Etc/UTC`.
    pub timezone: String,
    /// What is installed besides the base system.
    pub packages: Vec<String>,
    /// Where packages are from that the medium has not; none: the medium alone.
    pub mirror: Option<Mirror>,
    /// A shell script that runs in the installed system at the end.
    pub script: String,
    /// Lines of a preseed file, behind kuth's own answers.
    pub more: String,
    /// A preseed file in place of kuth's own answers.
    pub instead: Option<String>,
}

/// A mirror of the distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// `http` or `https`.
    pub protocol: String,
    /// The host, with a port if there is one.
    pub host: String,
    /// The directory, with a slash in front.
    pub directory: String,
}

impl Mirror {
    /// The parts of an address such as `https://mirror.example/debian`.
    pub fn of(address: &str) -> Option<Mirror> {
        let (protocol, rest) = address.split_once("://")?;
        let (host, directory) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |text: &str| {
            text.chars().all(|c| c.is_ascii_alphanumeric() || "-._~:/%+[]".contains(c))
        };
        let legal = ["http", "https"].contains(&protocol)
            && !host.is_empty()
            && plain(host)
            && plain(directory);
        legal.then(|| Mirror {
            protocol: protocol.to_string(),
            host: host.to_string(),
            directory: format!("/{}", directory.trim_end_matches('/')),
        })
    }

    /// The whole address.
    pub fn address(&self) -> String {
        format!("{}://{}{}", self.protocol, self.host, self.directory)
    }
}

impl Answers {
    /// The name without its domain, and the domain.
    pub fn names(&self) -> (&str, &str) {
        self.hostname.split_once('.').unwrap_or((&self.hostname, ""))
    }
}

/// What the installer says on its serial line when it came to its end. Its two halves never stand
/// together in a command, as installers write down what they run.
pub const INSTALLED: &str = "KUTH-INSTALLED";
/// What it says when it gave up.
pub const FAILED: &str = "KUTH-FAILED";

/// The shell command that says `word` on the serial line.
pub fn say(word: &str, serial: &str) -> String {
    let (first, second) = word.split_once('-').unwrap_or(("", word));
    format!("printf '\\n{first}-%s\\n' {second} >/dev/{serial}")
}

/// Refuses keys that an installer does not know.
pub fn only_for_preseed(answers: &Answers) -> Result<()> {
    if answers.more.is_empty() && answers.instead.is_none() {
        return Ok(());
    }
    let error = anyhow!("this medium's installer does not read preseed files");
    Err(with_hint(error, "leave out `answers` and `answers-file`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_taken_apart() {
        let parts = |address| Mirror::of(address).map(|m| (m.protocol, m.host, m.directory));
        let of = |a: &str, b: &str, c: &str| Some((a.into(), b.into(), c.into()));
        assert_eq!(parts("http://a.example/debian/"), of("http", "a.example", "/debian"));
        assert_eq!(parts("https://a:81"), of("https", "a:81", "/"));
        for wrong in ["ftp://a/b", "a/b", "http://", "http:///x", "http://a b/", "http://a/\nx"] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_command_that_is_shown_does_not_say_the_word() {
        let command = say(INSTALLED, "ttyS0");
        assert_eq!(command, "printf '\\nKUTH-%s\\n' INSTALLED >/dev/ttyS0");
        assert!(!command.contains(INSTALLED));
    }
}
