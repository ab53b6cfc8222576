//! Services behind gateways: the fast answers against the slow judge, and the laws in single sentences.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

mod generate;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use warren_config::compile::{Cast, Program};
use warren_config::item::{Item, ItemTree, verify};
use warren_config::oracle;
use warren_config::policy::*;
use warren_config::question::{Question, can, diff, explain_behind, parse_selector, parse_target};
use warren_config::resolve::{Source, resolve};
use warren_config::subnet::meet;
use warren_config::time::UnixTime;

const AT: UnixTime = UnixTime(9);

/// Every address that is worth trying: at and beside each boundary of the policy.
fn addresses(policy: &Policy) -> BTreeSet<IpAddr> {
    let all = |service: &Service| oracle::ever::addresses(policy, service);
    let mut found: BTreeSet<IpAddr> = policy.services.values().flat_map(all).collect();
    found.extend(
        ["10.0.1.0", "9.255.255.255", "100.64.0.1", "fd00:2::1", "::1"].map(|a| a.parse::<IpAddr>().unwrap()),
    );
    found
}

fn packets(policy: &Policy) -> BTreeSet<(Protocol, u16)> {
    let mut probes = oracle::ever::probes(policy, None);
    probes.insert((Protocol::Tcp, 9));
    probes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_passes_behind_a_gateway_is_what_the_specification_says(
        policy in generate::subnet_policy(), from in generate::subject(), gateway in generate::subject(),
    ) {
        let behind = Program::of_policy(&policy).behind(&from, &gateway);
        for address in addresses(&policy) {
            prop_assert_eq!(
                behind.rules(address).is_some_and(|rules| rules.joins_at(AT)),
                oracle::has_route(&policy, &from, (&gateway, address), AT)
            );
            for (protocol, port) in packets(&policy) {
                let passes = behind.rules(address).is_some_and(|r| r.judge(protocol, port, AT).passes());
                let says = oracle::allows_behind(&policy, &from, (&gateway, address), protocol, port, AT);
                prop_assert_eq!(passes, says, "{} {} {}", address, protocol, port);
                let listen = Listen { protocol, first: port, last: port };
                prop_assert_eq!(explain_behind(&policy, &from, (&gateway, address), listen, AT).is_ok(), says);
            }
        }
    }

    /// A gateway reaches what is behind it without another.
    #[test]
    fn a_gateway_needs_no_gateway_to_what_it_leads_to_itself(
        policy in generate::subnet_policy(), from in generate::subject(), gateway in generate::subject(),
    ) {
        let program = Program::of_policy(&policy);
        let (beyond, behind) = (program.beyond(&from, &gateway), program.behind(&from, &gateway));
        for address in addresses(&policy) {
            let itself = oracle::leads_there_itself(&policy, &from, address);
            let needed = oracle::has_route(&policy, &from, (&gateway, address), AT) && !itself;
            prop_assert_eq!(beyond.rules(address).is_some_and(|rules| rules.joins_at(AT)), needed);
            prop_assert!(itself || beyond.rules(address) == behind.rules(address));
        }
    }

    /// `observe` opens nothing to whom nothing is granted: he has no route.
    #[test]
    fn no_route_without_a_grant_in_any_mode(
        mut policy in generate::subnet_policy(), from in generate::subject(), gateway in generate::subject(),
    ) {
        policy.settings.mode = Mode::Observe;
        let behind = Program::of_policy(&policy).behind(&from, &gateway);
        for address in addresses(&policy) {
            let granted = oracle::has_route(&policy, &from, (&gateway, address), UnixTime(0));
            prop_assert_eq!(behind.has(address), granted);
        }
    }

    #[test]
    fn the_items_of_two_nodes_are_all_they_need(
        policy in generate::subnet_policy(), a in generate::subject(), b in generate::subject(),
    ) {
        let whole = Program::of_policy(&policy);
        let tree = ItemTree::new(&policy);
        for end in [&a, &b] {
            let told = tree.items().iter().map(|(item, _)| item).filter(|item| whole.concerns(item, end));
            let part = Program::of_items(told);
            prop_assert_eq!(part.behind(&a, &b), whole.behind(&a, &b));
            prop_assert_eq!(part.behind(&b, &a), whole.behind(&b, &a));
        }
        let mut cast = Cast::new(std::sync::Arc::new(whole.clone()));
        let (first, second) = (cast.add(&a), cast.add(&b));
        let joins = !whole.beyond(&a, &b).is_empty() || !whole.beyond(&b, &a).is_empty();
        prop_assert!(!joins || cast.joined_with(first).contains(&second));
    }

    #[test]
    fn a_withheld_item_only_ever_takes_routes_away(
        policy in generate::subnet_policy(), a in generate::subject(), b in generate::subject(), keep in any::<u32>(),
    ) {
        let tree = ItemTree::new(&policy);
        let kept = tree.items().iter().enumerate().filter(|(i, _)| keep >> (i % 32) & 1 == 1);
        let part = Program::of_items(kept.map(|(_, (item, _))| item)).behind(&a, &b);
        let whole = Program::of_policy(&policy).behind(&a, &b);
        for address in addresses(&policy) {
            for (protocol, port) in packets(&policy) {
                let passes = |b: &warren_config::subnet::Behind| {
                    b.rules(address).is_some_and(|r| r.judge(protocol, port, AT).passes())
                };
                prop_assert!(!passes(&part) || passes(&whole));
            }
        }
    }

    #[test]
    fn every_item_reads_back_and_is_proven(policy in generate::subnet_policy()) {
        let tree = ItemTree::new(&policy);
        for (i, (item, bytes)) in tree.items().iter().enumerate() {
            let read = verify(tree.root(), tree.len(), bytes, &tree.prove(i as u64));
            prop_assert_eq!(read.as_ref(), Ok(item));
        }
    }

    #[test]
    fn can_says_yes_exactly_where_every_address_and_port_passes(
        policy in generate::subnet_policy(), from in generate::subject(), gateway in generate::subject(),
    ) {
        prop_assume!(from.name != gateway.name);
        for service in policy.services.values().filter(|s| s.is_behind() && s.offered_by(&gateway)) {
            let question = Question {
                from: Selector::Node(from.name.clone()), to: Target::Service(service.name.clone()), at: AT,
            };
            let answer = can(&policy, &[from.clone(), gateway.clone()], &question);
            let all = oracle::ever::addresses(&policy, service).into_iter().all(|address| {
                service.listen.iter().all(|l| oracle::ever::probes(&policy, Some(*l)).into_iter().all(|(protocol, port)| {
                    oracle::allows_behind(&policy, &from, (&gateway, address), protocol, port, AT)
                }))
            });
            // Two gateways of one service are asked both; here there is one, or `from` is another.
            if !service.offered_by(&from) {
                prop_assert_eq!(answer.unwrap().yes, all);
            }
        }
    }

    #[test]
    fn a_diff_names_what_is_gained_and_lost_behind_gateways(
        old in generate::subnet_policy(), new in generate::subnet_policy(), from in generate::subject(),
        gateway in generate::subject(),
    ) {
        prop_assume!(from.name != gateway.name);
        let nodes = [from.clone(), gateway.clone()];
        let change = diff(&old, &new, &nodes, AT);
        let labels = warren_config::question::Kinds::between(&old, &new);
        let row_is = |row: &warren_config::question::Tuple, address: IpAddr| {
            let Some((place, node)) = row.to.split_once(" behind ") else { return false };
            let place: IpNet = place.parse().unwrap_or_else(|_| place.parse::<IpAddr>().unwrap().into());
            place.contains(&address) && node == labels.label(&gateway) && row.from == labels.label(&from)
        };
        let all = addresses(&old).into_iter().chain(addresses(&new)).collect::<BTreeSet<_>>();
        for address in all {
            for (protocol, port) in packets(&old).into_iter().chain(packets(&new)) {
                let says = |policy| oracle::allows_behind(policy, &from, (&gateway, address), protocol, port, AT);
                let packet = Listen { protocol, first: port, last: port };
                let named = |rows: &[warren_config::question::Tuple]| rows.iter().any(|r| row_is(r, address) && r.listen.covers(&packet));
                prop_assert!(named(&change.gained) || says(&old) || !says(&new), "{} {}", address, packet);
                prop_assert!(named(&change.lost) || !says(&old) || says(&new), "{} {}", address, packet);
            }
        }
        prop_assert!(diff(&new, &new, &nodes, AT) == Default::default());
    }
}

