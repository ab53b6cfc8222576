//! What is withdrawn is cut: measured from the moment the command says "accepted" to the last packet that came, for
//! every kind of flow and every way of withdrawing, over many nodes.
//!
//! `WARREN_REVOCATION_NODES` (6) and `WARREN_REVOCATION_ROUNDS` (2) make it long: 19 nodes are 20 namespaces.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use warren_netns_tests::flows::{Ended, Flows, monotonic, serve};
use warren_netns_tests::measure::{number, percentile};
use warren_netns_tests::process::Daemon;
use warren_netns_tests::street::{Street, Underlay};
use warren_netns_tests::wait::{eventually, until};
use warren_netns_tests::warren::{Coordinator, LIMIT, Node};

const GRANT: &str =
    "\n[[grant]]\nid = \"web-uses-orders\"\nfrom = [\"tag:web\"]\nto = [\"service:orders\"]\n";

/// Everybody may ping an operator's node, so that the nodes stay peers of somebody; `grants` is what is tried.
fn policy(grants: &str) -> String {
    format!(
        r#"
version = 1
[group.platform]
members = ["alice@example.com"]
[tag.web]
owners = ["group:platform"]
[tag.orders]
owners = ["group:platform"]
[service.orders]
on = ["tag:orders"]
listen = ["tcp/8080", "udp/8081", "tcp/8082", "tcp/8083", "udp/8084", "icmp/echo"]
[service.other]
on = ["tag:orders"]
listen = ["tcp/9000"]
[[grant]]
id = "something-else"
from = ["tag:web"]
to = ["service:other"]
{grants}
"#
    )
}

struct District {
    coordinator: Coordinator,
    webs: Vec<Node>,
    orders: Vec<Node>,
    _servers: Vec<[Daemon; 2]>,
    _street: Street,
}

impl District {
    fn new(nodes: usize) -> District {
        let names: Vec<String> =
            (0..nodes / 2).flat_map(|i| [format!("web-{i}"), format!("orders-{i}")]).collect();
        let hosts: Vec<&str> = std::iter::once("coord").chain(names.iter().map(String::as_str)).collect();
        let street = Street::new(&hosts, Underlay::V4);
        let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
        let begin = |name: &String| {
            let tag = name.split('-').next().unwrap_or_default();
            Node::begin(&street, &coordinator, name, &[tag])
        };
        let (mut webs, mut orders) = (Vec::new(), Vec::new());
        for pair in names.chunks(2) {
            webs.push(begin(&pair[0]));
            orders.push(begin(&pair[1]));
        }
        webs.iter_mut().chain(&mut orders).for_each(Node::wait_enrolled);
        let _servers = orders.iter().map(|node| serve(&node.host)).collect();
        District { coordinator, webs, orders, _servers, _street: street }
    }

    /// Opens every kind of flow from each web to its orders, withdraws, and says how long after `withdraw` was accepted
    /// (a moment for each web) it was still alive: seconds, never below 0.
    fn measure(
        &mut self,
        round: usize,
        withdraw: impl FnOnce(&mut District) -> Vec<f64>,
    ) -> Vec<(String, f64)> {
        let pairs = self.webs.iter().zip(&self.orders);
        let flows: Vec<Flows> =
            pairs.map(|(web, to)| Flows::open(&web.host, &to.host, &to.v4(), round)).collect();
        flows.iter().for_each(Flows::wait_alive);
        let accepted = withdraw(self);
        let each = flows.into_iter().zip(accepted);
        each.flat_map(|(flows, at)| flows.wait_ended().into_iter().flat_map(move |ended| lags(&ended, at)))
            .collect()
    }

    /// Runs a command about each web, and says when each was accepted.
    fn each_web(&self, command: impl Fn(&str) -> Vec<String>) -> Vec<f64> {
        let accept = |web: &Node| {
            let words = command(&web.host.name);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            self.coordinator.warren(&words).ok();
            monotonic()
        };
        self.webs.iter().map(accept).collect()
    }

