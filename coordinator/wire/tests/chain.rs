//! The chain record → delegation → authority: what is believed, and whose fault it is when it is not.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use warren_config::item::Root;
use warren_config::policy::Subject;
use warren_wire::id::{IdentityKey, WgKey};
use warren_wire::issue::{self, LaneSecret, NameRule, Place};
use warren_wire::signed::{Signed, SignedError};
use warren_wire::specimen::{EPOCH_TIME, SpecimenNetwork, SpecimenNode, TOKEN_LIFE, name, seed_bytes};
use warren_wire::statement::{Admission, Delegation, Freshness, NodeKeys, PolicyHead, ViewHead};
use warren_wire::trust::{MAX_FRESHNESS_SECONDS, MAX_LANES, Member, TrustError};
use zeroize::Zeroizing;

fn world() -> (SpecimenNetwork, SpecimenNode) {
    let net = SpecimenNetwork::new(1);
    let node = net.node(0, "web-1", &["web", "prod"]);
    (net, node)
}

/// The node's member after its admission was replaced by one for `place`.
fn admitted_as(
    net: &SpecimenNetwork,
    node: &mut SpecimenNode,
    change: impl FnOnce(&mut Place),
) -> Result<Member, TrustError> {
    let mut place = node.place();
    change(&mut place);
    node.record.admission = Some(issue::admission(net.id(), &place, &node.token, &node.identity));
    net.member(node)
}

/// The node's member after `change` to the raw admission, signed again by both keys.
fn admission_with(
    net: &SpecimenNetwork,
    node: &mut SpecimenNode,
    change: impl FnOnce(&mut Admission),
) -> Result<Member, TrustError> {
    let mut admission: Admission = node.record.admission.as_ref().unwrap().peek().unwrap();
    change(&mut admission);
    node.record.admission = Some(Signed::seal(&admission, &[&node.token, &node.identity]));
    net.member(node)
}

fn keys_with(
    net: &SpecimenNetwork,
    node: &mut SpecimenNode,
    change: impl FnOnce(&mut NodeKeys),
) -> Result<Member, TrustError> {
    let mut keys: NodeKeys = node.record.keys.as_ref().unwrap().peek().unwrap();
    change(&mut keys);
    node.record.keys = Some(Signed::seal(&keys, &[&node.identity]));
    net.member(node)
}

fn delegation_with(
    net: &SpecimenNetwork,
    node: &mut SpecimenNode,
    change: impl FnOnce(&mut Delegation),
) -> Result<Member, TrustError> {
    let mut delegation: Delegation = node.record.delegation.as_ref().unwrap().peek().unwrap();
    change(&mut delegation);
    node.record.delegation = Some(Signed::seal(&delegation, &[&net.authority]));
    net.member(node)
}

#[test]
fn a_record_with_a_whole_chain_makes_a_member() {
    let (net, node) = world();
    let member = net.member(&node).unwrap();
    assert_eq!(member.id, node.id);
    assert_eq!(member.identity, Some(node.identity_key()));
    assert_eq!(member.subject, node.subject);
    assert_eq!((member.v4, member.v6), (Some(node.v4), node.v6));
    assert_eq!(member.lanes, [node.wg_key(0).unwrap()]);
    assert_eq!((member.key_serial, member.amendment_serial), (1, 0));
}

#[test]
fn a_charter_reads_back_as_the_network_it_was_made_of() {
    let (net, _) = world();
    assert_eq!(net.trust.network(&net.charter).unwrap(), net.network);
}

#[test]
fn a_charter_not_signed_by_an_authority_is_refused() {
    let (net, _) = world();
    let forged = issue::charter(&net.network, EPOCH_TIME, &net.coordinator);
    assert!(matches!(net.trust.network(&forged), Err(TrustError::Signature(_))));
}

