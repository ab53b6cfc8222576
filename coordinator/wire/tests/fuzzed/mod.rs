//! What the fuzzer tries with bytes of strangers: frames in pieces, signed statements, tokens, stored trust.
#![allow(unreachable_pub, reason = "shared with the fuzzer's own workspace")]

use warren_wire::frame::{Decoder, MAX_FRAME, MAX_FRAME_STRANGER, ToCoordinator, ToNode};
use warren_wire::signed::Signed;
use warren_wire::statement::{Charter, Freshness, PolicyHead, Revocation, ViewHead};
use warren_wire::stored::StoredTrust;
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
