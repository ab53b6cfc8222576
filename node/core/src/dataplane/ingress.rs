//! From the network to the TUN: open, check the source, judge once per run of one flow, merge.
//!
//! A stranger's bytes change nothing and get nothing back, with one exception: a cookie of 64 bytes for an initiation
//! of 148 with a valid mac1, when its source is over its limit (see [`super::gate`]).

use std::net::SocketAddr;
use std::ops::Range;

use super::counters::{Event, Note};
use super::gate::Admission;
use super::{DataPlane, Outbox, Settings, VNET_LEN};
use crate::clock::Now;
use crate::conntrack::Load;
use crate::judge::{self, Ruling};
use crate::packet::merge::{Merger, Offloads};
use crate::packet::{DropReason, Fragment, Kind, Packet, Tcp, TcpFlags, classify};
use crate::path::{Locality, acceptable};
use crate::peers::{Place, Snapshot, Use};
use crate::session::message::Message;
use crate::session::{Arena, Engine, Opened, Session as _, buffer_for};

/// Plaintexts of one receive buffer, with room for the ciphertext of one more.
const ARENA: usize = 256 * 1024;
/// Inner packets in one call.
const MAX_OPENED: usize = 2048;

/// One write to the TUN: `writev` of the header and the parts in order.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub vnet: &'a [u8; VNET_LEN],
    arena: &'a [u8],
    pieces: &'a [Range<usize>],
}

impl<'a> Frame<'a> {
    pub fn parts(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let arena = self.arena;
        self.pieces.iter().map(move |r| arena.get(r.clone()).unwrap_or_default())
    }
}

/// State of one ingress thread. Allocated once.
#[derive(Debug)]
pub struct IngressWorker {
    /// Handshake answers, cookies and packets that waited for a handshake.
    pub out: Outbox,
    plain: Plain,
    merger: Merger,
    offloads: Offloads,
}

impl IngressWorker {
    pub fn new(settings: &Settings) -> IngressWorker {
        let offloads = Offloads { tcp: settings.tso, udp: settings.uso };
        IngressWorker { out: Outbox::new(), plain: Plain::new(), merger: Merger::new(offloads), offloads }
    }
    /// Frames for the TUN, in order. Closes the open super-packets: call it once before [`IngressWorker::sent`].
    pub fn frames(&mut self) -> impl Iterator<Item = Frame<'_>> {
        let supers = self.merger.finish(&mut self.plain.bytes);
        let arena = self.plain.bytes.as_slice();
        supers.iter().map(move |s| Frame { vnet: &s.vnet, arena, pieces: &s.pieces })
    }
    /// The TUN refused an offload (EINVAL, EIO): do not use it again.
    pub fn degrade(&mut self, tso: bool, uso: bool) {
        self.offloads.tcp &= !tso;
        self.offloads.udp &= !uso;
        self.merger.set_offloads(self.offloads);
    }
    /// Everything was written and sent.
    pub fn sent(&mut self) {
        self.out.flush();
        self.out.sent();
        self.merger.clear();
        self.plain.clear();
    }
}

/// Opened packets, one behind the other.
#[derive(Debug)]
struct Plain {
    bytes: Vec<u8>,
    end: usize,
    opened: Vec<Range<usize>>,
    read: Vec<(usize, Packet)>,
}

impl Plain {
    fn new() -> Plain {
        Plain {
            bytes: vec![0; ARENA],
            end: 0,
            opened: Vec::with_capacity(MAX_OPENED),
            read: Vec::with_capacity(MAX_OPENED),
        }
    }
    fn clear(&mut self) {
        self.end = 0;
        self.opened.clear();
        self.read.clear();
    }
}

impl Arena for Plain {
    fn room(&mut self, need: usize) -> Option<&mut [u8]> {
        if self.opened.len() >= MAX_OPENED {
            return None;
        }
        let spare = self.bytes.get_mut(self.end..)?;
        (spare.len() >= need).then_some(spare)
    }
    fn opened(&mut self, len: usize) {
        let range = self.end..self.end.saturating_add(len);
        self.end = range.end;
        self.opened.push(range);
    }
}

