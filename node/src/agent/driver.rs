//! The control loop: one task owns [`Control`] and does what it says, in order. Packets never wait for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use warren_node_core::assembly::PeerSpec;
use warren_node_core::conntrack::Load;
use warren_node_core::control::{Control, Notice, Output, Publication, Severity};
use warren_node_core::dataplane::{Outbox, PeerStatus, Stamps};
use warren_node_core::host::{Plan, leak};
use warren_node_core::names::standing::{Known, Standing};
use warren_node_core::session::boring::BoringEngine;
use warren_wire::flow::Amount;
use warren_wire::frame::ToCoordinator;
use warren_wire::id::{IdentityKey, NodeId, WgKey};

use super::flowfile::{FlowFile, Flows};
use super::flowlog::FlowLog;
use super::ledgerfile::LedgerFile;
use super::membership::Kept;
use super::{Options, answers, endpoints, rotation};
use crate::clock::{boot, host_wall_ms};
use crate::error::Error;
use crate::host::{Change, Device, Host, LocalAddress, watch_addresses};
use crate::hostdns::{HostDns, Wanted};
use crate::link::{Channel, Connector, Event};
use crate::resolver::{self, Resolver};
use crate::service;
use crate::socket::Waiting;
use crate::state::{StateDir, WgKeys};
use crate::udp::Sender;
use crate::worker::{Shared, StopReason};
use crate::workload::Workloads;

/// How often the loop looks around when nothing happens.
const TICK: Duration = Duration::from_millis(250);
/// In ticks: flows reported and saved, interface looked at; stamps kept; addresses, guards and clock looked at.
const FLOWS: u64 = 2;
const STAMPS: u64 = 120;
/// Received stamps that are new: what a crash forgets of them, somebody who recorded it can replay.
const RECEIVED: u64 = 20;
const LOOK: u64 = 120;
/// What the coordinator said is shown to peers; theirs is looked at with every report of flows.
const WORDS: u64 = 120;
/// Handshakes begun at once at a start; the others begin with their first packet.
const GREETED: usize = 256;
/// Numbers of flows that the guard refused; those of the packet path count from 1.
const REFUSALS: u64 = 1 << 62;
/// How long the coordinator may take to acknowledge the last report of an agent that stops.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Which names were asked here is told, where the policy wants to know.
const NAMES: u64 = 20;
/// A packet worker silent for so many seconds starves the watchdog.
const SILENCE: u64 = 5;

pub struct Parts {
    pub options: Options,
    pub state: StateDir,
    pub kept: Kept,
    pub keys: WgKeys,
    pub control: Control,
    pub host: Host,
    pub plan: Plan,
    pub shared: Arc<Shared<BoringEngine>>,
    pub resolver: Arc<Resolver>,
    pub host_dns: HostDns,
    pub flows: FlowFile,
    pub ledger: LedgerFile,
    /// There is a file of what an earlier start left.
    pub legacy: bool,
    pub workloads: Workloads,
}

pub struct Driver {
    pub(super) parts: Parts,
    pub(super) log: FlowLog,
    pub(super) candidates: Vec<std::net::SocketAddr>,
    connector: Arc<Connector>,
    channel: Option<Channel>,
    turn: u64,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    device: Option<Device>,
    service: Option<resolver::Service>,
    ready: bool,
    ticks: u64,
    /// Refusals of the leak guard so far.
    refusals: u64,
    /// Stamps as they are on the disk.
    received: Stamps,
    /// The flow file is older than the flows.
    unsaved: bool,
}

impl Driver {
    pub fn new(parts: Parts) -> Driver {
        let keys = coordinator_keys(&parts.kept, &parts.kept.network.coordinators);
        let resolver = Arc::clone(&parts.resolver);
        let connector = Connector::new(parts.kept.identity.clone(), keys, resolver);
        Driver {
            parts,
            log: FlowLog::default(),
            candidates: Vec::new(),
            connector: Arc::new(connector),
            channel: None,
            turn: 0,
            events: mpsc::channel(64),
            device: None,
            service: None,
            ready: false,
            ticks: 0,
            refusals: 0,
            received: Stamps::new(),
            unsaved: true,
        }
    }

    pub fn options(&self) -> &Options {
        &self.parts.options
    }

