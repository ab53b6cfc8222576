//! The WireGuard sockets, all on one port: for each address family one for handshakes and everything else that is not
//! data, and one for each packet worker.
//!
//! ```text
//!                      ┌─ 0  handshakes: types 1–3, garbage, floods       → the control worker
//!   port 51820 ── BPF ─┼─ 1  data for worker 0 (receiver index mod n = 0) → ingress of worker 0
//!                      └─ n  data for worker n-1                          → ingress of worker n-1
//! ```
//!
//! The kernel steers by a small program ([`warren_kernel::steer`]); where it cannot, it spreads by address, and every
//! worker still handles whatever it gets. Answers to strangers leave by socket 0: a stranger whose address does not
//! resolve fills only that send buffer, never one that carries data. Sends never sleep in the kernel.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};
use warren_node_core::clock::Mono;
use warren_node_core::dataplane::Transmit;

use crate::clock::boot;
use crate::door::Detours;
use warren_kernel::datagram::{self, Received, Wait};
use warren_kernel::option::{self, Fragmentation, Switch};
use warren_kernel::steer;

mod rests;
use rests::{Rests, Try};

/// As wireguard-go and its relatives: a burst of 64 KiB batches must fit while a worker is elsewhere.
const BUFFER_BYTES: usize = 7 * 1024 * 1024;
/// Room for one receive: the largest batch UDP_GRO makes.
pub const MAX_RECEIVE: usize = 65_536;
/// Segments that one send may have; UDP_MAX_SEGMENTS of older kernels.
const MAX_SEGMENTS: usize = 64;
/// How often own traffic waits for a full send buffer, each time at most [`WAIT_MS`].
const WAITS: u32 = 4;
const WAIT_MS: i64 = 5;
/// Narrow paths remembered until somebody looks.
const MAX_NARROW: usize = 256;

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
    lost: AtomicU64,
    /// Sends repeated datagram by datagram because segmentation was refused.
    unsegmented: AtomicU64,
    /// Datagrams larger than the link to the peer, sent in IP fragments.
    fragmented: AtomicU64,
    /// Answers to strangers not sent because the socket for them was full.
    unanswered: AtomicU64,
}

/// One socket.
#[derive(Debug)]
pub struct Port(UdpSocket);

/// The sockets of one address family.
#[derive(Debug)]
pub struct Family {
    control: Port,
    data: Vec<Port>,
}

/// The sockets of both families; at least one is there.
#[derive(Debug)]
pub struct Sockets {
    v4: Option<Family>,
    v6: Option<Family>,
    counters: UdpCounters,
    notes: Narrow,
    rests: Rests,
    port: u16,
    /// Relays that are reached through doors.
    pub detours: Detours,
}

/// Where datagrams did not fit, since anybody asked.
#[derive(Debug, Default)]
struct Narrow(Mutex<Vec<SocketAddr>>);

impl Narrow {
    fn add(&self, to: SocketAddr) {
        let mut places = self.0.lock();
        if places.len() < MAX_NARROW && !places.contains(&to) {
            places.push(to);
        }
    }
}

/// Who sends, and so from which socket, and what happens when its buffer is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A packet worker with its own traffic: waits a little, that is back-pressure.
    Worker(usize),
    /// Handshakes, timers, answers to strangers: never waits.
    Control,
}

