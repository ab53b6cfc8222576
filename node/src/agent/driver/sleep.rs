//! The host has slept.

use std::time::Duration;

use warren_node_core::dataplane::Outbox;

use super::Driver;
use crate::clock::boot;
use crate::portmap::PortMapper;
use crate::udp::Sender;

impl Driver {
    /// Everything that another host may have forgotten meanwhile is asked for again, at once.
    pub(super) async fn wake_up(&mut self, slept: Duration) {
        tracing::info!(
            seconds = slept.as_secs(),
            "the host has slept: coordinator, relay and peers are asked anew"
        );
        self.look_at_addresses().await;
        self.port_mapper.iter_mut().for_each(PortMapper::ask_again);
        let shared = &self.parts.shared;
        shared.mappings.lock().ask_again(boot());
        let (mut out, now) = (Outbox::small(), shared.clock.now());
        shared.plane.tend_berths(&mut out, now);
        shared.plane.resumed(&mut out, now);
        out.flush();
        out.transmits().for_each(|transmit| shared.sockets.send(&transmit, Sender::Control));
        out.sent();
        self.parts.control.handle_resumed(boot());
    }
}
