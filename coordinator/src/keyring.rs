//! The API keys as the doors see them: a copy that the owner renews with every change, so that checking a key asks
//! nobody, and a revoked key opens nothing from the moment its revocation is answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use warren_config::time::UnixTime;
use warren_coordinator_core::access::{ApiKey, ApiKeys, KeyId, KeyRefused, KeyRow, KeyText};

#[derive(Clone, Default)]
pub struct KeyRing {
    keys: Arc<RwLock<Arc<ApiKeys>>>,
    used: Arc<Mutex<BTreeMap<KeyId, UnixTime>>>,
}

impl KeyRing {
    pub fn new(keys: &ApiKeys) -> KeyRing {
        let ring = KeyRing::default();
        ring.replace(keys);
        ring
    }

    pub fn replace(&self, keys: &ApiKeys) {
        *self.keys.write() = Arc::new(keys.clone());
    }

    /// The key behind `text`, if it may be used now.
    pub fn check(&self, text: &KeyText, now: UnixTime) -> Result<ApiKey, KeyRefused> {
        let keys = self.keys.read().clone();
        let key = keys.check(text, now)?.clone();
        self.used.lock().insert(key.id.clone(), now);
        Ok(key)
    }

    /// A key that was shown before: is it still good?
    pub fn still(&self, id: &KeyId, now: UnixTime) -> Result<ApiKey, KeyRefused> {
        let keys = self.keys.read().clone();
        let key = keys.get(id).ok_or(KeyRefused::Unknown)?;
        key.usable(now).map(|()| key.clone())
    }

    /// Newest first.
    pub fn rows(&self) -> Vec<KeyRow> {
        let (keys, used) = (self.keys.read().clone(), self.used.lock());
        let mut rows: Vec<KeyRow> = keys.iter().map(|key| key.row(used.get(&key.id).copied())).collect();
        rows.sort_by(|a, b| (b.created, &a.name).cmp(&(a.created, &b.name)));
        rows
    }
}
