//! The flows of this node for `warren-node flows`: those that live, and the last that ended.

use std::collections::{BTreeMap, VecDeque};

use warren_wire::flow::{FlowEnd, FlowRecord, more};

const LIVE: usize = 65_536;
const ENDED: usize = 512;

#[derive(Debug, Default)]
pub struct FlowLog {
    live: BTreeMap<u64, FlowRecord>,
    ended: VecDeque<FlowRecord>,
}

impl FlowLog {
    /// Records are windows; here they are added up over the flow's life.
    pub fn add(&mut self, record: &FlowRecord) {
        let mut sum = record.clone();
        if let Some(before) = self.live.remove(&record.flow) {
            sum.packets_out = sum.packets_out.saturating_add(before.packets_out);
            sum.bytes_out = sum.bytes_out.saturating_add(before.bytes_out);
            sum.packets_back = sum.packets_back.saturating_add(before.packets_back);
            sum.bytes_back = sum.bytes_back.saturating_add(before.bytes_back);
            sum.workload = sum.workload.or(before.workload);
            sum.rtt_us = sum.rtt_us.or(before.rtt_us);
            sum.retransmissions = more(sum.retransmissions, before.retransmissions);
        }
        if record.end() == FlowEnd::Open {
            if self.live.len() < LIVE {
                self.live.insert(record.flow, sum);
            }
            return;
        }
        if self.ended.len() == ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(sum);
    }

    /// Newest first: live ones, then ended ones.
    pub fn newest(&self, limit: usize) -> impl Iterator<Item = &FlowRecord> {
        self.live.values().rev().chain(self.ended.iter().rev()).take(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_one_flow_add_up() {
        let mut log = FlowLog::default();
        let window =
            |end: FlowEnd| FlowRecord { flow: 7, bytes_out: 10, end: end as i32, ..FlowRecord::default() };
        log.add(&window(FlowEnd::Open));
        log.add(&window(FlowEnd::Open));
        assert_eq!(log.newest(9).map(|r| r.bytes_out).collect::<Vec<_>>(), [20]);
        log.add(&window(FlowEnd::Closed));
        let all: Vec<_> = log.newest(9).map(|r| (r.bytes_out, r.end())).collect();
        assert_eq!(all, [(30, FlowEnd::Closed)]);
    }
}
