//! Where the owner meets the relay: it gives seats and answers questions, and does so without waiting.

use std::net::UdpSocket;
use std::time::Duration;

use tokio::sync::mpsc;
use warren_config::time::UnixTime;
use warren_coordinator_core::Coordinator;
use warren_coordinator_core::relay::{Ask, Place, Released, Seating};
use warren_kernel::datagram::{self, Wait};
use warren_wire::frame::Seated;
use warren_wire::id::{NodeId, RelayId, Revision};
use warren_wire::relay::Seat;

use super::Carrier;
use crate::clock;

pub struct Desk {
    /// Of this relay: it knows no other's keys.
    id: RelayId,
    carrier: Carrier,
    asked: mpsc::Receiver<Ask>,
    /// For frames that have waited for an answer.
    socket: UdpSocket,
    /// Permits are right as of this one.
    revision: Revision,
}

impl Desk {
    pub fn new(id: RelayId, carrier: Carrier, asked: mpsc::Receiver<Ask>, socket: UdpSocket) -> Desk {
        Desk { id, carrier, asked, socket, revision: 0 }
    }

    pub fn seat(&self, node: NodeId, seated: Seated, now: UnixTime) {
        let life = Duration::from_secs(UnixTime(seated.until).since(now));
        let start = clock::mono();
        let until = start.saturating_add(life);
        let (seat, up, down) = (seated.seat, seated.up.at(&self.id), seated.down.at(&self.id));
        self.carrier.relay.seat(Seating { seat, node, up, down, until }, start);
    }

    pub fn unseat(&self, seat: Seat) {
        self.carrier.relay.unseat(seat);
    }

    /// The next question; never, once the relay has ended.
    pub async fn next(&mut self) -> Option<Ask> {
        self.asked.recv().await
    }

    pub fn answer(&self, ask: &Ask, coordinator: &Coordinator) {
        let may = coordinator.may_relay(&ask.nodes.0, &ask.nodes.1);
        if let Some(Released { to, frame }) = self.carrier.relay.answer(ask.pair, may, clock::mono()) {
            let Place { at, by } = to;
            let sent = datagram::send_from(&self.socket, by, &at, &frame, None, Wait::Never);
            self.carrier.unsent(sent.is_err().into());
        }
    }

    /// After each change: who may no longer talk does not.
    pub fn keep_up(&mut self, coordinator: &Coordinator) {
        let revision = coordinator.state().head().revision;
        if self.revision != revision {
            self.revision = revision;
            self.carrier.relay.retain_pairs(|a, b| coordinator.may_relay(a, b));
        }
    }
}
