//! How one relay is reached: over UDP, or through a door while UDP does not pass.
//!
//! ```text
//!            owes two answers*            open                it owes nothing and UDP has answered twice
//!   UDP ───────────────────────▶ Opening ──────▶ Door ──────────────────────────────────────▶ Trying ──▶ UDP
//!    ▲        it answers after all  │             │  ▲                                           │
//!    └──────────────────────────────┘             │  └─── it does not answer over UDP ────────────┘
//!    └──────────── the door is gone ──────────────┘
//! ```
//!
//! What is sent through a door goes to the very port that it would reach over UDP, so the relay and this node's berth there
//! notice nothing but a new place. (*) One, if a peer that is or would be reached over it is silent as well. UDP is asked about by STUN from the WireGuard socket every [`ASK_MS`]. While it is tried, the
//! door stays open: if UDP answered questions and does not carry frames, the door is back at once, and UDP rests longer each time.

use super::Transport;
use crate::clock::Mono;

/// So often UDP is asked while a door is used.
pub const ASK_MS: u64 = 10_000;
/// After a first answer.
const SURE_MS: u64 = 500;
/// Answers that count.
const SURE: u32 = 2;
/// An older answer is not about now.
const ANSWER_LIFE_MS: u64 = 3_000;
/// A door stays open so long after UDP was taken again.
pub const LINGER_MS: u64 = 10_000;
/// The relay owes so many answers, and a door is opened.
const OWED: u32 = 2;
/// A door that leads to no answer for so long is given up.
pub const TRUST_MS: u64 = 5_000;
/// After a door could not be opened; doubled each time up to the other.
const AGAIN_MS: u64 = 2_000;
const AGAIN_MOST_MS: u64 = 30_000;
/// UDP that only seemed to work rests; doubled each time up to the other.
const REST_MS: u64 = 30_000;
const REST_MOST_MS: u64 = 300_000;

/// What the berth says of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signs {
    pub answers: bool,
    /// Questions in a row that it has not answered.
    pub owed: u32,
    /// Somebody is silent who is, or would be, reached over it, and it has said nothing since.
    pub suspected: bool,
}

impl Signs {
    fn is_missed(&self) -> bool {
        self.owed >= OWED || self.suspected && self.owed > 0
    }
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Open a door; then [`Passage::handle_opened`] or [`Passage::handle_failed`].
    Open,
    /// From now on frames go through the door; and ask the relay at once.
    Use,
    /// By STUN, over UDP; then [`Passage::handle_udp`].
    AskUdp,
    /// From now on frames go over UDP; what comes by the door is still taken. And ask the relay at once.
    Leave,
    /// The door is not needed any more.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Udp,
    Opening,
    /// `silent`: since when the relay does not answer.
    Door {
        transport: Transport,
        silent: Option<Mono>,
    },
    Trying {
        transport: Transport,
        until: Mono,
    },
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Passage {
    state: State,
    since: Mono,
    why: &'static str,
    /// No door is opened before.
    again: Mono,
    failures: u32,
    ask: Mono,
    answers: (u32, Mono),
    rests: u32,
    steps: std::collections::VecDeque<Step>,
}

impl Passage {
    pub fn new(now: Mono) -> Passage {
        Passage {
            state: State::Udp,
            since: now,
            why: "UDP is the best way, and is tried first",
            again: now,
            failures: 0,
            ask: now,
            answers: (0, now),
            rests: 0,
            steps: std::collections::VecDeque::new(),
        }
    }

    /// What carries frames now, since when and why.
    pub fn standing(&self) -> (Transport, Mono, &'static str) {
        let transport = match self.state {
            State::Door { transport, .. } => transport,
            State::Udp | State::Opening | State::Trying { .. } => Transport::Udp,
        };
        (transport, self.since, self.why)
    }

