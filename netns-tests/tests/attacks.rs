//! The attack programs of `attacks/` against a real town: each ends with its verdict, and what it did to others is
//! measured. `WARREN_ATTACK_SECONDS` (4) makes every flood long, `WARREN_FLOOD_RATE` (2500) those of initiations with a right
//! mac1 dense: so many a second are what a debug build on a busy machine can look at.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use warren_netns_tests::capture::Tap;
use warren_netns_tests::measure::{Pings, memory_kib, number};
use warren_netns_tests::outpost::Outpost;
use warren_netns_tests::process::{Daemon, Finished, run};
use warren_netns_tests::siege::Siege;
use warren_netns_tests::street::Underlay;
use warren_netns_tests::town::{BEFORE, after};
use warren_netns_tests::wait::{eventually, until};
use warren_netns_tests::warren::{COORDINATOR_PORT, LIMIT, Node, WIREGUARD_PORT, binary};
use warren_wire::token::Token;

fn seconds() -> String {
    number("WARREN_ATTACK_SECONDS", 4).to_string()
}

#[test]
fn floods_of_initiations_cost_established_tunnels_nothing_and_an_honest_peer_three_seconds() {
    let mut siege = Siege::begin();
    let (target, keys, seconds) = (siege.target(), siege.town.orders.public_keys(), seconds());
    let key = keys.split(',').next().unwrap().to_owned();
    // The attacker receives for its ten thousand sources, and the town knows the way to them.
    siege.attacker.run(&["ip", "route", "add", "local", "10.92.0.0/16", "dev", "lo"]).ok();
    siege.town.orders.host.run(&["ip", "route", "add", "10.92.0.0/16", "via", &siege.attacker.v4]).ok();
    let flood = |from: &str, more: &[&str]| {
        let mut args: Vec<String> =
            ["--target", &target, "--key", &key, "--from", from, "--seconds", &seconds]
                .map(String::from)
                .to_vec();
        args.extend(more.iter().map(|s| (*s).to_owned()));
        args
    };
    let rate = number("WARREN_FLOOD_RATE", 2500).to_string();
    let dense = ["--rate", rate.as_str()];
    let floods = [
        ("attack-initiations", flood("10.92.0.1", &["--mac1", "bad", "--sources", "10000"])),
        (
            "attack-initiations",
            flood("10.92.0.1", &[&["--mac1", "valid", "--sources", "10000"][..], &dense].concat()),
        ),
        ("attack-proved", flood("10.92.0.1", &[&["--sources", "2000"][..], &dense].concat())),
        // In the name of the newcomer itself, where it is expected.
        ("attack-initiations", flood("", &[&["--mac1", "valid", "--sources", "1"][..], &dense].concat())),
    ];
    for (number, (attack, args)) in floods.iter().enumerate() {
        let elsewhere = Some(Some(number as u8 + 1)).filter(|_| !args.contains(&String::new()));
        for place in [None].into_iter().chain(elsewhere) {
            let name = format!("late-{number}{}", if place.is_some() { "-elsewhere" } else { "" });
            let newcomer = siege.newcomer(&name, place);
            let named =
                |word: &str| if word.is_empty() { newcomer.place().to_owned() } else { word.to_owned() };
            let args: Vec<String> = args.iter().map(|word| named(word)).collect();
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let outcome = siege.under(&siege.attacker, attack, &args, |siege| {
                siege.until_flooded();
                let took = siege.honest_handshake(&newcomer);
                let known = if place.is_some() { "at a new place" } else { "where it is expected" };
                println!("honest handshake {known} after {took:?}");
            });
            outcome.held();
            outcome.came_back();
        }
    }
}

/// Answers that wait for neighbours that nobody is fill no buffer that others need.
#[test]
fn initiations_from_addresses_that_nobody_has_stop_neither_tunnels_nor_handshakes() {
    let mut siege = Siege::begin();
    let newcomer = siege.newcomer("late", None);
    let base = siege.stolen_peer();
    let seconds = seconds();
    let more = ["--from", "10.91.200.1", "--sources", "250", "--rate", "3000", "--seconds", &seconds];
    let args: Vec<&str> = base.iter().map(String::as_str).chain(more).collect();
    let outcome = siege.under(&siege.attacker, "attack-unresolvable", &args, |siege| {
        siege.until_flooded();
        println!("honest handshake after {:?}", siege.honest_handshake(&newcomer));
    });
    outcome.held();
    outcome.came_back();
}

