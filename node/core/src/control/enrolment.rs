//! How a stranger with a token becomes a member: EnrolBegin → EnrolOffer → EnrolCommit → Enrolled.
//!
//! The node believes the token (it holds the authorities), not the coordinator: charter and delegation must be signed
//! by an authority of the token, and the delegation must be for the token's own key. It then signs its own admission.
//! Keys must be on disk before [`Enrolment::handle_frame`] is given the offer: after the commit the network knows them.

use ed25519_dalek::SigningKey;
use warren_config::name::Name;
use warren_wire::frame::{RefusalCode, ToCoordinator, ToNode};
use warren_wire::id::IdentityKey;
use warren_wire::signed::Signed;
use warren_wire::token::Token;
use warren_wire::trust::{Member, Network, Record, Trust, TrustError};

use super::keys::LaneSecret;

/// What the node signs with. Never shown.
pub struct Secrets {
    pub identity: SigningKey,
    pub lanes: Vec<LaneSecret>,
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
    #[error("the coordinator's offer is malformed: {why}")]
    Malformed { why: String },
    #[error("the coordinator's offer is for another token: {why}")]
    Foreign { why: String },
    #[error("the enrolment token ended at {end}; the coordinator's time is {now}: ask for a new token")]
    Expired { end: warren_config::time::UnixTime, now: warren_config::time::UnixTime },
}

/// One enrolment under way.
pub struct Enrolment {
    _token: Token,
}

impl Enrolment {
    /// `name` is the wanted name; the token's own if `None`.
    pub fn begin(_token: Token, _name: Option<&Name>, _agent: &str) -> (Enrolment, ToCoordinator) {
        todo!()
    }
    pub fn handle_frame(&mut self, _frame: ToNode, _secrets: &Secrets) -> Result<EnrolStep, EnrolError> {
        todo!()
    }
}
