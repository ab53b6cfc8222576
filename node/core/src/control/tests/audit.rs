//! Destinations that only audited grants name: recognised by their address, and nothing else comes of it.

use warren_config::filter::Verdict;
use warren_config::item::{Item, ItemTree};
use warren_config::policy::Protocol;
use warren_wire::frame::CoordinatorSays;
use warren_wire::view::{Entry, Key, View};

use super::super::*;
use super::world::{Driven, POLICY, T0, World, policy};

/// The grant to the database is only audited: db-1 is no peer.
fn audited() -> World {
    let text = POLICY.replace("until = 2026-01-02T00:00:00Z", "mode = \"audit\"");
    World { tree: ItemTree::new(&policy(&text)), ..World::new() }
}

/// In session, without a view.
fn joined(world: &World) -> Driven {
    let mut node = Driven::start(world.config(), None);
    node.welcome(world, T0);
    node.say(CoordinatorSays::Freshness(world.freshness(T0)));
    node
}

fn service(world: &World, name: &str) -> u64 {
    let is =
        |(item, _): &(Item, Vec<u8>)| matches!(item, Item::Service(service) if service.name.as_str() == name);
    world.tree.items().iter().position(is).unwrap() as u64
}

fn view(world: &World, services: Vec<u64>) -> View {
    let mut view = world.view_of(&world.web, &[&world.orders]);
    let db = world.net.member(&world.db).unwrap();
    view.insert(Entry::audited(db.v6, db.v4, services)).unwrap();
    view
}

#[test]
fn an_audited_destination_is_recognised_at_both_addresses_and_is_no_peer() {
    let world = audited();
    let mut node = joined(&world);
    node.view(world.whole(view(&world, vec![service(&world, "db")])));
    let publication = node.control.publication().unwrap();
    let db = world.net.member(&world.db).unwrap();
    assert_eq!(node.peers(), ["orders-1"]);
    assert_eq!(
        publication.assembly.audited.keys().copied().collect::<Vec<_>>(),
        db.addresses().collect::<Vec<_>>()
    );
    for rules in publication.assembly.audited.values() {
        let verdict = rules.judge(Protocol::Tcp, 5432, UnixTime(T0));
        assert!(
            matches!(verdict, Verdict::WouldAllow { grant, .. } if grant.as_str() == "web-reads-db-for-a-day")
        );
        assert_eq!(rules.judge(Protocol::Tcp, 22, UnixTime(T0)), Verdict::Deny);
    }
}

#[test]
fn a_lie_about_an_audited_destination_opens_nothing() {
    let world = audited();
    let all: Vec<u64> = (0..world.tree.len() + 10).collect();
    let mut lying = view(&world, all.clone());
    // The address of a peer, of this node itself, and of nobody.
    let members = [world.net.member(&world.orders).unwrap(), world.net.member(&world.web).unwrap()];
    for member in &members {
        lying.insert(Entry::audited(member.v6, member.v4, all.clone())).unwrap();
    }
    lying.insert(Entry::audited("fd00::99".parse().unwrap(), None, all)).unwrap();
    let mut node = joined(&world);
    node.view(world.whole(lying));
    let publication = node.control.publication().unwrap();
    assert_eq!(node.peers(), ["orders-1"]);
    assert!(publication.assembly.audited.values().all(|rules| !rules.joins()));
    let orders = &publication.assembly.peers[&world.orders.id];
    assert!(orders.outbound.judge(Protocol::Tcp, 8443, UnixTime(T0)).passes(), "a peer stays a peer");
}

#[test]
fn a_peer_whose_last_grant_ends_is_still_recognised_by_an_audited_one() {
    let grant = "[[grant]]\nid = \"audit\"\nfrom = [\"tag:web\"]\nto = [\"service:db\"]\nmode = \"audit\"\n";
    let text = format!("{POLICY}{grant}").replace("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z");
    let world = World { tree: ItemTree::new(&policy(&text)), ..World::new() };
    let mut node = joined(&world);
    node.view(world.whole(world.view()));
    assert_eq!(node.peers(), ["orders-1"], "its grant has ended");
    assert_eq!(node.control.publication().unwrap().assembly.audited.len(), 2);
}

#[test]
fn an_entry_taken_away_is_forgotten() {
    let mut world = audited();
    let mut node = joined(&world);
    node.view(world.whole(view(&world, vec![service(&world, "db")])));
    world.revision += 1;
    node.view(world.whole(world.view_of(&world.web, &[&world.orders])));
    assert!(node.control.publication().unwrap().assembly.audited.is_empty());
    assert!(!node.control.publication().unwrap().assembly.peers.contains_key(&world.db.id));
    assert!(!world.view().entries.keys().any(|key| matches!(key, Key::Audited(_))));
}
