//! A door's UDP socket on this host. It is connected: the kernel gives it only what the one socket sends that it serves.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;

use rustix::net::sockopt;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use warren_kernel::datagram::{self, Received, Wait};
use warren_kernel::option::{self, Switch};
use warren_wire::door::MAX_DATAGRAM;

/// What waits for a connection that does not take more; the rest is lost.
const BUFFER: usize = 512 * 1024;
/// Room for one receive: the largest batch UDP_GRO makes.
const RECEIVE: usize = 65_536;

/// See the module.
#[derive(Debug)]
pub struct Local {
    socket: UdpSocket,
    at: SocketAddr,
}

impl Local {
    /// For the socket of this host at `of`. One that is bound to no address is served over loopback.
    pub fn of(of: SocketAddr) -> io::Result<Local> {
        let to = SocketAddr::new(near(of.ip()), of.port());
        let socket = std::net::UdpSocket::bind(SocketAddr::new(to.ip(), 0))?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        // Without it every datagram comes alone, which is only slower.
        let _ = option::set(&socket, Switch::UdpGro, true);
        // The host's limit counts.
        let _ = sockopt::set_socket_recv_buffer_size(&socket, BUFFER);
        let at = socket.local_addr()?;
        Ok(Local { socket: UdpSocket::from_std(socket)?, at })
    }

    /// Where the socket that is served finds this one.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// False if there was no room for it.
    pub(crate) fn send(&self, datagram: &[u8]) -> bool {
        // An earlier datagram that nobody received is reported once; this one was not sent.
        let mut sent = self.socket.try_send(datagram);
        if sent.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
            sent = self.socket.try_send(datagram);
        }
        sent.is_ok()
    }

    /// One batch of equal datagrams.
    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            let socket = &self.socket;
            let receive = || datagram::receive(socket.as_fd(), buffer, Wait::Never);
            match socket.async_io(Interest::READABLE, receive).await {
                // Who is served is not there yet, or any more: that is for others to find out.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
                other => return other,
            }
        }
    }
}

/// Buffer for [`Local::receive`].
pub(crate) fn buffer() -> Vec<u8> {
    vec![0; RECEIVE]
}

/// The datagrams of a batch that a door carries, and how many it does not.
pub(crate) fn datagrams<'a>(buffer: &'a [u8], got: &Received) -> (impl Iterator<Item = &'a [u8]>, u64) {
    let bytes = buffer.get(..got.len).unwrap_or_default();
    let segment = got.segment.max(1);
    let fits = segment <= MAX_DATAGRAM;
    let lost = if fits { 0 } else { bytes.len().div_ceil(segment) as u64 };
    (bytes.chunks(segment).take(if fits { usize::MAX } else { 0 }), lost)
}

fn near(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
