//! Inner packets as typed values: what the judge, the splitter and the coalescer agree on.
//!
//! [`classify()`] is the only door. It is total: every byte string becomes one exact [`Packet`] or one [`DropReason`].
//! Nothing behind it reads a header field that it has not checked.
//!
//! - [`vnet`] and [`split`]: what the kernel hands over (one TSO or USO frame) into packets that fit the tunnel.
//! - [`merge`]: packets that came out of the tunnel into super-packets for one write.
//! - [`mss`]: what a SYN may announce.
//! - [`reply`]: what the local host is told when a packet was refused or its flow was cut.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::net::IpAddr;

use warren_config::policy::Protocol;

pub(crate) mod bytes;
pub mod checksum;
pub mod classify;
#[cfg(test)]
pub(crate) mod forge;
mod icmp;
mod ip;
pub mod merge;
pub mod mss;
pub mod reason;
pub mod reply;
pub mod split;
#[cfg(test)]
mod tests;
mod transport;
pub mod vnet;
pub mod word;

pub use classify::classify;
pub use reason::DropReason;

/// Who speaks to whom. Echo: the identifier is the port of the end that asks, the other port is 0. Protocols
/// without ports: both are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    pub protocol: Protocol,
    pub src: IpAddr,
    pub dst: IpAddr,
    pub sport: u16,
    pub dport: u16,
}

impl Tuple {
    pub fn reversed(self) -> Tuple {
        Tuple { src: self.dst, dst: self.src, sport: self.dport, dport: self.sport, ..self }
    }
}

/// One packet, read. Offsets count from the start of the IP header and lie inside the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// For a later fragment the ports are 0 and the protocol is a guess by number: only [`Kind::LaterFragment`] counts.
    pub tuple: Tuple,
    pub kind: Kind,
    pub fragment: Fragment,
    /// Where the transport header begins.
    pub l4: usize,
    /// Where the transport payload begins.
    pub payload: usize,
    /// Length of the packet as its header says; bytes behind it are not part of it.
    pub total: usize,
}

impl Packet {
    pub fn is_v4(&self) -> bool {
        self.tuple.src.is_ipv4()
    }
    /// May this packet create a flow, if its side is allowed to?
    pub fn opens(&self) -> bool {
        match self.kind {
            Kind::Tcp(tcp) => tcp.flags.is_syn_only(),
            Kind::Udp | Kind::EchoRequest | Kind::Other => true,
            Kind::EchoReply | Kind::IcmpError(_) | Kind::LaterFragment { .. } => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tcp(Tcp),
    Udp,
    EchoRequest,
    EchoReply,
    /// Unreachable, too big, time exceeded or parameter problem, and the packet it speaks about.
    IcmpError(Quoted),
    /// Any other protocol number.
    Other,
    /// Not the first fragment: it has no ports of its own.
    LaterFragment {
        /// Protocol number from the IP header or the Fragment header.
        number: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    pub flags: TcpFlags,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    /// Bytes of payload (of the whole super-packet, if it is one).
    pub len: u32,
}

impl Tcp {
    /// The sequence number behind this segment; SYN and FIN count one each (RFC 9293 section 3.4).
    pub fn end(&self) -> u32 {
        let controls = u32::from(self.flags.has(TcpFlags::SYN)) + u32::from(self.flags.has(TcpFlags::FIN));
        self.seq.wrapping_add(self.len).wrapping_add(controls)
    }
}

/// The flag byte of a TCP header (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const URG: u8 = 0x20;
    pub const ECE: u8 = 0x40;
    pub const CWR: u8 = 0x80;

    pub fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
    /// SYN without ACK: the only segment that may open a flow.
    pub fn is_syn_only(self) -> bool {
        self.has(Self::SYN) && !self.has(Self::ACK)
    }
    /// SYN, SYN+ACK, ACK, FIN+ACK, RST, RST+ACK are what a TCP sends; PSH, URG, ECE and CWR ride on them.
    pub fn are_sane(self) -> bool {
        const KINDS: [u8; 6] = [0x02, 0x12, 0x10, 0x11, 0x04, 0x14];
        KINDS.contains(&(self.0 & 0x17))
    }
}

/// The packet inside an ICMP error, as far as it is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    pub tuple: Tuple,
    /// Sequence number of a quoted TCP segment.
    pub seq: Option<u32>,
    /// The quoted packet is an echo reply (its source is the end that was asked).
    pub echo_reply: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// A whole packet.
    None,
    /// Holds the whole transport header; more will come.
    First { id: u32, len: u16 },
    /// `offset` and `len` in bytes of the fragmented part.
    Later { id: u32, offset: u16, len: u16, last: bool },
}
