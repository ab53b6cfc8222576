//! The state machine between the coordinator's frames and the data plane: decides what is true.
//!
//! ```text
//! frames ─▶ session (who speaks, when to try again) ─▶ belief (what may be believed) ─▶ publish ─▶ data plane, names
//!                                       life (for how long) ─┘      └▶ stored (last good view, memory)
//! ```
//!
//! What cannot be verified changes nothing: the last good view stays, the coordinator hears a complaint, the log a
//! notice. Nothing the coordinator says is believed without a signature; what only it can sign (freshness, view heads)
//! can add nobody and widen nothing.
//!
//! A view that is refused ends the session: the next one begins without a base, so the whole view comes again, and the
//! back-off keeps a coordinator that never stops lying from making work.
//!
//! Call any `handle_*`, then drain [`Control::poll_output`], then ask [`Control::poll_timeout`].

mod accounts;
mod belief;
pub mod clock;
pub mod enrolment;
mod frames;
mod hearsay;
pub mod keys;
mod life;
mod memory;
pub mod output;
mod publish;
pub mod reconnect;
mod session;
mod speak;
mod start;
pub mod stored;
#[cfg(test)]
pub(crate) mod tests;
mod whereabouts;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use warren_config::time::UnixTime;
use warren_wire::frame::{FrameError, Knock, NodeSays};
use warren_wire::id::{Epoch, Generation, NodeId, Revision, WgKey};
use warren_wire::signed::Signed;
use warren_wire::trust::{Member, Network, Record, Trust, TrustError};
use warren_wire::view::Assembler;

use crate::clock::{Mono, Now};
use crate::flows::{self, Flows};
use crate::mapping::Seen;

use belief::Belief;
use life::Life;
use memory::Memory;
use reconnect::Reconnect;
use session::{PATIENCE_MS, Session};

pub use clock::SignedClock;
pub use output::{Account, CutReason, Notice, Output, Publication, Severity, StartError, Status, Why};

/// How often the stored view is written again only because signed time moves on.
const STORE_EVERY_MS: u64 = 600_000;

/// Everything a control half is born with. The roots come from enrolment, never from the coordinator's say-so.
#[derive(Clone, Debug)]
pub struct Config {
    pub trust: Trust,
    /// The charter this node was enrolled with.
    pub charter: Signed,
    /// This node's own record as enrolled, with its newest keys.
    pub record: Record,
    /// How many coordinator addresses there are; [`Output::Connect`] names one by index.
    pub coordinators: usize,
    /// Program and version, for the coordinator's list.
    pub agent: String,
    /// Random per agent start: tells flow sequences of two starts apart and seeds the back-off's jitter.
    pub boot: u64,
    /// Keep the last good view when freshness has run out, instead of cutting all peers.
    pub hold: bool,
}

/// One node's control half.
#[derive(Debug)]
pub struct Control {
    config: Config,
    /// By the newest charter believed.
    network: Arc<Network>,
    /// This node with the keys it holds itself.
    me: Arc<Member>,
    memory: Memory,
    belief: Option<Belief>,
    life: Life,
    keeper: clock::Keeper,
    session: Session,
    reconnect: Reconnect,
    assembler: Assembler,
    /// The next session begins without a base.
    wants_whole: bool,
    flows: Flows,
    /// The last moment this half was told.
    latest: Mono,
    own: Vec<SocketAddr>,
    port: u16,
    /// What the WireGuard socket looks like from outside, if that is none of its own addresses.
    mapped: Vec<Seen>,
    /// What the gateway has granted.
    granted: Option<SocketAddr>,
    /// Keys the coordinator's view does not show yet.
    new_keys: Option<Signed>,
    publication: Option<Arc<Publication>>,
    /// The earliest end of a grant in the publication.
    next_end: Option<UnixTime>,
    enforced: Option<(Epoch, Revision, Generation)>,
    warned_half: bool,
    warned_end: bool,
    warned_keys: bool,
    host_off: Option<i64>,
    store_at: Mono,
    /// What is known is more than what is written, or what is true more than what is published: both are made when everything
    /// that has come together is taken in ([`Control::poll_output`]).
    unstored: bool,
    unpublished: bool,
    last_error: Option<String>,
    complained: VecDeque<String>,
    hearsay: hearsay::Hearsay,
    notices: VecDeque<Notice>,
    outputs: VecDeque<Output>,
}

