//! The control channel with a real client on loopback: who is let in, and what strangers cannot do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{Line, Node, World, block_on, endpoint, endpoint_at, hello};
use quinn::ConnectionError;
use warren_wire::frame::{ALPN, CoordinatorSays, MAX_FRAME_STRANGER, RefusalCode};
use warren_wire::id::IdentityKey;

fn closed_with(error: &quinn::ConnectionError) -> Option<u64> {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
        _ => None,
    }
}

#[test]
fn a_token_admits_one_node_once_and_the_node_gets_a_session() {
    let world = World::new();
    let service = world.serve();
    let token = world.token(&["--tag", "web", "--name", "web-1"]);
    block_on(async {
        Node::new(1, &token).enrol(&token, service.addr()).await.unwrap();
        let second = Node::new(2, &token).enrol(&token, service.addr()).await.unwrap_err();
        assert_eq!(second.code, RefusalCode::TokenSpent as i32, "{}", second.message);
        let _line = Node::new(1, &token).join(service.addr()).await;
        let nodes = world.json(&["node", "list"]);
        assert_eq!((&nodes[0]["name"], &nodes[0]["online"]), (&"web-1".into(), &true.into()));
        let status = world.ok(&["status"]);
        assert!(status.contains("ALARM") && status.contains("token"), "{status}");
    });
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_stranger_is_told_no_and_let_go() {
    let world = World::new();
    let service = world.serve();
    block_on(async {
        let mut line = Line::open(&[7; 32], world.online_key(), service.addr()).await;
        line.say(hello()).await;
        let refused = line.refused().await;
        assert_eq!(refused.code, RefusalCode::NotAMember as i32, "{}", refused.message);
        assert!(line.hear().await.is_none());
    });
}

#[test]
fn a_client_speaks_to_no_other_server_key_and_the_server_to_no_other_protocol() {
    let world = World::new();
    let service = world.serve();
    block_on(async {
        let foreign = endpoint(&[7; 32], IdentityKey([3; 32]), ALPN);
        let error = foreign.connect(service.addr(), "warren").unwrap().await.unwrap_err();
        assert!(matches!(error, quinn::ConnectionError::TransportError(_)), "{error}");
        let future = endpoint(&[7; 32], world.online_key(), b"warren/2");
        let error = future.connect(service.addr(), "warren").unwrap().await.unwrap_err();
        assert!(error.to_string().contains("120"), "no_application_protocol (RFC 7301 section 3.2): {error}");
    });
}

#[test]
fn a_strangers_frame_over_its_limit_ends_the_connection_before_it_is_read() {
    let world = World::new();
    let service = world.serve();
    block_on(async {
        let mut line = Line::open(&[7; 32], world.online_key(), service.addr()).await;
        let length = u32::try_from(MAX_FRAME_STRANGER + 1).unwrap().to_be_bytes();
        line.send.write_all(&length).await.unwrap();
        let error = line.connection.closed().await;
        assert_eq!(closed_with(&error), Some(1), "{error}");
        assert!(error.to_string().contains("limit"), "{error}");
    });
}

/// Strangers from one address, each with its own key; the connection alone.
async fn knock(
    world: &World,
    from: u8,
    key: u8,
    to: std::net::SocketAddr,
) -> Result<Connected, ConnectionError> {
    let endpoint = endpoint_at([127, 0, 2, from].into(), &[key; 32], world.online_key(), ALPN);
    let connection = endpoint.connect(to, "warren").unwrap().await?;
    Ok(Connected { connection, _endpoint: endpoint })
}

struct Connected {
    connection: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

/// A place is a stranger's for a second, whoever else wants it.
const HELD: std::time::Duration = std::time::Duration::from_secs(1);

/// Eight strangers of one address, and what becomes of a ninth while none of them has had its second. A host that takes longer over
/// nine handshakes tries again from another address.
async fn eight_and_one_more(
    world: &World,
    to: std::net::SocketAddr,
) -> (u8, Vec<Connected>, Result<Connected, ConnectionError>) {
    for from in 1..=20 {
        let (begun, mut held) = (std::time::Instant::now(), Vec::new());
        for key in 1..=8 {
            held.push(knock(world, from, key, to).await.unwrap());
        }
        let ninth = knock(world, from, 9, to).await;
        if begun.elapsed() < HELD {
            return (from, held, ninth);
        }
    }
    panic!("nine handshakes never took less than a second");
}

#[test]
fn slow_strangers_of_one_address_keep_out_nobody_there_for_long_and_nobody_elsewhere_at_all() {
    let world = World::new();
    let service = world.serve();
    block_on(async {
        let (from, held, refused) = eight_and_one_more(&world, service.addr()).await;
        assert!(matches!(refused, Err(ConnectionError::ConnectionClosed(_))), "eight at a time");
        knock(&world, 255, 10, service.addr()).await.expect("another address has its own places");
        let begun = std::time::Instant::now();
        let ninth = loop {
            match knock(&world, from, 9, service.addr()).await {
                Ok(connection) => break connection,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        };
        assert!(begun.elapsed() < std::time::Duration::from_secs(3), "{:?}", begun.elapsed());
        held[0].connection.closed().await;
        assert!(ninth.connection.close_reason().is_none());
        assert_eq!(
            held.iter().filter(|h| h.connection.close_reason().is_some()).count(),
            1,
            "the oldest went"
        );
    });
}

#[test]
fn what_strangers_of_one_address_leave_unfinished_is_bounded_together() {
    let world = World::new();
    let service = world.serve();
    block_on(async {
        let mut talks = Vec::new();
        for key in 1..=3 {
            let stranger = knock(&world, 1, key, service.addr()).await.unwrap();
            let (mut send, receive) = stranger.connection.open_bi().await.unwrap();
            // Fifteen of sixteen thousand bytes, and then nothing: each is within its own limit.
            let begun = [&16_000u32.to_be_bytes()[..], &[0; 15_000]].concat();
            talks
                .push((stranger, tokio::spawn(async move { (send.write_all(&begun).await, send, receive) })));
        }
        let closed = async {
            tokio::join!(
                talks[0].0.connection.closed(),
                talks[1].0.connection.closed(),
                talks[2].0.connection.closed()
            )
        };
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), closed).await;
        let gone = talks.iter().filter(|(s, _)| s.connection.close_reason().is_some()).count();
        assert_eq!(gone, 1, "45 kB are more than one address may leave here");
    });
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let world = World::new();
    let service = world.serve();
    block_on(async {
        for garbage in [&[0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff][..], &[0, 0, 0, 0], &[0, 0, 0, 2, 0x7a, 0x00]] {
            let mut line = Line::open(&[7; 32], world.online_key(), service.addr()).await;
            line.send.write_all(garbage).await.unwrap();
            line.connection.closed().await;
        }
        // A second stream, a one-way stream and a datagram are not part of the protocol.
        let line = Line::open(&[8; 32], world.online_key(), service.addr()).await;
        assert!(line.connection.max_datagram_size().is_none());
        let second =
            tokio::time::timeout(std::time::Duration::from_millis(300), line.connection.open_bi()).await;
        assert!(second.is_err(), "a second stream was allowed");
    });
    assert!(world.ok(&["status"]).contains("prod"));
}

#[test]
fn a_silent_stranger_is_let_go() {
    let world = World::new();
    let service = world.serve();
    block_on(async {
        let begun = std::time::Instant::now();
        let line = Line::open(&[7; 32], world.online_key(), service.addr()).await;
        line.connection.closed().await;
        assert!(begun.elapsed() < std::time::Duration::from_secs(14), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_client_that_reads_nothing_delays_nobody() {
    let world = World::new();
    let service = world.serve();
    let (slow, quick) = (world.token(&["--name", "slow"]), world.token(&["--name", "quick"]));
    block_on(async {
        for (number, token) in [(1, &slow), (2, &quick)] {
            Node::new(number, token).enrol(token, service.addr()).await.unwrap();
        }
        // Opened, said hello, and never takes a byte beyond the first 64.
        let mut stuck = Line::narrow(&[1; 32], slow.coordinator_key, service.addr(), 64).await;
        stuck.say(hello()).await;
        for _ in 0..20 {
            let begun = std::time::Instant::now();
            let line = Node::new(2, &quick).join(service.addr()).await;
            assert!(begun.elapsed() < std::time::Duration::from_secs(5));
            line.connection.close(0u32.into(), b"");
        }
        // In the end it is let go, and told why.
        let error = stuck.connection.closed().await;
        assert!(error.to_string().contains("too slow"), "{error}");
    });
}

#[test]
fn a_revoked_node_is_cut_and_stays_out() {
    let world = World::new();
    let service = world.serve();
    let token = world.token(&["--name", "web-1"]);
    block_on(async {
        let node = Node::new(1, &token);
        node.enrol(&token, service.addr()).await.unwrap();
        let mut line = node.join(service.addr()).await;
        world.ok(&["node", "revoke", "web-1", "--why", "stolen"]);
        let refused = line.refused().await;
        assert_eq!(refused.code, RefusalCode::Revoked as i32, "{}", refused.message);
        let mut again = Line::open(&[1; 32], token.coordinator_key, service.addr()).await;
        again.say(hello()).await;
        assert_eq!(again.refused().await.code, RefusalCode::Revoked as i32);
    });
    let error = world.fails(1, &["node", "revoke", "web-1"]);
    assert!(error.contains("was revoked at"), "{error}");
    assert_eq!(world.json(&["node", "list"]).as_array().map(Vec::len), Some(0));
    assert_eq!(world.json(&["node", "list", "--revoked"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn the_session_survives_a_restart_of_the_coordinator_by_coming_again() {
    let world = World::new();
    let service = world.serve();
    let token = world.token(&["--name", "web-1"]);
    let node = Node::new(1, &token);
    block_on(async {
        node.enrol(&token, service.addr()).await.unwrap();
        let line = node.join(service.addr()).await;
        assert_eq!(service.stop(), 0);
        assert_eq!(closed_with(&line.connection.closed().await), Some(2), "told that the coordinator stops");
    });
    let service = world.serve();
    block_on(async {
        let mut line = node.join(service.addr()).await;
        line.hear_until(|said| {
            matches!(said, CoordinatorSays::Freshness(_) | CoordinatorSays::Delta(_)).then_some(())
        })
        .await;
    });
}

#[test]
fn fifty_redemptions_of_one_token_at_once_admit_exactly_one() {
    let world = World::new();
    let service = world.serve();
    let token = world.token(&["--name", "web-1"]);
    let (addr, token) = (service.addr(), &token);
    let results =
        block_on(futures(1..51, |number| async move { Node::new(number, token).enrol(token, addr).await }));
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
    assert_eq!(world.json(&["node", "list"]).as_array().map(Vec::len), Some(1));
    assert_eq!(world.json(&["token", "list"])[0]["used"], 1);
}

#[test]
fn a_hundred_nodes_enrol_at_once() {
    let world = World::new();
    let service = world.serve();
    let token = world.token(&["--tag", "web", "--name-prefix", "web-", "--uses", "100"]);
    let (addr, token) = (service.addr(), &token);
    let results =
        block_on(futures(1..101, |number| async move { Node::new(number, token).enrol(token, addr).await }));
    let refused: Vec<_> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let nodes = world.json(&["node", "list"]);
    let nodes = nodes.as_array().unwrap();
    let distinct =
        |key: &str| nodes.iter().map(|n| n[key].to_string()).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!((nodes.len(), distinct("name"), distinct("v4"), distinct("v6")), (100, 100, 100, 100));
}

/// All at once, on one thread.
async fn futures<F: Future>(numbers: std::ops::Range<u8>, make: impl Fn(u8) -> F) -> Vec<F::Output> {
    let mut waiting: Vec<_> = numbers.map(|n| (Box::pin(make(n)), None)).collect();
    std::future::poll_fn(|context| {
        for (future, done) in &mut waiting {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(context)
            {
                *done = Some(output);
            }
        }
        match waiting.iter().all(|(_, done)| done.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    waiting.into_iter().filter_map(|(_, done)| done).collect()
}
