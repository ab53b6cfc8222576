//! `warren relay run`: a relay that is a program of its own. Its heart is [`warren_coordinator_core::relay`], its sockets and
//! threads are [`crate::relay`]'s, what its coordinator says is taken up by [`warren_coordinator_core::outpost`]; here they meet.
//!
//! ```text
//!   frames, STUN ── UDP port ── threads ──▶ heart ◀── seats, permits ── this task ◀──▶ coordinator (QUIC, [`line`])
//!   doors ── loopback ──┘                     └─ may these two talk? (bounded queue) ──▶
//! ```
//!
//! The task waits for nobody: a coordinator that does not answer is tried again and again while frames go on. SIGTERM, or a
//! word of the coordinator, begins the end: nodes are told, the relay carries on until nobody sends any more, at most
//! [`DRAIN`], and then it ends.

pub mod home;
mod line;
mod metrics;

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use warren_coordinator_core::outpost::{Act, Outpost};
use warren_coordinator_core::relay::{Ask, Place, Released};
use warren_kernel::datagram::{self, Wait};
use warren_wire::door::DoorPlaces;
use warren_wire::frame::{Draining, RefusalCode, RelayCounts, RelayHello, RelaySays};
use warren_wire::token::Token;

use crate::door::{Callers, DoorSettings, Doors, Words};
use crate::relay::{Carrier, Ports, RelaySettings, Threads};
use crate::{clock, memory, tls};
use home::{Home, HomeError, Membership};
use line::{Line, LineError, Plan};
use metrics::{Asked, Metrics, Standing};

/// What is still sent over a relay that ends is carried so long.
pub const DRAIN: Duration = Duration::from_secs(10);
/// Nodes have this long to hear that it ends.
const NOTICE: Duration = Duration::from_secs(2);
/// Without a frame for so long nobody sends any more.
const QUIET: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(200);
/// Between two counts for the coordinator.
const COUNT: Duration = Duration::from_secs(2);
/// Between two tries to reach it.
const AGAIN: Duration = Duration::from_secs(1);
/// Threads for the line and for doors; frames have their own.
const RUNTIME: usize = 2;
/// Questions that are put together.
const TOGETHER: usize = 256;

pub struct Options {
    pub dir: PathBuf,
    pub listen: SocketAddr,
    pub token: Option<Token>,
    /// Where it says that it is reached.
    pub at: Vec<SocketAddr>,
    pub settings: RelaySettings,
    /// For networks without UDP.
    pub doors: DoorSettings,
    /// Where scrapers may ask.
    pub metrics: Vec<warren_scrape::Place>,
    /// Written (JSON: `listen`, `pid`) when it has come in, removed at the end.
    pub ready_file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum OutpostError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(
        "this relay has not come in yet: give it a token with `--token-file FILE` (made by `warren relay add`)"
    )]
    NoToken,
    #[error("cannot listen on UDP {listen}: {error}; choose another with `--listen ADDR:PORT`")]
    Listen { listen: SocketAddr, error: std::io::Error },
    #[error("cannot listen for scrapers on {place}: {error}; choose another place with `--metrics`")]
    Scraped { place: String, error: std::io::Error },
    #[error("the relay cannot start: {what}: {error}")]
    Start { what: &'static str, error: std::io::Error },
    #[error("the coordinator refuses this relay: {0}")]
    Refused(String),
}

/// Runs until it is told to end.
pub fn run(options: Options) -> Result<(), OutpostError> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    // The line to the coordinator waits for no stranger's handshake at a door.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(RUNTIME).enable_all().build();
    let runtime = runtime.map_err(|error| OutpostError::Start { what: "runtime", error })?;
    let result = runtime.block_on(async { Running::start(options).await?.run().await });
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// The end that has begun.
struct End {
    since: Instant,
    frames: u64,
    quiet_since: Instant,
}

struct Running {
    home: Home,
    plan: Plan,
    outpost: Outpost,
    carrier: Carrier,
    asks: mpsc::Receiver<Ask>,
    metrics: Metrics,
    /// As its coordinator calls it.
    name: String,
    /// For frames that have waited for an answer.
    socket: UdpSocket,
    threads: Option<Threads>,
    doors: Doors,
    line: Option<Line>,
    connecting: Option<JoinHandle<Result<Line, LineError>>>,
    try_at: Instant,
    counted: Instant,
    end: Option<End>,
    /// The coordinator has let it in since it started.
    begun: bool,
    listen: SocketAddr,
    ready_file: Option<PathBuf>,
}

