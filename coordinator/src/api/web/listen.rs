//! The socket of the API on the network: how many may connect, how long each may take to say what it wants. All limits are
//! per source first, so that one who fills his share takes nothing from others.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::source::Source;

/// Connections in all, and of one source.
const MAX: u32 = 2048;
const MAX_OF_SOURCE: u32 = 128;
/// For a TLS handshake, and for a request's head; also how long an idle connection stays.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(30);
const MAX_HEAD_BYTES: usize = 32 * 1024;
const MAX_HEADERS: usize = 64;

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub struct Remote(pub SocketAddr);

#[derive(Clone, Default)]
struct Places {
    taken: Arc<Mutex<HashMap<Source, u32>>>,
}

/// A place that is given back when the connection ends, however it ends.
struct Place {
    of: Source,
    places: Places,
}

impl Places {
    fn take(&self, from: IpAddr) -> Option<Place> {
        let of = Source::of(from);
        let mut taken = self.taken.lock();
        let (all, own) = (taken.values().sum::<u32>(), taken.get(&of).copied().unwrap_or(0));
        if all >= MAX || own >= MAX_OF_SOURCE {
            return None;
        }
        taken.insert(of, own + 1);
        Some(Place { of, places: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        if let Some(own) = taken.get_mut(&self.of) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.of);
            }
        }
    }
}

/// Serves until `stop` changes or is dropped; then lets requests under way finish for a moment.
pub async fn serve(tcp: TcpListener, tls: Option<TlsAcceptor>, router: Router, stop: watch::Receiver<bool>) {
    let places = Places::default();
    let mut stopped = stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = tcp.accept() => accepted,
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((stream, from)) => {
                let Some(place) = places.take(from.ip()) else { continue };
                let (router, tls, stop) = (router.clone(), tls.clone(), stop.clone());
                tokio::spawn(async move {
                    connection(stream, from, tls, router, stop).await;
                    drop(place);
                });
            }
            // Out of descriptors, mostly: give others time to end.
            Err(error) => {
                tracing::warn!(%error, "the API cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => speak(stream, from, router, stop).await,
        Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => speak(stream, from, router, stop).await,
            Ok(Err(error)) => tracing::debug!(%from, %error, "TLS of the API failed"),
            Err(_) => tracing::debug!(%from, "TLS of the API took too long"),
        },
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    from: SocketAddr,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(Remote(from)));
        router.clone().oneshot(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => {
            if let Err(error) = outcome {
                tracing::debug!(%from, %error, "a connection of the API failed");
            }
            return;
        }
        _ = stop.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(Duration::from_secs(2), connection).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_cannot_take_every_place() {
        let places = Places::default();
        let (greedy, honest) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut held: Vec<Place> = (0..MAX_OF_SOURCE).filter_map(|_| places.take(greedy)).collect();
        assert_eq!(held.len(), MAX_OF_SOURCE as usize);
        assert!(places.take(greedy).is_none());
        assert!(places.take(honest).is_some());
        held.pop();
        assert!(places.take(greedy).is_some());
        held.clear();
        assert!(places.taken.lock().is_empty());
    }

    #[test]
    fn an_ipv6_host_is_one_source_and_who_is_refused_is_forgotten() {
        let places = Places::default();
        let address = |network: u16, host: u16| IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, host]);
        let one: Vec<Place> = (0..1000).filter_map(|host| places.take(address(0, host))).collect();
        assert_eq!(one.len(), MAX_OF_SOURCE as usize);
        let others: Vec<Place> =
            (1..=2 * MAX as u16).filter_map(|network| places.take(address(network, 1))).collect();
        assert_eq!(one.len() + others.len(), MAX as usize);
        assert_eq!(places.taken.lock().len(), 1 + others.len());
    }
}
