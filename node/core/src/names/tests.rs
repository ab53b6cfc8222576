use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use warren_config::compile::Program;
use warren_config::policy::Subject;
use warren_config::resolve::{Source, resolve};
use warren_wire::id::{IdentityKey, NetworkId, NodeId};
use warren_wire::trust::{Member, Network};

use super::query::{Query, Unanswerable};
use super::reply::{Body, Carrier, Extended, Reply};
use super::*;
use crate::assembly::PeerSpec;
use crate::names::standing::{Standing, Standings};

const POLICY: &str = r#"
version = 1
[group.ops]
members = ["a@example.com"]
[tag.web]
owners = ["group:ops"]
[tag.orders]
owners = ["group:ops"]
[service.orders]
on = ["tag:orders"]
listen = ["tcp/8443"]
[service.secret]
on = ["tag:orders"]
listen = ["tcp/1", "tcp/443"]
[service.shop]
on = ["tag:orders"]
listen = ["tcp/443", "tcp/9000-9010", "udp/53"]
[service.site]
on = ["tag:web"]
listen = ["tcp/80"]
[[grant]]
id = "web-reads-orders"
from = ["tag:web"]
to = ["service:orders", "service:shop"]
until = 2026-01-01T00:00:00Z
[dns]
zone = "prod.internal"
upstream = ["tls://9.9.9.9:853#dns.quad9.net"]
"#;

pub(super) const UNTIL: UnixTime = UnixTime(1_767_225_600);
pub(super) const NOW: UnixTime = UnixTime(1_767_225_599);

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(super) fn member(n: u8, text: &str, tag: &str) -> Arc<Member> {
    let v6 = format!("fd00:1:2::{n:x}").parse().unwrap();
    Arc::new(Member {
        id: NodeId([n; 16]),
        identity: Some(IdentityKey([n; 32])),
        subject: Subject { name: name(text), tags: BTreeSet::from([name(tag)]) },
        v4: Some(Ipv4Addr::new(100, 64, 0, n)),
        v6,
        lanes: Vec::new(),
        key_serial: 1,
        amendment_serial: 0,
        enrolled: UnixTime(0),
    })
}

/// What web-1 knows, or what orders-1 knows: both are joined by one grant, in one direction.
pub(super) fn names_of(me: usize) -> Names {
    let all = [member(1, "web-1", "web"), member(2, "orders-1", "orders"), member(3, "orders-2", "orders")];
    names_in(POLICY, &all, me)
}

/// What one of these members knows under a policy.
pub(super) fn names_in(text: &str, all: &[Arc<Member>], me: usize) -> Names {
    let policy =
        resolve(&[Source { file: "p".into(), text: text.into() }]).unwrap_or_else(|f| panic!("{f:?}")).policy;
    let program = Program::of_policy(&policy);
    let spec = |peer: &Arc<Member>| PeerSpec {
        seat: None,
        member: peer.clone(),
        outbound: program.rules(&all[me].subject, &peer.subject).into(),
        inbound: program.rules(&peer.subject, &all[me].subject).into(),
        beyond: program.beyond(&all[me].subject, &peer.subject).into(),
        hosts: program.beyond(&peer.subject, &all[me].subject).into(),
        candidates: Vec::new(),
        my_key: None,
    };
    let peers: BTreeMap<NodeId, PeerSpec> = all
        .iter()
        .map(|m| (m.id, spec(m)))
        .filter(|(id, s)| {
            let behind = !s.beyond.is_empty() || !s.hosts.is_empty();
            *id != all[me].id && (s.outbound.joins() || s.inbound.joins() || behind)
        })
        .collect();
    let network = Network {
        id: NetworkId([9; 16]),
        name: "test".into(),
        v4_range: "100.64.0.0/10".parse().unwrap(),
        v6_prefix: "fd00:1:2::/48".parse().unwrap(),
        coordinators: Vec::new(),
        serial: 1,
    };
    let assembly = Assembly {
        network: Arc::new(network),
        me: all[me].clone(),
        epoch: 1,
        revision: 7,
        generation: 1,
        peers,
        audited: Default::default(),
    };
    Names::new(Arc::new(assembly), &program)
}

