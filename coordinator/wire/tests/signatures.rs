//! Envelopes, keys and proofs of possession.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use prost::Message as _;
use warren_wire::id::{IdentityKey, NetworkId, NodeId, WgKey};
use warren_wire::possession;
use warren_wire::revocation::{self, Chain};
use warren_wire::signed::{MAX_SIGNATURES, SignatureBy, Signed, SignedError, Statement as _};
use warren_wire::specimen::{EPOCH_TIME, SpecimenNetwork, seed_bytes};
use warren_wire::statement::{Amendment, Charter, Freshness, Revocation};

/// The order of the curve's prime subgroup, little-endian (RFC 8032 section 5.1).
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn key(n: u64) -> SigningKey {
    SigningKey::from_bytes(&seed_bytes(n, "test", 0))
}

fn statement() -> Revocation {
    Revocation { network: vec![1; 16], node: vec![2; 16], at: 3, why: "lost".into() }
}

/// `s + L`: the same signature to a lax reader.
fn malleated(signature: &[u8]) -> Vec<u8> {
    let mut out = signature.to_vec();
    let mut carry = 0;
    for (byte, l) in out[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(l) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    out
}

#[test]
fn what_was_sealed_opens_for_its_signer_and_nobody_else() {
    let signed = Signed::seal(&statement(), &[&key(1), &key(2)]);
    assert_eq!(signed.open::<Revocation>(&IdentityKey::of(&key(1))).unwrap(), statement());
    assert_eq!(signed.open::<Revocation>(&IdentityKey::of(&key(2))).unwrap(), statement());
    let other = IdentityKey::of(&key(3));
    let refused = signed.open::<Revocation>(&other);
    assert_eq!(refused, Err(SignedError::NotSignedBy { what: "revocation", signer: other }));
    assert!(signed.open_by_any::<Revocation>(&[other, IdentityKey::of(&key(2))]).is_ok());
    assert!(matches!(signed.open_by_any::<Revocation>(&[]), Err(SignedError::Unsigned { .. })));
}

#[test]
fn a_signature_over_one_kind_never_counts_for_another() {
    // Revocation and Amendment agree on the first two fields: only the kind in the signed bytes tells them apart.
    let body = Revocation { network: vec![1; 16], node: vec![2; 16], at: 3, why: String::new() };
    let mut signed = Signed::seal(&body, &[&key(1)]);
    let signer = IdentityKey::of(&key(1));
    assert!(matches!(signed.open::<Amendment>(&signer), Err(SignedError::WrongKind { .. })));
    signed.kind = Amendment::KIND;
    assert!(matches!(signed.open::<Amendment>(&signer), Err(SignedError::BadSignature { .. })));
}

#[test]
fn a_changed_body_is_refused() {
    let mut signed = Signed::seal(&statement(), &[&key(1)]);
    signed.body = Revocation { at: 4, ..statement() }.encode_to_vec();
    assert!(matches!(
        signed.open::<Revocation>(&IdentityKey::of(&key(1))),
        Err(SignedError::BadSignature { .. })
    ));
}

#[test]
fn unknown_fields_in_a_statement_are_refused_not_skipped() {
    let mut body = statement().encode_to_vec();
    body.extend_from_slice(&[0xf8, 0x07, 0x01]); // field 127, varint 1
    let mut signed = Signed { kind: Revocation::KIND, body, signatures: vec![] };
    signed.countersign(&key(1));
    let refused = signed.open::<Revocation>(&IdentityKey::of(&key(1)));
    assert_eq!(refused, Err(SignedError::Newer { what: "revocation" }));
    assert!(signed.peek::<Revocation>().is_err());
}

#[test]
fn a_body_that_is_not_in_its_one_encoding_is_refused() {
    // The same field twice: the last would win silently.
    let mut body = statement().encode_to_vec();
    body.extend_from_slice(&Revocation { node: vec![9; 16], ..Default::default() }.encode_to_vec());
    let mut signed = Signed { kind: Revocation::KIND, body, signatures: vec![] };
    signed.countersign(&key(1));
    assert!(signed.open::<Revocation>(&IdentityKey::of(&key(1))).is_err());
}

#[test]
fn a_malleated_signature_is_refused() {
    let mut signed = Signed::seal(&statement(), &[&key(1)]);
    signed.signatures[0].signature = malleated(&signed.signatures[0].signature);
    assert!(signed.open::<Revocation>(&IdentityKey::of(&key(1))).is_err());
}

#[test]
fn a_low_order_or_non_canonical_identity_key_signs_nothing() {
    for point in EIGHT_TORSION {
        let weak = IdentityKey(point.compress().0);
        assert!(weak.verifying().is_none());
        let signatures = vec![SignatureBy { key: weak.0.to_vec(), signature: vec![0; 64] }];
        let signed = Signed { kind: Revocation::KIND, body: statement().encode_to_vec(), signatures };
        assert!(matches!(signed.open::<Revocation>(&weak), Err(SignedError::UnusableKey { .. })));
    }
    // y = p + 3 is a second spelling of the point with y = 3.
    let mut three = [0_u8; 32];
    three[0] = 3;
    let mut spelled = [0xff_u8; 32];
    spelled[0] = 0xed + 3;
    spelled[31] = 0x7f;
    assert!(IdentityKey(three).verifying().is_some());
    assert!(IdentityKey(spelled).verifying().is_none());
}

/// The slow judge: what is read as a point and written again is the same, and eight times the point is not nothing.
#[test]
fn heights_about_zero_and_the_prime_are_keys_if_they_are_points_in_their_only_encoding() {
    let near = |low: u8, high: u8, top: u8| {
        let mut bytes = [high; 32];
        (bytes[0], bytes[31]) = (low, top);
        bytes
    };
    let small = (0..=255).flat_map(|low| [0, 0x80].map(|top| near(low, 0, top)));
    let great = (0..=255).flat_map(|low| [0x7f, 0xff].map(|top| near(low, 0xff, top)));
    let mut keys = 0;
    for bytes in small.chain(great) {
        let point = CompressedEdwardsY(bytes).decompress();
        let ought = point.is_some_and(|p| p.compress().0 == bytes && !p.is_small_order());
        assert_eq!(IdentityKey(bytes).verifying().is_some(), ought, "{bytes:?}");
        keys += usize::from(ought);
    }
    assert!(keys > 200, "{keys}");
}

#[test]
fn a_key_and_its_text_have_one_spelling() {
    let text = IdentityKey::of(&key(1)).to_string();
    assert_eq!(text.parse::<IdentityKey>().unwrap().to_string(), text);
    let unpadded = text.trim_end_matches('=');
    assert!(unpadded.parse::<IdentityKey>().is_err());
    assert!(format!(" {text}").parse::<IdentityKey>().is_err());
    let last = unpadded.len() - 1;
    // The last character carries two bits that no byte holds.
    let spelled: Vec<IdentityKey> = ('A'..='Z')
        .chain('a'..='z')
        .chain('0'..='9')
        .filter_map(|c| format!("{}{c}=", &unpadded[..last]).parse().ok())
        .filter(|k: &IdentityKey| k.0[..31] == IdentityKey::of(&key(1)).0[..31])
        .collect();
    let distinct: std::collections::BTreeSet<_> = spelled.iter().collect();
    assert_eq!(spelled.len(), distinct.len());
    let node = NodeId([0xab; 16]).to_string();
    assert!(node.parse::<NodeId>().is_ok());
    assert!(node.to_uppercase().parse::<NodeId>().is_err());
    assert!(node[1..].parse::<NodeId>().is_err());
}

#[test]
fn at_most_sixteen_signatures_are_looked_at() {
    let mut signed = Signed::seal(&statement(), &[&key(1)]);
    for n in 2..=MAX_SIGNATURES as u64 {
        signed.countersign(&key(n));
    }
    assert!(signed.open::<Revocation>(&IdentityKey::of(&key(16))).is_ok());
    signed.countersign(&key(17));
    let refused = signed.open::<Revocation>(&IdentityKey::of(&key(1)));
    assert!(matches!(refused, Err(SignedError::TooManySignatures { count: 17, .. })));
    assert!(Signed::from_bytes(&signed.to_bytes()).is_err());
}

#[test]
fn the_same_key_signs_once() {
    let mut signed = Signed::seal(&statement(), &[&key(1), &key(1)]);
    signed.countersign(&key(1));
    assert_eq!(signed.signatures.len(), 1);
}

#[test]
fn a_statement_over_its_limit_is_refused_before_it_is_read() {
    let long = Revocation { why: "x".repeat(Revocation::MAX_BYTES), ..statement() };
    let signed = Signed::seal(&long, &[&key(1)]);
    let refused = signed.open::<Revocation>(&IdentityKey::of(&key(1)));
    assert!(matches!(refused, Err(SignedError::TooLarge { .. })));
    assert!(matches!(signed.peek::<Revocation>(), Err(SignedError::TooLarge { .. })));
}

#[test]
fn an_envelope_survives_its_text_form() {
    let signed = Signed::seal(&statement(), &[&key(1)]);
    assert_eq!(Signed::from_base64(&signed.to_base64()).unwrap(), signed);
    assert!(Signed::from_base64("not base64").is_err());
}

#[test]
fn the_revocation_head_depends_on_every_revocation_their_order_and_the_network() {
    let net = SpecimenNetwork::new(1);
    let revoke = |i| issue(&net, i);
    let (a, b) = (revoke(0), revoke(1));
    let head = |list: &[&Signed]| revocation::head(net.id(), list.iter().copied());
    let heads = [head(&[]), head(&[&a]), head(&[&b]), head(&[&a, &b]), head(&[&b, &a]), head(&[&a, &a])];
    let distinct: std::collections::BTreeSet<_> = heads.iter().collect();
    assert_eq!(distinct.len(), heads.len());
    assert_ne!(head(&[]), revocation::head(&NetworkId([0; 16]), []));
    let mut resumed = Chain::resume(head(&[&a]));
    resumed.push(&b);
    assert_eq!(resumed.head(), head(&[&a, &b]));
}

fn issue(net: &SpecimenNetwork, i: u64) -> Signed {
    let node = net.node(i, "x", &[]);
    warren_wire::issue::revocation(net.id(), node.id, EPOCH_TIME, "", &net.authority)
}

// --- possession

fn x25519_public(private: [u8; 32]) -> [u8; 32] {
    x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(private)).to_bytes()
}

