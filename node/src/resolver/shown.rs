//! The way an answer took, and how the upstreams do, for people.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hickory_proto::op::Message;
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};
use serde_json::{Value, json};
use warren_node_core::names::forward::ask::{self, Asked};
use warren_node_core::names::forward::cache::Found;
use warren_node_core::names::forward::fleet::{Health, WITHIN_MS};
use warren_node_core::names::forward::special::Special;
use warren_node_core::names::forward::stored::Stored;
use warren_node_core::names::forward::{Failure, Route};
use warren_node_core::names::query::Query;
use warren_node_core::names::reply::{Body, Carrier, Reply};
use warren_node_core::names::{Answer, Names, Order, Type};

use super::flight;
use super::tally::Class;
use super::{Resolver, WAITING};
use crate::clock::boot;

impl Resolver {
    /// Answers `name` as a program on this host would be answered, and says how.
    pub async fn show(self: &Arc<Self>, name: &str, kind: &str) -> Result<Value, String> {
        let kind = read_type(kind)?;
        let query = question(name, kind)?;
        let shown = json!({ "name": query.name, "type": RecordType::from(kind).to_string() });
        let mut shown = shown.as_object().cloned().unwrap_or_default();
        let way = match self.names() {
            None => {
                json!({ "class": Class::Overlay.as_str(), "code": "SERVFAIL", "why": "there is no view yet" })
            }
            Some(names) => {
                let now = self.clock.now().wall();
                let answer = names.answer_lower(&query.name, Type::of(kind), now, Order::turn(0));
                match answer {
                    Answer::NotOurs => self.show_elsewhere(&query).await,
                    answer => show_overlay(&query, &names, names.ttl(now), &answer),
                }
            }
        };
        shown.extend(way.as_object().cloned().unwrap_or_default());
        Ok(Value::Object(shown))
    }

    async fn show_elsewhere(self: &Arc<Self>, query: &Query) -> Value {
        let outward = self.outward.load_full();
        let group = match outward.forwarding.route(&query.name) {
            Route::Special(Special::Loopback) => {
                return json!({ "class": "special", "code": "NOERROR", "why": "localhost is this host (RFC 6761)" });
            }
            Route::Special(Special::Absent(why)) => {
                return json!({ "class": "special", "code": "NXDOMAIN", "why": why });
            }
            Route::Nobody => {
                let why = "not in the zone, and no encrypted upstream is set: give `upstream` in [dns], or --dns-upstream";
                return json!({ "class": "elsewhere", "code": "REFUSED", "why": why });
            }
            Route::Group(group) => group,
        };
        let suffix = outward.forwarding.suffix_of_group(group);
        let class = if suffix.is_some() { Class::Split } else { Class::Forwarded };
        let mut shown = json!({ "class": class.as_str(), "suffix": suffix });
        let way = self.show_forwarded(group, query).await;
        if let (Some(shown), Value::Object(way)) = (shown.as_object_mut(), way) {
            shown.extend(way);
        }
        shown
    }

    async fn show_forwarded(self: &Arc<Self>, group: usize, query: &Query) -> Value {
        let asked = Asked::of(query);
        let found = self.cache().find(&asked, boot());
        if let Found::Fresh { stored, age, .. } = &found {
            let left = stored.ttl.saturating_sub(*age);
            let proven = if stored.authentic { ", proven by DNSSEC" } else { "" };
            let why = format!("from the cache, good for {left} s more{proven}");
            return with_records(stored, json!({ "why": why }));
        }
        let Some(name) = ask::name_of(&query.question) else {
            return json!({ "code": "FORMERR", "why": "the name cannot be asked" });
        };
        if let (Found::Missing, Some(failure)) = (&found, self.failed_lately(&asked)) {
            let mut shown = show_failure(&failure, &found);
            shown["why"] = json!(format!("asked a moment ago: {}", failure.explain().1.text));
            return shown;
        }
        match flight::end(self.fly(group, &asked, name)).await {
            Ok(won) => {
                let proven = if won.stored.authentic { ", proven by DNSSEC" } else { "" };
                let why = format!("{} answered in {} ms{proven}", won.upstream, won.took.as_millis());
                with_records(&won.stored, json!({ "why": why, "upstream": won.upstream }))
            }
            Err(failure) => show_failure(&failure, &found),
        }
    }

    /// Asks every upstream something now, so that its health is known.
    pub async fn probe(&self) {
        self.outward.load_full().probe().await;
    }

