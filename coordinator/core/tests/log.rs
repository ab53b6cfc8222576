//! Laws of the log: the same log gives the same state, and what was altered is found.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use common::*;
use proptest::prelude::*;
use warren_coordinator_core::audit::{self, AuditRow};
use warren_coordinator_core::change::{Entry, LogError, LogHead, Principal};
use warren_coordinator_core::command::Command;
use warren_coordinator_core::refusal::Refusal;
use warren_coordinator_core::state::State;
use warren_coordinator_core::store::{Fault, Store, StoreError};
use warren_wire::issue::NameRule;

/// What may happen, in any order; what makes no sense is refused and changes nothing.
#[derive(Clone, Debug)]
enum Act {
    Join(u8, Vec<u8>),
    Token(u8),
    RevokeToken(u8),
    Revoke(u8),
    Amend(u8, u8),
    Renew(u8),
    Policy(u8),
    Epoch,
    Restart,
    Wait(u16),
    Fail,
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0u8..6, prop::collection::vec(0u8..3, 0..2)).prop_map(|(n, t)| Act::Join(n, t)),
        1 => any::<u8>().prop_map(Act::Token),
        1 => any::<u8>().prop_map(Act::RevokeToken),
        1 => any::<u8>().prop_map(Act::Revoke),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(h, s)| Act::Amend(h, s)),
        1 => any::<u8>().prop_map(Act::Renew),
        2 => (0u8..4).prop_map(Act::Policy),
        1 => Just(Act::Epoch),
        1 => Just(Act::Restart),
        1 => any::<u16>().prop_map(Act::Wait),
        1 => Just(Act::Fail),
    ]
}

const TAGS: [&str; 3] = ["web", "orders", "db"];

fn policy(which: u8) -> String {
    match which {
        0 => "version = 1".into(),
        1 => CHAIN.into(),
        2 => CHAIN.replace("[tag.web]", "[tag.web]\nnot-with = [\"tag:db\"]"),
        _ => CHAIN.replace("from = [\"tag:web\"]", "from = [\"tag:web\", \"node:n-1\"]"),
    }
}

