//! The small notations inside the policy's strings: names with a kind, selectors, ports, targets.

use std::collections::BTreeSet;
use std::ops::Range;

use ipnet::IpNet;

use crate::name::Name;
use crate::policy::{Listen, Protocol, Selector, Target};
use crate::subnet::{self, Unfit};

/// What is wrong with a string, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub id: &'static str,
    pub message: String,
    pub hint: Option<String>,
    /// Byte range in the string.
    pub at: Range<usize>,
}

/// A name and its place in the string.
pub(crate) type Named = (Name, Range<usize>);

impl Malformed {
    fn new(id: &'static str, at: Range<usize>, message: impl Into<String>) -> Malformed {
        Malformed { id, message: message.into(), hint: None, at }
    }
    fn hint(mut self, hint: impl Into<String>) -> Malformed {
        self.hint = Some(hint.into());
        self
    }
}

/// At most 80 characters of a value somebody wrote, safe for a terminal.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(80).collect::<String>().escape_debug().to_string()
}

pub(crate) fn name(text: &str) -> Result<Name, Malformed> {
    Name::parse(text).map_err(|error| {
        let wrong = Malformed::new("bad-name", 0..text.len(), error.to_string());
        match name_hint(text) {
            Some(hint) => wrong.hint(hint),
            None => wrong,
        }
    })
}

/// What to write instead of a text that is no name.
fn name_hint(text: &str) -> Option<String> {
    let kinds = ["tag", "node", "service", "group", "grant"];
    let kind = text.split_once(':').filter(|(kind, rest)| kinds.contains(kind) && Name::parse(rest).is_ok());
    if let Some((kind, rest)) = kind {
        return Some(format!("here it is `{rest}`, without `{kind}:`"));
    }
    if text.contains(['*', '?']) {
        return Some("names are never patterns: name each one, or a tag that they share".to_owned());
    }
    if text.is_empty() {
        return Some("write a name".to_owned());
    }
    if text.is_ascii() && text.len() > 63 {
        return Some(format!("it has {} characters", text.len()));
    }
    if let Some(strange) = text.chars().find(|c| !c.is_ascii()) {
        let code = u32::from(strange);
        return Some(format!("`{}` (U+{code:04X}) is no letter of a name", strange.escape_debug()));
    }
    let plain = text.trim().to_ascii_lowercase().replace(['_', '.', ' '], "-");
    Name::parse(&plain).ok().map(|name| format!("write `{name}`"))
}

/// A name after its kind, e.g. the `web` of `tag:web`, when the kind is `kind`.
pub(crate) fn named(kind: &'static str, text: &str) -> Result<Name, Malformed> {
    let whole = 0..text.len();
    match text.split_once(':') {
        Some((found, rest)) if found == kind => name(rest).map_err(|wrong| shift(wrong, found.len() + 1)),
        Some((found, _)) => {
            let message = format!("`{}` is not a {kind}: it begins with `{}:`", shown(text), shown(found));
            Err(Malformed::new("wrong-kind", whole, message).hint(format!("write `{kind}:NAME`")))
        }
        None => {
            let message = format!("`{}` does not say what it names", shown(text));
            let hint = match Name::parse(text) {
                Err(_) if kind == "group" => {
                    "put people and pipelines into a [group.NAME], and write `group:NAME`".to_owned()
                }
                _ => format!("write `{kind}:{}`", shown(text)),
            };
            Err(Malformed::new("no-kind", whole, message).hint(hint))
        }
    }
}

fn shift(mut wrong: Malformed, by: usize) -> Malformed {
    wrong.at = wrong.at.start + by..wrong.at.end + by;
    wrong
}

