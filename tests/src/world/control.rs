//! Control connections, and lives of the coordinator.

use std::net::SocketAddr;

use warren_coordinator_core::output::{ConnId, Output};
use warren_wire::frame::{CoordinatorSays, ToCoordinator, ToNode, encode};

use super::{Event, Life, World};
use crate::channel::{CRASH_NOTICED, Channel, Direction, IDLE};
use crate::clock::{SECOND, wall};
use crate::link::Place;
use crate::site::Failure;

/// What the coordinator writes of flows is on the disk after this.
const WRITING: u64 = SECOND / 5;
/// An attempt over a cut way is given up after this.
const DIAL_TIMEOUT: u64 = 5 * SECOND;

impl World {
    // --- a node's end

    pub(super) fn dial(&mut self, node: usize) {
        if let Life::Off = self.nodes[node].life {
            return;
        }
        let (boot, place) = (self.nodes[node].boot, Place::Node(node));
        let Some(from) = self.nodes[node].underlay.first().copied() else { return };
        let delay = 3 * self.links.stream_delay(place, Place::Coordinator, &mut self.random);
        let cut = self.links.is_cut(place, Place::Coordinator);
        let at = self.now + if cut { DIAL_TIMEOUT } else { delay };
        self.schedule(at, Event::Dialled { node, boot, from });
    }

    pub(super) fn dialled(&mut self, node: usize, boot: u64, from: SocketAddr) {
        if self.nodes[node].boot != boot {
            return;
        }
        let cut = self.links.is_cut(Place::Node(node), Place::Coordinator);
        let stands = !cut && self.site.running.is_some() && self.nodes[node].underlay.contains(&from);
        if !stands {
            return self.node_is_alone(node, "the coordinator does not answer");
        }
        let id = self.next_channel;
        self.next_channel += 1;
        self.storm.dialled(node, self.now);
        let from = self.seen_as(node, from);
        let channel = Channel::new(ConnId(id), node, boot, self.site.run, from);
        self.channels.insert(id, channel);
        let key = self.nodes[node].disk.key();
        let before = self.site.state().map(|s| s.head().revision);
        self.site.handle_connected(ConnId(id), key, from, wall(self.now));
        self.settle_site_quietly(node, "a connection");
        if before != self.site.state().map(|s| s.head().revision) {
            self.fail("connect and disconnect create no revision");
        }
        self.nodes[node].channel = Some(id);
        let now = self.mono(node);
        let n = &mut self.nodes[node];
        match &mut n.life {
            Life::Off => {}
            Life::Candidate(candidate) => {
                let first = candidate.handle_connected();
                self.say(node, first);
            }
            Life::Member(agent) => agent.handle_connected(&mut n.disk, now),
        }
        self.settle_node(node);
    }

    fn node_is_alone(&mut self, node: usize, why: &str) {
        self.nodes[node].channel = None;
        let now = self.mono(node);
        let n = &mut self.nodes[node];
        match &mut n.life {
            Life::Off => {}
            Life::Candidate(_) => self.retry(node),
            Life::Member(agent) => agent.handle_disconnected(why, &mut n.disk, now),
        }
        self.settle_node(node);
    }

    /// The node ends its connection.
    pub(super) fn hang_up(&mut self, node: usize) {
        let Some(id) = self.nodes[node].channel.take() else { return };
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.open_at_node = false;
        let cut = self.links.is_cut(Place::Node(node), Place::Coordinator);
        let delay = self.links.stream_delay(Place::Node(node), Place::Coordinator, &mut self.random);
        let after = channel.arrival(Direction::ToSite, self.now, delay);
        let at = if cut { self.now + IDLE } else { after };
        self.schedule(at, Event::LostAtSite { channel: id });
    }

    pub(super) fn say(&mut self, node: usize, bytes: Vec<u8>) {
        if let Some(id) = self.nodes[node].channel {
            self.transmit(id, Direction::ToSite, bytes);
        }
    }

    // --- the stream

