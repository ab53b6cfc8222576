//! Subnets behind gateways on this machine: routes of those that are granted, forwarding for those that are served. What
//! should be there is decided in [`warren_node_core::host::subnets`]; asked again and again, this makes it so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, UdpSocket};
use std::path::Path;

use ipnet::IpNet;
use serde_json::{Value, json};
use warren_node_core::host::subnets::{Forwarding, HostRoute, Lead, Obstacle, Routes, removal, table};
use warren_node_core::host::{Plan, ROUTE_METRIC};

use super::switches::{self, Switches};
use super::{Host, HostError, LocalAddress, nft};

/// What is wanted of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedSubnets {
    /// Granted to this node, behind others. `None`: nobody can say at the moment, so routes stay as they are.
    pub granted: Option<BTreeSet<IpNet>>,
    /// Behind this node, granted to others.
    pub served: BTreeSet<IpNet>,
    /// Where coordinators are on the underlay.
    pub coordinators: Vec<IpAddr>,
}

#[derive(Debug)]
pub struct Subnets {
    switches: Switches,
    routed: BTreeSet<IpNet>,
    left: BTreeMap<IpNet, Obstacle>,
    elsewhere: BTreeMap<IpNet, Vec<HostRoute>>,
    /// How this host reaches what it serves.
    leads: BTreeMap<IpNet, Lead>,
    forwarding: Option<Forwarding>,
    /// Why what is served is not forwarded.
    trouble: Option<String>,
    /// Something of an earlier agent may be there.
    begun: bool,
}

impl Subnets {
    pub fn new(run: &Path) -> Subnets {
        Subnets {
            switches: Switches::open(run),
            routed: BTreeSet::new(),
            left: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            leads: BTreeMap::new(),
            forwarding: None,
            trouble: None,
            begun: false,
        }
    }

    /// Why this subnet has no route, if it has none.
    pub fn obstacle(&self, net: &IpNet) -> Option<&Obstacle> {
        self.left.get(net)
    }

    pub fn is_routed(&self, net: &IpNet) -> bool {
        self.routed.contains(net)
    }

    /// Parts of it that narrower routes of this host take elsewhere.
    pub fn elsewhere(&self, net: &IpNet) -> &[HostRoute] {
        self.elsewhere.get(net).map(Vec::as_slice).unwrap_or_default()
    }

    pub fn served(&self) -> Value {
        let served: Vec<&IpNet> = self.forwarding.iter().flat_map(|forwarding| &forwarding.served).collect();
        let way = |net: &IpNet| {
            let lead = self.leads.get(net)?;
            let default = matches!(lead, Lead::Default { .. });
            Some(json!({
                "subnet": net, "interface": lead.interface(), "default": default, "text": lead.to_string(),
            }))
        };
        let ways: Vec<Value> = served.iter().filter_map(|net| way(net)).collect();
        json!({ "subnets": served, "ways": ways, "trouble": self.trouble })
    }

    /// Makes the machine as it is wanted. Costs nothing where nothing is wanted and nothing was.
    pub async fn follow(
        &mut self,
        host: &Host,
        plan: &Plan,
        wanted: &WantedSubnets,
    ) -> Result<(), HostError> {
        let idle = wanted.granted.as_ref().is_none_or(BTreeSet::is_empty) && wanted.served.is_empty();
        if idle && self.begun && self.routed.is_empty() && self.left.is_empty() && self.forwarding.is_none() {
            return Ok(());
        }
        let routes = match &wanted.granted {
            Some(granted) => self.follow_routes(host, plan, granted, &wanted.coordinators).await,
            None => Ok(()),
        };
        let forwarding = self.follow_forwarding(host, plan, &wanted.served).await;
        self.begun |= wanted.granted.is_some();
        routes.and(forwarding)
    }

