//! The hostile coordinator: everything on its disk and its online key, but not the authority file. It adds no peer and
//! opens no port; what it says wrongly changes nothing and is complained about.

use std::collections::BTreeSet;

use proptest::prelude::*;
use warren_config::item::ItemTree;
use warren_config::policy::Protocol;
use warren_wire::frame::CoordinatorSays;
use warren_wire::issue::{self, LaneSecret};
use warren_wire::specimen::{EPOCH_TIME, SpecimenNetwork, SpecimenNode};
use warren_wire::trust::Record;
use warren_wire::view::{Body, Entry, Key, RemovedKey, View};
use zeroize::Zeroizing;

use super::super::*;
use super::world::{Driven, POLICY, T0, World, policy};

/// What may pass in the honest world, in both directions: the measure of "adds no peer, opens no port".
fn openings(control: &Control) -> BTreeSet<(NodeId, bool, u16)> {
    let publication = control.publication().unwrap();
    let ports = [22, 80, 5432, 8443, 8444, 65535];
    let mut open = BTreeSet::new();
    for (id, peer) in &publication.assembly.peers {
        for port in ports {
            for (outbound, rules) in [(true, &peer.outbound), (false, &peer.inbound)] {
                if rules.judge(Protocol::Tcp, port, UnixTime(T0)).passes() {
                    open.insert((*id, outbound, port));
                }
            }
        }
    }
    open
}

/// Says `view` to a settled node, at a higher revision; nothing may be gained. Returns the node.
fn lie(world: &mut World, view: View) -> Driven {
    let mut node = world.settled();
    let honest = openings(&node.control);
    world.revision += 1;
    node.view(world.whole(view));
    assert!(openings(&node.control).is_subset(&honest), "something was opened");
    node
}

fn refused_whole(node: &Driven) {
    assert_eq!(node.peers(), ["db-1", "orders-1"], "the last good view stays");
    assert!(node.has_notice("view-refused"));
    assert_eq!(node.control.memory.view.1, 10, "and nothing of the lie is remembered");
}

fn put(view: &mut View, entry: Entry) {
    view.insert(entry).unwrap();
}

/// A node whose whole chain is signed by keys the attacker has: the coordinator's in the authority's place.
fn forged_node(world: &World, index: u64, name: &str, tags: &[&str]) -> SpecimenNode {
    let mut node = world.net.node(index, name, tags);
    let token = warren_wire::id::IdentityKey::of(&node.token);
    let by = &world.net.coordinator;
    node.record.delegation = Some(issue::delegation(world.net.id(), &token, &world.net.terms(&node), by));
    node
}

#[test]
fn a_record_without_an_authority_changes_nothing() {
    let mut world = World::new();
    let evil = forged_node(&world, 9, "orders-9", &["orders"]);
    let foreign = SpecimenNetwork::new(77).node(9, "orders-9", &["orders"]);
    for record in [evil.record.clone(), foreign.record.clone(), Record::default()] {
        let mut view = world.view();
        put(&mut view, Entry::peer(evil.id, record));
        let node = lie(&mut world, view);
        assert_eq!(node.peers(), ["db-1", "orders-1"], "isolated, the rest is served");
        assert!(node.complaints() > 0 && node.has_notice("entry-isolated"));
        assert_eq!(node.control.status(node.now).revision, 10 + (world.revision - 10));
    }
}

#[test]
fn a_hostile_coordinator_with_everything_but_the_authority_adds_no_peer() {
    let mut world = World::new();
    let spare = world.net.node(9, "orders-9", &["orders"]);
    let web = &world.web;
    // Keys swapped under a signed peer, by an identity that is not the peer's.
    let lanes = [LaneSecret { private: Zeroizing::new([9; 32]), nonce: Zeroizing::new([1; 64]) }];
    let swapped = issue::sign_lane_keys(world.net.id(), &spare.identity, 2, &lanes);
    let key_swap = Record { keys: Some(swapped), ..world.orders.record.clone() };
    // An admission moved under another token's delegation.
    let delegation_swap =
        Record { delegation: spare.record.delegation.clone(), ..world.orders.record.clone() };
    // New tags by the coordinator's hand.
    let subject =
        warren_config::policy::Subject { name: web.subject.name.clone(), ..world.db.subject.clone() };
    let amended = issue::amendment(world.net.id(), world.orders.id, 1, &subject, &world.net.coordinator);
    let amendment = Record { amendment: Some(amended), ..world.orders.record.clone() };
    for record in [key_swap, delegation_swap, amendment, spare.record.clone(), world.web.record.clone()] {
        let mut view = world.view();
        put(&mut view, Entry::peer(world.orders.id, record));
        let node = lie(&mut world, view);
        let publication = node.control.publication().unwrap();
        let held = &publication.assembly.peers[&world.orders.id].member;
        assert_eq!(**held, world.net.member(&world.orders).unwrap(), "the last good record stays");
        assert!(node.complaints() > 0);
    }
}

