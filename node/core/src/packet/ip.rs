//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers, strictly.
//!
//! No IPv4 options, no IPv6 extension header but one Fragment header: hosts may act on what we would have to skip,
//! and every known bypass of this kind began with skipping.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bytes::{array, u8_at, u16_at, u32_at};
use super::{DropReason, Fragment, checksum};

/// A header that stands at the start of a packet, or of the quotation inside an ICMP error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    /// Cut short, and routers have changed the hop limit since.
    Quoted,
}

pub(super) struct Ip {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// Protocol of what begins at `l4`.
    pub number: u8,
    pub l4: usize,
    pub total: usize,
    pub fragment: Fragment,
}

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
const FRAGMENT_HEADER: usize = 8;
const FRAGMENT: u8 = 44;

pub(super) fn read(bytes: &[u8], extent: Extent) -> Result<Ip, DropReason> {
    let ip = match bytes.first().ok_or(DropReason::Empty)? >> 4 {
        4 => v4(bytes, extent)?,
        6 => v6(bytes, extent)?,
        _ => return Err(DropReason::NotIp),
    };
    if is_extension(ip.number) {
        return Err(DropReason::ExtensionHeader);
    }
    check_addresses(&ip)?;
    Ok(ip)
}

fn v4(bytes: &[u8], extent: Extent) -> Result<Ip, DropReason> {
    let head: [u8; V4_HEADER] = array(bytes, 0)?;
    let [version, _, t0, t1, i0, i1, f0, f1, ttl, number, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = head;
    match version & 15 {
        5 => {}
        6.. => return Err(DropReason::Ipv4Options),
        _ => return Err(DropReason::Ipv4HeaderLength),
    }
    let total = usize::from(u16::from_be_bytes([t0, t1]));
    check_extent(total, V4_HEADER, bytes, extent)?;
    if extent == Extent::Whole && !checksum::ipv4_header_holds(bytes) {
        return Err(DropReason::Ipv4Checksum);
    }
    if f0 & 0x80 != 0 {
        return Err(DropReason::Ipv4Flags);
    }
    check_hops(ttl, extent)?;
    let place = u16::from_be_bytes([f0, f1]);
    let id = u32::from(u16::from_be_bytes([i0, i1]));
    let fragment = fragment(id, (place & 0x1fff) << 3, place & 0x2000 != 0, total - V4_HEADER)?;
    Ok(Ip {
        src: Ipv4Addr::new(s0, s1, s2, s3).into(),
        dst: Ipv4Addr::new(d0, d1, d2, d3).into(),
        number,
        l4: V4_HEADER,
        total,
        fragment,
    })
}

fn v6(bytes: &[u8], extent: Extent) -> Result<Ip, DropReason> {
    let payload = u16_at(bytes, 4)?;
    let next = u8_at(bytes, 6)?;
    if payload == 0 && next == 0 {
        return Err(DropReason::Jumbogram);
    }
    let total = V6_HEADER + usize::from(payload);
    check_extent(total, V6_HEADER, bytes, extent)?;
    check_hops(u8_at(bytes, 7)?, extent)?;
    let whole = Ip {
        src: Ipv6Addr::from(array::<16>(bytes, 8)?).into(),
        dst: Ipv6Addr::from(array::<16>(bytes, 24)?).into(),
        number: next,
        l4: V6_HEADER,
        total,
        fragment: Fragment::None,
    };
    if next == FRAGMENT { v6_fragment(bytes, whole) } else { Ok(whole) }
}

/// RFC 8200 section 4.5. A Fragment header on a packet that is whole ("atomic", RFC 6946) is a whole packet.
fn v6_fragment(bytes: &[u8], ip: Ip) -> Result<Ip, DropReason> {
    let l4 = V6_HEADER + FRAGMENT_HEADER;
    let len = ip.total.checked_sub(l4).ok_or(DropReason::FragmentShape)?;
    let [number, reserved] = array(bytes, V6_HEADER)?;
    let place = u16_at(bytes, V6_HEADER + 2)?;
    if reserved != 0 || place & 0b110 != 0 {
        return Err(DropReason::FragmentShape);
    }
    let id = u32_at(bytes, V6_HEADER + 4)?;
    let fragment = fragment(id, place & 0xfff8, place & 1 != 0, len)?;
    Ok(Ip { number, l4, fragment, ..ip })
}

/// `offset` and `len` in bytes. All but the last carry a multiple of 8, none is empty, none ends over 65,535.
fn fragment(id: u32, offset: u16, more: bool, len: usize) -> Result<Fragment, DropReason> {
    if offset == 0 && !more {
        return Ok(Fragment::None);
    }
    let len = u16::try_from(len).map_err(|_| DropReason::FragmentShape)?;
    let fits = usize::from(offset) + usize::from(len) <= usize::from(u16::MAX) - V4_HEADER;
    if len == 0 || !fits || (more && len % 8 != 0) {
        return Err(DropReason::FragmentShape);
    }
    if offset == 0 {
        return Ok(Fragment::First { id, len });
    }
    Ok(Fragment::Later { id, offset, len, last: !more })
}

fn check_extent(total: usize, header: usize, bytes: &[u8], extent: Extent) -> Result<(), DropReason> {
    let long_enough = extent == Extent::Quoted || total <= bytes.len();
    if total < header || bytes.len() < header || !long_enough {
        return Err(DropReason::Truncated);
    }
    Ok(())
}

fn check_hops(hops: u8, extent: Extent) -> Result<(), DropReason> {
    if hops == 0 && extent == Extent::Whole {
        return Err(DropReason::HopLimitZero);
    }
    Ok(())
}

/// IPv6 extension headers (and "no next header"); refused as IPv4 protocols too, so that a number means one thing.
/// AH and ESP are judged as protocols of their own.
fn is_extension(number: u8) -> bool {
    matches!(number, 0 | 43 | FRAGMENT | 59 | 60 | 135 | 139 | 140)
}

fn check_addresses(ip: &Ip) -> Result<(), DropReason> {
    if !is_unicast(ip.src) {
        return Err(DropReason::BadSource);
    }
    if !is_unicast(ip.dst) {
        return Err(DropReason::BadDestination);
    }
    if ip.src == ip.dst {
        return Err(DropReason::Land);
    }
    Ok(())
}

/// False for unspecified, loopback, link-local, multicast, broadcast, reserved and every IPv6 address that carries an
/// IPv4 one. Whose address it is, is for the judge.
fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            first != 0 && first < 224 && !v4.is_loopback() && !v4.is_link_local()
        }
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            let carries_v4 = v6.to_ipv4().is_some() || (a, b) == (0x64, 0xff9b) || a == 0x2002;
            !(carries_v4
                || v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_multicast()
                || a & 0xffc0 == 0xfe80)
        }
    }
}
