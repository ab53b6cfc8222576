//! A member's agent: the real control and the real data plane, with the deterministic stand-in sessions, as the program
//! runs them. It does nothing itself; everything it wants done is an [`Effect`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use warren_node_core::clock::{Mono, Now};
use warren_node_core::control::enrolment::Secrets;
use warren_node_core::control::keys;
use warren_node_core::control::{
    Config, Control, CutReason, Notice, Output, Publication, SignedClock, Status,
};
use warren_node_core::dataplane::{
    DataPlane, EgressWorker, IngressWorker, Outbox, PeerStatus, Settings, VNET_LEN,
};
use warren_node_core::mapping::Mappings;
use warren_node_core::packet::vnet::Vnet;
use warren_node_core::session::LaneSecret;
use warren_node_core::session::standin::StandinEngine;
use warren_wire::flow::Amount;
use warren_wire::frame::{Decoder, MAX_FRAME, NodeSays, Seated, ToCoordinator, ToNode, encode};
use warren_wire::id::{NodeId, WgKey};
use warren_wire::stun::is_stun;

use crate::disk::Disk;
use crate::laws::Numbers;

/// Flow records are taken from the data plane this often.
const DRAIN_MS: u64 = 1_000;
/// Peers are shown what the coordinator said this often.
const WORDS_MS: u64 = 30_000;
/// Signed time has whole seconds: a step back as small as this is none.
const CLOCK_TOLERANCE_MS: u64 = 1_000;
/// Live flows of an earlier agent.
type Flows = BTreeMap<NodeId, Vec<u8>>;

const SETTINGS: Settings = Settings { mtu: 1420, tso: false, uso: false, workers: 1 };

/// One thing the agent wants done.
#[derive(Debug)]
pub enum Effect {
    Dial,
    HangUp,
    /// Bytes for the control channel.
    Say(Vec<u8>),
    Datagram {
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    /// An inner packet a peer sent, for the host.
    Deliver(Vec<u8>),
    /// The agent's own word to its host: RST or ICMP.
    Tell(Vec<u8>),
    /// From now on this is enforced.
    Enforced(Arc<Publication>),
    /// The coordinator is told that this is enforced: no crash may take it back.
    Promised(Numbers),
    Cut(CutReason),
    Notice(Notice),
    /// It has this seat at the relay.
    Seated(Option<Seated>),
}

/// Buffers of packet workers; empty between two calls, so that all nodes of a world can share them.
pub struct Workers {
    egress: EgressWorker,
    ingress: IngressWorker,
    out: Outbox,
}

impl Default for Workers {
    fn default() -> Workers {
        let (egress, ingress) = (EgressWorker::new(0), IngressWorker::new(&SETTINGS));
        Workers { egress, ingress, out: Outbox::new() }
    }
}

/// How an agent is born.
pub struct Birth {
    pub boot: u64,
    pub seed: [u8; 32],
    pub endpoints: Vec<SocketAddr>,
    pub host_ms: u64,
    /// There are NATs: it asks this place where its socket is seen.
    pub stun: Option<SocketAddr>,
    pub now: Mono,
}

pub struct Agent {
    pub boot: u64,
    pub control: Control,
    pub plane: DataPlane<StandinEngine>,
    clock: SignedClock,
    decoder: Decoder,
    /// Asks where its socket is seen, where there are NATs.
    pub mapping: Option<Mappings>,
    next_tick: Mono,
    next_drain: Mono,
    next_words: Mono,
    /// Peers that still seal for the agent before this one are greeted once.
    greets: bool,
    /// The next agent takes flows over after its first publication.
    flows_to_restore: bool,
    /// So many outputs of control are done before the machine dies.
    pub fuse: Option<u32>,
    pub dead: bool,
    effects: Vec<Effect>,
}

impl Agent {
    /// Starts from what is on the disk, which holds a membership.
    pub fn start(disk: &mut Disk, birth: Birth) -> Agent {
        let membership = disk.membership.as_ref().unwrap();
        let config = Config {
            trust: membership.trust.clone(),
            charter: membership.charter.clone(),
            record: membership.record.clone(),
            coordinators: membership.coordinators.len(),
            agent: "simulated".to_owned(),
            boot: birth.boot,
            hold: false,
        };
        let now = Now { mono: birth.now, wall_ms: birth.host_ms };
        let ledger = disk.ledger.clone();
        let plane =
            DataPlane::with_ledger(StandinEngine::new(disk.lanes()), SETTINGS, ledger, birth.seed, now);
        plane.restore_stamps(&disk.stamps);
        let mut control = Control::new(config).unwrap();
        control.handle_local_endpoints(birth.endpoints, 51_820);
        control.handle_ended_starts(disk.ended.clone());
        control.handle_legacy(disk.left());
        control.handle_started(disk.view.as_deref(), birth.host_ms, birth.now);
        let mut agent = Agent {
            boot: birth.boot,
            control,
            plane,
            clock: SignedClock::default(),
            decoder: Decoder::new(MAX_FRAME),
            mapping: birth.stun.map(|server| {
                let mut mapping = Mappings::new([birth.seed; 2]);
                mapping.set_servers(&[server], birth.now);
                mapping
            }),
            next_tick: birth.now,
            next_drain: birth.now.plus_millis(DRAIN_MS),
            next_words: birth.now.plus_millis(WORDS_MS),
            greets: true,
            flows_to_restore: !disk.flows.is_empty(),
            fuse: None,
            dead: false,
            effects: Vec::new(),
        };
        agent.drain(disk, birth.now);
        agent.look_at_clock(disk, birth.now);
        agent
    }

