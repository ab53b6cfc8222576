//! UDP over IPv4 from any source address.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};

#[derive(Debug)]
pub struct Forger {
    socket: Socket,
}

impl Forger {
    /// Needs CAP_NET_RAW.
    pub fn new() -> io::Result<Forger> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))?;
        socket.set_header_included_v4(true)?;
        Ok(Forger { socket })
    }

    pub fn udp(&self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> io::Result<()> {
        let mut datagram = Vec::with_capacity(28 + payload.len());
        // The kernel fills in the header's checksum and id.
        datagram.extend([0x45, 0]);
        datagram.extend((28 + payload.len() as u16).to_be_bytes());
        datagram.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
        datagram.extend(from.ip().octets());
        datagram.extend(to.ip().octets());
        datagram.extend(from.port().to_be_bytes());
        datagram.extend(to.port().to_be_bytes());
        datagram.extend((8 + payload.len() as u16).to_be_bytes());
        datagram.extend([0, 0]); // IPv4 lets UDP go without a checksum
        datagram.extend(payload);
        self.raw(*to.ip(), &datagram)
    }

    /// A whole IPv4 packet.
    pub fn raw(&self, to: Ipv4Addr, packet: &[u8]) -> io::Result<()> {
        self.socket.send_to(packet, &SocketAddrV4::new(to, 0).into()).map(drop)
    }
}

/// The `number`th of the addresses from `first` on.
pub fn nth(first: Ipv4Addr, number: u64, count: u64) -> Ipv4Addr {
    Ipv4Addr::from_bits(first.to_bits().wrapping_add((number % count.max(1)) as u32))
}
