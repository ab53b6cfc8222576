//! What nodes and strangers say.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use warren_config::time::UnixTime;
use warren_wire::flow::FlowReport;
use warren_wire::frame::{
    Complaint, CoordinatorSays, Enforced, EnrolBegin, EnrolCommit, Enrolled, FlowsStored, Hello, Knock,
    MyEndpoints, NodeSays, ProvenPlace, ToCoordinator, Welcome,
};
use warren_wire::id::{Digest, NodeId};
use warren_wire::path::PathsReport;
use warren_wire::signed::Signed;
use warren_wire::trust::Record;

use super::Coordinator;
use crate::alarm::AlarmKind;
use crate::change::{Change, Origin, Principal, Proposal};
use crate::decide;
use crate::distribution::Held;
use crate::endpoints;
use crate::enrolment::{self, Applicant, Step};
use crate::output::{ConnId, Level, Output};
use crate::overdue::FULL;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::status::Progress;

/// Characters kept of what a node says in words.
const MAX_WORDS: usize = 300;
const MAX_AGENT: usize = 64;

impl Coordinator {
    /// A frame. A proposal must be committed (or dropped) before the next input.
    pub fn handle_frame(&mut self, conn: ConnId, frame: ToCoordinator, now: UnixTime) -> Option<Proposal> {
        let session = self.sessions.get(conn).filter(|session| !session.closing)?.clone();
        let Some(says) = frame.says else {
            self.close(conn, &Refusal::Protocol("a frame says nothing this version understands"), now);
            return None;
        };
        match says {
            NodeSays::EnrolBegin(wish) => self.enrol_begin(conn, &session, &wish, now),
            NodeSays::EnrolCommit(statements) => self.enrol_commit(conn, &session, statements, now),
            NodeSays::Hello(hello) => {
                self.hello(conn, &session, &hello, now);
                None
            }
            _ if !session.authorised => {
                self.close(conn, &Refusal::Protocol("a session begins with `Hello`"), now);
                None
            }
            NodeSays::Keys(keys) => self.keys(conn, session.node, keys, now),
            NodeSays::Enforced(enforced) => self.enforced(session.node, enforced, now),
            NodeSays::Endpoints(endpoints) => self.my_endpoints(session.node, &session, &endpoints, now),
            NodeSays::Flows(report) => self.flow_report(conn, session.node, &report, now),
            NodeSays::Names(report) => {
                // A node that has not heard yet that the policy has changed is not heard.
                if self.names_are_told() {
                    self.names.report(session.node, &report, now);
                }
                None
            }
            NodeSays::Paths(report) => {
                self.paths_told(session.node, report, now);
                None
            }
            NodeSays::Complaint(complaint) => self.complaint(session.node, &complaint, now),
            NodeSays::Knock(knock) => {
                self.knock(session.node, &knock, now);
                None
            }
        }
    }

    /// Of itself, about peers that are members.
    fn paths_told(&mut self, node: NodeId, report: PathsReport, now: UnixTime) {
        for path in report.paths {
            if let Some(peer) = path.node().filter(|peer| self.state.directory.live(peer).is_some()) {
                self.paths.tell(node, peer, path, now);
            }
        }
    }

    // --- enrolment

    fn enrol_begin(
        &mut self,
        conn: ConnId,
        session: &Session,
        wish: &EnrolBegin,
        now: UnixTime,
    ) -> Option<Proposal> {
        if !self.sessions.begin(conn) {
            let refusal = Refusal::Protocol("one connection asks for two offers at most");
            return self.refuse_enrolment(conn, session, refusal, now);
        }
        let who = applicant(session);
        match enrolment::begin(&self.state, &mut self.offers, who, wish, now) {
            Ok(offer) => self.send(conn, CoordinatorSays::EnrolOffer(offer)),
            Err(refusal) => return self.refuse_enrolment(conn, session, refusal, now),
        }
        None
    }