fn perform(world: &mut World, act: &Act) {
    let pick = |n: u8, len: usize| usize::from(n).checked_rem(len);
    match act {
        Act::Join(n, tags) => {
            let tags: Vec<&str> = tags.iter().map(|t| TAGS[usize::from(*t)]).collect();
            let bound = NameRule::Exactly(name(&format!("n-{n}")));
            let Ok(token) = world.token_with(bound, &tags, 1, 3600) else { return };
            let host = world.add_host();
            world.connect(host);
            world.begin(host, &token, "");
            if world.hosts[host].offer.is_some() && world.finish(host, &token).is_some_and(|o| o.is_ok()) {
                world.hello(host);
            }
        }
        Act::Token(n) => {
            let _ = world.token_with(NameRule::AnyFree, &[TAGS[usize::from(*n) % 3]], 1, 3600);
        }
        Act::RevokeToken(n) => {
            let tokens = world.coordinator.tokens(world.now);
            if let Some(at) = pick(*n, tokens.len()) {
                let _ = world.command(Command::RevokeToken { token: tokens[at].token });
            }
        }
        Act::Revoke(n) => {
            if let Some(at) = pick(*n, world.hosts.len()) {
                let _ = world.revoke(at);
            }
        }
        Act::Amend(n, serial) => {
            if let Some(at) = pick(*n, world.hosts.len()) {
                let _ = world.amend(
                    at,
                    u64::from(*serial),
                    &format!("r-{serial}"),
                    &[TAGS[usize::from(*serial) % 3]],
                );
            }
        }
        Act::Renew(n) => {
            if let Some(at) = pick(*n, world.hosts.len()).filter(|at| world.hosts[*at].conn.is_some()) {
                world.hosts[at].lane[0] ^= 0x55;
                let keys = world.hosts[at].lane_keys(world, u64::from(*n) + 2);
                world.says(at, warren_wire::frame::NodeSays::Keys(keys));
            }
        }
        Act::Policy(which) => {
            let _ = world.apply(&policy(*which));
        }
        Act::Epoch => {
            let _ = world.command(Command::RaiseEpoch { why: "test".into() });
        }
        Act::Restart => world.restart(),
        Act::Wait(seconds) => world.wait(u64::from(*seconds)),
        Act::Fail => {
            let before = world.coordinator.state().clone();
            let command = world.policy_command(&policy(1));
            if let Ok(proposal) = world.coordinator.handle_command(command, admin(), world.now) {
                world.store.fail_next(Fault::BeforeCommit);
                assert!(world.coordinator.commit(&mut world.store, proposal, world.now).is_err());
            }
            assert_eq!(&before, world.coordinator.state(), "what was not stored did not happen");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_same_log_gives_the_same_state(acts in prop::collection::vec(acts(), 1..30)) {
        let mut world = World::new(7);
        for act in &acts {
            perform(&mut world, act);
        }
        let log = world.store.read(0, usize::MAX).unwrap();
        let replayed = State::replay(&log).unwrap();
        prop_assert_eq!(&replayed, world.coordinator.state());
        prop_assert_eq!(audit::verify(LogHead::default(), &log).unwrap(), replayed.head());
        // Whoever was revoked is out in the replayed state too, and no name or address has two holders.
        let mut seen = std::collections::BTreeSet::new();
        for node in replayed.directory().alive() {
            prop_assert!(seen.insert(node.member.name().to_string()));
            for address in node.member.addresses() {
                prop_assert!(seen.insert(address.to_string()));
                prop_assert_eq!(replayed.addresses().holder(address), Some(node.id()));
            }
        }
        let all_live: Vec<bool> = replayed.directory().all().map(|n| n.revoked.is_none()).collect();
        let before: Vec<bool> = world.coordinator.state().directory().all().map(|n| n.revoked.is_none()).collect();
        prop_assert_eq!(all_live, before);
    }
}

fn small_log() -> World {
    let mut world = World::new(1);
    world.apply(CHAIN).unwrap();
    world.join("web-1", &["web"]);
    world
}

#[test]
fn a_line_altered_removed_or_swapped_is_found() {
    let world = small_log();
    let lines = world.store.lines().to_vec();
    let read = |lines: &[String]| -> Result<LogHead, LogError> {
        let entries: Result<Vec<Entry>, _> =
            lines.iter().zip(1u64..).map(|(line, n)| Entry::from_json(n, line)).collect();
        audit::verify(LogHead::default(), &entries?)
    };
    assert!(read(&lines).is_ok());
    let mut altered = lines.clone();
    altered[1] = altered[1].replace("local:root", "local:eve0");
    assert_eq!(read(&altered), Err(LogError::Altered { revision: 2 }));
    let mut removed = lines.clone();
    removed.remove(1);
    assert_eq!(read(&removed), Err(LogError::Gap { expected: 2, found: 3 }));
    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    assert!(read(&swapped).is_err());
    let mut cut = lines;
    cut[2].truncate(100);
    assert!(matches!(read(&cut), Err(LogError::Unreadable { revision: 3, .. })));
}

/// Every place in `value` at which something stands that is no object and no list.
fn leaves(value: &serde_json::Value, at: &str, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(all) => {
            all.iter().for_each(|(k, v)| leaves(v, &format!("{at}/{k}"), found))
        }
        serde_json::Value::Array(all) => {
            all.iter().enumerate().for_each(|(i, v)| leaves(v, &format!("{at}/{i}"), found))
        }
        _ => found.push(at.to_owned()),
    }
}

/// Another value of the same kind, so that it can still be read wherever that is possible.
fn other(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::String(text) => {
            let (last, end) = text.char_indices().next_back().map_or((0, 'x'), |(at, end)| (at, end));
            format!("{}{}", &text[..last], if end == 'a' { 'b' } else { 'a' }).into()
        }
        serde_json::Value::Number(number) => (number.as_u64().unwrap_or_default() + 1).into(),
        serde_json::Value::Bool(yes) => (!yes).into(),
        _ => 1.into(),
    }
}