#[test]
fn a_charter_with_ranges_no_overlay_may_have_is_refused() {
    let (net, _) = world();
    for range in
        ["0.0.0.0/0", "100.64.0.1/10", "127.0.0.0/8", "224.0.0.0/8", "100.64.0.0/31", "169.254.0.0/16"]
    {
        let mut network = net.network.clone();
        network.v4_range = range.parse().unwrap();
        let charter = issue::charter(&network, EPOCH_TIME, &net.authority);
        assert!(matches!(net.trust.network(&charter), Err(TrustError::Invalid { .. })), "{range}");
    }
    for prefix in ["2001:db8::/48", "fd00::/64", "fd00::/8", "fd00::1/48", "fe80::/48", "::/0"] {
        let mut network = net.network.clone();
        network.v6_prefix = prefix.parse().unwrap();
        let charter = issue::charter(&network, EPOCH_TIME, &net.authority);
        assert!(matches!(net.trust.network(&charter), Err(TrustError::Invalid { .. })), "{prefix}");
    }
}

#[test]
fn a_charter_without_a_coordinator_is_refused() {
    let (net, _) = world();
    let mut network = net.network.clone();
    network.coordinators.clear();
    let charter = issue::charter(&network, EPOCH_TIME, &net.authority);
    assert!(matches!(net.trust.network(&charter), Err(TrustError::Invalid { .. })));
}

#[test]
fn a_record_signed_by_a_key_the_authority_did_not_delegate_is_refused() {
    let (net, mut node) = world();
    let stranger = net.node(7, "x", &[]).token;
    node.record.admission = Some(issue::admission(net.id(), &node.place(), &stranger, &node.identity));
    assert!(matches!(net.member(&node), Err(TrustError::Signature(SignedError::NotSignedBy { .. }))));
}

#[test]
fn a_delegation_signed_by_the_coordinators_online_key_is_refused() {
    let (net, mut node) = world();
    let token = IdentityKey::of(&node.token);
    let forged = issue::delegation(net.id(), &token, &net.terms(&node), &net.coordinator);
    node.record.delegation = Some(forged);
    assert!(matches!(net.member(&node), Err(TrustError::Signature(SignedError::NotSignedBy { .. }))));
}

#[test]
fn an_admission_needs_the_signature_of_the_identity_key_too() {
    let (net, mut node) = world();
    let mut admission = node.record.admission.clone().unwrap();
    let identity = node.identity_key();
    admission.signatures.retain(|s| s.key != identity.0);
    node.record.admission = Some(admission);
    assert!(matches!(
        net.member(&node),
        Err(TrustError::Signature(SignedError::NotSignedBy { signer, .. })) if signer == identity
    ));
}

#[test]
fn an_admission_needs_the_signature_of_the_token_key_too() {
    let (net, mut node) = world();
    let mut admission = node.record.admission.clone().unwrap();
    let token = IdentityKey::of(&node.token);
    admission.signatures.retain(|s| s.key != token.0);
    node.record.admission = Some(admission);
    assert!(matches!(net.member(&node), Err(TrustError::Signature(SignedError::NotSignedBy { .. }))));
}

#[test]
fn one_key_never_plays_two_parts() {
    let (net, mut node) = world();
    for key in [node.token.clone(), net.authority.clone(), net.coordinator.clone()] {
        node.record.admission = Some(issue::admission(net.id(), &node.place(), &node.token, &key));
        assert!(matches!(net.member(&node), Err(TrustError::Invalid { .. })));
    }
}

#[test]
fn an_admission_with_more_tags_than_its_delegation_is_refused() {
    let (net, mut node) = world();
    let error = admitted_as(&net, &mut node, |p| p.tags.extend([name("root")])).unwrap_err();
    assert!(
        matches!(&error, TrustError::BeyondDelegation { claim, .. } if claim.contains("root")),
        "{error}"
    );
}

#[test]
fn an_admission_with_fewer_tags_than_its_delegation_is_refused() {
    let (net, mut node) = world();
    let result = admitted_as(&net, &mut node, |p| drop(p.tags.pop_first()));
    assert!(matches!(result, Err(TrustError::BeyondDelegation { .. })));
}

