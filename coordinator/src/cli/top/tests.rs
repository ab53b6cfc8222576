//! What `warren top` shows, on a terminal of paper.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};
use warren_config::time::UnixTime;
use warren_coordinator_core::alarm::{Alarm, AlarmKind};
use warren_wire::flow::FlowVerdict;

use super::draw;
use super::screen::{List, Screen, Wish};
use super::snapshot::{Snapshot, TopFlow, TopNode, TopRefusal};

const NOW: UnixTime = UnixTime(1_000_000);

fn flow(from: &str, bytes: u64) -> TopFlow {
    TopFlow {
        from: from.into(),
        to: "orders-1".into(),
        service: Some("orders".into()),
        port: "tcp/8443".into(),
        verdict: FlowVerdict::Allow,
        grant: Some("web-reads-orders".into()),
        flows: 3,
        bytes_out_per_second: bytes,
        bytes_back_per_second: 2 * bytes,
    }
}

fn node(name: &str, online: bool, enforces: u64) -> TopNode {
    TopNode {
        name: name.into(),
        tags: vec!["web".into()],
        online,
        external: false,
        enforces: Some(enforces),
        since: Some(UnixTime(NOW.0 - 90)),
        peers: 2,
        bytes_per_second: 1500,
    }
}

fn snapshot() -> Snapshot {
    let alarm = Alarm {
        kind: AlarmKind::RefusalBurst,
        subject: "x".into(),
        message: "web-1 was refused 240 times".into(),
        since: UnixTime(NOW.0 - 5),
        last: NOW,
        count: 1,
    };
    Snapshot {
        at: NOW,
        network: "prod".into(),
        generation: 7,
        observe: false,
        enforced: 1,
        of: 2,
        online: 1,
        nodes: vec![node("web-1", true, 7), node("orders-1", false, 6)],
        flows: vec![flow("web-1", 1_200_000), flow("evil\u{1b}[31m\n", 10)],
        flows_total: 2,
        refusals: vec![TopRefusal {
            from: "web-1".into(),
            to: "db-1".into(),
            port: "tcp/5432".into(),
            verdict: FlowVerdict::Deny,
            tries: 240,
            last: UnixTime(NOW.0 - 2),
        }],
        refusals_total: 1,
        alarms: vec![alarm],
        bytes_per_second: 3_600_000,
        flows_opened: 6,
        tries_refused: 240,
        edges_left_out: 0,
        records_lost: 0,
    }
}

fn shown(screen: &Screen, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(frame, screen, NOW)).unwrap();
    terminal.backend().to_string()
}

fn press(screen: &mut Screen, keys: &[KeyCode]) {
    for key in keys {
        assert_eq!(screen.handle_key(*key, KeyModifiers::NONE), Wish::Stay);
    }
}

#[test]
fn every_list_shows_its_rows_and_the_head_says_how_the_network_is() {
    let mut screen = Screen::new(snapshot());
    let lists: [(&[&str], char); 4] = [
        (&["web-1", "orders (orders-1)", "tcp/8443", "allow", "web-reads-orders", "1.2 MB", "2.4 MB"], '1'),
        (&["web-1", "online 1m 30s", "gen 7", "orders-1", "away 1m 30s", "gen 6", "1.5 kB"], '2'),
        (&["db-1", "tcp/5432", "DENY", "240", "2s"], '3'),
        (&["refusal-burst", "web-1 was refused 240 times"], '4'),
    ];
    for (words, key) in lists {
        press(&mut screen, &[KeyCode::Char(key)]);
        let text = shown(&screen, 120, 20);
        println!("{text}");
        for word in
            words.iter().chain(&["prod", "gen 7", "1 of 2 enforce", "1 alarm", "3.6 MB/s", "240 refused"])
        {
            assert!(text.contains(word), "{key}: no {word} in\n{text}");
        }
    }
}

#[test]
fn what_happened_stands_in_full_below_the_list_for_the_alarm_that_is_marked() {
    let (mut screen, long) = (Screen::new(snapshot()), "web-1 was refused at port after port ".repeat(4));
    let second = Alarm { message: format!("{long}and at the very last"), ..screen.shown.alarms[0].clone() };
    screen.shown.alarms.push(second);
    press(&mut screen, &[KeyCode::Char('4')]);
    assert!(!shown(&screen, 80, 20).contains("very last"), "the first is marked");
    press(&mut screen, &[KeyCode::Down]);
    let text = shown(&screen, 80, 20);
    println!("{text}");
    assert!(text.contains("very last") && text.matches("refusal-burst").count() == 2, "{text}");
}

#[test]
fn a_hostile_name_moves_no_cursor() {
    let text = shown(&Screen::new(snapshot()), 120, 20);
    assert!(!text.contains('\u{1b}') && text.contains("evil\\u{1b}"), "{text}");
}

