//! One flow: who opened it, what admitted it, and what it has carried.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use warren_config::filter::Verdict;
use warren_config::name::Name;
use warren_config::policy::Protocol;
use warren_config::time::UnixTime;
use warren_wire::flow::FlowVerdict;

use super::tcp::{TcpState, TcpTrack};
use super::{Edition, Load};
use crate::clock::{Mono, Now};
use crate::packet::{Kind, Packet, Quoted, Tuple};
use crate::workload::Question;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Out,
    In,
}

/// A flow as this end sees it: the same for both directions, different for two echo dialogues with one identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowKey {
    pub local: IpAddr,
    pub remote: IpAddr,
    pub local_port: u16,
    pub remote_port: u16,
    pub protocol: Protocol,
    /// Echo only: the local host asks.
    pub local_asks: bool,
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let protocol = match self.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::IcmpEcho => 1,
            Protocol::Number(number) => number,
        };
        let ports = u64::from(self.local_port) << 32 | u64::from(self.remote_port) << 16;
        state.write_u128(bits(self.local));
        state.write_u128(bits(self.remote));
        state.write_u64(ports | u64::from(protocol) << 8 | u64::from(self.local_asks));
    }
}

impl FlowKey {
    pub fn of(packet: &Packet, way: Way) -> FlowKey {
        let reply = packet.kind == Kind::EchoReply;
        FlowKey::new(packet.tuple, way, reply)
    }

    /// The flow of a packet that travelled against `way`, as an ICMP error going `way` quotes it.
    pub fn of_quoted(quoted: &Quoted, way: Way) -> FlowKey {
        let sent = if way == Way::Out { Way::In } else { Way::Out };
        FlowKey::new(quoted.tuple, sent, quoted.echo_reply)
    }

    fn new(tuple: Tuple, way: Way, reply: bool) -> FlowKey {
        let echo = tuple.protocol == Protocol::IcmpEcho;
        let local = if way == Way::Out { tuple } else { tuple.reversed() };
        FlowKey {
            local: local.src,
            remote: local.dst,
            local_port: local.sport,
            remote_port: local.dport,
            protocol: tuple.protocol,
            local_asks: echo && (way == Way::Out) != reply,
        }
    }

    /// Whose is it? Nobody can be asked but about TCP and UDP.
    pub fn question(&self, flow: u64, outbound: bool) -> Option<Question> {
        let protocol = match self.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::IcmpEcho | Protocol::Number(_) => return None,
        };
        let local = SocketAddr::new(self.local, self.local_port);
        let remote = SocketAddr::new(self.remote, self.remote_port);
        Some(Question { flow, protocol, outbound, local, remote, user: None })
    }

    /// From the end that opened it to the other.
    pub fn tuple(&self, outbound: bool) -> Tuple {
        let tuple = Tuple {
            protocol: self.protocol,
            src: self.local,
            dst: self.remote,
            sport: self.local_port,
            dport: self.remote_port,
        };
        if outbound { tuple } else { tuple.reversed() }
    }
}

/// What the rules said when the flow was last judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    pub verdict: FlowVerdict,
    pub grant: Option<Name>,
    pub service: Option<Name>,
    pub until: Option<UnixTime>,
    pub edition: Edition,
}

impl Admission {
    pub fn of(verdict: Verdict<'_>, edition: Edition) -> Admission {
        let (verdict, grant, service, until) = match verdict {
            Verdict::Allow { grant, service, until } => {
                (FlowVerdict::Allow, Some(grant), Some(service), until)
            }
            Verdict::Deny => (FlowVerdict::Deny, None, None, None),
            Verdict::WouldAllow { grant, service } => {
                (FlowVerdict::WouldAllow, Some(grant), Some(service), None)
            }
            Verdict::WouldDeny => (FlowVerdict::WouldDeny, None, None, None),
        };
        Admission { verdict, grant: grant.cloned(), service: service.cloned(), until, edition }
    }

    /// Still the word of `edition` at this moment?
    pub fn stands(&self, edition: Edition, now: Now) -> bool {
        self.edition == edition && self.until.is_none_or(|until| now.wall() < until)
    }
}

/// What passed since the last record: from the opener, and back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub out: Load,
    pub back: Load,
}

impl Traffic {
    pub fn is_empty(&self) -> bool {
        *self == Traffic::default()
    }
    pub fn add(&mut self, from_opener: bool, load: Load) {
        let side = if from_opener { &mut self.out } else { &mut self.back };
        side.packets = side.packets.saturating_add(load.packets);
        side.bytes = side.bytes.saturating_add(load.bytes);
    }
}

