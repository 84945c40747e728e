//! What the test needs of this host.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Whether all of these can be run; says which cannot, and fails where KUTH_REQUIRE_TOOLS=1.
pub fn are_there(names: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &str| std::env::split_paths(&path).any(|it| it.join(name).is_file());
    let missing: Vec<&str> = names.iter().filter(|name| !is_there(name)).copied().collect();
    if missing.is_empty() {
        return true;
    }
    let missing = format!("{} is not installed", missing.join(", "));
    let required = std::env::var_os("KUTH_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!required, "{missing}");
    skipped(&missing);
    false
}

/// Says what is not tested, and why.
pub fn skipped(what: &str) {
    eprintln!("SKIPPED: {what}");
}

/// Whether this host itself gets a connection to the server of `url`.
pub fn reach(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once("://").ok_or("not an address")?;
    let server = rest.split('/').next().unwrap_or_default();
    let port = if scheme == "https" { 443 } else { 80 };
    let server = if server.contains(':') { server.into() } else { format!("{server}:{port}") };
    let addresses = server.to_socket_addrs().map_err(|error| error.to_string())?;
    let mut last = "it has no address".to_string();
    for address in addresses {
        match TcpStream::connect_timeout(&address, Duration::from_secs(10)) {
            Ok(_) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}
