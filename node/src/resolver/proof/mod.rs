//! DNSSEC (RFC 4033 to 4035): what an upstream says is compared with what the owner of the name signed.
//!
//! Encryption shows who answers; only this shows that he does not lie. The signatures are checked by hickory, against keys
//! that are asked of the same upstream ([`handle`]) up to one that is believed ([`anchors`]). An answer is proven, or its
//! zone is proven to be unsigned, or it is not given to anybody.

mod anchors;
mod asterisk;
mod chain;
mod handle;

use std::sync::Arc;

use hickory_net::dnssec::DnssecDnsHandle;
use hickory_net::xfer::{DnsHandle, FirstAnswer};
use hickory_net::{DnsError, NetError};
use hickory_proto::dnssec::Proof;
use hickory_proto::op::{DnsRequest, DnsRequestOptions, Message};
use hickory_proto::rr::{Name, Record, RecordType};
use warren_node_core::names::forward::screen::Rules;
use warren_node_core::names::forward::{Forwarding, Loss, ask};

use super::line::Line;
pub use anchors::{AnchorError, Anchors};
use handle::Keys;
pub use handle::signed;

/// Parts of an answer that are proven one after the other.
const HOPS: usize = 8;

/// What is known of an answer that may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proven {
    /// Signed, up to a key that is believed.
    Secure,
    /// Proven to be in a zone that nobody signed.
    Unsigned,
}

impl Proven {
    fn and(self, other: Proven) -> Proven {
        if self == Proven::Secure { other } else { Proven::Unsigned }
    }
}

/// Checks what one upstream says.
pub struct Prover {
    line: Arc<Line>,
    library: DnssecDnsHandle<Keys>,
}

impl Prover {
    pub fn new(line: Arc<Line>, anchors: &Anchors) -> Prover {
        let keys = Keys::new(Arc::clone(&line));
        Prover { line, library: DnssecDnsHandle::with_trust_anchor(keys, anchors.keys()) }
    }

    /// `answer` is screened, with its signatures; it comes back with what was proven. `ours` says which names no
    /// upstream is asked for.
    pub async fn prove(
        &self,
        name: &Name,
        kind: u16,
        answer: Message,
        ours: impl Fn(&Name) -> bool,
    ) -> Result<(Message, Proven), Loss> {
        let (mut name, mut answer, mut proven) = (name.clone(), answer, Proven::Secure);
        let mut whole: Option<Message> = None;
        for _ in 0..HOPS {
            let hop = chain::first(answer, &name, kind);
            let (mut part, of_part) = self.prove_one(&hop.name, hop.kind, hop.part).await?;
            proven = proven.and(of_part);
            part.answers.extend(hop.follows);
            let so_far = match whole.take() {
                None => part,
                Some(before) => chain::joined(before, part),
            };
            let Some(next) = hop.next.filter(|next| !ours(&next.name)) else { return Ok((so_far, proven)) };
            answer = match next.rest {
                Some(rest) => rest,
                None => self.tail(&next.name, kind).await?,
            };
            (name, whole) = (next.name, Some(so_far));
        }
        Err(Loss::Bogus("its answer is a chain of too many aliases to be proven".to_owned()))
    }

    /// What an alias leads to, where the answer does not say it.
    async fn tail(&self, name: &Name, kind: u16) -> Result<Message, Loss> {
        let asked = signed(name, kind);
        let answer = self.line.ask(&ask::message(&asked, name)).await.map_err(Loss::Network)?;
        let forwarding = Forwarding::default();
        // Whoever asked for the whole screens the whole.
        let rules = Rules { names: None, forwarding: &forwarding, private: true };
        Ok(rules.screen(&answer, &asked, name).map_err(Loss::Answer)?.message)
    }

    async fn prove_one(&self, name: &Name, kind: u16, answer: Message) -> Result<(Message, Proven), Loss> {
        let keys = self.library.inner();
        let lost_before = keys.losses();
        keys.give(name, kind, &answer);
        let request = DnsRequest::new(ask::message(&signed(name, kind), name), DnsRequestOptions::default());
        let judged = self.library.send(request).first_answer().await;
        keys.forget(name, kind);
        let verdict = match judged {
            Ok(response) => proven(response.into_message()),
            Err(NetError::Dns(DnsError::Nsec { response, proof: Proof::Insecure, .. })) => {
                Ok((response.into_message(), Proven::Unsigned))
            }
            Err(NetError::Dns(DnsError::Nsec { response, .. }))
                if asterisk::is_proven(&response, name, kind) =>
            {
                proven(response.into_message())
            }
            Err(NetError::Dns(DnsError::Nsec { .. })) => {
                Err("that the name or its record does not exist is not proven".to_owned())
            }
            Err(e) => Err(e.to_string()),
        };
        verdict.map_err(|why| match keys.losses() == lost_before {
            true => {
                keys.forget_all();
                Loss::Bogus(why)
            }
            false => Loss::Network("its keys for DNSSEC could not be asked for".to_owned()),
        })
    }
}

/// Every record counts: what the library leaves undecided is not proven.
fn proven(message: Message) -> Result<(Message, Proven), String> {
    let judged = |r: &&Record| r.record_type() != RecordType::RRSIG;
    let mut all = Proven::Secure;
    let mut records = message.answers.iter().chain(&message.authorities).filter(judged).peekable();
    if records.peek().is_none() {
        all = Proven::Unsigned;
    }
    for record in records {
        match record.proof {
            Proof::Secure => {}
            Proof::Insecure => all = Proven::Unsigned,
            Proof::Bogus | Proof::Indeterminate => {
                return Err(format!(
                    "{} of {} is not what its owner signed",
                    record.record_type(),
                    record.name
                ));
            }
        }
    }
    Ok((message, all))
}
