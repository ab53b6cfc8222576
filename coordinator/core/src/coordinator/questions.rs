//! What administrators read, answered from what is in memory.

use warren_config::name::Name;
use warren_config::policy::{DEFAULT_ZONE, Policy, Service, Told};
use warren_config::proof;
use warren_config::question::{self, Answer, Question};
use warren_config::resolve::{self, Finding, Source};
use warren_config::time::UnixTime;
use warren_wire::flow::Amount;
use warren_wire::id::{Digest, Generation, NodeId};
use warren_wire::trust::Record;

use super::Coordinator;
use crate::accounts::{AccountRow, AccountsView, Balance, End};
use crate::alarm::Alarm;
use crate::change::SourceText;
use crate::command::TokenRow;
use crate::decide;
use crate::directory::Node;
use crate::flows::{FlowFilter, FlowPage, FlowView};
use crate::inquiry::{Inquiry, bad};
use crate::matching::Silent;
use crate::names::{NamesFilter, NamesView};
use crate::paths::{PathsFilter, PathsView};
use crate::plan::Forecast;
use crate::policies::InForce;
use crate::query::{Ever, PolicyDiff, PolicyReview, PolicyText, Why};
use crate::refusal::Refusal;
use crate::status::{Behind, Enforcement, FreshnessStatus, NodeRow, PolicyRow, Status};

impl Coordinator {
    pub fn status(&self, now: UnixTime) -> Status {
        let founded = &self.founded;
        Status {
            network: founded.network.id,
            name: founded.network.name.clone(),
            epoch: self.state.epoch,
            revision: self.state.head().revision,
            generation: self.state.generation(),
            observe: self.state.policies.in_force().is_some_and(|policy| policy.observes()),
            nodes: self.state.directory.alive().count(),
            online: self.sessions.online_count(),
            channels: self.sessions.by_transport(),
            externals: self.devices().count(),
            freshness: self.freshness_status(),
            enforcement: self.enforcement(),
            flows: self.flows.status(),
            stale_files: self.stale_files(),
            alarms: self.all_alarms(),
            now,
        }
    }

    pub(super) fn freshness_status(&self) -> FreshnessStatus {
        let signed_at = self.fresh.as_ref().map_or(UnixTime(0), |fresh| fresh.signed_at);
        let life = self.founded.freshness;
        FreshnessStatus { life, signed_at, not_after: signed_at.plus(life), next: self.freshness_due() }
    }

    /// Durable ones first; one that is both counts together.
    fn all_alarms(&self) -> Vec<Alarm> {
        let mut alarms: Vec<Alarm> = self.state.alarms.iter().cloned().collect();
        for alarm in self.alarms.iter() {
            match alarms.iter_mut().find(|a| (a.kind, &a.subject) == (alarm.kind, &alarm.subject)) {
                Some(same) => {
                    same.count = same.count.saturating_add(alarm.count);
                    same.last = alarm.last;
                }
                None => alarms.push(alarm.clone()),
            }
        }
        alarms
    }

    pub(super) fn enforcement(&self) -> Enforcement {
        let generation = self.state.generation();
        let mut enforcement = Enforcement {
            generation,
            enforced: 0,
            of: 0,
            by_generation: Default::default(),
            behind: Vec::new(),
            summary: String::new(),
        };
        for node in self.state.directory.alive().filter(|node| !node.member.is_external()) {
            enforcement.of += 1;
            let enforces = self.sessions.presence(&node.id()).and_then(|p| p.enforced).map(|p| p.generation);
            if let Some(enforces) = enforces {
                *enforcement.by_generation.entry(enforces).or_default() += 1;
            }
            match enforces == Some(generation) || generation == 0 {
                true => enforcement.enforced += 1,
                false => enforcement.behind.push(self.behind(node, enforces)),
            }
        }
        enforcement.summary = summary(&enforcement);
        enforcement
    }

    /// Behind since the first generation it lacks was applied, or since it came.
    fn behind(&self, node: &Node, enforces: Option<Generation>) -> Behind {
        let history = self.state.policies.history();
        let lacking = history.iter().find(|a| enforces.is_some_and(|e| a.signed.generation > e));
        let since = lacking.or(history.last()).map_or(UnixTime(0), |applied| applied.at);
        Behind {
            node: node.id(),
            name: node.member.name().to_string(),
            online: self.sessions.is_online(&node.id()),
            enforces,
            since: since.max(node.member.enrolled),
        }
    }

