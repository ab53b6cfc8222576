//! Calls of a WAN connection and what it answers (WANIPConnection:1 and :2, WANPPPConnection:1, each section 2.4 or 2.5).

use std::net::Ipv4Addr;

use super::description::Kind;
use super::fault::Fault;
use super::http::Response;
use super::xml;

/// What a service is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// What address has it outside?
    Address,
    /// Map UDP port `outside` to `port` of `client`. `any`: or another that is free, which only version 2 can do.
    Add {
        any: bool,
        outside: u16,
        client: Ipv4Addr,
        port: u16,
        lease: u32,
    },
    Delete {
        outside: u16,
    },
}

/// That it was done, and what was told with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub address: Option<Ipv4Addr>,
    pub outside: Option<u16>,
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Action::Address => "GetExternalIPAddress",
            Action::Add { any: true, .. } => "AddAnyPortMapping",
            Action::Add { any: false, .. } => "AddPortMapping",
            Action::Delete { .. } => "DeletePortMapping",
        }
    }

    /// The header `SOAPAction`, and the body.
    pub fn call(self, kind: Kind) -> (String, String) {
        let (urn, name) = (kind.urn(), self.name());
        let arguments: String =
            self.arguments().iter().map(|(name, value)| format!("<{name}>{value}</{name}>")).collect();
        let body = format!(
            "<?xml version=\"1.0\"?>\r\n<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{name} xmlns:u=\"{urn}\">{arguments}\
             </u:{name}></s:Body></s:Envelope>\r\n"
        );
        (format!("{urn}#{name}"), body)
    }

    /// In the order of the specification, which some gateways insist on. No value needs escaping.
    fn arguments(self) -> Vec<(&'static str, String)> {
        let which = |outside: u16| {
            let of = [("NewRemoteHost", String::new()), ("NewExternalPort", outside.to_string())];
            of.into_iter().chain([("NewProtocol", "UDP".to_owned())])
        };
        match self {
            Action::Address => Vec::new(),
            Action::Delete { outside } => which(outside).collect(),
            Action::Add { outside, client, port, lease, .. } => {
                let to = [
                    ("NewInternalPort", port.to_string()),
                    ("NewInternalClient", client.to_string()),
                    ("NewEnabled", "1".to_owned()),
                    ("NewPortMappingDescription", "warren".to_owned()),
                    ("NewLeaseDuration", lease.to_string()),
                ];
                which(outside).chain(to).collect()
            }
        }
    }

    /// What came back for it.
    pub fn read(self, response: &Response) -> Result<Done, Fault> {
        let (mut answered, mut done, mut refused) = (false, Done::default(), None);
        let wanted = format!("{}Response", self.name());
        xml::walk(&response.body, |name, text| match name {
            "NewExternalIPAddress" => done.address = text.parse().ok(),
            "NewReservedPort" => done.outside = text.parse().ok(),
            "errorCode" => refused = text.parse().ok(),
            name => answered |= name == wanted,
        })?;
        match (response.status, refused) {
            (200, None) if answered => Ok(done),
            (_, Some(code)) => Err(Fault::Refused(code)),
            _ => Err(Fault::NoAnswer),
        }
    }
}
