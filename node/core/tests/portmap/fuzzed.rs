//! What the fuzzer tries with bytes of a gateway. `node/core/fuzz` runs these with invented bytes, `main.rs` with kept ones.
#![allow(unreachable_pub, reason = "shared with the fuzzer's own workspace")]
#![allow(clippy::expect_used, clippy::panic, reason = "a target fails by panic")]

use std::net::{Ipv4Addr, SocketAddr};

use warren_node_core::clock::Mono;
use warren_node_core::portmap::upnp::description::{self, Kind};
use warren_node_core::portmap::upnp::http::{self, Response};
use warren_node_core::portmap::upnp::place::Place;
use warren_node_core::portmap::upnp::soap::Action;
use warren_node_core::portmap::upnp::{Fault, ssdp, xml};
use warren_node_core::portmap::{Gateway, Output, PORT, PortMap};

const AT: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
const OURS: u16 = 51_820;
const DAY: u64 = 86_401;

fn map(now: Mono) -> PortMap {
    let mut map = PortMap::new([7; 32], OURS);
    map.set_gateway(Some(Gateway { at: AT, local: LOCAL }), now);
    map
}

fn is_bounded(map: &PortMap, now: Mono) {
    assert!(map.outside(now).is_none_or(|place: SocketAddr| place.port() != 0));
    assert!(map.outside(now.plus_secs(DAY)).is_none(), "a day at most");
}

/// A byte of length, a byte that says what is repaired, then so many bytes: an answer of PCP or NAT-PMP.
pub fn portmap(bytes: &[u8]) {
    let (mut now, mut rest) = (Mono::from_millis(60_000), bytes);
    let mut map = map(now);
    let mut question = Vec::new();
    while let [length, how, tail @ ..] = rest {
        let (answer, next) = tail.split_at(tail.len().min(usize::from(*length)));
        now = now.plus_millis(u64::from(how >> 2) * 250);
        while let Some(output) = map.poll_output(now) {
            if let Output::Question(asked) = output {
                question = asked;
            }
        }
        let mut answer = answer.to_vec();
        if how & 1 == 1 {
            repair(&mut answer, &question);
        }
        map.handle_answer((AT, PORT).into(), &answer, now);
        is_bounded(&map, now);
        rest = next;
    }
    assert!(map.release(now).is_none_or(|output| matches!(output, Output::Question(_))));
}

/// What a gateway repeats of the question: version and opcode, nonce, protocol and port (PCP) or port (NAT-PMP).
fn repair(answer: &mut [u8], question: &[u8]) {
    let same = |at: std::ops::Range<usize>, answer: &mut [u8]| {
        if let (Some(to), Some(from)) = (answer.get_mut(at.clone()), question.get(at)) {
            to.copy_from_slice(from);
        }
    };
    same(0..2, answer);
    answer.iter_mut().skip(1).take(1).for_each(|opcode| *opcode |= 0x80);
    match question.len() {
        60 => same(24..42, answer),
        12 => {
            let port = question.get(4..6).map(<[u8]>::to_vec).unwrap_or_default();
            answer.iter_mut().skip(8).zip(port).for_each(|(to, from)| *to = from);
        }
        _ => {}
    }
}

/// The first byte says who reads the rest.
pub fn upnp(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    match first % 6 {
        0 => read_http(rest),
        1 => drop(xml::walk(rest, |name, text| assert!(name.len() + text.len() <= rest.len()))),
        2 => {
            if let Some(Ok(place)) = ssdp::read(rest, AT) {
                at_the_gateway(&place);
            }
        }
        3 => {
            let described = Place::absolute("http://192.168.1.1:5000/igd/desc.xml", AT).expect("a place");
            let found = description::services(rest, &described, AT).unwrap_or_default();
            assert!(found.len() <= 4);
            found.iter().for_each(|service| at_the_gateway(&service.control));
        }
        4 => {
            for any in [true, false] {
                let add = Action::Add { any, outside: OURS, client: LOCAL, port: OURS, lease: 7_200 };
                for action in [Action::Address, add, Action::Delete { outside: OURS }] {
                    let body = rest.to_vec();
                    let _ = action.read(&Response { status: 200, body });
                    let (header, _) = action.call(Kind::Ip1);
                    assert!(header.ends_with(action.name()));
                }
            }
        }
        _ => round(rest),
    }
}

fn read_http(bytes: &[u8]) {
    let whole = http::read(bytes, true);
    if let Ok(Some(response)) = &whole {
        assert!(response.body.len() <= bytes.len() && [200, 500].contains(&response.status));
    }
    assert!(whole != Ok(None), "at the end nobody waits");
    if let Ok(Some(early)) = http::read(bytes, false) {
        assert_eq!(whole, Ok(Some(early)), "what is whole stays so");
    }
}

fn at_the_gateway(place: &Place) {
    assert!(*place.at(AT).ip() == AT && place.at(AT).port() != 0);
    let text = String::from_utf8(http::get(place, AT)).expect("text");
    assert_eq!(text.matches("\r\n").count(), 4, "no line of the gateway's making: {text}");
}

/// A whole round: pieces between bytes of 0xff are what the gateway says, one after the other, over and over.
fn round(bytes: &[u8]) {
    let mut now = Mono::from_millis(60_000);
    let mut map = map(now);
    let mut said = bytes.split(|byte| *byte == 0xff).cycle();
    let mut exchanges = 0;
    for _ in 0..70 {
        for _ in 0..32 {
            let Some(output) = map.poll_output(now) else { break };
            match output {
                Output::Question(_) => {}
                Output::Search { .. } => {
                    map.handle_found((AT, 1900).into(), said.next().unwrap_or_default(), now);
                }
                Output::Exchange { id, at, .. } => {
                    exchanges += 1;
                    assert!(*at.ip() == AT);
                    let body = said.next().unwrap_or_default();
                    let status = if body.first().is_some_and(|byte| byte & 1 == 1) { 500 } else { 200 };
                    let response = if body.is_empty() {
                        Err(Fault::Silent)
                    } else {
                        Ok(Response { status, body: body.to_vec() })
                    };
                    map.handle_response(id, response, now);
                }
            }
            is_bounded(&map, now);
        }
        now = now.plus_millis(1_000);
    }
    assert!(exchanges <= 12, "{exchanges}");
}
