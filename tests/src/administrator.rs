//! Who holds the authority key: makes tokens, policies, amendments and revocations, and the commands that carry them.

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use warren_config::item::ItemTree;
use warren_config::policy::{Mode, Policy, Subject};
use warren_config::resolve::{Source, resolve};
use warren_config::time::UnixTime;
use warren_coordinator_core::change::SourceText;
use warren_coordinator_core::command::Command;
use warren_wire::id::{Epoch, Generation, IdentityKey, NodeId};
use warren_wire::issue::{self, NameRule, Terms};
use warren_wire::specimen::{SpecimenNetwork, name, seed_bytes};
use warren_wire::token::Token;
use warren_wire::trust::SignedPolicy;
use zeroize::Zeroizing;

/// The coordinator's address, as tokens carry it.
pub const COORDINATOR: &str = "198.51.100.1:7946";

pub struct Administrator {
    pub network: SpecimenNetwork,
    tokens: u64,
}

/// A policy's text, read by the resolver; a text with faults is the scenario's mistake.
pub fn resolved(text: &str) -> Policy {
    let source = Source { file: "policy.toml".to_owned(), text: text.to_owned() };
    match resolve(&[source]) {
        Ok(resolved) => resolved.policy,
        Err(faults) => panic!("this policy has faults: {:?}\n{text}", faults.findings),
    }
}

impl Administrator {
    pub fn new(seed: u64) -> Administrator {
        Administrator { network: SpecimenNetwork::new(seed), tokens: 0 }
    }

    pub fn found(&self, freshness: u64) -> Command {
        Command::FoundNetwork {
            charter: self.network.charter.clone(),
            authorities: self.network.trust.authorities.clone(),
            freshness,
        }
    }

    /// A new token and the command that makes it known.
    pub fn token(&mut self, names: NameRule, tags: &[&str], uses: u32, now: UnixTime) -> (Command, Token) {
        self.tokens += 1;
        let seed = Zeroizing::new(seed_bytes(self.network.seed, "sim token", self.tokens));
        let token = Token {
            network: *self.network.id(),
            authorities: self.network.trust.authorities.clone(),
            coordinators: vec![COORDINATOR.to_owned()],
            coordinator_key: IdentityKey::of(&self.network.coordinator),
            seed,
        };
        let tags = tags.iter().map(|tag| name(tag)).collect();
        let terms = Terms { names, tags, uses, created: now, not_after: now.plus(86_400), lease: 0 };
        let delegation = issue::delegation(self.network.id(), &token.key(), &terms, self.key());
        (Command::StoreToken { delegation }, token)
    }

    pub fn policy(&self, text: &str, generation: Generation, epoch: Epoch, now: UnixTime) -> Command {
        let policy = resolved(text);
        let tree = ItemTree::new(&policy);
        let signed = SignedPolicy { epoch, generation, root: tree.root(), items: tree.len() };
        Command::ApplyPolicy {
            sources: vec![SourceText { file: "policy.toml".to_owned(), text: text.to_owned() }],
            head: issue::policy_head(self.network.id(), &signed, now, self.key()),
            expect: None,
            allow_observe: policy.settings.mode == Mode::Observe,
        }
    }

    pub fn revoke(&self, node: NodeId, now: UnixTime) -> Command {
        let revocation = issue::revocation(self.network.id(), node, now, "lost", self.key());
        Command::RevokeNode { revocation }
    }

    pub fn amend(&self, node: NodeId, serial: u64, node_name: &str, tags: &[&str]) -> Command {
        let tags: BTreeSet<_> = tags.iter().map(|tag| name(tag)).collect();
        let subject = Subject { name: name(node_name), tags };
        let amendment = issue::amendment(self.network.id(), node, serial, &subject, self.key());
        Command::AmendNode { node, amendment }
    }

    fn key(&self) -> &SigningKey {
        &self.network.authority
    }
}
