//! Relays that are programs of their own: which there are, by what token each may come in, where it is, and whether it shall
//! still be used. What each carries is [`crate::relay`]'s, what is said to it the coordinator's.
//!
//! A relay needs no signature of the authority: it sees ciphertext, and a coordinator can withhold relays or name its own
//! anyway. Nodes hear of those that have come in, oldest first, [`warren_wire::frame::MAX_RELAYS`] at most: the same for all
//! of them, because two nodes must sit at one together.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use warren_config::name::Name;
use warren_config::time::UnixTime;
use warren_wire::door::DoorAt;
use warren_wire::frame::{RelayAt, RelayEnrol, enrolment};
use warren_wire::id::{IdentityKey, RelayId};
use warren_wire::view::MAX_CANDIDATES;

use crate::change::Change;
use crate::decide::parse_name;
use crate::doors::DoorReport;
use crate::refusal::Refusal;
use crate::state::State;

/// Relays of one network.
pub const MAX_KNOWN: usize = 64;
/// The name of the coordinator's own relay.
pub const HERE: &str = "coordinator";

/// One relay, as the log says.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownRelay {
    pub name: Name,
    /// Public half of the key of its token.
    pub token: IdentityKey,
    pub token_ends: UnixTime,
    /// Where the administrator has said it is.
    pub at: Vec<SocketAddr>,
    pub added: UnixTime,
    /// In the order in which they were added.
    order: u64,
    /// Its own key, once it has come in.
    pub key: Option<IdentityKey>,
    /// Where it was seen last.
    pub seen: Vec<SocketAddr>,
    /// The doors it has there, by its own word.
    pub doors: Option<Vec<DoorAt>>,
    /// It shall end.
    pub draining: bool,
}

impl KnownRelay {
    pub fn id(&self) -> Option<RelayId> {
        self.key.as_ref().map(RelayId::of)
    }

    pub fn places(&self) -> &[SocketAddr] {
        if self.at.is_empty() { &self.seen } else { &self.at }
    }

    /// As nodes are told of it, if it has come in and is somewhere.
    pub(crate) fn told(&self, draining: bool) -> Option<RelayAt> {
        let (key, places) = (self.key?, self.places().to_vec());
        let doors = self.doors.clone();
        let relay = RelayAt { draining, doors, ..RelayAt::new(key, self.name.as_str(), places) };
        (!relay.addresses.is_empty()).then_some(relay)
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Relays {
    relays: BTreeMap<Name, KnownRelay>,
    added: u64,
}

impl Relays {
    pub fn get(&self, name: &Name) -> Option<&KnownRelay> {
        self.relays.get(name)
    }
    pub fn by_key(&self, key: &IdentityKey) -> Option<&KnownRelay> {
        self.relays.values().find(|relay| relay.key == Some(*key))
    }
    pub fn by_token(&self, token: &IdentityKey) -> Option<&KnownRelay> {
        self.relays.values().find(|relay| relay.token == *token)
    }
    /// Oldest first.
    pub fn in_order(&self) -> Vec<&KnownRelay> {
        let mut relays: Vec<&KnownRelay> = self.relays.values().collect();
        relays.sort_by_key(|relay| relay.order);
        relays
    }
    pub fn len(&self) -> usize {
        self.relays.len()
    }
    pub fn is_empty(&self) -> bool {
        self.relays.is_empty()
    }

    // --- what the log says

    pub(crate) fn add(
        &mut self,
        name: &str,
        token: IdentityKey,
        ends: UnixTime,
        at: Vec<SocketAddr>,
        added: UnixTime,
    ) -> Result<(), String> {
        let name = Name::parse(name).map_err(|e| e.to_string())?;
        self.added = self.added.saturating_add(1);
        let (order, seen) = (self.added, Vec::new());
        let relay = KnownRelay {
            name: name.clone(),
            token,
            token_ends: ends,
            at,
            added,
            order,
            key: None,
            seen,
            doors: None,
            draining: false,
        };
        self.relays.insert(name, relay);
        Ok(())
    }
    pub(crate) fn change(&mut self, name: &str, change: impl FnOnce(&mut KnownRelay)) -> Result<(), String> {
        let relay = Name::parse(name).ok().and_then(|name| self.relays.get_mut(&name));
        relay.map(change).ok_or_else(|| format!("there is no relay {name}"))
    }
    pub(crate) fn remove(&mut self, name: &str) -> Result<(), String> {
        let gone = Name::parse(name).ok().and_then(|name| self.relays.remove(&name));
        gone.map(drop).ok_or_else(|| format!("there is no relay {name}"))
    }
    /// A restore: tokens that were not used are void.
    pub(crate) fn void_tokens(&mut self) {
        let unused = self.relays.values_mut().filter(|relay| relay.key.is_none());
        unused.for_each(|relay| relay.token_ends = UnixTime(0));
    }
}

// --- decisions

pub(crate) fn add(
    state: &State,
    name: &str,
    token: IdentityKey,
    at: Vec<SocketAddr>,
    ends: UnixTime,
    now: UnixTime,
) -> Result<Vec<Change>, Refusal> {
    state.founded()?;
    let name = parse_name(name)?;
    if name.as_str() == HERE || state.relays.get(&name).is_some() {
        let by = if name.as_str() == HERE { "the coordinator's own relay" } else { "another relay" };
        return Err(Refusal::NameTaken { name: name.to_string(), by: by.into() });
    }
    if state.relays.len() >= MAX_KNOWN {
        return Err(Refusal::TooMany { what: "relays", limit: MAX_KNOWN });
    }
    if at.len() > MAX_CANDIDATES {
        return Err(Refusal::TooMany { what: "addresses of a relay", limit: MAX_CANDIDATES });
    }
    if let Some(bad) = at.iter().find(|place| place.port() == 0 || place.ip().is_unspecified()) {
        let why = format!("{bad} is no place that nodes could reach");
        return Err(Refusal::Malformed { what: "a relay's address", why });
    }
    if token.verifying().is_none() || state.relays.by_token(&token).is_some() {
        return Err(Refusal::TokenExists { token });
    }
    if ends <= now {
        return Err(Refusal::TokenExpired { token, at: ends });
    }
    Ok(vec![Change::RelayAdded { name: name.to_string(), token, at, ends }])
}

pub(crate) fn drain(state: &State, name: &str, draining: bool) -> Result<Vec<Change>, Refusal> {
    let relay = known(state, name)?;
    match relay.draining == draining {
        true => Err(Refusal::RelayAlready {
            name: name.into(),
            what: if draining { "drains" } else { "is in use" },
        }),
        false => Ok(vec![Change::RelayDrained { name: relay.name.to_string(), draining }]),
    }
}

pub(crate) fn remove(state: &State, name: &str) -> Result<Vec<Change>, Refusal> {
    let relay = known(state, name)?;
    Ok(vec![Change::RelayRemoved { name: relay.name.to_string(), key: relay.key }])
}

fn known<'a>(state: &'a State, name: &str) -> Result<&'a KnownRelay, Refusal> {
    let relay = Name::parse(name).ok().and_then(|name| state.relays.get(&name));
    relay.ok_or_else(|| Refusal::RelayUnknown(name.chars().take(80).collect()))
}

