//! `--name value` pairs.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

#[derive(Debug)]
pub struct Args {
    usage: &'static str,
    given: BTreeMap<String, String>,
}

impl Args {
    /// Ends the program with `usage` when the words are not pairs.
    pub fn parse(usage: &'static str) -> Args {
        let mut given = BTreeMap::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match (word.strip_prefix("--"), words.next()) {
                (Some(name), Some(value)) => {
                    given.insert(name.to_owned(), value);
                }
                _ => fail(usage, &format!("`{word}` has no value")),
            }
        }
        Args { usage, given }
    }

    pub fn need<T: FromStr>(&self, name: &str) -> T
    where
        T::Err: Display,
    {
        match self.given.get(name) {
            Some(text) => self.read(name, text),
            None => fail(self.usage, &format!("--{name} is missing")),
        }
    }

    pub fn or<T: FromStr>(&self, name: &str, default: T) -> T
    where
        T::Err: Display,
    {
        self.given.get(name).map_or(default, |text| self.read(name, text))
    }

    /// What the attack can do without.
    pub fn maybe<T: FromStr>(&self, name: &str) -> Option<T>
    where
        T::Err: Display,
    {
        self.given.get(name).map(|text| self.read(name, text))
    }

    fn read<T: FromStr>(&self, name: &str, text: &str) -> T
    where
        T::Err: Display,
    {
        text.parse().unwrap_or_else(|e| fail(self.usage, &format!("--{name} `{text}`: {e}")))
    }
}

/// 2: the attack could not be made.
pub fn fail(usage: &str, why: &str) -> ! {
    eprintln!("{why}\nusage: {usage}");
    std::process::exit(2)
}
