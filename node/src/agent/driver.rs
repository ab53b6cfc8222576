//! The control loop: one task owns [`Control`] and does what it says, in order. Packets never wait for it.

mod channel;
mod ending;
mod guards;
mod keys;
mod names;
mod notice;
mod outside;
mod peers;
mod publication;
mod relays;
mod reports;
mod sleep;
mod subnets;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use warren_node_core::clock::Mono;
use warren_node_core::control::{Control, Output};
use warren_node_core::dataplane::Stamps;
use warren_node_core::host::Plan;
use warren_node_core::session::boring::BoringEngine;
use warren_node_core::suspend::Sleeper;
use warren_wire::id::IdentityKey;

use super::doors::Doors;
use super::flowfile::FlowFile;
use super::flowlog::FlowLog;
use super::ledgerfile::LedgerFile;
use super::membership::Kept;
use super::{Options, answers};
use crate::clock::{boot, host_wall_ms, monotonic};
use crate::error::Error;
use crate::host::{Device, Host, Subnets, watch_addresses};
use crate::hostdns::HostDns;
use crate::link::{Channel, Connector, Event};
use crate::portmap::PortMapper;
use crate::resolver::{self, Resolver};
use crate::service;
use crate::socket::Waiting;
use crate::state::places::Places;
use crate::state::{StateDir, WgKeys};
use crate::worker::{Shared, StopReason};
use crate::workload::Workloads;
use notice::say;

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
/// Which way packets take is told, if that has changed.
const PATHS: u64 = 40;
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
    pub subnets: Subnets,
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
    pub(super) candidates: Vec<SocketAddr>,
    connector: Arc<Connector>,
    channel: Option<Channel>,
    /// When the channel was made.
    channel_since: Mono,
    /// Where the coordinator was reached last.
    reached: Option<SocketAddr>,
    pub(super) doors: Doors,
    turn: u64,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    device: Option<Device>,
    service: Option<resolver::Service>,
    ready: bool,
    ticks: u64,
    sleeper: Sleeper,
    /// `None`: the gateway is asked nothing.
    pub(super) port_mapper: Option<PortMapper>,
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
        let places = parts.state.places().unwrap_or_else(|e| {
            tracing::warn!("where coordinators answered last is not known: {e}");
            Places::new()
        });
        let connector = Connector::new(parts.kept.identity.clone(), keys, resolver)
            .knowing(parts.kept.came_by)
            .recalling(places);
        let port_mapper = outside::port_mapper(&parts);
        Driver {
            parts,
            log: FlowLog::default(),
            candidates: Vec::new(),
            connector: Arc::new(connector),
            channel: None,
            channel_since: Mono(0),
            reached: None,
            doors: Doors::default(),
            turn: 0,
            events: mpsc::channel(64),
            device: None,
            service: None,
            ready: false,
            ticks: 0,
            sleeper: Sleeper::default(),
            port_mapper,
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
                Some(event) = self.events.1.recv() => self.handle_events(event),
                Some(waiting) = requests.recv() => answers::handle(self, waiting),
                Some(opened) = self.doors.next() => self.handle_door(opened),
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

    fn until_timeout(&self) -> Duration {
        let due = self.parts.control.poll_timeout().map(|(at, _)| at.millis_since(boot()));
        due.map_or(TICK, |ms| Duration::from_millis(ms).min(TICK))
    }
}

/// What control wants done.
impl Driver {
    async fn drain(&mut self) -> Result<(), Error> {
        while let Some(outputs) = self.outputs() {
            for output in outputs {
                self.carry_out(output).await?;
            }
        }
        Ok(())
    }

    /// What is wanted. All of it is carried out before more is asked for: what is acknowledged is on the disk.
    fn outputs(&mut self) -> Option<Vec<Output>> {
        let outputs: Vec<Output> = std::iter::from_fn(|| self.parts.control.poll_output()).collect();
        (!outputs.is_empty()).then_some(outputs)
    }

    async fn carry_out(&mut self, output: Output) -> Result<(), Error> {
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
            Output::LeaseEnded if self.parts.options.renews => return Err(Error::LeaseEnded),
            Output::LeaseEnded => {}
            Output::Cut(reason) => tracing::warn!("all peers are cut: {reason}"),
            Output::Knocked(peer) => self.show(peer),
            Output::Seated(seated) => self.sit(seated.as_ref()),
            Output::Notice(notice) => say(&notice),
        }
        Ok(())
    }
}

/// What happens by the clock.
impl Driver {
    async fn handle_tick(&mut self) -> Result<(), Error> {
        self.ticks += 1;
        if let Some(slept) = self.sleeper.look(boot(), monotonic()) {
            self.wake_up(slept).await;
        }
        self.look_outside();
        self.tend_doors();
        let every = |n: u64| self.ticks.is_multiple_of(n);
        let (flows, received, stamps, look) = (every(FLOWS), every(RECEIVED), every(STAMPS), every(LOOK));
        let paths = every(PATHS);
        if every(WORDS) {
            self.show_peers();
        }
        if every(NAMES) {
            self.report_names();
        }
        if paths {
            self.report_paths();
        }
        if flows {
            self.hear_peers();
            self.report_flows();
            self.report_refusals();
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
            warren_kernel::memory::give_back();
            self.look_at_addresses().await;
            self.look_at_guards().await?;
            if let Some(publication) = self.parts.control.publication() {
                self.follow_subnets(&publication).await;
            }
            self.parts.control.handle_host_clock(host_wall_ms(), boot());
        }
        if self.service.is_none() && look {
            self.serve_names();
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
