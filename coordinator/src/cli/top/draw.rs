//! The ink. Every verdict has a word beside its colour, and what comes from nodes is cleaned before it is drawn.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, TableState, Tabs};
use warren_config::time::UnixTime;
use warren_wire::flow::FlowVerdict;

use super::screen::{List, Screen};
use super::snapshot::{RATE, REFUSED, Snapshot};
use crate::cli::duration::short;
use crate::cli::output::bytes;
use crate::text::plain;

/// Two colours that mean something; all else is the terminal's own ink.
const WARM: Color = Color::Red;
const WARN: Color = Color::Yellow;

fn faint() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}
fn strong() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

pub fn draw(frame: &mut Frame<'_>, screen: &Screen, now: UnixTime) {
    let [head, sums, tabs, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(headline(&screen.shown)), head);
    frame.render_widget(Paragraph::new(totals(&screen.shown)), sums);
    let titles =
        List::ALL.iter().zip(1..).map(|(list, key)| format!("{key} {} {}", list.name(), screen.rows(*list)));
    let chosen = List::ALL.iter().position(|list| *list == screen.list);
    let style = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Tabs::new(titles).select(chosen).highlight_style(style).divider(" "), tabs);
    table(frame, screen, body, now);
    frame.render_widget(Paragraph::new(footer(screen, now)), foot);
    if screen.help {
        help(frame);
    }
}

fn headline(shown: &Snapshot) -> Line<'static> {
    let mut spans = vec![
        Span::styled(plain(&shown.network, 64), strong()),
        Span::raw(format!("  gen {}  ", shown.generation)),
    ];
    let all = shown.enforced == shown.of;
    let style = if all { Style::new() } else { Style::new().fg(WARN) };
    spans.push(Span::styled(format!("{} of {} enforce", shown.enforced, shown.of), style));
    spans.push(Span::raw(format!("  {} online", shown.online)));
    if shown.observe {
        spans.push(Span::styled(
            "  OBSERVE: everything passes",
            Style::new().fg(WARM).add_modifier(Modifier::BOLD),
        ));
    }
    if !shown.alarms.is_empty() {
        let word = if shown.alarms.len() == 1 { "alarm" } else { "alarms" };
        spans.push(Span::styled(format!("  {} {word}", shown.alarms.len()), Style::new().fg(WARM)));
    }
    Line::from(spans)
}

fn totals(shown: &Snapshot) -> Line<'static> {
    let refused = if shown.tries_refused == 0 { faint() } else { Style::new().fg(WARM) };
    let mut spans = vec![
        Span::raw(format!(
            "{}/s  {} flows opened in {RATE} s  ",
            bytes(shown.bytes_per_second),
            shown.flows_opened
        )),
        Span::styled(format!("{} refused in {REFUSED} s", shown.tries_refused), refused),
    ];
    if shown.records_lost > 0 {
        spans.push(Span::styled(
            format!("  {} records are missing", shown.records_lost),
            Style::new().fg(WARN),
        ));
    }
    Line::from(spans)
}

fn footer(screen: &Screen, now: UnixTime) -> Line<'static> {
    if let Some((why, since)) = &screen.silence {
        let text = format!("no answer for {}: {}", ago(*since, now), plain(why, 160));
        return Line::styled(text, Style::new().fg(WARM));
    }
    match screen.paused {
        Some(_) => {
            Line::styled(format!("paused at {} (space goes on)", screen.shown.at), Style::new().fg(WARN))
        }
        None => Line::styled("q leave  1-4 tab  arrows move  space pause  ? keys", faint()),
    }
}

fn help(frame: &mut Frame<'_>) {
    let lines = [
        "1 2 3 4, tab, left, right   choose a list",
        "up, down, j, k, page, g, G  move in it",
        "space, p                    stand still, go on",
        "?, h                        these lines",
        "q, esc, ctrl-c              leave",
    ];
    let width = 50.min(frame.area().width);
    let height = 7.min(frame.area().height);
    let area =
        Rect { x: (frame.area().width - width) / 2, y: (frame.area().height - height) / 2, width, height };
    frame.render_widget(Clear, area);
    let text: Vec<Line<'_>> = lines.into_iter().map(Line::from).collect();
    frame.render_widget(Paragraph::new(text).block(Block::bordered().title(" Keys ")), area);
}