    /// Enforces the last good view and takes over flows, before the first packet.
    pub async fn begin(&mut self) -> Result<(), Error> {
        self.look_at_addresses().await;
        self.parts.control.handle_host_clock(host_wall_ms(), boot());
        self.drain().await?;
        let shared = &self.parts.shared;
        let flows = self.parts.flows.read();
        let (published, notes) = shared.plane.restore_flows(&flows, shared.clock.now());
        published.frames.iter().for_each(|frame| shared.write_plain(frame));
        notes.iter().for_each(|note| tracing::info!("{note}"));
        self.greet(&flows);
        self.device = self.parts.host.netlink().device(&self.parts.options.interface).await?;
        self.serve_names();
        Ok(())
    }

    /// A peer that spoke with the agent before this one still seals for it: a handshake now saves its next packet from
    /// being lost, and running flows from waiting for the peer's own timeout.
    fn greet(&self, flows: &Flows) {
        let shared = &self.parts.shared;
        let Some(publication) = self.parts.control.publication() else { return };
        let met: BTreeSet<WgKey> = shared.plane.stamps().into_keys().map(|(_, theirs)| theirs).collect();
        let known = |id: &NodeId, spec: &PeerSpec| {
            flows.contains_key(id) || spec.member.lanes.iter().any(|key| met.contains(key))
        };
        let mut out = Outbox::small();
        for (id, _) in publication.assembly.peers.iter().filter(|(id, spec)| known(id, spec)).take(GREETED) {
            shared.plane.initiate(*id, &mut out, shared.clock.now());
            out.flush();
            out.transmits().for_each(|transmit| shared.sockets.send(&transmit, Sender::Control));
            out.sent();
        }
    }

    /// Until a signal, a command or a failure.
    pub async fn run(&mut self, mut requests: mpsc::Receiver<Waiting>) -> Result<(), Error> {
        let mut addresses = watch_addresses()?;
        let mut ends = [listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?];
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let [terminate, interrupt] = &mut ends;
        while !self.parts.shared.stop.is_set() {
            self.drain().await?;
            let wait = self.until_timeout();
            tokio::select! {
                Some(event) = self.events.1.recv() => self.handle_event(event),
                Some(waiting) = requests.recv() => answers::handle(self, waiting),
                Some(()) = addresses.recv() => self.look_at_addresses().await,
                _ = ticks.tick() => self.handle_tick().await?,
                () = tokio::time::sleep(wait) => self.parts.control.handle_timeout(boot()),
                _ = terminate.recv() => self.stop("SIGTERM"),
                _ = interrupt.recv() => self.stop("SIGINT"),
            }
        }
        Ok(())
    }

    pub(super) fn stop(&self, why: &str) {
        tracing::info!(
            "stopping ({why}): overlay traffic stays blocked until the next start; `warren-node down` removes everything"
        );
        self.parts.shared.stop.set(StopReason::Asked);
    }

    /// After the workers ended: what the next agent needs, then what the coordinator has not heard yet.
    pub async fn end(&mut self) {
        self.report_refusals();
        self.parts.host_dns.give_back().await;
        self.service = None;
        self.save_flows();
        self.save_stamps();
        self.deliver().await;
        self.channel = None;
        self.leave();
    }

    fn until_timeout(&self) -> Duration {
        let due = self.parts.control.poll_timeout().map(|(at, _)| at.millis_since(boot()));
        due.map_or(TICK, |ms| Duration::from_millis(ms).min(TICK))
    }
}

/// The last words of an agent that stops in order.
impl Driver {
    /// Every window is closed and reported. The coordinator has a moment to acknowledge it; no view is followed any more.
    async fn deliver(&mut self) {
        self.report_flows();
        let late = tokio::time::Instant::now() + LAST_WORDS;
        self.speak();
        while self.channel.is_some() && self.parts.control.waits_for_acknowledgement() {
            match tokio::time::timeout_at(late, self.events.1.recv()).await {
                Ok(Some(event)) => self.handle_event(event),
                _ => return,
            }
            self.speak();
        }
    }

    fn speak(&mut self) {
        while let Some(output) = self.parts.control.poll_output() {
            match output {
                Output::Send(frame) => self.send(&frame),
                Output::Store(bytes) => self.store(&bytes),
                Output::Disconnect { .. } => self.channel = None,
                Output::Notice(notice) => say(&notice),
                Output::Connect { .. } | Output::Publish(_) | Output::Clock(_) => {}
                Output::Cut(_) | Output::Knocked(_) => {}
            }
        }
    }

