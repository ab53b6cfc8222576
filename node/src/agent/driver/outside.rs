//! Where this node is: its own addresses, its gateway, and how the world sees it.

use std::net::SocketAddr;

use super::{Driver, Parts};
use crate::agent::endpoints;
use crate::clock::boot;
use crate::host::LocalAddress;
use crate::portmap::PortMapper;

/// `None`: the gateway is asked nothing.
pub fn port_mapper(parts: &Parts) -> Option<PortMapper> {
    let owed = parts.state.owed().unwrap_or_else(|e| {
        tracing::warn!("port mappings of an earlier start may stay at the gateway: {e}");
        Vec::new()
    });
    let wanted = parts.options.port_mapping;
    if !wanted && owed.is_empty() {
        return None;
    }
    let made = PortMapper::new(parts.shared.sockets.port(), wanted, owed);
    made.inspect_err(|e| tracing::error!("the port is not mapped: no random bytes ({e})")).ok()
}

impl Driver {
    /// Where this node is seen, and peers that do not answer: both are the coordinator's to pass on.
    pub(super) fn look_outside(&mut self) {
        let servers = self.who_sees();
        let (control, shared) = (&mut self.parts.control, &self.parts.shared);
        let mut mappings = shared.mappings.lock();
        mappings.set_servers(&servers, boot());
        control.handle_mapped(mappings.seen());
        drop(mappings);
        let state = &self.parts.state;
        control.handle_granted(self.port_mapper.as_mut().and_then(|mapper| mapper.turn(state)));
        control.handle_unanswering(shared.plane.take_waiting());
    }

    /// Who may be asked where this node is seen: the coordinator where it was reached last, its other addresses, and relays.
    fn who_sees(&mut self) -> Vec<SocketAddr> {
        if let Some(channel) = &self.channel {
            self.reached = Some(channel.remote());
        }
        let parts = &self.parts;
        let relays = parts.shared.plane.berths();
        let told = parts.kept.trust.coordinators.iter().filter_map(|address| address.parse().ok());
        let others = told.chain(self.connector.known()).chain(relays.into_iter().flat_map(|r| r.addresses));
        self.reached.into_iter().chain(others).fold(Vec::new(), |mut all, server| {
            if !all.contains(&server) {
                all.push(server);
            }
            all
        })
    }

    pub(super) async fn look_at_addresses(&mut self) {
        let parts = &mut self.parts;
        let port = parts.shared.sockets.port();
        match parts.host.netlink().local_addresses().await {
            Ok(addresses) => {
                let network = &parts.kept.network;
                let bridged =
                    |a: &&LocalAddress| parts.plan.bridges.iter().any(|b| b.as_str() == a.interface);
                parts.resolver.set_neighbours(addresses.iter().filter(bridged).map(|a| a.network).collect());
                let configured = &parts.options.endpoints;
                let found =
                    endpoints::candidates(configured, &addresses, &parts.options.interface, port, network);
                if found != self.candidates {
                    for unused in configured.iter().filter(|place| !found.contains(place)) {
                        tracing::warn!(%unused, "peers are not told of this endpoint: it is inside the overlay, or one too many (8 in all, 3 of one address)");
                    }
                    tracing::debug!(?found, "own endpoints");
                    self.candidates = found.clone();
                    parts.shared.mappings.lock().ask_again(boot());
                    parts.control.handle_local_endpoints(found, port);
                }
            }
            Err(e) => tracing::warn!("{e}"),
        }
        self.look_at_gateway().await;
    }

    /// A route may change without an address.
    async fn look_at_gateway(&mut self) {
        let Some(mapper) = &mut self.port_mapper else { return };
        match self.parts.host.netlink().default_gateway(&self.parts.options.interface).await {
            Ok(gateway) => mapper.set_gateway(gateway),
            Err(e) => tracing::warn!("{e}"),
        }
    }
}
