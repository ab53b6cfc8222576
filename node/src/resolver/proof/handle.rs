//! How the library that checks signatures asks for the keys it needs: of the same upstream, encrypted and padded as
//! every question, and remembering what it was told.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{Stream, once};
use hickory_net::NetError;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::xfer::DnsHandle;
use hickory_proto::op::{DnsRequest, DnsResponse, Message};
use hickory_proto::rr::Name;
use warren_node_core::names::forward::Forwarding;
use warren_node_core::names::forward::ask::{self, Asked};
use warren_node_core::names::forward::screen::Rules;

use super::super::line::Line;

/// Answers about keys that are remembered, and how long at most.
const KNOWN: usize = 512;
const LONGEST: Duration = Duration::from_secs(3_600);
/// For what says no time of its own.
const SHORT: Duration = Duration::from_secs(30);

type Key = (Name, u16);

/// One upstream, as the library sees it.
#[derive(Clone)]
pub struct Keys {
    line: Arc<Line>,
    known: Arc<Mutex<HashMap<Key, (Message, Instant)>>>,
    losses: Arc<AtomicU64>,
}

impl Keys {
    pub fn new(line: Arc<Line>) -> Keys {
        Keys { line, known: Arc::default(), losses: Arc::default() }
    }

    /// Questions of its own that came to nothing so far: what is not proven then is not therefore false.
    pub fn losses(&self) -> u64 {
        self.losses.load(Ordering::SeqCst)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Key, (Message, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next question for this is answered with `message`.
    pub fn give(&self, name: &Name, kind: u16, message: &Message) {
        self.remember((name.clone(), kind), message, SHORT);
    }

    pub fn forget(&self, name: &Name, kind: u16) {
        self.known().remove(&(name.clone(), kind));
    }

    /// Something of what was told is false: it is asked again.
    pub fn forget_all(&self) {
        self.known().clear();
    }

    fn remember(&self, key: Key, message: &Message, life: Duration) {
        let now = Instant::now();
        let mut known = self.known();
        if known.len() >= KNOWN {
            known.retain(|_, (_, end)| now < *end);
        }
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(key, (message.clone(), now + life));
    }

    async fn answer(&self, request: &DnsRequest) -> Result<Message, NetError> {
        let Some(query) = request.queries.first() else { return Err("there is no question".into()) };
        let (name, kind) = (query.name.to_lowercase(), u16::from(query.query_type));
        let found = self.known().get(&(name.clone(), kind)).filter(|(_, end)| Instant::now() < *end).cloned();
        if let Some((message, _)) = found {
            return Ok(message);
        }
        match self.ask(&name, kind).await {
            Ok((message, ttl)) => {
                let life = Duration::from_secs(ttl.into()).clamp(Duration::from_secs(1), LONGEST);
                self.remember((name, kind), &message, life);
                Ok(message)
            }
            Err(why) => {
                self.losses.fetch_add(1, Ordering::SeqCst);
                Err(why.into())
            }
        }
    }

    /// Only what belongs to the question comes back.
    async fn ask(&self, name: &Name, kind: u16) -> Result<(Message, u32), String> {
        let asked = signed(name, kind);
        let answer = self.line.ask(&ask::message(&asked, name)).await?;
        let forwarding = Forwarding::default();
        let rules = Rules { names: None, forwarding: &forwarding, private: true };
        let screened = rules.screen(&answer, &asked, name).map_err(|e| e.to_string())?;
        Ok((screened.message, screened.ttl))
    }
}

/// A question whose answer comes with signatures, and as it is: we judge ourselves (RFC 6840 section 5.9).
pub fn signed(name: &Name, kind: u16) -> Asked {
    let text = name.to_ascii().to_ascii_lowercase();
    let name = text.strip_suffix('.').unwrap_or(&text).to_owned();
    Asked { name, kind, dnssec_ok: true, checking_disabled: true }
}

impl DnsHandle for Keys {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let keys = self.clone();
        Box::pin(once(async move {
            let message = keys.answer(&request).await?;
            DnsResponse::from_message(message).map_err(NetError::from)
        }))
    }
}