const KINDS: [Type; 10] = [
    Type::A,
    Type::Aaaa,
    Type::Ptr,
    Type::Soa,
    Type::Ns,
    Type::Srv,
    Type::Svcb,
    Type::Https,
    Type::Whole,
    Type::Other,
];

fn v4(last: u8) -> Data {
    Data::A(Ipv4Addr::new(100, 64, 0, last))
}

#[test]
fn a_service_is_all_its_reachable_offerers_in_turn() {
    let web = names_of(0);
    assert_eq!(
        web.answer("orders.prod.internal", Type::A, NOW, Order::turn(0)),
        Answer::Records(vec![v4(2), v4(3)])
    );
    assert_eq!(
        web.answer("ORDERS.Prod.Internal.", Type::A, NOW, Order::turn(1)),
        Answer::Records(vec![v4(3), v4(2)])
    );
    let Answer::Records(v6) = web.answer("orders.prod.internal", Type::Aaaa, NOW, Order::turn(4)) else {
        panic!()
    };
    assert_eq!(v6.len(), 2);
    assert_eq!(web.answer("orders.prod.internal", Type::Other, NOW, Order::turn(0)), Answer::NoData);
}

#[test]
fn a_node_and_its_own_services_answer_for_themselves() {
    let web = names_of(0);
    assert_eq!(web.answer("web-1.prod.internal", Type::A, NOW, Order::turn(0)), Answer::Records(vec![v4(1)]));
    assert_eq!(web.answer("site.prod.internal", Type::A, NOW, Order::turn(0)), Answer::Records(vec![v4(1)]));
    assert_eq!(
        web.answer("orders-2.prod.internal", Type::A, NOW, Order::turn(9)),
        Answer::Records(vec![v4(3)])
    );
}

/// DN-15: not allowed and not there are one answer, for every type and both directions of the map.
#[test]
fn a_name_that_may_not_be_reached_does_not_exist() {
    let (web, orders) = (names_of(0), names_of(1));
    for kind in KINDS {
        let absent = web.answer("no-such-thing.prod.internal", kind, NOW, Order::turn(0));
        assert_eq!(
            web.answer("secret.prod.internal", kind, NOW, Order::turn(0)),
            absent,
            "service of a visible node"
        );
        // orders-1 has web-1 as a peer, but may open nothing there.
        assert_eq!(orders.answer("web-1.prod.internal", kind, NOW, Order::turn(0)), absent);
        assert_eq!(orders.answer("orders-2.prod.internal", kind, NOW, Order::turn(0)), absent);
        let absent = orders.answer("99.0.64.100.in-addr.arpa", kind, NOW, Order::turn(0));
        assert_eq!(orders.answer("1.0.64.100.in-addr.arpa", kind, NOW, Order::turn(0)), absent);
    }
}

#[test]
fn a_name_ends_with_its_grant() {
    let web = names_of(0);
    assert!(matches!(web.answer("orders.prod.internal", Type::A, NOW, Order::turn(0)), Answer::Records(_)));
    assert_eq!(web.answer("orders.prod.internal", Type::A, UNTIL, Order::turn(0)), Answer::NxDomain);
    assert_eq!(web.answer("orders-1.prod.internal", Type::A, UNTIL, Order::turn(0)), Answer::NxDomain);
    assert_eq!(web.answer("2.0.64.100.in-addr.arpa", Type::Ptr, UNTIL, Order::turn(0)), Answer::NxDomain);
}

