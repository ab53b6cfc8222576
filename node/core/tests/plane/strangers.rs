//! Nothing unauthenticated gets an answer or changes anything.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use warren_node_core::packet::vnet::Vnet;

use crate::both;
use crate::rogue::Rogue;
use crate::world::{Datagram, Keyed, World, udp, udp4, underlay, v4, v6};

both!(
    strangers_get_no_byte,
    a_member_that_is_not_a_peer_is_a_stranger,
    only_the_peers_own_source_address_passes,
    a_replayed_packet_is_not_delivered_and_moves_nothing,
    an_initiation_is_answered_once_whatever_its_index_or_lane,
    an_old_initiation_stays_old_after_a_restart,
    a_flood_of_initiations_gets_cookies_no_longer_than_its_messages,
    a_cookie_opens_the_door_for_an_honest_peer_at_an_unknown_place,
    a_cookie_opens_the_door_also_when_the_secret_has_changed_since,
    responses_that_do_not_name_us_keep_no_real_one_out,
    who_has_proved_its_address_causes_no_more_than_its_share,
    an_authenticated_packet_moves_the_endpoint,
    a_forged_packet_moves_nothing,
    a_cookie_moves_nothing,
    a_flood_in_the_name_of_a_peer_does_not_keep_its_responses_out,
);

fn elsewhere() -> SocketAddr {
    "203.0.113.9:999".parse().unwrap()
}

fn talk<E: Keyed>() -> World<E> {
    let mut w = World::<E>::new(2, 2, false);
    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"question"));
    w.settle();
    w.send(1, Vnet::PLAIN, &udp4(1, 0, 53, 4000, b"answer"));
    w.settle();
    assert_eq!((w.received(1).len(), w.received(0).len()), (1, 1));
    w
}

/// Every message seen so far, bent in every way.
fn kinds(seen: &[Datagram]) -> Vec<Vec<u8>> {
    let mut kinds: Vec<Vec<u8>> =
        vec![vec![], vec![0], vec![1, 0, 0, 0], vec![4; 31], vec![4, 0, 0, 0, 1, 2, 3, 4]];
    kinds.extend([32, 64, 92, 148, 1500, 65_000].map(|len| vec![0xa5; len]));
    for kind in 0..=5u8 {
        for len in [32, 64, 92, 148, 149, 1452] {
            let mut bytes = vec![0x5a; len];
            bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
            kinds.push(bytes);
        }
    }
    for d in seen.iter().map(|d| &d.bytes) {
        for at in [0, 1, 4, 5, 9, 20, 40, 60, d.len().saturating_sub(33), d.len() - 20, d.len() - 1] {
            let mut bent = d.clone();
            bent[at % d.len()] ^= 0x40;
            kinds.push(bent);
        }
        kinds.push(d[..d.len() - 1].to_vec());
        let mut longer = d.clone();
        longer.push(0);
        kinds.push(longer);
    }
    kinds
}

fn strangers_get_no_byte<E: Keyed>() {
    let mut w = talk::<E>();
    let all = kinds(&w.seen.clone());
    assert!(all.len() >= 80, "{}", all.len());
    for node in 0..2 {
        for bytes in &all {
            let d =
                Datagram { from: elsewhere(), to: underlay(node), stride: bytes.len(), bytes: bytes.clone() };
            // The mac2 field is not covered by mac1: without load it is not looked at. Such a copy is a replay.
            let answers = w.deliver(node, &d);
            assert!(answers.is_empty(), "{} bytes for {:?}", answers[0].bytes.len(), bytes.first());
        }
        assert!(w.received(node).is_empty());
        assert_eq!(w.endpoint(node, 1 - node), Some(underlay(1 - node)));
    }
    let packet = udp4(0, 1, 4000, 53, b"still there");
    w.send(0, Vnet::PLAIN, &packet);
    w.settle();
    assert_eq!(w.received(1), vec![packet]);
}

fn a_member_that_is_not_a_peer_is_a_stranger<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    // Node 2 holds valid keys, but no grant joins it to node 1.
    let mut outsider = Rogue::<E>::new(2, 1, 0, underlay(2), w.now);
    let knock = outsider.initiation(w.now);
    assert!(w.deliver(1, &knock).is_empty());
    assert_eq!(w.count(1, "wg-stranger"), 1);
}

