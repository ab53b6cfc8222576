//! Peers and names that this node may see.

use std::net::IpAddr;

use serde_json::json;
use warren_node_core::assembly::{Assembly, PeerSpec};
use warren_node_core::control::Publication;
use warren_node_core::names::{Answer, Data, Order, Type};
use warren_wire::id::NodeId;

use super::Driver;
use crate::socket::Reply;

pub fn resolve(driver: &Driver, name: &str) -> Reply {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Reply::Ok(json!([address]));
    }
    let Some(publication) = driver.parts.control.publication() else { return no_view() };
    let found = addresses(&publication, name, driver);
    if found.is_empty() { unknown(name) } else { Reply::Ok(json!(found)) }
}

/// Addresses of a node, a service or a full name, as the name server would give them.
pub fn addresses(publication: &Publication, name: &str, driver: &Driver) -> Vec<IpAddr> {
    let names = &publication.names;
    let zone = names.zone();
    let name = name.trim_end_matches('.');
    let full = if name.ends_with(&format!(".{zone}")) { name.to_owned() } else { format!("{name}.{zone}") };
    let now = driver.parts.shared.clock.now().wall();
    let mut found = Vec::new();
    for kind in [Type::A, Type::Aaaa] {
        if let Answer::Records(records) = names.answer(&full, kind, now, Order::turn(0)) {
            found.extend(records.iter().filter_map(|r| match r {
                Data::A(v4) => Some(IpAddr::V4(*v4)),
                Data::Aaaa(v6) => Some(IpAddr::V6(*v6)),
                _ => None,
            }));
        }
    }
    found
}

/// Peers by name, id or address.
pub fn find<'a>(publication: &'a Publication, text: &str) -> Vec<(NodeId, &'a PeerSpec)> {
    let address = text.parse::<IpAddr>().ok();
    let id = text.parse::<NodeId>().ok();
    let fits = |(node, spec): &(&NodeId, &PeerSpec)| {
        spec.member.name().as_str() == text
            || id.as_ref() == Some(*node)
            || address.is_some_and(|a| spec.member.addresses().any(|own| own == a))
    };
    publication.assembly.peers.iter().filter(fits).map(|(id, spec)| (*id, spec)).collect()
}

pub fn is_me(assembly: &Assembly, text: &str) -> bool {
    let address = text.parse::<IpAddr>().ok();
    assembly.me.name().as_str() == text
        || assembly.me.id.to_string() == text
        || address.is_some_and(|a| assembly.me.addresses().any(|own| own == a))
}

pub fn no_view() -> Reply {
    Reply::Finding(json!({ "why": "no view was received yet: this node has no peers" }))
}

pub fn unknown(name: &str) -> Reply {
    Reply::Finding(json!({ "why": format!("no grant joins you to `{name}`, or there is no such name") }))
}
