//! From one frame of the kernel (TSO, USO or a single packet with an unfinished checksum) to packets for the tunnel.
//!
//! The header of each segment is written in front of its payload inside the read buffer: the bytes it overwrites
//! belong to segments that were handed on already. So a frame is split without a second buffer.

use super::bytes::{put, put_u16, put_u32, u8_at, u16_at, u32_at};
use super::checksum::{self, TCP, UDP};
use super::vnet::{Gso, Vnet};
use super::{DropReason, Fragment, Kind, Packet, TcpFlags};
use crate::conntrack::Load;

/// The smallest segment a kernel makes (Linux `TCP_MIN_GSO_SIZE`); bounds the work for one frame.
pub(super) const MIN_SEGMENT: u16 = 8;
/// IPv6 header and the longest TCP header.
const MAX_HEADER: usize = 40 + 60;

/// A frame whose offload header agrees with its packet. Made by [`plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    v4: bool,
    l4: usize,
    /// Bytes of IP and transport header, repeated in every segment.
    header: usize,
    total: usize,
    work: Work,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    AsItIs,
    /// Protocol number and offset of the checksum field in the transport header.
    Complete(u8, usize),
    Split {
        number: u8,
        field: usize,
        size: usize,
    },
}

/// Checks the offload header against the packet. `packet` is what [`super::classify()`] said about the frame behind the
/// vnet header.
pub fn plan(vnet: &Vnet, packet: &Packet) -> Result<Plan, DropReason> {
    let work = match (vnet.gso, vnet.checksum) {
        (Gso::None, None) => Work::AsItIs,
        (Gso::None, Some(place)) => {
            let (number, field) = checksum_field(packet, place)?;
            Work::Complete(number, field)
        }
        (gso, Some(place)) => split_work(gso, packet, checksum_field(packet, place)?)?,
        (_, None) => return Err(DropReason::VnetHeader),
    };
    let v4 = packet.is_v4();
    Ok(Plan { v4, l4: packet.l4, header: packet.payload, total: packet.total, work })
}

/// The kernel's word about the checksum must be what the packet itself says.
fn checksum_field(packet: &Packet, (start, offset): (u16, u16)) -> Result<(u8, usize), DropReason> {
    let (number, field) = match packet.kind {
        Kind::Tcp(_) => (TCP, 16),
        Kind::Udp => (UDP, 6),
        _ => return Err(DropReason::VnetHeader),
    };
    let agrees = usize::from(start) == packet.l4 && usize::from(offset) == field;
    if agrees && packet.fragment == Fragment::None {
        Ok((number, field))
    } else {
        Err(DropReason::VnetHeader)
    }
}

fn split_work(gso: Gso, packet: &Packet, (number, field): (u8, usize)) -> Result<Work, DropReason> {
    let v4 = packet.is_v4();
    let size = match (gso, packet.kind) {
        (Gso::TcpV4 { size }, Kind::Tcp(tcp)) if v4 && may_repeat(tcp.flags) => size,
        (Gso::TcpV6 { size }, Kind::Tcp(tcp)) if !v4 && may_repeat(tcp.flags) => size,
        (Gso::Udp { size }, Kind::Udp) => size,
        _ => return Err(DropReason::VnetHeader),
    };
    let plain = packet.l4 == if v4 { 20 } else { 40 };
    if size < MIN_SEGMENT || !plain || packet.payload > MAX_HEADER {
        return Err(DropReason::VnetHeader);
    }
    Ok(Work::Split { number, field, size: usize::from(size) })
}

/// SYN, RST and URG stand in one segment only.
fn may_repeat(flags: TcpFlags) -> bool {
    flags.0 & (TcpFlags::SYN | TcpFlags::RST | TcpFlags::URG) == 0
}

impl Plan {
    /// Packets and IP bytes that will leave: for the judge, before the split.
    pub fn load(&self) -> Load {
        let packets = self.segments();
        let bytes = self.total + (packets - 1) * self.header;
        Load { packets: packets as u64, bytes: bytes as u64 }
    }

    /// Length of the largest segment, to be compared with the MTU.
    pub fn largest(&self) -> usize {
        match self.work {
            Work::Split { size, .. } => self.total.min(self.header + size),
            _ => self.total,
        }
    }

