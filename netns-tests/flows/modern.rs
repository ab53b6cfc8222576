//! One HTTP/2 stream (over TCP) and one QUIC stream: `flows-modern serve H2-PORT QUIC-PORT CERTIFICATE`, or
//! `flows-modern open SERVER H2-PORT QUIC-PORT CERTIFICATE`: the server writes its certificate there. Speaks as `open.py` does: `ready` once both live, then a line of JSON for
//! each that ends. QUIC's UDP socket is connected, so that it hears ICMP; a program with an unconnected one hears nothing.

use std::fmt::{self, Debug};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use warren_netns_tests::flows::monotonic;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "flows-modern serve H2-PORT QUIC-PORT CERTIFICATE | flows-modern open SERVER H2-PORT QUIC-PORT CERTIFICATE";
/// So long without a byte: it was cut, and nobody said so.
const QUIET: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(20);
const NAME: &str = "flows.test";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", h2, quic, file] => serve(h2.parse()?, quic.parse()?, file).await,
        ["open", server, h2, quic, file] => {
            let at = |port: &str| format!("{server}:{port}").parse::<SocketAddr>();
            open(at(h2)?, at(quic)?, file).await
        }
        _ => Err(USAGE.into()),
    }
}

async fn serve(h2: u16, quic: u16, file: &str) -> Result<(), Failure> {
    let pair = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&pair)?.der().clone();
    std::fs::write(file, &certificate)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    let config = quinn::ServerConfig::with_single_cert(vec![certificate], key)?;
    let endpoint = quinn::Endpoint::server(config, (std::net::Ipv4Addr::UNSPECIFIED, quic).into())?;
    let door = TcpListener::bind(("0.0.0.0", h2)).await?;
    println!("ready");
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(async move { drop(give_quic(incoming).await) });
        }
    });
    loop {
        let (stream, _) = door.accept().await?;
        tokio::spawn(async move { drop(give_h2(stream).await) });
    }
}

async fn give_quic(incoming: quinn::Incoming) -> Result<(), Failure> {
    let connection = incoming.await?;
    let (mut send, _receive) = connection.accept_bi().await?;
    loop {
        send.write_all(&[7; 4096]).await?;
        tokio::time::sleep(STEP).await;
    }
}

async fn give_h2(stream: TcpStream) -> Result<(), Failure> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (_, mut respond) = request?;
        let mut body = respond.send_response(http::Response::new(()), false)?;
        tokio::spawn(async move {
            loop {
                // The client gives room for each piece it has read.
                body.reserve_capacity(4096);
                if body.send_data(Bytes::from_static(&[7; 4096]), false).is_err() {
                    return;
                }
                tokio::time::sleep(STEP).await;
            }
        });
    }
    Ok(())
}

/// Says `ready` when every flow has carried something.
async fn open(h2: SocketAddr, quic: SocketAddr, file: &str) -> Result<(), Failure> {
    let certificate = CertificateDer::from(std::fs::read(file)?);
    let (alive, mut lives) = mpsc::unbounded_channel();
    let flows = [tokio::spawn(take_h2(h2, alive.clone())), tokio::spawn(take_quic(quic, certificate, alive))];
    let mut living = std::collections::BTreeSet::new();
    while living.len() < flows.len() {
        living.insert(lives.recv().await.ok_or("a flow ended before it lived")?);
    }
    println!("ready");
    // What they say from now on interests nobody.
    lives.close();
    for flow in flows {
        flow.await??;
    }
    Ok(())
}

fn ended(kind: &str, last: Option<f64>, told: Option<f64>, how: &str) {
    println!("{}", json!({ "kind": kind, "last": last, "told": told, "how": how }));
}

