//! What the coordinator told others, compared with what it told this node. It can withhold news from one node, or show two
//! nodes two truths; but it signs what it says, and nodes show each other its newest freshness through the tunnel.
//!
//! | what two freshnesses show | what is said |
//! |---|---|
//! | one number for two states, or an earlier one that speaks of a later state | `split-view`, at once: no honest coordinator signs that |
//! | the peer's speaks of a newer policy, epoch or roll, or is newer by more than a renewal, and 30 s later still is | `news-withheld`, or `news-missed` while this node has no channel |
//!
//! A higher revision alone means nothing: a node is told only of what touches it, and of the rest with the next renewal. Of whom
//! the authority revokes or amends everybody is told within seconds, by the roll: an id and a number.
//! Nothing that a peer says is taken over; a peer that forges a freshness only makes himself suspicious.

pub(super) mod news;

use warren_wire::id::NodeId;
use warren_wire::signed::Signed;
use warren_wire::statement::Freshness;

use self::news::NewsWord;
use super::Control;
use super::output::Severity;
use super::session::Session;
use crate::clock::Mono;

/// News may be on its way.
const GRACE_MS: u64 = 30_000;
/// Freshness is renewed hourly, or four times in a life if that is more often; so much later it is late.
const RENEWAL: u64 = 3600;
const LATE: u64 = 120;

/// What is remembered of words.
#[derive(Debug, Default)]
pub struct Hearsay {
    /// The last word that was looked at: the same again says nothing.
    last: Vec<u8>,
    newest: Option<Newer>,
    doubt: Option<String>,
    /// Peers whose word was no word of the coordinator.
    forgers: std::collections::BTreeSet<NodeId>,
    /// What gateways of this node were told.
    gateways: news::Gateways,
}

/// A peer knows something newer.
#[derive(Debug)]
struct Newer {
    from: NodeId,
    statement: Freshness,
    /// When it is said, unless the news have come.
    due: Option<Mono>,
}

impl Hearsay {
    pub fn due(&self) -> Option<Mono> {
        self.newest.as_ref().and_then(|newer| newer.due)
    }

    pub fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }
}

/// How a peer's freshness stands to one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    Nothing,
    /// The peer was told something that this node should have been told, too.
    Newer,
    /// No honest coordinator has signed both.
    Contradiction,
}

fn numbers(freshness: &Freshness) -> (u64, u64) {
    (freshness.epoch, freshness.revision)
}

pub(super) fn compare(mine: &Freshness, theirs: &Freshness) -> Stand {
    let (early, late) = match (mine.signed_at, numbers(mine)) <= (theirs.signed_at, numbers(theirs)) {
        true => (mine, theirs),
        false => (theirs, mine),
    };
    let state = |f: &Freshness| (f.generation, f.policy_root.clone(), f.revocation_head.clone());
    let back =
        numbers(late) < numbers(early) || late.epoch == early.epoch && late.generation < early.generation;
    // A coordinator of an older version says nothing of the roll; the newer one does, and never again does not.
    let other_roll = early.roll != late.roll && !early.roll.is_empty();
    let same_numbers = numbers(mine) == numbers(theirs);
    let silenced = other_roll && late.roll.is_empty();
    if back || silenced || same_numbers && (other_roll || state(mine) != state(theirs)) {
        return Stand::Contradiction;
    }
    let life = mine.not_after.saturating_sub(mine.signed_at);
    let renewal = RENEWAL.min(life / 4).saturating_add(LATE);
    let newer = (theirs.epoch, theirs.generation) > (mine.epoch, mine.generation)
        || other_roll && numbers(theirs) > numbers(mine);
    match newer || theirs.signed_at > mine.signed_at.saturating_add(renewal) {
        true => Stand::Newer,
        false => Stand::Nothing,
    }
}

impl Control {
    /// What this node shows its peers: the newest freshness it was given.
    pub fn hearsay(&self) -> Option<Vec<u8>> {
        let newest = self.life.waiting.as_ref().or(self.life.current.as_ref())?;
        Some(newest.signed.to_bytes())
    }

