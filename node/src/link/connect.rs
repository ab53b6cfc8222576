//! One try to reach a coordinator at one `host:port`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use quinn::{
    ClientConfig, ConnectionError, Endpoint, IdleTimeout, TransportConfig, TransportErrorCode, VarInt,
};
use warren_wire::frame::MAX_FRAME;
use warren_wire::id::IdentityKey;

use super::tls::{self, Stranger};
use crate::resolver::Resolver;

/// A coordinator that does not answer is given up after this long.
const CONNECT: Duration = Duration::from_secs(6);
const RESOLVE: Duration = Duration::from_secs(10);
/// Silence after which a channel is lost; the keep-alive keeps NAT mappings open meanwhile.
const IDLE: Duration = Duration::from_secs(12);
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// SNI is required by the library and means nothing here.
const SERVER_NAME: &str = "warren";

/// Why an address was not the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error("`{address}` is not host:port")]
    Address { address: String },
    #[error("the name in {address} does not resolve: {why}")]
    Resolve { address: String, why: String },
    #[error("no answer from {address} within {} seconds: check the address, the firewall (UDP) and that `warren serve` runs", CONNECT.as_secs())]
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
}

/// Makes connections for one identity.
pub struct Connector {
    identity: SigningKey,
    /// Keys that may answer.
    servers: Mutex<Vec<IdentityKey>>,
    /// Last address each name resolved to.
    known: Mutex<BTreeMap<String, Vec<SocketAddr>>>,
    resolver: Arc<Resolver>,
    /// The host's address to leave from; else the kernel chooses.
    from: Option<IpAddr>,
}

impl Connector {
    /// `resolver` finds coordinators that are given by name: encrypted, or not at all.
    pub fn new(identity: SigningKey, servers: Vec<IdentityKey>, resolver: Arc<Resolver>) -> Connector {
        Connector { identity, servers: Mutex::new(servers), known: Mutex::default(), resolver, from: None }
    }

    /// On a host with several addresses: leaves from this one, and so reaches only its address family.
    #[must_use]
    pub fn leaving_from(self, from: IpAddr) -> Connector {
        Connector { from: Some(from), ..self }
    }

    /// The charter names more keys, or fewer.
    pub fn set_servers(&self, keys: Vec<IdentityKey>) {
        if let Ok(mut servers) = self.servers.lock() {
            *servers = keys;
        }
    }

    /// Tries every address of `host:port` in turn; the last failure is the answer.
    pub async fn connect(&self, address: &str) -> Result<(Endpoint, quinn::Connection), ConnectError> {
        let mut last = ConnectError::Address { address: address.to_owned() };
        for target in self.resolve(address).await? {
            match self.connect_to(target).await {
                Ok(connection) => return Ok(connection),
                Err(e) => last = e,
            }
        }
        Err(last)
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
                return Ok(found);
            }
            Ok(Err(e)) => e.to_string(),
            Err(_) => format!("no answer within {} seconds", RESOLVE.as_secs()),
        };
        let known = self.known.lock().ok().and_then(|known| known.get(address).cloned());
        known.ok_or_else(|| ConnectError::Resolve { address: address.to_owned(), why })
    }

    fn remember(&self, address: &str, found: &[SocketAddr]) {
        if let Ok(mut known) = self.known.lock() {
            known.insert(address.to_owned(), found.to_vec());
        }
    }

    async fn connect_to(&self, to: SocketAddr) -> Result<(Endpoint, quinn::Connection), ConnectError> {
        let stranger = Stranger::default();
        let servers = self.servers.lock().map(|s| s.clone()).unwrap_or_default();
        let crypto = tls::client(&self.identity, servers.clone(), Arc::clone(&stranger))
            .map_err(|e| ConnectError::Setup(e.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport()));
        let any: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let endpoint = Endpoint::client((self.from.unwrap_or(any), 0).into())
            .map_err(|e| ConnectError::Setup(e.to_string()))?;
        let connecting = endpoint
            .connect_with(config, to, SERVER_NAME)
            .map_err(|e| ConnectError::Unreachable { address: to, why: e.to_string() })?;
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(Ok(connection)) => Ok((endpoint, connection)),
            Ok(Err(e)) => Err(explain(to, &e, &stranger, &servers)),
            Err(_) => Err(ConnectError::Silent { address: to }),
        }
    }
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

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .keep_alive_interval(Some(KEEP_ALIVE))
        // The coordinator opens nothing towards a node.
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(u32::try_from(4 * MAX_FRAME).unwrap_or(u32::MAX)));
    transport
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
    async fn a_name_that_resolved_once_is_remembered() {
        let connector = connector();
        let known = vec![SocketAddr::from(([192, 0, 2, 1], 7946))];
        connector.remember("coordinator.invalid:7946", &known);
        assert_eq!(connector.resolve("coordinator.invalid:7946").await, Ok(known));
        assert!(matches!(connector.resolve("other.invalid:7946").await, Err(ConnectError::Resolve { .. })));
    }
}
