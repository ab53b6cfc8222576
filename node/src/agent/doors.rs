//! Relays and the ways to them: what [`Passage`] decides is carried out here, in the control loop, and packets only follow
//! ([`crate::door::Detours`]).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use warren_node_core::clock::Mono;
use warren_node_core::dataplane::Transmit;
use warren_node_core::door::{Passage, Signs, Step, Transport};
use warren_node_core::session::Engine;
use warren_wire::door::DoorAt;
use warren_wire::id::{IdentityKey, RelayId};

use crate::door::{Door, DoorError};
use crate::link::Connector;
use crate::udp::Sender;
use crate::worker::Shared;

/// A door was opened, or not, for this relay.
pub type Opened = (RelayId, Result<Door, DoorError>);

/// A relay, and how it fares.
#[derive(Clone, Debug)]
pub struct KnownRelay {
    pub relay: RelayId,
    /// Keys that its doors may prove.
    pub keys: Vec<IdentityKey>,
    /// The address that is used, and all of them.
    pub at: SocketAddr,
    pub addresses: Vec<SocketAddr>,
    /// Those that were told.
    pub doors: Option<Vec<DoorAt>>,
    pub signs: Signs,
}

struct Entry {
    passage: Passage,
    door: Option<Door>,
    /// Why the last try failed.
    error: Option<DoorError>,
}

/// See the module.
pub struct Doors {
    entries: BTreeMap<RelayId, Entry>,
    opened: (mpsc::Sender<Opened>, mpsc::Receiver<Opened>),
    /// Of doors that are closed.
    carried: [u64; 3],
    changes: u64,
}

impl Default for Doors {
    fn default() -> Doors {
        Doors { entries: BTreeMap::new(), opened: mpsc::channel(8), carried: [0; 3], changes: 0 }
    }
}

impl Doors {
    /// What [`Doors::handle_opened`] is to be given.
    pub async fn next(&mut self) -> Option<Opened> {
        self.opened.1.recv().await
    }

    /// Time passes; these are the relays, and how they fare.
    pub fn tend<E: Engine>(
        &mut self,
        relays: &[KnownRelay],
        shared: &Shared<E>,
        connector: &Arc<Connector>,
        now: Mono,
    ) {
        let answered = shared.outlook.lock().take_answered();
        self.forget_others(relays, shared);
        for known in relays {
            let entry = self.entries.entry(known.relay).or_insert_with(|| Entry::new(now));
            if let Some(why) = entry.door.as_ref().and_then(Door::over) {
                tracing::info!(relay = %known.relay, "a door has closed: {why}");
                entry.passage.handle_closed(now);
            }
            if known.addresses.iter().any(|at| answered.contains(at)) {
                entry.passage.handle_udp(now);
            }
            entry.passage.handle_tick(known.signs, now);
            self.carry_out(known, shared, connector);
        }
    }

    /// A door has opened or could not be.
    pub fn handle_opened<E: Engine>(
        &mut self,
        (relay, result): Opened,
        known: Option<&KnownRelay>,
        shared: &Shared<E>,
        connector: &Arc<Connector>,
        now: Mono,
    ) {
        let Some((entry, known)) = self.entries.get_mut(&relay).zip(known) else { return };
        match result {
            Ok(door) => {
                let transport = door.transport();
                (entry.door, entry.error) = (Some(door), None);
                entry.passage.handle_opened(transport, known.signs, now);
            }
            Err(error) => {
                tracing::debug!(%relay, "no door: {error}");
                entry.error = Some(error);
                entry.passage.handle_failed(now);
            }
        }
        self.carry_out(known, shared, connector);
    }

