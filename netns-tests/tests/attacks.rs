//! The attack programs of `attacks/` against a real town: each ends with its verdict, and what it did to others is
//! measured. `WARREN_ATTACK_SECONDS` (4) makes every flood long.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use warren_netns_tests::capture::Tap;
use warren_netns_tests::measure::{Pings, Returned, echo_service, memory_kib, number};
use warren_netns_tests::process::{Daemon, Finished, run};
use warren_netns_tests::street::{Host, Underlay};
use warren_netns_tests::town::Town;
use warren_netns_tests::wait::{eventually, until};
use warren_netns_tests::warren::{LIMIT, Node, WIREGUARD_PORT, binary};
use warren_wire::token::Token;

/// Orders is attacked. Web-2 is its friend, and keeps talking to it. The attacker has no key; web-1's key is stolen where
/// an attack needs one.
struct Siege {
    town: Town,
    friend: Node,
    attacker: Host,
    _echo: Daemon,
}

/// What an attack did.
#[derive(Debug)]
struct Outcome {
    verdict: String,
    friend: Returned,
    /// The most that the agent's memory was above where it began, and where it was in the end: KiB.
    grown: i64,
    left: i64,
}

fn siege() -> Siege {
    let mut town = Town::new(Underlay::V4);
    town.street.add_host("web-2", Underlay::V4);
    town.street.add_host("attacker", Underlay::V4);
    let friend = Node::enrol(&town.street, &town.coordinator, "web-2", &["web"]);
    let _echo = echo_service(&town.orders.host, 8081);
    let attacker = town.street.host("attacker");
    let siege = Siege { town, friend, attacker, _echo };
    until("the friend's tunnel is up", LIMIT, || siege.ping(&siege.friend));
    siege
}

impl Siege {
    fn target(&self) -> String {
        format!("{}:{WIREGUARD_PORT}", self.town.orders.host.v4)
    }

    /// Web-1's keys are in other hands now: what every attack from inside is told.
    fn stolen_peer(&mut self) -> Vec<String> {
        let (me, to) = (self.town.web.v4(), self.town.orders.v4());
        let (target, key, private) =
            (self.target(), self.town.orders.public_keys(), self.town.web.stolen_keys());
        self.town.web.kill_9();
        ["--target", &target, "--key", &key, "--private", &private, "--me", &me, "--to", &to]
            .map(String::from)
            .to_vec()
    }

    /// KiB that the attacked agent holds.
    fn memory(&self) -> i64 {
        let pid = self.town.orders.status().unwrap()["pid"].as_u64().unwrap();
        memory_kib(pid) as i64
    }

    fn ping(&self, from: &Node) -> bool {
        from.host.run(&["ping", "-c", "1", "-W", "1", &self.town.orders.v4()]).status.success()
    }

    /// Runs `attack` on `host` to its verdict while the friend talks to orders, and `during` happens.
    fn under(&self, host: &Host, attack: &str, args: &[&str], during: impl FnOnce(&Siege)) -> Outcome {
        let pid = self.town.orders.status().unwrap()["pid"].as_u64().unwrap();
        let before = memory_kib(pid) as i64;
        let pings = Pings::start(&self.friend.host, &self.town.orders.v4(), 8081, 200);
        let program = binary(attack);
        let mut running = host.daemon(attack, &[&[program.as_str()], args].concat());
        let mut grown = 0;
        during(self);
        eventually("the attack ends", Duration::from_secs(120), || {
            grown = grown.max(memory_kib(pid) as i64 - before);
            running.finished()
        });
        let friend = pings.stop();
        let verdict = running.output().lines().last().unwrap_or_default().to_owned();
        let outcome = Outcome { verdict, friend, grown, left: memory_kib(pid) as i64 - before };
        println!(
            "{attack} {}: {outcome:?}",
            args.iter().skip(4).map(|a| shown(a)).collect::<Vec<_>>().join(" ")
        );
        outcome
    }

    /// A peer that has no session any more (its agent begins anew) gets one within three seconds of trying.
    fn honest_handshake(&mut self) {
        self.town.db.stop();
        self.town.db.start();
    }
}

