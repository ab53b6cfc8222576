//! What a gateway says about itself: which services of it map ports, and where they are called (UPnP Device Architecture 1.1 section 2.3).

use std::net::Ipv4Addr;

use super::fault::Fault;
use super::place::Place;
use super::xml;

/// A gateway with two WAN lines has two, each by IP and by PPP.
const MAX_SERVICES: usize = 4;

/// The first is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// WANIPConnection:2, of IGD version 2.
    Ip2,
    Ip1,
    /// WANPPPConnection:1, of both versions.
    Ppp1,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Ip2, Kind::Ip1, Kind::Ppp1];

    pub fn urn(self) -> &'static str {
        match self {
            Kind::Ip2 => "urn:schemas-upnp-org:service:WANIPConnection:2",
            Kind::Ip1 => "urn:schemas-upnp-org:service:WANIPConnection:1",
            Kind::Ppp1 => "urn:schemas-upnp-org:service:WANPPPConnection:1",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub kind: Kind,
    pub control: Place,
}

/// At least one, the best first. Those that are called at another host are left out.
pub fn services(body: &[u8], described: &Place, gateway: Ipv4Addr) -> Result<Vec<Service>, Fault> {
    let (mut base, mut found) = (None, Vec::new());
    let (mut kind, mut control) = (None, None);
    xml::walk(body, |name, text| match name {
        "URLBase" => base = Some(text.to_owned()),
        "serviceType" => kind = Kind::ALL.into_iter().find(|kind| kind.urn() == text),
        "controlURL" => control = Some(text.to_owned()),
        "service" => found.extend(kind.take().zip(control.take())),
        _ => {}
    })?;
    let base = match base.filter(|base| !base.is_empty()) {
        Some(base) => Place::absolute(&base, gateway)?,
        None => described.clone(),
    };
    let many = !found.is_empty();
    let service =
        |(kind, text): (Kind, String)| Some(Service { kind, control: base.named(&text, gateway).ok()? });
    let mut here: Vec<Service> = found.into_iter().filter_map(service).collect();
    here.sort_by_key(|service| service.kind);
    here.truncate(MAX_SERVICES);
    match here.is_empty() {
        true if many => Err(Fault::Elsewhere),
        true => Err(Fault::NoService),
        false => Ok(here),
    }
}
