//! `always`: is there a node of `from` that some destination refuses?

use std::collections::BTreeSet;

use super::doors::Doors;
use super::escape::Escape;
use super::reach::TooHard;
use super::space::{Conj, Space};
use crate::policy::{Listen, Policy, Target};

/// A node that is refused, where, and on what (`None`: the destination offers nothing at all).
#[derive(Debug)]
pub(crate) struct Refused {
    pub node: Conj,
    pub end: Conj,
    pub listen: Option<Listen>,
}

/// What must pass everywhere: `listen` at nodes with all of `node`; `None`: at least something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    node: Conj,
    listen: Option<Listen>,
}

/// Destinations are as small as they can be: a node that wears more offers more, and lets in more.
pub(crate) fn find(
    space: &Space,
    doors: &Doors,
    sources: &[Conj],
    ends: &BTreeSet<End>,
) -> Result<Option<Refused>, TooHard> {
    let mut steps = 0;
    for End { node: end, listen } in ends.iter().filter(|end| space.possible(&end.node)) {
        let another = |node: &Conj| space.name(node).is_none_or(|name| space.name(end) != Some(name));
        let Some(asked) = listen else {
            let source = sources.iter().find(|source| space.possible(source) && another(source));
            let Some(node) = source else { continue };
            return Ok(Some(Refused { node: node.clone(), end: end.clone(), listen: None }));
        };
        for (piece, open) in doors.pieces(end, *asked) {
            for source in sources {
                let mut escape = Escape { space, doors, steps: &mut steps };
                if let Some(node) = escape.all(source, &open, another, 1)?.pop() {
                    return Ok(Some(Refused { node, end: end.clone(), listen: Some(piece) }));
                }
            }
        }
    }
    Ok(None)
}

/// Every smallest destination with what it must let pass.
pub(crate) fn ends(policy: &Policy, space: &mut Space, target: &Target) -> Vec<End> {
    let mut ends = Vec::new();
    match target {
        Target::Nodes(selector, Some(listen)) => {
            ends.push(End { node: space.conj(selector), listen: Some(*listen) });
        }
        Target::Service(name) => {
            if let Some(service) = policy.services.get(name) {
                for on in &service.on {
                    let node = space.conj(on);
                    ends.extend(service.listen.iter().map(|l| End { node: node.clone(), listen: Some(*l) }));
                }
            }
        }
        Target::Nodes(selector, None) => {
            let node = space.conj(selector);
            let mut offers = false;
            for service in policy.services.values() {
                for on in &service.on {
                    let on = space.conj(on);
                    offers |= on.within(&node);
                    let node = node.and(&on);
                    ends.extend(service.listen.iter().map(|l| End { node: node.clone(), listen: Some(*l) }));
                }
            }
            if !offers {
                ends.push(End { node, listen: None });
            }
        }
    }
    ends
}
