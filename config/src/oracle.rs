//! The slow judge: reads like the specification, shares only the resolved [`Policy`] with the compiler.

use crate::policy::{Policy, Protocol, Subject};
use crate::time::UnixTime;

/// May `from` open `protocol`/`port` at `to` at `now`, by an enforced grant, in `enforce` mode?
pub fn allows(
    _policy: &Policy,
    _from: &Subject,
    _to: &Subject,
    _protocol: Protocol,
    _port: u16,
    _now: UnixTime,
) -> bool {
    todo!()
}