/// Keys are not for a log.
fn shown(arg: &str) -> &str {
    if arg.len() >= 44 && arg.ends_with('=') { "KEY" } else { arg }
}

impl Outcome {
    #[track_caller]
    fn held(&self) {
        assert!(self.verdict.starts_with("verdict: held: "), "{self:?}");
        assert!(self.friend.sent >= 200, "{self:?}");
        assert!(
            self.friend.loss_percent() < 1.0,
            "established tunnels lose less than one in a hundred: {self:?}"
        );
        assert!(self.grown.max(self.left) <= 64 * 1024, "memory: {self:?}");
    }
}

fn seconds() -> String {
    number("WARREN_ATTACK_SECONDS", 4).to_string()
}

#[test]
fn floods_of_initiations_cost_established_tunnels_nothing_and_an_honest_peer_three_seconds() {
    let mut siege = siege();
    let (target, keys, seconds) = (siege.target(), siege.town.orders.public_keys(), seconds());
    let key = keys.split(',').next().unwrap().to_owned();
    // The attacker receives for its ten thousand sources, and the town knows the way to them.
    siege.attacker.run(&["ip", "route", "add", "local", "10.92.0.0/16", "dev", "lo"]).ok();
    siege.town.orders.host.run(&["ip", "route", "add", "10.92.0.0/16", "via", &siege.attacker.v4]).ok();
    let flood = |from: &'static str, more: &[&'static str]| {
        let mut args: Vec<String> =
            ["--target", &target, "--key", &key, "--from", from, "--seconds", &seconds]
                .map(String::from)
                .to_vec();
        args.extend(more.iter().map(|s| (*s).to_owned()));
        args
    };
    let floods = [
        ("attack-initiations", flood("10.92.0.1", &["--mac1", "bad", "--sources", "10000"])),
        ("attack-initiations", flood("10.92.0.1", &["--mac1", "valid", "--sources", "10000"])),
        ("attack-unresolvable", flood("10.91.200.1", &["--sources", "250", "--rate", "3000"])),
    ];
    for (attack, args) in floods {
        siege.honest_handshake();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let outcome = siege.under(&siege.attacker, attack, &args, |siege| {
            until("the peer's agent answers", LIMIT, || {
                siege.town.db.status().is_some_and(|s| !s["v4"].is_null())
            });
            let took =
                until("an honest peer handshakes under the flood", LIMIT, || siege.ping(&siege.town.db));
            println!("honest handshake after {took:?}");
            assert!(took <= Duration::from_secs(3), "{}", siege.town.orders.cli(&["counters"]).text());
        });
        outcome.held();
        assert!(outcome.left <= 8 * 1024, "memory comes back: {outcome:?}");
    }
}

/// Whoever forges what a router would say of a tunnel does not stop it.
#[test]
fn icmp_errors_from_any_router_cost_an_established_tunnel_nothing() {
    let siege = siege();
    let peer = format!("{}:{WIREGUARD_PORT}", siege.friend.host.v4);
    let args = ["--target", &siege.target(), "--peer", &peer, "--seconds", &seconds()];
    let outcome = siege.under(&siege.attacker, "attack-icmp-outside", &args, |siege| {
        until("an honest peer handshakes under the flood", Duration::from_secs(3), || {
            siege.ping(&siege.town.db)
        });
    });
    outcome.held();
    assert_eq!(outcome.friend.sent, outcome.friend.back, "{outcome:?}");
    // Full-sized packets pass as before, whatever path MTU was claimed.
    let large = ["ping", "-c", "3", "-i", "0.2", "-W", "1", "-s", "1390", &siege.town.orders.v4()];
    let large = siege.friend.host.run(&large);
    assert!(large.stdout.contains("3 received"), "{}", large.text());
}

