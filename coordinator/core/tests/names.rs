//! Laws of the names that are asked on nodes: known here only while the policy asks for them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use common::*;
use warren_coordinator_core::names::{NamesFilter, NamesView};
use warren_wire::frame::NodeSays;
use warren_wire::names::{AskedName, NameClass, NamesReport};

fn asking() -> String {
    format!("{CHAIN}\n[dns]\nreport = \"names\"\n")
}

fn told(world: &mut World, host: usize, name: &str, asked: u64) {
    let one = AskedName { name: name.into(), class: NameClass::Forwarded.into(), asked, unanswered: 1 };
    world.says(host, NodeSays::Names(NamesReport { names: vec![one], others: 3 }));
}

fn view(world: &World, node: Option<&str>) -> NamesView {
    let filter = NamesFilter { node: node.map(str::to_owned), limit: 0 };
    world.coordinator.names(&filter, world.now).unwrap()
}

fn street(seed: u64, policy: &str) -> World {
    let mut world = World::new(seed);
    world.apply(policy).unwrap();
    world.join("web-1", &["web"]);
    world.join("orders-1", &["orders"]);
    world
}

#[test]
fn names_are_kept_by_node_while_the_policy_asks_for_them() {
    let mut world = street(1, &asking());
    told(&mut world, 0, "a.example", 2);
    told(&mut world, 0, "a.example", 5);
    told(&mut world, 1, "b.example", 1);
    let all = view(&world, None);
    let rows: Vec<_> = all.names.iter().map(|r| (r.node_name.as_deref(), r.name.as_str(), r.asked)).collect();
    assert_eq!(rows, [(Some("web-1"), "a.example", 7), (Some("orders-1"), "b.example", 1)]);
    assert_eq!((all.told, all.others, all.names[0].unanswered), (true, 9, 2));
    let one = view(&world, Some("orders-1"));
    assert_eq!((one.names.len(), one.others), (1, 3));
    let nobody = NamesFilter { node: Some("nobody".into()), limit: 0 };
    assert!(world.coordinator.names(&nobody, world.now).is_err(), "no answer is not an empty one");
}

#[test]
fn without_the_wish_nothing_is_kept_and_what_was_kept_is_forgotten_at_once() {
    let mut world = street(2, CHAIN);
    told(&mut world, 0, "early.example", 1);
    assert_eq!(view(&world, None), NamesView::default(), "nobody asked");
    world.apply(&asking()).unwrap();
    told(&mut world, 0, "wanted.example", 1);
    assert_eq!(view(&world, None).names.len(), 1);
    world.apply(CHAIN).unwrap();
    assert_eq!(view(&world, None), NamesView::default());
    // A node that has not heard of it yet.
    told(&mut world, 0, "late.example", 1);
    world.apply(&asking()).unwrap();
    assert_eq!(view(&world, None).names, [], "what was told unasked does not come back");
}

#[test]
fn names_go_with_their_node_and_with_the_process() {
    let mut world = street(3, &asking());
    told(&mut world, 0, "a.example", 1);
    told(&mut world, 1, "b.example", 1);
    world.revoke(0).unwrap();
    let left: Vec<String> = view(&world, None).names.into_iter().map(|row| row.name).collect();
    assert_eq!(left, ["b.example"]);
    world.restart();
    assert_eq!(view(&world, None).names, [], "names are on no disk");
}
