//! The words for `ssh` that reach a machine: by a forwarded port of this host, or through another
//! machine on the same network.

use std::path::Path;

use crate::process::quote;

/// The arguments for `ssh` as `user`, or root, by `port` of 127.0.0.1. Host keys are kept in the
/// machine's `directory`, as it makes new ones whenever it is made anew.
pub fn arguments(directory: &Path, user: Option<&str>, port: u16) -> Vec<String> {
    let mut words = vec!["-p".to_string(), port.to_string()];
    words.extend(host_keys(directory));
    words.push(format!("{}@127.0.0.1", user.unwrap_or("root")));
    words
}

/// The arguments that reach the machine `name` through one that `jump` reaches, and that knows
/// the other's address by this name. Not `-J`: there the jump would not have its own host keys.
pub fn through(jump: &[String], directory: &Path, user: Option<&str>, name: &str) -> Vec<String> {
    let jump: Vec<String> = jump.iter().map(|word| quote(word)).collect();
    let jump = jump.join(" ").replace('%', "%%");
    let mut words = host_keys(directory);
    words.extend(["-o".to_string(), format!("ProxyCommand=ssh -W %h:%p {jump}")]);
    words.push(format!("{}@{name}", user.unwrap_or("root")));
    words
}

fn host_keys(directory: &Path) -> Vec<String> {
    let known = directory.join("known_hosts").display().to_string();
    let known = known.replace('"', "").replace('%', "%%");
    let known = format!("UserKnownHostsFile=\"{known}\"");
    vec!["-o".into(), known, "-o".into(), "StrictHostKeyChecking=accept-new".into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_has_its_own_host_keys_and_is_one_word_of_ssh() {
        let gate = arguments("/it's 5%/gate".as_ref(), Some("debian"), 2222);
        assert_eq!(gate[3], "UserKnownHostsFile=\"/it's 5%%/gate/known_hosts\"");
        let hapx = through(&gate, "/m/hapx".as_ref(), None, "hapx");
        assert_eq!(
            hapx,
            [
                "-o",
                "UserKnownHostsFile=\"/m/hapx/known_hosts\"",
                "-o",
                "StrictHostKeyChecking=accept-new",
                "-o",
                "ProxyCommand=ssh -W %h:%p -p 2222 -o \
                 'UserKnownHostsFile=\"/it'\\''s 5%%%%/gate/known_hosts\"' \
                 -o StrictHostKeyChecking=accept-new debian@127.0.0.1",
                "root@hapx",
            ]
        );
    }
}
