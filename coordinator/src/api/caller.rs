//! Who is at the other end of the local socket. The kernel says it (`SO_PEERCRED`, unix(7)): the uid and gid of the
//! process that connected, which no later `exec` or reused process id changes.
//!
//! [`Principal`] is a caller that was checked, by its socket or by its key; [`Reader`], [`Operator`] and [`Admin`] are the proof
//! that it may do what a route does. They are made here and nowhere else, and every handler takes one: a route that
//! forgot to ask does not compile.

use std::fmt;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::extract::connect_info::Connected;
use axum::http::request::Parts;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

use super::problem::Problem;
use super::web::sessions::SessionId;
use warren_coordinator_core::access::{ApiKey, KeyId, Scope};

use crate::account::Accounts;

/// Credentials of a connection, as the kernel gave them; `None` if it gave none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller(pub Option<(u32, u32)>);

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Caller {
        Caller(stream.io().peer_cred().ok().map(|cred| (cred.uid(), cred.gid())))
    }
}

/// A caller that was checked, and what it may do. In the audit: `local:NAME` or `key:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    name: String,
    scope: Scope,
    /// The API key it showed: what it does ends with the key.
    key: Option<KeyId>,
    /// The session of the page in which it asks: what it does ends with that, too.
    session: Option<SessionId>,
}

impl Principal {
    pub fn as_str(&self) -> &str {
        &self.name
    }
    pub fn scope(&self) -> Scope {
        self.scope
    }
    pub fn key(&self) -> Option<&KeyId> {
        self.key.as_ref()
    }

    pub fn session(&self) -> Option<&SessionId> {
        self.session.as_ref()
    }

    /// Who showed this key.
    pub(super) fn of_key(key: &ApiKey) -> Principal {
        Principal {
            name: format!("key:{}", key.name),
            scope: key.scope,
            key: Some(key.id.clone()),
            session: None,
        }
    }

    /// The same person with less: what a link of `warren ui` gives away.
    pub(super) fn narrowed(&self, scope: Scope) -> Principal {
        Principal { scope: scope.min(self.scope), ..self.clone() }
    }

    /// The same, in a session of its own.
    pub(super) fn in_session(self, session: SessionId) -> Principal {
        Principal { session: Some(session), ..self }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A caller that may look.
#[derive(Clone, Debug)]
pub struct Reader(pub Principal);
/// A caller that may change what the authority has signed.
#[derive(Clone, Debug)]
pub struct Operator(pub Principal);
/// A caller that may give access to others, and take everything away.
#[derive(Clone, Debug)]
pub struct Admin(pub Principal);

/// Decides who may use the socket: root, the user the service runs as, members of one group.
#[derive(Clone)]
pub struct Doorkeeper {
    service_uid: u32,
    group: Option<String>,
    accounts: Arc<dyn Fn() -> Accounts + Send + Sync>,
}

impl Doorkeeper {
    pub fn new(
        service_uid: u32,
        group: Option<String>,
        accounts: impl Fn() -> Accounts + Send + Sync + 'static,
    ) -> Doorkeeper {
        Doorkeeper { service_uid, group, accounts: Arc::new(accounts) }
    }

    pub fn check(&self, caller: Caller) -> Result<Principal, Problem> {
        let Some((uid, gid)) = caller.0 else {
            return Err(Problem::forbidden("unknown", self.group.as_deref()));
        };
        let accounts = (self.accounts)();
        let member = |group: &String| accounts.is_member(uid, gid, group);
        if uid == 0 || uid == self.service_uid || self.group.as_ref().is_some_and(member) {
            let name = principal_name(&accounts, uid);
            return Ok(Principal { name, scope: Scope::Admin, key: None, session: None });
        }
        Err(Problem::forbidden(&principal_name(&accounts, uid), self.group.as_deref()))
    }
}

/// Names in `/etc/passwd` may hold anything but `:` and a line end; only plain ones go into the audit as they are.
fn principal_name(accounts: &Accounts, uid: u32) -> String {
    let plain = |name: &&str| {
        !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-$".contains(&b))
    };
    match accounts.user_name(uid).filter(plain) {
        Some(name) => format!("local:{name}"),
        None => format!("local:uid-{uid}"),
    }
}

/// The door checks once per request and leaves the proof in the request; a handler without it is refused.
fn principal_of(parts: &Parts, needed: Scope) -> Result<Principal, Problem> {
    let known = parts.extensions.get::<Principal>().ok_or_else(|| Problem::forbidden("unknown", None))?;
    match known.scope >= needed {
        true => Ok(known.clone()),
        false => Err(Problem::scope(known, needed)),
    }
}

macro_rules! proof_of {
    ($($name:ident $scope:ident,)*) => {$(
        impl $name {
            pub const SCOPE: Scope = Scope::$scope;
        }
        impl<S: Sync> FromRequestParts<S> for $name {
            type Rejection = Problem;
            async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<$name, Problem> {
                principal_of(parts, $name::SCOPE).map($name)
            }
        }
    )*};
}

proof_of! {
    Reader Read,
    Operator Operate,
    Admin Admin,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(group: Option<&str>) -> Doorkeeper {
        Doorkeeper::new(500, group.map(str::to_owned), || {
            Accounts::of_text(
                "root:x:0:0:\nada:x:1000:1000:\nbob:x:1001:1001:\nwarren:x:500:500:\n",
                "warren:x:500:ada\n",
            )
        })
    }
    fn may(group: Option<&str>, uid: u32) -> Option<String> {
        door(group).check(Caller(Some((uid, uid)))).ok().map(|p| p.name)
    }

    #[test]
    fn root_the_service_and_its_group_may_and_nobody_else() {
        assert_eq!(may(Some("warren"), 0).as_deref(), Some("local:root"));
        assert_eq!(may(Some("warren"), 500).as_deref(), Some("local:warren"));
        assert_eq!(may(Some("warren"), 1000).as_deref(), Some("local:ada"));
        assert_eq!(may(Some("warren"), 1001), None);
        assert_eq!(may(None, 1000), None, "without a group only root and the service");
        assert_eq!(may(Some("absent"), 1000), None);
        assert!(door(Some("warren")).check(Caller(None)).is_err(), "no credentials, no entry");
    }

    #[test]
    fn a_strange_user_name_does_not_reach_the_audit() {
        let accounts = Accounts::of_text("\u{1b}[31mx:x:7:7:\n", "");
        assert_eq!(principal_name(&accounts, 7), "local:uid-7");
        assert_eq!(principal_name(&accounts, 8), "local:uid-8");
    }
}
