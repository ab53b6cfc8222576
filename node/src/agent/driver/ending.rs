//! The last words of an agent that stops in order: to the host, to the next agent and to the coordinator.

use std::time::Duration;

use warren_node_core::control::Output;

use super::Driver;
use super::notice::say;
use crate::portmap::PortMapper;

/// How long the coordinator may take to acknowledge the last report of an agent that stops.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long names are still answered of those who were sent here until now.
const LAST_NAMES: Duration = Duration::from_millis(500);

impl Driver {
    /// After the workers ended: what the next agent needs, then what the coordinator has not heard yet.
    pub async fn end(&mut self) {
        self.report_refusals();
        self.port_mapper.iter_mut().for_each(PortMapper::release);
        let sent_here = self.parts.host_dns.give_back().await;
        let given_back = tokio::time::Instant::now();
        self.save_flows();
        self.save_stamps();
        self.deliver().await;
        if let Some(mapper) = &mut self.port_mapper {
            mapper.released(&self.parts.state).await;
        }
        if sent_here {
            // Who was sent here before is answered.
            tokio::time::sleep_until(given_back + LAST_NAMES).await;
        }
        self.service = None;
        self.channel = None;
        let parts = &mut self.parts;
        if let Err(e) = parts.subnets.leave(&parts.plan).await {
            tracing::warn!("subnets behind gateways: {e}");
        }
        self.leave();
    }

    /// Every window is closed and reported. The coordinator has a moment to acknowledge it; no view is followed any more.
    async fn deliver(&mut self) {
        self.report_flows();
        let late = tokio::time::Instant::now() + LAST_WORDS;
        self.speak();
        while self.channel.is_some() && self.parts.control.waits_for_acknowledgement() {
            match tokio::time::timeout_at(late, self.events.1.recv()).await {
                Ok(Some(event)) => self.handle_event(event),
                _ => return,
            }
            self.speak();
        }
    }

    fn speak(&mut self) {
        while let Some(output) = self.parts.control.poll_output() {
            match output {
                Output::Send(frame) => self.send(&frame),
                Output::Store(bytes) => self.store(&bytes),
                Output::Disconnect { .. } => self.channel = None,
                Output::Notice(notice) => say(&notice),
                Output::Connect { .. } | Output::Publish(_) | Output::Clock(_) | Output::LeaseEnded => {}
                Output::Cut(_) | Output::Knocked(_) | Output::Seated(_) => {}
            }
        }
    }

    /// What is not acknowledged is for the next agent, also after a restart of the host.
    fn leave(&mut self) {
        let legacy = self.parts.control.leave();
        if !legacy.reports.is_empty() {
            let (reports, records) = (legacy.reports.len(), legacy.records());
            tracing::info!(
                reports,
                records,
                "kept for the next start: the coordinator has not acknowledged them"
            );
        }
        if let Err(e) = self.parts.state.store_legacy(&legacy.write()) {
            tracing::warn!(
                "what the coordinator has not acknowledged cannot be kept ({e}): it counts as lost"
            );
        }
    }

    pub(super) fn forget_earlier(&mut self) {
        let parts = &mut self.parts;
        if !parts.control.earlier_starts_are_told() {
            return;
        }
        parts.ledger.forget_ended();
        if std::mem::take(&mut parts.legacy)
            && let Err(e) = parts.state.remove_legacy()
        {
            tracing::warn!("what an earlier start left is told and cannot be removed: {e}");
            parts.legacy = true;
        }
    }
}
