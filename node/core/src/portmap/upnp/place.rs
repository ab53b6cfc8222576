//! A place at the gateway. There is no way to write one at another host: whatever a gateway names elsewhere is not asked.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::fault::Fault;

const LONGEST: usize = 512;

/// Something that the gateway serves over HTTP: a port of the gateway, and a path with its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    port: u16,
    path: String,
}

impl Place {
    /// `http://GATEWAY[:PORT][/PATH]`, the address as numbers.
    pub fn absolute(text: &str, gateway: Ipv4Addr) -> Result<Place, Fault> {
        let rest = after_scheme(text).ok_or(Fault::Elsewhere)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let at = authority.parse::<SocketAddrV4>().ok();
        let at = at.or_else(|| Some(SocketAddrV4::new(authority.parse().ok()?, 80)));
        let at = at.filter(|at| *at.ip() == gateway && at.port() != 0).ok_or(Fault::Elsewhere)?;
        Place::new(at.port(), if path.is_empty() { "/" } else { path })
    }

    /// What a description says about a place: absolute, from the top, or beside this one (RFC 3986 section 5.2, without `..`).
    pub fn named(&self, text: &str, gateway: Ipv4Addr) -> Result<Place, Fault> {
        if text.contains("://") || text.starts_with("//") {
            return Place::absolute(text, gateway);
        }
        if text.starts_with('/') {
            return Place::new(self.port, text);
        }
        let beside =
            self.path.split('?').next().and_then(|path| path.rsplit_once('/')).map_or("", |(up, _)| up);
        Place::new(self.port, &format!("{beside}/{text}"))
    }

    fn new(port: u16, path: &str) -> Result<Place, Fault> {
        let good = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        let is_path = path.len() <= LONGEST && path.starts_with('/') && path.bytes().all(good);
        is_path.then(|| Place { port, path: path.to_owned() }).ok_or(Fault::Elsewhere)
    }

    pub fn at(&self, gateway: Ipv4Addr) -> SocketAddrV4 {
        SocketAddrV4::new(gateway, self.port)
    }

    pub fn path(&self) -> &str {
        &self.path
    }
}

fn after_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case("http://").then_some(rest)
}
