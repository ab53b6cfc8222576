//! What is said to one question. Everything known here is said at once; only what must be asked elsewhere waits.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use warren_config::time::UnixTime;
use warren_node_core::names::forward::ask::{self, Asked};
use warren_node_core::names::forward::cache::Found;
use warren_node_core::names::forward::special::{self, Special};
use warren_node_core::names::forward::stored::{Age, Stored};
use warren_node_core::names::forward::{Failure, Route, code};
use warren_node_core::names::query::Query;
use warren_node_core::names::reply::{
    self, BADVERS, Body, Carrier, Extended, NOERROR, NXDOMAIN, REFUSED, Reply, SERVFAIL,
};
use warren_node_core::names::{Answer, Data, Names, Order, TTL_SECONDS, Type};

use super::flight;
use super::tally::{Class, Outcome};
use super::{Resolver, WAITING_EACH};
use crate::clock::boot;

/// With a stale answer at hand, an asker waits no longer than this (RFC 8767 section 5).
const STALE_PATIENCE: Duration = Duration::from_millis(1_800);
const IN: u16 = 1;
/// "Not Ready" (RFC 8914 section 4.15).
const NOT_READY: u16 = 14;

/// Of the places that are free, one asker may have the part that is one of so many.
const SHARE: usize = 8;

pub type Later = Pin<Box<dyn Future<Output = Vec<u8>> + Send>>;

pub enum Said {
    Now(Vec<u8>),
    Silence,
    Later(Later),
}

/// One question and how it came.
struct Question {
    query: Query,
    carrier: Carrier,
    asker: SocketAddr,
}

impl Resolver {
    /// `asker` must be this host or a container of it: peers are kept away by the packet filter, and refused here again.
    pub fn say(self: &Arc<Self>, bytes: &[u8], asker: SocketAddr, carrier: Carrier) -> Said {
        let query = match Query::read(bytes) {
            Ok(query) => query,
            Err(what) => {
                self.tally.count(Class::Broken, Outcome::Refused);
                return reply::unanswerable(what).map_or(Said::Silence, Said::Now);
            }
        };
        let question = Question { query, carrier, asker };
        if !self.may_ask(asker.ip()) {
            return self.refuse(&question, REFUSED, None);
        }
        match question.query.edns {
            Some(edns) if edns.version != 0 => return self.refuse(&question, BADVERS, None),
            _ if question.query.class != IN => return self.refuse(&question, REFUSED, None),
            _ => {}
        }
        self.say_name(question)
    }

    fn refuse(&self, question: &Question, code: u16, extended: Option<&Extended>) -> Said {
        self.tally.count(Class::Broken, Outcome::Refused);
        Said::Now(plain(question, code, extended))
    }

    fn say_name(self: &Arc<Self>, question: Question) -> Said {
        let names = self.names.load();
        let Some(names) = names.as_ref() else {
            let text = "this node has no view of its network yet".to_owned();
            self.count(&question.query.name, Class::Overlay, Outcome::Failed);
            return Said::Now(plain(&question, SERVFAIL, Some(&Extended { code: NOT_READY, text })));
        };
        let now = self.clock.now().wall();
        match self.overlay(names, &question.query, now) {
            Answer::NotOurs => self.say_elsewhere(question),
            answer => {
                let refused = answer == Answer::Refused;
                let outcome = if refused { Outcome::Refused } else { Outcome::Local };
                self.count(&question.query.name, Class::Overlay, outcome);
                Said::Now(written(names, &question, &answer, now, self.forwards()))
            }
        }
    }

    fn overlay(&self, names: &Names, query: &Query, now: UnixTime) -> Answer {
        let standings = self.standings.load();
        let order = Order { turn: self.next_turn(), standings: &standings };
        names.answer_lower(&query.name, Type::of(query.kind), now, order)
    }

    fn forwards(&self) -> bool {
        !self.outward.load().forwarding.is_empty()
    }