#[test]
fn a_hostile_coordinator_with_everything_but_the_authority_opens_no_port() {
    let world = World::new();
    let wider = POLICY.replace("tcp/8443", "tcp/1-65535");
    let wide = World { tree: ItemTree::new(&policy(&wider)), generation: 4, ..World::new() };
    let heads: Vec<(&str, Signed)> = vec![
        (
            "by the coordinator",
            issue::policy_head(world.net.id(), &wide.signed_policy(), EPOCH_TIME, &world.net.coordinator),
        ),
        ("of another network", SpecimenNetwork::new(8).policy_head(4, wide.tree.root(), wide.tree.len())),
        ("none at all", Signed::default()),
    ];
    for (what, head) in heads {
        let mut lying = World { generation: 4, ..World::new() };
        let mut view = wide.view();
        put(&mut view, Entry::new(Body::PolicyHead(head)));
        let mut node = world.settled();
        let honest = openings(&node.control);
        lying.revision = 11;
        node.view(lying.whole(view));
        assert_eq!(openings(&node.control), honest, "{what}");
        refused_whole(&node);
    }
    // Items: one changed, one under another's proof, one of the wider policy, one out of range.
    let honest = |i: u64| match world.item(i).body {
        Some(Body::Item(item)) => item,
        _ => panic!(),
    };
    let mut lies = Vec::new();
    for i in 0..world.tree.len() {
        let mut changed = honest(i);
        changed.item =
            String::from_utf8(changed.item).unwrap().replace("8443", "22").replace("web", "db").into_bytes();
        let mut swapped = honest(i);
        swapped.path = honest((i + 1) % world.tree.len()).path;
        let mut moved = honest(i);
        moved.index = (i + 1) % world.tree.len();
        let mut beyond = honest(i);
        beyond.index = 9999;
        lies.extend([changed, swapped, moved, beyond].into_iter().filter(|lie| *lie != honest(i)));
    }
    lies.extend((0..wide.tree.len()).filter_map(|i| match wide.item(i).body {
        Some(Body::Item(item)) if item.item != honest(i).item => Some(item),
        _ => None,
    }));
    assert!(lies.len() > 10);
    for item in lies {
        let mut world = World::new();
        let mut view = world.view();
        put(&mut view, Entry::new(Body::Item(item)));
        refused_whole(&lie(&mut world, view));
    }
}

#[test]
fn items_that_are_withheld_open_nothing() {
    for withheld in 0..World::new().tree.len() {
        let mut world = World::new();
        let mut view = world.view();
        view.entries.remove(&Key::Item(withheld));
        lie(&mut world, view);
    }
    let mut world = World::new();
    let mut view = world.view();
    view.entries.retain(|key, _| !matches!(key, Key::Item(_)));
    assert!(lie(&mut world, view).peers().is_empty());
}

#[test]
fn heads_are_not_mixed() {
    let mut world = World::new();
    let view = world.view();
    // The view's head names another generation than the signed policy in it.
    let mut node = world.settled();
    (world.revision, world.generation) = (11, 4);
    node.view(world.whole(view));
    refused_whole(&node);
    assert!(node.notices().iter().any(|n| n.message.contains("mixes states")));
    // Another node's view, and a head by somebody else.
    let mut world = World::new();
    world.revision = 11;
    let others = world.net.view_head(world.orders.id, &world.state(), &world.view().digest());
    let by = issue::view_head(
        world.net.id(),
        world.web.id,
        &world.state(),
        &world.view().digest(),
        &world.net.authority,
    );
    for head in [others, by] {
        let mut node = world.settled_at(10);
        let mut deltas = world.whole(world.view());
        deltas.last_mut().unwrap().head = Some(head);
        node.view(deltas);
        refused_whole(&node);
    }
}

