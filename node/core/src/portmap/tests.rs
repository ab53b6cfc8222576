use proptest::prelude::*;

use super::*;

const AT: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
const WORLD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const OURS: u16 = 51_820;

/// A gateway that speaks one protocol and grants what it is told to.
struct Box {
    speech: Speech,
    result: u8,
    outside: u16,
    address: Ipv4Addr,
    lifetime: Option<u32>,
    /// When it was switched on.
    on: Mono,
    asked: Vec<Vec<u8>>,
}

impl Box {
    fn new(speech: Speech) -> Box {
        let on = Mono::from_millis(1_000);
        Box { speech, result: 0, outside: 40_000, address: WORLD, lifetime: None, on, asked: Vec::new() }
    }

    fn answer(&mut self, question: &[u8], now: Mono) -> Vec<u8> {
        self.asked.push(question.to_vec());
        let epoch = ((now.millis_since(self.on) / 1000) as u32).to_be_bytes();
        let word = |at: usize| question[at..at + 4].to_vec();
        match (self.speech, question[0]) {
            (Speech::Pcp, 2) => {
                let life = self.lifetime.map_or(word(4), |life| life.to_be_bytes().to_vec());
                let mut bytes = vec![2, 0x81, 0, self.result];
                bytes.extend(life);
                bytes.extend(epoch);
                bytes.extend([0; 12]);
                bytes.extend(&question[24..42]);
                bytes.extend(self.outside.to_be_bytes());
                bytes.extend(self.address.to_ipv6_mapped().octets());
                bytes
            }
            (Speech::NatPmp, 2) => [&[0, 0x81, 0, 1][..], &epoch].concat(),
            (Speech::NatPmp, 0) if question[1] == 0 => {
                [&[0, 0x80, 0, self.result][..], &epoch, &self.address.octets()].concat()
            }
            (Speech::NatPmp, 0) => {
                let life = self.lifetime.map_or(word(8), |life| life.to_be_bytes().to_vec());
                let outside = self.outside.to_be_bytes();
                [&[0, 0x81, 0, self.result][..], &epoch, &question[4..6], &outside, &life].concat()
            }
            _ => Vec::new(),
        }
    }
}

fn gateway() -> Gateway {
    Gateway { at: AT, local: LOCAL }
}

fn question(map: &mut PortMap, now: Mono) -> Vec<u8> {
    match map.poll_output(now) {
        Some(Output::Question(question)) => question,
        other => panic!("{other:?}"),
    }
}

fn from() -> SocketAddr {
    (AT, PORT).into()
}

fn map(now: Mono) -> PortMap {
    let mut map = PortMap::new([7; 32], OURS);
    assert!(map.poll_output(now).is_none(), "nobody to ask");
    map.set_gateway(Some(gateway()), now);
    map
}

/// Lets time go on in steps of 250 ms; how many questions were asked.
fn live(map: &mut PortMap, mut gateway: Option<&mut Box>, now: &mut Mono, ms: u64) -> usize {
    let mut asked = 0;
    for _ in 0..ms / 250 {
        while let Some(output) = map.poll_output(*now) {
            let Output::Question(question) = output else { continue };
            asked += 1;
            let Some(gateway) = &mut gateway else { break };
            let answer = gateway.answer(&question, *now);
            map.handle_answer(from(), &answer, *now);
        }
        *now = now.plus_millis(250);
    }
    asked
}

#[test]
fn either_protocol_maps_the_port_and_the_mapping_is_renewed_and_given_back() {
    for speech in [Speech::Pcp, Speech::NatPmp] {
        let (mut gateway, mut now) = (Box::new(speech), Mono::from_millis(60_000));
        let mut map = map(now);
        live(&mut map, Some(&mut gateway), &mut now, 1_000);
        assert_eq!(map.outside(now), Some((WORLD, 40_000).into()), "{speech:?}");
        assert_eq!(map.standing(), (speech, None));
        let before = gateway.asked.len();
        let day = live(&mut map, Some(&mut gateway), &mut now, 86_400_000);
        assert!(
            gateway.asked.len() - before == day && (140..=145).contains(&day),
            "every ten minutes: {day}"
        );
        assert!(map.outside(now).is_some());
        let Some(Output::Question(last)) = map.release(now) else { panic!("it is given back") };
        let lifetime = if speech == Speech::Pcp { &last[4..8] } else { &last[8..12] };
        assert_eq!((lifetime, map.outside(now)), (&[0; 4][..], None));
        assert!(map.release(now).is_none() && live(&mut map, None, &mut now, 600_000) == 0);
    }
}

#[test]
fn a_mapping_ends_with_its_life_if_nobody_renews_it() {
    let (mut gateway, mut now) = (Box::new(Speech::Pcp), Mono::from_millis(60_000));
    gateway.lifetime = Some(600);
    let mut map = map(now);
    live(&mut map, Some(&mut gateway), &mut now, 1_000);
    let asked = live(&mut map, None, &mut now, 590_000);
    assert!(asked > 0 && map.outside(now).is_some(), "asked at half of it, and again");
    live(&mut map, None, &mut now, 11_000);
    assert_eq!(map.outside(now), None);
}

