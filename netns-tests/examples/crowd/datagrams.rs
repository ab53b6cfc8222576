//! Datagrams at a steady rate, and a receiver that loses none itself: its buffer holds a quarter of a second of them.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use serde_json::{Value, json};

const BUFFER: usize = 64 << 20;
/// The sender sleeps so long when it is ahead: bursts stay short.
const NAP: Duration = Duration::from_micros(50);
const FIRST: Duration = Duration::from_secs(10);
const LAST: Duration = Duration::from_millis(300);

/// Counts until nothing has come for a while.
pub fn receive(at: SocketAddr) -> Value {
    let socket = UdpSocket::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"));
    sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).unwrap();
    socket.set_read_timeout(Some(FIRST)).unwrap();
    let (mut count, mut bytes) = (0u64, [0; 2048]);
    loop {
        match socket.recv(&mut bytes) {
            Ok(_) if count == 0 => {
                socket.set_read_timeout(Some(LAST)).unwrap();
                count = 1;
            }
            Ok(_) => count += 1,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return json!({ "received": count }),
            Err(e) => panic!("{at}: {e}"),
        }
    }
}

/// `rate` datagrams a second; 0: as many as go.
pub fn send(to: SocketAddr, size: usize, rate: u32, seconds: u32) -> Value {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(to).unwrap();
    let message = vec![0x5a; size];
    let (start, end) = (Instant::now(), Duration::from_secs(u64::from(seconds)));
    let (mut sent, mut refused) = (0u64, 0u64);
    loop {
        let now = start.elapsed();
        if now >= end {
            return json!({ "sent": sent, "refused": refused, "seconds": now.as_secs_f64() });
        }
        if rate > 0 && sent as f64 >= now.as_secs_f64() * f64::from(rate) {
            std::thread::sleep(NAP);
            continue;
        }
        match socket.send(&message) {
            Ok(_) => sent += 1,
            // A full queue, or what the kernel heard of an earlier one.
            Err(_) => refused += 1,
        }
    }
}
