//! The WireGuard sockets: one per address family, segmentation offload both ways, never blocking.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use quinn_udp::{RecvMeta, Transmit as Message, UdpSocketState};
use rustix::io::Errno;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};
use warren_node_core::dataplane::Transmit;

/// As wireguard-go and its relatives: a burst of 64 KiB batches must fit while a worker is elsewhere.
const BUFFER_BYTES: usize = 7 * 1024 * 1024;
/// Room for one receive: the largest batch UDP_GRO makes.
pub const MAX_RECEIVE: usize = 65_536;

#[derive(Debug, thiserror::Error)]
pub enum UdpError {
    #[error(
        "UDP port {port} is in use: choose another with --port (0 for any free one), or stop the program that has it"
    )]
    InUse { port: u16 },
    #[error("not allowed to bind UDP port {port}: choose one above 1023 with --port")]
    NotAllowed { port: u16 },
    #[error("cannot open the WireGuard socket on UDP port {port}: {source}")]
    Io { port: u16, source: io::Error },
}

/// Counted for `status` and `doctor`.
#[derive(Debug, Default)]
pub struct UdpCounters {
    /// Datagrams given up: full buffers, no route, too big.
    pub lost: AtomicU64,
    /// Sends repeated datagram by datagram because segmentation was refused.
    pub unsegmented: AtomicU64,
    /// Datagrams larger than the path allows (they carry "don't fragment").
    pub too_big: AtomicU64,
}

pub struct Lane {
    socket: UdpSocket,
    state: UdpSocketState,
    counters: UdpCounters,
}

/// The sockets of both families; at least one is there.
pub struct Sockets {
    pub v4: Option<Lane>,
    pub v6: Option<Lane>,
    port: u16,
}

/// What to do when the send buffer is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Own traffic: wait a little, that is back-pressure.
    Wait,
    /// Answers to strangers: never.
    None,
}

impl Sockets {
    /// Binds both families to `port`; 0 lets the kernel choose one for both.
    pub fn open(port: u16) -> Result<Sockets, UdpError> {
        let v4 = Lane::open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
        let chosen = v4.as_ref().and_then(Lane::port).unwrap_or(port);
        let v6 = Lane::open(SocketAddr::from((Ipv6Addr::UNSPECIFIED, chosen)))?;
        let port = v6.as_ref().and_then(Lane::port).unwrap_or(chosen);
        if v4.is_none() && v6.is_none() {
            return Err(UdpError::Io { port, source: Errno::AFNOSUPPORT.into() });
        }
        Ok(Sockets { v4, v6, port })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.v4.iter().chain(&self.v6)
    }

    pub fn send(&self, transmit: &Transmit<'_>, patience: Patience) {
        let lane = if transmit.to.is_ipv4() { &self.v4 } else { &self.v6 };
        if let Some(lane) = lane {
            lane.send(transmit, patience);
        }
    }

    pub fn counters(&self) -> [(&'static str, u64); 3] {
        let sum = |f: fn(&UdpCounters) -> &AtomicU64| {
            self.lanes().map(|lane| f(&lane.counters).load(Ordering::Relaxed)).sum()
        };
        [
            ("udp-lost", sum(|c| &c.lost)),
            ("udp-unsegmented", sum(|c| &c.unsegmented)),
            ("udp-too-big", sum(|c| &c.too_big)),
        ]
    }
}

impl Lane {
    /// `None` if the host has no such address family.
    fn open(address: SocketAddr) -> Result<Option<Lane>, UdpError> {
        let port = address.port();
        match bind(address) {
            Ok(socket) => {
                let state = UdpSocketState::new((&socket).into()).map_err(|e| error(port, e))?;
                force_buffers(&socket);
                Ok(Some(Lane { socket, state, counters: UdpCounters::default() }))
            }
            Err(e) if address.is_ipv6() && is_missing_family(&e) => {
                tracing::warn!("no IPv6 on this host: peers are reached over IPv4 only");
                Ok(None)
            }
            Err(e) if is_missing_family(&e) => Ok(None),
            Err(e) => Err(error(port, e)),
        }
    }

    fn port(&self) -> Option<u16> {
        self.socket.local_addr().ok().map(|a| a.port())
    }

    /// One batch of equal datagrams from one source: source, bytes and size of each. `WouldBlock` when empty.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<(SocketAddr, usize, usize)> {
        let mut meta = [RecvMeta::default()];
        self.state.recv((&self.socket).into(), &mut [IoSliceMut::new(buffer)], &mut meta)?;
        let [meta] = meta;
        Ok((meta.addr, meta.len, meta.stride.max(1)))
    }

    fn send(&self, transmit: &Transmit<'_>, patience: Patience) {
        let Some(segment) = transmit.segment else {
            return self.send_one(transmit.to, transmit.bytes, None, patience).unwrap_or(());
        };
        // The driver or the kernel may refuse segmentation only once it is asked.
        let per_send = segment.saturating_mul(self.state.max_gso_segments().max(1));
        for chunk in transmit.bytes.chunks(per_send.max(1)) {
            let whole = self.send_one(transmit.to, chunk, Some(segment), patience);
            if whole.is_err() {
                self.counters.unsegmented.fetch_add(1, Ordering::Relaxed);
                for datagram in chunk.chunks(segment) {
                    let _ = self.send_one(transmit.to, datagram, None, patience);
                }
            }
        }
    }

