//! The way to the coordinator: QUIC (RFC 9000) with TLS 1.3 and raw public keys both ways (RFC 7250).
//!
//! Coordinator addresses come from the token and the state directory, never from names this agent serves; an address
//! that was reached once is remembered while its name does not resolve.

mod channel;
mod connect;
mod enrol;
mod probe;
mod tls;

pub use channel::{Channel, Event};
pub use connect::{ConnectError, Connector, Link};
pub use enrol::{EnrolFailure, Tried, enrol};

pub(crate) use connect::{SERVER_NAME, bound};
pub(crate) use tls::{Stranger, door as door_tls, quic_door as quic_door_tls};
