//! What is judged is recorded or declared lost, counted against the load generator and the kernel's own counters; and each end
//! of a flow names who it was.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warren_netns_tests::street::Underlay;
use warren_netns_tests::town::Town;
use warren_netns_tests::wait::{eventually, until};
use warren_netns_tests::warren::{LIMIT, Node};
use warren_node_core::flows::Legacy;

/// Packets the kernel gave to the agent and took from it.
fn tun(node: &Node) -> u64 {
    let shown = node.host.run(&["ip", "-j", "-s", "link", "show", "dev", "warren0"]).json();
    let count = |way: &str| shown[0]["stats64"][way]["packets"].as_u64().unwrap();
    count("tx") + count("rx")
}

/// Sums of an account: judged, and what became of it.
fn balance(town: &Town, name: &str) -> (u64, u64, Value) {
    let all = town.coordinator.json(&["flow", "accounts"]);
    let rows = all["nodes"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == name).cloned().unwrap_or_default();
    let packets = |what: &str| row["balance"][what]["packets"].as_u64().unwrap_or(0);
    let taken = ["recorded", "lost", "rejected", "skipped", "lost_at_end"].map(packets).iter().sum();
    assert_eq!(packets("excess"), 0, "{row}");
    (packets("offered"), taken, row)
}

/// Waits until everything that was judged is accounted for: nothing of it waits at the node, and the coordinator's account
/// balances. At least so many packets, and how many.
fn settled(town: &Town, node: &Node, least: u64) -> u64 {
    eventually("the account balances", LIMIT, || {
        let status = node.status()?;
        let packets = |what: &str| status["account"][what]["packets"].as_u64();
        let waits = packets("offered")?.checked_sub(packets("stored")? + packets("lost")?)?;
        let (offered, taken, row) = balance(town, &node.host.name);
        let whole = waits == 0 && offered == taken && row["balance"]["underway"]["packets"] == 0;
        (whole && offered >= least).then_some(offered)
    })
}

/// Until the kernel has carried so many packets more.
fn carried(node: &Node, more: u64) {
    let before = tun(node);
    until("traffic goes on", LIMIT, || tun(node) >= before + more);
}

/// So many pings, all answered.
fn ping(from: &Node, to: &str, count: u32) {
    let done = from.host.run(&["ping", "-q", "-c", &count.to_string(), "-i", "0.004", "-W", "5", to]);
    assert!(done.stdout.contains(&format!("{count} received")), "{}", done.text());
}

#[test]
fn recorded_and_declared_lost_are_what_was_offered_through_kills_of_both_ends() {
    let mut town = Town::new(Underlay::V4);
    let orders = town.orders.v4();
    ping(&town.web, &orders, 5);
    let (before, kernel) = (settled(&town, &town.web, 10), tun(&town.web));
    ping(&town.web, &orders, 500);
    // Each ping and each answer, and nothing else that the kernel did not carry.
    let (after, kernel_after) = (settled(&town, &town.web, before + 1_000), tun(&town.web));
    assert!(after - before <= kernel_after - kernel, "{before} {after} {kernel} {kernel_after}");
    assert!(kernel_after - kernel - (after - before) <= 20, "only neighbour noise is judged nowhere");

    // The agent is killed under load, in the middle of a window.
    let flood = town.web.host.daemon("flood", &["ping", "-q", "-i", "0.002", &orders]);
    for _ in 0..3 {
        carried(&town.web, 300);
        town.web.kill_9();
        town.web.start();
        town.web.wait_enrolled();
    }
    carried(&town.web, 300);
    town.coordinator.kill_9();
    carried(&town.web, 500);
    town.coordinator.serve();
    town.web.wait_enrolled();
    drop(flood);
    let total = settled(&town, &town.web, after);
    let (_, _, row) = balance(&town, "web-1");
    let lost = row["balance"]["lost_at_end"]["packets"].as_u64().unwrap();
    assert!(lost > 0 && lost < total - after, "three agents died in the middle of a window: {row}");
    assert_eq!(row["balance"]["untold_ends"], 0, "{row}");
    settled(&town, &town.orders, 1_000);
    assert!(total <= tun(&town.web), "no more than the kernel carried");
}