    /// What is not acknowledged is for the next agent, also after a restart of the host.
    fn leave(&mut self) {
        let legacy = self.parts.control.leave();
        if !legacy.reports.is_empty() {
            let (reports, records) = (legacy.reports.len(), legacy.records());
            tracing::info!(
                reports,
                records,
                "kept for the next start: the coordinator has not acknowledged them"
            );
        }
        if let Err(e) = self.parts.state.store_legacy(&legacy.write()) {
            tracing::warn!(
                "what the coordinator has not acknowledged cannot be kept ({e}): it counts as lost"
            );
        }
    }

    fn forget_earlier(&mut self) {
        let parts = &mut self.parts;
        if !parts.control.earlier_starts_are_told() {
            return;
        }
        parts.ledger.forget_ended();
        if std::mem::take(&mut parts.legacy)
            && let Err(e) = parts.state.remove_legacy()
        {
            tracing::warn!("what an earlier start left is told and cannot be removed: {e}");
            parts.legacy = true;
        }
    }
}

/// What control wants done.
impl Driver {
    async fn drain(&mut self) -> Result<(), Error> {
        while let Some(output) = self.parts.control.poll_output() {
            match output {
                Output::Connect { coordinator } => self.connect(coordinator),
                Output::Disconnect { why } => {
                    tracing::info!("leaving the coordinator: {why}");
                    self.channel = None;
                    self.turn += 1;
                }
                Output::Send(frame) => self.send(&frame),
                Output::Publish(publication) => self.publish(&publication).await?,
                Output::Clock(clock) => self.parts.shared.clock.set(clock),
                Output::Store(bytes) => self.store(&bytes),
                Output::Cut(reason) => tracing::warn!("all peers are cut: {reason}"),
                Output::Knocked(peer) => self.show(peer),
                Output::Notice(notice) => say(&notice),
            }
        }
        Ok(())
    }

    /// A peer that is not heard here hears from this node.
    fn show(&self, peer: NodeId) {
        let (shared, mut out) = (&self.parts.shared, Outbox::small());
        shared.plane.knocked(peer, &mut out, shared.clock.now());
        out.flush();
        out.transmits().for_each(|transmit| shared.sockets.send(&transmit, Sender::Control));
        out.sent();
    }

    fn send(&mut self, frame: &ToCoordinator) {
        let sent = self.channel.as_ref().map(|channel| channel.send(frame));
        if let Some(Err(why)) = sent {
            self.lose(why);
        }
    }

    fn connect(&mut self, coordinator: usize) {
        self.channel = None;
        self.turn += 1;
        let Some(address) = self.parts.kept.trust.coordinators.get(coordinator) else {
            return self.parts.control.handle_disconnected("no such coordinator address", boot());
        };
        tracing::debug!(%address, "trying the coordinator");
        Channel::open(Arc::clone(&self.connector), address.clone(), self.turn, self.events.0.clone());
    }

    fn lose(&mut self, why: &str) {
        self.channel = None;
        self.turn += 1;
        self.parts.control.handle_disconnected(why, boot());
    }

    /// Events of a try that was given up change nothing.
    fn handle_event(&mut self, event: Event) {
        if event.turn() != self.turn {
            return;
        }
        let now = boot();
        let control = &mut self.parts.control;
        match event {
            Event::Connected(_, channel) => {
                self.parts.shared.mapping.lock().set_server(Some(channel.remote()), now);
                self.channel = Some(channel);
                control.handle_connected(now);
            }
            Event::Failed(_, e) => control.handle_disconnected(&e.to_string(), now),
            Event::Frame(_, frame) => control.handle_frame(*frame, now),
            Event::Unreadable(_, e) => control.handle_unreadable(&e, now),
            Event::Lost(_, why) => {
                self.channel = None;
                control.handle_disconnected(&why, now);
            }
        }
    }

    /// Machine first, then packets, then names; only then it is enforced.
    async fn publish(&mut self, publication: &Publication) -> Result<(), Error> {
        self.follow_charter(publication).await?;
        self.forget_unfiled_keys();
        let shared = &self.parts.shared;
        let published = shared.plane.publish(&publication.assembly, shared.clock.now());
        published.frames.iter().for_each(|frame| shared.write_plain(frame));
        for conflict in &published.conflicts {
            tracing::error!("two members claim the same: {conflict}; nobody gets it");
        }
        self.parts.resolver.publish(&publication.names, &publication.settings);
        let assembly = &publication.assembly;
        tracing::info!(
            revision = assembly.revision,
            generation = assembly.generation,
            peers = assembly.peers.len(),
            cut_flows = published.cut,
            "enforced"
        );
        self.parts.control.handle_published(assembly.epoch, assembly.revision, assembly.generation);
        if !self.ready && publication.cut.is_none() {
            self.ready = true;
            service::ready(&format!("{} peers, generation {}", assembly.peers.len(), assembly.generation));
        }
        Ok(())
    }