impl Running {
    async fn start(options: Options) -> Result<Running, OutpostError> {
        let start = |what| move |error| OutpostError::Start { what, error };
        let home = Home::open(&options.dir)?;
        let known = home.membership()?;
        let token = options.token.filter(|_| known.is_none()).map(Arc::new);
        let membership =
            known.or_else(|| token.as_deref().map(Membership::of)).ok_or(OutpostError::NoToken)?;
        let seed = Arc::new(home.key()?);
        let ports = Ports::bind(options.listen, options.settings.threads.max(1))
            .map_err(|error| OutpostError::Listen { listen: options.listen, error })?;
        let listen = ports.control.local_addr().map_err(start("socket"))?;
        let socket = ports.control.try_clone().map_err(start("socket"))?;
        let (carrier, asks) = Carrier::new(&options.settings);
        let metrics = Metrics::listen(options.metrics).await?;
        let threads = Threads::start_alone(carrier.clone(), ports).map_err(start("threads"))?;
        let doors = Doors::open(&options.doors, &Words::FLAGS, listen, &seed, Callers::default());
        let hello = RelayHello {
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            port: u32::from(listen.port()),
            places: options.at.iter().map(ToString::to_string).collect(),
            doors: Some(DoorPlaces::of(doors.told())),
        };
        let outpost = Outpost::new(membership.trust());
        let now = Instant::now();
        Ok(Running {
            home,
            plan: Plan { seed, membership, hello, token },
            outpost,
            carrier,
            asks,
            metrics,
            name: String::new(),
            socket,
            threads: Some(threads),
            doors,
            line: None,
            connecting: None,
            try_at: now,
            counted: now,
            end: None,
            begun: false,
            listen,
            ready_file: options.ready_file,
        })
    }

    async fn run(mut self) -> Result<(), OutpostError> {
        let start = |what| move |error| OutpostError::Start { what, error };
        let mut term = signal(SignalKind::terminate()).map_err(start("signals"))?;
        let mut int = signal(SignalKind::interrupt()).map_err(start("signals"))?;
        tokio::spawn(memory::give_back());
        let doors = self.doors.report().listening.join(", ");
        tracing::info!(listen = %self.listen, doors, key = %tls::public_of(&self.plan.seed), "relay listens");
        let result = loop {
            match self.turn(&mut term, &mut int).await {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if let Some(path) = &self.ready_file {
            let _ = std::fs::remove_file(path);
        }
        self.doors.close();
        if let Some(threads) = self.threads.take() {
            let _ = tokio::task::spawn_blocking(move || threads.stop()).await;
        }
        if let Some(line) = self.line.take() {
            line.close().await;
        }
        tracing::info!("relay ended");
        result
    }

    /// One thing that happens. True at the end.
    async fn turn(&mut self, term: &mut Signal, int: &mut Signal) -> Result<bool, OutpostError> {
        tokio::select! {
            biased;
            _ = term.recv() => self.begin_end(true),
            _ = int.recv() => self.begin_end(true),
            said = hear(&mut self.line) => self.heard(said)?,
            Some(ask) = self.asks.recv() => self.ask(ask),
            Some(asked) = self.metrics.asked.recv() => self.tell(asked),
            line = connected(&mut self.connecting) => self.connected(line),
            () = tokio::time::sleep(TICK) => {}
        }
        self.tick();
        Ok(self.is_over())
    }

    // --- the line

    fn connected(&mut self, line: Result<Line, LineError>) {
        self.connecting = None;
        match line {
            Ok(line) => self.line = Some(line),
            Err(error) => {
                self.try_at = Instant::now() + AGAIN;
                tracing::warn!("the coordinator is not reached: {error}; what was allowed goes on");
            }
        }
    }

    fn lose(&mut self, why: &str) {
        if self.line.take().is_some() {
            tracing::warn!("the coordinator is away: {why}; what was allowed goes on");
            self.outpost.handle_gone(self.carrier.relay());
            self.try_at = Instant::now() + AGAIN;
        }
    }

    fn heard(&mut self, said: Result<warren_wire::frame::ToRelay, String>) -> Result<(), OutpostError> {
        let said = match said.and_then(|said| said.said().map_err(|e| e.to_string())) {
            Ok(said) => said,
            Err(why) => {
                self.lose(&why);
                return Ok(());
            }
        };
        for act in self.outpost.handle(said, self.carrier.relay(), clock::mono()) {
            match act {
                Act::Begun { name, place_key } => {
                    place_key.into_iter().for_each(|key| self.carrier.stun().prove_with(key));
                    self.begun(&name)?;
                }
                Act::Release(released) => self.release(released),
                Act::Drain => self.begin_end(false),
                Act::Refused(refused) => {
                    let message = crate::text::plain(&refused.message, 400);
                    let for_now = matches!(
                        RefusalCode::try_from(refused.code),
                        Ok(RefusalCode::Overloaded | RefusalCode::Replaced)
                    );
                    if !for_now {
                        return Err(OutpostError::Refused(message));
                    }
                    self.lose(&message);
                }
                Act::Warn(what) => tracing::warn!("{}", crate::text::plain(&what, 400)),
            }
        }
        self.put_questions();
        Ok(())
    }

    fn begun(&mut self, name: &str) -> Result<(), OutpostError> {
        if self.plan.token.take().is_some() {
            self.home.remember(&self.plan.membership)?;
        }
        self.name = crate::text::plain(name, 64);
        tracing::info!(name = self.name, "the coordinator has let this relay in");
        if !std::mem::replace(&mut self.begun, true) {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
            let text = serde_json::json!({ "listen": self.listen, "pid": std::process::id() }).to_string();
            if let Some(path) = &self.ready_file {
                let temporary = path.with_extension("tmp");
                let written =
                    std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, path));
                written.map_err(|error| OutpostError::Start { what: "ready file", error })?;
            }
        }
        if self.end.is_some() {
            self.say(RelaySays::Draining(Draining {}));
        }
        Ok(())
    }