    /// Who does not enforce the current generation, and since when.
    pub fn behind_nodes(&self) -> std::collections::BTreeMap<NodeId, UnixTime> {
        self.enforcement().behind.into_iter().map(|behind| (behind.node, behind.since)).collect()
    }

    pub fn is_online(&self, node: &NodeId) -> bool {
        self.sessions.is_online(node)
    }

    /// Generation a node says it enforces.
    pub fn enforces(&self, node: &NodeId) -> Option<Generation> {
        self.sessions.presence(node)?.enforced.map(|progress| progress.generation)
    }

    /// All nodes by name; revoked ones only if asked for.
    pub fn nodes(&self, revoked_too: bool) -> Vec<NodeRow> {
        let nodes = self.state.directory.all().filter(|node| revoked_too || node.is_live());
        let mut rows: Vec<NodeRow> = nodes.map(|node| self.row(node)).collect();
        rows.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        rows
    }

    /// By name, id or overlay address.
    pub fn node(&self, who: &str) -> Result<NodeRow, Refusal> {
        self.find(who).map(|node| self.row(node))
    }

    /// As [`Coordinator::node`]: what was signed about it.
    pub fn record(&self, who: &str) -> Result<Record, Refusal> {
        self.find(who).map(|node| node.record.clone())
    }

    pub fn node_id(&self, who: &str) -> Result<NodeId, Refusal> {
        self.find(who).map(Node::id)
    }

    pub(super) fn find(&self, who: &str) -> Result<&Node, Refusal> {
        Inquiry(&self.state).find(who)
    }

