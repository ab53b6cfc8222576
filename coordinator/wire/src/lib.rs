//! What node and coordinator may say to each other, and the statements that make it true.
//!
//! - [`id`]: node, network and key types.
//! - [`signed`]: one envelope for every signed statement; a statement is read only after its signature holds.
//! - [`statement`]: charter, delegation, admission, node keys, amendment, revocation, policy head, freshness, view head.
//! - [`trust`]: the chain record → delegation → authority, checked by everyone who receives a record.
//! - [`possession`]: a signature made with an X25519 key, so that a record proves its WireGuard keys.
//! - [`token`]: the enrolment token an operator carries.
//! - [`view`]: what one node is told, as entries, and deltas between two of them.
//! - [`frame`]: messages on the control channel; lengths bounded before anything is read.
//! - [`stun`]: how a node learns the address its WireGuard socket has outside a NAT.
//! - [`relay`]: the frames in which a relay carries the datagrams of nodes that cannot reach each other.
//! - [`door`]: how a UDP port is reached where UDP does not pass.
//! - [`underlay`]: which addresses a node may say it is at.
//! - [`flow`]: flow records; [`names`]: which names are asked, where the policy wants to know.
//! - [`issue`]: the signing side of every statement.
//! - [`revocation`]: the hash chain over all revocations.
//! - [`stored`]: what a node keeps on disk about whom it trusts.
//! - [`specimen`]: small consistent networks from seeds, for tests and simulations only.

#![forbid(unsafe_code)]

pub mod door;
pub mod flow;
pub mod frame;
pub mod id;
pub mod issue;
pub mod names;
pub mod path;
pub mod possession;
pub mod relay;
pub mod revocation;
pub mod roll;
pub mod signed;
pub mod specimen;
pub mod statement;
pub mod stored;
pub mod stun;
pub mod token;
pub mod trust;
pub mod underlay;
pub mod view;
