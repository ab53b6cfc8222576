use proptest::prelude::*;

use super::*;
use warren_wire::flow::FlowEnd;

/// A record of a flow of its own kind, with one packet of 100 bytes.
fn record(flow: u64) -> FlowRecord {
    FlowRecord {
        flow,
        dst_port: (flow % 65_536) as u32,
        src_port: 40_000,
        count: 1,
        first: true,
        packets_out: 1,
        bytes_out: 100,
        ..FlowRecord::default()
    }
}

fn amount(records: u64) -> Amount {
    Amount { records, packets: records, bytes: 100 * records }
}

#[test]
fn the_oldest_is_dropped_and_declared_when_nothing_can_be_folded() {
    let mut flows = Flows::new(1, 4);
    (1..=5).for_each(|i| flows.offer(record(i)));
    let report = flows.next_report().unwrap();
    assert_eq!(report.records.iter().map(|r| r.flow).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(report.lost_amount(), amount(2));
}

#[test]
fn windows_of_one_flow_are_folded_before_anything_is_lost() {
    let mut flows = Flows::new(1, 4);
    for window in 0..100 {
        let first = window < 2;
        let retransmissions = (window > 9).then_some(1);
        flows.offer(FlowRecord { first, last_ms: window, retransmissions, ..record(7 + window % 2) });
    }
    assert_eq!(flows.lost(), Amount::default());
    let records = flows.next_report().unwrap().records;
    assert_eq!(records.iter().map(|r| r.packets_out).sum::<u64>(), 100);
    assert_eq!(records.iter().map(FlowRecord::began).sum::<u64>(), 2, "two flows began");
    assert_eq!(records.iter().map(|r| r.last_ms).max(), Some(99));
    assert_eq!(records.iter().filter_map(|r| r.retransmissions).sum::<u64>(), 90);
}

#[test]
fn flows_of_one_kind_are_folded_before_anything_is_lost() {
    let mut flows = Flows::new(1, 16);
    for flow in 0..1_000 {
        flows.offer(FlowRecord { dst_port: 443, src_port: flow as u32, ..record(flow) });
        flows.offer(FlowRecord {
            dst_port: 22,
            end: FlowEnd::Refused as i32,
            first: false,
            count: 3,
            ..record(5_000 + flow)
        });
    }
    assert_eq!(flows.lost(), Amount::default());
    let records = flows.next_report().unwrap().records;
    assert!(records.len() <= 16);
    assert_eq!(records.iter().map(FlowRecord::began).sum::<u64>(), 1_000);
    let tries = records.iter().filter(|r| r.end() == FlowEnd::Refused).map(|r| r.count).sum::<u64>();
    assert_eq!(tries, 3_000);
    assert_eq!(records.iter().map(|r| r.bytes_out).sum::<u64>(), 200_000);
}

#[test]
fn an_unacknowledged_report_is_sent_again_unchanged() {
    let mut flows = Flows::new(7, 100);
    flows.offer(record(1));
    let first = flows.next_report().unwrap();
    flows.offer(record(2));
    let second = flows.next_report().unwrap();
    assert_eq!((second.sequence, second.records[0].flow), (first.sequence + 1, 2));
    flows.handle_reconnected();
    assert_eq!(flows.next_report(), Some(first.clone()));
    flows.handle_stored(7, second.sequence);
    assert_eq!(flows.held(), 2, "not handed out on this connection");
    flows.handle_stored(8, first.sequence);
    assert_eq!(flows.held(), 2, "somebody else's acknowledgement");
    flows.handle_stored(7, first.sequence);
    assert_eq!((flows.held(), flows.stored()), (1, amount(1)));
    assert_eq!(flows.next_report(), Some(second.clone()));
    flows.handle_stored(7, second.sequence);
    assert_eq!((flows.held(), flows.next_report()), (0, None));
}

#[test]
fn so_many_reports_are_under_way_and_one_acknowledgement_covers_all_before_it() {
    let mut flows = Flows::new(1, CAPACITY);
    (0..40 * REPORT_RECORDS as u64).take(CAPACITY).for_each(|i| flows.offer(record(i)));
    let sent: Vec<u64> = std::iter::from_fn(|| flows.next_report()).map(|r| r.sequence).collect();
    assert_eq!(sent.len(), IN_FLIGHT);
    flows.handle_stored(1, sent[9]);
    assert_eq!(std::iter::from_fn(|| flows.next_report()).count(), 10);
}

/// A buffer that keeps the room of a flood makes the agent as large for ever as it was in it.
#[test]
fn the_room_of_a_flood_is_given_back_when_it_has_been_reported() {
    let mut flows = Flows::new(1, CAPACITY);
    (0..30_000).for_each(|flow| flows.offer(record(flow)));
    let flooded = flows.waiting.capacity();
    let mut told = 0;
    while let Some(report) = flows.next_report() {
        told += report.records.len();
        flows.handle_stored(1, report.sequence);
    }
    assert_eq!((told, flows.held()), (30_000, 0));
    assert!(flooded >= 30_000 && flows.waiting.capacity() <= KEPT_ROOM, "{}", flows.waiting.capacity());
}

#[test]
fn a_report_keeps_both_limits() {
    let mut flows = Flows::new(1, CAPACITY);
    let long = FlowRecord { grant: "g".repeat(1000), ..record(1) };
    (0..3000).for_each(|_| flows.offer(long.clone()));
    flows.offer(FlowRecord { grant: "g".repeat(REPORT_BYTES), ..record(2) });
    flows.set_ended((0..200).map(|boot| Ended { boot, packets: u64::MAX, bytes: u64::MAX }).collect());
    let mut records = 0;
    while let Some(report) = flows.next_report() {
        assert!(report.records.len() <= REPORT_RECORDS && report.encoded_len() <= REPORT_BYTES);
        assert!(!report.records.is_empty());
        records += report.records.len();
        flows.handle_stored(1, report.sequence);
    }
    assert_eq!((records, flows.lost()), (3000, amount(1)));
}

#[test]
fn a_loss_is_told_even_when_no_record_is_left() {
    let mut flows = Flows::new(1, 10);
    flows.add_lost(amount(4));
    let report = flows.next_report().unwrap();
    assert_eq!((report.lost_amount(), report.records.len()), (amount(4), 0));
    flows.handle_stored(1, report.sequence);
    assert_eq!(flows.next_report(), None);
}

#[test]
fn ended_starts_are_told_until_they_are_taken_down() {
    let mut flows = Flows::new(2, 10);
    let ended = Ended { boot: 1, packets: 5, bytes: 500 };
    flows.set_ended(vec![ended]);
    let report = flows.next_report().unwrap();
    assert_eq!(report.ended, [ended]);
    flows.offer(record(1));
    assert_eq!(flows.next_report().unwrap().ended, []);
    assert!(!flows.earlier_is_told());
    flows.handle_reconnected();
    assert_eq!(flows.next_report().unwrap().ended, [ended], "the same report again");
    flows.handle_stored(2, report.sequence);
    assert!(flows.earlier_is_told());
}

/// One start after another: what the first leaves, as it lies on the disk.
fn next_start(flows: &mut Flows, capacity: usize) -> Flows {
    let legacy = Legacy::read(&flows.leave().write()).unwrap();
    let mut next = Flows::new(flows.boot + 1, capacity);
    next.set_ended(legacy.ended);
    next.take_over(legacy.reports);
    next
}

#[test]
fn what_a_start_leaves_is_reported_first_and_under_its_numbers() {
    let mut flows = Flows::new(7, 100);
    flows.offer(record(1));
    let sent = flows.next_report().unwrap();
    flows.offer(record(2));
    flows.set_offered(Amount { records: 0, packets: 2, bytes: 200 });
    let mut next = next_start(&mut flows, 100);
    next.offer(record(1));
    assert!(!next.earlier_is_told());
    let reports: Vec<FlowReport> = std::iter::from_fn(|| next.next_report()).collect();
    let order: Vec<_> = reports.iter().map(|r| (r.boot, r.sequence, r.records.len())).collect();
    assert_eq!(order, [(7, 1, 1), (7, 2, 1), (8, 1, 1)]);
    assert_eq!(reports[0], sent, "it may be stored already");
    assert_eq!(reports[2].ended, [Ended { boot: 7, packets: 2, bytes: 200 }]);
    next.handle_stored(8, 1);
    assert!(!next.earlier_is_told(), "an acknowledgement speaks of one start");
    next.handle_stored(7, 2);
    assert!(next.earlier_is_told() && next.is_told());
    assert_eq!(next.stored(), amount(1), "of this start");
}

#[test]
fn what_is_left_is_bounded_and_what_this_start_has_lost_is_declared() {
    let mut flows = Flows::new(1, CAPACITY);
    (0..CAPACITY as u64).for_each(|i| flows.offer(record(i)));
    let legacy = flows.leave();
    assert!(legacy.records() <= KEPT_RECORDS as u64 && legacy.reports.len() <= KEPT_REPORTS);
    let lost = legacy.reports.last().unwrap().lost_amount();
    assert_eq!(legacy.records() + lost.packets, CAPACITY as u64);
    let mut flows = Flows::new(2, CAPACITY);
    flows.take_over(legacy.reports);
    (0..CAPACITY as u64 / 2).for_each(|i| flows.offer(record(i)));
    let legacy = flows.leave();
    assert!(legacy.records() <= KEPT_RECORDS as u64);
    assert_eq!(legacy.reports.last().unwrap().boot, 2, "the oldest make room");
    let mut reports = legacy.reports;
    for boot in 3..500 {
        let mut flows = Flows::new(boot, CAPACITY);
        flows.take_over(reports);
        flows.offer(record(boot));
        reports = flows.leave().reports;
        assert!(reports.len() <= KEPT_REPORTS);
    }
}

#[test]
fn a_file_that_is_not_whole_is_refused_whole() {
    let mut flows = Flows::new(1, 10);
    flows.offer(record(1));
    let bytes = flows.leave().write();
    assert_eq!(Legacy::read(&bytes).unwrap().records(), 1);
    for end in 0..bytes.len() {
        assert!(Legacy::read(&bytes[..end]).is_err(), "{end}");
    }
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1;
        assert!(Legacy::read(&other).is_err(), "{at}");
    }
    assert_eq!(Legacy::read(b"something else"), Err(LegacyError::NotOurs));
}

