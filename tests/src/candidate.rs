//! A node before it is a member: it shows its token until it is in, or is told that it never will be.

use warren_node_core::control::enrolment::{EnrolError, EnrolStep, Enrolment, Membership, Wish};
use warren_wire::frame::{Decoder, MAX_FRAME, RefusalCode, ToNode, encode};
use warren_wire::token::Token;

use crate::disk::Disk;

/// What became of one frame.
pub enum Progress {
    Say(Vec<u8>),
    Done(Box<Membership>),
    /// Try again later, with a new connection.
    Again(EnrolError),
    Refused(EnrolError),
}

/// The operator's token and the enrolment under way.
pub struct Candidate {
    token: String,
    enrolment: Option<Enrolment>,
    decoder: Decoder,
}

impl Candidate {
    pub fn new(token: &Token) -> Candidate {
        Candidate { token: token.encode().to_string(), enrolment: None, decoder: Decoder::new(MAX_FRAME) }
    }

    /// A connection stands: the first thing to say.
    pub fn handle_connected(&mut self) -> Vec<u8> {
        let token = Token::decode(&self.token).unwrap();
        let (enrolment, first) = Enrolment::begin(token, &Wish::Any, "simulated");
        self.enrolment = Some(enrolment);
        self.decoder = Decoder::new(MAX_FRAME);
        encode(&first)
    }

    pub fn handle_bytes(&mut self, bytes: &[u8], disk: &Disk) -> Vec<Progress> {
        self.decoder.push(bytes);
        let mut progress = Vec::new();
        while let (Some(enrolment), Ok(Some(frame))) =
            (self.enrolment.as_mut(), self.decoder.next::<ToNode>())
        {
            progress.push(match enrolment.handle_frame(frame, &disk.secrets()) {
                Ok(EnrolStep::Send(frame)) => Progress::Say(encode(&frame)),
                Ok(EnrolStep::Done(membership)) => Progress::Done(membership),
                Err(error) if is_passing(&error) => Progress::Again(error),
                Err(error) => Progress::Refused(error),
            });
        }
        progress
    }
}

/// Refusals that another try may not meet.
fn is_passing(error: &EnrolError) -> bool {
    use RefusalCode::{Overloaded, Protocol, Replaced, Unspecified};
    matches!(error, EnrolError::Refused { code: Overloaded | Protocol | Replaced | Unspecified, .. })
}
