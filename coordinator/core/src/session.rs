//! Connections, and which of them speak for a member. Connected is not authorised: a connection is a stranger until its
//! `Hello` has been answered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use warren_config::time::UnixTime;
use warren_wire::id::{IdentityKey, NodeId};

use crate::doors::{ChannelCounts, Transport};
use crate::output::ConnId;
use crate::status::Progress;

/// At most so many connections that are not sessions, in all and from one address.
pub const MAX_STRANGERS: usize = 10_000;
pub const MAX_STRANGERS_PER_SOURCE: usize = 1_000;
/// Offers that one connection may ask for: who asks shows no key of a token, and each costs the owner.
pub const MAX_BEGINS: u32 = 2;
/// Seconds in which a stranger must have become a member's session.
pub const STRANGER_LIFE: u64 = 60;

/// Changes that cost others something (new keys, other endpoints) a node may make at once, and seconds until it has one
/// more: each makes views for all its peers.
pub const BURST: u64 = 32;
pub const REFILL: u64 = 5;

/// What a node may still change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// The moment at which nothing is owed any more.
    clear: UnixTime,
}

impl Budget {
    /// False if it is used up.
    pub fn take(&mut self, now: UnixTime) -> bool {
        let clear = self.clear.max(now).plus(REFILL);
        let ok = clear.since(now) <= BURST * REFILL;
        if ok {
            self.clear = clear;
        }
        ok
    }
}

/// Knocks of one node that are passed on at once (one that comes back greets many peers), and how many more a second. Each
/// makes a peer send a few handshakes to where the node says it is: nobody must be able to aim many of them.
pub const KNOCKS: u32 = 256;
pub const KNOCKS_PER_SECOND: u32 = 8;

/// How often a node has knocked at others lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Knocks {
    last: UnixTime,
    owed: u32,
}

impl Knocks {
    /// False for one too many.
    pub fn take(&mut self, now: UnixTime) -> bool {
        let seconds = u32::try_from(now.since(self.last)).unwrap_or(u32::MAX);
        self.owed = self.owed.saturating_sub(seconds.saturating_mul(KNOCKS_PER_SECOND));
        self.last = now;
        let ok = self.owed < KNOCKS;
        self.owed += u32::from(ok);
        ok
    }
}

/// One control connection.
#[derive(Clone, Debug)]
pub struct Session {
    pub key: IdentityKey,
    /// The node this key belongs to, whether or not it is a member.
    pub node: NodeId,
    pub from: SocketAddr,
    pub by: Transport,
    pub since: UnixTime,
    /// Since its `Welcome`.
    pub authorised: bool,
    /// A `Close` was queued: nothing it still says counts.
    pub closing: bool,
    /// How often it has asked for an offer.
    pub begun: u32,
}

/// What is known of a node while the coordinator runs.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    pub since: Option<UnixTime>,
    pub agent: Option<String>,
    pub seen_at: Option<SocketAddr>,
    pub sent: Option<Progress>,
    pub enforced: Option<Progress>,
    pub budget: Budget,
    pub knocks: Knocks,
    pub rivalry: Rivalry,
}

/// Who took a node's place from whom. A host that moves goes away from an address and seldom comes back at once; two
/// hosts with one identity push each other out, turn by turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rivalry {
    last: Option<(IpAddr, IpAddr, UnixTime)>,
    turns: u32,
}

/// Turns further apart than this many seconds are not counted together.
const TURN: u64 = 600;
/// So many times one place was taken back.
const TURNS: u32 = 2;

impl Rivalry {
    /// A live session from `old` gives way to one from `new`. True if the two take turns.
    pub fn displaced(&mut self, old: IpAddr, new: IpAddr, now: UnixTime) -> bool {
        let back =
            self.last.is_some_and(|(o, n, at)| (o, n) == (new, old) && old != new && now.since(at) <= TURN);
        self.turns = if back { self.turns.saturating_add(1) } else { 0 };
        self.last = Some((old, new, now));
        self.turns >= TURNS
    }
}

#[derive(Clone, Debug, Default)]
pub struct Sessions {
    sessions: BTreeMap<ConnId, Session>,
    online: BTreeMap<NodeId, ConnId>,
    presence: BTreeMap<NodeId, Presence>,
    strangers: BTreeSet<(UnixTime, ConnId)>,
    strangers_from: BTreeMap<IpAddr, usize>,
}

