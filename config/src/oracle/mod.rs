//! The slow judge: reads like the specification, shares only the resolved [`Policy`] with the compiler.

pub mod ever;

use std::net::IpAddr;

use crate::policy::{Grant, GrantMode, Policy, Protocol, Selector, Service, Subject};
use crate::time::UnixTime;

/// May `from` open `protocol`/`port` at `to` at `now`, by an enforced grant, in `enforce` mode?
pub fn allows(
    policy: &Policy,
    from: &Subject,
    to: &Subject,
    protocol: Protocol,
    port: u16,
    now: UnixTime,
) -> bool {
    for grant in policy.grants.values() {
        if grant.mode == GrantMode::Enforce && opens(policy, grant, from, to, protocol, port, now) {
            return true;
        }
    }
    false
}

/// Would an audited grant have allowed it?
pub fn would_allow(
    policy: &Policy,
    from: &Subject,
    to: &Subject,
    protocol: Protocol,
    port: u16,
    now: UnixTime,
) -> bool {
    for grant in policy.grants.values() {
        if grant.mode == GrantMode::Audit && opens(policy, grant, from, to, protocol, port, now) {
            return true;
        }
    }
    false
}

/// May `from` open `protocol`/`port` at `address` behind `gateway` at `now`, by an enforced grant, in `enforce` mode?
pub fn allows_behind(
    policy: &Policy,
    from: &Subject,
    (gateway, address): (&Subject, IpAddr),
    protocol: Protocol,
    port: u16,
    now: UnixTime,
) -> bool {
    for grant in policy.grants.values() {
        if grant.mode == GrantMode::Enforce
            && opens_at(policy, grant, from, gateway, Some(address), protocol, port, now)
        {
            return true;
        }
    }
    false
}

/// Has `from` a route to `address` behind `gateway` at `now`: is it granted anything there, now or later?
pub fn has_route(
    policy: &Policy,
    from: &Subject,
    (gateway, address): (&Subject, IpAddr),
    now: UnixTime,
) -> bool {
    for grant in policy.grants.values() {
        let counts = grant.mode == GrantMode::Enforce && grant.until.is_none_or(|until| now < until);
        if !counts || !one_of(&grant.from, from) || one_of(&grant.except, from) {
            continue;
        }
        for name in &grant.to {
            let Some(service) = policy.services.get(name) else { continue };
            if one_of(&service.on, gateway) && is_at(service, Some(address)) {
                return true;
            }
        }
    }
    false
}

/// Is `node` itself a gateway to this address? Then it needs nobody to reach it.
pub fn leads_there_itself(policy: &Policy, node: &Subject, address: IpAddr) -> bool {
    for service in policy.services.values() {
        if one_of(&service.on, node) && is_at(service, Some(address)) {
            return true;
        }
    }
    false
}

/// Has the service this address behind its gateways; or, without an address, is it on its nodes themselves?
fn is_at(service: &Service, address: Option<IpAddr>) -> bool {
    let Some(address) = address else { return service.addresses.is_empty() };
    for net in &service.addresses {
        if first_and_last(net).0 <= address && address <= first_and_last(net).1 {
            return true;
        }
    }
    false
}

/// Counted by hand, family by family: an IPv4 address is smaller than every IPv6 one.
pub(crate) fn first_and_last(net: &ipnet::IpNet) -> (IpAddr, IpAddr) {
    match net {
        ipnet::IpNet::V4(net) => {
            let size = 2u64.pow(32 - u32::from(net.prefix_len()));
            let first = u64::from(u32::from(net.addr()));
            let last = u32::try_from(first + size - 1).unwrap_or(u32::MAX);
            (IpAddr::V4(net.addr()), IpAddr::V4(last.into()))
        }
        ipnet::IpNet::V6(net) => {
            let host = u32::from(128 - net.prefix_len());
            let ones = u128::MAX.checked_shr(128 - host).unwrap_or(0);
            (IpAddr::V6(net.addr()), IpAddr::V6((u128::from(net.addr()) | ones).into()))
        }
    }
}

fn opens(
    policy: &Policy,
    grant: &Grant,
    from: &Subject,
    to: &Subject,
    protocol: Protocol,
    port: u16,
    now: UnixTime,
) -> bool {
    opens_at(policy, grant, from, to, None, protocol, port, now)
}

#[allow(clippy::too_many_arguments, reason = "a question has these parts")]
fn opens_at(
    policy: &Policy,
    grant: &Grant,
    from: &Subject,
    to: &Subject,
    address: Option<IpAddr>,
    protocol: Protocol,
    port: u16,
    now: UnixTime,
) -> bool {
    if grant.until.is_some_and(|until| now >= until) {
        return false;
    }
    if !one_of(&grant.from, from) || one_of(&grant.except, from) {
        return false;
    }
    for name in &grant.to {
        let Some(service) = policy.services.get(name) else { continue };
        if !one_of(&service.on, to) || !is_at(service, address) {
            continue;
        }
        let everyone_to_everyone =
            grant.from.contains(&Selector::AllNodes) && service.on.contains(&Selector::AllNodes);
        if everyone_to_everyone && protocol != Protocol::IcmpEcho {
            continue;
        }
        if listens(service, protocol, port) {
            return true;
        }
    }
    false
}

pub(crate) fn one_of(selectors: &std::collections::BTreeSet<Selector>, subject: &Subject) -> bool {
    for selector in selectors {
        let matched = match selector {
            Selector::AllNodes => true,
            Selector::Node(name) => name == &subject.name,
            Selector::Tags(tags) => tags.iter().all(|tag| subject.tags.contains(tag)),
        };
        if matched {
            return true;
        }
    }
    false
}

pub(crate) fn listens(service: &Service, protocol: Protocol, port: u16) -> bool {
    for listen in &service.listen {
        if listen.protocol != protocol {
            continue;
        }
        match protocol {
            Protocol::Tcp | Protocol::Udp => {
                if listen.first <= port && port <= listen.last {
                    return true;
                }
            }
            Protocol::IcmpEcho | Protocol::Number(_) => return true,
        }
    }
    false
}
