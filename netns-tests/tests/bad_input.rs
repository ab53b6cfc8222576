//! Bad input, on a real host: an error that says what to do, an exit code a script can read, and a state left as it was.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use warren_netns_tests::process::Finished;
use warren_netns_tests::street::{Host, Street, Underlay};
use warren_netns_tests::town::{BEFORE, Town};
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::{Coordinator, LIMIT, Node, binary};

fn small() -> (Street, Coordinator) {
    let street = Street::new(&["coord", "a", "b"], Underlay::V4);
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    (street, coordinator)
}

/// `warren-node enroll` on a host with this token and extra environment.
fn enroll(host: &Host, token: &str, extra: &[&str]) -> Finished {
    std::fs::write(host.dir.join("token"), token).unwrap();
    let state = format!("WARREN_NODE_STATE={}", host.path("node"));
    let (program, file) = (binary("warren-node"), host.path("token"));
    let command = [state.as_str(), program.as_str(), "enroll", "--token-file", file.as_str()];
    host.run(&[&["env"], &command[..], extra].concat())
}

/// The error has this code, names these things, and is a sentence or two, not a dump.
#[track_caller]
fn says(done: &Finished, code: i32, words: &[&str]) {
    assert_eq!(done.code(), code, "{}", done.text());
    for word in words {
        assert!(done.text().contains(word), "`{word}` is missing in: {}", done.text());
    }
    assert!(done.stderr.lines().count() <= 8 && !done.text().contains("panicked"), "{}", done.text());
}

#[test]
fn a_wrong_token_is_called_that() {
    let (street, _coordinator) = small();
    says(&enroll(&street.host("a"), "hunter2", &[]), 2, &["not an enrolment token", "warren1_"]);
}

#[test]
fn a_token_cut_off_in_a_terminal_is_called_damaged() {
    let (street, coordinator) = small();
    let token = coordinator.token(&["--tag", "web"]);
    says(&enroll(&street.host("a"), &token[..token.len() - 7], &[]), 2, &["damaged or cut off"]);
    assert!(enroll(&street.host("a"), &token, &[]).status.success(), "and the whole one still works");
}

#[test]
fn an_expired_token_is_refused() {
    let (street, coordinator) = small();
    let token = coordinator.token(&["--tag", "web", "--ttl", "1s"]);
    until("the token has ended", Duration::from_secs(5), || {
        coordinator.json(&["token", "list"]).to_string().contains("expired")
    });
    says(&enroll(&street.host("a"), &token, &[]), 1, &["expired", "warren token create"]);
}

#[test]
fn a_second_use_of_a_token_is_refused_and_raises_an_alarm() {
    let (street, coordinator) = small();
    let token = coordinator.token(&["--tag", "web", "--name-prefix", "w-"]);
    assert!(enroll(&street.host("a"), &token, &[]).status.success());
    says(&enroll(&street.host("b"), &token, &[]), 1, &["warren token create"]);
    let status = coordinator.warren(&["status"]).ok();
    assert!(status.contains("ALARM"), "{status}");
    assert!(status.contains("w-"), "the alarm names the first: {status}");
}

#[test]
fn a_revoked_token_is_refused() {
    let (street, coordinator) = small();
    let made = coordinator.json(&["token", "create", "--tag", "web"]);
    let id = made["id"].as_str().or_else(|| made["key"].as_str()).expect("the token's id").to_owned();
    coordinator.warren(&["token", "revoke", &id]).ok();
    says(&enroll(&street.host("a"), made["token"].as_str().unwrap(), &[]), 1, &["revoked"]);
}

#[test]
fn an_unreachable_coordinator_is_named_with_the_addresses_tried() {
    let (street, mut coordinator) = small();
    let token = coordinator.token(&["--tag", "web"]);
    coordinator.kill_9();
    says(&enroll(&street.host("a"), &token, &[]), 3, &[&coordinator.address]);
    coordinator.serve();
    assert!(enroll(&street.host("a"), &token, &[]).status.success());
}

#[test]
fn a_coordinator_with_another_key_is_not_believed() {
    let (mut street, first) = small();
    let token = first.token(&["--tag", "web"]);
    let address = first.address.clone();
    drop(first);
    // Somebody else answers at the same address.
    street.add_host("thief", Underlay::V4);
    let host = street.host("thief");
    let ip = address.split(':').next().unwrap();
    street.unplug("coord");
    host.run(&["ip", "addr", "add", &format!("{ip}/16"), "dev", "up0"]).ok();
    let thief = Coordinator::start_at(&street, "thief", &address);
    let refused = enroll(&street.host("a"), &token, &[]);
    says(&refused, 1, &["key"]);
    drop(thief);
}

#[test]
fn a_host_clock_off_by_a_day_is_reported_and_opens_nothing() {
    let (street, coordinator) = small();
    let token = coordinator.token(&["--tag", "web", "--name", "a"]);
    let node = Node::with_token_and_clock(&street, "a", &token, -86_400);
    until("the node is enrolled all the same", LIMIT, || node.status().is_some_and(|s| !s["v6"].is_null()));
    let noticed = || node.cli(&["status"]).text().contains("clock") || node.log().contains("clock");
    until("the wrong clock is reported", LIMIT, noticed);
}

