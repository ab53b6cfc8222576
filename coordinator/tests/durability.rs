//! What was acknowledged is there, however the process ends.

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{World, block_on, stderr, wait_for};
use warren_coordinator::authority::Authority;
use warren_coordinator::client::Client;
use warren_coordinator_core::command::{Command, TokenRow};
use warren_wire::id::IdentityKey;
use warren_wire::issue::{self, NameRule, Terms};

const ROUNDS: usize = 24;

/// Stores tokens as fast as it can until the coordinator dies under it; notes each one that was acknowledged.
async fn writer(
    client: Client,
    authority: Arc<Authority>,
    round: usize,
    acked: Arc<Mutex<BTreeSet<IdentityKey>>>,
) {
    for number in 0u64.. {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(round as u64).to_be_bytes());
        key[8..16].copy_from_slice(&number.to_be_bytes());
        let token = warren_coordinator::tls::public_of(&key);
        let created = warren_coordinator::clock::now();
        let terms = Terms {
            names: NameRule::AnyFree,
            tags: BTreeSet::new(),
            uses: 1,
            created,
            not_after: created.plus(3600),
        };
        let delegation = issue::delegation(&authority.network, &token, &terms, authority.key());
        let reply: Result<serde_json::Value, _> =
            client.post("/v1/commands", &Command::StoreToken { delegation }).await;
        if reply.is_err() {
            return;
        }
        acked.lock().unwrap().insert(token);
    }
}

#[test]
fn kill_9_at_any_moment_loses_no_acknowledged_change() {
    let world = World::new();
    let authority = Arc::new(Authority::read(&world.authority()).unwrap());
    let acked = Arc::new(Mutex::new(BTreeSet::new()));
    for round in 0..ROUNDS {
        let service = world.serve();
        let before = acked.lock().unwrap().len();
        let (client, authority, shared) = (Client::new(&world.socket()), authority.clone(), acked.clone());
        let writing = std::thread::spawn(move || block_on(writer(client, authority, round, shared)));
        // Each round dies at another moment of its writing: after 0, 1, 2, … acknowledgements.
        wait_for("the writer", || (acked.lock().unwrap().len() >= before + round % 8).then_some(()));
        service.kill();
        writing.join().unwrap();
    }
    let service = world.serve();
    let rows: Vec<TokenRow> = block_on(Client::new(&world.socket()).get("/v1/tokens")).unwrap();
    let kept: BTreeSet<_> = rows.iter().map(|row| row.token).collect();
    let acked = acked.lock().unwrap();
    assert!(acked.len() >= ROUNDS, "the test must have acknowledged something: {}", acked.len());
    assert!(acked.is_subset(&kept), "{} acknowledged, {} kept", acked.len(), kept.len());
    world.ok(&["audit", "verify"]);
    drop(service);
}

#[test]
fn a_start_after_a_crash_takes_less_than_two_seconds() {
    let world = World::new();
    world.serve().kill();
    assert!(world.socket().exists(), "the crash left its socket behind");
    let begun = Instant::now();
    let _service = world.serve();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_flipped_byte_in_the_log_is_found_and_nothing_is_served() {
    let world = World::new();
    let service = world.serve();
    world.ok(&["token", "create"]);
    assert_eq!(service.stop(), 0);
    let path = world.state().join("warren.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute("UPDATE log SET entry = replace(entry, 'token-stored', 'token-revoked')", []).unwrap();
    drop(connection);
    let error = world.fails(1, &["serve"]);
    assert!(error.contains("entry 2") && error.contains("warren restore"), "{error}");
}

#[test]
fn a_log_that_is_altered_under_a_running_service_fails_verification() {
    let world = World::new();
    let _service = world.serve();
    world.ok(&["token", "create"]);
    world.ok(&["audit", "verify"]);
    let connection = rusqlite::Connection::open(world.state().join("warren.db")).unwrap();
    connection.execute("DELETE FROM log WHERE revision = 2", []).unwrap();
    let error = world.fails(1, &["audit", "verify"]);
    assert!(error.contains("revision 2") && error.contains("damaged"), "{error}");
}

#[test]
fn many_writers_at_once_are_each_acknowledged_once() {
    let world = World::new();
    let _service = world.serve();
    let failed = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let (world, failed) = (&world, failed.clone());
            scope.spawn(move || {
                for _ in 0..3 {
                    let output = world.run(&["token", "create"]);
                    if !output.status.success() {
                        eprintln!("{}", stderr(&output));
                        failed.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(!failed.load(Ordering::Relaxed));
    assert_eq!(world.json(&["status"])["revision"], 25);
    assert_eq!(world.json(&["token", "list"]).as_array().map(Vec::len), Some(24));
}
