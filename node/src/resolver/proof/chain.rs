//! An answer cut into what can be proven at once: aliases up to their end, an alias that a DNAME makes (RFC 6672 section
//! 5.3.1: it is not signed, the DNAME is), and the end of a chain that is not there.

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
        let there = |r: &&Record| r.name == at && u16::from(r.record_type()) == kind;
        if answer.answers.iter().any(|r| there(&r)) {
            break;
        }
        let broken = !owners.is_empty() && made(&answer, &at).is_some();
        match alias(&answer, &at) {
            Some((_, target)) if !broken => owners.push(std::mem::replace(&mut at, target)),
            _ if owners.is_empty() => break,
            _ => {
                let (part, rest) = parted(answer, |r| owners.contains(&r.name));
                let rest = broken.then_some(rest);
                let next = Some(Next { name: at, rest });
                return Hop { name: name.clone(), kind, part, follows: None, next };
            }
        }
    }
    Hop { name: name.clone(), kind, part: answer, follows: None, next: None }
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
    use hickory_proto::dnssec::rdata::DNSSECRData;
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

/// One answer after the other: the records of both, and what the last says besides.
pub fn joined(mut before: Message, mut after: Message) -> Message {
    let answers = std::mem::take(&mut after.answers);
    before.answers.extend(answers);
    before.authorities = after.authorities;
    before.metadata.response_code = after.metadata.response_code;
    before
}
