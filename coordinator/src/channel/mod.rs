//! The control channel: QUIC on one UDP port, one connection per node or relay, one stream in it.
//!
//! A connection task only moves frames between the network and the owner of the coordinator; it decides nothing.
//! Everything a stranger can make us hold is bounded before a byte of it is believed:
//!
//! | what | bound |
//! |---|---|
//! | packets of connections not yet accepted | [`Limits::incoming`] × 4 KiB, 1 MiB in all |
//! | handshakes and strangers at once | [`Limits::strangers`], per source [`Limits::strangers_per_source`]; who comes when all places are taken gets the oldest's |
//! | address validation (Retry) | from half of the strangers on, and for each source from its fourth |
//! | bytes of one source's strangers | 64 KiB: 2 KiB of handshake and 2 KiB of stream each, and [`Limits::bytes_per_source`] of unfinished messages |
//! | streams | one, opened by the client; no datagrams, no 0-RTT |
//! | a frame | 16 KiB until authorised, 1 MiB after |
//! | messages of one client that wait for the owner | [`TURNS`] |
//! | silence before authorisation | 10 s |
//! | bytes waiting for a slow client | [`outbox::MAX_QUEUED`], and 20 s without progress |
//! | STUN ([`port`]) | an answer no larger than its question, no state but a moment; lost when the socket has no room |
//! | all that goes to an address that nobody has proven | sockets of its own, and few a second ([`crate::strangers`]) |

mod gate;
pub mod outbox;
mod port;
mod session;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use quinn::{Endpoint, EndpointConfig, IdleTimeout, Runtime as _, TokioRuntime, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use warren_kernel::option::{self, Fragmentation};
use warren_wire::frame::{FIRST_ROUND_TRIP, FromRelay, ToCoordinator};
use warren_wire::id::IdentityKey;
use zeroize::Zeroizing;

use crate::door::{Caller, Callers, Transport};
use crate::relay::{Beside, Carrier, Ports};
use crate::strangers::{Proven, Strangers};
use crate::stun::Stun;
use crate::tls::{self, TlsError};
pub use gate::Limits;
pub(crate) use gate::{Answer, Gate, Place};
use outbox::Outbox;

/// Messages of one client that may wait for the owner: a flood from one cannot fill the queue of all.
pub const TURNS: usize = 2;

/// Names one connection for as long as the process lives.
pub type SessionId = u64;

/// As what a client speaks, by its ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tongue {
    Node,
    Relay,
}

pub enum Message {
    Node(ToCoordinator),
    Relay(FromRelay),
}

