//! The name server on this node's own overlay addresses, port 53, UDP and TCP.
//!
//! It answers from [`Names`]: what this node may not see does not exist. Names outside the zone are REFUSED, so that the
//! host's resolver asks its other servers; forwarding them encrypted is a later step. Only this host is answered: the
//! packet filter keeps peers away, and a source that is not one of this node's own addresses is refused here again.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hickory_proto::op::{MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, NS, PTR, SOA};
use hickory_proto::rr::{DNSClass, LowerName, Name, RData, Record, RecordType};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use socket2::{Domain, Protocol, Socket, Type as SocketType};
use tokio::sync::Semaphore;
use warren_node_core::names::{Answer, Data, Names, TTL_SECONDS, Type};

use crate::clock::Clock;

pub const PORT: u16 = 53;
/// Questions answered at the same time; the library starts a task for each datagram without a cap.
const CONCURRENT: usize = 64;
const TCP_IDLE: Duration = Duration::from_secs(5);
const TCP_WAITING: usize = 16;

/// What the name server answers from; replaced whole with each publication.
pub type Shared = Arc<ArcSwapOption<Names>>;

#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    #[error(
        "port 53 of {address} is in use by another program: overlay names are not answered; stop it, or run with --no-dns"
    )]
    InUse { address: IpAddr },
    #[error(
        "not allowed to bind port 53 of {address}: give the agent CAP_NET_BIND_SERVICE (the systemd unit does)"
    )]
    NotAllowed { address: IpAddr },
    #[error("cannot answer names on {address}: {source}")]
    Io { address: IpAddr, source: io::Error },
}

pub struct Handler {
    names: Shared,
    clock: Arc<Clock>,
    own: BTreeSet<IpAddr>,
    slots: Semaphore,
    turn: AtomicU64,
}

/// Starts answering on every address. It ends when the returned server is dropped.
pub fn serve(
    names: Shared,
    clock: Arc<Clock>,
    own: &[IpAddr],
    port: u16,
) -> Result<Server<Handler>, DnsError> {
    let handler = Handler {
        names,
        clock,
        own: own.iter().copied().collect(),
        slots: Semaphore::new(CONCURRENT),
        turn: AtomicU64::new(0),
    };
    let mut server = Server::new(handler);
    for address in own {
        let failed = |e| error(*address, e);
        let at = SocketAddr::new(*address, port);
        let udp = bind(at, SocketType::DGRAM, Protocol::UDP).map_err(failed)?;
        let udp = tokio::net::UdpSocket::from_std(udp.into()).map_err(failed)?;
        let tcp = bind(at, SocketType::STREAM, Protocol::TCP).map_err(failed)?;
        tcp.listen(64).map_err(failed)?;
        let tcp = tokio::net::TcpListener::from_std(tcp.into()).map_err(failed)?;
        server.register_socket(udp);
        server.register_listener(tcp, TCP_IDLE, TCP_WAITING);
    }
    Ok(server)
}

/// With `IP_FREEBIND`: the address may appear a moment later.
fn bind(at: SocketAddr, kind: SocketType, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), kind.nonblocking().cloexec(), Some(protocol))?;
    match at {
        SocketAddr::V4(_) => rustix::net::sockopt::set_ip_freebind(&socket, true)?,
        SocketAddr::V6(_) => rustix::net::sockopt::set_ipv6_freebind(&socket, true)?,
    }
    if kind == SocketType::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&at.into())?;
    Ok(socket)
}

fn error(address: IpAddr, source: io::Error) -> DnsError {
    match source.kind() {
        io::ErrorKind::AddrInUse => DnsError::InUse { address },
        io::ErrorKind::PermissionDenied => DnsError::NotAllowed { address },
        _ => DnsError::Io { address, source },
    }
}

/// What to say, before it is put into a message.
#[derive(Debug, PartialEq)]
enum Reply {
    Records(Vec<Record>),
    /// Nothing of this type, or no such name: with the zone's SOA (RFC 2308).
    Nothing(ResponseCode, Box<Record>),
    Code(ResponseCode),
}

impl Handler {
    fn reply(&self, request: &Request) -> Reply {
        let source = request.src().ip();
        if !source.is_loopback() && !self.own.contains(&source) {
            return Reply::Code(ResponseCode::Refused);
        }
        if request.metadata.op_code != OpCode::Query {
            return Reply::Code(ResponseCode::NotImp);
        }
        let [query] = request.queries.queries() else { return Reply::Code(ResponseCode::FormErr) };
        if query.query_class() != DNSClass::IN {
            return Reply::Code(ResponseCode::Refused);
        }
        self.answer(query.name(), query.query_type())
    }

    fn answer(&self, name: &LowerName, kind: RecordType) -> Reply {
        let names = self.names.load();
        let Some(names) = names.as_ref() else { return Reply::Code(ResponseCode::ServFail) };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let owner = Name::from(name.clone());
        let answer = names.answer(&owner.to_ascii(), kind_of(kind), self.clock.now().wall(), turn);
        match answer {
            Answer::Records(data) => {
                let records = data.into_iter().map(|d| record(owner.clone(), d)).collect::<Option<Vec<_>>>();
                records.map_or(Reply::Code(ResponseCode::ServFail), Reply::Records)
            }
            Answer::NoData => nothing(names, ResponseCode::NoError),
            Answer::NxDomain => nothing(names, ResponseCode::NXDomain),
            Answer::NotOurs | Answer::Refused => Reply::Code(ResponseCode::Refused),
        }
    }
}

