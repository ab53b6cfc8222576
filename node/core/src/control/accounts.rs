//! What the data plane has counted, on its way to the coordinator: flows until they are acknowledged, names and paths if they are
//! wanted. Nothing is decided here but who may be told.

use warren_config::policy::Told;
use warren_wire::flow::{Amount, Ended, FlowRecord, FlowReport};
use warren_wire::frame::NodeSays;
use warren_wire::names::NamesReport;
use warren_wire::path::{PathsReport, PeerPath};

use super::Control;
use super::session::Session;
use crate::clock::Mono;
use crate::flows::Legacy;

impl Control {
    pub fn handle_flow_records(&mut self, records: Vec<FlowRecord>, now: Mono) {
        self.latest = now;
        records.into_iter().for_each(|record| self.flows.offer(record));
        self.say_flows();
    }

    /// What the data plane itself had to drop: declared as lost.
    pub fn handle_flow_losses(&mut self, lost: Amount) {
        self.flows.add_lost(lost);
        self.say_flows();
    }

    /// Does the policy in force want to know which names are asked here, and is there somebody to tell?
    pub fn wants_names(&self) -> bool {
        let told = self.publication.as_ref().map(|publication| publication.settings.report);
        self.session == Session::Authorised && told == Some(Told::Names)
    }

    /// Names that were asked here. They stay here unless they are wanted.
    pub fn handle_names(&mut self, report: NamesReport) {
        if self.wants_names() {
            self.say(NodeSays::Names(report));
        }
    }

    /// Is there somebody who may be told which way packets take?
    pub fn wants_paths(&self) -> bool {
        self.session == Session::Authorised
    }

    /// Which way packets take, for those who do not sit at this host. Nothing waits for it.
    pub fn handle_paths(&mut self, paths: Vec<PeerPath>) {
        if self.wants_paths() && !paths.is_empty() {
            self.say(NodeSays::Paths(PathsReport { paths }));
        }
    }

    /// All that this start has judged; told with the next report.
    pub fn handle_offered(&mut self, offered: Amount) {
        self.flows.set_offered(offered);
    }

    /// What earlier starts had judged when they ended: told until the coordinator has taken it down.
    pub fn handle_ended_starts(&mut self, ended: Vec<Ended>) {
        self.flows.set_ended(ended);
        self.say_flows();
    }

    /// What earlier starts saw and could not report: reported first, under their numbers. Before any record of this start.
    pub fn handle_legacy(&mut self, reports: Vec<FlowReport>) {
        self.flows.take_over(reports);
        self.say_flows();
    }

    /// The coordinator has taken down every earlier start, and all that it left.
    pub fn earlier_starts_are_told(&self) -> bool {
        self.flows.earlier_is_told()
    }

    /// While this is true, waiting helps: something is not acknowledged, and there is a channel.
    pub fn waits_for_acknowledgement(&self) -> bool {
        self.session == Session::Authorised && !self.flows.is_told()
    }

    /// The agent has ended: what the next one must report. Nothing is offered after that.
    pub fn leave(&mut self) -> Legacy {
        self.flows.leave()
    }
}