#[derive(Clone, Debug)]
enum Event {
    Offer(u8),
    Lost(u8),
    Send,
    Store(usize),
    Reconnect,
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => any::<u8>().prop_map(Event::Offer),
        4 => any::<u8>().prop_map(Event::Lost),
        4 => Just(Event::Send),
        4 => (0usize..20).prop_map(Event::Store),
        4 => Just(Event::Reconnect),
        1 => Just(Event::Restart),
    ]
}

type Taken = std::collections::BTreeMap<(u64, u64), FlowReport>;

fn packets(reports: &Taken) -> u64 {
    reports.values().flat_map(|report| &report.records).map(|record| record.amount().packets).sum()
}

proptest! {
    /// What a coordinator took that counts each number of a start once, what is held and what is declared lost are all that
    /// was offered, over any number of starts that stop in order.
    #[test]
    fn recorded_and_lost_are_all_that_was_offered(events in prop::collection::vec(event(), 0..200), capacity in 0usize..50) {
        let mut flows = Flows::new(1, capacity);
        let (mut offered, mut lost_before) = (0u64, 0u64);
        let mut taken = Taken::new();
        for event in events {
            match event {
                Event::Offer(n) => {
                    (0..n).for_each(|i| flows.offer(record(u64::from(i) % 37)));
                    offered += u64::from(n);
                }
                Event::Lost(n) => {
                    flows.add_lost(amount(u64::from(n)));
                    offered += u64::from(n);
                }
                Event::Send => {
                    if let Some(report) = flows.next_report() {
                        let number = (report.boot, report.sequence);
                        let known = taken.entry(number).or_insert_with(|| report.clone());
                        prop_assert_eq!(&*known, &report, "a number stands for one report");
                    }
                }
                Event::Store(back) => {
                    let (boot, sequence) = taken.keys().rev().nth(back).copied().unwrap_or((1, 0));
                    flows.handle_stored(boot, sequence);
                }
                Event::Reconnect => flows.handle_reconnected(),
                Event::Restart => {
                    let next = next_start(&mut flows, capacity);
                    lost_before += flows.lost().packets;
                    flows = next;
                }
            }
            let waiting: u64 = flows.waiting.iter().map(|r| r.amount().packets).sum();
            let lost = flows.lost().packets + lost_before;
            prop_assert_eq!(packets(&taken) + unsent(&flows, &taken) + waiting + lost, offered);
            prop_assert!(flows.stored().packets <= packets(&taken));
            prop_assert!(flows.held() <= capacity as u64 + flows.in_flight);
        }
    }
}

/// Packets of reports that were made and never handed out.
fn unsent(flows: &Flows, taken: &Taken) -> u64 {
    let made = flows.flight.iter().filter(|report| !taken.contains_key(&(report.boot, report.sequence)));
    made.flat_map(|report| &report.records).map(|record| record.amount().packets).sum()
}
