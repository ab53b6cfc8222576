//! Who calls through a door: the port sees a socket of this host, this says whose it is.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use warren_coordinator_core::doors::Transport;

use super::Watch;

/// Who it is, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub remote: SocketAddr,
    pub transport: Transport,
}

/// All doors that are open, by their sockets on this host.
#[derive(Clone, Default)]
pub struct Callers {
    open: Arc<RwLock<HashMap<SocketAddr, Arc<Watch>>>>,
}

/// Taken back when dropped.
pub(super) struct Entered {
    callers: Callers,
    at: SocketAddr,
}

impl Callers {
    pub(super) fn enter(&self, at: SocketAddr, watch: Arc<Watch>) -> Entered {
        self.open.write().insert(at, watch);
        Entered { callers: self.clone(), at }
    }

    /// Whose the datagrams are that come from `from`.
    pub fn of(&self, from: SocketAddr) -> Caller {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let door = self.open.read().get(&from).map(|watch| watch.caller());
        door.unwrap_or(Caller { remote: from, transport: Transport::Udp })
    }

    /// Who calls by `from` is a member: its door may stay.
    pub fn prove(&self, from: SocketAddr) {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let watch = self.open.read().get(&from).cloned();
        if let Some(watch) = watch {
            watch.prove();
        }
    }

    /// How many there are in a WebSocket, and in QUIC.
    pub fn count(&self) -> (usize, usize) {
        let open = self.open.read();
        let quic = open.values().filter(|watch| watch.caller().transport == Transport::Quic).count();
        (open.len() - quic, quic)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.callers.open.write().remove(&self.at);
    }
}