/// `all-nodes`, `node:x`, `tag:a`, `tag:a & tag:b`; with the place of each name.
pub(crate) fn selector(text: &str) -> Result<(Selector, Vec<Named>), Malformed> {
    let mut places = Vec::new();
    let parts: Vec<(usize, &str)> = parts(text);
    if let [(at, part)] = parts.as_slice() {
        if *part == "all-nodes" {
            return Ok((Selector::AllNodes, places));
        }
        if let Some(rest) = part.strip_prefix("node:") {
            let name = name(rest).map_err(|wrong| shift(wrong, at + 5))?;
            places.push((name.clone(), *at..at + part.len()));
            return Ok((Selector::Node(name), places));
        }
    }
    let mut tags = BTreeSet::new();
    for (at, part) in parts {
        let tag = tag_part(part).map_err(|wrong| shift(wrong, at))?;
        places.push((tag.clone(), at..at + part.len()));
        tags.insert(tag);
    }
    Ok((Selector::Tags(tags), places))
}

/// The parts between `&`, trimmed, each with its byte offset.
fn parts(text: &str) -> Vec<(usize, &str)> {
    let mut at = 0;
    let mut parts = Vec::new();
    for piece in text.split('&') {
        let lead = piece.len() - piece.trim_start().len();
        parts.push((at + lead, piece.trim()));
        at += piece.len() + 1;
    }
    parts
}

fn tag_part(part: &str) -> Result<Name, Malformed> {
    let whole = 0..part.len();
    let wrong = |id, message: String| Err(Malformed::new(id, whole.clone(), message));
    match part.split_once(':') {
        Some(("tag", rest)) => name(rest).map_err(|wrong| shift(wrong, 4)),
        Some(("group", _)) => wrong(
            "group-in-selector",
            format!("`{}` is a group: groups hold people and own tags, they are never nodes", shown(part)),
        )
        .map_err(|w: Malformed| w.hint("name the tag that the group owns")),
        Some(("service", _)) => {
            wrong("wrong-kind", format!("`{}` is a service, here nodes are named", shown(part)))
                .map_err(|w: Malformed| w.hint("use `tag:`, `node:` or `all-nodes`"))
        }
        Some(("node", _)) => wrong(
            "bad-selector",
            format!("`{}` cannot be combined with `&`: a node is one node", shown(part)),
        )
        .map_err(|w: Malformed| w.hint("`&` joins tags only")),
        _ if part == "all-nodes" => {
            wrong("bad-selector", "`all-nodes` cannot be combined with `&`".to_owned())
                .map_err(|w: Malformed| w.hint("`&` joins tags only"))
        }
        Some((kind, _)) => wrong("wrong-kind", format!("`{}:` is no kind of node", shown(kind)))
            .map_err(|w: Malformed| w.hint("use `tag:`, `node:` or `all-nodes`")),
        None if part.is_empty() => wrong("bad-selector", "a selector is empty".to_owned())
            .map_err(|w: Malformed| w.hint("use `tag:`, `node:` or `all-nodes`")),
        None if part.contains('*') => {
            wrong("no-kind", format!("`{}` is a pattern: there are none", shown(part)))
                .map_err(|w: Malformed| w.hint("write `all-nodes` for every node"))
        }
        None => wrong("no-kind", format!("`{}` does not say what it names", shown(part))).map_err(
            |w: Malformed| w.hint(format!("write `tag:{0}` or `node:{0}`, or `all-nodes`", shown(part))),
        ),
    }
}

/// `tcp/8443`, `tcp/9000-9010`, `udp/53`, `icmp/echo`, `proto/132`.
pub(crate) fn listen(text: &str) -> Result<Listen, Malformed> {
    let whole = 0..text.len();
    let Some((protocol, rest)) = text.split_once('/') else {
        let message = format!("`{}` is not a protocol and port", shown(text));
        return Err(Malformed::new("bad-listen", whole, message).hint(listen_hint(text)));
    };
    let offset = protocol.len() + 1;
    match protocol {
        "tcp" => ports(Protocol::Tcp, rest).map_err(|wrong| shift(wrong, offset)),
        "udp" => ports(Protocol::Udp, rest).map_err(|wrong| shift(wrong, offset)),
        "icmp" if rest == "echo" => Ok(Listen { protocol: Protocol::IcmpEcho, first: 0, last: 0 }),
        "icmp" => Err(Malformed::new("bad-listen", whole, format!("`{}` cannot be opened", shown(text)))
            .hint(
                "only `icmp/echo` exists, for ICMP and ICMPv6 together; ICMP errors belong to their flows",
            )),
        "proto" => number(rest).map_err(|wrong| shift(wrong, offset)),
        _ => Err(unknown_protocol(protocol, rest)),
    }
}

