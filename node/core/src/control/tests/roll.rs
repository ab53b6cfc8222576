//! The network's roll: what it says against a peer holds at once, and a freshness of another roll keeps nothing alive.

use warren_wire::frame::CoordinatorSays;
use warren_wire::issue::State;
use warren_wire::roll::{REVOKED, Roll};
use warren_wire::view::{DELTA_BYTES, Entry, View, cut};

use super::super::*;
use super::world::{Driven, LIFE, T0, World};

fn with_roll(view: &View, roll: &Roll) -> View {
    let mut view = view.clone();
    roll.pages().for_each(|(number, page)| view.insert(Entry::roll(number, page)).unwrap());
    view
}

fn roll_of(world: &World, rows: &[(NodeId, u64)]) -> Roll {
    let mut roll = Roll::new(*world.net.id());
    for (node, serial) in rows {
        roll.set(node, *serial);
    }
    roll
}

/// The next revision, with this view and a freshness that speaks of this roll.
fn tell(node: &mut Driven, world: &World, view: &View, spoken: &Roll, at: u64) {
    let state = State { revision: world.revision + 1, roll: spoken.root(), ..world.state() };
    let head = world.net.view_head(world.web.id, &state, &view.digest());
    let entries = view.entries.values().map(|entry| Entry::clone(entry)).collect();
    node.view(cut(None, entries, Vec::new(), head, DELTA_BYTES));
    node.say(CoordinatorSays::Freshness(world.net.freshness(&state, UnixTime(at), LIFE)));
}

#[test]
fn a_peer_whose_record_the_roll_says_is_not_the_newest_is_left_out_though_it_was_believed_before() {
    let world = World::new();
    for serial in [REVOKED, 1] {
        let mut node = world.settled();
        let roll = roll_of(&world, &[(world.orders.id, serial)]);
        tell(&mut node, &world, &with_roll(&world.view(), &roll), &roll, T0 + 60);
        assert_eq!(node.peers(), ["db-1"], "{serial}");
        assert!(node.has_notice("entry-isolated") && node.complaints() == 1, "{:?}", node.notices());
        assert_eq!(
            node.control.life.current.as_ref().unwrap().since(),
            UnixTime(T0 + 60),
            "the rest is fresh"
        );
    }
}

#[test]
fn the_roll_of_others_changes_nothing() {
    let world = World::new();
    let mut node = world.settled();
    let roll = roll_of(&world, &[(NodeId([9; 16]), 5), (NodeId([8; 16]), REVOKED)]);
    tell(&mut node, &world, &with_roll(&world.view(), &roll), &roll, T0 + 60);
    assert_eq!((node.peers(), node.complaints()), (vec!["db-1".to_owned(), "orders-1".to_owned()], 0));
    assert_eq!(node.control.life.current.as_ref().unwrap().since(), UnixTime(T0 + 60));
}

#[test]
fn a_freshness_of_a_roll_that_was_not_shown_waits_for_it_and_keeps_nothing_alive() {
    let world = World::new();
    let mut node = world.settled();
    let roll = roll_of(&world, &[(world.orders.id, REVOKED)]);
    // The state is a later one, its view is not shown.
    let later = State { revision: world.revision + 1, roll: roll.root(), ..world.state() };
    node.say(CoordinatorSays::Freshness(world.net.freshness(&later, UnixTime(T0 + 60), LIFE)));
    assert_eq!(node.control.life.current.as_ref().unwrap().since(), UnixTime(T0));
    assert!(node.control.life.waiting.is_some());
    // It counts when the view comes.
    tell(&mut node, &world, &with_roll(&world.view(), &roll), &roll, T0 + 61);
    assert_eq!(node.control.life.current.as_ref().unwrap().since(), UnixTime(T0 + 61));
    assert_eq!(node.peers(), ["db-1"]);
}

#[test]
fn a_freshness_of_another_roll_than_the_view_of_the_same_state_is_refused() {
    let world = World::new();
    let mut node = world.settled();
    let roll = roll_of(&world, &[(world.orders.id, REVOKED)]);
    tell(&mut node, &world, &world.view(), &roll, T0 + 60);
    assert_eq!(node.control.life.current.as_ref().unwrap().since(), UnixTime(T0));
    assert!(node.has_notice("freshness-refused"), "{:?}", node.notices());
}

#[test]
fn a_view_in_which_this_node_itself_is_as_it_was_is_refused() {
    let world = World::new();
    let mut node = world.settled();
    let roll = roll_of(&world, &[(world.web.id, 1)]);
    tell(&mut node, &world, &with_roll(&world.view(), &roll), &roll, T0 + 60);
    assert!(node.has_notice("view-refused"), "{:?}", node.notices());
    assert_eq!(node.peers(), ["db-1", "orders-1"], "the last good view stays");
}

#[test]
fn a_roll_survives_a_restart_with_the_view() {
    let world = World::new();
    let mut node = world.settled();
    let roll = roll_of(&world, &[(NodeId([9; 16]), 5)]);
    tell(&mut node, &world, &with_roll(&world.view(), &roll), &roll, T0 + 60);
    let again = Driven::start(world.config(), Some(&node.stored()));
    assert_eq!(again.peers(), ["db-1", "orders-1"]);
    assert_eq!(again.control.belief.as_ref().unwrap().roll.root(), roll.root());
    assert_eq!(again.control.life.current.as_ref().unwrap().since(), UnixTime(T0 + 60));
}
