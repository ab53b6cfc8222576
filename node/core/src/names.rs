//! DNS decisions: what this node may see has a name, everything else does not exist.
//!
//! The zone comes from the signed settings. `<service>.<zone>` is every node that offers the service and at which this
//! node may open it now; `<node>.<zone>` is this node and the peers it may open something at; PTR likewise. A name
//! that may not be reached answers exactly like one that does not exist.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use warren_config::name::Name;
use warren_config::policy::{Mode, Settings};
use warren_config::time::UnixTime;

use crate::assembly::Assembly;

/// Longest life of an answer in a cache: a revoked permission must not live on there.
pub const TTL_SECONDS: u32 = 5;

/// Class IN only: the server refuses every other class before it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    A,
    Aaaa,
    Ptr,
    Soa,
    Ns,
    /// ANY, AXFR, IXFR: refused.
    Whole,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    /// Fully qualified, without the final dot.
    Ptr(String),
    Ns(String),
    Soa {
        mname: String,
        rname: String,
        serial: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All with the owner name asked for and [`TTL_SECONDS`].
    Records(Vec<Data>),
    /// The name exists, this type does not.
    NoData,
    NxDomain,
    /// Not in the zone: forward it or refuse it.
    NotOurs,
    Refused,
}

/// The names one assembly makes visible.
#[derive(Clone, Debug)]
pub struct Names {
    assembly: Arc<Assembly>,
    zone: String,
    offers: Vec<Name>,
    observe: bool,
}

impl Names {
    /// `offers`: services this node itself offers.
    pub fn new(assembly: Arc<Assembly>, settings: &Settings, offers: Vec<Name>) -> Names {
        let zone = settings.zone.clone().unwrap_or_else(|| warren_config::policy::DEFAULT_ZONE.to_owned());
        Names { assembly, zone, offers, observe: settings.mode == Mode::Observe }
    }
    /// Lower case, without the final dot.
    pub fn zone(&self) -> &str {
        &self.zone
    }
    /// `name` in presentation form, with or without the final dot, any case. `turn` rotates the order of addresses:
    /// a counter of the caller.
    pub fn answer(&self, _name: &str, _kind: Type, _now: UnixTime, _turn: u64) -> Answer {
        let _ = (&self.assembly, &self.offers, self.observe);
        todo!()
    }
    /// For negative answers: the zone's SOA.
    pub fn soa(&self) -> Data {
        todo!()
    }
}
