//! What an upstream says is judged before anybody sees it.
//!
//! Kept is only what belongs to the question: the chain of aliases that begins at its name, and for a negative answer
//! the SOA. Everything else (other owners, name servers, glue) is dropped, so that nothing can be slipped into a cache.
//! A public name with an address inside somebody's private network is refused: a web page could otherwise make a browser
//! talk to what only this host may reach (rebinding).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::svcb::SvcParamValue;
use hickory_proto::rr::{DNSClass, Name, RData, Record};

use super::Forwarding;
use super::ask::Asked;
use crate::names::Names;

/// Longer chains of aliases are no honest ones.
const MAX_CHAIN: usize = 16;
/// Longest life of anything, positive and negative (RFC 8767 section 4, RFC 2308 section 5).
const MAX_TTL: u32 = 86_400;
const MAX_NEGATIVE_TTL: u32 = 900;

const SOA: u16 = 6;
const CNAME: u16 = 5;
const DNAME: u16 = 39;
/// RRSIG, NSEC, NSEC3: for clients that validate themselves.
const SIGNATURES: [u16; 3] = [46, 47, 50];

/// Whose fault: always the upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it sent something that is no answer")]
    NoAnswer,
    #[error("it answered another question")]
    OtherQuestion,
    #[error("it answered {0}")]
    Code(String),
    #[error("its answer is cut short although it came over a stream")]
    Truncated,
    #[error("its answer is a chain of more than {MAX_CHAIN} aliases")]
    Chain,
    #[error("its answer cannot be written again")]
    Unwritable,
    #[error(
        "refused: {name} has the private address {address}; if that is right, list a suffix of it in `private` of [dns], \
         or give it a [[dns.split]]"
    )]
    Private { name: String, address: IpAddr },
}

impl Refusal {
    /// The upstream did its work; what it says must not be passed on.
    pub fn is_private(&self) -> bool {
        matches!(self, Refusal::Private { .. })
    }
}

/// What may be passed on.
#[derive(Clone, Debug)]
pub struct Screened {
    pub message: Message,
    /// How long it may be kept, in seconds; 0 for not at all.
    pub ttl: u32,
}

/// What is known here.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// `None` before there is a view: then nothing is ours yet.
    pub names: Option<&'a Names>,
    pub forwarding: &'a Forwarding,
    /// May the answer be private whatever the name is? Only for what this node looks up itself.
    pub private: bool,
}

impl Rules<'_> {
    pub fn screen(&self, answer: &Message, asked: &Asked, name: &Name) -> Result<Screened, Refusal> {
        belongs(answer, asked, name)?;
        let (kept, last, complete) = self.chain(answer, asked, name)?;
        for record in &kept {
            self.look_for_private(asked, record)?;
        }
        let soa = if complete { None } else { negative(answer, &last) };
        let signatures = answer.authorities.iter().filter(|r| asked.dnssec_ok && is_signature(r)).cloned();
        let mut message = Message::response(0, answer.metadata.op_code);
        message.metadata.response_code = answer.metadata.response_code;
        message.queries = answer.queries.clone();
        let ttl = life(&kept, soa.as_ref(), complete);
        message.answers = kept;
        message.authorities = soa.into_iter().chain(signatures).collect();
        let capped = |record: &mut Record| record.ttl = sane(record.ttl).min(MAX_TTL);
        message.answers.iter_mut().chain(message.authorities.iter_mut()).for_each(capped);
        Ok(Screened { message, ttl })
    }

    /// Records of the question's own chain, its last name, and whether it ends in what was asked for.
    fn chain(
        &self,
        answer: &Message,
        asked: &Asked,
        name: &Name,
    ) -> Result<(Vec<Record>, Name, bool), Refusal> {
        let (mut kept, mut at) = (Vec::new(), name.clone());
        for _ in 0..MAX_CHAIN {
            let here = |r: &&Record| r.name == at && r.dns_class == DNSClass::IN;
            let of = |kind: u16| answer.answers.iter().filter(here).filter(move |r| number(r) == kind);
            let wanted: Vec<Record> = of(asked.kind).cloned().collect();
            let signed = answer.answers.iter().filter(here).filter(|r| asked.dnssec_ok && is_signature(r));
            kept.extend(signed.cloned());
            if !wanted.is_empty() {
                kept.extend(wanted);
                return Ok((kept, at, true));
            }
            let above = |r: &&Record| number(r) == DNAME && r.name.zone_of(&at) && r.name != at;
            for dname in answer.answers.iter().filter(above) {
                kept.push(dname.clone());
                let its = |r: &&Record| asked.dnssec_ok && is_signature(r) && r.name == dname.name;
                kept.extend(answer.answers.iter().filter(its).cloned());
            }
            let Some(alias) = of(CNAME).next().cloned() else { return Ok((kept, at, false)) };
            let RData::CNAME(target) = &alias.data else { return Ok((kept, at, false)) };
            at = target.0.clone();
            kept.push(alias);
            // What is ours is answered by nobody else.
            if self.is_ours(&at) {
                return Ok((kept, at, false));
            }
        }
        Err(Refusal::Chain)
    }

    /// No upstream is asked for such a name, nor believed about it.
    pub fn is_ours(&self, name: &Name) -> bool {
        let text = name.to_ascii().to_ascii_lowercase();
        let text = text.strip_suffix('.').unwrap_or(&text);
        self.names.is_some_and(|names| {
            let zone = names.zone();
            text == zone || text.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
        })
    }

    fn look_for_private(&self, asked: &Asked, record: &Record) -> Result<(), Refusal> {
        let found = addresses(&record.data).into_iter().find(|ip| self.is_private(*ip));
        match found {
            Some(address) if !self.private && !self.forwarding.may_be_private(&asked.name) => {
                Err(Refusal::Private { name: asked.name.clone(), address })
            }
            _ => Ok(()),
        }
    }

    fn is_private(&self, ip: IpAddr) -> bool {
        let network = self.names.map(Names::network);
        match ip {
            IpAddr::V4(v4) => is_private_v4(v4) || network.is_some_and(|n| n.v4_range.contains(&v4)),
            IpAddr::V6(v6) => is_private_v6(v6) || network.is_some_and(|n| n.v6_prefix.contains(&v6)),
        }
    }
}

