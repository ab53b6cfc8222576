//! What was acknowledged is there, however the process ends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{World, block_on, stderr, wait_for};
use ed25519_dalek::SigningKey;
use warren_config::item::ItemTree;
use warren_coordinator::api::problem::Problem;
use warren_coordinator::authority::Authority;
use warren_coordinator::client::Client;
use warren_coordinator::clock;
use warren_coordinator::owner::{self, CommandError, Handle};
use warren_coordinator::state_dir::StateDir;
use warren_coordinator::store::log::LogStore;
use warren_coordinator_core::Coordinator;
use warren_coordinator_core::change::{Principal, SourceText};
use warren_coordinator_core::command::{Command, TokenRow};
use warren_coordinator_core::state::State;
use warren_coordinator_core::store::{Store, StoreError};
use warren_wire::id::IdentityKey;
use warren_wire::issue::{self, NameRule, Terms};
use warren_wire::trust::SignedPolicy;

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
            lease: 0,
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
    // The quickest of three: what else the host does meanwhile is not the coordinator's time.
    let start = |_| {
        assert!(world.socket().exists(), "the crash left its socket behind");
        let begun = Instant::now();
        let service = world.serve();
        let took = begun.elapsed();
        service.kill();
        took
    };
    let took: Vec<Duration> = (0..3).map(start).collect();
    assert!(took.iter().any(|took| *took < Duration::from_secs(2)), "{took:?}");
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
fn the_record_of_which_one_byte_was_changed_is_named() {
    let world = World::new();
    let _service = world.serve();
    for _ in 0..3 {
        world.ok(&["token", "create"]);
    }
    world.ok(&["audit", "verify"]);
    let connection = rusqlite::Connection::open(world.state().join("warren.db")).unwrap();
    for revision in 1..=4_u32 {
        let entry = |revision: u32| -> String {
            let sql = "SELECT entry FROM log WHERE revision = ?1";
            connection.query_row(sql, [revision], |row| row.get(0)).unwrap()
        };
        let write = |text: &str| {
            connection.execute("UPDATE log SET entry = ?2 WHERE revision = ?1", (revision, text)).unwrap();
        };
        let whole = entry(revision);
        let at = whole.find("\"at\":").unwrap() + 8;
        let mut bytes = whole.clone().into_bytes();
        bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
        write(std::str::from_utf8(&bytes).unwrap());
        let error = world.fails(1, &["audit", "verify"]);
        assert!(error.contains(&format!("entry {revision} of the log")), "{revision}: {error}");
        write(&whole);
        world.ok(&["audit", "verify"]);
    }
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

#[test]
fn a_full_disk_refuses_a_policy_keeps_the_state_and_resumes_by_itself() {
    let world = World::new();
    let full = warren_coordinator_core::store::StoreError::Full("x".into());
    assert!(full.nothing_changed());
    block_on(async {
        let owner = InProcess::start(&world);
        let pages = owner.handle.ask(|owner| owner.store().pages().unwrap()).await.unwrap();
        owner.limit_pages(pages + 1).await;
        let large = format!("version = 1\n# {}\n", "x".repeat(100_000));
        let refused = owner.apply(&large).await.unwrap_err();
        assert!(matches!(&refused, CommandError::Store(StoreError::Full(_))), "{refused}");
        assert!(refused.to_string().contains("free some space; nothing was changed"), "{refused}");
        let problem = Problem::from(refused);
        assert_eq!((problem.status, problem.word()), (507, "store-full"));
        assert_eq!(owner.generation().await, 0);
        owner.limit_pages(1_000_000).await;
        owner.apply(&large).await.unwrap();
        assert_eq!(owner.generation().await, 1);
    });
    let _service = world.serve();
    assert_eq!(world.json(&["status"])["generation"], 1);
    world.ok(&["audit", "verify"]);
}

/// The owner alone, on the state of a world.
struct InProcess {
    handle: Handle,
    authority: Authority,
    _stop: tokio::sync::oneshot::Sender<()>,
    _flows: std::sync::mpsc::Receiver<warren_coordinator_core::flows::Batch>,
    _events: tokio::sync::mpsc::Sender<warren_coordinator::channel::Event>,
}

impl InProcess {
    fn start(world: &World) -> InProcess {
        let state = StateDir::at(&world.state());
        let mut store = LogStore::open(&state.log()).unwrap();
        let folded = State::replay(&store.read(0, usize::MAX).unwrap()).unwrap();
        let key = SigningKey::from_bytes(&state.read_online_key().unwrap());
        let coordinator = Coordinator::new(folded, key, clock::now()).unwrap();
        let (flows, _flows) = std::sync::mpsc::sync_channel(1);
        let (_events, inbox) = tokio::sync::mpsc::channel(1);
        let (_stop, stop) = tokio::sync::oneshot::channel();
        let (handle, _) = owner::start(coordinator, store, owner::Beside::of_nobody(flows), inbox, stop);
        InProcess { handle, authority: Authority::read(&world.authority()).unwrap(), _stop, _flows, _events }
    }
    async fn limit_pages(&self, pages: u32) {
        self.handle.ask(move |owner| owner.store().limit_pages(pages).unwrap()).await.unwrap();
    }
    async fn generation(&self) -> u64 {
        self.handle.ask(|owner| owner.coordinator().status(clock::now()).generation).await.unwrap()
    }
    async fn apply(&self, text: &str) -> Result<u64, CommandError> {
        let sources = vec![SourceText { file: "policy.toml".into(), text: text.into() }];
        let own: Vec<_> = sources.iter().map(warren_config::resolve::Source::from).collect();
        let tree = ItemTree::new(&warren_config::resolve::resolve(&own).unwrap().policy);
        let policy = SignedPolicy { epoch: 1, generation: 1, root: tree.root(), items: tree.len() };
        let head = issue::policy_head(&self.authority.network, &policy, clock::now(), self.authority.key());
        let command = Command::ApplyPolicy { sources, head, expect: None, allow_observe: false };
        self.handle.command(Principal::Local("test".into()), command).await.unwrap()
    }
}

#[test]
fn the_service_manager_is_told_of_start_and_stop() {
    let world = World::new();
    let path = world.path("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut buffer = [0; 256];
    let mut hear = |word: &str| loop {
        let length = manager.recv(&mut buffer).unwrap();
        if String::from_utf8_lossy(&buffer[..length]).contains(word) {
            return;
        }
    };
    let service = world.serve_in(&[("NOTIFY_SOCKET", path.to_str().unwrap())], &[]);
    hear("READY=1");
    hear("WATCHDOG=1");
    assert_eq!(service.stop(), 0);
    hear("STOPPING=1");
}
