//! A control connection: reliable and in order as long as both ends and the way between them live.

use std::net::SocketAddr;

use warren_coordinator_core::output::ConnId;
use warren_wire::frame::{Decoder, MAX_FRAME};

use crate::clock::SECOND;

/// A way that is cut for so long ends the connection at both ends (QUIC's idle timeout, as the programs set it).
pub const IDLE: u64 = 30 * SECOND;
/// A node notices so much later that the coordinator's process has died (keep-alive, stateless reset).
pub const CRASH_NOTICED: u64 = 10 * SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToSite,
    ToNode,
}

pub struct Channel {
    pub id: ConnId,
    pub node: usize,
    /// The start of the agent that opened it.
    pub boot: u64,
    /// The start of the coordinator it leads to.
    pub run: u64,
    pub from: SocketAddr,
    pub open_at_node: bool,
    pub open_at_site: bool,
    pub decoder: Decoder,
    /// Kept back while the way is cut.
    pub held: Vec<(Direction, Vec<u8>)>,
    /// An idle timeout runs.
    pub waiting: bool,
    /// When the last message arrives, up and down: a stream keeps its order.
    pub last: [u64; 2],
}

impl Channel {
    pub fn new(id: ConnId, node: usize, boot: u64, run: u64, from: SocketAddr) -> Channel {
        Channel {
            id,
            node,
            boot,
            run,
            from,
            open_at_node: true,
            open_at_site: true,
            decoder: Decoder::new(MAX_FRAME),
            held: Vec::new(),
            waiting: false,
            last: [0; 2],
        }
    }

    /// The arrival of a message that takes `delay`, after everything before it.
    pub fn arrival(&mut self, direction: Direction, now: u64, delay: u64) -> u64 {
        let last = &mut self.last[usize::from(direction == Direction::ToNode)];
        *last = (*last).max(now + delay);
        *last
    }
}
