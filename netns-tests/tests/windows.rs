//! No window: whatever becomes of an agent, its files, its program, its interface, its clock or its coordinator, the answer
//! is the last good policy or no. Nothing opens, nothing goes in clear, and what is established and stays allowed goes on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use warren_netns_tests::alone::{
    GRANTED, came_to_hidden, count_hidden, insist, receive, try_everything, write_private,
};
use warren_netns_tests::measure::{echo_service, number};
use warren_netns_tests::process::run;
use warren_netns_tests::streams::Streams;
use warren_netns_tests::street::Underlay;
use warren_netns_tests::town::{BEFORE, Town};
use warren_netns_tests::wait::{eventually, until};
use warren_netns_tests::warren::{LIMIT, Node};
use warren_netns_tests::watch::{HIDDEN, Watch};

fn streams(town: &Town) -> Streams {
    Streams::open(&town.web.host, &town.orders.host, &town.orders.v4(), 8080)
}

fn granted(town: &Town) -> bool {
    // An agent that is on its way up does not answer yet.
    let Some(status) = town.orders.status() else { return false };
    let knock = format!("exec 3<>/dev/tcp/{}/8080", status["v4"].as_str().unwrap_or_default());
    town.web.host.run(&["timeout", "2", "bash", "-c", &knock]).status.success()
}

/// Refused by web's own node: at once, not by waiting.
fn refused(town: &Town) -> bool {
    let done = town.web.curl(&format!("http://{}:8080/", town.orders.v4()));
    done.code() == 7
}

/// Everything that was hidden is granted.
fn opened() -> String {
    BEFORE.replace("\"tcp/8080\"", &format!("\"tcp/8080\", \"tcp/{HIDDEN}\", \"udp/{HIDDEN}\""))
}

/// In turn at either end, every third time without warning.
fn restart(town: &mut Town, round: usize) {
    let node = if round.is_multiple_of(2) { &mut town.web } else { &mut town.orders };
    if round % 3 == 2 {
        node.kill_9()
    } else {
        node.stop()
    }
    node.start();
}

/// `WARREN_RESTARTS` (6) restarts of the agents at either end, in turn: a download and an upload go on, no reset, no byte
/// wrong.
#[test]
fn an_established_download_and_upload_survive_restart_after_restart() {
    let mut town = Town::new(Underlay::V4);
    let restarts = number("WARREN_RESTARTS", 6);
    let mut streams = streams(&town);
    let mut slowest = Duration::ZERO;
    for round in 0..restarts {
        restart(&mut town, round);
        slowest = slowest.max(streams.go_on(100_000));
    }
    let (got, gave) = streams.end();
    println!("{restarts} restarts: {got} bytes down, {gave} up, no reset; slowest return {slowest:?}");
}

/// From the first moment of a restart to the last, a port that no grant names stays shut, and nothing goes in clear. That
/// it would be seen is tried in the end.
#[test]
fn a_restart_opens_nothing_and_sends_nothing_in_clear() {
    let mut town = Town::new(Underlay::V4);
    let _open = town.orders.serve_http(8080);
    let watch = Watch::begin(&town);
    for round in 0..number("WARREN_RESTARTS", 6) {
        restart(&mut town, round);
        until("the granted port answers again", LIMIT, || granted(&town));
    }
    watch.end();
    let watch = Watch::begin(&town);
    town.coordinator.apply(&opened());
    until("an open port would be noticed", LIMIT, || watch.knows_it_open());
}

/// The other end refuses nothing: who has web's keys sends to a hidden port without end, through sessions that it makes anew.
#[test]
fn a_receiver_alone_lets_nothing_in_whatever_becomes_of_its_agent() {
    let mut town = Town::new(Underlay::V4);
    let orders = town.orders.host.clone();
    let _services = (echo_service(&orders, GRANTED), town.orders.serve_http(HIDDEN));
    count_hidden(&orders);
    let mut insisting = insist(&mut town);
    try_everything(
        &mut town,
        |town| &mut town.orders,
        &insisting,
        |when| {
            assert_eq!(came_to_hidden(&orders), [0; 4], "{when}");
        },
    );
    town.coordinator.apply(&opened());
    let verdict = insisting.ended();
    println!("granted: {}", verdict.lines().last().unwrap_or_default());
    assert!(verdict.contains("verdict: broken: "), "an open port is noticed: {verdict}");
    let came = came_to_hidden(&orders);
    assert!(came.len() == 4 && came.iter().all(|count| *count > 0), "and counted: {came:?}");
}