/// What happens on the channel, in order per session: opened, said…, closed.
pub enum Event {
    Opened {
        session: SessionId,
        key: IdentityKey,
        /// Seen from outside, also through a door.
        caller: Caller,
        outbox: Outbox,
        speaks: Tongue,
    },
    /// The client's underlay address changed (QUIC migration).
    Moved {
        session: SessionId,
        remote: SocketAddr,
    },
    Said {
        session: SessionId,
        message: Message,
        /// Given back when the message has been dealt with: so few of one client wait at a time.
        turn: OwnedSemaphorePermit,
    },
    Closed {
        session: SessionId,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error(
        "UDP port {addr} is already in use: another coordinator runs, or choose a port with `--listen ADDR:PORT`"
    )]
    PortInUse { addr: SocketAddr },
    #[error(
        "no permission to listen on UDP {addr}: ports under 1024 need CAP_NET_BIND_SERVICE; choose a higher one with `--listen`"
    )]
    PortForbidden { addr: SocketAddr },
    #[error("this host has no address {addr}: choose one it has, or 0.0.0.0 or [::], with `--listen`")]
    NoSuchAddress { addr: SocketAddr },
    #[error("cannot listen on UDP {addr}: {error}")]
    Listen { addr: SocketAddr, error: std::io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The listening socket. Dropping it does not close connections: see [`Listener::close`].
pub struct Listener {
    endpoint: Endpoint,
    limits: Limits,
    callers: Callers,
    proven: Proven,
}

impl Listener {
    /// Must be called within a tokio runtime.
    pub fn bind(addr: SocketAddr, online_seed: &[u8; 32], limits: Limits) -> Result<Listener, ChannelError> {
        let Ports { control, mouths, .. } = Listener::ports(addr, 0)?;
        Listener::on((control, mouths), online_seed, limits, (Stun::default(), None), Callers::default())
    }

    /// The sockets of its port: its own, and so many for a relay.
    pub fn ports(addr: SocketAddr, relay: u32) -> Result<Ports, ChannelError> {
        Ports::bind(addr, relay).map_err(|error| bind_error(addr, error))
    }

    /// As [`Listener::bind`], with the sockets that answer strangers. What comes to its own beside QUIC is `beside`'s; `callers`
    /// come through doors.
    pub fn on(
        (socket, mouths): (std::net::UdpSocket, Vec<std::net::UdpSocket>),
        online_seed: &[u8; 32],
        limits: Limits,
        beside: (Stun, Option<Carrier>),
        callers: Callers,
    ) -> Result<Listener, ChannelError> {
        let addr = socket.local_addr().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        let crypto = Arc::new(tls::server(online_seed)?);
        let mut config = quinn::ServerConfig::with_crypto(crypto);
        config
            .transport_config(Arc::new(transport()))
            .max_incoming(limits.incoming)
            .incoming_buffer_size(4 * 1024)
            .incoming_buffer_size_total(1024 * 1024);
        let (failed, proven) = (|error| ChannelError::Listen { addr, error }, Proven::default());
        let answering = (Strangers::new(mouths).map_err(failed)?, proven.clone());
        let endpoint =
            with_more(endpoint_config(online_seed), config, socket, (Some(beside.0), beside.1), answering)
                .map_err(failed)?;
        Ok(Listener { endpoint, limits, callers, proven })
    }

    /// Where it really listens, also when port 0 was asked for.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Accepts until closed. `events` is bounded: a busy owner slows the clients, not the other way round.
    pub async fn run(self: Arc<Self>, events: mpsc::Sender<Event>) {
        let gate = Gate::new(self.limits);
        let mut next: SessionId = 1;
        while let Some(incoming) = self.endpoint.accept().await {
            let caller = self.callers.of(incoming.remote_address());
            // Who has a door has shown there that he receives at his address.
            let validated = incoming.remote_address_validated() || caller.transport != Transport::Udp;
            match gate.admit(caller.remote, validated, Instant::now()) {
                Answer::Refuse => incoming.refuse(),
                Answer::Retry => {
                    let _ = incoming.retry();
                }
                Answer::Accept(stranger) => {
                    let known = (self.callers.clone(), self.proven.clone());
                    tokio::spawn(session::run(next, incoming, stranger, known, events.clone()));
                    next += 1;
                }
            }
        }
    }

    /// Tells every client that the coordinator is going, then waits until they know (at most 2 s).
    pub async fn close(&self) {
        self.endpoint.close(VarInt::from_u32(session::CLOSE_STOPPING), b"the coordinator is stopping");
        let _ = tokio::time::timeout(Duration::from_secs(2), self.endpoint.wait_idle()).await;
    }
}

/// QUIC alone, with sockets for strangers.
pub(crate) fn quic_alone(
    config: EndpointConfig,
    server: quinn::ServerConfig,
    ports: Ports,
    proven: Proven,
) -> std::io::Result<Endpoint> {
    with_more(config, server, ports.control, (None, None), (Strangers::new(ports.mouths)?, proven))
}

/// QUIC for members, and on the same port STUN and the relay ([`port`]).
fn with_more(
    config: EndpointConfig,
    server: quinn::ServerConfig,
    socket: std::net::UdpSocket,
    (stun, relay): (Option<Stun>, Option<Carrier>),
    (strangers, proven): (Strangers, Proven),
) -> std::io::Result<Endpoint> {
    let runtime = Arc::new(TokioRuntime);
    let other = socket.try_clone()?;
    let inner = runtime.wrap_udp_socket(socket)?;
    // QUIC's first packets have 1,200 bytes (RFC 9000 section 14), and a path may carry less.
    option::set_fragmentation(&other, other.local_addr()?.is_ipv4(), Fragmentation::Allowed)?;
    let socket = Arc::new(port::Socket { inner, stun, relay: relay.map(Beside::new), strangers, proven });
    Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)
}

/// Connection ids and stateless resets (RFC 9000 section 10.3) that follow from the online key: a coordinator that was
/// killed and started again can say so to nodes of its former life, which then come back at once instead of after
/// the idle timeout.
fn endpoint_config(online_seed: &[u8; 32]) -> EndpointConfig {
    let derive = |purpose: &str| {
        let hash = Sha256::new().chain_update(purpose).chain_update(online_seed);
        Zeroizing::new(<[u8; 32]>::from(hash.finalize()))
    };
    let reset = hmac::Key::new(hmac::HMAC_SHA256, &*derive("warren stateless reset v1\0"));
    let mut cid = [0; 8];
    cid.copy_from_slice(&derive("warren connection ids v1\0")[..8]);
    let cid = u64::from_be_bytes(cid);
    let mut config = EndpointConfig::new(Arc::new(reset));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(cid)));
    config
}

fn bind_error(addr: SocketAddr, error: std::io::Error) -> ChannelError {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => ChannelError::PortInUse { addr },
        std::io::ErrorKind::PermissionDenied => ChannelError::PortForbidden { addr },
        std::io::ErrorKind::AddrNotAvailable => ChannelError::NoSuchAddress { addr },
        _ => ChannelError::Listen { addr, error },
    }
}

/// What a stranger may have under way: of its handshake, and of its stream. Honest first messages are smaller.
const STRANGER_BYTES: u32 = 2 * 1024;
/// A member may have more.
const MEMBER_BYTES: u32 = 96 * 1024;

/// One stream each, small windows: what a peer may make us buffer.
fn transport() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(64 * 1024))
        .receive_window(VarInt::from_u32(STRANGER_BYTES))
        .crypto_buffer_size(STRANGER_BYTES as usize)
        .send_window(1024 * 1024)
        // A send buffer of one datagram a connection instead of ten: a stranger costs less, and no message here is in a hurry.
        .enable_segmentation_offload(false)
        // Who is thrown out is remembered for three timeouts (RFC 9000 section 10.2), and a crowd is many.
        .initial_rtt(FIRST_ROUND_TRIP)
        // Where fragments are let through, looking for the largest packet finds any.
        .mtu_discovery_config(None)
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(Duration::from_secs(10)))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(30_000))));
    config
}