async fn take_h2(to: SocketAddr, alive: mpsc::UnboundedSender<&'static str>) -> Result<(), Failure> {
    let (mut client, connection) = h2::client::handshake(TcpStream::connect(to).await?).await?;
    tokio::spawn(connection);
    let request = http::Request::get(format!("http://{NAME}/stream")).body(())?;
    let (response, _) = client.send_request(request, true)?;
    let mut body = response.await?.into_body();
    let mut last = None;
    loop {
        match tokio::time::timeout(QUIET, body.data()).await {
            Ok(Some(Ok(data))) => {
                last = Some(monotonic());
                body.flow_control().release_capacity(data.len())?;
                let _ = alive.send("http2");
            }
            end => {
                let how = match &end {
                    Ok(Some(Err(e))) => cause(e),
                    Ok(_) => "closed".to_owned(),
                    Err(_) => "silence".to_owned(),
                };
                ended("http2", last, end.is_ok().then(monotonic), &how);
                return Ok(());
            }
        }
    }
}

/// The name of the system's error, where there is one.
fn cause(e: &h2::Error) -> String {
    match e.get_io().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionReset) => "ECONNRESET".to_owned(),
        // The reset came while the library was about to write.
        Some(io::ErrorKind::BrokenPipe) => "EPIPE".to_owned(),
        _ => e.to_string(),
    }
}

async fn take_quic(
    to: SocketAddr,
    certificate: CertificateDer<'static>,
    alive: mpsc::UnboundedSender<&'static str>,
) -> Result<(), Failure> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate)?;
    let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect(to).await?;
    let socket = Arc::new(Connected { socket, to, told: Mutex::default() });
    let runtime = Arc::new(quinn::TokioRuntime);
    let mut endpoint =
        quinn::Endpoint::new_with_abstract_socket(Default::default(), None, socket.clone(), runtime)?;
    endpoint.set_default_client_config(quinn::ClientConfig::with_root_certificates(Arc::new(roots))?);
    let connection = endpoint.connect(to, NAME)?.await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(b"go").await?;
    let mut last = None;
    let mut buffer = [0; 8192];
    let mut quiet = tokio::time::Instant::now();
    while quiet.elapsed() < QUIET {
        // The runtime wakes nobody for an error alone: it is asked for.
        socket.look();
        match tokio::time::timeout(STEP, receive.read(&mut buffer)).await {
            Ok(Ok(Some(_))) => {
                (last, quiet) = (Some(monotonic()), tokio::time::Instant::now());
                let _ = alive.send("quic");
            }
            Ok(end) => {
                ended("quic", last, Some(monotonic()), &format!("{end:?}"));
                return Ok(());
            }
            Err(_) => {}
        }
    }
    let (told, how) = socket.told().map_or((None, "silence".to_owned()), |(at, how)| (Some(at), how));
    ended("quic", last, told, &how);
    Ok(())
}

/// A connected UDP socket that remembers when, and how, the system first said that the other end is not reached.
struct Connected {
    socket: tokio::net::UdpSocket,
    to: SocketAddr,
    told: Mutex<Option<(f64, String)>>,
}

impl Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connected({})", self.to)
    }
}

impl Connected {
    fn told(&self) -> Option<(f64, String)> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn look(&self) {
        if let Ok(Some(e)) = self.socket.take_error() {
            self.hear(&e);
        }
    }

    /// QUIC itself goes on trying, as RFC 9000 asks.
    fn hear(&self, e: &io::Error) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get_or_insert_with(|| (monotonic(), name(e)));
    }
}

fn name(e: &io::Error) -> String {
    match e.raw_os_error() {
        Some(1) => "EPERM".to_owned(),
        Some(13) => "EACCES".to_owned(),
        Some(111) => "ECONNREFUSED".to_owned(),
        Some(113) => "EHOSTUNREACH".to_owned(),
        _ => e.to_string(),
    }
}

impl AsyncUdpSocket for Connected {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self.socket.try_send(transmit.contents) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(e),
            Err(e) => {
                self.hear(&e);
                Ok(())
            }
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else { return Poll::Pending };
        loop {
            let mut read = tokio::io::ReadBuf::new(buffer);
            match ready!(self.socket.poll_recv(cx, &mut read)) {
                Ok(()) => {
                    let len = read.filled().len();
                    *meta = RecvMeta { addr: self.to, len, stride: len, ecn: None, dst_ip: None };
                    return Poll::Ready(Ok(1));
                }
                Err(e) => self.hear(&e),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

#[derive(Debug)]
struct Poller(Arc<Connected>);

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.socket.poll_send_ready(cx)
    }
}