/// What an agent that stopped in order left on the disk, and how many packets it had judged.
fn left(node: &Node) -> (Legacy, u64) {
    let legacy = Legacy::read(&std::fs::read(node.host.dir.join("node/legacy")).unwrap()).unwrap();
    let judged = legacy.ended.last().unwrap().packets;
    (legacy, judged)
}

/// Nothing was lost by anybody since the network began.
fn nothing_is_lost(town: &Town, name: &str) {
    let (_, _, row) = balance(town, name);
    let balance = &row["balance"];
    assert_eq!(
        (&balance["lost_at_end"]["packets"], &balance["lost"]["packets"]),
        (&json!(0), &json!(0)),
        "{row}"
    );
    assert_eq!(balance["untold_ends"], 0, "{row}");
}

#[test]
fn an_agent_that_stops_in_order_delivers_its_last_window_or_keeps_it() {
    let mut town = Town::new(Underlay::V4);
    let orders = town.orders.v4();
    ping(&town.web, &orders, 5);
    let recorded = |town: &Town| balance(town, "web-1").2["balance"]["recorded"]["packets"].as_u64().unwrap();
    let _flood = town.web.host.daemon("flood", &["ping", "-q", "-i", "0.002", &orders]);

    // By a signal and by a command, in the middle of a window: everything is there when the agent has ended.
    let mut before = 0;
    for round in 0..4 {
        carried(&town.web, 300);
        let begun = Instant::now();
        if round % 2 == 0 {
            town.web.stop()
        } else {
            town.web.down()
        }
        let (legacy, judged) = left(&town.web);
        assert_eq!(legacy.reports, [], "delivered, not kept (after {:?})", begun.elapsed());
        assert_eq!(recorded(&town), before + judged, "to the packet");
        before += judged;
        town.web.start();
        town.web.wait_enrolled();
    }
    settled(&town, &town.web, before);
    nothing_is_lost(&town, "web-1");

    // Nobody acknowledges: the agent does not wait long, and the next one reports what is kept.
    carried(&town.web, 300);
    let coordinator = town.coordinator.pid().to_string();
    town.coordinator.host.run(&["kill", "-STOP", &coordinator]).ok();
    carried(&town.web, 300);
    let begun = Instant::now();
    town.web.stop();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert!(left(&town.web).0.records() > 0);
    town.coordinator.host.run(&["kill", "-CONT", &coordinator]).ok();
    town.web.start();
    town.web.wait_enrolled();
    settled(&town, &town.web, before + 600);
    nothing_is_lost(&town, "web-1");
    until("what is told is forgotten", LIMIT, || !town.web.host.dir.join("node/legacy").exists());

    // The coordinator is gone, one agent stops after the other, and the host is restarted: /run is empty.
    town.coordinator.kill_9();
    for _ in 0..3 {
        carried(&town.web, 200);
        town.web.stop();
        let _ = std::fs::remove_dir_all(town.web.host.dir.join("run"));
        town.web.start();
    }
    town.coordinator.serve();
    town.web.wait_enrolled();
    settled(&town, &town.web, before + 1_200);
    nothing_is_lost(&town, "web-1");
}

/// The newest flow from web-1 to a port, as one of its ends reported it.
fn flow(town: &Town, port: u16, outbound: bool) -> Option<Value> {
    let rows = town.coordinator.json(&["flow", "list", "--from", "web-1", "--limit", "500"]);
    let wanted = |row: &&Value| row["to"]["port"] == port && row["outbound"] == outbound;
    rows.as_array()?.iter().find(wanted).cloned()
}

