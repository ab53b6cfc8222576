//! What this node says: to the coordinator, and to the log.

use warren_wire::frame::{Complaint, Enforced, Hello, NodeSays, printable};

use super::Control;
use super::output::{Notice, Output, Severity};
use super::session::Session;

/// Notices kept for `status`, and complaints that are not repeated within a session.
const KEPT: usize = 32;

impl Control {
    /// What this node holds, so that only the difference is sent.
    pub(super) fn say_hello(&mut self) {
        let base = self.belief.as_ref().filter(|_| !self.wants_whole);
        let hello = Hello {
            epoch: base.map_or(0, |b| b.epoch),
            revision: base.map_or(0, |b| b.revision),
            digest: base.map(|b| b.view.digest().0.to_vec()).unwrap_or_default(),
            agent: self.config.agent.clone(),
            boot: self.config.boot,
        };
        self.say(NodeSays::Hello(hello));
    }

    /// Everything the coordinator must hear in a new session.
    pub(super) fn say_all(&mut self) {
        self.say_endpoints();
        self.say_keys();
        self.say_enforced();
        self.say_flows();
    }

    pub(super) fn say_keys(&mut self) {
        if self.session == Session::Authorised
            && let Some(keys) = self.new_keys.clone()
        {
            self.say(NodeSays::Keys(keys));
        }
    }

    pub(super) fn say_enforced(&mut self) {
        if self.session == Session::Authorised
            && let Some((epoch, revision, generation)) = self.enforced
        {
            self.say(NodeSays::Enforced(Enforced { epoch, revision, generation }));
        }
    }

    pub(super) fn say_flows(&mut self) {
        while self.session == Session::Authorised
            && let Some(report) = self.flows.next_report()
        {
            self.say(NodeSays::Flows(report));
        }
    }

    /// Something this node refuses to believe: an alarm here, a complaint there; once a session.
    pub(super) fn complain(&mut self, id: &'static str, message: String) {
        let message = printable(&message, 400);
        if self.complained.contains(&message) {
            return;
        }
        if self.complained.len() == KEPT {
            self.complained.pop_front();
        }
        self.complained.push_back(message.clone());
        if self.session == Session::Authorised {
            let revision = self.belief.as_ref().map_or(0, |b| b.revision);
            self.say(NodeSays::Complaint(Complaint { message: message.clone(), revision }));
        }
        self.notice(Severity::Alarm, id, message);
    }

    pub(super) fn notice(&mut self, severity: Severity, id: &'static str, message: String) {
        let notice = Notice { severity, id, message };
        if self.notices.len() == KEPT {
            self.notices.pop_front();
        }
        self.notices.push_back(notice.clone());
        self.outputs.push_back(Output::Notice(notice));
    }
}
