//! A resolver that answers on a loopback address, and upstreams that one certificate authority vouches for.

#![allow(dead_code, reason = "each user takes a part")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use warren_config::policy::Settings;
use warren_config::upstream::Scheme;
use warren_node::clock::Clock;
use warren_node::resolver::{self, Own, Resolver, Service, tls};
use warren_node_core::names::Names;
use warren_node_core::names::forward::Local;

use super::alone;
use super::upstream::{Authority, Manner, Upstream, serve};

pub const NAME: &str = "dns.test";
pub const SCHEMES: [Scheme; 3] = [Scheme::Tls, Scheme::Https, Scheme::Quic];
/// Longest that anything here may take on a busy host.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One node, `me`, in the zone `prod.internal`.
pub fn names() -> Arc<Names> {
    alone::names(0, &Settings { zone: Some("prod.internal".into()), ..Settings::default() })
}

pub struct World {
    pub authority: Authority,
    ca: tempfile::NamedTempFile,
}

/// A resolver that answers, and a client's socket.
pub struct Answering {
    pub resolver: Arc<Resolver>,
    _service: Service,
    pub client: UdpSocket,
    pub at: SocketAddr,
}

impl World {
    pub fn new() -> World {
        let authority = Authority::new();
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), &authority.pem).unwrap();
        World { authority, ca }
    }

    pub async fn upstream(&self, scheme: Scheme, manner: Manner) -> Upstream {
        serve(scheme, (Ipv4Addr::LOCALHOST, 0).into(), &self.authority, NAME, manner).await
    }

    /// Not answering; its node's operator named these upstreams.
    pub fn resolver(&self, local: Local) -> Arc<Resolver> {
        let own = Own { local, tls: tls::config(Some(self.ca.path())).unwrap(), anchors: None };
        Resolver::new(Arc::new(Clock::new(0)), own)
    }

    pub async fn answering(&self, settings: &Settings) -> Answering {
        let resolver = self.resolver(Local::default());
        resolver.publish(&names(), settings);
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let free = || std::net::UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap().port();
        // Somebody's connection may take the port before we do.
        let served = (0..20)
            .map(|_| free())
            .find_map(|port| resolver::serve(&resolver, &[ip], port).ok().map(|service| (service, port)));
        let (service, free) = served.expect("a free port");
        let client = UdpSocket::bind((ip, 0)).await.unwrap();
        client.connect((ip, free)).await.unwrap();
        Answering { resolver, _service: service, client, at: (ip, free).into() }
    }
}

pub fn url(scheme: Scheme, upstream: &Upstream) -> String {
    format!("{}://{}#{NAME}", scheme.as_str(), upstream.address)
}

pub fn settings(upstream: impl IntoIterator<Item = String>) -> Settings {
    Settings { upstream: upstream.into_iter().collect(), ..Settings::default() }
}

pub fn question(name: &str, kind: RecordType, id: u16) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(1232).set_version(0);
    message.set_edns(edns);
    message.to_vec().unwrap()
}

/// What came back, in words.
#[derive(Debug)]
pub struct Got {
    pub code: ResponseCode,
    pub records: Vec<String>,
    pub truncated: bool,
    /// The extended error: code and text.
    pub why: Option<(u16, String)>,
    /// Of the first record.
    pub ttl: Option<u32>,
}

pub fn got(bytes: &[u8]) -> Got {
    let message = Message::from_vec(bytes).unwrap();
    let option = message.edns.as_ref().and_then(|edns| {
        let options = edns.options();
        let bytes: Vec<u8> =
            options.get(hickory_proto::rr::rdata::opt::EdnsCode::Unknown(15))?.try_into().ok()?;
        Some((u16::from_be_bytes([bytes[0], bytes[1]]), String::from_utf8_lossy(&bytes[2..]).into_owned()))
    });
    Got {
        code: message.metadata.response_code,
        records: message.answers.iter().map(|r| r.data.to_string()).collect(),
        truncated: message.metadata.truncation,
        why: option,
        ttl: message.answers.first().map(|record| record.ttl),
    }
}

impl Answering {
    pub async fn ask(&self, name: &str, kind: RecordType) -> Got {
        self.client.send(&question(name, kind, 7)).await.unwrap();
        let mut buffer = [0; 4096];
        let n =
            tokio::time::timeout(PATIENCE, self.client.recv(&mut buffer)).await.expect("an answer").unwrap();
        got(&buffer[..n])
    }

    pub async fn ask_by_tcp(&self, name: &str, kind: RecordType) -> Got {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        let question = question(name, kind, 7);
        stream.write_all(&[&(question.len() as u16).to_be_bytes()[..], &question].concat()).await.unwrap();
        let length = tokio::time::timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
        let mut answer = vec![0; length.into()];
        stream.read_exact(&mut answer).await.unwrap();
        got(&answer)
    }
}