/// The authority signed generation 3 twice: the first was refused (a full disk, say), the coordinator kept its head.
#[test]
fn of_two_policies_with_one_number_the_one_that_is_enforced_stays() {
    let wider = POLICY.replace("8443", "1-65535");
    assert_ne!(wider, POLICY);
    let mut world = World::new();
    let mut node = world.settled();
    let honest = openings(&node.control);
    let other = World { tree: ItemTree::new(&policy(&wider)), revision: 11, ..World::new() };
    node.view(other.whole(other.view()));
    assert_eq!(openings(&node.control), honest);
    refused_whole(&node);
    // With a number of its own it is believed.
    world.revision = 11;
    let other = World { generation: 4, ..other };
    node.reconnect(&other, T0 + 40);
    node.view(other.whole(other.view()));
    assert_ne!(openings(&node.control), honest);
}

#[test]
fn a_view_with_a_wrong_digest_is_refused_whole() {
    let mut world = World::new();
    let mut node = world.settled();
    world.revision = 11;
    let mut deltas = world.whole(world.view());
    for delta in &mut deltas {
        delta.put.retain(|entry| !matches!(entry.key(), Ok(Key::Item(_))));
    }
    node.view(deltas);
    refused_whole(&node);
}

#[test]
fn a_lower_generation_than_seen_is_refused_across_a_restart() {
    let world = World::new();
    let old = World { generation: 2, revision: 11, ..World::new() };
    let stored = world.settled().stored();
    for mut node in [world.settled(), Driven::start(world.config(), Some(&stored))] {
        node.reconnect_if_away(&world);
        node.view(old.whole(old.view()));
        refused_whole(&node);
    }
    // Nor under a higher epoch: only the authority can make an old policy new, by signing it in that epoch.
    let mut restored = World { generation: 2, revision: 5, epoch: 2, ..World::new() };
    let old_head = old.policy_head();
    let mut view = restored.view();
    put(&mut view, Entry::new(Body::PolicyHead(old_head)));
    let mut node = world.settled();
    node.view(restored.whole(view));
    refused_whole(&node);
    let mut node = world.settled();
    restored.revision = 6;
    node.view(restored.whole(restored.view()));
    assert_eq!(node.control.publication().unwrap().assembly.generation, 2);
}

#[test]
fn a_lower_revision_or_epoch_than_seen_is_refused_across_a_restart() {
    let world = World::new();
    let stored = world.settled().stored();
    for (epoch, revision) in [(1, 9), (0, 99)] {
        let old = World { epoch, revision, ..World::new() };
        for mut node in [world.settled(), Driven::start(world.config(), Some(&stored))] {
            node.reconnect_if_away(&world);
            let mut view = old.view();
            put(&mut view, Entry::new(Body::PolicyHead(world.policy_head())));
            node.view(old.whole(view));
            refused_whole(&node);
        }
    }
}

#[test]
fn an_older_record_of_a_peer_is_refused_for_ever() {
    let mut world = World::new();
    let mut node = world.settled();
    let first = world.orders.record.clone();
    // The authority takes the tag away: no longer a peer. Later the coordinator shows the old record.
    let subject = warren_config::policy::Subject { tags: BTreeSet::new(), ..world.orders.subject.clone() };
    world.orders.record.amendment =
        Some(issue::amendment(world.net.id(), world.orders.id, 1, &subject, &world.net.authority));
    world.revision = 11;
    node.view(world.whole(world.view()));
    assert_eq!(node.peers(), ["db-1"]);
    world.orders.record = first;
    world.revision = 12;
    let stored = node.stored();
    for mut node in [node, Driven::start(world.config(), Some(&stored))] {
        node.reconnect_if_away(&world);
        node.view(world.whole(world.view()));
        assert_eq!(node.peers(), ["db-1"]);
        assert!(node.has_notice("entry-isolated"));
    }
}

#[test]
fn a_revocation_is_remembered_for_ever() {
    let mut world = World::new();
    let mut node = world.settled();
    let revocation =
        issue::revocation(world.net.id(), world.orders.id, UnixTime(T0), "stolen", &world.net.authority);
    world.revision = 11;
    let mut view = world.view();
    put(&mut view, Entry::revoked(world.orders.id, revocation));
    node.view(world.whole(view));
    assert_eq!(node.peers(), ["db-1"]);
    // A later view shows the record again and no revocation, also after a restart.
    let stored = node.stored();
    world.revision = 12;
    for mut node in [node, Driven::start(world.config(), Some(&stored))] {
        node.reconnect_if_away(&world);
        node.view(world.whole(world.view()));
        assert_eq!(node.peers(), ["db-1"]);
        assert!(node.has_notice("entry-isolated"));
    }
}

