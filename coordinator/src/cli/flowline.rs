//! A flow record on one line of so many characters: what `warren flow watch` prints. Pure.

use warren_coordinator_core::flows::FlowRow;
use warren_wire::flow::FlowVerdict;

use super::top::columns::{Column, GAP, fit};
use crate::text::plain;

const fn column(head: &'static str, least: u16, share: u16, goes: u8) -> Column {
    Column { head, least, share, goes }
}

/// In the order of [`super::flow::pieces`].
const COLUMNS: [Column; 14] = [
    column("TIME", 8, 0, 0),
    column("VERDICT", 11, 0, 0),
    column("FROM", 12, 2, 0),
    column("TO", 12, 4, 0),
    column("PORT", 10, 1, 0),
    column("BY", 16, 3, 3),
    column("OUT", 8, 0, 4),
    column("BACK", 8, 0, 4),
    column("END", 10, 0, 5),
    column("SEEN AT", 10, 1, 6),
    column("PATH", 7, 0, 8),
    column("RTT", 8, 0, 7),
    column("RESENT", 6, 0, 7),
    column("WORKLOADS", 16, 6, 2),
];
/// Where nobody counts characters.
const WIDE: u16 = 220;

/// What a line has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Characters of the terminal; `None`: there is none.
    pub width: Option<u16>,
    /// Refusals in a colour of their own.
    pub colour: bool,
}

impl Layout {
    pub fn head(self) -> String {
        self.line(&COLUMNS.map(|column| column.head.to_owned()))
    }

    pub fn flow(self, row: &FlowRow) -> String {
        let line = self.line(&super::flow::pieces(row));
        match (self.colour, row.verdict) {
            (true, FlowVerdict::Deny) => format!("\u{1b}[31m{line}\u{1b}[0m"),
            (true, FlowVerdict::WouldDeny) => format!("\u{1b}[33m{line}\u{1b}[0m"),
            _ => line,
        }
    }

    /// The last column is never filled up; without a terminal it is as long as it is.
    fn line(self, pieces: &[String; COLUMNS.len()]) -> String {
        let width = self.width.unwrap_or(WIDE);
        let fitting = fit(&COLUMNS, width);
        let mut line = String::new();
        for (place, (at, wide)) in fitting.iter().enumerate() {
            let (Some(column), Some(piece)) = (COLUMNS.get(*at), pieces.get(*at)) else { continue };
            let (wide, is_last) = (usize::from(*wide), place + 1 == fitting.len());
            let uncut = is_last && self.width.is_none();
            let text = cut(&plain(piece, 300), if uncut { usize::MAX } else { wide });
            match (is_last, column.head) {
                (true, _) => line.push_str(&text),
                (false, "OUT" | "BACK" | "RTT" | "RESENT") => line.push_str(&format!("{text:>wide$}")),
                (false, _) => line.push_str(&format!("{text:<wide$}")),
            }
            if !is_last {
                line.push_str(&" ".repeat(usize::from(GAP)));
            }
        }
        let most = self.width.map_or(usize::MAX, usize::from);
        cut(line.trim_end(), most)
    }
}

/// What does not fit says so.
fn cut(text: &str, room: usize) -> String {
    match text.chars().count() > room {
        true => text.chars().take(room.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use warren_config::time::UnixTime;
    use warren_coordinator_core::flows::FlowPoint;
    use warren_wire::flow::{FlowRecord, Workload};
    use warren_wire::id::NodeId;
    use warren_wire::specimen;

    use super::*;

    fn row(process: &str, refused: bool) -> FlowRow {
        let point = |id: u8, name: &str, port| FlowPoint {
            node: Some(NodeId([id; 16])),
            name: Some(name.to_owned()),
            address: IpAddr::from([100, 64, 0, id]),
            port,
            behind: false,
        };
        let ends = [point(1, "web-1", 40_000), point(2, "orders-1", 8443)];
        let (from, to) = (ends[0].address, ends[1].address);
        let record = match refused {
            true => FlowRecord { count: 3, ..specimen::refused(from, to, 64_984_123) },
            false => specimen::flow(from, to, 64_984_123),
        };
        let workload = Some(Workload { process: process.into(), user: "root".into(), ..Workload::default() });
        let record = FlowRecord { workload, rtt_us: Some(1240), retransmissions: Some(7), ..record };
        FlowRow::new(&record, (NodeId([1; 16]), 1), ends, UnixTime(64_985)).expect("a row")
    }

    #[test]
    fn a_line_says_who_what_by_which_grant_how_it_fares_and_whose_it_is() {
        let line = Layout { width: None, colour: false }.flow(&row("curl", false));
        let words =
            ["18:03:04", "allow", "web-1", "orders-1", "tcp/8443", "web-reads-orders", "100 B", "1.0 kB"];
        for word in words.iter().chain(&["open", "direct", "1.2 ms", "7", "curl (root) -> -"]) {
            assert!(line.contains(word), "no {word} in {line}");
        }
    }

    #[test]
    fn a_host_behind_a_gateway_is_called_by_its_address_and_whose_it_is() {
        let host = FlowPoint { address: IpAddr::from([192, 168, 50, 10]), behind: true, ..row("x", true).to };
        let flow = FlowRow { to: host, ..row("curl", false) };
        let line = Layout { width: None, colour: false }.flow(&flow);
        assert!(line.contains("web-1") && line.contains("192.168.50.10 by orders-1"), "{line}");
        let own = FlowRow { reporter: NodeId([2; 16]), ..flow };
        let [.., seen_at, _, _, _, _] = super::super::flow::pieces(&own);
        assert_eq!(seen_at, "orders-1", "what a gateway saw, it saw");
    }

    #[test]
    fn lines_stand_under_their_heads_and_none_is_longer_than_the_terminal() {
        for width in [50, 60, 80, 100, 130, 200] {
            let layout = Layout { width: Some(width), colour: false };
            let head = layout.head();
            for (line, verdict) in
                [(layout.flow(&row("curl", false)), "allow"), (layout.flow(&row("x", true)), "deny")]
            {
                println!("{head}\n{line}");
                for text in [&line, &head] {
                    assert!(text.chars().count() <= usize::from(width), "{width}: {text}");
                }
                assert_eq!(line.find(verdict), head.find("VERDICT"), "{width}");
                assert_eq!(line.find("orders-1"), head.find("TO "), "{width}");
            }
        }
    }

    #[test]
    fn a_refusal_is_a_word_and_where_there_are_colours_a_colour_and_no_name_moves_the_cursor() {
        let (ink, colours) =
            (Layout { width: Some(100), colour: false }, Layout { width: Some(100), colour: true });
        assert!(ink.flow(&row("x", true)).contains("deny"));
        assert!(colours.flow(&row("x", true)).starts_with("\u{1b}[31m"));
        for line in [ink.flow(&row("x", true)), colours.flow(&row("\u{1b}[2Jx\n", false))] {
            assert!(!line.contains(['\u{1b}', '\n']), "{line:?}");
        }
    }
}
