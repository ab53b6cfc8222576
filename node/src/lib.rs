//! The agent of one host: the thin hands round [`warren_node_core`].
//!
//! - [`agent`]: everything put together; the order of coming up and going down; the control loop.
//! - [`worker`]: threads that carry packets between the kernel and the data plane. [`tun`], [`udp`]: their devices;
//!   the system calls they need are in [`warren_kernel`], the only crate with `unsafe`.
//! - [`host`]: addresses, routes and guards, by netlink and nft.
//! - [`hostdns`]: making this host's programs ask here, and giving everything back.
//! - [`link`]: QUIC to the coordinator. [`door`]: the way of that, and of frames to relays, where UDP does not pass.
//!   [`resolver`]: names answered on this node's own addresses, others asked encrypted.
//! - [`state`]: what is kept on disk. [`clock`]: the two clocks.
//! - [`socket`]: the local socket; [`cli`]: the commands; [`logs`], [`service`]: what is told to whom.
//!
//! Decisions are made in `node_core`; here bytes are carried and errors are turned into sentences.

#![forbid(unsafe_code)]

pub mod agent;
pub mod cli;
pub mod clock;
pub mod door;
pub mod error;
pub mod host;
pub mod hostdns;
pub mod link;
pub mod logs;
pub mod portmap;
pub mod resolver;
pub mod service;
pub mod socket;
pub mod state;
pub mod tun;
pub mod udp;
pub mod worker;
pub mod workload;
