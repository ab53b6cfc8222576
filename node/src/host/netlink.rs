//! Everything that speaks rtnetlink. Its interface changes with each minor version: keep it in this file.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;

use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{AddressMessageBuilder, Error, Handle, LinkUnspec, RouteMessageBuilder};
use rustix::io::Errno;
use tokio_stream::StreamExt;
use warren_node_core::host::subnets::HostRoute;

use super::error::HostError;
use super::monitor::Device;

/// An address of this machine and the interface that has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalAddress {
    pub address: IpAddr,
    pub interface: String,
    /// The address with the length of its prefix: who else is on the link.
    pub network: IpNet,
}

pub struct Netlink {
    handle: Handle,
    /// Interface that this agent holds open.
    ours: Mutex<Option<String>>,
}

impl Netlink {
    pub fn open() -> Result<Netlink, HostError> {
        let (connection, handle, mut unasked) = rtnetlink::new_connection()
            .map_err(|source| HostError::Io { what: "open a netlink socket", source })?;
        tokio::spawn(connection);
        // The library warns of each message that nobody listens to, with all that is in it.
        tokio::spawn(async move { while unasked.next().await.is_some() {} });
        Ok(Netlink { handle, ours: Mutex::new(None) })
    }

    pub fn remember(&self, name: &str) {
        if let Ok(mut ours) = self.ours.lock() {
            *ours = Some(name.to_owned());
        }
    }

    pub fn is_ours(&self, name: &str) -> bool {
        self.ours.lock().is_ok_and(|ours| ours.as_deref() == Some(name))
    }
}

/// Links.
impl Netlink {
    /// `None` if there is no such interface in this network namespace.
    pub async fn device(&self, name: &str) -> Result<Option<Device>, HostError> {
        let mut links = self.handle.link().get().match_name(name.to_owned()).execute();
        match links.next().await {
            Some(Ok(link)) => Ok(Some(describe(&link))),
            Some(Err(e)) if is_errno(&e, Errno::NODEV) => Ok(None),
            Some(Err(e)) => Err(failed(format!("look at the interface {name}"), &e)),
            None => Ok(None),
        }
    }

    async fn index(&self, name: &str) -> Result<u32, HostError> {
        let device = self.device(name).await?;
        device.map(|d| d.index).ok_or_else(|| HostError::NoInterface { name: name.to_owned() })
    }

    pub async fn link_up(&self, name: &str) -> Result<(), HostError> {
        let index = self.index(name).await?;
        let message = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().set(message).execute().await.or_else(|e| done(format!("bring {name} up"), e, None))
    }

    pub async fn set_mtu(&self, name: &str, mtu: u16) -> Result<(), HostError> {
        let index = self.index(name).await?;
        let message = LinkUnspec::new_with_index(index).mtu(mtu.into()).build();
        let what = || format!("set the MTU of {name} to {mtu}");
        self.handle.link().set(message).execute().await.or_else(|e| done(what(), e, None))
    }

    pub async fn delete_link(&self, name: &str) -> Result<(), HostError> {
        let Some(device) = self.device(name).await? else { return Ok(()) };
        let result = self.handle.link().del(device.index).execute().await;
        result.or_else(|e| done(format!("delete the interface {name}"), e, Some(Errno::NODEV)))
    }
}

