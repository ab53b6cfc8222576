//! From packets that came out of the tunnel to super-packets for the TUN, without copying a payload.
//!
//! Up to [`OPEN`] super-packets grow at a time, one for each flow. A packet joins if its header is the next one a TSO
//! or USO split would have made; so a merge followed by a split gives the same packets. A super-packet keeps the place
//! of its first packet, and a packet that may not join closes the one before it: in-flow order is kept.

use std::ops::Range;

use super::bytes::{put, put_u16, u8_at, u16_at};
use super::checksum::{self, TCP, UDP};
use super::split::MIN_SEGMENT;
use super::vnet::{Gso, VNET_LEN, Vnet};
use super::{Fragment, Kind, Packet, TcpFlags};

/// Flows that can grow at the same time.
pub const OPEN: usize = 8;
/// Segments of one super-packet: Linux' UDP_MAX_SEGMENTS was 64 for long; TCP is bounded by the write's iovecs.
const MAX_UDP: usize = 64;
const MAX_TCP: usize = 128;
/// Pieces of one [`Super`] at most.
pub const MAX_PIECES: usize = if MAX_TCP > MAX_UDP { MAX_TCP } else { MAX_UDP };
const MAX_TOTAL: usize = 65_535;

/// What the TUN accepts. `Offloads::default()` merges nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    pub tcp: bool,
    pub udp: bool,
}

/// One write to the TUN: `vnet`, then the pieces of the arena in order.
#[derive(Clone, Debug, Default)]
pub struct Super {
    pub vnet: [u8; VNET_LEN],
    /// The first piece is a whole packet, the others are payloads.
    pub pieces: Vec<Range<usize>>,
}

/// A table of open super-packets over one arena. Kept between batches, so that it allocates only while it grows.
#[derive(Debug, Default)]
pub struct Merger {
    offloads: Offloads,
    /// Written to be reused; only the first `states.len()` belong to this batch.
    supers: Vec<Super>,
    states: Vec<State>,
    /// Indices into `states`.
    open: [Option<usize>; OPEN],
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct State {
    at: usize,
    first: Packet,
    /// Payload of every segment but the last.
    size: usize,
    next_seq: u32,
    total: usize,
    count: usize,
    closed: bool,
    push: bool,
    /// The first packet's checksum holds; looked at only when a second one wants to join.
    checked: bool,
}

impl Merger {
    pub fn new(offloads: Offloads) -> Merger {
        Merger { offloads, ..Merger::default() }
    }

    /// For the packets to come; those already merged stay so.
    pub fn set_offloads(&mut self, offloads: Offloads) {
        self.offloads = offloads;
    }

    /// Adds a judged packet that lies at `at` in the arena.
    pub fn push(&mut self, arena: &mut [u8], at: usize, packet: &Packet) {
        let slot = self.slot_of(packet);
        let open = slot.and_then(|slot| self.open.get(slot).copied().flatten());
        if let Some(index) = open
            && self.join(arena, at, packet, index)
        {
            return;
        }
        let index = self.start(at, packet);
        if slot.is_some() || self.may_merge(packet) {
            self.remember(slot, index);
        }
    }

    fn slot_of(&self, packet: &Packet) -> Option<usize> {
        self.open.iter().position(|open| {
            open.and_then(|index| self.states.get(index))
                .is_some_and(|state| state.first.tuple == packet.tuple)
        })
    }

    fn remember(&mut self, slot: Option<usize>, index: usize) {
        let slot = slot.unwrap_or_else(|| {
            self.next = (self.next + 1) % OPEN;
            self.next
        });
        if let Some(open) = self.open.get_mut(slot) {
            *open = Some(index);
        }
    }

    fn start(&mut self, at: usize, packet: &Packet) -> usize {
        let index = self.states.len();
        let (next_seq, push) = match packet.kind {
            Kind::Tcp(tcp) => (tcp.end(), tcp.flags.has(TcpFlags::PSH)),
            _ => (0, false),
        };
        self.states.push(State {
            at,
            first: *packet,
            size: packet.total - packet.payload,
            next_seq,
            total: packet.total,
            count: 1,
            closed: push
                || !self.may_merge(packet)
                || packet.total - packet.payload < usize::from(MIN_SEGMENT),
            push,
            checked: false,
        });
        if self.supers.len() <= index {
            self.supers.push(Super::default());
        }
        if let Some(entry) = self.supers.get_mut(index) {
            entry.vnet = Vnet::PLAIN.write();
            entry.pieces.clear();
            entry.pieces.push(at..at + packet.total);
        }
        index
    }

    fn may_merge(&self, packet: &Packet) -> bool {
        let plain = packet.fragment == Fragment::None && packet.l4 == if packet.is_v4() { 20 } else { 40 };
        let kind = match packet.kind {
            Kind::Tcp(tcp) => {
                self.offloads.tcp && tcp.flags.0 & !(TcpFlags::PSH | TcpFlags::ECE) == TcpFlags::ACK
            }
            Kind::Udp => self.offloads.udp,
            _ => false,
        };
        plain && kind && packet.total > packet.payload
    }