#[test]
fn a_revocation_by_the_coordinator_alone_is_no_revocation() {
    let mut world = World::new();
    let by = &world.net.coordinator;
    let forged = issue::revocation(world.net.id(), world.orders.id, UnixTime(T0), "out", by);
    let other = issue::revocation(world.net.id(), world.db.id, UnixTime(T0), "out", &world.net.authority);
    for revocation in [forged, other] {
        let mut view = world.view();
        put(&mut view, Entry::revoked(world.orders.id, revocation));
        assert_eq!(lie(&mut world, view).peers(), ["db-1", "orders-1"]);
    }
}

#[test]
fn a_revoked_node_cuts_itself_and_stays_cut() {
    let mut world = World::new();
    let mut node = world.settled();
    let revocation =
        issue::revocation(world.net.id(), world.web.id, UnixTime(T0), "lost", &world.net.authority);
    world.revision = 11;
    let mut view = world.view();
    put(&mut view, Entry::revoked(world.web.id, revocation));
    node.view(world.whole(view));
    let reason = Some(CutReason::Revoked { why: "lost".into() });
    assert_eq!((node.peers().len(), node.cut()), (0, reason.clone()));
    let stored = node.stored();
    assert_eq!(Driven::start(world.config(), Some(&stored)).cut(), reason);
}

#[test]
fn of_two_claimants_of_one_key_or_address_only_the_one_that_held_it_is_served() {
    let mut world = World::new();
    // A valid member with the lane key of orders-1 (two hosts made from one image), and one with its address.
    let mut twin = world.net.node(20, "orders-2", &["orders"]);
    twin.lanes = world.orders.lanes.clone();
    twin.record.keys = Some(issue::sign_lane_keys(world.net.id(), &twin.identity, 1, &twin.lane_secrets(1)));
    let mut squatter = world.net.node(21, "orders-3", &["orders"]);
    squatter.v4 = world.orders.v4;
    squatter.record.admission =
        Some(issue::admission(world.net.id(), &squatter.place(), &squatter.token, &squatter.identity));
    let mut namesake = world.net.node(22, "orders-1", &["orders"]);
    namesake.subject.name = world.orders.subject.name.clone();
    for claimant in [&twin, &squatter, &namesake] {
        assert!(world.net.member(claimant).is_ok(), "alone it would be a member");
        let mut view = world.view();
        put(&mut view, Entry::peer(claimant.id, claimant.record.clone()));
        let node = lie(&mut world, view.clone());
        assert_eq!(node.peers(), ["db-1", "orders-1"], "the one that held it keeps it");
        // To a node that knows neither, both are refused.
        let mut fresh = Driven::start(world.config(), None);
        fresh.welcome(&world, T0);
        fresh.view(world.whole(view));
        fresh.say(CoordinatorSays::Freshness(world.freshness(T0)));
        assert_eq!(fresh.peers(), ["db-1"]);
    }
    // This node's own key is its own.
    let mut thief = world.net.node(23, "orders-4", &["orders"]);
    thief.lanes = world.web.lanes.clone();
    thief.record.keys =
        Some(issue::sign_lane_keys(world.net.id(), &thief.identity, 1, &thief.lane_secrets(1)));
    let mut view = world.view();
    put(&mut view, Entry::peer(thief.id, thief.record.clone()));
    assert_eq!(lie(&mut world, view).peers(), ["db-1", "orders-1"]);
}

#[test]
fn hints_lead_neither_into_the_overlay_nor_nowhere() {
    let mut world = World::new();
    let told = [
        "100.64.0.4:1",
        "127.0.0.1:1",
        "224.0.0.1:1",
        "192.0.2.2:0",
        "[fe80::1]:1",
        "not an address",
        "198.51.100.7:51820",
    ];
    let mut view = world.view();
    put(&mut view, Entry::endpoints(world.orders.id, told.iter().map(ToString::to_string).collect(), None));
    let node = lie(&mut world, view);
    let publication = node.control.publication().unwrap();
    assert_eq!(
        publication.assembly.peers[&world.orders.id].candidates,
        ["198.51.100.7:51820".parse().unwrap()]
    );
}