/// Errors about a flow that is are let through so many a second; about one that is not, never.
#[test]
fn icmp_errors_through_the_tunnel_are_rate_limited_and_only_about_flows_that_are() {
    let mut siege = siege();
    let base = siege.stolen_peer();
    let (real, never) = ("ERROR-4ab1-about-a-flow", "ERROR-91fe-about-nothing");
    let more = ["--seconds", &seconds(), "--open", "8081", "--real", real, "--false", never];
    let args: Vec<&str> = base.iter().map(String::as_str).chain(more).collect();
    let tap = Tap::start(&siege.town.orders.host, "warren0");
    let host = siege.town.web.host.clone();
    let outcome = siege.under(&host, "attack-icmp-inside", &args, |_| {});
    let seen = tap.finish();
    outcome.held();
    let count = |mark: &str| {
        let error = |packet: &&Vec<u8>| packet.get(9) == Some(&1) && packet.get(20) != Some(&0);
        seen.iter()
            .filter(error)
            .filter(|p| warren_netns_tests::capture::contains(p, mark.as_bytes()))
            .count()
    };
    let allowed = 50 * (number("WARREN_ATTACK_SECONDS", 4) + 2);
    println!(
        "errors that came out: {} about a flow (at most {allowed}), {} about none",
        count(real),
        count(never)
    );
    assert!((50..=allowed).contains(&count(real)), "{} errors about a flow", count(real));
    assert_eq!(count(never), 0);
}

#[test]
fn garbage_on_the_wireguard_port_gets_no_byte_back() {
    let siege = siege();
    let (target, seconds) = (siege.target(), seconds());
    siege
        .under(&siege.attacker, "attack-garbage", &["--target", &target, "--seconds", &seconds], |_| {})
        .held();
}

#[test]
fn a_hostile_peer_gets_nothing_out_at_the_other_end_and_takes_nothing_from_others() {
    let mut siege = siege();
    let (base, seconds) = (siege.stolen_peer(), seconds());
    let base: Vec<&str> = base.iter().map(String::as_str).collect();
    let host = siege.town.web.host.clone();
    let long = ["--seconds", &seconds];

    let mark = "MARK-6d1f-never-out-of-the-tunnel";
    let tap = Tap::start(&siege.town.orders.host, "warren0");
    let outcome = siege.under(
        &host,
        "attack-inner",
        &[&base[..], &["--open", "8081", "--mark", mark]].concat(),
        |_| {},
    );
    let seen = tap.finish();
    outcome.held();
    let marked =
        seen.iter().filter(|packet| warren_netns_tests::capture::contains(packet, mark.as_bytes())).count();
    assert_eq!(marked, 0, "forbidden packets came out at the other end");
    assert!(seen.len() > 100, "the tap saw {} packets", seen.len());

    siege.under(&host, "attack-replay", &[&base[..], &["--open", "8081"]].concat(), |_| {}).held();
    siege.under(&host, "attack-spray", &[&base[..], &long, &["--open", "8080,8081"]].concat(), |_| {}).held();
    let before = siege.memory();
    siege.under(&host, "attack-flows", &[&base[..], &long, &["--open", "8081"]].concat(), |_| {}).held();
    // The flows end, here because their grant does: the room they took is given back.
    let others = warren_netns_tests::town::BEFORE.replace(
        "from = [\"tag:web\"]\nto = [\"service:orders\"]",
        "from = [\"node:web-2\"]\nto = [\"service:orders\"]",
    );
    assert_ne!(others, warren_netns_tests::town::BEFORE);
    siege.town.coordinator.apply(&others);
    // Twice in a minute the agent gives back what it does not use.
    let mut left = 0;
    until("memory comes back", Duration::from_secs(95), || {
        left = siege.memory() - before;
        left <= 4 * 1024
    });
    println!("after the flows had ended {left} KiB were left");
}

fn coordinator_pid(siege: &Siege) -> u64 {
    let pids = run(None, &["ip", "netns", "pids", &siege.town.coordinator.host.namespace], &[]).ok();
    let serves = |pid: &&str| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.contains("serve"))
    };
    pids.split_whitespace().find(serves).unwrap().parse().unwrap()
}

