//! Views, deltas and their frames.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use proptest::prelude::*;
use prost::Message as _;
use warren_wire::frame::{CoordinatorSays, MAX_FRAME};
use warren_wire::id::{Digest, NodeId};
use warren_wire::signed::{SignatureBy, Signed};
use warren_wire::specimen::SpecimenNetwork;
use warren_wire::statement::ViewHead;
use warren_wire::trust::Record;
use warren_wire::view::{
    Assembled, Assembler, Body, DELTA_BYTES, Delta, Entry, Key, MAX_CANDIDATES, ProvenItem, RemovedKey, View,
    ViewError, cut,
};

fn signed(n: u8) -> Signed {
    Signed { kind: 1, body: vec![n; usize::from(n)], signatures: vec![] }
}

fn record(n: u8) -> Record {
    Record { admission: Some(signed(n)), ..Record::default() }
}

fn id(n: u8) -> NodeId {
    NodeId([n; 16])
}

/// Few keys, so that two random views share many of them.
fn entry() -> impl Strategy<Value = Entry> {
    let n = 0_u8..6;
    prop_oneof![
        any::<u8>().prop_map(|n| Entry::new(Body::Charter(signed(n)))),
        any::<u8>().prop_map(|n| Entry::new(Body::Me(record(n)))),
        any::<u8>().prop_map(|n| Entry::new(Body::PolicyHead(signed(n)))),
        (0_u64..300, any::<u8>(), 0_usize..3).prop_map(|(index, byte, steps)| {
            Entry::new(Body::Item(ProvenItem { index, item: vec![byte; 9], path: vec![byte; 32 * steps] }))
        }),
        (n.clone(), any::<u8>()).prop_map(|(n, m)| Entry::peer(id(n), record(m))),
        (n.clone(), any::<u16>()).prop_map(|(n, p)| Entry::endpoints(
            id(n),
            vec![format!("192.0.2.1:{p}")],
            None
        )),
        (n, any::<u8>()).prop_map(|(n, m)| Entry::revoked(id(n), signed(m))),
    ]
}

fn view() -> impl Strategy<Value = View> {
    proptest::collection::vec(entry(), 0..40).prop_map(|entries| {
        let mut view = View::default();
        for entry in entries {
            view.insert(entry).unwrap();
        }
        view
    })
}

fn removed(keys: &[Key]) -> Vec<RemovedKey> {
    keys.iter().map(RemovedKey::from).collect()
}

/// Feeds frames as they would come off the wire.
fn assemble(held: Option<(u64, &View)>, frames: Vec<Delta>) -> Result<Option<Assembled>, ViewError> {
    let mut assembler = Assembler::new();
    let mut last = None;
    for frame in frames {
        assert!(last.is_none(), "a head came before the last frame");
        let bytes = frame.encode_to_vec();
        last = assembler.push(held, Delta::decode(bytes.as_slice()).unwrap())?;
    }
    Ok(last)
}

