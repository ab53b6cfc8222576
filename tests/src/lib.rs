//! The simulated world: a real coordinator and real nodes in one process, on virtual time, over seeded links.
//!
//! Nothing here decides what is allowed: [`model`] asks the slow judge of `warren-config`, [`laws`] compares after every
//! step what happened with what ought to be. One seed gives one run, to the byte; every failure names its seed.
//!
//! - [`clock`], [`random`], [`link`]: time, chance and the underlay.
//! - [`nat`], [`internet`]: NATs in front of nodes, regions, and who could meet whom; [`storm`] counts what everybody sends.
//! - [`packet`], [`host`]: the applications inside; they speak raw IP and know nothing of Warren.
//! - [`agent`], [`candidate`], [`disk`]: a node as its program runs it, before and after it is a member, and what it keeps.
//! - [`channel`], [`site`]: control connections, and the place where the coordinator runs, crashes and comes back; [`relay`]: its relay; [`annex`]: another one.
//! - [`administrator`]: holds the authority key; makes tokens, policies, amendments, revocations.
//! - [`policies`]: policy texts for scenarios.
//! - [`world`]: all of it together, one event at a time.
//! - [`seed`]: what the environment says about seeds.
//! - [`liar`]: a coordinator that holds everything but the authority key.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a world that breaks a law stops by panicking")]

pub mod administrator;
pub mod agent;
pub mod annex;
pub mod candidate;
pub mod channel;
pub mod clock;
pub mod disk;
pub mod host;
pub mod internet;
pub mod laws;
pub mod liar;
pub mod link;
pub mod model;
pub mod nat;
pub mod packet;
pub mod policies;
pub mod random;
pub mod relay;
pub mod seed;
pub mod site;
pub mod storm;
pub mod world;
