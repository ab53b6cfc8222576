//! Sessions of relays that are programs of their own: what they say, and what they are told.
//!
//! A relay is told of seats with the records of their nodes, of pairs it has asked about, and of those of them that may no
//! longer talk, in the same step as the change that says so.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use warren_config::name::Name;
use warren_config::time::UnixTime;
use warren_wire::door::DoorPlaces;
use warren_wire::frame::{
    Draining, FromRelay, MAX_RELAYS, PairAnswer, Pairs, RelayAt, RelayCounts, RelayEnrol, RelayHello,
    RelaySays, RelayWelcome, SaidToRelay, SeatFor, Seated, ToRelay, Unseat,
};
use warren_wire::id::{IdentityKey, NodeId, RelayId};
use warren_wire::relay::Seat;

use super::Coordinator;
use crate::alarm::AlarmKind;
use crate::change::{Change, Origin, Principal, Proposal};
use crate::doors::DoorReport;
use crate::endpoints;
use crate::output::{ConnId, Level, Output};
use crate::refusal::Refusal;
use crate::relay::{MAX_PAIRS, PERMIT_LIFE};
use crate::relays::{self, KnownRelay, RelayRow, RelayState};
use crate::seats::Seats;

/// Characters kept of a relay's version.
const MAX_AGENT: usize = 64;

/// A connection that speaks as relays do.
#[derive(Clone, Debug)]
struct Line {
    key: IdentityKey,
    from: SocketAddr,
    closing: bool,
}

/// A relay's session.
#[derive(Clone, Debug)]
struct Post {
    conn: ConnId,
    id: RelayId,
    since: UnixTime,
    agent: String,
    /// By its own word.
    drains: bool,
    counts: RelayCounts,
    counted: UnixTime,
    /// Bytes a second between the last two counts.
    rate: u64,
    /// Who may talk there, by its questions, and when it asked last.
    permits: BTreeMap<(NodeId, NodeId), UnixTime>,
}

#[derive(Debug, Default)]
pub(super) struct Posts {
    lines: BTreeMap<ConnId, Line>,
    posts: BTreeMap<Name, Post>,
    /// Those that are not here: since when, and whether they have ended, as they had said.
    away: BTreeMap<Name, (UnixTime, bool)>,
}

impl Coordinator {
    // --- what happens

    /// As [`Coordinator::handle_connected`], for who speaks as a relay.
    pub fn handle_relay_connected(&mut self, conn: ConnId, key: IdentityKey, from: SocketAddr) {
        let line = Line { key, from: endpoints::plain(from), closing: false };
        self.posts.lines.insert(conn, line);
    }

    /// What it says. A proposal must be committed (or dropped) before the next input.
    pub fn handle_relay_frame(&mut self, conn: ConnId, frame: FromRelay, now: UnixTime) -> Option<Proposal> {
        let line = self.posts.lines.get(&conn).filter(|line| !line.closing)?.clone();
        let says = match frame.said() {
            Ok(says) => says,
            Err(_) => {
                self.close_relay(conn, &Refusal::Protocol("a message of a relay cannot be read"));
                return None;
            }
        };
        let name = self.posts.posts.iter().find(|(_, post)| post.conn == conn).map(|(name, _)| name.clone());
        match (says, name) {
            (RelaySays::Enrol(enrol), None) => self.enrol_relay(conn, &line, &enrol, now),
            (RelaySays::Hello(hello), None) => self.relay_hello(conn, &line, &hello, now),
            (RelaySays::Ask(pairs), Some(name)) => {
                self.answer_relay(&name, &pairs, now);
                None
            }
            (RelaySays::Counts(counts), Some(name)) => {
                self.relay_counts(&name, counts, now);
                None
            }
            (RelaySays::Draining(_), Some(name)) => {
                self.relay_drains(&name);
                None
            }
            (_, None) => {
                self.close_relay(conn, &Refusal::Protocol("a relay's session begins with `Hello`"));
                None
            }
            (_, Some(_)) => {
                self.close_relay(conn, &Refusal::Protocol("a second `Hello` in one session"));
                None
            }
        }
    }

