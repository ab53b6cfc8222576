//! The door and the offloads, against slow judges.

mod classify;
mod offload;

use warren_config::policy::Protocol;

use super::Tuple;
use super::forge::tuple;

pub(super) fn ends(v4: bool, protocol: Protocol) -> Tuple {
    if v4 {
        tuple(protocol, "100.64.0.1", 40_000, "100.64.0.2", 443)
    } else {
        tuple(protocol, "fd00::1", 40_000, "fd00::2", 443)
    }
}
