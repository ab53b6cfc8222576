//! Packets of one flow that follow each other are one question to the judge.

use std::ops::Range;

use crate::conntrack::Load;
use crate::packet::{Fragment, Kind, Packet, Tcp, TcpFlags};

/// Packets of one flow that follow each other: one question to the judge.
pub(super) struct Run {
    pub packet: Packet,
    pub load: Load,
    pub items: Range<usize>,
}

impl Run {
    fn new(packet: Packet, at: usize) -> Run {
        Run { packet, load: Load { packets: 1, bytes: packet.total as u64 }, items: at..at + 1 }
    }

    /// Headers equal in everything a verdict can depend on, and the bytes follow each other.
    fn takes(&self, next: &Packet) -> bool {
        if self.packet.tuple != next.tuple || next.fragment != Fragment::None {
            return false;
        }
        match (self.packet.kind, next.kind) {
            (Kind::Udp, Kind::Udp) => self.packet.fragment == Fragment::None,
            (Kind::Tcp(a), Kind::Tcp(b)) => is_plain(a) && is_plain(b) && b.seq == a.end(),
            _ => false,
        }
    }

    fn add(&mut self, next: &Packet) {
        if let (Kind::Tcp(run), Kind::Tcp(more)) = (&mut self.packet.kind, next.kind) {
            run.len = run.len.saturating_add(more.len);
            (run.ack, run.window) = (more.ack, more.window);
        }
        self.load.packets += 1;
        self.load.bytes = self.load.bytes.saturating_add(next.total as u64);
        self.items.end += 1;
    }
}

/// ACK, perhaps with PSH: nothing that changes the state of a connection.
fn is_plain(tcp: Tcp) -> bool {
    tcp.flags.0 & !TcpFlags::PSH == TcpFlags::ACK
}

pub(super) fn next_run(read: &[(usize, Packet)], at: usize) -> Option<Run> {
    let (_, first) = read.get(at)?;
    let mut run = Run::new(*first, at);
    for (_, packet) in read.iter().skip(at + 1) {
        if !run.takes(packet) {
            break;
        }
        run.add(packet);
    }
    Some(run)
}
