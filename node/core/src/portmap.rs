//! A port of this node on the outside of its gateway, asked of the gateway itself: by PCP (RFC 6887), where only that is spoken by NAT-PMP
//! (RFC 6886), and where neither is by UPnP ([`upnp`]). It lets peers in that no hole can be made for, because their own NAT maps each destination
//! to another port.
//!
//! Nobody is asked unless the administrator wants it, and only the gateway of the default route. An answer counts only from it, with the nonce of the question (PCP),
//! or for what was just asked (NAT-PMP, which has none; UPnP, which is asked over TCP). What it says is a hint like any other: it is a candidate, screened here by
//! [`crate::path::acceptable`], and by the coordinator, which believes it of no other address than this node is seen at. So a gateway
//! that lies costs a few handshakes.
//!
//! A mapping is renewed at half of its life (RFC 6887 section 11.2.1), and ten minutes after the last answer at the latest, because a gateway that was switched off and on
//! has forgotten it: then its epoch has gone back, and it is asked anew at once (section 8.5). UPnP has no epoch. It is given back when the agent stops;
//! one that never ends is given back by the next start, if this one could not ([`owed`]).

mod message;
pub mod owed;
pub mod upnp;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::clock::Mono;
pub use message::PORT;
use message::{Answer, Nonce};
use owed::{Debts, Owed};
use upnp::http::Response;
use upnp::{Ask, Fault, Round};

/// After a question without an answer; each further one waits twice as long (RFC 6886 section 3.1).
const AGAIN_MS: u64 = 250;
/// So many without an answer, and the other protocol is tried.
const TRIES: u32 = 5;
/// Nobody answers, or the gateway will not: later again.
const LATER_MS: u64 = 600_000;
/// What is asked for, and the longest that is believed (RFC 6887 section 15: not over 24 hours).
const LIFETIME: u32 = 7_200;
const LONGEST: u32 = 86_400;
/// A shorter one is no mapping; it would be asked for all the time.
const SHORTEST: u32 = 60;

