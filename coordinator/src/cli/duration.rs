//! Durations as people write them: `30s`, `10m`, `1h`, `7d`, `2w`, and sums such as `1h30m`.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub u64);

/// A century is longer than anything here lives.
const MAX: u64 = 100 * 366 * 24 * 3600;

impl FromStr for Seconds {
    type Err = String;
    fn from_str(text: &str) -> Result<Seconds, String> {
        let bad = || {
            let shown = crate::text::plain(text, 40);
            format!(
                "`{shown}` is not a duration: write a number and a unit, such as 30s, 10m, 1h, 7d or 1h30m"
            )
        };
        let mut total: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0).ok_or_else(bad)?;
            let (number, after) = rest.split_at(digits);
            let mut tail = after.chars();
            let unit = match tail.next() {
                Some('s') => 1,
                Some('m') => 60,
                Some('h') => 3600,
                Some('d') => 24 * 3600,
                Some('w') => 7 * 24 * 3600,
                _ => return Err(bad()),
            };
            let number: u64 = number.parse().map_err(|_| bad())?;
            total = number
                .checked_mul(unit)
                .and_then(|n| total.checked_add(n))
                .filter(|n| *n <= MAX)
                .ok_or_else(bad)?;
            rest = tail.as_str();
        }
        if total == 0 { Err(bad()) } else { Ok(Seconds(total)) }
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n > 0 && n.is_multiple_of(24 * 3600) => write!(f, "{}d", n / (24 * 3600)),
            n if n > 0 && n.is_multiple_of(3600) => write!(f, "{}h", n / 3600),
            n if n > 0 && n.is_multiple_of(60) => write!(f, "{}m", n / 60),
            n => write!(f, "{n}s"),
        }
    }
}

/// How long ago, in the two largest units: `3d 4h`, `12s`.
pub fn short(seconds: u64) -> String {
    let units = [(24 * 3600, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (size, unit) in units {
        if rest / size > 0 && parts.len() < 2 {
            parts.push(format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read_and_anything_else_is_refused() {
        for (text, seconds) in [("30s", 30), ("1h30m", 5400), ("7d", 604_800), ("2w", 1_209_600)] {
            assert_eq!(text.parse(), Ok(Seconds(seconds)));
        }
        for bad in [
            "",
            "0s",
            "5",
            "s",
            "1x",
            "-1h",
            "1h 30m",
            "1.5h",
            "99999999999999999999s",
            "9999999w",
            "١s",
            "1hh",
        ] {
            assert!(bad.parse::<Seconds>().is_err_and(|e| e.contains("is not a duration")), "{bad}");
        }
    }

    #[test]
    fn ages_are_short() {
        assert_eq!(short(0), "0s");
        assert_eq!(short(90_061), "1d 1h");
        assert_eq!(Seconds(5400).to_string(), "90m");
    }
}
