//! The slow judge: reads like the specification, shares only the resolved [`Policy`] with the compiler.

pub mod ever;

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

fn opens(
    policy: &Policy,
    grant: &Grant,
    from: &Subject,
    to: &Subject,
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
        if !one_of(&service.on, to) {
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
