//! Who may what, asked of a state of the network: the present one, or one that the log told before.

use std::net::IpAddr;
use std::sync::Arc;

use warren_config::name::Name;
use warren_config::policy::{Listen, Policy, Selector, Subject, Target};
use warren_config::question::{self, Answer, Miss, Passing, Question, QuestionError};
use warren_config::time::UnixTime;

use crate::directory::Node;
use crate::policies::InForce;
use crate::query::Why;
use crate::refusal::Refusal;
use crate::state::State;

/// Questions about one state.
#[derive(Clone, Copy)]
pub struct Inquiry<'a>(pub &'a State);

impl<'a> Inquiry<'a> {
    /// By name, id or overlay address.
    pub fn find(self, who: &str) -> Result<&'a Node, Refusal> {
        let text = who.strip_prefix("node:").unwrap_or(who);
        let directory = &self.0.directory;
        let by_name = || directory.by_name(&Name::parse(text).ok()?);
        let by_id = || directory.get(&text.parse().ok()?);
        let by_address = || directory.get(&self.0.addresses.holder(text.parse::<IpAddr>().ok()?)?);
        let unknown =
            || Refusal::NodeUnknown(text.chars().take(80).collect::<String>().escape_debug().to_string());
        by_name().or_else(by_id).or_else(by_address).ok_or_else(unknown)
    }

    /// The policy in force; the empty one, which denies everything, before the first.
    pub(crate) fn policy(self) -> Arc<InForce> {
        let current = self.0.policies.in_force().cloned();
        current.unwrap_or_else(|| Arc::new(InForce::new(Policy::default())))
    }

    pub fn can(self, from: &str, to: &str, port: Option<&str>, now: UnixTime) -> Result<Answer, Refusal> {
        let (from, to) = (self.subject_text(from), self.target_text(to));
        let from = question::parse_selector(&from).map_err(bad)?;
        let to = question::parse_target(&to, port).map_err(bad)?;
        self.ask(from, to, now)
    }

    fn ask(self, from: Selector, to: Target, at: UnixTime) -> Result<Answer, Refusal> {
        let nodes = self.0.directory.subjects();
        question::can(&self.policy().policy, &nodes, &Question { from, to, at }).map_err(bad)
    }

    /// Node names, ids and overlay addresses are as good as `node:NAME`.
    pub(crate) fn subject_text(self, text: &str) -> String {
        let plain = text.parse::<IpAddr>().is_ok() || !text.contains(':');
        match self.find(text) {
            Ok(node) if plain => format!("node:{}", node.member.name()),
            _ => text.to_owned(),
        }
    }

    pub(crate) fn target_text(self, text: &str) -> String {
        let service = Name::parse(text).is_ok_and(|name| self.policy().policy.services.contains_key(&name));
        if service { format!("service:{text}") } else { self.subject_text(text) }
    }

    /// Ends are node names, ids or overlay addresses; `to` may be a service.
    pub fn why(self, from: &str, to: &str, port: Option<&str>, now: UnixTime) -> Result<Why, Refusal> {
        let source = self.find(from)?.subject().clone();
        let target = self.target_text(to);
        let exact = port.filter(|_| !target.starts_with("service:"));
        let (by, miss) = match exact {
            Some(port) => {
                let listen = question::parse_listen(port).map_err(bad)?;
                let answer = match self.gateways(&target) {
                    Some((address, gateways)) => self.why_behind(&source, address, &gateways, listen, now),
                    None => {
                        let destination = self.find(&target)?.subject().clone();
                        question::explain(&self.policy().policy, &source, &destination, listen, now)
                    }
                };
                match answer {
                    Ok(passing) => (Some(passing), None),
                    Err(miss) => (None, Some(miss)),
                }
            }
            None if self.gateways(&target).is_some() => self.why_any_behind(&source, &target, now),
            None => {
                let to = question::parse_target(&target, port).map_err(bad)?;
                let answer = self.ask(Selector::Node(source.name.clone()), to, now)?;
                let miss = if answer.yes { None } else { answer.fails.into_iter().next() };
                (answer.passes.into_iter().next().filter(|_| answer.yes), miss)
            }
        };
        let generation = self.0.generation();
        let behind = self.leading_to(&target);
        let place = match behind.is_empty() {
            true => String::new(),
            false => format!(", behind {}", behind.join(" and ")),
        };
        let message = match (&by, &miss) {
            (Some(by), _) => {
                format!(
                    "allowed by grant {} (service {}) at generation {generation}{place}",
                    by.grant, by.service
                )
            }
            (None, Some(miss)) => format!("not allowed at generation {generation}{place}: {}", miss.reason),
            (None, None) => format!("not allowed at generation {generation}: nothing there could be reached"),
        };
        Ok(Why {
            allowed: by.is_some(),
            generation,
            from: source.name.to_string(),
            to: target.strip_prefix("node:").unwrap_or(&target).to_owned(),
            observe: self.policy().observes(),
            behind,
            by,
            nearest: miss.and_then(|miss| miss.nearest).map(|name| name.to_string()),
            message,
        })
    }
}