    /// Time passes, and this is how the relay fares. Call it every quarter of a second or so, then drain [`Passage::poll`].
    pub fn handle_tick(&mut self, signs: Signs, now: Mono) {
        match self.state {
            State::Udp => {
                if signs.is_missed() && now >= self.again {
                    self.state = State::Opening;
                    self.steps.push_back(Step::Open);
                }
            }
            State::Opening => {}
            State::Door { transport, silent } => self.watch_door(transport, silent, signs, now),
            State::Trying { transport, until } => {
                if signs.owed >= OWED {
                    self.rests = self.rests.saturating_add(1);
                    self.ask = now.plus_millis(doubled(REST_MS, self.rests - 1, REST_MOST_MS));
                    self.enter_door(transport, "UDP answered questions but carried nothing", now);
                } else if now >= until {
                    (self.state, self.rests) = (State::Udp, 0);
                    self.steps.push_back(Step::Close);
                }
            }
        }
    }

    fn watch_door(&mut self, transport: Transport, silent: Option<Mono>, signs: Signs, now: Mono) {
        let silent = if signs.answers { None } else { silent.or(Some(now)) };
        self.state = State::Door { transport, silent };
        if silent.is_some_and(|since| now.millis_since(since) >= TRUST_MS) {
            return self.lose_door("the door led to no answer", now);
        }
        if now >= self.ask {
            self.ask = now.plus_millis(ASK_MS);
            self.steps.push_back(Step::AskUdp);
        }
    }

    /// The door is open. If the relay has answered over UDP meanwhile, it is not needed.
    pub fn handle_opened(&mut self, transport: Transport, signs: Signs, now: Mono) {
        self.failures = 0;
        if self.state != State::Opening || !signs.is_missed() && signs.answers {
            self.state = if self.state == State::Opening { State::Udp } else { self.state };
            return self.steps.push_back(Step::Close);
        }
        self.ask = now.plus_millis(ASK_MS);
        self.enter_door(transport, "the relay does not answer over UDP", now);
    }

    fn enter_door(&mut self, transport: Transport, why: &'static str, now: Mono) {
        self.state = State::Door { transport, silent: None };
        (self.since, self.why, self.answers) = (now, why, (0, now));
        self.steps.push_back(Step::Use);
    }

    /// No door could be opened.
    pub fn handle_failed(&mut self, now: Mono) {
        if self.state == State::Opening {
            self.state = State::Udp;
        }
        self.again = now.plus_millis(doubled(AGAIN_MS, self.failures, AGAIN_MOST_MS));
        self.failures = self.failures.saturating_add(1);
    }

    /// The door has closed by itself.
    pub fn handle_closed(&mut self, now: Mono) {
        match self.state {
            State::Door { .. } => self.lose_door("the door has closed", now),
            State::Trying { .. } => {
                self.state = State::Udp;
                self.steps.push_back(Step::Close);
            }
            State::Udp | State::Opening => {}
        }
    }

    fn lose_door(&mut self, why: &'static str, now: Mono) {
        self.again = now.plus_millis(doubled(AGAIN_MS, self.failures, AGAIN_MOST_MS) / 4);
        self.failures = self.failures.saturating_add(1);
        (self.state, self.since, self.why) = (State::Udp, now, why);
        self.steps.extend([Step::Leave, Step::Close]);
    }

    /// UDP has answered a question of STUN.
    pub fn handle_udp(&mut self, now: Mono) {
        let State::Door { transport, .. } = self.state else { return };
        let (before, last) = self.answers;
        let count = if now.millis_since(last) <= ANSWER_LIFE_MS { before + 1 } else { 1 };
        self.answers = (count, now);
        if count < SURE {
            self.ask = now.plus_millis(SURE_MS);
            return;
        }
        self.state = State::Trying { transport, until: now.plus_millis(LINGER_MS) };
        (self.since, self.why) = (now, "UDP works again");
        self.steps.push_back(Step::Leave);
    }