impl Sessions {
    pub fn get(&self, conn: ConnId) -> Option<&Session> {
        self.sessions.get(&conn)
    }
    /// The connection that speaks for a node.
    pub fn of_node(&self, node: &NodeId) -> Option<ConnId> {
        self.online.get(node).copied()
    }
    pub fn is_online(&self, node: &NodeId) -> bool {
        self.online.contains_key(node)
    }
    /// Nodes with a session, in order.
    pub fn online(&self) -> impl Iterator<Item = (NodeId, ConnId)> + '_ {
        self.online.iter().map(|(node, conn)| (*node, *conn))
    }
    pub fn online_count(&self) -> usize {
        self.online.len()
    }
    /// What the session of an online node goes by.
    pub fn transport(&self, node: &NodeId) -> Option<Transport> {
        self.online.get(node).and_then(|conn| self.sessions.get(conn)).map(|session| session.by)
    }
    /// So many sessions go by each.
    pub fn by_transport(&self) -> ChannelCounts {
        let mut counts = ChannelCounts::default();
        for node in self.online.keys() {
            match self.transport(node) {
                Some(Transport::Quic) => counts.quic = counts.quic.saturating_add(1),
                Some(Transport::WebSocket) => counts.websocket = counts.websocket.saturating_add(1),
                Some(Transport::Udp) | None => counts.udp = counts.udp.saturating_add(1),
            }
        }
        counts
    }
    /// Every connection that came with a node's key, authorised or not.
    pub fn with_key_of(&self, node: NodeId) -> Vec<ConnId> {
        self.sessions.iter().filter(|(_, s)| s.node == node).map(|(conn, _)| *conn).collect()
    }
    pub fn presence(&self, node: &NodeId) -> Option<&Presence> {
        self.presence.get(node)
    }
    pub fn presence_mut(&mut self, node: NodeId) -> &mut Presence {
        self.presence.entry(node).or_default()
    }
    pub fn forget(&mut self, node: &NodeId) {
        self.presence.remove(node);
    }

    /// False if there is no room for one more stranger; it is registered all the same, so that it can be closed.
    pub fn open(
        &mut self,
        conn: ConnId,
        key: IdentityKey,
        node: NodeId,
        (from, by): (SocketAddr, Transport),
        now: UnixTime,
    ) -> bool {
        let session =
            Session { key, node, from, by, since: now, authorised: false, closing: false, begun: 0 };
        self.sessions.insert(conn, session);
        self.strangers.insert((now, conn));
        let source = self.strangers_from.entry(from.ip()).or_default();
        *source = source.saturating_add(1);
        *source <= MAX_STRANGERS_PER_SOURCE && self.strangers.len() <= MAX_STRANGERS
    }

    /// One more question for an offer; false if it has asked often enough.
    pub fn begin(&mut self, conn: ConnId) -> bool {
        let Some(session) = self.sessions.get_mut(&conn) else { return false };
        session.begun = session.begun.saturating_add(1);
        session.begun <= MAX_BEGINS
    }

    /// Makes a connection the one that speaks for its node; returns the one it takes the place of.
    pub fn authorise(&mut self, conn: ConnId, now: UnixTime) -> Option<ConnId> {
        self.no_stranger(conn);
        let session = self.sessions.get_mut(&conn)?;
        session.authorised = true;
        let (node, from) = (session.node, session.from);
        let presence = self.presence.entry(node).or_default();
        presence.since = Some(now);
        presence.seen_at = Some(from);
        self.online.insert(node, conn).filter(|old| *old != conn)
    }

    /// The underlay address of a session has changed.
    pub fn moved(&mut self, conn: ConnId, from: SocketAddr) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.from = from;
        let node = session.node;
        self.presence_mut(node).seen_at = Some(from);
    }

    /// Marks a connection as done with: it is no node's session from now on.
    pub fn close(&mut self, conn: ConnId, now: UnixTime) {
        self.no_stranger(conn);
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.closing = true;
        session.authorised = false;
        let node = session.node;
        self.offline(node, conn, now);
    }

    /// The connection is gone; returns its node if that is now offline.
    pub fn remove(&mut self, conn: ConnId, now: UnixTime) -> Option<NodeId> {
        self.no_stranger(conn);
        let session = self.sessions.remove(&conn)?;
        self.offline(session.node, conn, now).then_some(session.node)
    }

    fn offline(&mut self, node: NodeId, conn: ConnId, now: UnixTime) -> bool {
        if self.online.get(&node) != Some(&conn) {
            return false;
        }
        self.online.remove(&node);
        self.presence.entry(node).or_default().since = Some(now);
        true
    }

    fn no_stranger(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(&conn) else { return };
        if self.strangers.remove(&(session.since, conn)) {
            let ip = session.from.ip();
            let left = self.strangers_from.get(&ip).copied().unwrap_or(0).saturating_sub(1);
            match left {
                0 => self.strangers_from.remove(&ip),
                _ => self.strangers_from.insert(ip, left),
            };
        }
    }

    /// When the oldest stranger's time is over.
    pub fn next_deadline(&self) -> Option<UnixTime> {
        self.strangers.first().map(|(since, _)| since.plus(STRANGER_LIFE))
    }

    pub fn overdue(&self, now: UnixTime) -> Vec<ConnId> {
        self.strangers
            .iter()
            .take_while(|(since, _)| since.plus(STRANGER_LIFE) <= now)
            .map(|(_, c)| *c)
            .collect()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.strangers.is_empty() && self.online.is_empty()
    }
}
