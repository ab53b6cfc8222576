//! Names that were asked on nodes, where the policy wants to know: in memory only, for a day, and forgotten at once when the
//! policy asks for them no longer.
//!
//! Bounded twice, for each node and for all. The name that was asked longest ago gives way: of the node itself, or of
//! whoever has most; its questions are still counted.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_wire::id::NodeId;
use warren_wire::names::{AskedName, NameClass, NamesReport};

use crate::flows::{BadFilter, check_limit, check_node};

/// Names of one node, and of all.
pub const ROOM_EACH: usize = 1_000;
pub const ROOM: usize = 200_000;
/// Seconds after which a name that was not asked again is forgotten.
pub const KEPT: u64 = 86_400;
/// Rows of one answer.
const DEFAULT_ANSWER: usize = 1_000;

/// Seconds between two looks for old names: a look costs what there are nodes, and each node reports every few seconds.
const LOOK: u64 = 60;

#[derive(Clone, Debug, Default)]
pub struct NamesAsked {
    nodes: BTreeMap<NodeId, Heard>,
    /// Each node with names once, by how many it has.
    sizes: BTreeSet<(usize, NodeId)>,
    total: usize,
    looked: UnixTime,
}

/// Of one node.
#[derive(Clone, Debug, Default)]
struct Heard {
    names: BTreeMap<String, Row>,
    /// Each name once, by when it was last asked.
    order: BTreeSet<(UnixTime, String)>,
    others: u64,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    class: NameClass,
    asked: u64,
    unanswered: u64,
    first: UnixTime,
    last: UnixTime,
}

impl Row {
    fn of(&self, node: NodeId, name: &str) -> NameRow {
        NameRow {
            node,
            node_name: None,
            name: name.to_owned(),
            class: self.class,
            asked: self.asked,
            unanswered: self.unanswered,
            first: self.first,
            last: self.last,
        }
    }
}

impl Heard {
    fn add(&mut self, name: &AskedName, now: UnixTime) {
        let row = self.names.entry(name.name.clone()).or_insert_with(|| Row {
            class: name.class(),
            asked: 0,
            unanswered: 0,
            first: now,
            last: now,
        });
        self.order.remove(&(row.last, name.name.clone()));
        row.class = name.class();
        row.asked = row.asked.saturating_add(name.asked);
        row.unanswered = row.unanswered.saturating_add(name.unanswered);
        row.last = row.last.max(now);
        self.order.insert((row.last, name.name.clone()));
    }

    /// The name that was asked longest ago, if that was before `end`; its questions become those of others.
    fn give_way(&mut self, end: UnixTime) -> bool {
        let Some((last, name)) = self.order.first().filter(|(last, _)| *last < end).cloned() else {
            return false;
        };
        let row = self.names.remove(&name);
        self.others = self.others.saturating_add(row.map_or(0, |row| row.asked));
        self.order.remove(&(last, name))
    }
}

impl NamesAsked {
    pub fn report(&mut self, node: NodeId, report: &NamesReport, now: UnixTime) {
        if now.since(self.looked) >= LOOK {
            self.looked = now;
            self.forget_old(now);
        }
        let heard = self.nodes.entry(node).or_default();
        heard.others = heard.others.saturating_add(report.others);
        for name in &report.names {
            self.make_room(node, &name.name);
            self.change(node, |heard| heard.add(name, now));
        }
    }

    /// Every change of how many names a node has goes through here.
    fn change(&mut self, node: NodeId, change: impl FnOnce(&mut Heard)) {
        let Some(heard) = self.nodes.get_mut(&node) else { return };
        let before = heard.names.len();
        change(heard);
        let after = heard.names.len();
        if before != after {
            self.sizes.remove(&(before, node));
            self.sizes.extend((after > 0).then_some((after, node)));
            self.total = self.total - before + after;
        }
    }

    /// For one name of `node`, if it is new.
    fn make_room(&mut self, node: NodeId, name: &str) {
        let Some(heard) = self.nodes.get(&node).filter(|heard| !heard.names.contains_key(name)) else {
            return;
        };
        let who = if heard.names.len() >= ROOM_EACH {
            Some(node)
        } else if self.total >= ROOM {
            self.sizes.last().map(|(_, most)| *most)
        } else {
            None
        };
        if let Some(who) = who {
            self.change(who, |heard| {
                heard.give_way(UnixTime(u64::MAX));
            });
        }
    }

    fn forget_old(&mut self, now: UnixTime) {
        let end = UnixTime(now.0.saturating_sub(KEPT));
        let nodes: Vec<NodeId> = self.sizes.iter().map(|(_, node)| *node).collect();
        for node in nodes {
            self.change(node, |heard| while heard.give_way(end) {});
        }
    }

    /// A node that is gone.
    pub fn forget(&mut self, node: &NodeId) {
        self.change(*node, |heard| *heard = Heard::default());
        self.nodes.remove(node);
    }

    /// The policy does not ask any more.
    pub fn clear(&mut self) {
        *self = NamesAsked::default();
    }

