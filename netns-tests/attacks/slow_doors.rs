//! Clients that do everything wrong at a door over TCP: they say nothing, or their TLS handshake or their request one byte a
//! second, garbage before TLS and inside it, headers without end; they hold a door and say nothing, announce messages of a
//! terabyte, send text, pour datagrams in, or ask and never read the answers. Who is thrown out comes again. A server that waits
//! for them has no door for honest nodes.
//!
//! With `--from` they come from `--sources` addresses in a row, which must be the host's own (`ip route add local NET dev lo`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::forge::nth;
use warren_netns_tests::attack::knock::Noise;
use warren_netns_tests::attack::verdict::verdict;
use warren_wire::door::{PATH, PROTOCOL};
use warren_wire::stun::{TransactionId, question};

#[path = "../../coordinator/tests/stranger/mod.rs"]
mod stranger;

const USAGE: &str = "attack-slow-doors --target IP:PORT [--clients 300] [--rate 300] [--seconds 20] \
                     [--from FIRST-SOURCE --sources 250]";
/// Nobody whose handshakes are not over keeps a place longer than this, and nobody who has a door and is no member.
const SHAKING: Duration = Duration::from_secs(14);
const STRANGER: Duration = Duration::from_secs(36);
/// What a client waits for an answer to its handshakes.
const ANSWER: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

struct Siege {
    target: SocketAddr,
    from: Option<(Ipv4Addr, u64)>,
    tls: TlsConnector,
    end: Instant,
    entered: AtomicU64,
    doors: AtomicU64,
    thrown: AtomicU64,
    full: AtomicBool,
}

