//! The coordinator's hands: sockets, files, the store, the local API and the command `warren`. What is true and who
//! may is decided in `warren-coordinator-core`; nothing here has an opinion.
//!
//! - [`serve`]: the service put together. [`owner`]: the one task that holds the coordinator. [`channel`]: QUIC. [`relay`]: frames of nodes that find
//!   no way to each other. [`door`]: both, for networks without UDP.
//! - [`store`]: SQLite. [`state_dir`], [`files`], [`authority`]: what lies on the disk, and how.
//! - [`api`]: the HTTP API on the local socket. [`client`]: its other end. [`cli`]: the command, which uses only that.
//! - [`events`]: what happens, for those who listen; [`otlp`]: flow records for a receiver elsewhere.
//! - [`strangers`]: answers to addresses that nobody has proven. [`source`]: whom a stranger is counted as.
//! - [`tls`]: raw public keys. [`clock`]: the only reader of time and randomness. [`account`], [`text`], [`network`].

#![forbid(unsafe_code)]

pub mod account;
pub mod api;
pub mod authority;
pub mod channel;
pub mod cli;
pub mod client;
pub mod clock;
pub mod door;
pub mod events;
pub mod files;
pub mod keyring;
mod memory;
mod meter;
pub mod network;
pub mod otlp;
pub mod outpost;
pub mod owner;
pub mod relay;
pub mod serve;
pub mod source;
pub mod state_dir;
pub mod store;
pub mod strangers;
pub mod stun;
pub mod text;
pub mod tls;
