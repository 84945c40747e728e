//! Lines of the file `authorized_keys` of OpenSSH: options, the type of a public key, its data, a comment.
//!
//! Source: sshd(8), "AUTHORIZED_KEYS FILE FORMAT".

/// The options of a key; those with `=` have a value in quotes.
const OPTIONS: &[&str] = &[
    "agent-forwarding",
    "cert-authority",
    "command=",
    "environment=",
    "expiry-time=",
    "from=",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-touch-required",
    "no-user-rc",
    "no-x11-forwarding",
    "permitlisten=",
    "permitopen=",
    "port-forwarding",
    "principals=",
    "pty",
    "restrict",
    "tunnel=",
    "user-rc",
    "verify-required",
    "x11-forwarding",
];

/// Why a line is not a public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAKey {
    /// It is of a private key.
    Private,
    /// It is of a public key in another format than OpenSSH's.
    OtherFormat,
    /// sshd has no such option, or it is not complete.
    Option(String),
    /// It is something else.
    Other,
}

/// Whether a line, without its end, is a public key.
///
/// # Errors
///
/// Says what it is instead.
pub fn check(line: &str) -> Result<(), NotAKey> {
    let line = line.trim();
    if line.contains("PRIVATE KEY") || line.starts_with("PuTTY-User-Key-File") {
        return Err(NotAKey::Private);
    }
    if line.starts_with("---") {
        return Err(NotAKey::OtherFormat);
    }
    if is_key(line) {
        return Ok(());
    }
    let Some((options, key)) = split_options(line) else { return Err(NotAKey::Other) };
    if !is_key(key) {
        return Err(NotAKey::Other);
    }
    options.iter().try_for_each(|option| match is_option(option) {
        true => Ok(()),
        false => Err(NotAKey::Option(option.to_string())),
    })
}

/// Whether a text begins with the type and the data of a key.
fn is_key(text: &str) -> bool {
    let mut words = text.split_ascii_whitespace();
    let kind = words.next().unwrap_or_default();
    let data = words.next().unwrap_or_default();
    // The data begins with the length of the type, a number of four bytes: AAAA in base64.
    let known = ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| kind.starts_with(prefix));
    let base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    known && data.starts_with("AAAA") && data.chars().all(base64)
}

/// The options at the start of a line, and what is behind them. Blanks and commas in quotes are part of
/// an option.
fn split_options(line: &str) -> Option<(Vec<&str>, &str)> {
    let (mut options, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in line.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ',' if !quoted => {
                options.push(&line[start..at]);
                start = at + 1;
            }
            ' ' | '\t' if !quoted => {
                options.push(&line[start..at]);
                return Some((options, line[at..].trim_start()));
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

fn is_option(option: &str) -> bool {
    let quoted = |value: &str| value.len() > 1 && value.starts_with('"') && value.ends_with('"');
    match option.split_once('=') {
        Some((name, value)) => {
            OPTIONS.contains(&format!("{}=", name.to_lowercase()).as_str()) && quoted(value)
        }
        None => OPTIONS.contains(&option.to_lowercase().as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_options_and_comments_of_any_characters() {
        for line in [
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
            "ssh-rsa AAAAB3Nza+/x== me@host",
            "  ecdsa-sha2-nistp256\tAAAAE2 \"Jörg\" \\ 'x' # & | $HOME",
            "sk-ssh-ed25519@openssh.com AAAAGn x",
            "ssh-ed25519-cert-v01@openssh.com AAAAIH x",
            "from=\"10.0.0.0/8,!10.1.*\" ssh-rsa AAAAB3 x",
            "restrict,command=\"echo \\\"a b\\\", c\",No-Pty ssh-rsa AAAAB3 x",
            "cert-authority,principals=\"a,b\" ssh-rsa AAAAB3",
        ] {
            assert_eq!(check(line), Ok(()), "{line}");
        }
    }

    #[test]
    fn other_lines_are_told_apart() {
        let option = |text: &str| NotAKey::Option(text.to_string());
        for (line, expected) in [
            ("", NotAKey::Other),
            ("~/.ssh/id_ed25519.pub", NotAKey::Other),
            ("https://github.com/me.keys", NotAKey::Other),
            ("me@example.org", NotAKey::Other),
            ("gh:me", NotAKey::Other),
            ("ssh-rsa", NotAKey::Other),
            ("ssh-rsa me@host", NotAKey::Other),
            ("AAAAB3NzaC1yc2E me", NotAKey::Other),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", NotAKey::Private),
            ("PuTTY-User-Key-File-3: ssh-ed25519", NotAKey::Private),
            ("---- BEGIN SSH2 PUBLIC KEY ----", NotAKey::OtherFormat),
            ("-----BEGIN PUBLIC KEY-----", NotAKey::OtherFormat),
            ("form=\"10.*\" ssh-rsa AAAAB3", option("form=\"10.*\"")),
            ("from=10.* ssh-rsa AAAAB3", option("from=10.*")),
            ("no-pty,, ssh-rsa AAAAB3", option("")),
            ("from=\"10.* ssh-rsa AAAAB3", NotAKey::Other),
            ("my key ssh-rsa AAAAB3", NotAKey::Other),
        ] {
            assert_eq!(check(line), Err(expected), "{line}");
        }
    }
}