    /// A new charter or other addresses of this node: the machine follows, guards never missing.
    async fn follow_charter(&mut self, publication: &Publication) -> Result<(), Error> {
        let (network, me) = (&publication.assembly.network, &publication.assembly.me);
        let plan = Plan::new(self.parts.plan.interface.clone(), self.parts.plan.mtu, network, me)
            .with_bridges(&self.parts.plan.bridges);
        self.connector.set_servers(coordinator_keys(&self.parts.kept, &network.coordinators));
        let steps = self.parts.plan.change_to(&plan);
        if steps.is_empty() {
            return Ok(());
        }
        self.parts.host.carry_out(&steps).await?;
        self.parts.plan = plan;
        self.serve_names();
        Ok(())
    }

    /// A disk that is full must not stop enforcement; it is said, and tried again with the next view.
    fn store(&mut self, view: &[u8]) {
        if let Err(e) = self.parts.state.store_view(view) {
            tracing::error!("the view is enforced but could not be kept for the next start: {e}");
        }
    }

    fn serve_names(&mut self) {
        self.service = None;
        if !self.parts.options.dns {
            return;
        }
        let no_ipv6 = self.parts.host.no_ipv6();
        let own = self.parts.plan.addresses.iter().copied().chain(self.parts.options.names.listen);
        let own: Vec<_> = own.filter(|a| a.is_ipv4() || !no_ipv6).collect();
        match resolver::serve(&self.parts.resolver, &own, resolver::PORT) {
            Ok(service) => self.service = Some(service),
            Err(e) => tracing::error!("{e}"),
        }
    }

    /// Programs are sent here only while somebody answers here.
    async fn tell_host(&mut self) {
        let resolver = &self.parts.resolver;
        let Some(names) = resolver.names().filter(|_| self.service.is_some()) else { return };
        let no_ipv6 = self.parts.host.no_ipv6();
        let servers = self.parts.plan.addresses.iter().copied().filter(|a| a.is_ipv4() || !no_ipv6);
        let wanted = Wanted {
            servers: servers.collect(),
            zone: names.zone().to_owned(),
            everything: resolver.answers_everything(),
        };
        self.parts.host_dns.tell(&wanted).await;
        self.report_refusals();
    }

    /// Programs that asked in clear are seen where every other refusal is seen.
    fn report_refusals(&mut self) {
        let refusals = self.parts.host_dns.take_refusals();
        let generation = self.parts.control.publication().map_or(0, |p| p.assembly.generation);
        let mut records = Vec::new();
        for refused in &refusals {
            self.refusals += 1;
            let (own, now_ms) = (&self.parts.plan.addresses, self.parts.shared.clock.now().wall_ms);
            records.extend(leak::record(refused, own, REFUSALS + self.refusals, generation, now_ms));
        }
        records.iter().for_each(|record| self.log.add(record));
        if !records.is_empty() {
            // The packet path did not see them.
            for record in &records {
                let load = Load { packets: record.packets_out, bytes: record.bytes_out };
                self.parts.ledger.ledger.add(0, load);
            }
            self.parts.control.handle_offered(self.parts.ledger.ledger.read());
            self.parts.control.handle_flow_records(records, boot());
        }
    }

    /// Near peers stand first among several addresses of a name, those that do not answer last.
    fn tell_standings(&self) {
        let shared = &self.parts.shared;
        let status = shared.plane.status(shared.clock.now()).into_iter();
        let standing = |peer: &PeerStatus| {
            Standing::of(Known {
                has_session: peer.last_handshake.is_some(),
                pending: peer.handshake_pending,
                unanswered: peer.unanswered,
                round_trip: peer.round_trip,
            })
        };
        let all = status.map(|peer| (peer.node, standing(&peer)));
        let known = all.filter(|(_, standing)| *standing != Standing::Near);
        self.parts.resolver.set_standings(known.collect());
    }
}

