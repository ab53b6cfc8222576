//! The one task that holds the coordinator and its store. Everybody else sends it events and questions.
//!
//! For each input, in this order: decide, commit (the entry is on the disk), apply, drain. Nothing here waits for a
//! client: what a client must be told goes to its outbox, and a client that does not read is dropped.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc as blocking;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use warren_coordinator_core::Coordinator;
use warren_coordinator_core::change::Principal;
use warren_coordinator_core::command::Command;
use warren_coordinator_core::flows::{Batch, FlowRow};
use warren_coordinator_core::output::{ConnId, Level, Output};
use warren_coordinator_core::refusal::Refusal;
use warren_coordinator_core::relay::Ask;
use warren_coordinator_core::store::StoreError;
use warren_wire::flow::{FlowEnd, FlowVerdict};
use warren_wire::frame::{self, CoordinatorSays, SaidToRelay, ToNode, ToRelay};
use warren_wire::id::Revision;

use crate::channel::outbox::Outbox;
use crate::channel::{Event, Message, Tongue};
use crate::clock;
use crate::events::Hub;
use crate::keyring::KeyRing;
use crate::otlp::Export;
use crate::relay::Desk;
use crate::store::history::Written;
use crate::store::log::LogStore;
use crate::text::plain;

/// Frames of all clients that wait for the owner: a full queue slows the clients.
pub const EVENTS: usize = 256;
const JOBS: usize = 128;
/// The owner looks at the clock at least so often, also for the service manager's watchdog.
const TICK: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce(&mut Owner) + Send>;

pub struct Owner {
    coordinator: Coordinator,
    store: LogStore,
    clients: BTreeMap<ConnId, Outbox>,
    beside: Beside,
    flows_skipped: u64,
    /// Accounts of reports whose records found the writer's queue full. A node has few reports under way, so they are few.
    accounts_waiting: VecDeque<Batch>,
    flow_counts: FlowCounts,
    /// Set once the store may have failed half way: nothing is acknowledged any more.
    fatal: Option<StoreError>,
}

/// Who hears of what happens at the owner.
pub struct Beside {
    /// To the thread that writes flow history; full: records are skipped and their number kept, nobody waits.
    pub flows: blocking::SyncSender<Batch>,
    pub hub: Hub,
    pub keys: KeyRing,
    pub export: Option<Export>,
    /// `None`: there is no relay.
    pub relay: Option<Desk>,
}

/// Flows and their bytes by verdict, as their openers reported them.
#[derive(Clone, Copy, Debug)]
pub struct FlowCounts {
    pub by_verdict: [(&'static str, FlowSums); 4],
}

#[derive(Clone, Copy, Debug, Default)]
pub struct FlowSums {
    pub flows: u64,
    pub bytes: u64,
}

impl Default for FlowCounts {
    fn default() -> FlowCounts {
        let words = ["allow", "deny", "would-allow", "would-deny"];
        FlowCounts { by_verdict: words.map(|word| (word, FlowSums::default())) }
    }
}

impl FlowCounts {
    /// Both ends report a flow: what its opener says counts. (A device without an agent says nothing.)
    fn add(&mut self, row: &FlowRow) {
        let place = match row.verdict {
            FlowVerdict::Unknown => return,
            FlowVerdict::Allow => 0,
            FlowVerdict::Deny => 1,
            FlowVerdict::WouldAllow => 2,
            FlowVerdict::WouldDeny => 3,
        };
        let Some((_, sums)) = self.by_verdict.get_mut(place).filter(|_| row.outbound) else { return };
        let flows = if row.end == FlowEnd::Refused { row.count } else { row.first.into() };
        sums.flows = sums.flows.saturating_add(flows);
        sums.bytes = sums.bytes.saturating_add(row.bytes_out).saturating_add(row.bytes_back);
    }
}

impl Beside {
    /// Of an owner whose events nobody hears.
    pub fn of_nobody(flows: blocking::SyncSender<Batch>) -> Beside {
        Beside { flows, hub: Hub::new(0), keys: KeyRing::default(), export: None, relay: None }
    }
}

/// A way to ask the owner.
#[derive(Clone)]
pub struct Handle {
    jobs: mpsc::Sender<Job>,
}

/// The owner does not answer any more.
#[derive(Debug, thiserror::Error)]
#[error("the coordinator is stopping")]
pub struct Stopped;

/// Why a command was not carried out. Nothing was changed unless the store says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the owner ended.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    #[error("the store failed and what it holds is not known: {0}; start again to read it anew")]
    Store(StoreError),
    #[error("the owner's runtime cannot start: {0}")]
    Runtime(std::io::Error),
}

impl Handle {
    /// A handle nobody is behind: every question is answered [`Stopped`].
    pub fn of_nobody() -> Handle {
        Handle { jobs: mpsc::channel(1).0 }
    }

