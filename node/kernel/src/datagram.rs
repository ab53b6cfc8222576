//! `recvmsg` and `sendmsg` for batches of equal datagrams.
//!
//! A received batch is what `UDP_GRO` glued together: datagrams of one source and one size, the last perhaps shorter.
//! A sent batch is cut by the kernel (`UDP_SEGMENT`). One system call each, no allocation.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

/// What one receive gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    pub from: SocketAddr,
    /// Bytes written to the buffer.
    pub len: usize,
    /// Size of each datagram; `len` if there is only one.
    pub segment: usize,
    /// To which of this host's addresses; `None` unless the socket was asked ([`crate::option::set_packet_info`]).
    pub to: Option<IpAddr>,
}

/// May the call sleep?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// As long as the socket's own mode and timeout say.
    Socket,
    Never,
}

/// Room for the control messages either way, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);
const CONTROL: usize = 96;

/// A batch from one source. `WouldBlock` when there is none. A batch larger than `buffer` would be cut: give it 64 KiB.
pub fn receive(socket: impl AsFd, buffer: &mut [u8], wait: Wait) -> io::Result<Received> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: `msghdr` is plain data, all zeros is a valid empty one.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    // SAFETY: every pointer in `message` is to a live local or to `buffer`, each with its true length.
    let len = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &mut message, flags(wait)) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: zeroed above, so initialised whatever the kernel wrote of it.
    let from = address(unsafe { name.assume_init_ref() }).ok_or(io::ErrorKind::InvalidData)?;
    let segment = gro_size(&message).filter(|size| *size > 0).unwrap_or(len);
    Ok(Received { from, len, segment, to: packet_info(&message) })
}

/// Sends `bytes` to `to`; with `segment` the kernel cuts them into datagrams of that size.
pub fn send(
    socket: impl AsFd,
    to: &SocketAddr,
    bytes: &[u8],
    segment: Option<u16>,
    wait: Wait,
) -> io::Result<()> {
    send_from(socket, None, to, bytes, segment, wait)
}

/// The same with a source of one's choice among this host's addresses: who knows it by one does not listen to another.
pub fn send_from(
    socket: impl AsFd,
    from: Option<IpAddr>,
    to: &SocketAddr,
    bytes: &[u8],
    segment: Option<u16>,
    wait: Wait,
) -> io::Result<()> {
    let mut name = Name::of(to);
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: `msghdr` is plain data, all zeros is a valid empty one.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    (message.msg_name, message.msg_namelen) = name.parts();
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    if let Some(size) = segment {
        put(&mut message, libc::SOL_UDP, libc::UDP_SEGMENT, size);
    }
    if let Some(from) = from {
        put_source(&mut message, from, to);
    }
    // SAFETY: every pointer in `message` is to a live local or to `bytes`, which the kernel only reads.
    let sent = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &message, flags(wait)) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn flags(wait: Wait) -> libc::c_int {
    let wait = if wait == Wait::Never { libc::MSG_DONTWAIT } else { 0 };
    wait | libc::MSG_NOSIGNAL
}

/// Writes one more control message behind those that are there; `msg_control` has room for [`CONTROL`] zeroed bytes.
#[allow(clippy::unnecessary_cast, reason = "lengths have other types with musl")]
fn put<T: Copy>(message: &mut libc::msghdr, level: libc::c_int, kind: libc::c_int, value: T) {
    let (used, size) = (message.msg_controllen as usize, size_of::<T>() as libc::c_uint);
    // SAFETY: arithmetic on numbers.
    let (space, len) = unsafe { (libc::CMSG_SPACE(size) as usize, libc::CMSG_LEN(size)) };
    if used + space > CONTROL {
        return;
    }
    // SAFETY: the message lies inside the `CONTROL` bytes, as was just seen, and begins aligned, because `CMSG_SPACE` of all
    // before it is.
    unsafe {
        let head = message.msg_control.cast::<u8>().add(used).cast::<libc::cmsghdr>();
        (*head).cmsg_level = level;
        (*head).cmsg_type = kind;
        (*head).cmsg_len = len as _;
        libc::CMSG_DATA(head).cast::<T>().write_unaligned(value);
    }
    message.msg_controllen = (used + space) as _;
}

