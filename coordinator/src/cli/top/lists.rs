//! The four lists: their columns, and what stands in them.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};
use warren_config::time::UnixTime;
use warren_coordinator_core::alarm::Alarm;
use warren_wire::flow::FlowVerdict;

use super::columns::{Column, GAP, fit};
use super::draw::{WARM, WARN, ago, faint};
use super::screen::{List, Screen};
use super::snapshot::{Snapshot, TopFlow, TopNode, TopRefusal};
use crate::cli::output::bytes;
use crate::text::plain;

const fn column(head: &'static str, least: u16, share: u16, goes: u8) -> Column {
    Column { head, least, share, goes }
}

const FLOWS: [Column; 8] = [
    column("FROM", 12, 3, 0),
    column("TO", 18, 4, 0),
    column("PORT", 9, 1, 1),
    column("VERDICT", 11, 0, 3),
    column("BY", 14, 4, 2),
    column("FLOWS", 6, 0, 4),
    column("OUT/S", 8, 0, 0),
    column("BACK/S", 8, 0, 0),
];
const NODES: [Column; 6] = [
    column("NODE", 12, 3, 0),
    column("STATE", 15, 0, 0),
    column("ENFORCES", 8, 0, 0),
    column("PEERS", 5, 0, 1),
    column("BYTES/S", 8, 0, 0),
    column("TAGS", 12, 4, 2),
];
const REFUSALS: [Column; 6] = [
    column("FROM", 12, 3, 0),
    column("TO", 12, 3, 0),
    column("PORT", 15, 0, 0),
    column("VERDICT", 10, 0, 1),
    column("TRIES", 7, 0, 0),
    column("LAST", 7, 0, 2),
];
const ALARMS: [Column; 4] = [
    column("ALARM", 16, 1, 0),
    column("SINCE", 7, 0, 0),
    column("TIMES", 5, 0, 1),
    column("WHAT HAPPENED", 20, 8, 0),
];

/// What stands in a column, before it is known how wide that is.
struct Piece {
    text: String,
    style: Style,
    right: bool,
}

impl Piece {
    fn style(self, style: Style) -> Piece {
        Piece { style, ..self }
    }

    /// What does not fit says so.
    fn cell(self, wide: u16) -> Cell<'static> {
        let room = usize::from(wide);
        let text = match self.text.chars().count() > room {
            true => self.text.chars().take(room.saturating_sub(1)).chain(['…']).collect(),
            false => self.text,
        };
        let side = if self.right { Alignment::Right } else { Alignment::Left };
        Cell::from(Line::from(text).alignment(side)).style(self.style)
    }
}

fn left(text: impl Into<String>) -> Piece {
    Piece { text: text.into(), style: Style::new(), right: false }
}

fn right(text: impl Into<String>) -> Piece {
    Piece { right: true, ..left(text) }
}

type Pieces = Vec<Piece>;

pub fn table(frame: &mut Frame<'_>, screen: &Screen, area: Rect, now: UnixTime) {
    let shown = &screen.shown;
    let (columns, rows, empty): (&[Column], Vec<Pieces>, &str) = match screen.list {
        List::Flows => (&FLOWS, shown.flows.iter().map(flow).collect(), "no traffic in the last ten seconds"),
        List::Nodes => (
            &NODES,
            shown.nodes.iter().map(|one| node(one, shown, now)).collect(),
            "no node yet: make a token with `warren token create`",
        ),
        List::Refusals => (
            &REFUSALS,
            shown.refusals.iter().map(|one| refusal(one, now)).collect(),
            "nothing was refused in the last minute",
        ),
        List::Alarms => (&ALARMS, shown.alarms.iter().map(|one| alarm(one, now)).collect(), "no alarm"),
    };
    if rows.is_empty() {
        frame.render_widget(Paragraph::new(empty).style(faint()).alignment(Alignment::Center), area);
        return;
    }
    let fitting = fit(columns, area.width);
    let kept = |pieces: Pieces| {
        let wide = |at: usize| fitting.iter().find(|(kept, _)| *kept == at).map(|(_, wide)| *wide);
        let pieces = pieces.into_iter().enumerate();
        Row::new(pieces.filter_map(|(at, piece)| wide(at).map(|wide| piece.cell(wide))))
    };
    let head = columns.iter().map(heading).collect();
    let widths = fitting.iter().map(|(_, wide)| Constraint::Length(*wide));
    let table = Table::new(rows.into_iter().map(kept), widths)
        .header(kept(head).style(faint()))
        .column_spacing(GAP)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(Some(screen.row));
    frame.render_stateful_widget(table, area, &mut state);
}

