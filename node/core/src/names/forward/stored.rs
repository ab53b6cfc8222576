//! An answer as it is kept: bytes that are copied and patched for each asker.

use super::screen::{Refusal, Screened};
use crate::names::query::{HEADER, Query};
use crate::names::reply::{Carrier, Extended, echoed, finish, opt, set_word, truncate};

/// What a stale answer may be kept by the asker (RFC 8767 section 4).
pub const STALE_TTL: u32 = 30;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Header with id zero, question in lower case, records; no OPT.
    bytes: Vec<u8>,
    /// Where the times to live stand.
    ttls: Vec<usize>,
    /// Length of the question.
    question: usize,
    /// Response code.
    pub code: u16,
    /// Seconds it may be kept.
    pub ttl: u32,
    /// Validated here by DNSSEC.
    pub authentic: bool,
}

/// How old it is when it is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    Seconds(u32),
    Stale,
}

impl Stored {
    pub fn new(screened: &Screened, authentic: bool) -> Result<Stored, Refusal> {
        let bytes = screened.message.to_vec().map_err(|_| Refusal::Unwritable)?;
        let question = after_name(&bytes, HEADER).ok_or(Refusal::Unwritable)? + 4 - HEADER;
        let ttls = ttls(&bytes).ok_or(Refusal::Unwritable)?;
        let code = u16::from(screened.message.metadata.response_code);
        Ok(Stored { bytes, ttls, question, code, ttl: screened.ttl, authentic })
    }

    /// In memory, roughly.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.ttls.len() * size_of::<usize>()
    }

    pub fn is_nxdomain(&self) -> bool {
        self.code == crate::names::reply::NXDOMAIN
    }

    /// `None` if `query` asks for another name.
    pub fn deliver(
        &self,
        query: &Query,
        age: Age,
        carrier: Carrier,
        extended: Option<&Extended>,
    ) -> Option<Vec<u8>> {
        if query.question.len() != self.question {
            return None;
        }
        let mut out = Vec::with_capacity(self.bytes.len() + 64);
        out.extend_from_slice(&self.bytes);
        out.get_mut(HEADER..HEADER + query.question.len())?.copy_from_slice(&query.question);
        let authentic = self.authentic && (query.authentic_data || query.dnssec_ok());
        let flags = 0x8080 | echoed(query) | (self.code & 0xf) | if authentic { 0x0020 } else { 0 };
        set_word(&mut out, 0, query.id);
        set_word(&mut out, 2, flags);
        self.ttls.iter().for_each(|at| grow_older(&mut out, *at, age));
        let mut edns = opt(query, self.code, extended);
        let room = carrier.limit(query);
        if out.len() + edns.len() > room {
            // Rather without words than cut short.
            edns = opt(query, self.code, extended.map(Extended::brief).as_ref());
        }
        if out.len() + edns.len() > room {
            truncate(&mut out, query);
        }
        Some(finish(out, &edns))
    }

    /// The message itself, for showing it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn grow_older(out: &mut [u8], at: usize, age: Age) {
    let Some(place) = out.get_mut(at..at + 4) else { return };
    let ttl = place.iter().fold(0u32, |ttl, byte| ttl << 8 | u32::from(*byte));
    let left = match age {
        Age::Seconds(age) => ttl.saturating_sub(age),
        Age::Stale => STALE_TTL,
    };
    place.copy_from_slice(&left.to_be_bytes());
}

/// Where the times to live of a message stand.
fn ttls(bytes: &[u8]) -> Option<Vec<usize>> {
    let word = |at: usize| bytes.get(at..at + 2).map(|w| usize::from(u16::from_be_bytes([w[0], w[1]])));
    let records = word(6)? + word(8)? + word(10)?;
    let mut at = HEADER;
    for _ in 0..word(4)? {
        at = after_name(bytes, at)? + 4;
    }
    let mut found = Vec::with_capacity(records);
    for _ in 0..records {
        let fixed = after_name(bytes, at)?;
        found.push(fixed + 4);
        at = fixed + 10 + word(fixed + 8)?;
    }
    (at == bytes.len()).then_some(found)
}

fn after_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}
