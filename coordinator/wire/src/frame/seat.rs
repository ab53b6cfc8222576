//! A node's seat at its network's relays, as its coordinator gives it.

use std::fmt;
use std::net::SocketAddr;

use super::{FrameError, MAX_NAME_BYTES, ensure};
use crate::door::{DoorAt, DoorPlaces};
use crate::id::{IdentityKey, RelayId};
use crate::relay::{Seat, TagKey};
use crate::view::{MAX_CANDIDATE_BYTES, MAX_CANDIDATES};

const KEY_BYTES: usize = 16;
/// Relays a node is told of.
pub const MAX_RELAYS: usize = 8;

/// Unsigned: the coordinator can withhold a relay, and one of its own making sees nothing but ciphertext.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct RelaySeat {
    /// [`Seat`]; 0: there is no relay for this node any more.
    #[prost(uint32, tag = "1")]
    pub number: u32,
    /// [`TagKey`] of what the node sends; each relay has its own of it ([`TagKey::at`]).
    #[prost(bytes = "vec", tag = "2")]
    pub up: Vec<u8>,
    /// [`TagKey`] of what it gets, likewise.
    #[prost(bytes = "vec", tag = "3")]
    pub down: Vec<u8>,
    /// Seconds since 1970.
    #[prost(uint64, tag = "5")]
    pub until: u64,
    /// At most [`MAX_RELAYS`]; this node has its seat at each.
    #[prost(message, repeated, tag = "6")]
    pub relays: Vec<RelayPlace>,
}

/// One relay.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RelayPlace {
    /// Its identity key; its id follows from it.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// For people.
    #[prost(string, tag = "2")]
    pub name: String,
    /// `address:port`, UDP, at most 8. None: it is where the coordinator is.
    #[prost(string, repeated, tag = "3")]
    pub addresses: Vec<String>,
    /// It will end soon: it still carries, and nothing shall be sent over it any more.
    #[prost(bool, tag = "4")]
    pub draining: bool,
    /// Missing: a node looks for doors where they usually are.
    #[prost(message, optional, tag = "5")]
    pub doors: Option<DoorPlaces>,
}

/// Keys reach no log.
impl fmt::Debug for RelaySeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelaySeat {{ number: {}, relays: {:?}, until: {} }}", self.number, self.relays, self.until)
    }
}

/// [`RelaySeat`], read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seated {
    pub seat: Seat,
    pub up: TagKey,
    pub down: TagKey,
    pub relays: Vec<RelayAt>,
    pub until: u64,
}

/// [`RelayPlace`], read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayAt {
    pub id: RelayId,
    pub key: IdentityKey,
    pub name: String,
    /// Empty: where the coordinator is.
    pub addresses: Vec<SocketAddr>,
    pub draining: bool,
    /// At each of its addresses, for networks without UDP. `None`: nobody has said; empty: there is none.
    pub doors: Option<Vec<DoorAt>>,
}

impl RelayAt {
    pub fn new(key: IdentityKey, name: &str, addresses: Vec<SocketAddr>) -> RelayAt {
        RelayAt { id: RelayId::of(&key), key, name: name.to_owned(), addresses, draining: false, doors: None }
    }
}

impl RelayPlace {
    pub fn of(relay: &RelayAt) -> RelayPlace {
        RelayPlace {
            key: relay.key.0.to_vec(),
            name: relay.name.clone(),
            addresses: relay.addresses.iter().map(ToString::to_string).collect(),
            draining: relay.draining,
            doors: relay.doors.as_deref().map(DoorPlaces::of),
        }
    }

    fn check(&self) -> Result<(), FrameError> {
        ensure(self.key.len() == 32, "a relay's key is not 32 bytes")?;
        ensure(self.name.len() <= MAX_NAME_BYTES, "a relay's name is over 63 bytes")?;
        self.doors.iter().try_for_each(DoorPlaces::check)?;
        let short = self.addresses.iter().all(|place| place.len() <= MAX_CANDIDATE_BYTES);
        ensure(self.addresses.len() <= MAX_CANDIDATES && short, "too many or too long addresses of a relay")
    }

    /// An address that is none is left out; `None` if none is left of those that were said.
    pub fn read(&self) -> Option<RelayAt> {
        let key = IdentityKey::from_slice(&self.key)?;
        let said = self.addresses.iter().take(MAX_CANDIDATES);
        let addresses: Vec<SocketAddr> = said.filter_map(|place| place.parse().ok()).collect();
        let somewhere = self.addresses.is_empty() || !addresses.is_empty();
        let doors = self.doors.as_ref().map(DoorPlaces::read);
        let (draining, relay) = (self.draining, RelayAt::new(key, &self.name, addresses));
        somewhere.then_some(RelayAt { draining, doors, ..relay })
    }
}

