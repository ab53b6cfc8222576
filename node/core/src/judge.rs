//! May this packet pass? Asked on the way out at the sender and on the way in at the receiver; each end alone suffices.
//!
//! A packet passes if it belongs to a flow that the rules of this edition allow, or opens one: only a SYN without ACK, a
//! UDP packet, an echo request or a packet of another protocol may, and only from the side that a grant names. Two SYNs
//! that cross are one flow if each side may open it.
//! A fragment belongs to the flow of its first one, an ICMP error to the flow it quotes. All else is dropped.

use crate::clock::Now;
use crate::conntrack::{DatagramKey, Ends, FlowKey, FlowTable, Load, Way};
use crate::packet::{DropReason, Fragment, Kind, Packet, Quoted};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    Pass,
    /// Forget it and count the reason.
    Drop(DropReason),
    /// As `Drop`, and the local host is told by [`crate::packet::reply::refusal`]. Only for outbound packets.
    Refuse(DropReason),
}

impl Ruling {
    /// Is there a record of it, or a loss that is declared? All else is only counted by its reason.
    pub fn is_accounted(self) -> bool {
        use DropReason::{Denied, TableFull};
        match self {
            Ruling::Pass => true,
            Ruling::Drop(reason) | Ruling::Refuse(reason) => matches!(reason, Denied | TableFull),
        }
    }
}

/// Judges a packet from the local host to the peer. A super-packet is judged once, with the load of all its segments.
pub fn outbound(ends: &Ends<'_>, table: &mut FlowTable, packet: &Packet, load: Load, now: Now) -> Ruling {
    match judge(ends, table, packet, Way::Out, load, now) {
        Ok(()) => Ruling::Pass,
        Err(reason) if is_answered(reason) && table.replies.take(now.mono) => Ruling::Refuse(reason),
        Err(reason) => Ruling::Drop(reason),
    }
}

/// Judges a packet that came out of the peer's session. The peer is never answered: its own node tells its host.
pub fn inbound(ends: &Ends<'_>, table: &mut FlowTable, packet: &Packet, load: Load, now: Now) -> Ruling {
    match judge(ends, table, packet, Way::In, load, now) {
        Ok(()) => Ruling::Pass,
        Err(reason) => Ruling::Drop(reason),
    }
}

/// What an application should hear at once instead of waiting.
fn is_answered(reason: DropReason) -> bool {
    use DropReason::{Denied, FlowCut, NoFlow, TableFull};
    matches!(reason, Denied | FlowCut | NoFlow | TableFull)
}

fn judge(
    ends: &Ends<'_>,
    table: &mut FlowTable,
    packet: &Packet,
    way: Way,
    load: Load,
    now: Now,
) -> Result<(), DropReason> {
    check_addresses(ends, packet, way)?;
    let case = Case { ends, packet, way, load, now };
    match (packet.kind, packet.fragment) {
        (Kind::LaterFragment { number }, Fragment::Later { id, offset, len, last }) => {
            let key = case.datagram(number, id);
            let flow = table.fragments.later(&key, offset, len, last, now.mono)?;
            case.belongs_to(table, &flow, DropReason::FragmentOrphan)
        }
        (Kind::LaterFragment { .. }, _) | (_, Fragment::Later { .. }) => Err(DropReason::FragmentShape),
        (Kind::IcmpError(quoted), _) => case.error(table, &quoted),
        (_, Fragment::First { id, len }) => case.first_fragment(table, id, len),
        (_, Fragment::None) => case.dialogue(table, FlowKey::of(packet, way)),
    }
}

/// The source must be the sender's, the destination the receiver's, whatever a routing table says; or one of the two is a
/// host behind its end that the policy grants the other something at.
fn check_addresses(ends: &Ends<'_>, packet: &Packet, way: Way) -> Result<(), DropReason> {
    let (from, to, bad_source, bad_destination) = match way {
        Way::Out => (ends.mine, ends.peer, DropReason::SourceNotMine, DropReason::DestinationNotPeers),
        Way::In => (ends.peer, ends.mine, DropReason::SourceNotPeers, DropReason::DestinationNotMine),
    };
    let (behind_from, behind_to) = match way {
        Way::Out => (ends.hosts, ends.beyond),
        Way::In => (ends.beyond, ends.hosts),
    };
    let (src, dst) = (packet.tuple.src, packet.tuple.dst);
    match (from.contains(src), to.contains(dst)) {
        (true, true) => Ok(()),
        (true, false) if behind_to.has(dst) => Ok(()),
        (false, _) if !behind_from.has(src) => Err(bad_source),
        (false, true) => Ok(()),
        (true | false, false) => Err(bad_destination),
    }
}

