//! Flow records on their way to the coordinator: a bounded buffer that never blocks a packet and never lies.
//!
//! Law: every record offered is acknowledged as stored, still held, or counted in `lost`.

use std::collections::VecDeque;

use warren_wire::flow::{FlowRecord, FlowReport};

/// Records held at most; beyond it the oldest is dropped and counted.
pub const CAPACITY: usize = 65_536;
/// Records and encoded bytes of one report at most.
pub const REPORT_RECORDS: usize = 1_000;
pub const REPORT_BYTES: usize = 512 * 1024;

/// The buffer of one agent start.
#[derive(Debug)]
pub struct Flows {
    boot: u64,
    capacity: usize,
    waiting: VecDeque<FlowRecord>,
}

impl Flows {
    pub fn new(boot: u64, capacity: usize) -> Flows {
        Flows { boot, capacity, waiting: VecDeque::new() }
    }
    pub fn offer(&mut self, _record: FlowRecord) {
        let _ = (self.boot, self.capacity, &mut self.waiting);
        todo!()
    }
    /// Records lost before they came here.
    pub fn add_lost(&mut self, _lost: u64) {
        todo!()
    }
    /// The next report to send; `None` while one is unacknowledged or nothing waits.
    pub fn next_report(&mut self) -> Option<FlowReport> {
        todo!()
    }
    /// After a reconnect: the report in flight is sent again, under the same sequence.
    pub fn handle_reconnected(&mut self) {
        todo!()
    }
    /// The coordinator has stored the report. An unknown number changes nothing.
    pub fn handle_stored(&mut self, _boot: u64, _sequence: u64) {
        todo!()
    }
    pub fn held(&self) -> u64 {
        todo!()
    }
    pub fn lost(&self) -> u64 {
        todo!()
    }
}
