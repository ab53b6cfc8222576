//! Who is signed in on the page. A session is a random number in a cookie; only its hash is kept, in memory, so a restart
//! signs everybody out. A session that began with an API key ends with it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use warren_config::time::UnixTime;
use warren_coordinator_core::access::Scope;
use zeroize::Zeroizing;

use crate::api::caller::Principal;
use crate::clock;

/// A session ends after so long, and after so long without a request; seconds.
const LIFE: u64 = 12 * 3600;
const IDLE: u64 = 2 * 3600;
/// A link of `warren ui` may be opened for so long, once.
pub const LINK_LIFE: u64 = 300;
/// Sessions and links at a time; beyond it the oldest goes.
const MAX: usize = 1000;

type Hash = [u8; 32];

/// What a session or an unopened link is called outside: nobody gets in with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct SessionId(String);

impl SessionId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn parse(text: &str) -> Option<SessionId> {
        let is_id = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        is_id.then(|| SessionId(text.to_owned()))
    }
    /// Of a random number's hash so much that no two are alike, and nobody finds the number.
    fn of(hash: &Hash) -> SessionId {
        SessionId(hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }
}

#[derive(Clone, Debug)]
pub struct Session {
    pub who: Principal,
    /// Must come back in a header of every request that changes something.
    pub csrf: String,
    pub began: UnixTime,
    pub ends: UnixTime,
    used: UnixTime,
    from: IpAddr,
    /// The link that opened it: whoever ends that means this.
    link: Option<SessionId>,
}

/// Which sessions, and links that were not opened yet, are to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Which {
    Id(SessionId),
    /// Of this person or key: `local:NAME` or `key:NAME`.
    Name(String),
    All,
}

impl Which {
    fn fits_session(&self, hash: &Hash, session: &Session) -> bool {
        let of_link = matches!(self, Which::Id(id) if session.link.as_ref() == Some(id));
        of_link || self.fits(hash, &session.who)
    }

    fn fits(&self, hash: &Hash, who: &Principal) -> bool {
        match self {
            Which::Id(id) => *id == SessionId::of(hash),
            Which::Name(name) => name == who.as_str(),
            Which::All => true,
        }
    }
}

/// A session of the page, or a link that was not opened yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SessionRow {
    pub id: SessionId,
    /// `local:NAME` or `key:NAME`.
    pub name: String,
    pub scope: Scope,
    pub began: UnixTime,
    pub ends: UnixTime,
    /// Its last request, and where it signed in from; none: a link that was not opened yet.
    pub used: Option<UnixTime>,
    #[schema(value_type = Option<String>)]
    pub from: Option<IpAddr>,
}

#[derive(Debug)]
struct Link {
    who: Principal,
    made: UnixTime,
}

/// All sessions and unopened links.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    inner: Arc<Mutex<Inner>>,
    ended: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<Hash, Session>,
    links: HashMap<Hash, Link>,
}

fn hash(kind: &str, text: &str) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(b"warren web v1\0");
    hasher.update(kind.as_bytes());
    hasher.update([0]);
    hasher.update(text.as_bytes());
    hasher.finalize().into()
}

fn random() -> Result<Zeroizing<String>, clock::NoRandom> {
    let bytes = clock::secret::<32>()?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
}

impl Sessions {
    /// Returns what goes into the cookie.
    pub fn open(
        &self,
        who: Principal,
        until: Option<UnixTime>,
        from: IpAddr,
        now: UnixTime,
    ) -> Result<(Zeroizing<String>, Session), clock::NoRandom> {
        let (secret, csrf) = (random()?, random()?.to_string());
        let ends = until.map_or(now.plus(LIFE), |until| until.min(now.plus(LIFE)));
        let session = Session { who, csrf, began: now, ends, used: now, from, link: None };
        let session = self.inner.lock().open(&secret, session);
        Ok((secret, session))
    }

    pub fn find(&self, cookie: &str, now: UnixTime) -> Option<Session> {
        let mut inner = self.inner.lock();
        let session = inner.sessions.get_mut(&hash("session", cookie)).filter(|s| s.is_good(now))?;
        session.used = now;
        Some(session.clone())
    }

    pub fn close(&self, cookie: &str) {
        self.inner.lock().sessions.remove(&hash("session", cookie));
        self.ended.send_replace(());
    }