/// The other end refuses nothing: who has orders' keys takes whatever web's agent sends, while somebody knocks behind it.
#[test]
fn a_sender_alone_lets_nothing_out_whatever_becomes_of_its_agent() {
    let mut town = Town::new(Underlay::V4);
    let (mut receiver, asking) = receive(&mut town);
    try_everything(
        &mut town,
        |town| &mut town.web,
        &asking,
        |when| {
            assert!(!receiver.output().contains("came: "), "{when}: {}", receiver.output());
        },
    );
    town.coordinator.apply(&opened());
    eventually("the receiver has seen enough", LIMIT, || receiver.finished());
    let verdict = receiver.output();
    println!("granted: {}", verdict.lines().last().unwrap_or_default());
    assert_eq!(verdict.matches("came: ").count(), 4, "whatever comes is noticed: {verdict}");
    assert!(verdict.contains("verdict: broken: "), "{verdict}");
}

/// The program is replaced under the running agent, as a package does it; the state stays.
#[test]
fn an_upgrade_breaks_nothing_and_opens_nothing() {
    let mut town = Town::new(Underlay::V4);
    for node in [&mut town.web, &mut town.orders] {
        node.stop();
        node.install_program();
        node.start();
    }
    [&mut town.web, &mut town.orders].into_iter().for_each(Node::wait_enrolled);
    let (watch, mut streams) = (Watch::begin(&town), streams(&town));
    for _ in 0..2 {
        for end in [true, false] {
            let node = if end { &mut town.web } else { &mut town.orders };
            let before = program_of(node);
            node.install_program();
            assert!(program_of(node).ends_with("(deleted)"), "the old program still runs: {before}");
            streams.go_on(100_000);
            let node = if end { &mut town.web } else { &mut town.orders };
            node.stop();
            node.start();
            streams.go_on(100_000);
            let node = if end { &mut town.web } else { &mut town.orders };
            assert!(!program_of(node).ends_with("(deleted)"));
        }
    }
    watch.wait_for_knocks();
    streams.end();
    watch.end();
}

fn program_of(node: &Node) -> String {
    let pid = eventually("the agent answers", LIMIT, || node.status())["pid"].as_u64().unwrap();
    std::fs::read_link(format!("/proc/{pid}/exe")).unwrap().to_string_lossy().into_owned()
}

/// Set down, it is put right; deleted or moved away, the agent ends and says so. Nothing is sent past it meanwhile.
#[test]
fn an_interface_that_is_set_down_deleted_or_moved_away_opens_nothing() {
    let mut town = Town::new(Underlay::V4);
    let (watch, mut streams) = (Watch::begin(&town), streams(&town));
    town.web.host.run(&["ip", "link", "set", "warren0", "down"]).ok();
    let took = streams.go_on(100_000);
    println!("set down: both streams went on after {took:?}");
    let elsewhere = town.street.net();
    for removal in
        [&["ip", "link", "del", "warren0"][..], &["ip", "link", "set", "warren0", "netns", &elsewhere]]
    {
        for end in [true, false] {
            let node = if end { &mut town.web } else { &mut town.orders };
            node.host.run(removal).ok();
            let status = eventually("the agent notices", Duration::from_secs(3), || node.finished());
            assert!(!status.success());
            assert!(node.log().contains("warren0 was deleted"), "{}", node.log());
            watch.wait_for_knocks();
            // What was moved away is nobody's now.
            run(Some(&elsewhere), &["ip", "link", "del", "warren0"], &[]);
            let node = if end { &mut town.web } else { &mut town.orders };
            node.start();
            let took = streams.go_on(100_000);
            println!("{}: both streams went on {took:?} after the agent had started again", removal[2]);
        }
    }
    streams.end();
    watch.end();
}

/// The coordinator is gone, agents crash and stay away for a while, and come back to the last good policy.
#[test]
fn a_crash_while_the_coordinator_is_away_opens_nothing_and_breaks_nothing() {
    let mut town = Town::new(Underlay::V4);
    let (watch, mut streams) = (Watch::begin(&town), streams(&town));
    town.coordinator.kill_9();
    streams.go_on(500_000);
    for _ in 0..2 {
        for end in [true, false] {
            let node = if end { &mut town.web } else { &mut town.orders };
            node.kill_9();
            watch.wait_for_knocks();
            let node = if end { &mut town.web } else { &mut town.orders };
            node.start();
            streams.go_on(500_000);
        }
    }
    town.coordinator.serve();
    streams.go_on(300_000);
    streams.end();
    watch.end();
}

