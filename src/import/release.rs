//! What a system's os-release says of the archive that its packages are from.

/// The facts of a tree of Debian's or Ubuntu's; none of another's.
pub fn facts(os_release: &[u8]) -> Vec<(&'static str, String)> {
    let text = String::from_utf8_lossy(os_release);
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim().trim_matches(['"', '\'']).to_string())
    };
    let plain = |word: &String| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let Some(suite) = value("VERSION_CODENAME").filter(plain) else { return Vec::new() };
    match value("ID").as_deref() {
        Some("debian") => vec![("suite", suite)],
        Some("ubuntu") => vec![("distribution", "ubuntu".into()), ("suite", suite)],
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
