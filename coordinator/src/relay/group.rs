//! The UDP sockets of one port: the control channel's first, then one for each thread of the relay, then those that only
//! answer strangers ([`crate::strangers`]).

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use warren_kernel::option::{self, Fragmentation, Switch};
use warren_kernel::steer;

/// As large as the host allows.
const BUFFER: usize = 4 * 1024 * 1024;
/// A thread looks so often whether it shall end, and waits no longer for room to send.
pub const PATIENCE: Duration = Duration::from_millis(250);
const ROOM: Duration = Duration::from_millis(10);

/// Sockets that answer strangers. Together they hold what 250 addresses that nobody has can make us send, each with the room
/// that every program has.
const MOUTHS: usize = 16;
const MOUTH: usize = 208 * 1024;
/// They are sent nothing.
const NO_EARS: usize = 2048;

pub struct Ports {
    pub control: UdpSocket,
    /// None: frames come to the control channel's socket.
    pub relay: Vec<UdpSocket>,
    /// None: strangers are answered by the control channel's socket.
    pub mouths: Vec<UdpSocket>,
}

impl Ports {
    /// With `threads` sockets for frames, if the kernel steers them there.
    pub fn bind(address: SocketAddr, threads: u32) -> io::Result<Ports> {
        // Sockets that share a port do not hear that it is another program's; this one does, and goes.
        drop(UdpSocket::bind(address)?);
        let control = shared(address)?;
        let address = control.local_addr()?;
        widen(&control);
        match steered(&control, address, threads) {
            Ok((relay, mouths)) => Ok(Ports { control, relay, mouths }),
            Err(error) => {
                tracing::warn!(%error, "this kernel does not steer datagrams: relay and strangers share a socket with the control channel");
                Ok(Ports { control, relay: Vec::new(), mouths: Vec::new() })
            }
        }
    }
}

/// The sockets for frames and, behind them, those for strangers. From the first on everything goes where it belongs.
fn steered(
    control: &UdpSocket,
    address: SocketAddr,
    threads: u32,
) -> io::Result<(Vec<UdpSocket>, Vec<UdpSocket>)> {
    steer::attach_relay(control, threads)?;
    let relay = (0..threads).map(|_| relaying(address)).collect::<io::Result<Vec<_>>>()?;
    let mouths = (0..MOUTHS).map(|_| mouth(address)).collect::<io::Result<Vec<_>>>()?;
    Ok((relay, mouths))
}

/// One that only sends: to its place in the group nothing is steered.
fn mouth(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = shared(address)?;
    sockopt::set_socket_send_buffer_size(&socket, MOUTH)?;
    sockopt::set_socket_recv_buffer_size(&socket, NO_EARS)?;
    Ok(socket)
}

fn shared(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    Ok(UdpSocket::from(socket))
}

fn relaying(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = shared(address)?;
    // Without it every datagram comes alone, which is only slower.
    let _ = option::set(&socket, Switch::UdpGro, true);
    // Without it who knows this host by another address than its first is not answered from there.
    let _ = option::set_packet_info(&socket, address.is_ipv4());
    // A frame that the path cannot carry whole is cut, not lost: its sender cannot be told. Of IPv6 the kernel cuts by itself
    // what it knows to be too large.
    let _ = option::set_fragmentation(&socket, true, Fragmentation::Allowed);
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(ROOM))?;
    widen(&socket);
    Ok(socket)
}

/// With CAP_NET_ADMIN over the host's limit.
fn widen(socket: &UdpSocket) {
    if sockopt::set_socket_recv_buffer_size_force(socket, BUFFER).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(socket, BUFFER);
    }
    if sockopt::set_socket_send_buffer_size_force(socket, BUFFER).is_err() {
        let _ = sockopt::set_socket_send_buffer_size(socket, BUFFER);
    }
}
