//! The relay of `warren serve`, with real sockets on loopback: two nodes that have no other way to each other.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use common::{Line, Node, Service, World, block_on, wait_for};
use serde_json::{Value, json};
use warren_kernel::datagram::{self, Wait};
use warren_wire::frame::{CoordinatorSays, Seated};
use warren_wire::relay::{self, HEAD, Head, Seat};
use warren_wire::stun;

const POLICY: &str = r#"
version = 1
[tag.web]
[tag.orders]
[tag.db]
[service.orders-api]
on = ["tag:orders"]
listen = ["tcp/8443"]
[[grant]]
id = "web-reads-orders"
from = ["tag:web"]
to = ["service:orders-api"]
"#;

/// A node that is a control session, a seat and a UDP socket.
struct Seatholder {
    _line: Line,
    seated: Seated,
    socket: UdpSocket,
    relay: SocketAddr,
    counter: u64,
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
    socket
}

impl Seatholder {
    /// Enrols under this name and tag, says hello, hears of its seat and shows where it is.
    fn join(world: &World, service: &Service, number: u8, tag: &str) -> Seatholder {
        Seatholder::join_at(world, service.addr(), number, tag)
    }

    fn join_at(world: &World, at: SocketAddr, number: u8, tag: &str) -> Seatholder {
        let token = world.token(&["--name", &format!("{tag}-1"), "--tag", tag]);
        block_on(async {
            let node = Node::new(number, &token);
            node.enrol(&token, at).await.unwrap();
            let mut line = node.join(at).await;
            let seated = line
                .hear_until(|said| match said {
                    CoordinatorSays::Relay(seat) => Some(seat.read().unwrap()),
                    _ => None,
                })
                .await;
            let [here] = &seated.relays[..] else { panic!("one relay") };
            assert!(
                here.addresses.is_empty() && here.name == "coordinator",
                "it is where the coordinator is"
            );
            // As a node does.
            let (up, down) = (seated.up.at(&here.id), seated.down.at(&here.id));
            let seated = Seated { up, down, ..seated };
            let mut node = Seatholder { _line: line, seated, socket: socket(), relay: at, counter: 0 };
            node.ping();
            node
        })
    }

    fn frame(&mut self, to: Seat, carried: &[u8]) -> Vec<u8> {
        let mut frame = [&[0; HEAD], carried].concat();
        let head = Head { from: self.seated.seat, to, counter: self.counter };
        self.counter += 1;
        assert!(relay::write(&mut frame, head, &self.seated.up));
        frame
    }

    fn send(&mut self, to: Seat, carried: &[u8]) {
        let frame = self.frame(to, carried);
        self.socket.send_to(&frame, self.relay).unwrap();
    }

    /// The next frame: from whom, and what it carries.
    fn receive(&self) -> (Seat, Vec<u8>) {
        let mut buffer = [0; 4096];
        let (len, from) = self.socket.recv_from(&mut buffer).unwrap();
        assert_eq!(from, self.relay);
        assert!(relay::verify(&buffer[..len], &self.seated.down));
        let (head, carried) = relay::read(&buffer[..len]).unwrap();
        assert_eq!(head.to, self.seated.seat);
        (head.from, carried.to_vec())
    }

    /// Everything this node sent before has been dealt with when the answer is there.
    fn ping(&mut self) {
        let carried = [self.counter as u8; 16];
        self.send(Seat::RELAY, &carried);
        assert_eq!(self.receive(), (Seat::RELAY, carried.to_vec()));
    }

