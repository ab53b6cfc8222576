//! The place where the coordinator runs: its store, which outlives it, and the process, which may die at any moment.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use ed25519_dalek::SigningKey;
use warren_config::time::UnixTime;
use warren_coordinator_core::Coordinator;
use warren_coordinator_core::accounts::Accounts;
use warren_coordinator_core::alarm::Alarm;
use warren_coordinator_core::change::{Principal, Proposal};
use warren_coordinator_core::command::Command;
use warren_coordinator_core::doors::Transport;
use warren_coordinator_core::flows::{Batch, FlowRow};
use warren_coordinator_core::output::{ConnId, Output, Timeout};
use warren_coordinator_core::refusal::Refusal;
use warren_coordinator_core::state::State;
use warren_coordinator_core::store::{MemoryStore, Store, StoreError};
use warren_wire::frame::{FromRelay, NodeSays, ToCoordinator};
use warren_wire::id::{IdentityKey, Revision};
use zeroize::Zeroizing;

use crate::relay::{self, Passed, Post};

/// Why a command was not done.
#[derive(Debug)]
pub enum Failure {
    Down,
    Refused(Refusal),
    /// Certainly not stored.
    NotStored(StoreError),
    /// Perhaps stored: the process has died.
    Died,
}

pub struct Site {
    pub store: MemoryStore,
    online: SigningKey,
    pub running: Option<Coordinator>,
    /// It runs in the same process.
    pub relay: Post,
    /// Or its relay carries nothing.
    pub relays: bool,
    /// Number of the present, or last, start.
    pub run: u64,
    pub flows: Vec<FlowRow>,
    /// On the disk with them.
    pub accounts: Accounts,
    /// On their way to the disk: gone if the process dies.
    pub under_way: VecDeque<Batch>,
    pub alarms: Vec<Alarm>,
    heard: BTreeSet<(u64, u64)>,
    /// Reports that came again.
    pub repeated: u64,
}

impl Site {
    /// A new network, founded and running.
    pub fn found(command: Command, online: SigningKey, now: UnixTime) -> Site {
        let mut store = MemoryStore::new();
        let proposal = State::default().propose(command, administrator(), now).unwrap();
        store.commit(proposal.entry()).unwrap();
        let mut site = Site {
            store,
            online,
            running: None,
            relay: Post::new(),
            relays: true,
            run: 0,
            flows: Vec::new(),
            accounts: Accounts::default(),
            under_way: VecDeque::new(),
            alarms: Vec::new(),
            heard: BTreeSet::new(),
            repeated: 0,
        };
        site.start(now);
        site
    }

    /// Reads the store and runs.
    pub fn start(&mut self, now: UnixTime) {
        let entries = self.store.read(0, usize::MAX).unwrap();
        let state = State::replay(&entries).unwrap();
        let mut coordinator = Coordinator::new(state, self.online.clone(), now).unwrap();
        coordinator.restore_accounts(self.accounts.clone());
        coordinator.offer_relay(Zeroizing::new([self.run as u8 ^ 0x5a; 32]), Some(relay::here()));
        self.relay = Post::new();
        self.running = Some(coordinator);
        self.run += 1;
    }

    /// What the relay sends on when this comes to it.
    pub fn carry(&mut self, from: SocketAddr, bytes: Vec<u8>, now: u64) -> Vec<Passed> {
        let Some(coordinator) = self.running.as_ref().filter(|_| self.relays) else { return Vec::new() };
        self.relay.carry(from, bytes, coordinator, now)
    }

    pub fn crash(&mut self) {
        self.running = None;
        self.under_way.clear();
    }

    /// The oldest batch under way gets to the disk: sums and account, both or none.
    pub fn write(&mut self) {
        let (Some(batch), Some(coordinator)) = (self.under_way.pop_front(), &mut self.running) else {
            return;
        };
        if self.accounts.take(&batch.entry) {
            self.flows.extend(batch.rows);
        }
        coordinator.handle_flows_written(batch.entry.node, batch.entry.boot, batch.entry.sequence);
    }