/// The default route, and the address of this host on the way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway {
    pub at: Ipv4Addr,
    pub local: Ipv4Addr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Speech {
    Pcp,
    NatPmp,
    Upnp,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To the gateway's [`PORT`].
    Question(Vec<u8>),
    /// By UDP, on the link to the gateway and no other; see [`PortMap::is_searching`].
    Search { to: SocketAddrV4, bytes: Vec<u8> },
    /// A connection to the gateway: this is sent, and what comes is for [`PortMap::handle_response`]. One at a time: an older one is nobody's any more.
    Exchange { id: u64, at: SocketAddrV4, request: Vec<u8> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Granted {
    outside: SocketAddrV4,
    until: Mono,
}

/// The gateway's clock when it last answered, in its seconds and ours.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    theirs: u32,
    ours: Mono,
}

/// The mapping of one UDP port.
#[derive(Debug)]
pub struct PortMap {
    seed: [u8; 32],
    drawn: u64,
    port: u16,
    gateway: Option<Gateway>,
    speech: Speech,
    nonce: Nonce,
    tries: u32,
    /// A question without an answer is out.
    asked: bool,
    next: Mono,
    /// The gateway's address outside, which NAT-PMP tells by itself.
    address: Option<Ipv4Addr>,
    granted: Option<Granted>,
    epoch: Option<Epoch>,
    refused: Option<&'static str>,
    round: Option<Round>,
    /// By what UPnP's mapping is taken back.
    mapping: Option<upnp::Mapping>,
    /// Number of the exchange that is out, and of the last.
    out: Option<u64>,
    exchanges: u64,
    /// What comes next begins with the first protocol again.
    anew: bool,
    debts: Debts,
    /// False: what is owed is given back, and nothing else asked.
    asks: bool,
}

impl PortMap {
    /// `seed` is 32 random bytes, used for nothing else; `port` is that of the WireGuard socket.
    pub fn new(seed: [u8; 32], port: u16) -> PortMap {
        PortMap {
            seed,
            drawn: 0,
            port,
            gateway: None,
            speech: Speech::Pcp,
            nonce: [0; 12],
            tries: 0,
            asked: false,
            next: Mono(u64::MAX),
            address: None,
            granted: None,
            epoch: None,
            refused: None,
            round: None,
            mapping: None,
            out: None,
            exchanges: 0,
            anew: false,
            debts: Debts::default(),
            asks: true,
        }
    }

    /// With what an earlier start could not give back. That comes first: it may be for the very port that is asked for.
    pub fn owing(self, owed: Vec<Owed>) -> PortMap {
        PortMap { debts: Debts::of(owed), ..self }
    }

    /// The administrator wants no mapping: what is owed is given back, and that is all.
    pub fn only_giving_back(self) -> PortMap {
        PortMap { asks: false, ..self }
    }

    pub fn asks(&self) -> bool {
        self.asks
    }

    /// What must be remembered over the end of this agent: mappings without end that it has, or may have. To be written down
    /// before the outputs of [`PortMap::poll_output`] are sent.
    pub fn owed(&self) -> Vec<Owed> {
        let mut owed = self.debts.all().to_vec();
        let live = self.endless().filter(|live| !owed.contains(live));
        owed.extend(live);
        owed
    }

    /// One that is in use, or under way.
    fn endless(&self) -> Option<Owed> {
        let gateway = self.gateway?;
        let mapped = self.mapping.as_ref().filter(|mapping| mapping.endless);
        let mapped = mapped.map(|mapping| (&mapping.service, mapping.outside.port()));
        let (service, outside) = self.round.as_ref().and_then(Round::loose).or(mapped)?;
        Some(Owed::of(gateway.at, service, outside))
    }

    /// What was granted is worth nothing any more; what never ends is owed.
    fn lose_mapping(&mut self) {
        self.endless().into_iter().for_each(|owed| self.debts.owe(owed));
        (self.granted, self.mapping) = (None, None);
    }

    /// Another gateway, or none: what the one before granted is worth nothing any more.
    pub fn set_gateway(&mut self, gateway: Option<Gateway>, now: Mono) {
        if self.gateway != gateway {
            self.lose_mapping();
            self.debts.move_on();
            self.gateway = gateway;
            (self.address, self.epoch) = (None, None);
            self.begin(Speech::Pcp, now);
        }
    }

    /// The host has slept, or the network before it has changed.
    pub fn ask_again(&mut self, now: Mono) {
        if self.gateway.is_some() && self.round.is_none() {
            (self.tries, self.next) = (0, now);
        }
    }

    fn begin(&mut self, speech: Speech, now: Mono) {
        (self.speech, self.tries, self.asked, self.refused) = (speech, 0, false, None);
        (self.round, self.out, self.anew) = (None, None, false);
        self.nonce = self.draw();
        self.next = self.gateway.map_or(Mono(u64::MAX), |_| now);
    }

    /// Where the port is outside, as the gateway says.
    pub fn outside(&self, now: Mono) -> Option<SocketAddr> {
        self.granted.filter(|granted| now < granted.until).map(|granted| granted.outside.into())
    }

    /// For how long it is granted; it is renewed before that.
    pub fn left(&self, now: Mono) -> Option<Duration> {
        let granted = self.granted.filter(|granted| now < granted.until)?;
        Some(Duration::from_millis(granted.until.millis_since(now)))
    }

    /// Has it no end?
    pub fn is_endless(&self) -> bool {
        self.mapping.as_ref().is_some_and(|mapping| mapping.endless)
    }

    /// For `status`: the protocol that is spoken, and why there is no mapping.
    pub fn standing(&self) -> (Speech, Option<&'static str>) {
        (self.speech, self.refused)
    }

    pub fn gateway(&self) -> Option<Gateway> {
        self.gateway
    }

    /// What is due, one after the other until there is nothing.
    pub fn poll_output(&mut self, now: Mono) -> Option<Output> {
        let gateway = self.gateway?;
        self.look_at_round(now);
        if self.debts.is_asking(now) {
            return None;
        }
        if self.round.is_none()
            && let Some(ask) = self.debts.poll(gateway.at, now)
        {
            return Some(self.number(ask));
        }
        if self.asks && self.next <= now {
            if std::mem::take(&mut self.anew) {
                self.begin(Speech::Pcp, now);
            }
            if self.tries >= TRIES {
                let other = if self.speech == Speech::Pcp { Speech::NatPmp } else { Speech::Upnp };
                self.begin(other, now);
            }
            if self.speech != Speech::Upnp {
                self.next = now.plus_millis(AGAIN_MS << self.tries.min(TRIES));
                (self.tries, self.asked) = (self.tries + 1, true);
                return Some(Output::Question(self.question(gateway, LIFETIME)));
            }
            let wanted = self.granted.map_or(self.port, |granted| granted.outside.port());
            let others = self.other_ports();
            self.round = Some(Round::new(gateway, self.port, wanted, others, now));
            self.next = Mono(u64::MAX);
        }
        let ask = self.round.as_mut()?.poll(now);
        self.look_at_round(now);
        ask.map(|ask| self.number(ask))
    }

    /// Answers to [`Output::Search`] are waited for.
    pub fn is_searching(&self) -> bool {
        self.round.as_ref().is_some_and(Round::is_searching)
    }

    fn number(&mut self, ask: Ask) -> Output {
        match ask {
            Ask::Search { to, bytes } => Output::Search { to, bytes },
            Ask::Exchange { at, request } => {
                self.exchanges += 1;
                self.out = Some(self.exchanges);
                Output::Exchange { id: self.exchanges, at, request }
            }
        }
    }

    /// A round that is over is a mapping, or a reason why there is none.
    fn look_at_round(&mut self, now: Mono) {
        let Some(end) = self.round.as_ref().and_then(Round::ended).cloned() else { return };
        // What was asked for without end and not answered may be there.
        let before = self.endless();
        (self.round, self.out, self.anew) = (None, None, end.is_err());
        match end {
            Ok(mapping) => {
                self.grant(Some(mapping.outside), LIFETIME, now);
                self.mapping = Some(mapping);
                before.into_iter().for_each(|owed| self.debts.owe(owed));
                self.endless().iter().for_each(|used| self.debts.forget(used));
            }
            // A silence takes nothing back: what was granted lives on to its end.
            Err(fault @ (Fault::Nobody | Fault::Silent)) => {
                let used = self.endless();
                before
                    .filter(|before| used.as_ref() != Some(before))
                    .into_iter()
                    .for_each(|o| self.debts.owe(o));
                self.rest(fault.text(), now);
            }
            Err(fault) => {
                self.lose_mapping();
                before.into_iter().for_each(|owed| self.debts.owe(owed));
                self.rest(fault.text(), now);
            }
        }
    }

    /// From 1024 on, which is what routers allow.
    fn other_ports(&mut self) -> [u16; 4] {
        let nonce = self.draw();
        std::array::from_fn(|i| {
            let drawn =
                nonce.get(2 * i..2 * i + 2).and_then(|two| two.try_into().ok()).map_or(0, u16::from_be_bytes);
            1_024 + drawn % (u16::MAX - 1_024)
        })
    }

    fn question(&self, gateway: Gateway, lifetime: u32) -> Vec<u8> {
        let suggested = self.granted.map(|granted| granted.outside);
        match self.speech {
            Speech::Pcp => message::pcp_map(self.nonce, gateway.local, self.port, suggested, lifetime),
            Speech::NatPmp if self.address.is_none() && lifetime > 0 => message::natpmp_address(),
            Speech::NatPmp | Speech::Upnp => message::natpmp_map(self.port, suggested, lifetime),
        }
    }

    /// When the agent stops: the mapping is given back. Nobody waits for long for an answer.
    pub fn release(&mut self, now: Mono) -> Option<Output> {
        let gateway = self.gateway?;
        if let Some(endless) = self.endless() {
            (self.round, self.granted, self.mapping, self.next) = (None, None, None, Mono(u64::MAX));
            self.debts.owe(endless.clone());
            let ask = self.debts.ask(endless, now)?;
            self.asks = false;
            return Some(self.number(ask));
        }
        self.asks = false;
        let round = self.round.take();
        let perhaps = round.as_ref().and_then(Round::perhaps);
        let mapped = self.mapping.as_ref().map(|mapping| (&mapping.service, mapping.outside.port()));
        let ask = mapped.or(perhaps).map(|(service, outside)| upnp::delete(service, outside, gateway.at));
        let output = match ask {
            Some(ask) => Some(self.number(ask)),
            None if self.speech == Speech::Upnp => None,
            None => self.granted.map(|_| Output::Question(self.question(gateway, 0))),
        };
        (self.granted, self.mapping, self.next) = (None, None, Mono(u64::MAX));
        output
    }

    /// A datagram to the socket that searches.
    pub fn handle_found(&mut self, from: SocketAddr, bytes: &[u8], now: Mono) {
        self.round.iter_mut().for_each(|round| round.handle_found(from, bytes, now));
    }

    /// What an exchange gave; of one that is not out any more nothing is believed.
    pub fn handle_response(&mut self, id: u64, response: Result<Response, Fault>, now: Mono) {
        if self.out == Some(id) {
            self.out = None;
            if self.debts.handle_response(&response) {
                return;
            }
            if let Some(round) = &mut self.round {
                round.handle_response(response, now);
            }
        }
    }

    /// What came from the gateway's [`PORT`]. True if it answers a question of ours; everything else changes nothing.
    pub fn handle_answer(&mut self, from: SocketAddr, bytes: &[u8], now: Mono) -> bool {
        let from_gateway = self.gateway.is_some_and(|gateway| from == SocketAddr::from((gateway.at, PORT)));
        if !from_gateway || !self.asked {
            return false;
        }
        let Some(answer) = message::read(bytes) else { return false };
        let ours = match (self.speech, &answer) {
            (Speech::Pcp, Answer::Map { nonce: Some(nonce), port, .. }) => {
                *nonce == self.nonce && *port == self.port
            }
            // An older gateway knows nothing of the rest.
            (Speech::Pcp, Answer::OnlyNatPmp) => true,
            (Speech::NatPmp, Answer::Map { nonce: None, port, .. }) => {
                *port == self.port && self.address.is_some()
            }
            (Speech::NatPmp, Answer::Address { .. }) => self.address.is_none(),
            _ => false,
        };
        if ours {
            self.take(answer, now);
        }
        ours
    }

    fn take(&mut self, answer: Answer, now: Mono) {
        (self.tries, self.asked) = (0, false);
        match answer {
            Answer::OnlyNatPmp => self.begin(Speech::NatPmp, now),
            Answer::Address { outcome: Err(why), .. } | Answer::Map { outcome: Err(why), .. } => {
                self.granted = None;
                self.rest(why, now);
            }
            Answer::Address { outcome: Ok(()), epoch, address } => {
                self.note_epoch(epoch, now);
                self.address = Some(address);
                self.next = now;
            }
            Answer::Map { outcome: Ok(()), epoch, outside, address, lifetime, .. } => {
                if self.note_epoch(epoch, now) && self.speech == Speech::NatPmp {
                    // Perhaps its address is another, too.
                    (self.address, self.next) = (None, now);
                    return;
                }
                let address = address.or(self.address).filter(|address| !address.is_unspecified());
                let place =
                    address.filter(|_| outside != 0).map(|address| SocketAddrV4::new(address, outside));
                self.grant(place, lifetime, now);
            }
        }
    }

    fn grant(&mut self, place: Option<SocketAddrV4>, lifetime: u32, now: Mono) {
        let (Some(outside), true) = (place, lifetime >= SHORTEST) else {
            self.granted = None;
            return self.rest("the gateway grants a mapping that is none", now);
        };
        let life = u64::from(lifetime.min(LONGEST));
        self.granted = Some(Granted { outside, until: now.plus_secs(life) });
        self.refused = None;
        self.next = now.plus_millis((life * 500).min(LATER_MS));
    }

    fn rest(&mut self, why: &'static str, now: Mono) {
        self.refused = Some(why);
        self.next = now.plus_millis(LATER_MS);
    }

    /// RFC 6887 section 8.5: a gateway whose seconds have not gone on as ours did has lost its state. True if so.
    fn note_epoch(&mut self, theirs: u32, now: Mono) -> bool {
        let before = self.epoch.replace(Epoch { theirs, ours: now });
        let lost = before.is_some_and(|before| !goes_on(before, theirs, now));
        if lost {
            self.granted = None;
        }
        lost
    }

    fn draw(&mut self) -> Nonce {
        self.drawn += 1;
        let digest = Sha256::new().chain_update(self.seed).chain_update(self.drawn.to_le_bytes()).finalize();
        let mut nonce = [0; 12];
        nonce.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        nonce
    }
}

fn goes_on(before: Epoch, theirs: u32, now: Mono) -> bool {
    let server = i64::from(theirs) - i64::from(before.theirs);
    let client = i64::try_from(now.millis_since(before.ours) / 1000).unwrap_or(i64::MAX);
    let near = |a: i64, b: i64| a.saturating_add(2) >= b.saturating_sub(b / 16);
    server >= -1 && near(client, server) && near(server, client)
}

#[cfg(test)]
mod tests;
