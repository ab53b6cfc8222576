//! An encrypted DNS server for tests, over TLS, HTTPS and QUIC, with good manners or bad ones.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "test code fails by panicking; each user takes a part"
)]

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use warren_config::upstream::Scheme;

/// A certificate authority that only tests believe.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key in PEM, for stock servers.
    pub fn pems(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn server(&self, name: &str, alpn: &[u8]) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(certificate.der().to_vec())], key)
            .unwrap();
        if !alpn.is_empty() {
            config.alpn_protocols = vec![alpn.to_vec()];
        }
        Arc::new(config)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Honest,
    Slow(Duration),
    /// Takes questions and says nothing.
    Silent,
    /// Sets TC.
    Truncating,
    /// Bytes that are no message.
    Malformed,
    /// Answers what was not asked.
    OtherQuestion,
    /// As large as a message can be.
    Huge,
    /// Everything is at a private address.
    Private,
    Failing,
    /// Over HTTPS: says that the answer is elsewhere (302), or nothing but a code (503).
    Redirecting,
    Overloaded,
    /// Slips in records of other names.
    Poisoning,
}

impl FromStr for Manner {
    type Err = String;
    fn from_str(text: &str) -> Result<Manner, String> {
        Ok(match text {
            "honest" => Manner::Honest,
            "slow" => Manner::Slow(Duration::from_millis(700)),
            "silent" => Manner::Silent,
            "truncating" => Manner::Truncating,
            "malformed" => Manner::Malformed,
            "other-question" => Manner::OtherQuestion,
            "huge" => Manner::Huge,
            "private" => Manner::Private,
            "failing" => Manner::Failing,
            "redirecting" => Manner::Redirecting,
            "overloaded" => Manner::Overloaded,
            "poisoning" => Manner::Poisoning,
            other => return Err(format!("unknown manner {other}")),
        })
    }
}

/// A running server.
pub struct Upstream {
    pub address: SocketAddr,
    /// Questions it got, and the length of the last.
    pub questions: Arc<AtomicU64>,
    pub last_length: Arc<AtomicU64>,
    pub connections: Arc<AtomicU64>,
    pub task: tokio::task::JoinHandle<()>,
    manner: Arc<Mutex<Manner>>,
}

impl Upstream {
    /// From now on it behaves like this.
    pub fn turn(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }
}

#[derive(Clone)]
struct Shared {
    manner: Arc<Mutex<Manner>>,
    questions: Arc<AtomicU64>,
    last_length: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves at `address` (port 0 for any) with a certificate for `name`.
pub async fn serve(
    scheme: Scheme,
    address: SocketAddr,
    authority: &Authority,
    name: &str,
    manner: Manner,
) -> Upstream {
    let shared = Shared {
        manner: Arc::new(Mutex::new(manner)),
        questions: Arc::default(),
        last_length: Arc::default(),
        connections: Arc::default(),
    };
    let own = shared.clone();
    let (address, task) = match scheme {
        Scheme::Quic => {
            let tls = authority.server(name, b"doq");
            let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
            let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
            let endpoint = quinn::Endpoint::server(config, address).unwrap();
            (endpoint.local_addr().unwrap(), tokio::spawn(quic(endpoint, own)))
        }
        _ => {
            let alpn: &[u8] = if scheme == Scheme::Https { b"h2" } else { b"" };
            let acceptor = tokio_rustls::TlsAcceptor::from(authority.server(name, alpn));
            let listener = TcpListener::bind(address).await.unwrap();
            (listener.local_addr().unwrap(), tokio::spawn(tcp(listener, acceptor, scheme, own)))
        }
    };
    let Shared { manner, questions, last_length, connections } = shared;
    Upstream { address, questions, last_length, connections, task, manner }
}

async fn tcp(listener: TcpListener, acceptor: tokio_rustls::TlsAcceptor, scheme: Scheme, shared: Shared) {
    // With the server's end its connections end too.
    let mut conversations = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), shared.clone());
        conversations.spawn(async move {
            let Ok(tls) = acceptor.accept(stream).await else { return };
            shared.connections.fetch_add(1, Ordering::SeqCst);
            match scheme {
                Scheme::Https => http(tls, shared).await,
                _ => dot(tls, shared).await,
            }
        });
    }
}

async fn dot(tls: tokio_rustls::server::TlsStream<tokio::net::TcpStream>, shared: Shared) {
    let (mut read, mut write) = tokio::io::split(tls);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
    let writer = tokio::spawn(async move {
        while let Some(answer) = told.recv().await {
            let length = (answer.len() as u16).to_be_bytes();
            if write.write_all(&[&length[..], &answer].concat()).await.is_err()
                || write.flush().await.is_err()
            {
                return;
            }
        }
    });
    while let Ok(length) = read.read_u16().await {
        let mut question = vec![0; length.into()];
        if read.read_exact(&mut question).await.is_err() {
            break;
        }
        let (shared, tell) = (shared.clone(), tell.clone());
        tokio::spawn(async move {
            if let Some(answer) = shared.answer(&question).await {
                let _ = tell.send(answer);
            }
        });
    }
    writer.abort();
}

