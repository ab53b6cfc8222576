//! The question as an upstream gets it: recursion wanted, nothing about who asks, one length among few (RFC 8467).

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query as Question};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::names::query::Query;

/// Queries are padded to a multiple of this (RFC 8467 section 4.1).
pub const BLOCK: usize = 128;
const PADDING: u16 = 12;
/// Upstreams answer over streams: this is only a courtesy.
const PAYLOAD: u16 = 1232;

/// What is asked, and what distinguishes cached answers: never who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// Lower case, without the final dot, as in [`Query::name`].
    pub name: String,
    pub kind: u16,
    pub dnssec_ok: bool,
    pub checking_disabled: bool,
}

impl Asked {
    pub fn of(query: &Query) -> Asked {
        Asked {
            name: query.name.clone(),
            kind: query.kind,
            dnssec_ok: query.dnssec_ok(),
            checking_disabled: query.checking_disabled,
        }
    }
}

/// The name of a question in wire form (its type and class behind it), lower case.
pub fn name_of(question: &[u8]) -> Option<Name> {
    let mut decoder = BinDecoder::new(question);
    let name = Name::read(&mut decoder).ok()?;
    Some(name.to_lowercase())
}

/// The message to send. Its id is zero: transports that need one choose it (RFC 8484 section 4.1, RFC 9250 section 4.2.1).
pub fn message(asked: &Asked, name: &Name) -> Message {
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = asked.checking_disabled;
    let mut question = Question::query(name.clone(), RecordType::from(asked.kind));
    question.set_query_class(DNSClass::IN);
    message.add_query(question);
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD).set_version(0).set_dnssec_ok(asked.dnssec_ok);
    message.set_edns(edns);
    pad(&mut message);
    message
}

fn pad(message: &mut Message) {
    let Ok(bare) = message.to_vec() else { return };
    let with_option = bare.len() + 4;
    let padding = with_option.next_multiple_of(BLOCK) - with_option;
    if let Some(edns) = message.edns.as_mut() {
        edns.options_mut().insert(EdnsOption::Unknown(PADDING, vec![0; padding]));
    }
}
