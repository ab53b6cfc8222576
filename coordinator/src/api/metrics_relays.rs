//! What relays and their doors do, in [`super::metrics`]: each by its name in the label `relay`, the coordinator's own as
//! `coordinator`. Of one that has no session here nothing is known, and nothing said but that.

use warren_coordinator_core::relay::Refused;
use warren_coordinator_core::relays::{HERE, RelayRow, RelayState};

use super::metrics::{Labels, Scrape};
use crate::door::{DoorReport, Doors};

/// Reasons of a later version.
const OTHER: &str = "other";

pub(super) fn add(scrape: &mut Scrape, rows: &[RelayRow], own: Option<&Doors>) {
    let in_state = |state: RelayState| rows.iter().filter(|row| row.state == state).count() as u64;
    let states = RelayState::ALL.map(|state| (vec![("state", state.word().to_owned())], in_state(state)));
    scrape.gauges("relays", "Relays by state, the coordinator's own among them", states);
    let here: Vec<&RelayRow> = rows.iter().filter(|row| row.state.is_here()).collect();
    frames(scrape, &here);
    // The coordinator's port has doors without its relay, too.
    let others = here.iter().filter(|row| row.name != HERE);
    let others = others.filter_map(|row| Some((row.name.as_str(), row.doors.clone()?)));
    let all: Vec<(&str, DoorReport)> =
        own.map(|own| (HERE, own.report())).into_iter().chain(others).collect();
    doors(scrape, &all);
}

fn labels(relay: &str, name: &'static str, value: &str) -> Labels {
    vec![("relay", relay.to_owned()), (name, value.to_owned())]
}

fn only(relay: &str) -> Labels {
    vec![("relay", relay.to_owned())]
}

fn frames(scrape: &mut Scrape, relays: &[&RelayRow]) {
    let seats = relays.iter().flat_map(|relay| {
        let away = relay.seats.saturating_sub(relay.here);
        [("here", relay.here), ("away", away)].map(|(state, n)| (labels(&relay.name, "state", state), n))
    });
    scrape.gauges("relay_seats", "Nodes with a seat at a relay; here: it knows where they are", seats);
    let pairs = relays.iter().map(|relay| (only(&relay.name), relay.pairs));
    scrape.gauges("relay_pairs", "Pairs of nodes that talk over a relay", pairs);
    let frames = relays.iter().flat_map(|relay| outcomes(relay));
    let help = "Frames by what became of them; not-sent ones are forwarded too";
    scrape.counters("relay_frames", help, frames);
    let bytes = relays.iter().map(|relay| (only(&relay.name), relay.bytes));
    scrape.bytes("relay_forwarded", "Bytes of frames that were forwarded", bytes);
    let unproven = relays.iter().map(|relay| (only(&relay.name), relay.unproven));
    let help = "Seats that a relay did not give, because no authority stands behind their node";
    scrape.counters("relay_unproven_seats", help, unproven);
    let unasked = relays.iter().map(|relay| (only(&relay.name), relay.unasked));
    let help = "Answers about pairs that a relay had not asked about; they opened nothing";
    scrape.counters("relay_unasked_answers", help, unasked);
}

fn outcomes(relay: &RelayRow) -> Vec<(Labels, u64)> {
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
    all.map(|(word, count)| (labels(&relay.name, "outcome", word), count)).collect()
}

fn doors(scrape: &mut Scrape, relays: &[(&str, DoorReport)]) {
    let open = relays.iter().flat_map(|(relay, doors)| {
        [("websocket", doors.websocket), ("quic", doors.quic)]
            .map(|(word, count)| (labels(relay, "transport", word), count))
    });
    scrape.gauges(
        "doors",
        "Doors that are open: ways to a relay's, or the control channel's, port without its UDP",
        open,
    );
    let asked = relays.iter().flat_map(|(relay, doors)| {
        [("opened", doors.opened), ("refused", doors.refused), ("failed", doors.failed)]
            .map(|(word, count)| (labels(relay, "outcome", word), count))
    });
    scrape.counters("door_requests", "Doors that were asked for, by what became of it", asked);
    let carried = relays.iter().flat_map(|(relay, doors)| {
        [("in", doors.inward), ("out", doors.outward), ("lost", doors.lost)]
            .map(|(word, count)| (labels(relay, "direction", word), count))
    });
    let help = "Datagrams through doors: to the port, from it, lost on the way";
    scrape.counters("door_datagrams", help, carried);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, state: RelayState) -> RelayRow {
        RelayRow {
            name: name.into(),
            state,
            id: None,
            places: vec![],
            since: None,
            added: warren_config::time::UnixTime(0),
            token_ends: None,
            agent: None,
            seats: 5,
            here: 3,
            pairs: 2,
            frames: 70,
            bytes: 9000,
            pongs: 11,
            unsent: 1,
            rate: 0,
            refused: [("replayed".to_owned(), 4), ("of-a-later-version\"}".to_owned(), 6)].into(),
            unproven: 8,
            unasked: 12,
            doors: Some(DoorReport { websocket: 7, lost: 9, ..DoorReport::default() }),
        }
    }

    #[test]
    fn every_relay_that_is_here_is_shown_by_its_name_and_words_it_makes_up_are_not() {
        let rows =
            [row(HERE, RelayState::Up), row("fra", RelayState::Draining), row("ams", RelayState::Away)];
        let mut scrape = Scrape::new();
        add(&mut scrape, &rows, None);
        let text = scrape.text().expect("it is written");
        for line in [
            "warren_relays{state=\"up\"} 1",
            "warren_relays{state=\"away\"} 1",
            "warren_relay_seats{relay=\"coordinator\",state=\"here\"} 3",
            "warren_relay_seats{relay=\"fra\",state=\"away\"} 2",
            "warren_relay_pairs{relay=\"fra\"} 2",
            "warren_relay_frames_total{relay=\"fra\",outcome=\"forwarded\"} 70",
            "warren_relay_frames_total{relay=\"fra\",outcome=\"replayed\"} 4",
            "warren_relay_frames_total{relay=\"fra\",outcome=\"other\"} 6",
            "warren_relay_frames_total{relay=\"fra\",outcome=\"not-sent\"} 1",
            "warren_relay_forwarded_bytes_total{relay=\"fra\"} 9000",
            "warren_relay_unproven_seats_total{relay=\"fra\"} 8",
            "warren_relay_unasked_answers_total{relay=\"fra\"} 12",
            "warren_doors{relay=\"fra\",transport=\"websocket\"} 7",
            "warren_door_datagrams_total{relay=\"fra\",direction=\"lost\"} 9",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(!text.contains("relay=\"ams\"") && !text.contains("later-version"), "{text}");
    }
}
