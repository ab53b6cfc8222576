use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use warren_config::compile::Program;
use warren_config::policy::Subject;
use warren_config::resolve::{Source, resolve};
use warren_wire::id::{IdentityKey, NetworkId, NodeId};
use warren_wire::trust::Network;

use super::*;
use crate::assembly::PeerSpec;

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
listen = ["tcp/1"]
[service.site]
on = ["tag:web"]
listen = ["tcp/80"]
[[grant]]
id = "web-reads-orders"
from = ["tag:web"]
to = ["service:orders"]
until = 2026-01-01T00:00:00Z
[dns]
zone = "prod.internal"
upstream = ["tls://9.9.9.9:853#dns.quad9.net"]
"#;

const UNTIL: UnixTime = UnixTime(1_767_225_600);
const NOW: UnixTime = UnixTime(1_767_225_599);

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn member(n: u8, text: &str, tag: &str) -> Arc<Member> {
    let v6 = format!("fd00:1:2::{n:x}").parse().unwrap();
    Arc::new(Member {
        id: NodeId([n; 16]),
        identity: IdentityKey([n; 32]),
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
fn names_of(me: usize) -> Names {
    let policy = resolve(&[Source { file: "p".into(), text: POLICY.into() }])
        .unwrap_or_else(|f| panic!("{f:?}"))
        .policy;
    let program = Program::of_policy(&policy);
    let all = [member(1, "web-1", "web"), member(2, "orders-1", "orders"), member(3, "orders-2", "orders")];
    let spec = |peer: &Arc<Member>| PeerSpec {
        member: peer.clone(),
        outbound: program.rules(&all[me].subject, &peer.subject),
        inbound: program.rules(&peer.subject, &all[me].subject),
        candidates: Vec::new(),
    };
    let peers: BTreeMap<NodeId, PeerSpec> = all
        .iter()
        .map(|m| (m.id, spec(m)))
        .filter(|(id, s)| *id != all[me].id && (s.outbound.joins() || s.inbound.joins()))
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
    let offers = program.offered_by(&all[me].subject).iter().map(|s| s.name.clone()).collect();
    Names::new(Arc::new(assembly), &policy.settings, offers)
}

fn v4(last: u8) -> Data {
    Data::A(Ipv4Addr::new(100, 64, 0, last))
}

#[test]
fn a_service_is_all_its_reachable_offerers_in_turn() {
    let web = names_of(0);
    assert_eq!(web.answer("orders.prod.internal", Type::A, NOW, 0), Answer::Records(vec![v4(2), v4(3)]));
    assert_eq!(web.answer("ORDERS.Prod.Internal.", Type::A, NOW, 1), Answer::Records(vec![v4(3), v4(2)]));
    let Answer::Records(v6) = web.answer("orders.prod.internal", Type::Aaaa, NOW, 4) else { panic!() };
    assert_eq!(v6.len(), 2);
    assert_eq!(web.answer("orders.prod.internal", Type::Other, NOW, 0), Answer::NoData);
}

#[test]
fn a_node_and_its_own_services_answer_for_themselves() {
    let web = names_of(0);
    assert_eq!(web.answer("web-1.prod.internal", Type::A, NOW, 0), Answer::Records(vec![v4(1)]));
    assert_eq!(web.answer("site.prod.internal", Type::A, NOW, 0), Answer::Records(vec![v4(1)]));
    assert_eq!(web.answer("orders-2.prod.internal", Type::A, NOW, 9), Answer::Records(vec![v4(3)]));
}

/// DN-15: not allowed and not there are one answer, for every type and both directions of the map.
#[test]
fn a_name_that_may_not_be_reached_does_not_exist() {
    let (web, orders) = (names_of(0), names_of(1));
    for kind in [Type::A, Type::Aaaa, Type::Ptr, Type::Soa, Type::Ns, Type::Whole, Type::Other] {
        let absent = web.answer("no-such-thing.prod.internal", kind, NOW, 0);
        assert_eq!(web.answer("secret.prod.internal", kind, NOW, 0), absent, "service of a visible node");
        // orders-1 has web-1 as a peer, but may open nothing there.
        assert_eq!(orders.answer("web-1.prod.internal", kind, NOW, 0), absent);
        assert_eq!(orders.answer("orders-2.prod.internal", kind, NOW, 0), absent);
        let absent = orders.answer("99.0.64.100.in-addr.arpa", kind, NOW, 0);
        assert_eq!(orders.answer("1.0.64.100.in-addr.arpa", kind, NOW, 0), absent);
    }
}

#[test]
fn a_name_ends_with_its_grant() {
    let web = names_of(0);
    assert!(matches!(web.answer("orders.prod.internal", Type::A, NOW, 0), Answer::Records(_)));
    assert_eq!(web.answer("orders.prod.internal", Type::A, UNTIL, 0), Answer::NxDomain);
    assert_eq!(web.answer("orders-1.prod.internal", Type::A, UNTIL, 0), Answer::NxDomain);
    assert_eq!(web.answer("2.0.64.100.in-addr.arpa", Type::Ptr, UNTIL, 0), Answer::NxDomain);
}

/// DN-13, DN-14.
#[test]
fn look_alikes_do_not_exist_and_whole_zones_are_not_given_out() {
    let web = names_of(0);
    let odd =
        ["оrders", "xn--rders-uqf", "ord\u{200b}ers", "orders\\.", "a.orders", "_orders", "*", "", "-orders"];
    for label in odd.into_iter().map(str::to_owned).chain([String::from("o").repeat(64)]) {
        let question = format!("{label}.prod.internal");
        assert_eq!(web.answer(&question, Type::A, NOW, 0), Answer::NxDomain, "{question}");
    }
    assert_eq!(web.answer("orders.prod.internal", Type::Whole, NOW, 0), Answer::Refused);
    assert_eq!(web.answer("prod.internal", Type::Whole, NOW, 0), Answer::Refused);
    assert_eq!(web.answer("example.com", Type::Whole, NOW, 0), Answer::Refused);
    for elsewhere in
        ["example.com", "notprod.internal", "internal", "", ".", "arpa", "orders.prod.internal.example"]
    {
        assert_eq!(web.answer(elsewhere, Type::A, NOW, 0), Answer::NotOurs, "{elsewhere}");
    }
}

#[test]
fn reverse_names_are_ours_only_inside_the_ranges() {
    let web = names_of(0);
    let ptr = |q: &str| web.answer(q, Type::Ptr, NOW, 0);
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

#[test]
fn the_zone_says_who_it_is() {
    let web = names_of(0);
    let Answer::Records(soa) = web.answer("prod.internal", Type::Soa, NOW, 0) else { panic!() };
    assert_eq!(
        soa,
        [Data::Soa {
            mname: "web-1.prod.internal".into(),
            rname: "hostmaster.prod.internal".into(),
            serial: 7
        }]
    );
    assert_eq!(web.answer("prod.internal", Type::A, NOW, 0), Answer::NoData);
}

proptest! {
    /// Whatever is asked: no panic, and never a record for anything but the names this node may see.
    #[test]
    fn any_question_is_answered_from_what_may_be_seen(q in ".{0,80}", kind in 0usize..7, turn: u64) {
        let kinds = [Type::A, Type::Aaaa, Type::Ptr, Type::Soa, Type::Ns, Type::Whole, Type::Other];
        let orders = names_of(1);
        for question in [q.clone(), format!("{q}.prod.internal"), format!("{q}.64.100.in-addr.arpa"), format!("{q}.ip6.arpa")] {
            if let Answer::Records(records) = orders.answer(&question, kinds[kind], NOW, turn) {
                for record in records {
                    let mine = match record {
                        Data::A(a) => a == Ipv4Addr::new(100, 64, 0, 2),
                        Data::Aaaa(a) => a == "fd00:1:2::2".parse::<Ipv6Addr>().unwrap(),
                        Data::Ptr(n) | Data::Ns(n) => n == "orders-1.prod.internal",
                        Data::Soa { .. } => true,
                    };
                    prop_assert!(mine);
                }
            }
        }
    }
}
