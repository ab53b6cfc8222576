//! The policy as written: TOML with every value's span, and no meaning yet.
//!
//! The tables are walked by hand rather than deserialised, because the reader of a faulty file wants all its faults
//! in one go and not the first one.

mod fields;
mod hints;
mod read;
mod syntax;

use std::ops::Range;

pub(crate) use read::{parse, read};

/// Largest policy file in bytes.
pub const MAX_FILE: usize = 4 * 1024 * 1024;

/// Largest policy in bytes, all files together.
pub const MAX_POLICY: usize = 16 * 1024 * 1024;
/// Most tables of one kind: grants, services, tests and so on.
pub const MAX_TABLES: usize = 100_000;

/// A place in one of the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub file: usize,
    pub span: Range<usize>,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub value: T,
    pub spot: Spot,
}

pub(crate) type Texts = Vec<At<String>>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Document {
    /// Anything at all is written.
    pub any: Option<Spot>,
    /// A `version` is written, of whatever type.
    pub has_version: bool,
    pub version: Vec<At<i64>>,
    pub mode: Vec<At<String>>,
    pub dns: Vec<At<Dns>>,
    pub groups: Vec<Group>,
    pub tags: Vec<Tag>,
    pub services: Vec<Service>,
    pub grants: Vec<Grant>,
    pub invariants: Vec<Invariant>,
    pub tests: Vec<Test>,
}

#[derive(Clone, Debug)]
pub(crate) struct Dns {
    pub zone: Option<At<String>>,
    pub upstream: Texts,
    pub split: Vec<Split>,
    pub private: Texts,
    pub report: Option<At<String>>,
}

/// `[[dns.split]]`.
#[derive(Clone, Debug)]
pub(crate) struct Split {
    pub suffix: At<String>,
    pub upstream: Texts,
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub name: At<String>,
    pub members: Texts,
}

#[derive(Clone, Debug)]
pub(crate) struct Tag {
    pub name: At<String>,
    pub owners: Texts,
    pub not_with: Texts,
}

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub name: At<String>,
    pub on: Texts,
    /// Gateways, instead of `on`.
    pub via: Texts,
    /// What lies behind them.
    pub addresses: Texts,
    pub listen: Texts,
}

#[derive(Clone, Debug)]
pub(crate) struct Grant {
    /// `None`: it is missing or no string, and was reported.
    pub id: Option<At<String>>,
    pub from: Texts,
    pub except: Texts,
    pub to: Texts,
    pub mode: Option<At<String>>,
    pub until: Option<At<toml::value::Datetime>>,
    pub why: Option<At<String>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Invariant {
    /// `None`: it is missing or no string, and was reported.
    pub id: Option<At<String>>,
    /// `never`, `only`, `always`: exactly one is right.
    pub laws: Vec<(&'static str, LawBody)>,
    /// How many laws are written, readable or not.
    pub written: usize,
    pub spot: Spot,
}

#[derive(Clone, Debug)]
pub(crate) struct LawBody {
    pub from: Texts,
    pub to: Texts,
    pub via: Option<At<String>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Test {
    /// `None`: it is missing or no string, and was reported.
    pub id: Option<At<String>>,
    pub from: Option<End>,
    pub to: Option<End>,
    pub expect: Option<At<String>>,
    pub by: Option<At<String>>,
}

#[derive(Clone, Debug)]
pub(crate) enum End {
    Text(At<String>),
    Wearing { node: At<String>, tags: Texts, service: Option<At<String>>, port: Option<At<String>> },
}