    /// `Err` only if segmentation was refused and the datagrams should be sent one by one.
    fn send_one(
        &self,
        to: SocketAddr,
        bytes: &[u8],
        segment: Option<usize>,
        patience: Patience,
    ) -> Result<(), ()> {
        let segment = segment.filter(|s| *s < bytes.len());
        let message =
            Message { destination: to, ecn: None, contents: bytes, segment_size: segment, src_ip: None };
        let mut waits = 0;
        loop {
            let Err(e) = self.state.try_send((&self.socket).into(), &message) else { return Ok(()) };
            match e.raw_os_error().map(Errno::from_raw_os_error) {
                // An ICMP error of an earlier datagram is reported once; this one was not sent.
                Some(Errno::CONNREFUSED) if waits < 1 => waits += 1,
                Some(Errno::AGAIN | Errno::NOBUFS) if patience == Patience::Wait && waits < 20 => {
                    waits += 1;
                    self.wait_writable();
                }
                Some(Errno::IO | Errno::INVAL) if segment.is_some() => return Err(()),
                Some(Errno::MSGSIZE) if segment.is_some() => return Err(()),
                errno => {
                    self.count_lost(errno, bytes.len().div_ceil(segment.unwrap_or(bytes.len()).max(1)));
                    return Ok(());
                }
            }
        }
    }

    fn count_lost(&self, errno: Option<Errno>, datagrams: usize) {
        let counter =
            if errno == Some(Errno::MSGSIZE) { &self.counters.too_big } else { &self.counters.lost };
        counter.fetch_add(u64::try_from(datagrams).unwrap_or(1), Ordering::Relaxed);
    }

    fn wait_writable(&self) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let limit = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
        let _ = poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], Some(&limit));
    }
}

impl AsFd for Lane {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// With CAP_NET_ADMIN over the host's limit, else as large as the host allows.
fn force_buffers(socket: &UdpSocket) {
    if sockopt::set_socket_recv_buffer_size_force(socket, BUFFER_BYTES).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(socket, BUFFER_BYTES);
    }
    if sockopt::set_socket_send_buffer_size_force(socket, BUFFER_BYTES).is_err() {
        let _ = sockopt::set_socket_send_buffer_size(socket, BUFFER_BYTES);
    }
}

fn is_missing_family(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT)
    )
}

fn error(port: u16, source: io::Error) -> UdpError {
    match source.kind() {
        io::ErrorKind::AddrInUse => UdpError::InUse { port },
        io::ErrorKind::PermissionDenied => UdpError::NotAllowed { port },
        _ => UdpError::Io { port, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive_all(lane: &Lane, wanted: usize) -> Vec<Vec<u8>> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut got = Vec::new();
        let mut buffer = vec![0; MAX_RECEIVE];
        while got.len() < wanted {
            let limit = Timespec { tv_sec: 5, tv_nsec: 0 };
            let ready = poll(&mut [PollFd::new(lane, PollFlags::IN)], Some(&limit)).expect("poll");
            assert_eq!(ready, 1, "only {} of {wanted} datagrams came", got.len());
            let (_, len, stride) = lane.receive(&mut buffer).expect("receive");
            got.extend(buffer[..len].chunks(stride).map(<[u8]>::to_vec));
        }
        got
    }

    #[test]
    fn every_datagram_of_a_batch_arrives_in_order_over_both_families() {
        let (a, b) = (Sockets::open(0).expect("bind"), Sockets::open(0).expect("bind"));
        for to in [
            SocketAddr::from((Ipv4Addr::LOCALHOST, b.port())),
            SocketAddr::from((Ipv6Addr::LOCALHOST, b.port())),
        ] {
            let Some(lane) = (if to.is_ipv4() { &b.v4 } else { &b.v6 }) else { continue };
            let bytes: Vec<u8> = (0..40 * 1000 + 10).map(|i| (i / 1000) as u8).collect();
            a.send(&Transmit { to, bytes: &bytes, segment: Some(1000) }, Patience::Wait);
            let got = receive_all(lane, 41);
            assert_eq!(got.concat(), bytes);
            assert_eq!((got[0].len(), got[40].len()), (1000, 10));
        }
    }

    #[test]
    fn a_port_in_use_is_an_error_that_names_the_flag() {
        let first = Sockets::open(0).expect("bind");
        let error = Sockets::open(first.port()).err().expect("refused");
        assert!(error.to_string().contains("--port"), "{error}");
    }

    #[test]
    fn what_cannot_be_sent_is_counted() {
        let sockets = Sockets::open(0).expect("bind");
        let bytes = vec![0; 65_507];
        // Nobody is at this documentation address in the test's namespace, or the datagram is too big for any link.
        let to = SocketAddr::from(([255, 255, 255, 255], 9));
        sockets.send(&Transmit { to, bytes: &bytes, segment: None }, Patience::None);
        let total: u64 = sockets.counters().iter().map(|(_, n)| n).sum();
        assert_eq!(total, 1);
    }
}
