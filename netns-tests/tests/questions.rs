//! The name server under fire from programs of its own host: floods and rubbish, while others want names.
//! `WARREN_ATTACK_SECONDS` (4) makes it long.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use warren_netns_tests::capture::Capture;
use warren_netns_tests::measure::{memory_kib, number};
use warren_netns_tests::nameserver::{self, ADDRESS, NAME, NameServer};
use warren_netns_tests::street::{Street, Underlay};
use warren_netns_tests::wait::eventually;
use warren_netns_tests::warren::{Coordinator, Node, binary};

const POLICY: &str = "version = 1\n[group.ops]\nmembers = [\"a@example.com\"]\n[tag.web]\nowners = [\"group:ops\"]\n\
    [dns]\nzone = \"test.internal\"\n";
/// What 20,000 kept answers (16 MiB), 1,024 waiting questions and 4,096 failures may take, roughly.
const MEMORY_KIB: i64 = 64 * 1024;
const RATE: u64 = 50_000;
/// Of which one must be quick: flood, name server and who asks beside share two processors.
const TRIES: usize = 3;

struct Besieged {
    street: Street,
    web: Node,
    _coordinator: Coordinator,
    _dns: NameServer,
}

impl Besieged {
    fn new() -> Besieged {
        let street = Street::new(&["coord", "web-1", "dns"], Underlay::V4);
        let dns = nameserver::unbound(&street.host("dns"));
        let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
        let env = vec![("WARREN_NODE_DNS_CA", dns.ca.clone())];
        let web = Node::enrol_with(&street, &coordinator, "web-1", &["web"], env, Vec::new());
        let upstream = format!("upstream = [\"tls://{}#{NAME}\"]\n", street.host("dns").v4);
        coordinator.apply(&format!("{POLICY}{upstream}"));
        Besieged { street, web, _coordinator: coordinator, _dns: dns }
    }

    /// Runs an attack program to its end; what it printed, and by how much the agent's memory grew meanwhile at most, KiB.
    fn under(&self, attack: &str, more: &[&str]) -> (String, i64) {
        let pid = self.web.status().unwrap()["pid"].as_u64().unwrap();
        let before = memory_kib(pid) as i64;
        let (program, target) = (binary(attack), format!("{}:53", self.web.v4()));
        let seconds = number("WARREN_ATTACK_SECONDS", 4).to_string();
        let words = [&[program.as_str(), "--target", &target, "--seconds", &seconds], more].concat();
        let mut running = self.web.host.daemon(&format!("{attack}{}", more.concat()), &words);
        let mut grown = 0;
        eventually("the attack ends", Duration::from_secs(120), || {
            grown = grown.max(memory_kib(pid) as i64 - before);
            running.finished()
        });
        let said = running.output();
        println!("{attack} {more:?}: {} grown {grown} KiB", said.trim().replace('\n', "; "));
        (said, grown)
    }
}

impl Besieged {
    /// A flood of questions from so many ports: whatever the machine, all that others ask is answered, and memory is bounded. In how
    /// many milliseconds, but for one in a hundred.
    fn slowest_beside_a_flood(&self, name: &str, ports: &str) -> f64 {
        let (said, grown) =
            self.under("attack-questions", &["--name", name, "--rate", &RATE.to_string(), "--ports", ports]);
        assert!(said.rsplit("verdict: ").next().is_some_and(|last| last.starts_with("held")), "{said}");
        // The machine that runs the tests may be too slow to send them all beside the agent; what it sent is printed.
        assert!(value(&said, "sent") > RATE as f64 / 4.0, "{said}");
        for client in ["served", "elsewhere"] {
            assert!(value(&said, client) > 99.0, "{said}");
        }
        assert!(grown < MEMORY_KIB, "memory grew by {grown} KiB");
        let answer = self.web.host.run(&["dig", "+short", "+tries=3", &format!("@{}", self.web.v4()), name]);
        assert!(answer.ok().contains(&self.web.v4()), "afterwards");
        value(&said, "p99_ms")
    }
}

/// What was said last: an attack that runs again goes on in the same log.
fn value(said: &str, word: &str) -> f64 {
    let words: Vec<&str> = said.split_whitespace().collect();
    let found = words.windows(2).rev().find(|pair| pair[0] == word);
    found.and_then(|pair| pair[1].parse().ok()).unwrap_or_else(|| panic!("no `{word}` in {said}"))
}

#[test]
fn fifty_thousand_questions_a_second_take_bounded_memory_and_others_are_served() {
    let siege = Besieged::new();
    let name = "web-1.test.internal";
    // From one port and from many: who floods waits for himself. (Three tries of 300 ms, as stub resolvers have.)
    for ports in ["1", "64"] {
        let mut quick = (0..TRIES).map(|_| siege.slowest_beside_a_flood(name, ports));
        assert!(quick.any(|ms| ms < 300.0), "who asks beside it is answered at his first try");
    }
    let counters = siege.web.cli(&["--json", "counters"]).json();
    let count = |name: &str| counters["counters"][name].as_u64().unwrap_or(0);
    assert!(count("dns-overlay-local") > 1_000, "{counters}");
    let waiting = siege.web.cli(&["--json", "dns", "status"]).json()["waiting"].as_u64().unwrap();
    assert!(waiting <= 1_024, "{waiting} questions wait");
}

#[test]
fn malformed_questions_over_udp_and_tcp_harm_nobody() {
    let siege = Besieged::new();
    let capture = Capture::start(&siege.street, "rubbish");
    let (said, grown) = siege.under("attack-bad-questions", &[]);
    assert!(said.contains("verdict: held"), "{said}");
    assert!(grown < MEMORY_KIB, "memory grew by {grown} KiB");
    let at = format!("@{}", siege.web.v4());
    for words in [
        &["dig", "+short", at.as_str(), "after.example"][..],
        &["dig", "+tcp", "+short", &at, "after2.example"],
    ] {
        assert!(siege.web.host.run(words).ok().contains(ADDRESS), "{words:?}");
    }
    assert!(siege.web.counter("dns-broken-refused") > 0);
    let seen = capture.finish();
    assert_eq!((seen.dropped, seen.clear_dns()), (0, 0));
}
