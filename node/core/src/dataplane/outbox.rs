//! What a worker has to write after a call: datagrams for the network and frames for the TUN, in buffers it owns.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use warren_wire::relay::{HEAD, Seat};

use crate::berth::Berth;
use crate::session::{Sink, buffer_for};

/// UDP payload that one send may carry (65,535 minus IPv6 and UDP headers).
pub const MAX_SEND: usize = 65_487;
/// Segments in one send (`UDP_MAX_SEGMENTS` of older kernels).
pub const MAX_SEGMENTS: usize = 64;
/// Room for a frame of 64 KiB in small segments.
const CAPACITY: usize = 512 * 1024;

/// One `sendmsg`: equal segments, only the last may be shorter.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    pub to: SocketAddr,
    pub bytes: &'a [u8],
    /// `UDP_SEGMENT` size; `None` if `bytes` is one datagram.
    pub segment: Option<usize>,
    /// More than the path is known to carry: better in pieces than not at all.
    pub pieces: bool,
}

impl Transmit<'_> {
    pub fn datagrams(&self) -> usize {
        self.segment.map_or(1, |segment| self.bytes.len().div_ceil(segment.max(1)))
    }
}

#[derive(Clone, Debug)]
struct Batch {
    to: SocketAddr,
    range: Range<usize>,
    segment: usize,
    count: usize,
    pieces: bool,
}

/// Datagrams to send. Allocated once; a batch stays open over several frames until it is full, meets a datagram
/// that does not fit, or [`Outbox::flush`] is called.
#[derive(Debug)]
pub struct Outbox {
    buffer: Vec<u8>,
    closed: Vec<Batch>,
    open: Option<Batch>,
    end: usize,
}

impl Default for Outbox {
    fn default() -> Outbox {
        Outbox::new()
    }
}

impl Outbox {
    pub fn new() -> Outbox {
        Outbox { buffer: vec![0; CAPACITY], closed: Vec::with_capacity(256), open: None, end: 0 }
    }

    /// A small one, for timers.
    pub fn small() -> Outbox {
        Outbox { buffer: vec![0; 64 * 1024], closed: Vec::with_capacity(64), open: None, end: 0 }
    }

    /// True if [`Outbox::transmits`] gives something.
    pub fn has_ready(&self) -> bool {
        !self.closed.is_empty()
    }

    /// Closes the open batch, so that it is among the transmits.
    pub fn flush(&mut self) {
        self.closed.extend(self.open.take());
    }

    /// Batches that are complete, in order.
    pub fn transmits(&self) -> impl Iterator<Item = Transmit<'_>> {
        self.closed.iter().map(|b| Transmit {
            to: b.to,
            bytes: self.buffer.get(b.range.clone()).unwrap_or_default(),
            segment: (b.count > 1).then_some(b.segment),
            pieces: b.pieces,
        })
    }

    /// The transmits were sent: forgets them, keeps the open batch.
    pub fn sent(&mut self) {
        self.closed.clear();
        match &mut self.open {
            None => self.end = 0,
            Some(open) if open.range.start > 0 => {
                let len = open.range.len();
                self.buffer.copy_within(open.range.clone(), 0);
                open.range = 0..len;
                self.end = len;
            }
            Some(_) => {}
        }
    }

    /// Bytes that still fit.
    pub fn spare(&self) -> usize {
        self.buffer.len().saturating_sub(self.end)
    }

    /// A sink that sends that way.
    pub fn to(&mut self, way: impl Into<Way>) -> Towards<'_> {
        Towards { out: self, way: way.into(), spares: Vec::new(), pieces: false }
    }

    /// The same; what belongs to a handshake goes the other ways as well.
    pub fn to_all(&mut self, way: impl Into<Way>, spares: Vec<Way>) -> Towards<'_> {
        Towards { out: self, way: way.into(), spares, pieces: false }
    }

    fn room(&mut self, head: usize, need: usize) -> Option<&mut [u8]> {
        let spare = self.buffer.get_mut(self.end.saturating_add(head)..)?;
        (spare.len() >= buffer_for(need)).then_some(spare)
    }

    /// Writes the relay's head in front of the `len` bytes that lie behind its room. Returns what is to be sent, and where.
    fn dress(&mut self, way: &Way, len: usize) -> Option<(SocketAddr, usize)> {
        match way {
            Way::Direct(to) => Some((*to, len)),
            Way::Relayed(berth, seat) => {
                let whole = len.saturating_add(HEAD);
                let frame = self.buffer.get_mut(self.end..self.end.saturating_add(whole))?;
                berth.write(frame, *seat).then_some((berth.at(), whole))
            }
        }
    }

    fn push(&mut self, to: SocketAddr, len: usize, pieces: bool) {
        let range = self.end..self.end.saturating_add(len);
        self.end = range.end;
        if let Some(open) = &mut self.open {
            if open.takes(to, len) && open.pieces == pieces {
                open.range.end = range.end;
                open.count += 1;
                if len < open.segment || open.count == MAX_SEGMENTS {
                    self.flush();
                }
                return;
            }
            self.flush();
        }
        self.open = Some(Batch { to, range, segment: len, count: 1, pieces });
    }

    fn push_alone(&mut self, to: SocketAddr, len: usize) {
        self.flush();
        self.push(to, len, false);
        self.flush();
    }
}

