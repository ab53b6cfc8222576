//! The decisions on commands: a state and a wish in, changes or a refusal out. Nothing is done here.

use std::collections::BTreeSet;

use warren_config::name::Name;
use warren_config::proof::{self, Proof};
use warren_config::question;
use warren_config::subnet::{IpNet, meet};
use warren_config::time::UnixTime;
use warren_wire::id::{Generation, IdentityKey, NetworkId, NodeId};
use warren_wire::revocation::Chain;
use warren_wire::roll::Roll;
use warren_wire::signed::Signed;
use warren_wire::statement::{Charter, Delegation};
use warren_wire::trust::{Member, Record, Trust, TrustError};

use crate::access::{self, ApiKey, KeyId, MAX_KEYS};
use crate::alarm::AlarmKind;
use crate::change::{Change, SourceText};
use crate::command::{Command, MAX_FRESHNESS, MIN_FRESHNESS};
use crate::directory::Node;
use crate::external;
use crate::policies::{InForce, MAX_FILE_NAME, MAX_SOURCE_BYTES, MAX_SOURCES};
use crate::refusal::Refusal;
use crate::relays;
use crate::state::{Founded, State};
use crate::tokens::{MAX_TOKENS, TokenState};

/// Authorities of one network.
const MAX_AUTHORITIES: usize = 8;
/// Characters of a reason.
const MAX_WHY: usize = 1000;

pub(crate) fn decide(state: &State, command: Command, now: UnixTime) -> Result<Vec<Change>, Refusal> {
    match command {
        Command::FoundNetwork { charter, authorities, freshness } => {
            found(state, charter, authorities, freshness, now)
        }
        Command::StoreToken { delegation } => store_token(state, delegation, now),
        Command::RevokeToken { token } => revoke_token(state, token),
        Command::AmendNode { node, amendment } => amend(state, node, amendment, now),
        Command::RevokeNode { revocation } => revoke_node(state, revocation),
        Command::AddExternal { external, endpoint } => external::add(state, external, endpoint, now),
        Command::IssueFile { node, endpoint, peers } => external::issue(state, node, endpoint, peers),
        Command::ApplyPolicy { sources, head, expect, allow_observe } => {
            check_expected(state, expect)?;
            apply_policy(state, sources, head, allow_observe, now)
        }
        Command::RaiseEpoch { why } => raise_epoch(state, why),
        Command::MakeApiKey { id, name, scope, hash, ends } => {
            check_api_key(state, &id, &name, ends, now)?;
            Ok(vec![Change::ApiKeyMade { id, name, scope, hash, ends }])
        }
        Command::RevokeApiKey { id } => revoke_api_key(state, id),
        Command::EndSessions { names, count } => Ok(vec![Change::SessionsEnded { names, count }]),
        Command::AddRelay { name, token, at, ends } => relays::add(state, &name, token, at, ends, now),
        Command::DrainRelay { name, draining } => relays::drain(state, &name, draining),
        Command::RemoveRelay { name } => relays::remove(state, &name),
    }
}

// --- API keys

fn check_api_key(
    state: &State,
    id: &KeyId,
    name: &str,
    ends: Option<UnixTime>,
    now: UnixTime,
) -> Result<(), Refusal> {
    state.founded()?;
    if !access::is_key_name(name) {
        return Err(Refusal::BadKeyName { name: name.chars().take(80).collect() });
    }
    if let Some(at) = ends.filter(|at| *at <= now) {
        return Err(Refusal::KeyEndsBefore { at });
    }
    let same = |key: &&ApiKey| key.id == *id || (key.name == name && key.usable(now).is_ok());
    if let Some(known) = state.keys.iter().find(same) {
        return Err(Refusal::KeyExists { name: known.name.clone(), id: known.id.clone() });
    }
    match state.keys.len() >= MAX_KEYS {
        true => Err(Refusal::TooMany { what: "API keys ever made", limit: MAX_KEYS }),
        false => Ok(()),
    }
}