    /// The most asked first; `node`: of this one only; `limit` 0: as many as usual.
    pub fn view(&self, node: Option<NodeId>, limit: usize, now: UnixTime) -> NamesView {
        let end = now.0.saturating_sub(KEPT);
        let mut view = NamesView::default();
        for (id, heard) in self.nodes.iter().filter(|(id, _)| node.is_none_or(|node| node == **id)) {
            view.others = view.others.saturating_add(heard.others);
            for (name, row) in &heard.names {
                match row.last.0 < end {
                    true => view.others = view.others.saturating_add(row.asked),
                    false => view.names.push(row.of(*id, name)),
                }
            }
        }
        let place = |row: &NameRow| (std::cmp::Reverse(row.asked), row.node);
        view.names.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.name.cmp(&b.name)));
        let limit = if limit == 0 { DEFAULT_ANSWER } else { limit };
        view.left_off = view.names.len().saturating_sub(limit);
        view.names.truncate(limit);
        view
    }

    pub fn len(&self) -> usize {
        self.total
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

/// Which rows are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::IntoParams))]
#[serde(default, deny_unknown_fields)]
pub struct NamesFilter {
    /// Name, id or address.
    pub node: Option<String>,
    /// At most so many rows, up to 10,000; 0: 1,000.
    pub limit: usize,
}

impl NamesFilter {
    /// Could this match anything, whatever there is?
    pub fn check(&self) -> Result<(), BadFilter> {
        check_node("node", self.node.as_ref())?;
        check_limit(self.limit)
    }
}

/// A name and how often one node was asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NameRow {
    pub node: NodeId,
    /// Its name, if it is a member.
    pub node_name: Option<String>,
    /// Lower case, without the final dot; what is not graphic ASCII as `\ddd`.
    pub name: String,
    pub class: NameClass,
    pub asked: u64,
    /// Of these, refused or failed.
    pub unanswered: u64,
    pub first: UnixTime,
    pub last: UnixTime,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NamesView {
    /// The policy in force asks for names.
    pub told: bool,
    pub names: Vec<NameRow>,
    /// Rows beyond the limit of this answer.
    pub left_off: usize,
    /// Questions for names that nobody kept.
    pub others: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(names: impl IntoIterator<Item = (String, u64)>) -> NamesReport {
        let one =
            |(name, asked)| AskedName { name, class: NameClass::Forwarded.into(), asked, unanswered: 0 };
        NamesReport { names: names.into_iter().map(one).collect(), others: 0 }
    }

    fn questions(view: &NamesView) -> u64 {
        view.names.iter().map(|row| row.asked).sum::<u64>() + view.others
    }

    fn view(asked: &NamesAsked, now: u64) -> NamesView {
        asked.view(None, ROOM, UnixTime(now))
    }

    #[test]
    fn what_is_asked_longest_ago_gives_way_and_no_question_is_lost_from_the_count() {
        let mut asked = NamesAsked::default();
        let node = NodeId([7; 16]);
        asked.report(node, &report([("kept.example".into(), 3)]), UnixTime(1));
        for n in 0..ROOM_EACH as u64 {
            asked.report(
                node,
                &report([(format!("n{n}.example"), 1), ("kept.example".into(), 1)]),
                UnixTime(2 + n),
            );
        }
        let seen = view(&asked, 2_000);
        assert_eq!((asked.len(), seen.names.len()), (ROOM_EACH, ROOM_EACH));
        assert_eq!(
            (seen.names[0].name.as_str(), seen.names[0].asked),
            ("kept.example", 3 + ROOM_EACH as u64)
        );
        assert!(!seen.names.iter().any(|row| row.name == "n0.example"));
        assert_eq!(questions(&seen), 3 + 2 * ROOM_EACH as u64);
        let later = 2_000 + KEPT + ROOM_EACH as u64;
        for _ in 0..2 {
            let gone = view(&asked, later);
            assert_eq!((gone.names.len(), questions(&gone)), (0, questions(&seen)), "a day later");
            asked.report(node, &report([]), UnixTime(later));
        }
        assert!(asked.is_empty());
    }

    #[test]
    fn nodes_that_report_without_end_take_no_room_from_those_with_few_names() {
        let mut asked = NamesAsked::default();
        let quiet = NodeId([0; 16]);
        asked.report(quiet, &report([("quiet.example".into(), 1)]), UnixTime(1));
        for n in 0..220u64 {
            let mut id = [1; 16];
            id[8..].copy_from_slice(&n.to_be_bytes());
            let names = (0..ROOM_EACH).map(|i| (format!("{i}.example"), 1));
            asked.report(NodeId(id), &report(names), UnixTime(2 + n));
        }
        assert_eq!(asked.len(), ROOM);
        let seen = asked.view(Some(quiet), 0, UnixTime(300));
        assert_eq!((seen.names.len(), seen.names[0].name.as_str()), (1, "quiet.example"));
        asked.forget(&quiet);
        assert_eq!(asked.len(), ROOM - 1);
    }
}
