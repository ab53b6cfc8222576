//! What the fuzzer tries with bytes of strangers: frames in pieces, signed statements, tokens, stored trust, STUN, frames of the relay.
#![allow(unreachable_pub, reason = "shared with the fuzzer's own workspace")]
#![allow(clippy::expect_used, reason = "a target fails by panic")]

use std::time::Duration;

use warren_wire::door::{Joiner, MAX_DATAGRAM, MAX_HALVES, MAX_HALVES_BYTES, split};
use warren_wire::frame::{Decoder, MAX_FRAME, MAX_FRAME_STRANGER, ToCoordinator, ToNode};
use warren_wire::relay::{self, HEAD, LEAST, MAX_COUNTER, TagKey};
use warren_wire::signed::Signed;
use warren_wire::statement::{Charter, Freshness, PolicyHead, Revocation, ViewHead};
use warren_wire::stored::StoredTrust;
use warren_wire::stun;
use warren_wire::token::Token;

/// The first byte chooses the sizes of the pieces in which the rest comes.
pub fn wire(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let piece = usize::from(*first).max(1);
    let mut strangers = Decoder::new(MAX_FRAME_STRANGER);
    let mut friends = Decoder::new(MAX_FRAME);
    for part in rest.chunks(piece) {
        strangers.push(part);
        while let Ok(Some(message)) = strangers.next::<ToCoordinator>() {
            drop(message.said());
        }
        friends.push(part);
        while let Ok(Some(message)) = friends.next::<ToNode>() {
            drop(message.said());
        }
        assert!(
            strangers.buffered() <= MAX_FRAME_STRANGER + 8 + piece
                && friends.buffered() <= MAX_FRAME + 8 + piece
        );
    }
    if let Ok(signed) = Signed::from_bytes(rest) {
        drop(signed.peek::<Charter>());
        drop(signed.peek::<Freshness>());
        drop(signed.peek::<PolicyHead>());
        drop(signed.peek::<Revocation>());
        drop(signed.peek::<ViewHead>());
        assert!(Signed::from_bytes(&signed.to_bytes()).is_ok());
    }
    if let Ok(text) = std::str::from_utf8(rest) {
        drop(Token::decode(text));
        drop(StoredTrust::from_json(text));
    }
}

/// Pieces of datagrams from a stranger's door: a byte of length (times 40), a byte of pause (times 16 ms), then so many bytes.
/// What is put together is split again and comes out the same.
pub fn halves(bytes: &[u8]) {
    let (mut joiner, mut now, mut rest) = (Joiner::default(), Duration::ZERO, bytes);
    while let [len, pause, tail @ ..] = rest {
        let (piece, next) = tail.split_at(tail.len().min(usize::from(*len) * 40));
        now += Duration::from_millis(u64::from(*pause) * 16);
        if let Ok(Some(datagram)) = joiner.handle(piece, now) {
            assert!(!datagram.is_empty() && datagram.len() <= MAX_DATAGRAM);
            again(&datagram);
        }
        let (count, held) = joiner.waiting();
        assert!(count <= MAX_HALVES && held <= MAX_HALVES_BYTES);
        rest = next;
    }
}

fn again(datagram: &[u8]) {
    for room in [datagram.len() + 1, datagram.len().div_ceil(2) + 4] {
        let Some((first, second)) = split(datagram, 7, room) else { continue };
        let mut joiner = Joiner::default();
        let mut whole = joiner.handle(&first, Duration::ZERO);
        if let Some(second) = second {
            assert_eq!(whole, Ok(None));
            whole = joiner.handle(&second, Duration::ZERO);
        }
        assert_eq!(whole, Ok(Some(datagram.to_vec())));
    }
}

/// A datagram as the coordinator's port and a WireGuard socket get it. What is read as a question or an answer is one that this crate could
/// have written, or comes to the same; an answer is never longer than its question.
pub fn stun(bytes: &[u8]) {
    if !stun::is_stun(bytes) {
        assert!(stun::read_question(bytes).is_none() && stun::read_answer(bytes).is_none());
        return;
    }
    if let Some(id) = stun::read_question(bytes) {
        assert!(stun::read_answer(bytes).is_none(), "nothing is both");
        assert_eq!(stun::read_question(&stun::question(id)), Some(id));
        for seen in ["192.0.2.1:1", "[2001:db8::1]:65535"] {
            let seen = seen.parse().expect("an address");
            let answer = stun::answer(id, seen);
            assert!(answer.len() <= bytes.len() && stun::read_answer(&answer) == Some((id, seen)));
        }
    }
    if let Some((id, seen)) = stun::read_answer(bytes) {
        assert!(!relay::is_frame(bytes));
        let again = stun::read_answer(&stun::answer(id, seen)).expect("what was read can be written");
        assert_eq!(
            (again.0, again.1.ip().to_canonical(), again.1.port()),
            (id, seen.ip().to_canonical(), seen.port())
        );
    }
}

/// A datagram as a relay and a node get it. The first byte chooses the key; whoever reads it for genuine has read every byte that counts.
pub fn frame(bytes: &[u8]) {
    let Some((first, frame)) = bytes.split_first() else { return };
    let (key, other) = (TagKey::new([*first; 16]), TagKey::new([!*first; 16]));
    let Some((head, carried)) = relay::read(frame) else {
        assert!(!relay::is_frame(frame) || frame.len() < HEAD + LEAST);
        return;
    };
    assert!(relay::is_frame(frame) && !stun::is_stun(frame) && head.counter <= MAX_COUNTER);
    assert!(carried.len() >= LEAST && frame.len() == HEAD + carried.len());
    let mut written = frame.to_vec();
    assert!(relay::write(&mut written, head, &key));
    assert_eq!(
        (relay::read(&written), &written[..12]),
        (Some((head, carried)), &frame[..12]),
        "one spelling"
    );
    assert!(relay::verify(&written, &key) && !relay::verify(&written, &other));
    relay::stamp(&mut written, &other);
    assert!(relay::verify(&written, &other) && written[HEAD..] == *carried, "a relay changes the tag alone");
    for at in (0..12).chain([HEAD, written.len() - 1]) {
        let mut changed = written.clone();
        changed[at] ^= 1;
        // In the middle of a long one nothing counts: WireGuard's own tag covers it.
        let covered = at < 12 || at + 32 >= written.len();
        assert!(!covered || !relay::verify(&changed, &other));
    }
}