/// The longest that one was let stay before its handshakes were over, and with a door.
#[derive(Default)]
struct Stay {
    shaking: Duration,
    door: Duration,
}

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let target: SocketAddr = args.need("target");
    let (clients, seconds) = (args.or("clients", 300u64), args.or("seconds", 20u64));
    let (first, sources) = (args.or("from", Ipv4Addr::UNSPECIFIED), args.or("sources", 250));
    let from = (!first.is_unspecified()).then_some((first, sources));
    let apart = Duration::from_secs(1) / u32::try_from(args.or("rate", 300u64).max(1)).unwrap_or(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let siege = Arc::new(Siege {
        target,
        from,
        tls: stranger::tls().unwrap_or_else(|e| fail(USAGE, &e.to_string())),
        end: Instant::now() + Duration::from_secs(seconds),
        entered: AtomicU64::new(0),
        doors: AtomicU64::new(0),
        thrown: AtomicU64::new(0),
        full: AtomicBool::new(false),
    });
    let longest = runtime.block_on(async {
        let mut tasks = Vec::new();
        for number in 0..clients {
            tasks.push(tokio::spawn(come_again(Arc::clone(&siege), number)));
            tokio::time::sleep(apart).await;
        }
        let mut longest = Stay::default();
        for task in tasks {
            let stay = task.await.unwrap_or_default();
            longest.shaking = longest.shaking.max(stay.shaking);
            longest.door = longest.door.max(stay.door);
        }
        longest
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (entered, doors) = (count(&siege.entered), count(&siege.doors));
    verdict(
        doors > 0 && longest.shaking <= SHAKING && longest.door <= STRANGER,
        &format!(
            "{clients} clients came in {entered} times, {doors} times with a door, and were thrown out {} times; the longest stayed {} s before its handshakes were over and {} s with a door",
            count(&siege.thrown),
            longest.shaking.as_secs(),
            longest.door.as_secs()
        ),
    )
}

async fn come_again(siege: Arc<Siege>, number: u64) -> Stay {
    let (mut stay, mut noise, mut turn) = (Stay::default(), Noise(number), number);
    while Instant::now() < siege.end {
        let Some(tcp) = siege.connect(number).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        siege.entered.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let door = misbehave(&siege, tcp, turn % 10, &mut noise).await;
        let now = Instant::now();
        match door {
            Some(since) => stay.door = stay.door.max(now - since),
            None => stay.shaking = stay.shaking.max(now - began),
        }
        siege.left(now, began);
        turn += 1;
    }
    stay
}

impl Siege {
    async fn connect(&self, number: u64) -> Option<TcpStream> {
        let socket = TcpSocket::new_v4().ok()?;
        if let Some((first, sources)) = self.from {
            socket.bind(SocketAddr::new(IpAddr::V4(nth(first, number, sources)), 0)).ok()?;
        }
        timeout(ANSWER, socket.connect(self.target)).await.ok()?.ok()
    }

    /// Before the end, somebody had enough of it.
    fn left(&self, now: Instant, began: Instant) {
        if now < self.end {
            self.thrown.fetch_add(1, Ordering::Relaxed);
            let soon = now - began < Duration::from_secs(9);
            if soon && !self.full.swap(true, Ordering::Relaxed) {
                println!("one was thrown out before its time: no place is free");
            }
        }
    }
}

/// Until it is thrown out. Since when it had a door, if it got one.
async fn misbehave(siege: &Siege, mut tcp: TcpStream, kind: u64, noise: &mut Noise) -> Option<Instant> {
    match kind {
        0 => hold(&mut tcp, siege, &[]).await,
        // A record of 16 KiB that never becomes whole.
        1 => hold(&mut tcp, siege, &[0x16, 0x03, 0x01, 0x40, 0x00, 0x01]).await,
        2 => {
            let _ = tcp.write_all(&noise.bytes(4000)).await;
            hold(&mut tcp, siege, &[]).await;
        }
        _ => return misbehave_inside(siege, tcp, kind, noise).await,
    }
    None
}

async fn misbehave_inside(siege: &Siege, tcp: TcpStream, kind: u64, noise: &mut Noise) -> Option<Instant> {
    let name = ServerName::try_from("warren").ok()?;
    let mut tls = timeout(ANSWER, siege.tls.connect(name, tcp)).await.ok()?.ok()?;
    match kind {
        3 => {
            let _ = tls.write_all(&noise.bytes(3000)).await;
            hold(&mut tls, siege, &[]).await;
            return None;
        }
        4 => {
            hold(&mut tls, siege, &request()).await;
            return None;
        }
        5 => {
            let _ = tls.write_all(&request()[..20]).await;
            let header = format!("x-{}: {}\r\n", "a".repeat(200), "b".repeat(7000));
            while Instant::now() < siege.end && tls.write_all(header.as_bytes()).await.is_ok() {}
            return None;
        }
        _ => {}
    }
    timeout(ANSWER, upgrade(&mut tls)).await.ok()??;
    siege.doors.fetch_add(1, Ordering::Relaxed);
    let since = Instant::now();
    abuse(siege, tls, kind, noise).await;
    Some(since)
}

/// Of a door that is open.
async fn abuse(siege: &Siege, mut tls: TlsStream<TcpStream>, kind: u64, noise: &mut Noise) {
    match kind {
        6 => hold(&mut tls, siege, &[]).await,
        // Binary, masked, of a terabyte; or text.
        7 => {
            let start: &[u8] = if noise.draw().is_multiple_of(2) {
                &[0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4]
            } else {
                &[0x81, 0x84, 1, 2, 3, 4, 0, 0, 0, 0]
            };
            let _ = tls.write_all(start).await;
            while Instant::now() < siege.end && tls.write_all(&noise.bytes(8000)).await.is_ok() {}
        }
        8 => while Instant::now() < siege.end && tls.write_all(&message(&noise.bytes(1200))).await.is_ok() {},
        // Questions whose answers nobody takes.
        _ => {
            let mut id = [0; 12];
            id.copy_from_slice(&noise.bytes(12));
            let asked = message(&question(TransactionId(id)));
            for _ in 0..500 {
                if tls.write_all(&asked).await.is_err() {
                    return;
                }
            }
            let (socket, _) = tls.get_ref();
            while Instant::now() < siege.end && socket.peek(&mut [0]).await.is_ok_and(|n| n > 0) {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Says these bytes, one a second, then nothing; until the other end has had enough.
async fn hold<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, siege: &Siege, bytes: &[u8]) {
    let mut bytes = bytes.iter();
    let mut buffer = [0; 4096];
    while Instant::now() < siege.end {
        if let Some(byte) = bytes.next()
            && (stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err())
        {
            return;
        }
        if let Ok(Ok(0) | Err(_)) = timeout(Duration::from_secs(1), stream.read(&mut buffer)).await {
            return;
        }
    }
}

fn request() -> Vec<u8> {
    format!(
        "GET {PATH} HTTP/1.1\r\nHost: warren\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n"
    )
    .into_bytes()
}

/// `None`: no door was opened.
async fn upgrade(tls: &mut TlsStream<TcpStream>) -> Option<()> {
    tls.write_all(&request()).await.ok()?;
    tls.flush().await.ok()?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(tls.read_u8().await.ok()?);
    }
    answer.starts_with(b"HTTP/1.1 101").then_some(())
}

/// A binary message (RFC 6455 section 5.2), masked with zeros.
fn message(datagram: &[u8]) -> Vec<u8> {
    let len = u16::try_from(datagram.len()).unwrap_or(u16::MAX);
    [&[0x82, 0xfe][..], &len.to_be_bytes(), &[0; 4], datagram].concat()
}