/// Numbers of protocols that people know by name.
const BY_NUMBER: [(&str, u8); 5] = [("sctp", 132), ("esp", 50), ("ah", 51), ("gre", 47), ("ipip", 4)];

fn by_number(protocol: &str) -> Option<String> {
    let known = BY_NUMBER.iter().find(|(name, _)| protocol.eq_ignore_ascii_case(name));
    known.map(|(_, number)| format!("write `proto/{number}`"))
}

fn listen_hint(text: &str) -> String {
    if let Some((protocol @ ("tcp" | "udp"), port)) = text.split_once([':', ' '])
        && ports(Protocol::Tcp, port).is_ok()
    {
        return format!("write `{protocol}/{port}`");
    }
    if ["icmp", "icmpv6", "ping"].contains(&text) {
        return "write `icmp/echo`, for ICMP and ICMPv6 together".to_owned();
    }
    by_number(text).unwrap_or_else(|| {
        "write `tcp/8443`, `tcp/9000-9010`, `udp/53`, `icmp/echo` or `proto/132`".to_owned()
    })
}

fn unknown_protocol(protocol: &str, rest: &str) -> Malformed {
    let wrong = Malformed::new(
        "unknown-protocol",
        0..protocol.len(),
        format!("`{}` is not a protocol", shown(protocol)),
    );
    if ["tcp", "udp"].contains(&rest) && ports(Protocol::Tcp, protocol).is_ok() {
        return wrong.hint(format!("write `{rest}/{protocol}`"));
    }
    if protocol == "icmpv6" {
        return wrong.hint("`icmp/echo` is ICMP and ICMPv6 together");
    }
    if let Some(hint) = by_number(protocol) {
        return wrong.hint(hint);
    }
    match crate::nearest::nearest(&protocol.to_ascii_lowercase(), ["tcp", "udp", "icmp", "proto"]) {
        Some(known) => wrong.hint(format!("did you mean `{known}`?")),
        None => wrong.hint("known are `tcp`, `udp`, `icmp` and, by number, `proto`"),
    }
}

fn ports(protocol: Protocol, text: &str) -> Result<Listen, Malformed> {
    let (first, last) = match text.split_once('-') {
        Some((a, b)) => (port(a)?, port(b).map_err(|wrong| shift(wrong, a.len() + 1))?),
        None => port(text).map(|port| (port, port))?,
    };
    if first > last {
        let message = format!("the range {first}-{last} runs backwards");
        return Err(
            Malformed::new("backward-range", 0..text.len(), message).hint(format!("write `{last}-{first}`"))
        );
    }
    Ok(Listen { protocol, first, last })
}

/// Digits only and no leading zero: one port has one spelling.
fn decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let plain = text == "0" || !text.starts_with('0');
    (digits && plain).then(|| text.parse().ok()).flatten()
}

fn port(text: &str) -> Result<u16, Malformed> {
    let wrong = |message: String| Malformed::new("bad-port", 0..text.len(), message);
    match decimal::<u16>(text) {
        Some(0) => Err(wrong("port 0 cannot be opened".to_owned()).hint("ports run from 1 to 65535")),
        Some(port) => Ok(port),
        None if text.is_empty() => {
            Err(wrong("a port is missing".to_owned()).hint("write e.g. `tcp/9000-9010`"))
        }
        None => Err(wrong(format!("`{}` is not a port", shown(text))).hint(port_hint(text))),
    }
}

fn port_hint(text: &str) -> &'static str {
    match text {
        _ if decimal::<u16>(text.trim()).is_some() => "leave the blanks out",
        "*" | "any" | "all" => "write `1-65535` for every port",
        _ if text.contains(',') => "write each port or range as an entry of its own",
        _ if text.starts_with('0') => "leave the leading 0 out",
        _ => "ports are numbers from 1 to 65535",
    }
}

