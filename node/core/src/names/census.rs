//! Which names are asked here, counted while the policy wants to know. Bounded: of very many names those that come first
//! have a place, and only the most asked ones are told by name; of all others their number.

use hashbrown::HashMap;
use warren_wire::names::{AskedName, MAX_NAMES, NameClass, NamesReport};

/// Names between two reports at most.
pub const ROOM: usize = 2048;

#[derive(Debug, Default)]
pub struct Census {
    names: HashMap<String, Count>,
    others: u64,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    class: NameClass,
    asked: u64,
    unanswered: u64,
}

impl Census {
    /// `name` as [`super::query::Query`] has it.
    pub fn count(&mut self, name: &str, class: NameClass, answered: bool) {
        let (unanswered, is_full) = (u64::from(!answered), self.names.len() >= ROOM);
        match self.names.get_mut(name) {
            Some(count) => {
                count.class = class;
                count.asked = count.asked.saturating_add(1);
                count.unanswered = count.unanswered.saturating_add(unanswered);
            }
            None if !is_full => {
                self.names.insert(name.to_owned(), Count { class, asked: 1, unanswered });
            }
            None => self.others = self.others.saturating_add(1),
        }
    }

    /// What was asked since the last time; `None`: nothing.
    pub fn take(&mut self) -> Option<NamesReport> {
        let (names, mut others) = (std::mem::take(&mut self.names), std::mem::take(&mut self.others));
        if names.is_empty() {
            return None;
        }
        let asked = |(name, count): (String, Count)| AskedName {
            name,
            class: count.class.into(),
            asked: count.asked,
            unanswered: count.unanswered,
        };
        let mut names: Vec<AskedName> = names.into_iter().map(asked).collect();
        names.sort_by(|a, b| b.asked.cmp(&a.asked).then_with(|| a.name.cmp(&b.name)));
        let rest = names.split_off(names.len().min(MAX_NAMES));
        others = rest.iter().fold(others, |sum, name| sum.saturating_add(name.asked));
        Some(NamesReport { names, others })
    }

    pub fn clear(&mut self) {
        *self = Census::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(report: &NamesReport) -> u64 {
        report.names.iter().map(|name| name.asked).sum::<u64>() + report.others
    }

    #[test]
    fn the_most_asked_are_told_by_name_and_every_question_is_counted() {
        let mut census = Census::default();
        for n in 0..2 * ROOM {
            census.count(&format!("n{n}.example"), NameClass::Forwarded, n % 2 == 0);
        }
        for _ in 0..5 {
            census.count("n7.example", NameClass::Forwarded, true);
        }
        let report = census.take().unwrap();
        assert_eq!(report.check(), Ok(()));
        assert_eq!((report.names.len(), total(&report)), (MAX_NAMES, 2 * ROOM as u64 + 5));
        let first = &report.names[0];
        assert_eq!((first.name.as_str(), first.asked, first.unanswered), ("n7.example", 6, 1));
        assert_eq!(census.take(), None, "told once");
    }

    #[test]
    fn whatever_is_asked_can_be_told() {
        let mut census = Census::default();
        // The longest names there are, of bytes that nobody can print.
        for byte in [0u8, 7, 27, b'"', b'\\', b'.', 0x7f, 0xc2, 0xff] {
            let mut message = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            for length in [63u8, 63, 63, 61] {
                message.push(length);
                message.extend(vec![byte; length.into()]);
            }
            message.extend([0, 0, 1, 0, 1]);
            let query = super::super::query::Query::read(&message).unwrap();
            census.count(&query.name, NameClass::Forwarded, true);
        }
        let report = census.take().unwrap();
        assert_eq!((report.check(), report.names.len()), (Ok(()), 9));
    }
}
