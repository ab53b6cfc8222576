//! The name server of this host: overlay names from the view, everything else encrypted or not at all.
//!
//! Decisions are [`warren_node_core::names`]'s; here are sockets. It runs on a runtime of its own, so that a flood of
//! questions stalls neither the control channel nor packets.
//!
//! - [`udp`], [`tcp`]: how questions come. [`answer`]: what is said to one. [`tally`]: what was said so far.
//! - [`flight`]: questions under way, each once. [`race`], [`line`], [`prompt`]: upstreams. [`tls`]: whom to believe; [`proof`]: and what.
//! - [`bootstrap`]: the coordinator's own name. [`shown`]: the way an answer took, for people.

pub mod answer;
pub mod bootstrap;
mod flight;
mod line;
mod prompt;
pub mod proof;
mod race;
mod shown;
mod tally;
mod tcp;
pub mod tls;
mod udp;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use ipnet::IpNet;
use rustls::ClientConfig;
use socket2::{Domain, Protocol, Socket, Type as SocketType};
use tokio::sync::Semaphore;
use warren_config::policy::{Settings, Told};
use warren_node_core::names::Names;
use warren_node_core::names::census::Census;
use warren_node_core::names::forward::cache::{Cache, Limits};
use warren_node_core::names::forward::failed::Failures;
use warren_node_core::names::forward::{Forwarding, Local};
use warren_node_core::names::standing::Standings;
use warren_wire::names::NamesReport;

use crate::clock::Clock;
use flight::Flights;
use proof::Anchors;
use race::Outward;
use tally::{Class, Outcome, Tally};

pub const PORT: u16 = 53;
/// Questions that wait for upstreams at the same time, and how many of them one asker may have.
const WAITING: usize = 1024;
const WAITING_EACH: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    #[error(
        "port 53 of {address} is in use by another program: names are not answered there; stop it, or run with --no-dns"
    )]
    InUse { address: IpAddr },
    #[error(
        "not allowed to bind port 53 of {address}: give the agent CAP_NET_BIND_SERVICE (the systemd unit does)"
    )]
    NotAllowed { address: IpAddr },
    #[error("cannot answer names on {address}: {source}")]
    Io { address: IpAddr, source: io::Error },
    #[error("cannot start the runtime for names: {0}")]
    Runtime(io::Error),
}

/// What the node's operator says about names.
#[derive(Clone)]
pub struct Own {
    pub local: Local,
    pub tls: Arc<ClientConfig>,
    /// With these, answers of upstreams must be proven by DNSSEC.
    pub anchors: Option<Anchors>,
}

impl Own {
    fn outward(&self, forwarding: Forwarding) -> Outward {
        Outward::new(forwarding, &self.tls, self.anchors.as_ref())
    }
}

/// Everything that answers have in common; sockets and upstream connections come and go around it.
pub struct Resolver {
    clock: Arc<Clock>,
    settings: Own,
    names: ArcSwapOption<Names>,
    outward: ArcSwap<Outward>,
    /// The node's own servers alone, whatever a policy names: for the coordinator's own name.
    own_outward: Arc<Outward>,
    standings: ArcSwap<Standings>,
    own: ArcSwap<BTreeSet<IpAddr>>,
    neighbours: ArcSwap<Vec<IpNet>>,
    cache: Mutex<Cache>,
    failures: Mutex<Failures>,
    flights: Flights,
    waiting: Arc<Semaphore>,
    askers: Mutex<HashMap<SocketAddr, usize>>,
    turn: AtomicU64,
    tally: Tally,
    /// The policy wants to know which names are asked here.
    told: AtomicBool,
    census: Mutex<Census>,
}

impl Resolver {
    pub fn new(clock: Arc<Clock>, settings: Own) -> Arc<Resolver> {
        let (forwarding, _) = Forwarding::new(&Settings::default(), &settings.local);
        let own_outward = Arc::new(settings.outward(forwarding));
        Arc::new(Resolver {
            clock,
            settings,
            names: ArcSwapOption::empty(),
            outward: ArcSwap::new(Arc::clone(&own_outward)),
            own_outward,
            standings: ArcSwap::default(),
            own: ArcSwap::default(),
            neighbours: ArcSwap::default(),
            cache: Mutex::new(Cache::new(Limits::default())),
            failures: Mutex::default(),
            flights: Flights::default(),
            waiting: Arc::new(Semaphore::new(WAITING)),
            askers: Mutex::default(),
            turn: AtomicU64::new(0),
            tally: Tally::default(),
            told: AtomicBool::new(false),
            census: Mutex::default(),
        })
    }

    /// From now on these names, and these upstreams: with the very publication the packet filter has.
    pub fn publish(&self, names: &Arc<Names>, settings: &Settings) {
        let (forwarding, faults) = Forwarding::new(settings, &self.settings.local);
        for (text, why) in faults {
            tracing::error!("the policy's DNS upstream `{text}` cannot be used: {why}");
        }
        self.tell_names(settings.report == Told::Names);
        let before = self.names.swap(Some(Arc::clone(names)));
        let zone_changed = before.is_none_or(|before| before.zone() != names.zone());
        if self.outward.load().forwarding != forwarding {
            self.outward.store(Arc::new(self.settings.outward(forwarding)));
            self.forget();
        } else if zone_changed {
            self.forget();
        }
    }