    fn join(&mut self, arena: &[u8], at: usize, packet: &Packet, index: usize) -> bool {
        let may_merge = self.may_merge(packet);
        let (Some(state), Some(entry)) = (self.states.get_mut(index), self.supers.get_mut(index)) else {
            return false;
        };
        if !may_merge || !state.takes(arena, at, packet) {
            return false;
        }
        let len = packet.total - packet.payload;
        state.count += 1;
        state.total += len;
        if let Kind::Tcp(tcp) = packet.kind {
            state.next_seq = tcp.end();
            state.push = tcp.flags.has(TcpFlags::PSH);
        }
        state.closed = len < state.size || state.push;
        entry.pieces.push(at + packet.payload..at + packet.total);
        true
    }

    /// Finishes headers and gives every super-packet of the batch, in-flow order kept.
    pub fn finish(&mut self, arena: &mut [u8]) -> &[Super] {
        for (state, entry) in self.states.iter().zip(&mut self.supers) {
            if state.count > 1 {
                entry.vnet = state.finish(arena);
            }
        }
        self.supers.get(..self.states.len()).unwrap_or_default()
    }

    /// Forgets the batch; the arena may be reused.
    pub fn clear(&mut self) {
        self.states.clear();
        self.open = [None; OPEN];
    }
}

impl State {
    /// Is this the packet a split would have made after those we have?
    fn takes(&mut self, arena: &[u8], at: usize, packet: &Packet) -> bool {
        let len = packet.total - packet.payload;
        let limit = if packet.kind == Kind::Udp { MAX_UDP } else { MAX_TCP };
        let fits = len <= self.size && self.total + len <= MAX_TOTAL && self.count < limit;
        let same_shape = packet.payload == self.first.payload && packet.tuple == self.first.tuple;
        if self.closed || !fits || !same_shape {
            return false;
        }
        let (Some(mine), Some(other)) =
            (arena.get(self.at..self.at + self.first.total), arena.get(at..at + packet.total))
        else {
            return false;
        };
        self.follows(packet) && self.same_headers(mine, other) && self.checksums_hold(mine, other)
    }

    fn follows(&self, packet: &Packet) -> bool {
        match (self.first.kind, packet.kind) {
            (Kind::Tcp(mine), Kind::Tcp(other)) => {
                let flags = (mine.flags.0 ^ other.flags.0) & !TcpFlags::PSH == 0;
                other.seq == self.next_seq && other.ack == mine.ack && other.window == mine.window && flags
            }
            (Kind::Udp, Kind::Udp) => true,
            _ => false,
        }
    }

    fn same_headers(&self, mine: &[u8], other: &[u8]) -> bool {
        let same = |range: Range<usize>| mine.get(range.clone()) == other.get(range);
        let ip = if self.first.is_v4() {
            same(0..2) && same(6..9) && self.id_follows(mine, other)
        } else {
            same(0..4) && same(6..8)
        };
        let l4 = self.first.l4;
        let transport = match self.first.kind {
            Kind::Tcp(_) => same(l4 + 12..l4 + 13) && same(l4 + 18..self.first.payload),
            // A datagram without checksum stays one.
            _ => u16_at(mine, l4 + 6) != Ok(0) && u16_at(other, l4 + 6) != Ok(0),
        };
        ip && transport
    }

    /// The identification counts up, or means nothing because of DF (RFC 6864 section 4.1).
    fn id_follows(&self, mine: &[u8], other: &[u8]) -> bool {
        let dont_fragment = u8_at(mine, 6).is_ok_and(|flags| flags & 0x40 != 0);
        let wanted = u16_at(mine, 4).map(|id| id.wrapping_add(self.count as u16));
        dont_fragment || wanted == u16_at(other, 4)
    }

    fn checksums_hold(&mut self, mine: &[u8], other: &[u8]) -> bool {
        if !self.checked {
            if !self.checksum_holds(mine) {
                self.closed = true;
                return false;
            }
            self.checked = true;
        }
        self.checksum_holds(other)
    }

    fn checksum_holds(&self, packet: &[u8]) -> bool {
        let segment = packet.get(self.first.l4..).unwrap_or_default();
        checksum::transport_holds(packet, self.first.is_v4(), self.number(), segment)
    }

    fn number(&self) -> u8 {
        if self.first.kind == Kind::Udp { UDP } else { TCP }
    }

    /// Makes the first header speak for all, with the checksum begun as the kernel wants it.
    fn finish(&self, arena: &mut [u8]) -> [u8; VNET_LEN] {
        let Some(packet) = arena.get_mut(self.at..self.at + self.first.total) else {
            return Vnet::PLAIN.write();
        };
        let (v4, l4, number) = (self.first.is_v4(), self.first.l4, self.number());
        let len = self.total - l4;
        if v4 {
            put_u16(packet, 2, self.total as u16);
            checksum::set_ipv4_header(packet);
        } else {
            put_u16(packet, 4, len as u16);
        }
        let field = if number == UDP { 6 } else { 16 };
        if number == UDP {
            put_u16(packet, l4 + 4, len as u16);
        } else if self.push {
            let flags = u8_at(packet, l4 + 13).unwrap_or_default();
            put(packet, l4 + 13, [flags | TcpFlags::PSH]);
        }
        let begun = checksum::fold(checksum::pseudo(packet, v4, number, len)).to_ne_bytes();
        put(packet, l4 + field, begun);
        let size = self.size as u16;
        let gso = match (number, v4) {
            (UDP, _) => Gso::Udp { size },
            (_, true) => Gso::TcpV4 { size },
            (_, false) => Gso::TcpV6 { size },
        };
        let checksum = Some((l4 as u16, field as u16));
        Vnet { gso, checksum, header_len: self.first.payload as u16, ecn: false }.write()
    }
}