impl World {
    fn settled_at(&self, revision: u64) -> Driven {
        World { revision, ..World::new() }.settled()
    }
}

impl Driven {
    fn reconnect_if_away(&mut self, world: &World) {
        if self.control.session != Session::Authorised {
            self.reconnect(world, T0);
        }
    }
}

/// One mutation of what an honest coordinator would say.
#[derive(Clone, Debug)]
enum Lie {
    DropEntry(usize),
    FlipByte(usize, usize, u8),
    SwapBodies(usize, usize),
    Base(Option<u64>),
    Remove(u32, Vec<u8>),
    Foreign(usize),
}

fn any_lie() -> impl Strategy<Value = Lie> {
    prop_oneof![
        any::<usize>().prop_map(Lie::DropEntry),
        (any::<usize>(), any::<usize>(), 1u8..).prop_map(|(e, at, by)| Lie::FlipByte(e, at, by)),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Lie::SwapBodies(a, b)),
        prop::option::of(0u64..20).prop_map(Lie::Base),
        (0u32..9, prop::collection::vec(any::<u8>(), 0..17)).prop_map(|(kind, id)| Lie::Remove(kind, id)),
        any::<usize>().prop_map(Lie::Foreign),
    ]
}

fn tell(lie: &Lie, world: &World, deltas: &mut [warren_wire::view::Delta]) {
    use prost::Message as _;
    let Some(delta) = deltas.first_mut() else { return };
    let n = delta.put.len().max(1);
    match lie {
        Lie::DropEntry(i) => drop(delta.put.remove(i % n)),
        Lie::FlipByte(i, at, by) => {
            let mut bytes = delta.put[i % n].encode_to_vec();
            let at = at % bytes.len().max(1);
            bytes[at] ^= by;
            if let Ok(entry) = Entry::decode(bytes.as_slice()) {
                delta.put[i % n] = entry;
            }
        }
        Lie::SwapBodies(a, b) => delta.put.swap(a % n, b % n),
        Lie::Base(base) => delta.base_revision = *base,
        Lie::Remove(kind, id) => delta.remove.push(RemovedKey { kind: *kind, id: id.clone() }),
        Lie::Foreign(i) => {
            let other = SpecimenNetwork::new(99).node(50 + (i % 5) as u64, "orders-7", &["orders"]);
            let id = if i % 2 == 0 { other.id } else { world.orders.id };
            delta.put.push(Entry::peer(id, other.record));
        }
    }
}

/// Re-signs the head over what the lie made of the view, as the holder of the online key can.
fn resign(world: &World, deltas: &mut [warren_wire::view::Delta]) {
    let mut view = View::default();
    for delta in deltas.iter() {
        for entry in &delta.put {
            let _ = view.insert(entry.clone());
        }
    }
    let head = world.net.view_head(world.web.id, &world.state(), &view.digest());
    if let Some(last) = deltas.last_mut() {
        last.head = Some(head);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever is changed, and signed again by the online key: no panic, no new peer, no new port.
    #[test]
    fn arbitrary_lies_add_no_peer(lies in prop::collection::vec(any_lie(), 1..4), signed: bool) {
        let mut world = World::new();
        let mut node = world.settled();
        let honest = openings(&node.control);
        world.revision = 11;
        let mut deltas = world.whole(world.view());
        lies.iter().for_each(|lie| tell(lie, &world, &mut deltas));
        if signed {
            resign(&world, &mut deltas);
        }
        node.view(deltas);
        prop_assert!(openings(&node.control).is_subset(&honest));
    }

    /// Bytes that happen to be frames, in any state of the session.
    #[test]
    fn arbitrary_frames_never_panic_and_never_add_a_peer(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 1..8),
        welcome: bool,
    ) {
        use prost::Message as _;
        let world = World::new();
        let mut node = Driven::start(world.config(), None);
        if welcome {
            node.welcome(&world, T0);
        }
        for bytes in frames {
            for tag in 1u8..8 {
                let led = [vec![tag << 3 | 2, bytes.len() as u8], bytes.clone()].concat();
                if let Ok(frame) = warren_wire::frame::ToNode::decode(led.as_slice()) {
                    node.control.handle_frame(frame, node.now);
                    node.drain();
                }
            }
        }
        prop_assert!(node.peers().is_empty());
    }
}
