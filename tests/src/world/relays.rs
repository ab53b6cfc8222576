//! A second relay in the world: how it comes, goes, and speaks with the coordinator.

use std::net::SocketAddr;

use warren_config::time::UnixTime;
use warren_coordinator_core::command::Command;
use warren_wire::frame::{FromRelay, RelayHello, RelaySays, ToRelay};
use warren_wire::id::IdentityKey;

use super::{Event, World};
use crate::annex::{self, Annex, Came};
use crate::clock::wall;
use crate::link::Place;

impl World {
    /// It is let in and has a session at the coordinator.
    pub fn add_annex(&mut self) {
        let ends = UnixTime(wall(self.now).0 + 3600);
        let token = IdentityKey::of(&annex::token());
        let command = Command::AddRelay { name: annex::NAME.into(), token, at: vec![annex::PLACE], ends };
        if let Err(error) = self.command(command) {
            self.fail(&format!("a relay is refused: {error:?}"));
        }
        self.annex = Some(Annex::new(self.admin.network.trust.clone()));
        self.connect_annex();
    }

    /// It reaches the coordinator.
    pub fn connect_annex(&mut self) {
        let network = *self.admin.network.id();
        let Some(annex) = &mut self.annex else { return };
        annex.connected = true;
        self.site.handle_relay_connected(annex::CONN, annex::public(), annex::PLACE);
        self.annex_says(annex::shown(&network));
        self.annex_says(RelaySays::Hello(RelayHello {
            agent: "test".into(),
            port: 7946,
            places: vec![],
            doors: None,
        }));
    }

    /// It and the coordinator do not hear each other any more.
    pub fn lose_annex_line(&mut self) {
        if let Some(annex) = &mut self.annex {
            annex.lose_line();
        }
        self.site.handle_relay_disconnected(annex::CONN, wall(self.now));
        self.settle_site();
    }

    /// As by `kill -9`.
    pub fn kill_annex(&mut self) {
        if let Some(annex) = &mut self.annex {
            annex.alive = false;
        }
        self.lose_annex_line();
    }

    fn annex_says(&mut self, says: RelaySays) {
        let frame = FromRelay { says: Some(says) };
        if let Err(error) = self.site.handle_relay_frame(annex::CONN, frame, wall(self.now)) {
            self.fail(&format!("what a relay says leads to nothing good: {error:?}"));
        }
        self.learn();
        self.settle_site();
    }

    pub(super) fn annex_hears(&mut self, said: ToRelay) {
        let now = self.now;
        let Some(annex) = self.annex.as_mut().filter(|annex| annex.alive && annex.connected) else { return };
        let came = annex.hear(said, now);
        let origin = self.annex_origin;
        self.annex_acts(origin, came);
    }

    /// What it passes on comes from its place, whoever wrote it.
    pub(super) fn annex_carries(&mut self, origin: usize, from: SocketAddr, bytes: Vec<u8>) {
        let now = self.now;
        let Some(annex) = self.annex.as_mut().filter(|annex| annex.alive) else { return };
        let came = annex.carry(from, bytes, now);
        // Questions are answered before anybody else speaks: so a frame that has waited is this one's.
        self.annex_origin = origin;
        self.annex_acts(origin, came);
    }

    fn annex_acts(&mut self, origin: usize, came: Came) {
        for passed in came.passed {
            let Some(target) = self.owner(passed.to) else { continue };
            for at in self.links.arrivals(Place::Annex, Place::Node(target), self.now, &mut self.random) {
                let bytes = passed.bytes.clone();
                self.schedule(at, Event::Datagram { origin, from: annex::PLACE, to: passed.to, bytes });
            }
        }
        for pairs in came.asked {
            self.annex_says(RelaySays::Ask(pairs));
        }
    }
}
