//! Which programs asked past this node, for who looks after the host.

use std::collections::BTreeMap;

use warren_wire::flow::{FlowRecord, Workload};

/// Different ones that are kept.
const MOST: usize = 32;

/// Tries by program, user and place: `python3 (alice) in shop.service`.
#[derive(Debug, Default)]
pub struct Programs(BTreeMap<String, u64>);

impl Programs {
    pub fn handle_record(&mut self, record: &FlowRecord) {
        let Some(text) = record.workload.as_ref().and_then(words) else { return };
        if self.0.len() < MOST || self.0.contains_key(&text) {
            let tries = self.0.entry(text).or_default();
            *tries = tries.saturating_add(record.count);
        }
    }

    /// Who tried most often stands first.
    pub fn most(&self) -> Vec<(&str, u64)> {
        let mut all: Vec<_> = self.0.iter().map(|(text, tries)| (text.as_str(), *tries)).collect();
        all.sort_by_key(|(_, tries)| std::cmp::Reverse(*tries));
        all
    }
}

/// `None` if no program is known.
fn words(workload: &Workload) -> Option<String> {
    let Workload { process, user, unit, container, .. } = workload;
    let place = [container, unit].into_iter().find(|place| !place.is_empty());
    let place = place.map(|place| format!(" in {place}")).unwrap_or_default();
    (!process.is_empty()).then(|| format!("{process} ({user}){place}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(process: &str, unit: &str, count: u64) -> FlowRecord {
        let (process, unit) = (process.to_owned(), unit.to_owned());
        let workload = Workload { process, user: "alice".to_owned(), unit, ..Workload::default() };
        FlowRecord { workload: Some(workload), count, ..FlowRecord::default() }
    }

    #[test]
    fn programs_are_added_up_the_busiest_first_and_no_flood_of_names_takes_memory() {
        let mut programs = Programs::default();
        for (process, unit, count) in
            [("dig", "", 1), ("shop", "shop.service", 2), ("dig", "", 3), ("", "", 9)]
        {
            programs.handle_record(&record(process, unit, count));
        }
        programs.handle_record(&FlowRecord::default());
        assert_eq!(programs.most(), [("dig (alice)", 4), ("shop (alice) in shop.service", 2)]);
        (0..100).for_each(|n| programs.handle_record(&record(&format!("p{n}"), "", 1)));
        assert_eq!(programs.most().len(), MOST);
        programs.handle_record(&record("dig", "", 1));
        assert_eq!(programs.most()[0], ("dig (alice)", 5), "who is known is still counted");
    }
}
