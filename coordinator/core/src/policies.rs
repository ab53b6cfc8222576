//! Every generation as it was applied, and the one in force, compiled once.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use warren_config::compile::{ItemPlaces, Program};
use warren_config::item::ItemTree;
use warren_config::name::Name;
use warren_config::policy::{Listen, Mode, Policy, Selector, Service, Subject, Target, TestEnd};
use warren_config::resolve::{Source, resolve};
use warren_config::subnet::IpNet;
use warren_config::time::UnixTime;
use warren_wire::id::{Digest, Epoch, Generation};
use warren_wire::signed::Signed;
use warren_wire::trust::SignedPolicy;

use crate::change::{Principal, SourceText};
use crate::plan::protocol_of;
use crate::refusal::Refusal;
use crate::status::PolicyRow;

/// Limits on what one policy may consist of.
pub const MAX_SOURCES: usize = 1000;
pub const MAX_SOURCE_BYTES: usize = 4 * 1024 * 1024;
pub const MAX_FILE_NAME: usize = 255;

/// A generation: what was signed and the text it was made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    pub signed: SignedPolicy,
    pub head: Signed,
    pub sources: Arc<Vec<SourceText>>,
    pub at: UnixTime,
    pub by: Principal,
}

impl Applied {
    pub fn root_text(&self) -> String {
        Digest(self.signed.root.0).to_string()
    }
}

/// A policy ready to be asked.
#[derive(Clone, Debug)]
pub struct InForce {
    pub policy: Policy,
    pub program: Arc<Program>,
    pub tree: ItemTree,
    /// Node names the policy speaks of: only a token bound to such a name may give it.
    pub mentioned: BTreeSet<Name>,
    /// Where what the program names stands in the tree.
    pub places: ItemPlaces,
}

impl InForce {
    pub fn new(policy: Policy) -> InForce {
        let program = Arc::new(Program::of_policy(&policy));
        let tree = ItemTree::new(&policy);
        let mentioned = mentioned(&policy);
        let places = ItemPlaces::new(&program, &tree);
        InForce { policy, program, tree, mentioned, places }
    }

    /// The compiled form of texts, or all their faults.
    pub fn of_sources(sources: &[SourceText]) -> Result<InForce, Refusal> {
        let sources: Vec<Source> = sources.iter().map(Source::from).collect();
        match resolve(&sources) {
            Ok(resolved) => Ok(InForce::new(resolved.policy)),
            Err(faults) => Err(Refusal::PolicyFaults { findings: faults.findings }),
        }
    }

    pub fn observes(&self) -> bool {
        self.policy.settings.mode == Mode::Observe
    }

    /// Are two nodes peers: may either ever open something at the other?
    pub fn joins(&self, a: &Subject, b: &Subject) -> bool {
        let opens = |a: &Subject, b: &Subject| {
            self.program.rules(a, b).joins() || !self.program.beyond(a, b).is_empty()
        };
        opens(a, b) || opens(b, a)
    }

    /// Two tags of `subject` that may not be worn together.
    pub fn not_with(&self, tags: &BTreeSet<Name>) -> Option<(Name, Name)> {
        tags.iter().find_map(|a| {
            let tag = self.policy.tags.get(a)?;
            tag.not_with.intersection(tags).next().map(|b| (a.clone(), b.clone()))
        })
    }
}

fn mentioned(policy: &Policy) -> BTreeSet<Name> {
    let mut names = BTreeSet::new();
    let mut selector = |s: &Selector| {
        if let Selector::Node(name) = s {
            names.insert(name.clone());
        }
    };
    for grant in policy.grants.values() {
        grant.from.iter().chain(&grant.except).for_each(&mut selector);
    }
    policy.services.values().flat_map(|s| &s.on).for_each(&mut selector);
    for invariant in policy.invariants.values() {
        invariant.from.iter().for_each(&mut selector);
        invariant.to.iter().filter_map(target_nodes).for_each(&mut selector);
    }
    for test in policy.tests.values() {
        if let TestEnd::Selector(s) = &test.from {
            selector(s);
        }
        target_nodes(&test.to).into_iter().for_each(&mut selector);
    }
    names
}

