//! Brings up the loopback interface of a network namespace of one's own, by rtnetlink(7).
//!
//! Never adds another interface: a room reaches itself and nobody else.

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use crate::error::BoxError;

// <linux/rtnetlink.h>, <linux/netlink.h> and <linux/if.h>.
const NEW_LINK: u16 = 16;
const REQUEST_WITH_ANSWER: u16 = 0x1 | 0x4;
const ANSWER: u16 = 2;
const UP: u32 = 1;
/// The loopback interface is the first of every network namespace.
const LOOPBACK: u32 = 1;
const LENGTH: u32 = 32;

/// Brings it up; the kernel gives it 127.0.0.1 and `::1`.
pub(in crate::builder) fn bring_up() -> Result<(), BoxError> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let mut message = Vec::new();
    // struct nlmsghdr: length, type, flags, sequence, port.
    message.extend(LENGTH.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(REQUEST_WITH_ANSWER.to_ne_bytes());
    message.extend([0; 8]);
    // struct ifinfomsg: family and type, index, flags, and which flags to change.
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0_u8; 512];
    recv(&socket, &mut answer, RecvFlags::empty())?;
    // struct nlmsgerr behind the header: zero, or a negative error number.
    let kind = answer.get(4..6).and_then(|it| it.try_into().ok()).map(u16::from_ne_bytes);
    let error = answer.get(16..20).and_then(|it| it.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, error) {
        (Some(ANSWER), Some(0)) => Ok(()),
        (_, error) => {
            let error = std::io::Error::from_raw_os_error(error.unwrap_or_default().saturating_neg());
            Err(format!("cannot bring up the loopback interface: {error}").into())
        }
    }
}
