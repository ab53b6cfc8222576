//! The life of a view: freshness says that nothing newer was known at its time, and how long that may be believed.
//!
//! Freshness counts only for the policy and the roll it names: one that speaks of a newer generation than the view, or of
//! revocations and amendments that the view has not, waits for that view, so that a coordinator cannot keep an old policy or a
//! revoked peer alive with new signatures.

use warren_config::time::UnixTime;
use warren_wire::id::Generation;
use warren_wire::signed::Signed;
use warren_wire::statement::Freshness;

use super::belief::{Belief, Refusal};

/// A checked freshness with its envelope, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Fresh {
    pub signed: Signed,
    pub statement: Freshness,
}

impl Fresh {
    pub fn since(&self) -> UnixTime {
        UnixTime(self.statement.signed_at)
    }

    pub fn end(&self) -> UnixTime {
        UnixTime(self.statement.not_after)
    }

    pub fn half_ms(&self) -> u64 {
        let (start, end) = (self.statement.signed_at, self.statement.not_after);
        start.saturating_mul(500).saturating_add(end.saturating_mul(500))
    }

    pub fn end_ms(&self) -> u64 {
        self.statement.not_after.saturating_mul(1000)
    }

    fn numbers(&self) -> (u64, u64) {
        (self.statement.epoch, self.statement.revision)
    }
}

/// The newest freshness for the view held, and one that waits for its view.
#[derive(Clone, Debug, Default)]
pub struct Life {
    pub current: Option<Fresh>,
    pub waiting: Option<Fresh>,
}

impl Life {
    /// Takes a checked freshness. `Ok(true)` if it counts for `belief` now, `Ok(false)` if it waits or says nothing new.
    pub fn offer(&mut self, fresh: Fresh, belief: Option<&Belief>) -> Result<bool, Refusal> {
        // The same one again, as after a reconnect.
        if self.current.as_ref() == Some(&fresh) {
            return Ok(true);
        }
        let newest = self.waiting.iter().chain(&self.current).map(Fresh::since).max();
        if newest.is_some_and(|newest| fresh.since() < newest) {
            let seen = newest.unwrap_or_default().to_string();
            return Err(Refusal::Older {
                what: "freshness signed at",
                found: fresh.since().to_string(),
                seen,
            });
        }
        if let Some(held) = self.current.iter().chain(&self.waiting).map(Fresh::numbers).max()
            && fresh.numbers() < held
        {
            let (found, seen) = (format!("{:?}", fresh.numbers()), format!("{held:?}"));
            return Err(Refusal::Older { what: "freshness (epoch, revision)", found, seen });
        }
        let counts = match belief {
            Some(belief) => speaks_of(&fresh, belief)?,
            None => false,
        };
        match counts {
            true => {
                self.current = Some(fresh);
                self.waiting = None;
            }
            false => self.waiting = Some(fresh),
        }
        Ok(counts)
    }

    /// Another view is believed: what waited for it counts now. What counted for the one before goes on counting only
    /// if it speaks of this one; it cannot speak of a newer one.
    pub fn rebase(&mut self, belief: &Belief) {
        if let Some(waiting) = self.waiting.take() {
            match speaks_of(&waiting, belief) {
                Ok(true) => self.current = Some(waiting),
                Ok(false) => self.waiting = Some(waiting),
                Err(_) => {}
            }
        }
    }
}

/// Does it speak of the view's policy and roll? `false`: of newer ones. An error: of older ones, or of others with the
/// same number.
fn speaks_of(fresh: &Fresh, belief: &Belief) -> Result<bool, Refusal> {
    let statement = &fresh.statement;
    let root: &[u8] = belief.policy.as_ref().map_or(&[], |policy| &policy.root.0);
    let policy = belief.generation;
    // A coordinator that knows of no roll says nothing of it; the nodes it tells otherwise would notice.
    let same_roll = statement.roll.is_empty() || statement.roll == belief.roll.root().0;
    match statement.generation == policy {
        true if statement.policy_root == root && same_roll => Ok(true),
        true if statement.policy_root == root => match fresh.numbers() > (belief.epoch, belief.revision) {
            true => Ok(false),
            false => Err(Refusal::OtherRoll),
        },
        true => Err(Refusal::Mixed { head: statement.generation, policy }),
        false if fresh.numbers() > (belief.epoch, belief.revision) => Ok(false),
        false => Err(older(statement.generation, policy)),
    }
}

fn older(found: Generation, seen: Generation) -> Refusal {
    Refusal::Older { what: "freshness for generation", found: found.to_string(), seen: seen.to_string() }
}
