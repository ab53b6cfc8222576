//! Doors, the node's side ([`warren_wire::door`]): a loopback socket in whose place somebody of this process sends to the coordinator's (or a
//! relay's) UDP port, where UDP does not pass.
//!
//! A door serves exactly one socket of this process: its own is connected to that, so no other program's datagrams come in.
//! The other end proves by TLS that it holds a key this node trusts; nothing is told of this node, neither name nor key.

mod connect;
mod detour;
mod outlook;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use warren_door::{Carried, Tally};
use warren_node_core::door::{Transport, Way};

pub use connect::{DoorError, Opening, open};
pub use detour::Detours;
pub use outlook::Outlook;

/// An open door; it closes when this is dropped.
#[derive(Debug)]
pub struct Door {
    at: SocketAddr,
    way: Way,
    over: watch::Receiver<Option<String>>,
    tally: Arc<Tally>,
    task: JoinHandle<()>,
}

impl Door {
    /// Where to send, in place of the port that it leads to.
    pub fn at(&self) -> SocketAddr {
        self.at
    }
    pub fn transport(&self) -> Transport {
        self.way.transport
    }
    pub fn carried(&self) -> Carried {
        self.tally.read()
    }
    /// Why it has closed by itself, if it has.
    pub fn over(&self) -> Option<String> {
        self.over.borrow().clone()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}
