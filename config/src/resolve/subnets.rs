//! Services behind gateways: `via` and `addresses`, and who may share them.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::meaning::Resolver;
use crate::document::Spot;
use crate::name::Name;
use crate::policy::{Policy, Selector, Service};
use crate::subnet::{MAX_ADDRESSES, MAX_ALL_ADDRESSES};
use crate::text::{self, shown};

impl Resolver<'_, '_> {
    /// Who leads to the service's addresses.
    pub(super) fn gateways(&mut self, service: &crate::document::Service) -> BTreeSet<Selector> {
        self.refuse_half_a_subnet(service);
        for text in service.via.iter().filter(|text| text.value.trim() == "all-nodes") {
            let message = "`all-nodes` cannot be gateways: a subnet is behind some of them only".to_owned();
            let hint = "name the tag that gateways wear, e.g. via = [\"tag:gateway\"]".to_owned();
            self.report.error("all-gateways", &text.spot, message, Some(hint));
        }
        self.selectors(&service.via)
    }

    /// `on`, or `via` with `addresses`; never a part of both.
    fn refuse_half_a_subnet(&mut self, service: &crate::document::Service) {
        let named = shown(&service.name.value);
        let (on, via, addresses) = (service.on.first(), service.via.first(), service.addresses.first());
        let (id, spot, message, hint) = match (on, via, addresses) {
            (Some(on), Some(_), _) | (Some(on), _, Some(_)) => (
                "on-and-via",
                &on.spot,
                format!("service `{named}` is on nodes and behind gateways: it can be one of the two"),
                "declare two services, and name both in `to`",
            ),
            (None, Some(via), None) => (
                "via-without-addresses",
                &via.spot,
                format!("service `{named}` has gateways, and no `addresses` behind them"),
                "write e.g. addresses = [\"192.168.10.0/24\"]",
            ),
            (None, None, Some(addresses)) => (
                "addresses-without-via",
                &addresses.spot,
                format!("service `{named}` has addresses, and no gateway leads there"),
                "write e.g. via = [\"tag:gateway\"]",
            ),
            _ => return,
        };
        self.report.error(id, spot, message, Some(hint.to_owned()));
    }

    pub(super) fn addresses(&mut self, service: &crate::document::Service) -> BTreeSet<IpNet> {
        let mut found: BTreeSet<IpNet> = BTreeSet::new();
        let name = Name::parse(&service.name.value).ok();
        for text in &service.addresses {
            let Some(net) = self.parsed(text, text::address(&text.value)) else { continue };
            if let Some(other) = found.iter().find(|other| crate::subnet::meet(other, &net)) {
                let message = format!("`{}` and `{other}` of one service overlap", shown(&text.value));
                let hint = "leave the smaller one out".to_owned();
                self.report.error("repeated-address", &text.spot, message, Some(hint));
                continue;
            }
            found.insert(net);
            if let Some(name) = &name {
                self.places.addresses.entry((name.clone(), net)).or_insert_with(|| text.spot.clone());
            }
        }
        if let Some(one) = service.addresses.get(MAX_ADDRESSES) {
            let all = service.addresses.len();
            let message = format!(
                "service `{}` has {all} addresses, the limit is {MAX_ADDRESSES}",
                shown(&service.name.value)
            );
            self.report.error(
                "too-many",
                &one.spot,
                message,
                Some("name subnets, not single hosts".to_owned()),
            );
        }
        found
    }

    /// An address behind two sets of gateways would be reached by luck. One set may serve many services at one address.
    pub(super) fn refuse_overlaps(&mut self, policy: &Policy) {
        let services = policy.services.values();
        let mut all: Vec<(IpNet, &Service)> =
            services.flat_map(|service| service.addresses.iter().map(move |net| (*net, service))).collect();
        all.sort_by(|(a, x), (b, y)| (a, &x.name).cmp(&(b, &y.name)));
        // What is open here: prefixes that contain the next one, the widest first. Sorted, a prefix stands before those in it.
        let mut around: Vec<(IpNet, &Service)> = Vec::new();
        for (net, service) in &all {
            around.retain(|(wide, _)| wide.contains(net));
            if let Some((wide, other)) = around.iter().find(|(_, other)| other.on != service.on) {
                self.refuse_overlap((wide, other), (net, service));
            }
            // Who shares gateways with one that is open adds nothing to be compared with.
            if !around.iter().any(|(_, other)| other.on == service.on) {
                around.push((*net, service));
            }
        }
        let different: BTreeSet<IpNet> = all.iter().map(|(net, _)| *net).collect();
        if different.len() > MAX_ALL_ADDRESSES {
            let spot = all.last().and_then(|(net, service)| self.place_of(service, net));
            let found = different.len();
            let message =
                format!("there are {found} addresses behind gateways, the limit is {MAX_ALL_ADDRESSES}");
            let hint = Some("name subnets, not single hosts".to_owned());
            self.report.error("too-many", &spot.unwrap_or(Spot { file: 0, span: 0..0 }), message, hint);
        }
    }

    fn refuse_overlap(&mut self, (wide, first): (&IpNet, &Service), (net, second): (&IpNet, &Service)) {
        let Some(spot) = self.place_of(second, net) else { return };
        let message = format!(
            "services `{}` ({wide}) and `{}` ({net}) overlap in {net}, behind different gateways",
            first.name, second.name
        );
        let place = self.place_of(first, wide).map(|spot| self.report.place(&spot));
        let place = place.map(|place| format!("the other is at {place}: ")).unwrap_or_default();
        let hint = format!("{place}nobody could say which gateway leads there; give both the same `via`");
        self.report.error("overlapping-subnets", &spot, message, Some(hint));
    }

    fn place_of(&self, service: &Service, net: &IpNet) -> Option<Spot> {
        self.places.addresses.get(&(service.name.clone(), *net)).cloned()
    }
}