proptest! {
    #[test]
    fn a_lane_key_is_the_key_wireguard_derives(private: [u8; 32]) {
        prop_assert_eq!(WgKey::of(&private).0, x25519_public(private));
        prop_assert!(WgKey::of(&private).is_canonical());
    }

    #[test]
    fn who_holds_the_private_key_proves_it(private: [u8; 32], message: Vec<u8>, nonce: [u8; 32]) {
        let signature = possession::sign(&private, &message, &wide(nonce));
        prop_assert!(possession::verify(&WgKey::of(&private), &message, &signature));
    }

    #[test]
    fn a_proof_holds_for_no_other_key_or_message(
        private: [u8; 32], other: [u8; 32], message: Vec<u8>, nonce: [u8; 32], at in 0_usize..64, flip in 1_u8..=255,
    ) {
        let signature = possession::sign(&private, &message, &wide(nonce));
        let key = WgKey::of(&private);
        prop_assume!(WgKey::of(&other) != key);
        prop_assert!(!possession::verify(&WgKey::of(&other), &message, &signature));
        let longer = [message.as_slice(), &[0]].concat();
        prop_assert!(!possession::verify(&key, &longer, &signature));
        prop_assert!(!possession::verify(&key, &message, &malleated(&signature)));
        let mut flipped = signature;
        flipped[at] ^= flip;
        prop_assert!(!possession::verify(&key, &message, &flipped));
    }

    #[test]
    fn arbitrary_keys_and_signatures_never_panic_and_never_hold(
        key: [u8; 32], message: Vec<u8>, signature in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        prop_assert!(!possession::verify(&WgKey(key), &message, &signature));
    }

    #[test]
    fn arbitrary_envelopes_never_panic_and_never_open(
        kind in 0_u32..12, body: Vec<u8>, by: [u8; 32], signature: Vec<u8>,
    ) {
        let signatures = vec![SignatureBy { key: by.to_vec(), signature }];
        let signed = Signed { kind, body, signatures };
        prop_assert!(signed.open::<Charter>(&IdentityKey(by)).is_err());
        prop_assert!(signed.open_by_any::<Freshness>(&[IdentityKey(by)]).is_err());
        let _ = signed.peek::<Charter>();
        let _ = Signed::from_bytes(&signed.body);
    }
}