    /// The tag goes while no agent is there to hear of it; then each comes again with its identity and no token.
    fn come_again_without_tag(&mut self) -> Vec<f64> {
        self.webs.iter_mut().for_each(Node::stop);
        self.each_web(|web| words(&format!("node tag {web} --remove web")));
        for web in &mut self.webs {
            std::fs::remove_file(web.host.dir.join("token")).ok();
            web.start();
        }
        let again = |web: &Node| {
            let up = || web.status().filter(|s| s["coordinator"] == "connected").map(|_| monotonic());
            eventually("the agent has come again", LIMIT, up)
        };
        self.webs.iter().map(again).collect()
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(String::from).collect()
}

/// The last packet, and the word to the application, each after `accepted`.
fn lags(ended: &Ended, accepted: f64) -> Vec<(String, f64)> {
    let heard = ended.told.is_some() || ended.kind == "icmp";
    assert!(heard, "nobody told the application: {ended:?}");
    let how = match ended.kind.as_str() {
        "tcp-bulk" | "tcp-idle" => ended.how == "ECONNRESET",
        "http2" => ["ECONNRESET", "EPIPE"].contains(&ended.how.as_str()),
        "tcp-half-open" => ended.how == "ECONNREFUSED",
        "udp" | "quic" => ["EACCES", "EPERM", "EHOSTUNREACH", "ECONNREFUSED"].contains(&ended.how.as_str()),
        _ => true,
    };
    assert!(how, "told in a strange way: {ended:?}");
    let lag = |what: &str, at: f64| (format!("{} {what}", ended.kind), (at - accepted).max(0.0));
    let last = ended.last.map(|at| lag("last packet", at));
    last.into_iter().chain(ended.told.map(|at| lag("told", at))).collect()
}

#[test]
fn every_kind_of_flow_is_cut_within_a_second_of_accepted_whatever_withdraws_it() {
    let mut district = District::new(number("WARREN_REVOCATION_NODES", 6));
    let rounds = number("WARREN_REVOCATION_ROUNDS", 2);
    let mut lags: Vec<(String, f64)> = Vec::new();
    let mut keep = |way: &str, measured: Vec<(String, f64)>| {
        lags.extend(measured.into_iter().map(|(kind, lag)| (format!("{way}: {kind}"), lag)));
    };
    for round in 0..rounds {
        district.coordinator.apply(&policy(GRANT));
        let cut = district.measure(5 * round, |d| {
            d.accept(&policy(""));
            vec![monotonic(); d.webs.len()]
        });
        keep("policy apply", cut);

        district.coordinator.apply(&policy(GRANT));
        let cut = district
            .measure(5 * round + 1, |d| d.each_web(|web| words(&format!("node tag {web} --remove web"))));
        keep("node tag --remove", cut);
        district.each_web(|web| words(&format!("node tag {web} --add web")));

        district.coordinator.apply(&policy(GRANT));
        let cut = district.measure(5 * round + 3, District::come_again_without_tag);
        keep("re-enrolment without a token", cut);
        district.each_web(|web| words(&format!("node tag {web} --add web")));

        // Room for all kinds of flows to be opened before it.
        let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 20;
        let date = warren_netns_tests::process::run(
            None,
            &["date", "-u", "-d", &format!("@{end}"), "+%Y-%m-%dT%H:%M:%SZ"],
            &[],
        );
        let until = format!("{GRANT}until = {}\n", date.ok().trim());
        district.coordinator.apply(&policy(&until));
        let cut = district.measure(5 * round + 2, |d| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
            assert!(now < end as f64, "the flows took too long to open");
            vec![monotonic() + end as f64 - now; d.webs.len()]
        });
        keep("until", cut);
    }
    district.coordinator.apply(&policy(GRANT));
    let cut =
        district.measure(5 * rounds, |d| d.each_web(|web| words(&format!("node revoke {web} --why test"))));
    keep("node revoke", cut);
    report(&lags);
}

/// Prints a table, and holds the promise: p99 at most one second, the worst at most two.
fn report(lags: &[(String, f64)]) {
    let mut kinds: Vec<&String> = lags.iter().map(|(kind, _)| kind).collect();
    kinds.sort();
    kinds.dedup();
    for kind in kinds {
        let of: Vec<f64> = lags.iter().filter(|(k, _)| k == kind).map(|(_, lag)| *lag).collect();
        println!(
            "{kind}: n {} p50 {:.3} worst {:.3}",
            of.len(),
            percentile(&of, 50.0),
            percentile(&of, 100.0)
        );
    }
    let all: Vec<f64> = lags.iter().map(|(_, lag)| *lag).collect();
    let (p99, worst) = (percentile(&all, 99.0), percentile(&all, 100.0));
    println!("all: n {} p50 {:.3} p99 {p99:.3} worst {worst:.3} seconds", all.len(), percentile(&all, 50.0));
    assert!(p99 <= 1.0 && worst <= 2.0, "p99 {p99:.3} s, worst {worst:.3} s");
}

impl District {
    /// Applies and returns as soon as the coordinator has accepted.
    fn accept(&self, text: &str) {
        let file = self.coordinator.host.path("next.toml");
        std::fs::write(&file, text).unwrap();
        self.coordinator.warren(&["policy", "apply", &file]).ok();
    }
}

