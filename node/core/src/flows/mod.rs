//! Flow records on their way to the coordinator: a bounded buffer that never blocks a packet and never lies.
//!
//! Law: every record offered is acknowledged as stored, still held, or counted in `lost`, in packets and bytes. Some reports
//! are in flight at a time; each keeps its number and its records until it is acknowledged, so a report sent again after a
//! reconnect is the same report. When much waits (the coordinator is away), records are folded ([`fold`]): detail goes
//! first, numbers go last, and what has to go is declared.
//!
//! An agent that stops in order leaves what is not acknowledged to the next one ([`Legacy`]), which reports it under the
//! numbers of the start that saw it, before anything of its own.

mod fold;
mod legacy;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use prost::Message as _;
use warren_wire::flow::{Amount, Ended, FlowRecord, FlowReport, MAX_ENDED};

pub use legacy::{Legacy, LegacyError};

/// Records held at most; beyond it they are folded, and what cannot be folded is dropped and counted, the oldest first.
pub const CAPACITY: usize = 65_536;
/// Records and encoded bytes of one report at most, and reports in flight.
pub const REPORT_RECORDS: usize = 2_000;
pub const REPORT_BYTES: usize = 512 * 1024;
pub const IN_FLIGHT: usize = 16;
/// Records and reports left to the next start at most: it needs room for what it sees itself.
pub const KEPT_RECORDS: usize = CAPACITY / 2;
pub const KEPT_REPORTS: usize = 128;

/// A buffer with room for so many records is not worth making smaller.
const KEPT_ROOM: usize = REPORT_RECORDS;

/// Room in a report for its own fields, and in it for the tag and length of each record.
const REPORT_FIELDS: usize = 128 + MAX_ENDED * 40;
const RECORD_FIELDS: usize = 8;

/// The buffer of one agent start.
#[derive(Debug)]
pub struct Flows {
    boot: u64,
    capacity: usize,
    waiting: VecDeque<FlowRecord>,
    /// Not yet acknowledged, oldest first, those of earlier starts in front; the first `sent` of them were handed out on
    /// the present connection.
    flight: VecDeque<FlowReport>,
    sent: usize,
    in_flight: u64,
    next_sequence: u64,
    lost: Amount,
    /// What the coordinator was last told of `lost`.
    lost_told: Amount,
    offered: Amount,
    ended: Vec<Ended>,
    /// The report that tells of `ended`.
    ended_in: Option<u64>,
    stored: Amount,
}

impl Flows {
    pub fn new(boot: u64, capacity: usize) -> Flows {
        Flows {
            boot,
            capacity,
            waiting: VecDeque::new(),
            flight: VecDeque::new(),
            sent: 0,
            in_flight: 0,
            next_sequence: 1,
            lost: Amount::default(),
            lost_told: Amount::default(),
            offered: Amount::default(),
            ended: Vec::new(),
            ended_in: None,
            stored: Amount::default(),
        }
    }

    pub fn offer(&mut self, record: FlowRecord) {
        // A record that no report could carry would block all behind it.
        if record.encoded_len() + RECORD_FIELDS + REPORT_FIELDS > REPORT_BYTES {
            self.add_lost(record.amount());
            return;
        }
        self.waiting.push_back(record);
        if self.held() > self.capacity as u64 {
            self.make_room();
        }
    }

    /// Frees a quarter of the room at once, so that what folding costs is paid by the records that come until next time.
    fn make_room(&mut self) {
        let room = self.room_of(self.capacity);
        self.fold(room - room / 4, room / 4);
    }

    fn room_of(&self, capacity: usize) -> usize {
        capacity.saturating_sub(usize::try_from(self.in_flight).unwrap_or(usize::MAX))
    }

    /// At most so many records wait afterwards. The `newest` keep their detail.
    fn fold(&mut self, aim: usize, newest: usize) {
        if self.waiting.len() <= aim {
            return;
        }
        let mut kept = fold::windows(std::mem::take(&mut self.waiting));
        if kept.len() > aim {
            let newest = kept.split_off(kept.len().saturating_sub(newest));
            kept = fold::flows(kept);
            kept.extend(newest);
        }
        self.waiting = kept.into();
        while self.waiting.len() > aim {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.add_lost(oldest.amount());
        }
    }

    /// Lost before it came here.
    pub fn add_lost(&mut self, lost: Amount) {
        self.lost.add(lost);
    }

    /// All that was judged so far, as [`crate::ledger::Ledger`] counted it.
    pub fn set_offered(&mut self, offered: Amount) {
        self.offered = offered;
    }

    /// Starts of this agent that have ended, of which the coordinator may not know.
    pub fn set_ended(&mut self, ended: Vec<Ended>) {
        self.ended = ended;
        self.ended.truncate(MAX_ENDED);
        self.ended_in = None;
    }

    /// Reports of earlier starts, before anything is offered. They are sent first, as they are.
    pub fn take_over(&mut self, reports: Vec<FlowReport>) {
        self.in_flight += reports.iter().map(|report| report.records.len() as u64).sum::<u64>();
        self.flight.extend(reports);
    }

