//! The flow of a packet is looked up, the packet judged and counted.

use std::collections::BTreeSet;
use std::sync::Arc;

use warren_config::compile::Program;
use warren_config::filter::Rules;
use warren_config::item::Item;
use warren_config::name::Name;
use warren_config::policy::{Grant, GrantMode, Listen, Protocol, Selector, Service, Subject};
use warren_node_core::conntrack::{Addresses, Edition, Ends, FlowIds, FlowTable, Limits, Load};
use warren_node_core::judge::{self, Ruling};
use warren_node_core::packet::Packet;
use warren_wire::id::NodeId;

use super::NOW;
use super::packets::{MINE, PEERS, PORT, read, udp};

/// A table of live UDP flows; every call takes the next one.
pub struct Judge {
    table: FlowTable,
    packets: Vec<Packet>,
    next: usize,
    mine: Addresses,
    peer: Addresses,
    outbound: Rules,
    inbound: Rules,
}

impl Judge {
    /// With one flow the table finds it as the last one used; with more it has to look.
    pub fn new(flows: u16) -> Judge {
        let table = FlowTable::new(NodeId([2; 16]), Arc::new(FlowIds::default()), Limits::default());
        let packets = (0..flows).map(|n| read(&udp(64, 40_000 + n))).collect();
        let v6 = |n: u16| std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n);
        let mut judge = Judge {
            table,
            packets,
            next: 0,
            mine: Addresses { v4: Some(MINE), v6: v6(1) },
            peer: Addresses { v4: Some(PEERS), v6: v6(2) },
            outbound: rules(),
            inbound: Rules::default(),
        };
        for _ in 0..flows {
            assert_eq!(judge.once(), Ruling::Pass);
        }
        judge
    }

    pub fn once(&mut self) -> Ruling {
        let ends = Ends {
            mine: &self.mine,
            peer: &self.peer,
            outbound: &self.outbound,
            inbound: &self.inbound,
            beyond: &warren_config::subnet::NOTHING,
            hosts: &warren_config::subnet::NOTHING,
            edition: Edition { epoch: 1, revision: 1, generation: 1 },
        };
        let packet = &self.packets[self.next];
        self.next = (self.next + 1) % self.packets.len();
        judge::outbound(&ends, &mut self.table, packet, Load { packets: 1, bytes: 64 }, NOW)
    }
}

/// One grant for the port of the packets.
fn rules() -> Rules {
    let name = |text: &str| Name::parse(text).unwrap();
    let node = |text: &str| BTreeSet::from([Selector::Node(name(text))]);
    let service = Service {
        addresses: Default::default(),
        name: name("service"),
        on: node("peer"),
        listen: BTreeSet::from([Listen { protocol: Protocol::Udp, first: PORT, last: PORT }]),
    };
    let grant = Grant {
        id: name("grant"),
        from: node("me"),
        except: BTreeSet::new(),
        to: BTreeSet::from([name("service")]),
        mode: GrantMode::Enforce,
        until: None,
        why: String::new(),
    };
    let subject = |text: &str| Subject { name: name(text), tags: BTreeSet::new() };
    Program::of_items(&[Item::Service(service), Item::Grant(grant)]).rules(&subject("me"), &subject("peer"))
}