#[test]
fn no_answer_is_kept_beyond_the_end_of_a_grant() {
    let web = names_of(0);
    let at = |before: u64| UnixTime(UNTIL.0 - before);
    assert_eq!([at(100), at(5), at(3), at(1)].map(|now| web.ttl(now)), [5, 5, 3, 1]);
    assert_eq!(web.ttl(UNTIL), 5, "nothing else ends");
    let kept = |now: UnixTime| {
        let query = Query::read(&wire("orders.prod.internal.", 1, None)).unwrap();
        let Answer::Records(records) = web.answer_lower(&query.name, Type::A, now, Order::turn(0)) else {
            panic!("there is an answer at {now:?}")
        };
        let body = Body::Records(&records);
        let ttl = web.ttl(now);
        let reply =
            Reply { code: 0, authoritative: true, recursion_available: true, body, ttl, extended: None };
        judge(&reply.write(&query, Carrier::Datagram)).answers[0].ttl
    };
    assert_eq!([kept(at(9)), kept(at(2))], [5, 2]);
}

/// DN-13, DN-14.
#[test]
fn look_alikes_do_not_exist_and_whole_zones_are_not_given_out() {
    let web = names_of(0);
    let odd =
        ["оrders", "xn--rders-uqf", "ord\u{200b}ers", "orders\\.", "a.orders", "_orders", "*", "", "-orders"];
    for label in odd.into_iter().map(str::to_owned).chain([String::from("o").repeat(64)]) {
        let question = format!("{label}.prod.internal");
        assert_eq!(web.answer(&question, Type::A, NOW, Order::turn(0)), Answer::NxDomain, "{question}");
    }
    assert_eq!(web.answer("orders.prod.internal", Type::Whole, NOW, Order::turn(0)), Answer::Refused);
    assert_eq!(web.answer("prod.internal", Type::Whole, NOW, Order::turn(0)), Answer::Refused);
    assert_eq!(web.answer("example.com", Type::Whole, NOW, Order::turn(0)), Answer::Refused);
    for elsewhere in
        ["example.com", "notprod.internal", "internal", "", ".", "arpa", "orders.prod.internal.example"]
    {
        assert_eq!(web.answer(elsewhere, Type::A, NOW, Order::turn(0)), Answer::NotOurs, "{elsewhere}");
    }
}

#[test]
fn reverse_names_are_ours_only_inside_the_ranges() {
    let web = names_of(0);
    let ptr = |q: &str| web.answer(q, Type::Ptr, NOW, Order::turn(0));
    assert_eq!(
        ptr("2.0.64.100.in-addr.arpa"),
        Answer::Records(vec![Data::Ptr("orders-1.prod.internal".into())])
    );
    assert_eq!(
        ptr("1.0.64.100.in-addr.arpa"),
        Answer::Records(vec![Data::Ptr("web-1.prod.internal".into())])
    );
    assert_eq!(ptr("02.0.64.100.in-addr.arpa"), Answer::NxDomain, "a second spelling");
    assert_eq!(ptr("x.2.0.64.100.in-addr.arpa"), Answer::NxDomain);
    assert_eq!(ptr("0.64.100.in-addr.arpa"), Answer::NoData);
    assert_eq!(ptr("100.in-addr.arpa"), Answer::NotOurs);
    assert_eq!(ptr("1.0.128.100.in-addr.arpa"), Answer::NotOurs);
    let v6 = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa";
    assert_eq!(ptr(v6), Answer::Records(vec![Data::Ptr("orders-1.prod.internal".into())]));
    assert_eq!(ptr("2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa"), Answer::NoData);
    assert_eq!(ptr("f.ip6.arpa"), Answer::NotOurs);
}

/// Also where a range begins with zeros: what is above it belongs to others, too.
#[test]
fn a_reverse_zone_above_a_range_is_not_ours() {
    let mut network = names_of(0).network().clone();
    network.v4_range = "10.0.0.0/16".parse().unwrap();
    network.v6_prefix = "fd00::/48".parse().unwrap();
    let elsewhere = |name: &str| matches!(reverse::read(name, &network), reverse::Reverse::Elsewhere(_));
    for (name, ours) in [
        ("10.in-addr.arpa", false),
        ("0.10.in-addr.arpa", true),
        ("1.10.in-addr.arpa", false),
        ("0.0.d.f.ip6.arpa", false),
        ("0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", true),
        ("1.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", false),
    ] {
        assert_eq!(elsewhere(name), !ours, "{name}");
    }
}

