//! Making room without losing numbers: windows of one flow become one, then flows of one kind become one.
//!
//! What is given up is detail (the opener's port, the moment of each window), never a packet, a byte or a try.

use std::collections::BTreeMap;

use warren_wire::flow::{FlowEnd, FlowRecord};

/// Records that stay apart when flows of one kind are put together: an edge of the map in one minute.
type Kind = (Vec<u8>, bool, u32, Vec<u8>, Vec<u8>, u32, i32, String, String, u64, bool, u64);

fn kind(record: &FlowRecord) -> Kind {
    (
        record.peer.clone(),
        record.outbound,
        record.protocol,
        record.src.clone(),
        record.dst.clone(),
        record.dst_port,
        record.verdict,
        record.grant.clone(),
        record.service.clone(),
        record.generation,
        record.end() == FlowEnd::Refused,
        record.last_ms / 60_000,
    )
}

/// Windows of one flow under one admission, in the order of their last window.
pub(super) fn windows(records: impl IntoIterator<Item = FlowRecord>) -> Vec<FlowRecord> {
    by(
        records,
        |record| (record.flow, kind(record)),
        |sum, next| {
            (sum.end, sum.last_ms) = (next.end, next.last_ms);
            if next.workload.is_some() {
                sum.workload.clone_from(&next.workload);
            }
            sum.rtt_us = next.rtt_us.or(sum.rtt_us);
        },
    )
}

/// Flows of one kind and minute. Which of them an opener's port belonged to is no longer known: 0.
pub(super) fn flows(records: impl IntoIterator<Item = FlowRecord>) -> Vec<FlowRecord> {
    by(records, kind, |sum, next| {
        if sum.src_port != next.src_port {
            sum.src_port = 0;
        }
        if sum.workload != next.workload {
            sum.workload = None;
        }
        sum.rtt_us = None;
        (sum.end, sum.last_ms) = (next.end, sum.last_ms.max(next.last_ms));
    })
}

fn by<K: Ord>(
    records: impl IntoIterator<Item = FlowRecord>,
    key: impl Fn(&FlowRecord) -> K,
    settle: impl Fn(&mut FlowRecord, &FlowRecord),
) -> Vec<FlowRecord> {
    let mut places: BTreeMap<K, usize> = BTreeMap::new();
    let mut sums: Vec<FlowRecord> = Vec::new();
    for record in records {
        match places.entry(key(&record)) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(sums.len());
                sums.push(record);
            }
            std::collections::btree_map::Entry::Occupied(place) => {
                let Some(sum) = sums.get_mut(*place.get()) else { continue };
                add(sum, &record);
                settle(sum, &record);
            }
        }
    }
    sums
}

fn add(sum: &mut FlowRecord, next: &FlowRecord) {
    let more = |a: &mut u64, b: u64| *a = a.saturating_add(b);
    let began = sum.began().saturating_add(next.began());
    if sum.end() == FlowEnd::Refused {
        more(&mut sum.count, next.count);
    } else {
        (sum.first, sum.count) = (began > 0, began.max(1));
    }
    more(&mut sum.packets_out, next.packets_out);
    more(&mut sum.bytes_out, next.bytes_out);
    more(&mut sum.packets_back, next.packets_back);
    more(&mut sum.bytes_back, next.bytes_back);
    sum.retransmissions = warren_wire::flow::more(sum.retransmissions, next.retransmissions);
    sum.started_ms = sum.started_ms.min(next.started_ms);
}