    /// Once the connection is gone.
    pub fn handle_relay_disconnected(&mut self, conn: ConnId, now: UnixTime) {
        self.posts.lines.remove(&conn);
        let name = self.posts.posts.iter().find(|(_, post)| post.conn == conn).map(|(name, _)| name.clone());
        let Some(name) = name else { return };
        let ended = self.posts.posts.remove(&name).is_some_and(|post| post.drains);
        self.notice(Level::Info, None, format!("relay {name} went away"));
        self.posts.away.insert(name, (now, ended));
        self.tell_relays();
    }

    // --- coming in

    fn enrol_relay(
        &mut self,
        conn: ConnId,
        line: &Line,
        enrol: &RelayEnrol,
        now: UnixTime,
    ) -> Option<Proposal> {
        match relays::enrol(&self.state, &line.key, enrol, now) {
            Ok(change) => {
                let change = change?;
                Some(self.state.proposal(vec![change], Principal::Coordinator, Origin::Nobody, now))
            }
            Err(refusal) => {
                self.close_relay(conn, &refusal);
                let from = line.from.ip();
                match &refusal {
                    Refusal::RelayTokenSpent { token, name } => {
                        let key = line.key;
                        let message = format!(
                            "token {token}, spent by relay {name}, was shown again by key {key} from {from}"
                        );
                        self.durable_alarm(AlarmKind::TokenReused, &token.to_string(), message, now)
                    }
                    other => {
                        self.notice(Level::Warn, None, format!("a relay from {from} was refused: {other}"));
                        None
                    }
                }
            }
        }
    }

    fn relay_hello(
        &mut self,
        conn: ConnId,
        line: &Line,
        hello: &RelayHello,
        now: UnixTime,
    ) -> Option<Proposal> {
        let Some(known) = self.state.relays.by_key(&line.key).cloned() else {
            self.close_relay(conn, &Refusal::NotARelay);
            let message = format!("{} speaks as a relay and is none", line.from.ip());
            self.notice(Level::Warn, None, message);
            return None;
        };
        let name = known.name.clone();
        if let Some(older) = self.posts.posts.get(&name).map(|post| post.conn) {
            self.close_relay(older, &Refusal::Replaced);
        }
        let agent = hello.agent.chars().take(MAX_AGENT).flat_map(char::escape_debug).collect();
        let post = Post {
            conn,
            id: RelayId::of(&line.key),
            since: now,
            agent,
            drains: false,
            counts: RelayCounts::default(),
            counted: now,
            rate: 0,
            permits: BTreeMap::new(),
        };
        self.posts.away.remove(&name);
        self.posts.posts.insert(name.clone(), post);
        self.outputs.push_back(Output::RelayAuthorised(conn));
        let charter = Some(self.founded.charter.clone());
        let place_key = self.place_key.as_ref().map(|key| key.to_bytes().to_vec()).unwrap_or_default();
        let name = name.to_string();
        self.say_relay(conn, SaidToRelay::Welcome(RelayWelcome { charter, name, place_key }));
        self.seat_all(conn, RelayId::of(&line.key), now);
        if known.draining {
            self.say_relay(conn, SaidToRelay::Drain(Draining {}));
        }
        self.notice(Level::Info, None, format!("relay {} is here", known.name));
        self.tell_relays();
        self.relay_moved(&known, line, hello, now)
    }

    /// It is where it says, or where it is seen, with the doors it says it has.
    fn relay_moved(
        &mut self,
        known: &KnownRelay,
        line: &Line,
        hello: &RelayHello,
        now: UnixTime,
    ) -> Option<Proposal> {
        let port = u16::try_from(hello.port).unwrap_or(0);
        let said = endpoints::parse(&hello.places);
        let places = if said.is_empty() { vec![SocketAddr::new(line.from.ip(), port)] } else { said };
        let doors = hello.doors.as_ref().map(DoorPlaces::read);
        if (&places, &doors) == (&known.seen, &known.doors) {
            return None;
        }
        let change = Change::RelayPlaced { name: known.name.to_string(), places, doors };
        Some(self.state.proposal(vec![change], Principal::Coordinator, Origin::Nobody, now))
    }

    // --- what it asks and tells

