//! What a relay and its doors do, as a scraper is told it: by the coordinator of all that it hears of, by a relay elsewhere of
//! itself, in the same words. Each is named in the label `relay`.

use std::collections::BTreeMap;

use warren_coordinator_core::relay::Refused;
use warren_coordinator_core::relays::RelayRow;
use warren_scrape::{Labels, Sheet};

use crate::door::DoorReport;

/// Reasons of a later version.
const OTHER: &str = "other";

/// How one relay fares.
#[derive(Debug)]
pub struct Fares<'a> {
    pub name: &'a str,
    pub seats: u64,
    pub here: u64,
    pub pairs: u64,
    pub frames: u64,
    pub bytes: u64,
    pub pongs: u64,
    pub unsent: u64,
    pub unproven: u64,
    pub unasked: u64,
    pub refused: &'a BTreeMap<String, u64>,
}

impl<'a> Fares<'a> {
    pub fn of(row: &'a RelayRow) -> Fares<'a> {
        Fares {
            name: &row.name,
            seats: row.seats,
            here: row.here,
            pairs: row.pairs,
            frames: row.frames,
            bytes: row.bytes,
            pongs: row.pongs,
            unsent: row.unsent,
            unproven: row.unproven,
            unasked: row.unasked,
            refused: &row.refused,
        }
    }

    fn only(&self) -> Labels {
        vec![("relay", self.name.to_owned())]
    }
}

fn labels(relay: &str, name: &'static str, value: &str) -> Labels {
    vec![("relay", relay.to_owned()), (name, value.to_owned())]
}

pub fn frames(sheet: &mut Sheet, relays: &[Fares<'_>]) {
    let seats = relays.iter().flat_map(|relay| {
        let away = relay.seats.saturating_sub(relay.here);
        [("here", relay.here), ("away", away)].map(|(state, n)| (labels(relay.name, "state", state), n))
    });
    sheet.gauges("relay_seats", "Nodes with a seat at a relay; here: it knows where they are", seats);
    let pairs = relays.iter().map(|relay| (relay.only(), relay.pairs));
    sheet.gauges("relay_pairs", "Pairs of nodes that talk over a relay", pairs);
    let help = "Frames by what became of them; not-sent ones are forwarded too";
    sheet.counters("relay_frames", help, relays.iter().flat_map(outcomes));
    let bytes = relays.iter().map(|relay| (relay.only(), relay.bytes));
    sheet.bytes("relay_forwarded", "Bytes of frames that were forwarded", bytes);
    let unproven = relays.iter().map(|relay| (relay.only(), relay.unproven));
    let help = "Seats that a relay did not give, because no authority stands behind their node";
    sheet.counters("relay_unproven_seats", help, unproven);
    let unasked = relays.iter().map(|relay| (relay.only(), relay.unasked));
    let help = "Answers about pairs that a relay had not asked about; they opened nothing";
    sheet.counters("relay_unasked_answers", help, unasked);
}

fn outcomes(relay: &Fares<'_>) -> Vec<(Labels, u64)> {
    let known = Refused::ALL.map(|why| (why.word(), relay.refused.get(why.word()).copied().unwrap_or(0)));
    let unknown = relay.refused.iter().filter(|(why, _)| known.iter().all(|(word, _)| word != why));
    let other: u64 = unknown.map(|(_, count)| *count).fold(0, u64::saturating_add);
    let fixed = [
        ("forwarded", relay.frames),
        ("answered-ping", relay.pongs),
        ("not-sent", relay.unsent),
        (OTHER, other),
    ];
    let all = fixed.into_iter().chain(known);
    all.map(|(word, count)| (labels(relay.name, "outcome", word), count)).collect()
}

/// Doors, each with the name of its relay.
pub fn doors(sheet: &mut Sheet, relays: &[(String, DoorReport)]) {
    let open = relays.iter().flat_map(|(relay, doors)| {
        [("websocket", doors.websocket), ("quic", doors.quic)]
            .map(|(word, count)| (labels(relay, "transport", word), count))
    });
    sheet.gauges(
        "doors",
        "Doors that are open: ways to a relay's, or the control channel's, port without its UDP",
        open,
    );
    let asked = relays.iter().flat_map(|(relay, doors)| {
        [("opened", doors.opened), ("refused", doors.refused), ("failed", doors.failed)]
            .map(|(word, count)| (labels(relay, "outcome", word), count))
    });
    sheet.counters("door_requests", "Doors that were asked for, by what became of it", asked);
    let carried = relays.iter().flat_map(|(relay, doors)| {
        [("in", doors.inward), ("out", doors.outward), ("lost", doors.lost)]
            .map(|(word, count)| (labels(relay, "direction", word), count))
    });
    let help = "Datagrams through doors: to the port, from it, lost on the way";
    sheet.counters("door_datagrams", help, carried);
}
