//! Where a program's services and grants stand among the canonical items of the policy it was made of.

use super::{Concern, Program};
use crate::item::ItemTree;

/// Found once for a policy; whoever asks for a node's items afterwards compares no names.
#[derive(Clone, Debug, Default)]
pub struct ItemPlaces {
    /// By a service's place in the program.
    services: Vec<Option<usize>>,
    grants: Vec<Option<usize>>,
}

impl ItemPlaces {
    pub fn new(program: &Program, tree: &ItemTree) -> ItemPlaces {
        ItemPlaces {
            services: program.services().map(|service| tree.place_of_service(&service.name)).collect(),
            grants: program.grants().map(|grant| tree.place_of_grant(&grant.id)).collect(),
        }
    }

    /// The items of the settings, which concern everybody, and of what else concerns somebody, in order.
    pub fn of(&self, concern: &Concern) -> Vec<usize> {
        let services = concern.services.iter().filter_map(|place| self.service(*place));
        let grants = concern.grants.iter().filter_map(|place| self.grants.get(*place).copied().flatten());
        std::iter::once(0).chain(services).chain(grants).collect()
    }

    /// The item of the service at this place of the program.
    pub fn service(&self, place: usize) -> Option<usize> {
        self.services.get(place).copied().flatten()
    }
}