fn put_source(message: &mut libc::msghdr, from: IpAddr, to: &SocketAddr) {
    match (from, to) {
        (IpAddr::V4(from), SocketAddr::V4(_)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            put(message, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        (IpAddr::V6(from), SocketAddr::V6(_)) => {
            let info =
                libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: from.octets() }, ipi6_ifindex: 0 };
            put(message, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        _ => {}
    }
}

/// The size that `UDP_GRO` reports.
fn gro_size(message: &libc::msghdr) -> Option<usize> {
    usize::try_from(get::<libc::c_int>(message, libc::SOL_UDP, libc::UDP_GRO)?).ok()
}

/// The address that what came was sent to.
fn packet_info(message: &libc::msghdr) -> Option<IpAddr> {
    if let Some(v4) = get::<libc::in_pktinfo>(message, libc::IPPROTO_IP, libc::IP_PKTINFO) {
        return Some(Ipv4Addr::from(v4.ipi_addr.s_addr.to_ne_bytes()).into());
    }
    let v6 = get::<libc::in6_pktinfo>(message, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO)?;
    Some(Ipv6Addr::from(v6.ipi6_addr.s6_addr).into())
}

/// A type of which any bytes are a value.
trait Plain: Copy {}
impl Plain for libc::c_int {}
impl Plain for libc::in_pktinfo {}
impl Plain for libc::in6_pktinfo {}

/// What the control message of this kind says.
fn get<T: Plain>(message: &libc::msghdr, level: libc::c_int, kind: libc::c_int) -> Option<T> {
    // SAFETY: arithmetic on a number.
    let least = unsafe { libc::CMSG_LEN(size_of::<T>() as libc::c_uint) } as usize;
    // SAFETY: `msg_control` and `msg_controllen` are what the kernel made of our own buffer; the macros stay inside it.
    let mut head = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !head.is_null() {
        // SAFETY: not null, so it points to a whole header inside the buffer.
        let found = unsafe { *head };
        if (found.cmsg_level, found.cmsg_type) == (level, kind) && found.cmsg_len as usize >= least {
            // SAFETY: the length says that so many bytes of data follow the header, and any bytes are a value.
            return Some(unsafe { libc::CMSG_DATA(head).cast::<T>().read_unaligned() });
        }
        // SAFETY: as for the first header.
        head = unsafe { libc::CMSG_NXTHDR(message, head) };
    }
    None
}

/// A socket address as the kernel reads it.
pub(super) enum Name {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
}

impl Name {
    pub(super) fn of(address: &SocketAddr) -> Name {
        match address {
            SocketAddr::V4(v4) => Name::V4(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => Name::V6(libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }

    pub(super) fn parts(&mut self) -> (*mut libc::c_void, libc::socklen_t) {
        match self {
            Name::V4(name) => ((&raw mut *name).cast(), size_of_val(name) as libc::socklen_t),
            Name::V6(name) => ((&raw mut *name).cast(), size_of_val(name) as libc::socklen_t),
        }
    }
}

pub(super) fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which structure it is, and the storage is large and aligned enough for each.
            let v4 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    /// The two that follow need no kernel: Miri can run them.
    #[test]
    fn in_memory_an_address_comes_back_from_the_form_the_kernel_reads() {
        for text in ["192.0.2.7:51820", "[2001:db8::7]:1", "[fe80::1%3]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut name = Name::of(&address);
            let (from, len) = name.parts();
            let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
            // SAFETY: `name` has `len` bytes, the storage is larger, and they do not overlap.
            unsafe {
                std::ptr::copy_nonoverlapping(from.cast::<u8>(), storage.as_mut_ptr().cast(), len as usize)
            };
            // SAFETY: zeroed, and overwritten with plain data.
            let storage = unsafe { storage.assume_init() };
            assert_eq!(super::address(&storage), Some(address));
        }
    }

    #[test]
    fn in_memory_control_messages_are_written_and_read_inside_their_room() {
        let mut control = Control([0; CONTROL]);
        // SAFETY: as in `send`.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_control = control.0.as_mut_ptr().cast();
        put(&mut message, libc::SOL_UDP, libc::UDP_SEGMENT, 1452u16);
        let of_ours: IpAddr = "2001:db8::5".parse().unwrap();
        put_source(&mut message, of_ours, &"[2001:db8::7]:1".parse().unwrap());
        assert_eq!((gro_size(&message), packet_info(&message)), (None, Some(of_ours)));
        // SAFETY: `put` has just written a header and two bytes there; four fit.
        unsafe {
            let head = libc::CMSG_FIRSTHDR(&message);
            assert_eq!(((*head).cmsg_level, (*head).cmsg_type), (libc::SOL_UDP, libc::UDP_SEGMENT));
            assert_eq!(libc::CMSG_DATA(head).cast::<u16>().read_unaligned(), 1452);
            (*head).cmsg_type = libc::UDP_GRO;
            assert_eq!(gro_size(&message), None, "too short for what it says");
            (*head).cmsg_len = libc::CMSG_LEN(4) as _;
            libc::CMSG_DATA(head).cast::<libc::c_int>().write_unaligned(900);
        }
        assert_eq!(gro_size(&message), Some(900));
        message.msg_controllen = 0;
        assert_eq!(gro_size(&message), None);
    }

    fn pair(ip: &str) -> Option<(UdpSocket, UdpSocket)> {
        Some((UdpSocket::bind((ip, 0)).ok()?, UdpSocket::bind((ip, 0)).ok()?))
    }

    #[test]
    fn a_datagram_and_its_source_arrive_as_they_were_sent() {
        for ip in ["127.0.0.1", "::1"] {
            let Some((a, b)) = pair(ip) else { continue };
            let to = b.local_addr().unwrap();
            send(&a, &to, b"hello", None, Wait::Never).unwrap();
            let mut buffer = [0; 64];
            let got = receive(&b, &mut buffer, Wait::Socket).unwrap();
            assert_eq!(got, Received { from: a.local_addr().unwrap(), len: 5, segment: 5, to: None });
            assert_eq!(&buffer[..5], b"hello");
        }
    }

    /// 127.0.0.2 is this host's, too, and not what it would answer from by itself.
    #[test]
    fn an_answer_comes_from_the_address_that_was_asked() {
        let cases =
            [("0.0.0.0", "127.0.0.1", "127.0.0.2"), ("::", "127.0.0.1", "127.0.0.2"), ("::", "::1", "::1")];
        for (bound, asker, asked) in cases {
            let (Ok(server), Ok(client)) = (UdpSocket::bind((bound, 0)), UdpSocket::bind((asker, 0))) else {
                continue;
            };
            super::super::option::set_packet_info(&server, bound == "0.0.0.0").unwrap();
            let asked = SocketAddr::new(asked.parse().unwrap(), server.local_addr().unwrap().port());
            client.send_to(b"hello", asked).unwrap();
            let mut buffer = [0; 64];
            let got = receive(&server, &mut buffer, Wait::Socket).unwrap();
            assert_eq!(got.to.map(|ip| ip.to_canonical()), Some(asked.ip()));
            // Also of a batch.
            for segment in [None, Some(3)] {
                send_from(&server, got.to, &got.from, b"hello", segment, Wait::Socket).unwrap();
                assert_eq!(client.recv_from(&mut buffer).unwrap().1, asked, "{bound}");
            }
        }
    }

    #[test]
    fn an_empty_socket_says_would_block_and_an_empty_datagram_does_not() {
        let (a, b) = pair("127.0.0.1").unwrap();
        let mut buffer = [0; 8];
        let error = receive(&b, &mut buffer, Wait::Never).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        send(&a, &b.local_addr().unwrap(), b"", None, Wait::Never).unwrap();
        assert_eq!(receive(&b, &mut buffer, Wait::Socket).unwrap().len, 0);
    }

    #[test]
    fn a_segmented_batch_arrives_as_the_datagrams_it_stands_for() {
        let (a, b) = pair("127.0.0.1").unwrap();
        let bytes: Vec<u8> = (0..10 * 100 + 7).map(|i| (i / 100) as u8).collect();
        send(&a, &b.local_addr().unwrap(), &bytes, Some(100), Wait::Never).unwrap();
        let mut buffer = [0; 2048];
        for n in 0..11 {
            let got = receive(&b, &mut buffer, Wait::Socket).unwrap();
            assert_eq!((got.len, got.segment), if n < 10 { (100, 100) } else { (7, 7) });
            assert_eq!(buffer[0], n);
        }
    }

    #[test]
    fn a_glued_batch_names_the_size_of_its_datagrams() {
        let (a, b) = pair("127.0.0.1").unwrap();
        super::super::option::set(&b, super::super::option::Switch::UdpGro, true).unwrap();
        let bytes = vec![7; 10 * 100 + 7];
        send(&a, &b.local_addr().unwrap(), &bytes, Some(100), Wait::Never).unwrap();
        let mut buffer = vec![0; 65_536];
        let got = receive(&b, &mut buffer, Wait::Socket).unwrap();
        assert_eq!((got.len, got.segment), (bytes.len(), 100));
    }
}
