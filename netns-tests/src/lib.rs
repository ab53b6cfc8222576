//! The real street: network namespaces, TUN devices, UDP, processes. Nothing here is a mock.
//!
//! - [`street`]: one namespace per host and one for the underlay between them, removed again whatever happens.
//! - [`process`]: commands and daemons inside a host.
//! - [`capture`]: what an eavesdropper on the underlay sees.
//! - [`nameserver`]: encrypted DNS servers.
//! - [`pair`]: two nodes that may call each other.
//! - [`warren`]: the two programs of Warren on a street.
//! - [`attack`]: what the attack programs in `attacks/` share.
//! - [`external`]: a device with a stock WireGuard instead of an agent.
//! - [`nameserver`], [`signed`]: encrypted DNS servers, and a small internet whose names are signed; [`stock`]: resolvers.
//! - [`neighbours`]: two nodes behind NATs.
//! - [`nat`]: a host behind a NAT of a chosen kind; [`narrow`]: behind a link that carries little.
//! - [`fleet`]: many hosts behind a few NATs, brought up by one file.
//! - [`flows`]: one flow of every kind, and when each ended.
//! - [`streams`]: a download and an upload of which every byte is checked.
//! - [`siege`]: a town under attack, and what that costs others.
//! - [`alone`]: one agent alone with a peer that keeps no rule.
//! - [`watch`]: somebody knocks where nothing may be open, and an eavesdropper listens.
//! - [`weather`]: a bad link: late, lost, doubled, out of order, slow; from a seed.
//! - [`measure`]: what is counted at a target while it is attacked.
//!
//! Traffic stays between namespaces that a test made itself; every wait is for something observed, with a limit.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test harness fails by panicking")]

pub mod alone;
pub mod attack;
pub mod capture;
pub mod external;
pub mod fleet;
pub mod flows;
pub mod measure;
pub mod nameserver;
pub mod narrow;
pub mod nat;
pub mod neighbours;
pub mod outpost;
pub mod pair;
pub mod process;
pub mod siege;
pub mod signed;
pub mod stock;
pub mod streams;
pub mod street;
pub mod town;
pub mod unit;
pub mod wait;
pub mod warren;
pub mod watch;
pub mod weather;