    /// Counts one question.
    fn count(&self, name: &str, class: Class, outcome: Outcome) {
        self.tally.count(class, outcome);
        if self.told.load(Ordering::Relaxed)
            && let Some(class) = class.told()
        {
            self.census().count(name, class, outcome.is_answer());
        }
    }

    fn census(&self) -> MutexGuard<'_, Census> {
        self.census.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which names were asked since this was last called; nothing where the policy does not want to know.
    pub fn take_names(&self) -> Option<NamesReport> {
        self.census().take()
    }

    /// What was counted before is told to nobody who did not ask then, and to nobody who does not ask any more.
    fn tell_names(&self, told: bool) {
        if self.told.swap(told, Ordering::Relaxed) != told {
            self.census().clear();
        }
    }

    /// What other settings let in, or did not.
    fn forget(&self) {
        self.cache().clear();
        self.failures().clear();
    }

    pub fn names(&self) -> Option<Arc<Names>> {
        self.names.load_full()
    }

    /// Is anybody asked for names of no suffix in particular?
    pub fn answers_everything(&self) -> bool {
        !self.outward.load().forwarding.group(0).is_empty()
    }

    /// How far peers are, and which do not answer.
    pub fn set_standings(&self, standings: Standings) {
        if **self.standings.load() != standings {
            self.standings.store(Arc::new(standings));
        }
    }

    /// Networks of this host's containers: those may ask, too.
    pub fn set_neighbours(&self, networks: Vec<IpNet>) {
        self.neighbours.store(Arc::new(networks));
    }

    /// This host itself, or one of its containers.
    fn may_ask(&self, asker: IpAddr) -> bool {
        let asker = asker.to_canonical();
        asker.is_loopback()
            || self.own.load().contains(&asker)
            || self.neighbours.load().iter().any(|network| network.contains(&asker))
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A question that found no room among those who wait to be heard.
    fn count_crowded_out(&self) {
        self.tally.count_crowded_out();
    }

    fn next_turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

/// Sockets that answer, until it is dropped.
pub struct Service {
    udp: Option<udp::Thread>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.udp.take());
        // Dropping a runtime blocks, which is not allowed where this is dropped.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The runtime on which questions are answered and upstreams asked.
pub fn runtime() -> Result<tokio::runtime::Runtime, DnsError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("warren-names")
        .enable_all()
        .build()
        .map_err(DnsError::Runtime)
}

/// Starts answering on every address: all of them, or none and the first failure.
pub fn serve(resolver: &Arc<Resolver>, own: &[IpAddr], port: u16) -> Result<Service, DnsError> {
    let mut sockets = Vec::new();
    for address in own {
        let failed = |e| error(*address, e);
        let at = SocketAddr::new(*address, port);
        // Alone first: sockets that share a port would not notice who else is there.
        drop(bind(at, SocketType::DGRAM, Protocol::UDP, false).map_err(failed)?);
        let udp: Vec<Socket> = (0..udp::SOCKETS)
            .map(|_| bind(at, SocketType::DGRAM, Protocol::UDP, true).map_err(failed))
            .collect::<Result<_, _>>()?;
        let tcp = bind(at, SocketType::STREAM, Protocol::TCP, false).map_err(failed)?;
        tcp.listen(64).map_err(failed)?;
        sockets.push((*address, udp, tcp));
    }
    resolver.own.store(Arc::new(own.iter().copied().collect()));
    let runtime = runtime()?;
    let guard = runtime.enter();
    let mut datagrams = Vec::new();
    for (address, udp, tcp) in sockets {
        let tcp = tokio::net::TcpListener::from_std(tcp.into()).map_err(|e| error(address, e))?;
        runtime.spawn(tcp::serve(Arc::clone(resolver), tcp));
        datagrams.extend(udp.into_iter().map(Into::into));
    }
    drop(guard);
    let udp =
        udp::start(Arc::clone(resolver), datagrams, runtime.handle().clone()).map_err(DnsError::Runtime)?;
    Ok(Service { udp: Some(udp), runtime: Some(runtime) })
}

/// With `IP_FREEBIND`: the address may appear a moment later.
fn bind(at: SocketAddr, kind: SocketType, protocol: Protocol, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), kind.nonblocking().cloexec(), Some(protocol))?;
    match at {
        SocketAddr::V4(_) => rustix::net::sockopt::set_ip_freebind(&socket, true)?,
        SocketAddr::V6(_) => rustix::net::sockopt::set_ipv6_freebind(&socket, true)?,
    }
    match kind {
        SocketType::STREAM => socket.set_reuse_address(true)?,
        // Room for a burst in all together; the kernel gives what it allows.
        _ => drop(socket.set_recv_buffer_size((1 << 20) / udp::SOCKETS)),
    }
    socket.set_reuse_port(shared)?;
    socket.bind(&at.into())?;
    Ok(socket)
}

fn error(address: IpAddr, source: io::Error) -> DnsError {
    match source.kind() {
        io::ErrorKind::AddrInUse => DnsError::InUse { address },
        io::ErrorKind::PermissionDenied => DnsError::NotAllowed { address },
        _ => DnsError::Io { address, source },
    }
}
