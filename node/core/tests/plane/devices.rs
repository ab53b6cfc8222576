//! A device without an agent: one lane, under the key of this node that its file names.

use std::sync::Arc;

use warren_node_core::session::LaneSecret;
use warren_wire::id::WgKey;
use warren_wire::trust::Member;

use crate::both;
use crate::rogue::Rogue;
use crate::world::{Keyed, World, assembly, pairs, secrets, udp4, underlay};

both!(a_device_is_answered_under_the_key_its_file_names_and_under_no_other);

/// The key that node 1 had before: the first of a node that is not there.
const BEFORE: usize = 8;

/// Node 1 knows node 0 as a device whose file names `my_key`.
fn knows<E: Keyed>(my_key: Option<WgKey>) -> World<E> {
    let world = World::<E>::new(2, 2, false);
    let mut told = assembly(1, &[0], &pairs(2), 2, 2);
    for spec in told.peers.values_mut() {
        let lanes = spec.member.lanes.iter().take(1).copied().collect();
        spec.member = Arc::new(Member { identity: None, lanes, ..(*spec.member).clone() });
        (spec.my_key, spec.candidates) = (my_key, Vec::new());
    }
    let keys = secrets(1, 2).into_iter().chain(secrets(BEFORE, 1)).collect();
    world.nodes[1].plane.replace_engine(E::from_secrets(keys));
    world.nodes[1].plane.publish(&told, world.now);
    world
}

/// Does the device get through to node 1 under this node's first key?
fn gets_through<E: Keyed>(world: &mut World<E>, key_of: usize) -> bool {
    world.pass(1000);
    let mut device = Rogue::<E>::new(0, key_of, 0, underlay(0), world.now);
    let knock = device.initiation(world.now);
    let answers = world.deliver(1, &knock);
    if answers.is_empty() {
        return false;
    }
    device.handle(&answers, world.now);
    let sealed = device.seal(&udp4(0, 1, 4000, 53, b"hello"), world.now);
    world.deliver(1, &sealed);
    !world.received(1).is_empty()
}

fn a_device_is_answered_under_the_key_its_file_names_and_under_no_other<E: Keyed>() {
    let first = |node| secrets(node, 1).first().map(LaneSecret::public);
    // The file names the old key; the present one; none was issued; one that this node does not have any more.
    for (my_key, before, now) in [
        (first(BEFORE), true, false),
        (first(1), false, true),
        (None, false, true),
        (Some(WgKey([3; 32])), false, true),
    ] {
        let mut world = knows::<E>(my_key);
        assert_eq!(gets_through(&mut world, BEFORE), before, "{my_key:?}");
        assert_eq!(gets_through(&mut world, 1), now, "{my_key:?}");
    }
}
