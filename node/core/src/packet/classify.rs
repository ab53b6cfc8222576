//! The door: bytes become one [`Packet`] or one [`DropReason`].

use super::ip::{self, Extent};
use super::transport;
use super::{DropReason, Fragment, Packet, Tuple};

/// Reads one inner packet. Never panics, never allocates.
pub fn classify(bytes: &[u8]) -> Result<Packet, DropReason> {
    let ip = ip::read(bytes, Extent::Whole)?;
    let v4 = ip.src.is_ipv4();
    let segment = bytes.get(ip.l4..ip.total).ok_or(DropReason::Truncated)?;
    let inner = match ip.fragment {
        Fragment::Later { .. } => transport::later(ip.number, v4)?,
        fragment => transport::read(ip.number, v4, segment, fragment)?,
    };
    let tuple =
        Tuple { protocol: inner.protocol, src: ip.src, dst: ip.dst, sport: inner.sport, dport: inner.dport };
    Ok(Packet {
        tuple,
        kind: inner.kind,
        fragment: ip.fragment,
        l4: ip.l4,
        payload: ip.l4 + inner.header,
        total: ip.total,
    })
}
