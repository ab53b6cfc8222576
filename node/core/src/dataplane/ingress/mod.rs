//! From the network to the TUN: open, check the source, judge once per run of one flow, merge.
//!
//! A stranger's bytes change nothing and get nothing back, with one exception: a cookie of 64 bytes for an initiation
//! of 148 with a valid mac1, when its source is over its limit (see `gate`).

mod handshake;
mod run;
mod worker;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::DataPlane;
use super::counters::Event;
use super::notes::Note;
use super::relayed::{Datagrams, PathWord};
use crate::clock::Now;
use crate::conntrack::Load;
use crate::judge::{self, Ruling};
use crate::packet::{DropReason, Packet, Tuple, classify, mss};
use crate::path::{self, Heard, Locality, acceptable};
use crate::peers::{Peer, Place, Snapshot, Use};
use crate::session::message::Message;
use crate::session::{Engine, Opened, Refused, Session as _};

use warren_wire::relay;

use run::next_run;
use worker::Plain;
pub use worker::{Frame, IngressWorker};

/// Keys of the other lane are renewed with a handshake of the peer's if they are older than this.
const OLD: Duration = Duration::from_secs(3);

/// Datagrams that came together and can be opened together.
struct Arrival<'a> {
    place: path::Place,
    datagrams: Datagrams<'a>,
    message: Option<Message>,
}

