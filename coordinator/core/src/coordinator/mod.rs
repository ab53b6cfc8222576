//! The whole coordinator as a value: durable state, sessions, and what they are owed.

mod committed;
pub mod conditions;
mod devices;
mod frames;
mod leases;
mod posts;
mod questions;
mod relayed;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::ops::Bound;

use ed25519_dalek::SigningKey;
use warren_config::time::UnixTime;
use warren_wire::frame::{CoordinatorSays, FlowsStored, Refused, RelayAt, ToNode};
use warren_wire::id::{Digest, IdentityKey, NodeId};
use warren_wire::issue;
use warren_wire::signed::Signed;
use warren_wire::stun::PlaceKey;

use self::posts::Posts;
use crate::accounts::Accounts;
use crate::alarm::{AlarmKind, Alarms};
use crate::change::{Change, Origin, Principal, Proposal};
use crate::command::Command;
use crate::distribution::Distribution;
use crate::doors::Transport;
use crate::endpoints::{self, Endpoints};
use crate::enrolment::Offers;
use crate::flows::FlowMap;
use crate::names::NamesAsked;
use crate::output::{ConnId, Level, Notice, Output, Reason, Timeout};
use crate::overdue::Overdue;
use crate::pace::Pace;
use crate::paths::PathsKnown;
use crate::refusal::Refusal;
use crate::refusals::Refusals;
use crate::rollcall::Rollcall;
use crate::seats::Seats;
use crate::session::Sessions;
use crate::state::{Founded, State};
use crate::status::Progress;

/// Freshness is renewed hourly, or four times in a life if that is more often.
const RENEWAL: u64 = 3600;

/// Why a coordinator cannot start.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OpenError {
    #[error("there is no network in this store: run `warren init`")]
    NotFounded,
    #[error(
        "this coordinator's key {key} is not named by the charter: `online.key` and the store in the state directory do not belong together; put the right one back, or restore a backup with `warren restore FILE` into an empty state directory"
    )]
    ForeignKey { key: IdentityKey },
}

/// A freshness statement as it was last signed.
#[derive(Clone, Debug)]
struct Fresh {
    signed: Signed,
    state: issue::State,
    signed_at: UnixTime,
}

/// The coordinator. It is not `Debug`: it holds the online key.
pub struct Coordinator {
    state: State,
    founded: Founded,
    /// Signs freshness and view heads, nothing else.
    online: SigningKey,
    sessions: Sessions,
    offers: Offers,
    endpoints: Endpoints,
    distribution: Distribution,
    flows: FlowMap,
    overdue: Overdue,
    /// Alarms that live only as long as this process.
    alarms: Alarms,
    fresh: Option<Fresh>,
    /// Ends of grants of the policy in force, and up to where they have been told.
    grant_ends: BTreeSet<UnixTime>,
    ends_told: UnixTime,
    refusals: Refusals,
    names: NamesAsked,
    paths: PathsKnown,
    pace: Pace,
    rollcall: Rollcall,
    /// Root of the roll that everybody has, or is being told.
    rolled: Digest,
    /// With which it and its relays prove to nodes where they are seen.
    place_key: Option<PlaceKey>,
    /// `None`: this network has no relay.
    seats: Option<Seats>,
    /// The relay on the coordinator's own port.
    here: Option<RelayAt>,
    /// Relays that are programs of their own.
    posts: Posts,
    started: UnixTime,
    /// When it is looked again what alarms there must be.
    look_due: Option<UnixTime>,
    /// When it is looked again whose lease has ended.
    leases_due: Option<UnixTime>,
    outputs: VecDeque<Output>,
}

