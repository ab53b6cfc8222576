//! What a person looks at: which list, from where on, whether it stands still. Changed by keys and by news, nothing else.

use ratatui::crossterm::event::{KeyCode, KeyModifiers};
use warren_config::time::UnixTime;

use super::snapshot::Snapshot;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Flows,
    Nodes,
    Refusals,
    Alarms,
}

impl List {
    pub const ALL: [List; 4] = [List::Flows, List::Nodes, List::Refusals, List::Alarms];

    pub fn name(self) -> &'static str {
        match self {
            List::Flows => "Flows",
            List::Nodes => "Nodes",
            List::Refusals => "Refusals",
            List::Alarms => "Alarms",
        }
    }

    fn after(self, steps: usize) -> List {
        let at = List::ALL.iter().position(|list| *list == self).unwrap_or(0);
        List::ALL.get((at + steps) % List::ALL.len()).copied().unwrap_or(self)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Stay,
    Leave,
}

#[derive(Clone, Debug)]
pub struct Screen {
    pub shown: Snapshot,
    pub list: List,
    /// The row that is marked.
    pub row: usize,
    /// While it stands still, what came meanwhile.
    pub paused: Option<Option<Box<Snapshot>>>,
    pub help: bool,
    /// Why nothing comes, and since when.
    pub silence: Option<(String, UnixTime)>,
}

impl Screen {
    pub fn new(shown: Snapshot) -> Screen {
        Screen { shown, list: List::Flows, row: 0, paused: None, help: false, silence: None }
    }

    pub fn rows(&self, list: List) -> usize {
        match list {
            List::Flows => self.shown.flows.len(),
            List::Nodes => self.shown.nodes.len(),
            List::Refusals => self.shown.refusals.len(),
            List::Alarms => self.shown.alarms.len(),
        }
    }

    /// All there are, listed or not.
    pub fn total(&self, list: List) -> usize {
        match list {
            List::Flows => self.shown.flows_total,
            List::Refusals => self.shown.refusals_total,
            List::Nodes | List::Alarms => self.rows(list),
        }
    }

    pub fn handle_news(&mut self, news: Snapshot) {
        self.silence = None;
        match &mut self.paused {
            Some(waiting) => *waiting = Some(Box::new(news)),
            None => self.show(news),
        }
    }

    pub fn handle_silence(&mut self, why: String, now: UnixTime) {
        let since = self.silence.as_ref().map_or(now, |(_, since)| *since);
        self.silence = Some((why, since));
    }

    fn show(&mut self, news: Snapshot) {
        self.shown = news;
        self.row = self.row.min(self.rows(self.list).saturating_sub(1));
    }

    pub fn handle_key(&mut self, key: KeyCode, held: KeyModifiers) -> Wish {
        let last = self.rows(self.list).saturating_sub(1);
        match key {
            KeyCode::Char('c') if held.contains(KeyModifiers::CONTROL) => return Wish::Leave,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Leave,
            KeyCode::Char('?' | 'h') => self.help = !self.help,
            KeyCode::Char(digit @ '1'..='4') => {
                let at = usize::try_from(u32::from(digit) - u32::from('1')).unwrap_or(0);
                self.turn_to(List::Flows.after(at));
            }
            KeyCode::Tab | KeyCode::Right => self.turn_to(self.list.after(1)),
            KeyCode::BackTab | KeyCode::Left => self.turn_to(self.list.after(List::ALL.len() - 1)),
            KeyCode::Down | KeyCode::Char('j') => self.row = (self.row + 1).min(last),
            KeyCode::Up | KeyCode::Char('k') => self.row = self.row.saturating_sub(1),
            KeyCode::PageDown => self.row = (self.row + 10).min(last),
            KeyCode::PageUp => self.row = self.row.saturating_sub(10),
            KeyCode::Home | KeyCode::Char('g') => self.row = 0,
            KeyCode::End | KeyCode::Char('G') => self.row = last,
            KeyCode::Char('p' | ' ') => self.pause(),
            _ => {}
        }
        Wish::Stay
    }

    fn turn_to(&mut self, list: List) {
        self.list = list;
        self.row = 0;
    }

    fn pause(&mut self) {
        match self.paused.take() {
            None => self.paused = Some(None),
            Some(Some(waiting)) => self.show(*waiting),
            Some(None) => {}
        }
    }
}
