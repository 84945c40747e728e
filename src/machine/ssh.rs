//! The words for `ssh` that reach a machine by a forwarded port of this host.

use std::path::Path;

/// The arguments for `ssh` as `user`, or root, by `port` of 127.0.0.1. Host keys are kept in the
/// machine's `folder`, as it makes new ones whenever it is made anew.
pub fn arguments(folder: &Path, user: Option<&str>, port: u16) -> Vec<String> {
    let known = folder.join("known_hosts").display().to_string().replace('"', "");
    vec![
        "-p".into(),
        port.to_string(),
        "-o".into(),
        format!("UserKnownHostsFile=\"{known}\""),
        "-o".into(),
        "StrictHostKeyChecking=accept-new".into(),
        format!("{}@127.0.0.1", user.unwrap_or("root")),
    ]
}
