//! Whoever holds everything on the coordinator's disk, the online key included, but not the authority's file, adds no
//! peer and opens no port: what he writes into the log, hash chain and all, is not believed even by the coordinator.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::collections::BTreeSet;

use common::{Node, World, block_on};
use ed25519_dalek::SigningKey;
use warren_config::item::ItemTree;
use warren_config::resolve::{Source, resolve};
use warren_coordinator::authority::Authority;
use warren_coordinator::clock;
use warren_coordinator::state_dir::StateDir;
use warren_coordinator::store::log::LogStore;
use warren_coordinator_core::change::{Change, Entry, Principal, SourceText};
use warren_coordinator_core::state::State;
use warren_coordinator_core::store::Store;
use warren_wire::issue::{self, NameRule, Terms};
use warren_wire::token::Token;
use warren_wire::trust::SignedPolicy;
use zeroize::Zeroizing;

/// A thief's signatures: by the online key he found, which is no authority.
fn stolen_key(world: &World) -> SigningKey {
    SigningKey::from_bytes(&StateDir::at(&world.state()).read_online_key().unwrap())
}

fn write_into_the_log(world: &World, change: Change) {
    let mut store = LogStore::open(&StateDir::at(&world.state()).log()).unwrap();
    let state = State::replay(&store.read(0, usize::MAX).unwrap()).unwrap();
    let entry = Entry::new(&state.head(), clock::now(), Principal::Local("root".into()), vec![change]);
    store.commit(&entry).unwrap();
}

#[test]
fn a_token_the_authority_did_not_sign_admits_nobody() {
    let world = World::new();
    let network = Authority::read(&world.authority()).unwrap().network;
    let authority = Authority::read(&world.authority()).unwrap().public();
    let token = Token {
        network,
        authorities: vec![authority],
        coordinators: vec!["127.0.0.1:7946".into()],
        coordinator_key: world.online_key(),
        seed: Zeroizing::new([5; 32]),
    };
    let created = clock::now();
    let terms = Terms {
        names: NameRule::AnyFree,
        tags: BTreeSet::new(),
        uses: 1,
        created,
        not_after: created.plus(600),
        lease: 0,
    };
    let delegation = issue::delegation(&network, &token.key(), &terms, &stolen_key(&world));
    write_into_the_log(&world, Change::TokenStored { delegation });
    let service = world.serve();
    block_on(async {
        let refused = Node::new(1, &token).enrol(&token, service.addr()).await.unwrap_err();
        assert!(!refused.message.is_empty());
    });
    assert_eq!(world.json(&["node", "list"]).as_array().map(Vec::len), Some(0));
    assert!(world.ok(&["status"]).contains("ALARM"), "{}", world.ok(&["status"]));
}

#[test]
fn a_policy_the_authority_did_not_sign_is_not_in_force() {
    let world = World::new();
    let network = Authority::read(&world.authority()).unwrap().network;
    let source = SourceText { file: "p.toml".into(), text: "version = 1\nmode = \"observe\"\n".into() };
    let tree = ItemTree::new(&resolve(&[Source::from(&source)]).unwrap().policy);
    let policy = SignedPolicy { epoch: 1, generation: 1, root: tree.root(), items: tree.len() };
    let head = issue::policy_head(&network, &policy, clock::now(), &stolen_key(&world));
    write_into_the_log(&world, Change::PolicyApplied { generation: 1, head, sources: vec![source] });
    let _service = world.serve();
    let status = world.json(&["status"]);
    assert_eq!((&status["generation"], &status["observe"]), (&0.into(), &false.into()), "{status}");
    assert!(world.ok(&["status"]).contains("ALARM"), "{status}");
}

/// Not only a thief's doing: a host that boots without its clock.
#[test]
fn a_clock_behind_the_log_is_reported() {
    let world = World::new();
    let mut store = LogStore::open(&StateDir::at(&world.state()).log()).unwrap();
    let state = State::replay(&store.read(0, usize::MAX).unwrap()).unwrap();
    let tomorrow = clock::now().plus(86_400);
    store.commit(&Entry::new(&state.head(), tomorrow, Principal::Coordinator, Vec::new())).unwrap();
    drop(store);
    let _service = world.serve();
    assert!(world.log().contains("set the clock"), "{}", world.log());
}