    /// A peer said this through the tunnel. What is to be said to it, if something is.
    pub fn handle_hearsay(&mut self, from: NodeId, bytes: &[u8], now: Mono) -> Option<Vec<u8>> {
        self.latest = now;
        if NewsWord::is(bytes) {
            return self.handle_news(from, bytes, now);
        }
        if self.hearsay.last != bytes {
            self.handle_shown(from, bytes, now);
        }
        None
    }

    /// A peer showed the newest freshness it was given.
    fn handle_shown(&mut self, from: NodeId, bytes: &[u8], now: Mono) {
        self.hearsay.last = bytes.to_vec();
        let signed = Signed::from_bytes(bytes).ok();
        let checked = signed.and_then(|signed| self.config.trust.freshness(&self.network, &signed).ok());
        match checked {
            Some(theirs) => self.weigh(from, theirs, now),
            None => self.note_forger(from),
        }
    }

    fn weigh(&mut self, from: NodeId, theirs: Freshness, now: Mono) {
        let Some(current) = self.life.current.as_ref() else { return };
        // A freshness that waits for its view is the coordinator's word already; but the view is what counts.
        let mine = &self.life.waiting.as_ref().unwrap_or(current).statement;
        let stand = match compare(mine, &theirs) {
            Stand::Contradiction => Stand::Contradiction,
            _ => compare(&current.statement, &theirs),
        };
        match stand {
            Stand::Nothing => {}
            Stand::Contradiction => {
                let text = format!(
                    "the coordinator shows two truths: node {} was shown {}, this node {}; or its clock went back",
                    self.name_of(from),
                    shown(&theirs),
                    shown(mine)
                );
                self.hearsay.doubt = Some(text.clone());
                self.complain("split-view", text);
            }
            Stand::Newer => {
                let known = self.hearsay.newest.as_ref();
                if known.is_none_or(|known| numbers(&known.statement) < numbers(&theirs)) {
                    let since = known.and_then(|known| known.due);
                    let due = Some(since.unwrap_or(now.plus_millis(GRACE_MS)));
                    self.hearsay.newest = Some(Newer { from, statement: theirs, due });
                }
            }
        }
    }

    /// Said once the grace is over, taken back when the news have come.
    pub(super) fn check_doubt(&mut self, now: Mono) {
        let Some(mine) = self.life.current.as_ref().map(|fresh| &fresh.statement) else { return };
        let Some(newer) = self.hearsay.newest.take() else { return };
        if compare(mine, &newer.statement) != Stand::Newer {
            if newer.due.is_none() {
                self.hearsay.doubt = None;
                self.notice(
                    Severity::Info,
                    "news-came",
                    "the news that peers had before have come".to_owned(),
                );
            }
            return;
        }
        if newer.due.is_none_or(|due| due > now) {
            self.hearsay.newest = Some(newer);
            return;
        }
        let (name, theirs, own) = (self.name_of(newer.from), shown(&newer.statement), shown(mine));
        if self.session == Session::Authorised {
            let text =
                format!("the coordinator withholds news: node {name} was shown {theirs}, this node {own}");
            self.hearsay.doubt = Some(text.clone());
            self.complain("news-withheld", text);
        } else {
            let text = format!(
                "node {name} was shown {theirs}, this node {own}, and it has no channel to the coordinator"
            );
            self.hearsay.doubt = Some(text.clone());
            self.notice(Severity::Warning, "news-missed", text);
        }
        self.hearsay.newest = Some(Newer { due: None, ..newer });
    }

    /// Once a peer.
    fn note_forger(&mut self, from: NodeId) {
        if self.hearsay.forgers.insert(from) {
            let name = self.name_of(from);
            let text =
                format!("node {name} shows as the coordinator's word what the coordinator did not sign");
            self.complain("hearsay-refused", text);
        }
    }

    fn name_of(&self, node: NodeId) -> String {
        let member = self.belief.as_ref().and_then(|belief| belief.members.get(&node));
        member.map_or_else(|| node.to_string(), |member| member.name().to_string())
    }
}

fn shown(freshness: &Freshness) -> String {
    let at = warren_config::time::UnixTime(freshness.signed_at);
    let Freshness { epoch, revision, generation, .. } = freshness;
    format!("generation {generation} (epoch {epoch}, revision {revision}, signed {at})")
}