/// Packets of one flow that follow each other: one question to the judge.
struct Run {
    packet: Packet,
    load: Load,
    items: Range<usize>,
}

impl Run {
    fn new(packet: Packet, at: usize) -> Run {
        Run { packet, load: Load { packets: 1, bytes: packet.total as u64 }, items: at..at + 1 }
    }

    /// Headers equal in everything a verdict can depend on, and the bytes follow each other.
    fn takes(&self, next: &Packet) -> bool {
        if self.packet.tuple != next.tuple || next.fragment != Fragment::None {
            return false;
        }
        match (self.packet.kind, next.kind) {
            (Kind::Udp, Kind::Udp) => self.packet.fragment == Fragment::None,
            (Kind::Tcp(a), Kind::Tcp(b)) => is_plain(a) && is_plain(b) && b.seq == a.end(),
            _ => false,
        }
    }

    fn add(&mut self, next: &Packet) {
        if let (Kind::Tcp(run), Kind::Tcp(more)) = (&mut self.packet.kind, next.kind) {
            run.len = run.len.saturating_add(more.len);
            (run.ack, run.window) = (more.ack, more.window);
        }
        self.load.packets += 1;
        self.load.bytes = self.load.bytes.saturating_add(next.total as u64);
        self.items.end += 1;
    }
}

