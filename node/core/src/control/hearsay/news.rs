//! What gateways were told, asked of them by who uses them.
//!
//! A gateway that is cut off from its coordinator judges by what it heard last, and answers. So who was told something new asks
//! the gateways that it uses what they were told, until they say that they know as much. One that still knows less after a few
//! seconds is behind: another one that knows more is used instead, if there is one.
//!
//! Less is: an older policy, or an older record of one of the two. Revisions say nothing, because a node is told only what touches it.
//! A gateway that says too much makes only itself be asked; what it says widens nothing.

use std::collections::BTreeMap;

use warren_wire::id::NodeId;
use warren_wire::signed::Signed;

use super::super::Control;
use crate::clock::Mono;
use crate::peers::{News, Standing};

/// First byte of a word about news; others begin otherwise.
const ABOUT_NEWS: u8 = 0xfe;
const ASK: u8 = 1;
const TOLD: u8 = 2;
/// What everybody is told at once has come after this time.
const GRACE_MS: u64 = 3_000;

/// A question or its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum NewsWord<'a> {
    Ask,
    /// The serials of the two records as the speaker has them, and the newest freshness he was given.
    Told {
        yours: u64,
        mine: u64,
        freshness: &'a [u8],
    },
}

impl<'a> NewsWord<'a> {
    pub(in super::super) fn write(&self) -> Vec<u8> {
        match self {
            NewsWord::Ask => vec![ABOUT_NEWS, ASK],
            NewsWord::Told { yours, mine, freshness } => {
                [&[ABOUT_NEWS, TOLD], &yours.to_be_bytes()[..], &mine.to_be_bytes(), freshness].concat()
            }
        }
    }

    pub(super) fn is(word: &[u8]) -> bool {
        word.first() == Some(&ABOUT_NEWS)
    }

    /// `None`: of a newer version than this, or nonsense.
    pub(super) fn read(word: &'a [u8]) -> Option<NewsWord<'a>> {
        match word {
            [ABOUT_NEWS, ASK] => Some(NewsWord::Ask),
            [ABOUT_NEWS, TOLD, rest @ ..] => {
                let (yours, rest) = rest.split_first_chunk()?;
                let (mine, freshness) = rest.split_first_chunk()?;
                let (yours, mine) = (u64::from_be_bytes(*yours), u64::from_be_bytes(*mine));
                Some(NewsWord::Told { yours, mine, freshness })
            }
            _ => None,
        }
    }
}

/// What two nodes must know alike to judge alike: the policy, and who the two are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    policy: (u64, u64),
    user: u64,
    gateway: u64,
}

impl Known {
    fn is_less_than(&self, other: &Known) -> bool {
        self.policy < other.policy || self.user < other.user || self.gateway < other.gateway
    }
}

/// A gateway, as far as it has said.
#[derive(Debug)]
struct Gateway {
    /// What this node knows, and since when.
    wanted: Known,
    since: Mono,
    /// What the gateway knew when it was last heard.
    told: Option<(Known, Mono)>,
}

impl Gateway {
    fn news(&self, now: Mono) -> News {
        let told = self.told.filter(|(_, at)| *at >= self.since);
        let standing = match told {
            Some((known, _)) if !known.is_less_than(&self.wanted) => Standing::Current,
            Some((known, _)) if now.millis_since(self.since) >= GRACE_MS => {
                let (epoch, generation) = known.policy;
                Standing::Behind { epoch, generation }
            }
            _ => Standing::Unknown,
        };
        News { standing, heard: told.map(|(_, at)| at) }
    }
}

/// Gateways of this node.
#[derive(Debug, Default)]
pub struct Gateways(BTreeMap<NodeId, Gateway>);

impl Control {
    /// The question that [`Control::handle_hearsay`] answers.
    pub fn news_question(&self) -> Vec<u8> {
        NewsWord::Ask.write()
    }

    /// How what each gateway of this node was told stands to what this node was told.
    pub fn gateway_news(&mut self, now: Mono) -> BTreeMap<NodeId, News> {
        let wanted = self.wanted();
        let known = &mut self.hearsay.gateways.0;
        known.retain(|node, _| wanted.contains_key(node));
        for (node, wanted) in wanted {
            let gateway = known.entry(node).or_insert(Gateway { wanted, since: now, told: None });
            if gateway.wanted != wanted {
                (gateway.wanted, gateway.since) = (wanted, now);
            }
        }
        known.iter().map(|(node, gateway)| (*node, gateway.news(now))).collect()
    }

    fn wanted(&self) -> BTreeMap<NodeId, Known> {
        let Some(publication) = &self.publication else { return BTreeMap::new() };
        let assembly = &publication.assembly;
        let leading = assembly.peers.iter().filter(|(_, peer)| peer.beyond.iter().next().is_some());
        let known = |gateway| Known {
            policy: (assembly.epoch, assembly.generation),
            user: assembly.me.amendment_serial,
            gateway,
        };
        leading.map(|(node, peer)| (*node, known(peer.member.amendment_serial))).collect()
    }

