//! What happens, for those who listen: each event is made once, whoever hears it. The owner never waits for a listener:
//! one that falls behind is told to load everything anew.
//!
//! Every event has a number; the newest are kept, so that a listener who was away for a moment goes on where it was.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::broadcast;
use warren_coordinator_core::edges::{EdgeSecond, Tally};
use warren_coordinator_core::flows::FlowRow;

/// Events that are kept for those who come back.
const KEPT: usize = 512;
/// Events that one listener may be behind.
const BEHIND: usize = 256;

#[derive(Clone, Debug)]
pub enum Payload {
    /// JSON, the same for everybody.
    Json(&'static str, Arc<str>),
    /// Each listener has its own filter.
    Flows(Arc<Vec<FlowRow>>),
}

#[derive(Clone, Debug)]
pub struct Event {
    pub number: u64,
    pub payload: Payload,
}

#[derive(Clone)]
pub struct Hub {
    /// Of this process: numbers of another are not understood.
    boot: u64,
    inner: Arc<Mutex<Inner>>,
    sender: broadcast::Sender<Event>,
    tally: Arc<Mutex<Tally>>,
}

#[derive(Default)]
struct Inner {
    number: u64,
    kept: VecDeque<Event>,
}

/// Where a listener begins.
pub enum Start {
    /// These were missed, the rest comes.
    After(Vec<Event>),
    /// What it knew is too old, or of another process.
    Anew,
}

impl Hub {
    pub fn new(boot: u64) -> Hub {
        Hub { boot, inner: Arc::default(), sender: broadcast::channel(BEHIND).0, tally: Arc::default() }
    }

    pub fn tell(&self, payload: Payload) {
        let mut inner = self.inner.lock();
        inner.number += 1;
        let event = Event { number: inner.number, payload };
        // Rows are many and have an answer of their own (`/v1/flows/since`).
        if matches!(event.payload, Payload::Json(..)) {
            if inner.kept.len() == KEPT {
                inner.kept.pop_front();
            }
            inner.kept.push_back(event.clone());
        }
        let _ = self.sender.send(event);
    }

    /// Records of flows, and what they add to the edges of their seconds. Costs nothing while nobody listens.
    pub fn tell_flows(&self, rows: &[FlowRow]) {
        if !self.has_listeners() {
            return;
        }
        let mut tally = self.tally.lock();
        rows.iter().for_each(|row| tally.add(row));
        drop(tally);
        self.tell(Payload::Flows(Arc::new(rows.to_vec())));
    }

    /// Sums since this was asked last.
    pub fn take_edges(&self) -> Vec<EdgeSecond> {
        self.tally.lock().drain()
    }

    pub fn tell_json(&self, name: &'static str, value: &impl serde::Serialize) {
        if let Ok(json) = serde_json::to_string(value) {
            self.tell(Payload::Json(name, json.into()));
        }
    }

    pub fn listeners(&self) -> usize {
        self.sender.receiver_count()
    }

    pub fn has_listeners(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// `last`: the id of the last event that was seen.
    pub fn listen(&self, last: Option<&str>) -> (Start, broadcast::Receiver<Event>) {
        let inner = self.inner.lock();
        let receiver = self.sender.subscribe();
        let Some(last) = last else { return (Start::After(Vec::new()), receiver) };
        let number = last.split_once('-').and_then(|(boot, number)| {
            (boot == format!("{:016x}", self.boot)).then(|| number.parse::<u64>().ok()).flatten()
        });
        let first = inner.kept.front().map_or(inner.number + 1, |event| event.number);
        let start = match number {
            Some(number) if number <= inner.number && number + 1 >= first => {
                Start::After(inner.kept.iter().filter(|event| event.number > number).cloned().collect())
            }
            _ => Start::Anew,
        };
        (start, receiver)
    }

    pub fn id(&self, number: u64) -> String {
        format!("{:016x}-{number}", self.boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(start: Start) -> Option<Vec<u64>> {
        match start {
            Start::After(events) => Some(events.iter().map(|e| e.number).collect()),
            Start::Anew => None,
        }
    }

    #[test]
    fn who_comes_back_goes_on_where_it_was_or_begins_anew() {
        let hub = Hub::new(7);
        for n in 0..3 {
            hub.tell_json("status", &n);
        }
        assert_eq!(numbers(hub.listen(Some(&hub.id(1))).0), Some(vec![2, 3]));
        assert_eq!(numbers(hub.listen(Some(&hub.id(3))).0), Some(vec![]));
        assert_eq!(numbers(hub.listen(None).0), Some(vec![]));
        for strange in ["", "x", "0000000000000007-9", "0000000000000008-1", "0000000000000007-"] {
            assert_eq!(numbers(hub.listen(Some(strange)).0), None, "{strange}");
        }
        for n in 0..KEPT {
            hub.tell_json("status", &n);
        }
        assert_eq!(numbers(hub.listen(Some(&hub.id(2))).0), None, "what came after is no longer kept");
        assert_eq!(numbers(hub.listen(Some(&hub.id(3))).0).map(|n| n.len()), Some(KEPT));
    }
}
