//! What the fields of a statement may say, once its signature holds.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use warren_config::name::Name;
use warren_config::policy::Subject;
use warren_config::time::UnixTime;

use super::{
    MAX_COORDINATOR_KEYS, MAX_FRESHNESS_SECONDS, MAX_LEASE, MAX_TAGS, MIN_LEASE, Network, TrustError,
};
use crate::id::{IdentityKey, NodeId};
use crate::signed::Statement as _;
use crate::statement::{Admission, Delegation, Freshness};

pub(super) fn v4_range(text: &str) -> Result<Ipv4Net, String> {
    let net: Ipv4Net = text.parse().map_err(|_| format!("`{}` is not an IPv4 range", text.escape_debug()))?;
    let (first, last) = (net.network(), net.broadcast());
    let special =
        |a: Ipv4Addr| a.is_loopback() || a.is_link_local() || a.octets()[0] == 0 || a.octets()[0] >= 224;
    match net {
        _ if net != net.trunc() => Err(format!("IPv4 range {net} has bits after its prefix")),
        _ if !(8..=30).contains(&net.prefix_len()) => Err(format!("IPv4 range {net} is not a /8 to /30")),
        _ if special(first) || special(last) => Err(format!("IPv4 range {net} is not for hosts")),
        _ => Ok(net),
    }
}

pub(super) fn v6_prefix(text: &str) -> Result<Ipv6Net, String> {
    let net: Ipv6Net =
        text.parse().map_err(|_| format!("`{}` is not an IPv6 prefix", text.escape_debug()))?;
    let local = net.network().octets()[0] == 0xfd;
    match net {
        _ if net != net.trunc() => Err(format!("IPv6 prefix {net} has bits after its prefix")),
        _ if !local || net.prefix_len() != 48 => {
            Err(format!("IPv6 prefix {net} is not a /48 in fd00::/8 (RFC 4193)"))
        }
        _ => Ok(net),
    }
}

pub(super) fn coordinator_keys(keys: &[Vec<u8>]) -> Result<Vec<IdentityKey>, String> {
    if !(1..=MAX_COORDINATOR_KEYS).contains(&keys.len()) {
        return Err(format!("it names {} coordinator keys, not 1 to {MAX_COORDINATOR_KEYS}", keys.len()));
    }
    let usable = |key: &Vec<u8>| IdentityKey::from_slice(key).filter(|k| k.verifying().is_some());
    keys.iter().map(|key| usable(key).ok_or("a coordinator key is not a usable Ed25519 key".into())).collect()
}

pub(super) fn parse_tags(tags: &[String]) -> Result<BTreeSet<Name>, String> {
    if tags.len() > MAX_TAGS {
        return Err(format!("it has {} tags, at most {MAX_TAGS} are allowed", tags.len()));
    }
    let mut set = BTreeSet::new();
    for tag in tags {
        let tag = Name::parse(tag).map_err(|e| e.to_string())?;
        if let Some(twice) = set.replace(tag) {
            return Err(format!("tag {twice} stands twice"));
        }
    }
    Ok(set)
}

pub(super) fn check_delegation(delegation: &Delegation) -> Result<(), String> {
    let key = IdentityKey::from_slice(&delegation.token_key);
    if key.is_none_or(|key| key.verifying().is_none()) {
        return Err("its token key is not a usable Ed25519 key".into());
    }
    parse_tags(&delegation.tags)?;
    if delegation.lease != 0 && !(MIN_LEASE..=MAX_LEASE).contains(&delegation.lease) {
        return Err(format!("its lease of {} s is not {MIN_LEASE} to {MAX_LEASE} s", delegation.lease));
    }
    if delegation.uses == 0 {
        return Err("it allows no use".into());
    }
    match (delegation.name.as_str(), delegation.name_prefix.as_str()) {
        ("", "") => Ok(()),
        (name, "") => Name::parse(name).map(drop).map_err(|e| e.to_string()),
        // A prefix must be able to begin a name: with one more character it is one.
        ("", prefix) => Name::parse(&format!("{prefix}0")).map(drop).map_err(|e| e.to_string()),
        _ => Err("it binds both a name and a prefix".into()),
    }
}

/// Name and tags as admitted, if the delegation allows exactly these.
pub(super) fn admitted_subject(
    node: NodeId,
    delegation: &Delegation,
    admission: &Admission,
) -> Result<Subject, TrustError> {
    let malformed =
        |why: String| TrustError::Malformed { what: Admission::NAME, node: node.to_string(), why };
    let name = Name::parse(&admission.name).map_err(|e| malformed(e.to_string()))?;
    let tags = parse_tags(&admission.tags).map_err(malformed)?;
    let beyond = |claim: String| TrustError::BeyondDelegation { node, name: name.to_string(), claim };
    let named = delegation.name.is_empty() || delegation.name == name.as_str();
    if !named || !name.as_str().starts_with(&delegation.name_prefix) {
        return Err(beyond(format!("the name {name}")));
    }
    let allowed = parse_tags(&delegation.tags).map_err(malformed)?;
    if tags != allowed {
        let list = |tags: &BTreeSet<Name>| tags.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        return Err(beyond(format!("the tags [{}] instead of [{}]", list(&tags), list(&allowed))));
    }
    if admission.enrolled > delegation.not_after {
        return Err(beyond(format!("to have enrolled at {}", UnixTime(admission.enrolled))));
    }
    Ok(Subject { name, tags })
}

pub(super) fn addresses(
    network: &Network,
    node: NodeId,
    what: &'static str,
    v4: &[u8],
    v6: &[u8],
) -> Result<(Option<Ipv4Addr>, Ipv6Addr), TrustError> {
    let malformed = |family: &str, bytes: &[u8]| {
        let why = format!("its {family} address has {} bytes", bytes.len());
        TrustError::Malformed { what, node: node.to_string(), why }
    };
    let v6 = <[u8; 16]>::try_from(v6).map(Ipv6Addr::from).map_err(|_| malformed("IPv6", v6))?;
    if !network.allows_v6(v6) {
        return Err(TrustError::ForeignAddress { node, address: v6.into() });
    }
    if v4.is_empty() {
        return Ok((None, v6));
    }
    let v4 = <[u8; 4]>::try_from(v4).map(Ipv4Addr::from).map_err(|_| malformed("IPv4", v4))?;
    if !network.allows_v4(v4) {
        return Err(TrustError::ForeignAddress { node, address: v4.into() });
    }
    Ok((Some(v4), v6))
}

pub(super) fn check_freshness(freshness: &Freshness) -> Result<(), String> {
    let life = freshness.not_after.checked_sub(freshness.signed_at);
    if life.is_none_or(|life| life > MAX_FRESHNESS_SECONDS) {
        return Err("its end is before its beginning, or more than 90 days later".into());
    }
    let no_policy = freshness.generation == 0 && freshness.policy_root.is_empty();
    if !no_policy && freshness.policy_root.len() != 32 {
        return Err("its policy root is not 32 bytes".into());
    }
    match (freshness.revocation_head.len(), freshness.roll.len()) {
        (32, 0 | 32) => Ok(()),
        (32, found) => Err(format!("the root of its roll has {found} bytes, not 32")),
        (found, _) => Err(format!("its revocation head has {found} bytes, not 32")),
    }
}
