//! Answers as bytes (RFC 1035 section 4, RFC 6891, RFC 8914).
//!
//! The question is echoed byte for byte, records point at it, and whatever is too long for the asker's datagram becomes
//! a truncated answer, so that it asks again over TCP.

use super::query::{HEADER, Query, Unanswerable};
use super::{Data, TTL_SECONDS};

/// What a UDP answer may carry without fragments anywhere (DNS flag day 2020), and without EDNS (RFC 1035 section 4.2.1).
pub const UDP_SIZE: u16 = 1232;
pub const UDP_SIZE_WITHOUT_EDNS: u16 = 512;
/// Length prefix of TCP.
pub const STREAM_SIZE: usize = u16::MAX as usize;

pub const NOERROR: u16 = 0;
pub const SERVFAIL: u16 = 2;
pub const NXDOMAIN: u16 = 3;
pub const REFUSED: u16 = 5;
/// In the extended bits only.
pub const BADVERS: u16 = 16;

const EDE: u16 = 15;
const LONGEST_TEXT: usize = 240;
/// The owner of every record is the name asked for, right behind the header.
const OWNER: [u8; 2] = [0xc0, HEADER as u8];

/// Why an answer is as it is, for people and programs (RFC 8914).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extended {
    pub code: u16,
    pub text: String,
}

impl Extended {
    /// The code alone, where the text has no room.
    pub(super) fn brief(&self) -> Extended {
        Extended { code: self.code, text: String::new() }
    }
}

/// How the question came, and with it how long an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Datagram,
    Stream,
}

impl Carrier {
    pub fn limit(self, query: &Query) -> usize {
        let datagram = query.edns.map_or(UDP_SIZE_WITHOUT_EDNS, |edns| edns.size);
        match self {
            Carrier::Stream => STREAM_SIZE,
            Carrier::Datagram => datagram.clamp(UDP_SIZE_WITHOUT_EDNS, UDP_SIZE).into(),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Body<'a> {
    Records(&'a [Data]),
    /// With the zone's SOA (RFC 2308).
    Nothing {
        zone: &'a str,
        soa: &'a Data,
    },
    Empty,
}

#[derive(Clone, Debug)]
pub struct Reply<'a> {
    /// Twelve bits.
    pub code: u16,
    pub authoritative: bool,
    pub recursion_available: bool,
    pub body: Body<'a>,
    /// How long records may be kept, in seconds.
    pub ttl: u32,
    pub extended: Option<&'a Extended>,
}

impl Reply<'_> {
    pub fn write(&self, query: &Query, carrier: Carrier) -> Vec<u8> {
        let brief = self.extended.map(Extended::brief);
        let limit = carrier.limit(query);
        let mut out = head(query, self.flags(query));
        // Rather without words than cut short.
        for extended in [self.extended, brief.as_ref()] {
            let edns = opt(query, self.code, extended);
            out.truncate(HEADER + query.question.len());
            if let Ok((answers, authorities)) = self.write_body(&mut out, limit.saturating_sub(edns.len())) {
                set_word(&mut out, 6, answers);
                set_word(&mut out, 8, authorities);
                return finish(out, &edns);
            }
        }
        truncate(&mut out, query);
        finish(out, &opt(query, self.code, brief.as_ref()))
    }

    fn flags(&self, query: &Query) -> u16 {
        let flag = |set: bool, bit: u16| if set { bit } else { 0 };
        flag(self.authoritative, 0x0400)
            | flag(self.recursion_available, 0x0080)
            | echoed(query)
            | (self.code & 0xf)
    }

    /// How many records went into the answer and the authority section. Over a stream, the records that fit; they
    /// rotate, so each has its turn.
    fn write_body(&self, out: &mut Vec<u8>, room: usize) -> Result<(u16, u16), TooLong> {
        match &self.body {
            Body::Empty if out.len() > room => Err(TooLong),
            Body::Empty => Ok((0, 0)),
            Body::Nothing { zone, soa } => {
                let mut owner = Vec::new();
                push_name(&mut owner, zone);
                push_record(out, &owner, soa, TTL_SECONDS);
                if out.len() > room { Err(TooLong) } else { Ok((0, 1)) }
            }
            Body::Records(records) => {
                let mut count: u16 = 0;
                for data in *records {
                    let before = out.len();
                    push_record(out, &OWNER, data, self.ttl);
                    if out.len() > room {
                        out.truncate(before);
                        let stream = room > usize::from(UDP_SIZE);
                        return if stream { Ok((count, 0)) } else { Err(TooLong) };
                    }
                    count = count.saturating_add(1);
                }
                Ok((count, 0))
            }
        }
    }
}

struct TooLong;

/// For what could not be read as a question: a header alone. Silence is `None`.
pub fn unanswerable(what: Unanswerable) -> Option<Vec<u8>> {
    let Unanswerable::Code { id, flags, code } = what else { return None };
    let mut out = vec![0; HEADER];
    set_word(&mut out, 0, id);
    set_word(&mut out, 2, 0x8000 | (flags & 0x7900) | u16::from(code));
    Some(out)
}

/// Header and question; the counts of records come later.
pub(super) fn head(query: &Query, flags: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.resize(HEADER, 0);
    set_word(&mut out, 0, query.id);
    set_word(&mut out, 2, 0x8000 | flags);
    set_word(&mut out, 4, 1);
    out.extend_from_slice(&query.question);
    out
}

/// Flags of the question that an answer repeats.
pub(super) fn echoed(query: &Query) -> u16 {
    let rd = if query.recursion_desired { 0x0100 } else { 0 };
    rd | if query.checking_disabled { 0x0010 } else { 0 }
}

/// Header and question stay, with TC.
pub(super) fn truncate(out: &mut Vec<u8>, query: &Query) {
    out.truncate(HEADER + query.question.len());
    if let Some(flags) = out.get_mut(2) {
        *flags |= 0x02;
    }
    set_word(out, 6, 0);
    set_word(out, 8, 0);
    set_word(out, 10, 0);
}

/// The OPT record, if the question had one (RFC 6891 section 6.1.1).
pub(super) fn opt(query: &Query, code: u16, extended: Option<&Extended>) -> Vec<u8> {
    let Some(edns) = query.edns else { return Vec::new() };
    let mut out = vec![0];
    push_word(&mut out, 41);
    push_word(&mut out, UDP_SIZE);
    out.extend_from_slice(&[(code >> 4) as u8, 0, if edns.dnssec_ok { 0x80 } else { 0 }, 0]);
    let mut options = Vec::new();
    if let Some(Extended { code, text }) = extended {
        let text = cut(text);
        push_word(&mut options, EDE);
        push_word(&mut options, text.len() as u16 + 2);
        push_word(&mut options, *code);
        options.extend_from_slice(text.as_bytes());
    }
    push_word(&mut out, options.len() as u16);
    out.extend_from_slice(&options);
    out
}

pub(super) fn finish(mut out: Vec<u8>, edns: &[u8]) -> Vec<u8> {
    if !edns.is_empty() {
        out.extend_from_slice(edns);
        set_word(&mut out, 10, 1);
    }
    out
}

/// At a character's border.
fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(LONGEST_TEXT)).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

