//! From packets that came out of the tunnel to super-packets for the TUN, without copying a payload.

use std::ops::Range;

use super::Packet;
use super::vnet::VNET_LEN;

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
pub struct Merger {}

impl Merger {
    pub fn new(_offloads: Offloads) -> Merger {
        todo!()
    }
    /// The TUN refused an offload: from now on do not use it.
    pub fn set_offloads(&mut self, _offloads: Offloads) {
        todo!()
    }
    /// Adds a judged packet that lies at `at` in the arena.
    pub fn push(&mut self, _arena: &mut [u8], _at: usize, _packet: &Packet) {
        todo!()
    }
    /// Finishes headers and gives every super-packet of the batch, in-flow order kept.
    pub fn finish(&mut self, _arena: &mut [u8]) -> &[Super] {
        todo!()
    }
    /// Forgets the batch; the arena may be reused.
    pub fn clear(&mut self) {
        todo!()
    }
}