    /// Routes first away, then new ones: one moment without is a lost packet, one too long is a packet to the wrong place.
    async fn follow_routes(
        &mut self,
        host: &Host,
        plan: &Plan,
        granted: &BTreeSet<IpNet>,
        coordinators: &[IpAddr],
    ) -> Result<(), HostError> {
        let (net, tun) = (host.netlink(), plan.interface.as_str());
        let there = net.routes().await?;
        let mut routes = Routes::new(plan, granted, &there, coordinators);
        let ours =
            there.iter().filter(|route| route.interface == tun && !route.connected).map(|route| route.range);
        let ours: BTreeSet<IpNet> = ours.filter(|range| !is_of_the_overlay(plan, range)).collect();
        for range in ours.iter().filter(|range| !routes.taken.contains_key(*range)) {
            net.remove_route(tun, *range, ROUTE_METRIC).await?;
        }
        for (range, source) in routes.taken.clone().iter().filter(|(range, _)| !ours.contains(*range)) {
            if let Err(e) = net.add_subnet(tun, *range, *source, ROUTE_METRIC).await {
                routes.taken.remove(range);
                routes.left.insert(*range, Obstacle::Refused(e.to_string()));
            }
        }
        for (range, obstacle) in routes.left.iter().filter(|(range, why)| self.left.get(*range) != Some(why))
        {
            tracing::warn!("the subnet {range} is granted and not routed: {obstacle}");
        }
        for (range, parts) in
            routes.elsewhere.iter().filter(|(range, parts)| self.elsewhere.get(*range) != Some(parts))
        {
            let parts: Vec<String> =
                parts.iter().map(|p| format!("{} by {}", p.range, p.interface)).collect();
            tracing::warn!(
                "parts of the subnet {range} go elsewhere by routes of this host: {}",
                parts.join(", ")
            );
        }
        self.routed = routes.taken.into_keys().collect();
        self.elsewhere = routes.elsewhere;
        self.left = routes.left;
        Ok(())
    }

    async fn follow_forwarding(
        &mut self,
        host: &Host,
        plan: &Plan,
        served: &BTreeSet<IpNet>,
    ) -> Result<(), HostError> {
        if served.is_empty() {
            return self.end_forwarding(plan).await;
        }
        let (local, routes) = (host.netlink().local_addresses().await?, host.netlink().routes().await?);
        let lead = |net: &IpNet| (*net, Lead::of(plan, net, &routes, way_to(net, &local).as_deref()));
        self.leads = served.iter().map(lead).collect();
        let (mut forwarding, trouble) = self.switch_on(plan, served, &local);
        forwarding.served.clone_from(served);
        let there =
            self.forwarding.as_ref() == Some(&forwarding) && nft::has_table(&table(&plan.interface)).await?;
        if !there {
            nft::load(&forwarding.ruleset(plan)).await?;
        }
        if trouble.is_some() && trouble != self.trouble {
            tracing::error!("{}", trouble.as_deref().unwrap_or_default());
        }
        (self.forwarding, self.trouble) = (Some(forwarding), trouble);
        Ok(())
    }

    async fn end_forwarding(&mut self, plan: &Plan) -> Result<(), HostError> {
        if self.begun && self.forwarding.is_none() {
            return Ok(());
        }
        // The switches first: nothing is forwarded any more when the rules go.
        self.put_back(&BTreeSet::new());
        self.trouble = None;
        self.leads.clear();
        if self.forwarding.take().is_some() || nft::has_table(&table(&plan.interface)).await? {
            nft::load(&removal(&plan.interface)).await?;
        }
        Ok(())
    }

    /// The agent ends: this host forwards nothing for others any more. Its own routes stay until the interface goes, because
    /// without them what is meant for the subnets would leave by the default gateway in clear.
    pub async fn leave(&mut self, plan: &Plan) -> Result<(), HostError> {
        self.end_forwarding(plan).await
    }

    fn put_back(&mut self, kept: &BTreeSet<String>) {
        if let Err(e) = self.switches.put_back_except(kept) {
            tracing::warn!("forwarding of this host cannot be put back as it was: {e}");
        }
    }