#[test]
fn a_terminal_of_any_size_is_drawn_on() {
    for (width, height) in [(1, 1), (10, 3), (40, 8), (300, 100)] {
        let mut screen = Screen::new(snapshot());
        screen.help = true;
        for list in List::ALL {
            screen.list = list;
            shown(&screen, width, height);
        }
    }
}

#[test]
fn keys_move_within_what_there_is_and_q_leaves() {
    let mut screen = Screen::new(snapshot());
    press(&mut screen, &[KeyCode::Up, KeyCode::Down, KeyCode::Down, KeyCode::PageDown]);
    assert_eq!(screen.row, 1, "there are two");
    press(&mut screen, &[KeyCode::Tab]);
    assert_eq!((screen.list, screen.row), (List::Nodes, 0));
    press(&mut screen, &[KeyCode::BackTab, KeyCode::BackTab]);
    assert_eq!(screen.list, List::Alarms);
    press(&mut screen, &[KeyCode::Char('?'), KeyCode::Esc]);
    assert!(!screen.help);
    assert_eq!(screen.handle_key(KeyCode::Char('q'), KeyModifiers::NONE), Wish::Leave);
    assert_eq!(screen.handle_key(KeyCode::Char('c'), KeyModifiers::CONTROL), Wish::Leave);
}

#[test]
fn while_it_stands_still_nothing_moves_and_then_the_newest_is_shown() {
    let mut screen = Screen::new(snapshot());
    press(&mut screen, &[KeyCode::Char(' ')]);
    for generation in [8, 9] {
        screen.handle_news(Snapshot { generation, ..snapshot() });
        assert_eq!(screen.shown.generation, 7);
    }
    assert!(shown(&screen, 100, 10).contains("paused at"));
    press(&mut screen, &[KeyCode::Char(' ')]);
    assert_eq!(screen.shown.generation, 9);
}

#[test]
fn silence_is_said_with_its_length_and_what_was_known_stays() {
    let mut screen = Screen::new(snapshot());
    screen.handle_silence("it is not running".into(), UnixTime(NOW.0 - 30));
    screen.handle_silence("it is not running".into(), NOW);
    let text = shown(&screen, 100, 10);
    assert!(text.contains("no answer for 30s: it is not running") && text.contains("web-1"), "{text}");
    screen.handle_news(snapshot());
    assert!(!shown(&screen, 100, 10).contains("no answer"));
}

#[test]
fn on_sixty_columns_names_and_rates_are_whole_and_what_matters_less_is_gone() {
    let mut screen = Screen::new(snapshot());
    let lists: [(&[&str], &[&str], char); 4] = [
        (&["FROM", "web-1", "orders (orders-1)", "tcp/8443", "1.2 MB", "2.4 MB"], &["BY", "VERDICT"], '1'),
        (&["orders-1", "away 1m 30s", "gen 6", "1.5 kB"], &["TAGS"], '2'),
        (&["db-1", "tcp/5432", "240"], &[], '3'),
        (&["refusal-burst", "web-1 was refused"], &[], '4'),
    ];
    for (words, gone, key) in lists {
        press(&mut screen, &[KeyCode::Char(key)]);
        let text = shown(&screen, 60, 20);
        println!("{text}");
        let all = words.iter().chain(&["prod", "gen 7", "1 of 2 enforce", "1 alarm", "q leave"]);
        all.for_each(|word| assert!(text.contains(word), "{key}: no {word} in\n{text}"));
        gone.iter().for_each(|word| assert!(!text.contains(word), "{key}: {word} in\n{text}"));
    }
}

#[test]
fn ports_that_are_not_told_apart_are_words() {
    let port = crate::cli::output::port(6, 0);
    let scan = TopRefusal { port, ..snapshot().refusals.remove(0) };
    let mut screen = Screen::new(Snapshot { refusals: vec![scan], ..snapshot() });
    press(&mut screen, &[KeyCode::Char('3')]);
    for width in [60, 140] {
        let text = shown(&screen, width, 12);
        assert!(text.contains("other tcp ports") && !text.contains("tcp/0"), "{text}");
    }
}

#[test]
fn of_a_busy_network_it_is_said_what_is_not_listed() {
    let flows = (0..1000).map(|i| flow(&format!("web-{i}"), 1000 - i)).collect();
    let mut screen = Screen::new(Snapshot { flows, flows_total: 5321, edges_left_out: 77, ..snapshot() });
    let text = shown(&screen, 120, 20);
    for word in ["1 Flows 5321", "the first 1000 are listed", "77 edges are too many to list"] {
        assert!(text.contains(word), "no {word} in\n{text}");
    }
    press(&mut screen, &[KeyCode::Char('G')]);
    assert!(shown(&screen, 120, 20).contains("web-999"), "the last is in sight");
}