fn policy(text: &str) -> Policy {
    let head = "version = 1\n[group.ops]\nmembers = [\"a@b\"]\n[tag.web]\nowners = [\"group:ops\"]\n[tag.gateway]\nowners = [\"group:ops\"]\nnot-with = [\"tag:web\"]\n";
    resolve(&[Source { file: "p.toml".to_owned(), text: format!("{head}{text}") }])
        .unwrap_or_else(|faults| panic!("{:?}", faults.findings))
        .policy
}

const LAN: &str = "[service.lan]\nvia = [\"tag:gateway\"]\naddresses = [\"192.168.10.0/24\"]\nlisten = [\"tcp/80\"]\n\
    [service.nas]\nvia = [\"tag:gateway\"]\naddresses = [\"192.168.10.5\"]\nlisten = [\"tcp/80\", \"tcp/445\"]\n";

fn yes(policy: &Policy, from: &str, to: &str) -> bool {
    let question =
        Question { from: parse_selector(from).unwrap(), to: parse_target(to, None).unwrap(), at: AT };
    can(policy, &[], &question).unwrap().yes
}

#[test]
fn a_grant_to_a_subnet_opens_nothing_at_the_gateway_itself() {
    let policy = policy(&format!("{LAN}[[grant]]\nid = \"g\"\nfrom = [\"tag:web\"]\nto = [\"service:lan\"]"));
    assert!(yes(&policy, "tag:web", "service:lan"));
    assert!(!yes(&policy, "tag:web", "tag:gateway tcp/80"));
    let program = Program::of_policy(&policy);
    let node =
        |name: &str, tag: &str| Subject { name: name.parse().unwrap(), tags: [tag.parse().unwrap()].into() };
    assert!(!program.rules(&node("w", "web"), &node("g", "gateway")).joins());
    assert!(!program.behind(&node("w", "web"), &node("g", "gateway")).is_empty());
}