    /// Lets the kernel forward between the tunnel and the interfaces that lead to what is served.
    fn switch_on(
        &mut self,
        plan: &Plan,
        served: &BTreeSet<IpNet>,
        local: &[LocalAddress],
    ) -> (Forwarding, Option<String>) {
        let mut wanted: BTreeMap<String, &str> = BTreeMap::new();
        let mut troubles: Vec<String> =
            self.leads.iter().filter_map(|(net, lead)| lead.trouble(net)).collect();
        let v4 = self.leads.iter().filter(|(net, _)| net.addr().is_ipv4());
        let ways: BTreeSet<String> = v4.filter_map(|(_, lead)| lead.interface().map(str::to_owned)).collect();
        let interfaces =
            ways.iter().map(String::as_str).chain((!ways.is_empty()).then_some(plan.interface.as_str()));
        wanted.extend(interfaces.map(|name| (format!("ipv4/conf/{name}/forwarding"), "1")));
        if served.iter().any(|net| net.addr().is_ipv6()) {
            // A host that forwards IPv6 hears no router unless it is told to: it would lose its own addresses.
            let hears =
                |name: &&str| switches::read(&format!("ipv6/conf/{name}/accept_ra")).is_ok_and(|v| v == "1");
            let names: BTreeSet<&str> = local.iter().map(|l| l.interface.as_str()).collect();
            let routers =
                names.into_iter().filter(hears).map(|name| (format!("ipv6/conf/{name}/accept_ra"), "2"));
            wanted.extend(routers.collect::<Vec<_>>());
            wanted.insert("ipv6/conf/all/forwarding".to_owned(), "1");
        }
        let kept: BTreeSet<String> = wanted.keys().cloned().chain(self.still_heard(served)).collect();
        self.put_back(&kept);
        for (path, value) in &wanted {
            if let Err(e) = self.switches.turn(path, value) {
                let name = path.replace('/', ".");
                troubles.push(format!(
                    "this gateway forwards nothing: {path} cannot be set: {e}; set net.{name}={value} (sysctl.d), or let the agent \
                     do it (a service with ProtectKernelTunables cannot)"
                ));
            }
        }
        let turned = |name: &&String| self.switches.turned(&format!("ipv4/conf/{name}/forwarding"));
        let forwarding = Forwarding {
            served: BTreeSet::new(),
            switched: ways.iter().filter(turned).cloned().collect(),
            switched_v6: self.switches.turned("ipv6/conf/all/forwarding"),
        };
        (forwarding, (!troubles.is_empty()).then(|| troubles.join("; ")))
    }

    /// Those of IPv6 stay as they were turned while IPv6 is forwarded.
    fn still_heard(&self, served: &BTreeSet<IpNet>) -> Vec<String> {
        match served.iter().any(|net| net.addr().is_ipv6()) {
            true => {
                self.switches.paths().filter(|path| path.ends_with("/accept_ra")).map(str::to_owned).collect()
            }
            false => Vec::new(),
        }
    }
}

/// Prefixes that the plan itself routes, and what the kernel adds for the overlay's addresses.
fn is_of_the_overlay(plan: &Plan, range: &IpNet) -> bool {
    let link_local = |range: &IpNet| matches!(range, IpNet::V6(v6) if v6.addr().is_unicast_link_local() || v6.addr().is_multicast());
    plan.ranges.iter().any(|all| all.contains(range)) || link_local(range)
}

/// The interface by which this host sends to the first host of a subnet. Nothing is sent to find out.
fn way_to(net: &IpNet, local: &[LocalAddress]) -> Option<String> {
    let host = net.hosts().next()?;
    let any: IpAddr = if host.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((host, 9)).ok()?;
    let source = socket.local_addr().ok()?.ip();
    local.iter().find(|known| known.address == source).map(|known| known.interface.clone())
}