/// What the disk holds instead of the last good view, the coordinator being away: no view is no peer.
#[test]
fn a_view_that_is_empty_gone_foreign_or_damaged_opens_nothing_and_the_good_one_is_last_good_again() {
    let mut town = Town::new(Underlay::V4);
    let _open = town.orders.serve_http(8080);
    let watch = Watch::begin(&town);
    town.coordinator.kill_9();
    let foreign = std::fs::read(town.db.host.dir.join("node/view")).unwrap();
    for end in [true, false] {
        let dir = if end { town.web.host.dir.clone() } else { town.orders.host.dir.clone() };
        let file = dir.join("node/view");
        let good = std::fs::read(&file).unwrap();
        let flipped = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            Some(bytes)
        };
        let half = Some(good[..good.len() / 2].to_vec());
        let noise = Some((0..4000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect());
        let bad = [Some(Vec::new()), None, half, noise, Some(foreign.clone())]
            .into_iter()
            .chain([0, good.len() / 3, good.len() / 2, good.len() - 1].map(flipped));
        for (number, bytes) in bad.enumerate() {
            let node = if end { &mut town.web } else { &mut town.orders };
            node.stop();
            match bytes {
                Some(bytes) => write_private(&file, &bytes),
                None => std::fs::remove_file(&file).unwrap(),
            }
            node.start();
            until("the agent answers", LIMIT, || node.status().is_some());
            assert_eq!(node.status().unwrap()["peers"], 0, "view {number}");
            assert!(!granted(&town), "view {number}: nothing is granted by it");
            watch.wait_for_knocks();
            let node = if end { &mut town.web } else { &mut town.orders };
            node.stop();
            write_private(&file, &good);
            node.start();
            until("the last good view is in force again", LIMIT, || granted(&town));
        }
    }
    town.coordinator.serve();
    watch.end();
}

/// A view with nobody in it is an order, not an error.
#[test]
fn an_empty_view_from_the_coordinator_cuts_everything_and_opens_nothing() {
    let mut town = Town::new(Underlay::V4);
    let _open = town.orders.serve_http(8080);
    let watch = Watch::begin(&town);
    assert!(granted(&town));
    let (head, _) = BEFORE.split_once("[[grant]]").unwrap();
    town.coordinator.apply(head);
    assert!(refused(&town));
    assert_eq!(town.web.status().unwrap()["peers"], 0);
    for round in 0..3 {
        restart(&mut town, round);
        watch.wait_for_knocks();
        assert!(!granted(&town));
    }
    town.coordinator.apply(BEFORE);
    until("the grant is back", LIMIT, || granted(&town));
    watch.end();
}

/// A year ahead and a year back, under the running agents and over restarts, with the coordinator and without it. (Over a
/// restart a clock that is ahead closes what stood until the coordinator has told the time: by it the view would have ended.)
#[test]
fn a_clock_that_jumps_a_year_opens_nothing_and_breaks_nothing_that_runs() {
    let mut town = Town::new(Underlay::V4);
    for node in [&mut town.web, &mut town.orders] {
        node.stop();
        node.let_clock_jump();
        node.start();
    }
    [&mut town.web, &mut town.orders].into_iter().for_each(Node::wait_enrolled);
    let (watch, mut streams) = (Watch::begin(&town), streams(&town));
    let shifts = ["+365d", "+0d", "-365d", "+0d"];
    for shift in shifts {
        for end in [true, false] {
            let node = if end { &town.web } else { &town.orders };
            node.shift_clock(shift);
            streams.go_on(300_000);
            until("new connections open too", LIMIT, || granted(&town));
            watch.wait_for_knocks();
        }
        println!("{shift} while they run: the streams went on, new connections open");
    }
    streams.end();
    let _open = town.orders.serve_http(8080);
    for shift in shifts {
        for end in [true, false] {
            let node = if end { &mut town.web } else { &mut town.orders };
            node.shift_clock(shift);
            node.restart();
            until("the coordinator tells it the time", LIMIT, || granted(&town));
        }
        println!("{shift}, restarted: the grant is in force again");
    }
    // Nobody can tell the right time: a clock that is ahead closes. One that is behind a time it has shown opens nothing: the
    // node makes new keys, of which its peers have yet to hear.
    town.coordinator.kill_9();
    for shift in shifts {
        town.web.shift_clock(shift);
        town.web.restart();
        until("the agent answers", LIMIT, || town.web.status().is_some());
        watch.wait_for_knocks();
        assert!(shift != "+365d" || refused(&town), "a view that would have ended by this clock");
        println!("{shift}, no coordinator, restarted: {}", if granted(&town) { "last good" } else { "no" });
    }
    town.web.shift_clock("+0d");
    town.coordinator.serve();
    until("all is well again", LIMIT, || granted(&town));
    watch.end();
}
