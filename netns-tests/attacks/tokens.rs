//! One token, redeemed by many clients in the same millisecond. It admits as many as it says, here one.

use std::process::ExitCode;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use tokio::sync::Barrier;
use warren_config::name::Name;
use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::knock::Noise;
use warren_netns_tests::attack::verdict::verdict;
use warren_node::agent::NameOptions;
use warren_node::link::enrol;
use warren_node_core::control::enrolment::{Secrets, Wish};
use warren_node_core::control::keys::LaneSecret;
use warren_wire::token::Token;

const USAGE: &str =
    "attack-tokens --token-file FILE [--clients 50] [--uses 1] [--seed N] (the token names the coordinator)";

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let file: String = args.need("token-file");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| fail(USAGE, &format!("{file}: {e}")));
    if let Err(e) = Token::decode(&text) {
        fail(USAGE, &e.to_string());
    }
    let (clients, uses) = (args.or("clients", 50), args.or("uses", 1));
    let seed = args.or("seed", u64::from(std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let mut refusals = std::collections::BTreeMap::<String, usize>::new();
    let admitted = runtime.block_on(async {
        let gate = Arc::new(Barrier::new(clients));
        let tasks: Vec<_> =
            (0..clients).map(|i| tokio::spawn(redeem(text.clone(), seed + i as u64, gate.clone()))).collect();
        let mut admitted = 0;
        for task in tasks {
            match task.await {
                Ok(None) => admitted += 1,
                Ok(Some(why)) => *refusals.entry(why).or_default() += 1,
                Err(e) => *refusals.entry(e.to_string()).or_default() += 1,
            }
        }
        admitted
    });
    for (why, count) in &refusals {
        println!("{count} refused: {why}");
    }
    verdict(
        admitted == uses,
        &format!("{clients} clients at once with a token for {uses}: {admitted} admitted"),
    )
}

fn filled<const N: usize>(noise: &mut Noise) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&noise.bytes(N));
    bytes
}

/// `None`: admitted.
async fn redeem(text: String, seed: u64, gate: Arc<Barrier>) -> Option<String> {
    let mut noise = Noise(seed);
    let mut lane = || LaneSecret { private: filled(&mut noise).into(), nonce: filled(&mut noise) };
    let lanes = vec![lane(), lane()];
    let secrets = Secrets { identity: SigningKey::from_bytes(&filled(&mut noise)), lanes };
    let name = Name::parse(&format!("thief-{seed:x}")).map_or(Wish::Any, Wish::Exactly);
    let Ok(token) = Token::decode(&text) else { return Some("the token cannot be read".to_owned()) };
    let resolver = match NameOptions::default().resolver() {
        Ok(resolver) => resolver,
        Err(e) => return Some(e.to_string()),
    };
    gate.wait().await;
    match enrol(&token, &name, "attack-tokens", &secrets, resolver).await {
        Ok(_) => None,
        Err(e) => Some(e.to_string().lines().next().unwrap_or_default().chars().take(160).collect()),
    }
}
