//! A name server of the tests' own on the loopback device: it knows one name.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::OnceLock;

/// The name that the server knows, and its address.
pub const SERVED: (&str, &str) = ("by-resolver.example", "192.0.2.99");

/// A name in the host's /etc/hosts, and its address.
pub const HOSTS: (&str, &str) = ("by-hosts.example", "192.0.2.55");

/// Where the server is. Two test programs have two.
pub fn address() -> Ipv4Addr {
    static ADDRESS: OnceLock<Ipv4Addr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, high, low, 53);
        let socket = UdpSocket::bind((address, 53)).unwrap();
        std::thread::spawn(move || serve(&socket));
        address
    })
}

fn serve(socket: &UdpSocket) {
    let mut buffer = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        if let Some(answer) = answer(&buffer[..length]) {
            let _ = socket.send_to(&answer, client);
        }
    }
}

/// The answer to a query with one question: RFC 1035, section 4.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut name = Vec::new();
    while *query.get(at)? != 0 {
        let length = usize::from(query[at]);
        name.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).to_lowercase());
        at += 1 + length;
    }
    let question = query.get(12..at + 5)?;
    let is_address = query.get(at + 1..at + 5)? == [0, 1, 0, 1];
    let is_known = name.join(".") == SERVED.0;
    let answers = u8::from(is_known && is_address);
    let mut answer = query[..2].to_vec();
    // A response, with recursion; without error, or of a name that there is not.
    answer.extend([0x81, if is_known { 0x80 } else { 0x83 }, 0, 1, 0, answers, 0, 0, 0, 0]);
    answer.extend(question);
    if answers == 1 {
        let address: Ipv4Addr = SERVED.1.parse().unwrap();
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