fn belongs(answer: &Message, asked: &Asked, name: &Name) -> Result<(), Refusal> {
    // Of other messages than queries the library also reads records without data, which nobody else could.
    let is_answer = answer.metadata.message_type == MessageType::Response;
    if !is_answer || answer.metadata.op_code != OpCode::Query {
        return Err(Refusal::NoAnswer);
    }
    match answer.queries.as_slice() {
        [q] if q.name == *name && u16::from(q.query_type) == asked.kind && q.query_class == DNSClass::IN => {}
        // Servers that cannot read a question do not echo it.
        [] if answer.metadata.response_code != ResponseCode::NoError => {}
        _ => return Err(Refusal::OtherQuestion),
    }
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain if answer.queries.is_empty() => {
            Err(Refusal::OtherQuestion)
        }
        ResponseCode::NoError | ResponseCode::NXDomain if answer.metadata.truncation => {
            Err(Refusal::Truncated)
        }
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(()),
        code => Err(Refusal::Code(code.to_string())),
    }
}

fn number(record: &Record) -> u16 {
    u16::from(record.record_type())
}

fn is_signature(record: &Record) -> bool {
    SIGNATURES.contains(&number(record))
}

/// The SOA of a zone that the name is in.
fn negative(answer: &Message, last: &Name) -> Option<Record> {
    let fits = |r: &&Record| number(r) == SOA && r.dns_class == DNSClass::IN && r.name.zone_of(last);
    answer.authorities.iter().find(fits).cloned()
}

fn life(kept: &[Record], soa: Option<&Record>, complete: bool) -> u32 {
    let records = kept.iter().map(|r| sane(r.ttl)).min();
    let negative = soa.map(|soa| match &soa.data {
        RData::SOA(data) => sane(soa.ttl).min(sane(data.minimum)).min(MAX_NEGATIVE_TTL),
        _ => 0,
    });
    let life = match complete {
        true => records.unwrap_or(0),
        false => negative.unwrap_or(0).min(records.unwrap_or(u32::MAX)),
    };
    life.min(MAX_TTL)
}

/// With the highest bit a time to live counts as zero (RFC 2181 section 8).
fn sane(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

fn addresses(data: &RData) -> Vec<IpAddr> {
    let hints = |params: &[(_, SvcParamValue)]| {
        let one = |value: &SvcParamValue| match value {
            SvcParamValue::Ipv4Hint(hint) => hint.0.iter().map(|a| IpAddr::V4(a.0)).collect(),
            SvcParamValue::Ipv6Hint(hint) => hint.0.iter().map(|a| IpAddr::V6(a.0)).collect(),
            _ => Vec::new(),
        };
        params.iter().flat_map(|(_, value)| one(value)).collect()
    };
    match data {
        RData::A(a) => vec![IpAddr::V4(a.0)],
        RData::AAAA(a) => vec![IpAddr::V6(a.0)],
        RData::SVCB(svcb) => hints(&svcb.svc_params),
        RData::HTTPS(https) => hints(&https.0.svc_params),
        _ => Vec::new(),
    }
}

/// Addresses that mean something else in every network (RFC 6890): with those between a home and its provider (192.0.0.0/29, DS-Lite)
/// and those of test benches (198.18.0.0/15). Those for examples are nobody's; 192.0.0.170 and 171 say how IPv4 is reached (RFC 7050).
pub fn is_private_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, d] = ip.octets();
    matches!(
        (a, b),
        (0 | 10 | 127, _)
            | (100, 64..=127)
            | (169, 254)
            | (172, 16..=31)
            | (192, 168)
            | (198, 18 | 19)
            | (224.., _)
    ) || matches!((a, b, c, d), (192, 0, 0, 0..=7))
}

pub fn is_private_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, d, e, _, g, h] = ip.segments();
    let v4 = |high: u16, low: u16| {
        let ([w, x], [y, z]) = (high.to_be_bytes(), low.to_be_bytes());
        is_private_v4(Ipv4Addr::new(w, x, y, z))
    };
    match (a, b) {
        // ::, ::1, and IPv4 in IPv6's clothes: no public name has them.
        (0, 0) if c == 0 && d == 0 && e == 0 => true,
        (0xfc00..=0xfdff | 0xfe80..=0xfeff | 0xff00.., _) => true,
        (0x64, 0xff9b) => c == 1 || v4(g, h),
        (0x2002, high) => v4(high, c),
        _ => false,
    }
}
