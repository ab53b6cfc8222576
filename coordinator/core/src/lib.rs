//! Who exists, who may, who must be told. Pure: time, keys and the store come in as arguments.
//!
//! One durable truth, the log of [`change::Change`]s; everything else is computed from it or forgotten at a restart.
//! The writer's loop, the same for a frame, a command and a timer:
//!
//! 1. *decide*: [`Coordinator::handle_frame`], [`Coordinator::handle_command`] give a [`change::Proposal`] and change nothing durable;
//! 2. *commit*: the [`store::Store`] writes the proposal's entry in one transaction;
//! 3. *apply*: [`Coordinator::handle_committed`] (or [`Coordinator::handle_not_committed`]);
//! 4. *drain*: [`Coordinator::poll_output`] until `None`, then [`Coordinator::poll_timeout`].
//!
//! [`Coordinator::commit`] does 2 and 3. A proposal is decided against one revision: commit or drop it before the next.
//!
//! The rooms:
//!
//! - [`change`]: what can happen, as data; [`store`]: where it is kept; [`audit`]: the same log read as history.
//! - [`state`]: the log folded: [`directory`], [`tokens`], [`access`] (API keys), [`relays`], [`addresses`], [`policies`], [`alarm`]s.
//! - [`command`]: what administrators ask; [`refusal`]: every no; `decide`: the pure decisions.
//! - [`external`]: devices without an agent, and the files they were given.
//! - [`enrolment`], [`session`], [`endpoints`], `seats`, `pace`, [`distribution`], [`flows`], [`matching`], [`accounts`], [`overdue`], [`edges`], [`refusals`], [`names`], [`paths`]: what is remembered only while running.
//! - [`relay`]: the heart of a relay, shared by the threads that forward; [`relays`]: which others there are; [`outpost`]: one of those,
//!   at its own end; [`doors`]: by what they and the coordinator are reached.
//! - [`status`], [`query`], [`inquiry`], [`plan`]: what administrators read.

#![forbid(unsafe_code)]

pub mod access;
pub mod accounts;
pub mod addresses;
pub mod alarm;
pub mod audit;
pub mod change;
pub mod command;
mod coordinator;
mod decide;
pub mod directory;
pub mod distribution;
pub mod doors;
pub mod edges;
mod encoded;
pub mod endpoints;
pub mod enrolment;
pub mod external;
pub mod flows;
pub mod inquiry;
pub mod map;
pub mod matching;
pub mod names;
pub mod outpost;
pub mod output;
pub mod overdue;
mod pace;
pub mod paths;
pub mod plan;
pub mod policies;
pub mod query;
pub mod refusal;
pub mod refusals;
pub mod relay;
pub mod relays;
mod rollcall;
mod runs;
mod seats;
pub mod session;
pub mod state;
pub mod status;
pub mod store;
pub mod tokens;

pub use coordinator::{Coordinator, OpenError, conditions};