fn revoke_api_key(state: &State, id: KeyId) -> Result<Vec<Change>, Refusal> {
    let key = state.keys.get(&id).ok_or_else(|| Refusal::KeyUnknown { id: id.clone() })?;
    match key.revoked {
        Some(at) => Err(Refusal::KeyRevoked { name: key.name.clone(), at }),
        None => Ok(vec![Change::ApiKeyRevoked { id, name: key.name.clone() }]),
    }
}

fn bad(what: &'static str) -> impl Fn(TrustError) -> Refusal {
    move |why| Refusal::BadStatement { what, why }
}

// --- the network

fn found(
    state: &State,
    charter: Signed,
    authorities: Vec<IdentityKey>,
    freshness: u64,
    now: UnixTime,
) -> Result<Vec<Change>, Refusal> {
    if state.founded.is_some() {
        return Err(Refusal::AlreadyFounded);
    }
    founded(&charter, &authorities, freshness, now)?;
    Ok(vec![Change::NetworkFounded { charter, authorities, freshness }])
}

/// A network from its charter, signed by one of `authorities`.
pub(crate) fn founded(
    charter: &Signed,
    authorities: &[IdentityKey],
    freshness: u64,
    at: UnixTime,
) -> Result<Founded, Refusal> {
    let malformed = |why: String| Refusal::Malformed { what: "charter", why };
    if !(1..=MAX_AUTHORITIES).contains(&authorities.len()) {
        return Err(Refusal::TooMany { what: "a network has 1 or more authorities", limit: MAX_AUTHORITIES });
    }
    if !(MIN_FRESHNESS..=MAX_FRESHNESS).contains(&freshness) {
        return Err(Refusal::BadFreshness { seconds: freshness, min: MIN_FRESHNESS, max: MAX_FRESHNESS });
    }
    let claimed: Charter = charter.peek().map_err(|e| malformed(e.to_string()))?;
    let id = NetworkId::from_slice(&claimed.network).ok_or_else(|| malformed("no network id".into()))?;
    let trust = Trust { network: id, authorities: authorities.to_vec() };
    let network = trust.network(charter).map_err(bad("charter"))?;
    let (revocations, roll) = (Chain::new(&id), Roll::new(id));
    Ok(Founded { charter: charter.clone(), trust, network, freshness, at, revocations, roll })
}

fn raise_epoch(state: &State, why: String) -> Result<Vec<Change>, Refusal> {
    state.founded()?;
    check_why(&why)?;
    let epoch = state.epoch.saturating_add(1);
    let message = format!(
        "the network was restored from a backup ({why}): tokens are void, and whatever was revoked after the backup must be revoked again"
    );
    let alarm = Change::AlarmRaised { kind: AlarmKind::Restored, subject: format!("epoch {epoch}"), message };
    Ok(vec![Change::EpochRaised { epoch, why }, alarm])
}

fn check_why(why: &str) -> Result<(), Refusal> {
    if why.chars().count() > MAX_WHY || why.chars().any(char::is_control) {
        return Err(Refusal::TooMany { what: "a reason has printable characters", limit: MAX_WHY });
    }
    Ok(())
}

// --- tokens

fn store_token(state: &State, delegation: Signed, now: UnixTime) -> Result<Vec<Change>, Refusal> {
    let what = "delegation";
    let terms: Delegation = state.founded()?.trust.delegation(&delegation).map_err(bad(what))?;
    let malformed = |why: &str| Refusal::Malformed { what, why: why.into() };
    let token =
        IdentityKey::from_slice(&terms.token_key).ok_or_else(|| malformed("its key is not 32 bytes"))?;
    if state.tokens.contains(&token) {
        return Err(Refusal::TokenExists { token });
    }
    if state.tokens.len() >= MAX_TOKENS {
        return Err(Refusal::TooMany { what: "tokens", limit: MAX_TOKENS });
    }
    TokenState::new(token, delegation.clone(), terms.clone()).check(now)?;
    check_wearable(state, &parse_tags(&terms.tags)?, "the token's node", now)?;
    if !terms.name.is_empty() {
        check_name_free(state, &parse_name(&terms.name)?, None)?;
    }
    Ok(vec![Change::TokenStored { delegation }])
}

