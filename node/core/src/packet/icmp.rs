//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo, and the four errors. Everything else (redirects, neighbour and router
//! discovery, MLD, timestamps) has no business in an overlay.

use warren_config::policy::Protocol;

use super::bytes::{array, u16_at};
use super::ip::{self, Extent};
use super::transport::{self, Transport};
use super::{DropReason, Fragment, Kind, Quoted, Tuple};

const HEADER: usize = 8;

pub(super) fn read(segment: &[u8], v4: bool, first: bool) -> Result<Transport, DropReason> {
    let [kind, code, ..] = array::<HEADER>(segment, 0)?;
    if !is_error(v4, kind, code) {
        return echo(segment, v4, kind);
    }
    if first {
        return Err(DropReason::FragmentShape);
    }
    let quoted = quote(segment.get(HEADER..).unwrap_or_default(), v4)?;
    let kind = Kind::IcmpError(quoted);
    Ok(Transport { protocol: Protocol::IcmpEcho, kind, sport: 0, dport: 0, header: HEADER })
}

/// The identifier is the asking end's port.
pub(super) fn echo(segment: &[u8], v4: bool, kind: u8) -> Result<Transport, DropReason> {
    let [_, code] = array(segment, 0)?;
    let id = u16_at(segment, 4)?;
    let (request, reply) = if v4 { (8, 0) } else { (128, 129) };
    let (kind, sport, dport) = match kind {
        _ if code != 0 => return Err(DropReason::IcmpType),
        kind if kind == request => (Kind::EchoRequest, id, 0),
        kind if kind == reply => (Kind::EchoReply, 0, id),
        _ => return Err(DropReason::IcmpType),
    };
    Ok(Transport { protocol: Protocol::IcmpEcho, kind, sport, dport, header: HEADER })
}

/// Unreachable, too big, time exceeded, parameter problem, with the codes that are defined.
fn is_error(v4: bool, kind: u8, code: u8) -> bool {
    if v4 {
        matches!((kind, code), (3, 0..=15) | (11, 0..=1) | (12, 0..=2))
    } else {
        matches!((kind, code), (1, 0..=8) | (2, 0) | (3, 0..=1) | (4, 0..=3))
    }
}

/// The packet an error speaks about; it must be one that could have been sent, with its ports visible.
fn quote(bytes: &[u8], v4: bool) -> Result<Quoted, DropReason> {
    let refuse = |_| DropReason::IcmpQuote;
    let ip = ip::read(bytes, Extent::Quoted).map_err(refuse)?;
    if ip.src.is_ipv4() != v4 || matches!(ip.fragment, Fragment::Later { .. }) {
        return Err(DropReason::IcmpQuote);
    }
    let end = ip.total.min(bytes.len());
    let segment = bytes.get(ip.l4..end).unwrap_or_default();
    let (inner, seq) = transport::quoted(ip.number, v4, segment).map_err(refuse)?;
    let tuple =
        Tuple { protocol: inner.protocol, src: ip.src, dst: ip.dst, sport: inner.sport, dport: inner.dport };
    Ok(Quoted { tuple, seq, echo_reply: inner.kind == Kind::EchoReply })
}