    pub fn poll(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }
}

fn doubled(ms: u64, times: u32, most: u64) -> u64 {
    ms.saturating_mul(1 << times.min(8)).min(most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: Signs = Signs { answers: true, owed: 0, suspected: false };
    const DOUBT: Signs = Signs { answers: true, owed: 2, suspected: false };
    const SILENT: Signs = Signs { answers: false, owed: 3, suspected: false };
    const SUSPECTED: Signs = Signs { answers: true, owed: 0, suspected: true };

    fn at(ms: u64) -> Mono {
        Mono::from_millis(1_000_000 + ms)
    }

    fn steps(passage: &mut Passage) -> Vec<Step> {
        std::iter::from_fn(|| passage.poll()).collect()
    }

    fn tick(passage: &mut Passage, signs: Signs, ms: u64) -> Vec<Step> {
        passage.handle_tick(signs, at(ms));
        steps(passage)
    }

    fn behind_a_door() -> Passage {
        let mut passage = Passage::new(at(0));
        assert_eq!(tick(&mut passage, GOOD, 0), []);
        assert_eq!(tick(&mut passage, DOUBT, 250), [Step::Open]);
        passage.handle_opened(Transport::WebSocket, SILENT, at(400));
        assert_eq!(steps(&mut passage), [Step::Use]);
        assert_eq!(passage.standing().0, Transport::WebSocket);
        passage
    }

    #[test]
    fn a_relay_that_answers_needs_no_door() {
        let mut passage = Passage::new(at(0));
        for ms in (0..100_000).step_by(250) {
            assert_eq!(tick(&mut passage, Signs { owed: 1, ..GOOD }, ms), []);
        }
        assert_eq!(passage.standing().0, Transport::Udp);
    }

    #[test]
    fn where_a_peer_is_silent_too_one_answer_that_is_owed_is_enough() {
        let mut passage = Passage::new(at(0));
        assert_eq!(tick(&mut passage, SUSPECTED, 0), [], "it may answer yet");
        let missed = Signs { owed: 1, ..SUSPECTED };
        assert_eq!(tick(&mut passage, missed, 500), [Step::Open]);
        passage.handle_opened(Transport::WebSocket, missed, at(600));
        assert_eq!(steps(&mut passage), [Step::Use]);
        let mut late = Passage::new(at(0));
        assert_eq!(tick(&mut late, missed, 500), [Step::Open]);
        late.handle_opened(Transport::WebSocket, GOOD, at(600));
        assert_eq!(steps(&mut late), [Step::Close], "it has answered meanwhile");
    }

    #[test]
    fn udp_is_asked_while_a_door_is_used_and_taken_again_when_it_has_answered_twice() {
        let mut passage = behind_a_door();
        let asked: Vec<u64> =
            (500..60_000).step_by(250).filter(|ms| tick(&mut passage, GOOD, *ms) == [Step::AskUdp]).collect();
        assert!(
            asked.windows(2).all(|pair| pair[1] - pair[0] <= ASK_MS + 250) && asked.len() >= 5,
            "{asked:?}"
        );
        passage.handle_udp(at(60_000));
        assert_eq!(passage.standing().0, Transport::WebSocket, "once is chance");
        assert_eq!(tick(&mut passage, GOOD, 60_600), [Step::AskUdp]);
        passage.handle_udp(at(60_700));
        assert_eq!(steps(&mut passage), [Step::Leave]);
        assert_eq!(passage.standing().0, Transport::Udp);
        assert_eq!(tick(&mut passage, GOOD, 60_700 + LINGER_MS), [Step::Close]);
    }

    #[test]
    fn udp_that_answers_questions_and_carries_nothing_is_left_at_once_and_rests_longer_each_time() {
        let mut passage = behind_a_door();
        let (mut now, mut pauses) = (1_000, Vec::new());
        for _ in 0..5 {
            let asked = now;
            while tick(&mut passage, GOOD, now) != [Step::AskUdp] {
                now += 250;
            }
            pauses.push(now - asked);
            passage.handle_udp(at(now));
            passage.handle_udp(at(now + 100));
            assert_eq!(steps(&mut passage), [Step::Leave]);
            now += 1_250;
            assert_eq!(tick(&mut passage, DOUBT, now), [Step::Use]);
        }
        assert!(pauses.iter().skip(1).zip(pauses.iter().skip(2)).all(|(a, b)| a < b), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= REST_MOST_MS + 250), "{pauses:?}");
    }

    #[test]
    fn a_door_that_opened_too_late_is_closed_again() {
        let mut passage = Passage::new(at(0));
        assert_eq!(tick(&mut passage, DOUBT, 0), [Step::Open]);
        passage.handle_opened(Transport::Quic, GOOD, at(100));
        assert_eq!(steps(&mut passage), [Step::Close]);
        assert_eq!(passage.standing().0, Transport::Udp);
    }

    #[test]
    fn a_door_that_closes_or_leads_nowhere_is_replaced() {
        let mut passage = behind_a_door();
        passage.handle_closed(at(1_000));
        assert_eq!(steps(&mut passage), [Step::Leave, Step::Close]);
        assert_eq!(tick(&mut passage, SILENT, 2_000), [Step::Open]);
        passage.handle_opened(Transport::WebSocket, SILENT, at(2_100));
        assert_eq!(steps(&mut passage), [Step::Use]);
        assert_eq!(tick(&mut passage, SILENT, 2_200), []);
        assert_eq!(tick(&mut passage, SILENT, 2_200 + TRUST_MS), [Step::Leave, Step::Close]);
        assert!((7_250..20_000).step_by(250).any(|ms| tick(&mut passage, SILENT, ms) == [Step::Open]));
    }

    #[test]
    fn where_no_door_opens_it_is_tried_less_and_less_and_never_given_up() {
        let (mut passage, mut tried) = (Passage::new(at(0)), Vec::new());
        for ms in (0..300_000).step_by(250) {
            if tick(&mut passage, SILENT, ms) == [Step::Open] {
                tried.push(ms);
                passage.handle_failed(at(ms));
            }
        }
        let gaps: Vec<u64> = tried.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps.iter().take(5).copied().collect::<Vec<_>>(), [2_000, 4_000, 8_000, 16_000, 30_000]);
        assert!(gaps.iter().skip(5).all(|gap| *gap == AGAIN_MOST_MS));
    }