/// Longer than two hours, at which hosts ask idle connections for a sign of life: by so much that such a question may be lost
/// three times (RFC 5382 REQ-5 asks for four minutes more).
const ESTABLISHED_SECS: u64 = 2 * 3600 + 300;

/// What a flow is worth to those who need its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing but stragglers can come.
    Over,
    /// The other end has not agreed yet.
    HalfOpen,
    /// Answered once and no more, as a question to a name server is: it can be asked again.
    Brief,
    Lasting,
}

/// A dialogue without connections that has been answered and goes on so long after its first packet lasts; what is shorter
/// is a question and its answer. (As Linux's `nf_conntrack` tells them apart.)
const LASTING_MS: u64 = 2_000;

#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub key: FlowKey,
    pub id: u64,
    /// The local host opened it.
    pub outbound: bool,
    pub admission: Admission,
    pub tcp: Option<TcpTrack>,
    /// The other end has answered.
    pub replied: bool,
    /// Not TCP: it went on after its first answer.
    pub lasts: bool,
    /// The local host has sent on it.
    pub local_sent: bool,
    pub began: Mono,
    pub started_ms: u64,
    pub last_ms: u64,
    /// Last packet that keeps it alive.
    pub last: Mono,
    pub window: Traffic,
    /// Since this agent knows the flow.
    pub total: Traffic,
    /// A record of it was made.
    pub recorded: bool,
    /// In the list of flows with traffic since the last drain.
    pub dirty: bool,
    /// The moment its one valid timer fires.
    pub timer: Mono,
}

impl Flow {
    pub fn tuple(&self) -> Tuple {
        self.key.tuple(self.outbound)
    }

    /// Nothing but stragglers can come.
    pub fn is_over(&self) -> bool {
        self.tcp.is_some_and(|tcp| tcp.is_over())
    }

    pub fn standing(&self) -> Standing {
        match self.tcp {
            Some(tcp) if tcp.is_over() => Standing::Over,
            Some(tcp) if tcp.is_half_open() => Standing::HalfOpen,
            Some(_) => Standing::Lasting,
            None if self.lasts => Standing::Lasting,
            None if self.replied => Standing::Brief,
            None => Standing::HalfOpen,
        }
    }

    /// Seconds without a packet after which the flow is forgotten.
    fn idle_seconds(&self) -> u64 {
        match (self.key.protocol, self.tcp) {
            (_, Some(tcp)) => match tcp.state {
                TcpState::SynSent | TcpState::SynReceived => 30,
                TcpState::Established => ESTABLISHED_SECS,
                TcpState::Closing => 600,
                TcpState::Closed | TcpState::Reset => 10,
            },
            (Protocol::Udp, _) if self.lasts => 180,
            (Protocol::Udp | Protocol::IcmpEcho, _) => 30,
            _ => 600,
        }
    }

    pub fn deadline(&self) -> Mono {
        self.last.plus_secs(self.idle_seconds())
    }

    /// When the timer must look at it: idle, or the end of `until`.
    pub fn next_timer(&self, now: Now) -> Mono {
        let idle = self.deadline();
        match self.admission.until {
            Some(until) => {
                let left = until.0.saturating_mul(1000).saturating_sub(now.wall_ms);
                idle.min(now.mono.plus_millis(left.min(u64::from(u32::MAX))))
            }
            None => idle,
        }
    }

    /// One judged packet that passed.
    pub fn observe(&mut self, packet: &Packet, way: Way, load: Load, now: Now) {
        let from_opener = self.outbound == (way == Way::Out);
        let was_over = self.is_over();
        if let (Some(track), Kind::Tcp(tcp)) = (&mut self.tcp, packet.kind) {
            track.observe(from_opener, &tcp);
        }
        self.lasts |= self.replied && now.mono.millis_since(self.began) > LASTING_MS;
        self.replied |= !from_opener;
        self.local_sent |= way == Way::Out;
        if !was_over {
            self.last = self.last.max(now.mono);
        }
        self.account(from_opener, load, now);
    }

    pub fn account(&mut self, from_opener: bool, load: Load, now: Now) {
        self.window.add(from_opener, load);
        self.total.add(from_opener, load);
        self.last_ms = self.last_ms.max(now.wall_ms);
    }
}