    fn say(&mut self, says: RelaySays) {
        if self.line.as_ref().is_some_and(|line| !line.say(says)) {
            self.lose("it does not take what is said");
        }
    }

    // --- questions

    fn ask(&mut self, ask: Ask) {
        let mut asks = vec![ask];
        asks.extend(std::iter::from_fn(|| self.asks.try_recv().ok()).take(TOGETHER));
        for ask in asks {
            match self.line {
                Some(_) => self.outpost.ask(ask),
                None => self.carrier.relay().not_asked(ask.pair),
            }
        }
        self.put_questions();
    }

    fn put_questions(&mut self) {
        for pairs in self.outpost.poll_ask() {
            self.say(RelaySays::Ask(pairs));
        }
    }

    fn release(&mut self, released: Released) {
        let Released { to: Place { at, by }, frame } = released;
        let sent = datagram::send_from(&self.socket, by, &at, &frame, None, Wait::Never);
        self.carrier.unsent(sent.is_err().into());
    }

    // --- time

    fn tick(&mut self) {
        let now = Instant::now();
        if self.line.is_none() && self.connecting.is_none() && now >= self.try_at {
            self.connecting = Some(tokio::spawn(Line::open(self.plan.clone())));
        }
        if self.line.is_some() && now.duration_since(self.counted) >= COUNT {
            self.counted = now;
            let doors = Some(self.doors.report().into());
            self.say(RelaySays::Counts(RelayCounts { doors, ..self.counts() }));
            self.outpost.tidy(self.carrier.relay(), clock::mono());
        }
        let frames = self.carrier.report().relay.frames;
        if let Some(end) = self.end.as_mut().filter(|end| end.frames != frames) {
            (end.frames, end.quiet_since) = (frames, now);
        }
    }

    fn counts(&self) -> RelayCounts {
        let report = self.carrier.report();
        self.outpost.counts(self.carrier.relay(), report.threads, report.unsent, clock::mono())
    }

    /// What a scraper hears; one that has gone meanwhile hears nothing.
    fn tell(&self, asked: Asked) {
        let (connected, draining) = (self.line.is_some() && self.begun, self.end.is_some());
        let (counts, doors) = (self.counts(), self.doors.report());
        let standing = Standing { name: &self.name, connected, draining, counts, doors };
        match metrics::text(standing) {
            Ok(text) => drop(asked.send(text)),
            Err(error) => tracing::warn!("a scraper is told nothing: {error}"),
        }
    }

    // --- the end

    fn begin_end(&mut self, by_signal: bool) {
        if self.end.is_some() {
            return;
        }
        let now = Instant::now();
        let frames = self.carrier.report().relay.frames;
        self.end = Some(End { since: now, frames, quiet_since: now });
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        tracing::info!("the relay ends: nodes are told, and what they send meanwhile is carried");
        if by_signal {
            self.say(RelaySays::Draining(Draining {}));
        }
    }

    fn is_over(&self) -> bool {
        let Some(end) = &self.end else { return false };
        let lasted = end.since.elapsed();
        // Nobody can be told: waiting helps nobody.
        let alone = self.line.is_none();
        alone || lasted >= DRAIN || lasted >= NOTICE && end.quiet_since.elapsed() >= QUIET
    }
}

async fn hear(line: &mut Option<Line>) -> Result<warren_wire::frame::ToRelay, String> {
    match line {
        Some(line) => line.inbox.recv().await.unwrap_or_else(|| Err("the line is gone".into())),
        None => std::future::pending().await,
    }
}

async fn connected(connecting: &mut Option<JoinHandle<Result<Line, LineError>>>) -> Result<Line, LineError> {
    match connecting {
        Some(task) => match task.await {
            Ok(line) => line,
            Err(error) => Err(LineError::Setup(error.to_string())),
        },
        None => std::future::pending().await,
    }
}