    fn carry_out<E: Engine>(&mut self, known: &KnownRelay, shared: &Shared<E>, connector: &Arc<Connector>) {
        let (relay, at) = (known.relay, known.at);
        let Some(entry) = self.entries.get_mut(&relay) else { return };
        while let Some(step) = entry.passage.poll() {
            match (step, entry.door.as_ref().map(Door::at)) {
                (Step::Open, _) => {
                    let (connector, tell) = (Arc::clone(connector), self.opened.0.clone());
                    let (keys, serves) = (known.keys.clone(), shared.sockets.near());
                    let told = known.doors.clone();
                    tokio::spawn(async move {
                        let opened = connector.open_door(at, told.as_deref(), keys, serves).await;
                        let _ = tell.send((relay, opened)).await;
                    });
                }
                (Step::Use | Step::Leave, Some(door)) => {
                    shared.sockets.detours.set(&known.addresses, door, step == Step::Use);
                    shared.plane.relay_moved(&relay, shared.clock.now());
                    self.changes += 1;
                    let (transport, _, why) = entry.passage.standing();
                    tracing::info!(%relay, %at, transport = transport.name(), "the way to the relay is another: {why}");
                }
                (Step::AskUdp, _) => known.addresses.iter().for_each(|at| ask_udp(*at, shared)),
                (Step::Close, Some(at)) => {
                    shared.sockets.detours.remove(at);
                    entry.close(&mut self.carried);
                }
                (Step::Use | Step::Leave | Step::Close, None) => {}
            }
        }
    }

    fn forget_others<E: Engine>(&mut self, relays: &[KnownRelay], shared: &Shared<E>) {
        let all: Vec<RelayId> = self.entries.keys().copied().collect();
        for relay in all.into_iter().filter(|id| !relays.iter().any(|known| known.relay == *id)) {
            if let Some(mut entry) = self.entries.remove(&relay) {
                entry.door.iter().for_each(|door| shared.sockets.detours.remove(door.at()));
                entry.close(&mut self.carried);
            }
        }
    }

    /// By what the relay is reached, since when, and why. Over UDP from the first frame on, which may be before its first turn here.
    pub fn shown(&self, relay: &RelayId, now: Mono) -> Value {
        let entry = self.entries.get(relay);
        let (transport, since, why) =
            entry.map_or_else(|| Passage::new(now).standing(), |entry| entry.passage.standing());
        json!({
            "transport": transport.name(),
            "seconds": now.millis_since(since) / 1000,
            "why": why,
            "last_error": entry.and_then(|entry| entry.error.as_ref()).map(ToString::to_string),
        })
    }

    pub fn transport(&self, relay: &RelayId) -> Transport {
        self.entries.get(relay).map_or(Transport::Udp, |entry| entry.passage.standing().0)
    }

    /// Since the start.
    pub fn counters(&self) -> [(&'static str, u64); 4] {
        let mut all = self.carried;
        for door in self.entries.values().filter_map(|entry| entry.door.as_ref()) {
            add(&mut all, door);
        }
        let [inward, outward, lost] = all;
        [("door-in", inward), ("door-out", outward), ("door-lost", lost), ("door-changes", self.changes)]
    }
}

impl Entry {
    fn new(now: Mono) -> Entry {
        Entry { passage: Passage::new(now), door: None, error: None }
    }

    fn close(&mut self, carried: &mut [u64; 3]) {
        if let Some(door) = self.door.take() {
            add(carried, &door);
        }
    }
}

fn add(all: &mut [u64; 3], door: &Door) {
    let carried = door.carried();
    for (sum, count) in all.iter_mut().zip([carried.inward, carried.outward, carried.lost]) {
        *sum = sum.saturating_add(count);
    }
}

fn ask_udp<E: Engine>(relay: SocketAddr, shared: &Shared<E>) {
    let mut id = [0; 12];
    if getrandom::fill(&mut id).is_err() {
        return;
    }
    let question = shared.outlook.lock().ask(relay, id);
    let transmit = Transmit { to: relay, bytes: &question, segment: None, pieces: false };
    shared.sockets.send_straight(&transmit, Sender::Control);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_carries_before_its_first_turn_is_shown_as_reached_over_udp() {
        let (doors, relay) = (Doors::default(), RelayId([7; 16]));
        let shown = doors.shown(&relay, Mono(5_000));
        assert_eq!(shown["transport"], doors.transport(&relay).name());
        assert_eq!((&shown["transport"], &shown["seconds"]), (&json!("udp"), &json!(0)));
    }
}
