//! What `warren relay run --metrics` tells a scraper on its host: what the coordinator's `/metrics` says of this relay, in the same
//! words, and whether it hears its coordinator at all.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};
use warren_scrape::{Place, Scraped, Sheet};
use warren_wire::frame::RelayCounts;

use super::OutpostError;
use crate::door::DoorReport;
use crate::relay::fares::{self, Fares};

/// Scrapers that wait for the task.
const WAITING: usize = 8;

/// Where the sheet is to go.
pub type Asked = oneshot::Sender<String>;

/// Listens for scrapers until it is dropped.
pub struct Metrics {
    pub asked: mpsc::Receiver<Asked>,
    _listening: Vec<Scraped>,
}

impl Metrics {
    pub async fn listen(places: Vec<Place>) -> Result<Metrics, OutpostError> {
        let (ask, asked) = mpsc::channel::<Asked>(WAITING);
        let mut listening = Vec::new();
        for place in places {
            let ask = ask.clone();
            let tell = move || {
                let ask = ask.clone();
                async move {
                    let (to, sheet) = oneshot::channel();
                    ask.send(to).await.ok()?;
                    sheet.await.ok()
                }
            };
            let text = place.to_string();
            let served = warren_scrape::serve(place, tell).await;
            listening.push(served.map_err(|error| OutpostError::Scraped { place: text, error })?);
        }
        Ok(Metrics { asked, _listening: listening })
    }
}

/// How this relay is, beside what it carries.
#[derive(Debug)]
pub struct Standing<'a> {
    /// As its coordinator calls it; before it has come in, nothing.
    pub name: &'a str,
    pub connected: bool,
    pub draining: bool,
    pub counts: RelayCounts,
    pub doors: DoorReport,
}

/// The whole answer.
pub fn text(standing: Standing<'_>) -> Result<String, std::fmt::Error> {
    let Standing { name, connected, draining, counts, doors } = standing;
    let refused: BTreeMap<String, u64> =
        counts.refused.into_iter().map(|reason| (reason.word, reason.count)).collect();
    let mut sheet = Sheet::new("warren");
    sheet.build(env!("CARGO_PKG_VERSION"));
    let help = "1: this relay hears its coordinator; else what was allowed goes on, and nobody new is seated";
    sheet.gauge("relay_coordinator_connected", help, connected.into());
    sheet.gauge("relay_draining", "1: nodes are told to leave it, and it ends", draining.into());
    sheet.gauge("relay_threads", "Threads that carry frames", counts.threads);
    sheet.gauge("relay_kept_frames", "Frames that wait for the coordinator's yes or no", counts.kept);
    let fares = Fares {
        name,
        seats: counts.seats,
        here: counts.here,
        pairs: counts.pairs,
        frames: counts.frames,
        bytes: counts.bytes,
        pongs: counts.pongs,
        unsent: counts.unsent,
        unproven: counts.unproven,
        unasked: counts.unasked,
        refused: &refused,
    };
    fares::frames(&mut sheet, &[fares]);
    fares::doors(&mut sheet, &[(name.to_owned(), doors)]);
    sheet.text()
}

#[cfg(test)]
mod tests {
    use warren_wire::frame::Reason;

    use super::*;

    #[test]
    fn a_relay_says_of_itself_what_its_coordinator_says_of_it_and_whether_it_hears_it() {
        let refused = vec![Reason { word: "replayed".into(), count: 4 }];
        let counts = RelayCounts {
            seats: 5,
            here: 3,
            pairs: 2,
            frames: 70,
            bytes: 9000,
            threads: 2,
            kept: 1,
            refused,
            ..RelayCounts::default()
        };
        let doors = DoorReport { websocket: 7, ..DoorReport::default() };
        let text = text(Standing { name: "fra", connected: true, draining: false, counts, doors });
        let text = text.expect("it is written");
        for line in [
            "warren_relay_coordinator_connected 1",
            "warren_relay_draining 0",
            "warren_relay_threads 2",
            "warren_relay_kept_frames 1",
            "warren_relay_seats{relay=\"fra\",state=\"away\"} 2",
            "warren_relay_frames_total{relay=\"fra\",outcome=\"forwarded\"} 70",
            "warren_relay_frames_total{relay=\"fra\",outcome=\"replayed\"} 4",
            "warren_relay_forwarded_bytes_total{relay=\"fra\"} 9000",
            "warren_doors{relay=\"fra\",transport=\"websocket\"} 7",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
