//! The line with which an installation medium of Debian or Ubuntu identifies itself, `.disk/info`:
//! `Debian GNU/Linux 13.2.0 "Trixie" - Official amd64 DVD Binary-1 with firmware 20251115-10:14`.
//! It is written for people, so only what all media have is read.
//!
//! Source: the scripts of debian-cd and livecd-rootfs that write it.

/// The longest text that is shown, in characters.
const LONGEST: usize = 100;

/// Debian's names of architectures that such lines have.
const ARCHITECTURES: [&str; 12] = [
    "amd64", "arm64", "armel", "armhf", "i386", "loong64", "mips64el", "mipsel", "ppc64el",
    "powerpc", "riscv64", "s390x",
];

/// The content of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskInfo {
    /// The line up to ` with firmware`, by [`shown`].
    pub label: String,
    /// The distribution in lower case: `debian`, `ubuntu`; empty for an empty line.
    pub distribution: String,
    /// The architectures in the line.
    pub architectures: Vec<String>,
}

impl DiskInfo {
    /// Reads the text of the file.
    pub fn read(text: &str) -> DiskInfo {
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let is_letter = |c: char| c.is_ascii_alphanumeric();
        let words = || line.split(|c| !is_letter(c)).filter(|word| !word.is_empty());
        let named = words().filter(|word| ARCHITECTURES.contains(word)).map(str::to_string);
        DiskInfo {
            label: shown(line.split(" with firmware").next().unwrap_or(line)),
            distribution: words().next().unwrap_or_default().to_ascii_lowercase(),
            architectures: named.collect(),
        }
    }
}

/// A text of a medium for messages: at most 100 characters, and no control characters.
pub fn shown(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { '?' } else { c });
    let text: String = plain.take(LONGEST).collect();
    text.trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_real_media_are_read() {
        for (line, label, distribution, architectures) in [
            (
                "Debian GNU/Linux 13.2.0 \"Trixie\" - Official amd64 DVD Binary-1 with firmware \
                 20251115-10:14\n",
                "Debian GNU/Linux 13.2.0 \"Trixie\" - Official amd64 DVD Binary-1",
                "debian",
                &["amd64"][..],
            ),
            (
                "Debian GNU/Linux 9.13.0 \"Stretch\" - Official Multi-architecture amd64/i386 \
                 NETINST 20200718-11:08",
                "Debian GNU/Linux 9.13.0 \"Stretch\" - Official Multi-architecture amd64/i386 \
                 NETINST 20200718-11:08",
                "debian",
                &["amd64", "i386"],
            ),
            (
                "Ubuntu-Server 24.04.3 LTS \"Noble Numbat\" - Release amd64 (20250805.1)",
                "Ubuntu-Server 24.04.3 LTS \"Noble Numbat\" - Release amd64 (20250805.1)",
                "ubuntu",
                &["amd64"],
            ),
            ("\n\n", "", "", &[]),
        ] {
            let info = DiskInfo::read(line);
            assert_eq!((info.label.as_str(), info.distribution.as_str()), (label, distribution));
            assert_eq!(info.architectures, architectures);
        }
    }

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(DiskInfo::read("Debian \u{1b}[31m\u{7}x").label, "Debian ?[31m?x");
        assert_eq!(DiskInfo::read(&"x".repeat(5000)).label.len(), LONGEST);
    }
}