#[test]
fn whichever_field_of_an_entry_was_changed_it_is_named() {
    let mut world = small_log();
    world.revoke(0).unwrap();
    let lines = world.store.lines().to_vec();
    let (mut fields, mut read) = (0, 0);
    for (place, line) in lines.iter().enumerate() {
        let whole: serde_json::Value = serde_json::from_str(line).unwrap();
        let mut all = Vec::new();
        leaves(&whole, "", &mut all);
        for field in all {
            let mut changed = whole.clone();
            let value = changed.pointer_mut(&field).unwrap();
            *value = other(value);
            let mut altered = lines.clone();
            altered[place] = changed.to_string();
            let entries: Result<Vec<Entry>, _> =
                altered.iter().zip(1u64..).map(|(line, n)| Entry::from_json(n, line)).collect();
            let named = place as u64 + 1;
            let said = match entries.and_then(|entries| audit::verify(LogHead::default(), &entries)) {
                Ok(head) => panic!("{field} of entry {named} may be changed: {head:?}"),
                Err(LogError::Altered { revision }) => {
                    read += 1;
                    revision
                }
                Err(LogError::Unreadable { revision, .. } | LogError::TooNew { revision, .. }) => revision,
                Err(LogError::Gap { expected, .. }) => expected,
            };
            assert_eq!(said, named, "{field}");
            fields += 1;
        }
    }
    assert!(fields > 40 && read > 20, "{fields} fields changed, {read} of them could still be read");
}

#[test]
fn a_newer_log_is_refused_and_not_half_read() {
    let world = small_log();
    let mut entries = vec![Entry::from_json(1, &world.store.lines()[0]).unwrap()];
    entries[0].body.version = 99;
    assert!(matches!(State::replay(&entries), Err(LogError::TooNew { found: 99, .. })));
}

#[test]
fn who_decides_on_an_old_state_commits_nothing() {
    let mut world = small_log();
    let command = world.policy_command("version = 1");
    let stale = world.coordinator.handle_command(command, admin(), world.now).unwrap();
    world.token(&[], 1);
    let lines = world.store.lines().len();
    assert!(matches!(world.store.commit(stale.entry()), Err(StoreError::Conflict { .. })));
    assert!(world.coordinator.commit(&mut world.store, stale, world.now).is_err());
    assert_eq!(world.store.lines().len(), lines);
}

#[test]
fn the_audit_names_who_did_what_and_holds_no_secret() {
    let mut world = small_log();
    world.revoke(0).unwrap();
    let log = world.store.read(0, usize::MAX).unwrap();
    let rows: Vec<AuditRow> = log.iter().map(AuditRow::of).collect();
    let kinds: Vec<&str> = rows.iter().flat_map(|r| &r.kinds).map(String::as_str).collect();
    assert_eq!(kinds, ["network-founded", "policy-applied", "token-stored", "node-admitted", "node-revoked"]);
    assert_eq!(rows[3].principal, Principal::Node(world.id(0)));
    assert!(rows[4].what[0].contains("web-1"), "{:?}", rows[4].what);
    let text = world.store.lines().join("\n");
    use base64::Engine as _;
    for secret in world.tokens.values() {
        assert!(!text.contains(&base64::engine::general_purpose::STANDARD.encode(secret.to_bytes())));
    }
}

#[test]
fn a_second_network_is_refused() {
    let mut world = small_log();
    let command = Command::FoundNetwork {
        charter: world.net.charter.clone(),
        authorities: world.net.trust.authorities.clone(),
        freshness: WEEK,
    };
    assert_eq!(world.command(command), Err(Refusal::AlreadyFounded));
}
