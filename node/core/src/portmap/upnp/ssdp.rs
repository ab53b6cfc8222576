//! Is there a gateway that speaks UPnP, and where does it describe itself (UPnP Device Architecture 1.1 section 1.3)?

use std::net::{Ipv4Addr, SocketAddrV4};

use super::fault::Fault;
use super::place::Place;

/// Where such questions are heard.
pub const PORT: u16 = 1900;
pub const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const DEVICE: &str = "urn:schemas-upnp-org:device:InternetGatewayDevice:";
/// One datagram of a LAN.
const LONGEST: usize = 2048;

/// The question for a gateway of `version`, for one host or for the group.
pub fn question(to: Ipv4Addr, version: u8) -> (SocketAddrV4, Vec<u8>) {
    let to = SocketAddrV4::new(to, PORT);
    let text = format!(
        "M-SEARCH * HTTP/1.1\r\nHOST: {to}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: {DEVICE}{version}\r\n\r\n"
    );
    (to, text.into_bytes())
}

/// Where the gateway describes itself. `None` for what is no answer of such a gateway.
pub fn read(bytes: &[u8], gateway: Ipv4Addr) -> Option<Result<Place, Fault>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut answer = httparse::Response::new(&mut headers);
    let whole = bytes.len() <= LONGEST && answer.parse(bytes).is_ok_and(|read| read.is_complete());
    if !whole || answer.code != Some(200) {
        return None;
    }
    let header = |name: &str| {
        let found = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    header("ST").filter(|kind| kind.starts_with(DEVICE))?;
    Some(Place::absolute(header("LOCATION")?, gateway))
}
