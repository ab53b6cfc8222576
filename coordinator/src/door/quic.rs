//! Doors over QUIC datagrams, on a UDP port of their own: where the port itself is reached by UDP, no door is needed.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, EndpointConfig, Incoming, VarInt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use warren_door::{End, Local, carry_quic};
use warren_wire::door::QUIC_ALPN;

use super::{Caller, Transport};
use super::{Shared, Watch, say_end};
use crate::channel::{Answer, Place, quic_alone};
use crate::meter::Meter;
use crate::relay::Ports;
use crate::strangers::Proven;
use crate::tls;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// Packets of connections that nobody has looked at yet.
const INCOMING: usize = 128;
const INCOMING_BYTES: u64 = 4 * 1024;

pub fn start(ports: Option<Ports>, seed: &[u8; 32], shared: &Arc<Shared>) -> Option<JoinHandle<()>> {
    let proven = Proven::default();
    let endpoint = match endpoint(ports?, seed, proven.clone()) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            tracing::warn!(%error, "no doors over QUIC");
            return None;
        }
    };
    Some(tokio::spawn(listen(endpoint, shared.clone(), proven)))
}

fn endpoint(ports: Ports, seed: &[u8; 32], proven: Proven) -> std::io::Result<Endpoint> {
    let crypto = tls::quic_door(seed, QUIC_ALPN).map_err(std::io::Error::other)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(warren_door::transport()))
        .max_incoming(INCOMING)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING as u64 * INCOMING_BYTES);
    quic_alone(EndpointConfig::default(), config, ports, proven)
}

async fn listen(endpoint: Endpoint, shared: Arc<Shared>, proven: Proven) {
    while let Some(incoming) = endpoint.accept().await {
        match shared.gate.admit(
            incoming.remote_address(),
            incoming.remote_address_validated(),
            Instant::now(),
        ) {
            Answer::Accept(place) => {
                drop(tokio::spawn(open(incoming, place, shared.clone(), proven.clone())))
            }
            Answer::Retry => drop(incoming.retry()),
            Answer::Refuse => {
                shared.refuse();
                incoming.refuse();
            }
        }
    }
}

async fn open(incoming: Incoming, place: Place, shared: Arc<Shared>, proven: Proven) {
    let (leave, from) = (place.leave(), incoming.remote_address());
    let proof = incoming.remote_address_validated().then(|| proven.enter(from.ip()));
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
    // Who has finished the handshake receives where he says.
    let mut proof = proof.unwrap_or_else(|| proven.enter(from.ip()));
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
    let inward = |said: &[u8]| {
        // One that is good may move, and is answered there as it was.
        let at = connection.remote_address().ip().to_canonical();
        if at != proof.at() && watch.is_good() {
            proof = proven.enter(at);
        }
        watch.inward(said.len())
    };
    let end = tokio::select! {
        end = carry_quic(&connection, &local, &shared.tally, inward, |said| watch.outward(said)) => end,
        end = watch.over() => end,
        () = leave.notified() => End::Gone("others wait for this place".to_owned()),
    };
    connection.close(VarInt::from_u32(0), b"");
    say_end(from, &end);
}
