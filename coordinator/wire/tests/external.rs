//! Devices without an agent: in by the authority's hand alone, under the one key they have.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::net::Ipv6Addr;

use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use warren_config::policy::Subject;
use warren_wire::id::{IdentityKey, WgKey};
use warren_wire::issue::{self, Place};
use warren_wire::signed::{Signed, SignedError};
use warren_wire::specimen::{EPOCH_TIME, SpecimenNetwork, name, seed_bytes};
use warren_wire::statement::External;
use warren_wire::trust::{Member, Record, TrustError, external_id, node_id};

fn place(net: &SpecimenNetwork) -> Place {
    let node = net.node(4, "phone", &["mobile"]);
    Place { enrolled: EPOCH_TIME, ..node.place() }
}

fn key() -> WgKey {
    WgKey::of(&seed_bytes(1, "phone", 0))
}

fn record(signed: Signed) -> Record {
    Record { external: Some(signed), ..Record::default() }
}

fn phone(net: &SpecimenNetwork, by: &SigningKey) -> Record {
    record(issue::external(net.id(), &place(net), &key(), by))
}

fn member(net: &SpecimenNetwork, record: &Record) -> Result<Member, TrustError> {
    net.trust.member(&net.network, record)
}

/// After `change` to the statement, signed again by the authority.
fn with(net: &SpecimenNetwork, change: impl FnOnce(&mut External)) -> Result<Member, TrustError> {
    let mut external: External = phone(net, &net.authority).external.unwrap().peek().unwrap();
    change(&mut external);
    member(net, &record(Signed::seal(&external, &[&net.authority])))
}

#[test]
fn the_authoritys_word_makes_a_device_a_member_with_one_lane_and_no_identity() {
    let net = SpecimenNetwork::new(1);
    let device = member(&net, &phone(&net, &net.authority)).unwrap();
    assert!(device.is_external());
    assert_eq!(device.id, external_id(net.id(), &key()));
    assert_eq!((device.lanes.as_slice(), device.key_serial), ([key()].as_slice(), 0));
    assert_eq!((device.name().as_str(), device.tags().len()), ("phone", 1));
}

#[test]
fn only_the_authority_admits_a_device() {
    let net = SpecimenNetwork::new(1);
    let node = net.node(2, "web-1", &["web"]);
    for by in [&net.coordinator, &node.identity, &node.token, &SpecimenNetwork::new(2).authority] {
        let refused = member(&net, &phone(&net, by)).unwrap_err();
        assert!(matches!(refused, TrustError::Signature(SignedError::NotSignedBy { .. })), "{refused}");
    }
}

#[test]
fn no_identity_key_has_the_id_of_a_device() {
    let net = SpecimenNetwork::new(1);
    // Even the same 32 bytes, read once as an X25519 and once as an Ed25519 key.
    assert_ne!(external_id(net.id(), &key()), node_id(net.id(), &IdentityKey(key().0)));
}

#[test]
fn a_device_is_what_its_key_is_and_nothing_that_is_no_key() {
    let net = SpecimenNetwork::new(1);
    let other = external_id(net.id(), &WgKey([9; 32])).0.to_vec();
    assert!(matches!(with(&net, |e| e.node = other), Err(TrustError::OtherNode { .. })));
    let mut low_order = [[0; 32]; 2];
    low_order[1][0] = 1;
    let mut not_canonical = [0xff; 32];
    not_canonical[31] = 0x7f;
    let bad =
        low_order.into_iter().chain([not_canonical]).map(|key| key.to_vec()).chain([vec![], vec![7; 31]]);
    for key in bad {
        assert!(matches!(with(&net, |e| e.key = key.clone()), Err(TrustError::Invalid { .. })), "{key:?}");
    }
}

#[test]
fn addresses_names_and_tags_obey_the_same_rules_as_a_nodes() {
    let net = SpecimenNetwork::new(1);
    let outside = "fd00::7".parse::<Ipv6Addr>().unwrap().octets().to_vec();
    assert!(matches!(with(&net, |e| e.v6 = outside), Err(TrustError::ForeignAddress { .. })));
    assert!(matches!(with(&net, |e| e.v4 = vec![10, 0, 0, 1]), Err(TrustError::ForeignAddress { .. })));
    assert!(matches!(with(&net, |e| e.v4 = vec![1]), Err(TrustError::Malformed { .. })));
    assert!(matches!(with(&net, |e| e.name = "Phone".into()), Err(TrustError::Malformed { .. })));
    let twice = vec!["mobile".to_owned(); 2];
    assert!(matches!(with(&net, |e| e.tags = twice), Err(TrustError::Malformed { .. })));
    assert_eq!(with(&net, |e| e.v4 = Vec::new()).unwrap().v4, None, "IPv6 only");
}

#[test]
fn a_record_is_of_one_kind() {
    let net = SpecimenNetwork::new(1);
    let device = phone(&net, &net.authority);
    let node = net.node(2, "web-1", &["web"]).record;
    let mixed = [
        Record { delegation: node.delegation.clone(), ..device.clone() },
        Record { admission: node.admission.clone(), ..device.clone() },
        Record { keys: node.keys.clone(), ..device.clone() },
        Record { external: device.external.clone(), ..node },
    ];
    for record in mixed {
        assert!(matches!(member(&net, &record), Err(TrustError::Invalid { .. })));
    }
}

#[test]
fn a_device_is_renamed_and_retagged_by_the_authority_like_a_node() {
    let net = SpecimenNetwork::new(1);
    let id = external_id(net.id(), &key());
    let subject = Subject { name: name("tablet"), tags: [name("kiosk")].into() };
    let amended = |by| Some(issue::amendment(net.id(), id, 1, &subject, by));
    let record = Record { amendment: amended(&net.authority), ..phone(&net, &net.authority) };
    let device = member(&net, &record).unwrap();
    assert_eq!((device.subject, device.amendment_serial), (subject.clone(), 1));
    let forged = Record { amendment: amended(&net.coordinator), ..phone(&net, &net.authority) };
    assert!(member(&net, &forged).is_err());
}

#[test]
fn a_device_of_another_network_is_refused() {
    let (net, other) = (SpecimenNetwork::new(1), SpecimenNetwork::new(2));
    let refused = member(&net, &phone(&other, &other.authority)).unwrap_err();
    assert!(matches!(refused, TrustError::ForeignNetwork { .. }), "{refused}");
}

proptest! {
    /// Whoever changes a byte of what was signed has a statement of nobody.
    #[test]
    fn a_changed_byte_is_refused(at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let net = SpecimenNetwork::new(1);
        let mut signed = phone(&net, &net.authority).external.unwrap();
        let at = at.index(signed.body.len());
        signed.body[at] ^= 1 << bit;
        prop_assert!(member(&net, &record(signed)).is_err());
    }
}
