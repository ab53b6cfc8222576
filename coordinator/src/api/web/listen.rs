//! The socket of the API on the network: how many may connect, how long each may take to say what it wants. All limits are
//! per source first, so that one who fills his share takes nothing from others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::channel::{Answer, Gate, Limits};
use crate::meter::{Meter, Metered};

/// Connections in all, and of one source: those that nobody has shown a key by, and the others. Who comes when all places for
/// strangers are taken gets the oldest's.
const LIMITS: Limits = Limits {
    incoming: 0,
    strangers: 512,
    strangers_per_source: 32,
    bytes_per_source: 64 * 1024,
    connections: 2048,
    connections_per_source: 128,
};
/// What one such connection may hold alone.
const STRANGER_BYTES: usize = 40 * 1024;
/// What a request has besides its target and its headers, at least.
const LINE: usize = "GET  HTTP/1.1\r\n\r\n".len();
/// For a TLS handshake, and for a request's head; also how long an idle connection stays.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(30);
const MAX_HEAD_BYTES: usize = 32 * 1024;
const MAX_HEADERS: usize = 64;

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub struct Remote(pub SocketAddr);

/// Serves until `stop` changes or is dropped; then lets requests under way finish for a moment.
pub async fn serve(tcp: TcpListener, tls: Option<TlsAcceptor>, router: Router, stop: watch::Receiver<bool>) {
    let gate = Gate::new(LIMITS);
    let mut stopped = stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = tcp.accept() => accepted,
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((stream, from)) => {
                let Answer::Accept(place) = gate.admit(from, true, Instant::now()) else { continue };
                let (router, tls, stop) = (router.clone(), tls.clone(), stop.clone());
                let (leave, meter) = (place.leave(), Meter::new(place, STRANGER_BYTES));
                tokio::spawn(async move {
                    tokio::select! {
                        () = connection(stream, (from, meter), tls, router, stop) => {}
                        () = leave.notified() => tracing::debug!(%from, "others wait for this place at the API"),
                    }
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
    (from, meter): (SocketAddr, Arc<Meter>),
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let stream = Metered { stream, meter: meter.clone() };
    match tls {
        None => speak(stream, (from, meter), router, stop).await,
        Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => speak(stream, (from, meter), router, stop).await,
            Ok(Err(error)) => tracing::debug!(%from, %error, "TLS of the API failed"),
            Err(_) => tracing::debug!(%from, "TLS of the API took too long"),
        },
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (from, meter): (SocketAddr, Arc<Meter>),
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        meter.went(head_bytes(&request));
        let body = meter.clone();
        // Who may not send it is refused before it is read; what a handler reads is held no more.
        let mut request = request.map(|incoming| {
            Body::new(incoming.map_frame(move |frame| {
                body.went(frame.data_ref().map_or(0, |data| data.len()));
                frame
            }))
        });
        request.extensions_mut().insert(ConnectInfo(Remote(from)));
        let (router, meter, keyed) = (router.clone(), meter.clone(), needs_key(request.uri().path()));
        async move {
            let answer = router.oneshot(request).await;
            if keyed && answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
                meter.promote();
            }
            answer
        }
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

/// What is asked there is answered well only to who has shown a key or a session ([`super::router`]).
fn needs_key(path: &str) -> bool {
    path.starts_with("/v1/") && path != "/v1/session"
}

/// No more than a request's head had on the wire.
fn head_bytes<B>(request: &hyper::Request<B>) -> usize {
    let headers =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ":\r\n".len());
    LINE + request.uri().path_and_query().map_or(0, |target| target.as_str().len()) + headers.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn house() -> (SocketAddr, watch::Sender<bool>) {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, (stop, stopped)) = (tcp.local_addr().unwrap(), watch::channel(false));
        let router = Router::new().route("/v1/nodes", get(|| async { "nodes" }));
        tokio::spawn(serve(tcp, None, router, stopped));
        (at, stop)
    }

    /// The answer's first line; `None`: the connection was ended without one.
    async fn ask(stream: &mut TcpStream, path: &str) -> Option<String> {
        let text = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(text.as_bytes()).await.ok()?;
        let mut buffer = [0; 1024];
        let len = stream.read(&mut buffer).await.ok().filter(|len| *len > 0)?;
        String::from_utf8_lossy(&buffer[..len]).lines().next().map(str::to_owned)
    }

    /// Whoever has shown no key holds 64 KiB at most, by however many connections; who has holds none of it.
    #[tokio::test]
    async fn heads_of_one_source_hold_little_together_and_who_has_shown_a_key_is_not_counted() {
        let (at, _stop) = house().await;
        let mut known = TcpStream::connect(at).await.unwrap();
        assert_eq!(ask(&mut known, "/v1/nodes").await.as_deref(), Some("HTTP/1.1 200 OK"));
        let head = [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'x'; 20_000]].concat();
        let mut held = Vec::new();
        for _ in 0..8 {
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_all(&head).await.unwrap();
            held.push(stream);
        }
        let mut ended = 0;
        for stream in &mut held {
            let more = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut [0; 64])).await;
            ended += usize::from(more.is_ok());
        }
        assert!(ended >= 5, "of eight that hold 20 kB each three fit: {ended} were ended");
        assert_eq!(ask(&mut known, "/v1/nodes").await.as_deref(), Some("HTTP/1.1 200 OK"));
        drop(held);
        for _ in 0..1000 {
            assert!(ask(&mut known, "/v1/nodes").await.is_some(), "who is known may ask on");
        }
    }

    /// Many people behind one address: who comes when all places are taken gets the oldest's, and nobody who is known goes.
    #[tokio::test]
    async fn strangers_of_one_source_have_few_places_and_the_newest_gets_the_oldests() {
        let (at, _stop) = house().await;
        let mut known = Vec::new();
        for _ in 0..40 {
            let mut stream = TcpStream::connect(at).await.unwrap();
            assert!(ask(&mut stream, "/v1/nodes").await.is_some());
            known.push(stream);
        }
        let mut silent = Vec::new();
        for _ in 0..LIMITS.strangers_per_source {
            silent.push(TcpStream::connect(at).await.unwrap());
        }
        let began = std::time::Instant::now();
        let got = loop {
            let mut late = TcpStream::connect(at).await.unwrap();
            if let Some(answer) = ask(&mut late, "/v1/nodes").await {
                break answer;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "the newest gets no place");
        };
        assert_eq!(got, "HTTP/1.1 200 OK");
        for stream in &mut known {
            assert!(ask(stream, "/v1/nodes").await.is_some());
        }
    }
}
