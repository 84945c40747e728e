//! A system's name and version: `os-release`.
//!
//! Source: os-release(5).

use serde::{Deserialize, Serialize};

/// The fields of an os-release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// `ID`, as `debian`; `linux` where nothing says it.
    pub id: String,
    /// `PRETTY_NAME`.
    pub name: String,
    /// `VERSION_ID`; empty where a system has none, as Debian's unstable.
    pub version: String,
    /// `VERSION_CODENAME`, or empty.
    pub codename: String,
}

impl System {
    /// Reads the text of an os-release.
    pub fn read(text: &str) -> System {
        let value = |key: &str| value(text, key).unwrap_or_default();
        let id = Some(value("ID")).filter(|id| !id.is_empty()).unwrap_or("linux".into());
        let name = [value("PRETTY_NAME"), value("NAME"), id.clone()];
        System {
            name: name.into_iter().find(|name| !name.is_empty()).unwrap_or_default(),
            id,
            version: value("VERSION_ID"),
            codename: value("VERSION_CODENAME"),
        }
    }

    /// `debian-13`; by its code name where it has no version.
    pub fn distro(&self) -> String {
        match [&self.version, &self.codename].into_iter().find(|it| !it.is_empty()) {
            Some(version) => format!("{}-{version}", self.id),
            None => self.id.clone(),
        }
    }
}

/// The value of `key`, such as `PRETTY_NAME`, in the text of an os-release.
pub fn value(text: &str, key: &str) -> Option<String> {
    let mut assignments = text.lines().filter_map(|line| line.trim().split_once('='));
    assignments.find(|(name, _)| *name == key).map(|(_, value)| unquoted(value))
}

/// The value of a shell assignment without its quotes and escapes.
fn unquoted(value: &str) -> String {
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
    let inner = quote.and_then(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let (mut text, mut escaped) = (String::new(), false);
    for c in inner.unwrap_or(value).chars() {
        escaped = c == '\\' && !escaped && quote != Some('\'');
        if !escaped {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE: &str = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nNAME='Debian GNU/Linux'\n\
                           VERSION_ID=\"13\"\nVERSION_CODENAME=trixie\nID=debian\n";

    #[test]
    fn values_are_unquoted_as_a_shell_would() {
        let system = System::read(RELEASE);
        assert_eq!(system.name, "Debian GNU/Linux 13 (trixie)");
        assert_eq!(system.distro(), "debian-13");
        let sid = System::read("ID=debian\nVERSION_CODENAME=sid\nPRETTY_NAME=\"a \\\"b\\\" \\$c\"");
        assert_eq!((sid.distro().as_str(), sid.name.as_str()), ("debian-sid", "a \"b\" $c"));
        assert_eq!(System::read("").distro(), "linux");
    }
}
