//! From the TUN to the network: classify once, judge once, split, seal.

use std::net::IpAddr;

use warren_config::filter::Rules;
use warren_config::subnet::NOTHING;

use super::counters::Event;
use super::notes::Note;
use super::{DataPlane, Outbox, VNET_LEN, frame_of};
use crate::clock::Now;
use crate::conntrack::{Addresses, Ends, Load};
use crate::judge::{self, Ruling};
use crate::ledger::Ledger;
use crate::packet::split::{self, Plan};
use crate::packet::vnet::Vnet;
use crate::packet::{DropReason, Packet, classify, mss, reply};
use crate::peers::{Peer, Snapshot, Use};
use crate::session::{DATA_OVERHEAD, Engine, Segments, Session as _};
use warren_wire::relay::HEAD;

/// Answers to the local host kept in one call sequence.
const MAX_REPLIES: usize = 64;
/// Padding goes up to a multiple of this (WireGuard paper, section 5.4.6).
const PAD: usize = 16;
const LARGEST: usize = 65_536;
const DONT_FRAGMENT: u8 = 0x40;
const IPV6_LEAST: usize = 1280;

/// State of one egress thread. Allocated once.
#[derive(Debug)]
pub struct EgressWorker {
    /// Sealed datagrams. Send `out.transmits()`, then call [`EgressWorker::sent`].
    pub out: Outbox,
    replies: Vec<Vec<u8>>,
    scratch: Vec<u8>,
    number: usize,
}

impl EgressWorker {
    /// The worker with this number, from 0.
    pub fn new(number: usize) -> EgressWorker {
        EgressWorker {
            out: Outbox::new(),
            replies: Vec::with_capacity(MAX_REPLIES),
            scratch: vec![0; LARGEST + PAD],
            number,
        }
    }
    /// Whole frames (vnet header and packet) for the TUN: answers to the local host for refused packets.
    pub fn tun_frames(&self) -> impl Iterator<Item = &[u8]> {
        self.replies.iter().map(Vec::as_slice)
    }
    /// Everything ready was sent and written. The open batch stays open.
    pub fn sent(&mut self) {
        self.out.sent();
        self.replies.clear();
    }

    fn tell_too_big(&mut self, packet: &[u8], seen: &Packet, limit: usize) {
        if self.replies.len() < MAX_REPLIES
            && let Some(answer) = reply::too_big(packet, seen, limit.try_into().unwrap_or(u16::MAX))
        {
            self.replies.push(frame_of(&answer));
        }
    }

    fn answer(&mut self, packet: &[u8], seen: &Packet) {
        if self.replies.len() < MAX_REPLIES
            && let Some(answer) = reply::refusal(packet, seen)
        {
            self.replies.push(frame_of(&answer));
        }
    }
}

/// How the frame is cut for a path of `limit` bytes.
fn plan_for(vnet: &Vnet, packet: &Packet, bytes: &[u8], limit: usize) -> Result<Plan, DropReason> {
    let plan = split::plan(vnet, packet)?;
    if plan.largest() <= limit {
        return Ok(plan);
    }
    Ok(plan.narrowed(packet, bytes, limit).unwrap_or(plan))
}

/// What the sender of packets of `largest` bytes is told to fit, if that helps: not if they may be fragmented on the way
/// (IPv4 without DF), nor if it cannot send less (IPv6 at its least).
fn tellable(bytes: &[u8], packet: &Packet, largest: usize, limit: usize) -> Option<usize> {
    if packet.is_v4() {
        let whole = bytes.get(6).is_some_and(|flags| flags & DONT_FRAGMENT != 0);
        return whole.then_some(limit);
    }
    let limit = limit.max(IPV6_LEAST);
    (largest > limit).then_some(limit)
}

/// Why a frame goes no further.
enum Stop {
    Drop(DropReason),
    Event(Event),
    /// The snapshot is not the newest any more: ask again with a new one.
    Outdated,
}

impl From<DropReason> for Stop {
    fn from(reason: DropReason) -> Stop {
        Stop::Drop(reason)
    }
}

impl<E: Engine> DataPlane<E> {
    /// One frame from the TUN: vnet header and packet. Uses up the frame's bytes. Refused packets are answered in
    /// [`EgressWorker::tun_frames`].
    pub fn egress(&self, worker: &mut EgressWorker, frame: &mut [u8], now: Now) {
        let vnet = Vnet::read(frame);
        let bytes = frame.get_mut(VNET_LEN..).unwrap_or_default();
        let (vnet, packet) = match vnet.and_then(|vnet| classify(bytes).map(|packet| (vnet, packet))) {
            Ok(read) => read,
            Err(reason) => return self.drop_outbound(reason, None, None, 1, now),
        };
        while !self.try_egress(&self.snapshot.load(), worker, &vnet, &packet, bytes, now) {}
    }