    /// Upstreams, cache, room: for `status` and `doctor`.
    pub fn status(&self) -> Value {
        let outward = self.outward.load_full();
        let now = boot();
        let upstreams: Vec<Value> = outward
            .health()
            .into_iter()
            .map(|(suffix, upstream, health)| {
                json!({
                    "upstream": upstream,
                    "suffix": suffix,
                    "answers": health.answers,
                    "failures": health.failures,
                    "failing": health.failing,
                    "answers_in_ms": health.answers_in_ms,
                    "answers_within_ms": times(&health),
                    "last_error": health.last_error,
                    "resting": health.is_resting(now),
                })
            })
            .collect();
        let waiting = WAITING.saturating_sub(self.waiting.available_permits());
        let cache = self.cache();
        json!({
            "upstreams": upstreams,
            "validates": self.settings.anchors.is_some(),
            "names_are_told": self.told.load(Ordering::Relaxed),
            "cached": cache.len(),
            "cached_bytes": cache.bytes(),
            "waiting": waiting,
        })
    }

    pub fn counters(&self) -> std::collections::BTreeMap<String, u64> {
        self.tally.list()
    }
}

/// How many answers took how long.
fn times(health: &Health) -> Value {
    let ends = WITHIN_MS.iter().map(ToString::to_string).chain(["more".to_owned()]);
    Value::Object(ends.zip(health.within.iter().map(|count| json!(count))).collect())
}

fn show_failure(failure: &Failure, found: &Found) -> Value {
    let (code, extended) = failure.explain();
    let code = if code == warren_node_core::names::reply::REFUSED { "REFUSED" } else { "SERVFAIL" };
    let shown = json!({ "code": code, "why": extended.text, "extended": extended.code });
    match found {
        Found::Stale { stored, .. } if !failure.is_verdict() => with_records(
            stored,
            json!({ "why": format!("{}; what was known before is given", extended.text) }),
        ),
        _ => shown,
    }
}

fn show_overlay(query: &Query, names: &Names, ttl: u32, answer: &Answer) -> Value {
    let (soa, zone) = (&names.soa(), names.zone());
    let (code, body, why) = match answer {
        Answer::Records(records) => (0, Body::Records(records), "from this node's view"),
        Answer::NoData => (0, Body::Nothing { zone, soa }, "the name exists, but nothing of this type"),
        Answer::NxDomain => {
            (3, Body::Nothing { zone, soa }, "no such name, or no grant joins this node to it")
        }
        Answer::NotOurs | Answer::Refused => (5, Body::Empty, "whole zones are not given out"),
    };
    let reply = Reply { code, authoritative: true, recursion_available: true, body, ttl, extended: None };
    let bytes = reply.write(query, Carrier::Stream);
    let records = Message::from_vec(&bytes).map(|m| m.answers.iter().map(line).collect()).unwrap_or_default();
    shown("overlay", code, why, records)
}

fn shown(class: &str, code: u16, why: &str, records: Vec<String>) -> Value {
    json!({ "class": class, "code": code_name(code), "why": why, "records": records })
}

fn with_records(stored: &Stored, mut shown: Value) -> Value {
    let message = Message::from_vec(stored.bytes());
    let records: Vec<String> = message.map(|m| m.answers.iter().map(line).collect()).unwrap_or_default();
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("code".to_owned(), json!(code_name(stored.code)));
        shown.insert("records".to_owned(), json!(records));
        shown.insert("authentic".to_owned(), json!(stored.authentic));
    }
    shown
}

fn line(record: &Record) -> String {
    format!("{} {} {} {}", record.name, record.ttl, record.record_type(), record.data)
}

fn code_name(code: u16) -> String {
    match code {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        5 => "REFUSED".to_owned(),
        other => format!("RCODE{other}"),
    }
}

fn read_type(text: &str) -> Result<u16, String> {
    let kind: RecordType = text.to_ascii_uppercase().parse().map_err(|_| {
        format!("`{text}` is no record type: write A, AAAA, SRV, HTTPS, PTR, MX, TXT or another of DNS")
    })?;
    Ok(u16::from(kind))
}

/// The question as it would come from a socket.
fn question(name: &str, kind: u16) -> Result<Query, String> {
    let bad = || format!("`{name}` is not a DNS name");
    let name = Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).map_err(|_| bad())?;
    let mut wire = Vec::new();
    let mut encoder = BinEncoder::new(&mut wire);
    name.emit(&mut encoder).map_err(|_| bad())?;
    let head = [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let tail = [kind.to_be_bytes(), u16::from(DNSClass::IN).to_be_bytes()].concat();
    let message = [&head[..], &wire, &tail].concat();
    Query::read(&message).map_err(|_| bad())
}
