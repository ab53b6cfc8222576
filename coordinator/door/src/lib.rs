//! The inside of a door ([`warren_wire::door`]), the same at both ends: whole datagrams between a UDP socket on this host and a
//! WebSocket or a QUIC connection to the other end. It looks into nothing it carries and keeps no queue of its own: while the
//! connection does not take more, datagrams wait in the socket's buffer, and what finds no room there is lost, as anywhere
//! on a network.
//!
//! ```text
//!   node's UDP socket ◀──▶ [`Local`] ◀──▶ TLS or QUIC ◀──▶ [`Local`] ◀──▶ the coordinator's (a relay's) UDP port
//!                          └────── a door at the node          at the server ──────┘
//! ```
//!
//! How a door is opened, and who may have one, is not here: `node/src/door` and `coordinator/src/door`. What goes through one or
//! straight, the client's end of a control channel, is set up here ([`control_channel`]).

#![forbid(unsafe_code)]

mod channel;
mod end;
mod handshake;
mod local;
mod quic;
mod tally;
mod websocket;

pub use channel::control_channel;
pub use end::End;
pub use handshake::{accept, ask};
pub use local::Local;
pub use tally::{Carried, Tally};

pub use quic::{carry as carry_quic, transport};
pub use websocket::carry as carry_websocket;
