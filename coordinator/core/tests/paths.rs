//! Laws of what nodes tell of the way their packets take: of themselves, about members, for whoever may read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use common::*;
use warren_coordinator_core::paths::{PathsFilter, PathsView};
use warren_wire::frame::NodeSays;
use warren_wire::id::NodeId;
use warren_wire::path::{PathMove, PathPlace, PathReason, PathWhy, PathsReport, PeerPath};

fn way(peer: NodeId) -> PeerPath {
    let place = |place: &str, in_use| PathPlace {
        place: place.to_owned(),
        relayed: place.starts_with("relayed"),
        in_use,
        answered_ago: Some(2),
        round_trip_us: Some(1_250),
    };
    let moved =
        PathMove { ago: 60, from: String::new(), to: "192.0.2.9:1".into(), reason: PathReason::Told.into() };
    PeerPath {
        peer: peer.0.to_vec(),
        why: PathWhy::Relayed.into(),
        places: vec![place("relayed (seat 7)", true), place("192.0.2.9:1", false)],
        moves: vec![moved],
    }
}

fn tell(world: &mut World, host: usize, paths: Vec<PeerPath>) {
    world.says(host, NodeSays::Paths(PathsReport { paths }));
}

fn view(world: &World, from: Option<&str>, to: Option<&str>) -> PathsView {
    let text = |who: Option<&str>| who.map(str::to_owned);
    let filter = PathsFilter { from: text(from), to: text(to), limit: 0 };
    world.coordinator.paths(&filter, world.now).unwrap()
}

fn street(seed: u64) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed);
    world.apply(CHAIN).unwrap();
    world.join("web-1", &["web"]);
    world.join("orders-1", &["orders"]);
    let id = |name: &str| world.coordinator.node(name).unwrap().id;
    let ids = (id("web-1"), id("orders-1"));
    (world, ids.0, ids.1)
}

#[test]
fn a_way_is_shown_as_the_node_told_it_with_moments_and_the_reason() {
    let (mut world, web, orders) = street(1);
    tell(&mut world, 0, vec![way(orders)]);
    let rows = view(&world, Some("web-1"), Some("orders-1")).paths;
    let row = &rows[0];
    assert_eq!((row.from, row.to, row.told), (web, orders, world.now));
    assert_eq!((row.from_name.as_deref(), row.to_name.as_deref()), (Some("web-1"), Some("orders-1")));
    assert_eq!(
        (row.in_use.as_deref(), row.relayed, row.round_trip_us),
        (Some("relayed (seat 7)"), Some(true), Some(1_250))
    );
    assert!(row.why == PathWhy::Relayed && row.text.contains("the relay carries"));
    assert_eq!(row.places[0].answered.map(|at| world.now.since(at)), Some(2));
    assert_eq!((world.now.since(row.moves[0].at), row.moves[0].from.clone()), (60, None));
    assert!(view(&world, Some("orders-1"), None).paths.is_empty(), "a node tells of itself alone");
    let nobody = PathsFilter { from: Some("nobody".into()), ..PathsFilter::default() };
    assert!(world.coordinator.paths(&nobody, world.now).is_err(), "no answer is not an empty one");
}

#[test]
fn ways_to_strangers_are_not_kept_and_those_of_the_gone_go_with_them() {
    let (mut world, web, orders) = street(2);
    tell(&mut world, 0, vec![way(NodeId([9; 16])), way(orders)]);
    tell(&mut world, 1, vec![way(web)]);
    assert_eq!(view(&world, None, None).paths.len(), 2);
    world.revoke(0).unwrap();
    assert_eq!(view(&world, None, None).paths, [], "nobody has a way to a node that is gone");
}