    fn hears_nothing(&self) {
        let got = datagram::receive(&self.socket, &mut [0; 4096], Wait::Never);
        assert_eq!(got.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}

fn set(world: &World, value: Value) {
    let path = world.state().join("settings.json");
    let mut settings: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    settings["relay"] = value;
    std::fs::write(&path, settings.to_string()).unwrap();
}

fn apply(world: &World, policy: &str) {
    let file = world.write("policy.toml", policy);
    world.ok(&["policy", "apply", &file]);
}

fn refused(world: &World, why: &str) -> u64 {
    world.json(&["status"])["relay"]["refused"][why].as_u64().unwrap()
}

fn world_with(relay: Value) -> World {
    let world = World::new();
    set(&world, relay);
    world
}

#[test]
fn nodes_that_a_grant_joins_talk_by_threads_of_the_relay() {
    talk(json!({}), 1);
}

#[test]
fn several_threads_share_the_nodes() {
    talk(json!({ "threads": 3 }), 3);
}

#[test]
fn where_nothing_is_steered_the_control_channel_carries_frames() {
    talk(json!({ "threads": 0 }), 0);
}

fn talk(settings: Value, threads: u64) {
    let world = world_with(settings);
    let service = world.serve();
    apply(&world, POLICY);
    let mut web = Seatholder::join(&world, &service, 1, "web");
    let mut orders = Seatholder::join(&world, &service, 2, "orders");
    let mut db = Seatholder::join(&world, &service, 3, "db");
    let (web_seat, orders_seat, db_seat) = (web.seated.seat, orders.seated.seat, db.seated.seat);
    // The first waits for the permit.
    web.send(orders_seat, &[1; 148]);
    assert_eq!(orders.receive(), (web_seat, vec![1; 148]));
    orders.send(web_seat, &[2; 92]);
    assert_eq!(web.receive(), (orders_seat, vec![2; 92]));
    // Nobody else is heard.
    for _ in 0..3 {
        db.send(orders_seat, &[3; 148]);
        web.send(db_seat, &[3; 148]);
        db.ping();
        web.ping();
    }
    wait_for("the coordinator's no", || (refused(&world, "no-permit") >= 2).then_some(()));
    orders.hears_nothing();
    db.hears_nothing();
    forged_and_replayed(&world, &mut web, &mut orders);
    a_batch(&mut web, &mut orders);
    // A node that moves is followed by the next frame.
    web.socket = socket();
    web.ping();
    orders.send(web_seat, &[5; 64]);
    assert_eq!(web.receive(), (orders_seat, vec![5; 64]));
    the_port_serves_the_others(&world, &service);
    let status = world.json(&["status"])["relay"].clone();
    assert_eq!(
        (&status["seats"], &status["here"], &status["threads"]),
        (&4.into(), &3.into(), &threads.into())
    );
    assert_eq!((&status["pairs"], &status["frames"], &status["unsent"]), (&1.into(), &44.into(), &0.into()));
    let text = world.ok(&["status"]);
    assert!(text.contains("4 seats, 3 of them here, 1 pair; 44 frames passed on"), "{text}");
    let metrics = world.ok(&["metrics"]);
    let line = |text: &str| assert!(metrics.lines().any(|l| l == text), "{text} in {metrics}");
    line("warren_relay_frames_total{relay=\"coordinator\",outcome=\"forwarded\"} 44");
    line("warren_relay_frames_total{relay=\"coordinator\",outcome=\"replayed\"} 1");
    line("warren_relay_seats{relay=\"coordinator\",state=\"here\"} 3");
    assert_eq!(service.stop(), 0);
}

fn forged_and_replayed(world: &World, web: &mut Seatholder, orders: &mut Seatholder) {
    let orders_seat = orders.seated.seat;
    let frame = web.frame(orders_seat, &[4; 148]);
    let mut forged = frame.clone();
    forged[HEAD + 147] ^= 1;
    for bytes in [&forged, &frame, &frame] {
        web.socket.send_to(bytes, web.relay).unwrap();
    }
    assert_eq!(orders.receive().1, vec![4; 148]);
    web.ping();
    orders.hears_nothing();
    // Counted a moment after the answer has left.
    let counted = || (refused(world, "bad-tag"), refused(world, "replayed"));
    wait_for("both are counted", || (counted() == (1, 1)).then_some(()));
    // A stranger learns nothing, not even that there is a relay.
    let stranger = socket();
    let mut unknown = frame.clone();
    unknown[3] ^= 0x55;
    for bytes in [&forged[..], &unknown[..], &[relay::FRAME; 40], &[relay::FRAME; 4], &frame[..HEAD]] {
        stranger.send_to(bytes, web.relay).unwrap();
    }
    web.ping();
    wait_for("the strangers", || (refused(world, "unknown-seat") >= 1).then_some(()));
    let got = datagram::receive(&stranger, &mut [0; 4096], Wait::Never);
    assert_eq!(got.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

/// As a node sends: many frames in one system call.
fn a_batch(web: &mut Seatholder, orders: &mut Seatholder) {
    let frames: Vec<Vec<u8>> = (0..40u8).map(|i| web.frame(orders.seated.seat, &[i; 1200])).collect();
    let segment = Some(frames[0].len() as u16);
    datagram::send(&web.socket, &web.relay, &frames.concat(), segment, Wait::Socket).unwrap();
    for i in 0..40 {
        assert_eq!(orders.receive(), (web.seated.seat, vec![i; 1200]));
    }
}

fn the_port_serves_the_others(world: &World, service: &Service) {
    let asker = socket();
    let id = stun::TransactionId([5; 12]);
    asker.send_to(&stun::question(id), service.addr()).unwrap();
    let mut buffer = [0; 2048];
    let (len, _) = asker.recv_from(&mut buffer).unwrap();
    let (place, answer) = (asker.local_addr().unwrap(), &buffer[..len]);
    assert_eq!(stun::read_answer(answer), Some((id, place)));
    assert!(stun::read_proof(answer).is_some(), "with a proof that it receives there");
    let token = world.token(&["--name", "late-1"]);
    block_on(async {
        let node = Node::new(9, &token);
        node.enrol(&token, service.addr()).await.unwrap();
        node.join(service.addr()).await;
    });
}

/// 127.0.0.2 is this host's, too, and not what it would send from by itself. A NAT lets nothing in from an address that
/// nobody behind it has sent to.
#[test]
fn who_knows_this_host_by_another_address_hears_the_relay_from_there() {
    for threads in [1, 0] {
        let world = world_with(json!({ "threads": threads }));
        let service = world.serve_with(&["--listen", "0.0.0.0:0"]);
        apply(&world, POLICY);
        let at = SocketAddr::from(([127, 0, 0, 2], service.addr().port()));
        let mut web = Seatholder::join_at(&world, at, 1, "web");
        let mut orders = Seatholder::join_at(&world, at, 2, "orders");
        web.send(orders.seated.seat, &[1; 148]);
        assert_eq!(orders.receive().1, [1; 148], "after the permit was asked for");
        orders.send(web.seated.seat, &[2; 92]);
        assert_eq!(web.receive().1, [2; 92]);
        a_batch(&mut web, &mut orders);
    }
}

#[test]
fn who_may_no_longer_talk_is_cut_off_and_the_others_are_not() {
    let world = World::new();
    let service = world.serve();
    let both = POLICY.replace("from = [\"tag:web\"]", "from = [\"tag:web\", \"tag:db\"]");
    apply(&world, &both);
    let mut web = Seatholder::join(&world, &service, 1, "web");
    let orders = Seatholder::join(&world, &service, 2, "orders");
    let mut db = Seatholder::join(&world, &service, 3, "db");
    let to = orders.seated.seat;
    for node in [&mut web, &mut db] {
        node.send(to, &[1; 64]);
        assert_eq!(orders.receive(), (node.seated.seat, vec![1; 64]));
    }
    apply(&world, &both.replace(", \"tag:db\"", ""));
    db.send(to, &[2; 64]);
    db.ping();
    web.send(to, &[3; 64]);
    assert_eq!(orders.receive(), (web.seated.seat, vec![3; 64]));
    wait_for("the coordinator's no", || (refused(&world, "no-permit") >= 1).then_some(()));
    orders.hears_nothing();
    world.ok(&["node", "revoke", "web-1", "--why", "stolen"]);
    web.send(to, &[4; 64]);
    wait_for("the end of the seat", || (refused(&world, "unknown-seat") >= 1).then_some(()));
    orders.hears_nothing();
}

#[test]
fn new_keys_come_with_a_new_session_and_the_number_stays() {
    let world = World::new();
    let service = world.serve();
    let first = Seatholder::join(&world, &service, 1, "web");
    let token = world.token(&[]);
    let second = block_on(async {
        let mut line = Node::new(1, &token).join(service.addr()).await;
        let seat = |said: &CoordinatorSays| match said {
            CoordinatorSays::Relay(seat) => Some(seat.read().unwrap()),
            _ => None,
        };
        line.hear_until(seat).await
    });
    assert_eq!(second.seat, first.seated.seat);
    assert!(second.up != first.seated.up && second.down != first.seated.down);
}

#[test]
fn a_relay_that_is_off_gives_no_seats_and_carries_nothing() {
    let world = world_with(json!({ "enabled": false }));
    let service = world.serve();
    let token = world.token(&["--name", "web-1"]);
    block_on(async {
        let node = Node::new(1, &token);
        node.enrol(&token, service.addr()).await.unwrap();
        let mut line = node.join(service.addr()).await;
        // The first thing after the welcome would be the seat.
        let next = tokio::time::timeout(Duration::from_secs(10), line.hear()).await.unwrap();
        assert!(!matches!(next, Some(CoordinatorSays::Relay(_))), "{next:?}");
    });
    let status = world.json(&["status"]);
    assert_eq!(status["relay"], Value::Null, "{status}");
    let metrics = world.ok(&["metrics"]);
    assert!(!metrics.contains("warren_relay_seats{") && !metrics.contains("warren_relay_frames_total{"));
    assert_eq!(service.stop(), 0);
}

#[test]
fn settings_that_cannot_be_are_refused_with_what_could() {
    for (relay, says) in [
        (json!({ "threads": 99 }), "`relay.threads` in settings.json is 99: write a number from 0 to 16"),
        (json!({ "megabits": 0 }), "`relay.megabits` in settings.json is 0"),
        (json!({ "packets": 0 }), "`relay.packets` in settings.json is 0"),
        (json!({ "thread": 1 }), "unknown field `thread`"),
    ] {
        let error = world_with(relay).fails(1, &["serve"]);
        assert!(error.contains(says), "{error}");
    }
}