/// The slow judge of `changes_to`: looks at every key of both.
fn changes_slowly(old: &View, new: &View) -> (Vec<Key>, Vec<Key>) {
    let mut keys: Vec<Key> = old.entries.keys().chain(new.entries.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    let (mut put, mut remove) = (vec![], vec![]);
    for key in keys {
        match (old.entries.get(&key), new.entries.get(&key)) {
            (a, Some(b)) if a != Some(b) => put.push(key),
            (Some(_), None) => remove.push(key),
            _ => {}
        }
    }
    (put, remove)
}

proptest! {
    #[test]
    fn a_change_applied_leads_to_the_newer_view(old in view(), new in view()) {
        let (put, remove) = old.changes_to(&new);
        let keys: Vec<Key> = put.iter().map(|e| e.key().unwrap()).collect();
        prop_assert_eq!((keys, remove.clone()), changes_slowly(&old, &new));
        let mut view = old.clone();
        view.apply(put, &removed(&remove)).unwrap();
        prop_assert_eq!(view.digest(), new.digest());
        prop_assert_eq!(view, new);
    }

    #[test]
    fn a_change_cut_into_frames_and_put_together_is_the_same_change(
        old in view(), new in view(), max in 1_usize..2000,
    ) {
        let (put, remove) = old.changes_to(&new);
        let whole = new.entries.values().map(|entry| Entry::clone(entry)).collect();
        let delta = cut(Some(7), put, remove, signed(9), max);
        let got = assemble(Some((7, &old)), delta).unwrap().unwrap();
        prop_assert_eq!((&got.view, &got.head, got.whole), (&new, &signed(9), false));
        let got = assemble(Some((7, &old)), cut(None, whole, vec![], signed(9), max)).unwrap().unwrap();
        prop_assert_eq!((&got.view, got.whole), (&new, true));
    }

    #[test]
    fn a_frame_is_over_the_size_only_if_one_entry_is(old in view(), new in view(), max in 1_usize..2000) {
        let (put, remove) = old.changes_to(&new);
        for frame in cut(Some(u64::MAX), put, remove, signed(9), max) {
            let parts = frame.put.len() + frame.remove.len() + usize::from(frame.head.is_some());
            prop_assert!(frame.encoded_len() <= max || parts == 1);
        }
    }

    #[test]
    fn only_the_last_frame_carries_the_head(new in view(), max in 1_usize..500) {
        let frames = cut(None, new.entries.values().map(|entry| Entry::clone(entry)).collect(), vec![], signed(9), max);
        let heads: Vec<bool> = frames.iter().map(|f| f.head.is_some()).collect();
        prop_assert_eq!(heads.iter().filter(|h| **h).count(), 1);
        prop_assert_eq!(heads.last(), Some(&true));
    }

    #[test]
    fn the_digest_differs_when_anything_differs(a in view(), b in view()) {
        prop_assert_eq!(a.digest() == b.digest(), a == b);
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_arrival(a in view()) {
        let mut backwards = View::default();
        for entry in a.entries.values().rev() {
            backwards.insert(Entry::clone(entry)).unwrap();
        }
        prop_assert_eq!(backwards.digest(), a.digest());
    }

    #[test]
    fn a_frame_left_out_is_noticed(new in view(), leave_out in 0_usize..20) {
        let mut frames = cut(None, new.entries.values().map(|entry| Entry::clone(entry)).collect(), vec![], signed(9), 1);
        prop_assume!(frames.len() > 1);
        frames.remove(leave_out % (frames.len() - 1)); // any but the last, which carries the head
        let got = assemble(None, frames).unwrap().unwrap();
        let head = ViewHead { digest: new.digest().0.to_vec(), ..Default::default() };
        prop_assert_eq!(got.check(&head), Err(ViewError::WrongDigest));
    }

    #[test]
    fn removing_unknown_keys_is_harmless(a in view(), n in 100_u8..200) {
        let mut view = a.clone();
        let unknown = [Key::Peer(id(n)), Key::Item(u64::from(n) + 1000), Key::Revoked(id(n))];
        view.apply(vec![], &removed(&unknown)).unwrap();
        prop_assert_eq!(view, a);
    }

    #[test]
    fn arbitrary_frames_never_panic_and_never_change_what_is_held(
        held in view(), bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(delta) = Delta::decode(bytes.as_slice()) {
            let before = held.clone();
            let _ = Assembler::new().push(Some((1, &held)), delta.clone());
            prop_assert_eq!(&held, &before);
            let mut view = held.clone();
            if view.apply(delta.put, &delta.remove).is_err() {
                prop_assert_eq!(view, before);
            }
        }
    }

    #[test]
    fn a_mutated_delta_never_panics_and_never_passes_for_the_real_one(
        new in view(), at in any::<prop::sample::Index>(), flip in 1_u8..=255,
    ) {
        let frames = cut(None, new.entries.values().map(|entry| Entry::clone(entry)).collect(), vec![], signed(9), DELTA_BYTES);
        let mut bytes = frames[0].encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let head = ViewHead { digest: new.digest().0.to_vec(), ..Default::default() };
        if let Ok(Ok(Some(got))) = Delta::decode(bytes.as_slice()).map(|d| Assembler::new().push(None, d)) {
            prop_assert_eq!(got.check(&head).is_ok(), got.view == new);
        }
    }
}

#[test]
fn nothing_and_no_change_are_different_messages() {
    let net = SpecimenNetwork::new(1);
    let mut held = View::default();
    held.insert(Entry::new(Body::Charter(net.charter.clone()))).unwrap();
    let nothing =
        assemble(Some((3, &held)), cut(None, vec![], vec![], signed(1), DELTA_BYTES)).unwrap().unwrap();
    assert_eq!((nothing.view, nothing.whole), (View::default(), true));
    let same =
        assemble(Some((3, &held)), cut(Some(3), vec![], vec![], signed(1), DELTA_BYTES)).unwrap().unwrap();
    assert_eq!((same.view, same.whole), (held, false));
}

#[test]
fn a_delta_on_another_revision_is_refused() {
    let held = View::default();
    let frames = || cut(Some(4), vec![], vec![], signed(1), DELTA_BYTES);
    assert_eq!(assemble(Some((3, &held)), frames()), Err(ViewError::WrongBase { needs: 4, has: 3 }));
    assert_eq!(assemble(None, frames()), Err(ViewError::WrongBase { needs: 4, has: 0 }));
    // Revision 0 held is not the same as nothing held.
    let zero = cut(Some(0), vec![], vec![], signed(1), DELTA_BYTES);
    assert!(assemble(None, zero).is_err());
}

#[test]
fn frames_of_one_delta_build_on_one_revision() {
    let held = View::default();
    let mut assembler = Assembler::new();
    let first = Delta { base_revision: None, ..Default::default() };
    assert_eq!(assembler.push(Some((3, &held)), first), Ok(None));
    assert!(assembler.is_pending());
    let second = Delta { base_revision: Some(3), head: Some(signed(1)), ..Default::default() };
    assert!(matches!(assembler.push(Some((3, &held)), second), Err(ViewError::Malformed(_))));
    assert!(!assembler.is_pending());
}

#[test]
fn a_key_named_twice_in_one_delta_is_refused() {
    let peer = || Entry::peer(id(1), record(1));
    let remove = RemovedKey::from(&Key::Peer(id(1)));
    for (put, remove) in [
        (vec![peer(), peer()], vec![]),
        (vec![peer()], vec![remove.clone()]),
        (vec![], vec![remove.clone(), remove.clone()]),
    ] {
        let mut view = View::default();
        view.insert(Entry::new(Body::Me(record(2)))).unwrap();
        let before = view.clone();
        assert!(matches!(view.apply(put, &remove), Err(ViewError::Malformed(_))));
        assert_eq!(view, before);
    }
}

#[test]
fn an_entry_out_of_bounds_is_refused() {
    let many = |n: usize| Signed {
        signatures: vec![SignatureBy { key: vec![], signature: vec![] }; n],
        ..Signed::default()
    };
    let bad = [
        Entry { body: None },
        Entry::new(Body::Charter(many(17))),
        Entry::peer(id(1), Record { keys: Some(many(17)), ..Record::default() }),
        Entry::endpoints(id(1), vec!["192.0.2.1:1".into(); MAX_CANDIDATES + 1], None),
        Entry::endpoints(id(1), vec!["x".repeat(65)], None),
        Entry::new(Body::Item(ProvenItem { index: 65_536, ..Default::default() })),
        Entry::new(Body::Item(ProvenItem { path: vec![0; 33], ..Default::default() })),
        Entry::new(Body::Item(ProvenItem { path: vec![0; 32 * 65], ..Default::default() })),
        Entry::new(Body::Item(ProvenItem { item: vec![0; 256 * 1024 + 1], ..Default::default() })),
        Entry::new(Body::Peer(Default::default())),
        Entry::new(Body::Revoked(Default::default())),
        Entry::new(Body::Audited(Default::default())),
        Entry::new(Body::Audited(warren_wire::view::AuditedDestination {
            v6: vec![1; 16],
            v4: vec![1; 3],
            ..Default::default()
        })),
        Entry::audited(std::net::Ipv6Addr::LOCALHOST, None, vec![65_536]),
        Entry::audited(std::net::Ipv6Addr::LOCALHOST, None, vec![1; 65_537]),
    ];
    for entry in bad {
        assert!(matches!(entry.key(), Err(ViewError::Malformed(_))), "{entry:?}");
        assert!(View::default().apply(vec![entry], &[]).is_err());
    }
}

#[test]
fn a_removal_names_exactly_one_known_key() {
    for (kind, len) in [(0, 0), (1, 1), (2, 16), (4, 0), (4, 7), (4, 16), (5, 0), (6, 17), (7, 8), (8, 0)] {
        assert!(Key::try_from(&RemovedKey { kind, id: vec![1; len] }).is_err(), "{kind} {len}");
    }
    let audited = Key::Audited(std::net::Ipv6Addr::LOCALHOST);
    let node = [Key::Peer(id(1)), Key::Endpoints(id(2)), Key::Revoked(id(3))];
    for key in [Key::Charter, Key::Me, Key::PolicyHead, Key::Item(258), audited].into_iter().chain(node) {
        assert_eq!(Key::try_from(&RemovedKey::from(&key)), Ok(key));
    }
}

#[test]
fn entries_of_one_kind_are_bounded_and_too_many_change_nothing() {
    let items = |range: std::ops::Range<u64>| {
        let peer = |n: u64| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            Entry::endpoints(NodeId(bytes), vec![], None)
        };
        range.map(peer).collect::<Vec<_>>()
    };
    let mut view = View::default();
    view.apply(items(0..65_536), &[]).unwrap();
    let before = view.digest();
    assert!(matches!(view.apply(items(65_536..65_537), &[]), Err(ViewError::TooLarge { .. })));
    assert_eq!(view.digest(), before);
    let mut first = [0; 16];
    first[..8].copy_from_slice(&0_u64.to_be_bytes());
    let swap = [RemovedKey::from(&Key::Endpoints(NodeId(first)))];
    view.apply(items(65_536..65_537), &swap).unwrap();
}

#[test]
fn a_delta_over_sixty_four_mebibytes_is_refused() {
    let mut assembler = Assembler::new();
    let mut sent = 0;
    let refused = (0..2000_u64).find_map(|index| {
        let item = ProvenItem { index, item: vec![7; 256 * 1024], path: vec![] };
        sent += item.item.len();
        let delta = Delta { put: vec![Entry::new(Body::Item(item))], ..Default::default() };
        assembler.push(None, delta).err()
    });
    assert!(matches!(refused, Some(ViewError::TooLarge { .. })));
    assert!(sent <= 65 * 1024 * 1024);
}

#[test]
fn a_real_view_of_a_thousand_peers_fits_its_frames() {
    let net = SpecimenNetwork::new(1);
    let node = net.node(0, "web-1", &["web"]);
    let mut view = View::default();
    view.insert(Entry::new(Body::Charter(net.charter.clone()))).unwrap();
    for n in 0..1000_u64 {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        view.insert(Entry::peer(NodeId(bytes), node.record.clone())).unwrap();
    }
    let state = net.state(9, None);
    let head = net.view_head(node.id, &state, &view.digest());
    let frames = cut(
        None,
        view.entries.values().map(|entry| Entry::clone(entry)).collect(),
        vec![],
        head,
        DELTA_BYTES,
    );
    assert!(frames.len() > 1);
    for frame in &frames {
        assert!(CoordinatorSays::Delta(frame.clone()).into_frame().len() < MAX_FRAME / 2);
    }
    let got = assemble(None, frames).unwrap().unwrap();
    let head = net.trust.view_head(&net.network, &got.head, node.id).unwrap();
    assert_eq!(got.check(&head), Ok(()));
    assert_eq!(got.view, view);
}

#[test]
fn the_digest_of_the_empty_view_is_fixed() {
    use sha2::Digest as _;
    let expected: [u8; 32] = sha2::Sha256::digest(b"warren view v1\0").into();
    assert_eq!(View::default().digest(), Digest(expected));
}