    /// What is to be said to it, if something is.
    pub(super) fn handle_news(&mut self, from: NodeId, word: &[u8], now: Mono) -> Option<Vec<u8>> {
        match NewsWord::read(word)? {
            NewsWord::Ask => self.tell_news(from),
            NewsWord::Told { yours, mine, freshness } => {
                let gateway = self.hearsay.gateways.0.get_mut(&from)?;
                let signed = Signed::from_bytes(freshness).ok();
                let checked = signed.and_then(|s| self.config.trust.freshness(&self.network, &s).ok());
                match checked {
                    Some(theirs) => {
                        let policy = (theirs.epoch, theirs.generation);
                        gateway.told = Some((Known { policy, user: yours, gateway: mine }, now));
                        self.weigh(from, theirs, now);
                    }
                    None => self.note_forger(from),
                }
                None
            }
        }
    }

    /// To a peer: what this node judges by.
    fn tell_news(&self, peer: NodeId) -> Option<Vec<u8>> {
        // A freshness that waits for its view is not what is judged by.
        let fresh = self.life.current.as_ref()?;
        let assembly = &self.publication.as_ref()?.assembly;
        let yours = assembly.peers.get(&peer)?.member.amendment_serial;
        let (mine, freshness) = (assembly.me.amendment_serial, fresh.signed.to_bytes());
        Some(NewsWord::Told { yours, mine, freshness: &freshness }.write())
    }
}

#[cfg(test)]
mod tests {
    use warren_wire::signed::Signed;

    use super::super::super::tests::world::World;
    use super::*;

    fn seconds(s: u64) -> Mono {
        Mono(s * 1_000_000_000)
    }

    const WANTED: Known = Known { policy: (1, 5), user: 2, gateway: 3 };

    /// What is known of a gateway that said this at `at`, ten seconds after this node was told all that it wants to find there.
    fn standing(told: Known, at: u64) -> Standing {
        let gateway = Gateway { wanted: WANTED, since: seconds(100), told: Some((told, seconds(at))) };
        gateway.news(seconds(110)).standing
    }

    #[test]
    fn who_knows_an_older_policy_or_an_older_record_of_either_is_behind() {
        let behind = |(epoch, generation)| Standing::Behind { epoch, generation };
        assert_eq!(standing(WANTED, 105), Standing::Current);
        assert_eq!(standing(Known { policy: (1, 6), ..WANTED }, 105), Standing::Current, "or more");
        for told in [
            Known { policy: (1, 4), ..WANTED },
            Known { policy: (0, 9), ..WANTED },
            Known { user: 1, ..WANTED },
            Known { gateway: 2, ..WANTED },
        ] {
            assert_eq!(standing(told, 105), behind(told.policy), "{told:?}");
        }
        assert_eq!(standing(Known { user: 1, ..WANTED }, 99), Standing::Unknown, "before there was more");
    }

    #[test]
    fn news_have_three_seconds_to_come() {
        let told = Some((Known { user: 1, ..WANTED }, seconds(101)));
        let gateway = Gateway { wanted: WANTED, since: seconds(100), told };
        assert_eq!(gateway.news(Mono(seconds(103).0 - 1_000_000)).standing, Standing::Unknown);
        assert!(matches!(gateway.news(seconds(103)).standing, Standing::Behind { .. }));
    }

    #[test]
    fn words_are_read_as_they_are_written_and_others_are_none() {
        let told = NewsWord::Told { yours: 7, mine: u64::MAX, freshness: b"signed" };
        for word in [NewsWord::Ask, told.clone()] {
            assert_eq!(NewsWord::read(&word.write()), Some(word));
        }
        let bytes = told.write();
        for cut in 0..18 {
            assert!(matches!(NewsWord::read(&bytes[..cut]), None | Some(NewsWord::Ask)), "{cut}");
        }
        assert_eq!(NewsWord::read(&[ABOUT_NEWS, 9]), None);
    }

    #[test]
    fn a_peer_is_told_the_freshness_and_the_serials_a_stranger_nothing() {
        let world = World::new();
        let mut node = world.settled();
        let question = node.control.news_question();
        let answer = node.control.handle_hearsay(world.orders.id, &question, node.now).unwrap();
        let Some(NewsWord::Told { freshness, .. }) = NewsWord::read(&answer) else { panic!("{answer:?}") };
        assert_eq!(
            Signed::from_bytes(freshness).unwrap(),
            world.freshness(super::super::super::tests::world::T0)
        );
        assert_eq!(node.control.handle_hearsay(NodeId([9; 16]), &question, node.now), None);
        // Who is no gateway of this node is not listened to.
        assert_eq!(node.control.handle_hearsay(world.orders.id, &answer, node.now), None);
        assert!(node.control.gateway_news(node.now).is_empty());
    }
}
