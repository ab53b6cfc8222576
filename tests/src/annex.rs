//! A relay that is a program of its own, in the world: the real heart and its real end of the line, at a place of its own. What
//! it and the coordinator say to each other arrives at once, as long as the line stands.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use warren_coordinator_core::outpost::{Act, Outpost};
use warren_coordinator_core::output::ConnId;
use warren_coordinator_core::relay::{Limits, Place, Relay, Released, Verdicts};
use warren_wire::frame::{Pairs, RelayEnrol, RelaySays, ToRelay, enrolment};
use warren_wire::id::{IdentityKey, NetworkId, RelayId};
use warren_wire::trust::Trust;

use crate::relay::{Passed, is_time};

/// Where it is.
pub const PLACE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)), 7946);
/// No node's connection has this number.
pub const CONN: ConnId = ConnId(u64::MAX);
pub const NAME: &str = "annex";

#[derive(Debug)]
pub struct Annex {
    pub heart: Relay,
    outpost: Outpost,
    verdicts: Verdicts,
    pub alive: bool,
    pub connected: bool,
    pub drains: bool,
    tidied: u64,
}

/// What came of something.
#[derive(Debug, Default)]
pub struct Came {
    pub passed: Vec<Passed>,
    pub asked: Vec<Pairs>,
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[0xa1; 32])
}

pub fn token() -> SigningKey {
    SigningKey::from_bytes(&[0xa2; 32])
}

pub fn public() -> IdentityKey {
    IdentityKey::of(&key())
}

pub fn id() -> RelayId {
    RelayId::of(&public())
}

/// That it holds its token.
pub fn shown(network: &NetworkId) -> RelaySays {
    let signature = token().sign(&enrolment(network, &public())).to_bytes().to_vec();
    RelaySays::Enrol(RelayEnrol { token_key: token().verifying_key().to_bytes().to_vec(), signature })
}

impl Annex {
    pub fn new(trust: Trust) -> Annex {
        Annex {
            heart: Relay::new(Limits::default()),
            outpost: Outpost::new(trust),
            verdicts: Verdicts::default(),
            alive: true,
            connected: false,
            drains: false,
            tidied: 0,
        }
    }

    /// A datagram comes; what goes on at once, and what is to be asked.
    pub fn carry(&mut self, from: SocketAddr, mut bytes: Vec<u8>, now: u64) -> Came {
        let (stride, at) = (bytes.len(), Duration::from_nanos(now));
        self.heart.handle(Place { at: from, by: None }, &mut bytes, stride, at, &mut self.verdicts);
        let forwards = self.verdicts.forwards.iter();
        let passed = forwards
            .flat_map(|f| {
                bytes[f.range.clone()].chunks(f.segment).map(|b| Passed { to: f.to.at, bytes: b.to_vec() })
            })
            .collect();
        for ask in std::mem::take(&mut self.verdicts.asks) {
            match self.connected {
                true => self.outpost.ask(ask),
                false => self.heart.not_asked(ask.pair),
            }
        }
        if is_time(&mut self.tidied, now) {
            self.heart.tidy(at);
        }
        Came { passed, asked: self.outpost.poll_ask() }
    }

    pub fn hear(&mut self, said: ToRelay, now: u64) -> Came {
        let said = said.said().expect("the coordinator speaks well");
        let acts = self.outpost.handle(said, &self.heart, Duration::from_nanos(now));
        let mut came = Came { passed: Vec::new(), asked: self.outpost.poll_ask() };
        for act in acts {
            match act {
                Act::Release(Released { to, frame }) => came.passed.push(Passed { to: to.at, bytes: frame }),
                Act::Drain => self.drains = true,
                Act::Begun { .. } => {}
                Act::Refused(refused) => panic!("the coordinator refuses the relay: {refused:?}"),
                Act::Warn(what) => panic!("{what}"),
            }
        }
        came
    }

    pub fn lose_line(&mut self) {
        self.connected = false;
        self.outpost.handle_gone(&self.heart);
    }
}
