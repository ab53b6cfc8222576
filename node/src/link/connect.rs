//! One try to reach a coordinator at one `host:port`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use quinn::{ClientConfig, ConnectionError, Endpoint, TransportErrorCode};
use quinn::{EndpointConfig, Runtime as _, TokioRuntime};
use warren_kernel::option::{self, Fragmentation};
use warren_node_core::door::{Race, Transport, Way};
use warren_wire::door::DoorAt;
use warren_wire::id::IdentityKey;

use super::probe;
use super::tls::{self, Stranger};
use crate::clock::boot;
use crate::door::{self, Door, DoorError, Opening};
use crate::resolver::Resolver;
use crate::state::places::{self, Places};

/// A coordinator that does not answer is given up after this long.
const CONNECT: Duration = Duration::from_secs(6);
const RESOLVE: Duration = Duration::from_secs(10);
/// How often UDP is asked about while the channel goes through a door.
const BETTER: Duration = Duration::from_secs(10);
/// SNI is required by the library and means nothing here.
pub(crate) const SERVER_NAME: &str = "warren";

/// Why an address was not the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error("`{address}` is not host:port")]
    Address { address: String },
    #[error("the name in {address} does not resolve: {why}")]
    Resolve { address: String, why: String },
    #[error("no answer from {address} within {} seconds: check the address, the firewall (UDP, or else TCP 443) and that `warren serve` runs", CONNECT.as_secs())]
    Silent { address: SocketAddr },
    #[error(
        "the server at {address} has key {found}, not {expected}: it is not this network's coordinator, or its online key \
         was replaced; ask the administrator for a token with the right fingerprint"
    )]
    WrongKey { address: SocketAddr, found: IdentityKey, expected: String },
    #[error("the server at {address} does not speak this protocol: {why}")]
    Foreign { address: SocketAddr, why: String },
    #[error(
        "the coordinator at {address} has no place for one more stranger at the moment; if many nodes enrol from one address, \
         try again in a minute"
    )]
    Busy { address: SocketAddr },
    #[error("cannot reach {address}: {why}")]
    Unreachable { address: SocketAddr, why: String },
    #[error("cannot set up the connection: {0}")]
    Setup(String),
    #[error("no door: {0}")]
    Door(DoorError),
}

/// A connection to the coordinator and what carries it.
#[derive(Debug)]
pub struct Link {
    pub endpoint: Endpoint,
    pub connection: quinn::Connection,
    /// The coordinator's own place; with a door the connection's remote is the door's.
    pub remote: SocketAddr,
    pub door: Option<Door>,
}

impl Link {
    pub fn transport(&self) -> Transport {
        self.door.as_ref().map_or(Transport::Udp, Door::transport)
    }
}

/// Makes connections for one identity.
pub struct Connector {
    identity: SigningKey,
    /// Keys that may answer.
    servers: Mutex<Vec<IdentityKey>>,
    /// Last address each name resolved to.
    known: Mutex<BTreeMap<String, Vec<SocketAddr>>>,
    /// Where a coordinator of that name answered with its key, the last place first.
    proven: Mutex<Places>,
    resolver: Arc<Resolver>,
    /// The host's address to leave from; else the kernel chooses.
    from: Option<IpAddr>,
    /// Where UDP does not pass: may doors be tried?
    doors: bool,
    /// What worked the last time.
    last: Mutex<Option<Transport>>,
}

impl Connector {
    /// `resolver` finds coordinators that are given by name: encrypted, or not at all.
    pub fn new(identity: SigningKey, servers: Vec<IdentityKey>, resolver: Arc<Resolver>) -> Connector {
        let servers = Mutex::new(servers);
        let (known, proven, last) = (Mutex::default(), Mutex::default(), Mutex::default());
        Connector { identity, servers, known, proven, resolver, from: None, doors: true, last }
    }

    /// On a host with several addresses: leaves from this one, and so reaches only its address family.
    #[must_use]
    pub fn leaving_from(self, from: IpAddr) -> Connector {
        Connector { from: Some(from), ..self }
    }

    /// What worked a moment ago, for an agent that begins.
    #[must_use]
    pub fn knowing(self, last: Option<Transport>) -> Connector {
        Connector { last: Mutex::new(last), ..self }
    }