/// Hosts behind gateways.
impl Inquiry<'_> {
    /// An address that no node has, with the nodes that lead there.
    fn gateways(self, target: &str) -> Option<(IpAddr, Vec<Subject>)> {
        let address: IpAddr = target.parse().ok().filter(|_| self.find(target).is_err())?;
        let policy = self.policy();
        let leads = |node: &Subject| {
            policy.policy.services.values().any(|s| s.has_address(address) && s.offered_by(node))
        };
        let found: Vec<Subject> = self.0.directory.subjects().into_iter().filter(leads).collect();
        (!found.is_empty()).then_some((address, found))
    }

    /// Names of the nodes that lead to a host without an agent, or to a service of such; none for anything else.
    fn leading_to(self, target: &str) -> Vec<String> {
        let mut names: Vec<String> = self.leading(target).iter().map(|node| node.name.to_string()).collect();
        names.sort();
        names
    }

    fn leading(self, target: &str) -> Vec<Subject> {
        if let Some((_, gateways)) = self.gateways(target) {
            return gateways;
        }
        let policy = self.policy();
        let service = target.strip_prefix("service:").and_then(|text| Name::parse(text).ok());
        let service = service.and_then(|name| policy.policy.services.get(&name)).filter(|s| s.is_behind());
        let leads = |node: &Subject| service.is_some_and(|service| service.offered_by(node));
        self.0.directory.subjects().into_iter().filter(leads).collect()
    }

    /// Anything that is there, as for a node: the first that passes if all do, else the first that does not.
    fn why_any_behind(
        self,
        source: &Subject,
        target: &str,
        now: UnixTime,
    ) -> (Option<Passing>, Option<Miss>) {
        let Some((address, gateways)) = self.gateways(target) else { return (None, None) };
        let policy = self.policy();
        let services = policy.policy.services.values().filter(|service| service.has_address(address));
        let mut first = None;
        for listen in services.flat_map(|service| service.listen.iter().copied()) {
            match self.why_behind(source, address, &gateways, listen, now) {
                Ok(passing) => first = first.or(Some(passing)),
                Err(miss) => return (None, Some(miss)),
            }
        }
        (first, None)
    }

    /// By whichever gateway: all of them lead to the same services.
    fn why_behind(
        self,
        source: &Subject,
        address: IpAddr,
        gateways: &[Subject],
        listen: Listen,
        now: UnixTime,
    ) -> Result<Passing, Miss> {
        let policy = self.policy();
        let ask = |gateway: &Subject| {
            question::explain_behind(&policy.policy, source, (gateway, address), listen, now)
        };
        let others = gateways.iter().filter(|gateway| gateway.name != source.name);
        let mut answers = others.map(ask);
        let first = answers.next().unwrap_or_else(|| ask(source));
        if first.is_ok() { first } else { answers.find(Result::is_ok).unwrap_or(first) }
    }
}

pub(crate) fn bad(error: QuestionError) -> Refusal {
    Refusal::BadQuestion(error.to_string())
}
