//! Doors over TCP: TLS, then a WebSocket.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use warren_door::{End, Local, carry_websocket};
use warren_wire::door::TLS_ALPN;

use super::{Caller, Transport};
use super::{Shared, Watch, say_end};
use crate::channel::{Answer, Place};
use crate::meter::{Meter, Metered};
use crate::tls;

/// For both handshakes together.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Of both together, TLS and all; an honest one has about 2,200.
const HANDSHAKE_BYTES: usize = 4 * 1024;
/// Of a door that is not good yet: the handshakes and a message.
const STRANGER_BYTES: usize = 32 * 1024;
/// After an error of accept: out of descriptors, mostly.
const PAUSE: Duration = Duration::from_millis(200);

/// One task for each listener.
pub fn start(sockets: Vec<TcpListener>, seed: &[u8; 32], shared: &Arc<Shared>) -> Vec<JoinHandle<()>> {
    let acceptor = match tls::door(seed, TLS_ALPN) {
        Ok(config) => TlsAcceptor::from(Arc::new(config)),
        Err(error) => {
            tracing::warn!(%error, "no doors over TCP");
            return Vec::new();
        }
    };
    let listeners = sockets.into_iter().filter_map(|socket| tokio::net::TcpListener::from_std(socket).ok());
    listeners.map(|listener| tokio::spawn(listen(listener, acceptor.clone(), shared.clone()))).collect()
}

async fn listen(listener: tokio::net::TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => match shared.gate.admit(from, true, Instant::now()) {
                Answer::Accept(place) => {
                    tokio::spawn(open(stream, from, place, acceptor.clone(), shared.clone()));
                }
                Answer::Retry | Answer::Refuse => shared.refuse(),
            },
            Err(error) => {
                tracing::warn!(%error, "doors cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn open(stream: TcpStream, from: SocketAddr, place: Place, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let leave = place.leave();
    let meter = Meter::new(place, HANDSHAKE_BYTES);
    let _ = stream.set_nodelay(true);
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    let shake = async {
        let stream = acceptor
            .accept(Metered { stream, meter: meter.clone() })
            .await
            .map_err(|error| error.to_string())?;
        // On the heap: it is large, and lives for hours.
        warren_door::accept(Box::new(stream)).await.map_err(|error| error.to_string())
    };
    let shaken = tokio::select! {
        shaken = timeout(HANDSHAKE, Box::pin(shake)) => shaken,
        () = leave.notified() => return shared.fail(from, &"others wait for this place"),
    };
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return shared.fail(from, &error),
        Err(_) => return shared.fail(from, &"its handshake took too long"),
    };
    let local = match Local::of(shared.port) {
        Ok(local) => local,
        Err(error) => return shared.fail(from, &error),
    };
    let watch = Arc::new(Watch::new(Caller { remote: from, transport: Transport::WebSocket }, meter.clone()));
    meter.allow(STRANGER_BYTES);
    let _entered = shared.callers.enter(local.at(), watch.clone());
    shared.opened(&watch);
    let end = tokio::select! {
        end = carry_websocket(stream, &local, &shared.tally, |said| watch.inward(said.len()), |said| watch.outward(said)) => end,
        end = watch.over() => end,
        () = leave.notified() => End::Gone("others wait for this place".to_owned()),
    };
    say_end(from, &end);
}