#[test]
fn a_wider_service_opens_its_ports_at_a_host_inside_and_no_others() {
    let text = format!("{LAN}[[grant]]\nid = \"g\"\nfrom = [\"tag:web\"]\nto = [\"service:lan\"]");
    let policy = policy(&text);
    // The printer's host is in the subnet: port 80 is open there, 445 is not.
    assert!(!yes(&policy, "tag:web", "service:nas"));
    let miss = explain_behind(
        &policy,
        &Subject { name: "w".parse().unwrap(), tags: ["web".parse().unwrap()].into() },
        (
            &Subject { name: "g".parse().unwrap(), tags: ["gateway".parse().unwrap()].into() },
            "192.168.10.5".parse().unwrap(),
        ),
        Listen { protocol: Protocol::Tcp, first: 445, last: 445 },
        AT,
    );
    assert_eq!(miss.unwrap_err().reason, "no grant names service `nas`");
}

#[test]
fn whoever_may_enter_a_gateway_reaches_what_is_behind_it() {
    let ssh = "[service.ssh]\non = [\"tag:gateway\"]\nlisten = [\"tcp/22\"]\n[[grant]]\nid = \"g\"\nfrom = [\"tag:web\"]\nto = [\"service:ssh\"]\n";
    let law = |via: &str| {
        format!(
            "[[invariant]]\nid = \"i\"\nnever = {{ from = [\"tag:web\"], to = [\"service:lan\"]{via} }}\n"
        )
    };
    let proved = |via: &str| {
        let policy = policy(&format!("{LAN}{ssh}{}", law(via)));
        warren_config::proof::prove(&policy, &BTreeSet::new(), AT).remove(0)
    };
    assert!(proved("").holds());
    assert!(!proved(", via = \"any\"").holds());
}

#[test]
fn a_broken_law_names_the_addresses() {
    let text = format!(
        "{LAN}[[grant]]\nid = \"g\"\nfrom = [\"tag:web\"]\nto = [\"service:lan\"]\n\
        [[invariant]]\nid = \"i\"\nnever = {{ from = [\"tag:web\"], to = [\"service:nas\"] }}\n"
    );
    let proof = warren_config::proof::prove(&policy(&text), &BTreeSet::new(), AT).remove(0);
    assert!(!proof.holds());
    assert!(proof.message.ends_with("for 192.168.10.5/32 behind it"), "{}", proof.message);
}

#[test]
fn an_item_with_addresses_that_no_resolver_lets_through_is_refused() {
    let item = |on: &str, net: &str| {
        format!(
            r#"{{"service":{{"name":"a","on":[{on}],"listen":[{{"protocol":"tcp","first":1,"last":2}}],"addresses":["{net}"]}}}}"#
        )
    };
    let tag = r#"{"tags":["gw"]}"#;
    assert!(Item::decode(item(tag, "192.168.10.0/24").as_bytes()).is_ok());
    for net in
        ["192.168.10.1/24", "0.0.0.0/0", "::/0", "127.0.0.1/32", "fe80::/64", "128.0.0.0/4", "192.168.10.0"]
    {
        assert!(Item::decode(item(tag, net).as_bytes()).is_err(), "{net}");
    }
    assert!(Item::decode(item(r#""all-nodes""#, "192.168.10.0/24").as_bytes()).is_err());
    let empty = item(tag, "x").replace("[\"x\"]", "[]");
    assert!(Item::decode(empty.as_bytes()).is_err(), "an empty list is another spelling of none");
}

#[test]
fn ranges_meet_only_where_one_contains_the_other() {
    let net = |text: &str| text.parse::<IpNet>().unwrap();
    assert!(meet(&net("10.0.0.0/8"), &net("10.1.0.0/16")) && meet(&net("10.1.0.0/16"), &net("10.0.0.0/8")));
    assert!(!meet(&net("10.0.0.0/24"), &net("10.0.1.0/24")) && !meet(&net("::/0"), &net("10.0.0.0/8")));
}
