//! Names under `in-addr.arpa` and `ip6.arpa` (RFC 1035 section 3.5, RFC 3596 section 2.5), read against the
//! network's ranges.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use warren_wire::trust::Network;

pub enum Reverse {
    /// Not reverse, or not of our ranges: then which address it is, if it is a whole one.
    Elsewhere(Option<IpAddr>),
    Address(IpAddr),
    /// Fewer labels than an address, wholly inside our ranges.
    Above,
    /// Under our ranges, but not a way to write an address.
    Nothing,
}

/// The greatest zone above `name` that has nothing but addresses of ours; `None` if it is not among them.
pub fn zone<'a>(name: &'a str, network: &Network) -> Option<&'a str> {
    let labels = match name.strip_suffix(".in-addr.arpa") {
        Some(_) => network.v4_range.prefix_len().div_ceil(8),
        None => network.v6_prefix.prefix_len().div_ceil(4),
    };
    match read(name, network) {
        Reverse::Elsewhere(_) => None,
        // And the two of `in-addr.arpa` and `ip6.arpa`.
        _ => Some(last_labels(name, usize::from(labels) + 2)),
    }
}

/// All of it if it has no more.
pub fn last_labels(name: &str, count: usize) -> &str {
    let dot = name.rmatch_indices('.').nth(count.saturating_sub(1));
    dot.and_then(|(at, _)| name.get(at + 1..)).unwrap_or(name)
}

/// `name` is lower case, without the final dot.
pub fn read(name: &str, network: &Network) -> Reverse {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        return read_v4(labels, network);
    }
    match name.strip_suffix(".ip6.arpa") {
        Some(labels) => read_v6(labels, network),
        None => Reverse::Elsewhere(None),
    }
}

fn read_v4(labels: &str, network: &Network) -> Reverse {
    let parts: Vec<Option<u8>> = labels.rsplit('.').map(octet).collect();
    let known: Vec<u8> = parts.iter().map_while(|part| *part).take(4).collect();
    let mut octets = [0; 4];
    octets.iter_mut().zip(&known).for_each(|(to, from)| *to = *from);
    let bits = known.len() as u8 * 8;
    let inside = bits >= network.v4_range.prefix_len() && network.v4_range.contains(&Ipv4Addr::from(octets));
    classify(inside, parts.len(), known.len(), 4, || IpAddr::V4(octets.into()))
}

fn read_v6(labels: &str, network: &Network) -> Reverse {
    let parts: Vec<Option<u8>> = labels.rsplit('.').map(nibble).collect();
    let known: Vec<u8> = parts.iter().map_while(|part| *part).take(32).collect();
    let value = (0..32).fold(0u128, |v, i| v << 4 | u128::from(known.get(i).copied().unwrap_or(0)));
    let address = Ipv6Addr::from(value);
    let bits = known.len() as u8 * 4;
    let inside = bits >= network.v6_prefix.prefix_len() && network.v6_prefix.contains(&address);
    classify(inside, parts.len(), known.len(), 32, || IpAddr::V6(address))
}

fn classify(
    inside: bool,
    labels: usize,
    known: usize,
    whole: usize,
    address: impl Fn() -> IpAddr,
) -> Reverse {
    match () {
        () if !inside => Reverse::Elsewhere((labels == known && known == whole).then(address)),
        () if labels != known => Reverse::Nothing,
        () if known == whole => Reverse::Address(address()),
        () => Reverse::Above,
    }
}

/// One spelling only: no leading zeros, no signs.
fn octet(label: &str) -> Option<u8> {
    let value: u8 = label.parse().ok()?;
    (value.to_string() == label).then_some(value)
}

fn nibble(label: &str) -> Option<u8> {
    match label.as_bytes() {
        [digit @ b'0'..=b'9'] => Some(digit - b'0'),
        [digit @ b'a'..=b'f'] => Some(digit - b'a' + 10),
        _ => None,
    }
}