#[test]
fn a_tag_that_stands_twice_is_refused() {
    let (net, mut node) = world();
    let result = admission_with(&net, &mut node, |a| a.tags.push("web".into()));
    assert!(matches!(result, Err(TrustError::Malformed { .. })));
}

#[test]
fn an_admission_with_another_name_than_its_token_gives_is_refused() {
    let (net, mut node) = world();
    let result = admitted_as(&net, &mut node, |p| p.name = name("web-2"));
    assert!(matches!(result, Err(TrustError::BeyondDelegation { .. })));
}

#[test]
fn a_prefix_token_gives_names_with_that_prefix_and_no_others() {
    let (net, mut node) = world();
    let mut terms = net.terms(&node);
    terms.names = NameRule::Prefix("web-".into());
    let token = IdentityKey::of(&node.token);
    node.record.delegation = Some(issue::delegation(net.id(), &token, &terms, &net.authority));
    assert_eq!(net.member(&node).unwrap().name(), &name("web-1"));
    assert!(admitted_as(&net, &mut node, |p| p.name = name("db-1")).is_err());
    assert!(admission_with(&net, &mut node, |a| a.name = "web-".into()).is_err());
}

#[test]
fn a_free_token_gives_any_valid_name_and_no_invalid_one() {
    let (net, mut node) = world();
    let mut terms = net.terms(&node);
    terms.names = NameRule::AnyFree;
    let token = IdentityKey::of(&node.token);
    node.record.delegation = Some(issue::delegation(net.id(), &token, &terms, &net.authority));
    assert!(admitted_as(&net, &mut node, |p| p.name = name("anything")).is_ok());
    for bad in ["", "UPPER", "a.b", "-a", "ｗeb", "a\n", &"x".repeat(64)] {
        let result = admission_with(&net, &mut node, |a| a.name = bad.into());
        assert!(matches!(result, Err(TrustError::Malformed { .. })), "{bad:?}");
    }
}

#[test]
fn a_delegation_that_contradicts_itself_is_refused() {
    type Change = fn(&mut Delegation);
    let changes: [Change; 5] = [
        |d| d.uses = 0,
        |d| d.name_prefix = "web".into(),
        |d| d.token_key = vec![0; 32],
        |d| d.tags.push("web".into()),
        |d| {
            d.name.clear();
            d.name_prefix = "-x".into();
        },
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let (net, mut node) = world();
        let result = delegation_with(&net, &mut node, change);
        assert!(matches!(result, Err(TrustError::Invalid { .. })), "change {i}: {result:?}");
    }
}

#[test]
fn a_missing_field_reads_as_deny() {
    // Everything a delegation may leave out, left out: no key, no use, no life.
    let (net, mut node) = world();
    let empty = Delegation { network: net.id().0.to_vec(), ..Default::default() };
    node.record.delegation = Some(Signed::seal(&empty, &[&net.authority]));
    assert!(net.member(&node).is_err());
    let (_, mut node) = world();
    assert!(matches!(
        delegation_with(&net, &mut node, |d| d.not_after = 0),
        Err(TrustError::BeyondDelegation { .. })
    ));
}

#[test]
fn an_enrolment_at_the_last_second_holds_and_one_later_does_not() {
    let (net, mut node) = world();
    let end = EPOCH_TIME.plus(TOKEN_LIFE);
    assert!(admitted_as(&net, &mut node, |p| p.enrolled = end).is_ok());
    let late = admitted_as(&net, &mut node, |p| p.enrolled = end.plus(1));
    assert!(matches!(late, Err(TrustError::BeyondDelegation { .. })));
}

#[test]
fn a_node_id_that_is_not_of_its_identity_key_is_refused() {
    let (net, mut node) = world();
    let result = admission_with(&net, &mut node, |a| a.node = vec![9; 16]);
    assert!(matches!(result, Err(TrustError::OtherNode { .. })));
}

