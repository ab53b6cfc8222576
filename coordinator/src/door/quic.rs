//! Doors over QUIC datagrams, on a UDP port of their own: where the port itself is reached by UDP, no door is needed.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, EndpointConfig, Incoming, Runtime as _, TokioRuntime, VarInt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use warren_door::{End, Local, carry_quic};
use warren_kernel::option::{self, Fragmentation};
use warren_wire::door::QUIC_ALPN;

use super::{Caller, Transport};
use super::{Shared, Watch, say_end};
use crate::channel::{Answer, Place};
use crate::meter::Meter;
use crate::tls;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// Packets of connections that nobody has looked at yet.
const INCOMING: usize = 128;
const INCOMING_BYTES: u64 = 4 * 1024;

pub fn start(socket: Option<UdpSocket>, seed: &[u8; 32], shared: &Arc<Shared>) -> Option<JoinHandle<()>> {
    let endpoint = match endpoint(socket?, seed) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            tracing::warn!(%error, "no doors over QUIC");
            return None;
        }
    };
    Some(tokio::spawn(listen(endpoint, shared.clone())))
}

fn endpoint(socket: UdpSocket, seed: &[u8; 32]) -> std::io::Result<Endpoint> {
    let crypto = tls::quic_door(seed, QUIC_ALPN).map_err(std::io::Error::other)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(warren_door::transport()))
        .max_incoming(INCOMING)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING as u64 * INCOMING_BYTES);
    let other = socket.try_clone()?;
    let runtime = Arc::new(TokioRuntime);
    let inner = runtime.wrap_udp_socket(socket)?;
    // QUIC's first packets have 1,200 bytes (RFC 9000 section 14), and a path may carry less.
    option::set_fragmentation(&other, other.local_addr()?.is_ipv4(), Fragmentation::Allowed)?;
    Endpoint::new_with_abstract_socket(EndpointConfig::default(), Some(config), inner, runtime)
}

async fn listen(endpoint: Endpoint, shared: Arc<Shared>) {
    while let Some(incoming) = endpoint.accept().await {
        match shared.gate.admit(
            incoming.remote_address(),
            incoming.remote_address_validated(),
            Instant::now(),
        ) {
            Answer::Accept(place) => drop(tokio::spawn(open(incoming, place, shared.clone()))),
            Answer::Retry => drop(incoming.retry()),
            Answer::Refuse => {
                shared.refuse();
                incoming.refuse();
            }
        }
    }
}

async fn open(incoming: Incoming, place: Place, shared: Arc<Shared>) {
    let (leave, from) = (place.leave(), incoming.remote_address());
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => return shared.fail(from, &error),
    };
    let shaken = tokio::select! {
        shaken = timeout(HANDSHAKE, connecting) => shaken,
        () = leave.notified() => return shared.fail(from, &"others wait for this place"),
    };
    let connection = match shaken {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return shared.fail(from, &error),
        Err(_) => return shared.fail(from, &"its handshake took too long"),
    };
    let local = match Local::of(shared.port) {
        Ok(local) => local,
        Err(error) => return shared.fail(from, &error),
    };
    let from = std::net::SocketAddr::new(from.ip().to_canonical(), from.port());
    let watch = Arc::new(Watch::new(
        Caller { remote: from, transport: Transport::Quic },
        Meter::new(place, usize::MAX),
    ));
    let _entered = shared.callers.enter(local.at(), watch.clone());
    shared.opened(&watch);
    let end = tokio::select! {
        end = carry_quic(&connection, &local, &shared.tally, |said| watch.inward(said.len()), |said| watch.outward(said)) => end,
        end = watch.over() => end,
        () = leave.notified() => End::Gone("others wait for this place".to_owned()),
    };
    connection.close(VarInt::from_u32(0), b"");
    say_end(from, &end);
}
