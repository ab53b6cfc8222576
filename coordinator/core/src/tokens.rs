//! Enrolment tokens as the coordinator knows them: a signed delegation and who has used it. Their private keys were
//! never here.

use std::collections::BTreeMap;

use warren_config::time::UnixTime;
use warren_wire::id::{IdentityKey, NodeId};
use warren_wire::signed::Signed;
use warren_wire::statement::Delegation;

use crate::command::{TokenRow, TokenStatus};
use crate::refusal::Refusal;

/// At most so many tokens are ever stored.
pub const MAX_TOKENS: usize = 100_000;

#[derive(Clone, Debug, PartialEq)]
pub struct TokenState {
    pub key: IdentityKey,
    pub signed: Signed,
    pub terms: Delegation,
    pub used_by: Vec<NodeId>,
    pub revoked: bool,
    /// By a restore.
    pub void: bool,
}

impl TokenState {
    pub fn new(key: IdentityKey, signed: Signed, terms: Delegation) -> TokenState {
        TokenState { key, signed, terms, used_by: Vec::new(), revoked: false, void: false }
    }

    /// May it admit one more node?
    pub fn check(&self, now: UnixTime) -> Result<(), Refusal> {
        let token = self.key;
        match self.status(now) {
            TokenStatus::Usable => Ok(()),
            TokenStatus::Revoked => Err(Refusal::TokenRevoked { token }),
            TokenStatus::Void => Err(Refusal::TokenVoid { token }),
            TokenStatus::Expired => Err(Refusal::TokenExpired { token, at: UnixTime(self.terms.not_after) }),
            TokenStatus::Spent => {
                let first = self.used_by.first().copied().unwrap_or(NodeId([0; 16]));
                Err(Refusal::TokenSpent { token, uses: self.terms.uses, first })
            }
        }
    }

    /// A spent token stays spent whatever else becomes of it, so that a second try is always an alarm.
    pub fn status(&self, now: UnixTime) -> TokenStatus {
        if self.used_by.len() as u64 >= u64::from(self.terms.uses) {
            TokenStatus::Spent
        } else if self.revoked {
            TokenStatus::Revoked
        } else if self.void {
            TokenStatus::Void
        } else if now.0 > self.terms.not_after {
            TokenStatus::Expired
        } else {
            TokenStatus::Usable
        }
    }

    /// The one name it is bound to.
    pub fn bound_name(&self) -> Option<&str> {
        Some(self.terms.name.as_str()).filter(|name| !name.is_empty())
    }

    pub fn row(&self, now: UnixTime) -> TokenRow {
        let text = |s: &str| Some(s.to_owned()).filter(|s| !s.is_empty());
        TokenRow {
            token: self.key,
            state: self.status(now),
            tags: self.terms.tags.clone(),
            name: text(&self.terms.name),
            name_prefix: text(&self.terms.name_prefix),
            uses: self.terms.uses,
            used: u32::try_from(self.used_by.len()).unwrap_or(u32::MAX),
            not_after: UnixTime(self.terms.not_after),
            lease: Some(self.terms.lease).filter(|lease| *lease > 0),
            created: UnixTime(self.terms.created),
            redeemed_by: self.used_by.clone(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tokens {
    tokens: BTreeMap<IdentityKey, TokenState>,
}

impl Tokens {
    pub fn get(&self, key: &IdentityKey) -> Result<&TokenState, Refusal> {
        self.tokens.get(key).ok_or(Refusal::TokenUnknown { token: *key })
    }
    pub fn contains(&self, key: &IdentityKey) -> bool {
        self.tokens.contains_key(key)
    }
    pub fn len(&self) -> usize {
        self.tokens.len()
    }
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
    pub fn iter(&self) -> impl Iterator<Item = &TokenState> {
        self.tokens.values()
    }
    pub(crate) fn insert(&mut self, token: TokenState) {
        self.tokens.insert(token.key, token);
    }
    pub(crate) fn spend(&mut self, key: &IdentityKey, node: NodeId) {
        if let Some(token) = self.tokens.get_mut(key) {
            token.used_by.push(node);
        }
    }
    pub(crate) fn revoke(&mut self, key: &IdentityKey) {
        if let Some(token) = self.tokens.get_mut(key) {
            token.revoked = true;
        }
    }
    pub(crate) fn void_all(&mut self) {
        self.tokens.values_mut().for_each(|token| token.void = true);
    }
}
