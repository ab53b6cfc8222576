//! Both halves in one value: a whole node for the simulated world. The agent runs the same two halves on threads.
//!
//! Bytes and moments go in by `handle_*`, everything the node does comes out of [`Node::poll_output`], in order. After
//! each `handle_*` the outputs are complete: nothing waits for another call but time.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use warren_wire::frame::{ToCoordinator, ToNode};
use warren_wire::id::NodeId;
use warren_wire::signed::Signed;

use crate::clock::{Mono, Now};
use crate::control::{self, Control, CutReason, Notice, Publication, StartError};
use crate::dataplane::{DataPlane, EgressWorker, IngressWorker, Outbox, Settings, VNET_LEN, Wake};
use crate::session::Engine;

/// How often flow records are taken from the data plane.
pub const FLOWS_EVERY_MS: u64 = 500;

/// What a node does.
#[derive(Clone, Debug)]
pub enum Output {
    /// Try coordinator address `coordinator` (index); answer with `handle_connected` or `handle_disconnected`.
    Connect {
        coordinator: usize,
    },
    Disconnect {
        why: String,
    },
    ToCoordinator(ToCoordinator),
    Datagram(SocketAddr, Vec<u8>),
    /// An IP packet for the local host.
    PacketToHost(Vec<u8>),
    /// The last good view, for the disk.
    Store(Vec<u8>),
    /// The data plane enforces this now.
    Enforced(Arc<Publication>),
    Cut(CutReason),
    Notice(Notice),
}

/// Why a node wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    Control(control::Why),
    Plane(&'static str),
    /// Flow records are due.
    Flows,
}

/// Control half and data plane of one node.
pub struct Node<E: Engine> {
    control: Control,
    plane: DataPlane<E>,
    egress: EgressWorker,
    ingress: IngressWorker,
    timers: Outbox,
    wake: Wake,
    flows_at: Mono,
    outputs: VecDeque<Output>,
}

impl<E: Engine> Node<E> {
    /// `engine` holds the keys of `config.record`; `seed` feeds the data plane's own randomness. Frames to the host are
    /// never merged: the simulated host knows no offload.
    pub fn new(
        config: control::Config,
        engine: E,
        mtu: usize,
        seed: [u8; 32],
        now: Mono,
    ) -> Result<Node<E>, StartError> {
        let control = Control::new(config)?;
        let settings = Settings { mtu, tso: false, uso: false };
        let moment = control.now(now);
        Ok(Node {
            plane: DataPlane::new(engine, settings, seed, moment),
            egress: EgressWorker::new(&settings),
            ingress: IngressWorker::new(&settings),
            timers: Outbox::new(),
            wake: Wake { at: now, why: "start" },
            flows_at: now.plus_millis(FLOWS_EVERY_MS),
            outputs: VecDeque::new(),
            control,
        })
    }

    /// See [`Control::handle_started`].
    pub fn handle_started(&mut self, stored: Option<&[u8]>, host_ms: u64, now: Mono) {
        self.control.handle_started(stored, host_ms, now);
        self.settle(now);
    }

    pub fn handle_connected(&mut self, now: Mono) {
        self.control.handle_connected(now);
        self.settle(now);
    }

    pub fn handle_disconnected(&mut self, why: &str, now: Mono) {
        self.control.handle_disconnected(why, now);
        self.settle(now);
    }

    pub fn handle_control_frame(&mut self, frame: ToNode, now: Mono) {
        self.control.handle_frame(frame, now);
        self.settle(now);
    }

    pub fn handle_local_endpoints(&mut self, local: Vec<SocketAddr>, port: u16, now: Mono) {
        self.control.handle_local_endpoints(local, port);
        self.settle(now);
    }

    /// New WireGuard keys: `engine` holds them (and, for sessions that still run, the old ones).
    pub fn handle_new_keys(&mut self, keys: Signed, engine: E, now: Mono) -> Result<(), StartError> {
        self.control.handle_new_keys(keys, now)?;
        self.plane.replace_engine(engine);
        self.settle(now);
        Ok(())
    }