    fn say_elsewhere(self: &Arc<Self>, question: Question) -> Said {
        match self.outward.load().forwarding.route(&question.query.name) {
            Route::Special(special) => {
                self.count(&question.query.name, Class::Special, Outcome::Local);
                Said::Now(said_of(special, &question))
            }
            Route::Nobody => {
                self.count(&question.query.name, Class::Elsewhere, Outcome::Refused);
                let text = "not in this network's zone, and no encrypted upstream is set".to_owned();
                let extended = Extended { code: code::NOT_AUTHORITATIVE, text };
                Said::Now(plain(&question, REFUSED, Some(&extended)))
            }
            Route::Group(group) => self.say_from(group, question),
        }
    }

    fn say_from(self: &Arc<Self>, group: usize, question: Question) -> Said {
        let class = if group == 0 { Class::Forwarded } else { Class::Split };
        let asked = Asked::of(&question.query);
        let found = self.cache().find(&asked, boot());
        match found {
            Found::Fresh { stored, age, prefetch } => {
                if prefetch {
                    self.prefetch(group, &asked, &question);
                }
                self.count(&asked.name, class, Outcome::Local);
                Said::Now(delivered(&stored, &question, Age::Seconds(age), None))
            }
            // Nobody is asked before the recheck timer has run out (RFC 8767 section 5).
            Found::Stale { stored, hopeless: true } => {
                self.count(&asked.name, class, Outcome::Stale);
                Said::Now(stale(&stored, &question))
            }
            // Only what is known is said to those who want no recursion (RFC 1035 section 4.1.1).
            _ if !question.query.recursion_desired => {
                self.count(&asked.name, class, Outcome::Refused);
                Said::Now(plain(&question, REFUSED, None))
            }
            // Nor what has just failed (RFC 9520).
            Found::Stale { stored, .. } if self.failed_lately(&asked).is_some() => {
                self.tally.count_remembered();
                self.count(&asked.name, class, Outcome::Stale);
                Said::Now(stale(&stored, &question))
            }
            Found::Stale { stored, .. } => self.say_later(group, class, asked, question, Some(stored)),
            Found::Missing => match self.failed_lately(&asked) {
                Some(failure) => {
                    self.tally.count_remembered();
                    self.count(&asked.name, class, failure_outcome(&failure));
                    Said::Now(failed(&failure, &question))
                }
                None => self.say_later(group, class, asked, question, None),
            },
        }
    }

    pub(super) fn failed_lately(&self, asked: &Asked) -> Option<Failure> {
        self.failures().find(asked, boot()).cloned()
    }

    /// Asks ahead of time; nobody waits for it.
    fn prefetch(self: &Arc<Self>, group: usize, asked: &Asked, question: &Question) {
        if let (Some(name), true) =
            (ask::name_of(&question.query.question), self.waiting.available_permits() > 0)
        {
            self.tally.count_prefetch();
            drop(self.fly(group, asked, name));
        }
    }

    fn say_later(
        self: &Arc<Self>,
        group: usize,
        class: Class,
        asked: Asked,
        question: Question,
        stored: Option<Arc<Stored>>,
    ) -> Said {
        let Some(name) = ask::name_of(&question.query.question) else {
            self.tally.count(Class::Broken, Outcome::Refused);
            return Said::Now(plain(&question, u16::from(warren_node_core::names::query::FORMERR), None));
        };
        let Some(room) = Room::take(self, question.asker) else {
            self.tally.count_dropped();
            return Said::Now(failed(&Failure::Busy, &question));
        };
        let resolver = Arc::clone(self);
        Said::Later(Box::pin(async move {
            let ending = flight::end(resolver.fly(group, &asked, name));
            let outcome = match &stored {
                None => Some(ending.await),
                Some(_) => timeout(STALE_PATIENCE, ending).await.ok(),
            };
            drop(room);
            let count = |outcome| resolver.count(&asked.name, class, outcome);
            match (outcome, stored) {
                (Some(Ok(won)), _) => {
                    count(Outcome::Upstream);
                    delivered(&won.stored, &question, Age::Seconds(0), None)
                }
                // What must not be passed on does not become better by an old answer.
                (Some(Err(failure)), None) => {
                    count(failure_outcome(&failure));
                    failed(&failure, &question)
                }
                (Some(Err(failure)), _) if failure.is_verdict() => {
                    count(failure_outcome(&failure));
                    failed(&failure, &question)
                }
                (Some(Err(_)) | None, Some(stored)) => {
                    count(Outcome::Stale);
                    stale(&stored, &question)
                }
                (None, None) => failed(&Failure::Busy, &question),
            }
        }))
    }
}