pub(super) fn set_word(out: &mut [u8], at: usize, value: u16) {
    if let Some(place) = out.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

fn push_word(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn push_name(out: &mut Vec<u8>, name: &str) {
    for label in name.split('.').filter(|label| !label.is_empty()) {
        // Our own names: labels of at most 63 bytes (`Name`), zones of at most 200.
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
}

fn push_record(out: &mut Vec<u8>, owner: &[u8], data: &Data, ttl: u32) {
    out.extend_from_slice(owner);
    let kind = match data {
        Data::A(_) => 1,
        Data::Ns(_) => 2,
        Data::Soa { .. } => 6,
        Data::Ptr(_) => 12,
        Data::Aaaa(_) => 28,
        Data::Srv { .. } => 33,
        Data::Svcb { https: false, .. } => 64,
        Data::Svcb { https: true, .. } => 65,
    };
    push_word(out, kind);
    push_word(out, 1);
    out.extend_from_slice(&ttl.to_be_bytes());
    let length_at = out.len();
    push_word(out, 0);
    push_data(out, data);
    let length = out.len() - length_at - 2;
    set_word(out, length_at, length as u16);
}

fn push_data(out: &mut Vec<u8>, data: &Data) {
    match data {
        Data::A(v4) => out.extend_from_slice(&v4.octets()),
        Data::Aaaa(v6) => out.extend_from_slice(&v6.octets()),
        Data::Ptr(name) | Data::Ns(name) => push_name(out, name),
        Data::Soa { mname, rname, serial } => {
            push_name(out, mname);
            push_name(out, rname);
            let times = [*serial, TTL_SECONDS, TTL_SECONDS, TTL_SECONDS, TTL_SECONDS];
            times.iter().for_each(|time| out.extend_from_slice(&time.to_be_bytes()));
        }
        Data::Srv { priority, port, target } => {
            [*priority, 0, *port].iter().for_each(|word| push_word(out, *word));
            push_name(out, target);
        }
        Data::Svcb { priority, port, target, v4, v6, .. } => {
            push_word(out, *priority);
            push_name(out, target);
            // Keys in rising order (RFC 9460 section 2.2): port 3, ipv4hint 4, ipv6hint 6.
            if let Some(port) = port {
                [3, 2, *port].iter().for_each(|word| push_word(out, *word));
            }
            if let Some(v4) = v4 {
                [4, 4].iter().for_each(|word| push_word(out, *word));
                out.extend_from_slice(&v4.octets());
            }
            if let Some(v6) = v6 {
                [6, 16].iter().for_each(|word| push_word(out, *word));
                out.extend_from_slice(&v6.octets());
            }
        }
    }
}