fn nothing(names: &Names, code: ResponseCode) -> Reply {
    let owner = Name::from_ascii(format!("{}.", names.zone()));
    match owner.ok().and_then(|owner| record(owner, names.soa())) {
        Some(soa) => Reply::Nothing(code, Box::new(soa)),
        None => Reply::Code(ResponseCode::ServFail),
    }
}

fn kind_of(kind: RecordType) -> Type {
    match kind {
        RecordType::A => Type::A,
        RecordType::AAAA => Type::Aaaa,
        RecordType::PTR => Type::Ptr,
        RecordType::SOA => Type::Soa,
        RecordType::NS => Type::Ns,
        RecordType::ANY | RecordType::AXFR | RecordType::IXFR => Type::Whole,
        _ => Type::Other,
    }
}

/// `None` if the core gave a name that cannot be encoded; that is answered as a failure.
fn record(owner: Name, data: Data) -> Option<Record> {
    let absolute = |text: &str| Name::from_ascii(format!("{}.", text.trim_end_matches('.'))).ok();
    let ttl = TTL_SECONDS;
    let seconds = i32::try_from(ttl).unwrap_or(i32::MAX);
    let data = match data {
        Data::A(v4) => RData::A(A(v4)),
        Data::Aaaa(v6) => RData::AAAA(AAAA(v6)),
        Data::Ptr(name) => RData::PTR(PTR(absolute(&name)?)),
        Data::Ns(name) => RData::NS(NS(absolute(&name)?)),
        Data::Soa { mname, rname, serial } => {
            RData::SOA(SOA::new(absolute(&mname)?, absolute(&rname)?, serial, seconds, seconds, seconds, ttl))
        }
    };
    Some(Record::from_rdata(owner, ttl, data))
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        // Answers to answers make loops (RFC 1035, section 7.3): silence.
        if request.metadata.message_type != MessageType::Query {
            return silent(metadata);
        }
        // Too many at once: drop, the resolver asks again.
        let Ok(_slot) = self.slots.try_acquire() else { return silent(metadata) };
        let reply = self.reply(request);
        metadata.authoritative = !matches!(reply, Reply::Code(_));
        let builder = MessageResponseBuilder::from_message_request(request);
        let sent = match &reply {
            Reply::Records(records) => {
                response.send_response(builder.build(metadata, records, [], [], [])).await
            }
            Reply::Nothing(code, soa) => {
                metadata.response_code = *code;
                response.send_response(builder.build(metadata, [], [], [soa.as_ref()], [])).await
            }
            Reply::Code(code) => {
                metadata.response_code = *code;
                response.send_response(builder.build_no_records(metadata)).await
            }
        };
        sent.unwrap_or_else(|_| silent(metadata))
    }
}

/// The library wants an account of what was answered, also when nothing was.
fn silent(metadata: Metadata) -> ResponseInfo {
    ResponseInfo::from(hickory_proto::op::Header {
        metadata,
        counts: hickory_proto::op::HeaderCounts::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, UdpSocket};

    /// A server without a view on a free port of the loopback address, and a client socket.
    async fn served() -> (Server<Handler>, UdpSocket) {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let free = UdpSocket::bind((ip, 0)).expect("bind").local_addr().expect("address").port();
        let server = serve(Shared::default(), Arc::new(Clock::new(0)), &[ip], free).expect("serve");
        let client = UdpSocket::bind((ip, 0)).expect("bind");
        client.connect((ip, free)).expect("connect");
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        (server, client)
    }

    /// Header with one question for `x.` of the given type and class.
    fn query(id: u8, flags: u8, kind: u8, class: u8) -> Vec<u8> {
        vec![0, id, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'x', 0, 0, kind, 0, class]
    }

    async fn ask(client: &UdpSocket, bytes: Vec<u8>) -> Vec<u8> {
        client.send(&bytes).expect("send");
        let client = client.try_clone().expect("clone");
        tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; 1500];
            let n = client.recv(&mut buffer).expect("an answer");
            buffer.truncate(n);
            buffer
        })
        .await
        .expect("join")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_a_view_nothing_is_made_up() {
        let (_server, client) = served().await;
        let answer = ask(&client, query(7, 1, 1, 1)).await;
        assert_eq!((answer[1], answer[3] & 0x0f), (7, 2), "SERVFAIL");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn other_classes_are_refused() {
        let (_server, client) = served().await;
        // CHAOS: `version.bind` and its like.
        let answer = ask(&client, query(8, 1, 16, 3)).await;
        assert_eq!((answer[1], answer[3] & 0x0f), (8, 5), "REFUSED");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_answer_is_never_answered_and_rubbish_does_no_harm() {
        let (_server, client) = served().await;
        client.send(&query(1, 0x81, 1, 1)).expect("a message with QR=1");
        for length in 0..40 {
            client.send(&vec![0xc0; length]).expect("rubbish with pointer loops");
        }
        let mut answer = ask(&client, query(9, 1, 1, 1)).await;
        // Rubbish may be called a format error; the message with QR=1 has id 1 and must meet silence.
        for _ in 0..40 {
            assert_ne!(answer[..2], [0, 1], "an answer was answered");
            if answer[1] == 9 {
                return;
            }
            answer = ask(&client, query(9, 1, 1, 1)).await;
        }
        panic!("the server fell silent");
    }

    #[test]
    fn a_transfer_or_any_is_asked_of_the_core_as_such() {
        for kind in [RecordType::ANY, RecordType::AXFR, RecordType::IXFR] {
            assert_eq!(kind_of(kind), Type::Whole);
        }
    }
}