/// ACK, perhaps with PSH: nothing that changes the state of a connection.
fn is_plain(tcp: Tcp) -> bool {
    tcp.flags.0 & !TcpFlags::PSH == TcpFlags::ACK
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
        let snapshot = self.snapshot.load();
        let stride = if stride == 0 { bytes.len().max(1) } else { stride };
        let mut rest = bytes;
        while !rest.is_empty() {
            let (batch, message) = next_batch(&mut rest, stride);
            match message {
                None => self.counters.event(Event::NotWireGuard, 1),
                Some(Message::Initiation) => self.initiation(&snapshot, worker, from, batch, now),
                Some(message) => self.belongs_to_lane(&snapshot, worker, from, batch, stride, message, now),
            }
        }
        worker.out.flush();
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one private step of `ingress`, cut out only for its length"
    )]
    fn belongs_to_lane(
        &self,
        snapshot: &Snapshot<E>,
        worker: &mut IngressWorker,
        from: SocketAddr,
        batch: &[u8],
        stride: usize,
        message: Message,
        now: Now,
    ) {
        let datagrams = batch.len().div_ceil(stride) as u64;
        let Some(place) = message.lane_index().and_then(|index| snapshot.place_of_index(index)) else {
            return self.counters.event(Event::UnknownIndex, datagrams);
        };
        let Some((_, lane)) = snapshot.lane(place) else { return };
        if matches!(message, Message::Response { .. }) && !self.may_answer(snapshot, from, batch, now) {
            return self.counters.event(Event::RateLimited, 1);
        }
        let (plain, mut replies) = (&mut worker.plain, worker.out.to(from));
        let first = plain.opened.len();
        let opened = lane.with(&snapshot.engine, Use::Existing, now, |session| {
            session.open(batch.chunks(stride), plain, &mut replies, now)
        });
        let Some(opened) = opened else { return self.counters.event(Event::NotAuthentic, datagrams) };
        self.account(snapshot, worker, place, from, &opened, now);
        self.deliver(snapshot, worker, place, first, now);
    }

    /// A response costs key agreements: only with our mac1, and within its source's limit.
    fn may_answer(&self, snapshot: &Snapshot<E>, from: SocketAddr, datagram: &[u8], now: Now) -> bool {
        snapshot.engine.addressee(datagram).is_some()
            && self.gate.lock().admit(from, snapshot.is_expected(from.ip()), now) == Admission::Work
    }

    fn initiation(
        &self,
        snapshot: &Snapshot<E>,
        worker: &mut IngressWorker,
        from: SocketAddr,
        datagram: &[u8],
        now: Now,
    ) {
        let engine = &*snapshot.engine;
        let Some(key) = engine.addressee(datagram) else {
            return self.counters.event(Event::BadMac1, 1);
        };
        if !self.admits(snapshot, worker, from, key, datagram, now) {
            return;
        }
        let known = |peer: &_| snapshot.place_of_key(key, peer).is_some();
        let knock = engine.knock(key, datagram, &known);
        let Some((knock, place)) = knock.and_then(|k| Some((k, snapshot.place_of_key(key, &k.peer)?))) else {
            return self.counters.event(Event::Stranger, 1);
        };
        let Some((_, lane)) = snapshot.lane(place) else { return };
        let (plain, mut replies) = (&mut worker.plain, worker.out.to(from));
        let mut opened = Opened::default();
        let answered = lane.answer(engine, knock.stamp, now, |session| {
            opened = session.open(std::iter::once(datagram), plain, &mut replies, now);
            opened.established
        });
        if answered.is_none() {
            return self.counters.event(Event::OldInitiation, 1);
        }
        self.account(snapshot, worker, place, from, &opened, now);
    }

    /// Within its limits, or with proof of its address. Sends the one reply a stranger can get.
    fn admits(
        &self,
        snapshot: &Snapshot<E>,
        worker: &mut IngressWorker,
        from: SocketAddr,
        key: usize,
        datagram: &[u8],
        now: Now,
    ) -> bool {
        let mut gate = self.gate.lock();
        let Admission::Prove { cookies } = gate.admit(from, snapshot.is_expected(from.ip()), now) else {
            return true;
        };
        if cookies.iter().any(|cookie| snapshot.engine.proves(datagram, cookie)) {
            let admitted = gate.admit_proved(from, now);
            self.counters.event(Event::RateLimited, u64::from(!admitted));
            return admitted;
        }
        let reply = gate
            .nonce(now)
            .and_then(|nonce| snapshot.engine.cookie_reply(key, datagram, cookies.first()?, &nonce));
        if let Some(reply) = reply {
            crate::session::Sink::control_bytes(&mut worker.out.to(from), &reply);
            self.counters.event(Event::CookieSent, 1);
        } else {
            self.counters.event(Event::RateLimited, 1);
        }
        false
    }

    /// What an opened batch means for the peer: counters, endpoint, and a handshake on the lane we send on.
    fn account(
        &self,
        snapshot: &Snapshot<E>,
        worker: &mut IngressWorker,
        place: Place,
        from: SocketAddr,
        opened: &Opened,
        now: Now,
    ) {
        self.counters.event(Event::NotAuthentic, opened.refused);
        self.counters.event(Event::ArenaFull, opened.lost);
        let Some((peer, _)) = snapshot.lane(place).filter(|_| opened.authentic) else { return };
        // It did come from there, so even loopback is true; only an address inside the overlay would be a loop.
        match snapshot.network.as_ref().is_some_and(|net| acceptable(from, net, Locality::Loopback)) {
            false => self.counters.event(Event::BadEndpoint, 1),
            true => self.counters.event(Event::Roamed, u64::from(peer.link.proven(from, now))),
        }
        if !opened.established {
            return;
        }
        self.counters.event(Event::Handshake, 1);
        // The peer will want an answer: be ready before the first packet needs the other lane.
        if let Some(lane) = peer.send_lane().filter(|_| peer.send != place.lane) {
            let mut out = worker.out.to(from);
            lane.with(&snapshot.engine, Use::Create, now, |session| {
                let stats = session.stats(now);
                if stats.handshake_age.is_none() && !stats.pending {
                    session.initiate(&mut out, now);
                }
            });
        }
    }

    /// Packets opened since `first`: source, verdict, merge.
    fn deliver(
        &self,
        snapshot: &Snapshot<E>,
        worker: &mut IngressWorker,
        place: Place,
        first: usize,
        now: Now,
    ) {
        let Plain { bytes, opened, read, .. } = &mut worker.plain;
        read.clear();
        for range in opened.iter().skip(first) {
            match self.read(snapshot, place, bytes.get(range.clone()).unwrap_or_default()) {
                Ok(packet) => read.push((range.start, packet)),
                Err((reason, packet)) => self.drop_inbound(snapshot, reason, place, packet, 1, now),
            }
        }
        let Some((peer, _)) = snapshot.lane(place).filter(|_| !worker.plain.read.is_empty()) else { return };
        let mut at = 0;
        let mut flows = peer.link.flows.lock();
        let (mut packets, mut total) = (0u64, 0u64);
        while let Some(run) = next_run(&worker.plain.read, at) {
            at = run.items.end;
            match judge::inbound(&snapshot.ends(peer), &mut flows, &run.packet, run.load, now) {
                Ruling::Pass => {
                    packets += run.load.packets;
                    total += run.load.bytes;
                    for (start, packet) in worker.plain.read.get(run.items).unwrap_or_default() {
                        worker.merger.push(&mut worker.plain.bytes, *start, packet);
                    }
                }
                Ruling::Drop(reason) | Ruling::Refuse(reason) => {
                    self.drop_inbound(snapshot, reason, place, Some(run.packet), run.load.packets, now);
                }
            }
        }
        let cuts = flows.take_cuts();
        drop(flows);
        self.keep_cuts(&cuts);
        peer.link.count_received(packets, total);
    }

    /// The source must be owned by the very peer whose session carried the packet, in the table of all peers.
    fn read(
        &self,
        snapshot: &Snapshot<E>,
        place: Place,
        bytes: &[u8],
    ) -> Result<Packet, (DropReason, Option<Packet>)> {
        let packet = classify(bytes).map_err(|reason| (reason, None))?;
        if snapshot.owner(packet.tuple.src).map(|(slot, _)| slot) != Some(place.slot) {
            return Err((DropReason::SourceNotPeers, Some(packet)));
        }
        if !snapshot.mine.contains(packet.tuple.dst) {
            return Err((DropReason::DestinationNotMine, Some(packet)));
        }
        Ok(packet)
    }

    fn drop_inbound(
        &self,
        snapshot: &Snapshot<E>,
        reason: DropReason,
        place: Place,
        packet: Option<Packet>,
        times: u64,
        now: Now,
    ) {
        self.counters.drop(reason, times);
        let peer = snapshot.lane(place).map(|(peer, _)| peer.node);
        let tuple = packet.map(|p| p.tuple);
        self.counters.note(Note { at: now, reason: reason.as_str(), outbound: false, peer, tuple });
    }
}

/// Cuts off the next datagram, or all data messages in a row for one lane.
fn next_batch<'a>(rest: &mut &'a [u8], stride: usize) -> (&'a [u8], Option<Message>) {
    let mut chunks = rest.chunks(stride);
    let first = chunks.next().unwrap_or_default();
    let message = Message::parse(first);
    let mut len = first.len();
    if let Some(Message::Data { receiver }) = message {
        let same = |chunk: &&[u8]| match Message::parse(chunk) {
            Some(Message::Data { receiver: other }) => other >> 8 == receiver >> 8,
            _ => false,
        };
        len += chunks.take_while(same).map(<[u8]>::len).sum::<usize>();
    }
    let (batch, after) = rest.split_at_checked(len).unwrap_or((rest, &[]));
    *rest = after;
    (batch, message)
}

fn next_run(read: &[(usize, Packet)], at: usize) -> Option<Run> {
    let (_, first) = read.get(at)?;
    let mut run = Run::new(*first, at);
    for (_, packet) in read.iter().skip(at + 1) {
        if !run.takes(packet) {
            break;
        }
        run.add(packet);
    }
    Some(run)
}

const _: () = assert!(ARENA > 2 * buffer_for(65_535));