impl Sockets {
    /// Binds both families to `port`; 0 lets the kernel choose one for both.
    pub fn open(port: u16, workers: usize) -> Result<Sockets, UdpError> {
        let v4 = Family::open((Ipv4Addr::UNSPECIFIED, port).into(), workers)?;
        let chosen = v4.as_ref().map_or(port, Family::port);
        let v6 = Family::open((Ipv6Addr::UNSPECIFIED, chosen).into(), workers)?;
        let port = v6.as_ref().map_or(chosen, Family::port);
        if v4.is_none() && v6.is_none() {
            return Err(UdpError::Io { port, source: Errno::AFNOSUPPORT.into() });
        }
        let (counters, notes, rests) = (UdpCounters::default(), Narrow::default(), Rests::default());
        Ok(Sockets { v4, v6, counters, notes, rests, port, detours: Detours::default() })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The sockets that packet worker `worker` reads.
    pub fn of_worker(&self, worker: usize) -> impl Iterator<Item = &Port> {
        self.families().filter_map(move |family| family.data.get(worker))
    }

    /// The sockets for everything that is not data.
    pub fn of_control(&self) -> impl Iterator<Item = &Port> {
        self.families().map(|family| &family.control)
    }

    fn families(&self) -> impl Iterator<Item = &Family> {
        self.v4.iter().chain(&self.v6)
    }

    pub fn send(&self, transmit: &Transmit<'_>, sender: Sender) {
        let to = self.detours.out(transmit.to);
        self.send_at(&Transmit { to, ..*transmit }, sender, boot);
    }

    /// To the place itself, whatever door there is for it.
    pub fn send_straight(&self, transmit: &Transmit<'_>, sender: Sender) {
        self.send_at(transmit, sender, boot);
    }

    /// Where a door's socket finds these: over loopback.
    pub fn near(&self) -> SocketAddr {
        let ip =
            if self.v4.is_some() { Ipv4Addr::LOCALHOST.into() } else { IpAddr::from(Ipv6Addr::LOCALHOST) };
        SocketAddr::new(ip, self.port)
    }

    /// The time is asked for only if some place has refused segmented batches.
    fn send_at(&self, transmit: &Transmit<'_>, sender: Sender, now: fn() -> Mono) {
        let family = if transmit.to.is_ipv4() { &self.v4 } else { &self.v6 };
        match family {
            Some(family) => family.send(transmit, sender, self, now),
            None => count(&self.counters.lost, transmit.datagrams()),
        }
    }

    /// Places whose path was too narrow for a datagram since the last call.
    pub fn take_narrow(&self) -> Vec<SocketAddr> {
        std::mem::take(&mut *self.notes.0.lock())
    }

    pub fn counters(&self) -> [(&'static str, u64); 5] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("udp-lost", read(&self.counters.lost)),
            ("udp-unsegmented", read(&self.counters.unsegmented)),
            ("udp-places-unsegmented", self.rests.count()),
            ("udp-fragmented", read(&self.counters.fragmented)),
            ("udp-unanswered", read(&self.counters.unanswered)),
        ]
    }
}

fn count(counter: &AtomicU64, times: usize) {
    counter.fetch_add(u64::try_from(times).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl Family {
    /// `None` if the host has no such address family.
    fn open(address: SocketAddr, workers: usize) -> Result<Option<Family>, UdpError> {
        let port = address.port();
        match Family::bind(address, workers) {
            Ok(family) => Ok(Some(family)),
            Err(e) if is_missing_family(&e) => {
                if address.is_ipv6() {
                    tracing::warn!("no IPv6 on this host: peers are reached over IPv4 only");
                }
                Ok(None)
            }
            Err(e) => Err(error(port, e)),
        }
    }

    fn bind(address: SocketAddr, workers: usize) -> io::Result<Family> {
        // Sockets that share a port do not see that a stranger's has it; one that does not share it sees.
        let mut address = address;
        let alone = plain_socket(address)?;
        alone.bind(&address.into())?;
        address.set_port(local_port(&alone)?);
        drop(alone);
        let control = Port::bind(address, Fragmentation::Allowed)?;
        let data: io::Result<Vec<Port>> =
            (0..workers).map(|_| Port::bind(address, Fragmentation::Never)).collect();
        let family = Family { control, data: data? };
        let workers = u32::try_from(workers).unwrap_or(1);
        if let Err(e) = steer::attach(&family.control.0, workers) {
            tracing::warn!("the kernel spreads datagrams over the workers by address, not by session: {e}");
        }
        Ok(family)
    }

    fn port(&self) -> u16 {
        self.control.0.local_addr().map_or(0, |address| address.port())
    }

    fn send(&self, transmit: &Transmit<'_>, sender: Sender, all: &Sockets, now: fn() -> Mono) {
        let port = match sender {
            Sender::Worker(worker) => self.data.get(worker).unwrap_or(&self.control),
            Sender::Control => &self.control,
        };
        let (counters, notes) = (&all.counters, &all.notes);
        let shot = Shot { family: self, port, sender, counters, notes, to: transmit.to };
        if transmit.pieces {
            return shot.in_pieces(transmit);
        }
        let Some(size) = transmit.segment.and_then(|size| u16::try_from(size).ok()) else {
            shot.single(transmit.bytes);
            return;
        };
        let rests = &all.rests;
        match rests.ask(transmit.to, now) {
            Try::OneByOne => {
                shot.one_by_one(transmit.bytes, size);
            }
            may => match shot.segmented(transmit.bytes, size) {
                false => rests.refused(transmit.to, now()),
                true if may == Try::SegmentedAgain => rests.taken(transmit.to),
                true => {}
            },
        }
    }
}

/// One send in progress.
struct Shot<'a> {
    family: &'a Family,
    port: &'a Port,
    sender: Sender,
    counters: &'a UdpCounters,
    notes: &'a Narrow,
    to: SocketAddr,
}

impl Shot<'_> {
    /// The path has shown that it does not carry these whole, though the kernel does not know it.
    fn in_pieces(&self, transmit: &Transmit<'_>) {
        let size = transmit.segment.unwrap_or(transmit.bytes.len()).max(1);
        for datagram in transmit.bytes.chunks(size) {
            match self.try_send(&self.family.control, datagram, None) {
                Ok(()) => count(&self.counters.fragmented, 1),
                Err(errno) => self.count_lost(errno, 1),
            }
        }
    }

    /// False if the kernel would not have a segmented batch; then its datagrams left one by one.
    fn segmented(&self, bytes: &[u8], size: u16) -> bool {
        let mut taken = true;
        for chunk in bytes.chunks(usize::from(size).max(1) * MAX_SEGMENTS) {
            match self.try_send(self.port, chunk, Some(size)) {
                Ok(()) => {}
                // A device without checksum offload refuses (EIO, EINVAL); a datagram over the link's MTU may not be
                // segmented at all (EINVAL, EMSGSIZE). Sent one by one, the second kind says which it is.
                Err(Errno::IO | Errno::INVAL | Errno::MSGSIZE | Errno::OPNOTSUPP) => {
                    self.counters.unsegmented.fetch_add(1, Ordering::Relaxed);
                    taken &= self.one_by_one(chunk, size) > 0;
                }
                Err(errno) => self.count_lost(errno, chunk.len().div_ceil(usize::from(size).max(1))),
            }
        }
        taken
    }

    /// Returns how many had to be sent in IP fragments.
    fn one_by_one(&self, bytes: &[u8], size: u16) -> usize {
        bytes.chunks(usize::from(size).max(1)).filter(|datagram| self.single(datagram)).count()
    }

    /// True if it was larger than the link and left in IP fragments.
    fn single(&self, datagram: &[u8]) -> bool {
        match self.try_send(self.port, datagram, None) {
            Ok(()) => false,
            Err(Errno::MSGSIZE) => {
                // WireGuard has always done so: better in pieces than not at all.
                let sent = self.try_send(&self.family.control, datagram, None);
                self.notes.add(self.to);
                match sent {
                    Ok(()) => count(&self.counters.fragmented, 1),
                    Err(errno) => self.count_lost(errno, 1),
                }
                true
            }
            Err(errno) => {
                self.count_lost(errno, 1);
                false
            }
        }
    }

    fn try_send(&self, port: &Port, bytes: &[u8], segment: Option<u16>) -> Result<(), Errno> {
        let segment = segment.filter(|size| usize::from(*size) < bytes.len());
        let mut waits = 0;
        loop {
            let Err(e) = datagram::send(&port.0, &self.to, bytes, segment, Wait::Never) else {
                return Ok(());
            };
            match Errno::from_io_error(&e).unwrap_or(Errno::IO) {
                // An ICMP error of an earlier datagram is reported once; this one was not sent.
                Errno::CONNREFUSED | Errno::HOSTUNREACH if waits == 0 => waits = 1,
                Errno::INTR => {}
                Errno::AGAIN | Errno::NOBUFS if waits < WAITS && self.sender != Sender::Control => {
                    waits += 1;
                    port.wait_writable();
                }
                errno => return Err(errno),
            }
        }
    }

    fn count_lost(&self, errno: Errno, datagrams: usize) {
        let full = matches!(errno, Errno::AGAIN | Errno::NOBUFS);
        let unanswered = full && self.sender == Sender::Control;
        count(if unanswered { &self.counters.unanswered } else { &self.counters.lost }, datagrams);
    }
}

impl Port {
    fn bind(address: SocketAddr, fragmentation: Fragmentation) -> io::Result<Port> {
        let socket = plain_socket(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        option::set_fragmentation(&socket, address.is_ipv4(), fragmentation)?;
        // Without it every datagram comes alone, which is only slower.
        let _ = option::set(&socket, Switch::UdpGro, true);
        let socket = UdpSocket::from(socket);
        force_buffers(&socket);
        Ok(Port(socket))
    }

    /// One batch of equal datagrams from one source; sleeps until there is one, or until the thread is interrupted.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        datagram::receive(&self.0, buffer, Wait::Socket)
    }

    /// The same without waiting.
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        datagram::receive(&self.0, buffer, Wait::Never)
    }

    fn wait_writable(&self) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let limit = Timespec { tv_sec: 0, tv_nsec: WAIT_MS * 1_000_000 };
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], Some(&limit));
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn plain_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn local_port(socket: &Socket) -> io::Result<u16> {
    let address = socket.local_addr()?.as_socket();
    address.map(|address| address.port()).ok_or_else(|| io::ErrorKind::InvalidData.into())
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
mod tests;
