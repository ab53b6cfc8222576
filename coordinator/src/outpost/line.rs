//! The relay's line to its coordinator: connected by a task, read by one, written by another, each with a bounded queue.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use quinn::{ClientConfig, Endpoint, RecvStream, SendStream, VarInt};
use tokio::sync::mpsc;
use warren_wire::frame::{
    Decoder, MAX_FRAME, RELAY_ALPN, RelayEnrol, RelayHello, RelaySays, ToRelay, enrolment,
};
use warren_wire::token::Token;

use super::home::Membership;
use crate::tls;

/// A coordinator that does not answer is given up after this long.
const CONNECT: Duration = Duration::from_secs(6);
const SERVER_NAME: &str = "warren";
/// Messages that wait, each way.
const INBOX: usize = 64;
const OUTBOX: usize = 256;
const READ_CHUNK: usize = 32 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum LineError {
    #[error("the name in {address} does not resolve: {error}")]
    Resolve { address: String, error: std::io::Error },
    #[error(
        "no answer from {address} within 6 seconds: check the address, the firewall (UDP) and that `warren serve` runs"
    )]
    Silent { address: SocketAddr },
    #[error("the server at {address} is not this network's coordinator, or cannot be spoken to: {why}")]
    Foreign { address: SocketAddr, why: String },
    #[error("the connection cannot be set up: {0}")]
    Setup(String),
}

/// To be connected with.
#[derive(Clone)]
pub struct Plan {
    pub seed: Arc<zeroize::Zeroizing<[u8; 32]>>,
    pub membership: Membership,
    pub hello: RelayHello,
    /// As long as it has not been redeemed.
    pub token: Option<Arc<Token>>,
}

/// A connection on which `Hello` has been said.
pub struct Line {
    endpoint: Endpoint,
    connection: quinn::Connection,
    pub inbox: mpsc::Receiver<Result<ToRelay, String>>,
    outbox: mpsc::Sender<Vec<u8>>,
}

impl Line {
    /// Tries every address of every coordinator in turn; the last failure is the answer.
    pub async fn open(plan: Plan) -> Result<Line, LineError> {
        let mut last = LineError::Setup("no coordinator is known".into());
        for name in &plan.membership.coordinators {
            let found = match tokio::net::lookup_host(name).await {
                Ok(found) => found.collect::<Vec<_>>(),
                Err(error) => {
                    last = LineError::Resolve { address: name.clone(), error };
                    continue;
                }
            };
            for address in found {
                match connect(&plan, address).await {
                    Ok(line) => return Ok(line),
                    Err(error) => last = error,
                }
            }
        }
        Err(last)
    }

    /// False if the coordinator does not take what is said: then the line is of no use.
    pub fn say(&self, says: RelaySays) -> bool {
        self.outbox.try_send(says.into_frame()).is_ok()
    }

    pub async fn close(self) {
        self.connection.close(VarInt::from_u32(0), b"the relay has ended");
        let _ = tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }
}

async fn connect(plan: &Plan, to: SocketAddr) -> Result<Line, LineError> {
    let setup = |error: &dyn std::fmt::Display| LineError::Setup(error.to_string());
    let crypto =
        tls::client(&plan.seed, plan.membership.coordinator_key, RELAY_ALPN).map_err(|e| setup(&e))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(warren_door::control_channel()));
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let endpoint = Endpoint::client((any, 0).into()).map_err(|e| setup(&e))?;
    let foreign = |error: &dyn std::fmt::Display| LineError::Foreign { address: to, why: error.to_string() };
    let connecting = endpoint.connect_with(config, to, SERVER_NAME).map_err(|e| setup(&e))?;
    let connection = match tokio::time::timeout(CONNECT, connecting).await {
        Ok(connection) => connection.map_err(|e| match e {
            quinn::ConnectionError::TimedOut => LineError::Silent { address: to },
            other => foreign(&other),
        })?,
        Err(_) => return Err(LineError::Silent { address: to }),
    };
    let (send, recv) = connection.open_bi().await.map_err(|e| foreign(&e))?;
    let (outbox, out) = mpsc::channel(OUTBOX);
    let (into, inbox) = mpsc::channel(INBOX);
    if let Some(token) = &plan.token {
        let _ = outbox.try_send(shown(token, plan).into_frame());
    }
    let _ = outbox.try_send(RelaySays::Hello(plan.hello.clone()).into_frame());
    tokio::spawn(write(send, out));
    tokio::spawn(read(recv, into));
    Ok(Line { endpoint, connection, inbox, outbox })
}

/// That this relay holds the token.
fn shown(token: &Token, plan: &Plan) -> RelaySays {
    let key = tls::public_of(&plan.seed);
    let token: SigningKey = token.signing_key();
    let signature = token.sign(&enrolment(&plan.membership.network, &key)).to_bytes().to_vec();
    RelaySays::Enrol(RelayEnrol { token_key: token.verifying_key().to_bytes().to_vec(), signature })
}

async fn write(mut send: SendStream, mut out: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = out.recv().await {
        if send.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = send.finish();
}

async fn read(mut recv: RecvStream, into: mpsc::Sender<Result<ToRelay, String>>) {
    let mut decoder = Decoder::new(MAX_FRAME);
    loop {
        let chunk = match recv.read_chunk(READ_CHUNK, true).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break drop(into.send(Err("the coordinator closed the stream".into())).await),
            Err(error) => break drop(into.send(Err(error.to_string())).await),
        };
        decoder.push(&chunk.bytes);
        loop {
            match decoder.next::<ToRelay>() {
                Ok(Some(message)) => {
                    if into.send(Ok(message)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => return drop(into.send(Err(error.to_string())).await),
            }
        }
    }
}
