//! How a stranger with a token becomes a member: EnrolBegin → EnrolOffer → EnrolCommit → Enrolled.
//!
//! The node believes the token (it holds the authorities), not the coordinator: charter and delegation must be signed
//! by an authority of the token, and the delegation must be for the token's own key. It then signs its own admission.
//! Keys must be on disk before [`Enrolment::handle_frame`] is given the offer: after the commit the network knows them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use ed25519_dalek::SigningKey;
use warren_config::name::Name;
use warren_config::time::UnixTime;
use warren_wire::frame::{
    CoordinatorSays, EnrolBegin, EnrolCommit, EnrolOffer, Enrolled, FrameError, NodeSays, RefusalCode,
    ToCoordinator, ToNode, printable,
};
use warren_wire::id::{IdentityKey, NodeId};
use warren_wire::issue::{self, Place};
use warren_wire::signed::Signed;
use warren_wire::statement::Delegation;
use warren_wire::token::Token;
use warren_wire::trust::{Member, Network, Record, Trust, TrustError, node_id};

use super::keys::{self, LaneSecret};

/// What the node signs with. Never shown.
pub struct Secrets {
    pub identity: SigningKey,
    pub lanes: Vec<LaneSecret>,
}

/// The name that is wished for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// The token's own, or whatever it gives.
    #[default]
    Any,
    /// This one or none.
    Exactly(Name),
    /// This one (the host's), or it with a number if it is taken; whatever the token gives if that is another.
    Like(Name),
}

/// What a member keeps for ever.
#[derive(Clone, Debug)]
pub struct Membership {
    pub trust: Trust,
    pub network: Network,
    pub member: Member,
    pub charter: Signed,
    pub record: Record,
    pub coordinators: Vec<String>,
    pub coordinator_key: IdentityKey,
}

