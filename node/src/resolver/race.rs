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
use warren_node_core::names::forward::screen::{Refusal, Rules, Screened};
use warren_node_core::names::forward::stored::Stored;
use warren_node_core::names::forward::{Failure, Forwarding};

use super::line::Line;
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
    pub fn new(forwarding: Forwarding, tls: &Arc<ClientConfig>) -> Outward {
        let groups = (0..).map(|i| forwarding.group(i)).take(forwarding.groups());
        let group = |upstreams: &[Upstream]| {
            let line = |upstream: &Upstream| Arc::new(Line::new(upstream.clone(), Arc::clone(tls)));
            let lines: Vec<_> = upstreams.iter().map(line).collect();
            Arc::new(Group { fleet: Mutex::new(Fleet::new(lines.len())), lines })
        };
        let groups = groups.map(group).collect();
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
        let question = Arc::new(Question {
            message: ask::message(asked, name),
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
    asked: Asked,
    name: Name,
    context: Context,
    outward: Arc<Outward>,
}

impl Question {
    fn screen(&self, answer: &Message) -> Result<Screened, Refusal> {
        let rules = Rules {
            names: self.context.names.as_deref(),
            forwarding: &self.outward.forwarding,
            private: self.context.private,
        };
        rules.screen(answer, &self.asked, &self.name)
    }
}

/// How one upstream's part ended.
enum Ended {
    Won(Won),
    Lost(String),
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
                tried.extend(silent.map(|who| (who, "no answer in time".to_owned())));
                Err(Failure::Tried(tried))
            }
        }
    }

    /// Goes on when another has won, so that its time to answer is known the next time.
    async fn part(self: Arc<Self>, i: usize, question: Arc<Question>, ended: mpsc::Sender<(usize, Ended)>) {
        let Some(line) = self.lines.get(i) else { return };
        let start = Instant::now();
        let answer = line.ask(&question.message).await;
        let took = start.elapsed();
        let end = match answer.map(|answer| question.screen(&answer)) {
            Ok(Ok(screened)) => match Stored::new(&screened, false) {
                Ok(stored) => {
                    Ended::Won(Won { stored: Arc::new(stored), upstream: line.upstream.to_string(), took })
                }
                Err(refusal) => Ended::Lost(refusal.to_string()),
            },
            Ok(Err(refusal)) if refusal.is_private() => Ended::Refused(refusal),
            Ok(Err(refusal)) => Ended::Lost(refusal.to_string()),
            Err(why) => Ended::Lost(why),
        };
        match &end {
            Ended::Won(_) | Ended::Refused(_) => self.fleet().handle_answer(i, took),
            Ended::Lost(why) => self.fleet().handle_failure(i, why, boot()),
        }
        // Nobody listens any more when another was quicker.
        let _ = ended.send((i, end)).await;
    }

    fn shown(&self, i: usize) -> String {
        self.lines.get(i).map(|line| line.upstream.to_string()).unwrap_or_default()
    }
}
