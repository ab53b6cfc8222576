//! What happens, for those who listen: each event is made once, and its bytes are shared by all who hear it. The owner never
//! waits for a listener: one that falls behind is told to load everything anew.
//!
//! Every event has a number; the newest are kept, so that a listener who was away for a moment goes on where it was. What is
//! kept, and what waits for each listener, is bounded in bytes; one event always has room, however large it is. All queues hold
//! the newest events, so together they take no more than the longest of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use axum::body::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use warren_coordinator_core::edges::{EdgeSecond, Tally};
use warren_coordinator_core::flows::FlowRow;

/// Events that are kept for those who come back, and their bytes.
const KEPT: usize = 512;
const KEPT_BYTES: usize = 16 << 20;
/// Events that wait for one listener, and their bytes.
const BEHIND: usize = 256;
const BEHIND_BYTES: usize = 8 << 20;
/// A row in memory: its fields and its names.
const ROW: usize = 1024;

#[derive(Clone, Debug)]
pub enum Payload {
    /// As it goes over the line, the same for everybody.
    Line(Bytes),
    /// Each listener has its own filter.
    Flows(Arc<Vec<FlowRow>>),
}

impl Payload {
    fn bytes(&self) -> usize {
        match self {
            Payload::Line(line) => line.len(),
            Payload::Flows(rows) => rows.len() * ROW,
        }
    }
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
    tally: Arc<Mutex<Tally>>,
}

#[derive(Default)]
struct Inner {
    number: u64,
    kept: Queue,
    /// The last event that is no longer kept.
    forgotten: u64,
    listeners: BTreeMap<u64, Arc<Seat>>,
    seats: u64,
    /// The last event of flow records: those are not kept.
    flows: Option<u64>,
    /// Flow records came, and nobody listened: whoever knows only what happened before this does not know of them.
    unheard: Option<u64>,
}

/// Events in order, with their bytes.
#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    bytes: usize,
}

impl Queue {
    fn push(&mut self, event: Event) {
        self.bytes += event.payload.bytes();
        self.events.push_back(event);
    }
    fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.bytes -= event.payload.bytes();
        Some(event)
    }
    /// One event always has room: of a large network all nodes are one, and whoever is told to load anew loads no less.
    fn is_over(&self, events: usize, bytes: usize) -> bool {
        self.events.len() > events || (self.events.len() > 1 && self.bytes > bytes)
    }
}

/// What waits for one listener.
#[derive(Default)]
struct Seat {
    /// Single flow records, too.
    flows: bool,
    waiting: Mutex<Waiting>,
    bell: Notify,
}

#[derive(Default)]
struct Waiting {
    queue: Queue,
    /// Everything up to this event was let go.
    behind: Option<u64>,
}

impl Seat {
    fn push(&self, event: &Event) {
        if matches!(event.payload, Payload::Flows(_)) && !self.flows {
            return;
        }
        let mut waiting = self.waiting.lock();
        waiting.queue.push(event.clone());
        if waiting.queue.is_over(BEHIND, BEHIND_BYTES) {
            *waiting = Waiting { queue: Queue::default(), behind: Some(event.number) };
        }
        drop(waiting);
        self.bell.notify_one();
    }

    fn pop(&self) -> Option<Heard> {
        let mut waiting = self.waiting.lock();
        match waiting.behind.take() {
            Some(number) => Some(Heard::Behind(number)),
            None => waiting.queue.pop().map(Heard::Event),
        }
    }
}

/// Where a listener begins.
#[derive(Debug)]
pub enum Start {
    /// It knows what happened up to this event, and missed these; the rest comes.
    After(u64, Vec<Event>),
    /// What it knew is too old, or of another process, or was told to nobody. What comes is after this event.
    Anew(u64),
}

/// What comes to a listener.
#[derive(Debug)]
pub enum Heard {
    Event(Event),
    /// It was too slow, and everything up to this event was let go.
    Behind(u64),
}

/// A listener, until it is dropped.
pub struct Listener {
    id: u64,
    seat: Arc<Seat>,
    hub: Hub,
}

impl Listener {
    pub async fn next(&self) -> Heard {
        loop {
            if let Some(heard) = self.seat.pop() {
                return heard;
            }
            self.seat.bell.notified().await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.hub.inner.lock().listeners.remove(&self.id);
    }
}

impl Hub {
    pub fn new(boot: u64) -> Hub {
        Hub { boot, inner: Arc::default(), tally: Arc::default() }
    }

    fn tell(&self, make: impl FnOnce(u64) -> Payload) {
        let mut inner = self.inner.lock();
        inner.number += 1;
        let event = Event { number: inner.number, payload: make(inner.number) };
        inner.listeners.values().for_each(|seat| seat.push(&event));
        match event.payload {
            // Rows are many and have an answer of their own (`/v1/flows/since`).
            Payload::Flows(_) => inner.flows = Some(event.number),
            Payload::Line(_) => inner.kept.push(event),
        }
        while inner.kept.is_over(KEPT, KEPT_BYTES) {
            inner.forgotten = inner.kept.pop().map_or(inner.forgotten, |event| event.number);
        }
    }