    /// False if the snapshot is outdated; then nothing was done.
    fn try_egress(
        &self,
        snapshot: &Snapshot<E>,
        worker: &mut EgressWorker,
        vnet: &Vnet,
        packet: &Packet,
        bytes: &mut [u8],
        now: Now,
    ) -> bool {
        let peer = snapshot.next_hop(packet.tuple.dst);
        let result = match peer {
            Some(peer) => self.to_peer(snapshot, peer, worker, vnet, packet, bytes, now),
            None => self.to_nobody(snapshot, worker, packet, bytes, now),
        };
        match result {
            Ok(()) => {}
            Err(Stop::Outdated) => return false,
            Err(Stop::Event(event)) => {
                if matches!(event, Event::NoEndpoint | Event::NoLane)
                    && let Some(peer) = peer
                {
                    peer.link.count_stranded();
                }
                self.stop_outbound(event, peer, packet, now);
            }
            Err(Stop::Drop(reason)) => self.drop_outbound(reason, peer, Some(packet), 1, now),
        }
        true
    }

    /// The TUN is empty: closes the open batch.
    pub fn flush(&self, worker: &mut EgressWorker) {
        worker.out.flush();
    }

    #[allow(clippy::too_many_arguments, reason = "one private step of `egress`, cut out only for its length")]
    fn to_peer(
        &self,
        snapshot: &Snapshot<E>,
        peer: &Peer<E>,
        worker: &mut EgressWorker,
        vnet: &Vnet,
        packet: &Packet,
        bytes: &mut [u8],
        now: Now,
    ) -> Result<(), Stop> {
        let limit = self.settings.mtu.min(peer.link.mtu());
        let plan = plan_for(vnet, packet, bytes, limit)?;
        let load = plan.load();
        let mut told = None;
        let ruling = {
            let mut flows = peer.link.flows_at(snapshot.serial).ok_or(Stop::Outdated)?;
            let ruling = judge::outbound(&snapshot.ends(peer), &mut flows, packet, load, now);
            if plan.largest() > limit && ruling == Ruling::Pass {
                told =
                    tellable(bytes, packet, plan.largest(), limit).filter(|_| flows.replies.take(now.mono));
            }
            let cuts = flows.take_cuts();
            drop(flows);
            self.after_cuts(snapshot, peer, &cuts, now);
            ruling
        };
        self.enter(worker, ruling, load);
        match ruling {
            Ruling::Pass => {}
            Ruling::Drop(reason) => return Err(reason.into()),
            Ruling::Refuse(reason) => {
                worker.answer(bytes, packet);
                return Err(reason.into());
            }
        }
        if let Some(limit) = told {
            worker.tell_too_big(bytes, packet, limit);
        }
        if told.is_some() || plan.largest() > self.settings.mtu {
            return Err(Stop::Event(Event::TooBig));
        }
        mss::clamp(bytes, packet, limit);
        self.seal(snapshot, peer, worker, &plan, load, bytes, now)
    }

    #[allow(clippy::too_many_arguments, reason = "one private step of `egress`, cut out only for its length")]
    fn seal(
        &self,
        snapshot: &Snapshot<E>,
        peer: &Peer<E>,
        worker: &mut EgressWorker,
        plan: &Plan,
        load: Load,
        bytes: &mut [u8],
        now: Now,
    ) -> Result<(), Stop> {
        let lane = peer.send_lane(worker.number).ok_or(Stop::Event(Event::NoLane))?;
        let (way, spares) = self.ways(peer, now);
        let way = way.ok_or(Stop::Event(Event::NoEndpoint))?;
        let overhead = load.packets.saturating_mul((DATA_OVERHEAD + PAD + HEAD) as u64);
        if load.bytes.saturating_add(overhead) > worker.out.spare() as u64 {
            return Err(Stop::Event(Event::NoRoom));
        }
        let mtu = self.settings.mtu.min(peer.link.mtu());
        let mut segments = Padded { plan, frame: bytes, scratch: &mut worker.scratch, mtu };
        let mut out = worker.out.to_all(way, spares).in_pieces(plan.largest() > mtu);
        let sealed = lane
            .with(&snapshot.engine, Use::Create, now, |session| session.seal(&mut segments, &mut out, now))
            .ok_or(Stop::Event(Event::NoLane))?;
        self.counters.event(Event::Queued, sealed.queued);
        self.counters.event(Event::Unsent, sealed.lost);
        peer.link.count_sent(load.packets, load.bytes);
        Ok(())
    }