fn wide(half: [u8; 32]) -> [u8; 64] {
    let mut nonce = [0; 64];
    nonce[..32].copy_from_slice(&half);
    nonce
}

#[test]
fn clamped_and_unclamped_bytes_of_one_key_sign_alike() {
    let raw = [0xff; 32];
    let mut clamped = raw;
    clamped[0] &= 248;
    clamped[31] = (clamped[31] & 127) | 64;
    assert_eq!(WgKey::of(&raw), WgKey::of(&clamped));
    assert_eq!(possession::sign(&raw, b"m", &[7; 64]), possession::sign(&clamped, b"m", &[7; 64]));
}

#[test]
fn low_order_keys_prove_nothing() {
    // The u-coordinates of all points of order 1, 2, 4 and 8 (RFC 7748 section 7), with their non-canonical spellings.
    let mut keys: Vec<[u8; 32]> = EIGHT_TORSION.iter().map(|p| p.to_montgomery().to_bytes()).collect();
    keys.push([0; 32]);
    for add in 0..19_u8 {
        let mut key = [0xff_u8; 32];
        key[0] = 0xed + (add.min(18));
        key[31] = 0x7f;
        keys.push(key);
    }
    for mut key in keys {
        for high in [0, 0x80] {
            key[31] |= high;
            for signature in [[0_u8; 64], [1; 64], identity_commitment()] {
                assert!(!possession::verify(&WgKey(key), b"m", &signature), "{key:02x?}");
            }
        }
    }
}

/// R = the neutral element, s = 0: holds for every message under a low-order key, if nobody looks.
fn identity_commitment() -> [u8; 64] {
    let mut signature = [0; 64];
    signature[0] = 1;
    signature
}

#[test]
fn a_key_with_its_high_bit_set_is_not_a_second_name() {
    let private = seed_bytes(1, "lane", 0);
    let signature = possession::sign(&private, b"m", &[5; 64]);
    let mut key = WgKey::of(&private);
    assert!(possession::verify(&key, b"m", &signature));
    key.0[31] |= 0x80; // X25519 ignores this bit
    assert!(!key.is_canonical());
    assert!(!possession::verify(&key, b"m", &signature));
}

#[test]
fn the_bytes_a_lane_key_signs_are_fixed() {
    let message = possession::message(&NetworkId([1; 16]), &NodeId([2; 16]), 3, &WgKey([4; 32]));
    let expected =
        [&b"warren possession v1\0"[..], &[1; 16], &[2; 16], &[0, 0, 0, 0, 0, 0, 0, 3], &[4; 32]].concat();
    assert_eq!(message, expected);
}