fn rogue<E: Keyed>(w: &mut World<E>) -> Rogue<E> {
    let mut rogue = Rogue::<E>::new(0, 1, 0, underlay(0), w.now);
    let knock = rogue.initiation(w.now);
    let answers: Vec<_> = w.deliver(1, &knock).into_iter().filter(|d| d.bytes.len() == 92).collect();
    assert_eq!(answers.len(), 1);
    for confirm in rogue.handle(&answers, w.now) {
        w.deliver(1, &confirm);
    }
    rogue
}

fn only_the_peers_own_source_address_passes<E: Keyed>() {
    let mut w = World::<E>::new(3, 2, false);
    let mut rogue = rogue(&mut w);
    let honest = udp4(0, 1, 4000, 53, b"mine");
    let d = rogue.seal(&honest, w.now);
    w.deliver(1, &d);
    assert_eq!(w.received(1), vec![honest]);
    let target = IpAddr::V4(v4(1));
    let six = |text: &str| IpAddr::V6(text.parse::<Ipv6Addr>().unwrap());
    let four = |text: &str| IpAddr::V4(text.parse().unwrap());
    let spoofed = [
        (IpAddr::V4(v4(2)), target), // another peer
        (target, target),            // the target itself
        (four("127.0.0.1"), target),
        (four("0.0.0.0"), target),
        (four("224.0.0.1"), target),
        (four("255.255.255.255"), target),
        (four("10.0.0.1"), target),
        (four("192.0.2.1"), target),            // its own underlay address
        (IpAddr::V4(v4(0)), IpAddr::V4(v4(2))), // forwarding through the node
        (IpAddr::V4(v4(0)), four("8.8.8.8")),
        (IpAddr::V6(v6(2)), IpAddr::V6(v6(1))),
        (six("::1"), IpAddr::V6(v6(1))),
        (six("::"), IpAddr::V6(v6(1))),
        (six("fe80::1"), IpAddr::V6(v6(1))),
        (six("ff02::1"), IpAddr::V6(v6(1))),
        (six("::ffff:100.64.0.1"), IpAddr::V6(v6(1))),
        (six("64:ff9b::6440:1"), IpAddr::V6(v6(1))),
        (IpAddr::V6(v6(0)), six("ff02::1")),
    ];
    for (src, dst) in spoofed {
        let d = rogue.seal(&udp(src, dst, 4000, 53, b"not mine"), w.now);
        w.deliver(1, &d);
        assert!(w.received(1).is_empty(), "{src} -> {dst} passed");
    }
}

fn a_replayed_packet_is_not_delivered_and_moves_nothing<E: Keyed>() {
    let mut w = talk::<E>();
    let recorded: Vec<_> = w.seen.iter().filter(|d| d.to == underlay(1)).cloned().collect();
    for mut d in recorded {
        for from in [underlay(0), elsewhere()] {
            d.from = from;
            assert!(w.deliver(1, &d).is_empty());
        }
    }
    assert!(w.received(1).is_empty());
    assert_eq!(w.endpoint(1, 0), Some(underlay(0)));
}

/// One key for several sessions would answer the copy with another index: each lane has a key of its own, and one session.
fn an_initiation_is_answered_once_whatever_its_index_or_lane<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    let mut rogue = Rogue::<E>::new(0, 1, 0, underlay(0), w.now);
    let knock = rogue.initiation(w.now);
    assert!(!w.deliver(1, &knock).is_empty());
    let lanes = crate::world::member(1, 2).lanes.clone();
    assert_ne!(lanes[0], lanes[1]);
    let made = w.count(1, "wg-handshake");
    // At once, later than any limit on initiations, and when the session it made has ended.
    for ms in [0, 1_000, 10_000, 200_000] {
        w.pass(ms);
        for from in [underlay(0), elsewhere()] {
            for index in [0u32, 1, 2, 0xff, 0x100, 0x1_0000, 0x80_0000, 0xffff_ff00, 0xffff_ffff] {
                for lane in &lanes {
                    let mut again = Datagram { from, ..knock.clone() };
                    again.bytes[4..8]
                        .iter_mut()
                        .zip(index.to_le_bytes())
                        .for_each(|(byte, bent)| *byte ^= bent);
                    mac1(&mut again.bytes, &lane.0);
                    // So many are a flood, which is told to prove its address: a cookie makes nothing.
                    let answers = w.deliver(1, &again);
                    let handshake = answers.iter().find(|d| d.bytes.first() != Some(&3));
                    assert!(handshake.is_none(), "answered again with {index:x} after {ms} ms");
                }
            }
        }
    }
    assert_eq!(w.count(1, "wg-handshake"), made);
    assert!(w.count(1, "wg-old-initiation") + w.count(1, "wg-stranger") + w.count(1, "wg-bad-mac1") > 0);
}