async fn http(tls: tokio_rustls::server::TlsStream<tokio::net::TcpStream>, shared: Shared) {
    let Ok(mut connection) = h2::server::handshake(tls).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let here = request.uri().path() == "/dns-query" && request.method() == http::Method::POST;
            // Who follows a redirection finds an honest answer there.
            let code = match *shared.manner.lock().unwrap() {
                Manner::Redirecting if request.uri().path() == "/elsewhere" => 200,
                Manner::Redirecting => 302,
                Manner::Overloaded => 503,
                _ if here => 200,
                _ => 404,
            };
            let mut body = request.into_body();
            let mut question = Vec::new();
            while let Some(Ok(part)) = body.data().await {
                question.extend_from_slice(&part);
            }
            let Some(answer) = shared.answer(&question).await else {
                return std::future::pending::<()>().await;
            };
            let head = http::Response::builder()
                .status(code)
                .header("content-type", "application/dns-message")
                .header("location", "/elsewhere")
                .header("content-length", answer.len())
                .body(())
                .unwrap();
            if let Ok(mut stream) = respond.send_response(head, false) {
                // Sent as the other side takes it.
                let mut rest = bytes::Bytes::from(answer);
                stream.reserve_capacity(rest.len());
                while !rest.is_empty() {
                    match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                        Some(Ok(room)) => {
                            let part = rest.split_to(room.min(rest.len()));
                            if stream.send_data(part, rest.is_empty()).is_err() {
                                return;
                            }
                        }
                        _ => return,
                    }
                }
            }
        });
    }
}

async fn quic(endpoint: quinn::Endpoint, shared: Shared) {
    let mut conversations = tokio::task::JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        let shared = shared.clone();
        conversations.spawn(async move {
            let Ok(connection) = incoming.await else { return };
            shared.connections.fetch_add(1, Ordering::SeqCst);
            while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let Ok(framed) = receive.read_to_end(70_000).await else { return };
                    let Some(answer) = shared.answer(framed.get(2..).unwrap_or_default()).await else {
                        return std::future::pending::<()>().await;
                    };
                    let length = (answer.len() as u16).to_be_bytes();
                    let _ = send.write_all(&[&length[..], &answer].concat()).await;
                    let _ = send.finish();
                    let _ = send.stopped().await;
                });
            }
        });
    }
}

impl Shared {
    async fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        self.last_length.store(question.len() as u64, Ordering::SeqCst);
        let manner = *self.manner.lock().unwrap();
        match manner {
            Manner::Silent => return None,
            Manner::Slow(wait) => tokio::time::sleep(wait).await,
            _ => {}
        }
        Some(answer(question, manner))
    }
}

/// `no-…` does not exist, `alias…` is an alias, everything else has one address and one text. `lives-N.…` lives N seconds.
fn answer(question: &[u8], manner: Manner) -> Vec<u8> {
    let asked = Message::from_vec(question).unwrap();
    let query = asked.queries[0].clone();
    let mut message = Message::response(asked.metadata.id, asked.metadata.op_code);
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_desired = true;
    message.metadata.recursion_available = true;
    message.add_query(query.clone());
    let name = query.name.clone();
    let text = name.to_ascii();
    let life =
        text.strip_prefix("lives-").and_then(|rest| rest.split('.').next()?.parse().ok()).unwrap_or(60);
    let record = |owner: &Name, data| Record::from_rdata(owner.clone(), life, data);
    let address = if manner == Manner::Private { [192, 168, 1, 1] } else { [203, 0, 113, 7] };
    let a = |owner: &Name| record(owner, RData::A(A(address.into())));
    let soa = SOA::new(name.clone(), name.clone(), 1, 60, 60, 60, 60);
    if text.starts_with("no-") {
        message.metadata.response_code = ResponseCode::NXDomain;
        message.add_authority(record(&Name::root(), RData::SOA(soa)));
        return message.to_vec().unwrap();
    }
    match query.query_type {
        RecordType::A if text.starts_with("alias") => {
            let target = Name::from_ascii("target.example.").unwrap();
            message.add_answer(record(&name, RData::CNAME(CNAME(target.clone()))));
            message.add_answer(a(&target));
        }
        RecordType::A => drop(message.add_answer(a(&name))),
        RecordType::AAAA if manner != Manner::Private => {
            message.add_answer(record(&name, RData::AAAA(AAAA("2001:db8::7".parse().unwrap()))));
        }
        RecordType::TXT => {
            message.add_answer(record(&name, RData::TXT(TXT::new(vec!["hello".to_owned()]))));
        }
        _ => drop(message.add_authority(record(&Name::root(), RData::SOA(soa)))),
    }
    match manner {
        Manner::Truncating => message.metadata.truncation = true,
        Manner::Failing => {
            message.answers.clear();
            message.metadata.response_code = ResponseCode::ServFail;
        }
        Manner::OtherQuestion => message.queries[0].name = Name::from_ascii("other.example.").unwrap(),
        Manner::Huge => {
            let txt = |i: u32| RData::TXT(TXT::new(vec![format!("{i:0>200}")]));
            message.answers = (0..290).map(|i| record(&name, txt(i))).collect();
        }
        Manner::Poisoning => {
            let bank = Name::from_ascii("bank.example.").unwrap();
            message.add_answer(record(&bank, RData::A(A([203, 0, 113, 66].into()))));
            message.add_additional(record(&bank, RData::A(A([203, 0, 113, 66].into()))));
        }
        Manner::Malformed => {
            let mut bytes = message.to_vec().unwrap();
            let end = bytes.len();
            bytes[12..end].fill(0xc0);
            return bytes;
        }
        _ => {}
    }
    message.to_vec().unwrap()
}