    /// One UDP datagram from the underlay.
    pub fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Mono) {
        let moment = self.control.now(now);
        self.plane.ingress(&mut self.ingress, from, bytes, bytes.len(), moment);
        let frames = self
            .ingress
            .frames()
            .map(|frame| Output::PacketToHost(frame.parts().collect::<Vec<_>>().concat()));
        self.outputs.extend(frames);
        self.outputs.extend(datagrams(&self.ingress.out));
        self.ingress.sent();
        self.settle(now);
    }

    /// One IP packet that the local host sends into the overlay.
    pub fn handle_packet_from_host(&mut self, packet: &[u8], now: Mono) {
        let moment = self.control.now(now);
        let mut frame = [&[0; VNET_LEN], packet].concat();
        self.plane.egress(&mut self.egress, &mut frame, moment);
        self.plane.flush(&mut self.egress);
        self.outputs.extend(self.egress.tun_frames().filter_map(to_host));
        self.outputs.extend(datagrams(&self.egress.out));
        self.egress.sent();
        self.settle(now);
    }

    pub fn handle_timeout(&mut self, now: Mono) {
        self.control.handle_timeout(now);
        if self.flows_at <= now {
            self.flows_at = now.plus_millis(FLOWS_EVERY_MS);
            let (records, lost) = self.plane.drain_flows(self.control.now(now));
            self.control.handle_flow_losses(lost);
            self.control.handle_flow_records(records, now);
        }
        self.settle(now);
    }

    /// The next thing to do, in order, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Node::handle_timeout`] is wanted, and why.
    pub fn poll_timeout(&self) -> (Mono, Why) {
        let control = self.control.poll_timeout().map(|(at, why)| (at, Why::Control(why)));
        let plane = (self.wake.at, Why::Plane(self.wake.why));
        let flows = (self.flows_at, Why::Flows);
        control.into_iter().chain([plane, flows]).min().unwrap_or(flows)
    }

    pub fn id(&self) -> NodeId {
        self.control.id()
    }

    pub fn control(&self) -> &Control {
        &self.control
    }

    pub fn plane(&self) -> &DataPlane<E> {
        &self.plane
    }

    /// Signed time.
    pub fn now(&self, now: Mono) -> Now {
        self.control.now(now)
    }

    /// Passes on what control wants, serves the timers that are due, and learns when the next one is.
    fn settle(&mut self, now: Mono) {
        self.serve_control(now);
        let moment = self.control.now(now);
        self.wake = self.plane.tick(&mut self.timers, moment);
        self.outputs.extend(datagrams(&self.timers));
        self.timers.sent();
        let frames = self.plane.take_frames();
        self.outputs.extend(frames.iter().filter_map(|frame| to_host(frame)));
    }

    fn serve_control(&mut self, now: Mono) {
        while let Some(output) = self.control.poll_output() {
            match output {
                control::Output::Publish(publication) => self.enforce(publication, now),
                // Every call takes signed time from control itself.
                control::Output::Clock(_) => {}
                control::Output::Connect { coordinator } => {
                    self.outputs.push_back(Output::Connect { coordinator })
                }
                control::Output::Disconnect { why } => self.outputs.push_back(Output::Disconnect { why }),
                control::Output::Send(frame) => self.outputs.push_back(Output::ToCoordinator(frame)),
                control::Output::Store(bytes) => self.outputs.push_back(Output::Store(bytes)),
                control::Output::Cut(reason) => self.outputs.push_back(Output::Cut(reason)),
                control::Output::Notice(notice) => self.outputs.push_back(Output::Notice(notice)),
            }
        }
    }

    fn enforce(&mut self, publication: Arc<Publication>, now: Mono) {
        let assembly = &publication.assembly;
        let published = self.plane.publish(assembly, self.control.now(now));
        self.outputs.extend(published.frames.iter().filter_map(|frame| to_host(frame)));
        self.control.handle_published(assembly.epoch, assembly.revision, assembly.generation);
        self.outputs.push_back(Output::Enforced(publication));
    }
}

fn to_host(frame: &[u8]) -> Option<Output> {
    frame.get(VNET_LEN..).map(|packet| Output::PacketToHost(packet.to_vec()))
}

/// One datagram each: the simulated underlay knows no segmentation.
fn datagrams(out: &Outbox) -> Vec<Output> {
    let mut datagrams = Vec::new();
    for transmit in out.transmits() {
        let segment = transmit.segment.unwrap_or(transmit.bytes.len()).max(1);
        let each = transmit.bytes.chunks(segment);
        datagrams.extend(each.map(|bytes| Output::Datagram(transmit.to, bytes.to_vec())));
    }
    datagrams
}
