//! Doors ([`warren_wire::door`]) as people and metrics see them: by what a node reaches a port, and how the doors of one fare.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use warren_wire::frame::DoorCounts;

/// How a node reaches a port of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    #[default]
    Udp,
    /// QUIC datagrams to UDP 443.
    Quic,
    /// A WebSocket over TLS.
    WebSocket,
}

impl Transport {
    /// As in the JSON.
    pub fn word(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Quic => "quic",
            Transport::WebSocket => "websocket",
        }
    }
}

/// So many control channels of nodes go by each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ChannelCounts {
    pub udp: u64,
    pub quic: u64,
    pub websocket: u64,
}

/// How the doors of one port fare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DoorReport {
    /// `tcp ADDR:PORT` and `udp ADDR:PORT`; empty: there is none.
    pub listening: Vec<String>,
    /// Open now.
    pub websocket: u64,
    pub quic: u64,
    /// Since the start: opened, turned away for want of a place, and those whose handshake failed.
    pub opened: u64,
    pub refused: u64,
    pub failed: u64,
    /// Datagrams to the port and from it, and the bytes of both.
    pub inward: u64,
    pub outward: u64,
    pub bytes: u64,
    /// Datagrams that found no room or whose other half never came.
    pub lost: u64,
}

impl From<DoorReport> for DoorCounts {
    fn from(report: DoorReport) -> DoorCounts {
        let DoorReport { listening, websocket, quic, opened, refused, failed, inward, outward, bytes, lost } =
            report;
        DoorCounts { listening, websocket, quic, opened, refused, failed, inward, outward, bytes, lost }
    }
}

/// What a relay says; a place that is none is left out.
impl From<DoorCounts> for DoorReport {
    fn from(counts: DoorCounts) -> DoorReport {
        let DoorCounts { listening, websocket, quic, opened, refused, failed, inward, outward, bytes, lost } =
            counts;
        let listening = listening.into_iter().filter(|place| is_place(place)).collect();
        DoorReport { listening, websocket, quic, opened, refused, failed, inward, outward, bytes, lost }
    }
}

fn is_place(place: &str) -> bool {
    let address = place.strip_prefix("tcp ").or_else(|| place.strip_prefix("udp "));
    address.is_some_and(|address| address.parse::<SocketAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_relay_says_of_its_doors_is_told_on_and_text_that_is_no_place_is_not() {
        let good = vec!["tcp [::]:443".to_owned(), "udp 192.0.2.1:443".to_owned()];
        let report = DoorReport { listening: good.clone(), websocket: 2, lost: 7, ..DoorReport::default() };
        let mut counts = DoorCounts::from(report.clone());
        counts.listening.extend(["tcp somewhere".to_owned(), "\u{1b}[31m".to_owned()]);
        assert_eq!(DoorReport::from(counts), report);
    }
}
