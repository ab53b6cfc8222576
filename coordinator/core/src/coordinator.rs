//! The whole coordinator as a value: durable state, sessions, and what they are owed.

use std::net::SocketAddr;

use ed25519_dalek::SigningKey;
use warren_config::question::Answer;
use warren_config::resolve::Source;
use warren_config::time::UnixTime;
use warren_wire::frame::ToCoordinator;
use warren_wire::id::{Generation, IdentityKey, NodeId, Revision};

use crate::change::{LogError, Principal, Proposal, SourceText};
use crate::command::{Command, TokenRow};
use crate::flows::{FlowFilter, FlowPage, FlowRow};
use crate::output::{ConnId, Output, Timeout};
use crate::query::{PolicyReview, PolicyText, Why};
use crate::refusal::Refusal;
use crate::state::State;
use crate::status::{NodeRow, PolicyRow, Status};
use crate::store::{Store, StoreError};

/// Why a coordinator cannot start.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OpenError {
    #[error("there is no network in this store: run `warren init`")]
    NotFounded,
    #[error(
        "this coordinator's key {key} is not named by the charter: the network's files and its store do not belong together"
    )]
    ForeignKey { key: IdentityKey },
}

pub struct Coordinator {
    state: State,
}

impl Coordinator {
    /// `online` signs freshness and view heads, nothing else.
    pub fn new(_state: State, _online: SigningKey, _now: UnixTime) -> Result<Coordinator, OpenError> {
        todo!()
    }
    pub fn state(&self) -> &State {
        &self.state
    }

    // --- what happens

    /// A TLS connection whose peer has proven `key`. Connected is not authorised.
    pub fn handle_connected(&mut self, _conn: ConnId, _key: IdentityKey, _from: SocketAddr, _now: UnixTime) {
        todo!()
    }
    /// The underlay address of a connection has changed (QUIC migration).
    pub fn handle_moved(&mut self, _conn: ConnId, _from: SocketAddr, _now: UnixTime) {
        todo!()
    }
    /// A frame. A proposal must be committed (or dropped) before the next input.
    pub fn handle_frame(&mut self, _conn: ConnId, _frame: ToCoordinator, _now: UnixTime) -> Option<Proposal> {
        todo!()
    }
    /// After `Output::Close` too, once the connection is gone.
    pub fn handle_disconnected(&mut self, _conn: ConnId, _now: UnixTime) {
        todo!()
    }
    /// Decides; changes nothing.
    pub fn handle_command(
        &self,
        _command: Command,
        _principal: Principal,
        _now: UnixTime,
    ) -> Result<Proposal, Refusal> {
        todo!()
    }
    pub fn handle_timeout(&mut self, _now: UnixTime) {
        todo!()
    }
    /// The proposal's entry is in the store: makes it true, and queues who must be told.
    pub fn handle_committed(&mut self, _proposal: Proposal, _now: UnixTime) -> Result<Revision, LogError> {
        todo!()
    }
    /// The proposal's entry is not in the store (or nobody knows): tells whoever waits, closes its connection.
    pub fn handle_not_committed(&mut self, _proposal: Proposal, _error: &StoreError, _now: UnixTime) {
        todo!()
    }
    /// Commits and applies. On [`StoreError::nothing_changed`] go on; on any other error stop, read the store again and
    /// start from it.
    pub fn commit(
        &mut self,
        _store: &mut dyn Store,
        _proposal: Proposal,
        _now: UnixTime,
    ) -> Result<Revision, StoreError> {
        todo!()
    }

    // --- what is wanted

    pub fn poll_output(&mut self) -> Option<Output> {
        todo!()
    }
    pub fn poll_timeout(&self) -> Option<Timeout> {
        todo!()
    }

    // --- what is

    pub fn status(&self, _now: UnixTime) -> Status {
        todo!()
    }
    /// All nodes by name; revoked ones only if asked for.
    pub fn nodes(&self, _revoked_too: bool) -> Vec<NodeRow> {
        todo!()
    }
    /// By name, id or overlay address.
    pub fn node(&self, _who: &str) -> Result<NodeRow, Refusal> {
        todo!()
    }
    pub fn node_id(&self, _who: &str) -> Result<NodeId, Refusal> {
        todo!()
    }
    pub fn tokens(&self, _now: UnixTime) -> Vec<TokenRow> {
        todo!()
    }
    pub fn policy_history(&self) -> Vec<PolicyRow> {
        todo!()
    }
    /// `None`: the current one.
    pub fn policy_at(&self, _generation: Option<Generation>) -> Result<PolicyText, Refusal> {
        todo!()
    }
    /// Resolves, tests and compares without applying: the answer to `policy check` and `policy diff`, and what to sign.
    pub fn review(&self, _sources: &[SourceText], _now: UnixTime) -> Result<PolicyReview, Refusal> {
        todo!()
    }
    pub fn can(
        &self,
        _from: &str,
        _to: &str,
        _port: Option<&str>,
        _now: UnixTime,
    ) -> Result<Answer, Refusal> {
        todo!()
    }
    /// Ends are node names, ids or overlay addresses; `to` may be `service:NAME`.
    pub fn why(&self, _from: &str, _to: &str, _port: Option<&str>, _now: UnixTime) -> Result<Why, Refusal> {
        todo!()
    }
    /// One row per flow (its windows added up), newest first.
    pub fn flows(&self, _filter: &FlowFilter) -> Vec<FlowRow> {
        todo!()
    }
    /// Records after `cursor` that match, oldest first, at most `limit`.
    pub fn flows_since(&self, _cursor: u64, _filter: &FlowFilter, _limit: usize) -> FlowPage {
        todo!()
    }
    #[doc(hidden)]
    pub fn sources(texts: &[SourceText]) -> Vec<Source> {
        texts.iter().map(Source::from).collect()
    }
}
