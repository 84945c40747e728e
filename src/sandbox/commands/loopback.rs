//! Brings up the loopback interface of a new network namespace: databases, test servers and port mappers
//! use 127.0.0.1 even without a network.
//!
//! Source: rtnetlink(7), `struct nlmsghdr`, `struct ifinfomsg`.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::error::{Context, Result, ensure};

const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const IFF_UP: u32 = 1;

/// The index of the loopback interface in every network namespace.
const LOOPBACK: i32 = 1;

/// Brings it up. Needs CAP_NET_ADMIN in the namespace.
pub fn up() -> Result<()> {
    let what = "bringing up the loopback interface";
    let flags = SocketFlags::CLOEXEC;
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = rustix::net::socket_with(family, kind, flags, None).context(what)?;
    rustix::net::send(&socket, &request(), SendFlags::empty()).context(what)?;
    let mut reply = [0; 1024];
    let (_, length) = rustix::net::recv(&socket, &mut reply, RecvFlags::empty()).context(what)?;
    let errno = errno(&reply[..length]).context(what)?;
    ensure!(errno == 0, "{what}: {}", std::io::Error::from_raw_os_error(errno));
    Ok(())
}

/// `RTM_NEWLINK` with the flag `IFF_UP` changed to set.
fn request() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(32u32.to_ne_bytes());
    bytes.extend(RTM_NEWLINK.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    bytes.extend([0; 8]); // sequence number, port
    bytes.extend([0; 4]); // family, padding, device type
    bytes.extend(LOOPBACK.to_ne_bytes());
    bytes.extend(IFF_UP.to_ne_bytes());
    bytes.extend(IFF_UP.to_ne_bytes()); // of which this is the change
    bytes
}

/// The error number of an `NLMSG_ERROR`; 0 is an acknowledgement.
fn errno(reply: &[u8]) -> Result<i32> {
    let kind = reply.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    ensure!(kind == Some(NLMSG_ERROR), "unexpected reply of the kernel");
    let code = reply.get(16..20).and_then(|bytes| bytes.try_into().ok());
    Ok(-i32::from_ne_bytes(code.context("the reply of the kernel is truncated")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_an_error_number_or_refused() {
        let mut answer = vec![0; 36];
        answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        assert_eq!(errno(&answer).unwrap(), 0);
        answer[16..20].copy_from_slice(&(-1i32).to_ne_bytes());
        assert_eq!(errno(&answer).unwrap(), 1);
        assert!(errno(&answer[..18]).is_err());
        answer[4] = 3;
        assert!(errno(&answer).is_err());
    }
}
