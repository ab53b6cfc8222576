//! Subnets behind gateways: routes and forwarding follow the grants.

use warren_node_core::control::Publication;

use super::Driver;
use crate::host::WantedSubnets;

impl Driver {
    /// Routes and forwarding as the grants say. What the machine refuses is said, tried again, and no reason to stop.
    pub(super) async fn follow_subnets(&mut self, publication: &Publication) {
        let parts = &mut self.parts;
        let now = parts.shared.clock.now().wall();
        let assembly = &publication.assembly;
        let coordinators = parts.kept.trust.coordinators.iter().filter_map(|text| host_of(text));
        // Who is cut off keeps his routes: nobody has withdrawn them, and without them packets would leave in clear.
        let granted = match publication.cut {
            None => Some(assembly.routes(now).into_keys().collect()),
            Some(_) => None,
        };
        let wanted =
            WantedSubnets { granted, served: assembly.served(now), coordinators: coordinators.collect() };
        if let Err(e) = parts.subnets.follow(&parts.host, &parts.plan, &wanted).await {
            tracing::error!("subnets behind gateways: {e}");
        }
    }
}

/// The address of a coordinator that is written as one.
fn host_of(place: &str) -> Option<std::net::IpAddr> {
    let with_port = || place.parse::<std::net::SocketAddr>().ok().map(|place| place.ip());
    with_port().or_else(|| place.parse().ok())
}
