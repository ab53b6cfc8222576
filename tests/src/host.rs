//! The applications of one host, and the kernel under them: they open TCP-like flows as raw packets, answer on listening
//! ports, and remember what they were given and what they were told.
//!
//! TCP here is what the laws need: handshake, cumulative acknowledgments, go-back-N, FIN, and a RST that is believed only
//! with the exact next sequence number (RFC 5961 section 3.2), so that an inexact RST shows as a flow that hangs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::clock::MS;
use crate::packet::{self, ACK, FIN, RST, SYN, Seen, Segment, What};

const SEGMENT: u64 = 1_000;
/// Segments under way.
const WINDOW: u64 = 8;
const RETRY: u64 = 400 * MS;
/// A connection gives up after so many tries in a row.
const TRIES: u32 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    Tcp(u16),
    Udp(u16),
}

/// A socket by its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ends {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// SYN sent or received, no connection yet.
    Opening,
    Open,
    /// Both sides have said all.
    Closed,
    /// A RST that was believed.
    Reset,
    /// ICMP administratively prohibited, or no answer in time.
    Refused,
    TimedOut,
}

#[derive(Clone, Debug)]
pub struct Connection {
    pub opener: bool,
    pub state: State,
    /// Bytes acknowledged by the other end, and received from it.
    pub delivered: u64,
    pub received: u64,
    /// Segments sent again: zero as long as nothing was lost.
    pub again: u64,
    pub since: u64,
    pub ended: Option<u64>,
    queued: u64,
    closing: bool,
    una: u32,
    next: u32,
    /// Next byte expected, once the other side's SYN has come.
    expect: Option<u32>,
    fin_sent: bool,
    fin_seen: bool,
    retry_at: u64,
    tries: u32,
}

/// Something a host was told about a flow by an ICMP error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub at: u64,
    pub quoted: Option<(u8, SocketAddr, SocketAddr)>,
}

#[derive(Debug, Default)]
pub struct Host {
    pub addresses: Vec<IpAddr>,
    pub listening: BTreeSet<Port>,
    pub connections: BTreeMap<Ends, Connection>,
    /// UDP answers and echo replies by what they answer.
    pub answers: BTreeMap<(SocketAddr, SocketAddr), u64>,
    pub pongs: BTreeMap<u16, u64>,
    pub told: Vec<Told>,
    /// RST segments that came, believed or not.
    pub resets: u64,
    /// Packets given to the host by its agent as coming from peers, and their bytes.
    pub packets: u64,
    out: VecDeque<Vec<u8>>,
    ports: u16,
}

impl Host {
    /// A host with this one address.
    pub fn at(address: IpAddr) -> Host {
        Host { addresses: vec![address], ..Host::default() }
    }

    pub fn listen(&mut self, port: Port) {
        self.listening.insert(port);
    }