#[test]
fn garbage_and_slow_clients_on_the_quic_port_keep_nobody_out() {
    let mut siege = siege();
    let address = siege.town.coordinator.address.clone();
    let pid = coordinator_pid(&siege);
    let before = memory_kib(pid) as i64;
    let token = siege.town.coordinator.token(&["--tag", "web", "--name", "nobody"]);
    let server_key = Token::decode(&token).unwrap().coordinator_key.to_string();
    let (garbage, slow) = (binary("attack-quic-garbage"), binary("attack-slow-quic"));
    let attacker = siege.attacker.clone();
    let (seconds, mut peak) = (seconds(), 0);
    let slow_from = |host: &Host| {
        let words = [&slow, "--target", &address, "--server-key", &server_key, "--seconds", "16"];
        host.daemon("slow-quic", &words)
    };
    let mut attacks = [
        attacker.daemon("quic-garbage", &[&garbage, "--target", &address, "--seconds", &seconds]),
        slow_from(&attacker),
    ];
    siege.town.street.add_host("late", Underlay::V4);
    let began = std::time::Instant::now();
    let _late = Node::enrol(&siege.town.street, &siege.town.coordinator, "late", &["web"]);
    println!("a new node enrolled after {:?} while slow clients held the door", began.elapsed());
    for attack in &mut attacks {
        eventually("the attack ends", Duration::from_secs(60), || {
            peak = peak.max(memory_kib(pid) as i64 - before);
            attack.finished()
        });
        let verdict = attack.output().lines().last().unwrap_or_default().to_owned();
        println!("{verdict}");
        assert!(verdict.starts_with("verdict: held: "), "{}", attack.output());
    }
    println!(
        "coordinator: memory grew by {peak} KiB at most, {} in the end",
        memory_kib(pid) as i64 - before
    );
    assert!(peak <= 64 * 1024, "{peak} KiB");
}

/// `WARREN_TOKEN_ROUNDS` (3): fifty clients redeem one token in the same millisecond; the coordinator is killed in the
/// middle of every third round. One is admitted in the end, never two.
#[test]
fn a_token_used_by_fifty_in_the_same_millisecond_admits_one_over_crashes_too() {
    let mut siege = siege();
    let attacker = siege.attacker.clone();
    for round in 0..number("WARREN_TOKEN_ROUNDS", 3) {
        let prefix = "thief-";
        let token = siege.town.coordinator.token(&["--tag", "web", "--name-prefix", prefix]);
        std::fs::write(attacker.dir.join("token"), token).unwrap();
        let admitted = |siege: &Siege| {
            let nodes = siege.town.coordinator.json(&["node", "list"]).to_string();
            nodes.matches("\"name\":\"thief-").count()
        };
        let before = admitted(&siege);
        let (program, file, seed) =
            (binary("attack-tokens"), attacker.path("token"), (1_000_000 * (round + 1)).to_string());
        let args = [program.as_str(), "--token-file", &file, "--clients", "50", "--seed", &seed];
        let mut running = attacker.daemon(&format!("tokens-{round}"), &args);
        let crash = round % 3 == 2;
        if crash {
            std::thread::sleep(Duration::from_millis(20 * (round as u64 % 17)));
            siege.town.coordinator.kill_9();
            siege.town.coordinator.serve();
        }
        eventually("every client has its answer", Duration::from_secs(120), || running.finished());
        let (verdict, now) = (running.output(), admitted(&siege));
        println!(
            "round {round}{}: {}",
            if crash { " with a crash" } else { "" },
            verdict.lines().last().unwrap_or_default()
        );
        assert_eq!(now - before, 1, "{verdict}");
        assert!(verdict.contains("verdict: held: "), "{verdict}");
    }
}

/// Programs say what they need when they are not given it.
#[test]
fn every_attack_runs_alone_and_says_how() {
    let programs = [
        "initiations",
        "unresolvable",
        "garbage",
        "quic-garbage",
        "slow-quic",
        "inner",
        "replay",
        "spray",
        "flows",
        "tokens",
        "proved",
        "icmp-outside",
        "icmp-inside",
        "questions",
        "bad-questions",
    ];
    for name in programs {
        let done: Finished = run(None, &[&binary(&format!("attack-{name}"))], &[]);
        assert_eq!(done.code(), 2, "{name}");
        assert!(done.stderr.contains("usage: attack-"), "{name}: {}", done.stderr);
    }
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/attacks")).unwrap().count();
    assert_eq!(files, programs.len(), "one program a file, all of them here");
}
