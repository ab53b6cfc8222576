//! The enrolment token and what a node stores from it.

use proptest::prelude::*;
use warren_wire::id::{IdentityKey, NetworkId};
use warren_wire::specimen::SpecimenNetwork;
use warren_wire::stored::StoredTrust;
use warren_wire::token::{Token, TokenError, is_host_port};
use zeroize::Zeroizing;

fn token() -> Token {
    let net = SpecimenNetwork::new(1);
    net.token_for(&net.node(0, "web-1", &[]), "coord.example:7946")
}

fn same(a: &Token, b: &Token) -> bool {
    a.network == b.network
        && a.authorities == b.authorities
        && a.coordinators == b.coordinators
        && a.coordinator_key == b.coordinator_key
        && *a.seed == *b.seed
}

#[test]
fn a_token_survives_its_text_form_and_white_space_around_it() {
    let token = token();
    let text = token.encode();
    assert!(text.starts_with("warren1_"));
    assert!(same(&Token::decode(&text).unwrap(), &token));
    assert!(same(&Token::decode(&format!("  {}\n", *text)).unwrap(), &token));
    assert_eq!(token.key(), IdentityKey::of(&token.signing_key()));
}

#[test]
fn a_token_cut_off_anywhere_is_called_damaged() {
    let text = token().encode();
    for end in "warren1_".len()..text.len() {
        let refused = Token::decode(&text[..end]).err().unwrap();
        assert_eq!(refused, TokenError::Damaged { characters: end });
    }
}

#[test]
fn a_token_with_one_character_changed_is_refused() {
    let text = token().encode().to_string();
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert!(Token::decode(std::str::from_utf8(&changed).unwrap()).is_err(), "character {at}");
    }
}

#[test]
fn other_text_is_not_a_token() {
    for text in ["", "warren", "WARREN1_AAAA", "warren2_AAAA", "eyJhbGciOi"] {
        assert_eq!(Token::decode(text).err().unwrap(), TokenError::NotAToken);
    }
}

#[test]
fn an_error_never_repeats_the_token() {
    let text = token().encode();
    let error = Token::decode(&text[..text.len() - 1]).err().unwrap();
    assert!(!error.to_string().contains(&text[8..24]));
}

#[test]
fn a_token_is_bounded() {
    type Change = fn(&mut Token);
    let changes: [Change; 7] = [
        |t| t.authorities.clear(),
        |t| t.authorities = vec![t.coordinator_key; 9],
        |t| t.coordinators.clear(),
        |t| t.coordinators = vec!["a:1".into(); 9],
        |t| t.coordinators = vec!["no port".into()],
        |t| t.coordinator_key = IdentityKey([0; 32]),
        |t| t.coordinators = vec![format!("{}.{}:1", "a".repeat(63), "b".repeat(63)); 8],
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let mut token = token();
        change(&mut token);
        let fine = i == 6; // 8 coordinators of 129 bytes still fit 2 KiB
        assert_eq!(token.check().is_ok(), fine, "change {i}");
        assert_eq!(Token::decode(&token.encode()).is_ok(), fine, "change {i}");
    }
    let mut long = token();
    let label = "a".repeat(60);
    long.coordinators = vec![format!("{label}.{label}.{label}.{label}:1"); 8];
    assert!(matches!(long.check(), Err(TokenError::Unusable { .. })));
    assert!(Token::decode(&long.encode()).is_err());
}

#[test]
fn a_coordinators_address_is_host_and_port() {
    for good in ["coord:1", "coord.example.com:7946", "192.0.2.1:7946", "[2001:db8::1]:7946", "a_b:65535"] {
        assert!(is_host_port(good), "{good}");
    }
    for bad in [
        "",
        ":1",
        "coord",
        "coord:",
        "coord:0",
        "coord:65536",
        "2001:db8::1",
        "a b:1",
        "a..b:1",
        "a:+1",
        "[::1]:0",
    ] {
        assert!(!is_host_port(bad), "{bad}");
    }
}

#[test]
fn stored_trust_is_what_the_token_said_and_survives_its_file() {
    let token = token();
    let stored = StoredTrust::from_token(&token);
    assert_eq!(StoredTrust::from_json(&stored.to_json()).unwrap(), stored);
    assert_eq!(stored.trust().authorities, token.authorities);
    let seed: String = token.seed.iter().map(|b| format!("{b:02x}")).collect();
    assert!(!stored.to_json().contains(&seed));
}

#[test]
fn a_stored_trust_that_is_damaged_or_newer_is_refused() {
    let json = StoredTrust::from_token(&token()).to_json();
    assert!(StoredTrust::from_json(&json[..json.len() / 2]).is_err());
    assert!(StoredTrust::from_json(&json.replacen('{', "{\"later\": 1,", 1)).is_err());
    let mut none = StoredTrust::from_token(&token());
    none.authorities.clear();
    assert!(StoredTrust::from_json(&none.to_json()).is_err());
}

proptest! {
    #[test]
    fn every_token_survives_its_text_form(network: [u8; 16], seed: [u8; 32], n in 1_usize..8, m in 1_usize..8) {
        let base = token();
        let token = Token {
            network: NetworkId(network),
            authorities: vec![base.coordinator_key; n],
            coordinators: (0..m).map(|i| format!("coord-{i}.example:{}", 1000 + i)).collect(),
            coordinator_key: base.coordinator_key,
            seed: Zeroizing::new(seed),
        };
        prop_assert!(same(&Token::decode(&token.encode()).unwrap(), &token));
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,300}") {
        prop_assert!(Token::decode(&text).is_err());
        let prefixed = format!("warren1_{text}");
        prop_assert!(Token::decode(&prefixed).is_err());
        let _ = is_host_port(&text);
        let _ = StoredTrust::from_json(&text);
    }
}
