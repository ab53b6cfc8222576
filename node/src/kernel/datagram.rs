//! `recvmsg` and `sendmsg` for batches of equal datagrams.
//!
//! A received batch is what `UDP_GRO` glued together: datagrams of one source and one size, the last perhaps shorter.
//! A sent batch is cut by the kernel (`UDP_SEGMENT`). One system call each, no allocation.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

/// What one receive gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    pub from: SocketAddr,
    /// Bytes written to the buffer.
    pub len: usize,
    /// Size of each datagram; `len` if there is only one.
    pub segment: usize,
}

/// May the call sleep?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// As long as the socket's own mode and timeout say.
    Socket,
    Never,
}

/// Room for the one control message either way, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);
const CONTROL: usize = 64;

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
    Ok(Received { from, len, segment })
}

/// Sends `bytes` to `to`; with `segment` the kernel cuts them into datagrams of that size.
pub fn send(
    socket: impl AsFd,
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
    if let Some(size) = segment {
        message.msg_control = control.0.as_mut_ptr().cast();
        put_segment(&mut message, size);
    }
    // SAFETY: every pointer in `message` is to a live local or to `bytes`, which the kernel only reads.
    let sent = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &message, flags(wait)) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn flags(wait: Wait) -> libc::c_int {
    let wait = if wait == Wait::Never { libc::MSG_DONTWAIT } else { 0 };
    wait | libc::MSG_NOSIGNAL
}

/// Writes the one control message `UDP_SEGMENT`; `msg_control` has room for [`CONTROL`] bytes.
fn put_segment(message: &mut libc::msghdr, size: u16) {
    // SAFETY: `CMSG_SPACE(2)` (24 bytes) fits into the zeroed, aligned `CONTROL` bytes that `msg_control` points to, so
    // the first header and its two bytes of data lie inside.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(2) as _;
        let head = libc::CMSG_FIRSTHDR(message);
        (*head).cmsg_level = libc::SOL_UDP;
        (*head).cmsg_type = libc::UDP_SEGMENT;
        (*head).cmsg_len = libc::CMSG_LEN(2) as _;
        libc::CMSG_DATA(head).cast::<u16>().write_unaligned(size);
    }
}

/// The size that `UDP_GRO` reports.
fn gro_size(message: &libc::msghdr) -> Option<usize> {
    // SAFETY: `msg_control` and `msg_controllen` are what the kernel made of our own buffer; the macros stay inside it.
    let mut head = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !head.is_null() {
        // SAFETY: not null, so it points to a whole header inside the buffer.
        let found = unsafe { *head };
        if (found.cmsg_level, found.cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO)
            && found.cmsg_len as usize >= CMSG_INT
        {
            // SAFETY: the length says that an int of data follows the header.
            let size = unsafe { libc::CMSG_DATA(head).cast::<libc::c_int>().read_unaligned() };
            return usize::try_from(size).ok();
        }
        // SAFETY: as for the first header.
        head = unsafe { libc::CMSG_NXTHDR(message, head) };
    }
    None
}

/// `CMSG_LEN` of one int.
// SAFETY: arithmetic on a constant.
const CMSG_INT: usize = unsafe { libc::CMSG_LEN(size_of::<libc::c_int>() as _) } as usize;

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
        put_segment(&mut message, 1452);
        assert_eq!(gro_size(&message), None, "it says another thing");
        // SAFETY: `put_segment` has just written a header and two bytes there; four fit.
        unsafe {
            let head = libc::CMSG_FIRSTHDR(&message);
            assert_eq!(((*head).cmsg_level, (*head).cmsg_type), (libc::SOL_UDP, libc::UDP_SEGMENT));
            assert_eq!(libc::CMSG_DATA(head).cast::<u16>().read_unaligned(), 1452);
            (*head).cmsg_type = libc::UDP_GRO;
            assert_eq!(gro_size(&message), None, "too short for what it says");
            (*head).cmsg_len = CMSG_INT as _;
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
            assert_eq!(got, Received { from: a.local_addr().unwrap(), len: 5, segment: 5 });
            assert_eq!(&buffer[..5], b"hello");
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