#[test]
fn the_zone_says_who_it_is() {
    let web = names_of(0);
    let Answer::Records(soa) = web.answer("prod.internal", Type::Soa, NOW, Order::turn(0)) else { panic!() };
    assert_eq!(
        soa,
        [Data::Soa {
            mname: "web-1.prod.internal".into(),
            rname: "hostmaster.prod.internal".into(),
            serial: 7
        }]
    );
    assert_eq!(web.answer("prod.internal", Type::A, NOW, Order::turn(0)), Answer::NoData);
}

proptest! {
    /// Whatever is asked: no panic, and never a record for anything but the names this node may see.
    #[test]
    fn any_question_is_answered_from_what_may_be_seen(q in ".{0,80}", kind in 0usize..10, turn: u64) {
        let kinds = KINDS;
        let orders = names_of(1);
        for question in [q.clone(), format!("{q}.prod.internal"), format!("{q}.64.100.in-addr.arpa"), format!("{q}.ip6.arpa")] {
            if let Answer::Records(records) = orders.answer(&question, kinds[kind], NOW, Order::turn(turn)) {
                for record in records {
                    let mine = match record {
                        Data::A(a) => a == Ipv4Addr::new(100, 64, 0, 2),
                        Data::Aaaa(a) => a == "fd00:1:2::2".parse::<Ipv6Addr>().unwrap(),
                        Data::Ptr(n) | Data::Ns(n) => n == "orders-1.prod.internal",
                        Data::Soa { .. } => true,
                        Data::Srv { target, .. } | Data::Svcb { target, .. } => target == "orders-1.prod.internal",
                    };
                    prop_assert!(mine);
                }
            }
        }
    }
}

fn srv(port: u16, node: &str) -> Data {
    Data::Srv { priority: 0, port, target: format!("{node}.prod.internal") }
}

#[test]
fn a_service_says_its_ports_and_a_range_is_no_port() {
    let web = names_of(0);
    let ask = |name: &str, kind| web.answer(name, kind, NOW, Order::turn(0));
    let both = Answer::Records(vec![srv(8443, "orders-1"), srv(8443, "orders-2")]);
    assert_eq!(ask("_orders._tcp.prod.internal", Type::Srv), both);
    assert_eq!(ask("_orders._tcp.prod.internal", Type::A), Answer::NoData);
    assert_eq!(ask("_orders._udp.prod.internal", Type::Srv), Answer::NxDomain);
    let udp = Answer::Records(vec![srv(53, "orders-1"), srv(53, "orders-2")]);
    assert_eq!(ask("_shop._udp.prod.internal", Type::Srv), udp);
    let Answer::Records(tcp) = ask("_shop._tcp.prod.internal", Type::Srv) else { panic!() };
    assert!(tcp.iter().all(|d| matches!(d, Data::Srv { port: 443, .. })), "{tcp:?}");
    assert_eq!(ask("_tcp.prod.internal", Type::Srv), Answer::NoData, "it exists, empty");
    assert_eq!(ask("_secret._tcp.prod.internal", Type::Srv), Answer::NxDomain, "no grant");
    assert_eq!(web.answer("_orders._tcp.prod.internal", Type::Srv, UNTIL, Order::turn(0)), Answer::NxDomain);
    assert_eq!(web.answer("_udp.prod.internal", Type::Srv, UNTIL, Order::turn(0)), Answer::NxDomain);
    // orders-1 may open nothing, but offers these itself.
    let mine = names_of(1).answer("_secret._tcp.prod.internal", Type::Srv, NOW, Order::turn(0));
    assert_eq!(mine, Answer::Records(vec![srv(1, "orders-1"), srv(443, "orders-1")]));
}