/// Whoever forges what a router would say of a tunnel does not stop it.
#[test]
fn icmp_errors_from_any_router_cost_an_established_tunnel_nothing() {
    let siege = Siege::begin();
    let peer = format!("{}:{WIREGUARD_PORT}", siege.friend.host.v4);
    let args = ["--target", &siege.target(), "--peer", &peer, "--seconds", &seconds()];
    let outcome = siege.under(&siege.attacker, "attack-icmp-outside", &args, |siege| {
        until("an honest peer handshakes under the flood", Duration::from_secs(3), || {
            siege.ping(&siege.town.db)
        });
    });
    outcome.held();
    outcome.came_back();
    assert_eq!(outcome.friend.sent, outcome.friend.back, "{outcome:?}");
    // Full-sized packets pass as before, whatever path MTU was claimed.
    let large = ["ping", "-c", "3", "-i", "0.2", "-W", "5", "-s", "1390", &siege.town.orders.v4()];
    let large = siege.friend.host.run(&large);
    assert!(large.stdout.contains("3 received"), "{}", large.text());
}

/// Errors about a flow that is are let through so many a second; about one that is not, never.
#[test]
fn icmp_errors_through_the_tunnel_are_rate_limited_and_only_about_flows_that_are() {
    let mut siege = Siege::begin();
    let base = siege.stolen_peer();
    let (real, never) = ("ERROR-4ab1-about-a-flow", "ERROR-91fe-about-nothing");
    let more = ["--seconds", &seconds(), "--open", "8081", "--real", real, "--false", never];
    let args: Vec<&str> = base.iter().map(String::as_str).chain(more).collect();
    let newcomer = siege.newcomer("late", None);
    let tap = Tap::start(&siege.town.orders.host, "warren0");
    let host = siege.town.web.host.clone();
    let outcome = siege.under(&host, "attack-icmp-inside", &args, |siege| {
        siege.until_counted(&["icmp-error-rate", "icmp-error-unrelated"], 1000);
        println!("honest handshake after {:?}", siege.honest_handshake(&newcomer));
    });
    let seen = tap.finish();
    outcome.held();
    outcome.came_back();
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
    let mut siege = Siege::begin();
    let (target, seconds) = (siege.target(), seconds());
    let newcomer = siege.newcomer("late", None);
    let args = ["--target", &target, "--seconds", &seconds];
    let outcome = siege.under(&siege.attacker, "attack-garbage", &args, |siege| {
        siege.until_counted(&["wg-not-a-message", "wg-bad-mac1", "wg-unknown-index"], 1000);
        println!("honest handshake after {:?}", siege.honest_handshake(&newcomer));
    });
    outcome.held();
    outcome.came_back();
}

#[test]
fn a_hostile_peer_gets_nothing_out_at_the_other_end_and_takes_nothing_from_others() {
    let mut siege = Siege::begin();
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
    // Of IPv6 nothing but what the honest flow says, whatever else is too short to be marked.
    let theirs: std::net::Ipv6Addr = siege.town.orders.v6().parse().unwrap();
    // The kernel of the attacked one asks for routers by itself, from a link-local address that is not the forged one.
    let own = |packet: &[u8]| {
        let from = &packet[8..24];
        from == theirs.octets()
            || from[0] == 0xfe && from != "fe80::1".parse::<std::net::Ipv6Addr>().unwrap().octets()
    };
    let six = seen.iter().filter(|packet| packet[0] >> 4 == 6 && !own(packet));
    let honest = |packet: &&Vec<u8>| {
        let read = warren_netns_tests::attack::inner6::read_udp(packet);
        read.is_some_and(|(_, port, body)| port == 8081 && body.starts_with(b"honest"))
    };
    let (honest, others): (Vec<_>, Vec<_>) = six.partition(honest);
    assert!(honest.len() >= 2 && others.is_empty(), "{} honest, {others:02x?}", honest.len());

    siege.under(&host, "attack-replay", &[&base[..], &["--open", "8081"]].concat(), |_| {}).held();
    let floods = [("attack-spray", "8080,8081"), ("attack-flows", "8081")];
    let newcomers = floods.map(|(attack, ..)| siege.newcomer(&attack.replace("attack", "late"), None));
    let before = siege.memory();
    for ((attack, open), newcomer) in floods.into_iter().zip(&newcomers) {
        let args = [&base[..], &long, &["--open", open]].concat();
        let outcome = siege.under(&host, attack, &args, |siege| {
            match attack {
                "attack-flows" => siege.until_it_knows(16_000),
                _ => siege.until_counted(&["denied"], 100),
            }
            println!("honest handshake under {attack} after {:?}", siege.honest_handshake(newcomer));
        });
        outcome.held();
    }
    // The flows end, here because their grant does: the room they took is given back.
    let others = warren_netns_tests::town::BEFORE.replace(
        "from = [\"tag:web\"]\nto = [\"service:orders\"]",
        "from = [\"node:web-2\"]\nto = [\"service:orders\"]",
    );
    assert_ne!(others, warren_netns_tests::town::BEFORE);
    siege.town.coordinator.apply(&others);
    // A flow that was cut is remembered for a minute, and every half minute the agent gives back what it does not use.
    let mut seen = vec![siege.memory() - before];
    let began = std::time::Instant::now();
    while seen.last().is_some_and(|left| *left > KEPT_KIB) && began.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(500));
        let left = siege.memory() - before;
        seen.extend((seen.last() != Some(&left)).then_some(left));
    }
    println!("{:?} after the flows had ended: {seen:?} KiB above what it was before", began.elapsed());
    assert!(seen.last().is_some_and(|left| *left <= KEPT_KIB), "memory comes back: {seen:?} KiB");
}

