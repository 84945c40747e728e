//! What the test needs of this host.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Whether all of these can be run; says which cannot, and fails where KUTH_REQUIRE_TOOLS=1.
pub fn are_there(names: &[&str]) -> bool {
    names.iter().all(|name| kuth_test_support::judge::is_there(name))
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