    /// Recorded and refused at once: no grant joins this node to whoever might have that address. If an audited grant
    /// would have, the record says so; it lets nothing through.
    fn to_nobody(
        &self,
        snapshot: &Snapshot<E>,
        worker: &mut EgressWorker,
        packet: &Packet,
        bytes: &[u8],
        now: Now,
    ) -> Result<(), Stop> {
        if !snapshot.is_overlay(packet.tuple.dst) || !snapshot.mine.contains(packet.tuple.src) {
            return Err(Stop::Event(Event::NoPeer));
        }
        let none = Rules::default();
        let target = match packet.tuple.dst {
            IpAddr::V4(v4) => Addresses { v4: Some(v4), v6: std::net::Ipv6Addr::UNSPECIFIED },
            IpAddr::V6(v6) => Addresses { v4: None, v6 },
        };
        let ends = Ends {
            mine: &snapshot.mine,
            peer: &target,
            outbound: snapshot.audited.get(&packet.tuple.dst).map_or(&none, |rules| rules),
            inbound: &none,
            beyond: &NOTHING,
            hosts: &NOTHING,
            edition: snapshot.edition,
        };
        let load = Load { packets: 1, bytes: packet.total as u64 };
        let ruling = judge::outbound(&ends, &mut self.nobody.lock(), packet, load, now);
        self.enter(worker, ruling, load);
        if let Ruling::Refuse(_) = ruling {
            worker.answer(bytes, packet);
        }
        Err(Stop::Event(Event::NoPeer))
    }

    /// Into the account of what was judged.
    fn enter(&self, worker: &EgressWorker, ruling: Ruling, load: Load) {
        if ruling.is_accounted() {
            self.ledger.add(Ledger::cell_of(worker.number, false), load);
        }
    }

    fn stop_outbound(&self, event: Event, peer: Option<&Peer<E>>, packet: &Packet, now: Now) {
        self.counters.event(event, 1);
        let (peer, tuple) = (peer.map(|p| p.node), Some(packet.tuple));
        self.counters.note(Note { at: now, count: 1, reason: event.as_str(), outbound: true, peer, tuple });
    }

    fn drop_outbound(
        &self,
        reason: DropReason,
        peer: Option<&Peer<E>>,
        packet: Option<&Packet>,
        times: u64,
        now: Now,
    ) {
        self.counters.drop(reason, times);
        let (peer, tuple) = (peer.map(|p| p.node), packet.map(|p| p.tuple));
        let reason = reason.as_str();
        self.counters.note(Note { at: now, count: times, reason, outbound: true, peer, tuple });
    }
}

/// The segments of a frame, each padded to 16 bytes but never over the MTU: a full segment is sealed where it lies,
/// a smaller one is copied behind which zeros fit.
struct Padded<'a> {
    plan: &'a Plan,
    frame: &'a mut [u8],
    scratch: &'a mut [u8],
    mtu: usize,
}

/// The length a plaintext is padded to.
pub(super) fn padded(len: usize, mtu: usize) -> usize {
    len.next_multiple_of(PAD).min(mtu.max(len))
}

impl Segments for Padded<'_> {
    fn each(&mut self, mut seal: impl FnMut(&[u8])) {
        let (scratch, mtu) = (&mut *self.scratch, self.mtu);
        self.plan.run(self.frame, |segment| {
            let want = padded(segment.len(), mtu);
            let room = scratch.get_mut(..want).filter(|_| want > segment.len());
            match room.and_then(|room| room.split_at_mut_checked(segment.len())) {
                None => seal(segment),
                Some((body, zeros)) => {
                    body.copy_from_slice(segment);
                    zeros.fill(0);
                    seal(scratch.get(..want).unwrap_or(segment));
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_to_sixteen_and_never_over_the_mtu() {
        assert_eq!(padded(0, 1420), 0);
        assert_eq!(padded(1, 1420), 16);
        assert_eq!(padded(1409, 1420), 1420);
        assert_eq!(padded(1420, 1420), 1420);
        assert_eq!(padded(1421, 1420), 1421);
    }
}
