//! How a frame looks on its way to what carries it, and what must be said before the first.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use warren_wire::relay::{self, HEAD, Head, Seat, TagKey};

use super::turn;

pub fn sender() -> Seat {
    Seat::new(11).unwrap()
}

pub fn receiver() -> Seat {
    Seat::new(22).unwrap()
}

pub fn up(seat: Seat) -> TagKey {
    TagKey::new([seat.number() as u8; 16])
}

pub fn down(seat: Seat) -> TagKey {
    TagKey::new([seat.number() as u8 + 1; 16])
}

pub enum Way {
    Relay { counter: u64 },
    Plain,
    Turn,
}

impl Way {
    /// Makes everything ready.
    pub fn open(by: &str, sender: &UdpSocket, receiver: &UdpSocket, via: SocketAddr) -> Way {
        match by {
            "relay" => {
                show(sender, self::sender(), via);
                show(receiver, self::receiver(), via);
                // Counters go on from load to load, as clocks do.
                let since = std::time::UNIX_EPOCH.elapsed().unwrap();
                Way::Relay { counter: since.as_micros() as u64 & relay::MAX_COUNTER >> 1 }
            }
            "plain" => Way::Plain,
            "turn" => {
                turn::bind(sender, via, receiver.local_addr().unwrap());
                Way::Turn
            }
            other => panic!("{other} is no way"),
        }
    }

    /// Bytes in front of what is carried: as sent, as received.
    pub fn heads(&self) -> (usize, usize) {
        match self {
            Way::Relay { .. } => (HEAD, HEAD),
            Way::Plain => (0, 0),
            Way::Turn => (turn::HEAD, 0),
        }
    }

    /// Writes what stands in front.
    pub fn write(&mut self, frame: &mut [u8], key: &TagKey) {
        match self {
            Way::Relay { counter } => {
                *counter += 1;
                relay::write(frame, Head { from: sender(), to: receiver(), counter: *counter }, key);
            }
            Way::Plain => {}
            Way::Turn => turn::write(frame),
        }
    }
}

/// Pings until the relay answers.
fn show(socket: &UdpSocket, seat: Seat, via: SocketAddr) {
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    for try_ in 0..50u64 {
        let mut ping = [7; HEAD + 16];
        let since = std::time::UNIX_EPOCH.elapsed().unwrap();
        let counter = (since.as_micros() as u64 & relay::MAX_COUNTER >> 1) + try_;
        relay::write(&mut ping, Head { from: seat, to: Seat::RELAY, counter }, &up(seat));
        socket.send_to(&ping, via).unwrap();
        if socket.recv(&mut [0; 100]).is_ok() {
            return;
        }
    }
    panic!("the relay at {via} does not answer");
}
