//! Packets near something that a policy says, on both sides of every boundary.

use std::collections::BTreeSet;

use proptest::prelude::*;
use warren_config::policy::*;
use warren_config::time::UnixTime;

use super::name;

/// The first packet of a flow.
#[derive(Clone, Debug)]
pub struct Packet {
    pub from: Subject,
    pub to: Subject,
    pub protocol: Protocol,
    pub port: u16,
    pub at: UnixTime,
}

/// Numbers that choose a packet near something the policy says.
#[derive(Clone, Copy, Debug)]
pub struct Dice {
    grant: prop::sample::Index,
    from: prop::sample::Index,
    service: prop::sample::Index,
    on: prop::sample::Index,
    listen: prop::sample::Index,
    edge: u8,
    time: u8,
    names: (u8, u8),
    extra: (u8, u8),
}

pub fn dice() -> impl Strategy<Value = Dice> {
    let index = any::<prop::sample::Index>;
    let numbers = (0..10u8, 0..8u8, (0..4u8, 0..4u8), (0..8u8, 0..8u8));
    ((index(), index(), index(), index(), index()), numbers).prop_map(|(i, n)| Dice {
        grant: i.0,
        from: i.1,
        service: i.2,
        on: i.3,
        listen: i.4,
        edge: n.0,
        time: n.1,
        names: n.2,
        extra: n.3,
    })
}

/// A node that a selector names, wearing sometimes one tag more, or one too few.
fn wearer(selector: &Selector, number: u8, extra: u8) -> Subject {
    let lacks = extra >= 6;
    let extra = if extra < super::TAGS { BTreeSet::from([name("t", extra)]) } else { BTreeSet::new() };
    match selector {
        Selector::AllNodes => Subject { name: name("n", number), tags: extra },
        Selector::Node(name) => Subject { name: name.clone(), tags: extra },
        Selector::Tags(tags) => {
            let worn = tags.iter().take(tags.len() - usize::from(lacks)).chain(&extra).cloned().collect();
            Subject { name: name("n", number), tags: worn }
        }
    }
}

pub fn packet(policy: &Policy, dice: &Dice) -> Option<Packet> {
    let grants: Vec<&Grant> = policy.grants.values().collect();
    let grant = (!grants.is_empty()).then(|| *dice.grant.get(&grants))?;
    let from: Vec<&Selector> = grant.from.iter().collect();
    let to: Vec<&Service> = grant.to.iter().filter_map(|name| policy.services.get(name)).collect();
    let service = dice.service.get(&to);
    let on: Vec<&Selector> = service.on.iter().collect();
    let listens: Vec<&Listen> = service.listen.iter().collect();
    let listen = dice.listen.get(&listens);
    let port = match dice.edge {
        0 => listen.first.saturating_sub(1),
        1 => listen.last.saturating_add(1),
        2..=5 => listen.last,
        _ => listen.first,
    };
    let at = match (dice.time, grant.until) {
        (0 | 3, Some(until)) => until,
        (1, Some(until)) => UnixTime(until.0 - 1),
        (2, _) => UnixTime(20),
        _ => UnixTime(4),
    };
    let from = wearer(dice.from.get::<&Selector>(&from), dice.names.0, dice.extra.0);
    let to = wearer(dice.on.get::<&Selector>(&on), dice.names.1, dice.extra.1);
    (from.name != to.name).then_some(Packet { from, to, protocol: listen.protocol, port, at })
}
