//! Where the tests and invariants of a policy stand, so that one that fails is shown at its place like any other fault.

use std::collections::BTreeMap;

use super::meaning::Places;
use super::report::Report;
use super::{Finding, Severity};
use crate::document::Spot;
use crate::name::Name;

/// What a policy says of itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    Test(Name),
    Invariant(Name),
}

/// The place of every claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    places: BTreeMap<Claim, Finding>,
}

impl Claims {
    pub(super) fn of(places: &Places, report: &Report<'_>) -> Claims {
        let at = |spot: &Spot| report.finding(Severity::Error, "", spot, String::new(), None);
        let tests = places.tests.iter().map(|(name, spot)| (Claim::Test(name.clone()), at(spot)));
        let all = places.invariants.iter().map(|(name, spot)| (Claim::Invariant(name.clone()), at(spot)));
        Claims { places: tests.chain(all).collect() }
    }

    /// An error about a claim, where it stands.
    pub fn error(&self, claim: Claim, id: &'static str, message: String) -> Option<Finding> {
        let place = self.places.get(&claim)?;
        Some(Finding { id, message, ..place.clone() })
    }
}
