//! A question to the upstreams of one group: the quickest begins, others join, the first good answer wins.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use hickory_proto::rr::Name;
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use warren_config::upstream::Upstream;
use warren_node_core::names::Names;
use warren_node_core::names::forward::ask::{self, Asked};
use warren_node_core::names::forward::fleet::{Fleet, Health};
use warren_node_core::names::forward::screen::{Refusal, Rules};
use warren_node_core::names::forward::stored::Stored;
use warren_node_core::names::forward::{Failure, Forwarding, Loss};

use super::line::Line;
use super::proof::{self, Anchors, Proven, Prover};
use crate::clock::boot;

/// Shorter than the five seconds after which stub resolvers ask again.
const PATIENCE: Duration = Duration::from_millis(4_500);

/// All that leads outside, for one set of settings.
pub struct Outward {
    pub forwarding: Forwarding,
    groups: Vec<Arc<Group>>,
}

struct Group {
    lines: Vec<Arc<Line>>,
    /// One for each line, where answers must be proven.
    provers: Vec<Prover>,
    fleet: Mutex<Fleet>,
}

/// An answer and where it came from.
#[derive(Clone, Debug)]
pub struct Won {
    pub stored: Arc<Stored>,
    pub upstream: String,
    pub took: Duration,
}

/// What is kept while a question is under way.
#[derive(Clone)]
pub struct Context {
    pub names: Option<Arc<Names>>,
    pub private: bool,
}

impl Outward {
    /// With `anchors`, what upstreams say of names that can be proven is proven.
    pub fn new(forwarding: Forwarding, tls: &Arc<ClientConfig>, anchors: Option<&Anchors>) -> Outward {
        let group = |number: usize| {
            let line = |upstream: &Upstream| Arc::new(Line::new(upstream.clone(), Arc::clone(tls)));
            let lines: Vec<_> = forwarding.group(number).iter().map(line).collect();
            let suffix = forwarding.suffix_of_group(number);
            let anchors = anchors.filter(|anchors| suffix.is_none_or(|suffix| anchors.cover(suffix)));
            let prover = |anchors: &Anchors| {
                lines.iter().map(|line| Prover::new(Arc::clone(line), anchors)).collect::<Vec<_>>()
            };
            let provers = anchors.map(prover).unwrap_or_default();
            Arc::new(Group { fleet: Mutex::new(Fleet::new(lines.len())), provers, lines })
        };
        let groups = (0..forwarding.groups()).map(group).collect();
        Outward { forwarding, groups }
    }

    /// Each upstream with the suffix it is for and how it does.
    pub fn health(&self) -> Vec<(Option<String>, String, Health)> {
        let mut all = Vec::new();
        for (number, group) in self.groups.iter().enumerate() {
            let suffix = self.forwarding.suffix_of_group(number).map(str::to_owned);
            let health = group.fleet().health().to_vec();
            let lines = group.lines.iter().zip(health);
            all.extend(lines.map(|(line, health)| (suffix.clone(), line.upstream.to_string(), health)));
        }
        all
    }

    /// Asks every upstream for the root's servers: any answer shows that it is there.
    pub async fn probe(&self) {
        let asked = Asked { name: String::new(), kind: 2, dnssec_ok: false, checking_disabled: false };
        let message = ask::message(&asked, &Name::root());
        let mut probes = tokio::task::JoinSet::new();
        for group in &self.groups {
            for i in 0..group.lines.len() {
                probes.spawn(Arc::clone(group).probe(i, message.clone()));
            }
        }
        // A probe ends within the time a line takes for its answer.
        while probes.join_next().await.is_some() {}
    }

    /// `name` is the question's name as it goes out, lower case.
    pub async fn ask(
        self: &Arc<Self>,
        group: usize,
        asked: &Asked,
        name: &Name,
        context: Context,
    ) -> Result<Won, Failure> {
        let Some(group) = self.groups.get(group).filter(|g| !g.lines.is_empty()) else {
            return Err(Failure::NoUpstream);
        };
        // Who wants to judge himself gets it as it is (RFC 4035 section 3.2.2).
        let proven = !group.provers.is_empty() && !asked.checking_disabled;
        let sent = if proven { proof::signed(name, asked.kind) } else { asked.clone() };
        let question = Arc::new(Question {
            message: ask::message(&sent, name),
            proven,
            sent,
            asked: asked.clone(),
            name: name.clone(),
            context,
            outward: Arc::clone(self),
        });
        group.race(&question).await
    }
}

struct Question {
    message: Message,
    /// The answer has to be proven.
    proven: bool,
    /// What the upstream is asked.
    sent: Asked,
    /// What we were asked.
    asked: Asked,
    name: Name,
    context: Context,
    outward: Arc<Outward>,
}

