//! What is told of packets: flows, and the ways they take.

use warren_wire::flow::Amount;

use super::Driver;
use crate::clock::boot;

impl Driver {
    pub(super) fn report_flows(&mut self) {
        let shared = &self.parts.shared;
        let (mut records, lost) = shared.plane.drain_flows(shared.clock.now());
        self.parts.workloads.name(&mut records);
        records.iter().for_each(|record| self.log.add(record));
        // Read after the records were taken, it covers them all.
        self.parts.control.handle_offered(shared.plane.offered());
        self.forget_earlier();
        if lost != Amount::default() {
            self.parts.control.handle_flow_losses(lost);
        }
        if !records.is_empty() {
            self.parts.control.handle_flow_records(records, boot());
        }
    }

    /// For those who do not sit at this host.
    pub(super) fn report_paths(&mut self) {
        let shared = &self.parts.shared;
        match self.parts.control.wants_paths() {
            true => self.parts.control.handle_paths(shared.plane.tell_paths(shared.clock.now())),
            false => shared.plane.forget_told_paths(),
        }
    }

    pub(super) fn save_flows(&mut self) {
        let shared = &self.parts.shared;
        self.unsaved |= shared.plane.take_stirred();
        if !self.unsaved {
            return;
        }
        let flows = shared.plane.snapshot_flows(shared.clock.now());
        self.unsaved = false;
        if let Err(e) = self.parts.flows.write(&flows) {
            self.unsaved = true;
            tracing::warn!("flows cannot be kept for the next agent ({e}): a restart will break connections");
        }
    }
}
