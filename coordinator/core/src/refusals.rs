//! How often each identity was refused lately: a burst of refusals is somebody who tries doors.
//!
//! Both ends report a refusal, and one of them may be silent (it was taken over, or has no agent). So the two are counted
//! apart and the greater counts.

use std::collections::BTreeMap;

use warren_config::time::UnixTime;
use warren_wire::flow::FlowVerdict;
use warren_wire::id::NodeId;

use crate::flows::FlowRow;

/// So many refused attempts of one identity within [`WINDOW`] seconds are a burst; it is over when fewer than half are left.
pub const BURST: u64 = 100;
pub const WINDOW: u64 = 60;
/// The window moves in steps of so many seconds.
const STEP: u64 = 10;

#[derive(Clone, Copy, Debug, Default)]
struct Step {
    at: u64,
    by_itself: u64,
    by_others: u64,
}

#[derive(Clone, Debug, Default)]
struct Tries {
    steps: Vec<Step>,
    last: String,
    is_burst: bool,
}

/// Somebody who is refused without end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burst {
    pub node: NodeId,
    pub tries: u64,
    /// Where it tried last, `orders-1 tcp/22`.
    pub last: String,
}

/// Refused attempts of the last minute, by identity; who was not refused takes no room.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    nodes: BTreeMap<NodeId, Tries>,
}

impl Tries {
    fn forget(&mut self, now: UnixTime) {
        self.steps.retain(|step| step.at + WINDOW > now.0);
    }
    fn count(&self) -> u64 {
        let sum = |of: fn(&Step) -> u64| self.steps.iter().map(of).fold(0, u64::saturating_add);
        sum(|s| s.by_itself).max(sum(|s| s.by_others))
    }
}

impl Refusals {
    /// True if this made a burst of it.
    pub fn add(&mut self, row: &FlowRow, now: UnixTime) -> bool {
        let Some(node) = row.from.node.filter(|_| row.verdict == FlowVerdict::Deny) else { return false };
        let tries = self.nodes.entry(node).or_default();
        let at = now.0 / STEP * STEP;
        if tries.steps.last().is_none_or(|step| step.at != at) {
            tries.forget(now);
            tries.steps.push(Step { at, ..Step::default() });
        }
        if let Some(step) = tries.steps.last_mut() {
            let count = if row.reporter == node { &mut step.by_itself } else { &mut step.by_others };
            *count = count.saturating_add(row.count.max(1));
        }
        let to = row.to.name.clone().unwrap_or_else(|| row.to.address.to_string());
        tries.last = match row.protocol {
            6 => format!("at {to} tcp/{}", row.to.port),
            17 => format!("at {to} udp/{}", row.to.port),
            protocol => format!("at {to} (IP protocol {protocol})"),
        };
        !tries.is_burst && tries.count() >= BURST
    }

    /// All bursts that go on, and when one of them may be over.
    pub fn bursts(&mut self, now: UnixTime) -> (Vec<Burst>, Option<UnixTime>) {
        let mut found = Vec::new();
        self.nodes.retain(|node, tries| {
            tries.forget(now);
            let count = tries.count();
            tries.is_burst = count >= if tries.is_burst { BURST / 2 } else { BURST };
            if tries.is_burst {
                found.push(Burst { node: *node, tries: count, last: tries.last.clone() });
            }
            !tries.steps.is_empty()
        });
        let again = (!found.is_empty()).then(|| now.plus(STEP));
        (found, again)
    }
}