    #[derive(Clone, Debug)]
    enum Happens {
        Tick(bool, u32, bool),
        Opened,
        Failed,
        Closed,
        Udp,
    }

    fn happens() -> impl Strategy<Value = Happens> {
        prop_oneof![
            6 => (any::<bool>(), 0u32..4, any::<bool>()).prop_map(|(answers, owed, suspected)| Happens::Tick(answers, owed, suspected)),
            1 => Just(Happens::Opened), 1 => Just(Happens::Failed), 1 => Just(Happens::Closed), 2 => Just(Happens::Udp),
        ]
    }

    proptest! {
        /// Whatever happens: a door is used only between `Open` and `Close`, there is never a second one, and what is shown as in use is
        /// what the steps said.
        #[test]
        fn one_door_at_a_time_and_none_is_forgotten(story in prop::collection::vec((happens(), 0u64..4_000), 0..200)) {
            let (mut passage, mut now) = (Passage::new(at(0)), 0);
            let (mut opening, mut open, mut used) = (false, false, false);
            for (what, pause) in story {
                now += pause;
                match what {
                    Happens::Tick(answers, owed, suspected) => {
                        passage.handle_tick(Signs { answers, owed, suspected }, at(now));
                    }
                    Happens::Opened if opening => {
                        (opening, open) = (false, true);
                        passage.handle_opened(Transport::Quic, SILENT, at(now));
                    }
                    Happens::Failed if opening => {
                        opening = false;
                        passage.handle_failed(at(now));
                    }
                    Happens::Closed if open => passage.handle_closed(at(now)),
                    Happens::Udp => passage.handle_udp(at(now)),
                    _ => {}
                }
                for step in steps(&mut passage) {
                    match step {
                        Step::Open => {
                            prop_assert!(!opening && !open);
                            opening = true;
                        }
                        Step::Use => {
                            prop_assert!(open);
                            used = true;
                        }
                        Step::Leave => used = false,
                        Step::Close => {
                            prop_assert!(open && !used);
                            open = false;
                        }
                        Step::AskUdp => prop_assert!(used),
                    }
                }
                prop_assert_eq!(passage.standing().0 != Transport::Udp, used);
            }
        }
    }
}
