//! What each node judged, and what became of the records of it. A report counts once, over crashes of both sides: an account
//! is kept with the sums it accounts for, in one transaction, and a report is acknowledged only after that.
//!
//! Law, for every agent start that has ended, and so for every node and for all of them:
//! offered = recorded + declared lost + rejected + skipped + what the start took with it when it ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_wire::flow::{Amount, Ended, FlowReport};
use warren_wire::id::NodeId;

/// Starts of one node's agent that are told apart; older ones are added up.
const BOOTS: usize = 16;

/// What one report says, without its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub node: NodeId,
    pub boot: u64,
    pub sequence: u64,
    pub at: UnixTime,
    /// Records on the map.
    pub recorded: Amount,
    /// Not about the reporter's own side, or malformed.
    pub rejected: Amount,
    /// Taken, and not written for want of time.
    pub skipped: Amount,
    /// Since the start of the agent: declared lost, and judged.
    pub lost: Amount,
    pub offered: Amount,
    pub ended: Vec<(u64, Amount)>,
}

/// One start of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    pub boot: u64,
    pub sequence: u64,
    /// Its last report, or the report that told of its end.
    pub last: UnixTime,
    pub offered: Amount,
    pub recorded: Amount,
    pub rejected: Amount,
    pub skipped: Amount,
    pub lost: Amount,
    pub end: End,
    /// When its first report came; 0: an earlier version, which did not say, took it.
    #[serde(default)]
    pub began: UnixTime,
    /// What became of so much nobody knows here: the store is younger than the agent, or was put back, or lost its newest
    /// reports with the power.
    #[serde(default)]
    pub before: Amount,
    /// Starts that became this one, of whose end nothing is known.
    #[serde(default)]
    pub untold: u64,
}

/// How much is known of the end of a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It runs, or nothing is known of its end.
    #[default]
    Open,
    /// The next start knows how much it had judged: `offered` is its last word.
    Told,
    /// A later start has come and knows nothing of it (the host was restarted): what it judged after its last report is
    /// not known.
    Untold,
}

/// The account of one node, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Balance {
    /// Judged by the node, as it counts apart from its records.
    pub offered: Amount,
    /// On the map.
    pub recorded: Amount,
    /// Declared lost by the node for want of room.
    pub lost: Amount,
    pub rejected: Amount,
    pub skipped: Amount,
    /// Taken along by agents that ended before they could report it (killed, or the coordinator was away to the end).
    pub lost_at_end: Amount,
    /// Judged by an agent that runs, and not reported yet.
    pub underway: Amount,
    /// More was recorded than was judged: no honest node says that.
    pub excess: Amount,
    /// Starts of which nobody knows how much they judged after their last report.
    pub untold_ends: u64,
}

/// What is shown of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AccountRow {
    pub node: NodeId,
    pub name: Option<String>,
    /// Its last report.
    pub last: Option<UnixTime>,
    pub balance: Balance,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AccountsView {
    /// Of every node that ever reported, by id.
    pub nodes: Vec<AccountRow>,
    pub total: Balance,
}

/// All accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    nodes: BTreeMap<NodeId, VecDeque<Start>>,
    /// Starts that were restored, and have not reported since.
    unheard: BTreeSet<(NodeId, u64)>,
}

impl Entry {
    pub fn of(node: NodeId, report: &FlowReport, at: UnixTime) -> Entry {
        let ended = |e: &Ended| (e.boot, Amount { records: 0, packets: e.packets, bytes: e.bytes });
        Entry {
            node,
            boot: report.boot,
            sequence: report.sequence,
            at,
            recorded: Amount::default(),
            rejected: Amount::default(),
            skipped: Amount::default(),
            lost: report.lost_amount(),
            offered: Amount { records: 0, packets: report.offered_packets, bytes: report.offered_bytes },
            ended: report.ended.iter().map(ended).collect(),
        }
    }

    /// Its records were not written.
    pub fn skip(&mut self) {
        self.skipped.add(std::mem::take(&mut self.recorded));
    }
}

impl Start {
    /// What became of it is known.
    fn taken(&self) -> Amount {
        let mut taken = self.recorded;
        for amount in [self.lost, self.rejected, self.skipped] {
            taken.add(amount);
        }
        taken
    }

    /// What is still to be accounted for of so much.
    pub fn owed(&self, offered: Amount) -> Amount {
        let mut taken = self.taken();
        taken.add(self.before);
        Amount { records: 0, ..offered.less(taken) }
    }

