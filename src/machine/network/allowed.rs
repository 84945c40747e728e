//! Which addresses VirtualBox lets a host-only adapter have. Since 6.1.28, on Linux, macOS and
//! Solaris, those in 192.168.56.0/21 alone, unless the administrator lists others.
//!
//! Source: `VBoxNetAdpCtl.cpp`. A line counts if its first word is `*`; each other word of it is a
//! range, and one that is none is passed over. The list takes the place of the default range. An
//! address is allowed if its whole network lies in one range.

use std::path::Path;

use super::Cidr;
use crate::error::{Context, Error, Result, anyhow, with_hint};
use crate::machine::virtualbox::options::Version;

/// The first version that holds adapters to a list.
pub const SINCE: Version = Version([6, 1, 28]);

/// The list.
pub const FILE: &str = "/etc/vbox/networks.conf";

/// What is allowed where there is no list.
const DEFAULT: &str = "192.168.56.0/21";

/// The ranges of IPv4 that `list`, the text of the file if there is one, allows.
pub fn ranges(list: Option<&str>) -> Vec<Cidr> {
    let text = list.unwrap_or(DEFAULT_LIST);
    let rows = text.lines().filter_map(|line| {
        let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        (words.next() == Some("*")).then_some(words)
    });
    rows.flatten().filter_map(|word| word.parse().ok()).collect()
}

const DEFAULT_LIST: &str = "* 192.168.56.0/21";

/// Why VirtualBox would refuse an adapter the address `host`, if it would, with what allows it;
/// `file` is the list.
pub fn refusal(file: &Path, host: &Cidr) -> Result<Option<Error>> {
    let list = match std::fs::read_to_string(file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    };
    let (list, shown) = (list.as_deref(), file.display());
    if allows(list, host) {
        return Ok(None);
    }
    let ranges = ranges(list).iter().map(ToString::to_string).collect::<Vec<_>>();
    let ranges = if ranges.is_empty() { "nothing".to_string() } else { ranges.join(", ") };
    let why = match list {
        None => format!("there is no {shown}, so only {ranges} is allowed"),
        Some(_) => format!("{shown} allows {ranges}"),
    };
    let line = line_for(list, host);
    let fix = match (list, file.parent()) {
        (None, Some(directory)) => {
            format!("mkdir -p {} && echo '{line}' >>{shown}", directory.display())
        }
        _ => format!("echo '{line}' >>{shown}"),
    };
    let error =
        anyhow!(why).context(format!("VirtualBox does not allow the host-only address {host}"));
    let hint = format!("allow it, as root: `{fix}`; or take a `host` in an allowed range");
    Ok(Some(with_hint(error, hint)))
}

/// Whether an adapter may have the address `host`.
pub fn allows(list: Option<&str>, host: &Cidr) -> bool {
    ranges(list).iter().any(|range| host.length() >= range.length() && range.contains(host.ip()))
}

/// The line that allows `host`, to be added to the list; with the default range where that was
/// allowed by having no list.
pub fn line_for(list: Option<&str>, host: &Cidr) -> String {
    match list {
        Some(_) => format!("* {}", host.network()),
        None => format!("* {DEFAULT} {}", host.network()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_allowed_by_the_list_or_the_default() {
        let own = "# ours\n* 10.0.0.0/8 192.168.0.0/16\n* 2001::/64\n";
        for (list, host, allowed) in [
            (None, "192.168.56.1/24", true),
            (None, "192.168.63.1/24", true),
            (None, "192.168.64.1/24", false),
            (None, "192.168.254.1/24", false),
            (None, "192.168.56.1/16", false),
            (Some(own), "192.168.254.1/24", true),
            (Some(own), "192.168.254.1/16", true),
            (Some(own), "10.9.9.1/8", true),
            (Some(own), "172.16.0.1/24", false),
            // A list takes the place of the default.
            (Some("* 10.0.0.0/8\n"), "192.168.56.1/24", false),
            (Some(""), "192.168.56.1/24", false),
            (Some("192.168.0.0/16\n"), "192.168.254.1/24", false),
            (Some("*\t192.168.254.7/24 # x\n"), "192.168.254.1/24", true),
            (Some("* 0.0.0.0/0 ::/0\n"), "8.8.8.8/24", true),
        ] {
            let host: Cidr = host.parse().unwrap();
            assert_eq!(allows(list, &host), allowed, "{list:?} {host}");
            let mended = format!("{}\n{}\n", list.unwrap_or_default(), line_for(list, &host));
            assert!(allows(Some(&mended), &host), "{mended}");
        }
    }
}
