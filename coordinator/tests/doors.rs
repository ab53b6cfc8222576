//! What strangers can make the coordinator's doors hold, and that whoever has a right comes through them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{RwLock, RwLockReadGuard};
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use warren_coordinator::door::{Callers, Doors};
use warren_wire::door::MAX_DATAGRAM;

mod stranger;

const SEED: [u8; 32] = [7; 32];
const SOON: Duration = Duration::from_secs(10);
/// Nothing comes any more.
const QUIET: Duration = Duration::from_millis(300);

type Door = WebSocketStream<Box<TlsStream<TcpStream>>>;

/// What this program holds is that of all tests that run: who measures it runs alone.
static PROGRAM: RwLock<()> = RwLock::const_new(());

/// A UDP port that gives everything back, and a door to it.
struct House {
    port: UdpSocket,
    doors: Doors,
    at: SocketAddr,
    callers: Callers,
    _others: Option<RwLockReadGuard<'static, ()>>,
}

impl House {
    async fn new() -> House {
        House { _others: Some(PROGRAM.read().await), ..House::alone() }
    }

    fn alone() -> House {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap();
        let callers = Callers::default();
        let at = "127.0.0.1:0".parse().unwrap();
        let (doors, at) = Doors::tcp_at(at, port.local_addr().unwrap(), &SEED, callers.clone()).unwrap();
        House { port, doors, at, callers, _others: None }
    }

    /// What comes next, and it must.
    fn heard(&self) -> (Vec<u8>, SocketAddr) {
        self.heard_within(SOON).expect("a datagram")
    }

    /// What is there, or comes in this time.
    fn heard_within(&self, time: Duration) -> Option<(Vec<u8>, SocketAddr)> {
        self.port.set_read_timeout(Some(time)).unwrap();
        let mut buffer = vec![0; 65_536];
        let (len, from) = self.port.recv_from(&mut buffer).ok()?;
        Some((buffer[..len].to_vec(), from))
    }

    async fn open(&self) -> Door {
        self.knock().await.unwrap()
    }

    /// `None`: no place is free.
    async fn knock(&self) -> Option<Door> {
        warren_door::ask(Box::new(self.shake().await?)).await.ok()
    }

    async fn tls(&self) -> TlsStream<TcpStream> {
        self.shake().await.unwrap()
    }

