//! A pair of sessions after a real handshake: one seals, the other opens.

use warren_node_core::session::boring::{BoringEngine, BoringSession};
use warren_node_core::session::{Arena, Engine as _, LaneSecret, Segments, Session as _, Sink};

use super::NOW;
use super::packets::segments;

pub struct Pair {
    sender: BoringSession,
    receiver: BoringSession,
    packets: Vec<Vec<u8>>,
    replies: Buffer,
    arena: Buffer,
}

impl Pair {
    /// `count` packets of `size` bytes in each call.
    pub fn new(count: usize, size: usize) -> Pair {
        let (a, b) = (LaneSecret::new([1; 32]), LaneSecret::new([2; 32]));
        let (ka, kb) = (a.public(), b.public());
        let session = |engine: BoringEngine, peer, index| engine.session(0, peer, index, 1, NOW).unwrap();
        let mut pair = Pair {
            sender: session(BoringEngine::new([a]), &kb, 7),
            receiver: session(BoringEngine::new([b]), &ka, 9),
            packets: segments(count, size),
            replies: Buffer::new(8),
            arena: Buffer::new(count),
        };
        pair.shake_hands();
        pair
    }

    fn shake_hands(&mut self) {
        let mut wire = Buffer::new(4);
        self.sender.initiate(&mut wire, NOW);
        for side in [true, false, true] {
            let sent = std::mem::replace(&mut wire, Buffer::new(4));
            let to = if side { &mut self.receiver } else { &mut self.sender };
            to.open(sent.messages(), &mut self.arena, &mut wire, NOW);
        }
    }

    /// Room for what one call seals.
    pub fn buffer(&self) -> Buffer {
        Buffer::new(self.packets.len())
    }

    pub fn seal(&mut self, out: &mut Buffer) {
        out.clear();
        let sealed = self.sender.seal(&mut Batch(&self.packets), out, NOW);
        assert_eq!(sealed.packets, self.packets.len() as u64);
    }

    /// Opens what was sealed, each datagram once and in order.
    pub fn open(&mut self, sealed: &Buffer) {
        self.arena.clear();
        let opened = self.receiver.open(sealed.messages(), &mut self.arena, &mut self.replies, NOW);
        assert_eq!(opened.packets, self.packets.len() as u64);
    }
}

struct Batch<'a>(&'a [Vec<u8>]);

impl Segments for Batch<'_> {
    fn each(&mut self, mut seal: impl FnMut(&[u8])) {
        self.0.iter().for_each(|packet| seal(packet));
    }
}

/// One contiguous buffer, as the workers have them.
pub struct Buffer {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Buffer {
    fn new(count: usize) -> Buffer {
        Buffer { bytes: vec![0; (count + 1) * 2048], ends: Vec::with_capacity(count) }
    }
    fn end(&self) -> usize {
        self.ends.last().copied().unwrap_or_default()
    }
    fn clear(&mut self) {
        self.ends.clear();
    }
    fn free(&mut self, need: usize) -> Option<&mut [u8]> {
        let end = self.end();
        self.bytes.get_mut(end..).filter(|room| room.len() >= need)
    }
    fn messages(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

impl Sink for Buffer {
    fn room(&mut self, need: usize) -> Option<&mut [u8]> {
        self.free(need)
    }
    fn data(&mut self, len: usize) {
        self.ends.push(self.end() + len);
    }
    fn control(&mut self, len: usize) {
        self.data(len);
    }
}

impl Arena for Buffer {
    fn room(&mut self, need: usize) -> Option<&mut [u8]> {
        self.free(need)
    }
    fn opened(&mut self, len: usize) {
        self.data(len);
    }
}
