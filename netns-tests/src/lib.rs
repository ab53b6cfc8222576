//! The real street: network namespaces, TUN devices, UDP, processes. Nothing here is a mock.
//!
//! - [`street`]: one namespace per host and one for the underlay between them, removed again whatever happens.
//! - [`process`]: commands and daemons inside a host.
//! - [`capture`]: what an eavesdropper on the underlay sees.
//! - [`warren`]: the two programs of Warren on a street.
//!
//! Traffic stays between namespaces that a test made itself; every wait is for something observed, with a limit.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test harness fails by panicking")]

pub mod capture;
pub mod process;
pub mod street;
pub mod town;
pub mod wait;
pub mod warren;
