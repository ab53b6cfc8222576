//! Whether what an asterisk made is the right answer: nothing closer to the name is there (RFC 4035 section 5.3.4).
//!
//! The library checks every signature before this is asked. Its own judgement of the denial does not hold for a name right
//! below the asterisk's parent, because it wants the asterisk itself denied.

use hickory_proto::dnssec::Proof;
use hickory_proto::dnssec::rdata::{DNSSECRData, NSEC, RRSIG};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// `message` is judged by the library, record by record.
pub fn is_proven(message: &Message, name: &Name, kind: u16) -> bool {
    let wanted = |of: RecordType| u16::from(of) == kind || of == RecordType::CNAME;
    let here = |r: &&Record| r.name == *name && r.proof == Proof::Secure;
    let sets = message.answers.iter().filter(|r| r.record_type() != RecordType::RRSIG);
    let all_here = sets.clone().all(|r| here(&r) && wanted(r.record_type()));
    let signatures = || message.answers.iter().filter(here).filter_map(signature);
    let Some(first) = signatures().find(|sig| wanted(sig.input().type_covered)) else { return false };
    let labels = first.input().num_labels;
    let agree = signatures().all(|sig| sig.input().num_labels == labels);
    let good =
        message.metadata.response_code == ResponseCode::NoError && sets.count() > 0 && all_here && agree;
    if !good || labels >= name.num_labels() || name.is_wildcard() {
        return false;
    }
    // The name that would have to be there for the asterisk not to reach so far.
    let closer = name.trim_to(usize::from(labels) + 1);
    let denials = message.authorities.iter().filter(|r| r.proof == Proof::Secure);
    denials.filter_map(|r| denial(r).map(|nsec| (&r.name, nsec))).any(|(owner, nsec)| {
        is_of_zone(message, owner, &first.input().signer_name) && denies(owner, nsec, &closer)
    })
}

fn signature(record: &Record) -> Option<&RRSIG> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(sig)) => Some(sig),
        _ => None,
    }
}

fn denial(record: &Record) -> Option<&NSEC> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::NSEC(nsec)) => Some(nsec),
        _ => None,
    }
}

/// Did the zone that signed the answer sign this denial?
fn is_of_zone(message: &Message, owner: &Name, zone: &Name) -> bool {
    let its = message.authorities.iter().filter(|r| r.name == *owner).filter_map(signature);
    zone.zone_of(owner)
        && its
            .filter(|sig| sig.input().type_covered == RecordType::NSEC)
            .any(|sig| sig.input().signer_name == *zone)
}

/// Neither `closer` nor anything below it is there.
fn denies(owner: &Name, nsec: &NSEC, closer: &Name) -> bool {
    let next = nsec.next_domain_name();
    // The last one of a zone names its first.
    let between = owner < closer && (closer < next || next <= owner);
    let types = nsec.type_set();
    // Below a cut another zone speaks, below a DNAME nobody does (RFC 6840 section 4.1).
    let leads_away = owner.zone_of(closer)
        && (types.contains(RecordType::DNAME)
            || (types.contains(RecordType::NS) && !types.contains(RecordType::SOA)));
    between && !closer.zone_of(next) && !leads_away
}