    /// Records of flows, and what they add to the edges of their seconds. Costs nothing while nobody listens.
    pub fn tell_flows(&self, rows: &[FlowRow]) {
        if self.inner.lock().is_unheard() {
            return;
        }
        let mut tally = self.tally.lock();
        rows.iter().for_each(|row| tally.add(row));
        drop(tally);
        self.tell(|_| Payload::Flows(Arc::new(rows.to_vec())));
    }

    /// Sums since this was asked last.
    pub fn take_edges(&self) -> Vec<EdgeSecond> {
        self.tally.lock().drain()
    }

    pub fn tell_json(&self, name: &str, value: &impl serde::Serialize) {
        if let Ok(json) = serde_json::to_string(value) {
            self.tell_text(name, &json);
        }
    }

    /// JSON without line ends.
    pub fn tell_text(&self, name: &str, json: &str) {
        self.tell(|number| Payload::Line(self.line(number, name, json)));
    }

    /// An event as it goes over the line (WHATWG HTML, section 9.2.6).
    pub fn line(&self, number: u64, name: &str, json: &str) -> Bytes {
        format!("id: {}\nevent: {name}\ndata: {json}\n\n", self.id(number)).into()
    }

    pub fn listeners(&self) -> usize {
        self.inner.lock().listeners.len()
    }

    pub fn has_listeners(&self) -> bool {
        self.listeners() > 0
    }

    /// `last`: the id of the last event that was seen. `flows`: single flow records are wanted, too.
    pub fn listen(&self, last: Option<&str>, flows: bool) -> (Start, Listener) {
        let mut inner = self.inner.lock();
        let start = match last {
            None => Start::After(inner.number, Vec::new()),
            Some(text) => self
                .number(text)
                .and_then(|last| inner.since(last, flows))
                .map_or(Start::Anew(inner.number), |(last, missed)| Start::After(last, missed)),
        };
        inner.seats += 1;
        let (id, seat) = (inner.seats, Arc::new(Seat { flows, ..Seat::default() }));
        inner.listeners.insert(id, seat.clone());
        drop(inner);
        (start, Listener { id, seat, hub: self.clone() })
    }

    /// A number of this process, as it is told outside.
    pub fn id(&self, number: u64) -> String {
        format!("{:016x}-{number}", self.boot)
    }

    /// The mirror of [`Hub::id`]; none: it was made by another process, or by nobody.
    pub fn number(&self, id: &str) -> Option<u64> {
        let (boot, number) = parse_id(id)?;
        (boot == self.boot).then_some(number)
    }
}

/// The process and the number of an id.
pub fn parse_id(id: &str) -> Option<(u64, u64)> {
    let (boot, number) = id.split_once('-')?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    let whole = boot.len() == 16 && digits(boot) && digits(number);
    let boot = u64::from_str_radix(boot, 16).ok().filter(|_| whole)?;
    Some((boot, number.parse().ok()?))
}

impl Inner {
    /// Nobody listens; then this takes a number, so that who knows of it and who does not are told apart.
    fn is_unheard(&mut self) -> bool {
        let unheard = self.listeners.is_empty();
        if unheard && self.unheard != Some(self.number) {
            self.number += 1;
            self.unheard = Some(self.number);
        }
        unheard
    }