fn table(frame: &mut Frame<'_>, screen: &Screen, area: Rect, now: UnixTime) {
    let shown = &screen.shown;
    let (head, widths, rows, empty): (&[&str], &[Constraint], Vec<Row<'static>>, &str) = match screen.list {
        List::Flows => (
            &["FROM", "TO", "PORT", "VERDICT", "BY", "FLOWS", "OUT/S", "BACK/S"],
            &[
                Constraint::Fill(3),
                Constraint::Fill(3),
                Constraint::Length(10),
                Constraint::Length(11),
                Constraint::Fill(3),
                Constraint::Length(7),
                Constraint::Length(9),
                Constraint::Length(9),
            ],
            shown.flows.iter().map(flow).collect(),
            "no traffic in the last ten seconds",
        ),
        List::Nodes => (
            &["NODE", "STATE", "ENFORCES", "PEERS", "BYTES/S", "TAGS"],
            &[
                Constraint::Fill(2),
                Constraint::Length(18),
                Constraint::Length(9),
                Constraint::Length(6),
                Constraint::Length(9),
                Constraint::Fill(3),
            ],
            shown.nodes.iter().map(|node| node_row(node, shown, now)).collect(),
            "no node yet: make a token with `warren token create`",
        ),
        List::Refusals => (
            &["FROM", "TO", "PORT", "VERDICT", "TRIES", "LAST"],
            &[
                Constraint::Fill(2),
                Constraint::Fill(2),
                Constraint::Length(10),
                Constraint::Length(11),
                Constraint::Length(7),
                Constraint::Length(10),
            ],
            shown.refusals.iter().map(|refusal| refusal_row(refusal, now)).collect(),
            "nothing was refused in the last minute",
        ),
        List::Alarms => (
            &["ALARM", "SINCE", "TIMES", "WHAT HAPPENED"],
            &[Constraint::Length(18), Constraint::Length(10), Constraint::Length(6), Constraint::Fill(1)],
            shown.alarms.iter().map(|alarm| alarm_row(alarm, now)).collect(),
            "no alarm",
        ),
    };
    if rows.is_empty() {
        frame.render_widget(Paragraph::new(empty).style(faint()).alignment(Alignment::Center), area);
        return;
    }
    let head = Row::new(head.iter().map(|text| Cell::from(*text))).style(faint());
    let table = Table::new(rows, widths.iter().copied())
        .header(head)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(Some(screen.row));
    frame.render_stateful_widget(table, area, &mut state);
}

fn flow(flow: &super::snapshot::TopFlow) -> Row<'static> {
    let to = match &flow.service {
        Some(service) => format!("{} ({})", plain(service, 64), plain(&flow.to, 64)),
        None => plain(&flow.to, 64),
    };
    Row::new([
        Cell::from(plain(&flow.from, 64)),
        Cell::from(to),
        Cell::from(flow.port.clone()),
        verdict(flow.verdict),
        Cell::from(flow.grant.as_deref().map_or_else(|| "-".to_owned(), |grant| plain(grant, 64))),
        right(flow.flows.to_string()),
        right(bytes(flow.bytes_out_per_second)),
        right(bytes(flow.bytes_back_per_second)),
    ])
}

fn node_row(node: &super::snapshot::TopNode, shown: &Snapshot, now: UnixTime) -> Row<'static> {
    let since = node.since.map(|since| format!(" {}", ago(since, now))).unwrap_or_default();
    let state = match (node.external, node.online) {
        (true, _) => Cell::from("external"),
        (false, true) => Cell::from(format!("online{since}")),
        (false, false) => Cell::from(format!("away{since}")).style(Style::new().fg(WARN)),
    };
    let behind = !node.external && shown.generation > 0 && node.enforces != Some(shown.generation);
    let enforces = match node.enforces {
        _ if node.external => "-".to_owned(),
        Some(generation) => format!("gen {generation}"),
        None => "?".to_owned(),
    };
    Row::new([
        Cell::from(plain(&node.name, 64)),
        state,
        Cell::from(enforces).style(if behind { Style::new().fg(WARM) } else { Style::new() }),
        right(node.peers.to_string()),
        right(bytes(node.bytes_per_second)),
        Cell::from(plain(&node.tags.join(" "), 200)).style(faint()),
    ])
}

fn refusal_row(refusal: &super::snapshot::TopRefusal, now: UnixTime) -> Row<'static> {
    Row::new([
        Cell::from(plain(&refusal.from, 64)),
        Cell::from(plain(&refusal.to, 64)),
        Cell::from(refusal.port.clone()),
        verdict(refusal.verdict),
        right(refusal.tries.to_string()),
        right(ago(refusal.last, now)),
    ])
}

fn alarm_row(alarm: &warren_coordinator_core::alarm::Alarm, now: UnixTime) -> Row<'static> {
    Row::new([
        Cell::from(alarm.kind.word()).style(Style::new().fg(WARM)),
        right(ago(alarm.since, now)),
        right(alarm.count.to_string()),
        Cell::from(plain(&alarm.message, 400)),
    ])
}

fn verdict(verdict: FlowVerdict) -> Cell<'static> {
    let (word, style) = match verdict {
        FlowVerdict::Allow => ("allow", Style::new()),
        FlowVerdict::WouldAllow => ("would-allow", Style::new()),
        FlowVerdict::Deny => ("DENY", Style::new().fg(WARM)),
        FlowVerdict::WouldDeny => ("would-deny", Style::new().fg(WARN)),
        FlowVerdict::Unknown => ("unknown", faint()),
    };
    Cell::from(word).style(style)
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).alignment(Alignment::Right))
}

fn ago(at: UnixTime, now: UnixTime) -> String {
    short(now.since(at))
}