/// `WARREN_APPLIES` (15) changes while a friend downloads and pings: nothing of what stays allowed is lost.
#[test]
fn flows_that_stay_allowed_lose_nothing_through_many_applies_under_load() {
    use warren_netns_tests::measure::{Pings, echo_service};
    use warren_netns_tests::town::{BEFORE, Town};
    let town = Town::new(Underlay::V4);
    let _echo = echo_service(&town.orders.host, 8081);
    let _http = town.orders.serve_http(8080);
    let bytes: Vec<u8> = (0..30_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 9) as u8).collect();
    std::fs::create_dir_all(town.orders.host.path("www")).unwrap();
    std::fs::write(town.orders.host.path("www/data.bin"), &bytes).unwrap();
    let (got, url) = (town.web.host.path("got.bin"), format!("http://{}:8080/data.bin", town.orders.v4()));
    town.web.curl(&format!("http://{}:8080/", town.orders.v4())).ok();
    let pings = Pings::start(&town.web.host, &town.orders.v4(), 8081, 100);
    let (mut done, mut rounds) = (0, 0);
    let applies = number("WARREN_APPLIES", 15);
    let mut transfer: Option<Daemon> = None;
    while done < applies || transfer.is_some() {
        match &mut transfer {
            None => {
                let log = format!("transfer-{rounds}");
                transfer = Some(
                    town.web.host.daemon(&log, &["curl", "-sS", "--limit-rate", "6M", "-o", &got, &url]),
                );
                rounds += 1;
            }
            Some(running) => {
                if let Some(status) = running.finished() {
                    assert!(status.success(), "{}", running.output());
                    assert!(std::fs::read(&got).unwrap() == bytes, "every byte came");
                    transfer = None;
                }
            }
        }
        if done < applies {
            town.coordinator.apply(&BEFORE.replace("tcp/5432", &format!("tcp/{}", 5432 + done % 7)));
            done += 1;
        } else if let Some(running) = &mut transfer {
            eventually("the last transfer ends", 3 * LIMIT, || running.finished());
        }
    }
    let pings = pings.stop();
    println!("{applies} applies, {rounds} whole downloads, {pings:?}");
    assert_eq!(pings.back, pings.sent, "{pings:?}");
}

/// A node that nobody can tell is shown.
#[test]
fn a_partitioned_node_is_shown_as_not_enforcing() {
    use warren_netns_tests::town::{Town, after};
    let town = Town::new(Underlay::V4);
    town.street.unplug("web-1");
    let file = town.coordinator.host.path("after.toml");
    std::fs::write(&file, after()).unwrap();
    town.coordinator.warren(&["policy", "apply", &file]).ok();
    until(
        "the status names the node that does not enforce it, and since when",
        Duration::from_secs(20),
        || {
            let status = town.coordinator.warren(&["status"]).text();
            status.contains("not enforcing generation 2 since") && status.contains("web-1")
        },
    );
    town.street.plug("web-1");
    until("it enforces again", LIMIT, || {
        !town.coordinator.warren(&["status"]).text().contains("not enforcing")
    });
}

/// The shortest life there is: one minute.
#[test]
fn a_partitioned_node_warns_from_half_of_its_freshness_and_cuts_itself_at_its_end() {
    use warren_netns_tests::town::{BEFORE, Town};
    let town = Town::with(Underlay::V4, &["--freshness", "1m"]);
    town.coordinator.apply(BEFORE);
    let server = serve(&town.orders.host);
    let url = format!("http://{}:8080/", town.orders.v4());
    // Both ends are cut off from the coordinator, and still reach one another.
    let (coordinator, unplugged) = (&town.coordinator.host, std::time::Instant::now());
    coordinator.run(&["ip", "link", "set", "up0", "down"]).ok();
    let idle =
        format!("exec 3<>/dev/tcp/{}/8080; echo idle >&3; echo open; cat <&3; echo cut", town.orders.v4());
    let flow = town.web.host.daemon("idle", &["bash", "-c", &idle]);
    until("a flow is open", LIMIT, || flow.output().contains("open"));
    let status = || town.web.cli(&["status"]).text();
    let warned = until("a warning from half of the life", Duration::from_secs(50), || {
        town.web.log().contains("has not confirmed this node's view since")
    });
    assert!(!flow.output().contains("cut"), "a warning is not yet the end: {}", flow.output());
    println!("warned {:?} after the partition: {}", unplugged.elapsed(), status());
    until("the flow is cut, and its application told", Duration::from_secs(62), || {
        flow.output().contains("cut")
    });
    let cut = unplugged.elapsed();
    println!("cut {cut:?} after the partition: {}", status());
    assert!(
        cut <= Duration::from_secs(64) && cut > warned + Duration::from_secs(10),
        "warned {warned:?}, cut {cut:?}"
    );
    assert!(flow.output().contains("reset by peer"), "{}", flow.output());
    assert_eq!(town.web.curl(&url).code(), 7, "refused at once");
    assert!(town.web.cli(&["peers"]).text().lines().count() <= 1, "nobody is its peer any more");
    coordinator.run(&["ip", "link", "set", "up0", "up"]).ok();
    until("it is fresh again", LIMIT, || {
        town.web.host.run(&["ping", "-c", "1", "-W", "1", &town.orders.v4()]).status.success()
    });
    drop(server);
}
