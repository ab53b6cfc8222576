//! The control channel: made, used, lost.

use std::sync::Arc;

use warren_node_core::clock::Mono;
use warren_node_core::door::Transport;
use warren_wire::frame::ToCoordinator;

use super::Driver;
use crate::clock::boot;
use crate::link::{Channel, Event};

/// So many events are handled before what follows from them is carried out.
const TOGETHER: usize = 64;

impl Driver {
    pub(super) fn send(&mut self, frame: &ToCoordinator) {
        let sent = self.channel.as_ref().map(|channel| channel.send(frame));
        if let Some(Err(why)) = sent {
            self.lose(why);
        }
    }

    pub(super) fn connect(&mut self, coordinator: usize) {
        self.channel = None;
        self.turn += 1;
        let Some(address) = self.parts.kept.trust.coordinators.get(coordinator) else {
            return self.parts.control.handle_disconnected("no such coordinator address", boot());
        };
        tracing::debug!(%address, "trying the coordinator");
        Channel::open(Arc::clone(&self.connector), address.clone(), self.turn, self.events.0.clone());
    }

    /// For the next start, which may be one without names.
    fn keep_places(&self) {
        let (places, state) = (self.connector.proven(), &self.parts.state);
        if state.places().is_ok_and(|kept| kept == places) {
            return;
        }
        if let Err(e) = state.store_places(&places) {
            tracing::warn!("where the coordinator answered is not kept for the next start: {e}");
        }
    }

    fn lose(&mut self, why: &str) {
        self.channel = None;
        self.turn += 1;
        self.parts.control.handle_disconnected(why, boot());
    }

    /// What has come meanwhile is believed together with what came first, and then enforced once: while a hundred hosts start,
    /// their arrivals come faster than each can be made a snapshot and a file of its own.
    pub(super) fn handle_events(&mut self, first: Event) {
        self.handle_event(first);
        for _ in 1..TOGETHER {
            if !self.parts.control.is_authorised() {
                return;
            }
            let Ok(next) = self.events.1.try_recv() else { return };
            self.handle_event(next);
        }
    }

    /// Events of a try that was given up change nothing.
    pub(super) fn handle_event(&mut self, event: Event) {
        if event.turn() != self.turn {
            return;
        }
        let now = boot();
        let control = &mut self.parts.control;
        match event {
            Event::Connected(_, channel) => {
                self.channel = Some(channel);
                self.channel_since = now;
                control.handle_connected(now);
                self.keep_places();
            }
            Event::Failed(_, e) => control.handle_disconnected(&e.to_string(), now),
            Event::Frame(_, frame) => control.handle_frame(*frame, now),
            Event::Unreadable(_, e) => control.handle_unreadable(&e, now),
            Event::Lost(_, why) => {
                self.channel = None;
                control.handle_disconnected(&why, now);
            }
            // The old one stays until the new one stands.
            Event::Better(_, link) => {
                tracing::info!("UDP reaches the coordinator again: the control channel leaves its door");
                self.turn += 1;
                let (connector, events) = (Arc::clone(&self.connector), self.events.0.clone());
                Channel::go_on(connector, *link, self.turn, events);
            }
        }
    }

    /// By what the control channel goes, since when and why.
    pub(in crate::agent) fn channel_way(&self, now: Mono) -> serde_json::Value {
        let Some(channel) = &self.channel else { return serde_json::Value::Null };
        let why = match channel.transport() {
            Transport::Udp => "UDP is the best way, and works",
            Transport::Quic => "UDP reaches the coordinator at port 443 only",
            Transport::WebSocket => "UDP does not reach the coordinator",
        };
        serde_json::json!({
            "transport": channel.transport().name(),
            "at": channel.remote(),
            "seconds": now.millis_since(self.channel_since) / 1000,
            "why": why,
        })
    }
}