#[test]
fn bindings_name_the_nodes_and_https_only_port_443() {
    let web = names_of(0);
    let ask = |name: &str, kind| web.answer(name, kind, NOW, Order::turn(1));
    let one = |https, port, node: u8| Data::Svcb {
        https,
        priority: 1,
        port,
        target: format!("orders-{}.prod.internal", node - 1),
        v4: Some(Ipv4Addr::new(100, 64, 0, node)),
        v6: Some(format!("fd00:1:2::{node:x}").parse().unwrap()),
    };
    let svcb = vec![one(false, Some(8443), 3), one(false, Some(8443), 2)];
    assert_eq!(ask("orders.prod.internal", Type::Svcb), Answer::Records(svcb));
    assert_eq!(ask("orders.prod.internal", Type::Https), Answer::NoData, "it is not on 443");
    let https = vec![one(true, None, 3), one(true, None, 2)];
    assert_eq!(ask("shop.prod.internal", Type::Https), Answer::Records(https));
    assert_eq!(ask("orders-1.prod.internal", Type::Svcb), Answer::NoData, "a node has no ports of its own");
}

#[test]
fn those_that_do_not_answer_come_last_far_ones_after_near_ones_and_equals_take_turns() {
    let web = names_of(0);
    let ask = |turn, kind, name: &str, first: Standing, second: Standing| {
        let standings = Standings::from([(NodeId([2; 16]), first), (NodeId([3; 16]), second)]);
        let Answer::Records(found) = web.answer(name, kind, NOW, Order { turn, standings: &standings })
        else {
            panic!("{name}")
        };
        found
    };
    use Standing::{Far, Near, Silent};
    for turn in 0..4 {
        for (first, second) in [(Silent, Near), (Silent, Far(9)), (Far(2), Near), (Far(2), Far(1))] {
            let found = ask(turn, Type::A, "orders.prod.internal", first, second);
            assert_eq!(found, [v4(3), v4(2)], "turn {turn}: {first:?} and {second:?}");
            let found = ask(turn, Type::Srv, "_orders._tcp.prod.internal", first, second);
            let priorities: Vec<u16> = found
                .iter()
                .map(|d| if let Data::Srv { priority, .. } = d { *priority } else { 9999 })
                .collect();
            assert_eq!(
                priorities,
                [second.priority(), first.priority()],
                "for clients that order themselves"
            );
        }
        for equal in [Near, Far(3), Silent] {
            let found = ask(turn, Type::A, "orders.prod.internal", equal, equal);
            let turned = if turn % 2 == 0 { [v4(2), v4(3)] } else { [v4(3), v4(2)] };
            assert_eq!(found, turned, "turn {turn}: {equal:?}");
        }
    }
}

/// The slow judge: the library that reads everything else.
fn judge(bytes: &[u8]) -> hickory_proto::op::Message {
    hickory_proto::op::Message::from_vec(bytes).unwrap_or_else(|e| panic!("{e}: {bytes:02x?}"))
}

/// A question as a client sends it.
fn wire(name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
    use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query as Question};
    use hickory_proto::rr::{Name, RecordType};
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Question::query(Name::from_ascii(name).unwrap(), RecordType::from(kind)));
    if let Some(size) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(size).set_version(0);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

fn written(names: &Names, question: &[u8], carrier: Carrier) -> Vec<u8> {
    let query = Query::read(question).unwrap();
    let answer = names.answer_lower(&query.name, Type::of(query.kind), NOW, Order::turn(0));
    let soa = names.soa();
    let nothing = Body::Nothing { zone: names.zone_above(&query.name), soa: &soa };
    let (code, body) = match &answer {
        Answer::Records(records) => (0, Body::Records(records)),
        Answer::NoData => (0, nothing),
        Answer::NxDomain => (3, nothing),
        Answer::NotOurs | Answer::Refused => (5, Body::Empty),
    };
    Reply { code, authoritative: true, recursion_available: true, body, ttl: names.ttl(NOW), extended: None }
        .write(&query, carrier)
}