/// What happens by the clock.
impl Driver {
    async fn handle_tick(&mut self) -> Result<(), Error> {
        self.ticks += 1;
        self.look_outside();
        let every = |n: u64| self.ticks.is_multiple_of(n);
        let (flows, received, stamps, look) = (every(FLOWS), every(RECEIVED), every(STAMPS), every(LOOK));
        if every(WORDS) {
            self.show_peers();
        }
        if every(NAMES) {
            self.report_names();
        }
        if flows {
            self.hear_peers();
            self.report_flows();
            self.look_at_interface().await?;
            if self.parts.shared.pulse.alive(boot(), SILENCE) {
                service::alive();
            }
        }
        if self.ticks.is_multiple_of(2 * FLOWS) {
            self.save_flows();
            self.tell_standings();
            self.tell_host().await;
            self.look_at_clock()?;
        }
        if received {
            self.save_received();
        }
        if stamps {
            self.save_stamps();
        }
        if look {
            crate::kernel::memory::give_back();
            self.look_at_addresses().await;
            self.look_at_guards().await?;
            self.parts.control.handle_host_clock(host_wall_ms(), boot());
        }
        if self.service.is_none() && look {
            self.serve_names();
        }
        Ok(())
    }

    /// Where this node is seen, and peers that do not answer: both are the coordinator's to pass on.
    fn look_outside(&mut self) {
        let (control, shared) = (&mut self.parts.control, &self.parts.shared);
        let seen = shared.mapping.lock().mapped();
        shared.plane.set_mapped(control.handle_mapped(seen));
        control.handle_unanswering(shared.plane.take_waiting());
    }

    /// So that nobody can be told less than others without noticing.
    fn show_peers(&self) {
        let Some(word) = self.parts.control.hearsay() else { return };
        let (shared, mut out) = (&self.parts.shared, Outbox::small());
        shared.plane.spread(&word, &mut out, shared.clock.now());
        out.transmits().for_each(|transmit| shared.sockets.send(&transmit, Sender::Control));
        out.sent();
    }

    fn hear_peers(&mut self) {
        for (from, word) in self.parts.shared.plane.take_hearsay() {
            self.parts.control.handle_hearsay(from, &word, boot());
        }
    }

    fn report_flows(&mut self) {
        let shared = &self.parts.shared;
        let (mut records, lost) = shared.plane.drain_flows(shared.clock.now());
        self.parts.workloads.name(&mut records);
        records.iter().for_each(|record| self.log.add(record));
        // Read after the records were taken, it covers them all.
        self.parts.control.handle_offered(shared.plane.offered());
        self.forget_earlier();
        if lost != Amount::default() {
            self.parts.control.handle_flow_losses(lost);
        }
        if !records.is_empty() {
            self.parts.control.handle_flow_records(records, boot());
        }
    }

    /// While nobody is there to be told, it is counted on.
    fn report_names(&mut self) {
        if self.parts.control.wants_names()
            && let Some(report) = self.parts.resolver.take_names()
        {
            self.parts.control.handle_names(report);
        }
    }

    fn save_flows(&mut self) {
        let shared = &self.parts.shared;
        self.unsaved |= shared.plane.take_stirred();
        if !self.unsaved {
            return;
        }
        let flows = shared.plane.snapshot_flows(shared.clock.now());
        self.unsaved = false;
        if let Err(e) = self.parts.flows.write(&flows) {
            self.unsaved = true;
            tracing::warn!("flows cannot be kept for the next agent ({e}): a restart will break connections");
        }
    }

    fn save_stamps(&mut self) {
        let shared = &self.parts.shared;
        let sent = shared.plane.greatest_sent() / 1_000_000;
        let greatest = sent.max(shared.clock.greatest_host_ms());
        let kept = self.parts.state.store_stamp(greatest);
        if let Err(e) = kept {
            tracing::warn!("the greatest handshake stamp cannot be kept: {e}");
        }
        self.save_received();
    }

    fn save_received(&mut self) {
        let stamps = self.parts.shared.plane.stamps();
        if self.received == stamps {
            return;
        }
        match self.parts.state.store_stamps(&stamps) {
            Ok(()) => self.received = stamps,
            Err(e) => tracing::warn!("received handshake stamps cannot be kept: {e}"),
        }
    }