    /// Stops in order: everything a later agent wants is written. Nobody waits for the last acknowledgement.
    pub fn stop(&mut self, disk: &mut Disk, now: Mono) {
        self.drain_flows(disk, now);
        disk.legacy = self.control.leave().write();
        disk.flows = self.plane.snapshot_flows(self.clock.at(now));
        disk.stamps = self.plane.stamps();
    }

    pub fn now(&self, now: Mono) -> Now {
        self.clock.at(now)
    }
    pub fn status(&self, now: Mono) -> Status {
        self.control.status(now)
    }
    pub fn peers(&self) -> Vec<NodeId> {
        let publication = self.control.publication();
        publication.map(|p| p.assembly.peers.keys().copied().collect()).unwrap_or_default()
    }
    pub fn peer_status(&self, now: Mono) -> Vec<PeerStatus> {
        self.plane.status(self.clock.at(now))
    }

    // --- the control channel

    pub fn handle_connected(&mut self, disk: &mut Disk, now: Mono) {
        self.decoder = Decoder::new(MAX_FRAME);
        self.control.handle_connected(now);
        self.drain(disk, now);
    }

    pub fn handle_disconnected(&mut self, why: &str, disk: &mut Disk, now: Mono) {
        self.control.handle_disconnected(why, now);
        self.drain(disk, now);
    }

    pub fn handle_bytes(&mut self, bytes: &[u8], disk: &mut Disk, now: Mono) {
        self.decoder.push(bytes);
        loop {
            match self.decoder.next::<ToNode>() {
                Ok(Some(frame)) => self.control.handle_frame(frame, now),
                Ok(None) => break,
                Err(error) => {
                    self.control.handle_unreadable(&error, now);
                    break;
                }
            }
            self.drain(disk, now);
        }
        self.drain(disk, now);
    }

    pub fn handle_endpoints(&mut self, endpoints: Vec<SocketAddr>, disk: &mut Disk, now: Mono) {
        self.control.handle_local_endpoints(endpoints, 51_820);
        if let Some(mapping) = &mut self.mapping {
            mapping.ask_again(now);
        }
        self.drain(disk, now);
    }

    // --- packets

    /// A packet of the local host.
    pub fn handle_packet(&mut self, packet: &[u8], workers: &mut Workers, now: Mono) {
        let mut frame = Vec::with_capacity(VNET_LEN + packet.len());
        frame.extend_from_slice(&Vnet::PLAIN.write());
        frame.extend_from_slice(packet);
        let worker = &mut workers.egress;
        self.plane.egress(worker, &mut frame, self.clock.at(now));
        self.plane.flush(worker);
        self.effects.extend(worker.tun_frames().map(|f| Effect::Tell(f[VNET_LEN..].to_vec())));
        self.effects.extend(datagrams(&worker.out));
        worker.sent();
        self.tell_host();
    }