    fn answer_relay(&mut self, name: &Name, pairs: &Pairs, now: UnixTime) {
        let (may, may_not): (Vec<_>, Vec<_>) =
            pairs.nodes().partition(|(a, b)| self.distribution.are_peers(a, b));
        let Some(post) = self.posts.posts.get_mut(name) else { return };
        let oldest = PERMIT_LIFE.as_secs().saturating_mul(2);
        if post.permits.len().saturating_add(may.len()) > MAX_PAIRS {
            post.permits.retain(|_, asked| now.since(*asked) < oldest);
        }
        // What cannot be remembered could not be withdrawn.
        let room = MAX_PAIRS.saturating_sub(post.permits.len());
        let may: Vec<_> = may.into_iter().take(room).collect();
        post.permits.extend(may.iter().map(|(a, b)| ((*a.min(b), *a.max(b)), now)));
        let conn = post.conn;
        let one = |pairs: &[(NodeId, NodeId)]| Pairs::of(pairs).into_iter().next();
        let answer = PairAnswer { may: one(&may), may_not: one(&may_not) };
        self.say_relay(conn, SaidToRelay::Answer(answer));
    }

    fn relay_counts(&mut self, name: &Name, counts: RelayCounts, now: UnixTime) {
        let Some(post) = self.posts.posts.get_mut(name) else { return };
        let passed = counts.bytes.saturating_sub(post.counts.bytes);
        if let Some(rate) = passed.checked_div(now.since(post.counted)) {
            (post.rate, post.counted, post.counts) = (rate, now, counts);
        }
    }

    fn relay_drains(&mut self, name: &Name) {
        let Some(post) = self.posts.posts.get_mut(name) else { return };
        post.drains = true;
        self.notice(Level::Info, None, format!("relay {name} drains"));
        self.tell_relays();
    }

    // --- what it is told

    fn say_relay(&mut self, conn: ConnId, says: SaidToRelay) {
        self.outputs.push_back(Output::SendRelay(conn, ToRelay { says: Some(says) }));
    }

    pub(super) fn close_relay(&mut self, conn: ConnId, refusal: &Refusal) {
        let Some(line) = self.posts.lines.get_mut(&conn).filter(|line| !line.closing) else { return };
        line.closing = true;
        self.posts.posts.retain(|_, post| post.conn != conn);
        self.outputs.push_back(Output::CloseRelay(conn, refusal.refused()));
    }

    fn seat_all(&mut self, conn: ConnId, relay: RelayId, now: UnixTime) {
        let given: Vec<(NodeId, Seated)> =
            self.seats.iter().flat_map(Seats::all).map(|(node, seated)| (*node, seated.clone())).collect();
        for (node, seated) in given {
            self.seat_at(conn, relay, node, &seated, now);
        }
    }

    fn seat_at(&mut self, conn: ConnId, relay: RelayId, node: NodeId, seated: &Seated, now: UnixTime) {
        let Some(known) = self.state.directory.live(&node) else { return };
        let life = UnixTime(seated.until).since(now);
        let seat = SeatFor::of(seated.seat, &seated.up, &seated.down, &relay, life, known.record.clone());
        self.say_relay(conn, SaidToRelay::Seat(seat));
    }

    /// A node has a seat at every relay.
    pub(super) fn seat_everywhere(&mut self, node: NodeId, seated: &Seated, now: UnixTime) {
        let posts: Vec<(ConnId, RelayId)> =
            self.posts.posts.values().map(|post| (post.conn, post.id)).collect();
        for (conn, relay) in posts {
            self.seat_at(conn, relay, node, seated, now);
        }
    }

    pub(super) fn unseat_everywhere(&mut self, seat: Seat) {
        let posts: Vec<ConnId> = self.posts.posts.values().map(|post| post.conn).collect();
        for conn in posts {
            self.say_relay(conn, SaidToRelay::Unseat(Unseat { number: seat.number() }));
        }
    }

    /// After each change: who may no longer talk does not.
    pub(super) fn withdraw_permits(&mut self) {
        let mut gone: Vec<(ConnId, Pairs)> = Vec::new();
        for post in self.posts.posts.values_mut() {
            let mut withdrawn = Vec::new();
            post.permits.retain(|(a, b), _| {
                let may = self.distribution.are_peers(a, b);
                if !may {
                    withdrawn.push((*a, *b));
                }
                may
            });
            gone.extend(Pairs::of(&withdrawn).into_iter().map(|pairs| (post.conn, pairs)));
        }
        for (conn, pairs) in gone {
            self.say_relay(conn, SaidToRelay::Withdraw(pairs));
        }
    }

