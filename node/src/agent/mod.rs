//! The agent: everything put together, and the order in which it comes up and goes down.
//!
//! Up: state (locked) → sockets → guards, TUN, addresses, routes → last good view enforced → flows of the agent before
//! judged again → packet workers → names, local socket → control. Down by a signal: workers end, flows are kept, the last
//! window is reported (what the coordinator does not acknowledge in time is kept for the next start), the TUN and the
//! unreachable routes stay, so that traffic is blocked and not leaked until then.

mod answers;
mod doors;
mod driver;
mod endpoints;
mod flowfile;
mod flowlog;
mod ledgerfile;
mod membership;
mod metrics;
mod rotation;
mod start;
mod underlay;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use warren_config::upstream::Upstream;
use warren_node_core::host::InterfaceName;
use warren_node_core::names::forward::Local;

use crate::clock::Clock;
use crate::error::Error;
use crate::hostdns;
use crate::resolver::{self, Resolver};
use crate::state::StateDir;
use warren_scrape::Place;

pub use flowfile::FlowFile;
pub use membership::{Kept, enrol, load, members_plan};
pub use start::run;

/// Default for `--interface`.
pub const INTERFACE: &str = "warren0";
/// Where sockets and flow tables live unless `WARREN_NODE_RUN` says otherwise.
pub const RUN: &str = "/run/warren-node";
/// Name and version, as the coordinator shows it.
pub const AGENT: &str = concat!("warren-node/", env!("CARGO_PKG_VERSION"));

/// What `run` and `up` are told.
#[derive(Clone, Debug)]
pub struct Options {
    pub state: PathBuf,
    pub run: PathBuf,
    pub socket: PathBuf,
    pub interface: String,
    pub port: u16,
    /// `None`: as the underlay says.
    pub mtu: Option<u16>,
    /// Packet workers.
    pub workers: usize,
    pub dns: bool,
    pub names: NameOptions,
    /// Keep the last good view when freshness has run out.
    pub hold: bool,
    /// End when the coordinator says that this node's lease has ended, because it can enrol anew.
    pub renews: bool,
    /// The gateway is asked to map the WireGuard port.
    pub port_mapping: bool,
    /// Places that were arranged by hand.
    pub endpoints: Vec<SocketAddr>,
    /// Where Prometheus may ask.
    pub metrics: Vec<Place>,
}

/// What the operator of this host says about DNS.
#[derive(Clone, Debug, Default)]
pub struct NameOptions {
    /// Asked for names outside the zone where the policy names nobody.
    pub upstream: Vec<Upstream>,
    /// PEM file with certificate authorities that are trusted besides the public ones.
    pub authorities: Option<PathBuf>,
    /// Answers of upstreams must be proven by DNSSEC.
    pub validate: bool,
    /// File of DNSKEY records that are believed besides the root's.
    pub anchors: Option<PathBuf>,
    /// One more address to answer at.
    pub listen: Option<IpAddr>,
    /// Bridges of containers that may ask too.
    pub bridges: Vec<InterfaceName>,
    /// How the host's programs come to ask here, and whether others may ask elsewhere.
    pub host: hostdns::Mode,
    pub guard: hostdns::Guard,
}

impl NameOptions {
    /// Everything that can be wrong with it is found here.
    pub fn own(&self) -> Result<resolver::Own, Error> {
        let tls = resolver::tls::config(self.authorities.as_deref())?;
        let anchors = match (self.validate, self.anchors.as_deref()) {
            (false, _) => None,
            (true, file) => Some(resolver::proof::Anchors::read(file)?),
        };
        Ok(resolver::Own { local: Local { upstream: self.upstream.clone() }, tls, anchors })
    }

    /// For what is looked up without an agent: the coordinator's own name.
    pub fn resolver(&self) -> Result<Arc<Resolver>, Error> {
        Ok(Resolver::new(Arc::new(Clock::new(0)), self.own()?))
    }
}

/// Secrets must not be read out of this process, nor end in a core file.
pub fn protect_memory() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if let Err(e) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!("this process may be dumped by others of its user: {e}");
    }
}

/// Opens the state directory of a member.
pub fn open_member(path: &std::path::Path) -> Result<(StateDir, Kept), Error> {
    let state = StateDir::open(path)?;
    if !state.is_enrolled()? {
        return Err(Error::NotEnrolled(path.to_owned()));
    }
    let kept = load(&state)?;
    Ok((state, kept))
}
