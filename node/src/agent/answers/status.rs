//! What this node is and has.

use serde_json::{Value, json};
use warren_node_core::dataplane::SubnetWay;
use warren_node_core::host::subnets::Obstacle;
use warren_wire::id::NodeId;

use super::path::shown_relays;
use super::{Driver, dns};
use crate::clock::boot;

pub fn status(driver: &Driver) -> Value {
    let parts = &driver.parts;
    let me = parts.control.publication().map(|p| p.assembly.me.clone());
    let me = me.as_deref().unwrap_or(&parts.kept.me);
    let mut status = serde_json::to_value(parts.control.status(boot())).unwrap_or_default();
    let offload = parts.shared.tun.offload();
    let more = json!({
        "enrolled": true,
        "v4": me.v4,
        "v6": me.v6,
        "tags": me.tags(),
        "interface": parts.options.interface,
        "mtu": parts.plan.mtu,
        "port": parts.shared.sockets.port(),
        "endpoints": driver.candidates,
        "mapped": parts.shared.mappings.lock().seen().iter().map(|seen| seen.place).collect::<Vec<_>>(),
        "relays": shown_relays(driver, &parts.shared.plane.berths()),
        "coordinator_way": driver.channel_way(boot()),
        "port_mapping": driver.port_mapper.as_ref().and_then(crate::portmap::PortMapper::status),
        "offload": { "vnet": offload.vnet, "tso": offload.tso, "uso": offload.uso },
        "zone": parts.resolver.names().map(|n| n.zone().to_owned()),
        "dns": dns::status(driver),
        "subnets": subnets(driver),
        "serves": parts.subnets.served(),
        "pid": std::process::id(),
    });
    if let (Some(status), Value::Object(more)) = (status.as_object_mut(), more) {
        status.extend(more);
    }
    status
}

/// Every subnet this node is granted something in: by which grants, by which gateways, and whether it has its route.
fn subnets(driver: &Driver) -> Value {
    let (parts, now) = (&driver.parts, driver.parts.shared.clock.now());
    let Some(publication) = parts.control.publication() else { return json!([]) };
    let peers = &publication.assembly.peers;
    let name = |node: &NodeId| peers.get(node).map(|peer| peer.member.name().to_string());
    let ways = parts.shared.plane.subnets();
    let one = |way: &SubnetWay| {
        let gateway = way.gateways.first().and_then(|node| peers.get(node))?;
        let rules =
            gateway.beyond.routes(now.wall()).find(|(net, _)| **net == way.net).map(|(_, rules)| rules)?;
        let by: Vec<Value> = rules
            .grants(now.wall())
            .map(|(service, grant)| json!({ "service": service, "grant": grant }))
            .collect();
        Some(json!({
            "subnet": way.net,
            "by": by,
            "gateways": way.gateways.iter().filter_map(name).collect::<Vec<_>>(),
            "in_use": way.in_use.as_ref().and_then(name),
            "routed": parts.subnets.is_routed(&way.net),
            "obstacle": parts.subnets.obstacle(&way.net).map(ToString::to_string),
            "advice": parts.subnets.obstacle(&way.net).map(Obstacle::advice),
            "elsewhere": parts
                .subnets
                .elsewhere(&way.net)
                .iter()
                .map(|route| json!({ "subnet": route.range, "interface": route.interface }))
                .collect::<Vec<_>>(),
        }))
    };
    ways.iter().filter_map(one).collect()
}
