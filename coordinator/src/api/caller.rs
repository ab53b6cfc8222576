//! Who is at the other end of the local socket. The kernel says it (`SO_PEERCRED`, unix(7)): the uid and gid of the
//! process that connected, which no later `exec` or reused process id changes.
//!
//! [`Principal`] is the proof that a caller was checked. It is made here and nowhere else, and every handler takes
//! one: a route that forgot to ask does not compile.

use std::fmt;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::extract::connect_info::Connected;
use axum::http::request::Parts;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

use super::problem::Problem;
use crate::account::Accounts;

/// Credentials of a connection, as the kernel gave them; `None` if it gave none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller(pub Option<(u32, u32)>);

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Caller {
        Caller(stream.io().peer_cred().ok().map(|cred| (cred.uid(), cred.gid())))
    }
}

/// A caller that may administer: `local:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(String);

impl Principal {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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
            return Ok(Principal(principal_name(&accounts, uid)));
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
impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Principal, Problem> {
        parts.extensions.get::<Principal>().cloned().ok_or_else(|| Problem::forbidden("unknown", None))
    }
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
        door(group).check(Caller(Some((uid, uid)))).ok().map(|p| p.0)
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