/// mac1 as anybody can compute it: only the responder's public key is needed. (For the stand-in the result is
/// simply wrong, which is refused one step earlier.)
fn mac1(bytes: &mut [u8], responder: &[u8; 32]) {
    use blake2::digest::{FixedOutput as _, KeyInit, Update, consts::U16};
    use blake2::{Blake2s256, Blake2sMac, Digest};
    let key = Blake2s256::new().chain_update(b"mac1----").chain_update(responder).finalize();
    let mut mac = <Blake2sMac<U16> as KeyInit>::new_from_slice(&key).unwrap();
    Update::update(&mut mac, &bytes[..116]);
    let mac = mac.finalize_fixed();
    bytes[116..132].copy_from_slice(&mac);
}

fn an_old_initiation_stays_old_after_a_restart<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    let mut rogue = Rogue::<E>::new(0, 1, 0, underlay(0), w.now);
    let knock = rogue.initiation(w.now);
    assert!(!w.deliver(1, &knock).is_empty());
    w.restart(1);
    assert!(w.deliver(1, &knock).is_empty());
    assert_eq!(w.count(1, "wg-old-initiation"), 1);
    // The same when the peer was gone and comes back.
    w.publish(1, &[], &[], 2);
    w.publish(1, &[0], &[(0, 1)], 3);
    assert!(w.deliver(1, &knock).is_empty());
    assert_eq!(w.count(1, "wg-old-initiation"), 2);
}

fn a_flood_of_initiations_gets_cookies_no_longer_than_its_messages<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    let mut outsider = Rogue::<E>::new(7, 1, 0, elsewhere(), w.now);
    let knock = outsider.initiation(w.now);
    let (mut received, mut sent, mut cookies) = (0, 0, 0);
    for i in 0..2000u32 {
        let mut d = knock.clone();
        d.from = (std::net::Ipv4Addr::from(0x0b00_0000 + i), 9).into();
        received += d.bytes.len();
        for answer in w.deliver(1, &d) {
            sent += answer.bytes.len();
            cookies += 1;
            assert_eq!((answer.bytes[0], answer.bytes.len(), answer.to), (3, 64, d.from));
        }
    }
    assert!(sent <= received && cookies > 0, "{sent} bytes for {received}");
    assert!(w.count(1, "wg-stranger") <= 64, "key agreements for strangers are bounded");
    // The honest peer, where it is expected, never sees a cookie.
    let packet = udp4(0, 1, 4000, 53, b"honest");
    w.send(0, Vnet::PLAIN, &packet);
    w.settle();
    assert_eq!(w.received(1), vec![packet]);
}

/// Takes all that strangers may cause in 200 ms.
fn flood<E: Keyed>(w: &mut World<E>, knock: &Datagram) {
    for i in 0..200u32 {
        let from = (std::net::Ipv4Addr::from(0x0b00_0000 + i), 9).into();
        w.deliver(1, &Datagram { from, ..knock.clone() });
    }
}

/// Steps of 200 ms, in each of which the flood comes first.
fn live_in_flood<E: Keyed>(w: &mut World<E>, knock: &Datagram, steps: usize) {
    for _ in 0..steps {
        w.pass(200);
        flood(w, knock);
        w.tick();
        w.settle();
    }
}

fn a_cookie_opens_the_door_for_an_honest_peer_at_an_unknown_place<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    let mut outsider = Rogue::<E>::new(7, 1, 0, elsewhere(), w.now);
    let knock = outsider.initiation(w.now);
    flood(&mut w, &knock);
    w.nodes[0].address = elsewhere();
    let packet = udp4(0, 1, 4000, 53, b"honest, from elsewhere");
    w.send(0, Vnet::PLAIN, &packet);
    w.settle();
    assert!(w.received(1).is_empty(), "it has to prove its address first");
    // The next try carries the cookie. The flood goes on.
    live_in_flood(&mut w, &knock, 40);
    assert_eq!(w.received(1), vec![packet]);
}

/// The secret of cookies changes every two minutes of the boot-time clock; the world begins at 1,000 s.
fn a_cookie_opens_the_door_also_when_the_secret_has_changed_since<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    w.pass(79_500);
    let mut outsider = Rogue::<E>::new(7, 1, 0, elsewhere(), w.now);
    let knock = outsider.initiation(w.now);
    flood(&mut w, &knock);
    w.nodes[0].address = elsewhere();
    let packet = udp4(0, 1, 4000, 53, b"honest, from elsewhere");
    w.send(0, Vnet::PLAIN, &packet);
    w.settle();
    // The first of the early retries, and no second one.
    live_in_flood(&mut w, &knock, 9);
    assert_eq!(w.received(1), vec![packet]);
}