#[test]
fn addresses_no_node_may_have_are_refused() {
    let (net, mut node) = world();
    let v4 = ["100.64.0.0", "100.64.0.1", "100.127.255.255", "100.128.0.0", "8.8.8.8", "127.0.0.1"];
    for text in v4 {
        let address: Ipv4Addr = text.parse().unwrap();
        let error = admitted_as(&net, &mut node, |p| p.v4 = Some(address)).unwrap_err();
        assert_eq!(error, TrustError::ForeignAddress { node: node.id, address: IpAddr::V4(address) });
    }
    let prefix = u128::from(net.network.v6_prefix.network());
    for address in [prefix, prefix + 1, prefix + (1 << 80), prefix - 1, 0, 1] {
        let address = Ipv6Addr::from(address);
        let error = admitted_as(&net, &mut node, |p| p.v6 = address).unwrap_err();
        assert_eq!(error, TrustError::ForeignAddress { node: node.id, address: IpAddr::V6(address) });
    }
    for bytes in [vec![], vec![1; 4], vec![1; 17]] {
        let result = admission_with(&net, &mut node, |a| a.v6 = bytes);
        assert!(matches!(result, Err(TrustError::Malformed { .. })));
    }
}

#[test]
fn a_node_may_have_ipv6_only() {
    let (net, mut node) = world();
    assert_eq!(admitted_as(&net, &mut node, |p| p.v4 = None).unwrap().v4, None);
}

#[test]
fn keys_signed_by_another_node_are_refused() {
    let (net, mut node) = world();
    node.record.keys = net.node(1, "web-2", &[]).record.keys;
    assert!(matches!(net.member(&node), Err(TrustError::Signature(_))));
}

#[test]
fn a_wireguard_key_without_its_owners_proof_is_refused() {
    let (net, mut node) = world();
    let victim = net.node(1, "db-1", &[]).wg_key(0).unwrap();
    let result = keys_with(&net, &mut node, |k| k.lanes[0].key = victim.0.to_vec());
    assert_eq!(result, Err(TrustError::NoPossession { node: node.id, key: victim }));
}

#[test]
fn a_proof_for_one_serial_is_no_proof_for_another() {
    let (net, mut node) = world();
    assert!(matches!(keys_with(&net, &mut node, |k| k.serial = 2), Err(TrustError::NoPossession { .. })));
}

#[test]
fn lanes_are_one_to_sixteen_and_distinct() {
    let (net, mut node) = world();
    assert!(matches!(keys_with(&net, &mut node, |k| k.lanes.clear()), Err(TrustError::Malformed { .. })));
    let mut node = net.node(0, "web-1", &["web", "prod"]);
    let twice = keys_with(&net, &mut node, |k| k.lanes.push(k.lanes[0].clone()));
    assert!(matches!(twice, Err(TrustError::Malformed { why, .. }) if why.contains("twice")));
    let most = net.node_with_lanes(3, "wide", &[], MAX_LANES as u64);
    assert_eq!(net.member(&most).unwrap().lanes.len(), MAX_LANES);
    let over = net.node_with_lanes(3, "wide", &[], MAX_LANES as u64 + 1);
    assert!(matches!(net.member(&over), Err(TrustError::Malformed { .. })));
}

#[test]
fn serial_zero_is_refused() {
    let (net, mut node) = world();
    let keys = issue::sign_lane_keys(net.id(), &node.identity, 0, &node.lane_secrets(0));
    node.record.keys = Some(keys);
    assert!(matches!(net.member(&node), Err(TrustError::Malformed { .. })));
}

