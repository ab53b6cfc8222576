//! As many handshakes as a WireGuard peer answers. Each of the keys knocks in turn from an address of its own, so that
//! a limit per address or per peer is not what is measured.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use boringtun::noise::{Tunn, TunnResult};
use serde_json::{Value, json};
use warren_wire::id::WgKey;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::keys::Pair;

/// Clients that wait for an answer at the same time.
const AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_millis(500);
/// No peer is asked more often: wireguard-go takes two initiations within 20 ms for a flood.
const PAUSE: Duration = Duration::from_millis(60);
const LONGEST: usize = 2048;

#[derive(Default)]
struct Tally {
    done: AtomicU32,
    cookies: AtomicU32,
    unanswered: AtomicU32,
}

/// Client `n` speaks from 10.66.x.y, which must be local here and routed back to here by the peer.
pub fn run(pairs: &[Pair], peer: &WgKey, to: SocketAddr, seconds: u32) -> Value {
    let tally = Tally::default();
    let (start, end) = (Instant::now(), Instant::now() + Duration::from_secs(u64::from(seconds)));
    std::thread::scope(|scope| {
        for worker in 0..AT_ONCE {
            let tally = &tally;
            let mine: Vec<_> = pairs.iter().enumerate().skip(worker).step_by(AT_ONCE).collect();
            scope.spawn(move || knock_in_turn(&mine, peer, to, end, tally));
        }
    });
    let taken = start.elapsed().as_secs_f64();
    let count = |n: &AtomicU32| n.load(Ordering::Relaxed);
    json!({
        "per_s": f64::from(count(&tally.done)) / taken,
        "done": count(&tally.done), "cookies": count(&tally.cookies), "unanswered": count(&tally.unanswered),
    })
}

fn knock_in_turn(mine: &[(usize, &Pair)], peer: &WgKey, to: SocketAddr, end: Instant, tally: &Tally) {
    let sockets: Vec<_> = mine.iter().map(|(number, _)| socket(*number, to)).collect();
    while Instant::now() < end {
        let round = Instant::now();
        for ((number, pair), socket) in mine.iter().zip(&sockets) {
            if Instant::now() >= end {
                return;
            }
            let counter = if handshake(pair, peer, *number as u32, socket, tally) {
                &tally.done
            } else {
                &tally.unanswered
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(PAUSE.saturating_sub(round.elapsed()));
    }
}

fn socket(number: usize, to: SocketAddr) -> UdpSocket {
    let from = Ipv4Addr::new(10, 66, (number >> 8) as u8, (number & 0xff) as u8);
    let socket = UdpSocket::bind((from, 0)).unwrap_or_else(|e| panic!("{from}: {e}"));
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// One whole handshake; a cookie is answered with a second initiation.
fn handshake(pair: &Pair, peer: &WgKey, index: u32, socket: &UdpSocket, tally: &Tally) -> bool {
    let secret = StaticSecret::from(*pair.private);
    let mut tunn = Tunn::new(secret, PublicKey::from(peer.0), None, None, index, None);
    let (mut message, mut answer) = ([0; LONGEST], [0; LONGEST]);
    let mut initiate = |tunn: &mut Tunn| match tunn.format_handshake_initiation(&mut message, true) {
        TunnResult::WriteToNetwork(bytes) => socket.send(bytes).is_ok(),
        _ => false,
    };
    if !initiate(&mut tunn) {
        return false;
    }
    loop {
        let len = match socket.recv(&mut answer) {
            Ok(len) => len,
            // The kernel tells on this socket of what happened to an earlier datagram.
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => continue,
            Err(_) => return false,
        };
        let mut out = [0; LONGEST];
        match tunn.decapsulate(None, &answer[..len], &mut out) {
            // The keepalive that confirms the session to the peer.
            TunnResult::WriteToNetwork(bytes) => return socket.send(bytes).is_ok(),
            // A cookie, kept for the next initiation; or an answer to an initiation of before.
            TunnResult::Done => {
                tally.cookies.fetch_add(1, Ordering::Relaxed);
                if !initiate(&mut tunn) {
                    return false;
                }
            }
            TunnResult::Err(_) => {}
            _ => return false,
        }
    }
}
