//! Can any node of a set ever reach a goal, directly or through others? A search over the smallest nodes that each
//! step needs, so that finding nothing is a proof.
//!
//! Nodes without a name that matters are endlessly many, so each step of a chain may be a new one. A named node is one
//! node: it stands in a chain once.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::doors::{Doors, Goal};
use super::space::{Conj, Space};
use super::through::Through;
use crate::policy::Listen;

/// More steps than this are not looked at: the answer is then "undecided", which refuses.
pub(super) const MAX_STEPS: usize = 200_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooHard;

/// Who asks for what: nodes with all of one of `sources` and none of `outside`.
#[derive(Debug)]
pub(crate) struct Asked {
    pub sources: Vec<Conj>,
    pub outside: Vec<Conj>,
    pub goals: Vec<Goal>,
    pub through: bool,
}

/// One opening: who opens, by which door, to what.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    pub node: Conj,
    pub door: usize,
    pub lead: usize,
    pub listen: Listen,
}

#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub hops: Vec<Hop>,
    pub end: Conj,
}

#[derive(Debug)]
pub(crate) struct Map<'a> {
    pub space: &'a Space,
    pub doors: &'a Doors,
    /// The `from`s of each door that some node can match.
    from: Vec<Vec<&'a Conj>>,
    lead_possible: Vec<bool>,
    through: OnceCell<Option<Through>>,
    /// For bases that were asked about: the doors that some node with the base can open. Invariants share their sources.
    exits: RefCell<BTreeMap<Conj, Rc<[u32]>>>,
}

/// More bases than this are not remembered.
const MAX_EXITS: usize = 64;

/// Which leads end in a goal, if names do not stand against it. Found out when it is asked.
#[derive(Debug)]
struct Hits<'m, 'a> {
    map: &'m Map<'a>,
    goals: Vec<&'m Goal>,
    known: Vec<Cell<Option<bool>>>,
}

impl Hits<'_, '_> {
    fn has(&self, place: usize) -> bool {
        let Some(known) = self.known.get(place) else { return false };
        if known.get().is_none() {
            known.set(Some(self.find(place)));
        }
        known.get() == Some(true)
    }

    fn find(&self, place: usize) -> bool {
        let Some(lead) = self.map.doors.lead(place).filter(|_| self.map.lead_possible(place)) else {
            return false;
        };
        self.goals.iter().any(|goal| goal.meets(lead).is_some() && self.map.space.fits(&lead.on, &goal.node))
    }
}

/// A place that a chain has come to, and the named nodes before it.
#[derive(Clone, Debug)]
struct Arrival {
    at: Conj,
    used: Vec<u32>,
    /// The name of the first node of the chain: it is never where the chain ends.
    source: Option<u32>,
    before: Option<(usize, Hop)>,
}