#[test]
fn what_is_written_reads_back_as_it_was_meant() {
    let web = names_of(0);
    for (name, kind, records) in [
        ("Orders.prod.internal.", 1, vec!["100.64.0.2", "100.64.0.3"]),
        ("orders.PROD.internal.", 28, vec!["fd00:1:2::2", "fd00:1:2::3"]),
        ("2.0.64.100.in-addr.arpa.", 12, vec!["orders-1.prod.internal."]),
        ("prod.internal.", 2, vec!["web-1.prod.internal."]),
        ("prod.internal.", 6, vec!["web-1.prod.internal. hostmaster.prod.internal. 7 5 5 5 5"]),
        (
            "_orders._tcp.prod.internal.",
            33,
            vec!["0 0 8443 orders-1.prod.internal.", "0 0 8443 orders-2.prod.internal."],
        ),
    ] {
        let message = judge(&written(&web, &wire(name, kind, Some(1232)), Carrier::Datagram));
        let found: Vec<String> = message.answers.iter().map(|r| r.data.to_string()).collect();
        assert_eq!(found, records, "{name}");
        assert!(message.answers.iter().all(|r| r.name.to_ascii() == name && r.ttl == web.ttl(NOW)));
        assert_eq!(message.queries[0].name.to_ascii(), name, "letters in their case");
        assert!(message.metadata.authoritative && message.metadata.id == 7 && message.edns.is_some());
    }
    let svcb = judge(&written(&web, &wire("shop.prod.internal.", 65, None), Carrier::Datagram));
    let text: Vec<String> = svcb.answers.iter().map(|r| r.data.to_string()).collect();
    assert!(
        text.iter().all(|t| t.contains("1 orders-") && t.contains("ipv4hint") && t.contains("ipv6hint")),
        "{text:?}"
    );
    assert!(svcb.edns.is_none());
    for (name, code) in [("no.prod.internal.", 3u16), ("orders.prod.internal.", 0)] {
        let message = judge(&written(&web, &wire(name, 16, None), Carrier::Datagram));
        assert_eq!(u16::from(message.metadata.response_code), code);
        assert_eq!(message.authorities[0].name.to_ascii(), "prod.internal.");
        assert_eq!(message.authorities[0].record_type(), hickory_proto::rr::RecordType::SOA);
    }
}

/// RFC 2308 section 3: who believes a negative answer looks for its zone above the name.
#[test]
fn what_says_that_a_name_is_not_there_stands_above_that_name() {
    let web = names_of(0);
    for (name, owner) in [
        ("no.prod.internal.", "prod.internal."),
        ("prod.internal.", "prod.internal."),
        ("99.0.64.100.in-addr.arpa.", "64.100.in-addr.arpa."),
        ("64.100.in-addr.arpa.", "64.100.in-addr.arpa."),
        ("x.0.64.100.in-addr.arpa.", "64.100.in-addr.arpa."),
        ("8.2.0.0.0.1.0.0.0.0.d.f.ip6.arpa.", "2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa."),
        ("2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa.", "2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa."),
    ] {
        let message = judge(&written(&web, &wire(name, 16, None), Carrier::Datagram));
        let found = message.authorities.first().map(|soa| soa.name.to_ascii());
        if u16::from(message.metadata.response_code) == 5 {
            assert_eq!(found, None, "{name} is not ours");
        } else {
            assert_eq!(found.as_deref(), Some(owner), "{name}");
        }
    }
}

#[test]
fn a_special_name_that_is_not_there_is_denied_by_a_zone_above_it() {
    use super::forward::special;
    for (name, apex) in [
        ("localhost", "localhost"),
        ("a.b.localhost", "localhost"),
        ("printer.local", "local"),
        ("x.y.home.arpa", "home.arpa"),
        ("coord.corp", "corp"),
        ("9.8.7.10.in-addr.arpa", "10.in-addr.arpa"),
        ("1.0.0.127.in-addr.arpa", "127.in-addr.arpa"),
        ("4.3.168.192.in-addr.arpa", "168.192.in-addr.arpa"),
        ("3.2.17.172.in-addr.arpa", "17.172.in-addr.arpa"),
        ("172.in-addr.arpa", "172.in-addr.arpa"),
        ("1.2.c.f.ip6.arpa", "c.f.ip6.arpa"),
        ("1.2.a.e.f.ip6.arpa", "a.e.f.ip6.arpa"),
        ("fc.ip6.arpa", "ip6.arpa"),
        ("c\\032.f.ip6.arpa", "f.ip6.arpa"),
    ] {
        let (zone, soa) = special::zone(name);
        assert_eq!(zone, apex, "{name}");
        assert!(matches!(soa, Data::Soa { serial: 1, .. }));
    }
}

