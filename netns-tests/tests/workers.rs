//! Several packet workers: all of them carry data, and their number may change with a restart.

use std::collections::BTreeMap;

use warren_netns_tests::capture::Capture;
use warren_netns_tests::pair::Pair;
use warren_netns_tests::process::run;
use warren_netns_tests::street::Underlay;
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::{COORDINATOR_PORT, LIMIT, Node, WIREGUARD_PORT};

const MARKER: &str = "MARKER-77aa01-never-in-clear";

/// Nanoseconds that each thread of an agent has run, by its name.
fn run_times(node: &Node) -> BTreeMap<String, u64> {
    let script =
        format!("cd /proc/{}/task; for t in *; do echo $(cat $t/comm $t/schedstat); done", node.pid());
    let text = run(None, &["bash", "-c", &script], &[]).ok();
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.filter(|w| w.len() > 1).map(|w| (w[0].to_owned(), w[1].parse().unwrap_or(0))).collect()
}

fn multi_queue(node: &Node) -> bool {
    node.host.run(&["ip", "-d", "link", "show", "warren0"]).ok().contains("multi_queue")
}

fn set_workers(pair: &mut Pair, workers: &str) {
    for node in [&mut pair.a, &mut pair.b] {
        node.set_flags(&["--workers", workers]);
        node.restart();
        node.wait_enrolled();
    }
}

/// Lanes between the two nodes, as `node` sees them; 0 while it has no peer.
fn lanes(node: &Node) -> u64 {
    let peers = node.cli(&["--json", "peers"]).json();
    peers[0]["lanes"].as_u64().or_else(|| peers["peers"][0]["lanes"].as_u64()).unwrap_or(0)
}

/// Between two nodes all datagrams have the same addresses and ports: without steering one socket would get them all. The
/// nodes enrolled with as many keys as the host's default has workers; with more workers they make more.
#[test]
fn both_of_two_workers_carry_data_both_ways_whatever_the_nodes_enrolled_with() {
    let mut pair = Pair::on(Underlay::V4);
    set_workers(&mut pair, "2");
    until("each worker has two lanes", LIMIT, || lanes(&pair.a) >= 4 && lanes(&pair.b) >= 4);
    pair.assert_bulk_completes("two workers");
    let before = [run_times(&pair.a), run_times(&pair.b)];
    let url = format!("http://{}:8080/bulk", pair.b.v4());
    let file = pair.a.host.path("www/bulk");
    let script = format!(
        "for i in $(seq 12); do curl -sS --max-time 50 {url} | cmp - {file} & p+=\" $!\"; done; \
         for i in $p; do wait $i || exit 1; done"
    );
    pair.a.host.run(&["bash", "-c", &script]).ok();
    for (node, before) in [&pair.a, &pair.b].into_iter().zip(before) {
        let after = run_times(node);
        let ran = |thread: &str| after[thread] - before[thread];
        let data = ran("warren-in0.0") + ran("warren-in1.0");
        for worker in 0..2 {
            let one = ran(&format!("warren-in{worker}.0"));
            assert!(one > data / 50, "worker {worker} of {} got nothing: {one} of {data} ns", node.host.name);
        }
        assert!(ran("warren-control") < data / 10, "data met the worker for handshakes");
    }
    assert_eq!(["wg-not-authentic", "wg-duplicate"].map(|name| pair.count(name)), [0; 2]);
}

#[test]
fn the_number_of_workers_changes_with_a_restart_and_the_guards_stay_meanwhile() {
    let mut pair = Pair::on(Underlay::V4);
    let to = pair.b.v4();
    assert!(pair.a.curl(&format!("http://{to}:8080/")).status.success());
    let capture = Capture::start(&pair.street, "workers");
    let say = format!("while :; do printf {MARKER} >/dev/udp/{to}/8081; sleep 0.005; done");
    let talker = pair.a.host.daemon("talker", &["bash", "-c", &say]);
    for (workers, want) in [("2", true), ("1", false), ("3", true), ("2", true)] {
        set_workers(&mut pair, workers);
        assert_eq!((multi_queue(&pair.a), multi_queue(&pair.b)), (want, want), "{workers} workers");
        let url = format!("http://{to}:8080/");
        until("traffic goes through", LIMIT, || pair.a.curl(&url).status.success());
        pair.assert_bulk_completes(&format!("{workers} workers"));
    }
    drop(talker);
    let seen = capture.finish();
    assert_eq!(seen.strange_but_refusals(&[WIREGUARD_PORT, COORDINATOR_PORT]), vec![]);
    assert_eq!(seen.containing(MARKER.as_bytes()), 0);
}
