//! Numbers that are taken, as runs: the next free one is found without a walk over all that are taken.

use std::collections::BTreeMap;

use warren_config::name::Name;

/// A set of numbers: for each run its first and its last. No two runs touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs(BTreeMap<u32, u32>);

impl Runs {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The run that `number` lies in.
    fn around(&self, number: u32) -> Option<(u32, u32)> {
        let (first, last) = self.0.range(..=number).next_back()?;
        (number <= *last).then_some((*first, *last))
    }

    pub fn insert(&mut self, number: u32) {
        if self.around(number).is_some() {
            return;
        }
        let before = number.checked_sub(1).and_then(|before| self.around(before));
        let after = number.checked_add(1).and_then(|after| self.around(after));
        after.map(|(first, _)| self.0.remove(&first));
        let first = before.map_or(number, |(first, _)| first);
        self.0.insert(first, after.map_or(number, |(_, last)| last));
    }

    pub fn remove(&mut self, number: u32) {
        let Some((first, last)) = self.around(number) else { return };
        self.0.remove(&first);
        if first < number {
            self.0.insert(first, number.saturating_sub(1));
        }
        if number < last {
            self.0.insert(number.saturating_add(1), last);
        }
    }

    /// The first from `number` on that is not in it.
    pub fn next_free(&self, number: u32) -> Option<u32> {
        self.around(number).map_or(Some(number), |(_, last)| last.checked_add(1))
    }
}

/// The first from `from` on that is free by both.
pub fn free_by_both(
    from: u32,
    one: impl Fn(u32) -> Option<u32>,
    other: impl Fn(u32) -> Option<u32>,
) -> Option<u32> {
    let mut number = one(from)?;
    loop {
        let next = one(other(number)?)?;
        if next == number {
            return Some(number);
        }
        number = next;
    }
}

/// Names that end in a number, by what stands before it: of `web-7` the 7, under `web`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers(BTreeMap<String, Runs>);

impl Numbers {
    pub fn insert(&mut self, name: &Name) {
        if let Some((stem, number)) = numbered(name) {
            self.0.entry(stem.to_owned()).or_default().insert(number);
        }
    }

    pub fn remove(&mut self, name: &Name) {
        let Some((stem, number)) = numbered(name) else { return };
        if let Some(runs) = self.0.get_mut(stem) {
            runs.remove(number);
            if runs.is_empty() {
                self.0.remove(stem);
            }
        }
    }

    /// The first from `number` on that no name in it has behind `stem`.
    pub fn next_free(&self, stem: &str, number: u32) -> Option<u32> {
        self.0.get(stem).map_or(Some(number), |runs| runs.next_free(number))
    }
}

/// Only as it is written by itself: 07 is no 7.
fn numbered(name: &Name) -> Option<(&str, u32)> {
    let (stem, digits) = name.as_str().rsplit_once('-')?;
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some((stem, number))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_slow_judge_agrees() {
        let (mut runs, mut slow, mut draw) = (Runs::default(), BTreeSet::new(), 1u64);
        for _ in 0..20_000 {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (draw >> 33) as u32 % 64;
            if draw >> 62 == 0 {
                runs.remove(number);
                slow.remove(&number);
            } else {
                runs.insert(number);
                slow.insert(number);
            }
            for from in [0, number, 60] {
                assert_eq!(runs.next_free(from), (from..).find(|n| !slow.contains(n)));
            }
            let ends: Vec<_> = runs.0.iter().collect();
            assert!(ends.windows(2).all(|two| two[0].1 + 1 < *two[1].0), "{ends:?}");
        }
        let odd = |number: u32| Some(number | 1);
        let want = (0..).find(|n| n % 2 == 1 && !slow.contains(n));
        assert_eq!(free_by_both(0, odd, |from| runs.next_free(from)), want);
        runs.insert(u32::MAX);
        assert_eq!(runs.next_free(u32::MAX), None);
    }

    #[test]
    fn a_name_counts_by_the_number_it_ends_in_and_by_no_other_writing_of_it() {
        let name = |text: &str| Name::parse(text).unwrap();
        let mut numbers = Numbers::default();
        ["web-1", "web-2", "web-04", "web-x", "web", "web-3-1"].iter().for_each(|n| numbers.insert(&name(n)));
        let next = |numbers: &Numbers, stem| numbers.next_free(stem, 1).unwrap();
        assert_eq!((next(&numbers, "web"), next(&numbers, "web-3"), next(&numbers, "db")), (3, 2, 1));
        numbers.remove(&name("web-1"));
        assert_eq!(next(&numbers, "web"), 1);
        ["web-2", "web-3-1"].iter().for_each(|n| numbers.remove(&name(n)));
        assert_eq!(numbers, Numbers::default());
    }
}
