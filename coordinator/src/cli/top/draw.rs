//! The ink. Every verdict has a word beside its colour, and what comes from nodes is cleaned before it is drawn.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Tabs, Wrap};
use warren_config::time::UnixTime;

use super::lists;
use super::screen::{List, Screen};
use super::snapshot::{RATE, REFUSED, Snapshot};
use crate::cli::duration::short;
use crate::cli::output::bytes;
use crate::text::plain;

/// Two colours that mean something; all else is the terminal's own ink.
pub const WARM: Color = Color::Red;
pub const WARN: Color = Color::Yellow;

pub fn faint() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}
fn strong() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

pub fn draw(frame: &mut Frame<'_>, screen: &Screen, now: UnixTime) {
    let [head, sums, _, tabs, _, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(spaced(headline(&screen.shown), head.width)), head);
    frame.render_widget(Paragraph::new(spaced(totals(&screen.shown), sums.width)), sums);
    let titles =
        List::ALL.iter().zip(1..).map(|(list, key)| format!("{key} {} {}", list.name(), screen.total(*list)));
    let chosen = List::ALL.iter().position(|list| *list == screen.list);
    let style = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Tabs::new(titles).select(chosen).highlight_style(style).divider(" "), tabs);
    let list = whole_of_marked(frame, screen, body);
    lists::table(frame, screen, list, now);
    frame.render_widget(Paragraph::new(footer(screen, foot.width, now)), foot);
    if screen.help {
        help(frame);
    }
}

/// A list of alarms cuts what happened: of the marked one it stands below in full. Returns the room that is left.
fn whole_of_marked(frame: &mut Frame<'_>, screen: &Screen, body: Rect) -> Rect {
    let Some(alarm) = screen.shown.alarms.get(screen.row).filter(|_| screen.list == List::Alarms) else {
        return body;
    };
    let text = plain(&alarm.message, 1000);
    // One more: lines end between words.
    let lines = text.chars().count() / usize::from(body.width.max(1)) + 2;
    let lines = u16::try_from(lines).unwrap_or(u16::MAX).min(body.height / 2);
    let parts = [Constraint::Min(1), Constraint::Length(1), Constraint::Length(lines)];
    let [list, _, below] = Layout::vertical(parts).areas(body);
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), below);
    list
}

/// Words with room between them: whole ones, as many as the line has room for, the first first.
fn spaced(words: Vec<Span<'static>>, width: u16) -> Line<'static> {
    let mut line = Line::default();
    for word in words {
        let gap = if line.spans.is_empty() { 0 } else { 2 };
        if line.width() + gap + word.width() > usize::from(width) && gap > 0 {
            break;
        }
        if gap > 0 {
            line.push_span(Span::raw("  "));
        }
        line.push_span(word);
    }
    line
}

/// What must be known first; what is only good to know last.
fn headline(shown: &Snapshot) -> Vec<Span<'static>> {
    let mut words = vec![Span::styled(plain(&shown.network, 64), strong())];
    if shown.observe {
        words.push(Span::styled(
            "OBSERVE: everything passes",
            Style::new().fg(WARM).add_modifier(Modifier::BOLD),
        ));
    }
    words.push(Span::raw(format!("gen {}", shown.generation)));
    let all = shown.enforced == shown.of;
    let style = if all { Style::new() } else { Style::new().fg(WARN) };
    words.push(Span::styled(format!("{} of {} enforce", shown.enforced, shown.of), style));
    if !shown.alarms.is_empty() {
        let word = if shown.alarms.len() == 1 { "alarm" } else { "alarms" };
        words.push(Span::styled(format!("{} {word}", shown.alarms.len()), Style::new().fg(WARM)));
    }
    words.push(Span::raw(format!("{} online", shown.online)));
    words
}

fn totals(shown: &Snapshot) -> Vec<Span<'static>> {
    let refused = if shown.tries_refused == 0 { faint() } else { Style::new().fg(WARM) };
    let mut words = vec![
        Span::raw(format!("{}/s", bytes(shown.bytes_per_second))),
        Span::styled(format!("{} refused in {REFUSED} s", shown.tries_refused), refused),
    ];
    let warning = |text: String| Span::styled(text, Style::new().fg(WARN));
    if shown.edges_left_out > 0 {
        words.push(warning(format!("{} edges are too many to list", shown.edges_left_out)));
    }
    if shown.records_lost > 0 {
        words.push(warning(format!("{} records lost in all", shown.records_lost)));
    }
    words.push(Span::raw(format!("{} flows opened in {RATE} s", shown.flows_opened)));
    words
}

fn footer(screen: &Screen, width: u16, now: UnixTime) -> Line<'static> {
    if let Some((why, since)) = &screen.silence {
        let text = format!("no answer for {}: {}", ago(*since, now), plain(why, 160));
        return Line::styled(text, Style::new().fg(WARM));
    }
    if screen.paused.is_some() {
        let text = format!("paused at {} (space goes on)", screen.shown.at);
        return Line::styled(text, Style::new().fg(WARN));
    }
    let rows = screen.rows(screen.list);
    let listed = (rows < screen.total(screen.list)).then(|| format!("the first {rows} are listed"));
    let keys = ["q leave", "1-4 tab list", "arrows move", "space pause", "? keys"].map(str::to_owned);
    let words = listed.into_iter().chain(keys).map(|word| Span::styled(word, faint()));
    spaced(words.collect(), width)
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

pub fn ago(at: UnixTime, now: UnixTime) -> String {
    short(now.since(at))
}
