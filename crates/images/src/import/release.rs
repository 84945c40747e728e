//! What a system's os-release says of the archive that its packages are from.

use crate::format::os_release::System;

/// The archive of a system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// `ubuntu`; none: Debian's, or another's.
    pub distribution: Option<String>,
    /// The suite, of Debian's or Ubuntu's.
    pub suite: Option<String>,
}

/// The archive of a system of Debian's or Ubuntu's; nothing of another's.
pub fn release(os_release: &[u8]) -> Release {
    let System { id, codename: suite, .. } = System::read(&String::from_utf8_lossy(os_release));
    let is_plain = !suite.is_empty()
        && suite.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    match id.as_str() {
        "debian" if is_plain => Release { distribution: None, suite: Some(suite) },
        "ubuntu" if is_plain => Release { distribution: Some(id), suite: Some(suite) },
        _ => Release::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_ubuntu_are_known() {
        let of = |distribution: Option<&str>, suite: &str| Release {
            distribution: distribution.map(str::to_string),
            suite: Some(suite.to_string()),
        };
        let debian = b"PRETTY_NAME=\"x\"\nID=debian\nVERSION_CODENAME=trixie\n";
        assert_eq!(release(debian), of(None, "trixie"));
        let ubuntu = b"VERSION_CODENAME='noble'\nID=ubuntu\nID_LIKE=debian\n";
        assert_eq!(release(ubuntu), of(Some("ubuntu"), "noble"));
        for other in [
            &b"ID=fedora\nVERSION_CODENAME=x\n"[..],
            b"ID=debian\nVERSION_CODENAME=\"../x\"\n",
            b"",
        ] {
            assert_eq!(release(other), Release::default());
        }
    }
}