pub enum EnrolStep {
    Send(ToCoordinator),
    Done(Box<Membership>),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrolError {
    #[error("the coordinator refuses: {message}")]
    Refused { code: RefusalCode, message: String },
    #[error("the coordinator's offer does not hold: {0}; it may not be the coordinator of this token")]
    Offer(#[from] TrustError),
    #[error("the coordinator answered {found} where {expected} was due")]
    OutOfTurn { expected: &'static str, found: &'static str },
    #[error("the coordinator's answer is malformed: {why}")]
    Malformed { why: String },
    #[error("the coordinator's answer is not for this token and node: {why}")]
    Foreign { why: String },
    #[error("the enrolment token ended at {end}; the coordinator's time is {now}: ask for a new token")]
    Expired { end: UnixTime, now: UnixTime },
}

impl From<FrameError> for EnrolError {
    fn from(error: FrameError) -> EnrolError {
        EnrolError::Malformed { why: error.to_string() }
    }
}

/// One enrolment under way.
pub struct Enrolment {
    token: Token,
    trust: Trust,
    wanted: Option<Name>,
    committed: Option<Committed>,
}

/// What was signed and sent: only exactly this may come back.
struct Committed {
    network: Network,
    charter: Signed,
    member: Member,
}

impl Enrolment {
    pub fn begin(token: Token, name: &Wish, agent: &str) -> (Enrolment, ToCoordinator) {
        let (wanted, like) = match name {
            Wish::Exactly(name) => (Some(name.clone()), None),
            Wish::Like(name) => (None, Some(name)),
            Wish::Any => (None, None),
        };
        let begin = EnrolBegin {
            token_key: token.key().0.to_vec(),
            name: wanted.as_ref().map(Name::to_string).unwrap_or_default(),
            agent: printable(agent, 60),
            like: like.map(Name::to_string).unwrap_or_default(),
        };
        let trust = Trust { network: token.network, authorities: token.authorities.clone() };
        let enrolment = Enrolment { token, trust, wanted, committed: None };
        (enrolment, ToCoordinator { says: Some(NodeSays::EnrolBegin(begin)) })
    }

    /// An error ends the enrolment; the token may be used again unless the coordinator says that it is spent.
    pub fn handle_frame(&mut self, frame: ToNode, secrets: &Secrets) -> Result<EnrolStep, EnrolError> {
        let said = frame.said()?;
        match (said, self.committed.take()) {
            (CoordinatorSays::Refused(refused), _) => Err(EnrolError::Refused {
                code: RefusalCode::try_from(refused.code).unwrap_or(RefusalCode::Unspecified),
                message: printable(&refused.message, 1000),
            }),
            (CoordinatorSays::EnrolOffer(offer), None) => {
                self.handle_offer(&offer, secrets).map(EnrolStep::Send)
            }
            (CoordinatorSays::Enrolled(enrolled), Some(committed)) => {
                self.handle_enrolled(enrolled, committed).map(|m| EnrolStep::Done(Box::new(m)))
            }
            (other, None) => Err(EnrolError::OutOfTurn { expected: "an offer", found: what(&other) }),
            (other, Some(_)) => Err(EnrolError::OutOfTurn { expected: "the record", found: what(&other) }),
        }
    }

    fn handle_offer(&mut self, offer: &EnrolOffer, secrets: &Secrets) -> Result<ToCoordinator, EnrolError> {
        let (network, charter) = self.check_charter(offer)?;
        let (delegation, signed) = self.check_delegation(offer)?;
        let place = self.place(&network, &delegation, offer)?;
        let token = self.token.signing_key();
        let id = node_id(&network.id, &IdentityKey::of(&secrets.identity));
        let admission = issue::admission(&network.id, &place, &token, &secrets.identity);
        let keys = keys::sign(&network.id, &id, 1, &secrets.identity, &secrets.lanes);
        let record = Record {
            delegation: Some(signed),
            admission: Some(admission.clone()),
            keys: Some(keys.clone()),
            ..Record::default()
        };
        // What others would not believe is not sent.
        let member = self.trust.member(&network, &record)?;
        self.committed = Some(Committed { network, charter, member });
        let commit = EnrolCommit { admission: Some(admission), keys: Some(keys) };
        Ok(ToCoordinator { says: Some(NodeSays::EnrolCommit(commit)) })
    }

    fn check_charter(&self, offer: &EnrolOffer) -> Result<(Network, Signed), EnrolError> {
        let charter = offer.charter.clone().ok_or_else(|| malformed("it has no charter"))?;
        let network = self.trust.network(&charter)?;
        if !network.coordinators.contains(&self.token.coordinator_key) {
            let why = "its charter does not name the coordinator key of the token".to_owned();
            return Err(EnrolError::Foreign { why });
        }
        Ok((network, charter))
    }

    fn check_delegation(&self, offer: &EnrolOffer) -> Result<(Delegation, Signed), EnrolError> {
        let signed = offer.delegation.clone().ok_or_else(|| malformed("it has no delegation"))?;
        let delegation = self.trust.delegation(&signed)?;
        if delegation.token_key != self.token.key().0 {
            return Err(EnrolError::Foreign { why: "its delegation is for another token".to_owned() });
        }
        let (end, now) = (UnixTime(delegation.not_after), UnixTime(offer.now));
        if now >= end {
            return Err(EnrolError::Expired { end, now });
        }
        Ok((delegation, signed))
    }

    fn place(
        &self,
        network: &Network,
        delegation: &Delegation,
        offer: &EnrolOffer,
    ) -> Result<Place, EnrolError> {
        let name = Name::parse(&offer.name).map_err(|error| malformed(&error.to_string()))?;
        if self.wanted.as_ref().is_some_and(|wanted| *wanted != name) {
            return Err(EnrolError::Foreign {
                why: format!("it offers the name `{name}`, which was not asked for"),
            });
        }
        let tags: Result<BTreeSet<Name>, _> = delegation.tags.iter().map(|tag| Name::parse(tag)).collect();
        let tags = tags.map_err(|error| malformed(&error.to_string()))?;
        let v4 = match offer.v4.as_slice() {
            [] => None,
            bytes => {
                let octets: [u8; 4] =
                    bytes.try_into().map_err(|_| malformed("its IPv4 address is not 4 bytes"))?;
                Some(Ipv4Addr::from(octets)).filter(|v4| network.allows_v4(*v4)).map_or_else(
                    || Err(malformed("its IPv4 address is outside the network's range")),
                    |v4| Ok(Some(v4)),
                )?
            }
        };
        let octets: [u8; 16] =
            offer.v6.as_slice().try_into().map_err(|_| malformed("its IPv6 address is not 16 bytes"))?;
        let v6 = Ipv6Addr::from(octets);
        if !network.allows_v6(v6) {
            return Err(malformed("its IPv6 address is outside the network's range"));
        }
        Ok(Place { name, tags, v4, v6, enrolled: UnixTime(offer.now) })
    }

    fn handle_enrolled(&self, enrolled: Enrolled, committed: Committed) -> Result<Membership, EnrolError> {
        let record = enrolled.record.ok_or_else(|| malformed("it has no record"))?;
        let member = self.trust.member(&committed.network, &record)?;
        let ours = &committed.member;
        // Everything the node itself says in a record carries its own signature. After a crash the record may be the
        // one committed by the try before, with another time and other addresses.
        if (member.id, &member.lanes, member.key_serial) != (ours.id, &ours.lanes, ours.key_serial) {
            let why = format!("its record is that of node {} ({}), not this one", member.id, member.name());
            return Err(EnrolError::Foreign { why });
        }
        Ok(Membership {
            trust: self.trust.clone(),
            network: committed.network,
            member,
            charter: committed.charter,
            record,
            coordinators: self.token.coordinators.clone(),
            coordinator_key: self.token.coordinator_key,
        })
    }

    /// The id this node will have.
    pub fn node_id(&self, secrets: &Secrets) -> NodeId {
        node_id(&self.token.network, &IdentityKey::of(&secrets.identity))
    }
}

fn malformed(why: &str) -> EnrolError {
    EnrolError::Malformed { why: why.to_owned() }
}

fn what(said: &CoordinatorSays) -> &'static str {
    match said {
        CoordinatorSays::EnrolOffer(_) => "an offer",
        CoordinatorSays::Enrolled(_) => "a record",
        CoordinatorSays::Refused(_) => "a refusal",
        CoordinatorSays::Welcome(_) => "a welcome",
        CoordinatorSays::Delta(_) => "a view",
        CoordinatorSays::Freshness(_) => "a freshness",
        CoordinatorSays::FlowsStored(_) => "a receipt for flow records",
        CoordinatorSays::Knock(_) => "a knock",
        CoordinatorSays::Relay(_) => "a seat at a relay",
    }
}