    /// The address of the same family as `other`.
    pub fn address_like(&self, other: IpAddr) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|a| a.is_ipv4() == other.is_ipv4())
    }

    fn fresh(&mut self, remote: SocketAddr) -> Option<Ends> {
        self.ports = self.ports.checked_add(1).filter(|p| *p < 20_000).unwrap_or(1);
        let local = SocketAddr::new(self.address_like(remote.ip())?, 30_000 + self.ports);
        Some(Ends { local, remote })
    }

    /// Packets to send, in order.
    pub fn poll(&mut self) -> Option<Vec<u8>> {
        self.out.pop_front()
    }

    /// Sends these bytes as they are.
    pub fn raw(&mut self, bytes: Vec<u8>) {
        self.out.push_back(bytes);
    }

    // --- what applications do

    /// Opens a TCP connection. `None` while the host has no overlay address.
    pub fn connect(&mut self, remote: SocketAddr, now: u64) -> Option<Ends> {
        let ends = self.fresh(remote)?;
        let isn = 1_000 * u32::from(ends.local.port());
        let connection = Connection::new(true, isn, now);
        self.connections.insert(ends, connection);
        self.segment(ends, SYN, 0, isn);
        Some(ends)
    }

    /// Queues bytes on a connection.
    pub fn send(&mut self, ends: Ends, bytes: u64, now: u64) {
        if let Some(connection) = self.connections.get_mut(&ends) {
            connection.queued += bytes;
            connection.retry_at = now + RETRY;
        }
        self.push(ends, now);
    }

    /// Says FIN once everything queued is acknowledged.
    pub fn close(&mut self, ends: Ends, now: u64) {
        if let Some(connection) = self.connections.get_mut(&ends) {
            connection.closing = true;
        }
        self.push(ends, now);
    }

    pub fn udp(&mut self, remote: SocketAddr, payload: &[u8]) -> Option<Ends> {
        let ends = self.fresh(remote)?;
        self.out.push_back(packet::udp(ends.local, remote, payload));
        Some(ends)
    }

    /// Another datagram of the same flow.
    pub fn udp_again(&mut self, ends: Ends, payload: &[u8]) {
        self.out.push_back(packet::udp(ends.local, ends.remote, payload));
    }

    pub fn ping(&mut self, remote: IpAddr) -> Option<u16> {
        let ends = self.fresh(SocketAddr::new(remote, 0))?;
        self.out.push_back(packet::ping(ends.local.ip(), remote, ends.local.port(), false));
        Some(ends.local.port())
    }

    pub fn ping_again(&mut self, remote: IpAddr, id: u16) {
        if let Some(local) = self.address_like(remote) {
            self.out.push_back(packet::ping(local, remote, id, false));
        }
    }

    // --- what comes

    pub fn handle_packet(&mut self, bytes: &[u8], now: u64) {
        let Some(seen) = packet::read(bytes) else { return };
        match seen.what {
            What::Tcp { seq, ack, flags } => self.on_segment(&seen, Heard { seq, ack, flags }, now),
            What::Udp => self.on_datagram(&seen, now),
            What::Ping { id } => self.out.push_back(packet::ping(seen.to.ip(), seen.from.ip(), id, true)),
            What::Pong { id } => {
                self.pongs.insert(id, now);
            }
            What::Error { quoted } => self.on_error(quoted, now),
            What::Other(_) => {}
        }
    }

    fn on_datagram(&mut self, seen: &Seen, now: u64) {
        if self.listening.contains(&Port::Udp(seen.to.port())) {
            self.out.push_back(packet::udp(seen.to, seen.from, &seen.payload));
        } else {
            self.answers.insert((seen.to, seen.from), now);
        }
    }

    fn on_error(&mut self, quoted: Option<(u8, SocketAddr, SocketAddr)>, now: u64) {
        self.told.push(Told { at: now, quoted });
        let Some((6, local, remote)) = quoted else { return };
        let connection = self.connections.get_mut(&Ends { local, remote });
        if let Some(connection) = connection.filter(|c| c.state == State::Opening) {
            connection.end(State::Refused, now);
        }
    }

    fn on_segment(&mut self, seen: &Seen, heard: Heard, now: u64) {
        let ends = Ends { local: seen.to, remote: seen.from };
        let opens = heard.flags & (SYN | ACK) == SYN;
        if heard.flags & RST != 0 {
            self.resets += 1;
            return self.on_reset(ends, heard, now);
        }
        let known = self.connections.get(&ends).is_some_and(|c| c.ended.is_none() || !opens);
        if !known && opens && self.listening.contains(&Port::Tcp(seen.to.port())) {
            let isn = 500_000 + u32::from(seen.from.port());
            let mut connection = Connection::new(false, isn, now);
            connection.expect = Some(heard.seq.wrapping_add(1));
            self.connections.insert(ends, connection);
            return self.segment(ends, SYN | ACK, 0, isn);
        }
        let Some(connection) = self.connections.get_mut(&ends).filter(|c| c.ended.is_none()) else {
            return self.refuse(ends, heard, seen.payload.len());
        };
        connection.hear(heard, seen.payload.len(), now);
        let due = opens && !connection.opener;
        let speaks = !seen.payload.is_empty() || heard.flags & (SYN | FIN) != 0;
        let isn = connection.next.wrapping_sub(1);
        if due {
            return self.segment(ends, SYN | ACK, 0, isn);
        }
        if speaks {
            let at = self.connections[&ends].next;
            self.segment(ends, ACK, 0, at);
        }
        self.push(ends, now);
    }

    fn on_reset(&mut self, ends: Ends, heard: Heard, now: u64) {
        let Some(connection) = self.connections.get_mut(&ends).filter(|c| c.ended.is_none()) else { return };
        let exact = match connection.expect {
            None => heard.flags & ACK != 0 && heard.ack == connection.next,
            Some(expect) => heard.seq == expect,
        };
        if exact {
            return connection.end(State::Reset, now);
        }
        let challenge = connection.expect.is_some_and(|e| heard.seq.wrapping_sub(e) < 65_535);
        if challenge {
            let at = connection.next;
            self.segment(ends, ACK, 0, at);
        }
    }

    /// RFC 9293 section 3.5.2.
    fn refuse(&mut self, ends: Ends, heard: Heard, len: usize) {
        let (seq, ack, flags) = match heard.flags & ACK != 0 {
            true => (heard.ack, 0, RST),
            false => (0, heard.seq.wrapping_add(len as u32 + 1), RST | ACK),
        };
        self.out.push_back(packet::tcp(ends.local, ends.remote, Segment { seq, ack, flags, len: 0 }));
    }

    // --- what is sent

    fn segment(&mut self, ends: Ends, flags: u8, len: usize, seq: u32) {
        let Some(connection) = self.connections.get(&ends) else { return };
        let (ack, flags) = match connection.expect {
            Some(expect) => (expect, flags | ACK),
            None => (0, flags),
        };
        self.out.push_back(packet::tcp(ends.local, ends.remote, Segment { seq, ack, flags, len }));
    }

    /// Sends what the window allows.
    fn push(&mut self, ends: Ends, now: u64) {
        while let Some((flags, len, seq)) = self.connections.get_mut(&ends).and_then(Connection::advance) {
            self.segment(ends, flags, len, seq);
            if let Some(connection) = self.connections.get_mut(&ends) {
                connection.retry_at = now + RETRY;
            }
        }
    }

    /// Sends again what was not acknowledged in time.
    pub fn handle_timeout(&mut self, now: u64) {
        let due: Vec<Ends> = self
            .connections
            .iter()
            .filter(|(_, c)| c.wants_retry() && c.retry_at <= now)
            .map(|(e, _)| *e)
            .collect();
        for ends in due {
            let Some(connection) = self.connections.get_mut(&ends) else { continue };
            connection.retry_at = now + RETRY;
            connection.tries += 1;
            connection.again += 1;
            if connection.tries > TRIES {
                connection.end(State::TimedOut, now);
                continue;
            }
            let (opening, opener, una) =
                (connection.state == State::Opening, connection.opener, connection.una);
            if opening {
                self.segment(ends, if opener { SYN } else { SYN | ACK }, 0, una);
            } else {
                connection.rewind();
                self.push(ends, now);
            }
        }
    }

    pub fn poll_timeout(&self) -> Option<u64> {
        self.connections.values().filter(|c| c.wants_retry()).map(|c| c.retry_at).min()
    }
}

