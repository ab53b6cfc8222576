//! A whole node without a machine under it: time, randomness, files and the network come in as arguments.
//!
//! Two halves meet in [`assembly`]:
//!
//! - **control** decides what is true: [`control`] checks what the coordinator says, keeps the last good view and
//!   turns it into an [`assembly::Assembly`]; [`names`] answers DNS from it; [`flows`] reports what was seen;
//!   [`host`] says which addresses, routes and guards the machine must have.
//! - **data** moves packets: [`dataplane`] takes batches of bytes, [`packet`] reads them, [`judge`] and [`conntrack`]
//!   decide, [`session`] seals and opens, [`peers`] is the immutable snapshot a worker loads once per batch,
//!   [`path`] knows where a peer is, [`mapping`] where this node is seen, [`berth`] what it has at a relay,
//!   [`suspend`] that the host has slept, [`portmap`] what its gateway has granted, [`door`] how either is reached where UDP
//!   does not pass.
//!
//! The agent runs the two halves on threads, the simulated world (`tests/`) on virtual time.

#![forbid(unsafe_code)]

pub mod assembly;
pub mod berth;
pub mod clock;
pub mod conntrack;
pub mod control;
pub mod dataplane;
pub mod door;
pub mod flows;
pub mod host;
pub mod judge;
pub mod ledger;
pub mod mapping;
pub mod names;
pub mod packet;
pub mod path;
pub mod peers;
pub mod portmap;
pub mod session;
pub mod suspend;
pub mod workload;