    /// Runs `ask` at the owner, between two inputs.
    pub async fn ask<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Owner) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |owner| {
            let _ = reply.send(ask(owner));
        });
        self.jobs.send(job).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// From a thread that may wait. Nothing happens if the owner has ended.
    pub fn tell(&self, what: impl FnOnce(&mut Owner) + Send + 'static) {
        let _ = self.jobs.blocking_send(Box::new(what));
    }

    pub async fn command(
        &self,
        principal: Principal,
        command: Command,
    ) -> Result<Result<Revision, CommandError>, Stopped> {
        self.ask(move |owner| owner.command(principal, command)).await
    }
}

/// Starts the owner on a thread of its own. It ends when `stop` is dropped or sent to, or when the store fails.
pub fn start(
    coordinator: Coordinator,
    store: LogStore,
    beside: Beside,
    events: mpsc::Receiver<Event>,
    stop: oneshot::Receiver<()>,
) -> (Handle, oneshot::Receiver<Result<(), OwnerError>>) {
    let (jobs, inbox) = mpsc::channel(JOBS);
    let (done, ended) = oneshot::channel();
    beside.keys.replace(coordinator.state().keys());
    let owner = Owner {
        coordinator,
        store,
        clients: BTreeMap::new(),
        beside,
        flows_skipped: 0,
        accounts_waiting: VecDeque::new(),
        flow_counts: FlowCounts::default(),
        fatal: None,
    };
    let thread = std::thread::Builder::new().name("owner".into());
    let spawned = thread.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let result = match runtime {
            Ok(runtime) => runtime.block_on(owner.run(events, inbox, stop)),
            Err(error) => Err(OwnerError::Runtime(error)),
        };
        let _ = done.send(result);
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "the owner thread cannot start");
    }
    (Handle { jobs }, ended)
}

impl Owner {
    /// Reports that are on the disk.
    pub fn flows_written(&mut self, written: Vec<Written>) {
        for (node, boot, sequence) in written {
            self.coordinator.handle_flows_written(node, boot, sequence);
        }
        self.keep_waiting();
    }

