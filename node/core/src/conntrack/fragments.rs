//! Fragments of packets whose first one was let through.
//!
//! Only a first fragment with the whole transport header begins an entry; later ones must lie behind it, touch nothing
//! that has come, and end before 30 s have passed. One that breaks this poisons the packet: nothing more of it passes
//! (RFC 5722). Fragments that come before the first are dropped: a tunnel seldom reorders, an attacker often does.

use std::net::IpAddr;

use hashbrown::HashMap;

use super::flow::FlowKey;
use crate::clock::Mono;
use crate::packet::DropReason;

const LIFE_SECS: u64 = 30;
/// Holes that one packet may have at a time.
const MAX_RANGES: usize = 16;

/// What names one fragmented packet (RFC 791 section 2.3, RFC 8200 section 4.5, and the protocol for both).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DatagramKey {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub number: u8,
    pub id: u32,
}

#[derive(Debug)]
struct Datagram {
    flow: FlowKey,
    until: Mono,
    /// Sorted, disjoint, joined where they touch; `None` once poisoned.
    ranges: Option<Vec<(u32, u32)>>,
    /// Known when the last fragment has come.
    end: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Fragments {
    table: HashMap<DatagramKey, Datagram>,
    /// In order of their ends; lives are not refreshed, so this is the order of beginning.
    queue: std::collections::VecDeque<(Mono, DatagramKey)>,
    limit: usize,
}

impl Fragments {
    pub fn new(limit: usize) -> Fragments {
        Fragments { table: HashMap::new(), queue: std::collections::VecDeque::new(), limit }
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub fn shrink(&mut self) {
        self.table.shrink_to_fit();
        self.queue.shrink_to_fit();
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn expire(&mut self, now: Mono) {
        while let Some((until, key)) = self.queue.front().copied() {
            let live = self.table.get(&key).is_some_and(|datagram| datagram.until == until);
            if live && until > now {
                return;
            }
            self.queue.pop_front();
            if live {
                self.table.remove(&key);
            }
        }
    }

    /// May this packet begin? Asked before its first fragment is judged. A second first fragment poisons.
    pub fn may_begin(&mut self, key: &DatagramKey, now: Mono) -> Result<(), DropReason> {
        self.expire(now);
        if let Some(datagram) = self.table.get_mut(key) {
            datagram.ranges = None;
            return Err(DropReason::FragmentOverlap);
        }
        // Finished packets leave keys behind in the queue: they are swept before it grows over twice the table.
        if self.queue.len() >= self.limit.saturating_mul(2).max(64) {
            let table = &self.table;
            self.queue.retain(|(until, key)| table.get(key).is_some_and(|datagram| datagram.until == *until));
        }
        if self.table.len() >= self.limit { Err(DropReason::FragmentTableFull) } else { Ok(()) }
    }

    /// The first fragment passed.
    pub fn begin(&mut self, key: DatagramKey, flow: FlowKey, len: u16, now: Mono) {
        let until = now.plus_secs(LIFE_SECS);
        let ranges = Some(vec![(0, u32::from(len))]);
        self.table.insert(key, Datagram { flow, until, ranges, end: None });
        self.queue.push_back((until, key));
    }

    /// The flow a later fragment belongs to.
    pub fn later(
        &mut self,
        key: &DatagramKey,
        offset: u16,
        len: u16,
        last: bool,
        now: Mono,
    ) -> Result<FlowKey, DropReason> {
        self.expire(now);
        let datagram = self.table.get_mut(key).ok_or(DropReason::FragmentOrphan)?;
        let flow = datagram.flow;
        let whole = datagram.add(u32::from(offset), u32::from(offset) + u32::from(len), last)?;
        if whole {
            self.table.remove(key);
        }
        Ok(flow)
    }
}

impl Datagram {
    /// True when the packet is whole.
    fn add(&mut self, from: u32, to: u32, last: bool) -> Result<bool, DropReason> {
        let fits = self.fits(from, to, last);
        let Some(ranges) = self.ranges.as_mut().filter(|ranges| fits && ranges.len() < MAX_RANGES) else {
            self.ranges = None;
            return Err(DropReason::FragmentOverlap);
        };
        if last {
            self.end = Some(to);
        }
        let at = ranges.partition_point(|range| range.0 < from);
        ranges.insert(at, (from, to));
        ranges.dedup_by(|right, left| {
            let touch = left.1 == right.0;
            if touch {
                left.1 = right.1;
            }
            touch
        });
        Ok(self.end.is_some_and(|end| *ranges == [(0, end)]))
    }

    /// Overlaps nothing, and lies before a known end; a new end lies behind all.
    fn fits(&self, from: u32, to: u32, last: bool) -> bool {
        let Some(ranges) = &self.ranges else { return false };
        let free = ranges.iter().all(|range| to <= range.0 || from >= range.1);
        let highest = ranges.last().map_or(0, |range| range.1);
        let end_agrees = match self.end {
            Some(end) => !last && to <= end,
            None => !last || to >= highest,
        };
        free && end_agrees
    }
}