    pub fn state(&self) -> Option<&State> {
        self.running.as_ref().map(Coordinator::state)
    }

    pub fn handle_connected(&mut self, conn: ConnId, key: IdentityKey, from: SocketAddr, now: UnixTime) {
        if let Some(coordinator) = &mut self.running {
            coordinator.handle_connected(conn, key, (from, Transport::Udp), now);
        }
    }

    pub fn handle_disconnected(&mut self, conn: ConnId, now: UnixTime) {
        if let Some(coordinator) = &mut self.running {
            coordinator.handle_disconnected(conn, now);
        }
    }

    pub fn handle_relay_connected(&mut self, conn: ConnId, key: IdentityKey, from: SocketAddr) {
        if let Some(coordinator) = &mut self.running {
            coordinator.handle_relay_connected(conn, key, from);
        }
    }

    pub fn handle_relay_disconnected(&mut self, conn: ConnId, now: UnixTime) {
        if let Some(coordinator) = &mut self.running {
            coordinator.handle_relay_disconnected(conn, now);
        }
    }

    /// What a relay says, and the commit it leads to.
    pub fn handle_relay_frame(
        &mut self,
        conn: ConnId,
        frame: FromRelay,
        now: UnixTime,
    ) -> Result<(), Failure> {
        let Some(coordinator) = &mut self.running else { return Err(Failure::Down) };
        match coordinator.handle_relay_frame(conn, frame, now) {
            Some(proposal) => self.commit(proposal, now).map(|_| ()),
            None => Ok(()),
        }
    }

    pub fn handle_moved(&mut self, conn: ConnId, from: SocketAddr, now: UnixTime) {
        if let Some(coordinator) = &mut self.running {
            coordinator.handle_moved(conn, from, now);
        }
    }

    /// A frame, and the commit it leads to.
    pub fn handle_frame(&mut self, conn: ConnId, frame: ToCoordinator, now: UnixTime) -> Result<(), Failure> {
        let Some(coordinator) = &mut self.running else { return Err(Failure::Down) };
        if let Some(NodeSays::Flows(report)) = &frame.says {
            self.repeated += u64::from(!self.heard.insert((report.boot, report.sequence)));
        }
        match coordinator.handle_frame(conn, frame, now) {
            Some(proposal) => self.commit(proposal, now).map(|_| ()),
            None => Ok(()),
        }
    }

    pub fn handle_command(&mut self, command: Command, now: UnixTime) -> Result<Revision, Failure> {
        let Some(coordinator) = &self.running else { return Err(Failure::Down) };
        let proposal = coordinator.handle_command(command, administrator(), now).map_err(Failure::Refused)?;
        self.commit(proposal, now)
    }

    pub fn handle_timeout(&mut self, now: UnixTime) {
        if let Some(coordinator) = &mut self.running {
            coordinator.handle_timeout(now);
            if let Some(proposal) = coordinator.end_leases(now) {
                let _ = self.commit(proposal, now);
            }
        }
    }

    fn commit(&mut self, proposal: Proposal, now: UnixTime) -> Result<Revision, Failure> {
        let Some(coordinator) = &mut self.running else { return Err(Failure::Down) };
        match coordinator.commit(&mut self.store, proposal, now) {
            Ok(revision) => Ok(revision),
            Err(error) if error.nothing_changed() => Err(Failure::NotStored(error)),
            Err(_) => {
                self.crash();
                Err(Failure::Died)
            }
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.running.as_mut().and_then(Coordinator::poll_output)
    }

    pub fn poll_timeout(&self) -> Option<Timeout> {
        self.running.as_ref().and_then(Coordinator::poll_timeout)
    }
}

fn administrator() -> Principal {
    Principal::Local("root".to_owned())
}