#[test]
fn a_gateway_that_was_switched_off_and_on_is_noticed_and_where_nobody_answers_little_is_asked() {
    for speech in [Speech::Pcp, Speech::NatPmp] {
        let (mut gateway, mut now) = (Box::new(speech), Mono::from_millis(60_000));
        let mut map = map(now);
        live(&mut map, Some(&mut gateway), &mut now, 3_000_000);
        (gateway.on, gateway.outside, gateway.address) = (now, 50_000, Ipv4Addr::new(203, 0, 113, 9));
        live(&mut map, Some(&mut gateway), &mut now, 601_000);
        assert_eq!(map.outside(now), Some((Ipv4Addr::new(203, 0, 113, 9), 50_000).into()), "{speech:?}");
    }
    let mut now = Mono::from_millis(60_000);
    let mut silent = map(now);
    let asked = live(&mut silent, None, &mut now, 3_600_000);
    assert!((50..=80).contains(&asked), "{asked} an hour");
    assert!(silent.standing().1.is_some_and(|why| why.contains("neither")));
}

/// RFC 6887 section 11.4 and RFC 6886 section 3.1: from the gateway's port, and with the nonce; what nobody asked for is not heard.
#[test]
fn only_the_gateway_that_was_asked_can_answer_and_once() {
    let (mut gateway, now) = (Box::new(Speech::Pcp), Mono::from_millis(60_000));
    let mut map = map(now);
    let question = question(&mut map, now);
    let answer = gateway.answer(&question, now);
    let elsewhere: [SocketAddr; 3] = [(LOCAL, PORT).into(), (AT, PORT + 1).into(), (WORLD, PORT).into()];
    assert!(elsewhere.iter().all(|from| !map.handle_answer(*from, &answer, now)));
    for at in [1, 24, 35, 36, 40, 41] {
        let mut forged = answer.clone();
        forged[at] ^= 1;
        assert!(!map.handle_answer(from(), &forged, now), "byte {at}");
    }
    assert_eq!(map.outside(now), None);
    assert!(map.handle_answer(from(), &answer, now));
    assert!(!map.handle_answer(from(), &answer, now), "nobody asked again");
    map.set_gateway(None, now);
    assert_eq!(map.outside(now), None, "another network");
}

#[test]
fn a_gateway_that_lies_about_lives_ports_and_addresses_gives_nothing_or_what_is_bounded() {
    for (lifetime, outside, address, good) in [
        (Some(0), 40_000, WORLD, false),
        (Some(59), 40_000, WORLD, false),
        (Some(u32::MAX), 40_000, WORLD, true),
        (None, 0, WORLD, false),
        (None, 40_000, Ipv4Addr::UNSPECIFIED, false),
    ] {
        for speech in [Speech::Pcp, Speech::NatPmp] {
            let (mut gateway, mut now) = (Box::new(speech), Mono::from_millis(60_000));
            (gateway.lifetime, gateway.outside, gateway.address) = (lifetime, outside, address);
            let mut map = map(now);
            let asked = live(&mut map, Some(&mut gateway), &mut now, 30_000);
            assert_eq!(map.outside(now).is_some(), good, "{speech:?} {lifetime:?} {outside} {address}");
            assert!(asked <= 4, "{asked}");
            live(&mut map, None, &mut now, 86_400_000);
            assert_eq!(map.outside(now), None, "not longer than a day");
        }
    }
    for result in [2, 8, 12, 99] {
        let (mut gateway, mut now) = (Box::new(Speech::Pcp), Mono::from_millis(60_000));
        gateway.result = result;
        let mut map = map(now);
        let asked = live(&mut map, Some(&mut gateway), &mut now, 500_000);
        assert!(asked == 1 && map.outside(now).is_none() && map.standing().1.is_some());
    }
}

proptest! {
    /// Whatever comes: no panic, and no mapping but what one question and one answer have agreed on.
    #[test]
    fn bytes_of_strangers_map_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..120), version in 0u8..3) {
        let now = Mono::from_millis(60_000);
        let mut map = map(now);
        question(&mut map, now);
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = version;
        }
        map.handle_answer(from(), &bytes, now);
        prop_assert_eq!(map.outside(now), None);
    }

    /// A byte of an answer that is changed is refused, or gives what that byte says and nothing worse.
    #[test]
    fn a_changed_answer_is_bounded(at in 0usize..60, to in any::<u8>()) {
        let (mut gateway, now) = (Box::new(Speech::Pcp), Mono::from_millis(60_000));
        let mut map = map(now);
        let question = question(&mut map, now);
        let mut answer = gateway.answer(&question, now);
        answer[at] = to;
        map.handle_answer(from(), &answer, now);
        prop_assert!(map.outside(now.plus_secs(86_401)).is_none());
        prop_assert!(map.outside(now).is_none_or(|place| place.port() != 0));
    }
}