#[derive(Clone, Copy)]
struct Heard {
    seq: u32,
    ack: u32,
    flags: u8,
}

impl Connection {
    fn new(opener: bool, isn: u32, now: u64) -> Connection {
        Connection {
            opener,
            state: State::Opening,
            delivered: 0,
            received: 0,
            again: 0,
            since: now,
            ended: None,
            queued: 0,
            closing: false,
            una: isn,
            next: isn.wrapping_add(1),
            expect: None,
            fin_sent: false,
            fin_seen: false,
            retry_at: now + RETRY,
            tries: 0,
        }
    }

    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    fn end(&mut self, state: State, now: u64) {
        self.state = state;
        self.ended = Some(now);
    }

    fn wants_retry(&self) -> bool {
        self.ended.is_none() && self.una != self.next
    }

    fn hear(&mut self, heard: Heard, len: usize, now: u64) {
        if heard.flags & SYN != 0 && self.expect.is_none() {
            self.expect = Some(heard.seq.wrapping_add(1));
        }
        if heard.flags & ACK != 0 {
            self.acknowledged(heard.ack);
        }
        if self.expect == Some(heard.seq) {
            self.received += len as u64;
            let fin = u32::from(heard.flags & FIN != 0);
            self.fin_seen |= fin == 1;
            self.closing |= fin == 1;
            self.expect = Some(heard.seq.wrapping_add(len as u32 + fin));
        }
        if self.fin_seen && self.fin_sent && self.una == self.next {
            self.end(State::Closed, now);
        }
    }