    fn enrol_commit(
        &mut self,
        conn: ConnId,
        session: &Session,
        statements: EnrolCommit,
        now: UnixTime,
    ) -> Option<Proposal> {
        match enrolment::commit(&self.state, &self.offers, applicant(session), statements, now) {
            Ok(Step::Already(record)) => self.enrolled(conn, *record),
            Ok(Step::Next(changes)) => {
                let principal = Principal::Node(session.node);
                return Some(self.state.proposal(changes, principal, Origin::Conn(conn), now));
            }
            Err(refusal) => return self.refuse_enrolment(conn, session, refusal, now),
        }
        None
    }

    pub(super) fn enrolled(&mut self, conn: ConnId, record: Record) {
        self.send(conn, CoordinatorSays::Enrolled(Enrolled { record: Some(record) }));
    }

    /// A second try of a spent token is an alarm that names the first.
    fn refuse_enrolment(
        &mut self,
        conn: ConnId,
        session: &Session,
        refusal: Refusal,
        now: UnixTime,
    ) -> Option<Proposal> {
        self.offers.remove(&session.key);
        self.close(conn, &refusal, now);
        match &refusal {
            Refusal::TokenSpent { token, first, .. } => {
                let (first, from, key) = (self.named(first), session.from.ip(), session.key);
                let message =
                    format!("token {token}, spent by {first}, was shown again by key {key} from {from}");
                self.durable_alarm(AlarmKind::TokenReused, &token.to_string(), message, now)
            }
            Refusal::NodeRevoked { node } => {
                self.knocked(*node, session, now);
                None
            }
            other => {
                let message = format!("an enrolment from {} was refused: {other}", session.from.ip());
                self.notice(Level::Warn, None, message);
                None
            }
        }
    }

    fn knocked(&mut self, node: NodeId, session: &Session, now: UnixTime) {
        let message = format!("revoked {} tries to come in from {}", self.named(&node), session.from.ip());
        self.alarm(AlarmKind::RevokedKnocked, &node.to_string(), &message, now);
    }

    /// `node NAME (ID)`.
    pub(super) fn named(&self, node: &NodeId) -> String {
        match self.state.directory.get(node) {
            Some(known) => format!("node {} ({node})", known.member.name()),
            None => format!("node {node}"),
        }
    }

    // --- a member's session

    fn hello(&mut self, conn: ConnId, session: &Session, hello: &Hello, now: UnixTime) {
        let node = session.node;
        match self.state.directory.get(&node) {
            None => return self.close(conn, &Refusal::NotAMember, now),
            Some(known) if !known.is_live() => {
                let refusal = known.refusal().unwrap_or(Refusal::NotAMember);
                self.close(conn, &refusal, now);
                // Whose lease ended is welcome to come again with another identity: that is no alarm.
                if matches!(refusal, Refusal::NodeRevoked { .. }) {
                    self.knocked(node, session, now);
                }
                return;
            }
            Some(_) if session.authorised => {
                return self.close(conn, &Refusal::Protocol("a second `Hello` in one session"), now);
            }
            Some(_) => {}
        }
        self.offers.remove(&session.key);
        if let Some(older) = self.sessions.authorise(conn, now) {
            self.replaced(node, older, session, now);
            self.close(older, &Refusal::Replaced, now);
        }
        self.sessions.presence_mut(node).agent = Some(words(&hello.agent, MAX_AGENT));
        self.check_not_ahead(node, hello, now);
        let sits = self.take_seat(node);
        self.welcome(conn, session, hello, now);
        let told = self.update_endpoints(node, now, |reported| reported.seen = Some(session.from.ip()));
        if sits && !told {
            self.tell_endpoints(node, now);
        }
        self.look_soon(now);
    }

    /// A node's newer session takes the place of its older one.
    fn replaced(&mut self, node: NodeId, older: ConnId, session: &Session, now: UnixTime) {
        let Some(old) = self.sessions.get(older).map(|s| s.from.ip()) else { return };
        let new = session.from.ip();
        if self.sessions.presence_mut(node).rivalry.displaced(old, new, now) {
            let named = self.named(&node);
            let message = format!(
                "{named} comes from {old} and {new} in turns: its state directory was copied; revoke it and enrol it again"
            );
            self.alarm(AlarmKind::Cloned, &node.to_string(), &message, now);
        }
    }

