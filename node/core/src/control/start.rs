//! What happens at the start, when time passes, and whenever the truth has changed: store, publish, cut.

use std::sync::Arc;

use warren_wire::trust::Member;

use super::belief::Judge;
use super::life::Fresh;
use super::output::{CutReason, Output, Severity};
use super::session::Session;
use super::stored::{Keep, Stored};
use super::{Control, STORE_EVERY_MS, clock, publish};
use crate::clock::Mono;

impl Control {
    /// The agent starts. `stored` is what [`Output::Store`] last wrote, `None` if there is no file. `host_ms` is the
    /// host's wall clock (milliseconds since 1970): it may close things until signed time is known, never open them.
    pub fn handle_started(&mut self, stored: Option<&[u8]>, host_ms: u64, now: Mono) {
        self.latest = now;
        let stored = stored.and_then(|bytes| self.read_stored(bytes)).unwrap_or_default();
        self.keeper = clock::Keeper::start(stored.wall_ms, host_ms, now);
        self.outputs.push_back(Output::Clock(self.keeper.clock()));
        self.resume(stored);
        self.publish();
        self.session = Session::Away { until: now };
        self.connect(now);
    }

    fn read_stored(&mut self, bytes: &[u8]) -> Option<Stored> {
        match Stored::decode(bytes, &self.network.id, &self.me.id) {
            Ok(stored) => Some(stored),
            Err(error) => {
                let text = format!("{error}; this node starts without peers and asks for its whole view");
                self.notice(Severity::Alarm, "stored-view-refused", text);
                None
            }
        }
    }

    /// The stored view is believed only as far as it can be verified again; what was seen is remembered in any case.
    fn resume(&mut self, stored: Stored) {
        let serial = self.memory.charter_serial;
        self.memory = stored.memory;
        self.memory.charter_serial = self.memory.charter_serial.max(serial);
        let Some(head) = stored.head else { return };
        let judge = Judge { trust: &self.config.trust, me: &self.me, held: None, memory: &self.memory };
        match judge.believe(stored.view, head) {
            Ok(believed) => {
                self.memory = believed.memory;
                self.adopt(believed.belief);
            }
            Err(error) => {
                let text = format!("the stored view is refused: {error}; this node starts without peers");
                self.notice(Severity::Alarm, "stored-view-refused", text);
                return;
            }
        }
        let Some(signed) = stored.freshness else { return };
        if let Ok(statement) = self.config.trust.freshness(&self.network, &signed) {
            let _ = self.life.offer(Fresh { signed, statement }, self.belief.as_ref());
        }
    }

    /// Takes a belief over: network, this node as others know it, the life of the view.
    pub(super) fn adopt(&mut self, belief: super::belief::Belief) {
        self.network = belief.network.clone();
        let (theirs, own) = (&belief.me, &self.me);
        let behind = theirs.key_serial > own.key_serial;
        if theirs.key_serial >= own.key_serial {
            self.new_keys = None;
        }
        // An agent that died after a rotation, before the coordinator took the keys: they are announced again.
        let unheard = theirs.key_serial < own.key_serial && self.new_keys.is_none();
        let mine = (own.lanes.clone(), own.key_serial);
        self.me = Arc::new(Member { lanes: mine.0, key_serial: mine.1, ..(**theirs).clone() });
        self.config.record.amendment = belief.my_record.amendment.clone();
        self.life.rebase(&belief);
        self.belief = Some(belief);
        if unheard {
            self.new_keys = self.config.record.keys.clone();
            self.say_keys();
        }
        if behind && !std::mem::replace(&mut self.warned_keys, true) {
            let text = "the network knows newer WireGuard keys of this node than it holds: its state directory was \
                        restored or copied; make new keys, and look for a second agent with this identity";
            self.notice(Severity::Alarm, "own-keys-behind", text.to_owned());
        }
    }

