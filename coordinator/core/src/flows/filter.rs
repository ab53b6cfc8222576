//! Which flows are asked for, and whether there could be any.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use warren_config::name::{InvalidName, Name};
use warren_config::time::UnixTime;
use warren_wire::flow::FlowVerdict;
use warren_wire::id::NodeId;

use super::{DEFAULT_ANSWER, FlowPoint, FlowRow, MAX_ANSWER, NoPlace, Place};

/// What `flow list` asks for. Empty: everything, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::IntoParams))]
#[serde(default, deny_unknown_fields)]
pub struct FlowFilter {
    /// Node name or id, or an address.
    pub from: Option<String>,
    pub to: Option<String>,
    pub verdict: Option<FlowVerdict>,
    pub grant: Option<String>,
    pub service: Option<String>,
    /// IP protocol number: 6 is TCP, 17 UDP.
    pub protocol: Option<u8>,
    /// The port at the other end, whom it went to.
    pub port: Option<u16>,
    /// Only what was seen at or after this.
    pub since: Option<UnixTime>,
    /// Only what was seen at or before this.
    pub until: Option<UnixTime>,
    /// `next` of the page before: this one goes on where that one ended.
    pub before: Option<String>,
    /// At most so many, up to 10,000; 0 means 1,000.
    pub limit: usize,
}

/// A filter that nothing could ever match, and what could.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    #[error("`since` is {since} and `until` is {until}: the stretch must not end before it begins")]
    Backwards { since: u64, until: u64 },
    #[error("`since` is {since}, in the future: a time is in seconds since 1970 and at most {now}")]
    Future { since: u64, now: u64 },
    #[error("`{field}` is `{value}`: it is a node's name, its id, or an overlay address")]
    End { field: &'static str, value: String },
    #[error("`{field}`: {fault}")]
    Name { field: &'static str, fault: InvalidName },
    #[error("`before` {0}")]
    Before(NoPlace),
    #[error("`limit` is {limit}: it is at most {MAX_ANSWER}; 0 stands for {DEFAULT_ANSWER}")]
    Limit { limit: usize },
}

/// A clock that asks may be ahead of this one by so many seconds.
const AHEAD: u64 = 60;

/// Could this be a node, whatever nodes there are?
pub fn check_node(field: &'static str, value: Option<&String>) -> Result<(), BadFilter> {
    let Some(value) = value.filter(|value| !FlowPoint::could_be(value)) else { return Ok(()) };
    let shown = value.chars().take(80).collect::<String>().escape_debug().to_string();
    Err(BadFilter::End { field, value: shown })
}

/// May so many rows be asked for?
pub fn check_limit(limit: usize) -> Result<(), BadFilter> {
    if limit > MAX_ANSWER { Err(BadFilter::Limit { limit }) } else { Ok(()) }
}

impl FlowFilter {
    /// Could this match anything, whatever there is?
    pub fn check(&self, now: UnixTime) -> Result<(), BadFilter> {
        check_node("from", self.from.as_ref())?;
        check_node("to", self.to.as_ref())?;
        for (field, value) in [("grant", &self.grant), ("service", &self.service)] {
            if let Some(Err(fault)) = value.as_ref().map(|value| Name::parse(value)) {
                return Err(BadFilter::Name { field, fault });
            }
        }
        check_limit(self.limit)?;
        self.place()?;
        match (self.since, self.until) {
            (Some(since), _) if since.since(now) > AHEAD => {
                Err(BadFilter::Future { since: since.0, now: now.0 })
            }
            (Some(since), Some(until)) if until < since => {
                Err(BadFilter::Backwards { since: since.0, until: until.0 })
            }
            _ => Ok(()),
        }
    }

    /// Where the page before ended.
    pub fn place(&self) -> Result<Option<Place>, BadFilter> {
        self.before.as_deref().map(str::parse).transpose().map_err(BadFilter::Before)
    }

    /// How many rows an answer has at most.
    pub fn rows(&self) -> usize {
        if self.limit == 0 { DEFAULT_ANSWER } else { self.limit.min(MAX_ANSWER) }
    }

    /// Of the past, both ends have said what they had to say only if they were still then.
    pub fn then(&self, now: UnixTime) -> UnixTime {
        self.until.map_or(now, |until| until.min(now))
    }

    pub fn matches(&self, row: &FlowRow) -> bool {
        let end = |wanted: &Option<String>, point: &FlowPoint| wanted.as_ref().is_none_or(|w| point.is(w));
        let text = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        end(&self.from, &row.from)
            && end(&self.to, &row.to)
            && self.verdict.is_none_or(|verdict| verdict == row.verdict)
            && text(&self.grant, &row.grant)
            && text(&self.service, &row.service)
            && self.protocol.is_none_or(|protocol| protocol == row.protocol)
            && self.port.is_none_or(|port| port == row.to.port)
            && self.since.is_none_or(|since| row.last_ms / 1000 >= since.0)
            && self.until.is_none_or(|until| row.last_ms / 1000 <= until.0)
    }
}

impl FlowPoint {
    /// Could `text` be a node or an address?
    fn could_be(text: &str) -> bool {
        let text = text.strip_prefix("node:").unwrap_or(text);
        Name::parse(text).is_ok() || text.parse::<IpAddr>().is_ok() || text.parse::<NodeId>().is_ok()
    }

    /// Is this the node or address meant by `text`?
    fn is(&self, text: &str) -> bool {
        let text = text.strip_prefix("node:").unwrap_or(text);
        self.name.as_deref() == Some(text)
            || text.parse().is_ok_and(|address: IpAddr| address == self.address)
            || text.parse().is_ok_and(|id: NodeId| Some(id) == self.node)
    }
}