fn number(text: &str) -> Result<Listen, Malformed> {
    let wrong = |message: String| Malformed::new("bad-protocol-number", 0..text.len(), message);
    match decimal::<u8>(text) {
        Some(6) => Err(wrong("protocol 6 is TCP".to_owned()).hint("write `tcp/PORT`")),
        Some(17) => Err(wrong("protocol 17 is UDP".to_owned()).hint("write `udp/PORT`")),
        Some(n @ (1 | 58)) => Err(wrong(format!("protocol {n} is ICMP")).hint("write `icmp/echo`")),
        Some(n) => Ok(Listen { protocol: Protocol::Number(n), first: 0, last: 0 }),
        None => Err(wrong(format!("`{}` is not an IP protocol number", shown(text)))
            .hint("protocol numbers run from 0 to 255, e.g. `proto/132` for SCTP")),
    }
}

/// `192.168.10.0/24`, `10.1.2.3`, `fd12::/64`: what may be behind a gateway.
pub(crate) fn address(text: &str) -> Result<IpNet, Malformed> {
    let wrong = |id, message: String| Malformed::new(id, 0..text.len(), message);
    let single = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
    let Some(net) = text.parse::<IpNet>().ok().or_else(single) else {
        let message = format!("`{}` is not an address or a subnet", shown(text));
        return Err(
            wrong("bad-address", message).hint("write `192.168.10.0/24`, `10.1.2.3` or `fd12:3456::/64`")
        );
    };
    if net != net.trunc() {
        let message = format!("`{}` has bits behind its prefix of {}", shown(text), net.prefix_len());
        let hint = format!("write `{}` for the subnet, or `{}` for the one address", net.trunc(), net.addr());
        return Err(wrong("host-bits", message).hint(hint));
    }
    match subnet::fit(&net) {
        Ok(()) => Ok(net),
        Err(Unfit::Default) => Err(wrong(
            "default-route",
            format!("`{}` is the whole internet: a way out to it is an exit node, not a subnet", shown(text)),
        )
        .hint("name the subnets that are behind the gateway")),
        Err(Unfit::Special(what)) => {
            let message =
                format!("`{}` is special ({what}): it means something else on every host", shown(text));
            Err(wrong("special-address", message).hint("name addresses that only the gateway's network has"))
        }
        Err(Unfit::TooWide) => {
            let (v4, v6) = (subnet::SHORTEST_V4, subnet::SHORTEST_V6);
            let message = format!("`{}` is too wide to be behind a gateway", shown(text));
            let hint = format!(
                "the widest are /{v4} for IPv4 and /{v6} for IPv6: who may use it has a route for all of it"
            );
            Err(wrong("too-wide", message).hint(hint))
        }
    }
}

/// `service:x`, or nodes with or without a port; with the place of each name.
pub(crate) fn target(text: &str) -> Result<(Target, Vec<Named>), Malformed> {
    if let Some(service) = text.strip_prefix("service:") {
        if let Some((name, port)) = service.split_once(char::is_whitespace) {
            let message = format!("`{}` names a service and a port: one is enough", shown(text));
            let at = text.len() - port.len()..text.len();
            let hint = format!("write `service:{0}`: it has its own ports", shown(name));
            return Err(Malformed::new("service-and-port", at, message).hint(hint));
        }
        let service = named("service", text)?;
        return Ok((Target::Service(service.clone()), vec![(service, 0..text.len())]));
    }
    let (nodes, port) = match text.rsplit_once(char::is_whitespace) {
        Some((nodes, port)) if port.contains('/') => (nodes, Some(port)),
        Some((_, port)) if decimal::<u16>(port).is_some() => {
            let message = format!("port `{port}` has no protocol");
            let at = text.len() - port.len()..text.len();
            return Err(Malformed::new("bad-listen", at, message).hint(format!("write e.g. `tcp/{port}`")));
        }
        _ => (text, None),
    };
    let listen = port.map(|port| listen(port).map_err(|wrong| shift(wrong, text.len() - port.len())));
    let (selector, places) = selector(nodes).map_err(|wrong| match wrong.id {
        "no-kind" => wrong.hint(format!("write `service:{0}`, `tag:{0}` or `node:{0}`", shown(nodes.trim()))),
        _ => wrong,
    })?;
    Ok((Target::Nodes(selector, listen.transpose()?), places))
}