/// Above what the agent held before the floods: crumbs between what is still in use. A buffer that keeps its room is more.
const KEPT_KIB: i64 = 12 * 1024;

fn coordinator_pid(siege: &Siege) -> u64 {
    let pids = run(None, &["ip", "netns", "pids", &siege.town.coordinator.host.namespace], &[]).ok();
    let serves = |pid: &&str| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.contains("serve"))
    };
    pids.split_whitespace().find(serves).unwrap().parse().unwrap()
}

/// The coordinator's memory grows by 64 MiB at most while `attacks` run to their end.
fn until_they_end(siege: &Siege, before: i64, attacks: &mut [Daemon]) {
    let pid = coordinator_pid(siege);
    let mut peak = 0;
    for attack in attacks {
        eventually("the attack ends", Duration::from_secs(60), || {
            peak = peak.max(memory_kib(pid) as i64 - before);
            attack.finished()
        });
        let verdict = attack.output().lines().last().unwrap_or_default().to_owned();
        println!("{verdict}");
        assert!(verdict.starts_with("verdict: held: "), "{}", attack.output());
    }
    let left = memory_kib(pid) as i64 - before;
    println!("coordinator: memory grew by {peak} KiB at most, {left} in the end");
    assert!(peak <= 64 * 1024, "{peak} KiB");
}

/// What a crowd took is the host's again soon after it has gone, but for crumbs between what is still in use.
fn comes_back(siege: &Siege, before: i64) {
    let pid = coordinator_pid(siege);
    let mut left = 0;
    let took = until("the coordinator's memory comes back", Duration::from_secs(60), || {
        left = memory_kib(pid) as i64 - before;
        left <= 20 * 1024
    });
    println!("coordinator: {took:?} after the crowd had gone {left} KiB were left");
}

/// How long a new node takes from its start to its first view.
fn enrols(siege: &mut Siege, name: &str) -> Duration {
    enrols_and_stays(siege, name).0
}

fn enrols_and_stays(siege: &mut Siege, name: &str) -> (Duration, Node) {
    siege.town.street.add_host(name, Underlay::V4);
    let began = std::time::Instant::now();
    let node = Node::enrol(&siege.town.street, &siege.town.coordinator, name, &["web"]);
    (began.elapsed(), node)
}

#[test]
fn garbage_and_slow_clients_on_the_quic_port_keep_nobody_out() {
    let mut siege = Siege::begin();
    let address = siege.town.coordinator.address.clone();
    let quiet = enrols(&mut siege, "early");
    let before = memory_kib(coordinator_pid(&siege)) as i64;
    let pings = Pings::start(&siege.friend.host, &siege.town.orders.v4(), 8081, 200);
    let token = siege.town.coordinator.token(&["--tag", "web", "--name", "nobody"]);
    let server_key = Token::decode(&token).unwrap().coordinator_key.to_string();
    let (garbage, slow) = (binary("attack-quic-garbage"), binary("attack-slow-quic"));
    let attacker = siege.attacker.clone();
    let seconds = seconds();
    let words = [&slow, "--target", &address, "--server-key", &server_key, "--seconds", "16"];
    let mut attacks = [
        attacker.daemon("quic-garbage", &[&garbage, "--target", &address, "--seconds", &seconds]),
        attacker.daemon("slow-quic", &words),
    ];
    let took = enrols(&mut siege, "late");
    println!("a new node enrolled after {took:?} while slow clients held the door, after {quiet:?} without");
    assert!(took <= quiet + Duration::from_secs(3), "{took:?}, and {quiet:?} without them");
    until_they_end(&siege, before, &mut attacks);
    comes_back(&siege, before);
    let friend = pings.stop();
    assert!(friend.loss_percent() < 1.0, "{friend:?}");
}

