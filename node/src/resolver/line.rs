//! One upstream and the connection to it, which all questions share.
//!
//! The three transports are the encrypted ones of [`Scheme`]; a connection in clear cannot be expressed here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_net::NetError;
use hickory_net::h2::HttpsClientStream;
use hickory_net::quic::QuicClientStream;
use hickory_net::tls::tls_client_connect;
use hickory_net::xfer::{DnsExchange, DnsHandle, DnsMultiplexer, DnsRequestSender, FirstAnswer};
use hickory_proto::op::{DnsRequest, DnsRequestOptions, Message};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::sync::Mutex;
use tokio::time::timeout;
use warren_config::upstream::{Scheme, Upstream};

use super::prompt::Prompt;

type Exchange = DnsExchange<Prompt>;

const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(4);
/// Who waited for a try that just failed need not try it again.
const FRESH_FAILURE: Duration = Duration::from_millis(300);
/// Questions under way on one connection.
const UNDER_WAY: usize = 1024;
const BUSY_PAUSES: [Duration; 3] =
    [Duration::from_millis(1), Duration::from_millis(4), Duration::from_millis(10)];

pub struct Line {
    pub upstream: Upstream,
    tls: Arc<ClientConfig>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    exchange: Option<(u64, Exchange)>,
    made: u64,
    failed: Option<(Instant, String)>,
}

impl Line {
    pub fn new(upstream: Upstream, tls: Arc<ClientConfig>) -> Line {
        Line { upstream, tls, state: Mutex::default() }
    }

    /// One question. A connection that the other side had closed meanwhile is made anew, once.
    pub async fn ask(&self, message: &Message) -> Result<Message, String> {
        let (number, exchange, reused) = self.connected().await?;
        let failed = match exchange_on(&exchange, message).await {
            Ok(answer) => return Ok(answer),
            Err(e) => e,
        };
        self.forget(number).await;
        if !reused || matches!(failed, NetError::Timeout) {
            return Err(said(&failed));
        }
        let (number, exchange, _) = self.connected().await?;
        match exchange_on(&exchange, message).await {
            Ok(answer) => Ok(answer),
            Err(e) => {
                self.forget(number).await;
                Err(said(&e))
            }
        }
    }

    /// The connection there is, or a new one; whoever comes meanwhile waits for the same.
    async fn connected(&self) -> Result<(u64, Exchange, bool), String> {
        let mut state = self.state.lock().await;
        if let Some((number, exchange)) = &state.exchange {
            return Ok((*number, exchange.clone(), true));
        }
        if let Some((at, why)) = &state.failed
            && at.elapsed() < FRESH_FAILURE
        {
            return Err(why.clone());
        }
        let made = match timeout(CONNECT, self.connect()).await {
            Ok(made) => made.map_err(|e| said(&e)),
            Err(_) => Err(format!("no connection within {} seconds", CONNECT.as_secs())),
        };
        match made {
            Ok(exchange) => {
                state.made += 1;
                state.failed = None;
                state.exchange = Some((state.made, exchange.clone()));
                Ok((state.made, exchange, false))
            }
            Err(why) => {
                state.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    async fn forget(&self, number: u64) {
        let mut state = self.state.lock().await;
        if state.exchange.as_ref().is_some_and(|(current, _)| *current == number) {
            state.exchange = None;
        }
    }

    async fn connect(&self) -> Result<Exchange, NetError> {
        let Upstream { scheme, address, name, path } = &self.upstream;
        let provider = Prompt::default();
        match scheme {
            Scheme::Tls => {
                let server = ServerName::try_from(name.clone())
                    .map_err(|_| NetError::from(format!("`{name}` is no certificate name")))?;
                let (stream, handle) = tls_client_connect(*address, server, Arc::clone(&self.tls), provider);
                let multiplexer = DnsMultiplexer::new(stream.await?, handle)
                    .with_timeout(ANSWER)
                    .with_max_active_requests(UNDER_WAY);
                Ok(drive(multiplexer))
            }
            Scheme::Https => {
                let builder = HttpsClientStream::builder(Arc::clone(&self.tls), provider);
                let stream = builder.build(*address, name.as_str().into(), path.as_str().into()).await?;
                Ok(drive(stream))
            }
            Scheme::Quic => {
                let builder = QuicClientStream::builder().crypto_config(self.tls.as_ref().clone());
                Ok(drive(builder.build(*address, name.as_str().into()).await?))
            }
        }
    }
}

/// "Busy" is said for a queue that is full for a moment and for a connection that has ended.
async fn exchange_on(exchange: &Exchange, message: &Message) -> Result<Message, NetError> {
    for pause in BUSY_PAUSES {
        match exchange_once(exchange, message).await {
            Err(NetError::Busy) => tokio::time::sleep(pause).await,
            other => return other,
        }
    }
    exchange_once(exchange, message).await
}

async fn exchange_once(exchange: &Exchange, message: &Message) -> Result<Message, NetError> {
    let request = DnsRequest::new(message.clone(), DnsRequestOptions::default());
    match timeout(ANSWER, exchange.send(request).first_answer()).await {
        Ok(answer) => answer.map(hickory_proto::op::DnsResponse::into_message),
        Err(_) => Err(NetError::Timeout),
    }
}

fn drive(stream: impl DnsRequestSender) -> Exchange {
    let (exchange, background) = Exchange::from_stream(stream);
    tokio::spawn(background);
    exchange
}

/// The library's words, and what is meant where they are unclear.
fn said(e: &NetError) -> String {
    match e {
        NetError::Timeout => "no answer in time".to_owned(),
        e => e.to_string(),
    }
}