    /// What came after the event `last`; none: not all of it is known any more.
    fn since(&self, last: u64, flows: bool) -> Option<(u64, Vec<Event>)> {
        let unheard = self.unheard.is_some_and(|at| last < at);
        // An event of rows that it saw itself is no loss.
        let rows = flows && self.flows.is_some_and(|at| last < at);
        if last > self.number || last < self.forgotten || unheard || rows {
            return None;
        }
        let missed = self.kept.events.iter().filter(|event| event.number > last);
        Some((last, missed.cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use warren_coordinator_core::flows::FlowPoint;
    use warren_wire::flow::{FlowEnd, FlowPath, FlowRecord};
    use warren_wire::id::NodeId;

    use super::*;

    fn numbers(start: Start) -> Option<Vec<u64>> {
        match start {
            Start::After(_, events) => Some(events.iter().map(|e| e.number).collect()),
            Start::Anew(_) => None,
        }
    }

    /// What a listener is told who comes back after the event `number`.
    fn back(hub: &Hub, number: u64, flows: bool) -> Option<Vec<u64>> {
        numbers(hub.listen(Some(&hub.id(number)), flows).0)
    }

    fn rows() -> Vec<FlowRow> {
        let point = || FlowPoint {
            node: None,
            name: None,
            address: std::net::IpAddr::from([10, 0, 0, 1]),
            port: 1,
            behind: false,
        };
        let record =
            FlowRecord { end: FlowEnd::Open as i32, path: FlowPath::Direct as i32, ..Default::default() };
        let row = FlowRow::new(&record, (NodeId([1; 16]), 1), [point(), point()], Default::default());
        vec![row.expect("row")]
    }

    #[test]
    fn who_comes_back_goes_on_where_it_was_or_begins_anew() {
        let hub = Hub::new(7);
        for n in 0..3 {
            hub.tell_json("status", &n);
        }
        assert_eq!(back(&hub, 1, false), Some(vec![2, 3]));
        assert_eq!(back(&hub, 3, false), Some(vec![]));
        assert_eq!(numbers(hub.listen(None, false).0), Some(vec![]));
        for strange in ["", "x", "0000000000000007-9", "0000000000000008-1", "0000000000000007-", "7-1"] {
            assert_eq!(numbers(hub.listen(Some(strange), false).0), None, "{strange}");
        }
        for n in 0..KEPT {
            hub.tell_json("status", &n);
        }
        assert_eq!(back(&hub, 2, false), None, "what came after is no longer kept");
        assert_eq!(back(&hub, 3, false).map(|n| n.len()), Some(KEPT));
    }

    #[test]
    fn large_events_are_kept_and_wait_by_their_bytes_and_are_shared() {
        let hub = Hub::new(7);
        let (_, slow) = hub.listen(None, false);
        let (_, quick) = hub.listen(None, false);
        let large = "x".repeat(1 << 20);
        let mut heard = Vec::new();
        for _ in 0..40 {
            hub.tell_json("edges", &large);
            heard.extend(quick.seat.pop());
            assert!(slow.seat.waiting.lock().queue.bytes <= BEHIND_BYTES);
            assert!(hub.inner.lock().kept.bytes <= KEPT_BYTES);
        }
        // What is kept, what waits, and what was heard are the same bytes.
        let kept = hub.inner.lock().kept.events.back().cloned().expect("kept");
        let (Payload::Line(kept), Some(Heard::Event(Event { payload: Payload::Line(heard), .. }))) =
            (kept.payload, heard.pop())
        else {
            panic!("a line")
        };
        assert_eq!(kept.as_ptr(), heard.as_ptr());
        // Who was too slow is told once, and hears what comes then.
        let Some(Heard::Behind(_)) = slow.seat.pop() else { panic!("it is told") };
        assert_eq!(back(&hub, 1, false), None);
        let some = back(&hub, 39, false).expect("the newest are kept");
        assert_eq!(some, [40]);
    }

    #[test]
    fn one_event_always_has_room_however_large_it_is() {
        let hub = Hub::new(7);
        let (_, idle) = hub.listen(None, false);
        let large = "x".repeat(KEPT_BYTES + 1);
        for number in 1..=3 {
            hub.tell_text("nodes", &large);
            let heard = idle.seat.pop();
            assert!(
                matches!(heard, Some(Heard::Event(ref event)) if event.number == number),
                "who takes each"
            );
            assert_eq!(
                back(&hub, number - 1, false),
                Some(vec![number]),
                "and who comes back a moment later"
            );
        }
        // Two such wait for nobody.
        hub.tell_text("nodes", &large);
        hub.tell_text("nodes", &large);
        assert!(matches!(idle.seat.pop(), Some(Heard::Behind(5))));
        assert_eq!(back(&hub, 3, false), None);
    }

    #[test]
    fn rows_wait_only_for_those_who_asked_for_them() {
        let hub = Hub::new(7);
        let (_, with) = hub.listen(None, true);
        let (_, without) = hub.listen(None, false);
        hub.tell_flows(&rows());
        assert!(matches!(with.seat.pop(), Some(Heard::Event(_))) && without.seat.pop().is_none());
    }

    #[test]
    fn who_missed_rows_or_edges_that_nobody_heard_begins_anew() {
        let hub = Hub::new(7);
        let (_, first) = hub.listen(None, true);
        hub.tell_json("status", &1);
        hub.tell_flows(&rows());
        hub.tell_json("status", &2);
        assert_eq!(back(&hub, 1, true), None, "rows are not kept");
        assert_eq!(back(&hub, 1, false), Some(vec![3]), "who asks for none misses none");
        assert_eq!(back(&hub, 2, true), Some(vec![3]));
        // The only listener goes, and rows come meanwhile: they are in no edges that will be told.
        drop(first);
        assert!(!hub.has_listeners());
        hub.tell_flows(&rows());
        hub.tell_flows(&rows());
        assert_eq!(back(&hub, 3, false), None);
        hub.tell_json("status", &3);
        assert_eq!(back(&hub, 3, false), None);
        // Whoever came after that has loaded what it knows.
        assert_eq!(back(&hub, 4, false), Some(vec![5]));
    }

    #[test]
    fn an_id_is_read_as_it_was_written_and_nothing_else_is_one() {
        let hub = Hub::new(0xabc);
        assert_eq!(hub.number(&hub.id(5)), Some(5));
        assert_eq!(parse_id("0000000000000abd-5"), Some((0xabd, 5)));
        for strange in ["0000000000000abd-", "+000000000000abd-5", "0000000000000abd-+5", "abd-5", "-", "5"] {
            assert_eq!(parse_id(strange), None, "{strange}");
        }
    }
}
