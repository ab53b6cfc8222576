//! Edges: who talks to whom about what, summed over seconds. Flow records go in, sums come out; a store keeps them.
//!
//! An edge is one kind of conversation: opener, service, verdict and grant. Both ends report every flow, so each sum is
//! kept twice, once a side; what is shown is the opener's, and where the sides differ, that is shown too.
//!
//! Law: over all edges, seconds and sides, the sums are the sums of the records that went in.

mod quality;
mod sum;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_wire::flow::FlowVerdict;
use warren_wire::id::{Generation, NodeId};

use crate::flows::{FlowPoint, FlowRow};

pub use quality::Quality;
pub use sum::{Sides, Sum};

/// A node's clock is believed so far from the coordinator's own, seconds. A record is at most so much in the future;
/// older ones are what they say, because a node may have been away for long.
const AHEAD: u64 = 5;

/// One end of an edge: a node, or an address that never was one's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EdgeEnd {
    Node(NodeId),
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    Address(IpAddr),
}

/// What makes two flows one edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EdgeKey {
    /// Who opened it.
    pub from: EdgeEnd,
    pub to: EdgeEnd,
    pub service: Option<String>,
    pub protocol: u8,
    /// Of the other end; 0 where the protocol has none.
    pub port: u16,
    pub verdict: FlowVerdict,
    pub grant: Option<String>,
}

/// Sums of one edge in one second, as one side saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSecond {
    pub key: EdgeKey,
    pub at: UnixTime,
    /// True: the opener's.
    pub opener: bool,
    pub sum: Sum,
    pub quality: Quality,
    pub generation: Generation,
    pub first_ms: u64,
    pub last_ms: u64,
}

impl EdgeEnd {
    fn of(point: &FlowPoint) -> EdgeEnd {
        point.node.map_or(EdgeEnd::Address(point.address), EdgeEnd::Node)
    }
    pub fn node(&self) -> Option<&NodeId> {
        match self {
            EdgeEnd::Node(node) => Some(node),
            EdgeEnd::Address(_) => None,
        }
    }
}

impl EdgeKey {
    pub fn of(row: &FlowRow) -> EdgeKey {
        EdgeKey {
            from: EdgeEnd::of(&row.from),
            to: EdgeEnd::of(&row.to),
            service: row.service.clone(),
            protocol: row.protocol,
            port: if matches!(row.protocol, 6 | 17) { row.to.port } else { 0 },
            verdict: row.verdict,
            grant: row.grant.clone(),
        }
    }
}

/// Sums that nobody has taken yet.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    sums: BTreeMap<(u64, EdgeKey, bool), EdgeSecond>,
}

impl Tally {
    pub fn add(&mut self, row: &FlowRow) {
        let last_ms = row.last_ms.min(row.received.0.saturating_add(AHEAD).saturating_mul(1000));
        let at = UnixTime(last_ms / 1000);
        let key = EdgeKey::of(row);
        let place = self.sums.entry((at.0, key.clone(), row.outbound));
        let second = place.or_insert_with(|| EdgeSecond {
            key,
            at,
            opener: row.outbound,
            sum: Sum::default(),
            quality: Quality::default(),
            generation: row.generation,
            first_ms: row.started_ms,
            last_ms,
        });
        second.sum.add(&Sum::of(row));
        second.quality.add(&Quality::of(row));
        second.generation = second.generation.max(row.generation);
        second.first_ms = second.first_ms.min(row.started_ms);
        second.last_ms = second.last_ms.max(last_ms);
    }

    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// Everything, by second and edge.
    pub fn drain(&mut self) -> Vec<EdgeSecond> {
        std::mem::take(&mut self.sums).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use warren_wire::flow::FlowRecord;
    use warren_wire::specimen::flow;

    use super::*;

    fn row(node: u8, outbound: bool, last_ms: u64, bytes: u64) -> FlowRow {
        let point = |id: u8, port| FlowPoint {
            node: Some(NodeId([id; 16])),
            name: None,
            address: IpAddr::from([100, 64, 0, id]),
            port,
            behind: false,
        };
        let ends = [point(1, 40_000), point(2, 8080)];
        let record = FlowRecord {
            flow: 1,
            outbound,
            packets_back: 2,
            bytes_out: bytes,
            bytes_back: 2 * bytes,
            ..flow(ends[0].address, ends[1].address, last_ms)
        };
        FlowRow::new(&record, (NodeId([node; 16]), 1), ends, UnixTime(100)).unwrap()
    }

    #[test]
    fn windows_of_one_second_and_side_are_one_sum() {
        let mut tally = Tally::default();
        tally.add(&row(1, true, 99_100, 10));
        tally.add(&row(1, true, 99_900, 5));
        tally.add(&row(2, false, 99_900, 15));
        tally.add(&row(1, true, 100_000, 1));
        let seconds = tally.drain();
        let seen: Vec<_> = seconds.iter().map(|s| (s.at.0, s.opener, s.sum.bytes_out, s.sum.flows)).collect();
        assert_eq!(seen, [(99, false, 15, 1), (99, true, 15, 2), (100, true, 1, 1)]);
        assert!(tally.is_empty());
    }

    #[test]
    fn each_window_tells_how_it_fared_and_the_mere_end_of_a_flow_only_what_was_sent_again() {
        let mut tally = Tally::default();
        let told = |rtt_us, retransmissions| FlowRow { rtt_us, retransmissions, ..row(1, true, 99_100, 10) };
        tally.add(&told(Some(300), Some(1)));
        tally.add(&told(None, None));
        tally.add(&told(Some(500), None));
        tally.add(&FlowRow { packets_out: 0, packets_back: 0, ..told(Some(9_000), Some(2)) });
        let seconds = tally.drain();
        let quality = seconds.first().map(|second| second.quality).expect("one");
        assert_eq!(quality, Quality { rtt_us: 800, rtts: 2, retransmissions: Some(3) });
        assert_eq!((quality.mean_rtt_us(), Quality::default().mean_rtt_us()), (Some(400), None));
    }

    #[test]
    fn a_clock_in_the_future_makes_no_future() {
        let mut tally = Tally::default();
        tally.add(&row(1, true, 9_999_999_000, 10));
        // Nor does its edge: what was seen last in the future would never be forgotten.
        assert_eq!(tally.drain().first().map(|s| (s.at, s.last_ms)), Some((UnixTime(105), 105_000)));
    }

    #[test]
    fn nothing_is_lost_in_the_sums() {
        let mut tally = Tally::default();
        let rows: Vec<FlowRow> =
            (0..500).map(|i| row(1 + (i % 2) as u8, i % 2 == 0, 90_000 + i * 37, i)).collect();
        rows.iter().for_each(|row| tally.add(row));
        let mut sum = Sum::default();
        tally.drain().iter().for_each(|second| sum.add(&second.sum));
        assert_eq!(sum.bytes_out, rows.iter().map(|r| r.bytes_out).sum::<u64>());
        assert_eq!(sum.packets_back, rows.iter().map(|r| r.packets_back).sum::<u64>());
        assert_eq!(sum.flows, 500);
    }
}
