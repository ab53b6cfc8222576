//! How a stranger with a token becomes a member.
//!
//! `EnrolBegin` → an offer: a name and two leased addresses, for a minute. `EnrolCommit` → statements made for exactly that
//! offer, checked whole, and one change. Offers are forgotten at a restart; the node asks again. Whoever is a member
//! already is offered what it has and gets its stored record back, and spends nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use warren_config::name::Name;
use warren_config::time::UnixTime;
use warren_wire::frame::{EnrolBegin, EnrolCommit, EnrolOffer};
use warren_wire::id::{IdentityKey, NodeId};
use warren_wire::statement::Admission;
use warren_wire::trust::{Member, Record};

use crate::addresses::Leased;
use crate::alarm::AlarmKind;
use crate::change::Change;
use crate::decide::{check_keys_free, check_name_free, check_not_reserved, check_wearable, parse_name};
use crate::directory::MAX_NODES;
use crate::refusal::Refusal;
use crate::runs::{Numbers, free_by_both};
use crate::state::State;
use crate::tokens::TokenState;

/// Offers at one time, in all and to one address; seconds one stands.
pub const MAX_OFFERS: usize = 10_000;
pub const MAX_OFFERS_PER_SOURCE: usize = 256;
pub const OFFER_LIFE: u64 = 60;
/// A node must take its time of enrolment from the offer; so far it may be off.
const MAX_SKEW: u64 = 600;

/// What a stranger was promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub token: IdentityKey,
    pub name: Name,
    pub v4: Option<Ipv4Addr>,
    pub v6: Ipv6Addr,
    pub expires: UnixTime,
    source: IpAddr,
}

impl Offer {
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain([IpAddr::V6(self.v6)])
    }
}

/// Offers that stand, by identity key, and the addresses they lease.
#[derive(Clone, Debug, Default)]
pub struct Offers {
    offers: BTreeMap<IdentityKey, Offer>,
    leased: Leased,
    /// Names that are promised, each so many times.
    names: BTreeMap<Name, usize>,
    numbers: Numbers,
    expiries: BTreeSet<(UnixTime, IdentityKey)>,
    per_source: BTreeMap<IpAddr, usize>,
}

impl Offers {
    pub fn get(&self, key: &IdentityKey) -> Option<&Offer> {
        self.offers.get(key)
    }
    pub fn len(&self) -> usize {
        self.offers.len()
    }
    pub fn is_empty(&self) -> bool {
        self.offers.is_empty()
            && self.leased.is_empty()
            && self.names.is_empty()
            && self.expiries.is_empty()
            && self.per_source.is_empty()
    }
    pub fn next_expiry(&self) -> Option<UnixTime> {
        self.expiries.first().map(|(at, _)| *at)
    }
    pub fn expire(&mut self, now: UnixTime) {
        while let Some((at, key)) = self.expiries.first().copied().filter(|(at, _)| *at <= now) {
            self.expiries.remove(&(at, key));
            self.remove(&key);
        }
    }

    pub fn remove(&mut self, key: &IdentityKey) {
        let Some(offer) = self.offers.remove(key) else { return };
        self.expiries.remove(&(offer.expires, *key));
        offer.addresses().for_each(|address| {
            self.leased.remove(address);
        });
        self.unname(&offer.name);
        match self.per_source.get_mut(&offer.source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.per_source.remove(&offer.source);
            }
        }
    }

    fn name(&mut self, name: Name) {
        self.numbers.insert(&name);
        let count = self.names.entry(name).or_default();
        *count = count.saturating_add(1);
    }

    fn unname(&mut self, name: &Name) {
        match self.names.get_mut(name) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.names.remove(name);
                self.numbers.remove(name);
            }
        }
    }

    /// Is it promised to somebody?
    fn has_name(&self, name: &Name) -> bool {
        self.names.contains_key(name)
    }

    /// Addresses that are promised to somebody.
    pub fn leased(&self) -> &Leased {
        &self.leased
    }

    fn insert(&mut self, key: IdentityKey, offer: Offer) {
        offer.addresses().for_each(|address| self.leased.insert(address));
        self.name(offer.name.clone());
        self.expiries.insert((offer.expires, key));
        let count = self.per_source.entry(offer.source).or_default();
        *count = count.saturating_add(1);
        self.offers.insert(key, offer);
    }

    fn has_room(&self, source: IpAddr) -> Result<(), Refusal> {
        if self.offers.len() >= MAX_OFFERS {
            return Err(Refusal::Overloaded("too many enrolments at once"));
        }
        if self.per_source.get(&source).is_some_and(|count| *count >= MAX_OFFERS_PER_SOURCE) {
            return Err(Refusal::Overloaded("too many enrolments at once from this address"));
        }
        Ok(())
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Applicant {
    pub key: IdentityKey,
    pub node: NodeId,
    pub source: IpAddr,
}

/// What a member already gets, or what comes next for a stranger.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<T> {
    Already(Box<Record>),
    Next(T),
}

