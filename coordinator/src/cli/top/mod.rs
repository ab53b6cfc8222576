//! `warren top`: the network as it is this second. Asked anew once a second at the same routes as everything else; drawn on a
//! terminal, or printed as one JSON object a second.
//!
//! [`snapshot`] is what is known, [`screen`] what a person looks at of it (both pure), [`draw`] the ink. The terminal is given
//! back however this ends: by `q`, by a signal, by an error, by a panic.

mod draw;
mod screen;
mod snapshot;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use self::screen::{Screen, Wish};
use self::snapshot::Snapshot;
use super::{Context, Failure, Outcome, output};
use crate::clock;

const EVERY: Duration = Duration::from_secs(1);

pub async fn run(context: &Context, count: Option<u64>) -> Outcome {
    // Asked once before anything is drawn: an answer to `why not` belongs on a plain line.
    let first = Snapshot::ask(&context.client).await?;
    if context.json {
        return print(context, first, count.unwrap_or(u64::MAX)).await;
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage("`warren top` draws on a terminal: without one use `warren --json top`"));
    }
    let failed = |e: std::io::Error| Failure::finding(format!("the terminal cannot be used: {e}"));
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let outcome = live(context, &mut terminal, Screen::new(first)).await;
    ratatui::try_restore().map_err(failed)?;
    outcome
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

async fn live(context: &Context, terminal: &mut ratatui::DefaultTerminal, mut screen: Screen) -> Outcome {
    let failed = |e: std::io::Error| Failure::finding(format!("the terminal cannot be used: {e}"));
    let mut keys = keyboard();
    let mut ends = signal(SignalKind::terminate()).map_err(failed)?;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        terminal.draw(|frame| draw::draw(frame, &screen, clock::now())).map_err(failed)?;
        tokio::select! {
            _ = ends.recv() => return Ok(()),
            event = keys.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    if screen.handle_key(key.code, key.modifiers) == Wish::Leave {
                        return Ok(());
                    }
                }
                Some(_) => {}
                None => return Err(Failure::finding("the keyboard is gone")),
            },
            _ = ticks.tick() => match Snapshot::ask(&context.client).await {
                Ok(now) => screen.handle_news(now),
                // What was known stays, with the time since when nothing came.
                Err(error) => screen.handle_silence(error.to_string(), clock::now()),
            },
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