/// Over numbers to the right, as they are.
fn heading(column: &Column) -> Piece {
    match column.head {
        "FLOWS" | "OUT/S" | "BACK/S" | "PEERS" | "BYTES/S" | "TRIES" | "LAST" | "SINCE" | "TIMES" => {
            right(column.head)
        }
        other => left(other),
    }
}

fn flow(flow: &TopFlow) -> Pieces {
    let to = match &flow.service {
        Some(service) => format!("{} ({})", plain(service, 64), plain(&flow.to, 64)),
        None => plain(&flow.to, 64),
    };
    vec![
        left(plain(&flow.from, 64)),
        left(to),
        left(flow.port.clone()),
        verdict(flow.verdict),
        left(flow.grant.as_deref().map_or_else(|| "-".to_owned(), |grant| plain(grant, 64))),
        right(flow.flows.to_string()),
        right(bytes(flow.bytes_out_per_second)),
        right(bytes(flow.bytes_back_per_second)),
    ]
}

fn node(node: &TopNode, shown: &Snapshot, now: UnixTime) -> Pieces {
    let since = node.since.map(|since| format!(" {}", ago(since, now))).unwrap_or_default();
    let state = match (node.external, node.online) {
        (true, _) => left("external"),
        (false, true) => left(format!("online{since}")),
        (false, false) => left(format!("away{since}")).style(Style::new().fg(WARN)),
    };
    let behind = !node.external && shown.generation > 0 && node.enforces != Some(shown.generation);
    let enforces = match node.enforces {
        _ if node.external => "-".to_owned(),
        Some(generation) => format!("gen {generation}"),
        None => "?".to_owned(),
    };
    vec![
        left(plain(&node.name, 64)),
        state,
        left(enforces).style(if behind { Style::new().fg(WARM) } else { Style::new() }),
        right(node.peers.to_string()),
        right(bytes(node.bytes_per_second)),
        left(plain(&node.tags.join(" "), 200)).style(faint()),
    ]
}

fn refusal(refusal: &TopRefusal, now: UnixTime) -> Pieces {
    vec![
        left(plain(&refusal.from, 64)),
        left(plain(&refusal.to, 64)),
        left(refusal.port.clone()),
        verdict(refusal.verdict),
        right(refusal.tries.to_string()),
        right(ago(refusal.last, now)),
    ]
}

fn alarm(alarm: &Alarm, now: UnixTime) -> Pieces {
    vec![
        left(alarm.kind.word()).style(Style::new().fg(WARM)),
        right(ago(alarm.since, now)),
        right(alarm.count.to_string()),
        left(plain(&alarm.message, 400)),
    ]
}

fn verdict(verdict: FlowVerdict) -> Piece {
    let (word, style) = match verdict {
        FlowVerdict::Allow => ("allow", Style::new()),
        FlowVerdict::WouldAllow => ("would-allow", Style::new()),
        FlowVerdict::Deny => ("DENY", Style::new().fg(WARM)),
        FlowVerdict::WouldDeny => ("would-deny", Style::new().fg(WARN)),
        FlowVerdict::Unknown => ("unknown", faint()),
    };
    left(word).style(style)
}