    async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut jobs: mpsc::Receiver<Job>,
        mut stop: oneshot::Receiver<()>,
    ) -> Result<(), OwnerError> {
        self.drain();
        let mut ticked = Instant::now();
        loop {
            let wait = self.until_timeout();
            tokio::select! {
                biased;
                _ = &mut stop => return Ok(()),
                Some(ask) = next_ask(&mut self.beside.relay) => self.answer(&ask),
                Some(job) = jobs.recv() => job(&mut self),
                Some(event) = events.recv() => self.handle_event(event),
                () = tokio::time::sleep(wait) => {}
            }
            // Asked after every input, so that no flood of them can hold up the clock.
            if self.is_due() || ticked.elapsed() >= TICK {
                self.tick();
                ticked = Instant::now();
            }
            self.settle();
            if let Some(error) = self.fatal.take() {
                return Err(OwnerError::Store(error));
            }
        }
    }

    /// May these two talk over the relay?
    fn answer(&self, ask: &Ask) {
        if let Some(desk) = &self.beside.relay {
            desk.answer(ask, &self.coordinator);
        }
    }

    fn until_timeout(&self) -> Duration {
        let due = self.coordinator.poll_timeout().map(|t| t.at.since(clock::now()));
        due.map_or(TICK, |seconds| Duration::from_secs(seconds).min(TICK)).max(Duration::from_millis(20))
    }

    fn is_due(&self) -> bool {
        self.coordinator.poll_timeout().is_some_and(|t| t.at <= clock::now())
    }

    fn tick(&mut self) {
        if self.is_due() {
            let now = clock::now();
            self.coordinator.handle_timeout(now);
            if let Some(proposal) = self.coordinator.end_leases(now) {
                let outcome = self.coordinator.commit(&mut self.store, proposal, now);
                self.note(outcome.err());
            }
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
    }

    fn handle_event(&mut self, event: Event) {
        let now = clock::now();
        match event {
            Event::Opened { session, key, caller, outbox, speaks } => {
                let conn = ConnId(session);
                self.clients.insert(conn, outbox);
                match speaks {
                    Tongue::Node => {
                        let from = (caller.remote, caller.transport);
                        self.coordinator.handle_connected(conn, key, from, now);
                    }
                    Tongue::Relay => self.coordinator.handle_relay_connected(conn, key, caller.remote),
                }
            }
            Event::Moved { session, remote } => self.coordinator.handle_moved(ConnId(session), remote, now),
            Event::Said { session, message, turn: _turn } => {
                let conn = ConnId(session);
                let proposal = match message {
                    Message::Node(message) => self.coordinator.handle_frame(conn, message, now),
                    Message::Relay(message) => self.coordinator.handle_relay_frame(conn, message, now),
                };
                if let Some(proposal) = proposal {
                    let outcome = self.coordinator.commit(&mut self.store, proposal, now);
                    self.note(outcome.err());
                }
            }
            Event::Closed { session } => {
                self.clients.remove(&ConnId(session));
                self.coordinator.handle_disconnected(ConnId(session), now);
                self.coordinator.handle_relay_disconnected(ConnId(session), now);
            }
        }
    }

    fn note(&mut self, error: Option<StoreError>) {
        let Some(error) = error else { return };
        tracing::error!(%error, "a change was not stored");
        if !error.nothing_changed() {
            self.fatal = Some(error);
        }
    }

    /// Decides, commits and applies an administrator's command.
    pub fn command(&mut self, principal: Principal, command: Command) -> Result<Revision, CommandError> {
        let now = clock::now();
        let proposal = self.coordinator.handle_command(command, principal, now)?;
        let outcome = self.coordinator.commit(&mut self.store, proposal, now);
        self.note(outcome.as_ref().err().cloned());
        self.beside.keys.replace(self.coordinator.state().keys());
        // Before the answer: what was accepted is on its way, and the relay carries nothing for who was withdrawn.
        self.settle();
        Ok(outcome?)
    }

    /// What the coordinator wants done is done, and the relay knows who may talk.
    fn settle(&mut self) {
        self.drain();
        if let Some(desk) = &mut self.beside.relay {
            desk.keep_up(&self.coordinator);
        }
    }

    /// What is, for questions.
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }
    pub fn store(&self) -> &LogStore {
        &self.store
    }
    pub fn flow_counts(&self) -> FlowCounts {
        self.flow_counts
    }
    pub fn flows_skipped(&self) -> u64 {
        self.flows_skipped
    }

    fn drain(&mut self) {
        while let Some(output) = self.coordinator.poll_output() {
            match output {
                Output::Send(conn, message) => self.send(conn, frame::encode(&message)),
                Output::SendRelay(conn, message) => self.send(conn, frame::encode(&message)),
                Output::RelayAuthorised(conn) => {
                    if let Some(outbox) = self.clients.get(&conn) {
                        outbox.authorised();
                    }
                }
                Output::CloseRelay(conn, refused) => {
                    let said = ToRelay { says: Some(SaidToRelay::Refused(refused)) };
                    self.send(conn, frame::encode(&said));
                    if let Some(outbox) = self.clients.remove(&conn) {
                        outbox.close("refused");
                    }
                }
                Output::Authorised(conn, node) => {
                    tracing::debug!(%node, "session authorised");
                    if let Some(outbox) = self.clients.get(&conn) {
                        outbox.authorised();
                    }
                }
                Output::Close(conn, refused) => {
                    let said = ToNode { says: Some(CoordinatorSays::Refused(refused)) };
                    self.send(conn, frame::encode(&said));
                    if let Some(outbox) = self.clients.remove(&conn) {
                        outbox.close("refused");
                    }
                }
                Output::StoreFlows(batch) => {
                    batch.rows.iter().for_each(|row| self.flow_counts.add(row));
                    self.beside.hub.tell_flows(&batch.rows);
                    if let Some(export) = &self.beside.export {
                        export.offer(&batch.rows);
                    }
                    self.keep_flows(batch);
                }
                Output::Seated(node, seated) => {
                    if let Some(desk) = &self.beside.relay {
                        desk.seat(node, seated, clock::now());
                    }
                }
                Output::Unseated(seat) => {
                    if let Some(desk) = &self.beside.relay {
                        desk.unseat(seat);
                    }
                }
                Output::Log(notice) => {
                    let (node, message) = (notice.node.map(|n| n.to_string()), plain(&notice.message, 400));
                    match notice.level {
                        Level::Info => tracing::info!(node, "{message}"),
                        Level::Warn => tracing::warn!(node, "{message}"),
                    }
                }
                Output::Alarm(alarm) => {
                    let (subject, message) = (plain(&alarm.subject, 100), plain(&alarm.message, 400));
                    tracing::warn!(alarm = ?alarm.kind, subject, "{message}");
                    self.beside.hub.tell_json("alarm", &alarm);
                }
                Output::AlarmCleared(alarm) => {
                    let subject = plain(&alarm.subject, 100);
                    tracing::info!(alarm = ?alarm.kind, subject, "the alarm is cleared");
                    self.beside.hub.tell_json("alarm-cleared", &alarm);
                }
            }
        }
    }

    /// A client that is too slow is let go; its connection task closes and reports it.
    fn send(&mut self, conn: ConnId, frame: Vec<u8>) {
        let Some(outbox) = self.clients.get(&conn) else { return };
        if outbox.send(frame).is_err() {
            tracing::warn!(session = conn.0, "a client does not keep up and was dropped");
            self.clients.remove(&conn);
        }
    }

    /// In the order of the reports: their numbers are acknowledged with all before them.
    fn keep_flows(&mut self, batch: Batch) {
        self.keep_waiting();
        let sent = match self.accounts_waiting.is_empty() {
            true => self.beside.flows.try_send(batch),
            false => Err(blocking::TrySendError::Full(batch)),
        };
        let Err(blocking::TrySendError::Full(mut batch)) = sent else { return };
        if self.flows_skipped == 0 && !batch.rows.is_empty() {
            tracing::warn!(
                "flow history is not written fast enough: some of it is skipped and counted (the live list has it)"
            );
        }
        self.flows_skipped = self.flows_skipped.saturating_add(batch.rows.len() as u64);
        batch.rows = Vec::new();
        batch.entry.skip();
        self.accounts_waiting.push_back(batch);
    }

    fn keep_waiting(&mut self) {
        while let Some(batch) = self.accounts_waiting.pop_front() {
            if let Err(blocking::TrySendError::Full(batch)) = self.beside.flows.try_send(batch) {
                return self.accounts_waiting.push_front(batch);
            }
        }
    }
}

async fn next_ask(desk: &mut Option<Desk>) -> Option<Ask> {
    match desk {
        Some(desk) => desk.next().await,
        None => std::future::pending().await,
    }
}