#[test]
fn a_newer_set_of_keys_replaces_the_older_and_the_older_shows_as_older() {
    let (net, mut node) = world();
    let old = net.member(&node).unwrap();
    let private = Zeroizing::new(seed_bytes(5, "next", 0));
    let next = WgKey::of(&private);
    let lane = LaneSecret { private, nonce: Zeroizing::new([3; 64]) };
    node.record.keys = Some(issue::sign_lane_keys(net.id(), &node.identity, 2, &[lane]));
    let new = net.member(&node).unwrap();
    assert_eq!((new.key_serial, new.lanes.as_slice()), (2, [next].as_slice()));
    assert!(old.is_older_than(&new) && !new.is_older_than(&old) && !new.is_older_than(&new));
}

#[test]
fn an_amendment_changes_name_and_tags_and_only_an_authority_can_make_one() {
    let (net, mut node) = world();
    let subject = Subject { name: name("web-9"), tags: [name("dev")].into() };
    node.record.amendment = Some(issue::amendment(net.id(), node.id, 1, &subject, &net.authority));
    let member = net.member(&node).unwrap();
    assert_eq!((member.subject, member.amendment_serial), (subject.clone(), 1));
    for key in [&net.coordinator, &node.identity, &node.token] {
        node.record.amendment = Some(issue::amendment(net.id(), node.id, 1, &subject, key));
        assert!(matches!(net.member(&node), Err(TrustError::Signature(_))));
    }
}

#[test]
fn an_amendment_of_another_node_is_refused() {
    let (net, mut node) = world();
    let other = net.node(1, "web-2", &[]);
    node.record.amendment = Some(issue::amendment(net.id(), other.id, 1, &other.subject, &net.authority));
    assert!(matches!(net.member(&node), Err(TrustError::OtherNode { .. })));
}

#[test]
fn a_record_with_a_part_missing_is_refused() {
    let (net, node) = world();
    for part in 0..3 {
        let mut record = node.record.clone();
        match part {
            0 => record.delegation = None,
            1 => record.admission = None,
            _ => record.keys = None,
        }
        assert!(matches!(net.trust.member(&net.network, &record), Err(TrustError::Missing { .. })));
    }
}

#[test]
fn a_statement_of_another_network_is_refused() {
    let (net, _) = world();
    let other = SpecimenNetwork::new(2);
    let theirs = other.node(0, "web-1", &["web", "prod"]);
    let named = |result: TrustError| {
        assert!(
            matches!(&result, TrustError::ForeignNetwork { found, .. } if *found == other.id().to_string())
        );
    };
    named(net.trust.network(&other.charter).unwrap_err());
    named(net.trust.member(&net.network, &theirs.record).unwrap_err());
    named(net.trust.member(&other.network, &theirs.record).unwrap_err());
    let revoked = issue::revocation(other.id(), theirs.id, EPOCH_TIME, "", &other.authority);
    named(net.trust.revocation(&revoked).unwrap_err());
    named(net.trust.policy(&other.policy_head(1, Root([1; 32]), 1)).unwrap_err());
    let state = other.state(1, None);
    named(net.trust.freshness(&net.network, &other.freshness(&state, EPOCH_TIME, 60)).unwrap_err());
    let head = other.view_head(theirs.id, &state, &warren_wire::id::Digest([0; 32]));
    named(net.trust.view_head(&net.network, &head, theirs.id).unwrap_err());
}

#[test]
fn a_statement_of_another_network_is_refused_even_under_the_same_authority() {
    let (mut net, _) = world();
    let other = SpecimenNetwork::new(2);
    net.trust.authorities.push(IdentityKey::of(&other.authority));
    let theirs = other.node(0, "web-1", &[]);
    let revoked = issue::revocation(other.id(), theirs.id, EPOCH_TIME, "", &other.authority);
    assert!(matches!(net.trust.revocation(&revoked), Err(TrustError::ForeignNetwork { .. })));
    assert!(matches!(net.trust.network(&other.charter), Err(TrustError::ForeignNetwork { .. })));
}

