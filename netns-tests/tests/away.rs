//! The coordinator goes away in the middle of everything, nodes restart meanwhile, and nothing that was agreed is lost.

use warren_netns_tests::street::{Street, Underlay};
use warren_netns_tests::town::{BEFORE, Town};
use warren_netns_tests::wait::{eventually, until};
use warren_netns_tests::warren::{Coordinator, LIMIT, Node};

#[test]
fn a_coordinator_killed_in_the_middle_of_everything_loses_nothing_it_acknowledged() {
    let mut town = Town::new(Underlay::V4);
    let _server = town.orders.serve_http(8080);
    let url = format!("http://{}:8080/", town.orders.v4());
    for round in 0..5 {
        let token =
            town.coordinator.json(&["token", "create", "--tag", "web", "--name", &format!("late-{round}")]);
        assert!(token["token"].is_string());
        town.coordinator.kill_9();
        assert!(town.web.curl(&url).status.success(), "traffic goes on without the coordinator");
        assert_eq!(town.coordinator.warren(&["status"]).code(), 3);
        town.coordinator.serve();
        let tokens = town.coordinator.json(&["token", "list"]).to_string();
        (0..=round).for_each(|r| assert!(tokens.contains(&format!("late-{r}")), "round {round}: {tokens}"));
    }
    town.coordinator.warren(&["audit", "verify"]).ok();
    until("every node is back", LIMIT, || {
        town.coordinator.json(&["status"]).to_string().contains("\"online\":3")
    });
    town.coordinator.apply(BEFORE);
}

#[test]
fn a_node_that_restarts_while_the_coordinator_is_away_keeps_working() {
    let mut town = Town::new(Underlay::V4);
    let _server = town.orders.serve_http(8080);
    let url = format!("http://{}:8080/", town.orders.v4());
    town.web.curl(&url).ok();
    town.coordinator.kill_9();
    town.web.kill_9();
    town.orders.stop();
    assert!(!town.web.curl(&url).status.success(), "without agents nothing goes through");
    town.web.start();
    town.orders.start();
    until("traffic goes through again", LIMIT, || town.web.curl(&url).status.success());
    town.coordinator.serve();
    until("the coordinator sees them", LIMIT, || {
        town.coordinator.json(&["status"]).to_string().contains("\"online\":3")
    });
}

#[test]
fn an_established_connection_survives_a_restart_of_either_agent() {
    let mut town = Town::new(Underlay::V4);
    let _server = town.orders.serve_http(8080);
    let bytes: Vec<u8> = (0..60_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    std::fs::write(town.orders.host.path("www/data.bin"), &bytes).unwrap();
    let got = town.web.host.path("got.bin");
    let url = format!("http://{}:8080/data.bin", town.orders.v4());
    let mut transfer =
        town.web.host.daemon("transfer", &["curl", "-sS", "--limit-rate", "10M", "-o", &got, &url]);
    let size = || std::fs::metadata(&got).map(|m| m.len()).unwrap_or_default();
    until("the transfer runs", LIMIT, || size() > 10_000_000);
    town.web.stop();
    town.web.start();
    let before = size();
    until("it goes on after the receiver's agent restarted", LIMIT, || size() > before + 5_000_000);
    town.orders.stop();
    town.orders.start();
    let status = eventually("the transfer ends", 3 * LIMIT, || transfer.finished());
    assert!(status.success(), "{}", transfer.output());
    assert!(std::fs::read(&got).unwrap() == bytes, "every byte came");
}

#[test]
fn a_hundred_nodes_enrol_at_once_and_one_token_admits_one() {
    let street = Street::new(&["coord", "crowd"], Underlay::V4);
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let crowd = street.host("crowd");
    let token_of = |i: usize| coordinator.token(&["--tag", "web", "--name", &format!("n-{i}")]);
    let tokens: Vec<String> = (0..100).map(token_of).collect();
    let single = coordinator.token(&["--tag", "web", "--name-prefix", "one-"]);
    let enroll = |dir: String, token: &str| {
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(format!("{dir}/token"), token).unwrap();
        let program = warren_netns_tests::warren::binary("warren-node");
        let file = format!("{dir}/token");
        crowd.run(&[
            "env",
            &format!("WARREN_NODE_STATE={dir}/state"),
            &program,
            "enroll",
            "--token-file",
            &file,
        ])
    };
    let (enroll, here) = (&enroll, &crowd);
    let results: Vec<_> = std::thread::scope(|s| {
        let all: Vec<_> = (0..100)
            .map(|i| (i, tokens[i].as_str()))
            .chain((100..120).map(|i| (i, single.as_str())))
            .map(|(i, token)| (i, s.spawn(move || enroll(here.path(&format!("n{i}")), token))))
            .collect();
        all.into_iter().map(|(i, t)| (i, t.join().unwrap())).collect()
    });
    for (i, done) in results.iter().filter(|(i, _)| *i < 100) {
        assert!(done.status.success(), "n-{i}: {}", done.text());
    }
    let admitted = results.iter().filter(|(i, d)| *i >= 100 && d.status.success()).count();
    assert_eq!(admitted, 1, "one token of one use admits one");
    let refused = results.iter().find(|(i, d)| *i >= 100 && !d.status.success()).unwrap();
    assert_eq!(refused.1.code(), 1, "{}", refused.1.text());
    let nodes = coordinator.json(&["node", "list"]);
    let nodes = nodes.as_array().or_else(|| nodes["nodes"].as_array()).unwrap().len();
    assert_eq!(nodes, 101);
}

#[test]
fn the_same_identity_enrols_again_without_spending_anything() {
    let street = Street::new(&["coord", "a"], Underlay::V4);
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let mut node = Node::enrol(&street, &coordinator, "a", &["web"]);
    let id = node.status().unwrap()["node"].clone();
    node.stop();
    // The token is spent, and still lies in the unit file: the stored identity wins.
    node.start();
    node.wait_enrolled();
    assert_eq!(node.status().unwrap()["node"], id);
}
