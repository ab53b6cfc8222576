//! Who is signed in on the page. A session is a random number in a cookie; only its hash is kept, in memory, so a restart
//! signs everybody out. A session that began with an API key ends with it.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use warren_config::time::UnixTime;
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

#[derive(Clone, Debug)]
pub struct Session {
    pub who: Principal,
    /// Must come back in a header of every request that changes something.
    pub csrf: String,
    pub began: UnixTime,
    pub ends: UnixTime,
    used: UnixTime,
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
        now: UnixTime,
    ) -> Result<(Zeroizing<String>, Session), clock::NoRandom> {
        let (secret, csrf) = (random()?, random()?.to_string());
        let ends = until.map_or(now.plus(LIFE), |until| until.min(now.plus(LIFE)));
        let session = Session { who, csrf, began: now, ends, used: now };
        let mut inner = self.inner.lock();
        inner.sessions.retain(|_, s| s.is_good(now));
        make_room(&mut inner.sessions, |s| s.used);
        inner.sessions.insert(hash("session", &secret), session.clone());
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

    /// Once: whoever comes second gets nothing.
    pub fn redeem(&self, code: &str, now: UnixTime) -> Option<Principal> {
        let link = self.inner.lock().links.remove(&hash("link", code))?;
        (now < link.made.plus(LINK_LIFE)).then_some(link.who)
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

    fn root() -> Principal {
        let door = Doorkeeper::new(0, None, || Accounts::of_text("root:x:0:0:\n", ""));
        door.check(Caller(Some((0, 0)))).expect("root")
    }

    #[test]
    fn a_link_opens_one_session_and_only_in_time() {
        let sessions = Sessions::default();
        let code = sessions.link(root(), UnixTime(100)).expect("random");
        assert!(sessions.redeem(&code, UnixTime(101)).is_some());
        assert!(sessions.redeem(&code, UnixTime(101)).is_none(), "once");
        let late = sessions.link(root(), UnixTime(100)).expect("random");
        assert!(sessions.redeem(&late, UnixTime(100 + LINK_LIFE)).is_none());
        assert!(sessions.redeem("", UnixTime(100)).is_none());
    }

    #[test]
    fn a_session_ends_by_idleness_by_age_and_with_its_key() {
        let sessions = Sessions::default();
        let (cookie, _) = sessions.open(root(), None, UnixTime(0)).expect("random");
        assert!(sessions.find(&cookie, UnixTime(IDLE - 1)).is_some());
        assert!(sessions.find(&cookie, UnixTime(2 * IDLE)).is_none());
        let (cookie, _) = sessions.open(root(), Some(UnixTime(50)), UnixTime(0)).expect("random");
        assert!(sessions.find(&cookie, UnixTime(49)).is_some());
        assert!(sessions.find(&cookie, UnixTime(50)).is_none());
        let (cookie, _) = sessions.open(root(), None, UnixTime(0)).expect("random");
        sessions.close(&cookie);
        assert!(sessions.find(&cookie, UnixTime(1)).is_none());
    }

    #[test]
    fn their_number_is_bounded() {
        let sessions = Sessions::default();
        let (first, _) = sessions.open(root(), None, UnixTime(0)).expect("random");
        for _ in 0..MAX {
            sessions.open(root(), None, UnixTime(1)).expect("random");
        }
        assert!(sessions.find(&first, UnixTime(1)).is_none());
        assert_eq!(sessions.inner.lock().sessions.len(), MAX);
    }
}