/// Answers to addresses that nobody has fill no socket that members, or honest newcomers, are answered by.
#[test]
fn answers_to_addresses_that_nobody_has_hold_up_neither_members_nor_newcomers() {
    let mut siege = Siege::begin();
    let address = siege.town.coordinator.address.clone();
    let (quiet, early) = enrols_and_stays(&mut siege, "early");
    // Nobody leaves: who is gone without a word is waited for.
    let mut stay = vec![early];
    let program = binary("attack-astray");
    let attacker = siege.attacker.clone();
    for (number, kind) in ["stun", "version", "initial"].into_iter().enumerate() {
        let before = memory_kib(coordinator_pid(&siege)) as i64;
        let words = [&program, "--target", &address, "--kind", kind, "--seconds", "12"];
        let from = format!("10.91.{}.1", 200 + number);
        let mut attack =
            [attacker.daemon(kind, &[&words[..], &["--from", &from, "--sources", "250"]].concat())];
        until("the flood is under way", LIMIT, || attack[0].output().contains("under way"));
        let mut slowest = Duration::ZERO;
        for text in [after(), BEFORE.to_owned(), after(), BEFORE.to_owned()] {
            let began = std::time::Instant::now();
            siege.town.coordinator.apply(&text);
            slowest = slowest.max(began.elapsed());
        }
        let (took, node) = enrols_and_stays(&mut siege, kind);
        stay.push(node);
        println!(
            "{kind}: enforced after {slowest:?} at most, a new node enrolled after {took:?} ({quiet:?} without)"
        );
        until_they_end(&siege, before, &mut attack);
        assert!(slowest <= Duration::from_secs(1), "{kind}: {slowest:?}");
        assert!(took <= Duration::from_secs(3), "{kind}: {took:?}, and {quiet:?} without them");
    }
    // A relay elsewhere answers nothing but questions.
    siege.town.street.add_host("relay", Underlay::V4);
    let relay = Outpost::start(&siege.town.street, &siege.town.coordinator, "relay");
    let target = format!("{}:{COORDINATOR_PORT}", relay.host.v4);
    let words = [&program, "--target", &target, "--kind", "stun", "--seconds", "6", "--from", "10.91.210.1"];
    let mut attack = attacker.daemon("relay-stun", &words);
    eventually("the attack on the relay ends", LIMIT, || attack.finished());
    let verdict = attack.output();
    println!("relay: {}", verdict.lines().last().unwrap_or_default());
    assert!(verdict.contains("verdict: held: "), "{verdict}");
}

/// They take every place there is for strangers, and come again when they are thrown out.
#[test]
fn slow_clients_from_hundreds_of_addresses_keep_nobody_out() {
    let mut siege = Siege::begin();
    let address = siege.town.coordinator.address.clone();
    let token = siege.town.coordinator.token(&["--tag", "web", "--name", "nobody"]);
    let server_key = Token::decode(&token).unwrap().coordinator_key.to_string();
    let attacker = siege.attacker.clone();
    attacker.run(&["ip", "route", "add", "local", "10.92.0.0/16", "dev", "lo"]).ok();
    siege.town.coordinator.host.run(&["ip", "route", "add", "10.92.0.0/16", "via", &attacker.v4]).ok();
    let quiet = enrols(&mut siege, "early");
    let before = memory_kib(coordinator_pid(&siege)) as i64;
    let program = binary("attack-slow-quic");
    let words = [&program, "--target", &address, "--server-key", &server_key, "--seconds", "18"];
    let crowd = ["--clients", "1500", "--rate", "150", "--from", "10.92.0.1", "--sources", "250"];
    let pings = Pings::start(&siege.friend.host, &siege.town.orders.v4(), 8081, 200);
    // What each takes comes back, so a third and a hundredth find no less room than the second.
    for round in ["first", "second"] {
        let log = format!("slow-quic-{round}");
        let mut attack = [attacker.daemon(&log, &[&words[..], &crowd].concat())];
        until("they hold all places", Duration::from_secs(15), || {
            attack[0].output().contains("for another one")
        });
        let took = enrols(&mut siege, round);
        println!(
            "a new node enrolled after {took:?} among slow clients of 250 addresses, after {quiet:?} without"
        );
        assert!(took <= quiet + Duration::from_secs(3), "{took:?}, and {quiet:?} without them");
        until_they_end(&siege, before, &mut attack);
        comes_back(&siege, before);
    }
    let friend = pings.stop();
    assert!(friend.loss_percent() < 1.0, "{friend:?}");
}

