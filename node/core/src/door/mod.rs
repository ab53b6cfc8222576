//! Ways to a UDP port where UDP does not pass: which are tried, in which order, and when one is left for a better one.
//!
//! - [`Race`]: to the coordinator. UDP first; what has not worked after a moment gets company, and the first that works is taken.
//! - [`Passage`]: to a relay. UDP while the relay answers there; a door ([`warren_wire::door`]) when it does not; UDP again when it does.
//!
//! Sockets, TLS and the doors themselves are the agent's (`node/src/door`).

mod passage;
mod race;

use serde::Serialize;
use warren_wire::door::{Carriage, DoorAt, PORT};

pub use passage::{ASK_MS, LINGER_MS, Passage, Signs, Step, TRUST_MS};
pub use race::{FIRST_MS, NEXT_MS, Race};

/// What carries datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Udp,
    /// QUIC datagrams (RFC 9221), to a UDP port that is let through.
    Quic,
    /// WebSocket (RFC 6455) over TLS.
    WebSocket,
}

impl Transport {
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Quic => "quic",
            Transport::WebSocket => "websocket",
        }
    }
}

/// One way to try: to this port of the host that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    pub transport: Transport,
    pub port: u16,
}

impl Way {
    fn to(door: &DoorAt) -> Way {
        let transport = match door.carriage {
            Carriage::Quic => Transport::Quic,
            Carriage::WebSocket => Transport::WebSocket,
        };
        Way { transport, port: door.port }
    }
}

/// The doors of a host for its UDP port `port`, in the order in which they are tried: those that it has told of, then those
/// that it may have, because what is between may show its ports as others. None, if it says that it has none.
pub fn doors(port: u16, told: Option<&[DoorAt]>) -> Vec<Way> {
    let mut ways: Vec<Way> = told.unwrap_or_default().iter().map(Way::to).collect();
    if told.is_none_or(|told| !told.is_empty()) {
        let others: Vec<Way> = usual(port).into_iter().filter(|way| !ways.contains(way)).collect();
        ways.extend(others);
    }
    ways
}

fn usual(port: u16) -> Vec<Way> {
    let quic = Way { transport: Transport::Quic, port: PORT };
    let web = |port| Way { transport: Transport::WebSocket, port };
    match port {
        PORT => vec![web(PORT)],
        port => vec![quic, web(PORT), web(port)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_that_are_told_of_come_first_and_who_says_that_he_has_none_is_asked_at_none() {
        let way = |transport, port| Way { transport, port };
        let usual =
            [way(Transport::Quic, 443), way(Transport::WebSocket, 443), way(Transport::WebSocket, 7946)];
        assert_eq!(doors(7946, None), usual);
        let web = |port| DoorAt { carriage: Carriage::WebSocket, port };
        let told = doors(7946, Some(&[web(8443), web(7946)]));
        let first = [way(Transport::WebSocket, 8443), way(Transport::WebSocket, 7946)];
        assert_eq!(told, [&first[..], &usual[..2]].concat());
        assert_eq!(doors(7946, Some(&[])), []);
    }
}