fn failure_outcome(failure: &Failure) -> Outcome {
    if matches!(failure, Failure::Screened(_)) { Outcome::Refused } else { Outcome::Failed }
}

/// A place among those who wait; one asker cannot take them all.
struct Room {
    resolver: Arc<Resolver>,
    asker: SocketAddr,
    _permit: OwnedSemaphorePermit,
}

impl Room {
    fn take(resolver: &Arc<Resolver>, asker: SocketAddr) -> Option<Room> {
        // The fewer places are free, the fewer one asker may have: there is one for whoever has none.
        let most = (resolver.waiting.available_permits() / SHARE).clamp(1, WAITING_EACH);
        let mut askers = resolver.askers.lock().unwrap_or_else(PoisonError::into_inner);
        if askers.get(&asker).is_some_and(|count| *count >= most) {
            return None;
        }
        let permit = Arc::clone(&resolver.waiting).try_acquire_owned().ok()?;
        let count = askers.entry(asker).or_default();
        *count += 1;
        Some(Room { resolver: Arc::clone(resolver), asker, _permit: permit })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut askers = self.resolver.askers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = askers.get_mut(&self.asker) {
            *count -= 1;
            if *count == 0 {
                askers.remove(&self.asker);
            }
        }
    }
}

fn written(names: &Names, question: &Question, answer: &Answer, now: UnixTime, available: bool) -> Vec<u8> {
    let soa = matches!(answer, Answer::NoData | Answer::NxDomain).then(|| names.soa());
    let zone = names.zone_above(&question.query.name);
    let nothing = soa.as_ref().map_or(Body::Empty, |soa| Body::Nothing { zone, soa });
    let (code, body) = match answer {
        Answer::Records(records) => (NOERROR, Body::Records(records)),
        Answer::NoData => (NOERROR, nothing),
        Answer::NxDomain => (NXDOMAIN, nothing),
        Answer::NotOurs | Answer::Refused => (REFUSED, Body::Empty),
    };
    let authoritative = code != REFUSED;
    Reply { code, authoritative, recursion_available: available, body, ttl: names.ttl(now), extended: None }
        .write(&question.query, question.carrier)
}

fn said_of(special: Special, question: &Question) -> Vec<u8> {
    let found: Vec<Data> = match special {
        Special::Loopback => special::loopback(Type::of(question.query.kind)),
        Special::Absent(_) => Vec::new(),
    };
    let (code, extended) = match special {
        Special::Loopback => (NOERROR, None),
        Special::Absent(why) => (NXDOMAIN, Some(Extended { code: code::BLOCKED, text: why.to_owned() })),
    };
    let (zone, soa) = special::zone(&question.query.name);
    let body = if found.is_empty() { Body::Nothing { zone, soa: &soa } } else { Body::Records(&found) };
    let (ttl, extended) = (TTL_SECONDS, extended.as_ref());
    Reply { code, authoritative: false, recursion_available: true, body, ttl, extended }
        .write(&question.query, question.carrier)
}

fn plain(question: &Question, code: u16, extended: Option<&Extended>) -> Vec<u8> {
    let (body, ttl) = (Body::Empty, TTL_SECONDS);
    Reply { code, authoritative: false, recursion_available: true, body, ttl, extended }
        .write(&question.query, question.carrier)
}

fn failed(failure: &Failure, question: &Question) -> Vec<u8> {
    let (code, extended) = failure.explain();
    plain(question, code, Some(&extended))
}

fn delivered(stored: &Stored, question: &Question, age: Age, extended: Option<&Extended>) -> Vec<u8> {
    let bytes = stored.deliver(&question.query, age, question.carrier, extended);
    bytes.unwrap_or_else(|| plain(question, SERVFAIL, None))
}

fn stale(stored: &Stored, question: &Question) -> Vec<u8> {
    let code = if stored.is_nxdomain() { code::STALE_NXDOMAIN } else { code::STALE };
    let text = "no upstream answers now; this is what was known before".to_owned();
    delivered(stored, question, Age::Stale, Some(&Extended { code, text }))
}