    fn welcome(&mut self, conn: ConnId, session: &Session, hello: &Hello, now: UnixTime) {
        let (node, epoch, revision) = (session.node, self.state.epoch, self.state.head().revision);
        self.outputs.push_back(Output::Authorised(conn, node));
        let seen_as = session.from.to_string();
        self.send(conn, CoordinatorSays::Welcome(Welcome { epoch, revision, now: now.0, seen_as }));
        self.begin_seat(conn, node, now);
        let held =
            Held { epoch: hello.epoch, revision: hello.revision, digest: Digest::from_slice(&hello.digest) };
        let deltas = self.distribution.greet(&self.state, node, held, &self.online);
        if deltas.is_empty() {
            let fresh = self.freshness(now);
            self.send(conn, CoordinatorSays::Freshness(fresh));
        }
        self.send_view(conn, node, deltas, now);
        self.held_already(node, held, now);
    }

    /// What a node holds it enforces: the digest says that it is the present view.
    fn held_already(&mut self, node: NodeId, held: Held, now: UnixTime) {
        let current = self.distribution.sent(&node).map(|sent| (sent.digest, sent.generation));
        if let Some((digest, generation)) = current.filter(|(digest, _)| held.digest == Some(*digest)) {
            let _ = digest;
            let progress = Progress { revision: held.revision, generation, at: now };
            let presence = self.sessions.presence_mut(node);
            presence.enforced = Some(progress);
            presence.sent.get_or_insert(progress);
        }
    }

    /// A node that has seen more than there is: the store was put back behind everyone's back.
    fn check_not_ahead(&mut self, node: NodeId, hello: &Hello, now: UnixTime) {
        let (epoch, revision) = (self.state.epoch, self.state.head().revision);
        if (hello.epoch, hello.revision) > (epoch, revision) {
            let message = format!(
                "{} has seen revision {} of epoch {}, this coordinator is at revision {revision} of epoch {epoch}: an older \
                 store was put back; use `warren restore`, which raises the epoch",
                self.named(&node),
                hello.revision,
                hello.epoch
            );
            self.alarm(AlarmKind::RolledBack, "store", &message, now);
        }
    }

    fn keys(&mut self, conn: ConnId, node: NodeId, keys: Signed, now: UnixTime) -> Option<Proposal> {
        match decide::renew_keys(&self.state, node, keys) {
            Ok(None) => None,
            Ok(Some(_)) if !self.may_change(node, now) => None,
            Ok(Some(change)) => {
                Some(self.state.proposal(vec![change], Principal::Node(node), Origin::Conn(conn), now))
            }
            Err(refusal) => {
                let message = format!("{} sent keys that are refused: {refusal}", self.named(&node));
                self.alarm(AlarmKind::Misbehaved, &format!("{node} keys"), &message, now);
                self.close(conn, &refusal, now);
                None
            }
        }
    }

    fn enforced(&mut self, node: NodeId, enforced: Enforced, now: UnixTime) -> Option<Proposal> {
        let sent = self.distribution.sent(&node).map(|s| (s.epoch, s.revision, s.generation));
        let Enforced { epoch, revision, generation } = enforced;
        if sent.is_none_or(|(e, r, g)| epoch != e || revision > r || generation > g) {
            let message =
                format!("{} says it enforces what it was not sent (revision {revision})", self.named(&node));
            self.alarm(AlarmKind::Misbehaved, &format!("{node} enforced"), &message, now);
            return None;
        }
        self.sessions.presence_mut(node).enforced = Some(Progress { revision, generation, at: now });
        if sent == Some((epoch, revision, generation)) && self.pace.done(&node) {
            self.tell(BTreeSet::from([node]), now);
        }
        if self.alarms.is_known(AlarmKind::NotEnforcing, &node.to_string()) {
            self.look_by(now);
        }
        None
    }

