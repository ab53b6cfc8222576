//! Names of services behind gateways: made once for each publication, as `zone` is.
//!
//! A prefix of one host is an address that can be told; a wider one is a network in which nobody knows which host was meant. A
//! gateway may know of what it leads to itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hashbrown::HashMap;
use ipnet::IpNet;
use warren_config::compile::Program;
use warren_config::name::Name;
use warren_config::policy::Service;
use warren_config::time::UnixTime;

use super::zone::{End, lives};
use crate::assembly::Assembly;

#[derive(Clone, Debug, Default)]
pub struct Behind {
    /// By service: what may be reached of it, in order.
    services: HashMap<String, BTreeMap<IpNet, End>>,
    names: HashMap<IpAddr, BTreeMap<Name, End>>,
}

impl Behind {
    pub fn new(assembly: &Assembly, program: &Program) -> Behind {
        let mut behind = Behind::default();
        for service in program.offered_by(&assembly.me.subject).into_iter().filter(|s| s.is_behind()) {
            service.addresses.iter().for_each(|net| behind.add(&service.name, *net, None));
        }
        let all: BTreeMap<&Name, &Service> = program.services().map(|s| (&s.name, s)).collect();
        for (net, rules) in assembly.peers.values().flat_map(|peer| peer.beyond.iter()) {
            for (name, end) in rules.service_ends() {
                // What is open here may come from a wider prefix.
                if all.get(name).is_some_and(|service| service.addresses.contains(net)) {
                    behind.add(name, *net, end);
                }
            }
        }
        behind
    }

    /// By several gateways: as long as by any of them.
    fn add(&mut self, service: &Name, net: IpNet, end: End) {
        let longest = |known: &mut End| *known = known.zip(end).map(|(a, b)| a.max(b));
        let nets = self.services.entry(service.to_string()).or_default();
        nets.entry(net).and_modify(longest).or_insert(end);
        if let Some(host) = single(&net) {
            let names = self.names.entry(host).or_default();
            names.entry(service.clone()).and_modify(longest).or_insert(end);
        }
    }

    /// Moments at which something stops.
    pub fn ends(&self) -> BTreeSet<UnixTime> {
        self.services.values().flat_map(BTreeMap::values).copied().flatten().collect()
    }

    /// The hosts of a service that may be reached at `now`, in order; none where it has only prefixes. `None` where there is
    /// nothing to reach.
    pub fn hosts(&self, service: &str, now: UnixTime) -> Option<Vec<IpAddr>> {
        let nets = self.services.get(service)?;
        let living: Vec<&IpNet> = nets.iter().filter(|(_, end)| lives(**end, now)).map(|(n, _)| n).collect();
        (!living.is_empty()).then(|| living.into_iter().filter_map(single).collect())
    }

    pub fn has_hosts(&self, service: &str, now: UnixTime) -> bool {
        self.hosts(service, now).is_some_and(|hosts| !hosts.is_empty())
    }

    /// Services that this address is a host of, in order.
    pub fn names(&self, host: IpAddr, now: UnixTime) -> impl Iterator<Item = &Name> {
        let names = self.names.get(&host).into_iter().flatten();
        names.filter(move |(_, end)| lives(**end, now)).map(|(name, _)| name)
    }
}

