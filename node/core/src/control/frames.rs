//! What the coordinator says, frame by frame.

use std::net::SocketAddr;

use warren_wire::frame::{
    CoordinatorSays, RefusalCode, Refused, RelayAt, Seated, ToNode, Welcome, printable,
};
use warren_wire::signed::Signed;
use warren_wire::statement::Delegation;
use warren_wire::view::{Assembled, Delta};

use super::belief::{Believed, Isolated, Judge, Refusal};
use super::life::Fresh;
use super::output::{Output, Severity};
use super::session::Session;
use super::{Control, CutReason};
use crate::clock::Mono;
use crate::path::{self, Locality};

/// Isolated entries reported one by one; the rest as a number.
const REPORTED: usize = 16;

impl Control {
    pub fn handle_frame(&mut self, frame: ToNode, now: Mono) {
        self.latest = now;
        let said = match frame.said() {
            Ok(said) => said,
            Err(error) => return self.handle_unreadable(&error, now),
        };
        match (self.session, said) {
            // Of a channel that was given up.
            (Session::Away { .. } | Session::Connecting { .. }, _) => {}
            (_, CoordinatorSays::Refused(refused)) => self.handle_refused(&refused, now),
            (Session::Greeting { .. }, CoordinatorSays::Welcome(welcome)) => {
                self.handle_welcome(&welcome, now)
            }
            (Session::Greeting { .. }, _) => {
                self.give_up("the coordinator spoke before it welcomed this node", now);
            }
            (Session::Authorised, CoordinatorSays::Delta(delta)) => self.handle_delta(delta, now),
            (Session::Authorised, CoordinatorSays::Freshness(signed)) => self.handle_freshness(signed, now),
            (Session::Authorised, CoordinatorSays::FlowsStored(stored)) => {
                self.flows.handle_stored(stored.boot, stored.sequence);
                self.say_flows();
            }
            (Session::Authorised, CoordinatorSays::Knock(knock)) => {
                self.outputs.extend(knock.peer().map(Output::Knocked));
            }
            (Session::Authorised, CoordinatorSays::Relay(seat)) => {
                let seated = seat.read().and_then(|seated| self.usable(seated));
                self.outputs.push_back(Output::Seated(seated));
            }
            (Session::Authorised, CoordinatorSays::Welcome(_)) => {
                self.give_up("the coordinator welcomed this node twice", now);
            }
            (Session::Authorised, CoordinatorSays::EnrolOffer(_) | CoordinatorSays::Enrolled(_)) => {
                self.give_up("the coordinator treats this member as a stranger", now);
            }
        }
    }

    /// As with the places of peers: a relay inside the overlay would be a tunnel in the tunnel. A seat at no other is none.
    fn usable(&self, seated: Seated) -> Option<Seated> {
        let relays: Vec<RelayAt> =
            seated.relays.into_iter().filter_map(|relay| self.reachable(relay)).collect();
        (!relays.is_empty()).then_some(Seated { relays, ..seated })
    }

    fn reachable(&self, relay: RelayAt) -> Option<RelayAt> {
        let locality = Locality::of(&self.own);
        let acceptable = |place: &SocketAddr| path::acceptable(*place, &self.network, locality);
        let addresses: Vec<SocketAddr> = relay.addresses.iter().copied().filter(acceptable).collect();
        let none = addresses.is_empty() && !relay.addresses.is_empty();
        (!none).then_some(RelayAt { addresses, ..relay })
    }

    fn handle_welcome(&mut self, welcome: &Welcome, now: Mono) {
        let seen = self.memory.view.0;
        if welcome.epoch < seen {
            let found = welcome.epoch;
            self.complain("epoch-older", format!("the coordinator is in epoch {found}, this node has seen {seen}: an old copy of it is answering"));
            return self.give_up("an old copy of the coordinator is answering", now);
        }
        self.session = Session::Authorised;
        self.last_error = None;
        let before = self.now(now).wall_ms;
        self.keeper.inform(welcome.now.saturating_mul(1000), now);
        self.corrected(before, now);
        if !self.wants_whole {
            self.reconnect.succeeded();
        }
        self.notice(Severity::Info, "coordinator-back", "the control channel stands".to_owned());
        self.say_all();
    }

    /// Unsigned, it changes nothing but when to ask again. A proof is believed for what it is: this node's revocation.
    fn handle_refused(&mut self, refused: &Refused, now: Mono) {
        let code = RefusalCode::try_from(refused.code).unwrap_or(RefusalCode::Unspecified);
        let severity = match code {
            RefusalCode::Overloaded => Severity::Warning,
            _ => Severity::Alarm,
        };
        if matches!(
            code,
            RefusalCode::Revoked | RefusalCode::NotAMember | RefusalCode::Replaced | RefusalCode::LeaseEnded
        ) {
            self.reconnect.rebuffed();
        }
        if matches!(code, RefusalCode::LeaseEnded | RefusalCode::NotAMember) && self.has_lease() {
            self.outputs.push_back(Output::LeaseEnded);
        }
        let text =
            format!("the coordinator refuses this node ({code:?}): {}", printable(&refused.message, 300));
        self.notice(severity, "refused", text.clone());
        if let Some(proof) = &refused.proof {
            self.handle_own_revocation(proof);
        }
        self.give_up(&text, now);
    }

