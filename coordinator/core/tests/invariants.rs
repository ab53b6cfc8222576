//! `never`, `only` and `always` are asked again where somebody would come to wear what no proof counted with: when a
//! token is made, at the enrolment, and when a node's tags are changed. (At `apply`: `policy.rs`.)

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use common::*;
use warren_coordinator_core::change::{Change, Entry};
use warren_coordinator_core::refusal::Refusal;
use warren_coordinator_core::store::Store;
use warren_wire::frame::RefusalCode;
use warren_wire::id::IdentityKey;
use warren_wire::issue::{self, NameRule, Terms};

/// A law, what breaks it, and how that is said. Nobody can own `old`: a proof counts with it only once it is worn.
struct Case {
    invariant: &'static str,
    grant: &'static str,
    says: &'static str,
}

const NEVER: Case = Case {
    invariant: r#"never = { from = ["tag:dev"], to = ["service:orders"] }"#,
    grant: r#"from = ["tag:old"]"#,
    says: "the-law: a node that wears `dev` and `old` can open tcp/8443 (service `orders`, grant `theirs`)",
};

const ONLY: Case = Case {
    invariant: r#"only = { from = ["tag:web"], to = ["service:orders"] }"#,
    grant: r#"from = ["tag:old"]"#,
    says: "the-law: a node that wears `old` can open tcp/8443 (service `orders`, grant `theirs`)",
};

const ALWAYS: Case = Case {
    invariant: r#"always = { from = ["tag:dev"], to = ["service:orders"] }"#,
    grant: "from = [\"tag:dev\"]\nexcept = [\"tag:old\"]",
    says: "the-law: a node that wears `dev` and `old` cannot open tcp/8443",
};

impl Case {
    fn policy(&self) -> String {
        format!(
            r#"
version = 1
[group.ops]
members = ["alice"]
[tag.dev]
owners = ["group:ops"]
not-with = ["tag:web"]
[tag.web]
owners = ["group:ops"]
[tag.old]
[service.orders]
on = ["tag:web"]
listen = ["tcp/8443"]
[[grant]]
id = "ours"
from = ["tag:web"]
to = ["service:orders"]
[[grant]]
id = "theirs"
{}
to = ["service:orders"]
[[invariant]]
id = "the-law"
{}
"#,
            self.grant, self.invariant
        )
    }

    /// A network in which the policy holds.
    fn world(&self, seed: u64) -> World {
        let mut world = World::new(seed);
        world.apply(&self.policy()).unwrap();
        world
    }

    fn check(&self, refusal: &Refusal, who: &str) {
        let Refusal::InvariantsBroken { broken, .. } = refusal else { panic!("{refusal}") };
        assert_eq!(broken.len(), 1);
        let text = refusal.to_string();
        let begins = format!("{who} would break 1 invariant(s); the first: {}", self.says);
        assert!(text.starts_with(&begins), "{text}\nshould begin {begins}");
        assert_eq!(refusal.body().invariants, *broken, "`--json` has the whole witness");
    }

    fn is_asked_when_a_token_is_made(&self) {
        let mut world = self.world(50);
        let before = world.coordinator.state().head();
        let refusal = world.token_with(NameRule::AnyFree, &["dev", "old"], 1, 60).unwrap_err();
        self.check(&refusal, "the token's node (dev, old)");
        assert_eq!(world.coordinator.state().head(), before, "nothing is stored");
        assert!(world.coordinator.tokens(world.now).is_empty());
        world.token_with(NameRule::AnyFree, &["dev"], 1, 60).unwrap();
    }

    /// With a token that no coordinator stored under this policy: its own door lets none in.
    fn is_asked_at_the_enrolment(&self) {
        let mut world = self.world(51);
        let token = smuggled(&mut world, &["dev", "old"]);
        let host = world.add_host();
        world.connect(host);
        world.begin(host, &token, "");
        assert!(world.finish(host, &token).is_none(), "nothing is committed");
        let told = world.hosts[host].refused.clone().unwrap();
        assert_eq!(world.hosts[host].code(), Some(RefusalCode::PolicyForbids));
        let name = &world.hosts[host].offer.as_ref().unwrap().name;
        let begins = format!("node {name} (dev, old) would break 1 invariant(s); the first: {}", self.says);
        assert!(told.message.starts_with(&begins), "{}", told.message);
        assert!(told.message.contains("warren policy prove"), "what to do: {}", told.message);
        assert_eq!(world.coordinator.state().directory().alive().count(), 0);
        assert_eq!(world.coordinator.tokens(world.now)[0].used, 0, "nothing is spent");
    }

    fn is_asked_when_tags_are_changed(&self) {
        let mut world = self.world(52);
        let node = world.join("d-1", &["dev"]);
        let refusal = world.amend(node, 1, "d-1", &["dev", "old"]).unwrap_err();
        self.check(&refusal, "node d-1 (dev, old)");
        assert!(!world.coordinator.node("d-1").unwrap().tags.contains(&"old".to_owned()));
    }

    /// Whoever wears it already, or can by a token that was given out, stands against the policy.
    fn is_asked_at_apply_with_what_is_worn(&self) {
        let mut world = World::new(53);
        world.join("relic", &["dev", "old"]);
        self.check(&world.apply(&self.policy()).unwrap_err(), "the policy");
        let mut world = World::new(54);
        world.token(&["old"], 1);
        self.check(&world.apply(&self.policy()).unwrap_err(), "the policy");
        assert_eq!(world.coordinator.policy_history().len(), 0);
    }
}

/// A token the authority signed, in a log that was not written through the coordinator's door.
fn smuggled(world: &mut World, tags: &[&str]) -> IdentityKey {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let key = IdentityKey::of(&secret);
    let terms = Terms {
        names: NameRule::AnyFree,
        tags: tags.iter().map(|tag| name(tag)).collect(),
        uses: 1,
        created: world.now,
        not_after: world.now.plus(600),
        lease: 0,
    };
    let delegation = issue::delegation(world.net.id(), &key, &terms, &world.net.authority);
    let head = world.coordinator.state().head();
    let entry = Entry::new(&head, world.now, admin(), vec![Change::TokenStored { delegation }]);
    world.store.commit(&entry).unwrap();
    world.restart();
    world.tokens.insert(key, secret);
    key
}

#[test]
fn a_token_that_would_break_a_never_is_refused() {
    NEVER.is_asked_when_a_token_is_made();
}

#[test]
fn a_token_that_would_break_an_only_is_refused() {
    ONLY.is_asked_when_a_token_is_made();
}

#[test]
fn a_token_that_would_break_an_always_is_refused() {
    ALWAYS.is_asked_when_a_token_is_made();
}

#[test]
fn an_enrolment_that_would_break_a_never_is_refused() {
    NEVER.is_asked_at_the_enrolment();
}

#[test]
fn an_enrolment_that_would_break_an_only_is_refused() {
    ONLY.is_asked_at_the_enrolment();
}

#[test]
fn an_enrolment_that_would_break_an_always_is_refused() {
    ALWAYS.is_asked_at_the_enrolment();
}

#[test]
fn a_change_of_tags_that_would_break_a_law_is_refused() {
    [NEVER, ONLY, ALWAYS].iter().for_each(Case::is_asked_when_tags_are_changed);
}

#[test]
fn a_policy_whose_law_is_broken_by_what_is_worn_or_promised_is_refused() {
    [NEVER, ONLY, ALWAYS].iter().for_each(Case::is_asked_at_apply_with_what_is_worn);
}
