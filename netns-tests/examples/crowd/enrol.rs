//! Members without a process: each is enrolled as any host is, over QUIC, with an identity and keys of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use warren_node::agent::NameOptions;
use warren_node::link;
use warren_node::state::identity_from_seed;
use warren_node_core::control::enrolment::{Secrets, Wish};
use warren_node_core::control::keys::LaneSecret;
use warren_wire::token::Token;

use crate::keys::{self, Pair};

/// Conversations at the same time.
const AT_ONCE: u32 = 16;
/// WireGuard keys of each, as a host with one worker has; only the first is ever used.
const LANES: u32 = 2;

/// The keys of everybody's first lane are appended to `file`.
pub fn enrol(token_file: &str, count: u32, file: &str) {
    let text: Arc<str> = std::fs::read_to_string(token_file).unwrap().trim().into();
    let left = Arc::new(AtomicU32::new(count));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let pairs: Vec<Pair> = runtime.block_on(async {
        let tasks: Vec<_> =
            (0..AT_ONCE).map(|_| tokio::spawn(some(Arc::clone(&text), Arc::clone(&left)))).collect();
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.unwrap());
        }
        all
    });
    keys::append(file, &pairs);
}

/// Enrols until nobody is left.
async fn some(token: Arc<str>, left: Arc<AtomicU32>) -> Vec<Pair> {
    let mut done = Vec::new();
    let resolver = NameOptions::default().resolver().unwrap();
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
        let lanes = keys::generate(LANES);
        let secret = |pair: &Pair| LaneSecret { private: pair.private.clone(), nonce: *keys::random() };
        let secrets = Secrets {
            identity: identity_from_seed(&keys::random()),
            lanes: lanes.iter().map(secret).collect(),
        };
        let token = Token::decode(&token).unwrap();
        link::enrol(&token, &Wish::Any, "bench", &secrets, Arc::clone(&resolver))
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        done.extend(lanes.into_iter().next());
    }
    done
}
