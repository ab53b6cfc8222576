//! Rows for tests.

use warren_config::time::UnixTime;
use warren_wire::flow::FlowRecord;
use warren_wire::id::NodeId;

use super::{FlowPoint, FlowRow};

/// A window of a flow of node 1 to node 2, 100 bytes, received in the second it ended.
pub fn row(flow: u64, at: u64) -> FlowRow {
    let point = |id: u8, port| FlowPoint {
        node: Some(NodeId([id; 16])),
        name: Some(format!("node-{id}")),
        address: [100, 64, 0, id].into(),
        port,
        behind: false,
    };
    let ends = [point(1, 40_000), point(2, 8443)];
    let record =
        FlowRecord { flow, ..warren_wire::specimen::flow(ends[0].address, ends[1].address, at * 1000) };
    FlowRow::new(&record, (NodeId([1; 16]), 1), ends, UnixTime(at)).expect("a row")
}