    pub fn balance(&self) -> Balance {
        let taken = self.taken();
        // Records are no measure of what was judged: one stands for many packets.
        let left = Amount { records: 0, ..self.offered.less(taken) };
        let (underway, lost_at_end) = match self.end {
            End::Open => (left, Amount::default()),
            End::Told | End::Untold => (Amount::default(), left),
        };
        // An agent of an earlier version does not say how much it judged.
        let counted = self.offered != Amount::default();
        let excess = if counted { taken.less(self.offered) } else { Amount::default() };
        Balance {
            offered: self.offered,
            recorded: self.recorded,
            lost: self.lost,
            rejected: self.rejected,
            skipped: self.skipped,
            lost_at_end,
            underway,
            excess: Amount { records: 0, ..excess },
            untold_ends: self.untold.saturating_add((self.end == End::Untold).into()),
        }
    }

    fn absorb(&mut self, older: &Start) {
        self.last = self.last.max(older.last);
        for (sum, more) in [
            (&mut self.offered, older.offered),
            (&mut self.recorded, older.recorded),
            (&mut self.rejected, older.rejected),
            (&mut self.skipped, older.skipped),
            (&mut self.lost, older.lost),
        ] {
            sum.add(more);
        }
    }
}

impl Balance {
    pub fn add(&mut self, other: &Balance) {
        for (sum, more) in [
            (&mut self.offered, other.offered),
            (&mut self.recorded, other.recorded),
            (&mut self.lost, other.lost),
            (&mut self.rejected, other.rejected),
            (&mut self.skipped, other.skipped),
            (&mut self.lost_at_end, other.lost_at_end),
            (&mut self.underway, other.underway),
            (&mut self.excess, other.excess),
        ] {
            sum.add(more);
        }
        self.untold_ends = self.untold_ends.saturating_add(other.untold_ends);
    }
}

impl Accounts {
    /// As they were kept; in the order of their starts.
    pub fn restore(&mut self, node: NodeId, start: Start) {
        if start.end == End::Open {
            self.unheard.insert((node, start.boot));
        }
        self.nodes.entry(node).or_default().push_back(start);
    }

    /// Was this report taken before?
    pub fn knows(&self, node: &NodeId, boot: u64, sequence: u64) -> bool {
        self.start(node, boot).is_some_and(|start| sequence <= start.sequence)
    }

    pub fn start(&self, node: &NodeId, boot: u64) -> Option<&Start> {
        self.nodes.get(node)?.iter().find(|start| start.boot == boot)
    }

    /// Takes what a report says, once. False if it was taken before; then only what is cumulative is looked at.
    pub fn take(&mut self, entry: &Entry) -> bool {
        let starts = self.nodes.entry(entry.node).or_default();
        for (boot, offered) in entry.ended.iter().filter(|(boot, _)| *boot != entry.boot) {
            let start = place(starts, *boot, entry.at);
            (start.end, start.offered) = (End::Told, start.offered.most(*offered));
        }
        let known = starts.iter().any(|start| start.boot == entry.boot);
        let start = place(starts, entry.boot, entry.at);
        start.last = start.last.max(entry.at);
        start.lost = start.lost.most(entry.lost);
        start.offered = start.offered.most(entry.offered);
        let new = !known || entry.sequence > start.sequence;
        let missing = entry.sequence > start.sequence.saturating_add(1);
        let unsure = missing || (known && start.began == UnixTime::default());
        if !known {
            start.began = entry.at;
        }
        if new {
            start.sequence = entry.sequence;
            start.recorded.add(entry.recorded);
            start.rejected.add(entry.rejected);
            start.skipped.add(entry.skipped);
        }
        // Only at its first report in this process, which itself loses none: whoever could leave out a report at any time owed
        // nothing.
        let first = !known || (new && self.unheard.remove(&(entry.node, entry.boot)));
        if first && unsure {
            let owed = start.owed(start.offered);
            start.before.add(owed);
        }
        close_earlier(starts, entry.boot);
        fold(starts);
        new
    }

    /// The starts of one node, oldest first.
    pub fn starts(&self, node: &NodeId) -> impl Iterator<Item = &Start> {
        self.nodes.get(node).into_iter().flatten()
    }

    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.keys().copied()
    }

    pub fn balance(&self, node: &NodeId) -> Balance {
        let mut sum = Balance::default();
        self.starts(node).for_each(|start| sum.add(&start.balance()));
        sum
    }

    pub fn total(&self) -> Balance {
        let mut sum = Balance::default();
        self.nodes.values().flatten().for_each(|start| sum.add(&start.balance()));
        sum
    }

    /// When a node was last heard of.
    pub fn last(&self, node: &NodeId) -> Option<UnixTime> {
        self.starts(node).map(|start| start.last).max()
    }
}

fn place(starts: &mut VecDeque<Start>, boot: u64, at: UnixTime) -> &mut Start {
    let at = match starts.iter().position(|start| start.boot == boot) {
        Some(at) => at,
        None => {
            starts.push_back(Start { boot, last: at, ..Start::default() });
            starts.len() - 1
        }
    };
    &mut starts[at]
}