/// The record of an applicant that is in already.
fn already(state: &State, who: &Applicant) -> Result<Option<Box<Record>>, Refusal> {
    match state.directory().get(&who.node) {
        Some(node) => match node.refusal() {
            Some(refusal) => Err(refusal),
            None => Ok(Some(Box::new(node.record.clone()))),
        },
        None => Ok(None),
    }
}

pub fn begin(
    state: &State,
    offers: &mut Offers,
    who: Applicant,
    wish: &EnrolBegin,
    now: UnixTime,
) -> Result<EnrolOffer, Refusal> {
    let known = already(state, &who)?;
    let token = IdentityKey::from_slice(&wish.token_key);
    let token = token.ok_or(Refusal::Protocol("the token's key does not have 32 bytes"))?;
    let token = state.tokens().get(&token)?;
    if let Some(record) = known {
        return offer_again(state, token, &record, now);
    }
    token.check(now)?;
    offers.remove(&who.key);
    offers.has_room(who.source)?;
    let name = choose_name(state, offers, token, &who, (&wish.name, &wish.like))?;
    let offer = lease(state, offers, token, name, &who, now)?;
    let message = EnrolOffer {
        charter: Some(state.founded()?.charter.clone()),
        delegation: Some(token.signed.clone()),
        name: offer.name.to_string(),
        v4: offer.v4.map(|a| a.octets().to_vec()).unwrap_or_default(),
        v6: offer.v6.octets().to_vec(),
        now: now.0,
    };
    offers.insert(who.key, offer);
    Ok(message)
}

/// To a member that lost the answer: what it was offered then. Its commit brings the stored record; nothing is spent.
fn offer_again(
    state: &State,
    token: &TokenState,
    record: &Record,
    now: UnixTime,
) -> Result<EnrolOffer, Refusal> {
    let admission = record.admission.as_ref().and_then(|signed| signed.peek::<Admission>().ok());
    let Admission { name, v4, v6, .. } = admission.ok_or(Refusal::NotAMember)?;
    let (charter, delegation) = (Some(state.founded()?.charter.clone()), Some(token.signed.clone()));
    Ok(EnrolOffer { charter, delegation, name, v4, v6, now: now.0 })
}

fn lease(
    state: &State,
    offers: &Offers,
    token: &TokenState,
    name: Name,
    who: &Applicant,
    now: UnixTime,
) -> Result<Offer, Refusal> {
    let network = &state.founded()?.network;
    let v4 = state.addresses().next_v4(network, &offers.leased, now);
    let v6 = state.addresses().next_v6(network, &who.node, &offers.leased, now);
    let v6 = v6.ok_or(Refusal::AddressesUsedUp)?;
    Ok(Offer { token: token.key, name, v4, v6, expires: now.plus(OFFER_LIFE), source: who.source })
}

fn choose_name(
    state: &State,
    offers: &Offers,
    token: &TokenState,
    who: &Applicant,
    (wanted, like): (&str, &str),
) -> Result<Name, Refusal> {
    let not_allowed =
        |why: &str| Refusal::NameNotAllowed { name: wanted.chars().take(80).collect(), why: why.into() };
    let name = match (token.bound_name(), wanted) {
        (Some(bound), "") => parse_name(bound)?,
        (Some(bound), wanted) if bound == wanted => parse_name(bound)?,
        (Some(_), _) => return Err(not_allowed("the token is bound to another name")),
        (None, "") => match liked_name(state, offers, token, like) {
            Some(name) => name,
            None => derived_name(state, offers, token, who)?,
        },
        (None, wanted) if !wanted.starts_with(&token.terms.name_prefix) => {
            return Err(not_allowed("the token gives names with another beginning"));
        }
        (None, wanted) => parse_name(wanted)?,
    };
    check_name(state, token, &name)?;
    Ok(name)
}

fn check_name(state: &State, token: &TokenState, name: &Name) -> Result<(), Refusal> {
    check_name_free(state, name, None)?;
    match token.bound_name() {
        Some(bound) if bound == name.as_str() => Ok(()),
        _ => check_not_reserved(state, name, "the policy speaks of it; only a token bound to it may give it"),
    }
}

/// `LIKE`, `LIKE-2`, `LIKE-3`, … the first that is free and neither promised nor spoken of by the policy. A name that the token
/// cannot give, or that is none, counts for nothing: nobody is at the host to choose another.
fn liked_name(state: &State, offers: &Offers, token: &TokenState, like: &str) -> Option<Name> {
    let like = Name::parse(like).ok().filter(|like| like.as_str().starts_with(&token.terms.name_prefix))?;
    if !offers.has_name(&like) && check_name(state, token, &like).is_ok() {
        return Some(like);
    }
    free_number(state, offers, token, like.as_str(), 2)
}

