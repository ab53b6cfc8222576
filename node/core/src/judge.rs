//! May this packet pass? Asked on the way out at the sender and on the way in at the receiver; each end alone suffices.

use crate::clock::Now;
use crate::conntrack::{Ends, FlowTable, Load};
use crate::packet::{DropReason, Packet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    Pass,
    /// Forget it and count the reason.
    Drop(DropReason),
    /// As `Drop`, and the local host is told by [`crate::packet::reply::refusal`]. Only for outbound packets.
    Refuse(DropReason),
}

/// Judges a packet from the local host to the peer. A super-packet is judged once, with the load of all its segments.
pub fn outbound(
    _ends: &Ends<'_>,
    _table: &mut FlowTable,
    _packet: &Packet,
    _load: Load,
    _now: Now,
) -> Ruling {
    todo!()
}

/// Judges a packet that came out of the peer's session.
pub fn inbound(_ends: &Ends<'_>, _table: &mut FlowTable, _packet: &Packet, _load: Load, _now: Now) -> Ruling {
    todo!()
}
