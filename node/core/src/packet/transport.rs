//! TCP (RFC 9293), UDP (RFC 768), and the protocols we know only by number.

use warren_config::policy::Protocol;

use super::bytes::{array, u8_at, u16_at, u32_at};
use super::checksum::{ICMP, ICMPV6, TCP, UDP};
use super::{DropReason, Fragment, Kind, Tcp, TcpFlags, icmp};

/// What the transport header says.
pub(super) struct Transport {
    pub protocol: Protocol,
    pub kind: Kind,
    pub sport: u16,
    pub dport: u16,
    /// Length of the header.
    pub header: usize,
}

/// `segment` is the whole IP payload, or what the first fragment has of it.
pub(super) fn read(
    number: u8,
    v4: bool,
    segment: &[u8],
    fragment: Fragment,
) -> Result<Transport, DropReason> {
    let first = fragment != Fragment::None;
    let read = match number {
        TCP => tcp(segment),
        UDP => udp(segment, v4, first),
        ICMP | ICMPV6 if (number == ICMP) != v4 => Err(DropReason::IcmpFamily),
        ICMP | ICMPV6 => icmp::read(segment, v4, first),
        other => Ok(by_number(other, Kind::Other)),
    };
    // A first fragment must hold the whole header (RFC 1858 section 3, RFC 7112).
    read.map_err(
        |reason| if first && reason == DropReason::Truncated { DropReason::TinyFragment } else { reason },
    )
}

/// A later fragment has no header: its protocol is only a number.
pub(super) fn later(number: u8, v4: bool) -> Result<Transport, DropReason> {
    let kind = Kind::LaterFragment { number };
    match number {
        TCP => Ok(Transport { protocol: Protocol::Tcp, ..by_number(number, kind) }),
        UDP => Ok(Transport { protocol: Protocol::Udp, ..by_number(number, kind) }),
        ICMP | ICMPV6 if (number == ICMP) != v4 => Err(DropReason::IcmpFamily),
        ICMP | ICMPV6 => Ok(Transport { protocol: Protocol::IcmpEcho, ..by_number(number, kind) }),
        other => Ok(by_number(other, kind)),
    }
}

fn by_number(number: u8, kind: Kind) -> Transport {
    Transport { protocol: Protocol::Number(number), kind, sport: 0, dport: 0, header: 0 }
}

/// Both ports; neither may be 0, which names no service and no socket.
pub(super) fn ports(segment: &[u8]) -> Result<(u16, u16), DropReason> {
    let ports = (u16_at(segment, 0)?, u16_at(segment, 2)?);
    if ports.0 == 0 || ports.1 == 0 { Err(DropReason::PortZero) } else { Ok(ports) }
}

fn tcp(segment: &[u8]) -> Result<Transport, DropReason> {
    let [.., offset, flags, w0, w1, _, _, _, _] = array::<20>(segment, 0)?;
    let header = usize::from(offset >> 4) * 4;
    if header < 20 {
        return Err(DropReason::TcpHeader);
    }
    let len = segment.len().checked_sub(header).ok_or(DropReason::Truncated)?;
    let flags = TcpFlags(flags);
    if !flags.are_sane() {
        return Err(DropReason::TcpFlags);
    }
    let (sport, dport) = ports(segment)?;
    let kind = Kind::Tcp(Tcp {
        flags,
        seq: u32_at(segment, 4)?,
        ack: u32_at(segment, 8)?,
        window: u16::from_be_bytes([w0, w1]),
        len: len as u32,
    });
    Ok(Transport { protocol: Protocol::Tcp, kind, sport, dport, header })
}

fn udp(segment: &[u8], v4: bool, first: bool) -> Result<Transport, DropReason> {
    let len = usize::from(u16_at(segment, 4)?);
    let checksum = u16_at(segment, 6)?;
    let (sport, dport) = ports(segment)?;
    let fits = if first { len > segment.len() } else { len == segment.len() };
    if !fits || len < 8 {
        return Err(DropReason::UdpLength);
    }
    if checksum == 0 && !v4 {
        return Err(DropReason::UdpChecksum);
    }
    Ok(Transport { protocol: Protocol::Udp, kind: Kind::Udp, sport, dport, header: 8 })
}

/// The transport header inside a quotation: at least 8 bytes of it (RFC 792), by the same rules as far as they reach.
pub(super) fn quoted(number: u8, v4: bool, segment: &[u8]) -> Result<(Transport, Option<u32>), DropReason> {
    array::<8>(segment, 0)?;
    match number {
        TCP | UDP => {
            let (sport, dport) = ports(segment)?;
            let protocol = if number == TCP { Protocol::Tcp } else { Protocol::Udp };
            let seq = if number == TCP { Some(u32_at(segment, 4)?) } else { None };
            Ok((Transport { protocol, kind: Kind::Other, sport, dport, header: 8 }, seq))
        }
        ICMP | ICMPV6 if (number == ICMP) != v4 => Err(DropReason::IcmpFamily),
        ICMP | ICMPV6 => Ok((icmp::echo(segment, v4, u8_at(segment, 0)?)?, None)),
        other => Ok((by_number(other, Kind::Other), None)),
    }
}
