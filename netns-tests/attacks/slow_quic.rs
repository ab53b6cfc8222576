//! Many QUIC clients that finish the handshake and then say their first message one byte a second, or nothing, or nearly
//! all of a long one at once, and come again as soon as they are thrown out. A coordinator that waits for them has no
//! place for honest nodes.
//!
//! With `--from` they come from `--sources` addresses in a row, which must be the host's own (`ip route add local NET dev lo`).

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use quinn::Connection;
use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::forge::nth;
use warren_netns_tests::attack::verdict::verdict;
use warren_node::agent::NameOptions;
use warren_node::link::Connector;
use warren_node::resolver::Resolver;
use warren_wire::id::IdentityKey;

const USAGE: &str = "attack-slow-quic --target IP:PORT --server-key BASE64 [--clients 300] [--rate 300] [--seconds 20] \
                     [--from FIRST-SOURCE --sources 250]";
/// Nobody who is no member keeps a place longer than this.
const LONGEST: Duration = Duration::from_secs(14);

struct Siege {
    target: String,
    server: IdentityKey,
    resolver: Arc<Resolver>,
    /// The first of the addresses, and how many there are.
    from: Option<(Ipv4Addr, u64)>,
    end: Instant,
    /// One of them was thrown out for another one: no place is free any more.
    full: AtomicBool,
}

/// What became of one client: how often it got in, and the longest it held a place.
#[derive(Default)]
struct Stay {
    entered: u64,
    longest: Duration,
}

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let (target, server): (String, IdentityKey) = (args.need("target"), args.need("server-key"));
    let (clients, seconds) = (args.or("clients", 300u64), args.or("seconds", 20u64));
    let (first, sources) = (args.or("from", Ipv4Addr::UNSPECIFIED), args.or("sources", 250));
    let from = (!first.is_unspecified()).then_some((first, sources));
    // Not all in one moment: so many more each second.
    let apart = Duration::from_secs(1) / u32::try_from(args.or("rate", 300u64).max(1)).unwrap_or(1);
    let resolver = NameOptions::default().resolver().unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let end = Instant::now() + Duration::from_secs(seconds);
    let siege = Arc::new(Siege { target, server, resolver, from, end, full: AtomicBool::new(false) });
    let (connected, entered, longest) = runtime.block_on(async {
        let mut tasks = Vec::new();
        for number in 0..clients {
            tasks.push(tokio::spawn(come_again(Arc::clone(&siege), number)));
            tokio::time::sleep(apart).await;
        }
        let (mut connected, mut entered, mut longest) = (0, 0, Duration::ZERO);
        for task in tasks {
            let stay = task.await.unwrap_or_default();
            connected += u64::from(stay.entered > 0);
            entered += stay.entered;
            longest = longest.max(stay.longest);
        }
        (connected, entered, longest)
    });
    verdict(
        entered > 0 && longest <= LONGEST,
        &format!(
            "{connected} of {clients} slow clients got in, {entered} times; the longest stayed for {} s",
            longest.as_secs()
        ),
    )
}

async fn come_again(siege: Arc<Siege>, number: u64) -> Stay {
    let mut seed = [0x5e; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    let identity = SigningKey::from_bytes(&seed);
    let connector = Connector::new(identity, vec![siege.server], Arc::clone(&siege.resolver)).without_doors();
    let connector = match siege.from {
        Some((first, sources)) => connector.leaving_from(nth(first, number, sources).into()),
        None => connector,
    };
    let mut stay = Stay::default();
    while Instant::now() < siege.end {
        match connector.connect(&siege.target).await {
            Ok(link) => {
                let connection = &link.connection;
                let start = Instant::now();
                stay.entered += 1;
                dawdle(connection, number, &siege).await;
                stay.longest = stay.longest.max(start.elapsed());
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
    stay
}

/// Stays for as long as it is let, or until the end.
async fn dawdle(connection: &Connection, number: u64, siege: &Siege) {
    let mut stream = if number.is_multiple_of(2) { connection.open_bi().await.ok() } else { None };
    if let Some((send, _)) = stream.as_mut().filter(|_| number % 4 == 2) {
        // A frame of 16,000 bytes, of which the rest comes too slowly.
        let _ = send.write_all(&16_000u32.to_be_bytes()).await;
        let _ = tokio::time::timeout(Duration::from_secs(1), send.write_all(&[0; 15_900])).await;
    }
    while Instant::now() < siege.end {
        if let Some((send, _)) = &mut stream {
            // The first four bytes promise a long frame that never becomes whole.
            let _ = tokio::time::timeout(Duration::from_secs(1), send.write_all(&[0])).await;
        }
        if let Ok(why) = tokio::time::timeout(Duration::from_secs(1), connection.closed()).await {
            let for_another = why.to_string().contains("others wait for this place");
            if for_another && !siege.full.swap(true, Ordering::Relaxed) {
                println!("one was thrown out for another one: no place is free");
            }
            return;
        }
    }
}
