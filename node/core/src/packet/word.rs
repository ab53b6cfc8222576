//! What agents say to each other inside the tunnel: a UDP packet to the one IPv6 address that no node has
//! ([`warren_wire::trust::Network::common_v6`]). No application can be spoken to in this way, and none can speak so: what
//! a host sends there belongs to no peer.

use std::net::Ipv6Addr;

use super::bytes::put_u16;
use super::checksum::UDP;
use super::reply::finished;
use super::{Fragment, Kind, Packet};

/// Longest payload; a signed freshness has about 300 bytes.
pub const MAX_WORD: usize = 1024;
const HEADER: usize = 8;
/// Nobody looks at it, but it must not be 0.
const PORT: u16 = 1;

/// `None` if it is too long.
pub fn write(from: Ipv6Addr, to: Ipv6Addr, payload: &[u8]) -> Option<Vec<u8>> {
    let mut segment = vec![0; HEADER];
    put_u16(&mut segment, 0, PORT);
    put_u16(&mut segment, 2, PORT);
    put_u16(
        &mut segment,
        4,
        u16::try_from(HEADER + payload.len()).ok().filter(|_| payload.len() <= MAX_WORD)?,
    );
    segment.extend_from_slice(payload);
    finished(from.into(), to.into(), UDP, 6, &segment)
}

/// The payload, if the packet has the shape of one.
pub fn read<'a>(bytes: &'a [u8], packet: &Packet) -> Option<&'a [u8]> {
    let plain = packet.kind == Kind::Udp && packet.fragment == Fragment::None;
    let payload = bytes.get(packet.payload..packet.total).filter(|_| plain)?;
    (payload.len() <= MAX_WORD).then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::classify;

    #[test]
    fn what_is_written_is_read_also_with_padding_behind_it() {
        let ends = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let mut bytes = write(ends.0, ends.1, b"news").unwrap();
        bytes.extend([0; 12]);
        let packet = classify(&bytes).unwrap();
        assert_eq!(read(&bytes, &packet), Some(&b"news"[..]));
        assert_eq!(write(ends.0, ends.1, &[0; MAX_WORD + 1]), None);
    }
}
