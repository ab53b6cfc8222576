//! An encrypted DNS server as policies and nodes write it: `tls://9.9.9.9:853#dns.quad9.net`.
//!
//! The address is always an address, so that finding the server needs no name service; the name behind `#` is what its
//! certificate must show. There is no scheme for clear text, and none can be added by a typing error.

use std::net::{IpAddr, SocketAddr};

/// How the questions travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// DNS over TLS, RFC 7858.
    Tls,
    /// DNS over HTTPS, RFC 8484.
    Https,
    /// DNS over QUIC, RFC 9250.
    Quic,
}

impl Scheme {
    const ALL: [Scheme; 3] = [Scheme::Tls, Scheme::Https, Scheme::Quic];

    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Tls => "tls",
            Scheme::Https => "https",
            Scheme::Quic => "quic",
        }
    }
    fn port(self) -> u16 {
        if self == Scheme::Https { 443 } else { 853 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Upstream {
    pub scheme: Scheme,
    pub address: SocketAddr,
    /// The name its certificate must show: a DNS name or an address.
    pub name: String,
    /// For `https`: the path, beginning with `/`. Empty otherwise.
    pub path: String,
}

/// What is wrong with the text, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    #[error(
        "it does not begin with `tls://`, `https://` or `quic://`: questions leave a host only encrypted"
    )]
    Scheme,
    #[error(
        "it names no certificate: write the server's name behind `#`, e.g. `tls://9.9.9.9:853#dns.quad9.net`"
    )]
    NoName,
    #[error("`{0}` is not a name that a certificate can show")]
    BadName(String),
    #[error(
        "`{0}` is not an IP address (with a port): a name would have to be looked up in clear before there is a resolver"
    )]
    Address(String),
    #[error("only `https` has a path")]
    Path,
    #[error("it holds spaces or other characters that no address has")]
    Characters,
}

impl Upstream {
    pub fn parse(text: &str) -> Result<Upstream, UpstreamError> {
        let schemes = Scheme::ALL.into_iter();
        let (scheme, rest) = schemes
            .filter_map(|s| Some((s, text.strip_prefix(s.as_str())?.strip_prefix("://")?)))
            .next()
            .ok_or(UpstreamError::Scheme)?;
        if !rest.bytes().all(|b| b.is_ascii_graphic()) || rest.len() > 500 {
            return Err(UpstreamError::Characters);
        }
        let (place, name) = rest.split_once('#').ok_or(UpstreamError::NoName)?;
        let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        let path = match (scheme, path) {
            (Scheme::Https, "" | "/") => "/dns-query",
            (Scheme::Https, path) => path,
            (_, "") => "",
            _ => return Err(UpstreamError::Path),
        };
        let address = address(host, scheme).ok_or_else(|| UpstreamError::Address(host.to_owned()))?;
        Ok(Upstream { scheme, address, name: certificate_name(name)?, path: path.to_owned() })
    }
}

fn address(host: &str, scheme: Scheme) -> Option<SocketAddr> {
    if let Ok(whole) = host.parse::<SocketAddr>() {
        return Some(whole).filter(|a| a.port() != 0 && usable(a.ip()));
    }
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok().filter(|ip| usable(*ip)).map(|ip| SocketAddr::new(ip, scheme.port()))
}

fn usable(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast()
}

fn certificate_name(name: &str) -> Result<String, UpstreamError> {
    let bad = || UpstreamError::BadName(name.to_owned());
    if name.is_empty() {
        return Err(UpstreamError::NoName);
    }
    let label = |l: &str| {
        (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let dns = name.len() <= 253 && name.split('.').all(label);
    (dns || name.parse::<IpAddr>().is_ok()).then(|| name.to_ascii_lowercase()).ok_or_else(bad)
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}#{}", self.scheme.as_str(), self.address, self.path, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_meant() {
        for (text, whole) in [
            ("tls://9.9.9.9#dns.quad9.net", "tls://9.9.9.9:853#dns.quad9.net"),
            ("https://9.9.9.9#Dns.Quad9.net", "https://9.9.9.9:443/dns-query#dns.quad9.net"),
            ("https://[2620:fe::fe]:5053/q?x=1#a.b", "https://[2620:fe::fe]:5053/q?x=1#a.b"),
            ("quic://2620:fe::fe#9.9.9.9", "quic://[2620:fe::fe]:853#9.9.9.9"),
        ] {
            let parsed = Upstream::parse(text).unwrap();
            assert_eq!(parsed.to_string(), whole);
            assert_eq!(Upstream::parse(whole).unwrap(), parsed);
        }
    }

    #[test]
    fn clear_text_names_for_addresses_and_missing_certificate_names_are_errors() {
        use UpstreamError::*;
        for (text, error) in [
            ("9.9.9.9", Scheme),
            ("udp://9.9.9.9:53#a", Scheme),
            ("TLS://9.9.9.9#a", Scheme),
            ("tls:9.9.9.9#a", Scheme),
            ("tls://9.9.9.9:853", NoName),
            ("tls://9.9.9.9:853#", NoName),
            ("tls://", NoName),
            ("tls://9.9.9.9#a b", Characters),
            ("tls://9.9.9.9#a..b", BadName("a..b".into())),
            ("tls://dns.quad9.net#dns.quad9.net", Address("dns.quad9.net".into())),
            ("tls://9.9.9.9:0#a", Address("9.9.9.9:0".into())),
            ("tls://0.0.0.0#a", Address("0.0.0.0".into())),
            ("tls://#a", Address(String::new())),
            ("tls://9.9.9.9/x#a", Path),
        ] {
            assert_eq!(Upstream::parse(text), Err(error), "{text}");
        }
    }
}