    /// The authority itself has signed that this node may be taken out when it is away for too long: without that nobody's word
    /// ends it.
    fn has_lease(&self) -> bool {
        let delegation = self.config.record.delegation.as_ref();
        delegation.and_then(|signed| signed.peek::<Delegation>().ok()).is_some_and(|terms| terms.lease > 0)
    }

    /// Remembered for ever, and in force at once: local applications hear a refusal instead of silence.
    fn handle_own_revocation(&mut self, proof: &Signed) {
        match self.config.trust.revocation(proof) {
            Ok((node, _)) if node == self.me.id => {
                if self.memory.revoked.insert(node, proof.clone()).is_none() {
                    self.publish();
                    self.store();
                }
            }
            Ok((node, _)) => self
                .complain("foreign-revocation", format!("a refusal carries the revocation of node {node}")),
            Err(error) => self
                .complain("revocation-unsigned", format!("a refusal's revocation is not believed: {error}")),
        }
    }

    fn handle_delta(&mut self, delta: Delta, now: Mono) {
        let held = self.belief.as_ref().map(|belief| (belief.revision, &belief.view));
        match self.assembler.push(held, delta) {
            Ok(None) => {}
            Ok(Some(assembled)) => self.handle_view(assembled, now),
            Err(error) => self.refuse(&error.into(), now),
        }
    }

    fn handle_view(&mut self, assembled: Assembled, now: Mono) {
        let judge = Judge {
            trust: &self.config.trust,
            me: &self.me,
            held: self.belief.as_ref(),
            memory: &self.memory,
        };
        match judge.believe(assembled.view, assembled.head) {
            Ok(believed) => self.take(believed, now),
            Err(refusal) => self.refuse(&refusal, now),
        }
    }

    fn take(&mut self, believed: Believed, now: Mono) {
        self.memory = believed.memory;
        self.wants_whole = false;
        self.reconnect.succeeded();
        self.adopt(believed.belief);
        self.report(&believed.isolated);
        self.publish();
        self.store();
        self.check_doubt(now);
    }

    fn report(&mut self, isolated: &[Isolated]) {
        for entry in isolated.iter().take(REPORTED) {
            self.complain(
                "entry-isolated",
                format!("node {} is left out of the view: {}", entry.node, entry.why),
            );
        }
        if let Some(more) = isolated.len().checked_sub(REPORTED).filter(|more| *more > 0) {
            self.complain("entry-isolated", format!("{more} more entries of the view are left out"));
        }
    }

    /// The last good view stays; the next session begins without a base.
    fn refuse(&mut self, refusal: &Refusal, now: Mono) {
        self.complain("view-refused", format!("{refusal}; the last good view stays in force"));
        self.wants_whole = true;
        self.give_up("the coordinator's view was refused", now);
    }

    fn handle_freshness(&mut self, signed: Signed, now: Mono) {
        let checked = self.config.trust.freshness(&self.network, &signed).map_err(Refusal::from);
        let offered = checked.and_then(|statement| {
            let signed_ms = statement.signed_at.saturating_mul(1000);
            let known = self.life.current.as_ref().is_some_and(|current| current.signed == signed);
            let counts = self.life.offer(Fresh { signed, statement }, self.belief.as_ref())?;
            Ok((signed_ms, counts, known))
        });
        match offered {
            Ok((signed_ms, counts, known)) => {
                self.refreshed(signed_ms, counts, now);
                // The same one again says nothing that is not on the disk.
                if counts && !known {
                    (self.warned_half, self.warned_end) = (false, false);
                    self.store();
                }
            }
            Err(refusal) => self.complain("freshness-refused", format!("a freshness is refused: {refusal}")),
        }
    }

    fn refreshed(&mut self, signed_ms: u64, counts: bool, now: Mono) {
        let before = self.now(now).wall_ms;
        self.keeper.learn(signed_ms, now);
        let cut = self.publication.as_ref().and_then(|p| p.cut.as_ref());
        let revives = counts && matches!(cut, Some(CutReason::NoView | CutReason::Stale { .. }));
        if revives {
            self.say_clock(before, now);
            self.publish();
        } else {
            self.corrected(before, now);
        }
        self.check_life(now);
        self.check_doubt(now);
    }

    /// Signed time is not what it was: whatever ends or comes back with it is judged again.
    fn corrected(&mut self, before_ms: u64, now: Mono) {
        let after = self.now(now).wall_ms;
        self.say_clock(before_ms, now);
        let ended = self.next_end.is_some_and(|end| after >= end.0.saturating_mul(1000));
        if after < before_ms || ended {
            self.publish();
        }
    }

    fn say_clock(&mut self, before_ms: u64, now: Mono) {
        if self.now(now).wall_ms != before_ms {
            self.outputs.push_back(Output::Clock(self.keeper.clock()));
        }
    }
}