#[test]
fn both_ends_of_a_flow_name_who_it_was() {
    let town = Town::new(Underlay::V4);
    let _server = town.orders.serve_http(8080);
    std::fs::write(town.orders.host.path("www/large"), vec![7; 20_000_000]).unwrap();
    let url = format!("http://{}:8080/large", town.orders.v4());
    // Slow enough to be looked at, quick enough to end.
    let slow = ["curl", "-sS", "-o", "/dev/null", "--limit-rate", "4M", "--max-time", "20", url.as_str()];
    town.web.host.run(&slow).ok();
    let named = |outbound: bool, process: &str| {
        eventually("the flow is named", LIMIT, || {
            let row = flow(&town, 8080, outbound)?;
            (row["workload"]["process"] == process).then_some(row)
        })
    };
    let row = named(true, "curl");
    assert!(row["workload"]["executable"].as_str().unwrap().ends_with("/curl"), "{row}");
    assert_eq!(row["workload"]["user"], "root", "{row}");
    assert!(row["rtt_us"].as_u64().is_some_and(|rtt| rtt > 0 && rtt < 5_000_000), "{row}");
    assert!(row["retransmissions"].is_u64(), "{row}");
    assert_eq!(row["path"], "direct", "{row}");
    let server = named(false, "python3");
    assert_eq!(server["workload"]["user"], "root", "{server}");
    let other = eventually("both ends are matched", LIMIT, || {
        let row = flow(&town, 8080, true)?;
        (row["other"]["workload"]["process"] == "python3").then_some(row)
    });
    assert_eq!(other["other"]["reporter"], server["reporter"]);
    assert_eq!(other["mismatch"], Value::Null, "{other}");
    let text = town.coordinator.warren(&["flow", "list", "--from", "web-1"]).ok();
    assert!(text.contains("curl (root)") && text.contains("python3 (root)"), "{text}");
}

/// Every 40th datagram of the underlay is lost: TCP inside sends again, at the end that sends.
const LOSSY: &str = "table inet lossy { chain in { type filter hook input priority 0; udp dport 51820 numgen random mod 40 0 drop; }; }";

#[test]
fn how_a_connection_fares_is_on_its_edge_what_it_is_in_its_records() {
    let town = Town::new(Underlay::V4);
    let _server = town.orders.serve_http(8080);
    std::fs::write(town.orders.host.path("www/large"), vec![7; 12_000_000]).unwrap();
    town.web.host.run(&["nft", LOSSY]).ok();
    let url = format!("http://{}:8080/large", town.orders.v4());
    let slow = ["curl", "-sS", "-o", "/dev/null", "--limit-rate", "4M", "--max-time", "60", url.as_str()];
    let mut downloads = 0;
    // As soon as the helpers of both hosts answer.
    eventually("both ends tell how it fares", LIMIT, || {
        town.web.host.run(&slow).ok();
        downloads += 1;
        let knows = |outbound| Some(flow(&town, 8080, outbound)?["retransmissions"].is_u64());
        (knows(true)? && knows(false)?).then_some(())
    });
    let list = || town.coordinator.json(&["flow", "list", "--from", "web-1", "--service", "orders"]);
    let rows = eventually("both ends have told the end of each", LIMIT, || {
        let rows = list().as_array()?.clone();
        (rows.len() == 2 * downloads && rows.iter().all(|row| row["end"] == "closed")).then_some(rows)
    });
    let told: Vec<u64> = rows.iter().filter_map(|row| row["retransmissions"].as_u64()).collect();
    let again: u64 = told.iter().sum();
    assert!(again > 0, "{rows:?}");
    let edge = eventually("the edge has all of it", LIMIT, || {
        let map = town.coordinator.json(&["map", "--within", "10m"]);
        let edge = map["edges"].as_array()?.iter().find(|edge| edge["service"] == "orders").cloned()?;
        (edge["retransmissions"] == again).then_some(edge)
    });
    let rtt = edge["rtt_us"].as_u64().unwrap();
    assert!(rtt > 0 && rtt < 5_000_000, "{edge}");
    let key = town.coordinator.warren(&["key", "create", "test"]).ok().trim().to_owned();
    let bearer = format!("authorization: Bearer {key}");
    let url = "http://127.0.0.1:7947/v1/edges?service=orders&resolution=1";
    let series = town.coordinator.host.run(&["curl", "-sS", "-H", &bearer, url]).json();
    let steps = series["rows"].as_array().unwrap().iter();
    let by_second: u64 = steps.filter_map(|row| row["edge"]["retransmissions"].as_u64()).sum();
    assert_eq!(by_second, again, "{series}");
    let list = town.coordinator.warren(&["flow", "list", "--from", "web-1", "--service", "orders"]).ok();
    let table = town.coordinator.warren(&["map", "--within", "10m", "--table"]).ok();
    let tree = town.coordinator.warren(&["map", "--within", "10m"]).ok();
    println!("{list}\n{table}\n{tree}");
    assert!(table.contains("RTT") && table.contains(&format!("  {again}  ")), "{table}");
    assert!(tree.contains(&format!("{again} sent again")) && list.contains("direct"), "{tree} {list}");
}

