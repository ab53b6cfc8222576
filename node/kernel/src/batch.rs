//! `recvmmsg` and `sendmmsg`: many datagrams of different senders in one system call.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use super::datagram::{Name, address};

/// Datagrams of one call.
pub const BATCH: usize = 32;

/// Room for received datagrams, each of at most `SIZE` bytes; what is longer is cut off.
pub struct Inbox<const SIZE: usize> {
    buffers: Box<[[u8; SIZE]; BATCH]>,
    /// From whom and how long, of the last call.
    heads: Vec<(Option<SocketAddr>, usize)>,
}

impl<const SIZE: usize> Default for Inbox<SIZE> {
    fn default() -> Self {
        Inbox { buffers: Box::new([[0; SIZE]; BATCH]), heads: Vec::with_capacity(BATCH) }
    }
}

impl<const SIZE: usize> Inbox<SIZE> {
    /// What is there now, at most [`BATCH`]; `WouldBlock` when there is nothing.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<()> {
        self.heads.clear();
        // SAFETY: plain data, all zeros is valid.
        let mut names: [libc::sockaddr_storage; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above; empty messages.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let mut parts: [libc::iovec; BATCH] = std::array::from_fn(|_| EMPTY);
        let places = messages.iter_mut().zip(&mut parts).zip(&mut names).zip(self.buffers.iter_mut());
        for (((message, part), name), buffer) in places {
            *part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: SIZE };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_name = (&raw mut *name).cast();
            message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        }
        let (fd, none) = (socket.as_fd().as_raw_fd(), std::ptr::null_mut());
        // SAFETY: every message points to live locals and to a buffer of `self`, each with its true length; there are BATCH.
        let got = unsafe {
            libc::recvmmsg(fd, messages.as_mut_ptr(), BATCH as libc::c_uint, libc::MSG_DONTWAIT, none)
        };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        let heads = messages.iter().zip(&names).take(got);
        self.heads.extend(heads.map(|(m, name)| (address(name), m.msg_len as usize)));
        Ok(())
    }

    /// Was there perhaps more than one call can take?
    pub fn is_full(&self) -> bool {
        self.heads.len() == BATCH
    }

    /// The datagrams of the last call, with their senders.
    pub fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let all = self.heads.iter().zip(self.buffers.iter());
        all.filter_map(|((from, len), buffer)| Some(((*from)?, buffer.get(..*len)?)))
    }
}

const EMPTY: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

/// Sends each to its address, without waiting, and gives how many the kernel took: at most [`BATCH`]. An error is of the
/// first datagram alone; those behind it were not tried.
pub fn send(socket: impl AsFd, datagrams: &[(SocketAddr, Vec<u8>)]) -> io::Result<usize> {
    // SAFETY: plain data, all zeros is a valid empty message.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    let mut parts: [libc::iovec; BATCH] = std::array::from_fn(|_| EMPTY);
    let mut names: [Option<Name>; BATCH] = std::array::from_fn(|_| None);
    let places = messages.iter_mut().zip(&mut parts).zip(&mut names);
    for (((message, part), name), (to, bytes)) in places.zip(datagrams) {
        *part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        message.msg_hdr.msg_iov = part;
        message.msg_hdr.msg_iovlen = 1;
        let name = name.insert(Name::of(to));
        (message.msg_hdr.msg_name, message.msg_hdr.msg_namelen) = name.parts();
    }
    let count = datagrams.len().min(BATCH) as libc::c_uint;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the first `count` messages point to live locals and to bytes that the kernel only reads.
    let sent = unsafe { libc::sendmmsg(socket.as_fd().as_raw_fd(), messages.as_mut_ptr(), count, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn datagrams_of_many_senders_arrive_with_their_senders_and_answers_go_back_to_each() {
        for ip in ["127.0.0.1", "::1"] {
            let Ok(server) = UdpSocket::bind((ip, 0)) else { continue };
            let to = server.local_addr().unwrap();
            let clients: Vec<UdpSocket> = (0..40).map(|_| UdpSocket::bind((ip, 0)).unwrap()).collect();
            for (i, client) in clients.iter().enumerate() {
                client.send_to(&vec![i as u8; i + 1], to).unwrap();
            }
            let mut inbox = Inbox::<64>::default();
            let mut answers = Vec::new();
            while answers.len() < clients.len() {
                inbox.receive(&server).unwrap();
                answers.extend(inbox.datagrams().map(|(from, bytes)| (from, bytes.to_vec())));
            }
            assert_eq!(inbox.receive(&server).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            assert_eq!(inbox.datagrams().count(), 0, "nothing of the call before");
            let mut rest = answers.as_slice();
            while !rest.is_empty() {
                rest = &rest[send(&server, rest).unwrap()..];
            }
            for (i, client) in clients.iter().enumerate() {
                let mut buffer = [0; 64];
                let (n, from) = client.recv_from(&mut buffer).unwrap();
                assert_eq!((n, from, buffer[0]), (i + 1, to, i as u8));
            }
        }
    }

    #[test]
    fn what_is_too_long_is_cut_and_harms_nothing() {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        a.send_to(&[7; 1000], b.local_addr().unwrap()).unwrap();
        let mut inbox = Inbox::<64>::default();
        inbox.receive(&b).unwrap();
        assert_eq!(inbox.datagrams().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>(), [64]);
    }
}
