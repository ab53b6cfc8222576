//! One delta, read and bounded before anything of a view changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Entry, Key, MAX_ENTRIES_OF_A_KIND, RemovedKey, ViewError};

/// Puts and removes of one delta, by key; nothing stands twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub put: BTreeMap<Key, Arc<Entry>>,
    pub remove: BTreeSet<Key>,
}

impl Change {
    pub fn add(&mut self, put: Vec<Entry>, remove: &[RemovedKey]) -> Result<(), ViewError> {
        const TWICE: ViewError = ViewError::Malformed("a delta names one key twice");
        for entry in put {
            let key = entry.key()?;
            if self.remove.contains(&key) || self.put.insert(key, Arc::new(entry)).is_some() {
                return Err(TWICE);
            }
        }
        for removed in remove {
            let key = Key::try_from(removed)?;
            if self.put.contains_key(&key) || !self.remove.insert(key) {
                return Err(TWICE);
            }
        }
        let limit = 4 * MAX_ENTRIES_OF_A_KIND;
        if self.put.len() > limit || self.remove.len() > limit {
            return Err(ViewError::TooLarge { what: "entries", limit });
        }
        Ok(())
    }
}
