//! The door of the API on the network: who asks, from where, for whom. Everything is judged by headers; no byte of a body is
//! read before.
//!
//! In this order: the `Host` must be one of ours (a name an attacker points at loopback is not: DNS rebinding); a browser
//! must not ask for another site's page (`Origin`, `Sec-Fetch-Site`); then a key or a session; and a session must bring its
//! CSRF token with everything that is not a question.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use warren_config::time::UnixTime;
use warren_coordinator_core::access::{KeyRefused, KeyText};

use super::listen::Remote;
use super::sessions::{Session, Sessions};
use crate::api::caller::Principal;
use crate::api::problem::{Kind, Problem};
use crate::clock;
use crate::keyring::KeyRing;
use crate::source::Source;

pub const COOKIE: &str = "warren_session";
pub const CSRF: &str = "warren-csrf";
/// Wrong keys of one source in a minute; then it waits.
const WRONG: u32 = 20;
/// Largest body before anybody is known: a key or a code; and the time it may take.
pub const MAX_SIGN_IN: usize = 4096;
const SIGN_IN: std::time::Duration = std::time::Duration::from_secs(10);
/// Requests of one source in a second.
const PER_SECOND: u32 = 500;
/// Sources that are told apart.
const SOURCES: usize = 10_000;

#[derive(Clone)]
pub struct WebDoor {
    pub keys: KeyRing,
    pub sessions: Sessions,
    hosts: Arc<BTreeSet<String>>,
    wrong: Counts,
    asked: Counts,
    /// Cookies are for TLS only.
    pub secure: bool,
}

impl WebDoor {
    /// `hosts`: names and addresses, without ports, under which this API is asked.
    pub fn new(keys: KeyRing, hosts: impl IntoIterator<Item = String>, secure: bool) -> WebDoor {
        let hosts = hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect();
        WebDoor {
            keys,
            sessions: Sessions::default(),
            hosts: Arc::new(hosts),
            wrong: Counts::default(),
            asked: Counts::default(),
            secure,
        }
    }

    /// Who may ask this at all, whoever it is.
    pub fn check_site(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        let host = single(headers, header::HOST.as_str()).unwrap_or_default();
        if !self.hosts.contains(&host_name(host).to_ascii_lowercase()) {
            return Err(Problem::new(
                Kind::Misdirected,
                format!("`{}` is not a name of this API", crate::text::plain(host, 100)),
            )
            .with_hint("ask for one of its own names, or add the name to `api.hosts` in the settings"));
        }
        let foreign = match single(headers, header::ORIGIN.as_str()) {
            Some(origin) => origin.split_once("://").is_none_or(|(_, of)| !of.eq_ignore_ascii_case(host)),
            None => false,
        };
        let site = single(headers, "sec-fetch-site").unwrap_or("none");
        let opened = method == Method::GET && single(headers, "sec-fetch-mode") == Some("navigate");
        if foreign || (!matches!(site, "same-origin" | "none") && !opened) {
            return Err(Problem::new(Kind::Forbidden, "a page of another site asked"));
        }
        Ok(())
    }

    /// The caller, by its key or by its session.
    pub fn check(
        &self,
        method: &Method,
        headers: &HeaderMap,
        from: IpAddr,
        now: UnixTime,
    ) -> Result<Principal, Problem> {
        if let Some(value) = single(headers, header::AUTHORIZATION.as_str()) {
            return self.check_key(bearer(value)?, from, now).map(|(who, _)| who);
        }
        let session = self.session(headers, now)?;
        let asks = matches!(*method, Method::GET | Method::HEAD);
        if !asks && single(headers, CSRF) != Some(session.csrf.as_str()) {
            return Err(Problem::new(
                Kind::Forbidden,
                format!("the header `{CSRF}` is missing or not this session's"),
            ));
        }
        Ok(session.who)
    }

    /// A key that is shown, and when it ends. Who shows wrong ones is slowed down; a right one is never refused for what
    /// others of its source do, because a key cannot be guessed.
    pub fn check_key(
        &self,
        text: &str,
        from: IpAddr,
        now: UnixTime,
    ) -> Result<(Principal, Option<UnixTime>), Problem> {
        let refused = |why: String| match self.may_try(from, now) {
            Ok(()) => {
                self.count_wrong(from, now);
                Problem::unauthenticated(why)
            }
            Err(problem) => problem,
        };
        let key = KeyText::parse(text).map_err(|e| refused(e.to_string()))?;
        // Whoever knows the secret of a key that has ended does not guess.
        let key = self.keys.check(&key, now).map_err(|why| match why {
            KeyRefused::Unknown => refused(why.to_string()),
            known => Problem::unauthenticated(known.to_string()),
        })?;
        Ok((Principal::of_key(&key), key.ends))
    }

