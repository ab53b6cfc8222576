//! The messages of PCP (RFC 6887 sections 7 and 11) and NAT-PMP (RFC 6886 section 3) that are needed to map one UDP port.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

/// The gateway's, of both (RFC 6887 section 7: they share it, and the first byte tells them apart).
pub const PORT: u16 = 5351;
const UDP: u8 = 17;
const PCP: u8 = 2;
const NAT_PMP: u8 = 0;
const MAP: u8 = 1;
const RESPONSE: u8 = 0x80;
/// RFC 6887 section 7.1: the longest message.
const LONGEST: usize = 1100;

pub type Nonce = [u8; 12];
pub type Outcome = Result<(), &'static str>;

/// What a gateway says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To PCP's question, by a gateway that only speaks NAT-PMP (RFC 6886 section 3.5).
    OnlyNatPmp,
    /// NAT-PMP: the gateway's address outside.
    Address { outcome: Outcome, epoch: u32, address: Ipv4Addr },
    /// The mapping of `port`. PCP repeats the nonce and tells the address, NAT-PMP neither.
    Map {
        outcome: Outcome,
        epoch: u32,
        nonce: Option<Nonce>,
        port: u16,
        outside: u16,
        address: Option<Ipv4Addr>,
        lifetime: u32,
    },
}

/// A request of 60 bytes: map `port` of `local`, UDP, for `lifetime` seconds; 0 gives it back.
pub fn pcp_map(
    nonce: Nonce,
    local: Ipv4Addr,
    port: u16,
    suggested: Option<SocketAddrV4>,
    lifetime: u32,
) -> Vec<u8> {
    let outside = suggested.unwrap_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    let mut bytes = vec![PCP, MAP, 0, 0];
    bytes.extend(lifetime.to_be_bytes());
    bytes.extend(local.to_ipv6_mapped().octets());
    bytes.extend(nonce);
    bytes.extend([UDP, 0, 0, 0]);
    bytes.extend(port.to_be_bytes());
    bytes.extend(outside.port().to_be_bytes());
    bytes.extend(outside.ip().to_ipv6_mapped().octets());
    bytes
}

/// What address has the gateway outside?
pub fn natpmp_address() -> Vec<u8> {
    vec![NAT_PMP, 0]
}

/// As [`pcp_map`]; to give a mapping back, the suggested port is 0 (RFC 6886 section 3.4).
pub fn natpmp_map(port: u16, suggested: Option<SocketAddrV4>, lifetime: u32) -> Vec<u8> {
    let outside = suggested.map_or(port, |place| place.port());
    let outside = if lifetime == 0 { 0 } else { outside };
    let mut bytes = vec![NAT_PMP, MAP, 0, 0];
    bytes.extend(port.to_be_bytes());
    bytes.extend(outside.to_be_bytes());
    bytes.extend(lifetime.to_be_bytes());
    bytes
}

/// `None` for what is no answer to any of these.
pub fn read(bytes: &[u8]) -> Option<Answer> {
    if bytes.len() > LONGEST {
        return None;
    }
    match *bytes.first()? {
        PCP => read_pcp(bytes),
        NAT_PMP => read_natpmp(bytes),
        _ => None,
    }
}

fn read_pcp(bytes: &[u8]) -> Option<Answer> {
    let (head, rest) = bytes.split_first_chunk::<24>()?;
    let [_, opcode, _, result, l0, l1, l2, l3, e0, e1, e2, e3, ..] = *head;
    let (body, _options) = rest.split_first_chunk::<36>()?;
    if opcode != RESPONSE | MAP || !bytes.len().is_multiple_of(4) {
        return None;
    }
    let (nonce, body) = body.split_first_chunk::<12>()?;
    let (about, address) = body.split_first_chunk::<8>()?;
    let [protocol, _, _, _, p0, p1, o0, o1] = *about;
    let address = Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).to_ipv4_mapped();
    (protocol == UDP).then_some(Answer::Map {
        outcome: pcp_result(result, address),
        epoch: u32::from_be_bytes([e0, e1, e2, e3]),
        nonce: Some(*nonce),
        port: u16::from_be_bytes([p0, p1]),
        outside: u16::from_be_bytes([o0, o1]),
        address,
        lifetime: u32::from_be_bytes([l0, l1, l2, l3]),
    })
}

/// RFC 6887 section 7.4.
fn pcp_result(result: u8, address: Option<Ipv4Addr>) -> Outcome {
    match result {
        0 if address.is_none() => Err("the gateway maps to no IPv4 address"),
        0 => Ok(()),
        2 => Err("the gateway is not permitted to map ports"),
        8 => Err("the gateway has no room for a mapping"),
        12 => Err("another NAT is between this host and the gateway"),
        13 => Err("this host has as many mappings as the gateway allows"),
        _ => Err("the gateway refuses a mapping"),
    }
}

fn read_natpmp(bytes: &[u8]) -> Option<Answer> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    let [_, opcode, r0, r1, e0, e1, e2, e3] = *head;
    let (result, epoch) = (u16::from_be_bytes([r0, r1]), u32::from_be_bytes([e0, e1, e2, e3]));
    // Of PCP's header it understands the version alone, and says so with whatever opcode it saw.
    if result == 1 && opcode & RESPONSE != 0 {
        return Some(Answer::OnlyNatPmp);
    }
    let outcome = natpmp_result(result);
    match opcode {
        RESPONSE => {
            let address = Ipv4Addr::from(<[u8; 4]>::try_from(rest).ok()?);
            Some(Answer::Address { outcome, epoch, address })
        }
        code if code == RESPONSE | MAP => {
            let [p0, p1, o0, o1, l0, l1, l2, l3] = <[u8; 8]>::try_from(rest).ok()?;
            Some(Answer::Map {
                outcome,
                epoch,
                nonce: None,
                port: u16::from_be_bytes([p0, p1]),
                outside: u16::from_be_bytes([o0, o1]),
                address: None,
                lifetime: u32::from_be_bytes([l0, l1, l2, l3]),
            })
        }
        _ => None,
    }
}

/// RFC 6886 section 3.5.
fn natpmp_result(result: u16) -> Outcome {
    match result {
        0 => Ok(()),
        2 => Err("the gateway is not permitted to map ports"),
        3 => Err("the gateway has no address outside"),
        4 => Err("the gateway has no room for a mapping"),
        _ => Err("the gateway refuses a mapping"),
    }
}