    fn my_endpoints(
        &mut self,
        node: NodeId,
        session: &Session,
        endpoints: &MyEndpoints,
        now: UnixTime,
    ) -> Option<Proposal> {
        let own = endpoints::parse(&endpoints.candidates);
        let port = u16::try_from(endpoints.port).unwrap_or(0);
        let seen = Some(session.from.ip());
        let mapped = endpoints::parse(&endpoints.mapped);
        let proven = self.proven(endpoints, now);
        self.update_endpoints(node, now, |reported| {
            *reported = endpoints::Reported { own, mapped, proven, port, seen }
        });
        None
    }

    /// Places of which the node has shown that it receives there. A proof that does not hold is none.
    fn proven(&self, endpoints: &MyEndpoints, now: UnixTime) -> Vec<SocketAddr> {
        let Some(key) = &self.place_key else { return Vec::new() };
        let shown = endpoints.proven.iter().filter_map(ProvenPlace::read);
        shown
            .filter(|(place, proof)| key.holds(proof, *place, now))
            .map(|(p, _)| endpoints::plain(p))
            .collect()
    }

    /// Passed on between two members whom a grant joins, and remembered nowhere: who is away will hear of the next.
    fn knock(&mut self, from: NodeId, knock: &Knock, now: UnixTime) {
        let Some(peer) = knock.peer().filter(|peer| self.distribution.are_peers(&from, peer)) else { return };
        let within = self.sessions.presence_mut(from).knocks.take(now);
        if let Some(conn) = self.sessions.of_node(&peer).filter(|_| within) {
            self.send(conn, CoordinatorSays::Knock(Knock::of(from)));
        }
    }

    fn flow_report(
        &mut self,
        conn: ConnId,
        node: NodeId,
        report: &FlowReport,
        now: UnixTime,
    ) -> Option<Proposal> {
        let known = self.state.directory.live(&node)?;
        let taken = self.flows.report(&self.state, known, report, now);
        let unbalanced = self.is_unbalanced(node, report, now);
        if unbalanced != self.alarms.is_known(AlarmKind::AccountsUnbalanced, &node.to_string()) {
            self.look_by(now);
        }
        if taken.written {
            let (sequence, boot) = (report.sequence, report.boot);
            self.send(conn, CoordinatorSays::FlowsStored(FlowsStored { sequence, boot }));
        }
        if let Some(batch) = taken.batch {
            let mut burst = false;
            for row in &batch.rows {
                burst |= self.refusals.add(row, now);
            }
            if burst {
                self.look_by(now);
            }
            self.outputs.push_back(Output::StoreFlows(batch));
        }
        if let Some(why) = taken.rejected {
            let message = format!("{} reported {why}; the record is not counted", self.named(&node));
            self.alarm(AlarmKind::ForeignFlow, &node.to_string(), &message, now);
        }
        None
    }

    /// Does this node report more than it judged, or too little too late?
    fn is_unbalanced(&mut self, node: NodeId, report: &FlowReport, now: UnixTime) -> bool {
        let accounts = self.flows.accounts();
        if let Some(start) = accounts.start(&node, report.boot) {
            let online = self.sessions.presence(&node).and_then(|presence| presence.since);
            let (full, online) = (report.records.len() >= FULL, online.unwrap_or(self.started));
            self.overdue.handle_report(node, start, full, online, now);
        }
        accounts.balance(&node).excess.packets > 0 || self.overdue.of(&node).is_some()
    }

    fn complaint(&mut self, node: NodeId, complaint: &Complaint, now: UnixTime) -> Option<Proposal> {
        let said = words(&complaint.message, MAX_WORDS);
        let message = format!("{} refuses (at revision {}): {said}", self.named(&node), complaint.revision);
        self.alarm(AlarmKind::NodeComplaint, &node.to_string(), &message, now);
        self.notice(Level::Warn, Some(node), message);
        None
    }

    // --- helpers for what comes after a commit

    pub(super) fn answer(&mut self, conn: ConnId, changes: &[Change]) {
        for change in changes {
            if let Change::NodeAdmitted { record, .. } = change {
                self.enrolled(conn, record.clone());
            }
        }
    }
}

fn applicant(session: &Session) -> Applicant {
    Applicant { key: session.key, node: session.node, source: session.from.ip() }
}

/// What a node says in words, safe to print.
fn words(text: &str, limit: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(limit).collect()
}