fn revoke_token(state: &State, token: IdentityKey) -> Result<Vec<Change>, Refusal> {
    match state.tokens.get(&token)?.revoked {
        true => Err(Refusal::TokenRevoked { token }),
        false => Ok(vec![Change::TokenRevoked { token }]),
    }
}

// --- nodes

pub(crate) fn parse_name(text: &str) -> Result<Name, Refusal> {
    Name::parse(text).map_err(|e| Refusal::Malformed { what: "name", why: e.to_string() })
}

fn parse_tags(tags: &[String]) -> Result<BTreeSet<Name>, Refusal> {
    tags.iter().map(|tag| parse_name(tag)).collect()
}

/// Nodes and services share one name space; `me` may keep its own name.
pub(crate) fn check_name_free(state: &State, name: &Name, me: Option<NodeId>) -> Result<(), Refusal> {
    let taken = |by: String| Refusal::NameTaken { name: name.to_string(), by };
    if let Some(node) = state.directory.by_name(name).filter(|node| Some(node.id()) != me) {
        return Err(taken(format!("node {}", node.id())));
    }
    match state.policies.in_force() {
        Some(policy) if policy.policy.services.contains_key(name) => Err(taken(format!("service {name}"))),
        _ => Ok(()),
    }
}

/// A name the policy speaks of can be given only by a token bound to it, or `except = ["node:x"]` would be evaded.
pub(crate) fn check_not_reserved(state: &State, name: &Name, why: &str) -> Result<(), Refusal> {
    match state.policies.in_force() {
        Some(policy) if policy.mentioned.contains(name) => {
            Err(Refusal::NameNotAllowed { name: name.to_string(), why: why.to_owned() })
        }
        _ => Ok(()),
    }
}

/// The invariants in force hold for every set of tags that somebody can own. A tag that nobody can own was not counted
/// with: with it they are proven again.
pub(crate) fn check_wearable(
    state: &State,
    tags: &BTreeSet<Name>,
    who: &str,
    now: UnixTime,
) -> Result<(), Refusal> {
    let Some(policy) = state.policies.in_force() else { return Ok(()) };
    if let Some((a, b)) = policy.not_with(tags) {
        return Err(Refusal::NotWith { who: who.to_owned(), a: a.to_string(), b: b.to_string() });
    }
    if tags.iter().any(|tag| proof::is_unowned(&policy.policy, tag)) {
        let broken = broken(state, policy, tags, now);
        if !broken.is_empty() {
            let worn: Vec<&str> = tags.iter().map(Name::as_str).collect();
            return Err(Refusal::InvariantsBroken { what: format!("{who} ({})", worn.join(", ")), broken });
        }
    }
    Ok(())
}

/// Invariants of `policy` that do not hold when some nodes wear `tags` as well.
fn broken(state: &State, policy: &InForce, tags: &BTreeSet<Name>, now: UnixTime) -> Vec<Proof> {
    let mut worn = worn(state, now);
    worn.extend(tags.iter().cloned());
    proof::prove(&policy.policy, &worn, now).into_iter().filter(|proof| !proof.holds()).collect()
}

/// Tags that nodes wear, or can get by a token that was given out.
pub(crate) fn worn(state: &State, now: UnixTime) -> BTreeSet<Name> {
    let usable = state.tokens.iter().filter(|token| token.check(now).is_ok());
    let promised = usable.flat_map(|token| &token.terms.tags).filter_map(|tag| Name::parse(tag).ok());
    let worn = state.directory.alive().flat_map(|node| node.member.tags().iter().cloned());
    worn.chain(promised).collect()
}

