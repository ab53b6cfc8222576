//! The pure parts of the packet path, each as a value that can be worked again and again: for `packet_path` (time) and
//! `instructions` (counts). Only entry points that the rest of the agent uses too.
//!
//! - [`packets`]: what there is to work on. [`judge`], [`offload`], [`session`]: the parts.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each measurement uses its own half, and fails by panicking"
)]

pub mod judge;
pub mod offload;
pub mod packets;
pub mod session;

use warren_node_core::clock::{Mono, Now};

/// Bytes of an inner packet: the smallest that is worth a thought, and a full one.
pub const SIZES: [usize; 2] = [64, 1420];
/// Packets in one call: alone, a few, a whole super-packet.
pub const BATCHES: [usize; 3] = [1, 8, 44];

/// The moment of everything here: no timer runs meanwhile.
pub const NOW: Now = Now { mono: Mono::from_millis(1_000_000), wall_ms: 1_700_000_000_000 };
