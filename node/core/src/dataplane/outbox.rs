//! What a worker has to write after a call: datagrams for the network and frames for the TUN, in buffers it owns.

use std::net::SocketAddr;
use std::ops::Range;

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

    /// A sink that sends to `to`.
    pub fn to(&mut self, to: SocketAddr) -> Towards<'_> {
        Towards { out: self, to }
    }

    fn room(&mut self, need: usize) -> Option<&mut [u8]> {
        let spare = self.buffer.get_mut(self.end..)?;
        (spare.len() >= buffer_for(need)).then_some(spare)
    }

    fn push(&mut self, to: SocketAddr, len: usize) {
        let range = self.end..self.end.saturating_add(len);
        self.end = range.end;
        if let Some(open) = &mut self.open {
            if open.takes(to, len) {
                open.range.end = range.end;
                open.count += 1;
                if len < open.segment || open.count == MAX_SEGMENTS {
                    self.flush();
                }
                return;
            }
            self.flush();
        }
        self.open = Some(Batch { to, range, segment: len, count: 1 });
    }

    fn push_alone(&mut self, to: SocketAddr, len: usize) {
        self.flush();
        self.push(to, len);
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

/// An [`Outbox`] and a destination.
#[derive(Debug)]
pub struct Towards<'a> {
    out: &'a mut Outbox,
    to: SocketAddr,
}

impl Sink for Towards<'_> {
    fn room(&mut self, need: usize) -> Option<&mut [u8]> {
        self.out.room(need)
    }
    fn data(&mut self, len: usize) {
        self.out.push(self.to, len);
    }
    fn control(&mut self, len: usize) {
        self.out.push_alone(self.to, len);
    }
}
