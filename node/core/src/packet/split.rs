//! From one frame of the kernel (TSO, USO or a single packet with an unfinished checksum) to packets for the tunnel.
//!
//! The header of each segment is written in front of its payload inside the read buffer: the bytes it overwrites
//! belong to segments that were handed on already. So a frame is split without a second buffer.

use super::vnet::Vnet;
use super::{DropReason, Packet};
use crate::conntrack::Load;

/// A frame whose offload header agrees with its packet. Made by [`plan`].
#[derive(Clone, Copy, Debug)]
pub struct Plan {}

/// Checks the offload header against the packet. `packet` is what [`super::classify`] said about the frame behind the
/// vnet header.
pub fn plan(_vnet: &Vnet, _packet: &Packet) -> Result<Plan, DropReason> {
    todo!()
}

impl Plan {
    /// Packets and IP bytes that will leave: for the judge, before the split.
    pub fn load(&self) -> Load {
        todo!()
    }
    /// Length of the largest segment, to be compared with the MTU.
    pub fn largest(&self) -> usize {
        todo!()
    }
    /// Hands on every segment in order, with right lengths and checksums. `frame` begins at the IP header, and its
    /// contents are used up.
    pub fn run(&self, _frame: &mut [u8], _each: impl FnMut(&[u8])) {
        todo!()
    }
}