pub(crate) fn live<'a>(state: &'a State, node: &NodeId) -> Result<&'a Node, Refusal> {
    match state.directory.get(node) {
        None => Err(Refusal::NodeUnknown(node.to_string())),
        Some(known) => known.refusal().map_or(Ok(known), Err),
    }
}

/// WireGuard keys are unique in the network.
pub(crate) fn check_keys_free(state: &State, member: &Member) -> Result<(), Refusal> {
    let taken = |key| Some((key, state.directory.key_owner(key).filter(|owner| *owner != member.id)?));
    match member.lanes.iter().find_map(taken) {
        Some((key, owner)) => Err(Refusal::KeyTaken { key: *key, owner }),
        None => Ok(()),
    }
}

fn amend(state: &State, id: NodeId, amendment: Signed, now: UnixTime) -> Result<Vec<Change>, Refusal> {
    let founded = state.founded()?;
    let node = live(state, &id)?;
    let record = Record { amendment: Some(amendment.clone()), ..node.record.clone() };
    let member = founded.member(&record).map_err(bad("amendment"))?;
    if member.amendment_serial <= node.member.amendment_serial {
        let (known, found) = (node.member.amendment_serial, member.amendment_serial);
        return Err(Refusal::OldSerial { known, found });
    }
    if member.name() != node.member.name() {
        check_name_free(state, member.name(), Some(id))?;
        check_not_reserved(
            state,
            member.name(),
            "the policy speaks of it; only a token bound to it may give it",
        )?;
        check_not_reserved(
            state,
            node.member.name(),
            "the policy speaks of the node's present name: change the policy first",
        )?;
    }
    check_wearable(state, member.tags(), &format!("node {}", member.name()), now)?;
    let name = member.name().to_string();
    let tags = member.tags().iter().map(Name::to_string).collect();
    Ok(vec![Change::NodeAmended { node: id, name, tags, amendment }])
}

/// New WireGuard keys of a node, signed by itself. `None`: it has these already.
pub(crate) fn renew_keys(state: &State, id: NodeId, keys: Signed) -> Result<Option<Change>, Refusal> {
    let node = live(state, &id)?;
    if node.record.keys.as_ref() == Some(&keys) {
        return Ok(None);
    }
    let record = Record { keys: Some(keys.clone()), ..node.record.clone() };
    let member = state.founded()?.member(&record).map_err(bad("set of node keys"))?;
    if member.key_serial <= node.member.key_serial {
        return Err(Refusal::OldSerial { known: node.member.key_serial, found: member.key_serial });
    }
    check_keys_free(state, &member)?;
    Ok(Some(Change::KeysRenewed { node: id, keys }))
}

fn revoke_node(state: &State, revocation: Signed) -> Result<Vec<Change>, Refusal> {
    let (id, statement) = state.founded()?.trust.revocation(&revocation).map_err(bad("revocation"))?;
    check_why(&statement.why)?;
    let node = live(state, &id)?;
    let name = node.member.name().to_string();
    let mut peers: BTreeSet<NodeId> = state.peers_of(&id).into_iter().collect();
    // Who only kept a key for its file.
    let file = node.device.as_ref().and_then(|device| device.file.as_ref());
    peers.extend(file.iter().flat_map(|file| &file.peers).map(|peer| peer.node));
    let peers = peers.into_iter().collect();
    Ok(vec![Change::NodeRevoked { node: id, name, why: statement.why, peers, revocation }])
}

// --- policy

fn check_expected(state: &State, expect: Option<Generation>) -> Result<(), Refusal> {
    let current = state.generation();
    match expect {
        Some(expected) if expected != current => Err(Refusal::PolicyMoved { expected, current }),
        _ => Ok(()),
    }
}

