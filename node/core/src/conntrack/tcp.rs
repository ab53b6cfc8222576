//! TCP's life as far as a judge must know it (RFC 9293 section 3.3.2), and both next sequence numbers, so that a RST can
//! be exact (RFC 5961 section 3.2).
//!
//! A peer may lie about its numbers: it can only spoil what we know about its own flow, and the local host's next
//! segment teaches us better.

use crate::packet::{Tcp, TcpFlags};

/// Numbers move at most this far at once (the largest window of RFC 7323).
const MAX_STEP: i32 = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TcpState {
    SynSent,
    SynReceived,
    Established,
    /// One end has sent FIN, or both and not all is acknowledged.
    Closing,
    Closed,
    Reset,
}

/// One direction: what its sender has sent and acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Half {
    pub seen: bool,
    /// Behind the last byte sent.
    pub next: u32,
    /// The last acknowledgment it sent: what it wants next, exactly.
    pub ack: Option<u32>,
    /// Behind its FIN.
    pub fin: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpTrack {
    pub state: TcpState,
    pub opener: Half,
    pub responder: Half,
    /// Behind the opener's SYN itself: data that came with it (TCP Fast Open, RFC 7413) the responder may leave unacknowledged.
    syn: u32,
    /// A SYN that the opener sent in the midst of a connection: behind it, and behind its data. It begins a new one if the responder
    /// agrees; until then it may be a late copy, and what is known of the old one stays.
    anew: Option<(u32, u32)>,
}

/// `a - b` on the circle of sequence numbers.
fn ahead(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

fn is_between(first: u32, number: u32, last: u32) -> bool {
    ahead(number, first) >= 0 && ahead(last, number) >= 0
}

impl Half {
    fn observe(&mut self, tcp: &Tcp, other_next: Option<u32>, opening: bool) {
        let step = ahead(tcp.end(), self.next);
        let restart = opening && tcp.flags.has(TcpFlags::SYN);
        if restart {
            // What was acknowledged before belongs to something else.
            *self = Half::default();
        }
        if !self.seen || (step > 0 && step <= MAX_STEP) {
            self.next = tcp.end();
            self.seen = true;
        }
        if tcp.flags.has(TcpFlags::FIN) && self.next == tcp.end() {
            self.fin = Some(tcp.end());
        }
        if tcp.flags.has(TcpFlags::ACK) {
            self.acknowledge(tcp.ack, other_next);
        }
    }

    /// An acknowledgment moves forward, and never beyond what the other end has sent.
    fn acknowledge(&mut self, ack: u32, other_next: Option<u32>) {
        let Some(sent) = other_next else { return };
        let forward = self.ack.is_none_or(|old| ahead(ack, old) > 0);
        if forward && ahead(sent, ack) >= 0 {
            self.ack = Some(ack);
        }
    }

    fn has_all_of(&self, other: &Half) -> bool {
        matches!((self.ack, other.fin), (Some(ack), Some(fin)) if ahead(ack, fin) >= 0)
    }
}

impl TcpTrack {
    pub fn new(syn: &Tcp) -> TcpTrack {
        let mut opener = Half::default();
        opener.observe(syn, None, true);
        TcpTrack { syn: syn.seq.wrapping_add(1), ..TcpTrack::of(TcpState::SynSent, opener, Half::default()) }
    }

    pub fn of(state: TcpState, opener: Half, responder: Half) -> TcpTrack {
        TcpTrack { state, opener, responder, syn: opener.next, anew: None }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.state, TcpState::Closed | TcpState::Reset)
    }

    pub fn is_half_open(&self) -> bool {
        matches!(self.state, TcpState::SynSent | TcpState::SynReceived)
    }

    pub fn observe(&mut self, from_opener: bool, tcp: &Tcp) {
        if tcp.flags.has(TcpFlags::RST) {
            return self.observe_reset(from_opener, tcp);
        }
        if from_opener && self.state != TcpState::SynSent && tcp.flags.is_syn_only() {
            self.anew = Some((tcp.seq.wrapping_add(1), tcp.end()));
            return;
        }
        if !from_opener {
            self.begin_anew(tcp);
        }
        let opening = self.state == TcpState::SynSent;
        if opening && from_opener && tcp.flags.has(TcpFlags::SYN) {
            self.syn = tcp.seq.wrapping_add(1);
        }
        let (me, other) = self.halves(from_opener);
        let other_next = other.seen.then_some(other.next);
        me.observe(tcp, other_next, opening);
        self.advance(from_opener, tcp);
    }

    /// Ports are used again, and either end may have forgotten a connection of which the other's FIN was never seen. A responder
    /// that knows the old one acknowledges that (RFC 5961 section 4); only one that begins a new one acknowledges the SYN.
    fn begin_anew(&mut self, tcp: &Tcp) {
        let agreed = tcp.flags.has(TcpFlags::SYN) && tcp.flags.has(TcpFlags::ACK);
        if let Some((syn, next)) = self.anew.filter(|(syn, next)| agreed && is_between(*syn, tcp.ack, *next))
        {
            let opener = Half { seen: true, next, ..Half::default() };
            *self = TcpTrack { syn, ..TcpTrack::of(TcpState::SynSent, opener, Half::default()) };
        }
    }

    /// Only a RST that its receiver will believe ends the flow; any other leaves it as it is.
    fn observe_reset(&mut self, from_opener: bool, tcp: &Tcp) {
        let (me, other) = self.halves(from_opener);
        let answers_syn = !me.seen && tcp.flags.has(TcpFlags::ACK) && tcp.ack == other.next;
        let exact = me.seen && (tcp.seq == me.next || other.ack == Some(tcp.seq));
        if answers_syn || exact {
            self.state = TcpState::Reset;
        }
    }

    fn advance(&mut self, from_opener: bool, tcp: &Tcp) {
        let syn = tcp.flags.has(TcpFlags::SYN);
        let ack = tcp.flags.has(TcpFlags::ACK);
        let answers = !from_opener && syn && ack && is_between(self.syn, tcp.ack, self.opener.next);
        self.state = match self.state {
            TcpState::SynSent if answers => TcpState::SynReceived,
            TcpState::SynReceived if from_opener && ack && !syn && self.opener.ack.is_some() => {
                TcpState::Established
            }
            state => state,
        };
        if self.state == TcpState::Established && from_opener {
            // It speaks on: the SYN was a copy.
            self.anew = None;
        }
        let live = matches!(self.state, TcpState::Established | TcpState::Closing);
        let closing = self.opener.fin.is_some() || self.responder.fin.is_some();
        if live && closing {
            let all = self.opener.has_all_of(&self.responder) && self.responder.has_all_of(&self.opener);
            self.state = if all { TcpState::Closed } else { TcpState::Closing };
        }
    }

    /// (the sender's half, the other one).
    fn halves(&mut self, from_opener: bool) -> (&mut Half, &Half) {
        if from_opener { (&mut self.opener, &self.responder) } else { (&mut self.responder, &self.opener) }
    }

    /// Could the opener (or the responder) have sent a segment with this number, not long acknowledged? For quotations.
    pub fn may_have_sent(&self, by_opener: bool, seq: u32) -> bool {
        let (me, other) =
            if by_opener { (&self.opener, &self.responder) } else { (&self.responder, &self.opener) };
        const SLACK: i32 = 1 << 16;
        let oldest = other.ack.unwrap_or(me.next);
        me.seen && ahead(me.next, seq) >= 0 && ahead(seq, oldest) >= -SLACK
    }
}