    /// Peers refuse handshakes with older stamps: a clock that went back needs new keys.
    fn look_at_clock(&mut self) -> Result<(), Error> {
        let Err(behind_ms) = self.parts.shared.clock.check_host() else { return Ok(()) };
        tracing::warn!(behind_ms, "the host's clock went back");
        let parts = &mut self.parts;
        let keys = rotation::rotate(
            &parts.state,
            &mut parts.control,
            &parts.kept.identity,
            &parts.kept.network.id,
            &parts.keys,
            parts.options.workers,
            boot(),
        )?;
        parts.shared.plane.replace_engine(rotation::engine(&keys));
        if let Some(publication) = parts.control.publication() {
            let published = parts.shared.plane.publish(&publication.assembly, parts.shared.clock.now());
            published.frames.iter().for_each(|frame| parts.shared.write_plain(frame));
        }
        parts.keys = keys;
        parts.shared.clock.forget_greatest();
        self.save_stamps();
        Ok(())
    }

    /// A disk that is full must not stop enforcement: then the keys are forgotten with a later view.
    fn forget_unfiled_keys(&mut self) {
        let parts = &mut self.parts;
        let Some(fewer) = rotation::forget_unfiled(&parts.control, &parts.keys) else { return };
        match parts.state.store_wg_keys(&fewer) {
            Ok(()) => {
                parts.shared.plane.replace_engine(rotation::engine(&fewer));
                parts.keys = fewer;
            }
            Err(e) => tracing::warn!("a WireGuard key that no file names any more is kept: {e}"),
        }
    }

    async fn look_at_addresses(&mut self) {
        let parts = &mut self.parts;
        let port = parts.shared.sockets.port();
        match parts.host.netlink().local_addresses().await {
            Ok(addresses) => {
                let network = &parts.kept.network;
                let bridged =
                    |a: &&LocalAddress| parts.plan.bridges.iter().any(|b| b.as_str() == a.interface);
                parts.resolver.set_neighbours(addresses.iter().filter(bridged).map(|a| a.network).collect());
                let found = endpoints::candidates(&addresses, &parts.options.interface, port, network);
                if found != self.candidates {
                    tracing::debug!(?found, "own endpoints");
                    self.candidates = found.clone();
                    parts.shared.mapping.lock().ask_again(boot());
                    parts.control.handle_local_endpoints(found, port);
                }
            }
            Err(e) => tracing::warn!("{e}"),
        }
    }

    async fn look_at_interface(&mut self) -> Result<(), Error> {
        let (name, mtu) = (&self.parts.options.interface, self.parts.plan.mtu);
        let now = self.parts.host.netlink().device(name).await?;
        match self.device.as_ref().and_then(|ours| ours.change(now.as_ref(), mtu)) {
            None => Ok(()),
            Some(Change::Altered) => {
                tracing::warn!("somebody changed the interface {name}: putting it right");
                Ok(self.parts.host.carry_out(&self.parts.plan.up()).await?)
            }
            Some(Change::Gone | Change::Replaced) => {
                let text = format!(
                    "the interface {name} was deleted, renamed or moved away; overlay traffic stays blocked by the \
                     unreachable routes: start the agent again (the service manager does)"
                );
                self.parts.shared.stop.set(StopReason::Failed(text));
                Ok(())
            }
        }
    }

    async fn look_at_guards(&mut self) -> Result<(), Error> {
        if !self.parts.host.is_guarded(&self.parts.plan).await? {
            tracing::warn!(
                "the strong-host table was removed (another program flushed all rules?): putting it back"
            );
            return Ok(self.parts.host.carry_out(&self.parts.plan.up()).await?);
        }
        for range in &self.parts.plan.ranges {
            if range.addr().is_ipv6() && self.parts.host.no_ipv6() {
                continue;
            }
            if !self.parts.host.netlink().has_unreachable(*range).await? {
                tracing::warn!("the unreachable route for {range} was removed: putting it back");
                return Ok(self.parts.host.carry_out(&self.parts.plan.up()).await?);
            }
        }
        Ok(())
    }
}

/// Keys of the token and of the charter.
fn coordinator_keys(kept: &Kept, charter: &[IdentityKey]) -> Vec<IdentityKey> {
    let mut keys = kept.trust.coordinator_keys.clone();
    keys.extend(charter);
    keys.sort();
    keys.dedup();
    keys
}

fn listen(kind: SignalKind) -> Result<Signal, Error> {
    signal(kind).map_err(Error::io("listen for signals"))
}

fn say(notice: &Notice) {
    match notice.severity {
        Severity::Info => tracing::info!(id = notice.id, "{}", notice.message),
        Severity::Warning => tracing::warn!(id = notice.id, "{}", notice.message),
        Severity::Alarm => tracing::error!(id = notice.id, "{}", notice.message),
    }
}