impl<'a> Map<'a> {
    pub fn new(space: &'a Space, doors: &'a Doors) -> Map<'a> {
        let possible =
            |door: &'a super::doors::Door| door.from.iter().filter(|f| space.possible(f)).collect();
        let from = doors.doors.iter().map(possible).collect();
        let lead_possible = doors.leads.iter().map(|lead| space.possible(&lead.on)).collect();
        Map { space, doors, from, lead_possible, through: OnceCell::new(), exits: RefCell::default() }
    }

    /// The doors that some node with `base` can open.
    fn exits(&self, base: &Conj) -> Rc<[u32]> {
        if let Some(known) = self.exits.borrow().get(base) {
            return known.clone();
        }
        let open = |door: &usize| self.openers(base, *door).next().is_some();
        let doors = (0..self.doors.doors.len()).filter(open).filter_map(|door| u32::try_from(door).ok());
        let found: Rc<[u32]> = doors.collect();
        let mut exits = self.exits.borrow_mut();
        if exits.len() < MAX_EXITS {
            exits.insert(base.clone(), found.clone());
        }
        found
    }

    /// The smallest nodes with `base` that `door` lets in.
    pub fn openers(&self, base: &Conj, door: usize) -> impl Iterator<Item = Conj> {
        let from = self.from.get(door).map(Vec::as_slice).unwrap_or_default();
        let door = self.doors.door(door);
        let fitting = from.iter().filter(move |from| self.space.fits(base, from));
        fitting.map(move |from| base.and(from)).filter(move |node| door.is_some_and(|d| !d.keeps_out(node)))
    }

    pub fn lead_possible(&self, lead: usize) -> bool {
        self.lead_possible.get(lead).copied().unwrap_or(false)
    }

    /// A shortest chain, or the proof that there is none.
    pub fn find(&self, asked: &Asked) -> Result<Option<Chain>, TooHard> {
        let goals = asked.goals.iter().filter(|goal| self.space.possible(&goal.node)).collect();
        let hits = Hits { map: self, goals, known: vec![Cell::new(None); self.doors.leads.len()] };
        if asked.through && self.surely_apart(asked, &hits) {
            return Ok(None);
        }
        Search { map: self, asked, hits, arrivals: Vec::new(), seen: BTreeMap::new(), unsure: false }.run()
    }

    /// True if even chains that use named nodes twice cannot come to a goal. A larger question with a quick answer.
    fn surely_apart(&self, asked: &Asked, hits: &Hits<'_, '_>) -> bool {
        let sources: Vec<&Conj> = asked.sources.iter().filter(|source| self.space.possible(source)).collect();
        let exits: BTreeSet<u32> = sources.iter().flat_map(|source| self.exits(source).to_vec()).collect();
        let exits = exits.into_iter().map(|door| door as usize);
        let first: Vec<usize> =
            exits.filter(|door| self.first_openers(asked, *door).next().is_some()).collect();
        if first.is_empty() {
            return true;
        }
        let Some(through) = self.through.get_or_init(|| Through::new(self)) else { return false };
        let reached = through.doors_from(first.into_iter());
        let leads = reached.ones().filter_map(|door| self.doors.door(door)).flat_map(|door| &door.leads);
        !leads.into_iter().any(|lead| hits.has(*lead))
    }

    fn first_openers(&self, asked: &Asked, door: usize) -> impl Iterator<Item = Conj> {
        let sources = asked.sources.iter().filter(|source| self.space.possible(source));
        let openers = sources.flat_map(move |source| self.openers(source, door));
        openers.filter(|node| !asked.outside.iter().any(|outside| outside.within(node)))
    }
}

struct Search<'m, 'a> {
    map: &'m Map<'a>,
    asked: &'m Asked,
    hits: Hits<'m, 'a>,
    arrivals: Vec<Arrival>,
    /// For each place the sets of used names it was come to with.
    seen: BTreeMap<(Conj, Option<u32>), Vec<Vec<u32>>>,
    /// A chain ends at a named node that it went through, wearing what may not go together: not followed further.
    unsure: bool,
}

impl Search<'_, '_> {
    fn run(mut self) -> Result<Option<Chain>, TooHard> {
        let sources = self.asked.sources.iter().filter(|source| self.map.space.possible(source));
        self.arrivals = sources
            .map(|at| Arrival { at: at.clone(), used: Vec::new(), source: None, before: None })
            .collect();
        let mut queue: VecDeque<usize> = (0..self.arrivals.len()).collect();
        while let Some(number) = queue.pop_front() {
            let known = self.arrivals.len();
            if let Some((hop, end)) = self.leave(number) {
                return Ok(Some(self.chain(number, hop, end)));
            }
            if self.arrivals.len() > MAX_STEPS {
                return Err(TooHard);
            }
            queue.extend(known..self.arrivals.len());
        }
        if self.unsure { Err(TooHard) } else { Ok(None) }
    }

    /// Every way on from an arrival: the last hop to a goal, or new arrivals.
    fn leave(&mut self, number: usize) -> Option<(Hop, Conj)> {
        let arrival = self.arrivals.get(number)?.clone();
        let map = self.map;
        let matters = |door: usize| {
            let leads = map.doors.door(door).map(|door| door.leads.as_slice()).unwrap_or_default();
            self.asked.through || leads.iter().any(|lead| self.hits.has(*lead))
        };
        let exits = map.exits(&arrival.at);
        let doors: Vec<usize> =
            exits.iter().map(|door| *door as usize).filter(|door| matters(*door)).collect();
        let mut onward = Vec::new();
        for door in doors {
            for node in map.openers(&arrival.at, door) {
                if arrival.before.is_none() && self.asked.outside.iter().any(|o| o.within(&node)) {
                    continue;
                }
                let Some(used) = use_name(&arrival.used, map.space.name(&node)) else { continue };
                if let Some(found) = self.goal(number, &node, door, &used) {
                    return Some(found);
                }
                onward.push((node, door, used));
            }
        }
        if self.asked.through {
            onward.into_iter().for_each(|(node, door, used)| self.go_on(number, &node, door, &used));
        }
        None
    }

