//! `can`: every pair, every port; each piece with the grant that allows it or the nearest miss.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Answer, By, Miss, Passing, Question, QuestionError, check_selector, miss, nodes_of, undeclared};
use crate::compile::Program;
use crate::filter::Rules;
use crate::name::Name;
use crate::policy::{Listen, Mode, Policy, Service, Subject, Target};
use crate::subnet::Behind;
use crate::time::UnixTime;

/// A policy compiled for questions: `observe` never makes a yes.
pub(super) struct Judge<'a> {
    pub policy: &'a Policy,
    program: Program,
    pub at: UnixTime,
}

impl<'a> Judge<'a> {
    pub fn new(policy: &'a Policy, at: UnixTime) -> Judge<'a> {
        let mut strict = policy.clone();
        strict.settings.mode = Mode::Enforce;
        Judge { policy, program: Program::of_policy(&strict), at }
    }

    pub fn rules(&self, from: &Subject, to: &Subject) -> Rules {
        self.program.rules(from, to)
    }

    pub fn behind(&self, from: &Subject, gateway: &Subject) -> Behind {
        self.program.behind(from, gateway)
    }

    /// At `to` itself, or at the addresses of one region behind it.
    fn rules_at(&self, from: &Subject, to: &Subject, region: Option<&IpNet>) -> Rules {
        let behind = |region: &IpNet| self.behind(from, to).rules_within(region).cloned().unwrap_or_default();
        region.map_or_else(|| self.rules(from, to), behind)
    }

    /// The services and grants that let any of `listen` pass.
    pub fn given_by(&self, from: &Subject, to: &Subject, region: Option<&IpNet>, listen: Listen) -> Vec<By> {
        let given = self.program.given_by(from, to, listen, self.at, region).into_iter();
        given.map(|(service, grant)| By { service: service.clone(), grant: grant.clone() }).collect()
    }

    /// Passes only if every port of `listen` does; the record names what allows its first port.
    pub fn pair(&self, from: &Subject, to: &Subject, listen: Listen) -> Result<Passing, Miss> {
        self.place(from, to, None, listen)
    }

    /// One address behind `to`.
    pub fn address(
        &self,
        from: &Subject,
        to: &Subject,
        address: IpAddr,
        listen: Listen,
    ) -> Result<Passing, Miss> {
        self.place(from, to, Some(&address.into()), listen)
    }

    fn place(
        &self,
        from: &Subject,
        to: &Subject,
        region: Option<&IpNet>,
        listen: Listen,
    ) -> Result<Passing, Miss> {
        match first_refused(&self.rules_at(from, to, region), listen, self.at) {
            Ok((grant, service)) => {
                Ok(Passing { from: from.name.clone(), to: to.name.clone(), listen, service, grant })
            }
            Err(port) => Err(miss::nearest(self, from, to, region, listen, port)),
        }
    }

    /// One `listen` of a service, at a node that must offer it.
    fn service(&self, from: &Subject, to: &Subject, service: &Name, listen: Listen) -> Result<Passing, Miss> {
        let offered = self.policy.services.get(service).is_some_and(|s| s.offered_by(to));
        if !offered {
            return Err(miss::not_offered(from, to, service, listen));
        }
        let regions = self.policy.regions_of(&Target::Service(service.clone()));
        if regions.is_empty() {
            return self.pair(from, to, listen);
        }
        // What allows it at the first address stands for all, as the first port does.
        let mut all = regions.iter().map(|region| self.place(from, to, Some(region), listen));
        let first = all.next().unwrap_or_else(|| self.pair(from, to, listen))?;
        all.try_for_each(|passing| passing.map(drop))?;
        Ok(first)
    }
}

/// What allows the first port of `listen`, or the first port that nothing allows.
fn first_refused(rules: &Rules, listen: Listen, at: UnixTime) -> Result<(Name, Name), u16> {
    let mut first: Option<(Name, Name)> = None;
    let mut next = u32::from(listen.first);
    let passing = rules.passing(at).filter(|(protocol, ..)| *protocol == listen.protocol);
    for (_, from, to, candidate) in passing.skip_while(|(_, _, to, _)| *to < listen.first) {
        if u32::from(from) > next || next > u32::from(listen.last) {
            break;
        }
        first.get_or_insert_with(|| (candidate.grant.clone(), candidate.service.clone()));
        next = u32::from(to) + 1;
    }
    match first {
        Some(first) if next > u32::from(listen.last) => Ok(first),
        _ => Err(u16::try_from(next).unwrap_or(listen.last)),
    }
}

pub(super) fn can(policy: &Policy, nodes: &[Subject], question: &Question) -> Result<Answer, QuestionError> {
    check_selector(policy, &question.from)?;
    let sources = nodes_of(&question.from, nodes);
    if sources.is_empty() {
        return Err(QuestionError::Bad(format!("`{}` names no node: none is enrolled", question.from)));
    }
    let judge = Judge::new(policy, question.at);
    let mut answer = Answer { yes: false, passes: Vec::new(), fails: Vec::new() };
    for to in destinations(policy, nodes, &question.to)? {
        for from in sources.iter().filter(|from| !is_one_node(from, &to, nodes)) {
            ask(&judge, from, &to, &question.to, &mut answer);
        }
    }
    if answer.passes.is_empty() && answer.fails.is_empty() {
        let text = format!("`{}` and `{}` are one and the same node", question.from, question.to);
        return Err(QuestionError::Bad(text));
    }
    answer.yes = answer.fails.is_empty();
    Ok(answer)
}

/// Whether two subjects are one node, which asks nothing of itself. One that only stands for whoever wears its tags is
/// as many nodes as there may be.
fn is_one_node(from: &Subject, to: &Subject, nodes: &[Subject]) -> bool {
    let is_any = |subject: &Subject| !subject.tags.is_empty() && !nodes.contains(subject);
    from.name == to.name && !(is_any(from) && is_any(to))
}

/// The nodes a target stands for.
pub(super) fn destinations(
    policy: &Policy,
    nodes: &[Subject],
    target: &Target,
) -> Result<Vec<Subject>, QuestionError> {
    let (what, found) = match target {
        Target::Nodes(selector, _) => {
            check_selector(policy, selector)?;
            (selector.to_string(), nodes_of(selector, nodes))
        }
        Target::Service(name) => {
            let service = policy
                .services
                .get(name)
                .ok_or_else(|| undeclared("service", name, policy.services.keys()))?;
            let offerers: Vec<Subject> =
                nodes.iter().filter(|node| service.offered_by(node)).cloned().collect();
            let anyone = || service.on.iter().filter_map(super::standing_for).collect();
            let found = if offerers.is_empty() { anyone() } else { offerers };
            (target.to_string(), if found.is_empty() { anybody() } else { found })
        }
    };
    if found.is_empty() {
        return Err(QuestionError::Bad(format!("`{what}` names no node: none is enrolled")));
    }
    Ok(found)
}

/// An untagged node, for services on `all-nodes` in an empty network.
pub(super) fn anybody() -> Vec<Subject> {
    let name = Name::parse("any-node").ok();
    name.map(|name| Subject { name, tags: std::collections::BTreeSet::new() }).into_iter().collect()
}

/// Adds the answer for one pair.
pub(super) fn ask(judge: &Judge<'_>, from: &Subject, to: &Subject, target: &Target, answer: &mut Answer) {
    let mut add = |result: Result<Passing, Miss>| match result {
        Ok(passing) => answer.passes.push(passing),
        Err(miss) => answer.fails.push(miss),
    };
    match target {
        Target::Nodes(_, Some(listen)) => add(judge.pair(from, to, *listen)),
        Target::Service(name) => {
            let listens = judge.policy.services.get(name).map(|service| &service.listen);
            listens.into_iter().flatten().for_each(|listen| add(judge.service(from, to, name, *listen)));
        }
        Target::Nodes(_, None) => {
            let mut offered = false;
            let own = |service: &&Service| service.offered_by(to) && !service.is_behind();
            for service in judge.policy.services.values().filter(own) {
                offered = true;
                service.listen.iter().for_each(|listen| add(judge.service(from, to, &service.name, *listen)));
            }
            if !offered {
                add(Err(miss::offers_nothing(from, to)));
            }
        }
    }
}
