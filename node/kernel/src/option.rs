//! Socket options without a safe setter elsewhere.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use super::checked;

/// An option that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Received datagrams of one source and size come glued together.
    UdpGro,
    /// Datagrams leave without a checksum (IPv4); then the kernel refuses segmented batches, which tests want.
    NoChecksum,
}

pub fn set(socket: impl AsFd, switch: Switch, on: bool) -> io::Result<()> {
    let (level, name) = match switch {
        Switch::UdpGro => (libc::SOL_UDP, libc::UDP_GRO),
        Switch::NoChecksum => (libc::SOL_SOCKET, libc::SO_NO_CHECK),
    };
    set_int(socket, level, name, libc::c_int::from(on))
}

/// Received datagrams say to which of this host's addresses they were sent ([`crate::datagram::Received::to`]).
pub fn set_packet_info(socket: impl AsFd, v4: bool) -> io::Result<()> {
    let (level, name) =
        if v4 { (libc::IPPROTO_IP, libc::IP_PKTINFO) } else { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) };
    set_int(socket, level, name, 1)
}

const IPV6_LEAST: libc::c_int = 1280;

/// What the sender's kernel does with a datagram that is larger than the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragmentation {
    /// Says so (`EMSGSIZE`) and never cuts it; what routers said about the path counts (`IP_PMTUDISC_DO`).
    Never,
    /// Cuts it into IP fragments (`IP_PMTUDISC_DONT`): with IPv4 routers may, too; with IPv6 into what every path carries (RFC 8200
    /// section 5), whatever is known of this one.
    Allowed,
}

pub fn set_fragmentation(socket: impl AsFd, v4: bool, how: Fragmentation) -> io::Result<()> {
    let (level, name) = if v4 {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
    };
    let value = match (how, v4) {
        (Fragmentation::Never, true) => libc::IP_PMTUDISC_DO,
        (Fragmentation::Allowed, true) => libc::IP_PMTUDISC_DONT,
        (Fragmentation::Never, false) => libc::IPV6_PMTUDISC_DO,
        (Fragmentation::Allowed, false) => libc::IPV6_PMTUDISC_DONT,
    };
    set_int(&socket, level, name, value)?;
    if v4 {
        return Ok(());
    }
    // An IPv6 socket may carry IPv4, too.
    let value = match how {
        Fragmentation::Never => libc::IP_PMTUDISC_DO,
        Fragmentation::Allowed => libc::IP_PMTUDISC_DONT,
    };
    set_int(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, value)?;
    let dont = libc::c_int::from(how == Fragmentation::Never);
    set_int(&socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, dont)?;
    match how {
        Fragmentation::Never => Ok(()),
        Fragmentation::Allowed => set_int(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU, IPV6_LEAST),
    }
}

/// What the kernel believes to be the largest packet (with IP header) that reaches `to`: the interface's MTU, or less if
/// the path said so. Sends nothing.
pub fn path_mtu(to: SocketAddr) -> io::Result<usize> {
    let any: SocketAddr =
        if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    let (level, name) =
        if to.is_ipv4() { (libc::IPPROTO_IP, libc::IP_MTU) } else { (libc::IPPROTO_IPV6, libc::IPV6_MTU) };
    get_int(&socket, level, name)
        .and_then(|mtu| usize::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData.into()))
}

pub(super) fn set_int(
    socket: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer is to a live int and the length is its size; the kernel copies it.
    checked(unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, (&raw const value).cast(), len)
    })
}

fn get_int(socket: impl AsFd, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both pointers are to live locals, and `len` is the size of the first.
    checked(unsafe {
        libc::getsockopt(socket.as_fd().as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len)
    })?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_to_loopback_has_the_mtu_of_the_loopback_interface() {
        let want: usize = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap().trim().parse().unwrap();
        assert_eq!(path_mtu(([127, 0, 0, 1], 9).into()).unwrap(), want.min(65_535));
    }

    #[test]
    fn what_must_not_be_cut_is_refused_and_what_may_be_is_sent() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for how in [Fragmentation::Never, Fragmentation::Allowed] {
            set_fragmentation(&socket, true, how).unwrap();
        }
    }
}