    /// The coordinator has taken down every earlier start, and all that it left.
    pub fn earlier_is_told(&self) -> bool {
        self.ended.is_empty() && self.flight.iter().all(|report| report.boot == self.boot)
    }

    /// All of this start and of those before it is stored.
    pub fn is_told(&self) -> bool {
        self.flight.is_empty() && !self.has_news()
    }

    /// The start has ended: what the next one must report; nothing is left here. Reports that were sent keep their numbers, so that one that was
    /// stored and not acknowledged counts once.
    pub fn leave(&mut self) -> Legacy {
        // What earlier starts left has no more right to the room than what this one saw last.
        self.fold(self.room_of(KEPT_RECORDS).max(KEPT_RECORDS / 4), 0);
        while self.has_news() {
            self.cut();
        }
        let own = Ended { boot: self.boot, packets: self.offered.packets, bytes: self.offered.bytes };
        let ended = self.ended.iter().copied().chain([own]).collect();
        Legacy { ended, reports: std::mem::take(&mut self.flight).into() }.bounded()
    }

    /// The next report to send; `None` while enough are unacknowledged or there is nothing to say.
    pub fn next_report(&mut self) -> Option<FlowReport> {
        if !self.ready() {
            return None;
        }
        if self.sent == self.flight.len() {
            self.cut();
        }
        self.sent += 1;
        self.flight.get(self.sent - 1).cloned()
    }

    /// What waits now becomes a report, behind those in flight.
    fn cut(&mut self) {
        let mut bytes = REPORT_FIELDS;
        let mut records = Vec::new();
        while let Some(record) = self.waiting.front() {
            bytes += record.encoded_len() + RECORD_FIELDS;
            if bytes > REPORT_BYTES || records.len() == REPORT_RECORDS {
                break;
            }
            records.extend(self.waiting.pop_front());
        }
        self.give_back();
        let sequence = self.next_sequence;
        self.next_sequence = sequence.saturating_add(1);
        self.lost_told = self.lost;
        let untold = self.ended_in.is_none() && !self.ended.is_empty();
        if untold {
            self.ended_in = Some(sequence);
        }
        self.in_flight += records.len() as u64;
        self.flight.push_back(FlowReport {
            sequence,
            records,
            boot: self.boot,
            lost: self.lost.records,
            lost_packets: self.lost.packets,
            lost_bytes: self.lost.bytes,
            offered_packets: self.offered.packets,
            offered_bytes: self.offered.bytes,
            ended: if untold { self.ended.clone() } else { Vec::new() },
        });
    }

    /// The room of a flood. Moving what is left costs no more than what has gone already did.
    fn give_back(&mut self) {
        if self.waiting.capacity() > KEPT_ROOM && self.waiting.len() < self.waiting.capacity() / 4 {
            self.waiting.shrink_to(self.waiting.len() * 2);
        }
    }

    fn has_news(&self) -> bool {
        let untold = !self.ended.is_empty() && self.ended_in.is_none();
        !self.waiting.is_empty() || self.lost != self.lost_told || untold
    }

    /// The connection is another one: the reports in flight are sent again, under the same sequences.
    pub fn handle_reconnected(&mut self) {
        self.sent = 0;
    }

    /// The coordinator has stored this report and all of its start before it. An unknown number changes nothing.
    pub fn handle_stored(&mut self, boot: u64, sequence: u64) {
        let is_it = |report: &FlowReport| (report.boot, report.sequence) == (boot, sequence);
        if !self.flight.iter().take(self.sent).any(is_it) {
            return;
        }
        let unsent = self.flight.split_off(self.sent);
        let sent = std::mem::replace(&mut self.flight, unsent).into_iter();
        let (stored, left): (Vec<_>, Vec<_>) =
            sent.partition(|report| report.boot == boot && report.sequence <= sequence);
        self.sent = left.len();
        left.into_iter().rev().for_each(|report| self.flight.push_front(report));
        stored.iter().for_each(|report| self.count_stored(report));
    }

    fn count_stored(&mut self, report: &FlowReport) {
        self.in_flight -= report.records.len() as u64;
        if report.boot != self.boot {
            return;
        }
        report.records.iter().for_each(|record| self.stored.add(record.amount()));
        if self.ended_in == Some(report.sequence) {
            self.ended.clear();
        }
    }

    /// Records that wait or are in flight.
    pub fn held(&self) -> u64 {
        self.in_flight + self.waiting.len() as u64
    }

    /// True if a report could be sent now.
    pub fn ready(&self) -> bool {
        let more = self.sent < self.flight.len() || self.has_news();
        self.sent < IN_FLIGHT && more
    }

    pub fn lost(&self) -> Amount {
        self.lost
    }

    pub fn offered(&self) -> Amount {
        self.offered
    }

    /// What the coordinator has acknowledged.
    pub fn stored(&self) -> Amount {
        self.stored
    }
}
