//! No window: an agent that restarts breaks nothing that is established, and opens nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use warren_netns_tests::capture::Capture;
use warren_netns_tests::measure::number;
use warren_netns_tests::street::Underlay;
use warren_netns_tests::town::Town;
use warren_netns_tests::wait::{eventually, until};
use warren_netns_tests::warren::{COORDINATOR_PORT, LIMIT, WIREGUARD_PORT};

/// A client that takes a numbered stream from a server and gives it another, at a steady rate, over two connections:
/// every byte is checked. Prints `got N gave M` twice a second, and stops at the first error.
const STREAMS: &str = include_str!("../src/flows/streams.py");

/// `WARREN_RESTARTS` (6) restarts of the agents at either end, in turn: a download and an upload go on, no reset, no byte
/// wrong.
#[test]
fn an_established_download_and_upload_survive_restart_after_restart() {
    let mut town = Town::new(Underlay::V4);
    let restarts = number("WARREN_RESTARTS", 6);
    let server = town.orders.host.daemon("streams-serve", &["python3", "-c", STREAMS, "serve", "8080"]);
    until("the server listens", LIMIT, || server.output().contains("ready"));
    let to = town.orders.v4();
    let mut client = town.web.host.daemon("streams", &["python3", "-c", STREAMS, "open", &to, "8080"]);
    let moved = |text: &str| {
        let line = text.lines().rev().find(|l| l.starts_with("got ")).unwrap_or_default().to_owned();
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|w| w.parse().ok()).collect();
        (numbers.first().copied().unwrap_or(0), numbers.get(1).copied().unwrap_or(0))
    };
    until("both streams run", LIMIT, || {
        moved(&client.output()).0 > 200_000 && moved(&client.output()).1 > 200_000
    });
    let mut slowest = Duration::ZERO;
    for round in 0..restarts {
        let node = if round.is_multiple_of(2) { &mut town.web } else { &mut town.orders };
        // Every third time without warning.
        if round % 3 == 2 {
            node.kill_9()
        } else {
            node.stop()
        }
        node.start();
        let before = moved(&client.output());
        let took = until("both streams go on", LIMIT, || {
            assert!(client.finished().is_none(), "restart {round}: {}", client.output());
            let now = moved(&client.output());
            now.0 > before.0 + 100_000 && now.1 > before.1 + 100_000
        });
        slowest = slowest.max(took);
    }
    client.signal("TERM");
    let status = eventually("the client ends", Duration::from_secs(10), || client.finished());
    assert!(status.success(), "{}", client.output());
    let (got, gave) = moved(&client.output());
    println!("{restarts} restarts: {got} bytes down, {gave} up, no reset; slowest return {slowest:?}");
}

/// From the first moment of a restart to the last, a port that no grant names stays shut, and nothing goes in clear.
#[test]
fn a_restart_opens_nothing_and_sends_nothing_in_clear() {
    let mut town = Town::new(Underlay::V4);
    let _hidden = town.orders.serve_http(9090);
    let _open = town.orders.serve_http(8080);
    let target = town.orders.v4();
    town.web.curl(&format!("http://{target}:8080/")).ok();
    let capture = Capture::start(&town.street, "restarts");
    // Tries the hidden port as fast as it can, and one more mark by UDP.
    let knock = format!(
        "n=0; while :; do n=$((n+1)); if timeout 0.3 bash -c 'exec 3<>/dev/tcp/{target}/9090' 2>/dev/null; then echo OPEN $n; fi; \
         printf MARKER-window >/dev/udp/{target}/9091; done"
    );
    let knocking = town.web.host.daemon("knock", &["bash", "-c", &knock]);
    for round in 0..number("WARREN_RESTARTS", 6) {
        let node = if round.is_multiple_of(2) { &mut town.orders } else { &mut town.web };
        if round % 3 == 2 {
            node.kill_9()
        } else {
            node.stop()
        }
        node.start();
        let url = format!("http://{target}:8080/");
        until("the granted port answers again", LIMIT, || town.web.curl(&url).status.success());
    }
    // A view that cannot be read is not an open door.
    town.orders.stop();
    let state = town.orders.host.dir.join("node");
    for entry in std::fs::read_dir(&state).unwrap().flatten() {
        if entry.file_name().to_string_lossy().contains("view") && entry.path().is_file() {
            let mut bytes = std::fs::read(entry.path()).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x55;
            std::fs::write(entry.path(), bytes).unwrap();
        }
    }
    town.orders.start();
    until("it comes back from a corrupt view", LIMIT, || {
        town.web.curl(&format!("http://{target}:8080/")).status.success()
    });
    assert!(!knocking.output().contains("OPEN"), "{}", knocking.output());
    drop(knocking);
    let seen = capture.finish();
    assert_eq!(seen.dropped, 0);
    assert_eq!(seen.containing(b"MARKER-window"), 0);
    assert_eq!(seen.strange_but_refusals(&[WIREGUARD_PORT, COORDINATOR_PORT]), vec![]);
}