#[test]
fn a_revocation_counts_only_from_an_authority() {
    let (net, node) = world();
    let good = issue::revocation(net.id(), node.id, EPOCH_TIME, "stolen", &net.authority);
    assert_eq!(net.trust.revocation(&good).unwrap().0, node.id);
    let forged = issue::revocation(net.id(), node.id, EPOCH_TIME, "stolen", &net.coordinator);
    assert!(matches!(net.trust.revocation(&forged), Err(TrustError::Signature(_))));
}

#[test]
fn a_policy_for_a_newer_language_is_refused_with_the_versions() {
    let (net, _) = world();
    let signed = net.policy_head(3, Root([4; 32]), 9);
    let policy = net.trust.policy(&signed).unwrap();
    assert_eq!((policy.epoch, policy.generation, policy.root, policy.items), (1, 3, Root([4; 32]), 9));
    let head: PolicyHead = signed.peek().unwrap();
    let newer = PolicyHead { min_version: 2, ..head.clone() };
    let refused = net.trust.policy(&Signed::seal(&newer, &[&net.authority]));
    assert_eq!(refused, Err(TrustError::PolicyTooNew { needed: 2, known: 1 }));
    for bad in [
        PolicyHead { min_version: 0, ..head.clone() },
        PolicyHead { generation: 0, ..head.clone() },
        PolicyHead { items: u64::MAX, ..head.clone() },
        PolicyHead { root: vec![], ..head.clone() },
    ] {
        let refused = net.trust.policy(&Signed::seal(&bad, &[&net.authority]));
        assert!(matches!(refused, Err(TrustError::Invalid { .. })));
    }
    let by_coordinator = Signed::seal(&head, &[&net.coordinator]);
    assert!(matches!(net.trust.policy(&by_coordinator), Err(TrustError::Signature(_))));
}

#[test]
fn freshness_counts_only_from_a_coordinator_the_charter_names() {
    let (net, node) = world();
    let state = net.state(5, None);
    let good: Freshness = net.trust.freshness(&net.network, &net.freshness(&state, EPOCH_TIME, 60)).unwrap();
    assert_eq!((good.revision, good.not_after), (5, EPOCH_TIME.0 + 60));
    for key in [&net.authority, &node.identity] {
        let forged = issue::freshness(net.id(), &state, EPOCH_TIME, 60, key);
        assert!(matches!(net.trust.freshness(&net.network, &forged), Err(TrustError::Signature(_))));
    }
}

#[test]
fn freshness_never_lives_for_ever() {
    let (net, _) = world();
    let state = net.state(5, None);
    let longest = net.freshness(&state, EPOCH_TIME, MAX_FRESHNESS_SECONDS);
    assert!(net.trust.freshness(&net.network, &longest).is_ok());
    let longer = net.freshness(&state, EPOCH_TIME, MAX_FRESHNESS_SECONDS + 1);
    assert!(matches!(net.trust.freshness(&net.network, &longer), Err(TrustError::Invalid { .. })));
    let good: Freshness = longest.peek().unwrap();
    for bad in [
        Freshness { not_after: good.signed_at - 1, ..good.clone() },
        Freshness { revocation_head: vec![], ..good.clone() },
        Freshness { generation: 1, ..good.clone() },
    ] {
        let signed = Signed::seal(&bad, &[&net.coordinator]);
        assert!(matches!(net.trust.freshness(&net.network, &signed), Err(TrustError::Invalid { .. })));
    }
}

#[test]
fn a_view_head_of_another_node_is_refused() {
    let (net, node) = world();
    let other = net.node(1, "web-2", &[]);
    let head = net.view_head(node.id, &net.state(1, None), &warren_wire::id::Digest([1; 32]));
    let read: ViewHead = net.trust.view_head(&net.network, &head, node.id).unwrap();
    assert_eq!(read.digest, [1; 32]);
    let refused = net.trust.view_head(&net.network, &head, other.id);
    assert!(matches!(refused, Err(TrustError::OtherNode { .. })));
}