/// One packet to be judged, and everything around it.
struct Case<'a> {
    ends: &'a Ends<'a>,
    packet: &'a Packet,
    way: Way,
    load: Load,
    now: Now,
}

impl Case<'_> {
    fn dialogue(&self, table: &mut FlowTable, key: FlowKey) -> Result<(), DropReason> {
        let Some(slot) = table.find(&key, self.now) else { return self.opening(table, key) };
        if matches!(self.packet.kind, Kind::Tcp(tcp) if tcp.flags.is_syn_only()) {
            if table.reuse(slot) {
                return self.opening(table, key);
            }
            if !table.may_open_again(slot, self.packet, self.way, self.ends, self.now) {
                return Err(DropReason::SynFromResponder);
            }
        }
        if !table.readmit(slot, self.ends, self.now) {
            return Err(DropReason::FlowCut);
        }
        table.observe(slot, self.packet, self.way, self.load, self.now);
        Ok(())
    }

    fn opening(&self, table: &mut FlowTable, key: FlowKey) -> Result<(), DropReason> {
        if self.packet.opens() {
            return table.open(key, self.packet, self.way, self.load, self.ends, self.now);
        }
        Err(if table.was_cut(&key, self.now) { DropReason::FlowCut } else { DropReason::NoFlow })
    }

    fn first_fragment(&self, table: &mut FlowTable, id: u32, len: u16) -> Result<(), DropReason> {
        let number = protocol_number(self.packet);
        let key = self.datagram(number, id);
        table.fragments.may_begin(&key, self.now.mono)?;
        let flow = FlowKey::of(self.packet, self.way);
        self.dialogue(table, flow)?;
        table.fragments.begin(key, flow, len, self.now.mono);
        Ok(())
    }

    /// An error speaks to the sender of the packet it quotes, about a flow of this peer that could have sent it.
    fn error(&self, table: &mut FlowTable, quoted: &Quoted) -> Result<(), DropReason> {
        let unrelated = DropReason::IcmpUnrelated;
        if quoted.tuple.src != self.packet.tuple.dst {
            return Err(unrelated);
        }
        let key = FlowKey::of_quoted(quoted, self.way);
        let slot = table.find(&key, self.now).ok_or(unrelated)?;
        let sender = if self.way == Way::Out { Way::In } else { Way::Out };
        if quoted.seq.is_some_and(|seq| !table.may_have_sent(slot, sender, seq)) {
            return Err(unrelated);
        }
        if !table.errors.take(self.now.mono) {
            return Err(DropReason::IcmpRate);
        }
        self.belongs_to(table, &key, unrelated)
    }

    /// Passes as a part of a live flow that is still allowed.
    fn belongs_to(
        &self,
        table: &mut FlowTable,
        key: &FlowKey,
        otherwise: DropReason,
    ) -> Result<(), DropReason> {
        let slot = table.find(key, self.now).ok_or(otherwise)?;
        if !table.readmit(slot, self.ends, self.now) {
            return Err(DropReason::FlowCut);
        }
        table.account(slot, self.way, self.load, self.now);
        Ok(())
    }

    fn datagram(&self, number: u8, id: u32) -> DatagramKey {
        DatagramKey { src: self.packet.tuple.src, dst: self.packet.tuple.dst, number, id }
    }
}

fn protocol_number(packet: &Packet) -> u8 {
    use warren_config::policy::Protocol;
    match packet.tuple.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::IcmpEcho if packet.is_v4() => 1,
        Protocol::IcmpEcho => 58,
        Protocol::Number(number) => number,
    }
}
