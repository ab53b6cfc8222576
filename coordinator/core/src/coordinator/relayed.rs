//! Seats at the relays, for nodes that find no other way to each other.

use warren_config::time::UnixTime;
use warren_wire::frame::{CoordinatorSays, RelayAt, RelaySeat, Seated};
use warren_wire::id::NodeId;
use zeroize::Zeroizing;

use super::Coordinator;
use crate::output::{ConnId, Output};
use crate::seats::Seats;

impl Coordinator {
    /// There may be relays: one on this coordinator's own port, if one is named, and those that were let in. Numbers and keys
    /// of seats come from the seed. Before the first connection.
    pub fn offer_relay(&mut self, seed: Zeroizing<[u8; 32]>, here: Option<RelayAt>) {
        self.here = here;
        let relays = self.told_relays();
        self.seats = Some(Seats::new(seed, relays));
    }

    /// May a relay carry what the two send each other?
    pub fn may_relay(&self, a: &NodeId, b: &NodeId) -> bool {
        self.distribution.are_peers(a, b)
    }

    /// True if the node has just got its number.
    pub(super) fn take_seat(&mut self, node: NodeId) -> bool {
        let seat = self.seats.as_mut().and_then(|seats| seats.number(node));
        seat.is_some_and(|seat| self.endpoints.give_seat(node, seat))
    }

    pub(super) fn begin_seat(&mut self, conn: ConnId, node: NodeId, now: UnixTime) {
        let life = self.founded.freshness;
        let seated = self.seats.as_mut().and_then(|seats| seats.begin(node, life, now));
        self.give_seat(conn, node, seated, now);
    }

    /// Who is away gets no more time: it comes with a new session.
    pub(super) fn renew_seats(&mut self, now: UnixTime) {
        let (life, due) = (self.founded.freshness, self.seats.as_mut().map(|seats| seats.take_due(now)));
        for node in due.unwrap_or_default() {
            let Some(conn) = self.sessions.of_node(&node) else { continue };
            let seated = self.seats.as_mut().and_then(|seats| seats.renew(node, life, now));
            self.give_seat(conn, node, seated, now);
        }
    }

    /// The relays hear of it first.
    fn give_seat(&mut self, conn: ConnId, node: NodeId, seated: Option<Seated>, now: UnixTime) {
        let Some(seated) = seated else { return };
        let said = RelaySeat::of(&seated);
        self.seat_everywhere(node, &seated, now);
        self.outputs.push_back(Output::Seated(node, seated));
        // Of a seat at no relay nothing need be said.
        if !said.relays.is_empty() {
            self.send(conn, CoordinatorSays::Relay(said));
        }
    }

    /// The same seat at other relays than before.
    pub(super) fn repeat_seat(&mut self, conn: ConnId, node: NodeId) {
        let said = self.seats.as_ref().and_then(|seats| seats.given(&node)).map(RelaySeat::of);
        if let Some(said) = said {
            self.send(conn, CoordinatorSays::Relay(said));
        }
    }

    pub(super) fn unseat(&mut self, node: &NodeId) {
        let seat = self.seats.as_mut().and_then(|seats| seats.forget(node));
        if let Some(seat) = seat {
            self.outputs.push_back(Output::Unseated(seat));
            self.unseat_everywhere(seat);
        }
    }
}