/// Whatever the explanation is, no answer is longer than its asker can take, and none is cut short for words.
#[test]
fn an_explanation_that_does_not_fit_goes_before_anything_else() {
    let long = [["a"; 63].concat(), ["b"; 63].concat(), ["c"; 63].concat(), ["d"; 61].concat()].join(".");
    let query = Query::read(&wire(&long, 1, Some(512))).unwrap();
    let extended = Extended { code: 22, text: "x".repeat(400) };
    let soa = Data::Soa { mname: "a".into(), rname: "b".into(), serial: 1 };
    let records = [Data::A(Ipv4Addr::LOCALHOST), Data::A(Ipv4Addr::LOCALHOST)];
    for (body, answers, authorities) in [
        (Body::Empty, 0, 0),
        (Body::Nothing { zone: "prod.internal", soa: &soa }, 0, 1),
        (Body::Records(&records), 2, 0),
    ] {
        let reply = Reply {
            code: 2,
            authoritative: false,
            recursion_available: true,
            body,
            ttl: TTL_SECONDS,
            extended: Some(&extended),
        };
        let bytes = reply.write(&query, Carrier::Datagram);
        let message = judge(&bytes);
        assert!(bytes.len() <= 512 && !message.metadata.truncation, "{} bytes", bytes.len());
        assert_eq!((message.answers.len(), message.authorities.len()), (answers, authorities));
        let options = format!("{:?}", message.edns.unwrap().options());
        assert!(options.contains("Unknown(15"), "the code stays: {options}");
    }
    let many = vec![Data::A(Ipv4Addr::LOCALHOST); 40];
    let body = Body::Records(&many);
    let reply = Reply {
        code: 0,
        authoritative: true,
        recursion_available: true,
        body,
        ttl: 5,
        extended: Some(&extended),
    };
    let bytes = reply.write(&query, Carrier::Datagram);
    assert!(bytes.len() <= 512 && judge(&bytes).metadata.truncation, "{} bytes", bytes.len());
}

#[test]
fn what_does_not_fit_is_cut_over_udp_and_rotates_over_tcp() {
    let many: Vec<Data> = (0..5000u32).map(|i| Data::A(Ipv4Addr::from(0x6440_0000 + i))).collect();
    let reply = Reply {
        code: 0,
        authoritative: true,
        recursion_available: true,
        body: Body::Records(&many),
        ttl: TTL_SECONDS,
        extended: None,
    };
    for (edns, limit) in
        [(None, 512), (Some(100), 512), (Some(512), 512), (Some(1232), 1232), (Some(4096), 1232)]
    {
        let query = Query::read(&wire("orders.prod.internal.", 1, edns)).unwrap();
        let bytes = reply.write(&query, Carrier::Datagram);
        let message = judge(&bytes);
        assert!(
            bytes.len() <= limit && message.metadata.truncation && message.answers.is_empty(),
            "{edns:?}"
        );
        let stream = reply.write(&query, Carrier::Stream);
        assert!(stream.len() <= 65535);
        let message = judge(&stream);
        assert!(!message.metadata.truncation && message.answers.len() > 4000);
        let exact = Reply { body: Body::Records(&many[..20]), ..reply.clone() };
        assert_eq!(judge(&exact.write(&query, Carrier::Datagram)).answers.len(), 20);
    }
}

#[test]
fn an_explanation_travels_only_with_edns() {
    let extended = Extended { code: 22, text: "é".repeat(400) };
    let reply = Reply {
        code: 2,
        authoritative: false,
        recursion_available: true,
        body: Body::Empty,
        ttl: TTL_SECONDS,
        extended: Some(&extended),
    };
    let with = reply.write(&Query::read(&wire("a.b.", 1, Some(1232))).unwrap(), Carrier::Datagram);
    let message = judge(&with);
    let options = format!("{:?}", message.edns.unwrap().options());
    assert!(options.contains("Unknown(15"), "{options}");
    assert!(with.len() < 512);
    let without = judge(&reply.write(&Query::read(&wire("a.b.", 1, None)).unwrap(), Carrier::Datagram));
    assert!(without.edns.is_none() && u16::from(without.metadata.response_code) == 2);
}