fn target_nodes(target: &Target) -> Option<&Selector> {
    match target {
        Target::Nodes(selector, _) => Some(selector),
        Target::Service(_) => None,
    }
}

/// All generations, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    history: Vec<Applied>,
    current: Option<Arc<InForce>>,
    /// The newest generation can no longer be read: nobody is told anything new until another is applied.
    broken: Option<String>,
    /// What lay behind gateways in the newest generations, the newest first: records of flows that a change has cut come
    /// after it.
    subnets: VecDeque<BTreeSet<IpNet>>,
}

/// Generations whose subnets are still known.
const KNOWN_SUBNETS: usize = 8;

impl PartialEq for Policies {
    /// What is compiled follows from the text.
    fn eq(&self, other: &Policies) -> bool {
        self.history == other.history && self.broken == other.broken
    }
}

impl Policies {
    pub fn generation(&self) -> Generation {
        self.newest().map_or(0, |applied| applied.signed.generation)
    }
    pub fn newest(&self) -> Option<&Applied> {
        self.history.last()
    }
    pub fn history(&self) -> &[Applied] {
        &self.history
    }
    pub fn at(&self, generation: Generation) -> Result<&Applied, Refusal> {
        let place = self.history.binary_search_by_key(&generation, |a| a.signed.generation);
        place.ok().and_then(|i| self.history.get(i)).ok_or(Refusal::GenerationUnknown(generation))
    }
    pub fn in_force(&self) -> Option<&Arc<InForce>> {
        self.current.as_ref()
    }
    /// Is this address behind a gateway, or was it until lately?
    pub fn has_subnet(&self, address: IpAddr) -> bool {
        self.subnets.iter().flatten().any(|net| net.contains(&address))
    }
    /// The service at a port of a host behind a gateway, by the policy in force; of several the narrowest.
    pub fn service_at(&self, address: IpAddr, protocol: u8, port: u16) -> Option<String> {
        let (policy, protocol) = (self.in_force()?, protocol_of(protocol));
        let port = if protocol.has_ports() { port } else { 0 };
        let asked = Listen { protocol, first: port, last: port };
        let length = |service: &Service| {
            let around = service.addresses.iter().filter(|net| net.contains(&address));
            around.map(IpNet::prefix_len).max()
        };
        let all = policy.policy.services.values();
        let at_port = all.filter(|service| service.listen.iter().any(|listen| listen.covers(&asked)));
        let named = at_port.filter_map(|service| Some((length(service)?, service)));
        named.max_by_key(|(length, _)| *length).map(|(_, service)| service.name.to_string())
    }
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Takes the next generation; [`Policies::compile`] makes it the one in force.
    pub(crate) fn push(&mut self, applied: Applied) {
        self.history.push(applied);
    }

    /// Compiles the newest generation. A text that no longer gives the signed root is not served: "cannot be read" must
    /// never look like "allows nothing".
    pub(crate) fn compile(&mut self) {
        let Some(newest) = self.newest() else { return };
        match InForce::of_sources(&newest.sources) {
            Ok(policy) if policy.tree.root() == newest.signed.root => {
                self.subnets.truncate(KNOWN_SUBNETS - 1);
                let services = policy.policy.services.values();
                self.subnets.push_front(services.flat_map(|s| s.addresses.iter().copied()).collect());
                (self.current, self.broken) = (Some(Arc::new(policy)), None);
            }
            Ok(_) => {
                (self.current, self.broken) = (None, Some("its text does not give the signed root".into()))
            }
            Err(why) => (self.current, self.broken) = (None, Some(why.to_string())),
        }
    }

    pub fn rows(&self) -> Vec<PolicyRow> {
        let current = self.generation();
        let row = |a: &Applied| PolicyRow {
            generation: a.signed.generation,
            epoch: a.signed.epoch,
            root: a.root_text(),
            items: a.signed.items,
            applied: a.at,
            by: a.by.to_string(),
            files: a.sources.iter().map(|s| s.file.clone()).collect(),
            current: a.signed.generation == current,
        };
        self.history.iter().map(row).collect()
    }

    pub fn epoch_of_newest(&self) -> Epoch {
        self.newest().map_or(0, |a| a.signed.epoch)
    }
}
