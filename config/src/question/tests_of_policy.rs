//! The `[[test]]`s of a policy: examples that cannot go stale.

use super::can::{Judge, ask};
use super::{Answer, TestOutcome, standing_for};
use crate::policy::{Expect, Policy, Selector, Subject, Target, Test, TestEnd};

pub(super) fn run(judge: &Judge<'_>, nodes: &[Subject], test: &Test) -> TestOutcome {
    let mut answer = Answer { yes: false, passes: Vec::new(), fails: Vec::new() };
    for from in sources(nodes, &test.from) {
        for to in destinations(judge.policy, nodes, test) {
            ask(judge, &from, &to, &test.to, &mut answer);
        }
    }
    let wrong = fault(test, &answer);
    let message = wrong.clone().unwrap_or_else(|| "as expected".to_owned());
    TestOutcome { id: test.id.clone(), passed: wrong.is_none(), message }
}

/// What is wrong, if anything. A test that asks nothing does not pass: it would protect nothing.
fn fault(test: &Test, answer: &Answer) -> Option<String> {
    if answer.passes.is_empty() && answer.fails.is_empty() {
        return Some("the test asks about no node: name a tag, a node or what its ends wear".to_owned());
    }
    match test.expect {
        Expect::Allow => {
            if let Some(miss) = answer.fails.first() {
                return Some(format!(
                    "expected allow, but {} cannot reach {}: {}",
                    miss.from, miss.to, miss.reason
                ));
            }
            let by = test.by.as_ref()?;
            let other = answer.passes.iter().find(|passing| passing.grant != *by)?;
            Some(format!("expected allow by `{by}`, but `{}` allows it", other.grant))
        }
        Expect::Deny => answer.passes.first().map(|passing| {
            let (from, to, listen, grant) = (&passing.from, &passing.to, passing.listen, &passing.grant);
            format!("expected deny, but grant `{grant}` lets {from} open {listen} at {to}")
        }),
    }
}

/// In a test `tag:x` wears that tag and no other; `node:x` is the enrolled node of that name, else one without tags.
fn exactly(selector: &Selector, nodes: &[Subject]) -> Vec<Subject> {
    match selector {
        Selector::AllNodes => nodes.to_vec(),
        Selector::Node(name) => match nodes.iter().find(|node| node.name == *name) {
            Some(node) => vec![node.clone()],
            None => standing_for(selector).into_iter().collect(),
        },
        Selector::Tags(_) => standing_for(selector).into_iter().collect(),
    }
}

fn sources(nodes: &[Subject], end: &TestEnd) -> Vec<Subject> {
    match end {
        TestEnd::Wearing(subject) => vec![subject.clone()],
        TestEnd::Selector(Selector::AllNodes) if nodes.is_empty() => super::can::anybody(),
        TestEnd::Selector(selector) => exactly(selector, nodes),
    }
}

fn destinations(policy: &Policy, nodes: &[Subject], test: &Test) -> Vec<Subject> {
    if let Some(subject) = &test.to_wearing {
        return vec![subject.clone()];
    }
    match &test.to {
        Target::Nodes(selector, _) => exactly(selector, nodes),
        Target::Service(name) => {
            let on = policy.services.get(name).into_iter().flat_map(|service| &service.on);
            on.flat_map(|selector| match selector {
                Selector::AllNodes => super::can::anybody(),
                selector => exactly(selector, nodes),
            })
            .collect()
        }
    }
}