    /// Changes whenever somebody has ended a session, or several.
    pub fn ended(&self) -> watch::Receiver<()> {
        self.ended.subscribe()
    }

    /// Has it neither ended nor been ended?
    pub fn is_open(&self, id: &SessionId, now: UnixTime) -> bool {
        let inner = self.inner.lock();
        inner.sessions.iter().any(|(hash, session)| SessionId::of(hash) == *id && session.is_good(now))
    }

    /// Oldest first.
    pub fn rows(&self, which: &Which, now: UnixTime) -> Vec<SessionRow> {
        let inner = self.inner.lock();
        let row = |hash, who: &Principal, began, ends| SessionRow {
            id: SessionId::of(hash),
            name: who.to_string(),
            scope: who.scope(),
            began,
            ends,
            used: None,
            from: None,
        };
        let sessions = inner.sessions.iter().filter(|(_, session)| session.is_good(now));
        let sessions =
            sessions.filter(|(hash, session)| which.fits_session(hash, session)).map(|(hash, s)| {
                SessionRow { used: Some(s.used), from: Some(s.from), ..row(hash, &s.who, s.began, s.ends) }
            });
        let links = inner.links.iter().filter(|(_, link)| now < link.made.plus(LINK_LIFE));
        let links = links
            .filter(|(hash, link)| which.fits(hash, &link.who))
            .map(|(hash, link)| row(hash, &link.who, link.made, link.made.plus(LINK_LIFE)));
        let mut rows: Vec<SessionRow> = sessions.chain(links).collect();
        rows.sort_by(|a, b| (a.began, &a.id).cmp(&(b.began, &b.id)));
        rows
    }

    /// From now on they open nothing.
    pub fn end(&self, which: &Which) {
        let mut inner = self.inner.lock();
        inner.sessions.retain(|hash, session| !which.fits_session(hash, session));
        inner.links.retain(|hash, link| !which.fits(hash, &link.who));
        drop(inner);
        self.ended.send_replace(());
    }

    /// A code that opens one session within [`LINK_LIFE`].
    pub fn link(&self, who: Principal, now: UnixTime) -> Result<Zeroizing<String>, clock::NoRandom> {
        let code = random()?;
        let mut inner = self.inner.lock();
        inner.links.retain(|_, link| now < link.made.plus(LINK_LIFE));
        make_room(&mut inner.links, |link| link.made);
        inner.links.insert(hash("link", &code), Link { who, made: now });
        Ok(code)
    }

    /// A session for the code of a link, once: whoever comes second gets nothing. In one step, so that whoever ends the link
    /// meanwhile finds it, or the session.
    pub fn redeem(
        &self,
        code: &str,
        from: IpAddr,
        now: UnixTime,
    ) -> Result<Option<(Zeroizing<String>, Session)>, clock::NoRandom> {
        let (secret, csrf, key) = (random()?, random()?.to_string(), hash("link", code));
        let mut inner = self.inner.lock();
        let link = inner.links.remove(&key).filter(|link| now < link.made.plus(LINK_LIFE));
        Ok(link.map(|Link { who, .. }| {
            let (ends, link) = (now.plus(LIFE), Some(SessionId::of(&key)));
            let session = inner.open(&secret, Session { who, csrf, began: now, ends, used: now, from, link });
            (secret, session)
        }))
    }
}

impl Inner {
    /// Whoever asks in it is known to be in it.
    fn open(&mut self, secret: &str, session: Session) -> Session {
        let (key, now) = (hash("session", secret), session.began);
        let session = Session { who: session.who.in_session(SessionId::of(&key)), ..session };
        self.sessions.retain(|_, s| s.is_good(now));
        make_room(&mut self.sessions, |s| s.used);
        self.sessions.insert(key, session.clone());
        session
    }
}

impl Session {
    fn is_good(&self, now: UnixTime) -> bool {
        now < self.ends && now < self.used.plus(IDLE)
    }
}