    fn transmit(&mut self, id: u64, toward: Direction, bytes: Vec<u8>) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let place = Place::Node(channel.node);
        if self.links.is_cut(place, Place::Coordinator) {
            channel.held.push((toward, bytes));
            if !std::mem::replace(&mut channel.waiting, true) {
                let at = self.now + IDLE;
                self.schedule(at, Event::Idle { channel: id });
            }
            return;
        }
        let delay = self.links.stream_delay(place, Place::Coordinator, &mut self.random);
        let at = channel.arrival(toward, self.now, delay);
        self.schedule(at, Event::Message { channel: id, toward, bytes });
    }

    pub(super) fn message_arrives(&mut self, id: u64, toward: Direction, bytes: Vec<u8>) {
        let Some(channel) = self.channels.get(&id) else { return };
        let node = channel.node;
        self.storm.said(node, toward, self.now);
        if self.links.is_cut(Place::Node(node), Place::Coordinator) {
            return self.transmit(id, toward, bytes);
        }
        match toward {
            Direction::ToSite => self.site_hears(id, &bytes),
            Direction::ToNode => self.node_hears(id, node, &bytes),
        }
    }

    fn node_hears(&mut self, id: u64, node: usize, bytes: &[u8]) {
        let open = self.channels.get(&id).is_some_and(|c| c.open_at_node && c.boot == self.nodes[node].boot);
        if !open || self.nodes[node].channel != Some(id) || self.nodes[node].asleep {
            return;
        }
        let now = self.mono(node);
        let n = &mut self.nodes[node];
        match &mut n.life {
            Life::Off => {}
            Life::Candidate(_) => self.candidate_hears(node, bytes),
            Life::Member(agent) => agent.handle_bytes(bytes, &mut n.disk, now),
        }
        self.settle_node(node);
    }

    fn site_hears(&mut self, id: u64, bytes: &[u8]) {
        let now = wall(self.now);
        let run = self.site.run;
        let Some(channel) = self.channels.get_mut(&id).filter(|c| c.open_at_site && c.run == run) else {
            return;
        };
        let (conn, node) = (channel.id, channel.node);
        channel.decoder.push(bytes);
        let mut frames: Vec<ToCoordinator> = Vec::new();
        while let Ok(Some(frame)) = channel.decoder.next() {
            frames.push(frame);
        }
        for frame in frames {
            match self.site.handle_frame(conn, frame, now) {
                Ok(()) | Err(Failure::NotStored(_)) => {}
                Err(Failure::Died) => return self.site_died(),
                Err(error) => self.fail(&format!("a frame of {}: {error:?}", self.nodes[node].name)),
            }
            self.learn();
            self.settle_site();
        }
    }

    // --- the coordinator's end

    /// Does what the coordinator wants, then sets its timer.
    pub(super) fn settle_site(&mut self) {
        while let Some(output) = self.site.poll_output() {
            self.do_output(output);
        }
        self.arm_site();
    }

    /// The same; nobody but `node` may hear of it.
    fn settle_site_quietly(&mut self, node: usize, what: &str) {
        let before = self.told.clone();
        self.settle_site();
        let others = |told: &std::collections::BTreeMap<usize, super::Told>| {
            told.iter().filter(|(other, _)| **other != node).map(|(_, t)| t.frames).sum::<u64>()
        };
        if others(&before) != others(&self.told) {
            self.fail(&format!(
                "connect and disconnect tell nobody else: {what} of {}",
                self.nodes[node].name
            ));
        }
    }

    fn do_output(&mut self, output: Output) {
        match output {
            Output::Send(conn, frame) => self.site_says(conn, &frame),
            Output::Authorised(conn, id) => {
                if self.model.revoked.contains_key(&id) {
                    self.fail(&format!("a revoked node never comes back: {id} has a session"));
                }
                // A greeting of an agent that has ended since may still arrive; the one that runs is not online by it.
                let node = self.channels.get(&conn.0).map(|c| c.node);
                if let Some(node) = node.filter(|node| self.nodes[*node].channel == Some(conn.0)) {
                    self.nodes[node].online = Some(self.now);
                }
            }
            Output::Close(conn, refused) => {
                self.site_says(conn, &ToNode { says: Some(CoordinatorSays::Refused(refused)) });
                self.close_at_site(conn.0);
            }
            Output::StoreFlows(batch) => {
                let run = self.site.run;
                self.site.under_way.push_back(batch);
                self.schedule(self.now + WRITING, Event::Written { run });
            }
            Output::Alarm(alarm) => self.site.alarms.push(alarm),
            Output::AlarmCleared(_) => {}
            Output::Seated(node, seated) => self.site.relay.seat(node, seated, wall(self.now), self.now),
            Output::Unseated(seat) => self.site.relay.unseat(seat),
            Output::SendRelay(_, said) => self.annex_hears(said),
            Output::RelayAuthorised(_) | Output::CloseRelay(..) => {}
            Output::Log(_) => {}
        }
    }

    fn site_says(&mut self, conn: ConnId, frame: &ToNode) {
        let bytes = encode(frame);
        let Some(node) = self.channels.get(&conn.0).map(|c| c.node) else { return };
        let told = self.told.entry(node).or_default();
        told.frames += 1;
        told.bytes += bytes.len() as u64;
        told.deltas += u64::from(matches!(frame.says, Some(CoordinatorSays::Delta(_))));
        self.transmit(conn.0, Direction::ToNode, bytes);
    }

    fn close_at_site(&mut self, id: u64) {
        self.site.handle_disconnected(ConnId(id), wall(self.now));
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.open_at_site = false;
        let (node, place) = (channel.node, Place::Node(channel.node));
        let delay = self.links.stream_delay(place, Place::Coordinator, &mut self.random);
        let at = channel.arrival(Direction::ToNode, self.now, delay);
        self.went_offline(id, node);
        self.schedule(at, Event::LostAtNode { channel: id, why: "the coordinator closed the connection" });
    }

    fn went_offline(&mut self, id: u64, node: usize) {
        if self.nodes[node].channel == Some(id) || self.nodes[node].channel.is_none() {
            self.nodes[node].online = None;
        }
    }

    pub(super) fn lost_at_node(&mut self, id: u64, why: &'static str) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if self.nodes[channel.node].asleep {
            return;
        }
        let (node, open) = (channel.node, std::mem::replace(&mut channel.open_at_node, false));
        if open && self.nodes[node].channel == Some(id) && channel.boot == self.nodes[node].boot {
            self.node_is_alone(node, why);
        }
    }

    pub(super) fn lost_at_site(&mut self, id: u64) {
        let run = self.site.run;
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let (node, open) = (channel.node, std::mem::replace(&mut channel.open_at_site, false));
        if !open || channel.run != run {
            return;
        }
        self.went_offline(id, node);
        self.site.handle_disconnected(ConnId(id), wall(self.now));
        self.settle_site_quietly(node, "the end of a connection");
    }

    pub(super) fn idle(&mut self, id: u64) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.waiting = false;
        let node = channel.node;
        if !self.links.is_cut(Place::Node(node), Place::Coordinator) {
            return;
        }
        channel.held.clear();
        self.lost_at_site(id);
        self.lost_at_node(id, "nothing was heard of the coordinator");
    }

    // --- lives of the coordinator

    /// The process dies where it stands.
    pub fn crash_coordinator(&mut self) {
        self.site.crash();
        self.site_died();
    }

    fn site_died(&mut self) {
        self.site_timer = None;
        let ids: Vec<u64> = self.channels.iter().filter(|(_, c)| c.open_at_site).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.open_at_site = false;
                // What it had said and could not send again is gone with it.
                channel.held.retain(|(toward, _)| !matches!(toward, Direction::ToNode));
                let node = channel.node;
                self.nodes[node].online = None;
            }
            let at = self.now + CRASH_NOTICED;
            self.schedule(at, Event::LostAtNode { channel: id, why: "the connection is dead" });
        }
    }

    pub fn start_coordinator(&mut self) {
        if self.site.running.is_some() {
            return;
        }
        self.site.start(wall(self.now));
        self.disturbed = self.now;
        self.learn();
        self.settle_site();
    }

    // --- the way between

    pub fn cut(&mut self, a: Place, b: Place) {
        self.links.cut(a, b);
        // Keep-alives go unanswered on every connection over this way.
        let ((Place::Node(node), Place::Coordinator) | (Place::Coordinator, Place::Node(node))) = (a, b)
        else {
            return;
        };
        self.silence(|other| other == node);
    }

    /// Nothing comes through to these nodes any more.
    pub(super) fn silence(&mut self, concerned: impl Fn(usize) -> bool) {
        let ids: Vec<u64> =
            self.channels.values().filter(|c| concerned(c.node) && !c.waiting).map(|c| c.id.0).collect();
        for id in ids {
            if let Some(channel) = self.channels.get_mut(&id).filter(|c| c.open_at_node || c.open_at_site) {
                channel.waiting = true;
                let at = self.now + IDLE;
                self.schedule(at, Event::Idle { channel: id });
            }
        }
    }

    pub fn mend(&mut self, a: Place, b: Place) {
        self.links.mend(a, b);
        self.way_is_open();
    }

    pub fn mend_all(&mut self) {
        self.links.mend_all();
        self.way_is_open();
    }

    /// What was held back goes on.
    pub(super) fn way_is_open(&mut self) {
        self.disturbed = self.now;
        let held: Vec<(u64, Vec<_>)> = self
            .channels
            .iter_mut()
            .filter(|(_, c)| !self.links.is_cut(Place::Node(c.node), Place::Coordinator))
            .map(|(id, c)| (*id, std::mem::take(&mut c.held)))
            .collect();
        for (id, messages) in held {
            messages.into_iter().for_each(|(toward, bytes)| self.transmit(id, toward, bytes));
        }
    }

    /// Does a command reach the store? As an administrator would see it.
    pub fn command(&mut self, command: warren_coordinator_core::command::Command) -> Result<u64, Failure> {
        let result = self.site.handle_command(command, wall(self.now));
        if let Err(Failure::Died) = result {
            self.site_died();
            return result;
        }
        self.learn();
        self.settle_site();
        result
    }

    /// The underlay address of a node has changed: its connection migrates (RFC 9000 section 9).
    pub(super) fn migrate(&mut self, node: usize) {
        let Some(id) = self.nodes[node].channel else { return };
        let Some(from) = self.nodes[node].underlay.first().copied() else { return };
        let (run, from) = (self.site.run, self.seen_as(node, from));
        if let Some(channel) = self.channels.get_mut(&id).filter(|c| c.open_at_site && c.run == run) {
            channel.from = from;
            self.site.handle_moved(ConnId(id), from, wall(self.now));
            self.settle_site();
        }
    }
}
