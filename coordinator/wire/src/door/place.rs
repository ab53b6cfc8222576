//! Which doors a host has for its UDP port: what a relay says of itself, and nodes are told of it.

use serde::{Deserialize, Serialize};

use crate::frame::{FrameError, ensure};

/// Doors of one port that are told of.
pub const MAX_DOORS: usize = 8;

/// What a door carries datagrams in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carriage {
    /// QUIC datagrams, on UDP.
    Quic,
    /// A WebSocket over TLS, on TCP.
    WebSocket,
}

/// One door, on every address of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorAt {
    pub carriage: Carriage,
    pub port: u16,
}

impl std::fmt::Display for DoorAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = match self.carriage {
            Carriage::Quic => "udp",
            Carriage::WebSocket => "tcp",
        };
        write!(f, "{protocol} {}", self.port)
    }
}

/// All doors of a port. Said with nothing in it: there is none. Not said: nobody knows.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DoorPlaces {
    /// In the order in which they shall be tried, at most [`MAX_DOORS`].
    #[prost(message, repeated, tag = "1")]
    pub doors: Vec<DoorPlace>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct DoorPlace {
    /// 1: QUIC datagrams, 2: a WebSocket. Another is of a later version.
    #[prost(uint32, tag = "1")]
    pub carriage: u32,
    #[prost(uint32, tag = "2")]
    pub port: u32,
}

impl DoorPlaces {
    /// The first [`MAX_DOORS`].
    pub fn of(doors: &[DoorAt]) -> DoorPlaces {
        DoorPlaces { doors: doors.iter().take(MAX_DOORS).map(DoorPlace::of).collect() }
    }

    pub(crate) fn check(&self) -> Result<(), FrameError> {
        ensure(self.doors.len() <= MAX_DOORS, "over 8 doors of one port")?;
        let port = |door: &DoorPlace| (1..=u32::from(u16::MAX)).contains(&door.port);
        ensure(self.doors.iter().all(port), "a door's port is none")
    }

    /// What cannot be read, or was named before, is left out.
    pub fn read(&self) -> Vec<DoorAt> {
        let mut doors: Vec<DoorAt> = Vec::new();
        for door in self.doors.iter().take(MAX_DOORS).filter_map(DoorPlace::read) {
            if !doors.contains(&door) {
                doors.push(door);
            }
        }
        doors
    }
}

impl DoorPlace {
    fn of(door: &DoorAt) -> DoorPlace {
        let carriage = match door.carriage {
            Carriage::Quic => 1,
            Carriage::WebSocket => 2,
        };
        DoorPlace { carriage, port: door.port.into() }
    }

    fn read(&self) -> Option<DoorAt> {
        let carriage = match self.carriage {
            1 => Carriage::Quic,
            2 => Carriage::WebSocket,
            _ => return None,
        };
        let port = u16::try_from(self.port).ok().filter(|port| *port > 0)?;
        Some(DoorAt { carriage, port })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOORS: [DoorAt; 2] = [
        DoorAt { carriage: Carriage::Quic, port: 443 },
        DoorAt { carriage: Carriage::WebSocket, port: 8443 },
    ];

    #[test]
    fn doors_are_read_as_they_were_told_and_those_of_a_later_version_are_left_out() {
        let mut said = DoorPlaces::of(&DOORS);
        assert_eq!((said.check(), said.read()), (Ok(()), DOORS.to_vec()));
        said.doors.push(DoorPlace { carriage: 3, port: 443 });
        said.doors.push(said.doors[0]);
        assert_eq!((said.check(), said.read()), (Ok(()), DOORS.to_vec()));
        assert_eq!(DoorPlaces::default().read(), []);
    }

    #[test]
    fn what_is_no_door_is_refused() {
        let door = DoorPlace::of(&DOORS[0]);
        let bad = [
            vec![door; MAX_DOORS + 1],
            vec![DoorPlace { port: 0, ..door }],
            vec![DoorPlace { port: 65_536, ..door }],
        ];
        bad.into_iter().for_each(|doors| assert!(DoorPlaces { doors }.check().is_err()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(said) = <DoorPlaces as prost::Message>::decode(&bytes[..]) {
                prop_assert!(said.read().len() <= MAX_DOORS && said.read().iter().all(|door| door.port > 0));
                let _ = said.check();
            }
        }
    }
}