fn make_room<T>(all: &mut HashMap<Hash, T>, age: impl Fn(&T) -> UnixTime) {
    if all.len() >= MAX
        && let Some(oldest) = all.iter().min_by_key(|(_, one)| age(one)).map(|(hash, _)| *hash)
    {
        all.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Accounts;
    use crate::api::caller::{Caller, Doorkeeper};

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn root() -> Principal {
        let door = Doorkeeper::new(0, None, || Accounts::of_text("root:x:0:0:\n", ""));
        door.check(Caller(Some((0, 0)))).expect("root")
    }

    #[test]
    fn a_link_opens_one_session_and_only_in_time() {
        let sessions = Sessions::default();
        let code = sessions.link(root(), UnixTime(100)).expect("random");
        let redeem = |code: &str, at| sessions.redeem(code, HERE, UnixTime(at)).expect("random");
        assert!(redeem(&code, 101).is_some());
        assert!(redeem(&code, 101).is_none(), "once");
        let late = sessions.link(root(), UnixTime(100)).expect("random");
        assert!(redeem(&late, 100 + LINK_LIFE).is_none());
        assert!(redeem("", 100).is_none());
    }

    #[test]
    fn whoever_ends_a_link_ends_the_session_that_it_opened_meanwhile() {
        let (sessions, now) = (Sessions::default(), UnixTime(100));
        let (other, _) = sessions.open(root(), None, HERE, now).expect("random");
        let code = sessions.link(root(), now).expect("random");
        let link =
            sessions.rows(&Which::All, now).into_iter().find(|row| row.used.is_none()).expect("a link");
        let opened = sessions.redeem(&code, HERE, now).expect("random");
        let (cookie, session) = opened.expect("in time");
        let which = Which::Id(link.id);
        let found: Vec<SessionId> = sessions.rows(&which, now).into_iter().map(|row| row.id).collect();
        assert_eq!(
            found.iter().collect::<Vec<_>>(),
            session.who.session().iter().copied().collect::<Vec<_>>()
        );
        sessions.end(&which);
        assert!(sessions.find(&cookie, now).is_none() && sessions.find(&other, now).is_some());
    }

    #[test]
    fn a_session_ends_by_idleness_by_age_and_with_its_key() {
        let sessions = Sessions::default();
        let (cookie, _) = sessions.open(root(), None, HERE, UnixTime(0)).expect("random");
        assert!(sessions.find(&cookie, UnixTime(IDLE - 1)).is_some());
        assert!(sessions.find(&cookie, UnixTime(2 * IDLE)).is_none());
        let (cookie, _) = sessions.open(root(), Some(UnixTime(50)), HERE, UnixTime(0)).expect("random");
        assert!(sessions.find(&cookie, UnixTime(49)).is_some());
        assert!(sessions.find(&cookie, UnixTime(50)).is_none());
        let (cookie, _) = sessions.open(root(), None, HERE, UnixTime(0)).expect("random");
        sessions.close(&cookie);
        assert!(sessions.find(&cookie, UnixTime(1)).is_none());
    }

    #[test]
    fn sessions_and_links_are_ended_by_id_by_name_or_all() {
        let (sessions, now) = (Sessions::default(), UnixTime(100));
        let open = || sessions.open(root(), None, HERE, now).expect("random");
        let (mine, session) = open();
        let (other, _) = open();
        let code = sessions.link(root(), now).expect("random");
        let rows = sessions.rows(&Which::All, now);
        assert_eq!((rows.len(), rows.iter().filter(|row| row.used.is_none()).count()), (3, 1));
        let id = session.who.session().expect("of a session").clone();
        assert!(sessions.is_open(&id, now) && !mine.contains(id.as_str()));
        sessions.end(&Which::Id(id.clone()));
        assert!(!sessions.is_open(&id, now) && sessions.find(&mine, now).is_none());
        assert!(sessions.find(&other, now).is_some());
        sessions.end(&Which::Name("local:nobody".into()));
        assert_eq!(sessions.rows(&Which::All, now).len(), 2);
        sessions.end(&Which::Name("local:root".into()));
        assert!(sessions.find(&other, now).is_none());
        assert!(sessions.redeem(&code, HERE, now).expect("random").is_none());
        open();
        sessions.end(&Which::All);
        assert_eq!(sessions.rows(&Which::All, now), []);
    }

    #[test]
    fn their_number_is_bounded() {
        let sessions = Sessions::default();
        let (first, _) = sessions.open(root(), None, HERE, UnixTime(0)).expect("random");
        for _ in 0..MAX {
            sessions.open(root(), None, HERE, UnixTime(1)).expect("random");
        }
        assert!(sessions.find(&first, UnixTime(1)).is_none());
        assert_eq!(sessions.inner.lock().sessions.len(), MAX);
    }
}
