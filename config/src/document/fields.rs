//! One table being read: known keys are taken out with the type they must have, what is left over is unknown.

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml::value::Datetime;

use super::{At, MAX_TABLES, Spot, Texts, hints};
use crate::nearest::nearest;
use crate::resolve::report::Report;
use crate::text::shown;

pub(crate) struct Fields<'a, 'i> {
    pub file: usize,
    /// For messages: `a grant`, `[tag.web]`.
    what: String,
    table: &'a DeTable<'i>,
    known: &'static [&'static str],
    /// Where the table is named: for keys that are missing.
    pub spot: Spot,
}

impl<'a, 'i> Fields<'a, 'i> {
    /// Reports every key that is not in `known`.
    pub fn new(
        what: String,
        table: &'a DeTable<'i>,
        known: &'static [&'static str],
        spot: Spot,
        report: &mut Report<'_>,
    ) -> Fields<'a, 'i> {
        let fields = Fields { file: spot.file, what, table, known, spot };
        for key in table.keys() {
            if !known.contains(&key.get_ref().as_ref()) {
                fields.unknown(key, report);
            }
        }
        fields
    }

    fn unknown(&self, key: &Spanned<std::borrow::Cow<'_, str>>, report: &mut Report<'_>) {
        let text = key.get_ref().as_ref();
        let hint = match (nearest(text, self.known.iter().copied()), hints::elsewhere(text, self.known)) {
            (Some(known), _) => format!("did you mean `{known}`?"),
            (None, Some(hint)) => hint.to_owned(),
            (None, None) => format!("known here are: {}", self.known.join(", ")),
        };
        let message = format!("`{}` is not a key of {}", shown(text), self.what);
        report.error("unknown-key", &self.at(key.span()), message, Some(hint));
    }

    pub fn at(&self, span: std::ops::Range<usize>) -> Spot {
        Spot { file: self.file, span }
    }

    pub fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.table.get(key)
    }

    fn missing(&self, key: &str, report: &mut Report<'_>) {
        let hint = hints::missing(key, self.known).map(|line| format!("write {line}"));
        report.error("missing-key", &self.spot, format!("{} has no `{key}`", self.what), hint);
    }

    fn wrong(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        want: &str,
        hint: Option<String>,
        report: &mut Report<'_>,
    ) {
        let found = value.get_ref().type_str();
        let message = format!("`{}` must be {want}, not {}", shown(key), with_article(found));
        report.error("wrong-type", &self.at(value.span()), message, hint);
    }

    pub fn string(&self, key: &str, report: &mut Report<'_>) -> Option<At<String>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(At { value: text.to_string(), spot: self.at(value.span()) }),
            found => {
                let hint = match found {
                    DeValue::Array(_) => Some("write one value, without brackets".to_owned()),
                    DeValue::Table(_) => None,
                    _ => Some("write it in quotes".to_owned()),
                };
                self.wrong(key, value, "a string", hint, report);
                None
            }
        }
    }

    pub fn needed_string(&self, key: &str, report: &mut Report<'_>) -> Option<At<String>> {
        if self.get(key).is_none() {
            self.missing(key, report);
        }
        self.string(key, report)
    }

    /// A list of strings; absent is empty, written empty is a fault.
    pub fn list(&self, key: &str, report: &mut Report<'_>) -> Texts {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            let hint = value.get_ref().as_str().map(|text| format!("write {key} = [\"{}\"]", shown(text)));
            self.wrong(key, value, "a list of strings", hint, report);
            return Vec::new();
        };
        if items.is_empty() {
            let message = format!("`{key}` of {} is an empty list", self.what);
            let hint = "name something, or leave the whole entry out".to_owned();
            report.error("empty-list", &self.at(value.span()), message, Some(hint));
        }
        let mut texts = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => {
                    texts.push(At { value: text.to_string(), spot: self.at(item.span()) });
                }
                other => {
                    let found = with_article(other.type_str());
                    let message = format!("an entry of `{}` must be a string, not {found}", shown(key));
                    report.error("wrong-type", &self.at(item.span()), message, None);
                }
            }
        }
        texts
    }

    pub fn needed_list(&self, key: &str, report: &mut Report<'_>) -> Texts {
        if self.get(key).is_none() {
            self.missing(key, report);
        }
        self.list(key, report)
    }

    pub fn integer(&self, key: &str, report: &mut Report<'_>) -> Option<At<i64>> {
        let value = self.get(key)?;
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
        match number {
            Some(number) => Some(At { value: number, spot: self.at(value.span()) }),
            None => {
                let quoted = value.get_ref().as_str().and_then(|text| text.parse::<i64>().ok());
                let hint = match quoted {
                    Some(number) => format!("write {number} without quotes"),
                    None => format!("write {key} = 1"),
                };
                self.wrong(key, value, "a whole number", Some(hint), report);
                None
            }
        }
    }

    pub fn datetime(&self, key: &str, report: &mut Report<'_>) -> Option<At<Datetime>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Datetime(time) => Some(At { value: *time, spot: self.at(value.span()) }),
            other => {
                let time = other.as_str().filter(|text| text.parse::<Datetime>().is_ok());
                let quoted = time.map(|_| "write it without quotes".to_owned());
                let hint = quoted.unwrap_or_else(|| "write e.g. 2027-01-31T00:00:00Z".to_owned());
                self.wrong(key, value, "a UTC instant", Some(hint), report);
                None
            }
        }
    }

    /// Sub-tables with names of their own: `[tag.web]`.
    pub fn named_tables(&self, key: &str, report: &mut Report<'_>) -> Vec<(At<String>, &'a DeTable<'i>)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            let hint = format!("write [{key}.NAME]");
            self.wrong(key, value, "a table of tables", Some(hint), report);
            return Vec::new();
        };
        self.limit(key, table.len(), value, report);
        let mut tables = Vec::new();
        for (name, value) in table.iter().take(MAX_TABLES) {
            let at = At { value: name.get_ref().to_string(), spot: self.at(name.span()) };
            match value.get_ref() {
                DeValue::Table(inner) => tables.push((at, inner)),
                _ => {
                    let hint = format!("write [{key}.NAME] with its keys below");
                    self.wrong(name.get_ref(), value, "a table", Some(hint), report);
                }
            }
        }
        tables
    }

    /// `[[grant]]`: a list of tables, each with the place of its header.
    pub fn table_list(&self, key: &str, report: &mut Report<'_>) -> Vec<(Spot, &'a DeTable<'i>)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            let hint = format!("write [[{key}]] with two brackets");
            self.wrong(key, value, "a list of tables", Some(hint), report);
            return Vec::new();
        };
        self.limit(key, items.len(), value, report);
        let mut tables = Vec::new();
        for item in items.iter().take(MAX_TABLES) {
            match item.get_ref() {
                DeValue::Table(table) => tables.push((self.at(item.span()), table)),
                _ => self.wrong(key, item, "a list of tables", None, report),
            }
        }
        tables
    }

    fn limit(&self, key: &str, found: usize, value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) {
        if found > MAX_TABLES {
            let message = format!("there are {found} of `{key}`, the limit is {MAX_TABLES}");
            let hint = "let tags stand for many nodes, and one entry for many of a kind".to_owned();
            report.error("too-many", &self.at(value.span()), message, Some(hint));
        }
    }

    pub fn table(&self, key: &str, report: &mut Report<'_>) -> Option<(Spot, &'a DeTable<'i>)> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some((self.at(value.span()), table)),
            _ => {
                let hint = match key {
                    "dns" => "write [dns] with one bracket, and its keys below".to_owned(),
                    _ => format!("write {key} = {{ from = [\"tag:NAME\"], to = [\"service:NAME\"] }}"),
                };
                self.wrong(key, value, "a table", Some(hint), report);
                None
            }
        }
    }
}

fn with_article(found: &str) -> String {
    match found.chars().next() {
        Some('a' | 'e' | 'i' | 'o' | 'u') => format!("an {found}"),
        _ => format!("a {found}"),
    }
}
