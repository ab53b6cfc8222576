//! An enrolment: a token, keys that are proven, one record, two views that name each other.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use warren_config::policy::Protocol;
use warren_coordinator_core::store::Fault;
use warren_tests::host::Port;
use warren_tests::seed;
use warren_tests::world::{Reach, World};
use warren_wire::issue::NameRule;
use warren_wire::specimen::name;

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
listen = ["tcp/8080"]
[service.ping]
on = ["all-nodes"]
listen = ["icmp/echo"]
[[grant]]
id = "web-reads-orders"
from = ["tag:web"]
to = ["service:orders"]
"#;

fn world(title: &str) -> World {
    let mut world = World::new(title, seed::or(1), 604_800);
    world.apply(POLICY);
    world
}

#[test]
fn two_nodes_enrol_and_only_what_is_granted_goes_through() {
    let mut world = world("two nodes enrol");
    let web = world.join("web-1", &["web"]);
    let orders = world.join("orders-1", &["orders"]);
    world.nodes[orders].host.listen(Port::Tcp(8080));
    world.settle();
    assert_eq!(world.reach(web, orders, Protocol::Tcp, 8080, false), Reach::Arrived);
    assert_eq!(world.reach(web, orders, Protocol::Tcp, 8080, true), Reach::Arrived);
    assert!(matches!(world.reach(orders, web, Protocol::Tcp, 8080, false), Reach::Refused(0..=10)));
    world.check_reach();
    world.settle();
}

#[test]
fn fifty_with_one_token_admit_one() {
    let mut world = world("fifty with one token");
    let token = world.token(NameRule::Prefix("web".to_owned()), &["web"], 1);
    let crowd: Vec<usize> = (0..50).map(|i| world.add_node(&format!("guest-{i}"))).collect();
    crowd.iter().for_each(|node| world.enrol(*node, &token));
    world.run_ms(20_000);
    let members = crowd.iter().filter(|node| world.is_member(**node)).count();
    let refused = crowd.iter().filter(|node| world.nodes[**node].refused.is_some()).count();
    assert_eq!((members, refused), (1, 49), "one redemption, and every other is told");
    let reused = |a: &&warren_coordinator_core::alarm::Alarm| {
        a.kind == warren_coordinator_core::alarm::AlarmKind::TokenReused
    };
    assert!(world.site.alarms.iter().any(|a| reused(&a)), "a second try is an alarm that names the first");
}

#[test]
fn a_token_for_fifty_admits_fifty_with_names_and_addresses_of_their_own() {
    let mut world = world("a token for fifty");
    let token = world.token(NameRule::Prefix("web".to_owned()), &["web"], 50);
    let crowd: Vec<usize> = (0..51).map(|i| world.add_node(&format!("guest-{i}"))).collect();
    crowd.iter().for_each(|node| world.enrol(*node, &token));
    world.run_ms(20_000);
    let members: Vec<usize> = crowd.iter().copied().filter(|node| world.is_member(*node)).collect();
    assert_eq!(members.len(), 50);
    let addresses: std::collections::BTreeSet<_> =
        members.iter().flat_map(|n| [world.address(*n, false), world.address(*n, true)]).collect();
    assert_eq!(addresses.len(), 100, "nobody shares an address");
    world.settle();
}

#[test]
fn a_crash_between_commit_and_answer_neither_loses_nor_doubles_the_node() {
    for fault in [Fault::AfterCommit, Fault::BeforeCommit] {
        let mut world = world("a crash between commit and answer");
        let token = world.token(NameRule::Exactly(name("web-1")), &["web"], 1);
        let node = world.add_node("web-1");
        world.site.store.fail_next(fault);
        world.enrol(node, &token);
        world.run_ms(2_000);
        let early = world.is_member(node) && fault == Fault::AfterCommit;
        assert!(!early, "no answer has come");
        world.start_coordinator();
        assert!(world.run_until(30_000, |w| w.enforces(node)), "{fault:?}: {:?}", world.nodes[node].refused);
        let state = world.site.state().unwrap();
        assert_eq!(state.directory().len(), 1);
        assert_eq!(state.tokens().get(&token.key()).unwrap().used_by, vec![world.id(node)]);
        world.settle();
    }
}

#[test]
fn a_node_that_lost_the_answer_comes_in_with_the_same_identity() {
    let mut world = world("the answer is lost");
    let token = world.token(NameRule::Exactly(name("web-1")), &["web"], 1);
    let node = world.add_node("web-1");
    world.enrol(node, &token);
    let id = world.id(node);
    let admitted = |w: &World| w.site.state().is_some_and(|s| s.directory().get(&id).is_some());
    assert!(world.run_until(5_000, admitted));
    assert!(!world.is_member(node), "the record is still on its way");
    world.crash_node(node);
    world.enrol(node, &token);
    assert!(world.run_until(10_000, |w| w.enforces(node)), "{:?}", world.nodes[node].refused);
    world.settle();
}

#[test]
fn one_seed_gives_one_history() {
    let run = || {
        let mut world = world("one seed gives one history");
        world.links.weather = warren_tests::link::Weather::FOUL;
        let web = world.join("web-1", &["web"]);
        let orders = world.join("orders-1", &["orders"]);
        world.nodes[orders].host.listen(Port::Tcp(8080));
        world.reach(web, orders, Protocol::Tcp, 8080, false);
        (world.now, world.told.clone(), world.random.draw())
    };
    assert_eq!(run(), run());
}