impl Coordinator {
    pub fn new(state: State, online: SigningKey, now: UnixTime) -> Result<Coordinator, OpenError> {
        let founded = state.founded.clone().ok_or(OpenError::NotFounded)?;
        let key = IdentityKey(online.verifying_key().to_bytes());
        if !founded.network.coordinators.contains(&key) {
            return Err(OpenError::ForeignKey { key });
        }
        let (distribution, rolled) = (Distribution::new(&state), founded.roll.root());
        let mut coordinator = Coordinator {
            state,
            founded,
            online,
            sessions: Sessions::default(),
            offers: Offers::default(),
            endpoints: Endpoints::default(),
            distribution,
            flows: FlowMap::default(),
            overdue: Overdue::default(),
            alarms: Alarms::default(),
            fresh: None,
            grant_ends: BTreeSet::new(),
            ends_told: now,
            refusals: Refusals::default(),
            names: NamesAsked::default(),
            paths: PathsKnown::default(),
            pace: Pace::default(),
            rollcall: Rollcall::default(),
            rolled,
            place_key: None,
            seats: None,
            here: None,
            posts: Posts::default(),
            started: now,
            look_due: Some(now),
            leases_due: Some(now),
            outputs: VecDeque::new(),
        };
        let nodes: Vec<NodeId> = coordinator.state.directory.alive().map(|node| node.id()).collect();
        for node in nodes {
            coordinator.place_device(node);
        }
        coordinator.grant_ends = Coordinator::grant_ends(&coordinator.state);
        coordinator.freshness(now);
        coordinator.outputs.extend(coordinator.state.alarms.iter().cloned().map(Output::Alarm));
        Ok(coordinator)
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// What STUN on this coordinator's port proves places with. Before the first connection.
    pub fn prove_places_with(&mut self, key: PlaceKey) {
        self.place_key = Some(key);
    }

    // --- what happens

    /// A TLS connection whose peer has proven `key`, and what carries it. Connected is not authorised, and changes nothing for anyone.
    pub fn handle_connected(
        &mut self,
        conn: ConnId,
        key: IdentityKey,
        (from, by): (SocketAddr, Transport),
        now: UnixTime,
    ) {
        let node = self.founded.node_id(&key);
        if !self.sessions.open(conn, key, node, (endpoints::plain(from), by), now) {
            self.close(conn, &Refusal::Overloaded("too many connections that are not sessions"), now);
        }
    }

    /// The underlay address of a connection has changed (QUIC migration).
    pub fn handle_moved(&mut self, conn: ConnId, from: SocketAddr, now: UnixTime) {
        let from = endpoints::plain(from);
        let Some(session) = self.sessions.get(conn).filter(|session| session.authorised) else { return };
        let node = session.node;
        self.sessions.moved(conn, from);
        self.update_endpoints(node, now, |reported| reported.seen = Some(from.ip()));
    }

    /// Call this once the connection is gone, after an `Output::Close` too.
    pub fn handle_disconnected(&mut self, conn: ConnId, now: UnixTime) {
        if let Some(session) = self.sessions.get(conn).filter(|session| !session.authorised) {
            let key = session.key;
            self.offers.remove(&key);
        }
        self.look_soon(now);
        if let Some(node) = self.sessions.remove(conn, now) {
            self.pace.done(&node);
            self.lease_runs(node, now);
            self.notice(Level::Info, Some(node), "the node went offline".into());
        }
    }

    /// Decides; changes nothing.
    pub fn handle_command(
        &self,
        command: Command,
        principal: Principal,
        now: UnixTime,
    ) -> Result<Proposal, Refusal> {
        self.state.propose(command, principal, now)
    }

    pub fn handle_timeout(&mut self, now: UnixTime) {
        self.offers.expire(now);
        for conn in self.sessions.overdue(now) {
            self.close(conn, &Refusal::Protocol("the connection has not become a session in time"), now);
        }
        if self.freshness_due() <= now {
            let fresh = self.sign_freshness(now);
            let all: Vec<ConnId> = self.sessions.online().map(|(_, conn)| conn).collect();
            all.into_iter().for_each(|conn| self.send(conn, CoordinatorSays::Freshness(fresh.clone())));
        }
        let overdue = self.pace.overdue(now);
        self.tell(overdue, now);
        self.call_roll(now);
        self.renew_seats(now);
        self.tell_ends(now);
        self.look(now);
    }

    /// Accounts of flows as an earlier coordinator kept them. Before the first connection.
    pub fn restore_accounts(&mut self, accounts: Accounts) {
        self.flows.restore(accounts);
    }

    /// The batch of this report and all of its start before it are on the disk: the node may forget them.
    pub fn handle_flows_written(&mut self, node: NodeId, boot: u64, sequence: u64) {
        self.flows.handle_written(node, boot, sequence);
        if let Some(conn) = self.sessions.of_node(&node) {
            self.send(conn, CoordinatorSays::FlowsStored(FlowsStored { sequence, boot }));
        }
    }

    // --- what is wanted

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next moment something is due, and what.
    pub fn poll_timeout(&self) -> Option<Timeout> {
        let at = |at: Option<UnixTime>, reason| at.map(|at| Timeout { at, reason });
        [
            at(Some(self.freshness_due()), Reason::Freshness),
            at(self.offers.next_expiry(), Reason::Offer),
            at(self.sessions.next_deadline(), Reason::Stranger),
            at(self.next_grant_end(), Reason::GrantEnds),
            at(self.look_due, Reason::Conditions),
            at(self.seats.as_ref().and_then(Seats::next_due), Reason::Seats),
            at(self.leases_due, Reason::Leases),
            at(self.pace.next_due(), Reason::Patience),
            at(self.rollcall.next_due(), Reason::Roll),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    // --- freshness

    fn renewal(&self) -> u64 {
        RENEWAL.min(self.founded.freshness / 4).max(1)
    }

    fn freshness_due(&self) -> UnixTime {
        self.fresh.as_ref().map_or(UnixTime(0), |fresh| fresh.signed_at.plus(self.renewal()))
    }

    /// A statement over the present state; signed anew only if the state or the hour is new.
    fn freshness(&mut self, now: UnixTime) -> Signed {
        let state = self.state.signable();
        match &self.fresh {
            Some(fresh) if fresh.state == state && now < self.freshness_due() => fresh.signed.clone(),
            _ => self.sign_freshness(now),
        }
    }

    fn sign_freshness(&mut self, now: UnixTime) -> Signed {
        // Signed time never runs backwards, whatever the host's clock does.
        let signed_at = self.fresh.as_ref().map_or(now, |fresh| fresh.signed_at.max(now));
        let state = self.state.signable();
        let (network, life) = (&self.founded.network.id, self.founded.freshness);
        let signed = issue::freshness(network, &state, signed_at, life, &self.online);
        self.fresh = Some(Fresh { signed: signed.clone(), state, signed_at });
        signed
    }

    /// Of the policy in force.
    fn grant_ends(state: &State) -> BTreeSet<UnixTime> {
        let policy = state.policies.in_force();
        policy.into_iter().flat_map(|p| p.policy.grants.values()).filter_map(|grant| grant.until).collect()
    }

    fn next_grant_end(&self) -> Option<UnixTime> {
        self.grant_ends.range((Bound::Excluded(self.ends_told), Bound::Unbounded)).next().copied()
    }

    /// Nodes judge `until` themselves; here its passing is only written down.
    fn tell_ends(&mut self, now: UnixTime) {
        let (from, policy) = (self.ends_told, self.state.policies.in_force().cloned());
        self.ends_told = self.ends_told.max(now);
        for grant in policy.iter().flat_map(|p| p.policy.grants.values()) {
            if grant.until.is_some_and(|until| from < until && until <= now) {
                self.notice(Level::Info, None, format!("grant {} has ended (`until`)", grant.id));
            }
        }
    }

    // --- telling

    fn send(&mut self, conn: ConnId, says: CoordinatorSays) {
        self.outputs.push_back(Output::Send(conn, ToNode { says: Some(says) }));
    }

    fn close(&mut self, conn: ConnId, refusal: &Refusal, now: UnixTime) {
        let mut refused: Refused = refusal.refused();
        if let Refusal::NodeRevoked { node } = refusal {
            let gone = self.state.directory().get(node).and_then(|node| node.revoked.as_ref());
            refused.proof = gone.and_then(|gone| gone.statement.clone());
        }
        if self.sessions.get(conn).is_some_and(|session| !session.closing) {
            self.sessions.close(conn, now);
            self.outputs.push_back(Output::Close(conn, refused));
        }
    }

    fn notice(&mut self, level: Level, node: Option<NodeId>, message: String) {
        self.outputs.push_back(Output::Log(Notice { level, node, message }));
    }

    /// An alarm that need not outlive the process.
    fn alarm(&mut self, kind: AlarmKind, subject: &str, message: &str, now: UnixTime) {
        if let Some(alarm) = self.alarms.raise(kind, subject, message, now) {
            self.outputs.push_back(Output::Alarm(alarm));
        }
    }

    /// An alarm that must outlive the process; written once, then only counted.
    fn durable_alarm(
        &mut self,
        kind: AlarmKind,
        subject: &str,
        message: String,
        now: UnixTime,
    ) -> Option<Proposal> {
        if self.state.alarms.is_known(kind, subject) || self.state.alarms.is_full() {
            self.alarm(kind, subject, &message, now);
            return None;
        }
        let change = Change::AlarmRaised { kind, subject: subject.to_owned(), message };
        Some(self.state.proposal(vec![change], Principal::Coordinator, Origin::Nobody, now))
    }

    /// Brings every online node of `affected` up to date: those whose view has not changed hear nothing.
    fn tell(&mut self, affected: BTreeSet<NodeId>, now: UnixTime) {
        for node in affected {
            let Some(conn) = self.sessions.of_node(&node) else { continue };
            let deltas = self.distribution.update(&self.state, node, &self.online);
            self.send_view(conn, node, deltas, now);
        }
    }

    /// The same for what takes nothing away: who is busy with an earlier change hears of it afterwards.
    fn tell_soon(&mut self, affected: BTreeSet<NodeId>, now: UnixTime) {
        let ready = affected
            .into_iter()
            .filter(|node| self.sessions.is_online(node) && self.pace.may_tell(*node, now))
            .collect();
        self.tell(ready, now);
    }

    /// Who has not been told the newest roll is, a part of them each second.
    fn call_roll(&mut self, now: UnixTime) {
        let turn = self.rollcall.take(now);
        self.tell_soon(turn, now);
    }

    /// A change of view is followed by a freshness that speaks of the same state.
    fn send_view(
        &mut self,
        conn: ConnId,
        node: NodeId,
        deltas: Vec<warren_wire::view::Delta>,
        now: UnixTime,
    ) {
        if deltas.is_empty() {
            return;
        }
        deltas.into_iter().for_each(|delta| self.send(conn, CoordinatorSays::Delta(delta)));
        self.pace.told(node, now);
        let (revision, generation) = (self.state.head().revision, self.state.generation());
        self.sessions.presence_mut(node).sent = Some(Progress { revision, generation, at: now });
        let fresh = self.freshness(now);
        self.send(conn, CoordinatorSays::Freshness(fresh));
    }

    /// A node that changes without end is let go: it comes back later and says then what is true. Its peers' views are
    /// made by the one owner of all this, who must have time for the others.
    fn may_change(&mut self, node: NodeId, now: UnixTime) -> bool {
        let may = self.sessions.presence_mut(node).budget.take(now);
        if !may && let Some(conn) = self.sessions.of_node(&node) {
            let message = format!("{} changes its keys or endpoints without end", self.named(&node));
            self.alarm(AlarmKind::Misbehaved, &format!("{node} changes"), &message, now);
            self.close(conn, &Refusal::Overloaded("too many changes of one node"), now);
        }
        may
    }

    /// True if peers were told.
    fn update_endpoints(
        &mut self,
        node: NodeId,
        now: UnixTime,
        change: impl FnOnce(&mut crate::endpoints::Reported),
    ) -> bool {
        let mut reported = self.endpoints.reported(&node);
        change(&mut reported);
        if self.endpoints.would_change(&self.founded.network, &node, &reported) && !self.may_change(node, now)
        {
            return false;
        }
        let changed = self.endpoints.update(&self.founded.network, node, |known| *known = reported);
        if changed {
            self.tell_endpoints(node, now);
        }
        changed
    }

    fn tell_endpoints(&mut self, node: NodeId, now: UnixTime) {
        let affected = self.distribution.endpoints_changed(&self.endpoints, node);
        self.tell_soon(affected, now);
    }
}