/// Addresses.
impl Netlink {
    /// A host prefix; for IPv6 without duplicate address detection: nobody else can have it.
    pub async fn add_address(&self, name: &str, address: IpAddr) -> Result<(), HostError> {
        let index = self.index(name).await?;
        let mut request = self.handle.address().add(index, address, host_prefix(address));
        if address.is_ipv6() {
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        let what = || format!("give {name} the address {address}");
        request.execute().await.or_else(|e| done(what(), e, Some(Errno::EXIST)))
    }

    pub async fn remove_address(&self, name: &str, address: IpAddr) -> Result<(), HostError> {
        let Some(device) = self.device(name).await? else { return Ok(()) };
        let message = match address {
            IpAddr::V4(v4) => {
                AddressMessageBuilder::<Ipv4Addr>::new().index(device.index).address(v4, 32).build()
            }
            IpAddr::V6(v6) => {
                AddressMessageBuilder::<Ipv6Addr>::new().index(device.index).address(v6, 128).build()
            }
        };
        let result = self.handle.address().del(message).execute().await;
        result.or_else(|e| {
            done(format!("take the address {address} from {name}"), e, Some(Errno::ADDRNOTAVAIL))
        })
    }

    /// Addresses of all interfaces, in order.
    pub async fn local_addresses(&self) -> Result<Vec<LocalAddress>, HostError> {
        let names = self.link_names().await?;
        let mut found = Vec::new();
        let mut addresses = self.handle.address().get().execute();
        while let Some(message) = addresses.next().await {
            let message = message.map_err(|e| failed("list the addresses of this host".to_owned(), &e))?;
            let name = names.iter().find(|(index, _)| *index == message.header.index);
            if let (Some(address), Some((_, name))) = (address_of(&message), name) {
                let whole = if address.is_ipv4() { 32 } else { 128 };
                let length = message.header.prefix_len.min(whole);
                let network = IpNet::new(address, length).unwrap_or_else(|_| address.into());
                found.push(LocalAddress { address, interface: name.clone(), network });
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    async fn link_names(&self) -> Result<Vec<(u32, String)>, HostError> {
        let mut names = Vec::new();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.next().await {
            let link = link.map_err(|e| failed("list the interfaces of this host".to_owned(), &e))?;
            names.push((link.header.index, describe(&link).name));
        }
        Ok(names)
    }
}

/// Routes.
impl Netlink {
    pub async fn add_unreachable(&self, range: IpNet, metric: u32) -> Result<(), HostError> {
        let message = route(range, metric, RouteType::Unreachable, None, None);
        self.put(message, format!("add the unreachable route for {range}")).await
    }

    pub async fn remove_unreachable(&self, range: IpNet, metric: u32) -> Result<(), HostError> {
        let message = route(range, metric, RouteType::Unreachable, None, None);
        self.take(message, format!("remove the unreachable route for {range}")).await
    }

    pub async fn add_route(
        &self,
        name: &str,
        range: IpNet,
        source: IpAddr,
        metric: u32,
    ) -> Result<(), HostError> {
        let index = self.index(name).await?;
        let message = route(range, metric, RouteType::Unicast, Some(index), Some(source));
        self.put(message, format!("route {range} through {name}")).await
    }

    pub async fn remove_route(&self, name: &str, range: IpNet, metric: u32) -> Result<(), HostError> {
        let Some(device) = self.device(name).await? else { return Ok(()) };
        let message = route(range, metric, RouteType::Unicast, Some(device.index), None);
        self.take(message, format!("remove the route for {range} through {name}")).await
    }

    /// Routes of the main table that lead out by an interface, but for default ones, each with the interface's name and whether
    /// the kernel has it because the host is on that network.
    pub async fn routes(&self) -> Result<BTreeSet<HostRoute>, HostError> {
        let names = self.link_names().await?;
        let mut found = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            let mut routes = self.handle.route().get(request).execute();
            while let Some(message) = routes.next().await {
                let message = message.map_err(|e| failed("list the routes of this host".to_owned(), &e))?;
                found.extend(host_route(&message, &names));
            }
        }
        Ok(found)
    }

    /// Never in the place of another: one that is there already is no success.
    pub async fn add_subnet(
        &self,
        name: &str,
        range: IpNet,
        source: IpAddr,
        metric: u32,
    ) -> Result<(), HostError> {
        let index = self.index(name).await?;
        let message = route(range, metric, RouteType::Unicast, Some(index), Some(source));
        let result = self.handle.route().add(message).execute().await;
        result.or_else(|e| done(format!("route {range} through {name}"), e, None))
    }

    /// Is there an unreachable route for exactly this range?
    pub async fn has_unreachable(&self, range: IpNet) -> Result<bool, HostError> {
        let mut request = RouteMessage::default();
        request.header.address_family = family(range);
        let mut routes = self.handle.route().get(request).execute();
        // To the end of the list: the library warns of each answer that is not taken.
        let mut there = false;
        while let Some(message) = routes.next().await {
            let message = message.map_err(|e| failed("list the routes of this host".to_owned(), &e))?;
            let wanted = route(range, 0, RouteType::Unreachable, None, None);
            let destination = |m: &RouteMessage| {
                m.attributes.iter().find(|a| matches!(a, RouteAttribute::Destination(_))).cloned()
            };
            there |= message.header.kind == RouteType::Unreachable
                && message.header.destination_prefix_length == range.prefix_len()
                && destination(&message) == destination(&wanted);
        }
        Ok(there)
    }

    /// The gateway of the IPv4 default route with the least metric, unless it is through `overlay`.
    pub async fn default_gateway(&self, overlay: &str) -> Result<Option<Ipv4Addr>, HostError> {
        let ours =
            self.link_names().await?.into_iter().find(|(_, name)| name == overlay).map(|(index, _)| index);
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        let mut routes = self.handle.route().get(request).execute();
        let mut best: Option<(u32, Ipv4Addr)> = None;
        while let Some(message) = routes.next().await {
            let message = message.map_err(|e| failed("list the routes of this host".to_owned(), &e))?;
            let whole =
                message.header.destination_prefix_length == 0 && message.header.kind == RouteType::Unicast;
            if let Some((metric, at)) = gateway_of(&message, ours).filter(|_| whole)
                && best.is_none_or(|(least, _)| metric < least)
            {
                best = Some((metric, at));
            }
        }
        Ok(best.map(|(_, at)| at))
    }

    async fn put(&self, message: RouteMessage, what: String) -> Result<(), HostError> {
        let result = self.handle.route().add(message).replace().execute().await;
        result.or_else(|e| done(what, e, Some(Errno::EXIST)))
    }

    async fn take(&self, message: RouteMessage, what: String) -> Result<(), HostError> {
        let result = self.handle.route().del(message).execute().await;
        result.or_else(|e| done(what, e, Some(Errno::SRCH)))
    }
}

/// Metric and gateway of a route that does not lead through interface `not`.
fn gateway_of(message: &RouteMessage, not: Option<u32>) -> Option<(u32, Ipv4Addr)> {
    let (mut metric, mut found) = (0, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Gateway(RouteAddress::Inet(at)) => found = Some(*at),
            RouteAttribute::Oif(index) if Some(*index) == not => return None,
            _ => {}
        }
    }
    found.map(|at| (metric, at))
}

fn route(
    range: IpNet,
    metric: u32,
    kind: RouteType,
    interface: Option<u32>,
    source: Option<IpAddr>,
) -> RouteMessage {
    let mut message = match (range, source) {
        (IpNet::V4(net), source) => {
            let builder =
                RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(net.network(), net.prefix_len());
            match source {
                Some(IpAddr::V4(source)) => builder.pref_source(source).build(),
                _ => builder.build(),
            }
        }
        (IpNet::V6(net), source) => {
            let builder =
                RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(net.network(), net.prefix_len());
            match source {
                Some(IpAddr::V6(source)) => builder.pref_source(source).build(),
                _ => builder.build(),
            }
        }
    };
    message.header.kind = kind;
    if let Some(index) = interface {
        message.header.scope = RouteScope::Link;
        message.attributes.push(RouteAttribute::Oif(index));
    }
    message.attributes.push(RouteAttribute::Priority(metric));
    message
}

/// RT_TABLE_MAIN.
const MAIN_TABLE: u32 = 254;

fn host_route(message: &RouteMessage, names: &[(u32, String)]) -> Option<HostRoute> {
    let table = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let length = message.header.destination_prefix_length;
    let elsewhere = table.unwrap_or(message.header.table.into()) != MAIN_TABLE;
    if elsewhere || length == 0 || message.header.kind != RouteType::Unicast {
        return None;
    }
    let address = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    })?;
    let index = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })?;
    let (_, interface) = names.iter().find(|(known, _)| *known == index)?;
    let range = IpNet::new(address, length).ok()?;
    let connected = message.header.protocol == RouteProtocol::Kernel;
    Some(HostRoute { range, interface: interface.clone(), connected })
}