fn who_has_proved_its_address_causes_no_more_than_its_share<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    let mut outsider = Rogue::<E>::new(7, 1, 0, elsewhere(), w.now);
    let knock = outsider.initiation(w.now);
    flood(&mut w, &knock);
    let cookie = w.deliver(1, &knock);
    assert_eq!(cookie.iter().map(|d| d.bytes[0]).collect::<Vec<_>>(), [3]);
    outsider.handle(&cookie, w.now);
    w.pass(1_400);
    flood(&mut w, &knock);
    let proved = outsider.retry(w.now);
    let before = w.count(1, "wg-stranger");
    for _ in 0..500 {
        assert!(w.deliver(1, &proved).is_empty(), "it needs no further cookie");
    }
    let worked = w.count(1, "wg-stranger") - before;
    assert!((1..=5).contains(&worked), "{worked} key agreements");
}

/// A response is worth a key agreement, and each place is allowed so many: one without our mac1 is none.
fn responses_that_do_not_name_us_keep_no_real_one_out<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    let packet = udp4(1, 0, 4000, 53, b"from the flooded one");
    w.send(1, Vnet::PLAIN, &packet);
    let index = w.wire[0].bytes[4..8].to_vec();
    let mut bytes = vec![0x5a; 92];
    bytes[..4].copy_from_slice(&[2, 0, 0, 0]);
    bytes[8..12].copy_from_slice(&index);
    let false_one = Datagram { from: underlay(0), to: underlay(1), stride: bytes.len(), bytes };
    for _ in 0..500 {
        assert!(w.deliver(1, &false_one).is_empty());
    }
    w.settle();
    assert_eq!(w.received(0), vec![packet]);
}

fn an_authenticated_packet_moves_the_endpoint<E: Keyed>() {
    let mut w = talk::<E>();
    w.nodes[0].address = elsewhere();
    let packet = udp4(0, 1, 4000, 53, b"from elsewhere");
    w.send(0, Vnet::PLAIN, &packet);
    w.settle();
    assert_eq!(w.received(1), vec![packet]);
    assert_eq!(w.endpoint(1, 0), Some(elsewhere()));
    w.send(1, Vnet::PLAIN, &udp4(1, 0, 53, 4000, b"answer"));
    w.settle();
    assert_eq!(w.received(0).len(), 1, "the answer went to the new place");
}

fn a_forged_packet_moves_nothing<E: Keyed>() {
    let mut w = talk::<E>();
    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"fresh"));
    let mut d = w.wire.pop_front().unwrap();
    d.from = elsewhere();
    *d.bytes.last_mut().unwrap() ^= 1;
    assert!(w.deliver(1, &d).is_empty());
    assert!(w.received(1).is_empty());
    assert_eq!(w.endpoint(1, 0), Some(underlay(0)));
    assert!(w.count(1, "wg-not-authentic") > 0);
}

/// Whoever saw an initiation and knows the public key it was meant for can make a cookie: that proves no peer.
fn a_cookie_moves_nothing<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"question"));
    let knock = w.wire.pop_front().unwrap();
    let forger = E::from_secrets(crate::world::secrets(1, 2));
    let key = forger.addressee(&knock.bytes).unwrap();
    let bytes = forger.cookie_reply(key, &knock.bytes, &[7; 16], &[3; 24]).unwrap().to_vec();
    let d = Datagram { from: elsewhere(), to: underlay(0), stride: bytes.len(), bytes };
    assert!(w.deliver(0, &d).is_empty());
    assert_eq!(w.endpoint(0, 1), Some(underlay(1)));
}

/// Initiations under the forged address of a peer use up what that address may cause; its answers to our own
/// initiations are not among it.
fn a_flood_in_the_name_of_a_peer_does_not_keep_its_responses_out<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    let mut outsider = Rogue::<E>::new(7, 1, 0, underlay(0), w.now);
    let knock = outsider.initiation(w.now);
    for _ in 0..500 {
        w.deliver(1, &knock);
    }
    let packet = udp4(1, 0, 4000, 53, b"from the flooded one");
    w.send(1, Vnet::PLAIN, &packet);
    w.settle();
    assert_eq!(w.received(0), vec![packet]);
}
