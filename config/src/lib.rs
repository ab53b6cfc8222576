//! The language of permission: who may open a connection to which service.
//!
//! The rooms, in the order a policy walks through them:
//!
//! - `document`: TOML as written, every value with its span.
//! - [`resolve`]: names looked up, all faults at once, each with line, column and a hint.
//! - [`policy`]: the resolved policy. Nothing in it can be wrong any more.
//! - [`layout`]: the one layout of policy files, for `fmt`.
//! - [`schema`]: the shape of a policy file, for editors.
//! - [`item`]: the canonical items of a policy and the Merkle root an authority signs.
//! - [`compile`]: from items and two subjects to the [`filter::Rules`] that join them.
//! - [`filter`]: a verdict for one protocol and port; denies by default, names its grant.
//! - [`question`]: `can`, `why`, tests and `diff`, answered over the nodes that exist.
//! - [`proof`]: invariants and `--ever`, answered over every node that could ever be enrolled.
//! - [`subnet`]: which addresses a service behind gateways may have, and what a policy says of each of them.
//! - [`upstream`]: an encrypted DNS server as it is written.
//! - [`oracle`]: the slow judge; reads like the specification and shares nothing with `compile`.

#![forbid(unsafe_code)]

pub mod compile;
mod document;
pub mod filter;
pub mod item;
pub mod layout;
pub mod name;
mod nearest;
pub mod oracle;
pub mod policy;
pub mod proof;
pub mod question;
pub mod resolve;
pub mod schema;
pub mod subnet;
mod text;
pub mod time;
pub mod upstream;
