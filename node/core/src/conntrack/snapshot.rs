//! The live flows of one peer as bytes, so that an agent's restart breaks no established connection.
//!
//! Layout, big-endian: magic, version, peer id, wall time in ms, count, the flows, SHA-256 over all before. Verdicts are
//! not in it: the next agent judges every flow again before its first packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use warren_config::policy::Protocol;
use warren_wire::flow::FlowVerdict;
use warren_wire::id::NodeId;

use super::flow::{Admission, Flow, FlowKey, Traffic};
use super::tcp::{Half, TcpState, TcpTrack};
use super::{Cut, Edition, Ends, FlowIds, FlowTable, Limits};
use crate::clock::{Mono, Now};

const MAGIC: [u8; 4] = *b"WFLO";
const VERSION: u16 = 1;
const DIGEST: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("the flow snapshot is not whole ({0}); flows are not taken over")]
    Damaged(&'static str),
    #[error("the flow snapshot has version {found}, this agent reads {known}; flows are not taken over")]
    Version { found: u16, known: u16 },
    #[error("the flow snapshot belongs to peer {found}, not to {wanted}")]
    OtherPeer { found: NodeId, wanted: NodeId },
}

impl FlowTable {
    /// The live flows as bytes for the next agent on this machine.
    pub fn snapshot(&self, now: Now) -> Vec<u8> {
        let flows: Vec<&Flow> = self.slots.iter().flatten().filter(|flow| !flow.is_over()).collect();
        let mut out = MAGIC.to_vec();
        out.extend(VERSION.to_be_bytes());
        out.extend(self.peer.0);
        out.extend(now.wall_ms.to_be_bytes());
        out.extend((flows.len() as u32).to_be_bytes());
        flows.into_iter().for_each(|flow| write_flow(&mut out, flow, now));
        let digest = Sha256::digest(&out);
        out.extend_from_slice(&digest);
        out
    }

    /// A table with the flows of `bytes` that `ends` still allows; the others are cut.
    pub fn restore(
        bytes: &[u8],
        peer: NodeId,
        ids: Arc<FlowIds>,
        limits: Limits,
        ends: &Ends<'_>,
        now: Now,
    ) -> Result<(FlowTable, Vec<Cut>), SnapshotError> {
        let mut reader = Reader::open(bytes, peer)?;
        let away = now.wall_ms.saturating_sub(u64::from_be_bytes(reader.take()?));
        let count = u32::from_be_bytes(reader.take()?) as usize;
        let mut table = FlowTable::new(peer, ids, limits);
        for _ in 0..count {
            let mut flow = reader.flow(away, now)?;
            // The rest of a table with a higher limit is not taken over.
            if table.len() < limits.flows && flow.deadline() > now.mono {
                flow.id = table.next_id();
                let slot = table.insert(flow);
                table.schedule(slot, now, false);
            }
        }
        if !reader.rest.is_empty() {
            return Err(SnapshotError::Damaged("bytes behind the last flow"));
        }
        let cuts = table.rejudge(ends, now);
        Ok((table, cuts))
    }
}

fn write_flow(out: &mut Vec<u8>, flow: &Flow, now: Now) {
    let key = &flow.key;
    write_address(out, key.local);
    write_address(out, key.remote);
    out.extend(key.local_port.to_be_bytes());
    out.extend(key.remote_port.to_be_bytes());
    out.extend(match key.protocol {
        Protocol::Tcp => [0, 6],
        Protocol::Udp => [1, 17],
        Protocol::IcmpEcho => [2, 1],
        Protocol::Number(number) => [3, number],
    });
    let flags = [flow.lasts, key.local_asks, flow.outbound, flow.replied, flow.local_sent];
    out.push(flags.iter().fold(0, |bits, flag| bits << 1 | u8::from(*flag)));
    out.extend(now.mono.millis_since(flow.last).to_be_bytes());
    out.extend(flow.started_ms.to_be_bytes());
    out.extend(flow.last_ms.to_be_bytes());
    if let Some(tcp) = &flow.tcp {
        out.push(match tcp.state {
            TcpState::SynSent => 0,
            TcpState::SynReceived => 1,
            TcpState::Established => 2,
            TcpState::Closing => 3,
            TcpState::Closed => 4,
            TcpState::Reset => 5,
        });
        write_half(out, &tcp.opener);
        write_half(out, &tcp.responder);
    }
}

fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            out.push(4);
            out.extend(v4.octets());
        }
        IpAddr::V6(v6) => {
            out.push(6);
            out.extend(v6.octets());
        }
    }
}

