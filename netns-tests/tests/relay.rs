//! The relay under attack, and what it may and may not see.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

use std::fmt::Write as _;
use std::time::Duration;

use warren_netns_tests::capture::{Tap, contains};
use warren_netns_tests::measure::{Pings, echo_service};
use warren_netns_tests::nat::Nat;
use warren_netns_tests::neighbours::Neighbours;
use warren_netns_tests::street::Underlay;
use warren_netns_tests::town::BEFORE;
use warren_netns_tests::wait::{eventually, until};
use warren_netns_tests::warren::{COORDINATOR_PORT, binary};

/// Ethernet, IPv4 without options, UDP.
const HEADERS: usize = 14 + 20 + 8;
const FRAME: u8 = 0x80;

/// Neighbours that no direct path joins, and that talk.
fn relayed() -> Neighbours {
    let meeting = Neighbours::new(Nat::Symmetric, Nat::Symmetric);
    meeting.wait_mapped();
    meeting.coordinator.apply(BEFORE);
    meeting.first_answer(Duration::from_secs(3)).expect("the relay carries it");
    meeting
}

/// Frames towards the relay among what was seen.
fn frames(seen: &[Vec<u8>]) -> Vec<&[u8]> {
    let port = COORDINATOR_PORT.to_be_bytes();
    let to_relay = |packet: &&Vec<u8>| packet.get(36..38) == Some(&port[..]);
    let payloads = seen.iter().filter(to_relay).filter_map(|packet| packet.get(HEADERS..));
    payloads.filter(|payload| payload.first() == Some(&FRAME)).collect()
}

fn refused(meeting: &Neighbours, why: &str) -> u64 {
    meeting.coordinator.json(&["status"])["relay"]["refused"][why].as_u64().unwrap_or_default()
}

/// It carries ciphertext: what is said and to whom is not in it.
#[test]
fn the_relay_sees_no_byte_of_what_it_carries() {
    let meeting = relayed();
    let secret = "spoken-only-inside-the-tunnel";
    let server = meeting.orders.serve_http(8080);
    std::fs::write(meeting.orders.host.path("www/secret"), secret).unwrap();
    let tap = Tap::start(&meeting.coordinator.host, "up0");
    let got = meeting.web.curl(&format!("http://{}:8080/secret", meeting.orders.v4()));
    assert_eq!(got.stdout, secret);
    let seen = tap.finish();
    drop(server);
    assert!(frames(&seen).len() > 5, "{} packets went over the relay", frames(&seen).len());
    for word in [secret, "GET /secret", "orders-1"] {
        assert!(!seen.iter().any(|packet| contains(packet, word.as_bytes())), "{word}");
    }
}

/// Forged, bent, captured and sent again: nothing comes back, nothing is passed on, and who uses the relay notices nothing.
#[test]
fn frames_that_nobody_with_a_seat_wrote_disturb_nobody() {
    let mut meeting = relayed();
    meeting.street.add_host("attacker", Underlay::V4);
    let attacker = meeting.street.host("attacker");
    let _echo = echo_service(&meeting.orders.host, 8081);
    let tap = Tap::start(&meeting.coordinator.host, "up0");
    until("they talk", Duration::from_secs(5), || {
        meeting.say_something();
        meeting.web.host.run(&["ping", "-c", "3", "-i", "0.2", &meeting.orders.v4()]).status.success()
    });
    let seen = tap.finish();
    let captured = frames(&seen);
    let mut lines = String::new();
    for frame in &captured {
        frame.iter().for_each(|byte| write!(lines, "{byte:02x}").unwrap());
        lines.push('\n');
    }
    let file = attacker.path("captured");
    std::fs::write(&file, lines).unwrap();
    let number = |frame: &[u8]| u32::from_be_bytes([0, frame[1], frame[2], frame[3]]).to_string();
    let seats: Vec<String> = captured.iter().map(|frame| number(frame)).collect();
    let target = meeting.coordinator.address.clone();
    let pings = Pings::start(&meeting.web.host, &meeting.orders.v4(), 8081, 200);
    let words = ["--target", &target, "--seats", &seats.join(","), "--captured", &file, "--rate", "5000"];
    let program = binary("attack-relay-frames");
    let mut attack = attacker.daemon("attack", &[&[program.as_str()], &words[..]].concat());
    let status = eventually("the attack ends", Duration::from_secs(60), || attack.finished());
    assert!(status.success(), "{}", attack.output());
    println!("{}", attack.output());
    let friend = pings.stop();
    assert!(friend.loss_percent() < 1.0, "{friend:?}");
    for why in ["not-a-frame", "unknown-seat", "bad-tag", "replayed"] {
        assert!(refused(&meeting, why) > 0, "{why}: {}", meeting.coordinator.json(&["status"])["relay"]);
    }
}