impl RelaySeat {
    pub fn of(seated: &Seated) -> RelaySeat {
        RelaySeat {
            number: seated.seat.number(),
            up: seated.up.expose().to_vec(),
            down: seated.down.expose().to_vec(),
            until: seated.until,
            relays: seated.relays.iter().map(RelayPlace::of).collect(),
        }
    }

    pub(super) fn check(&self) -> Result<(), FrameError> {
        ensure(Seat::new(self.number).is_some(), "a seat's number has over 24 bits")?;
        ensure(self.relays.len() <= MAX_RELAYS, "over 8 relays")?;
        self.relays.iter().try_for_each(RelayPlace::check)?;
        let keys = self.up.len() == KEY_BYTES && self.down.len() == KEY_BYTES;
        ensure(self.number == 0 || keys, "a seat's key is not 16 bytes")
    }

    /// `None`: there is no relay. A relay that cannot be read, or was named before, is left out.
    pub fn read(&self) -> Option<Seated> {
        let seat = Seat::new(self.number).filter(|seat| !seat.is_relay())?;
        let key = |bytes: &[u8]| bytes.try_into().ok().map(TagKey::new);
        let mut relays: Vec<RelayAt> = Vec::new();
        for relay in self.relays.iter().take(MAX_RELAYS).filter_map(RelayPlace::read) {
            if relays.iter().all(|other| other.id != relay.id) {
                relays.push(relay);
            }
        }
        Some(Seated { seat, up: key(&self.up)?, down: key(&self.down)?, relays, until: self.until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::DoorPlace;

    fn seated() -> Seated {
        let (up, down) = (TagKey::new([0x1a; 16]), TagKey::new([0x2b; 16]));
        let at = vec!["192.0.2.1:7946".parse().unwrap()];
        let door = DoorAt { carriage: crate::door::Carriage::WebSocket, port: 8443 };
        let relays = vec![
            RelayAt { doors: Some(vec![door]), ..RelayAt::new(IdentityKey([3; 32]), "fra", at) },
            RelayAt { draining: true, ..RelayAt::new(IdentityKey([4; 32]), "coordinator", vec![]) },
        ];
        Seated { seat: Seat::new(77).unwrap(), up, down, relays, until: 5 }
    }

    #[test]
    fn a_seat_is_read_as_it_was_given_and_its_keys_are_not_printed() {
        let said = RelaySeat::of(&seated());
        assert_eq!((said.check(), said.read()), (Ok(()), Some(seated())));
        let text = format!("{said:?} {:?}", seated());
        assert!(!text.contains("26, 26") && !text.contains("43, 43") && !text.contains("1a1a"), "{text}");
    }

    #[test]
    fn what_is_no_seat_is_refused() {
        let good = RelaySeat::of(&seated());
        let relay = good.relays[0].clone();
        let with = |change: &dyn Fn(&mut RelayPlace)| {
            let mut relay = relay.clone();
            change(&mut relay);
            RelaySeat { relays: vec![relay], ..good.clone() }
        };
        let bad = [
            RelaySeat { number: 1 << 24, ..good.clone() },
            RelaySeat { up: vec![1; 15], ..good.clone() },
            RelaySeat { relays: vec![relay.clone(); 9], ..good.clone() },
            with(&|relay| relay.addresses = vec!["x".repeat(65)]),
            with(&|relay| relay.addresses = vec![String::new(); 9]),
            with(&|relay| relay.key = vec![1; 31]),
            with(&|relay| relay.name = "x".repeat(64)),
            with(&|relay| relay.doors = Some(DoorPlaces { doors: vec![DoorPlace::default()] })),
        ];
        bad.iter().for_each(|said| assert!(said.check().is_err(), "{said:?}"));
        let none = RelaySeat { number: 0, up: vec![], ..good };
        assert_eq!((none.check(), none.read()), (Ok(()), None));
    }

    #[test]
    fn a_relay_named_twice_is_one_and_one_at_no_address_that_can_be_read_is_none() {
        let mut said = RelaySeat::of(&seated());
        said.relays.push(said.relays[0].clone());
        said.relays.push(RelayPlace {
            key: vec![5; 32],
            addresses: vec!["somewhere".into()],
            ..RelayPlace::default()
        });
        assert_eq!((said.check(), said.read()), (Ok(()), Some(seated())));
    }
}