impl<E: Engine> DataPlane<E> {
    /// Datagrams of `stride` bytes (the last may be shorter) that arrived together from one source.
    pub fn ingress(
        &self,
        worker: &mut IngressWorker,
        from: SocketAddr,
        bytes: &[u8],
        stride: usize,
        now: Now,
    ) {
        worker.prepare(now);
        let snapshot = self.snapshot.load();
        let stride = if stride == 0 { bytes.len().max(1) } else { stride };
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(arrival) = self.next_arrival(from, &mut rest, stride) else {
                self.counters.event(Event::BadFrame, 1);
                continue;
            };
            let Arrival { place, datagrams, message } = arrival;
            if self.hear_relay(place, datagrams.first(), now) {
                continue;
            }
            match message {
                None => self.counters.event(Event::NotWireGuard, 1),
                Some(message) if !message.is_data() && worker.data_only => {
                    let kept = worker.set_aside(from, datagrams.whole());
                    self.counters.event(Event::NoRoom, u64::from(!kept));
                }
                Some(Message::Initiation) => {
                    self.initiation(&snapshot, worker, place, datagrams.first(), now);
                }
                Some(message) => self.belongs_to_lane(&snapshot, worker, place, datagrams, message, now),
            }
        }
        worker.out.flush();
    }

    /// Cuts off what comes next. `None` for a relay's frame that is not for this node.
    fn next_arrival<'a>(&self, from: SocketAddr, rest: &mut &'a [u8], stride: usize) -> Option<Arrival<'a>> {
        let first = rest.get(..stride.min(rest.len())).unwrap_or_default();
        if !relay::is_frame(first) {
            let (batch, message) = next_batch(rest, stride);
            let datagrams = Datagrams::new(batch, stride, false);
            return Some(Arrival { place: path::Place::Direct(from), datagrams, message });
        }
        let read = self.read_frame(from, first);
        let message = read.and_then(|(_, carried)| Message::parse(carried));
        let mut len = first.len();
        if let (Some((place, _)), Some(Message::Data { receiver })) = (read, message) {
            let same = |chunk: &&[u8]| {
                let next = self.read_frame(from, chunk).filter(|(other, _)| *other == place);
                next.and_then(|(_, carried)| Message::parse(carried)).is_some_and(|m| m.is_of_lane(receiver))
            };
            len += rest.chunks(stride).skip(1).take_while(same).map(<[u8]>::len).sum::<usize>();
        }
        let (batch, after) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        *rest = after;
        let datagrams = Datagrams::new(batch, stride, true);
        read.map(|(place, _)| Arrival { place, datagrams, message })
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one private step of `ingress`, cut out only for its length"
    )]
    fn belongs_to_lane(
        &self,
        snapshot: &Snapshot<E>,
        worker: &mut IngressWorker,
        from: path::Place,
        datagrams: Datagrams<'_>,
        message: Message,
        now: Now,
    ) {
        let Some(place) = message.lane_index().and_then(|index| snapshot.place_of_index(index)) else {
            return self.counters.event(Event::UnknownIndex, datagrams.count());
        };
        let Some((peer, lane)) = snapshot.lane(place) else { return };
        if matches!(message, Message::Response { .. })
            && !self.may_answer(snapshot, from, datagrams.first(), now)
        {
            return self.counters.event(Event::RateLimited, 1);
        }
        let Some(way) = self.way(from) else { return };
        let (plain, mut replies) = (&mut worker.plain, worker.out.to(way));
        let first = plain.opened.len();
        let opened = lane.with(&snapshot.engine, Use::Existing, now, |session| {
            session.open(datagrams.each(), plain, &mut replies, now)
        });
        let Some(opened) = opened else {
            return self.counters.event(Event::Late, datagrams.count());
        };
        self.account(snapshot, worker, place, from, &opened, now);
        self.deliver(snapshot, worker, place, first, now);
        if opened.authentic {
            self.follow(snapshot, peer, from, heard(&worker.plain, first), now);
        }
        self.hear_about_paths(snapshot, peer, worker, from, now);
    }

    /// It did come from there, so even loopback is true; only an address inside the overlay would be a loop.
    pub(super) fn follow(
        &self,
        snapshot: &Snapshot<E>,
        peer: &Peer<E>,
        from: path::Place,
        heard: Heard,
        now: Now,
    ) {
        let fits = |address| {
            snapshot.network.as_ref().is_some_and(|net| acceptable(address, net, Locality::Loopback))
        };
        match from.direct().is_none_or(fits) {
            false => self.counters.event(Event::BadEndpoint, 1),
            true => self.counters.event(Event::Roamed, u64::from(peer.link.proven(from, heard, now))),
        }
    }

    /// A question is answered over the path it came by; an answer may move the peer.
    fn hear_about_paths(
        &self,
        snapshot: &Snapshot<E>,
        peer: &Peer<E>,
        worker: &mut IngressWorker,
        from: path::Place,
        now: Now,
    ) {
        while let Some(word) = worker.plain.words.pop() {
            if let Some(answer) = word.answer() {
                self.say_path(snapshot, peer, answer, from, 0, &mut worker.out, now);
            }
            match word {
                PathWord::Pong(nonce) => {
                    self.counters.event(Event::Roamed, u64::from(peer.link.answered(nonce, now)));
                }
                PathWord::Carried(nonce) => drop(peer.link.carried(nonce, now)),
                PathWord::Ping(_) | PathWord::Used(_) | PathWord::Probe(_) => {}
            }
        }
    }

    /// What an opened batch means for the peer: counters, and a handshake on the lane we send on.
    fn account(
        &self,
        snapshot: &Snapshot<E>,
        worker: &mut IngressWorker,
        place: Place,
        from: path::Place,
        opened: &Opened,
        now: Now,
    ) {
        self.count_refused(&opened.refused);
        self.counters.event(Event::ArenaFull, opened.lost);
        let Some((peer, _)) = snapshot.lane(place).filter(|_| opened.authentic) else { return };
        if !opened.established {
            return;
        }
        self.counters.event(Event::Handshake, 1);
        // The peer will want an answer: be ready before the first packet needs the other lane.
        let lane = peer.send_lane(0).filter(|_| !peer.sends_on(place.lane));
        if let Some((lane, way)) = lane.zip(self.way(from)) {
            let mut out = worker.out.to(way);
            lane.with(&snapshot.engine, Use::Create, now, |session| {
                let stats = session.stats(now);
                // A peer that began anew (a restart) no longer holds the keys this lane seals with.
                if stats.handshake_age.is_none_or(|age| age > OLD) && !stats.pending {
                    session.initiate(&mut out, now);
                }
            });
        }
    }

    fn count_refused(&self, refused: &Refused) {
        let Refused { forged, duplicate, late, superseded, no_packet } = *refused;
        for (event, times) in [
            (Event::NotAuthentic, forged),
            (Event::Duplicate, duplicate),
            (Event::Late, late),
            (Event::Superseded, superseded),
            (Event::NoPacket, no_packet),
        ] {
            self.counters.event(event, times);
        }
    }

    /// Packets opened since `first`: source, verdict, merge. If the world changed since they were opened, they are
    /// judged as the new one says.
    fn deliver(
        &self,
        snapshot: &Snapshot<E>,
        worker: &mut IngressWorker,
        place: Place,
        first: usize,
        now: Now,
    ) {
        let Some((peer, _)) = snapshot.lane(place) else { return };
        let mut judged = self.try_deliver(snapshot, place.slot, worker, first, now);
        while !judged {
            let newer = self.snapshot.load();
            let Some(slot) = newer.peers.iter().position(|p| p.node == peer.node) else {
                let gone = worker.plain.opened.len().saturating_sub(first) as u64;
                return self.drop_inbound(DropReason::SourceNotPeers, peer, None, gone, now);
            };
            judged = self.try_deliver(&newer, slot, worker, first, now);
        }
        // The lock on the flows is gone: merging reads every byte, and the way out must not wait for that.
        let limit = self.settings.mtu.min(peer.link.mtu());
        let Plain { bytes, read, passed, .. } = &mut worker.plain;
        for (at, packet) in passed.drain(..).filter_map(|run| read.get(run)).flatten() {
            if let Some(bytes) = bytes.get_mut(*at..*at + packet.total) {
                mss::clamp(bytes, packet, limit);
            }
            worker.merger.push(bytes, *at, packet);
        }
    }

    /// False if the snapshot is outdated; then nothing passed.
    fn try_deliver(
        &self,
        snapshot: &Snapshot<E>,
        slot: usize,
        worker: &mut IngressWorker,
        first: usize,
        now: Now,
    ) -> bool {
        let Some(peer) = snapshot.peers.get(slot) else { return true };
        let Plain { bytes, opened, read, refused, words, .. } = &mut worker.plain;
        read.clear();
        refused.clear();
        for range in opened.iter().skip(first) {
            let bytes = bytes.get(range.clone()).unwrap_or_default();
            match admit_source(snapshot, slot, bytes) {
                Ok(packet) if is_for_here(snapshot, peer, packet.tuple.dst) => {
                    read.push((range.start, packet))
                }
                Ok(packet) if self.hear(snapshot, peer, bytes, &packet, words) => {}
                Ok(packet) => refused.push((DropReason::DestinationNotMine, Some(packet.tuple))),
                Err(refusal) => refused.push(refusal),
            }
        }
        if !worker.plain.read.is_empty()
            && !self.judge_runs(snapshot, peer, worker.cell, &mut worker.plain, now)
        {
            return false;
        }
        for (reason, tuple) in worker.plain.refused.drain(..) {
            self.drop_inbound(reason, peer, tuple, 1, now);
        }
        true
    }

    /// One question for each run; fills `plain.passed`. False if the snapshot is outdated.
    fn judge_runs(
        &self,
        snapshot: &Snapshot<E>,
        peer: &Peer<E>,
        cell: usize,
        plain: &mut Plain,
        now: Now,
    ) -> bool {
        let ends = snapshot.ends(peer);
        let (mut at, mut passed, mut offered) = (0, Load::default(), Load::default());
        let Some(mut flows) = peer.link.flows_at(snapshot.serial) else { return false };
        while let Some(run) = next_run(&plain.read, at) {
            at = run.items.end;
            let ruling = judge::inbound(&ends, &mut flows, &run.packet, run.load, now);
            if ruling.is_accounted() {
                offered.add(run.load);
            }
            match ruling {
                Ruling::Pass => {
                    passed.add(run.load);
                    plain.passed.push(run.items);
                }
                Ruling::Drop(reason) | Ruling::Refuse(reason) => {
                    self.drop_inbound(reason, peer, Some(run.packet.tuple), run.load.packets, now);
                }
            }
        }
        let cuts = flows.take_cuts();
        drop(flows);
        self.after_cuts(snapshot, peer, &cuts, now);
        peer.link.count_received(passed.packets, passed.bytes);
        self.ledger.add(cell, offered);
        true
    }

    fn drop_inbound(&self, reason: DropReason, peer: &Peer<E>, tuple: Option<Tuple>, times: u64, now: Now) {
        self.counters.drop(reason, times);
        let (peer, reason) = (Some(peer.node), reason.as_str());
        self.counters.note(Note { at: now, count: times, reason, outbound: false, peer, tuple });
    }
}

