//! An answer cut into what can be proven at once: aliases up to their end, an alias that a DNAME makes (RFC 6672 section
//! 5.3.1: it is not signed, the DNAME is), what an asterisk makes (RFC 4035 section 5.3.4: it needs a proof of its own that
//! nothing closer is there), and the end of a chain that is not there.

use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// Longer chains do not pass the screen.
const LONGEST: usize = 16;

/// What is proven first, and what comes after it.
pub struct Hop {
    /// It answers this question.
    pub name: Name,
    pub kind: u16,
    pub part: Message,
    /// Not signed, but follows from the part.
    pub follows: Option<Record>,
    pub next: Option<Next>,
}

pub struct Next {
    pub name: Name,
    /// What is there of the answer; `None`: it has to be asked.
    pub rest: Option<Message>,
}

pub fn first(answer: Message, name: &Name, kind: u16) -> Hop {
    if let Some((owner, alias, target)) = made(&answer, name) {
        return through(answer, owner, alias, target);
    }
    let (mut owners, mut at) = (Vec::new(), name.clone());
    for _ in 0..LONGEST {
        // The proof of an asterisk speaks of the hop's own name and of no other.
        let cut = owners.first().is_some_and(|first| {
            by_asterisk(&answer, first) || by_asterisk(&answer, &at) || made(&answer, &at).is_some()
        });
        if !cut && is_there(&answer, &at, kind) {
            break;
        }
        match alias(&answer, &at) {
            Some((_, target)) if !cut => owners.push(std::mem::replace(&mut at, target)),
            _ if owners.is_empty() => break,
            _ => return aliases(answer, name, kind, &owners, at),
        }
    }
    let mut part = answer;
    if is_there(&part, &at, kind) && !by_asterisk(&part, name) {
        part.authorities.retain(|r| !is_denial(r));
    }
    Hop { name: name.clone(), kind, part, follows: None, next: None }
}

/// Those of `owners`, which lead to `at`.
fn aliases(answer: Message, name: &Name, kind: u16, owners: &[Name], at: Name) -> Hop {
    let (mut part, rest) = parted(answer, |r| owners.contains(&r.name));
    if by_asterisk(&part, name) {
        part.authorities = rest.authorities.iter().filter(|r| is_denial(r)).cloned().collect();
    }
    let more = rest.answers.iter().any(|r| r.name == at);
    let next = Some(Next { name: at, rest: more.then_some(rest) });
    Hop { name: name.clone(), kind, part, follows: None, next }
}

fn is_there(answer: &Message, at: &Name, kind: u16) -> bool {
    answer.answers.iter().any(|r| r.name == *at && u16::from(r.record_type()) == kind)
}

/// Is what stands at `at` signed for fewer labels than it has (RFC 4034 section 3.1.3)?
fn by_asterisk(answer: &Message, at: &Name) -> bool {
    let fewer = |r: &Record| matches!(&r.data, RData::DNSSEC(DNSSECRData::RRSIG(sig)) if sig.input().num_labels < r.name.num_labels());
    answer.answers.iter().any(|r| r.name == *at && fewer(r))
}

/// NSEC, NSEC3 and their signatures.
fn is_denial(record: &Record) -> bool {
    let denies = |kind: RecordType| matches!(kind, RecordType::NSEC | RecordType::NSEC3);
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(sig)) => denies(sig.input().type_covered),
        _ => denies(record.record_type()),
    }
}

fn through(answer: Message, owner: Name, alias: Record, target: Name) -> Hop {
    let dname = |r: &Record| r.name == owner && (r.record_type() == RecordType::DNAME || covers_dname(r));
    let (part, mut rest) = parted(answer, dname);
    rest.answers.retain(|r| *r != alias);
    let more = rest.answers.iter().any(|r| r.name == target);
    let next = Some(Next { name: target, rest: more.then_some(rest) });
    Hop { name: owner, kind: RecordType::DNAME.into(), part, follows: Some(alias), next }
}

fn covers_dname(record: &Record) -> bool {
    matches!(&record.data, RData::DNSSEC(DNSSECRData::RRSIG(sig)) if sig.input().type_covered == RecordType::DNAME)
}

/// Answers that fit without the rest's denials, and the others with them.
fn parted(mut answer: Message, fits: impl Fn(&Record) -> bool) -> (Message, Message) {
    let mut part = answer.clone();
    part.answers.retain(|r| fits(r));
    part.authorities.clear();
    answer.answers.retain(|r| !fits(r));
    (part, answer)
}

fn alias<'a>(answer: &'a Message, at: &Name) -> Option<(&'a Record, Name)> {
    answer.answers.iter().filter(|r| r.name == *at).find_map(|r| match &r.data {
        RData::CNAME(target) => Some((r, target.0.clone())),
        _ => None,
    })
}

/// The DNAME's owner, the alias at `name` that it makes, and where that leads; `None` if there is none, or if the
/// alias says something else than the DNAME.
fn made(answer: &Message, name: &Name) -> Option<(Name, Record, Name)> {
    let (alias, target) = alias(answer, name)?;
    let over = |r: &&Record| r.record_type() == RecordType::DNAME && r.name.zone_of(name) && r.name != *name;
    let dname = answer.answers.iter().find(over)?;
    let onto = dname_target(&dname.data)?;
    let kept = usize::from(name.num_labels().checked_sub(dname.name.num_labels())?);
    let labels = name.iter().take(kept).chain(onto.iter());
    let made = Name::from_labels(labels).ok()?;
    (made.to_lowercase() == target.to_lowercase()).then(|| (dname.name.clone(), alias.clone(), target))
}

/// The library keeps a DNAME as bytes: one name without compression (RFC 6672 section 2.5).
fn dname_target(data: &RData) -> Option<Name> {
    use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
    let RData::Unknown { rdata, .. } = data else { return None };
    Name::read(&mut BinDecoder::new(&rdata.anything)).ok()
}

/// One answer after the other: the records of both, what denies something closer, and what the last says besides.
pub fn joined(mut before: Message, mut after: Message) -> Message {
    let answers = std::mem::take(&mut after.answers);
    before.answers.extend(answers);
    before.authorities.extend(after.authorities);
    before.metadata.response_code = after.metadata.response_code;
    before
}