/// DN-02, DN-03.
#[test]
fn what_is_no_question_meets_silence_or_a_bounded_error() {
    let good = wire("orders.prod.internal.", 1, Some(1232));
    assert!(Query::read(&good).is_ok());
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Query::read(&bytes)
    };
    assert_eq!(with(2, 0x80), Err(Unanswerable::Silence), "an answer");
    assert_eq!(Query::read(&good[..11]), Err(Unanswerable::Silence));
    let code = |result: Result<Query, Unanswerable>| match result {
        Err(Unanswerable::Code { code, id: 7, .. }) => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(with(2, 0x11)), query::NOTIMP, "another operation");
    for (at, byte, why) in [
        (5, 0, "no question"),
        (5, 2, "two questions"),
        (7, 1, "an answer in a question"),
        (9, 1, "an authority in a question"),
        (11, 200, "far too many records"),
        (11, 2, "more records than there are"),
        (12, 0xc0, "a pointer"),
        (12, 0x40, "a reserved label"),
        (12, 63, "a label past the end"),
    ] {
        assert_eq!(code(with(at, byte)), query::FORMERR, "{why}");
    }
    let refused = reply::unanswerable(with(2, 0x11).unwrap_err()).unwrap();
    assert_eq!((refused.len(), refused[3] & 0xf), (12, query::NOTIMP));
    assert_eq!(reply::unanswerable(Unanswerable::Silence), None);
    let two_opts = [&good[..], &good[good.len() - 11..]].concat();
    let mut two_opts = two_opts;
    two_opts[11] = 2;
    assert_eq!(code(Query::read(&two_opts)), query::FORMERR, "RFC 6891: one OPT only");
}

fn label() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 1..20)
}

proptest! {
    /// What the library calls a question with one name, we read alike; what we read, it can read.
    #[test]
    fn questions_are_read_as_the_library_reads_them(
        labels in proptest::collection::vec(label(), 0..6), kind: u16, size: u16, flags in 0u8..2, edns: bool, noise in proptest::collection::vec((0usize..60, any::<u8>()), 0..3)
    ) {
        let mut bytes = vec![0, 9, flags, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
        for label in &labels {
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label);
        }
        bytes.push(0);
        bytes.extend_from_slice(&[kind.to_be_bytes(), [0, 1]].concat());
        if edns {
            bytes.extend_from_slice(&[0, 0, 41]);
            bytes.extend_from_slice(&size.to_be_bytes());
            bytes.extend_from_slice(&[0, 0, 0x80, 0, 0, 0]);
        }
        for (at, byte) in noise {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        let ours = Query::read(&bytes);
        if let Ok(query) = ours {
            let theirs = hickory_proto::op::Message::from_vec(&bytes);
            if let Ok(theirs) = theirs {
                let name = forward::ask::name_of(&query.question);
                prop_assert_eq!(name.as_ref(), Some(&theirs.queries[0].name.to_lowercase()));
                prop_assert_eq!(query.kind, u16::from(theirs.queries[0].query_type));
                prop_assert_eq!(query.id, theirs.metadata.id);
                if let Some(edns) = &theirs.edns {
                    prop_assert_eq!(query.edns.map(|e| e.size.max(512)), Some(edns.max_payload()));
                }
            }
            let reply = Reply { code: 2, authoritative: false, recursion_available: true, body: Body::Empty, ttl: TTL_SECONDS, extended: None };
            let written = reply.write(&query, Carrier::Datagram);
            prop_assert!(written.len() <= 512);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        match Query::read(&bytes) {
            Ok(query) => prop_assert!(query.question.len() <= 259),
            Err(what) => prop_assert!(reply::unanswerable(what).is_none_or(|b| b.len() == 12)),
        }
    }
}
