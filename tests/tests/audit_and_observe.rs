//! What is only recorded: an audited grant lets nothing through and says what it would have; `observe` lets everything
//! through and says what it would have refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use warren_config::policy::Protocol;
use warren_tests::host::Port;
use warren_tests::policies::{Grant, grant, policy};
use warren_tests::seed;
use warren_tests::world::{Reach, World};
use warren_wire::flow::FlowVerdict;

fn audit() -> Grant {
    grant("web-would-read-db", "tag:web", "db").with("mode = \"audit\"")
}

fn shop(title: &str, text: &str) -> (World, usize, usize) {
    let mut world = World::new(title, seed::or(5), 604_800);
    world.apply(text);
    let web = world.join("web-1", &["web"]);
    let db = world.join("db-1", &["db"]);
    world.nodes[db].host.listen(Port::Tcp(5432));
    world.settle();
    (world, web, db)
}

/// Who reported this port, with which verdict and grant.
fn reports(world: &World, port: u16) -> Vec<(String, FlowVerdict, Option<String>)> {
    let rows = world.site.flows.iter().filter(|row| row.to.port == port);
    let name = |row: &warren_coordinator_core::flows::FlowRow| {
        let node = world.index_of(&row.reporter).unwrap();
        world.nodes[node].name.clone()
    };
    let mut found: Vec<_> = rows.map(|row| (name(row), row.verdict, row.grant.clone())).collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn a_try_that_an_audited_grant_would_allow_is_refused_and_recorded_as_would_allow() {
    let (mut world, web, db) = shop("an audited grant", &policy(&[audit()]));
    for v6 in [false, true] {
        let reach = world.reach(web, db, Protocol::Tcp, 5432, v6);
        assert!(matches!(reach, Reach::Refused(0..=10)), "{reach:?}");
    }
    world.reach(web, db, Protocol::Udp, 53, false);
    world.run_ms(3_000);
    let grant = Some("web-would-read-db".to_owned());
    assert_eq!(reports(&world, 5432), [("web-1".to_owned(), FlowVerdict::WouldAllow, grant)]);
    assert_eq!(reports(&world, 53), [("web-1".to_owned(), FlowVerdict::Deny, None)]);
    // The coordinator names the other end; the sender never could.
    let row = world.site.flows.iter().find(|row| row.to.port == 5432).unwrap();
    assert_eq!((row.to.node, row.service.as_deref()), (Some(world.id(db)), Some("db")));
    assert_eq!(world.nodes[db].host.packets, 0, "not one packet came out of the tunnel");
    world.settle();
}

#[test]
fn an_audited_grant_tells_the_sender_two_addresses_and_the_destination_nothing() {
    let (world, web, db) = shop("an audited grant's knowledge", &policy(&[audit()]));
    let assembly = |node: usize| world.agent(node).unwrap().control.publication().unwrap().assembly.clone();
    assert!(assembly(web).peers.is_empty() && assembly(db).peers.is_empty(), "no key, no name, no place");
    let known: Vec<_> = assembly(web).audited.keys().copied().collect();
    assert_eq!(known, [false, true].map(|v6| world.address(db, v6).unwrap()));
    assert!(assembly(db).audited.is_empty());
}

#[test]
fn an_audited_grant_that_is_enforced_lets_the_same_try_through() {
    let (mut world, web, db) = shop("from audit to enforce", &policy(&[audit()]));
    assert!(matches!(world.reach(web, db, Protocol::Tcp, 5432, false), Reach::Refused(_)));
    world.apply(&policy(&[grant("web-would-read-db", "tag:web", "db")]));
    world.settle();
    assert_eq!(world.reach(web, db, Protocol::Tcp, 5432, false), Reach::Arrived);
    world.check_reach();
}

#[test]
fn in_observe_mode_what_no_grant_allows_passes_and_both_ends_record_would_deny() {
    let text = policy(&[grant("web-reads-names", "tag:web", "names"), audit()]);
    let text = text.replace("version = 1", "version = 1\nmode = \"observe\"");
    let (mut world, web, db) = shop("observe", &text);
    assert_eq!(world.reach(web, db, Protocol::Tcp, 5432, false), Reach::Arrived);
    world.nodes[web].host.listen(Port::Tcp(22));
    assert_eq!(world.reach(db, web, Protocol::Tcp, 22, true), Reach::Arrived);
    world.run_ms(3_000);
    let both = |verdict: FlowVerdict| {
        ["db-1", "web-1"].map(|name| (name.to_owned(), verdict, None::<String>)).to_vec()
    };
    assert_eq!(reports(&world, 5432), both(FlowVerdict::WouldDeny), "an audited grant allows nothing");
    assert_eq!(reports(&world, 22), both(FlowVerdict::WouldDeny));
    let agent = world.agent(web).unwrap();
    let status = agent.status(world.mono(web));
    assert!(status.observe);
    // Switched off, the same is refused again, and a live flow is cut.
    let flow = world.open(web, db, 5432);
    world.run_ms(200);
    assert!(world.near(flow).is_open());
    world.apply(&policy(&[grant("web-reads-names", "tag:web", "names")]));
    assert!(world.run_until(1_000, |w| w.near(flow).ended.is_some()));
    world.settle();
    assert!(matches!(world.reach(web, db, Protocol::Tcp, 5432, false), Reach::Refused(0..=10)));
}