/// An agent that speaks has no other beside it.
fn close_earlier(starts: &mut VecDeque<Start>, boot: u64) {
    let Some(at) = starts.iter().position(|start| start.boot == boot) else { return };
    // What comes late of an earlier start says nothing of the later one.
    if starts.iter().skip(at + 1).any(|later| later.sequence > 0) {
        return;
    }
    for earlier in starts.iter_mut().filter(|start| start.boot != boot && start.end == End::Open) {
        earlier.end = End::Untold;
    }
}

/// Starts that nobody speaks of any more become one. Its number is 0, which no agent has.
fn fold(starts: &mut VecDeque<Start>) {
    while starts.len() > BOOTS {
        let (Some(oldest), Some(next)) = (starts.pop_front(), starts.pop_front()) else { return };
        let mut sum = Start { boot: 0, end: End::Told, ..Start::default() };
        for start in [&oldest, &next] {
            let balance = start.balance();
            sum.absorb(start);
            sum.untold = sum.untold.saturating_add(balance.untold_ends);
            // An excess of one must not hide what another lost.
            sum.offered.add(balance.excess);
        }
        starts.push_front(sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overdue::{Overdue, PATIENCE};

    const NODE: NodeId = NodeId([1; 16]);

    fn packets(packets: u64) -> Amount {
        Amount { records: 0, packets, bytes: 100 * packets }
    }

    /// A node that was restored as `start` says and goes on with report `sequence`: a report a second, each with one packet.
    struct Restored {
        accounts: Accounts,
        overdue: Overdue,
        sequence: u64,
        offered: u64,
        now: u64,
    }

    impl Restored {
        fn of(start: Start, sequence: u64, offered: u64) -> Restored {
            let mut accounts = Accounts::default();
            accounts.restore(NODE, start);
            Restored { accounts, overdue: Overdue::default(), sequence, offered, now: 1000 }
        }

        fn reports(&mut self) {
            for _ in 0..3 * PATIENCE {
                (self.offered, self.now) = (self.offered + 1, self.now + 1);
                let report = FlowReport { boot: 7, sequence: self.sequence, ..FlowReport::default() };
                let entry = Entry::of(NODE, &report, UnixTime(self.now));
                self.accounts.take(&Entry { recorded: packets(1), offered: packets(self.offered), ..entry });
                self.sequence += 1;
                let start = self.accounts.start(&NODE, 7).expect("known");
                self.overdue.handle_report(NODE, start, false, UnixTime(1000), UnixTime(self.now));
            }
        }

        fn is_overdue(&self) -> bool {
            self.overdue.of(&NODE).is_some()
        }
    }

    #[test]
    fn reports_that_were_acknowledged_and_not_kept_are_owed_by_nobody() {
        let (offered, recorded) = (packets(1000), packets(1000));
        let kept = Start { boot: 7, sequence: 10, offered, recorded, began: UnixTime(1), ..Start::default() };
        // Its last hundred reports went with the power, or with the copy that was put back.
        let mut node = Restored::of(kept.clone(), 111, 11_000);
        node.reports();
        assert!(!node.is_overdue());
        // An earlier version left out of the account what became of what it had not seen, and no report is missing.
        let earlier = Start { began: UnixTime(0), recorded: packets(3), ..kept.clone() };
        let mut node = Restored::of(earlier, 11, 1000);
        node.reports();
        assert!(!node.is_overdue());
        // Where nothing is missing everything is owed.
        let mut node = Restored::of(kept, 11, 11_000);
        node.reports();
        assert!(node.is_overdue());
    }

    #[test]
    fn who_leaves_out_reports_of_its_own_still_owes_what_it_judged() {
        let kept = Start { boot: 7, sequence: 10, began: UnixTime(1), ..Start::default() };
        let mut node = Restored::of(kept, 20, 50);
        node.reports();
        assert!(!node.is_overdue());
        (node.sequence, node.offered) = (node.sequence + 10, node.offered + 10_000);
        node.reports();
        assert!(node.is_overdue());
    }

    #[test]
    fn ends_of_which_nobody_knows_are_counted_however_many_starts_come_after() {
        let (node, mut accounts) = (NodeId([1; 16]), Accounts::default());
        let starts = 3 * BOOTS as u64;
        for boot in 1..=starts {
            let report = FlowReport { boot, sequence: 1, ..FlowReport::default() };
            accounts.take(&Entry::of(node, &report, UnixTime(boot)));
            assert_eq!(accounts.balance(&node).untold_ends, boot - 1);
        }
        assert!(accounts.starts(&node).count() <= BOOTS);
        // As they are kept, and as an earlier version kept them.
        let kept: Vec<Start> = accounts.starts(&node).cloned().collect();
        let text = serde_json::to_string(&kept).expect("text");
        assert_eq!(serde_json::from_str::<Vec<Start>>(&text).expect("read"), kept);
        let earlier = text.replace(r#","began":1,"#, ",");
        assert!(serde_json::from_str::<Vec<Start>>(&earlier).is_ok());
    }
}