    /// A datagram of the underlay.
    pub fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8], workers: &mut Workers, now: Mono) {
        if let Some(mapping) = self.mapping.as_mut().filter(|_| is_stun(bytes)) {
            mapping.handle_answer(from, bytes, now);
            return;
        }
        let worker = &mut workers.ingress;
        self.plane.ingress(worker, from, bytes, bytes.len(), self.clock.at(now));
        let packets: Vec<Vec<u8>> =
            worker.frames().map(|frame| frame.parts().flatten().copied().collect()).collect();
        self.effects.extend(packets.into_iter().map(Effect::Deliver));
        self.effects.extend(datagrams(&worker.out));
        worker.sent();
        self.tell_host();
        // A handshake that has begun here has timers of its own.
        self.next_tick = self.next_tick.min(now.plus_millis(250));
    }

    /// Peers refuse handshakes with older stamps: a clock that went back needs new keys.
    fn look_at_clock(&mut self, disk: &mut Disk, now: Mono) {
        let behind = disk.greatest_ms.saturating_sub(self.clock.at(now).wall_ms);
        if behind <= CLOCK_TOLERANCE_MS {
            return;
        }
        let serial = self.control.next_key_serial();
        disk.rotate(serial);
        let (id, secrets) = (self.control.id(), disk.secrets());
        let Some(membership) = &mut disk.membership else { return };
        let signed = keys::sign(&membership.network.id, &id, serial, &secrets.identity, &secrets.lanes);
        self.plane.replace_engine(StandinEngine::new(disk_lanes(&secrets)));
        self.control.handle_new_keys(signed, now).unwrap();
        membership.record = self.control.record().clone();
        self.drain(disk, now);
    }

    fn tell_host(&mut self) {
        let frames = self.plane.take_frames();
        self.effects.extend(frames.into_iter().map(|f| Effect::Tell(f[VNET_LEN..].to_vec())));
    }

    // --- time

    pub fn handle_timeout(&mut self, disk: &mut Disk, workers: &mut Workers, now: Mono) {
        if self.control.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.control.handle_timeout(now);
            self.drain(disk, now);
        }
        if self.next_tick <= now {
            let wake = self.plane.tick(&mut workers.out, self.clock.at(now));
            self.effects.extend(datagrams(&workers.out));
            workers.out.sent();
            self.tell_host();
            self.next_tick = wake.at.max(Mono(now.0 + 1_000_000));
            disk.stamps = self.plane.stamps();
            disk.greatest_ms = disk.greatest_ms.max(self.clock.at(now).wall_ms);
        }
        if let Some((to, question)) = self.mapping.as_mut().and_then(|mapping| mapping.poll_question(now)) {
            self.effects.push(Effect::Datagram { to, bytes: question.to_vec() });
        }
        if self.next_drain <= now {
            self.drain_flows(disk, now);
            if let Some(mapping) = &self.mapping {
                self.control.handle_mapped(mapping.seen());
            }
            let waiting = self.plane.take_waiting();
            self.control.handle_unanswering(waiting);
            self.hear_peers(workers, now);
            self.drain(disk, now);
        }
        if self.next_words <= now {
            self.next_words = now.plus_millis(WORDS_MS);
            if let Some(word) = self.control.hearsay() {
                self.plane.spread(&word, &mut workers.out, self.clock.at(now));
                self.effects.extend(datagrams(&workers.out));
                workers.out.sent();
            }
        }
    }

    /// What peers say of the coordinator is answered, and gateways that are behind are left.
    fn hear_peers(&mut self, workers: &mut Workers, now: Mono) {
        let moment = self.clock.at(now);
        for (from, word) in self.plane.take_hearsay() {
            if let Some(answer) = self.control.handle_hearsay(from, &word, now) {
                self.plane.tell(from, &answer, &mut workers.out, moment);
            }
        }
        let (news, question) = (self.control.gateway_news(now), self.control.news_question());
        self.plane.weigh_gateways(&news, &question, &mut workers.out, moment);
        self.effects.extend(datagrams(&workers.out));
        workers.out.sent();
        self.tell_host();
    }

    pub fn poll_timeout(&self) -> Mono {
        let control = self.control.poll_timeout().map_or(Mono(u64::MAX), |(at, _)| at);
        let mapping = self.mapping.as_ref().map_or(Mono(u64::MAX), Mappings::due);
        control.min(self.next_tick).min(self.next_drain).min(self.next_words).min(mapping)
    }

    fn drain_flows(&mut self, disk: &mut Disk, now: Mono) {
        self.next_drain = now.plus_millis(DRAIN_MS);
        let (records, lost) = self.plane.drain_flows(self.clock.at(now));
        self.control.handle_offered(self.plane.offered());
        if self.control.earlier_starts_are_told() {
            disk.ended.clear();
            disk.legacy.clear();
        }
        if lost != Amount::default() {
            self.control.handle_flow_losses(lost);
        }
        if !records.is_empty() {
            self.control.handle_flow_records(records, now);
        }
        self.drain(disk, now);
    }

    /// At the relays that are named; one of no address is at `at`.
    pub fn sit(&self, seated: Option<&Seated>, at: SocketAddr) {
        self.plane.set_berths(seated, Some(at));
    }

    /// The host has slept, and its agent has noticed.
    pub fn handle_resumed(&mut self, disk: &mut Disk, workers: &mut Workers, now: Mono) {
        self.plane.tend_berths(&mut workers.out, self.clock.at(now));
        self.plane.resumed(&mut workers.out, self.clock.at(now));
        workers.out.flush();
        self.effects.extend(datagrams(&workers.out));
        workers.out.sent();
        self.control.handle_resumed(now);
        self.drain(disk, now);
    }

    // --- what is wanted

    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn drain(&mut self, disk: &mut Disk, now: Mono) {
        while !self.dead {
            let Some(output) = self.control.poll_output() else { return };
            if self.burn() {
                return;
            }
            match output {
                Output::Connect { .. } => self.effects.push(Effect::Dial),
                Output::Disconnect { .. } => self.effects.push(Effect::HangUp),
                // Nobody here starts it anew.
                Output::LeaseEnded => {}
                Output::Send(frame) => self.say(&frame),
                Output::Publish(publication) => self.publish(publication, disk, now),
                Output::Clock(clock) => {
                    self.clock = clock;
                    self.look_at_clock(disk, now);
                }
                Output::Store(bytes) => disk.view = Some(bytes),
                Output::Cut(reason) => self.effects.push(Effect::Cut(reason)),
                Output::Knocked(peer) => self.show(peer, now),
                Output::Seated(seated) => self.effects.push(Effect::Seated(seated)),
                Output::Notice(notice) => self.effects.push(Effect::Notice(notice)),
            }
        }
    }

    fn show(&mut self, peer: NodeId, now: Mono) {
        let mut out = Outbox::small();
        self.plane.knocked(peer, &mut out, self.clock.at(now));
        out.flush();
        self.effects.extend(datagrams(&out));
    }

    fn say(&mut self, frame: &ToCoordinator) {
        if let Some(NodeSays::Enforced(e)) = &frame.says {
            self.effects.push(Effect::Promised((e.epoch, e.revision, e.generation)));
        }
        self.effects.push(Effect::Say(encode(frame)));
    }

    /// True once the machine has died: what was not done yet never will be.
    fn burn(&mut self) -> bool {
        match &mut self.fuse {
            None => false,
            Some(0) => {
                self.dead = true;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    fn publish(&mut self, publication: Arc<Publication>, disk: &mut Disk, now: Mono) {
        let moment = self.clock.at(now);
        let published = self.plane.publish(&publication.assembly, moment);
        self.effects.extend(published.frames.into_iter().map(|f| Effect::Tell(f[VNET_LEN..].to_vec())));
        if self.greets && !publication.assembly.peers.is_empty() {
            self.greets = false;
            self.greet(&publication, &disk.flows, moment);
        }
        if std::mem::take(&mut self.flows_to_restore) {
            let (restored, _) = self.plane.restore_flows(&disk.flows, moment);
            disk.flows.clear();
            self.effects.extend(restored.frames.into_iter().map(|f| Effect::Tell(f[VNET_LEN..].to_vec())));
        }
        let a = &publication.assembly;
        self.control.handle_published(a.epoch, a.revision, a.generation);
        self.next_tick = now;
        self.effects.push(Effect::Enforced(publication));
    }
}

impl Agent {
    /// As the program does: a handshake with those it spoke with before it died.
    fn greet(&mut self, publication: &Publication, flows: &Flows, now: Now) {
        let met: BTreeSet<WgKey> = self.plane.stamps().into_keys().map(|(_, theirs)| theirs).collect();
        let mut out = Outbox::small();
        for (id, spec) in &publication.assembly.peers {
            if flows.contains_key(id) || spec.member.lanes.iter().any(|key| met.contains(key)) {
                self.plane.initiate(*id, &mut out, now);
            }
        }
        out.flush();
        self.effects.extend(datagrams(&out));
    }
}

fn disk_lanes(secrets: &Secrets) -> Vec<LaneSecret> {
    secrets.lanes.iter().map(|lane| LaneSecret::new(*lane.private)).collect()
}

fn datagrams(out: &Outbox) -> Vec<Effect> {
    let mut datagrams = Vec::new();
    for transmit in out.transmits() {
        let segment = transmit.segment.unwrap_or(transmit.bytes.len()).max(1);
        for bytes in transmit.bytes.chunks(segment) {
            datagrams.push(Effect::Datagram { to: transmit.to, bytes: bytes.to_vec() });
        }
    }
    datagrams
}
