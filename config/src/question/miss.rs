//! Why not: which part of which grant came nearest, in one sentence.

use ipnet::IpNet;

use super::Miss;
use super::can::Judge;
use crate::name::Name;
use crate::policy::{Grant, GrantMode, Listen, Protocol, Selector, Service, Subject};
use crate::time::UnixTime;

fn miss(
    from: &Subject,
    to: &Subject,
    listen: Option<Listen>,
    reason: String,
    nearest: Option<&Name>,
) -> Miss {
    Miss { from: from.name.clone(), to: to.name.clone(), listen, reason, nearest: nearest.cloned() }
}

pub(super) fn not_offered(from: &Subject, to: &Subject, service: &Name, listen: Listen) -> Miss {
    let reason = format!("`{}` does not offer service `{service}`", to.name);
    miss(from, to, Some(listen), reason, None)
}

pub(super) fn offers_nothing(from: &Subject, to: &Subject) -> Miss {
    let reason = format!("`{}` offers no service ({})", to.name, wears(to));
    miss(from, to, None, reason, None)
}

/// `port` is the first of `listen` that nothing allows.
pub(super) fn nearest(
    judge: &Judge<'_>,
    from: &Subject,
    to: &Subject,
    region: Option<&IpNet>,
    listen: Listen,
    port: u16,
) -> Miss {
    let asked = Listen { protocol: listen.protocol, first: port, last: port };
    let services: Vec<&Service> = judge
        .policy
        .services
        .values()
        .filter(|service| is_there(service, region))
        .filter(|service| service.offered_by(to) && service.listen.iter().any(|l| l.covers(&asked)))
        .collect();
    if services.is_empty() {
        let reason = match region {
            None => format!("`{}` does not offer a service that listens on {asked}", to.name),
            Some(region) => {
                format!("no service behind `{}` has {} and listens on {asked}", to.name, shown(region))
            }
        };
        return miss(from, to, Some(listen), reason, None);
    }
    let best = judge
        .policy
        .grants
        .values()
        .flat_map(|grant| services.iter().filter(|s| grant.to.contains(&s.name)).map(move |s| (grant, *s)))
        .map(|(grant, service)| (failure(grant, service, from, asked, judge.at), grant))
        .min_by(|(a, x), (b, y)| (a.0, &x.id).cmp(&(b.0, &y.id)));
    match best {
        Some(((_, reason), grant)) => {
            let reason = region.map_or(reason.clone(), |region| format!("{}: {reason}", shown(region)));
            miss(from, to, Some(listen), reason, Some(&grant.id))
        }
        None => {
            let names: Vec<String> = services.iter().map(|service| format!("`{}`", service.name)).collect();
            let reason = format!("no grant names service {}", names.join(" or "));
            miss(from, to, Some(listen), reason, None)
        }
    }
}

fn is_there(service: &Service, region: Option<&IpNet>) -> bool {
    match region {
        None => !service.is_behind(),
        Some(region) => service.addresses.iter().any(|net| net.contains(region)),
    }
}

/// One address without its prefix.
pub(super) fn shown(region: &IpNet) -> String {
    match region.prefix_len() == region.max_prefix_len() {
        true => region.addr().to_string(),
        false => region.to_string(),
    }
}

/// The part of `grant` that fails, and how far it is from a yes: the lower, the nearer.
fn failure(grant: &Grant, service: &Service, from: &Subject, asked: Listen, at: UnixTime) -> (u8, String) {
    let id = &grant.id;
    if !grant.from.iter().any(|selector| selector.matches(from)) {
        let list: Vec<String> = grant.from.iter().map(Selector::to_string).collect();
        let who = format!("node `{}` {}", from.name, wears(from));
        return (
            missing_tags(grant, from),
            format!("grant `{id}` allows it only from {}; {who}", list.join(", ")),
        );
    }
    if let Some(except) = grant.except.iter().find(|selector| selector.matches(from)) {
        return (4, format!("`{}` is excepted by {except} in grant `{id}`", from.name));
    }
    if !grant.may_open(service, &asked) && asked.protocol != Protocol::IcmpEcho {
        return (
            5,
            format!("grant `{id}` is from all-nodes to a service on all-nodes: only icmp/echo passes"),
        );
    }
    if let Some(until) = grant.until.filter(|until| *until <= at) {
        return (0, format!("grant `{id}` ended at {until}"));
    }
    match grant.mode {
        GrantMode::Audit => (1, format!("grant `{id}` is in mode `audit`: it records and allows nothing")),
        GrantMode::Off => (2, format!("grant `{id}` is in mode `off`")),
        // Not reached for a refused port; a safe sentence all the same.
        GrantMode::Enforce => (3, format!("grant `{id}` covers only a part of what was asked")),
    }
}

/// The fewest tags that one selector of `from` still asks for, after the nearer kinds of failure.
fn missing_tags(grant: &Grant, from: &Subject) -> u8 {
    let lacking = |selector: &Selector| match selector {
        Selector::Tags(tags) => u8::try_from(tags.difference(&from.tags).count()).unwrap_or(u8::MAX),
        Selector::Node(_) | Selector::AllNodes => 50,
    };
    let idle = if grant.mode == GrantMode::Enforce { 10 } else { 100 };
    grant.from.iter().map(lacking).min().unwrap_or(u8::MAX).saturating_add(idle)
}

fn wears(subject: &Subject) -> String {
    let tags: Vec<&str> = subject.tags.iter().map(Name::as_str).collect();
    if tags.is_empty() { "wears no tag".to_owned() } else { format!("wears {}", tags.join(", ")) }
}