/// `STEM-NUMBER`, the first from `first` on that is free. Numbers that are taken are passed over at once, however many; what the
/// policy speaks of is passed over one by one.
fn free_number(state: &State, offers: &Offers, token: &TokenState, stem: &str, first: u32) -> Option<Name> {
    let given = |from| state.directory().numbers().next_free(stem, from);
    let promised = |from| offers.numbers.next_free(stem, from);
    let not_taken = |from| {
        free_by_both(from, given, promised)
            .filter(|number| usize::try_from(*number).is_ok_and(|n| n <= MAX_NODES))
    };
    std::iter::successors(not_taken(first), |number| number.checked_add(1).and_then(not_taken))
        .map_while(|number| Name::parse(&format!("{stem}-{number}")).ok())
        .find(|name| check_name(state, token, name).is_ok())
}

/// `PREFIX-1`, `PREFIX-2`, … the first that is free; without a prefix the beginning of the node's id.
fn derived_name(
    state: &State,
    offers: &Offers,
    token: &TokenState,
    who: &Applicant,
) -> Result<Name, Refusal> {
    let prefix = token.terms.name_prefix.as_str();
    if prefix.is_empty() {
        let id: String = who.node.to_string().chars().take(8).collect();
        return parse_name(&format!("node-{id}"));
    }
    let stem = prefix.strip_suffix('-').unwrap_or(prefix);
    parse_name(&format!("{stem}-1"))?;
    let name = free_number(state, offers, token, stem, 1);
    name.ok_or(Refusal::TooMany { what: "names with this prefix", limit: MAX_NODES })
}

pub fn commit(
    state: &State,
    offers: &Offers,
    who: Applicant,
    statements: EnrolCommit,
    now: UnixTime,
) -> Result<Step<Vec<Change>>, Refusal> {
    if let Some(record) = already(state, &who)? {
        return Ok(Step::Already(record));
    }
    let offer = offers.get(&who.key).filter(|offer| offer.expires > now).ok_or(Refusal::NoOffer)?;
    let token = state.tokens().get(&offer.token)?;
    token.check(now)?;
    let EnrolCommit { admission, keys } = statements;
    let record = Record { delegation: Some(token.signed.clone()), admission, keys, ..Record::default() };
    let member = state.founded()?.member(&record);
    let member = member.map_err(|why| Refusal::BadStatement { what: "record", why })?;
    check_as_offered(&member, offer, &who, now)?;
    if !member.addresses().all(|address| state.addresses().is_free(address, now)) {
        return Err(Refusal::NoOffer);
    }
    check_name(state, token, member.name())?;
    check_wearable(state, member.tags(), &format!("node {}", member.name()), now)?;
    check_keys_free(state, &member)?;
    if state.directory().len() >= MAX_NODES {
        return Err(Refusal::TooMany { what: "nodes", limit: MAX_NODES });
    }
    let (token, node, name) = (offer.token, member.id, member.name().to_string());
    let admitted = Change::NodeAdmitted { token, node, name, record };
    Ok(Step::Next([Some(admitted), used_up(state, &member)].into_iter().flatten().collect()))
}

fn check_as_offered(member: &Member, offer: &Offer, who: &Applicant, now: UnixTime) -> Result<(), Refusal> {
    if member.identity != Some(who.key) || member.id != who.node {
        return Err(Refusal::Protocol("the admission names another identity key than this connection's"));
    }
    if *member.name() != offer.name {
        let why = "another name was offered".to_owned();
        return Err(Refusal::NameNotAllowed { name: member.name().to_string(), why });
    }
    if (member.v4, member.v6) != (offer.v4, offer.v6) {
        let wrong = member.addresses().find(|a| !offer.addresses().any(|o| o == *a));
        return Err(Refusal::WrongAddress { address: wrong.unwrap_or(IpAddr::V6(member.v6)) });
    }
    if member.enrolled.since(now).max(now.since(member.enrolled)) > MAX_SKEW {
        let why = format!("it says {}, the offer said {now}", member.enrolled);
        return Err(Refusal::Malformed { what: "time of the admission", why });
    }
    Ok(())
}

fn used_up(state: &State, member: &Member) -> Option<Change> {
    let known = state.alarms().is_known(AlarmKind::AddressesUsedUp, "ipv4");
    (member.v4.is_none() && !known).then(|| Change::AlarmRaised {
        kind: AlarmKind::AddressesUsedUp,
        subject: "ipv4".into(),
        message: format!("no IPv4 address is free: {} was the first to enrol with IPv6 only", member.name()),
    })
}