impl Control {
    /// Checks the stored identity against its roots.
    pub fn new(config: Config) -> Result<Control, StartError> {
        let network = config.trust.network(&config.charter).map_err(StartError::Charter)?;
        let me = config.trust.member(&network, &config.record).map_err(StartError::Record)?;
        if me.is_external() {
            return Err(StartError::Record(TrustError::Missing { what: "this node's identity key" }));
        }
        let memory = Memory { charter_serial: network.serial, ..Memory::default() };
        Ok(Control {
            network: Arc::new(network),
            me: Arc::new(me),
            memory,
            belief: None,
            life: Life::default(),
            keeper: clock::Keeper::default(),
            session: Session::Away { until: Mono(u64::MAX) },
            reconnect: Reconnect::new(config.coordinators, config.boot),
            assembler: Assembler::new(),
            wants_whole: false,
            flows: Flows::new(config.boot, flows::CAPACITY),
            latest: Mono(0),
            own: Vec::new(),
            port: 0,
            mapped: Vec::new(),
            granted: None,
            new_keys: None,
            publication: None,
            next_end: None,
            enforced: None,
            warned_half: false,
            warned_end: false,
            warned_keys: false,
            host_off: None,
            store_at: Mono(u64::MAX),
            unstored: false,
            unpublished: false,
            last_error: None,
            complained: VecDeque::new(),
            hearsay: hearsay::Hearsay::default(),
            notices: VecDeque::new(),
            outputs: VecDeque::new(),
            config,
        })
    }

    /// The control channel named by the last [`Output::Connect`] stands and its server key is the pinned one.
    pub fn handle_connected(&mut self, now: Mono) {
        self.latest = now;
        match self.session {
            Session::Away { .. } => return,
            Session::Connecting { .. } => {}
            // A better connection in place of one that worked: nobody is told that anything was lost.
            Session::Greeting { .. } | Session::Authorised => self.flows.handle_reconnected(),
        }
        self.assembler = Assembler::new();
        self.complained.clear();
        self.session = Session::Greeting { until: now.plus_millis(PATIENCE_MS) };
        self.say_hello();
    }

    /// It could not be made, or was lost. A state, not an error.
    pub fn handle_disconnected(&mut self, why: &str, now: Mono) {
        self.latest = now;
        if matches!(self.session, Session::Away { .. }) {
            return;
        }
        self.last_error = Some(why.to_owned());
        self.flows.handle_reconnected();
        self.session = Session::Away { until: self.reconnect.failed(now) };
        self.notice(Severity::Info, "coordinator-away", format!("no channel to the coordinator: {why}"));
    }

    /// The host has slept ([`crate::suspend`]): the coordinator has given the channel up meanwhile, or the network before this host
    /// has, and would not say so. It is made anew at once, whatever was waited for.
    pub fn handle_resumed(&mut self, now: Mono) {
        let why = "the host has slept";
        if !matches!(self.session, Session::Away { .. }) {
            self.give_up(why, now);
        }
        self.reconnect.succeeded();
        self.session = Session::Away { until: now };
        self.handle_timeout(now);
    }

    /// Bytes that are no frame: the channel is given up.
    pub fn handle_unreadable(&mut self, error: &FrameError, now: Mono) {
        self.give_up(&format!("the coordinator sent what cannot be read: {error}"), now);
    }