/// A stranger that has proven `key` shows a token. `None`: it was let in by it already.
pub(crate) fn enrol(
    state: &State,
    key: &IdentityKey,
    enrol: &RelayEnrol,
    now: UnixTime,
) -> Result<Option<Change>, Refusal> {
    let malformed = |why: &str| Refusal::Malformed { what: "a relay's enrolment", why: why.into() };
    let token = IdentityKey::from_slice(&enrol.token_key).ok_or_else(|| malformed("no token"))?;
    let relay = state.relays.by_token(&token).ok_or(Refusal::TokenUnknown { token })?;
    let signature = ed25519_dalek::Signature::from_slice(&enrol.signature)
        .map_err(|_| malformed("its signature is not 64 bytes"))?;
    let message = enrolment(&state.founded()?.network.id, key);
    let holds = token.verifying().is_some_and(|token| token.verify_strict(&message, &signature).is_ok());
    if !holds {
        return Err(malformed("it does not hold the token's key"));
    }
    match relay.key {
        Some(known) if known == *key => Ok(None),
        Some(_) => Err(Refusal::RelayTokenSpent { token, name: relay.name.to_string() }),
        None if relay.token_ends <= now => Err(Refusal::TokenExpired { token, at: relay.token_ends }),
        None if state.relays.by_key(key).is_some() => Err(malformed("its key is another relay's")),
        None => Ok(Some(Change::RelayEnrolled { name: relay.name.to_string(), key: *key })),
    }
}

// --- for people

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RelayState {
    /// Its token was not redeemed yet.
    Waiting,
    /// Its token ran out before that.
    Expired,
    Up,
    /// It carries on, and nothing new is sent over it.
    Draining,
    /// It has no session here; what it carried it may carry still.
    Away,
}

impl RelayState {
    pub const ALL: [RelayState; 5] =
        [RelayState::Waiting, RelayState::Expired, RelayState::Up, RelayState::Draining, RelayState::Away];

    /// As in the JSON.
    pub fn word(self) -> &'static str {
        match self {
            RelayState::Waiting => "waiting",
            RelayState::Expired => "expired",
            RelayState::Up => "up",
            RelayState::Draining => "draining",
            RelayState::Away => "away",
        }
    }

    /// It has a session, and says how it fares.
    pub fn is_here(self) -> bool {
        matches!(self, RelayState::Up | RelayState::Draining)
    }
}

/// What `relay list` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RelayRow {
    pub name: String,
    pub state: RelayState,
    /// Once it has come in.
    pub id: Option<RelayId>,
    /// `address:port`; none for the coordinator's own: it is where the coordinator is.
    pub places: Vec<String>,
    /// Of this state, as far as this coordinator has seen it.
    pub since: Option<UnixTime>,
    pub added: UnixTime,
    pub token_ends: Option<UnixTime>,
    /// Its version.
    pub agent: Option<String>,
    /// Nodes with a seat there, and how many of them are there.
    pub seats: u64,
    pub here: u64,
    pub pairs: u64,
    /// Passed on since it started.
    pub frames: u64,
    pub bytes: u64,
    /// Pings that it has answered, and frames that may have gone and that the kernel did not take.
    #[serde(default)]
    pub pongs: u64,
    #[serde(default)]
    pub unsent: u64,
    /// Bytes a second, lately.
    pub rate: u64,
    /// Frames that went no further, by reason.
    #[cfg_attr(feature = "schema", schema(value_type = BTreeMap<String, u64>))]
    pub refused: BTreeMap<String, u64>,
    /// Seats it did not give, because no authority stands behind their node.
    pub unproven: u64,
    /// Answers of the coordinator about pairs that it had not asked about: they opened nothing.
    #[serde(default)]
    pub unasked: u64,
    /// Ways to it without UDP. `None`: it has not said.
    #[serde(default)]
    pub doors: Option<DoorReport>,
}