fn write_half(out: &mut Vec<u8>, half: &Half) {
    out.push(u8::from(half.seen) << 2 | u8::from(half.ack.is_some()) << 1 | u8::from(half.fin.is_some()));
    for number in [half.next, half.ack.unwrap_or(0), half.fin.unwrap_or(0)] {
        out.extend(number.to_be_bytes());
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks what can be checked before a flow is read.
    fn open(bytes: &'a [u8], peer: NodeId) -> Result<Reader<'a>, SnapshotError> {
        let (body, digest) =
            bytes.split_last_chunk::<DIGEST>().ok_or(SnapshotError::Damaged("shorter than its checksum"))?;
        let mut reader = Reader { rest: body };
        if reader.take()? != MAGIC {
            return Err(SnapshotError::Damaged("not a flow snapshot"));
        }
        let found = u16::from_be_bytes(reader.take()?);
        if found != VERSION {
            return Err(SnapshotError::Version { found, known: VERSION });
        }
        if Sha256::digest(body).as_slice() != digest {
            return Err(SnapshotError::Damaged("checksum"));
        }
        let found = NodeId(reader.take()?);
        if found != peer {
            return Err(SnapshotError::OtherPeer { found, wanted: peer });
        }
        Ok(reader)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(SnapshotError::Damaged("cut short"))?;
        self.rest = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, SnapshotError> {
        self.take().map(|[byte]| byte)
    }

    fn address(&mut self) -> Result<IpAddr, SnapshotError> {
        match self.byte()? {
            4 => self.take::<4>().map(|octets| Ipv4Addr::from(octets).into()),
            6 => self.take::<16>().map(|octets| Ipv6Addr::from(octets).into()),
            _ => Err(SnapshotError::Damaged("address family")),
        }
    }

    fn protocol(&mut self) -> Result<Protocol, SnapshotError> {
        match self.take()? {
            [0, 6] => Ok(Protocol::Tcp),
            [1, 17] => Ok(Protocol::Udp),
            [2, 1] => Ok(Protocol::IcmpEcho),
            [3, number] if !matches!(number, 1 | 6 | 17 | 58) => Ok(Protocol::Number(number)),
            _ => Err(SnapshotError::Damaged("protocol")),
        }
    }

    fn half(&mut self) -> Result<Half, SnapshotError> {
        let flags = self.byte()?;
        let [next, ack, fin] = [self.take()?, self.take()?, self.take()?].map(u32::from_be_bytes);
        Ok(Half {
            seen: flags & 4 != 0,
            next,
            ack: (flags & 2 != 0).then_some(ack),
            fin: (flags & 1 != 0).then_some(fin),
        })
    }

    fn tcp(&mut self) -> Result<TcpTrack, SnapshotError> {
        let state = match self.byte()? {
            0 => TcpState::SynSent,
            1 => TcpState::SynReceived,
            2 => TcpState::Established,
            3 => TcpState::Closing,
            4 => TcpState::Closed,
            5 => TcpState::Reset,
            _ => return Err(SnapshotError::Damaged("TCP state")),
        };
        Ok(TcpTrack::of(state, self.half()?, self.half()?))
    }

    /// `away`: milliseconds between the snapshot and now. The flow belongs to no edition, so it will be judged.
    fn flow(&mut self, away: u64, now: Now) -> Result<Flow, SnapshotError> {
        let (local, remote) = (self.address()?, self.address()?);
        let (local_port, remote_port) = (u16::from_be_bytes(self.take()?), u16::from_be_bytes(self.take()?));
        let protocol = self.protocol()?;
        let flags = self.byte()?;
        let idle_ms = u64::from_be_bytes(self.take()?).saturating_add(away);
        let (started_ms, last_ms) = (u64::from_be_bytes(self.take()?), u64::from_be_bytes(self.take()?));
        let tcp = if protocol == Protocol::Tcp { Some(self.tcp()?) } else { None };
        let local_asks = flags & 8 != 0;
        let ago = |ms: u64| Mono(now.mono.0.saturating_sub(ms.saturating_mul(1_000_000)));
        Ok(Flow {
            key: FlowKey { local, remote, local_port, remote_port, protocol, local_asks },
            id: 0,
            outbound: flags & 4 != 0,
            admission: unjudged(),
            tcp,
            replied: flags & 2 != 0,
            // An agent that does not know the bit leaves it empty: then it is seen again at the next packet.
            lasts: flags & 16 != 0,
            local_sent: flags & 1 != 0,
            began: ago(now.wall_ms.saturating_sub(started_ms)),
            started_ms,
            last_ms,
            last: ago(idle_ms),
            window: Traffic::default(),
            total: Traffic::default(),
            recorded: true,
            dirty: false,
            timer: Mono(u64::MAX),
        })
    }
}

/// An admission that stands in no edition.
fn unjudged() -> Admission {
    let never = Edition { epoch: u64::MAX, revision: u64::MAX, generation: 0 };
    Admission { verdict: FlowVerdict::Unknown, grant: None, service: None, until: None, edition: never }
}
