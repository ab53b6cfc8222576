//! From token to member.

use warren_wire::frame::{CoordinatorSays, EnrolOffer, Enrolled, NodeSays, RefusalCode, Refused, ToNode};
use warren_wire::specimen::{EPOCH_TIME, SpecimenNetwork, SpecimenNode};
use warren_wire::trust::Record;
use zeroize::Zeroizing;

use super::super::enrolment::{EnrolError, EnrolStep, Enrolment, Membership, Secrets, Wish};
use super::super::keys::LaneSecret;

fn secrets(node: &SpecimenNode) -> Secrets {
    let lane = |private: &[u8; 32]| LaneSecret { private: Zeroizing::new(*private), nonce: [3; 64] };
    Secrets { identity: node.identity.clone(), lanes: node.lanes.iter().map(lane).collect() }
}

fn offer(net: &SpecimenNetwork, node: &SpecimenNode) -> EnrolOffer {
    EnrolOffer {
        charter: Some(net.charter.clone()),
        delegation: node.record.delegation.clone(),
        name: node.subject.name.to_string(),
        v4: node.v4.octets().to_vec(),
        v6: node.v6.octets().to_vec(),
        now: EPOCH_TIME.0 + 60,
    }
}

fn frame(says: CoordinatorSays) -> ToNode {
    ToNode { says: Some(says) }
}

fn enrol(
    net: &SpecimenNetwork,
    node: &SpecimenNode,
    offer: EnrolOffer,
    answer: impl Fn(Record) -> CoordinatorSays,
) -> Result<Box<Membership>, EnrolError> {
    let secrets = secrets(node);
    let delegation = offer.delegation.clone();
    let (mut enrolment, _) = Enrolment::begin(net.token_for(node, "192.0.2.1:7946"), &Wish::Any, "test");
    let step = enrolment.handle_frame(frame(CoordinatorSays::EnrolOffer(offer)), &secrets)?;
    let EnrolStep::Send(sent) = step else { panic!("done before the commit") };
    let Some(NodeSays::EnrolCommit(commit)) = sent.says else { panic!("no commit") };
    let record = Record { delegation, admission: commit.admission, keys: commit.keys, ..Record::default() };
    match enrolment.handle_frame(frame(answer(record)), &secrets)? {
        EnrolStep::Done(membership) => Ok(membership),
        EnrolStep::Send(_) => panic!("one commit is enough"),
    }
}

fn enrolled(record: Record) -> CoordinatorSays {
    CoordinatorSays::Enrolled(Enrolled { record: Some(record) })
}

#[test]
fn a_token_makes_a_member_that_anyone_can_check() {
    let net = SpecimenNetwork::new(5);
    let node = net.node(1, "web-1", &["web"]);
    let membership = enrol(&net, &node, offer(&net, &node), enrolled).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(membership.member, net.member(&node).unwrap());
    assert_eq!(membership.trust, net.trust);
    assert_eq!(net.trust.member(&net.network, &membership.record), Ok(membership.member.clone()));
}

#[test]
fn a_coordinator_that_is_not_the_tokens_gets_no_admission() {
    let (net, other) = (SpecimenNetwork::new(5), SpecimenNetwork::new(6));
    let (node, stranger) = (net.node(1, "web-1", &["web"]), net.node(2, "web-1", &["web"]));
    let theirs = other.node(1, "web-1", &["web"]);
    let good = offer(&net, &node);
    let self_signed = net.network.clone();
    let forged = warren_wire::issue::charter(&self_signed, EPOCH_TIME, &net.coordinator);
    let bad = [
        ("foreign charter", EnrolOffer { charter: Some(other.charter.clone()), ..good.clone() }),
        ("charter by the coordinator's own key", EnrolOffer { charter: Some(forged), ..good.clone() }),
        ("foreign delegation", EnrolOffer { delegation: theirs.record.delegation.clone(), ..good.clone() }),
        (
            "another token's delegation",
            EnrolOffer { delegation: stranger.record.delegation.clone(), ..good.clone() },
        ),
        ("a name the token does not give", EnrolOffer { name: "db-1".into(), ..good.clone() }),
        ("no name", EnrolOffer { name: "Web 1".into(), ..good.clone() }),
        ("an address outside", EnrolOffer { v4: vec![192, 0, 2, 1], ..good.clone() }),
        ("an IPv6 address outside", EnrolOffer { v6: [0x20; 16].to_vec(), ..good.clone() }),
        ("an ended token", EnrolOffer { now: EPOCH_TIME.0 + 90_000, ..good.clone() }),
        ("half an address", EnrolOffer { v4: vec![100, 64], ..good }),
    ];
    for (what, offer) in bad {
        assert!(enrol(&net, &node, offer, enrolled).is_err(), "{what}");
    }
}

#[test]
fn a_record_that_this_node_did_not_sign_is_not_taken() {
    let net = SpecimenNetwork::new(5);
    let (node, other) = (net.node(1, "web-1", &["web"]), net.node(2, "web-2", &["web"]));
    let swapped = enrol(&net, &node, offer(&net, &node), |_| enrolled(other.record.clone()));
    assert!(matches!(swapped, Err(EnrolError::Foreign { .. })));
    let early = |_| CoordinatorSays::EnrolOffer(offer(&net, &node));
    assert!(matches!(enrol(&net, &node, offer(&net, &node), early), Err(EnrolError::OutOfTurn { .. })));
}

#[test]
fn a_refusal_is_passed_on_with_its_reason() {
    let net = SpecimenNetwork::new(5);
    let node = net.node(1, "web-1", &["web"]);
    let spent = |_| {
        let message = "the token was used by web-9".to_owned();
        CoordinatorSays::Refused(Refused { code: RefusalCode::TokenSpent as i32, message, proof: None })
    };
    let error = enrol(&net, &node, offer(&net, &node), spent).err();
    let expected =
        EnrolError::Refused { code: RefusalCode::TokenSpent, message: "the token was used by web-9".into() };
    assert_eq!(error, Some(expected));
}