pub(crate) fn check_sources(sources: &[SourceText]) -> Result<(), Refusal> {
    if sources.len() > MAX_SOURCES {
        return Err(Refusal::TooMany { what: "files of a policy", limit: MAX_SOURCES });
    }
    if sources.iter().any(|s| s.file.len() > MAX_FILE_NAME) {
        return Err(Refusal::TooMany { what: "bytes of a file name", limit: MAX_FILE_NAME });
    }
    if sources.iter().map(|s| s.text.len()).sum::<usize>() > MAX_SOURCE_BYTES {
        return Err(Refusal::TooMany { what: "bytes of a policy", limit: MAX_SOURCE_BYTES });
    }
    Ok(())
}

fn apply_policy(
    state: &State,
    sources: Vec<SourceText>,
    head: Signed,
    allow_observe: bool,
    now: UnixTime,
) -> Result<Vec<Change>, Refusal> {
    check_sources(&sources)?;
    let signed = state.founded()?.trust.policy(&head).map_err(bad("policy head"))?;
    let next = state.generation().saturating_add(1);
    if signed.generation != next {
        return Err(Refusal::WrongGeneration { next, found: signed.generation });
    }
    if signed.epoch != state.epoch {
        return Err(Refusal::WrongEpoch { current: state.epoch, found: signed.epoch });
    }
    let policy = InForce::of_sources(&sources)?;
    if policy.tree.root() != signed.root || policy.tree.len() != signed.items {
        return Err(Refusal::WrongRoot);
    }
    check_against_nodes(state, &policy)?;
    let failed: Vec<_> = run_tests(state, &policy, now).into_iter().filter(|t| !t.passed).collect();
    if !failed.is_empty() {
        return Err(Refusal::TestsFail { failed });
    }
    let broken = broken(state, &policy, &BTreeSet::new(), now);
    if !broken.is_empty() {
        return Err(Refusal::InvariantsBroken { what: "the policy".to_owned(), broken });
    }
    let mut changes = vec![Change::PolicyApplied { generation: next, head, sources }];
    if policy.observes() {
        changes.push(observe_alarm(next, allow_observe)?);
    }
    Ok(changes)
}

fn observe_alarm(generation: Generation, allowed: bool) -> Result<Change, Refusal> {
    if !allowed {
        return Err(Refusal::ObserveNotAllowed);
    }
    let message = format!(
        "policy generation {generation} is in observe mode: what no grant allows PASSES and is only recorded"
    );
    Ok(Change::AlarmRaised { kind: AlarmKind::ObserveMode, subject: "policy".into(), message })
}

pub(crate) fn run_tests(state: &State, policy: &InForce, now: UnixTime) -> Vec<question::TestOutcome> {
    question::run_tests(&policy.policy, &state.directory.subjects(), now)
}

/// No node is behind a gateway: it would be reached by its tunnel and by that one.
fn refuse_subnets_in_the_overlay(state: &State, policy: &InForce) -> Result<(), Refusal> {
    let network = &state.founded()?.network;
    let overlay = [IpNet::V4(network.v4_range), IpNet::V6(network.v6_prefix)];
    for service in policy.policy.services.values() {
        let pairs = service.addresses.iter().flat_map(|net| overlay.iter().map(move |range| (net, range)));
        if let Some((net, range)) = pairs.into_iter().find(|(net, range)| meet(net, range)) {
            let (service, subnet, range) = (service.name.to_string(), net.to_string(), range.to_string());
            return Err(Refusal::SubnetInOverlay { service, subnet, range });
        }
    }
    Ok(())
}

/// Names and `not-with` against the nodes that exist, subnets against the overlay.
pub(crate) fn check_against_nodes(state: &State, policy: &InForce) -> Result<(), Refusal> {
    refuse_subnets_in_the_overlay(state, policy)?;
    for node in state.directory.alive() {
        if policy.policy.services.contains_key(node.member.name()) {
            return Err(Refusal::ServiceNamesNode { name: node.member.name().to_string(), node: node.id() });
        }
        if let Some((a, b)) = policy.not_with(node.member.tags()) {
            let who = format!("node {}", node.member.name());
            return Err(Refusal::NotWith { who, a: a.to_string(), b: b.to_string() });
        }
    }
    Ok(())
}
