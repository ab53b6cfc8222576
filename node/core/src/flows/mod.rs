//! Flow records on their way to the coordinator: a bounded buffer that never blocks a packet and never lies.
//!
//! Law: every record offered is acknowledged as stored, still held, or counted in `lost`. One report is in flight at a
//! time; it keeps its number and its records until it is acknowledged, so a report sent again after a reconnect is
//! the same report.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use prost::Message as _;
use warren_wire::flow::{FlowRecord, FlowReport};

/// Records held at most; beyond it the oldest is dropped and counted.
pub const CAPACITY: usize = 65_536;
/// Records and encoded bytes of one report at most.
pub const REPORT_RECORDS: usize = 1_000;
pub const REPORT_BYTES: usize = 512 * 1024;

/// Room in a report for its own fields, and in it for the tag and length of each record.
const REPORT_FIELDS: usize = 64;
const RECORD_FIELDS: usize = 8;

/// The buffer of one agent start.
#[derive(Debug)]
pub struct Flows {
    boot: u64,
    capacity: usize,
    waiting: VecDeque<FlowRecord>,
    /// Sent or about to be sent, not yet acknowledged.
    flight: Option<FlowReport>,
    /// The report in flight was handed out on the present connection.
    sent: bool,
    next_sequence: u64,
    lost: u64,
    /// What the coordinator was last told of `lost`.
    lost_told: u64,
    stored: u64,
}

impl Flows {
    pub fn new(boot: u64, capacity: usize) -> Flows {
        Flows {
            boot,
            capacity,
            waiting: VecDeque::new(),
            flight: None,
            sent: false,
            next_sequence: 1,
            lost: 0,
            lost_told: 0,
            stored: 0,
        }
    }

    pub fn offer(&mut self, record: FlowRecord) {
        // A record that no report could carry would block all behind it.
        if record.encoded_len() + RECORD_FIELDS + REPORT_FIELDS > REPORT_BYTES {
            self.add_lost(1);
            return;
        }
        self.waiting.push_back(record);
        while self.held() > self.capacity as u64 && self.waiting.pop_front().is_some() {
            self.add_lost(1);
        }
    }

    /// Records lost before they came here.
    pub fn add_lost(&mut self, lost: u64) {
        self.lost = self.lost.saturating_add(lost);
    }

    /// The next report to send; `None` while one is unacknowledged or there is nothing to say.
    pub fn next_report(&mut self) -> Option<FlowReport> {
        if self.sent {
            return None;
        }
        if self.flight.is_none() {
            self.flight = self.cut();
        }
        self.sent = self.flight.is_some();
        self.flight.clone()
    }

    fn cut(&mut self) -> Option<FlowReport> {
        if self.waiting.is_empty() && self.lost == self.lost_told {
            return None;
        }
        let mut bytes = REPORT_FIELDS;
        let mut records = Vec::new();
        while let Some(record) = self.waiting.front() {
            bytes += record.encoded_len() + RECORD_FIELDS;
            if bytes > REPORT_BYTES || records.len() == REPORT_RECORDS {
                break;
            }
            records.extend(self.waiting.pop_front());
        }
        let sequence = self.next_sequence;
        self.next_sequence = sequence.saturating_add(1);
        self.lost_told = self.lost;
        Some(FlowReport { sequence, records, lost: self.lost, boot: self.boot })
    }

    /// The connection is another one: the report in flight is sent again, under the same sequence.
    pub fn handle_reconnected(&mut self) {
        self.sent = false;
    }

    /// The coordinator has stored the report. An unknown number changes nothing.
    pub fn handle_stored(&mut self, boot: u64, sequence: u64) {
        if boot != self.boot || !self.sent {
            return;
        }
        if let Some(report) = self.flight.take_if(|flight| flight.sequence == sequence) {
            self.stored = self.stored.saturating_add(report.records.len() as u64);
            self.sent = false;
        }
    }

    /// Records that wait or are in flight.
    pub fn held(&self) -> u64 {
        let flight = self.flight.as_ref().map_or(0, |report| report.records.len());
        (self.waiting.len() + flight) as u64
    }

    /// True if a report could be sent now.
    pub fn ready(&self) -> bool {
        let something = self.flight.is_some() || !self.waiting.is_empty() || self.lost != self.lost_told;
        !self.sent && something
    }

    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Records the coordinator has acknowledged.
    pub fn stored(&self) -> u64 {
        self.stored
    }
}