    /// Peers that do not answer: the coordinator tells them, so that they show themselves.
    pub fn handle_unanswering(&mut self, peers: Vec<NodeId>) {
        if self.session == Session::Authorised {
            peers.into_iter().for_each(|peer| self.say(NodeSays::Knock(Knock::of(peer))));
        }
    }

    /// The data plane enforces this publication now.
    pub fn handle_published(&mut self, epoch: Epoch, revision: Revision, generation: Generation) {
        // A cut enforces nothing that could be acknowledged.
        let current = self.publication.as_ref().filter(|p| p.cut.is_none());
        if current.is_none_or(|p| (epoch, revision) > (p.assembly.epoch, p.assembly.revision)) {
            return;
        }
        self.enforced = Some((epoch, revision, generation));
        self.say_enforced();
    }

    /// The serial that new WireGuard keys must have ([`keys::sign`]).
    pub fn next_key_serial(&self) -> u64 {
        let seen = self.memory.serials.get(&self.me.id).map_or(0, |serials| serials.keys);
        self.me.key_serial.max(seen).saturating_add(1)
    }

    /// New WireGuard keys of this node: told to the coordinator until its view shows them.
    pub fn handle_new_keys(&mut self, keys: Signed, now: Mono) -> Result<(), StartError> {
        self.latest = now;
        let refused = |error: TrustError| StartError::Keys { why: error.to_string() };
        let missing = TrustError::Missing { what: "this node's identity key" };
        let identity = self.me.identity.ok_or(missing).map_err(refused)?;
        let (serial, lanes) = self.config.trust.keys(self.me.id, &identity, &keys).map_err(refused)?;
        if serial < self.next_key_serial() {
            let why = format!("their serial is {serial}, it must be at least {}", self.next_key_serial());
            return Err(StartError::Keys { why });
        }
        self.config.record.keys = Some(keys.clone());
        self.me = Arc::new(Member { lanes, key_serial: serial, ..(*self.me).clone() });
        self.new_keys = Some(keys);
        self.say_keys();
        self.publish();
        Ok(())
    }

    /// The host's wall clock, now and then (once a minute): only ever reported.
    pub fn handle_host_clock(&mut self, host_ms: u64, now: Mono) {
        self.latest = now;
        let Some(reference) = self.keeper.reference_ms(now) else { return };
        let off = i64::try_from(host_ms).unwrap_or(i64::MAX).saturating_sub_unsigned(reference);
        if off.unsigned_abs() <= clock::TOLERANCE_MS {
            self.host_off = None;
            return;
        }
        if self.host_off.is_none_or(|known| known.abs_diff(off) > clock::TOLERANCE_MS) {
            self.host_off = Some(off);
            let seconds = off.unsigned_abs() / 1000;
            let side = if off > 0 { "ahead of" } else { "behind" };
            let text = format!(
                "this host's clock is {seconds} s {side} the network's signed time; nothing here trusts it, but set it (NTP)"
            );
            self.notice(Severity::Warning, "host-clock", text);
        }
    }

    pub fn handle_timeout(&mut self, now: Mono) {
        self.latest = now;
        match self.session {
            Session::Away { until } if until <= now => self.connect(now),
            Session::Connecting { until } | Session::Greeting { until } if until <= now => {
                self.give_up("the coordinator did not answer in time", now);
            }
            _ => {}
        }
        self.check_life(now);
        let ended = self.next_end.is_some_and(|end| self.now(now).wall() >= end);
        if ended {
            self.publish();
        }
        if self.store_at <= now {
            self.store();
        }
        self.check_doubt(now);
    }

