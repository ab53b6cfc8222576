//! Which socket a flow belongs to, by `sock_diag(7)`.
//!
//! The kernel answers a question about one socket with one that would receive such a packet, which may be another than was
//! meant: a listener for a connection that is not there, the peer's socket for a UDP question asked the wrong way round. So
//! every answer is compared with the question, and what does not fit is no answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use warren_node_core::workload::Question;

const ANY: [u8; 8] = [0xff; 8];
const LISTEN: u8 = 10;
const TCP: u8 = 6;
/// In `struct tcp_info` of <linux/tcp.h>, which only ever grows at its end.
const RTT: usize = 68;
const TOTAL_RETRANS: usize = 100;
/// The kernel answers at once.
const PATIENCE: Duration = Duration::from_millis(200);

pub struct Sockets {
    socket: Socket,
    sequence: u32,
}

/// One socket of this host.
pub struct Found {
    pub inode: u32,
    pub uid: u32,
    pub rtt_us: Option<u64>,
    pub retransmissions: Option<u64>,
}

impl Sockets {
    pub fn open() -> io::Result<Sockets> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&NetlinkAddr::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Sockets { socket, sequence: 0 })
    }

    pub fn find(&mut self, question: &Question) -> Option<Found> {
        // A socket of both families holds IPv4 in its IPv6 form.
        let mapped = (mapped(question.local), mapped(question.remote));
        let forms = [Some((question.local, question.remote)), mapped.0.zip(mapped.1)];
        forms.into_iter().flatten().find_map(|(local, remote)| self.ask(question, local, remote))
    }

    fn ask(&mut self, question: &Question, local: SocketAddr, remote: SocketAddr) -> Option<Found> {
        self.sequence = self.sequence.wrapping_add(1);
        // About UDP the kernel looks for who receives what comes from the source.
        let (source, destination) = if question.protocol == TCP { (local, remote) } else { (remote, local) };
        let request = InetRequest {
            family: if local.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 },
            protocol: question.protocol,
            extensions: ExtensionFlags::INFO,
            states: StateFlags::all(),
            socket_id: SocketId {
                source_port: source.port(),
                destination_port: destination.port(),
                source_address: source.ip(),
                destination_address: destination.ip(),
                interface_id: 0,
                cookie: ANY,
            },
        };
        let mut header = NetlinkHeader::default();
        (header.flags, header.sequence_number) = (NLM_F_REQUEST, self.sequence);
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).ok()?;
        let response = self.hear()?;
        fits(question, local, remote, &response).then(|| found(&response))
    }

    fn hear(&mut self) -> Option<InetResponse> {
        // What is late of an earlier question is passed over.
        for _ in 0..8 {
            let mut bytes = Vec::with_capacity(4096);
            self.socket.recv(&mut bytes, 0).ok()?;
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(&bytes).ok()?;
            if message.header.sequence_number != self.sequence {
                continue;
            }
            return match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => Some(*response),
                _ => None,
            };
        }
        None
    }
}

fn mapped(address: SocketAddr) -> Option<SocketAddr> {
    match address.ip() {
        IpAddr::V4(v4) => Some(SocketAddr::new(v4.to_ipv6_mapped().into(), address.port())),
        IpAddr::V6(_) => None,
    }
}

fn is_any(ip: IpAddr) -> bool {
    ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED) || ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
}

/// The very connection; or, of what came in, the listener or the unconnected socket that it comes to.
fn fits(question: &Question, local: SocketAddr, remote: SocketAddr, response: &InetResponse) -> bool {
    let id = &response.header.socket_id;
    let same = |ip: IpAddr, port: u16, end: SocketAddr| ip == end.ip() && port == end.port();
    let here =
        id.source_port == local.port() && (id.source_address == local.ip() || is_any(id.source_address));
    let connected = same(id.destination_address, id.destination_port, remote);
    let unconnected = id.destination_port == 0 && is_any(id.destination_address);
    match question.protocol {
        TCP if response.header.state == LISTEN => !question.outbound && here && unconnected,
        TCP => same(id.source_address, id.source_port, local) && connected,
        _ => here && (connected || unconnected),
    }
}

fn found(response: &InetResponse) -> Found {
    let info = response.nlas.iter().find_map(|nla| match nla {
        Nla::TcpInfo(info) if response.header.state != LISTEN => Some(info.as_slice()),
        _ => None,
    });
    let word =
        |at: usize| info?.get(at..)?.first_chunk::<4>().map(|word| u64::from(u32::from_ne_bytes(*word)));
    Found {
        inode: response.header.inode,
        uid: response.header.uid,
        rtt_us: word(RTT).filter(|rtt| *rtt > 0),
        retransmissions: word(TOTAL_RETRANS),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;

    use super::*;

    fn inode(socket: &impl AsRawFd) -> u32 {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).expect("link");
        let text = link.to_string_lossy().into_owned();
        text.trim_start_matches("socket:[").trim_end_matches(']').parse().expect("inode")
    }

    fn find(protocol: u8, outbound: bool, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
        let question = Question { flow: 1, protocol, outbound, local, remote, user: None };
        Sockets::open().expect("netlink").find(&question).map(|found| found.inode)
    }

    #[test]
    fn a_connection_is_found_at_both_ends_and_a_listener_only_for_what_came_in() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let server = listener.local_addr().expect("address");
        let near = TcpStream::connect(server).expect("connect");
        let (far, client) = listener.accept().expect("accept");
        assert_eq!(find(TCP, true, client, server), Some(inode(&near)));
        assert_eq!(find(TCP, false, server, client), Some(inode(&far)));
        let nobody = SocketAddr::new(client.ip(), client.port().wrapping_add(1).max(1024));
        assert_eq!(find(TCP, false, server, nobody), Some(inode(&listener)), "not accepted yet");
        assert_eq!(find(TCP, true, server, nobody), None, "a listener opens nothing");
    }

    #[test]
    fn a_dual_socket_and_unconnected_udp_are_found() {
        let listener = TcpListener::bind("[::]:0").expect("listen");
        let port = listener.local_addr().expect("address").port();
        let near = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        let (far, _) = listener.accept().expect("accept");
        let (server, client) = (near.peer_addr().expect("peer"), near.local_addr().expect("local"));
        assert_eq!(find(TCP, false, server, client), Some(inode(&far)));
        let (a, b) =
            (UdpSocket::bind("0.0.0.0:0").expect("bind"), UdpSocket::bind("127.0.0.1:0").expect("bind"));
        let at = SocketAddr::new("127.0.0.1".parse().expect("ip"), a.local_addr().expect("address").port());
        let to = b.local_addr().expect("address");
        assert_eq!(find(17, false, at, to), Some(inode(&a)), "bound to every address");
        assert_eq!(find(17, true, to, at), Some(inode(&b)), "and not the peer's");
    }
}