    async fn shake(&self) -> Option<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.at).await.ok()?;
        let name = ServerName::try_from("warren").ok()?;
        stranger::tls().unwrap().connect(name, tcp).await.ok()
    }

    fn open_now(&self) -> u64 {
        self.doors.report().websocket
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&House) -> bool) {
        let late = Instant::now() + SOON;
        while !holds(self) {
            assert!(Instant::now() < late, "{what}: {:?}", self.doors.report());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn binary(bytes: &[u8]) -> Message {
    Message::Binary(Bytes::copy_from_slice(bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_a_datagram_both_ways_and_the_port_knows_whose() {
    let house = House::new().await;
    let mut door = house.open().await;
    for size in [1, 1_200, 1_472, MAX_DATAGRAM] {
        let datagram = vec![0x41; size];
        door.send(binary(&datagram)).await.unwrap();
        let (heard, from) = house.heard();
        assert_eq!(heard, datagram);
        let caller = house.callers.of(from);
        assert_eq!(
            (caller.remote.ip(), caller.transport),
            (house.at.ip(), warren_coordinator::door::Transport::WebSocket)
        );
        assert_ne!(caller.remote, from, "it is the place the door was opened from");
        house.port.send_to(&datagram, from).unwrap();
        let back = timeout(SOON, door.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(back.into_data().len(), size);
    }
    drop(door);
    house.until("the door is closed", |house| house.open_now() == 0).await;
}

/// RFC 6455 section 5.4: in pieces or not, it is one message.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_pieces_is_one_datagram() {
    let house = House::new().await;
    let mut door = house.open().await;
    let piece =
        |bytes: &'static [u8], code, last| Message::Frame(Frame::message(bytes, OpCode::Data(code), last));
    door.send(piece(b"one ", Data::Binary, false)).await.unwrap();
    door.send(piece(b"datagram", Data::Continue, true)).await.unwrap();
    assert_eq!(house.heard().0, b"one datagram");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_datagram_ends_the_door_and_reaches_nobody() {
    let house = House::new().await;
    let too_long = vec![0; MAX_DATAGRAM + 1];
    for (what, message) in [("text", Message::text("hello")), ("too long", binary(&too_long))] {
        let mut door = house.open().await;
        door.send(message).await.unwrap();
        let end = timeout(SOON, async { while let Some(Ok(_)) = door.next().await {} }).await;
        assert!(end.is_ok(), "{what} did not end it");
    }
    // Pieces of one message that are too much together.
    let mut door = house.open().await;
    let first = Message::Frame(Frame::message(vec![0; MAX_DATAGRAM], OpCode::Data(Data::Binary), false));
    let second = Message::Frame(Frame::message(vec![0; 10], OpCode::Data(Data::Continue), true));
    let _ = door.send(first).await;
    let _ = door.send(second).await;
    timeout(SOON, async { while let Some(Ok(_)) = door.next().await {} }).await.unwrap();
    assert_eq!(house.heard_within(QUIET), None);
    house.until("all are closed", |house| house.open_now() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_instead_of_tls_and_other_things_than_a_door_are_refused() {
    let house = House::new().await;
    let at = house.at;
    let said = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(b"GET /door HTTP/1.1\r\nHost: warren\r\n\r\n").unwrap();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        said
    });
    // An alert of TLS at most (RFC 8446 section 6), and the end.
    assert!(said.await.unwrap().len() <= 16);
    let mut tls = house.tls().await;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    tls.write_all(b"GET /api/v1/status HTTP/1.1\r\nHost: warren\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let _ = timeout(SOON, tls.read_to_end(&mut said)).await.unwrap();
    assert!(said.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&said));
    house.until("both are counted", |house| house.doors.report().failed == 2).await;
    assert_eq!((house.open_now(), house.heard_within(QUIET)), (0, None));
}

/// Of one source 64 KiB at most before anybody has said that its doors are good: 4 KiB for the handshakes of each, and what is no
/// whole message yet counts for all of them together.
#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_of_one_source_have_sent_and_nobody_has_read_yet_is_bounded_together() {
    let house = House::new().await;
    let mut head = house.tls().await;
    let long = [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'x'; 3_000]].concat();
    head.write_all(&long).await.unwrap();
    house.until("a head of over 4 KiB ends its connection", |house| house.doors.report().failed == 1).await;
    // A message of 9,000 bytes that lacks its last: eight of them are more than 64 KiB.
    let mut held = Vec::new();
    for _ in 0..8 {
        // While the last one that asked for too much has not gone yet, there is no room for the next.
        let Some(mut door) = house.knock().await else { continue };
        let begun = [&[0x82, 0x80 | 126, 0x23, 0x28, 0, 0, 0, 0][..], &[7; 8_999]].concat();
        let _ = door.get_mut().write_all(&begun).await;
        let _ = door.get_mut().flush().await;
        held.push(door);
    }
    house.until("all were opened", |house| house.doors.report().opened == held.len() as u64).await;
    house.until("what is held fits", |house| house.open_now() * 9_000 <= 64 * 1024).await;
    assert!(house.open_now() >= 4, "the others stay: {:?}", house.doors.report());
}

/// Who has shown nothing has few places, for a while, and few datagrams; others come in.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_of_one_source_have_few_doors_and_the_newest_gets_the_oldests() {
    let house = House::new().await;
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(house.open().await);
    }
    house.until("they are open", |house| house.open_now() == 16).await;
    // The oldest gives way once it has had its second; whoever came too soon comes again.
    let late = Instant::now() + SOON;
    let mut newest = loop {
        if let Some(door) = house.knock().await {
            break door;
        }
        assert!(Instant::now() < late, "{:?}", house.doors.report());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    newest.send(binary(b"in")).await.unwrap();
    assert_eq!(house.heard().0, b"in");
    house.until("one has gone for it", |house| house.open_now() == 16).await;
    assert!(timeout(SOON, held[0].next()).await.unwrap().is_none_or(|end| end.is_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_of_which_nobody_says_that_it_is_good_carries_little() {
    let house = House::new().await;
    let mut door = house.open().await;
    let mut sent = 0;
    while sent < 2_000 && door.send(binary(&[0; 20])).await.is_ok() {
        sent += 1;
    }
    house.until("it ends", |house| house.open_now() == 0).await;
    assert!(house.doors.report().inward <= 512, "{:?}", house.doors.report());
    // One that the relay has answered through is good.
    let mut door = house.open().await;
    while house.heard_within(QUIET).is_some() {}
    door.send(binary(b"question")).await.unwrap();
    let (_, from) = house.heard();
    house.port.send_to(&[0x80; 28], from).unwrap();
    assert!(timeout(SOON, door.next()).await.unwrap().is_some());
    for _ in 0..2_000 {
        door.send(binary(&[0; 20])).await.unwrap();
    }
    assert_eq!(house.open_now(), 1);
}

/// A client that takes nothing costs one socket's buffers; the port is not slowed down and other doors are not either.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_costs_its_own_buffers_and_nothing_more() {
    let (_alone, house) = (PROGRAM.write().await, House::alone());
    let mut slow = house.open().await;
    slow.send(binary(b"here")).await.unwrap();
    let (_, at) = house.heard();
    let mut quick = house.open().await;
    quick.send(binary(b"here too")).await.unwrap();
    let (_, other) = house.heard();
    let before = memory_kib();
    for _ in 0..40_000 {
        let _ = house.port.send_to(&[0x80; 1400], at);
    }
    let begun = Instant::now();
    house.port.send_to(&[0x80; 100], other).unwrap();
    assert!(timeout(SOON, quick.next()).await.unwrap().is_some() && begun.elapsed() < Duration::from_secs(5));
    let grown = memory_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB for what one client did not read");
    assert!(house.doors.report().outward < 40_000, "what found no room is lost: {:?}", house.doors.report());
}

fn memory_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