    /// The next thing to do, in order, until `None`. Whoever hands over several frames before he asks has them enforced and
    /// written as one. What is written stands before its acknowledgement.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            if std::mem::take(&mut self.unpublished) {
                self.make_publication();
            }
            if std::mem::take(&mut self.unstored) {
                self.make_stored();
            }
        }
        self.outputs.pop_front()
    }

    /// When [`Control::handle_timeout`] is wanted, and why.
    pub fn poll_timeout(&self) -> Option<(Mono, Why)> {
        let clock = self.keeper.clock();
        let session = match self.session {
            Session::Away { until } => Some((until, Why::Reconnect)),
            Session::Connecting { until } | Session::Greeting { until } => Some((until, Why::Unanswered)),
            Session::Authorised => None,
        };
        let fresh = self.life.current.as_ref();
        let half = fresh.filter(|_| !self.warned_half).map(|f| (clock.when(f.half_ms()), Why::FreshnessHalf));
        let end = fresh.filter(|_| !self.warned_end).map(|f| (clock.when(f.end_ms()), Why::FreshnessEnds));
        let grant = self.next_end.map(|end| (clock.when(end.0.saturating_mul(1000)), Why::GrantEnds));
        let store = Some((self.store_at, Why::Store));
        let doubt = self.hearsay.due().map(|at| (at, Why::Doubt));
        [session, half, end, grant, store, doubt]
            .into_iter()
            .flatten()
            .filter(|(at, _)| *at != Mono(u64::MAX))
            .min()
    }

    pub fn id(&self) -> NodeId {
        self.me.id
    }

    /// Signed time at `now`.
    pub fn now(&self, now: Mono) -> Now {
        self.keeper.clock().at(now)
    }

    /// Is there a channel on which this node was welcomed?
    pub fn is_authorised(&self) -> bool {
        self.session == Session::Authorised
    }

    /// The last publication; none before [`Control::handle_started`].
    pub fn publication(&self) -> Option<Arc<Publication>> {
        self.publication.clone()
    }

    /// Keys of this node, present or past, that files of external devices name: whoever makes new keys keeps these.
    /// `None` while no view is believed: then nobody knows.
    pub fn filed_keys(&self) -> Option<BTreeSet<WgKey>> {
        self.belief.as_ref().map(|belief| belief.filed.keys().copied().collect())
    }

    /// The record with this node's newest keys, to be kept with the identity.
    pub fn record(&self) -> &Record {
        &self.config.record
    }

    pub fn status(&self, _now: Mono) -> Status {
        let fresh = self.life.current.as_ref();
        let publication = self.publication.as_ref();
        let enforced = self.enforced.unwrap_or_default();
        Status {
            node: self.me.id,
            name: self.me.name().clone(),
            network: self.network.name.clone(),
            coordinator: self.session.name(),
            last_error: self.last_error.clone(),
            epoch: self.memory.view.0,
            revision: self.memory.view.1,
            generation: self.memory.policy.1,
            enforced_revision: enforced.1,
            enforced_generation: enforced.2,
            fresh_since: fresh.map(life::Fresh::since),
            fresh_until: fresh.map(life::Fresh::end),
            cut: publication.and_then(|p| p.cut.clone()),
            observe: publication.is_some_and(|p| p.observe),
            peers: publication.map_or(0, |p| p.assembly.peers.len()),
            flows_waiting: self.flows.held(),
            flows_lost: self.flows.lost().records,
            account: Account {
                offered: self.flows.offered(),
                stored: self.flows.stored(),
                lost: self.flows.lost(),
            },
            host_clock_off_ms: self.host_off,
            doubt: self.hearsay.doubt().map(str::to_owned),
            notices: self.notices.iter().cloned().collect(),
        }
    }

    fn connect(&mut self, now: Mono) {
        self.session = Session::Connecting { until: now.plus_millis(PATIENCE_MS) };
        let coordinator = self.reconnect.address();
        self.outputs.push_back(Output::Connect { coordinator });
    }

    /// Ends the session from this side.
    fn give_up(&mut self, why: &str, now: Mono) {
        self.outputs.push_back(Output::Disconnect { why: why.to_owned() });
        self.handle_disconnected(why, now);
    }

    fn say(&mut self, says: NodeSays) {
        self.outputs.push_back(Output::Send(warren_wire::frame::ToCoordinator { says: Some(says) }));
    }
}