    fn acknowledged(&mut self, ack: u32) {
        let step = ack.wrapping_sub(self.una);
        if step == 0 || step > self.next.wrapping_sub(self.una) {
            return;
        }
        let opening = self.state == State::Opening;
        let syn = u64::from(opening);
        let fin = u64::from(self.fin_sent && ack == self.next);
        self.delivered += u64::from(step) - syn - fin;
        self.una = ack;
        self.tries = 0;
        if opening {
            self.state = State::Open;
        }
    }

    fn in_flight(&self) -> u64 {
        u64::from(self.next.wrapping_sub(self.una))
    }

    /// The next segment that may go out now.
    fn advance(&mut self) -> Option<(u8, usize, u32)> {
        if self.state != State::Open || self.ended.is_some() {
            return None;
        }
        let at = self.next;
        let unsent = self.queued.saturating_sub(self.delivered + self.in_flight());
        if unsent > 0 && !self.fin_sent && self.in_flight() < WINDOW * SEGMENT {
            let len = unsent.min(SEGMENT);
            self.next = at.wrapping_add(len as u32);
            return Some((0, len as usize, at));
        }
        if self.closing && !self.fin_sent && unsent == 0 && self.in_flight() == 0 {
            self.fin_sent = true;
            self.next = at.wrapping_add(1);
            return Some((FIN, 0, at));
        }
        None
    }

    fn rewind(&mut self) {
        self.next = self.una;
        self.fin_sent = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Host, Host) {
        let host = |a: &str| Host { addresses: vec![a.parse().unwrap()], ..Host::default() };
        (host("100.64.1.1"), host("100.64.1.2"))
    }

    fn exchange(a: &mut Host, b: &mut Host, now: u64) {
        loop {
            let mut quiet = true;
            while let Some(bytes) = a.poll() {
                b.handle_packet(&bytes, now);
                quiet = false;
            }
            while let Some(bytes) = b.poll() {
                a.handle_packet(&bytes, now);
                quiet = false;
            }
            if quiet {
                return;
            }
        }
    }

    #[test]
    fn a_connection_lives_and_ends() {
        let (mut a, mut b) = pair();
        b.listen(Port::Tcp(80));
        let ends = a.connect("100.64.1.2:80".parse().unwrap(), 0).unwrap();
        exchange(&mut a, &mut b, 0);
        assert!(a.connections[&ends].is_open());
        a.send(ends, 20_000, 0);
        exchange(&mut a, &mut b, 0);
        let there = Ends { local: ends.remote, remote: ends.local };
        assert_eq!((a.connections[&ends].delivered, b.connections[&there].received), (20_000, 20_000));
        a.close(ends, 0);
        exchange(&mut a, &mut b, 0);
        assert_eq!(a.connections[&ends].state, State::Closed);
        assert_eq!(b.connections[&there].state, State::Closed);
        assert_eq!((a.connections[&ends].again, b.connections[&there].again), (0, 0));
    }

    #[test]
    fn a_port_nobody_listens_on_resets() {
        let (mut a, mut b) = pair();
        let ends = a.connect("100.64.1.2:81".parse().unwrap(), 0).unwrap();
        exchange(&mut a, &mut b, 0);
        assert_eq!(a.connections[&ends].state, State::Reset);
    }
}
