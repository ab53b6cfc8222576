use proptest::prelude::*;

use super::*;

fn record(flow: u64) -> FlowRecord {
    FlowRecord { flow, count: 1, ..FlowRecord::default() }
}

#[test]
fn the_oldest_is_dropped_and_counted_when_there_is_no_room() {
    let mut flows = Flows::new(1, 3);
    (1..=5).for_each(|i| flows.offer(record(i)));
    let report = flows.next_report().unwrap();
    assert_eq!(report.records.iter().map(|r| r.flow).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(report.lost, 2);
}

#[test]
fn an_unacknowledged_report_is_sent_again_unchanged() {
    let mut flows = Flows::new(7, 100);
    flows.offer(record(1));
    let first = flows.next_report().unwrap();
    flows.offer(record(2));
    assert_eq!(flows.next_report(), None, "one in flight");
    flows.handle_reconnected();
    assert_eq!(flows.next_report(), Some(first.clone()));
    flows.handle_stored(8, first.sequence);
    flows.handle_stored(7, first.sequence + 1);
    assert_eq!(flows.held(), 2, "somebody else's acknowledgement");
    flows.handle_stored(7, first.sequence);
    let second = flows.next_report().unwrap();
    assert_eq!((second.sequence, second.records[0].flow), (first.sequence + 1, 2));
}

#[test]
fn a_report_keeps_both_limits() {
    let mut flows = Flows::new(1, CAPACITY);
    let long = FlowRecord { grant: "g".repeat(1000), ..record(1) };
    (0..3000).for_each(|_| flows.offer(long.clone()));
    flows.offer(FlowRecord { grant: "g".repeat(REPORT_BYTES), ..record(2) });
    let mut records = 0;
    while let Some(report) = flows.next_report() {
        assert!(report.records.len() <= REPORT_RECORDS && report.encoded_len() <= REPORT_BYTES);
        assert!(!report.records.is_empty());
        records += report.records.len();
        flows.handle_stored(1, report.sequence);
    }
    assert_eq!((records, flows.lost()), (3000, 1));
}

#[test]
fn a_loss_is_told_even_when_no_record_is_left() {
    let mut flows = Flows::new(1, 10);
    flows.add_lost(4);
    let report = flows.next_report().unwrap();
    assert_eq!((report.lost, report.records.len()), (4, 0));
    flows.handle_stored(1, report.sequence);
    assert_eq!(flows.next_report(), None);
}

#[derive(Clone, Debug)]
enum Event {
    Offer(u8),
    Lost(u8),
    Send,
    Store,
    Reconnect,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        any::<u8>().prop_map(Event::Offer),
        any::<u8>().prop_map(Event::Lost),
        Just(Event::Send),
        Just(Event::Store),
        Just(Event::Reconnect),
    ]
}

proptest! {
    /// stored + held + lost = offered, and what the coordinator took twice it can tell by the sequence.
    #[test]
    fn recorded_and_lost_are_all_that_was_offered(events in prop::collection::vec(event(), 0..200), capacity in 0usize..50) {
        let mut flows = Flows::new(1, capacity);
        let (mut offered, mut last) = (0u64, None);
        let mut taken = std::collections::BTreeMap::new();
        for event in events {
            match event {
                Event::Offer(n) => {
                    (0..n).for_each(|i| flows.offer(record(u64::from(i))));
                    offered += u64::from(n);
                }
                Event::Lost(n) => {
                    flows.add_lost(u64::from(n));
                    offered += u64::from(n);
                }
                Event::Send => {
                    if let Some(report) = flows.next_report() {
                        let n = report.records.len() as u64;
                        prop_assert_eq!(*taken.entry(report.sequence).or_insert(n), n);
                        last = Some(report.sequence);
                    }
                }
                Event::Store => last.into_iter().for_each(|sequence| flows.handle_stored(1, sequence)),
                Event::Reconnect => flows.handle_reconnected(),
            }
            prop_assert_eq!(flows.stored() + flows.held() + flows.lost(), offered);
            prop_assert!(flows.stored() <= taken.values().sum::<u64>());
        }
    }
}