fn family(range: IpNet) -> AddressFamily {
    match range {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    }
}

fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn describe(link: &LinkMessage) -> Device {
    let mut device = Device {
        index: link.header.index,
        name: String::new(),
        up: link.header.flags.contains(LinkFlags::Up),
        mtu: 0,
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => device.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => device.mtu = *mtu,
            _ => {}
        }
    }
    device
}

/// `IFA_LOCAL` if present: on a point-to-point link `IFA_ADDRESS` is the other end.
fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|a| match a {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

/// Success if the error says that it is already so.
fn done(what: String, error: Error, already: Option<Errno>) -> Result<(), HostError> {
    match already {
        Some(errno) if is_errno(&error, errno) => Ok(()),
        _ => Err(failed(what, &error)),
    }
}

fn is_errno(error: &Error, errno: Errno) -> bool {
    code(error) == Some(errno.raw_os_error())
}

/// Positive errno.
fn code(error: &Error) -> Option<i32> {
    match error {
        Error::NetlinkError(message) => message.code.map(|c| c.get().saturating_abs()),
        _ => None,
    }
}

fn failed(what: String, error: &Error) -> HostError {
    match code(error) {
        Some(errno) if errno == Errno::PERM.raw_os_error() => HostError::NotAllowed { what },
        Some(errno) => {
            let text = std::io::Error::from_raw_os_error(errno).to_string();
            HostError::Netlink { what, errno, text }
        }
        None => HostError::Netlink { what, errno: 0, text: error.to_string() },
    }
}
