//! Names: served to this host, and what was asked is told where the policy wants to know.

use warren_node_core::conntrack::Load;
use warren_node_core::dataplane::PeerStatus;
use warren_node_core::host::leak;
use warren_node_core::names::standing::{Known, Standing};

use super::Driver;
use crate::clock::boot;
use crate::hostdns::Wanted;
use crate::resolver;

impl Driver {
    pub(super) fn serve_names(&mut self) {
        self.service = None;
        if !self.parts.options.dns {
            return;
        }
        let no_ipv6 = self.parts.host.no_ipv6();
        let own = self.parts.plan.addresses.iter().copied().chain(self.parts.options.names.listen);
        let own: Vec<_> = own.filter(|a| a.is_ipv4() || !no_ipv6).collect();
        match resolver::serve(&self.parts.resolver, &own, resolver::PORT) {
            Ok(service) => self.service = Some(service),
            Err(e) => tracing::error!("{e}"),
        }
    }

    /// Programs are sent here only while somebody answers here.
    pub(super) async fn tell_host(&mut self) {
        let resolver = &self.parts.resolver;
        let Some(names) = resolver.names().filter(|_| self.service.is_some()) else { return };
        let no_ipv6 = self.parts.host.no_ipv6();
        let servers = self.parts.plan.addresses.iter().copied().filter(|a| a.is_ipv4() || !no_ipv6);
        let wanted = Wanted {
            servers: servers.collect(),
            zone: names.zone().to_owned(),
            everything: resolver.answers_everything(),
        };
        self.parts.host_dns.tell(&wanted).await;
        self.report_refusals();
    }

    /// Programs that asked in clear are seen where every other refusal is seen.
    pub(super) fn report_refusals(&mut self) {
        let (heard, refusals) = (self.parts.host_dns.take_heard(), self.parts.host_dns.take_refusals());
        let generation = self.parts.control.publication().map_or(0, |p| p.assembly.generation);
        let (own, now_ms) = (&self.parts.plan.addresses, self.parts.shared.clock.now().wall_ms);
        let mut records: Vec<_> =
            heard.iter().filter_map(|heard| heard.record(own, generation, now_ms)).collect();
        self.parts.workloads.name_refused(&mut records);
        self.parts.host_dns.handle_named(&records);
        for refused in &refusals {
            self.refusals += 1;
            records.extend(leak::record(refused, own, leak::NUMBERS + self.refusals, generation, now_ms));
        }
        records.iter().for_each(|record| self.log.add(record));
        if !records.is_empty() {
            // The packet path did not see them.
            for record in &records {
                let load = Load { packets: record.packets_out, bytes: record.bytes_out };
                self.parts.ledger.ledger.add(0, load);
            }
            self.parts.control.handle_offered(self.parts.ledger.ledger.read());
            self.parts.control.handle_flow_records(records, boot());
        }
    }

    /// Near peers stand first among several addresses of a name, those that do not answer last.
    pub(super) fn tell_standings(&self) {
        let shared = &self.parts.shared;
        let status = shared.plane.status(shared.clock.now()).into_iter();
        let standing = |peer: &PeerStatus| {
            Standing::of(Known {
                has_session: peer.last_handshake.is_some(),
                pending: peer.handshake_pending,
                unanswered: peer.unanswered,
                round_trip: peer.round_trip,
            })
        };
        let all = status.map(|peer| (peer.node, standing(&peer)));
        let known = all.filter(|(_, standing)| *standing != Standing::Near);
        self.parts.resolver.set_standings(known.collect());
    }

    /// While nobody is there to be told, it is counted on.
    pub(super) fn report_names(&mut self) {
        if self.parts.control.wants_names()
            && let Some(report) = self.parts.resolver.take_names()
        {
            self.parts.control.handle_names(report);
        }
    }
}