/// Asks again and again what is denied, from one socket.
const STUBBORN: &str = "
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    try: s.sendto(b'please', (sys.argv[1], 9999))
    except OSError: pass
    time.sleep(0.2)
";

#[test]
fn a_refused_try_names_the_process_that_made_it_where_it_is_still_there_to_be_seen() {
    let town = Town::new(Underlay::V4);
    let orders = town.orders.v4();
    let stubborn = town.web.host.daemon("stubborn", &["python3", "-c", STUBBORN, &orders]);
    let row = eventually("the refused try is named", LIMIT, || {
        let row = flow(&town, 9999, true)?;
        (row["workload"]["process"] == "python3").then_some(row)
    });
    assert_eq!((&row["verdict"], &row["end"]), (&json!("deny"), &json!("refused")), "{row}");
    assert_eq!(row["workload"]["user"], "root", "{row}");
    assert!(row["workload"]["executable"].as_str().unwrap().contains("python3"), "{row}");
    drop(stubborn);
    // One that is gone with its answer is named rightly or not at all.
    assert_ne!(town.web.curl(&format!("http://{orders}:7777/")).code(), 0);
    let row = eventually("the refused connection is recorded", LIMIT, || flow(&town, 7777, true));
    eprintln!("a connection that was refused at once: {}", row["workload"]);
    let process = &row["workload"]["process"];
    assert!(["curl", ""].contains(&process.as_str().unwrap_or("")), "{row}");
    // At the other end nothing was tried.
    assert!(flow(&town, 7777, false).is_none());
}

/// The process that answers questions about workloads, grandchild of the agent.
fn helper(node: &Node) -> Option<u32> {
    let child = |of: u32| {
        let text = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).ok()?;
        text.split_whitespace().find_map(|pid| pid.parse::<u32>().ok())
    };
    let words = |pid: u32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let helper = child(child(node.pid())?)?;
    words(helper).windows(15).any(|w| w == b"workload-helper").then_some(helper)
}

fn rights(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

/// CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE.
const LOOKING: u64 = 1 << 2 | 1 << 19;

#[test]
fn a_helper_that_is_killed_costs_names_and_nothing_else_and_comes_back() {
    let town = Town::new(Underlay::V4);
    let _server = town.orders.serve_http(8080);
    let first = eventually("the helper runs", LIMIT, || helper(&town.web));
    assert_eq!(rights(first), LOOKING, "the helper holds these and no other");
    assert_eq!(rights(town.web.pid()) & LOOKING, 0, "and the agent does not");
    let url = format!("http://{}:8080/", town.orders.v4());
    town.web.host.run(&["kill", "-STOP", &first.to_string()]).ok();
    // Somebody who does not answer is not waited for.
    assert_eq!(town.web.curl(&url).code(), 0);
    let row = eventually("the record is there", LIMIT, || flow(&town, 8080, true));
    assert_eq!(row["workload"], Value::Null, "not known: {row}");
    town.web.host.run(&["kill", "-KILL", &first.to_string()]).ok();
    assert_eq!(town.web.curl(&url).code(), 0);
    until("another one runs", LIMIT, || helper(&town.web).is_some_and(|pid| pid != first));
    std::fs::write(town.orders.host.path("www/large"), vec![7; 8_000_000]).unwrap();
    let large = format!("{url}large");
    eventually("names come back", LIMIT, || {
        let slow =
            ["curl", "-sS", "-o", "/dev/null", "--limit-rate", "4M", "--max-time", "9", large.as_str()];
        town.web.host.run(&slow).ok();
        let row = flow(&town, 8080, true)?;
        (row["workload"]["process"] == "curl").then_some(())
    });
}
