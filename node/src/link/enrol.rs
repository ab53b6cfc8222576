//! Driving [`Enrolment`] over a real connection: addresses in turn until one answers.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream, VarInt};
use warren_node_core::control::enrolment::{EnrolError, EnrolStep, Enrolment, Membership, Secrets, Wish};
use warren_node_core::door::Transport;
use warren_wire::frame::{Decoder, MAX_FRAME, ToCoordinator, ToNode, encode};
use warren_wire::token::Token;

use super::connect::{ConnectError, Connector};
use crate::resolver::Resolver;

/// The whole conversation.
const LIMIT: Duration = Duration::from_secs(20);

/// Conversations with one address.
const TRIES: usize = 5;
/// Knocks at one address that had no place: a crowd behind one address comes in by turns.
const KNOCKS: usize = 25;

/// One address that was tried, and why it was not enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    pub address: String,
    pub why: String,
}

#[derive(Debug, thiserror::Error)]
pub enum EnrolFailure {
    #[error("no coordinator could be reached:\n{}\nnothing was changed; the token is still good", list(.0))]
    Unreachable(Vec<Tried>),
    #[error("{0}")]
    WrongKey(ConnectError),
    #[error(transparent)]
    Refused(#[from] EnrolError),
    #[error("the coordinator at {address} broke off: {why}; try again with the same token")]
    BrokenOff { address: String, why: String },
}

fn list(tried: &[Tried]) -> String {
    tried.iter().map(|t| format!("  {}: {}", t.address, t.why)).collect::<Vec<_>>().join("\n")
}

/// Redeems `token` for a membership. The secrets must already be on disk: after the commit the network knows them.
/// An address with a foreign key ends the search: somebody answers for the coordinator who is not it.
pub async fn enrol(
    token: &Token,
    name: &Wish,
    agent: &str,
    secrets: &Secrets,
    resolver: Arc<Resolver>,
) -> Result<(Membership, Transport), EnrolFailure> {
    let connector = Connector::new(secrets.identity.clone(), vec![token.coordinator_key], resolver);
    let addresses = token.coordinators.clone();
    let mut tried = Vec::new();
    for address in addresses {
        match try_address(&connector, &address, token, name, agent, secrets).await {
            Err(Missed::Unreachable(why)) => tried.push(Tried { address, why: why.to_string() }),
            Err(Missed::Failed(e)) => return Err(e),
            Ok(membership) => return Ok(membership),
        }
    }
    Err(EnrolFailure::Unreachable(tried))
}

enum Missed {
    /// Try the next address.
    Unreachable(ConnectError),
    Failed(EnrolFailure),
}

/// A conversation that breaks off is begun again: the same identity and token spend nothing twice.
async fn try_address(
    connector: &Connector,
    address: &str,
    token: &Token,
    name: &Wish,
    agent: &str,
    secrets: &Secrets,
) -> Result<(Membership, Transport), Missed> {
    let (mut left, mut knocks) = (TRIES, KNOCKS);
    loop {
        tracing::info!(%address, "asking the coordinator for admission");
        let link = match connector.connect(address).await {
            Ok(link) => link,
            Err(ConnectError::Busy { .. }) if knocks > 0 => {
                knocks -= 1;
                tokio::time::sleep(pause()).await;
                continue;
            }
            Err(e @ ConnectError::WrongKey { .. }) => return Err(Missed::Failed(EnrolFailure::WrongKey(e))),
            Err(e) => return Err(Missed::Unreachable(e)),
        };
        left -= 1;
        if link.transport() != Transport::Udp {
            let transport = link.transport().name();
            tracing::info!(%address, transport, "UDP does not reach the coordinator: through a door");
        }
        let connection = &link.connection;
        let talk = converse(connection, copy(token), name, agent, secrets);
        let result = tokio::time::timeout(LIMIT, talk).await;
        connection.close(VarInt::from_u32(0), b"");
        let silent = || Err(Broken::Off(format!("no answer within {} seconds", LIMIT.as_secs())));
        match result.unwrap_or_else(|_| silent()) {
            Ok(membership) => return Ok((membership, link.transport())),
            Err(Broken::Off(why)) if left > 0 => {
                tracing::info!(%address, "the coordinator broke off ({why}): trying again");
                tokio::time::sleep(pause()).await;
            }
            Err(e) => return Err(Missed::Failed(e.at(address.to_owned()))),
        }
    }
}

/// One more use of the same token: it has no `Clone`, so that copies are seen where they are made.
fn copy(token: &Token) -> Token {
    Token {
        network: token.network,
        authorities: token.authorities.clone(),
        coordinators: token.coordinators.clone(),
        coordinator_key: token.coordinator_key,
        seed: token.seed.clone(),
    }
}

/// One to three seconds, so that a crowd does not come back as one.
fn pause() -> Duration {
    let mut byte = [0; 1];
    // Without random numbers everybody waits equally long: slower, not wrong.
    let _ = getrandom::fill(&mut byte);
    Duration::from_millis(1000 + u64::from(byte[0]) * 8)
}

enum Broken {
    Off(String),
    Refused(EnrolError),
}

impl Broken {
    fn at(self, address: String) -> EnrolFailure {
        match self {
            Broken::Off(why) => EnrolFailure::BrokenOff { address, why },
            Broken::Refused(e) => EnrolFailure::Refused(e),
        }
    }
}

async fn converse(
    connection: &Connection,
    token: Token,
    name: &Wish,
    agent: &str,
    secrets: &Secrets,
) -> Result<Membership, Broken> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(|e| Broken::Off(e.to_string()))?;
    let (mut enrolment, first) = Enrolment::begin(token, name, agent);
    let mut decoder = Decoder::new(MAX_FRAME);
    say(&mut send, &first).await?;
    loop {
        let frame = hear(&mut receive, &mut decoder).await?;
        match enrolment.handle_frame(frame, secrets).map_err(Broken::Refused)? {
            EnrolStep::Send(frame) => say(&mut send, &frame).await?,
            EnrolStep::Done(membership) => return Ok(*membership),
        }
    }
}

async fn say(stream: &mut SendStream, frame: &ToCoordinator) -> Result<(), Broken> {
    stream.write_all(&encode(frame)).await.map_err(|e| Broken::Off(whole(&e)))
}

async fn hear(stream: &mut RecvStream, decoder: &mut Decoder) -> Result<ToNode, Broken> {
    let off = |why: &dyn std::fmt::Display| Broken::Off(why.to_string());
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(frame) = decoder.next::<ToNode>().map_err(|e| off(&e))? {
            return Ok(frame);
        }
        match stream.read(&mut buffer).await.map_err(|e| Broken::Off(whole(&e)))? {
            Some(n) => decoder.push(buffer.get(..n).unwrap_or_default()),
            None => return Err(off(&"it ended the session")),
        }
    }
}

/// An error with its causes: "connection lost" alone helps nobody.
fn whole(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}
