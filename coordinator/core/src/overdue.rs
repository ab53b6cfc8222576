//! What a running agent has judged must be accounted for soon after: its own count is a promise, and who goes on reporting
//! without keeping it leaves something out.
//!
//! A promise is judged by the reports that come, never by silence: who is away owes nothing meanwhile, and has its time
//! again when it is back. One look is no proof, because a clock may have jumped: what is found must be so for a while.

use std::collections::BTreeMap;

use warren_config::time::UnixTime;
use warren_wire::flow::Amount;
use warren_wire::id::NodeId;

use crate::accounts::{End, Start};

/// A node closes its windows every second and sends what is closed; seconds.
pub const PATIENCE: u64 = 60;
/// While its reports are full, more waits behind them: as long as the records that a node can hold take at a rate that is
/// still useful; seconds.
pub const BACKLOG: u64 = 600;
/// A report of so many records may have more behind it: an agent cuts one at 2,000 records, or 512 KiB of records that are
/// seldom over a KiB.
pub const FULL: usize = 400;
/// What was found must be found again after so long; seconds.
const AGAIN: u64 = 10;

/// Of one node, in the agent start that speaks now.
#[derive(Clone, Copy, Debug)]
struct Promise {
    boot: u64,
    /// What it had judged then.
    offered: Amount,
    since: UnixTime,
    /// Not kept in time, found first at.
    doubted: Option<UnixTime>,
    broken: bool,
}

impl Promise {
    fn of(start: &Start, now: UnixTime) -> Promise {
        Promise { boot: start.boot, offered: start.offered, since: now, doubted: None, broken: false }
    }
}

/// All nodes that have ever promised anything in this process.
#[derive(Clone, Debug, Default)]
pub struct Overdue {
    nodes: BTreeMap<NodeId, Promise>,
}

impl Overdue {
    /// A report of this start was taken, on a session that is there since `online`. `full`: more waits behind it.
    pub fn handle_report(
        &mut self,
        node: NodeId,
        start: &Start,
        full: bool,
        online: UnixTime,
        now: UnixTime,
    ) {
        if start.end != End::Open {
            return;
        }
        let promise = self.nodes.entry(node).or_insert_with(|| Promise::of(start, now));
        if promise.boot != start.boot || start.owed(promise.offered) == Amount::default() {
            *promise = Promise::of(start, now);
            return;
        }
        // Times that are still to come were told by a clock that has been put back.
        promise.since = promise.since.max(online).min(now);
        promise.doubted = promise.doubted.filter(|at| *at >= promise.since && *at <= now);
        let patience = if full { BACKLOG } else { PATIENCE };
        if now.since(promise.since) < patience {
            return;
        }
        let doubted = *promise.doubted.get_or_insert(now);
        promise.broken |= now.since(doubted) >= AGAIN;
    }

    pub fn forget(&mut self, node: &NodeId) {
        self.nodes.remove(node);
    }

    /// What a start had judged, and has not accounted for although it had time since then; none: it is on time.
    pub fn of(&self, node: &NodeId) -> Option<Broken> {
        let promise = self.nodes.get(node).filter(|promise| promise.broken)?;
        Some(Broken { boot: promise.boot, offered: promise.offered, since: promise.since })
    }
}

/// A promise that was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    pub boot: u64,
    pub offered: Amount,
    pub since: UnixTime,
}