    // --- what nodes are told

    /// The relays that nodes sit at: the coordinator's own, then those that have come in, oldest first.
    pub(super) fn told_relays(&self) -> Vec<RelayAt> {
        let known = self.state.relays.in_order().into_iter().filter_map(|relay| {
            let post = self.posts.posts.get(&relay.name);
            let drains = relay.draining || post.is_some_and(|post| post.drains);
            // What was to end and is not here has ended.
            let ended = drains || self.posts.away.get(&relay.name).is_some_and(|(_, ended)| *ended);
            relay.told(drains).filter(|_| post.is_some() || !ended)
        });
        self.here.iter().cloned().chain(known).take(MAX_RELAYS).collect()
    }

    /// Whoever is online hears of relays that came, went for good, or drain.
    pub(super) fn tell_relays(&mut self) {
        let told = self.told_relays();
        let Some(seats) = self.seats.as_mut().filter(|seats| seats.relays() != told) else { return };
        seats.set_relays(told);
        let online: Vec<(NodeId, ConnId)> = self.sessions.online().collect();
        for (node, conn) in online {
            self.repeat_seat(conn, node);
        }
    }

    /// What a committed change means for relays.
    pub(super) fn relay_changed(&mut self, change: &Change) {
        let post = |posts: &Posts, name: &str| {
            Name::parse(name).ok().and_then(|name| posts.posts.get(&name).map(|p| p.conn))
        };
        match change {
            Change::RelayAdded { name, .. } => {
                self.notice(Level::Info, None, format!("relay {name} may come in"));
            }
            Change::RelayEnrolled { name, .. } => {
                self.notice(Level::Info, None, format!("relay {name} has come in"));
            }
            Change::RelayDrained { name, draining } => {
                if let Some(conn) = post(&self.posts, name).filter(|_| *draining) {
                    self.say_relay(conn, SaidToRelay::Drain(Draining {}));
                }
            }
            Change::RelayRemoved { name, .. } => {
                if let Some(conn) = post(&self.posts, name) {
                    self.close_relay(conn, &Refusal::NotARelay);
                }
                self.notice(Level::Info, None, format!("relay {name} is removed"));
            }
            _ => {}
        }
        self.tell_relays();
    }

    // --- for people

    /// Relays that are programs of their own, oldest first.
    pub fn relay_rows(&self, now: UnixTime) -> Vec<RelayRow> {
        self.state.relays.in_order().into_iter().map(|relay| self.relay_row(relay, now)).collect()
    }

    fn relay_row(&self, relay: &KnownRelay, now: UnixTime) -> RelayRow {
        let post = self.posts.posts.get(&relay.name);
        let counts = post.map(|post| post.counts.clone()).unwrap_or_default();
        let state = match (relay.key, post) {
            (None, _) if relay.token_ends <= now => RelayState::Expired,
            (None, _) => RelayState::Waiting,
            (_, Some(post)) if post.drains || relay.draining => RelayState::Draining,
            (_, Some(_)) => RelayState::Up,
            (_, None) => RelayState::Away,
        };
        RelayRow {
            name: relay.name.to_string(),
            state,
            id: relay.id(),
            places: relay.places().iter().map(ToString::to_string).collect(),
            since: post.map(|post| post.since).or(self.posts.away.get(&relay.name).map(|(at, _)| *at)),
            added: relay.added,
            token_ends: relay.key.is_none().then_some(relay.token_ends),
            agent: post.map(|post| post.agent.clone()),
            seats: counts.seats,
            here: counts.here,
            pairs: counts.pairs,
            frames: counts.frames,
            bytes: counts.bytes,
            pongs: counts.pongs,
            unsent: counts.unsent,
            rate: post.map_or(0, |post| post.rate),
            refused: counts.refused.into_iter().map(|reason| (reason.word, reason.count)).collect(),
            unproven: counts.unproven,
            unasked: counts.unasked,
            doors: counts.doors.map(DoorReport::from),
        }
    }
}
