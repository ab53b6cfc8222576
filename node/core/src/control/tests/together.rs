//! What comes in quick succession is enforced once and written once, before it is acknowledged.

use std::sync::Arc;

use warren_wire::frame::{CoordinatorSays, ToNode};
use warren_wire::issue;
use warren_wire::view::{Body, Entry, Key, View};

use super::super::*;
use super::world::{Driven, T0, World};

/// A node that knows `db-1` only, and the view that it holds.
fn with_one_peer(world: &World) -> (Driven, View) {
    let held = world.view_of(&world.web, &[&world.db]);
    let mut node = Driven::start(world.config(), None);
    node.welcome(world, T0);
    node.view(world.whole(held.clone()));
    node.say(CoordinatorSays::Freshness(world.freshness(T0)));
    assert_eq!(node.peers(), ["db-1"]);
    node.outputs.clear();
    (node, held)
}

/// `next` in place of `held`, at the next revision.
fn step(world: &mut World, held: &mut View, next: View) -> Vec<CoordinatorSays> {
    let base = world.revision;
    world.revision += 1;
    let deltas = world.deltas(Some(base), std::mem::replace(held, next.clone()), next);
    let fresh = CoordinatorSays::Freshness(world.freshness(T0));
    deltas.into_iter().map(CoordinatorSays::Delta).chain([fresh]).collect()
}

fn count(node: &Driven, is_such: impl Fn(&Output) -> bool) -> usize {
    node.outputs.iter().filter(|output| is_such(output)).count()
}

fn worlds(node: &Driven) -> usize {
    count(node, |output| matches!(output, Output::Publish(_)))
}

fn files(node: &Driven) -> usize {
    count(node, |output| matches!(output, Output::Store(_)))
}

#[test]
fn what_comes_together_is_enforced_and_written_once() {
    let mut world = World::new();
    let (mut node, mut held) = with_one_peer(&world);
    node.advance_to(Mono::from_millis(5_000));
    let both = world.view();
    let moved = {
        let mut view = both.clone();
        view.insert(Entry::endpoints(world.db.id, vec!["192.0.2.99:51820".to_owned()], None)).unwrap();
        view
    };
    let mut said = step(&mut world, &mut held, both);
    said.extend(step(&mut world, &mut held, moved));
    for says in said {
        node.control.handle_frame(ToNode { says: Some(says) }, node.now);
    }
    node.drain();
    assert_eq!((worlds(&node), files(&node)), (1, 1));
    assert_eq!(node.peers(), ["db-1", "orders-1"]);
    let publication = node.control.publication().unwrap();
    assert_eq!(publication.assembly.revision, world.revision, "all of it");
    assert_eq!(Driven::start(world.config(), Some(&node.stored())).peers().len(), 2);
}

/// A peer that comes, one that is gone, one that is revoked, a policy: a restart never knows less than was acknowledged.
#[test]
fn what_is_acknowledged_is_written_before() {
    let takes: [fn(&mut World, &mut View); 4] = [
        |world, view| view.insert(Entry::peer(world.orders.id, world.orders.record.clone())).unwrap(),
        |world, view| drop(view.entries.remove(&Key::Peer(world.db.id))),
        |world, view| {
            let at = UnixTime(T0);
            let revocation = issue::revocation(world.net.id(), world.db.id, at, "lost", &world.net.authority);
            view.insert(Entry::revoked(world.db.id, revocation)).unwrap();
        },
        |world, view| {
            world.generation += 1;
            view.entries.insert(Key::PolicyHead, Arc::new(Entry::new(Body::PolicyHead(world.policy_head()))));
        },
    ];
    for take in takes {
        let mut world = World::new();
        let (mut node, mut held) = with_one_peer(&world);
        let mut next = held.clone();
        take(&mut world, &mut next);
        let said = step(&mut world, &mut held, next);
        node.say(said[0].clone());
        let place = |is_such: fn(&Output) -> bool| node.outputs.iter().position(is_such);
        let written = place(|output| matches!(output, Output::Store(_)));
        let enforced = |output: &Output| matches!(output, Output::Send(frame) if matches!(frame.says, Some(NodeSays::Enforced(_))));
        assert!(written.is_some() && written < place(enforced), "{:?}", node.outputs);
    }
}