    /// Where coordinators answered an agent before this one.
    #[must_use]
    pub fn recalling(self, places: Places) -> Connector {
        Connector { proven: Mutex::new(places), ..self }
    }

    /// Only over UDP.
    #[must_use]
    pub fn without_doors(self) -> Connector {
        Connector { doors: false, ..self }
    }

    /// The charter names more keys, or fewer.
    pub fn set_servers(&self, keys: Vec<IdentityKey>) {
        if let Ok(mut servers) = self.servers.lock() {
            *servers = keys;
        }
    }

    /// All addresses that names of the coordinator have had.
    pub fn known(&self) -> Vec<SocketAddr> {
        self.known.lock().map(|known| known.values().flatten().copied().collect()).unwrap_or_default()
    }

    /// Where coordinators that are known by name answered, to be recalled after a restart.
    pub fn proven(&self) -> Places {
        self.proven.lock().map(|proven| proven.clone()).unwrap_or_default()
    }

    /// Tries every address of `host:port` in turn, at the end those where it answered before; the last failure is the answer.
    pub async fn connect(&self, address: &str) -> Result<Link, ConnectError> {
        let mut last = ConnectError::Address { address: address.to_owned() };
        for target in self.resolve(address).await? {
            match self.connect_to(target).await {
                Ok(link) => {
                    self.remember_proven(address, target);
                    return Ok(link);
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn remember_proven(&self, address: &str, at: SocketAddr) {
        if address.parse::<SocketAddr>().is_err()
            && let Ok(mut proven) = self.proven.lock()
        {
            let places = proven.entry(address.to_owned()).or_default();
            places.retain(|place| *place != at);
            places.insert(0, at);
            places.truncate(places::EACH);
        }
    }

    /// A name that resolved once is not forgotten when the resolver fails: it may be the one that depends on us.
    async fn resolve(&self, address: &str) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(literal) = address.parse::<SocketAddr>() {
            return Ok(vec![literal]);
        }
        let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let Some((host, port)) = parts.filter(|(host, _)| !host.is_empty()) else {
            return Err(ConnectError::Address { address: address.to_owned() });
        };
        let why = match tokio::time::timeout(RESOLVE, self.resolver.look_up(host)).await {
            Ok(Ok(found)) => {
                let found: Vec<SocketAddr> = found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
                self.remember(address, &found);
                // What a name says may be wrong; a key that answered was right.
                let before = self.proven_at(address).into_iter().filter(|at| !found.contains(at));
                return Ok(found.iter().copied().chain(before).collect());
            }
            Ok(Err(e)) => e.to_string(),
            Err(_) => format!("no answer within {} seconds", RESOLVE.as_secs()),
        };
        let proven = self.proven_at(address);
        let known = self.known.lock().ok().and_then(|known| known.get(address).cloned()).unwrap_or_default();
        let others = known.into_iter().filter(|at| !proven.contains(at));
        let known: Vec<SocketAddr> = proven.iter().copied().chain(others).collect();
        if known.is_empty() {
            return Err(ConnectError::Resolve { address: address.to_owned(), why });
        }
        tracing::debug!(address, "its name does not resolve, it is tried where it was: {why}");
        Ok(known)
    }

    fn proven_at(&self, address: &str) -> Vec<SocketAddr> {
        self.proven.lock().ok().and_then(|proven| proven.get(address).cloned()).unwrap_or_default()
    }

    fn remember(&self, address: &str, found: &[SocketAddr]) {
        if let Ok(mut known) = self.known.lock() {
            known.insert(address.to_owned(), found.to_vec());
        }
    }

    /// The first way that works. A foreign key over UDP ends it: somebody answers for the coordinator who is not it.
    async fn connect_to(&self, to: SocketAddr) -> Result<Link, ConnectError> {
        if !self.doors {
            return self.connect_by(None, to).await;
        }
        let last = self.last.lock().ok().and_then(|last| *last);
        let mut race = Race::new(to.port(), last, boot());
        let mut running = FuturesUnordered::new();
        let mut udp = std::pin::pin!(probe::passes(to, self.from));
        let (mut asked, mut failure) = (true, ConnectError::Silent { address: to });
        while !race.is_lost() {
            while let Some(way) = race.poll(boot()) {
                running.push(async move { (way, self.connect_way(way, to).await) });
            }
            let wait = race.deadline().map_or(CONNECT, |at| millis(at.millis_since(boot())));
            tokio::select! {
                Some((way, result)) = running.next() => match result {
                    Ok(link) => {
                        self.remember_way(way.transport);
                        return Ok(link);
                    }
                    Err(e @ ConnectError::Busy { .. }) => return Err(e),
                    Err(e @ ConnectError::WrongKey { .. }) if way.transport == Transport::Udp => return Err(e),
                    Err(e) => {
                        tracing::debug!(transport = way.transport.name(), port = way.port, "{e}");
                        race.handle_failed(way, boot());
                        if way.transport == Transport::Udp {
                            failure = e;
                        }
                    }
                },
                passes = &mut udp, if asked => {
                    asked = false;
                    if passes {
                        race.handle_udp_passes(boot());
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
        Err(failure)
    }

    fn remember_way(&self, transport: Transport) {
        if let Ok(mut last) = self.last.lock() {
            *last = Some(transport);
        }
    }

    async fn connect_way(&self, way: Way, to: SocketAddr) -> Result<Link, ConnectError> {
        if way.transport == Transport::Udp {
            return self.connect_by(None, to).await;
        }
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let endpoint = open(local).map_err(|e| ConnectError::Setup(e.to_string()))?;
        let serves = endpoint.local_addr().map_err(|e| ConnectError::Setup(e.to_string()))?;
        let door = door::open(&self.opening(way, to.ip(), serves)).await.map_err(ConnectError::Door)?;
        self.connect_by(Some((endpoint, door)), to).await
    }

    fn opening(&self, way: Way, host: IpAddr, serves: SocketAddr) -> Opening {
        let keys = self.servers.lock().map(|s| s.clone()).unwrap_or_default();
        Opening { host, way, keys, serves, from: self.from }
    }

    /// A door for this process's socket at `serves` to the UDP port `to` of a relay that has one of `keys`, and of whose doors
    /// are `told`; the first that opens.
    pub async fn open_door(
        &self,
        to: SocketAddr,
        told: Option<&[DoorAt]>,
        keys: Vec<IdentityKey>,
        serves: SocketAddr,
    ) -> Result<Door, DoorError> {
        let last = self.last.lock().ok().and_then(|last| *last);
        let mut race = Race::doors(to.port(), told, last, boot());
        let mut running = FuturesUnordered::new();
        let mut failure = DoorError::None { at: to };
        while !race.is_lost() {
            while let Some(way) = race.poll(boot()) {
                let opening = Opening { keys: keys.clone(), ..self.opening(way, to.ip(), serves) };
                running.push(async move { (way, door::open(&opening).await) });
            }
            let wait = race.deadline().map_or(CONNECT, |at| millis(at.millis_since(boot())));
            tokio::select! {
                Some((way, result)) = running.next() => match result {
                    Ok(door) => return Ok(door),
                    Err(e) => {
                        race.handle_failed(way, boot());
                        failure = e;
                    }
                },
                () = tokio::time::sleep(wait) => {}
            }
        }
        Err(failure)
    }

    /// A connection over UDP, once that reaches the coordinator again: returns only then.
    pub async fn better(&self, to: SocketAddr) -> Link {
        loop {
            tokio::time::sleep(BETTER).await;
            if !probe::passes(to, self.from).await {
                continue;
            }
            match self.connect_by(None, to).await {
                Ok(link) => {
                    self.remember_way(Transport::Udp);
                    return link;
                }
                Err(e) => tracing::debug!("UDP reaches the coordinator and does not carry the channel: {e}"),
            }
        }
    }

    /// Over UDP, or through a door from its own socket.
    async fn connect_by(&self, door: Option<(Endpoint, Door)>, to: SocketAddr) -> Result<Link, ConnectError> {
        let stranger = Stranger::default();
        let servers = self.servers.lock().map(|s| s.clone()).unwrap_or_default();
        let crypto = tls::client(&self.identity, servers.clone(), Arc::clone(&stranger))
            .map_err(|e| ConnectError::Setup(e.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(warren_door::control_channel()));
        let (endpoint, door) = match door {
            Some((endpoint, door)) => (endpoint, Some(door)),
            None => (bound(self.from, to.is_ipv4()).map_err(|e| ConnectError::Setup(e.to_string()))?, None),
        };
        let connecting = endpoint
            .connect_with(config, door.as_ref().map_or(to, Door::at), SERVER_NAME)
            .map_err(|e| ConnectError::Unreachable { address: to, why: e.to_string() })?;
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(Ok(connection)) => Ok(Link { endpoint, connection, remote: to, door }),
            Ok(Err(e)) => Err(explain(to, &e, &stranger, &servers)),
            Err(_) => Err(ConnectError::Silent { address: to }),
        }
    }
}

fn millis(ms: u64) -> Duration {
    // Not a moment too early, or it is asked for nothing.
    Duration::from_millis(ms.saturating_add(1))
}

/// A client's endpoint at one of the host's addresses.
pub(crate) fn bound(from: Option<IpAddr>, v4: bool) -> std::io::Result<Endpoint> {
    let any: IpAddr = if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    open((from.unwrap_or(any), 0).into())
}

/// A socket of which a narrow path carries the pieces: QUIC's first packets have 1,200 bytes (RFC 9000 section 14), and a path may
/// carry less.
fn open(from: SocketAddr) -> std::io::Result<Endpoint> {
    let (socket, runtime) = (UdpSocket::bind(from)?, Arc::new(TokioRuntime));
    let other = socket.try_clone()?;
    let wrapped = runtime.wrap_udp_socket(socket)?;
    option::set_fragmentation(&other, from.is_ipv4(), Fragmentation::Allowed)?;
    Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, wrapped, runtime)
}

fn explain(
    address: SocketAddr,
    e: &ConnectionError,
    stranger: &Stranger,
    expected: &[IdentityKey],
) -> ConnectError {
    if let Some(found) = stranger.lock().ok().and_then(|s| *s) {
        let expected = expected.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        return ConnectError::WrongKey { address, found, expected };
    }
    match e {
        ConnectionError::TimedOut => ConnectError::Silent { address },
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
        {
            ConnectError::Busy { address }
        }
        ConnectionError::TransportError(why) => ConnectError::Foreign { address, why: why.to_string() },
        ConnectionError::VersionMismatch => ConnectError::Foreign { address, why: e.to_string() },
        _ => ConnectError::Unreachable { address, why: e.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connector() -> Connector {
        let resolver = crate::agent::NameOptions::default().resolver().expect("TLS");
        Connector::new(SigningKey::from_bytes(&[1; 32]), vec![IdentityKey([2; 32])], resolver)
    }

    #[tokio::test]
    async fn an_address_without_a_port_is_called_that() {
        for address in ["coordinator.example", ":7946", "host:port"] {
            let error = connector().connect(address).await.expect_err("refused");
            assert!(matches!(error, ConnectError::Address { .. }), "{address}: {error}");
        }
    }

    #[tokio::test]
    async fn where_a_coordinator_answered_it_is_tried_again_though_its_name_is_lost_or_lies() {
        let at = |last: u8| SocketAddr::from(([192, 0, 2, last], 7946));
        let before = connector();
        before.remember_proven("coordinator.invalid:7946", at(1));
        before.remember_proven("coordinator.invalid:7946", at(2));
        before.remember_proven("192.0.2.9:7946", at(9));
        assert_eq!(before.proven().len(), 1, "an address needs no memory");
        let after = connector().recalling(before.proven());
        assert_eq!(after.resolve("coordinator.invalid:7946").await, Ok(vec![at(2), at(1)]));
        after.remember("coordinator.invalid:7946", &[at(7), at(1)]);
        assert_eq!(after.resolve("coordinator.invalid:7946").await, Ok(vec![at(2), at(1), at(7)]));
        // A name that is found, and not where it was.
        let local = SocketAddr::from(([127, 0, 0, 1], 7946));
        let lied = connector().recalling(Places::from([("localhost:7946".to_owned(), vec![at(3)])]));
        let found = lied.resolve("localhost:7946").await.expect("in /etc/hosts");
        assert!(found.contains(&local) && found.last() == Some(&at(3)), "{found:?}");
    }

    #[tokio::test]
    async fn a_name_that_resolved_once_is_remembered() {
        let connector = connector();
        let known = vec![SocketAddr::from(([192, 0, 2, 1], 7946))];
        connector.remember("coordinator.invalid:7946", &known);
        assert_eq!(connector.resolve("coordinator.invalid:7946").await, Ok(known));
        assert!(matches!(connector.resolve("other.invalid:7946").await, Err(ConnectError::Resolve { .. })));
    }
}
