//! Two accounts of one thing: the kernel counts every refused packet by whom it was to, and tells of some of them whose they
//! were. What was told of is reported with its five-tuple, the rest as a number; together they are what was counted.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Refused;
use super::heard::Tried;

/// Servers kept; the kernel's sets hold as many of each family.
const SERVERS: usize = 2 * 1024;

/// Server, protocol and port.
type Place = (IpAddr, u8, u16);

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    /// The kernel's numbers as they were last read.
    read: (u64, u64),
    /// Counted and not reported yet, as it was at the last look. What was told of may be under way.
    owed: (u64, u64),
    /// Reported with a five-tuple, and not seen in the count yet.
    ahead: (u64, u64),
}

#[derive(Debug, Default)]
pub struct Account {
    places: BTreeMap<Place, Sum>,
}

impl Account {
    /// The table was put in anew: its counters begin again.
    pub fn begin(&mut self) {
        self.places.clear();
    }

    /// It is reported by itself.
    pub fn handle_tried(&mut self, tried: &Tried) {
        let place = (tried.server.ip(), tried.protocol, tried.server.port());
        if self.places.len() >= SERVERS && !self.places.contains_key(&place) {
            return;
        }
        let sum = self.places.entry(place).or_default();
        sum.ahead = (sum.ahead.0.saturating_add(1), sum.ahead.1.saturating_add(tried.bytes));
    }

    /// What the kernel counts now. Comes back what nobody told of since the look before this one.
    pub fn handle_counted(&mut self, counted: impl IntoIterator<Item = Refused>) -> Vec<Refused> {
        let mut rest = Vec::new();
        for now in counted {
            let sum = self.places.entry((now.server, now.protocol, now.port)).or_default();
            // An element that timed out and came again counts from the beginning.
            let before = if now.packets < sum.read.0 { (0, 0) } else { sum.read };
            sum.read = (now.packets, now.bytes);
            let due = sum.owed;
            let more = (now.packets.saturating_sub(before.0), now.bytes.saturating_sub(before.1));
            let all = (due.0.saturating_add(more.0), due.1.saturating_add(more.1));
            let told = (sum.ahead.0.min(all.0), sum.ahead.1.min(all.1));
            sum.ahead = (sum.ahead.0 - told.0, sum.ahead.1 - told.1);
            let left = (all.0 - told.0, all.1 - told.1);
            // Words came for the oldest first.
            let packets = due.0.saturating_sub(told.0);
            let bytes = if packets == left.0 { left.1 } else { due.1.saturating_sub(told.1).min(left.1) };
            sum.owed = (left.0 - packets, left.1 - bytes);
            if packets > 0 {
                rest.push(Refused { packets, bytes, ..now });
            }
        }
        rest
    }

    /// Something was counted that is not reported yet: look again soon.
    pub fn owes(&self) -> bool {
        self.places.values().any(|sum| sum.owed.0 > 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SERVER: &str = "192.0.2.53";

    fn counted(packets: u64) -> Refused {
        Refused { server: SERVER.parse().unwrap(), protocol: 17, port: 53, packets, bytes: packets * 60 }
    }

    fn tried() -> Tried {
        Tried {
            protocol: 17,
            from: "10.0.0.1:4000".parse().unwrap(),
            server: format!("{SERVER}:53").parse().unwrap(),
            user: None,
            bytes: 60,
            quote: Vec::new(),
        }
    }

    #[test]
    fn what_was_told_of_is_not_reported_again_though_the_count_is_read_first() {
        let mut account = Account::default();
        assert_eq!(account.handle_counted([counted(1)]), [], "who it was may be under way");
        assert!(account.owes());
        account.handle_tried(&tried());
        assert_eq!(account.handle_counted([counted(1)]), []);
        assert!(!account.owes());
        // And the other way round.
        account.handle_tried(&tried());
        assert_eq!(account.handle_counted([counted(2)]), []);
        assert!(!account.owes());
    }

    #[test]
    fn what_nobody_told_of_is_reported_as_a_number_once() {
        let mut account = Account::default();
        account.handle_tried(&tried());
        assert_eq!(account.handle_counted([counted(4)]), []);
        assert_eq!(account.handle_counted([counted(4)]), [counted(3)]);
        assert_eq!(account.handle_counted([counted(4)]), []);
        assert!(!account.owes());
        // The element timed out and came again.
        assert_eq!(account.handle_counted([counted(2)]), []);
        assert_eq!(account.handle_counted([counted(2)]), [counted(2)]);
    }

    proptest! {
        /// In whatever order counts and words come, at the end everything was reported exactly once.
        #[test]
        fn told_and_rest_together_are_what_was_counted(steps in prop::collection::vec((0_u64..5, any::<bool>(), any::<bool>()), 1..40)) {
            let mut account = Account::default();
            let (mut all, mut under_way, mut reported) = (0, 0, 0);
            for (packets, told, look) in steps {
                all += packets;
                // What is told comes at the latest before the look after next.
                reported += under_way;
                (0..under_way).for_each(|_| account.handle_tried(&tried()));
                under_way = if told { packets } else { 0 };
                if look {
                    reported += account.handle_counted([counted(all)]).iter().map(|r| r.packets).sum::<u64>();
                }
            }
            reported += under_way;
            (0..under_way).for_each(|_| account.handle_tried(&tried()));
            for _ in 0..2 {
                reported += account.handle_counted([counted(all)]).iter().map(|r| r.packets).sum::<u64>();
            }
            prop_assert_eq!(reported, all);
            prop_assert!(!account.owes());
        }
    }
}