    /// Questions about what is true now.
    pub fn inquiry(&self) -> Inquiry<'_> {
        Inquiry(&self.state)
    }

    fn row(&self, node: &Node) -> NodeRow {
        let (id, member) = (node.id(), &node.member);
        let presence = self.sessions.presence(&id).cloned().unwrap_or_default();
        let program = self.state.policies.in_force().map(|policy| &policy.program);
        let offered = program.filter(|_| node.is_live()).map(|p| p.offered_by(&member.subject));
        let (behind, own): (Vec<_>, Vec<_>) =
            offered.unwrap_or_default().into_iter().partition(|service| service.is_behind());
        let names = |services: Vec<&Service>| services.iter().map(|s| s.name.to_string()).collect();
        let (offers, leads_to): (Vec<String>, Vec<String>) = (names(own), names(behind));
        NodeRow {
            id,
            name: member.name().to_string(),
            tags: member.tags().iter().map(Name::to_string).collect(),
            identity: member.identity,
            v4: member.v4,
            v6: member.v6,
            wireguard: member.lanes.clone(),
            enrolled: member.enrolled,
            token: node.token,
            external: node.device.as_ref().map(|device| self.external_row(node, device)),
            key_serial: member.key_serial,
            keys_since: node.keys_since,
            amendment_serial: member.amendment_serial,
            revoked: node.revoked.as_ref().map(|gone| gone.at),
            lease: self.state.lease(node),
            lease_ends: self.lease_end(node),
            online: self.sessions.is_online(&id),
            since: presence.since,
            seen_at: presence.seen_at,
            transport: self.sessions.transport(&id),
            endpoints: self.endpoints.of(&id).to_vec(),
            agent: presence.agent,
            sent: presence.sent,
            enforced: presence.enforced,
            dns: self.dns_names(node, &offers),
            offers,
            leads_to,
            peers: self.distribution.roster().peer_count(&id),
        }
    }

    /// No one answers to the name of a node that was revoked.
    fn dns_names(&self, node: &Node, offers: &[String]) -> Vec<String> {
        if !node.is_live() {
            return Vec::new();
        }
        let policy = self.state.policies.in_force();
        let zone = policy.and_then(|policy| policy.policy.settings.zone.as_deref()).unwrap_or(DEFAULT_ZONE);
        let own = node.member.name().to_string();
        std::iter::once(&own).chain(offers).map(|name| format!("{name}.{zone}")).collect()
    }

    /// Usable ones first, then by age, newest first.
    pub fn tokens(&self, now: UnixTime) -> Vec<TokenRow> {
        let mut rows: Vec<TokenRow> = self.state.tokens.iter().map(|token| token.row(now)).collect();
        rows.sort_by_key(|row| {
            (row.state != crate::command::TokenStatus::Usable, std::cmp::Reverse(row.created), row.token)
        });
        rows
    }

    // --- policy

    pub fn policy_history(&self) -> Vec<PolicyRow> {
        self.state.policies.rows()
    }

    /// `None`: the current one.
    pub fn policy_at(&self, generation: Option<Generation>) -> Result<PolicyText, Refusal> {
        let applied = self.state.policies.at(generation.unwrap_or(self.state.generation()))?;
        Ok(PolicyText {
            generation: applied.signed.generation,
            root: applied.root_text(),
            head: applied.head.to_base64(),
            sources: applied.sources.to_vec(),
        })
    }

    /// `None`: the current generation, and the one before it. Generation 0 allows nothing.
    pub fn policy_diff(
        &self,
        from: Option<Generation>,
        to: Option<Generation>,
        now: UnixTime,
    ) -> Result<PolicyDiff, Refusal> {
        let to = to.unwrap_or(self.state.generation());
        let from = from.unwrap_or(to.saturating_sub(1));
        let (old, new) = (self.policy_of(from)?, self.policy_of(to)?);
        let diff = question::diff(&old.policy, &new.policy, &self.state.directory.subjects(), now);
        Ok(PolicyDiff { from, to, diff })
    }

    fn policy_of(&self, generation: Generation) -> Result<std::sync::Arc<InForce>, Refusal> {
        if generation == 0 {
            return Ok(std::sync::Arc::new(InForce::new(Policy::default())));
        }
        if generation == self.state.generation() {
            return Ok(self.inquiry().policy());
        }
        InForce::of_sources(&self.state.policies.at(generation)?.sources).map(std::sync::Arc::new)
    }

    /// Resolves, tests and compares without applying: the answer to `policy check` and `policy diff`, and what to sign.
    pub fn review(&self, sources: &[SourceText], now: UnixTime) -> Result<PolicyReview, Refusal> {
        let (new, warnings) = self.read(sources, now)?;
        Ok(self.review_of(&new, warnings, now))
    }

    /// As [`Coordinator::review`], and what is needed to say which seen flows the policy would cut.
    pub fn forecast(
        &self,
        sources: &[SourceText],
        now: UnixTime,
    ) -> Result<(PolicyReview, Forecast), Refusal> {
        let (new, warnings) = self.read(sources, now)?;
        let review = self.review_of(&new, warnings, now);
        let nodes = self.state.directory.alive().map(|node| (node.id(), node.subject().clone())).collect();
        let forecast = Forecast::new(self.inquiry().policy(), new, review.diff.lost.clone(), nodes, now);
        Ok((review, forecast))
    }

    /// A policy that could be applied as far as its own text goes, and its warnings.
    fn read(&self, sources: &[SourceText], now: UnixTime) -> Result<(InForce, Vec<Finding>), Refusal> {
        decide::check_sources(sources)?;
        let files: Vec<Source> = sources.iter().map(Source::from).collect();
        let nodes = self.state.directory.alive().map(|node| node.member.name().clone()).collect();
        let context = resolve::Context { at: Some(now), nodes: Some(nodes) };
        match resolve::resolve_in(&files, &context) {
            Ok(resolved) => Ok((InForce::new(resolved.policy), resolved.warnings)),
            Err(faults) => Err(Refusal::PolicyFaults { findings: faults.findings }),
        }
    }

    fn review_of(&self, new: &InForce, warnings: Vec<Finding>, now: UnixTime) -> PolicyReview {
        let nodes = self.state.directory.subjects();
        PolicyReview {
            current: self.state.generation(),
            epoch: self.state.epoch,
            root: Digest(new.tree.root().0).to_string(),
            items: new.tree.len(),
            observe: new.observes(),
            warnings,
            tests: decide::run_tests(&self.state, new, now),
            proofs: proof::prove(&new.policy, &decide::worn(&self.state, now), now),
            refused: decide::check_against_nodes(&self.state, new).err().map(|refusal| refusal.body()),
            diff: question::diff(&self.inquiry().policy().policy, &new.policy, &nodes, now),
        }
    }

    /// `can --ever`: with the tags that nodes wear, or can get by a token, although nobody can own them.
    pub fn ever(
        &self,
        from: &str,
        to: &str,
        port: Option<&str>,
        through: bool,
        now: UnixTime,
    ) -> Result<Ever, Refusal> {
        let (from, to) = (self.inquiry().subject_text(from), self.inquiry().target_text(to));
        let from = question::parse_selector(&from).map_err(bad)?;
        let to = question::parse_target(&to, port).map_err(bad)?;
        let asked = Question { from, to, at: now };
        let policy = self.inquiry().policy();
        question::check(&policy.policy, &asked).map_err(bad)?;
        let worn = decide::worn(&self.state, now);
        let witness = proof::ever_worn(&policy.policy, &worn, &asked.from, &asked.to, through, now)?;
        Ok(Ever {
            yes: witness.is_some(),
            proof: witness.is_none(),
            witness,
            generation: self.state.generation(),
        })
    }

    pub fn can(&self, from: &str, to: &str, port: Option<&str>, now: UnixTime) -> Result<Answer, Refusal> {
        self.inquiry().can(from, to, port, now)
    }

    pub fn why(&self, from: &str, to: &str, port: Option<&str>, now: UnixTime) -> Result<Why, Refusal> {
        self.inquiry().why(from, to, port, now)
    }

    // --- flows

    /// The newest flows as they are now: to be looked through beside whoever asks for this.
    pub fn flows(&self) -> FlowView {
        let speaks = self.state.directory().alive().filter(|node| !node.member.is_external());
        let speakers = speaks.map(|node| (node.id(), self.silent(&node.id()))).collect();
        self.flows.view(speakers, self.started)
    }

    /// None: it has never reported anything.
    fn silent(&self, node: &NodeId) -> Option<Silent> {
        let accounts = self.flows.accounts();
        let present = accounts.starts(node).filter(|start| start.end == End::Open).max_by_key(|s| s.last)?;
        let presence = self.sessions.presence(node).and_then(|presence| presence.since);
        let declared = [present.lost, present.rejected, present.skipped];
        Some(Silent {
            online: presence.unwrap_or(self.started),
            began: present.began,
            last: present.last,
            lossy: declared.iter().any(|amount| *amount != Amount::default()),
        })
    }

    /// Records after `cursor` that match, oldest first, at most `limit`.
    pub fn flows_since(&self, cursor: u64, filter: &FlowFilter, limit: usize) -> FlowPage {
        self.flows.since(cursor, filter, limit)
    }

    /// What each node judged, and what became of it.
    pub fn accounts(&self) -> AccountsView {
        let accounts = self.flows.accounts();
        let name = |node: &NodeId| self.state.directory.get(node).map(|n| n.member.name().to_string());
        let row = |node: NodeId| AccountRow {
            node,
            name: name(&node),
            last: accounts.last(&node),
            balance: accounts.balance(&node),
        };
        AccountsView { nodes: accounts.nodes().map(row).collect(), total: accounts.total() }
    }

    /// Of all nodes together.
    pub fn accounts_total(&self) -> Balance {
        self.flows.accounts().total()
    }

    /// Does the policy in force ask for the names that are asked on nodes?
    pub(super) fn names_are_told(&self) -> bool {
        self.state.policies.in_force().is_some_and(|policy| policy.policy.settings.report == Told::Names)
    }

    /// Which names were asked on the nodes, or on one.
    pub fn names(&self, filter: &NamesFilter, now: UnixTime) -> Result<NamesView, Refusal> {
        let node = filter.node.as_deref().map(|who| self.node_id(who)).transpose()?;
        let mut view = self.names.view(node, filter.limit, now);
        view.told = self.names_are_told();
        for row in &mut view.names {
            row.node_name = self.state.directory.get(&row.node).map(|node| node.member.name().to_string());
        }
        Ok(view)
    }

    /// Which way packets take, as the nodes tell it.
    pub fn paths(&self, filter: &PathsFilter, now: UnixTime) -> Result<PathsView, Refusal> {
        let find = |who: &Option<String>| who.as_deref().map(|who| self.node_id(who)).transpose();
        let mut view = self.paths.view(find(&filter.from)?, find(&filter.to)?, filter.limit, now);
        let name = |node: &NodeId| self.state.directory.get(node).map(|node| node.member.name().to_string());
        for row in &mut view.paths {
            (row.from_name, row.to_name) = (name(&row.from), name(&row.to));
        }
        Ok(view)
    }

    /// Where `flow watch` begins if it wants only what comes.
    pub fn flow_cursor(&self) -> u64 {
        self.flows.cursor()
    }
}

/// Names at most so many that are behind.
const NAMED: usize = 5;

fn summary(enforcement: &Enforcement) -> String {
    let Enforcement { generation, enforced, of, behind, .. } = enforcement;
    if *generation == 0 {
        return "no policy has been applied: nothing is allowed".to_owned();
    }
    let mut text = format!("gen {generation} enforced on {enforced}/{of}");
    for node in behind.iter().take(NAMED) {
        let offline = if node.online { "" } else { ", offline" };
        text.push_str(&format!("; {} behind since {}{offline}", node.name, node.since));
    }
    if let Some(more) = behind.len().checked_sub(NAMED).filter(|more| *more > 0) {
        text.push_str(&format!("; and {more} more"));
    }
    text
}
