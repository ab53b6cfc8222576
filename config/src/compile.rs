//! From the items that concern a node to the rules that join it with another. The same code in both programs.

use std::collections::BTreeMap;

use crate::filter::Rules;
use crate::item::Item;
use crate::name::Name;
use crate::policy::{Grant, Policy, Service, Settings, Subject};

/// The part of a policy that compiles to rules: built from a whole policy or from the items a node was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    settings: Settings,
    services: BTreeMap<Name, Service>,
    grants: BTreeMap<Name, Grant>,
}

impl Program {
    pub fn of_policy(_policy: &Policy) -> Program {
        todo!()
    }
    /// Items of other kinds are ignored; a grant whose service is absent grants nothing there.
    pub fn of_items<'a>(_items: impl IntoIterator<Item = &'a Item>) -> Program {
        todo!()
    }
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
    /// Rules for flows that `from` opens at `to`.
    pub fn rules(&self, _from: &Subject, _to: &Subject) -> Rules {
        todo!()
    }
    /// Services `subject` may offer.
    pub fn offered_by(&self, _subject: &Subject) -> Vec<&Service> {
        todo!()
    }
    /// Does this item matter to `subject`: settings always; a grant it is in `from` of (after `except`) or offers a
    /// service of; those services. Decides what a node is told.
    pub fn concerns(&self, _item: &Item, _subject: &Subject) -> bool {
        todo!()
    }
}