/// The address of a prefix that is one host.
fn single(net: &IpNet) -> Option<IpAddr> {
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{NOW, UNTIL, member, names_in};
    use super::super::{Answer, Data, Names, Order, Type};
    use super::*;

    const POLICY: &str = r#"
version = 1
[group.ops]
members = ["a@example.com"]
[tag.web]
owners = ["group:ops"]
[tag.guest]
owners = ["group:ops"]
[tag.gw]
owners = ["group:ops"]
[service.office]
via = ["tag:gw"]
addresses = ["192.168.10.0/24", "fd12::/64"]
listen = ["tcp/443", "udp/161"]
[service.printer]
via = ["tag:gw"]
addresses = ["192.168.10.9", "192.168.10.5", "fd12::5"]
listen = ["tcp/443", "tcp/631", "tcp/9000-9010", "udp/161"]
[service.scanner]
via = ["tag:gw"]
addresses = ["192.168.10.5"]
listen = ["tcp/80"]
[service.mixed]
via = ["tag:gw"]
addresses = ["10.8.0.0/24", "10.9.0.1"]
listen = ["icmp/echo"]
[[grant]]
id = "web-uses-office"
from = ["tag:web"]
to = ["service:office", "service:mixed"]
[[grant]]
id = "web-prints"
from = ["tag:web"]
to = ["service:printer"]
until = 2026-01-01T00:00:00Z
[dns]
zone = "prod.internal"
"#;

    /// What web-1, guest-1 or gw-1 knows; there are two gateways.
    fn names_of(me: usize) -> Names {
        let all = [(1, "web-1", "web"), (2, "guest-1", "guest"), (3, "gw-1", "gw"), (4, "gw-2", "gw")];
        let all: Vec<Arc<_>> = all.into_iter().map(|(n, name, tag)| member(n, name, tag)).collect();
        names_in(POLICY, &all, me)
    }

    fn ask(names: &Names, name: &str, kind: Type) -> Answer {
        names.answer(name, kind, NOW, Order::turn(0))
    }

    fn a(addresses: &[&str]) -> Answer {
        let one = |text: &&str| match text.parse().unwrap() {
            IpAddr::V4(v4) => Data::A(v4),
            IpAddr::V6(v6) => Data::Aaaa(v6),
        };
        Answer::Records(addresses.iter().map(one).collect())
    }

    #[test]
    fn a_service_of_single_hosts_has_their_addresses_in_turn() {
        let web = names_of(0);
        assert_eq!(ask(&web, "Printer.prod.internal.", Type::A), a(&["192.168.10.5", "192.168.10.9"]));
        let turned = web.answer("printer.prod.internal", Type::A, NOW, Order::turn(1));
        assert_eq!(turned, a(&["192.168.10.9", "192.168.10.5"]));
        assert_eq!(ask(&web, "printer.prod.internal", Type::Aaaa), a(&["fd12::5"]));
        assert_eq!(ask(&web, "mixed.prod.internal", Type::A), a(&["10.9.0.1"]), "of a network there is none");
        assert_eq!(ask(&web, "mixed.prod.internal", Type::Aaaa), Answer::NoData);
    }

    #[test]
    fn a_service_of_prefixes_exists_and_has_no_address() {
        let web = names_of(0);
        for kind in [Type::A, Type::Aaaa, Type::Https, Type::Svcb, Type::Srv] {
            assert_eq!(ask(&web, "office.prod.internal", kind), Answer::NoData, "{kind:?}");
        }
        assert_eq!(ask(&web, "_office._tcp.prod.internal", Type::Srv), Answer::NxDomain);
    }

    #[test]
    fn who_may_not_reach_a_service_behind_a_gateway_is_told_that_it_does_not_exist() {
        let (web, guest) = (names_of(0), names_of(1));
        let nowhere = ask(&guest, "nothing-like-it.prod.internal", Type::A);
        for name in ["printer", "office", "scanner", "mixed", "_printer._tcp", "_tcp", "_udp"] {
            let name = format!("{name}.prod.internal");
            for kind in [Type::A, Type::Aaaa, Type::Srv, Type::Https] {
                assert_eq!(ask(&guest, &name, kind), nowhere, "{name}");
            }
        }
        // One host in two services: a grant to one of them says nothing of the other.
        assert_eq!(ask(&web, "scanner.prod.internal", Type::A), nowhere);
        // What is elsewhere is asked elsewhere, as if there were no printer.
        assert_eq!(ask(&guest, "5.10.168.192.in-addr.arpa", Type::Ptr), Answer::NotOurs);
    }

    #[test]
    fn its_names_end_with_the_grant() {
        let web = names_of(0);
        assert_eq!(web.ttl(NOW), 1, "no answer is kept beyond it");
        let then = |name: &str, kind| web.answer(name, kind, UNTIL, Order::turn(0));
        assert_eq!(then("printer.prod.internal", Type::A), Answer::NxDomain);
        assert_eq!(then("_printer._tcp.prod.internal", Type::Srv), Answer::NxDomain);
        assert_eq!(then("_tcp.prod.internal", Type::Srv), Answer::NxDomain);
        assert_eq!(then("5.10.168.192.in-addr.arpa", Type::Ptr), Answer::NotOurs);
        assert_eq!(then("mixed.prod.internal", Type::A), a(&["10.9.0.1"]), "the other grant has no end");
    }

    #[test]
    fn ports_lead_to_the_name_that_has_the_addresses() {
        let web = names_of(0);
        let srv = |port| Data::Srv { priority: 0, port, target: "printer.prod.internal".into() };
        assert_eq!(
            ask(&web, "_printer._tcp.prod.internal", Type::Srv),
            Answer::Records(vec![srv(443), srv(631)])
        );
        assert_eq!(ask(&web, "_printer._udp.prod.internal", Type::Srv), Answer::Records(vec![srv(161)]));
        assert_eq!(ask(&web, "_udp.prod.internal", Type::Srv), Answer::NoData, "it exists, empty");
        let bound = |https, port| Data::Svcb {
            https,
            priority: 1,
            port,
            target: "printer.prod.internal".into(),
            v4: None,
            v6: None,
        };
        assert_eq!(ask(&web, "printer.prod.internal", Type::Https), Answer::Records(vec![bound(true, None)]));
        let both = vec![bound(false, Some(443)), bound(false, Some(631))];
        assert_eq!(ask(&web, "printer.prod.internal", Type::Svcb), Answer::Records(both));
    }

    #[test]
    fn a_host_has_the_names_of_the_services_it_is_in() {
        let (web, gateway) = (names_of(0), names_of(2));
        let ptr = |names: &[&str]| {
            Answer::Records(names.iter().map(|n| Data::Ptr(format!("{n}.prod.internal"))).collect())
        };
        assert_eq!(ask(&web, "5.10.168.192.in-addr.arpa", Type::Ptr), ptr(&["printer"]));
        assert_eq!(ask(&web, "5.10.168.192.in-addr.arpa", Type::A), Answer::NoData);
        assert_eq!(ask(&web, "5.10.168.192.in-addr.arpa", Type::Whole), Answer::Refused);
        let nibbles = format!("5.{}2.1.d.f.ip6.arpa", "0.".repeat(27));
        assert_eq!(ask(&web, &nibbles, Type::Ptr), ptr(&["printer"]));
        for other in ["7.10.168.192.in-addr.arpa", "10.168.192.in-addr.arpa", "8.8.8.8.in-addr.arpa"] {
            assert_eq!(ask(&web, other, Type::Ptr), Answer::NotOurs, "{other}");
        }
        // A gateway is itself on the network, and may know.
        assert_eq!(ask(&gateway, "5.10.168.192.in-addr.arpa", Type::Ptr), ptr(&["printer", "scanner"]));
        assert_eq!(ask(&gateway, "scanner.prod.internal", Type::A), a(&["192.168.10.5"]));
    }
}