    /// Why there must be no peers now, if so.
    fn cut_reason(&self, now: Mono) -> Option<CutReason> {
        if let Some(signed) = self.memory.revoked.get(&self.me.id) {
            let why = self.config.trust.revocation(signed).map_or(String::new(), |(_, r)| r.why);
            return Some(CutReason::Revoked { why: warren_wire::frame::printable(&why, 200) });
        }
        let (Some(_), Some(fresh)) = (&self.belief, &self.life.current) else {
            return Some(CutReason::NoView);
        };
        let stale = self.now(now).wall_ms >= fresh.end_ms() && !self.config.hold;
        stale.then(|| CutReason::Stale { since: fresh.since(), end: fresh.end() })
    }

    /// What is true now goes to the data plane.
    pub(super) fn publish(&mut self) {
        self.unpublished = true;
    }

    /// Compiles it.
    pub(super) fn make_publication(&mut self) {
        let now = self.latest;
        let cut = self.cut_reason(now);
        let wall = self.now(now).wall();
        let publication = match (&self.belief, cut.clone()) {
            (Some(belief), cut) => publish::compile(belief, &self.me, &self.own, wall, cut),
            (None, cut) => publish::nothing(&self.network, &self.me, cut.unwrap_or(CutReason::NoView)),
        };
        self.next_end = publish::next_end(&publication.assembly, wall);
        let before = self.publication.as_ref().and_then(|p| p.cut.clone());
        match (&before, &cut) {
            (_, Some(reason)) if before != cut => {
                self.outputs.push_back(Output::Cut(reason.clone()));
                let severity = if *reason == CutReason::NoView { Severity::Info } else { Severity::Alarm };
                self.notice(severity, "cut", format!("no peers: {reason}"));
            }
            (Some(_), None) => self.notice(Severity::Info, "in-force", "the view is in force".to_owned()),
            _ => {}
        }
        let observe = self.publication.as_ref().is_some_and(|p| p.observe);
        if publication.observe && !observe {
            let text = "the policy is in `observe` mode: what no grant allows passes and is only recorded";
            self.notice(Severity::Alarm, "observe", text.to_owned());
        }
        if observe && !publication.observe {
            let text = "the policy does not only observe any more: what no grant allows is refused";
            self.notice(Severity::Info, "enforce", text.to_owned());
        }
        let publication = Arc::new(publication);
        self.publication = Some(publication.clone());
        self.outputs.push_back(Output::Publish(publication));
    }

    /// Warnings from half of the life, the cut at its end.
    pub(super) fn check_life(&mut self, now: Mono) {
        let Some(fresh) = self.life.current.clone() else { return };
        let wall = self.now(now).wall_ms;
        if wall >= fresh.half_ms() && !std::mem::replace(&mut self.warned_half, true) {
            let (since, end) = (fresh.since(), fresh.end());
            let text = format!(
                "the coordinator has not confirmed this node's view since {since}; peers are cut at {end}"
            );
            self.notice(Severity::Warning, "freshness-half", text);
        }
        if wall >= fresh.end_ms() && !std::mem::replace(&mut self.warned_end, true) {
            if self.config.hold {
                let text = format!("freshness ended at {}; `hold` keeps the last good view", fresh.end());
                self.notice(Severity::Alarm, "freshness-held", text);
            }
            self.publish();
        }
    }

    /// What must survive a restart is written, before it is acknowledged: no number ever goes back.
    pub(super) fn store(&mut self) {
        self.unstored = true;
    }

    pub(super) fn make_stored(&mut self) {
        let now = self.latest;
        self.store_at = now.plus_millis(STORE_EVERY_MS);
        let keep = Keep {
            view: self.belief.as_ref().map(|b| &b.view),
            head: self.belief.as_ref().map(|b| &b.head),
            freshness: self.life.current.as_ref().map(|f| &f.signed),
            wall_ms: self.keeper.certain_ms(now),
            memory: &self.memory,
        };
        let bytes = keep.encode(&self.network.id, &self.me.id);
        self.outputs.push_back(Output::Store(bytes));
    }
}