#[test]
fn a_port_in_use_is_named() {
    let (street, coordinator) = small();
    let host = street.host("a");
    let _holder = host.daemon("holder", &["python3", "-c", "import socket,time;s=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM);s.bind(('::',51820));time.sleep(600)"]);
    until("the port is taken", LIMIT, || host.run(&["ss", "-Hlun"]).stdout.contains(":51820"));
    let token = coordinator.token(&["--tag", "web", "--name", "a"]);
    let mut node = Node::with_token(&street, "a", &token);
    let status = warren_netns_tests::wait::eventually("it stops", LIMIT, || node.finished());
    assert!(!status.success());
    assert!(node.log().contains("51820") && node.log().contains("--port"), "{}", node.log());

    let coord = street.host("coord");
    let second = coord.run(&[
        "env",
        &format!("WARREN_STATE={}", coord.path("other")),
        &format!("WARREN_AUTHORITY={}", coord.path("other.key")),
        &binary("warren"),
        "init",
        "--name",
        "x",
        "--listen",
        &coordinator.address,
        "--advertise",
        &coordinator.address,
    ]);
    second.ok();
    let serve = coord.run(&[
        "env",
        &format!("WARREN_STATE={}", coord.path("other")),
        &format!("WARREN_SOCKET={}", coord.path("other.sock")),
        &binary("warren"),
        "serve",
    ]);
    assert_ne!(serve.code(), 0);
    assert!(serve.text().contains("7946") && serve.text().contains("in use"), "{}", serve.text());
}

#[test]
fn without_root_the_agent_says_what_it_needs() {
    let (street, coordinator) = small();
    let host = street.host("a");
    assert!(enroll(&host, &coordinator.token(&["--tag", "web"]), &[]).status.success());
    host.run(&["chown", "-R", "65534:65534", &host.path("")]).ok();
    host.run(&["chmod", "755", &street.dir().to_string_lossy()]).ok();
    let state = format!("WARREN_NODE_STATE={}", host.path("node"));
    let run = host.run(&[
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all",
        "env",
        &state,
        &format!("WARREN_NODE_SOCKET={}", host.path("node.sock")),
        &format!("WARREN_NODE_RUN={}", host.path("run")),
        &binary("warren-node"),
        "run",
    ]);
    assert_ne!(run.code(), 0, "{}", run.text());
    assert!(run.text().contains("CAP_NET_ADMIN") || run.text().contains("root"), "{}", run.text());
}

#[test]
fn without_a_tun_device_the_agent_says_what_to_do() {
    let (street, coordinator) = small();
    let host = street.host("a");
    assert!(enroll(&host, &coordinator.token(&["--tag", "web"]), &[]).status.success());
    let hidden = format!(
        "mount -t tmpfs none /dev/net && exec env WARREN_NODE_STATE={} WARREN_NODE_SOCKET={} WARREN_NODE_RUN={} {} run",
        host.path("node"),
        host.path("node.sock"),
        host.path("run"),
        binary("warren-node")
    );
    let run = host.run(&["unshare", "--mount", "bash", "-c", &hidden]);
    assert_ne!(run.code(), 0);
    assert!(run.text().contains("/dev/net/tun") && run.text().contains("modprobe tun"), "{}", run.text());
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    let (street, coordinator) = small();
    let host = street.host("a");
    std::fs::write(host.dir.join("node"), "a file, not a directory").unwrap();
    let token = coordinator.token(&["--tag", "web", "--name", "a"]);
    says(&enroll(&host, &token, &[]), 2, &[&host.path("node")]);
    std::fs::remove_file(host.dir.join("node")).unwrap();
    assert!(enroll(&host, &token, &[]).status.success(), "the token was not spent");
}

#[test]
fn two_agents_with_one_state_directory_is_refused() {
    let (street, coordinator) = small();
    let mut node = Node::enrol(&street, &coordinator, "a", &["web"]);
    let second = node.cli(&["run", "--interface", "warren9"]);
    assert_ne!(second.code(), 0);
    assert!(
        second.text().contains("another") && second.text().contains(&node.host.path("node")),
        "{}",
        second.text()
    );
    node.wait_enrolled();
}

#[test]
fn a_state_from_a_newer_version_is_refused() {
    let (street, coordinator) = small();
    let mut node = Node::enrol(&street, &coordinator, "a", &["web"]);
    node.stop();
    let version = node.host.dir.join("node/version");
    let old = std::fs::read_to_string(&version).unwrap();
    std::fs::write(&version, "999\n").unwrap();
    let run = node.cli(&["run"]);
    assert_ne!(run.code(), 0);
    assert!(run.text().contains("999") && run.text().contains("newer"), "{}", run.text());
    std::fs::write(&version, old).unwrap();
    node.start();
    node.wait_enrolled();
}

#[test]
fn a_full_disk_refuses_the_policy_and_keeps_the_last_good_one() {
    let mut town = Town::new(Underlay::V4);
    let _server = town.orders.serve_http(8080);
    let url = format!("http://{}:8080/", town.orders.v4());
    town.coordinator.kill_9();
    town.coordinator.fill_state_disk();
    town.coordinator.serve();
    let file = town.coordinator.host.path("other.toml");
    let padding: String = (0..60_000).map(|i| format!("# padding {i}\n")).collect();
    std::fs::write(&file, format!("{}\n{padding}", BEFORE.replace("5432", "5433"))).unwrap();
    let refused = town.coordinator.warren(&["policy", "apply", &file]);
    assert_ne!(refused.code(), 0, "{}", refused.text());
    assert!(refused.text().contains("full") || refused.text().contains("space"), "{}", refused.text());
    assert!(town.web.curl(&url).status.success());
    let history = town.coordinator.json(&["policy", "history"]).to_string();
    assert!(!history.contains("\"generation\":2"), "{history}");
    town.coordinator.free_state_disk();
    town.coordinator.warren(&["policy", "apply", &file, "--wait", "enforced"]).ok();
}