    pub fn session(&self, headers: &HeaderMap, now: UnixTime) -> Result<Session, Problem> {
        let cookie = cookie(headers).ok_or_else(|| Problem::unauthenticated("no key was sent"))?;
        let session = self.sessions.find(cookie, now);
        let session = session.ok_or_else(|| Problem::unauthenticated("the session has ended"))?;
        match self.key_holds(&session.who, now) {
            Ok(()) => Ok(session),
            Err(why) => {
                self.sessions.close(cookie);
                Err(Problem::unauthenticated(why.to_string()))
            }
        }
    }

    /// Is the key, with which this caller came, still one?
    fn key_holds(&self, who: &Principal, now: UnixTime) -> Result<(), KeyRefused> {
        who.key().map_or(Ok(()), |key| self.keys.still(key, now).map(|_| ()))
    }

    /// May whoever began something long go on with it?
    pub fn still_good(&self, who: &Principal, now: UnixTime) -> bool {
        let in_session = who.session().is_none_or(|session| self.sessions.is_open(session, now));
        in_session && self.key_holds(who, now).is_ok()
    }

    pub fn may_try(&self, from: IpAddr, now: UnixTime) -> Result<(), Problem> {
        match self.wrong.of(from, now, 60) {
            count if count < WRONG => Ok(()),
            _ => Err(Problem::new(
                Kind::TooMany,
                format!("too many wrong keys from {from}: try again in a minute"),
            )),
        }
    }

    pub fn count_wrong(&self, from: IpAddr, now: UnixTime) {
        self.wrong.add(from, now, 60);
    }

    fn pace(&self, from: IpAddr, now: UnixTime) -> Result<(), Problem> {
        match self.asked.add(from, now, 1) {
            count if count <= PER_SECOND => Ok(()),
            _ => Err(Problem::new(
                Kind::TooMany,
                format!("more than {PER_SECOND} requests in a second from {from}: ask less often"),
            )),
        }
    }
}

/// How often something happened, per source, since the beginning of its present stretch of time.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<BTreeMap<Source, (UnixTime, u32)>>>);

impl Counts {
    fn of(&self, from: IpAddr, now: UnixTime, seconds: u64) -> u32 {
        self.0
            .lock()
            .get(&Source::of(from))
            .filter(|(since, _)| !is_over(*since, now, seconds))
            .map_or(0, |(_, count)| *count)
    }

    /// Counts one more; returns how many there are.
    fn add(&self, from: IpAddr, now: UnixTime, seconds: u64) -> u32 {
        let (from, mut counts) = (Source::of(from), self.0.lock());
        if counts.len() >= SOURCES {
            counts.retain(|_, (since, _)| !is_over(*since, now, seconds));
        }
        // Full of recent ones: the newest is told apart rather than all of them let go.
        if counts.len() >= SOURCES && !counts.contains_key(&from) {
            counts.pop_first();
        }
        let (since, count) = counts.entry(from).or_insert((now, 0));
        if is_over(*since, now, seconds) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count
    }
}

/// A stretch that began in time to come was begun by a clock that has been put back since: it would not end for long.
fn is_over(since: UnixTime, now: UnixTime, seconds: u64) -> bool {
    now < since || now.since(since) >= seconds
}

/// A header that must stand once, as text.
pub fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let only = values.next()?;
    if values.next().is_some() { None } else { only.to_str().ok() }
}

pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    let mut pairs =
        headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

fn bearer(value: &str) -> Result<&str, Problem> {
    let (kind, key) = value.split_once(' ').unwrap_or((value, ""));
    match kind.eq_ignore_ascii_case("bearer") {
        true => Ok(key.trim()),
        false => Err(Problem::unauthenticated("the header `authorization` must be `Bearer KEY`")),
    }
}

