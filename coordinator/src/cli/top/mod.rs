//! `warren top`: the network as it is this second. Asked anew once a second at the same routes as everything else; drawn on a
//! terminal, or printed as one JSON object a second.
//!
//! [`snapshot`] is what is known, [`screen`] what a person looks at of it, [`columns`] what there is room for (all pure);
//! [`draw`] and [`lists`] are the ink. The terminal is [`held`] and given back however this ends: by `q`, by a signal, by an
//! error, by a panic. Nobody waits for the coordinator: keys are heard and time goes on while it is asked.

pub mod columns;
mod draw;
mod held;
mod lists;
mod screen;
mod snapshot;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::pin::pin;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use self::held::Held;
use self::screen::{Screen, Wish};
use self::snapshot::Snapshot;
use super::{Context, Failure, Outcome, output};
use crate::client::{Client, ClientError};
use crate::clock;

const EVERY: Duration = Duration::from_secs(1);
/// A coordinator that has not answered for so long is called silent; it is not asked again before it has.
const PATIENCE: Duration = Duration::from_secs(5);

type Answer = Result<Snapshot, ClientError>;

pub async fn run(context: &Context, count: Option<u64>) -> Outcome {
    // Asked once before anything is drawn: an answer to `why not` belongs on a plain line.
    let first = Snapshot::ask(&context.client).await?;
    if context.json {
        return print(context, first, count.unwrap_or(u64::MAX)).await;
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage("`warren top` draws on a terminal: without one use `warren --json top`"));
    }
    let mut held = Held::take().map_err(unusable)?;
    live(context, &mut held, Screen::new(first)).await
}

fn unusable(error: std::io::Error) -> Failure {
    Failure::finding(format!("the terminal cannot be used: {error}; `warren --json top` needs none"))
}

/// One object a second, `count` of them.
async fn print(context: &Context, first: Snapshot, count: u64) -> Outcome {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = Some(first);
    for _ in 0..count {
        ticks.tick().await;
        let now = match next.take() {
            Some(first) => first,
            None => Snapshot::ask(&context.client).await?,
        };
        output::json_line(&now);
    }
    Ok(())
}

async fn live(context: &Context, held: &mut Held, mut screen: Screen) -> Outcome {
    let mut keys = keyboard();
    let mut ends = Ends::new().map_err(unusable)?;
    let (tell, mut answers) = mpsc::channel(1);
    let mut asking = pin!(ask(&context.client, tell));
    // What was last heard of the coordinator; none: it answers.
    let mut fault = None;
    let mut seconds = interval(EVERY);
    loop {
        held.0.draw(|frame| draw::draw(frame, &screen, clock::now())).map_err(unusable)?;
        tokio::select! {
            () = ends.one() => return Ok(()),
            event = keys.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    if screen.handle_key(key.code, key.modifiers) == Wish::Leave {
                        // What the last line of the picture said is said where it stays.
                        return fault.map_or(Ok(()), |error| Err(Failure::from(error)));
                    }
                }
                Some(_) => {}
                None => return Err(Failure::finding("the keyboard is gone; `warren --json top` needs none")),
            },
            Some(answer) = answers.recv() => match answer {
                Some(Ok(now)) => {
                    fault = None;
                    screen.handle_news(now);
                }
                // What was known stays, with the time since when nothing came.
                Some(Err(error)) => {
                    screen.handle_silence(error.to_string(), clock::now());
                    fault = Some(error);
                }
                None => screen.handle_silence("it is slow, or it hangs: see its log".to_owned(), clock::now()),
            },
            () = &mut asking => {}
            _ = seconds.tick() => {}
        }
    }
}

/// Asks once a second, for ever. `None`: there is no answer yet.
async fn ask(client: &Client, tell: mpsc::Sender<Option<Answer>>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !tell.is_closed() {
        ticks.tick().await;
        let mut answer = pin!(Snapshot::ask(client));
        let known = loop {
            match tokio::time::timeout(PATIENCE, &mut answer).await {
                Ok(known) => break known,
                Err(_) => drop(tell.send(None).await),
            }
        };
        drop(tell.send(Some(known)).await);
    }
}

/// Signals that mean: end.
struct Ends([Signal; 4]);

impl Ends {
    fn new() -> std::io::Result<Ends> {
        let of = |kind: SignalKind| signal(kind);
        let (terminate, interrupt) = (of(SignalKind::terminate())?, of(SignalKind::interrupt())?);
        Ok(Ends([terminate, interrupt, of(SignalKind::hangup())?, of(SignalKind::quit())?]))
    }

    async fn one(&mut self) {
        let [a, b, c, d] = &mut self.0;
        tokio::select! {
            _ = a.recv() => {}
            _ = b.recv() => {}
            _ = c.recv() => {}
            _ = d.recv() => {}
        }
    }
}

/// Keys come from a call that waits, so from a thread of its own; it ends with the process.
fn keyboard() -> mpsc::Receiver<Event> {
    let (sender, keys) = mpsc::channel(64);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    keys
}