impl Batch {
    fn takes(&self, to: SocketAddr, len: usize) -> bool {
        self.to == to
            && len <= self.segment
            && self.count < MAX_SEGMENTS
            && self.range.len().saturating_add(len) <= MAX_SEND
    }
}

/// How a datagram gets to a place.
#[derive(Clone, Debug)]
pub enum Way {
    Direct(SocketAddr),
    /// With a head in front, to a relay where both sit.
    Relayed(Arc<Berth>, Seat),
}

impl From<SocketAddr> for Way {
    fn from(to: SocketAddr) -> Way {
        Way::Direct(to)
    }
}

impl Way {
    fn head(&self) -> usize {
        match self {
            Way::Direct(_) => 0,
            Way::Relayed(..) => HEAD,
        }
    }
}

/// First bytes of a handshake initiation and of its response (WireGuard paper, sections 5.4.2 and 5.4.3).
const HANDSHAKE: [u8; 2] = [1, 2];

/// An [`Outbox`] and a destination.
#[derive(Debug)]
pub struct Towards<'a> {
    out: &'a mut Outbox,
    way: Way,
    spares: Vec<Way>,
    pieces: bool,
}

impl Towards<'_> {
    /// Data that is larger than the path is known to carry.
    pub fn in_pieces(self, pieces: bool) -> Self {
        Towards { pieces, ..self }
    }

    /// The message that lies at the end of the outbox, if it belongs to a handshake.
    fn handshake(&self, len: usize) -> Option<Vec<u8>> {
        let start = self.out.end.saturating_add(self.way.head());
        let message = self.out.buffer.get(start..start.saturating_add(len))?;
        message.first().is_some_and(|kind| HANDSHAKE.contains(kind)).then(|| message.to_vec())
    }
}

impl Sink for Towards<'_> {
    fn room(&mut self, need: usize) -> Option<&mut [u8]> {
        self.out.room(self.way.head(), need)
    }
    fn data(&mut self, len: usize) {
        if let Some((to, len)) = self.out.dress(&self.way, len) {
            self.out.push(to, len, self.pieces);
        }
    }
    fn control(&mut self, len: usize) {
        let copy = if self.spares.is_empty() { None } else { self.handshake(len) };
        if let Some((to, len)) = self.out.dress(&self.way, len) {
            self.out.push_alone(to, len);
        }
        for (spare, message) in self.spares.iter().zip(copy.iter().cycle()) {
            self.out.to(spare.clone()).control_bytes(message);
        }
    }
}
