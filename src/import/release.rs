//! What a system's os-release says of the archive that its packages are from.

use crate::format::os_release::System;

/// The facts of a tree of Debian's or Ubuntu's; none of another's.
pub fn facts(os_release: &[u8]) -> Vec<(&'static str, String)> {
    let System { id, codename: suite, .. } = System::read(&String::from_utf8_lossy(os_release));
    let is_plain = !suite.is_empty()
        && suite.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    match id.as_str() {
        "debian" if is_plain => vec![("suite", suite)],
        "ubuntu" if is_plain => vec![("distribution", "ubuntu".into()), ("suite", suite)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_ubuntu_are_known() {
        let debian = b"PRETTY_NAME=\"x\"\nID=debian\nVERSION_CODENAME=trixie\n";
        assert_eq!(facts(debian), [("suite", "trixie".to_string())]);
        let ubuntu = b"VERSION_CODENAME='noble'\nID=ubuntu\nID_LIKE=debian\n";
        let expected = [("distribution", "ubuntu".to_string()), ("suite", "noble".to_string())];
        assert_eq!(facts(ubuntu), expected);
        assert!(facts(b"ID=fedora\nVERSION_CODENAME=x\n").is_empty());
        assert!(facts(b"ID=debian\nVERSION_CODENAME=\"../x\"\n").is_empty());
        assert!(facts(b"").is_empty());
    }
}
