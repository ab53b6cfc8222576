//! What happens is seen in time: a live flow in windows of a second, and anything on the map within two.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::Value;
use warren_netns_tests::street::Underlay;
use warren_netns_tests::town::Town;
use warren_netns_tests::wait::{eventually, until};
use warren_netns_tests::warren::LIMIT;

/// A request that takes six seconds, a byte every tenth of one: no buffer of the kernel makes a pause in it.
const DRIBBLE: &str = "import socket, sys, time\n\
s = socket.create_connection((sys.argv[1], 8080))\n\
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)\n\
s.sendall(b'GET / HTTP/1.0\\r\\nX-Pad: ')\n\
for _ in range(60):\n time.sleep(0.1); s.sendall(b'a')\n\
s.sendall(b'\\r\\n\\r\\n')\n\
assert s.recv(4) == b'HTTP'\n";

/// The last moment of each window of web-1's flow to a port, in order; and that of its end, if it has ended.
fn windows(town: &Town, key: &str, port: u16) -> Option<(Vec<u64>, bool)> {
    let bearer = format!("authorization: Bearer {key}");
    let url = "http://127.0.0.1:7947/v1/flows/since?cursor=0&from=web-1&limit=10000";
    let page = town.coordinator.host.run(&["curl", "-sS", "-H", &bearer, url]).json();
    let rows: Vec<&Value> = page["rows"].as_array()?.iter().collect();
    let of_flow = |row: &&&Value| row["to"]["port"] == port && row["outbound"] == true;
    let moments = rows.iter().filter(of_flow).map(|row| row["last_ms"].as_u64().unwrap()).collect();
    let ended = rows.iter().filter(of_flow).any(|row| row["end"] != "open");
    Some((moments, ended))
}

#[test]
fn a_live_flow_is_recorded_in_windows_of_at_most_a_second() {
    let town = Town::new(Underlay::V4);
    let _server = town.orders.serve_http(8080);
    let key = town.coordinator.warren(&["key", "create", "test"]).ok().trim().to_owned();
    town.web.host.run(&["python3", "-c", DRIBBLE, &town.orders.v4()]).ok();
    let moments = eventually("the end is recorded", LIMIT, || {
        windows(&town, &key, 8080).filter(|(_, ended)| *ended).map(|(moments, _)| moments)
    });
    let apart: Vec<u64> = moments.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let longest = apart.iter().max().unwrap();
    println!("{} windows, {apart:?} ms apart", moments.len());
    assert!(moments.len() >= 6, "{moments:?}");
    assert!(*longest <= 1_000 + 250, "a thread may be late, but not by a window: {apart:?}");
}

#[test]
fn what_happens_is_on_the_map_within_two_seconds() {
    let town = Town::new(Underlay::V4);
    let orders = town.orders.v4();
    for port in 9001..=9008 {
        assert_ne!(town.web.curl(&format!("http://{orders}:{port}/")).code(), 0);
        let took = until("the refused try is on the map", Duration::from_secs(2), || {
            let map = town.coordinator.json(&["map", "--within", "1m"]);
            let of_try = |edge: &Value| edge["port"] == port && edge["verdict"] == "deny";
            map["edges"].as_array().unwrap().iter().any(of_try)
        });
        println!("port {port}: on the map after {took:?}");
    }
}