impl Question {
    fn rules(&self) -> Rules<'_> {
        Rules {
            names: self.context.names.as_deref(),
            forwarding: &self.outward.forwarding,
            private: self.context.private,
        }
    }

    /// Screened, then proven if it has to be, then without what was not asked for.
    async fn judge(&self, answer: &Message, prover: Option<&Prover>) -> Result<Stored, Loss> {
        let rules = self.rules();
        let mut screened = rules.screen(answer, &self.sent, &self.name).map_err(Loss::Answer)?;
        let mut authentic = false;
        if let Some(prover) = prover.filter(|_| self.proven) {
            let ours = |name: &Name| rules.is_ours(name);
            let (whole, proven) = prover.prove(&self.name, self.asked.kind, screened.message, ours).await?;
            authentic = proven == Proven::Secure;
            screened = rules.screen(&whole, &self.asked, &self.name).map_err(Loss::Answer)?;
        }
        Stored::new(&screened, authentic).map_err(Loss::Answer)
    }
}

/// How one upstream's part ended.
enum Ended {
    Won(Won),
    Lost(Loss),
    /// It did its work, and the answer must not be given to anybody.
    Refused(Refusal),
}

impl Group {
    fn fleet(&self) -> std::sync::MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn race(self: &Arc<Self>, question: &Arc<Question>) -> Result<Won, Failure> {
        let starters = self.fleet().race(boot()).starters;
        let (ended, mut ends) = mpsc::channel(starters.len().max(1));
        let mut waiting = starters.into_iter().peekable();
        let (mut running, mut tried) = (0usize, Vec::new());
        let mut last_start = Instant::now();
        let race = async {
            loop {
                let due = waiting.peek().map(|(_, wait)| last_start + *wait);
                let now_due = due.filter(|due| running == 0 || *due <= Instant::now()).is_some();
                if now_due && let Some((i, _)) = waiting.next() {
                    last_start = Instant::now();
                    running += 1;
                    tokio::spawn(Arc::clone(self).part(i, Arc::clone(question), ended.clone()));
                    continue;
                }
                if running == 0 {
                    return Err(());
                }
                let next = due.unwrap_or_else(|| Instant::now() + PATIENCE);
                tokio::select! {
                    Some((i, end)) = ends.recv() => {
                        running -= 1;
                        match end {
                            Ended::Won(won) => return Ok(Ok(won)),
                            Ended::Refused(refusal) => return Ok(Err(refusal)),
                            Ended::Lost(why) => tried.push((self.shown(i), why)),
                        }
                    }
                    () = sleep_until(next.into()) => {}
                }
            }
        };
        match timeout(PATIENCE, race).await {
            Ok(Ok(Ok(won))) => Ok(won),
            Ok(Ok(Err(refusal))) => Err(Failure::Screened(refusal)),
            Ok(Err(())) => Err(Failure::Tried(tried)),
            Err(_) => {
                let answered: Vec<String> = tried.iter().map(|(who, _)| who.clone()).collect();
                let silent =
                    (0..self.lines.len()).map(|i| self.shown(i)).filter(|who| !answered.contains(who));
                tried.extend(silent.map(|who| (who, Loss::Network("no answer in time".to_owned()))));
                Err(Failure::Tried(tried))
            }
        }
    }

    /// Goes on when another has won, so that its time to answer is known the next time.
    async fn part(self: Arc<Self>, i: usize, question: Arc<Question>, ended: mpsc::Sender<(usize, Ended)>) {
        let Some(line) = self.lines.get(i) else { return };
        let start = Instant::now();
        let answer = line.ask(&question.message).await;
        // What proofs need is asked besides: it says nothing about how quick the upstream is.
        let took = start.elapsed();
        let judged = match &answer {
            Ok(answer) => question.judge(answer, self.provers.get(i)).await,
            Err(why) => Err(Loss::Network(why.clone())),
        };
        match &judged {
            // It did its work, whatever becomes of what it says.
            Ok(_) | Err(Loss::Bogus(_)) => self.fleet().handle_answer(i, took),
            Err(Loss::Answer(refusal)) if refusal.is_private() => self.fleet().handle_answer(i, took),
            Err(why) => self.fleet().handle_failure(i, &why.to_string(), boot()),
        }
        let end = match judged {
            Ok(stored) => {
                Ended::Won(Won { stored: Arc::new(stored), upstream: line.upstream.to_string(), took })
            }
            Err(Loss::Answer(refusal)) if refusal.is_private() => Ended::Refused(refusal),
            Err(loss) => Ended::Lost(loss),
        };
        // Nobody listens any more when another was quicker.
        let _ = ended.send((i, end)).await;
    }

    async fn probe(self: Arc<Self>, i: usize, message: Message) {
        let Some(line) = self.lines.get(i) else { return };
        let start = Instant::now();
        match line.ask(&message).await {
            Ok(_) => self.fleet().handle_answer(i, start.elapsed()),
            Err(why) => self.fleet().handle_failure(i, &why, boot()),
        }
    }

    fn shown(&self, i: usize) -> String {
        self.lines.get(i).map(|line| line.upstream.to_string()).unwrap_or_default()
    }
}