    fn goal(&mut self, number: usize, node: &Conj, door: usize, used: &[u32]) -> Option<(Hop, Conj)> {
        let doors = self.map.doors;
        for place in &doors.door(door)?.leads {
            if !self.hits.has(*place) {
                continue;
            }
            let lead = doors.lead(*place)?;
            for goal in &self.asked.goals {
                let end = lead.on.and(&goal.node);
                let Some(listen) = goal.meets(lead).filter(|_| self.map.space.possible(&end)) else {
                    continue;
                };
                let name = self.map.space.name(&end).filter(|name| used.contains(name));
                let end = match name.map(|name| self.again(number, name, &end)) {
                    None => end,
                    Some(Again::Once(all)) => all,
                    Some(Again::Never) => continue,
                    Some(Again::Unsure) => {
                        self.unsure = true;
                        continue;
                    }
                };
                return Some((Hop { node: node.clone(), door, lead: *place, listen }, end));
            }
        }
        None
    }

    /// A chain may end at a named node that it went through, on another port; it wears then what both ask for.
    fn again(&self, mut number: usize, name: u32, end: &Conj) -> Again {
        while let Some(Arrival { before: Some((earlier, hop)), .. }) = self.arrivals.get(number) {
            let is_source = self.arrivals.get(*earlier).is_some_and(|a| a.before.is_none());
            if self.map.space.name(&hop.node) == Some(name) {
                let all = hop.node.and(end);
                let open = self.map.doors.door(hop.door).is_some_and(|door| !door.keeps_out(&all));
                return match (is_source, open && self.map.space.possible(&all)) {
                    (true, _) => Again::Never,
                    (false, true) => Again::Once(all),
                    (false, false) => Again::Unsure,
                };
            }
            number = *earlier;
        }
        // The one that opens: nobody opens anything at itself.
        Again::Never
    }

    fn go_on(&mut self, number: usize, node: &Conj, door: usize, used: &[u32]) {
        let source = match self.arrivals.get(number) {
            Some(Arrival { before: None, .. }) => self.map.space.name(node),
            arrival => arrival.and_then(|arrival| arrival.source),
        };
        let doors = self.map.doors;
        for place in doors.door(door).map(|door| door.leads.as_slice()).unwrap_or_default() {
            let Some(lead) = doors.lead(*place).filter(|lead| lead.carries && self.map.lead_possible(*place))
            else {
                continue;
            };
            let Some(listen) = lead.listen.iter().find(|l| l.protocol != crate::policy::Protocol::IcmpEcho)
            else {
                continue;
            };
            if self.map.space.name(&lead.on).is_some_and(|name| used.contains(&name))
                || !self.is_new(&lead.on, source, used)
            {
                continue;
            }
            let hop = Hop { node: node.clone(), door, lead: *place, listen: *listen };
            self.arrivals.push(Arrival {
                at: lead.on.clone(),
                used: used.to_vec(),
                source,
                before: Some((number, hop)),
            });
        }
    }

    /// Nothing was here before with no more names used up.
    fn is_new(&mut self, at: &Conj, source: Option<u32>, used: &[u32]) -> bool {
        let before = self.seen.entry((at.clone(), source)).or_default();
        if before.iter().any(|few| few.iter().all(|name| used.contains(name))) {
            return false;
        }
        before.push(used.to_vec());
        true
    }

    fn chain(&self, mut number: usize, last: Hop, end: Conj) -> Chain {
        let mut hops = vec![last];
        while let Some(Arrival { before: Some((earlier, hop)), .. }) = self.arrivals.get(number) {
            hops.push(hop.clone());
            number = *earlier;
        }
        hops.reverse();
        Chain { hops, end }
    }
}

enum Again {
    Once(Conj),
    Never,
    Unsure,
}

fn use_name(used: &[u32], name: Option<u32>) -> Option<Vec<u32>> {
    let mut all = used.to_vec();
    if let Some(name) = name {
        if used.contains(&name) {
            return None;
        }
        all.push(name);
        all.sort_unstable();
    }
    Some(all)
}