/// A network that lets nothing out but TCP.
fn without_udp(siege: &mut Siege, name: &str) {
    siege.town.street.add_host(name, Underlay::V4);
    let text = "table ip fire { chain way { type filter hook output priority 0; ip protocol udp ip daddr 10.91.0.0/16 drop; }; }";
    siege.town.street.host(name).run(&["nft", text]).ok();
}

/// They take every place there is for doors of strangers, in every wrong way, and come again when they are thrown out.
#[test]
fn clients_that_do_everything_wrong_at_the_door_over_tcp_keep_nobody_out() {
    let mut siege = Siege::begin();
    let target = siege.town.coordinator.address.replace(":7946", ":443");
    let attacker = siege.attacker.clone();
    attacker.run(&["ip", "route", "add", "local", "10.92.0.0/16", "dev", "lo"]).ok();
    siege.town.coordinator.host.run(&["ip", "route", "add", "10.92.0.0/16", "via", &attacker.v4]).ok();
    let enrols = |siege: &mut Siege, name: &str| {
        without_udp(siege, name);
        let began = std::time::Instant::now();
        let node = Node::enrol(&siege.town.street, &siege.town.coordinator, name, &["web"]);
        let took = began.elapsed();
        assert_eq!(node.status().unwrap()["coordinator_way"]["transport"], "websocket");
        took
    };
    let quiet = enrols(&mut siege, "early");
    let before = memory_kib(coordinator_pid(&siege)) as i64;
    let program = binary("attack-slow-doors");
    let words = [&program, "--target", &target, "--seconds", "18"];
    let crowd = ["--clients", "1500", "--rate", "150", "--from", "10.92.0.1", "--sources", "250"];
    let pings = Pings::start(&siege.friend.host, &siege.town.orders.v4(), 8081, 200);
    for round in ["first", "second"] {
        let log = format!("slow-doors-{round}");
        let mut attack = [attacker.daemon(&log, &[&words[..], &crowd].concat())];
        // Others wait for places, and those who hold one are thrown out for them.
        let thrown = || siege.town.coordinator.json(&["status"])["doors"]["failed"].as_u64().unwrap_or(0);
        let already = thrown();
        until("they hold all places", Duration::from_secs(15), || thrown() >= already + 300);
        let took = enrols(&mut siege, round);
        println!("a new node without UDP enrolled after {took:?} among them, after {quiet:?} without");
        assert!(took <= Duration::from_secs(5), "{took:?}, and {quiet:?} without them");
        until_they_end(&siege, before, &mut attack);
        comes_back(&siege, before);
    }
    println!("{}", siege.town.coordinator.json(&["status"])["doors"]);
    let friend = pings.stop();
    assert!(friend.loss_percent() < 1.0, "{friend:?}");
}

/// `WARREN_TOKEN_ROUNDS` (3): fifty clients redeem one token in the same millisecond; the coordinator is killed in the
/// middle of every third round. One is admitted in the end, never two.
#[test]
fn a_token_used_by_fifty_in_the_same_millisecond_admits_one_over_crashes_too() {
    let mut siege = Siege::begin();
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
        "astray",
        "garbage",
        "quic-garbage",
        "slow-quic",
        "slow-doors",
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
        "relay-frames",
        "insist",
        "receive",
    ];
    for name in programs {
        let done: Finished = run(None, &[&binary(&format!("attack-{name}"))], &[]);
        assert_eq!(done.code(), 2, "{name}");
        assert!(done.stderr.contains("usage: attack-"), "{name}: {}", done.stderr);
    }
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/attacks")).unwrap().count();
    assert_eq!(files, programs.len(), "one program a file, all of them here");
    let told = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../SECURITY.md")).unwrap();
    for name in programs {
        let row = |line: &str| line.starts_with(&format!("| `attack-{name}"));
        assert!(told.lines().any(row), "SECURITY.md says how attack-{name} ended");
    }
}