/// The source must be owned by the very peer whose session carried the packet, in the table of all peers.
fn admit_source<E: Engine>(
    snapshot: &Snapshot<E>,
    slot: usize,
    bytes: &[u8],
) -> Result<Packet, (DropReason, Option<Tuple>)> {
    let packet = classify(bytes).map_err(|reason| (reason, None))?;
    if !snapshot.may_send(slot, packet.tuple.src) {
        return Err((DropReason::SourceNotPeers, Some(packet.tuple)));
    }
    Ok(packet)
}

/// This node's own, or a host behind it that the peer is granted something at.
fn is_for_here<E: Engine>(snapshot: &Snapshot<E>, peer: &Peer<E>, address: IpAddr) -> bool {
    snapshot.mine.contains(address) || peer.hosts.has(address)
}

/// Cuts off the next datagram, or all data messages in a row for one lane.
fn next_batch<'a>(rest: &mut &'a [u8], stride: usize) -> (&'a [u8], Option<Message>) {
    let mut chunks = rest.chunks(stride);
    let first = chunks.next().unwrap_or_default();
    let message = Message::parse(first);
    let mut len = first.len();
    if let Some(Message::Data { receiver }) = message {
        let same = |chunk: &&[u8]| Message::parse(chunk).is_some_and(|m| m.is_of_lane(receiver));
        len += chunks.take_while(same).map(<[u8]>::len).sum::<usize>();
    }
    let (batch, after) = rest.split_at_checked(len).unwrap_or((rest, &[]));
    *rest = after;
    (batch, message)
}

/// What the packets opened since `first` say about the way they came. Nothing inside: a handshake, or a keepalive.
fn heard(plain: &Plain, first: usize) -> Heard {
    let opened = plain.opened.len().saturating_sub(first);
    let asked = opened > 0 && plain.words.len() >= opened && !plain.words.iter().any(|word| word.is_use());
    if asked { Heard::Asked } else { Heard::Used }
}
