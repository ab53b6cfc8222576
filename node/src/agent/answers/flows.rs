//! The newest flows.

use std::net::IpAddr;

use serde_json::{Value, json};
use warren_wire::flow::FlowRecord;
use warren_wire::id::NodeId;

use super::Driver;

pub fn flows(driver: &Driver, limit: usize) -> Value {
    let publication = driver.parts.control.publication();
    let name = |id: &[u8]| {
        let id = NodeId::from_slice(id)?;
        let spec = publication.as_ref()?.assembly.peers.get(&id)?;
        Some(spec.member.name().to_string())
    };
    driver.log.newest(limit).map(|record| flow(record, name(&record.peer))).collect()
}

fn flow(record: &FlowRecord, name: Option<String>) -> Value {
    json!({
        "flow": record.flow,
        "peer": name.or_else(|| NodeId::from_slice(&record.peer).map(|id| id.to_string())),
        "outbound": record.outbound,
        "protocol": protocol_name(record.protocol),
        "src": address(&record.src),
        "src_port": record.src_port,
        "dst": address(&record.dst),
        "dst_port": record.dst_port,
        "verdict": record.verdict(),
        "grant": record.grant,
        "service": record.service,
        "generation": record.generation,
        "packets_out": record.packets_out,
        "bytes_out": record.bytes_out,
        "packets_back": record.packets_back,
        "bytes_back": record.bytes_back,
        "started_ms": record.started_ms,
        "last_ms": record.last_ms,
        "end": record.end(),
        "count": record.count,
        "workload": record.workload,
        "rtt_us": record.rtt_us,
        "retransmissions": record.retransmissions,
        "path": record.path(),
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

fn protocol_name(number: u32) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        n => format!("proto/{n}"),
    }
}
