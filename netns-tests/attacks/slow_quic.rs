//! Many QUIC clients that finish the handshake and then say their first message one byte a second, or nothing, or nearly
//! all of a long one at once. Each is thrown out within the limit; a coordinator that waits for them has no place for honest nodes.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::verdict::verdict;
use warren_node::agent::NameOptions;
use warren_node::link::Connector;
use warren_wire::id::IdentityKey;

const USAGE: &str = "attack-slow-quic --target IP:PORT --server-key BASE64 [--clients 300] [--seconds 20]";

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let (target, server): (String, IdentityKey) = (args.need("target"), args.need("server-key"));
    let (clients, seconds) = (args.or("clients", 300u64), args.or("seconds", 20u64));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let (connected, staying) = runtime.block_on(async {
        let tasks: Vec<_> =
            (0..clients).map(|i| tokio::spawn(dawdle(target.clone(), server, i, seconds))).collect();
        let (mut connected, mut staying) = (0, 0);
        for task in tasks {
            let (in_, still) = task.await.unwrap_or_default();
            connected += u64::from(in_);
            staying += u64::from(still);
        }
        (connected, staying)
    });
    verdict(
        staying == 0,
        &format!(
            "{connected} of {clients} slow clients got in, {staying} still held their place after {seconds} s"
        ),
    )
}

/// (it got in, it was still there at the end)
async fn dawdle(target: String, server: IdentityKey, number: u64, seconds: u64) -> (bool, bool) {
    let mut seed = [0x5e; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    let Ok(resolver) = NameOptions::default().resolver() else { return (false, false) };
    let connector = Connector::new(SigningKey::from_bytes(&seed), vec![server], resolver);
    let Ok((_endpoint, connection)) = connector.connect(&target).await else { return (false, false) };
    let start = Instant::now();
    let stream = if number.is_multiple_of(2) { connection.open_bi().await.ok() } else { None };
    let mut stream = stream;
    if let Some((send, _)) = stream.as_mut().filter(|_| number % 4 == 2) {
        // A frame of 16,000 bytes, of which the rest comes too slowly.
        let _ = send.write_all(&16_000u32.to_be_bytes()).await;
        let _ = tokio::time::timeout(Duration::from_secs(1), send.write_all(&[0; 15_900])).await;
    }
    while start.elapsed() < Duration::from_secs(seconds) {
        if connection.close_reason().is_some() {
            return (true, false);
        }
        if let Some((send, _)) = &mut stream {
            // The first four bytes promise a long frame that never becomes whole.
            let _ = send.write_all(&[0]).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    (true, connection.close_reason().is_none())
}