/// `Host` without the port (RFC 9110 section 7.2).
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// In front of everything: so many requests of one source in a second.
pub async fn paced(State(door): State<WebDoor>, request: Request, next: Next) -> Response {
    let from = source(&request);
    match door.pace(from, clock::now()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// In front of the sign-in: what says that it is too long is refused unread, and nobody takes his time.
pub async fn short(request: Request, next: Next) -> Response {
    let length = single(request.headers(), header::CONTENT_LENGTH.as_str());
    if length.is_some_and(|length| length.parse::<usize>().is_ok_and(|length| length > MAX_SIGN_IN)) {
        return Problem::new(Kind::TooLarge, format!("the body is over {MAX_SIGN_IN} bytes")).into_response();
    }
    match tokio::time::timeout(SIGN_IN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(Kind::BadRequest, "the body did not come in time").into_response(),
    }
}

fn source(request: &Request) -> IpAddr {
    request
        .extensions()
        .get::<ConnectInfo<Remote>>()
        .map_or(IpAddr::from([0, 0, 0, 0]), |remote| remote.0.0.ip())
}

/// In front of every route that is not public.
pub async fn keyed(State(door): State<WebDoor>, mut request: Request, next: Next) -> Response {
    let now = clock::now();
    let from = source(&request);
    request.extensions_mut().remove::<Principal>();
    let checked = door
        .check_site(request.method(), request.headers())
        .and_then(|()| door.check(request.method(), request.headers(), from, now));
    match checked {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(problem) => {
            tracing::debug!(%from, path = %request.uri().path().escape_debug(), problem = problem.word(), "refused");
            problem.into_response()
        }
    }
}

/// In front of the page and the sign-in: no key, but only for our own site.
pub async fn public(State(door): State<WebDoor>, request: Request, next: Next) -> Response {
    match door.check_site(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().expect("header"));
        }
        map
    }

    fn door() -> WebDoor {
        WebDoor::new(KeyRing::default(), ["localhost", "127.0.0.1", "::1"].map(String::from), false)
    }

    #[test]
    fn only_our_own_names_are_answered() {
        let ask = |host| door().check_site(&Method::GET, &headers(&[("host", host)])).is_ok();
        assert!(ask("localhost:7947") && ask("127.0.0.1") && ask("[::1]:7947") && ask("LOCALHOST"));
        assert!(!ask("evil.example:7947") && !ask("") && !ask("localhost.evil.example"));
        let twice = headers(&[("host", "localhost"), ("host", "localhost")]);
        assert!(door().check_site(&Method::GET, &twice).is_err());
    }

    #[test]
    fn pages_of_other_sites_get_nothing() {
        let ask = |method, more: &[(&'static str, &str)]| {
            let all = [&[("host", "localhost:1")], more].concat();
            door().check_site(&method, &headers(&all)).is_ok()
        };
        assert!(ask(Method::POST, &[("origin", "http://localhost:1"), ("sec-fetch-site", "same-origin")]));
        assert!(!ask(Method::POST, &[("origin", "http://evil.example")]));
        assert!(!ask(Method::POST, &[("origin", "null")]));
        assert!(!ask(Method::POST, &[("origin", "http://localhost:2")]));
        assert!(!ask(Method::GET, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")]));
        assert!(ask(Method::GET, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]));
        assert!(!ask(Method::POST, &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "navigate")]));
    }

    #[test]
    fn who_guesses_is_slowed_down_and_nobody_else() {
        let (door, now) = (door(), UnixTime(1000));
        let (guesser, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..WRONG {
            assert!(door.check_key("wrn_x", guesser, now).is_err_and(|p| p.is(Kind::Unauthenticated)));
        }
        assert!(door.check_key("wrn_x", guesser, now).is_err_and(|p| p.is(Kind::TooMany)));
        assert!(door.check_key("wrn_x", other, now).is_err_and(|p| p.is(Kind::Unauthenticated)));
        assert!(door.check_key("wrn_x", guesser, now.plus(60)).is_err_and(|p| p.is(Kind::Unauthenticated)));
    }

    #[test]
    fn a_clock_that_is_put_back_locks_nobody_out() {
        let (door, from) = (door(), IpAddr::from([10, 0, 0, 1]));
        let (before, after) = (UnixTime(10_000), UnixTime(6_400));
        for _ in 0..PER_SECOND {
            assert!(door.pace(from, before).is_ok());
        }
        assert!(door.pace(from, before).is_err_and(|p| p.is(Kind::TooMany)));
        (0..WRONG).for_each(|_| door.count_wrong(from, before));
        assert!(door.may_try(from, before).is_err());
        assert!(door.may_try(from, after).is_ok());
        for _ in 0..PER_SECOND {
            assert!(door.pace(from, after).is_ok());
        }
        assert!(door.pace(from, after).is_err(), "the limit holds at the new time, too");
        for second in 1..5 {
            assert!((0..PER_SECOND).all(|_| door.pace(from, after.plus(second)).is_ok()));
        }
    }

    #[test]
    fn a_cookie_is_found_among_others_and_not_by_a_prefix() {
        assert_eq!(cookie(&headers(&[("cookie", "a=b; warren_session=xyz; c=d")])), Some("xyz"));
        assert_eq!(cookie(&headers(&[("cookie", "warren_session2=xyz")])), None);
    }
}