    /// The same frame in segments of at most `limit` bytes: a TCP segment may be cut anew anywhere, and each piece is one
    /// that its sender could have sent. `None` if the packet is no such segment, or if its own checksum does not hold: a
    /// damaged packet must not leave with a right one. `frame` begins at the IP header.
    pub fn narrowed(&self, packet: &Packet, frame: &[u8], limit: usize) -> Option<Plan> {
        let Kind::Tcp(tcp) = packet.kind else { return None };
        let whole = packet.fragment == Fragment::None && self.l4 == if self.v4 { 20 } else { 40 };
        if !whole || !may_repeat(tcp.flags) || self.header > MAX_HEADER || self.total == self.header {
            return None;
        }
        let room = limit.checked_sub(self.header).filter(|room| *room >= usize::from(MIN_SEGMENT))?;
        let work = match self.work {
            Work::Split { number, field, size } => Work::Split { number, field, size: size.min(room) },
            Work::Complete(number, field) => Work::Split { number, field, size: room },
            Work::AsItIs => {
                let bytes = frame.get(..self.total)?;
                let sound = checksum::transport_holds(bytes, self.v4, TCP, bytes.get(self.l4..)?);
                sound.then_some(Work::Split { number: TCP, field: 16, size: room })?
            }
        };
        Some(Plan { work, ..*self })
    }

    fn segments(&self) -> usize {
        match self.work {
            Work::Split { size, .. } => (self.total - self.header).div_ceil(size).max(1),
            _ => 1,
        }
    }

    /// Hands on every segment in order, with right lengths and checksums. `frame` begins at the IP header, and its
    /// contents are used up.
    pub fn run(&self, frame: &mut [u8], mut each: impl FnMut(&[u8])) {
        let Some(packet) = frame.get_mut(..self.total) else { return };
        match self.work {
            Work::AsItIs => each(packet),
            Work::Complete(number, field) => {
                self.complete(packet, number, field);
                each(packet);
            }
            Work::Split { number, field, size } => self.split(packet, number, field, size, each),
        }
    }

    fn split(&self, packet: &mut [u8], number: u8, field: usize, size: usize, mut each: impl FnMut(&[u8])) {
        let mut room = [0u8; MAX_HEADER];
        let (Some(header), Some(source)) = (room.get_mut(..self.header), packet.get(..self.header)) else {
            return;
        };
        header.copy_from_slice(source);
        let header = &*header;
        let count = self.segments();
        for index in 0..count {
            let at = index * size;
            let end = self.total.min(self.header + at + size);
            let Some(segment) = packet.get_mut(at..end) else { return };
            if let Some(place) = segment.get_mut(..self.header) {
                place.copy_from_slice(header);
            }
            self.set_lengths(segment, header, index);
            if number == TCP {
                self.set_tcp(segment, header, at, index == 0, index + 1 == count);
            } else {
                put_u16(segment, self.l4 + 4, (segment.len() - self.l4) as u16);
            }
            self.complete(segment, number, field);
            each(segment);
        }
    }

    fn set_lengths(&self, segment: &mut [u8], header: &[u8], index: usize) {
        let len = segment.len();
        if !self.v4 {
            return put_u16(segment, 4, (len - 40) as u16);
        }
        put_u16(segment, 2, len as u16);
        let id = u16_at(header, 4).unwrap_or_default();
        put_u16(segment, 4, id.wrapping_add(index as u16));
        checksum::set_ipv4_header(segment);
    }

    /// CWR on the first segment only, PSH and FIN on the last only (as a sender without offload would).
    fn set_tcp(&self, segment: &mut [u8], header: &[u8], at: usize, first: bool, last: bool) {
        let seq = u32_at(header, self.l4 + 4).unwrap_or_default();
        put_u32(segment, self.l4 + 4, seq.wrapping_add(at as u32));
        let mut flags = u8_at(header, self.l4 + 13).unwrap_or_default();
        if !first {
            flags &= !TcpFlags::CWR;
        }
        if !last {
            flags &= !(TcpFlags::PSH | TcpFlags::FIN);
        }
        put(segment, self.l4 + 13, [flags]);
    }

    fn complete(&self, packet: &mut [u8], number: u8, field: usize) {
        put(packet, self.l4 + field, [0, 0]);
        let segment = packet.get(self.l4..).unwrap_or_default();
        let sum = checksum::transport(packet, self.v4, number, segment);
        put(packet, self.l4 + field, sum);
    }
}
